//! The program that the kernel runs at each hit, as instructions. Pure.
//!
//! ```text
//! not this pid namespace → elsewhere += 1, done
//! hit = hits[site] += 1
//! hit = nth             → send the signal, report
//! hit ≤ report_hits     → report
//! no room for a report  → lost += 1
//! ```
//!
//! Laws: no loop, no helper that wants a GPL licence, nothing read of the process but its instruction pointer; the report
//! is made after the signal is sent and before the process runs on, so it always leaves.
//!
//! Source: Linux' `Documentation/bpf/standardization/instruction-set.rst` and `include/uapi/linux/bpf.h`.

use harness_core::frame::probe::{Fire, ProbeSignal};

/// Bytes of one report in the ring.
pub const EVENT_BYTES: usize = 48;

/// Where fields lie in a report.
const AT_TIME: usize = 0;
const AT_HIT: usize = 8;
const AT_IP: usize = 16;
const AT_TID: usize = 24;
const AT_PID: usize = 28;
const AT_SITE: usize = 32;
const AT_FIRED: usize = 36;
const AT_RESULT: usize = 40;

/// Where the instruction pointer lies in `pt_regs` of x86-64.
const PT_REGS_IP: i16 = 128;

/// Helpers, by number.
mod helper {
    pub const MAP_LOOKUP_ELEM: i32 = 1;
    pub const KTIME_GET_NS: i32 = 5;
    pub const SEND_SIGNAL: i32 = 109;
    pub const GET_NS_CURRENT_PID_TGID: i32 = 120;
    pub const RINGBUF_OUTPUT: i32 = 130;
    pub const GET_ATTACH_COOKIE: i32 = 174;
}

const SIGKILL: i32 = 9;
const SIGSTOP: i32 = 19;

/// What a program is made for.
pub struct Plan {
    /// The pid namespace's device as the kernel numbers it, and its inode.
    pub namespace: (u64, u64),
    /// File descriptor of the array of counters.
    pub counters: i32,
    /// File descriptor of the ring.
    pub ring: i32,
    /// How many sites there are. Their counters come first, then `elsewhere`, then `lost`.
    pub sites: u32,
    /// Whether the site's number is the probe's cookie; otherwise there is just one.
    pub cookies: bool,
    /// Reported hits of each site, from its first on.
    pub report_hits: u64,
    /// What happens at a certain hit.
    pub fire: Option<Fire>,
}

/// One report as the program wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The kernel's monotonic clock in nanoseconds.
    pub time_ns: u64,
    /// The how-manieth hit of its site.
    pub hit: u64,
    /// The instruction's address.
    pub ip: u64,
    /// Process, as its namespace numbers it.
    pub pid: u32,
    /// Thread, likewise.
    pub tid: u32,
    /// Which site.
    pub site: u32,
    /// Whether it is the hit that fires.
    pub fired: bool,
    /// What sending the signal gave: 0 or a negative error number.
    pub result: i64,
}

impl Event {
    /// Reads it.
    pub fn parse(bytes: &[u8; EVENT_BYTES]) -> Self {
        let word = |at: usize| {
            let bytes = bytes[at..].first_chunk().copied();
            u64::from_ne_bytes(bytes.unwrap_or_default())
        };
        let half = |at: usize| {
            let bytes = bytes[at..].first_chunk().copied();
            u32::from_ne_bytes(bytes.unwrap_or_default())
        };
        Self {
            time_ns: word(AT_TIME),
            hit: word(AT_HIT),
            ip: word(AT_IP),
            pid: half(AT_PID),
            tid: half(AT_TID),
            site: half(AT_SITE),
            fired: half(AT_FIRED) != 0,
            result: word(AT_RESULT).cast_signed(),
        }
    }
}

/// Where an event's field lies below the frame pointer.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "48 fits in an i16"
)]
const fn slot(at: usize) -> i16 {
    at as i16 - EVENT_BYTES as i16
}

/// The key of a counter lies behind the event.
const KEY: i16 = slot(0) - 4;

/// Registers.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const CONTEXT: u8 = 6;
const HIT: u8 = 8;
const FRAME: u8 = 10;

/// Places that are jumped to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Elsewhere,
    AfterFire,
    Report,
    Count,
    Out,
}

#[derive(Default)]
struct Code {
    bytes: Vec<[u8; 8]>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

impl Code {
    fn push(&mut self, opcode: u8, to: u8, from: u8, offset: i16, value: i32) {
        let [o0, o1] = offset.to_le_bytes();
        let [v0, v1, v2, v3] = value.to_le_bytes();
        self.bytes
            .push([opcode, from << 4 | to, o0, o1, v0, v1, v2, v3]);
    }

    fn set(&mut self, to: u8, value: i32) {
        self.push(0xb7, to, 0, 0, value);
    }

    fn copy(&mut self, to: u8, from: u8) {
        self.push(0xbf, to, from, 0, 0);
    }

    fn add(&mut self, to: u8, value: i32) {
        self.push(0x07, to, 0, 0, value);
    }

    /// `kind` 1 makes it a map by file descriptor.
    fn set_wide(&mut self, to: u8, kind: u8, value: u64) {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.push(0x18, to, kind, 0, i32::from_le_bytes([a, b, c, d]));
        self.push(0, 0, 0, 0, i32::from_le_bytes([e, f, g, h]));
    }

    fn set_map(&mut self, to: u8, descriptor: i32) {
        self.set_wide(to, 1, u64::from(descriptor.unsigned_abs()));
    }

    fn address_of(&mut self, to: u8, slot: i16) {
        self.copy(to, FRAME);
        self.add(to, slot.into());
    }

    fn load_wide(&mut self, to: u8, from: u8, offset: i16) {
        self.push(0x79, to, from, offset, 0);
    }

    fn store_wide(&mut self, slot: i16, from: u8) {
        self.push(0x7b, FRAME, from, slot, 0);
    }

    fn store_half(&mut self, slot: i16, from: u8) {
        self.push(0x63, FRAME, from, slot, 0);
    }

    fn store_half_value(&mut self, slot: i16, value: i32) {
        self.push(0x62, FRAME, 0, slot, value);
    }

    fn store_wide_value(&mut self, slot: i16, value: i32) {
        self.push(0x7a, FRAME, 0, slot, value);
    }

    /// Adds a register to a counter; with `fetch` the register then holds what was there before.
    fn add_atomically(&mut self, at: u8, amount: u8, fetch: bool) {
        self.push(0xdb, at, amount, 0, i32::from(fetch));
    }

    fn call(&mut self, helper: i32) {
        self.push(0x85, 0, 0, 0, helper);
    }

    fn jump(&mut self, opcode: u8, register: u8, other: u8, value: i32, to: Label) {
        self.jumps.push((self.bytes.len(), to));
        self.push(opcode, register, other, 0, value);
    }

    fn go(&mut self, to: Label) {
        self.jump(0x05, 0, 0, 0, to);
    }

    fn if_zero(&mut self, register: u8, to: Label) {
        self.jump(0x15, register, 0, 0, to);
    }

    fn if_not_zero(&mut self, register: u8, to: Label) {
        self.jump(0x55, register, 0, 0, to);
    }

    fn if_not_equal(&mut self, register: u8, other: u8, to: Label) {
        self.jump(0x5d, register, other, 0, to);
    }

    fn if_greater(&mut self, register: u8, other: u8, to: Label) {
        self.jump(0x2d, register, other, 0, to);
    }

    fn label(&mut self, label: Label) {
        self.labels.push((label, self.bytes.len()));
    }

    /// The counter at [`KEY`], or the way out.
    fn look_up(&mut self, counters: i32) {
        self.set_map(R1, counters);
        self.address_of(R2, KEY);
        self.call(helper::MAP_LOOKUP_ELEM);
        self.if_zero(R0, Label::Out);
    }

    fn finish(mut self) -> Vec<[u8; 8]> {
        for (at, label) in &self.jumps {
            let target = self.labels.iter().find(|(known, _)| known == label);
            let to = target.map_or(0, |(_, to)| *to);
            let distance = i16::try_from(to.saturating_sub(at + 1)).unwrap_or(i16::MAX);
            [self.bytes[*at][2], self.bytes[*at][3]] = distance.to_le_bytes();
        }
        self.bytes
    }
}

/// The program.
pub fn assemble(plan: &Plan) -> Vec<[u8; 8]> {
    let mut code = Code::default();
    code.copy(CONTEXT, R1);
    code.set_wide(R1, 0, plan.namespace.0);
    code.set_wide(R2, 0, plan.namespace.1);
    code.address_of(R3, slot(AT_TID));
    code.set(R4, 8);
    code.call(helper::GET_NS_CURRENT_PID_TGID);
    code.if_not_zero(R0, Label::Elsewhere);

    if plan.cookies {
        code.copy(R1, CONTEXT);
        code.call(helper::GET_ATTACH_COOKIE);
    } else {
        code.set(R0, 0);
    }
    code.store_half(slot(AT_SITE), R0);
    code.store_half(KEY, R0);
    code.load_wide(R1, CONTEXT, PT_REGS_IP);
    code.store_wide(slot(AT_IP), R1);
    code.store_half_value(slot(AT_FIRED), 0);
    code.store_wide_value(slot(AT_RESULT), 0);
    code.call(helper::KTIME_GET_NS);
    code.store_wide(slot(AT_TIME), R0);
    code.look_up(plan.counters);
    code.set(HIT, 1);
    code.add_atomically(R0, HIT, true);
    code.add(HIT, 1);
    code.store_wide(slot(AT_HIT), HIT);

    if let Some(fire) = plan.fire {
        code.set_wide(R1, 0, fire.nth);
        code.if_not_equal(HIT, R1, Label::AfterFire);
        code.store_half_value(slot(AT_FIRED), 1);
        if let Some(signal) = fire.signal {
            let number = match signal {
                ProbeSignal::Kill => SIGKILL,
                ProbeSignal::Stop => SIGSTOP,
            };
            code.set(R1, number);
            code.call(helper::SEND_SIGNAL);
            code.store_wide(slot(AT_RESULT), R0);
        }
        code.go(Label::Report);
        code.label(Label::AfterFire);
    }
    code.set_wide(R1, 0, plan.report_hits);
    code.if_greater(HIT, R1, Label::Out);

    code.label(Label::Report);
    code.set_map(R1, plan.ring);
    code.address_of(R2, slot(0));
    code.set(R3, i32::from(-slot(0)));
    code.set(R4, 0);
    code.call(helper::RINGBUF_OUTPUT);
    code.if_zero(R0, Label::Out);
    code.store_half_value(KEY, index(plan.sites + 1));
    code.go(Label::Count);

    code.label(Label::Elsewhere);
    code.store_half_value(KEY, index(plan.sites));
    code.label(Label::Count);
    code.look_up(plan.counters);
    code.set(R1, 1);
    code.add_atomically(R0, R1, false);
    code.label(Label::Out);
    code.set(R0, 0);
    code.push(0x95, 0, 0, 0, 0);
    code.finish()
}

fn index(number: u32) -> i32 {
    number.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_goes_forward_to_an_instruction_of_the_program() {
        for cookies in [false, true] {
            for signal in [None, Some(ProbeSignal::Kill), Some(ProbeSignal::Stop)] {
                let plan = Plan {
                    namespace: (4, 4_026_531_836),
                    counters: 5,
                    ring: 6,
                    sites: 3,
                    cookies,
                    report_hits: 1,
                    fire: signal.map(|signal| Fire {
                        nth: 2,
                        signal: Some(signal),
                    }),
                };
                let code = assemble(&plan);
                for (at, word) in code.iter().enumerate() {
                    let is_jump = matches!(word[0], 0x05 | 0x15 | 0x55 | 0x5d | 0x2d);
                    let distance = i16::from_le_bytes([word[2], word[3]]);
                    if is_jump {
                        assert!(
                            distance >= 0
                                && at + 1 + usize::try_from(distance).unwrap() < code.len()
                        );
                    }
                }
                let calls = |helper: i32| {
                    code.iter()
                        .any(|word| word[0] == 0x85 && word[4..] == helper.to_le_bytes())
                };
                assert_eq!(calls(helper::SEND_SIGNAL), signal.is_some());
                assert_eq!(calls(helper::GET_ATTACH_COOKIE), cookies);
                assert_eq!(code.last().unwrap()[0], 0x95);
            }
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_laid_out() {
        let mut bytes = [0; EVENT_BYTES];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(at).unwrap();
        }
        let event = Event::parse(&bytes);
        assert_eq!(event.tid.to_ne_bytes(), [24, 25, 26, 27]);
        assert_eq!(event.pid.to_ne_bytes(), [28, 29, 30, 31]);
        assert_eq!(event.result.to_ne_bytes(), [40, 41, 42, 43, 44, 45, 46, 47]);
        assert!(event.fired);
    }
}
