//! One seed, split in labelled streams, so that one stream's draws never shift another's.
//!
//! A seed repeats the plan and what the workload asks, not the interleaving.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The seed of a run, as printed: `0x5eed42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seed(pub u64);

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl std::str::FromStr for Seed {
    type Err = String;

    /// Decimal, or hexadecimal after `0x`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        parsed.map(Self).map_err(|_| {
            format!("{text:?} is no seed; write a number below 2^64, such as 7 or 0x5eed42")
        })
    }
}

impl Seed {
    /// A stream of its own for a label such as `workload/3`, `nemesis` or `targets`.
    #[must_use]
    pub fn stream(self, label: &str) -> Stream {
        // FNV-1a over seed and label, then SplitMix64 to fill the key: not cryptography, only well spread.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.0.to_le_bytes().iter().chain(label.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let mut key = [0_u8; 32];
        for chunk in key.chunks_exact_mut(8) {
            hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = hash;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
        }
        Stream { key }
    }
}

/// A labelled stream of randomness, asked by number: the n-th draw is the same whoever asked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: [u8; 32],
}

impl Stream {
    /// Random numbers for the n-th draw. Asking twice gives the same: that makes asking a generator free of effects.
    #[must_use]
    pub fn draw(&self, number: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::from_seed(self.key);
        rng.set_stream(number);
        rng
    }
}
