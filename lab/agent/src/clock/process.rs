//! A process whose wall clock is shifted: its vDSO is rewritten, looked at and put back.
//!
//! Laws:
//! - the notes are on disk before a byte is written;
//! - nothing is written while a thread stands in what is overwritten, or comes back to it from a signal; then it is tried again;
//! - a function's body stays as it was behind the jump at its entry: whoever is in it goes on in it;
//! - on the way back the jumps go first, and the code that they led to goes once nobody is in it;
//! - a process that is gone, or is another one since, has nothing to be undone.

use std::{
    io,
    ops::Range,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    call::Copy,
    code::{Cave, JUMP_BYTES, Shift, Teller, jump},
    halt::Halted,
    memory::Memory,
    notes::{Notes, Patch},
    vdso::Vdso,
};
use crate::{node, process::ProcessStat};

/// How long it may take until no thread is where it must not be.
const FREE_LIMIT: Duration = Duration::from_secs(10);
/// How long between two tries.
const FREE_PAUSE: Duration = Duration::from_millis(2);
/// How far what the process sees may be from what was asked, beside the time that reading the clocks takes.
const NEAR_NS: i64 = 1_000;
/// How often the clocks are read for one look, should the real one be set meanwhile.
const READINGS: u32 = 5;
/// Bits that the register of flags can have.
const FLAGS: u64 = 0x3f_ffff;
/// The one that it always has.
const FLAG_ALWAYS: u64 = 2;
/// The segment of code of 64 bits.
const CODE_SEGMENT: u64 = 0x33;

/// What a process was seen to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Our code, and what it tells.
    Shifted {
        /// How far its wall clock is off, in nanoseconds.
        off_ns: i64,
        /// How far it is meant to be off.
        meant_ns: i64,
        /// How far its monotonic clock is off.
        monotonic_ns: i64,
        /// How exact all of that is.
        bound_ns: i64,
    },
    /// Its own code.
    Right,
    /// Nothing: it has ended.
    Gone,
}

impl Seen {
    /// Whether it is as it is meant to be.
    #[must_use]
    pub fn holds(&self) -> bool {
        match self {
            Self::Shifted {
                off_ns,
                meant_ns,
                monotonic_ns,
                bound_ns,
            } => (off_ns - meant_ns).abs() <= *bound_ns && monotonic_ns.abs() <= *bound_ns,
            Self::Right | Self::Gone => false,
        }
    }
}

/// Rewrites a process's vDSO; the notes say what was done.
///
/// # Errors
/// Why it cannot be had; then nothing was changed, or the notes tell what.
pub fn shift(pid: i32, shift: Shift, keep: Option<&Path>) -> io::Result<Notes> {
    let start_time = ProcessStat::read(pid)?.start_time;
    let memory = Memory::open(pid).map_err(|error| may_not(pid, &error))?;
    let (base, image) = memory.vdso()?;
    let vdso = Vdso::parse(&image).map_err(io::Error::other)?;
    if vdso.is_rewritten(&image) {
        return Err(io::Error::other("its clock is shifted already"));
    }
    let cave = Cave::new(shift);
    let room = vdso.room(cave.code.len()).map_err(io::Error::other)?;
    let patch = |at: usize, is: Vec<u8>| {
        let was = image.get(at..at + is.len());
        let was = was.ok_or_else(|| io::Error::other("its vDSO is too short"))?;
        Ok::<Patch, io::Error>(Patch {
            at,
            was: was.to_vec(),
            is,
        })
    };
    let mut jumps = Vec::new();
    let mut gettime = None;
    for (at, teller) in &vdso.tellers {
        let to = room + cave.entry(*teller);
        let bytes = jump(*at, to).ok_or_else(|| io::Error::other("its vDSO is too long"))?;
        jumps.push(patch(*at, bytes.to_vec())?);
        if *teller == Teller::Gettime {
            gettime = Some(*at);
        }
    }
    let gettime = gettime.ok_or_else(|| io::Error::other("its vDSO has no clock_gettime"))?;
    let notes = Notes {
        pid,
        start_time,
        shift,
        cave: patch(room, cave.code)?,
        jumps,
        gettime,
    };
    if let Some(path) = keep {
        notes.write(path)?;
    }
    let all: Vec<&Patch> = std::iter::once(&notes.cave).chain(&notes.jumps).collect();
    swap(&notes, &memory, base, &all, true)?;
    Ok(notes)
}

/// Puts a process's vDSO back as it was; whether there was something to put back.
///
/// # Errors
/// Why it is not as it was.
pub fn restore(notes: &Notes) -> io::Result<bool> {
    if !is_there(notes) {
        return Ok(false);
    }
    match restore_there(notes) {
        // It ended meanwhile.
        Err(_) if !is_there(notes) => Ok(false),
        done => done,
    }
}

fn restore_there(notes: &Notes) -> io::Result<bool> {
    let memory = Memory::open(notes.pid).map_err(|error| may_not(notes.pid, &error))?;
    let (base, image) = memory.vdso()?;
    let ours = |patch: &&Patch| patch.is_in(&image);
    let strange = std::iter::once(&notes.cave)
        .chain(&notes.jumps)
        .find(|patch| !ours(patch) && !patch.is_undone(&image));
    if let Some(patch) = strange {
        return Err(io::Error::other(format!(
            "somebody else has written to its vDSO at {:#x}",
            patch.at
        )));
    }
    let jumps: Vec<&Patch> = notes.jumps.iter().filter(ours).collect();
    let cave: Vec<&Patch> = std::iter::once(&notes.cave).filter(ours).collect();
    for patches in [&jumps, &cave] {
        if !patches.is_empty() {
            swap(notes, &memory, base, patches, false)?;
        }
    }
    Ok(!jumps.is_empty() || !cave.is_empty())
}

/// What a process has, and what that tells when it is run.
///
/// # Errors
/// Why that cannot be found out.
pub fn look(notes: &Notes) -> io::Result<Seen> {
    if !is_there(notes) {
        return Ok(Seen::Gone);
    }
    let memory = Memory::open(notes.pid).map_err(|error| may_not(notes.pid, &error))?;
    let (_, image) = memory.vdso()?;
    match Copy::of(&image, notes)? {
        Some(copy) => read(&copy, notes),
        None => Ok(Seen::Right),
    }
}

fn read(copy: &Copy, notes: &Notes) -> io::Result<Seen> {
    let mut seen = Seen::Right;
    for _ in 0..READINGS {
        let before = node::clock();
        let wall_ns = copy.gettime(libc::CLOCK_REALTIME)?;
        let monotonic_ns = copy.gettime(libc::CLOCK_MONOTONIC)?;
        let after = node::clock();
        let middle = |before: i64, after: i64| before + (after - before) / 2;
        seen = Seen::Shifted {
            off_ns: wall_ns - middle(before.wall_ns, after.wall_ns),
            meant_ns: notes
                .shift
                .at_ns(middle(before.monotonic_ns, after.monotonic_ns)),
            monotonic_ns: monotonic_ns - middle(before.monotonic_ns, after.monotonic_ns),
            bound_ns: (after.monotonic_ns - before.monotonic_ns).saturating_add(NEAR_NS),
        };
        if seen.holds() {
            break;
        }
    }
    Ok(seen)
}

fn is_there(notes: &Notes) -> bool {
    ProcessStat::read(notes.pid)
        .is_ok_and(|stat| stat.start_time == notes.start_time && !matches!(stat.state, 'Z' | 'X'))
}

fn may_not(pid: i32, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("the memory of process {pid} cannot be written: {error}"),
    )
}

/// Writes what is to be there, once nobody is in it.
fn swap(
    notes: &Notes,
    memory: &Memory,
    base: u64,
    patches: &[&Patch],
    forth: bool,
) -> io::Result<()> {
    let give_up = Instant::now() + FREE_LIMIT;
    let areas: Vec<Range<u64>> = patches.iter().map(|patch| area(base, patch)).collect();
    loop {
        {
            let halted = Halted::new(notes.pid).map_err(|error| {
                let text = format!("process {} cannot be held still: {error}", notes.pid);
                io::Error::new(error.kind(), text)
            })?;
            if !is_there(notes) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            if !is_in(&halted, memory, &areas)? {
                for patch in patches {
                    let bytes = if forth { &patch.is } else { &patch.was };
                    memory
                        .write(base + patch.at as u64, bytes)
                        .map_err(|error| may_not(notes.pid, &error))?;
                }
                return Ok(());
            }
        }
        if Instant::now() >= give_up {
            return Err(io::Error::other(format!(
                "a thread of process {} has stood in its clock functions for {} s",
                notes.pid,
                FREE_LIMIT.as_secs()
            )));
        }
        thread::sleep(FREE_PAUSE);
    }
}

/// Where nobody may be. At the first byte of a jump somebody may: there is a whole instruction before and after.
fn area(base: u64, patch: &Patch) -> Range<u64> {
    let start = base + patch.at as u64;
    let end = start + patch.is.len() as u64;
    match patch.is.len() == JUMP_BYTES {
        true => start + 1..end,
        false => start..end,
    }
}

fn is_in(halted: &Halted, memory: &Memory, areas: &[Range<u64>]) -> io::Result<bool> {
    let places = halted.places()?;
    Ok(places
        .iter()
        .any(|place| within(place.code, areas) || comes_back(&memory.stack(place.stack), areas)))
}

fn within(address: u64, areas: &[Range<u64>]) -> bool {
    areas.iter().any(|area| area.contains(&address))
}

/// Whether a signal's frame is on a stack that leads there: in it the flags and the segment stand behind the instruction.
fn comes_back(stack: &[u64], areas: &[Range<u64>]) -> bool {
    stack.windows(3).any(|frame| {
        let are_flags = frame[1] & !FLAGS == 0 && frame[1] & FLAG_ALWAYS != 0;
        within(frame[0], areas) && are_flags && frame[2] & 0xffff == CODE_SEGMENT
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_a_jump_s_first_byte_one_may_stand_and_in_the_cave_nowhere() {
        let patch = |bytes: usize| Patch {
            at: 0x100,
            was: vec![0; bytes],
            is: vec![0; bytes],
        };
        assert_eq!(area(0x7000, &patch(JUMP_BYTES)), 0x7101..0x7105);
        assert_eq!(area(0x7000, &patch(300)), 0x7100..0x722c);
    }

    #[test]
    fn whoever_comes_back_from_a_signal_is_seen_and_a_number_is_not_one() {
        let areas = [0x7000..0x7100, 0x9000..0x9004];
        let frame = [0x7ffc_0000, 0x7042, 0x246, 0x002b_0000_0000_0033, 0];
        assert!(comes_back(&frame, &areas));
        assert!(!comes_back(&[0x7042, 0x7043, 0x7044, 0x33], &areas));
        assert!(!comes_back(&[0x7042, 0x244, 0x33], &areas));
        assert!(!comes_back(&[0x7100, 0x246, 0x33], &areas));
        assert!(!comes_back(&frame[..3], &areas));
    }
}
