//! What becomes of a packet. Pure.

use std::time::Duration;

/// What is done to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All are late, by so much and up to so much less or more, each value as likely as any other.
    Slow { delay: Duration, jitter: Duration },
    /// That share, in percent, goes out twice.
    Duplicate { share: u64 },
    /// All are late but for that share, which overtakes the others.
    Reorder { share: u64, delay: Duration },
    /// Of that share one bit behind the header of IP is flipped.
    Corrupt { share: u64 },
}

/// What becomes of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// How long it waits.
    pub late: Duration,
    /// How often it goes out.
    pub copies: u8,
    /// Whether it is of the share that is meant; of packets that are all late, each.
    pub touched: bool,
}

impl Shape {
    /// Reads `slow 100 20`, `duplicate 10`, `reorder 25 50` or `corrupt 10`: milliseconds and percent.
    pub fn parse(words: &[&str]) -> Option<Self> {
        let ms = |word: &str| word.parse().ok().map(Duration::from_millis);
        let percent = |word: &str| word.parse().ok().filter(|share| (1..=100).contains(share));
        match words {
            ["slow", delay, jitter] => Some(Self::Slow {
                delay: ms(delay)?,
                jitter: ms(jitter)?,
            }),
            ["duplicate", share] => percent(share).map(|share| Self::Duplicate { share }),
            ["reorder", share, delay] => Some(Self::Reorder {
                share: percent(share)?,
                delay: ms(delay)?,
            }),
            ["corrupt", share] => percent(share).map(|share| Self::Corrupt { share }),
            _ => None,
        }
    }

    /// What becomes of a packet of IPv4, whose bytes may be changed for it.
    pub fn treat(&self, packet: &mut [u8], mut draw: impl FnMut() -> u64) -> Fate {
        let mut fate = Fate {
            late: Duration::ZERO,
            copies: 1,
            touched: true,
        };
        match *self {
            Self::Slow { delay, jitter } => {
                let spread = jitter.saturating_mul(2).as_nanos();
                let more = u128::from(draw()).checked_rem(spread + 1).unwrap_or(0);
                let more = Duration::from_nanos(u64::try_from(more).unwrap_or(u64::MAX));
                fate.late = (delay + more).saturating_sub(jitter);
            }
            Self::Duplicate { share } => {
                fate.touched = draw() % 100 < share;
                fate.copies += u8::from(fate.touched);
            }
            Self::Reorder { share, delay } => {
                fate.touched = draw() % 100 < share;
                fate.late = if fate.touched { Duration::ZERO } else { delay };
            }
            Self::Corrupt { share } => {
                fate.touched = draw() % 100 < share && flip(packet, draw());
            }
        }
        fate
    }
}

/// Flips one bit behind the header, whose checksum the kernel makes anew; false if there is nothing behind it.
fn flip(packet: &mut [u8], draw: u64) -> bool {
    let header = packet
        .first()
        .map_or(0, |first| usize::from(first & 0x0f) * 4);
    let Some(body) = packet.get_mut(header..).filter(|body| !body.is_empty()) else {
        return false;
    };
    let bits = body.len() as u64 * 8;
    let bit = draw % bits;
    if let Some(byte) = usize::try_from(bit / 8)
        .ok()
        .and_then(|at| body.get_mut(at))
    {
        *byte ^= 1 << (bit % 8);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::mix;

    /// A header without options, and ten bytes.
    fn packet() -> Vec<u8> {
        let mut packet = vec![0; 30];
        packet[0] = 0x45;
        packet
    }

    fn fates(shape: Shape) -> Vec<(Fate, Vec<u8>)> {
        let mut count = 0;
        let mut draw = || {
            count += 1;
            mix(count)
        };
        (0..10_000)
            .map(|_| {
                let mut packet = packet();
                (shape.treat(&mut packet, &mut draw), packet)
            })
            .collect()
    }

    fn shape(text: &str) -> Shape {
        Shape::parse(&text.split(' ').collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_makes_no_sense_is_no_shape() {
        for bad in [
            "",
            "slow",
            "slow 1",
            "slow x 1",
            "duplicate 0",
            "corrupt 101",
            "reorder 5",
        ] {
            let words: Vec<&str> = bad.split(' ').collect();
            assert_eq!(Shape::parse(&words), None, "{bad}");
        }
    }

    #[test]
    fn all_are_late_by_what_was_asked_for_and_as_much_less_as_more() {
        let fates = fates(shape("slow 100 20"));
        let late: Vec<u128> = fates
            .iter()
            .map(|(fate, _)| fate.late.as_micros())
            .collect();
        let (least, most) = (late.iter().min().unwrap(), late.iter().max().unwrap());
        assert!((80_000..80_200).contains(least) && (119_800..=120_000).contains(most));
        let mean = late.iter().sum::<u128>() / 10_000;
        assert!((99_500..100_500).contains(&mean), "{mean}");
        assert!(
            fates
                .iter()
                .all(|(fate, after)| fate.copies == 1 && *after == packet())
        );
        // More jitter than delay: never before it was sent.
        let fates = self::fates(shape("slow 1 20"));
        assert!(fates.iter().any(|(fate, _)| fate.late.is_zero()));
    }

    #[test]
    fn a_share_goes_twice_overtakes_or_is_damaged() {
        for (text, share) in [
            ("duplicate 10", 10),
            ("reorder 25 50", 25),
            ("corrupt 40", 40),
        ] {
            let shape = shape(text);
            let fates = fates(shape);
            let touched = fates.iter().filter(|(fate, _)| fate.touched).count();
            assert!(
                (share * 90..share * 110).contains(&touched),
                "{text}: {touched}"
            );
            for (fate, after) in fates {
                let before = packet();
                let flipped: u32 = (before.iter().zip(&after))
                    .map(|(a, b)| (a ^ b).count_ones())
                    .sum();
                assert_eq!(after[..20], before[..20], "the header stays");
                let is = |asked: bool| asked && fate.touched;
                assert_eq!(
                    fate.copies == 2,
                    is(matches!(shape, Shape::Duplicate { .. }))
                );
                assert_eq!(flipped == 1, is(matches!(shape, Shape::Corrupt { .. })));
                let waits = matches!(shape, Shape::Reorder { .. }) && !fate.touched;
                assert_eq!(fate.late, Duration::from_millis(if waits { 50 } else { 0 }));
            }
        }
    }

    #[test]
    fn what_has_no_body_is_not_damaged() {
        for mut bare in [Vec::new(), packet()[..20].to_vec(), vec![0x4f; 20]] {
            let before = bare.clone();
            let fate = shape("corrupt 100").treat(&mut bare, || 7);
            assert_eq!((fate.touched, bare), (false, before));
        }
    }
}
