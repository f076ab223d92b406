//! A vDSO as an ELF file in memory: which functions tell the wall clock, and where it has room. Pure.
//!
//! Source: vdso(7), elf(5). Its sections are read, which every x86-64 kernel keeps in it.

use super::code::{JUMP, JUMP_BYTES, Teller};

/// Bytes of a vDSO, at most.
pub const MAX_BYTES: usize = 64 * 1024;
/// Sections of it that are looked at, at most.
const MAX_SECTIONS: usize = 64;
/// Symbols of it that are looked at, at most.
const MAX_SYMBOLS: usize = 256;
/// What the cave's start is a multiple of.
const CAVE_ALIGNMENT: usize = 64;

const SECTION_BYTES: usize = 64;
const SYMBOL_BYTES: usize = 24;
const PROGRAM_HEADER_BYTES: usize = 56;
const MACHINE_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const SHT_DYNSYM: u32 = 11;

/// The names under which each is exported.
const NAMES: [(&str, Teller); 6] = [
    ("__vdso_clock_gettime", Teller::Gettime),
    ("clock_gettime", Teller::Gettime),
    ("__vdso_gettimeofday", Teller::Gettimeofday),
    ("gettimeofday", Teller::Gettimeofday),
    ("__vdso_time", Teller::Time),
    ("time", Teller::Time),
];

/// What a vDSO has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vdso {
    /// Functions that tell the wall clock and where they begin, counted from the mapping's start; each place once, in order.
    pub tellers: Vec<(usize, Teller)>,
    /// Where what is loaded ends: from here on nothing is run or read by the program.
    loaded_end: usize,
    /// Bytes of the mapping.
    mapped_bytes: usize,
}

impl Vdso {
    /// Reads one as it is mapped.
    ///
    /// # Errors
    /// What it is not, as a fragment.
    pub fn parse(image: &[u8]) -> Result<Self, String> {
        if image.get(..6) != Some(b"\x7fELF\x02\x01") {
            return Err("its vDSO is no ELF file of 64 bits".to_owned());
        }
        let machine = half(image, 18).ok_or_else(cut)?;
        if machine != MACHINE_X86_64 {
            return Err(format!(
                "its vDSO is of ELF machine {machine}: only x86-64 can be rewritten"
            ));
        }
        let loaded_end = loaded_end(image)?;
        let mut tellers = tellers(image)?;
        tellers.sort_unstable();
        tellers.dedup();
        if !tellers.iter().any(|(_, teller)| *teller == Teller::Gettime) {
            return Err("its vDSO has no clock_gettime".to_owned());
        }
        if tellers.iter().any(|(at, _)| at + JUMP_BYTES > loaded_end) {
            return Err("its vDSO has functions beyond its end".to_owned());
        }
        Ok(Self {
            tellers,
            loaded_end,
            mapped_bytes: image.len(),
        })
    }

    /// Whether one of the functions leads out of what is loaded already, as ours do.
    #[must_use]
    pub fn is_rewritten(&self, image: &[u8]) -> bool {
        self.tellers.iter().any(|(at, _)| {
            let Some([JUMP, far @ ..]) = image.get(*at..*at + JUMP_BYTES) else {
                return false;
            };
            let Some(far) = far.first_chunk() else {
                return false;
            };
            let next = i64::try_from(at + JUMP_BYTES).unwrap_or(0);
            let to = next + i64::from(i32::from_le_bytes(*far));
            usize::try_from(to).is_ok_and(|to| to >= self.loaded_end)
        })
    }

    /// Where so many bytes can be put that nobody uses: as far to the end as can be, so that section headers are the last to go.
    ///
    /// # Errors
    /// How many bytes there are.
    pub fn room(&self, bytes: usize) -> Result<usize, String> {
        let free = self.mapped_bytes.saturating_sub(self.loaded_end);
        let start = self.mapped_bytes.checked_sub(bytes);
        let start = start.map(|start| start / CAVE_ALIGNMENT * CAVE_ALIGNMENT);
        start
            .filter(|start| *start >= self.loaded_end)
            .ok_or_else(|| format!("its vDSO has {free} bytes of room, and {bytes} are needed"))
    }
}

fn cut() -> String {
    "its vDSO is cut short".to_owned()
}

fn half(image: &[u8], at: usize) -> Option<u16> {
    let bytes = image.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*bytes))
}

fn word(image: &[u8], at: usize) -> Option<u32> {
    let bytes = image.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

/// A number of 64 bits that is a place or a size.
fn long(image: &[u8], at: usize) -> Option<usize> {
    let bytes = image.get(at..)?.first_chunk()?;
    usize::try_from(u64::from_le_bytes(*bytes)).ok()
}

fn loaded_end(image: &[u8]) -> Result<usize, String> {
    let headers = long(image, 32).ok_or_else(cut)?;
    let count = half(image, 56).ok_or_else(cut)?;
    let mut end = 0;
    for number in 0..usize::from(count) {
        let at = headers.saturating_add(number * PROGRAM_HEADER_BYTES);
        if word(image, at).ok_or_else(cut)? != PT_LOAD {
            continue;
        }
        let address = long(image, at + 16).ok_or_else(cut)?;
        let bytes = long(image, at + 40).ok_or_else(cut)?;
        end = end.max(address.saturating_add(bytes));
    }
    // Addresses count from its start: else places in it would not be what symbols say.
    if end == 0 || end > image.len() {
        return Err("its vDSO is not mapped as it says".to_owned());
    }
    Ok(end)
}

fn tellers(image: &[u8]) -> Result<Vec<(usize, Teller)>, String> {
    let headers = long(image, 40).ok_or_else(cut)?;
    let count = usize::from(half(image, 60).ok_or_else(cut)?).min(MAX_SECTIONS);
    let header = |number: usize| headers.saturating_add(number * SECTION_BYTES);
    let symbols = (0..count).find(|number| word(image, header(*number) + 4) == Some(SHT_DYNSYM));
    let symbols = header(symbols.ok_or("its vDSO has no table of symbols")?);
    let strings = usize::try_from(word(image, symbols + 40).ok_or_else(cut)?).unwrap_or(count);
    if strings >= count {
        return Err("its vDSO has no names of symbols".to_owned());
    }
    let names = long(image, header(strings) + 24).ok_or_else(cut)?;
    let table = long(image, symbols + 24).ok_or_else(cut)?;
    let entries = (long(image, symbols + 32).ok_or_else(cut)? / SYMBOL_BYTES).min(MAX_SYMBOLS);
    let mut found = Vec::new();
    for number in 0..entries {
        let at = table.saturating_add(number * SYMBOL_BYTES);
        let name = usize::try_from(word(image, at).ok_or_else(cut)?).unwrap_or(usize::MAX);
        let value = long(image, at + 8).ok_or_else(cut)?;
        let bytes = long(image, at + 16).ok_or_else(cut)?;
        let Some((name, teller)) = named(image, names.saturating_add(name)) else {
            continue;
        };
        if value == 0 {
            continue;
        }
        if bytes < JUMP_BYTES {
            return Err(format!("its vDSO has only {bytes} bytes for {name}"));
        }
        found.push((value, teller));
    }
    Ok(found)
}

fn named(image: &[u8], at: usize) -> Option<(&'static str, Teller)> {
    let rest = image.get(at..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let found = NAMES
        .iter()
        .find(|(name, _)| name.as_bytes() == &rest[..end])?;
    Some(*found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every kernel's looks like, with nothing in it but names, places and sizes.
    fn image(names: &[(&str, u64, u64)]) -> Vec<u8> {
        let mut image = vec![0_u8; 8192];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01");
        put(18, &MACHINE_X86_64.to_le_bytes());
        put(32, &64_u64.to_le_bytes());
        put(40, &0x1600_u64.to_le_bytes());
        put(56, &1_u16.to_le_bytes());
        put(60, &3_u16.to_le_bytes());
        put(64, &PT_LOAD.to_le_bytes());
        put(64 + 40, &0x1522_u64.to_le_bytes());
        let [symbols, strings] = [0x1600 + 64, 0x1600 + 128];
        put(symbols + 4, &SHT_DYNSYM.to_le_bytes());
        put(symbols + 24, &0x200_u64.to_le_bytes());
        let bytes = (names.len() * SYMBOL_BYTES) as u64;
        put(symbols + 32, &bytes.to_le_bytes());
        put(symbols + 40, &2_u32.to_le_bytes());
        put(strings + 24, &0x400_u64.to_le_bytes());
        let mut next = 1_u32;
        for (number, (name, value, bytes)) in names.iter().enumerate() {
            let at = 0x200 + number * SYMBOL_BYTES;
            put(at, &next.to_le_bytes());
            put(at + 8, &value.to_le_bytes());
            put(at + 16, &bytes.to_le_bytes());
            put(0x400 + next as usize, name.as_bytes());
            next += u32::try_from(name.len()).unwrap() + 1;
        }
        image
    }

    #[test]
    fn functions_are_found_under_both_names_and_told_once() {
        let image = image(&[
            ("clock_gettime", 0xaf0, 902),
            ("__vdso_clock_gettime", 0xaf0, 902),
            ("__vdso_clock_getres", 0xe80, 127),
            ("__vdso_time", 0xac0, 40),
            ("gettimeofday", 0x810, 683),
        ]);
        let vdso = Vdso::parse(&image).unwrap();
        let expected = [
            (0x810, Teller::Gettimeofday),
            (0xac0, Teller::Time),
            (0xaf0, Teller::Gettime),
        ];
        assert_eq!(vdso.tellers, expected);
        assert!(!vdso.is_rewritten(&image));
        let mut rewritten = image.clone();
        rewritten[0xaf0..0xaf5].copy_from_slice(&crate::clock::code::jump(0xaf0, 0x1e40).unwrap());
        assert!(vdso.is_rewritten(&rewritten));
        assert_eq!(vdso.room(400), Ok(7744));
        assert_eq!(vdso.room(8192 - 0x1522 - 30), Ok(0x1540));
        let full = vdso.room(3000).unwrap_err();
        assert_eq!(full, "its vDSO has 2782 bytes of room, and 3000 are needed");
    }

    #[test]
    fn what_is_no_such_vdso_is_refused_and_never_panics() {
        let good = image(&[("clock_gettime", 0xaf0, 902)]);
        for end in 0..good.len() {
            let _ = Vdso::parse(&good[..end]);
        }
        for at in 0..0x180 {
            let mut broken = good.clone();
            broken[at] = 0xff;
            let _ = Vdso::parse(&broken);
        }
        let refused = |image: &[u8]| Vdso::parse(image).unwrap_err();
        let mut arm = good.clone();
        arm[18] = 183;
        assert!(refused(&arm).contains("machine 183: only x86-64"));
        let mut narrow = good.clone();
        narrow[4] = 1;
        assert!(refused(&narrow).contains("64 bits"));
        assert!(refused(&image(&[("time", 0xac0, 40)])).contains("no clock_gettime"));
        assert!(refused(&image(&[("clock_gettime", 0xac0, 4)])).contains("only 4 bytes"));
        assert!(refused(&image(&[("clock_gettime", 0x1fff, 40)])).contains("beyond its end"));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn our_own_is_read() {
        let memory = crate::clock::memory::Memory::open(std::process::id().cast_signed()).unwrap();
        let (_, image) = memory.vdso().unwrap();
        let vdso = Vdso::parse(&image).unwrap();
        assert!(vdso.tellers.len() >= 3, "{vdso:?}");
        assert!(vdso.room(512).is_ok(), "{vdso:?}");
    }
}
