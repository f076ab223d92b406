//! The machine code that takes the place of a vDSO's clock functions, for x86-64. Pure.
//!
//! ```text
//! entry of a function      jmp into the cave            5 bytes; the rest of its body is left as it was
//! cave                     gettime  gettimeofday  time  offset  split
//! ```
//!
//! Laws:
//! - the time is the kernel's: each function makes the real system call, and shifts what it gave;
//! - only the wall clock is shifted: `CLOCK_REALTIME`, `CLOCK_REALTIME_COARSE` and `CLOCK_TAI`;
//! - a rate and an alternation follow `CLOCK_MONOTONIC`, which is read at each call, so that the wall clock's own steps do not count;
//! - all that it computes with is in its instructions and does not change: nobody can read half of a shift;
//! - no division in it can overflow;
//! - what the System V ABI lets a function clobber is all that it clobbers; it takes at most 40 bytes of the caller's stack, which is
//!   Go's system stack too.
//!
//! Source: System V ABI, AMD64 supplement; Intel's manual, volume 2; vdso(7).

use serde::{Deserialize, Serialize};

/// Bytes of what is written at a function's entry.
pub const JUMP_BYTES: usize = 5;
/// The first of them.
pub const JUMP: u8 = 0xe9;
/// Nanoseconds of a second.
const NS_PER_S: i32 = 1_000_000_000;
/// Bits behind the point of a rate.
const RATE_BITS: u8 = 40;
/// Parts per million of one.
const PPM: i128 = 1_000_000;

const SYS_GETTIMEOFDAY: u32 = 96;
const SYS_CLOCK_GETTIME: u32 = 228;
const CLOCK_REALTIME: u8 = 0;
const CLOCK_MONOTONIC: u8 = 1;
const CLOCK_REALTIME_COARSE: u8 = 5;
const CLOCK_TAI: u8 = 11;

/// How far a wall clock is off, and how that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum Shift {
    /// By so much, for good.
    Jump {
        /// Nanoseconds.
        by_ns: i64,
    },
    /// By so much for one period, right for the next one, and so on, from a reading of `CLOCK_MONOTONIC` on.
    Strobe {
        /// Nanoseconds.
        by_ns: i64,
        /// Nanoseconds; not 0.
        period_ns: u64,
        /// The reading, in nanoseconds.
        base_ns: i64,
    },
    /// By a share of the time since a reading of `CLOCK_MONOTONIC`.
    Skew {
        /// Parts per million.
        rate_ppm: i64,
        /// The reading, in nanoseconds.
        base_ns: i64,
    },
}

impl Shift {
    /// How far it is off when `CLOCK_MONOTONIC` is at that reading; what the code computes, too.
    #[must_use]
    pub fn at_ns(self, monotonic_ns: i64) -> i64 {
        match self {
            Self::Jump { by_ns } => by_ns,
            Self::Strobe {
                by_ns,
                period_ns,
                base_ns,
            } => {
                let since_ns = monotonic_ns.wrapping_sub(base_ns).cast_unsigned();
                let turn = since_ns.checked_div(period_ns).unwrap_or(0);
                if turn % 2 == 0 { by_ns } else { 0 }
            }
            Self::Skew { rate_ppm, base_ns } => {
                let since_ns = i128::from(monotonic_ns.wrapping_sub(base_ns));
                let exact = (since_ns * i128::from(rate(rate_ppm))) >> RATE_BITS;
                i64::try_from(exact).unwrap_or(0)
            }
        }
    }
}

/// Parts per million as a fraction of `2^RATE_BITS`.
fn rate(ppm: i64) -> i64 {
    let scaled = (i128::from(ppm) << RATE_BITS) / PPM;
    i64::try_from(scaled).unwrap_or(0)
}

/// A function of the vDSO that tells the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Teller {
    /// `clock_gettime(2)`.
    Gettime,
    /// `gettimeofday(2)`.
    Gettimeofday,
    /// `time(2)`.
    Time,
}

/// The code of the cave, and where each function is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cave {
    /// The bytes, wherever they are put.
    pub code: Vec<u8>,
    gettime: usize,
    gettimeofday: usize,
    time: usize,
}

impl Cave {
    /// The code for a shift.
    #[must_use]
    pub fn new(shift: Shift) -> Self {
        let mut code = Code::default();
        let offset = code.offset(shift);
        let split = code.split();
        let gettime = code.gettime(offset, split);
        let gettimeofday = code.gettimeofday(offset, split);
        let time = code.time(offset, split);
        Self {
            code: code.bytes,
            gettime,
            gettimeofday,
            time,
        }
    }

    /// Where a function begins in the code.
    #[must_use]
    pub const fn entry(&self, teller: Teller) -> usize {
        match teller {
            Teller::Gettime => self.gettime,
            Teller::Gettimeofday => self.gettimeofday,
            Teller::Time => self.time,
        }
    }
}

/// `jmp` from one address to another; none if they are too far from each other.
#[must_use]
pub fn jump(from: usize, to: usize) -> Option<[u8; JUMP_BYTES]> {
    let next = i64::try_from(from.checked_add(JUMP_BYTES)?).ok()?;
    let far = i32::try_from(i64::try_from(to).ok()?.checked_sub(next)?).ok()?;
    let [a, b, c, d] = far.to_le_bytes();
    Some([JUMP, a, b, c, d])
}

/// Code that grows. Comments are the instructions; `ns` is 1,000,000,000.
#[derive(Default)]
struct Code {
    bytes: Vec<u8>,
}

impl Code {
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Begins a function where the processor likes it; its place.
    fn begin(&mut self) -> usize {
        const ALIGNMENT: usize = 16;
        const TRAP: u8 = 0xcc;
        let at = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(at, TRAP);
        at
    }

    /// `call` to what was put before.
    fn call(&mut self, to: usize) -> &mut Self {
        const CALL_BYTES: usize = 5;
        let back = self.bytes.len() + CALL_BYTES - to;
        // What was put before is less than a page away.
        let back = u32::try_from(back).unwrap_or(0);
        self.put(&[0xe8]).put(&back.wrapping_neg().to_le_bytes())
    }

    /// A conditional short jump to a place that [`Self::land`] names.
    fn skip(&mut self, condition: u8) -> usize {
        self.put(&[condition, 0]);
        self.bytes.len()
    }

    fn land(&mut self, from: usize) {
        let far = self.bytes.len() - from;
        debug_assert!(far < 0x80, "short jumps only");
        self.bytes[from - 1] = far.to_le_bytes()[0];
    }

    /// `mov eax, NUMBER; syscall`. Clobbers rax, rcx and r11.
    fn syscall(&mut self, number: u32) -> &mut Self {
        self.put(&[0xb8]).put(&number.to_le_bytes());
        self.put(&[0x0f, 0x05])
    }

    /// Reads a clock to `[rsp]`. Clobbers rdi and rsi as well.
    fn read_clock(&mut self, clock: u8) -> &mut Self {
        self.put(&[0xbf, clock, 0, 0, 0]) // mov edi, CLOCK
            .put(&[0x48, 0x89, 0xe6]) // mov rsi, rsp
            .syscall(SYS_CLOCK_GETTIME)
    }

    /// rax: how far it is off, in nanoseconds. Clobbers rcx, rdx, rsi, rdi and r11; r8 is left.
    fn offset(&mut self, shift: Shift) -> usize {
        let at = self.begin();
        match shift {
            Shift::Jump { by_ns } => {
                self.put(&[0x48, 0xb8]).put(&by_ns.to_le_bytes()); // mov rax, BY
            }
            Shift::Strobe {
                by_ns,
                period_ns,
                base_ns,
            } => {
                self.since(base_ns);
                self.put(&[0x31, 0xd2]) // xor edx, edx
                    .put(&[0x48, 0xb9])
                    .put(&period_ns.max(1).to_le_bytes()) // mov rcx, PERIOD
                    .put(&[0x48, 0xf7, 0xf1]) // div rcx
                    .put(&[0xa8, 0x01]); // test al, 1
                let right = self.skip(0x75); // jnz right
                self.put(&[0x48, 0xb8]).put(&by_ns.to_le_bytes()); // mov rax, BY
                self.put(&[0xc3]); // ret
                self.land(right);
                self.put(&[0x31, 0xc0]); // xor eax, eax
            }
            Shift::Skew { rate_ppm, base_ns } => {
                self.since(base_ns);
                self.put(&[0x48, 0xb9])
                    .put(&rate(rate_ppm).to_le_bytes()) // mov rcx, RATE
                    .put(&[0x48, 0xf7, 0xe9]) // imul rcx
                    .put(&[0x48, 0x0f, 0xac, 0xd0, RATE_BITS]); // shrd rax, rdx, RATE_BITS
            }
        }
        self.put(&[0xc3]); // ret
        at
    }

    /// rax: nanoseconds since a reading of the monotonic clock.
    fn since(&mut self, base_ns: i64) {
        self.put(&[0x48, 0x83, 0xec, 0x18]); // sub rsp, 24
        self.read_clock(CLOCK_MONOTONIC)
            .put(&[0x48, 0x69, 0x04, 0x24])
            .put(&NS_PER_S.to_le_bytes()) // imul rax, [rsp], ns
            .put(&[0x48, 0x03, 0x44, 0x24, 0x08]) // add rax, [rsp+8]
            .put(&[0x48, 0x83, 0xc4, 0x18]) // add rsp, 24
            .put(&[0x48, 0xb9])
            .put(&base_ns.to_le_bytes()) // mov rcx, BASE
            .put(&[0x48, 0x29, 0xc8]); // sub rax, rcx
    }

    /// rax: nanoseconds, comes back as seconds with the nanoseconds above in rdx. Clobbers rcx.
    fn split(&mut self) -> usize {
        let at = self.begin();
        self.put(&[0x48, 0x99]) // cqo
            .put(&[0xb9])
            .put(&NS_PER_S.to_le_bytes()) // mov ecx, ns
            .put(&[0x48, 0xf7, 0xf9]) // idiv rcx
            .put(&[0x48, 0x85, 0xd2]); // test rdx, rdx
        let done = self.skip(0x79); // jns done
        self.put(&[0x48, 0x01, 0xca]) // add rdx, rcx
            .put(&[0x48, 0xff, 0xc8]); // dec rax
        self.land(done);
        self.put(&[0xc3]); // ret
        at
    }

    fn gettime(&mut self, offset: usize, split: usize) -> usize {
        let at = self.begin();
        self.syscall(SYS_CLOCK_GETTIME).put(&[0x48, 0x85, 0xc0]); // test rax, rax
        let failed = self.skip(0x75); // jnz failed
        self.put(&[0x85, 0xff]); // test edi, edi
        debug_assert_eq!(CLOCK_REALTIME, 0);
        let real = self.skip(0x74); // jz real
        self.put(&[0x83, 0xff, CLOCK_REALTIME_COARSE]); // cmp edi, COARSE
        let coarse = self.skip(0x74); // je coarse
        self.put(&[0x83, 0xff, CLOCK_TAI]); // cmp edi, TAI
        let other = self.skip(0x75); // jne other
        self.land(real);
        self.land(coarse);
        self.put(&[0x49, 0x89, 0xf0]) // mov r8, rsi
            .call(offset)
            .put(&[0x49, 0x69, 0x08])
            .put(&NS_PER_S.to_le_bytes()) // imul rcx, [r8], ns
            .put(&[0x49, 0x03, 0x48, 0x08]) // add rcx, [r8+8]
            .put(&[0x48, 0x01, 0xc8]) // add rax, rcx
            .call(split)
            .put(&[0x49, 0x89, 0x00]) // mov [r8], rax
            .put(&[0x49, 0x89, 0x50, 0x08]) // mov [r8+8], rdx
            .put(&[0x31, 0xc0]); // xor eax, eax
        self.land(failed);
        self.land(other);
        self.put(&[0xc3]); // ret
        at
    }

    fn gettimeofday(&mut self, offset: usize, split: usize) -> usize {
        let at = self.begin();
        self.syscall(SYS_GETTIMEOFDAY).put(&[0x48, 0x85, 0xc0]); // test rax, rax
        let failed = self.skip(0x75); // jnz failed
        self.put(&[0x48, 0x85, 0xff]); // test rdi, rdi
        let zone_only = self.skip(0x74); // jz zone_only
        self.put(&[0x49, 0x89, 0xf8]) // mov r8, rdi
            .call(offset)
            .put(&[0x49, 0x69, 0x08])
            .put(&NS_PER_S.to_le_bytes()) // imul rcx, [r8], ns
            .put(&[0x49, 0x69, 0x50, 0x08])
            .put(&1_000_i32.to_le_bytes()) // imul rdx, [r8+8], 1000
            .put(&[0x48, 0x01, 0xc8]) // add rax, rcx
            .put(&[0x48, 0x01, 0xd0]) // add rax, rdx
            .call(split)
            .put(&[0x49, 0x89, 0x00]) // mov [r8], rax
            .put(&[0x48, 0x89, 0xd0]) // mov rax, rdx
            .put(&[0x31, 0xd2]) // xor edx, edx
            .put(&[0xb9])
            .put(&1_000_i32.to_le_bytes()) // mov ecx, 1000
            .put(&[0x48, 0xf7, 0xf1]) // div rcx
            .put(&[0x49, 0x89, 0x40, 0x08]) // mov [r8+8], rax
            .put(&[0x31, 0xc0]); // xor eax, eax
        self.land(failed);
        self.land(zone_only);
        self.put(&[0xc3]); // ret
        at
    }

    fn time(&mut self, offset: usize, split: usize) -> usize {
        let at = self.begin();
        self.put(&[0x49, 0x89, 0xf8]) // mov r8, rdi
            .put(&[0x48, 0x83, 0xec, 0x18]); // sub rsp, 24
        self.read_clock(CLOCK_REALTIME_COARSE)
            .call(offset)
            .put(&[0x48, 0x69, 0x0c, 0x24])
            .put(&NS_PER_S.to_le_bytes()) // imul rcx, [rsp], ns
            .put(&[0x48, 0x03, 0x4c, 0x24, 0x08]) // add rcx, [rsp+8]
            .put(&[0x48, 0x83, 0xc4, 0x18]) // add rsp, 24
            .put(&[0x48, 0x01, 0xc8]) // add rax, rcx
            .call(split)
            .put(&[0x4d, 0x85, 0xc0]); // test r8, r8
        let nowhere = self.skip(0x74); // jz nowhere
        self.put(&[0x49, 0x89, 0x00]); // mov [r8], rax
        self.land(nowhere);
        self.put(&[0xc3]); // ret
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_what_was_asked_for_at_each_time() {
        let jump = Shift::Jump { by_ns: -7 };
        assert_eq!([jump.at_ns(0), jump.at_ns(i64::MAX)], [-7, -7]);
        let strobe = Shift::Strobe {
            by_ns: 50,
            period_ns: 10,
            base_ns: 1_000,
        };
        let seen = [1_000, 1_009, 1_010, 1_019, 1_020].map(|at| strobe.at_ns(at));
        assert_eq!(seen, [50, 50, 0, 0, 50]);
        for (rate_ppm, expected) in [(50_000, 50_000_000), (-500_000, -500_000_000), (1, 1_000)] {
            let skew = Shift::Skew {
                rate_ppm,
                base_ns: 5,
            };
            let off = skew.at_ns(1_000_000_005);
            assert!((off - expected).abs() <= 1, "{rate_ppm}: {off}");
        }
    }

    #[test]
    fn jumps_go_both_ways_and_not_too_far() {
        assert_eq!(jump(0x100, 0x105), Some([0xe9, 0, 0, 0, 0]));
        assert_eq!(jump(0x100, 0x100), Some([0xe9, 0xfb, 0xff, 0xff, 0xff]));
        assert_eq!(jump(0, 1 << 40), None);
    }

    #[test]
    fn it_fits_into_what_is_left_of_a_page() {
        for shift in [
            Shift::Jump { by_ns: 1 },
            Shift::Strobe {
                by_ns: 1,
                period_ns: 1,
                base_ns: 1,
            },
            Shift::Skew {
                rate_ppm: 1,
                base_ns: 1,
            },
        ] {
            let cave = Cave::new(shift);
            assert!(cave.code.len() < 512, "{}", cave.code.len());
        }
    }
}
