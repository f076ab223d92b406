//! Go's table of functions, which the runtime needs and stripping leaves: Go 1.18 to 1.26.
//!
//! ```text
//! 0  magic u32 (0xfffffff0 Go 1.18, 0xfffffff1 Go 1.20)   4  0 0   6  instruction quantum   7  bytes of a pointer
//! 8  functions   16 files   24 text start (0 in Go 1.26)   32 names   40 units   48 files   56 pc tables   64 functions
//! functions: (entry, descriptor) as u32 pairs, each an offset, and the last function's end; descriptors begin
//! entry u32, name i32, arguments, defer return, pc-to-stack-pointer table u32, pc-to-file table u32, …, unit u32 at 32
//! files: file number of the function + unit = index of a u32 of the units, which is where its name begins
//! ```
//!
//! Entries are offsets from `runtime.text`, which with cgo is not where `.text` begins. It is looked for in the header, in
//! the symbol table and in the module data (which begins with a pointer to this table, its 23rd word is the text); each is
//! only a candidate. The proof: a function's stack table ends where its code ends, the linker fills what is left up to the
//! next entry with 0xcc, and only the right text start makes all those gaps fall on such bytes.
//!
//! Source: `runtime/symtab.go`, `runtime/runtime2.go`, `cmd/link/internal/ld/pcln.go` of Go 1.18 to 1.26.

use super::{Claim, MAX_NAME_BYTES, Origin, PADDING, elf::Elf};

/// Where the table may be: in a position-independent program it needs relocations, and then lies elsewhere.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
const MAGIC_1_18: u32 = 0xffff_fff0;
const MAGIC_1_20: u32 = 0xffff_fff1;
/// Bytes of the header.
const HEAD_BYTES: usize = 72;
/// Where the header holds the text's start.
const TEXT_START_AT: u64 = 24;
/// Bytes of a (function, descriptor) pair.
const PAIR_BYTES: usize = 8;
/// Gaps that a proof needs, at least; the smallest Go program has over a thousand.
const MIN_GAPS: usize = 16;
/// Gaps that may hold something else, per thousand: none was seen.
const ODD_GAPS_PER_MILLE: usize = 1;
/// The linker pads up to the next multiple of this many bytes, so a gap is shorter.
const MAX_GAP_BYTES: u64 = 64;
/// Steps of one pc table that are followed, at most.
const MAX_STEPS: usize = 1 << 20;

/// Words of the module data, from its start: where the table's parts are repeated, and where the text is.
const WORD_NAMES: u64 = 1;
const WORD_FUNCTIONS: u64 = 16;
const WORD_FIRST_PC: u64 = 20;
const WORD_TEXT: u64 = 22;

/// The functions that the table tells.
///
/// # Errors
/// None if there is no such table, else what is wrong with it, for people.
pub(super) fn claims(elf: &Elf<'_>) -> Result<Vec<Claim>, Option<String>> {
    let Some((address, bytes)) = locate(elf) else {
        return Err(None);
    };
    let table = Table::parse(address, bytes).map_err(|why| Some(format!(".gopclntab: {why}")))?;
    let text = table
        .text_start(elf)
        .map_err(|why| Some(format!(".gopclntab: {why}")))?;
    Ok(table.claims(elf, text))
}

/// By section; without sections by the magic at the beginning of a page-aligned or 32-byte-aligned place.
fn locate<'a>(elf: &Elf<'a>) -> Option<(u64, &'a [u8])> {
    if let Some(found) = SECTIONS.iter().find_map(|name| elf.section(name)) {
        return Some(found);
    }
    elf.data_segments().find_map(|(address, bytes)| {
        let at = (0..bytes.len())
            .step_by(PAIR_BYTES)
            .find(|at| Table::parse(0, &bytes[*at..]).is_ok_and(|table| table.is_sound()))?;
        Some((address.checked_add(at as u64)?, &bytes[at..]))
    })
}

struct Table<'a> {
    address: u64,
    count: usize,
    header_text: u64,
    names_at: u64,
    functions_at: u64,
    names: &'a [u8],
    pc_tables: &'a [u8],
    /// Per compilation unit, where the names of its files begin.
    units: &'a [u8],
    files: &'a [u8],
    /// Pairs and descriptors.
    functions: &'a [u8],
}

/// One function of the table.
struct Entry<'a> {
    offset: u32,
    next: u32,
    /// The first byte behind its code, if it has a stack table.
    code_end: Option<u64>,
    name: &'a str,
    file: Option<&'a str>,
}

impl<'a> Table<'a> {
    fn parse(address: u64, bytes: &'a [u8]) -> Result<Self, String> {
        let head = bytes
            .first_chunk::<HEAD_BYTES>()
            .ok_or("it is shorter than its header")?;
        let magic = u32_at(head, 0).unwrap_or(0);
        if magic != MAGIC_1_18 && magic != MAGIC_1_20 {
            return Err(format!("magic 0x{magic:x} is not of Go 1.18 to 1.26"));
        }
        // Quantum and pointer size of x86-64.
        if head[4..8] != [0, 0, 1, 8] {
            return Err("it is another machine's".into());
        }
        let word = |at: usize| u64_at(head, at).unwrap_or(u64::MAX);
        let part = |at: usize| {
            let from = usize::try_from(word(at)).ok()?;
            bytes.get(from..)
        };
        let outside = "a part of it lies outside of it";
        let functions = part(64).ok_or(outside)?;
        let count = usize::try_from(word(8)).map_err(|_| outside)?;
        // So that every pair, and the last end, can be there.
        if count == 0 || count > functions.len() / PAIR_BYTES {
            return Err(format!("it cannot hold {count} functions"));
        }
        Ok(Self {
            address,
            count,
            header_text: word(24),
            names_at: word(32),
            functions_at: word(64),
            names: part(32).ok_or(outside)?,
            // Only names of files are lost without them.
            units: part(40).unwrap_or_default(),
            files: part(48).unwrap_or_default(),
            pc_tables: part(56).ok_or(outside)?,
            functions,
        })
    }

    /// Whether its functions ascend and each descriptor names the entry that its pair names.
    fn is_sound(&self) -> bool {
        (0..self.count).all(|index| self.entry(index).is_some())
    }

    fn entry(&self, index: usize) -> Option<Entry<'a>> {
        let pair = index.checked_mul(PAIR_BYTES)?;
        let offset = u32_at(self.functions, pair)?;
        let next = u32_at(self.functions, pair + PAIR_BYTES)?;
        let descriptor = self
            .functions
            .get(u32_at(self.functions, pair + 4)? as usize..)?;
        if u32_at(descriptor, 0)? != offset || next <= offset {
            return None;
        }
        let name = self.names.get(u32_at(descriptor, 4)? as usize..)?;
        let name = &name[..name.len().min(MAX_NAME_BYTES + 1)];
        let length = name.iter().position(|byte| *byte == 0)?;
        let stack = u32_at(descriptor, 16)? as usize;
        let code_end = if stack == 0 {
            None
        } else {
            Some(u64::from(offset) + covered_bytes(self.pc_tables.get(stack..)?)?)
        };
        Some(Entry {
            offset,
            next,
            code_end,
            name: std::str::from_utf8(&name[..length]).ok()?,
            file: self.file(descriptor),
        })
    }

    /// The source file of a function's first instruction.
    fn file(&self, descriptor: &[u8]) -> Option<&'a str> {
        let mut steps = self.pc_tables.get(u32_at(descriptor, 20)? as usize..)?;
        // Values begin at -1, and a step's sign is its lowest bit.
        let step = varint(&mut steps)?;
        if step & 1 == 1 || step == 0 {
            return None;
        }
        let unit = (u32_at(descriptor, 32)? as usize).checked_add((step >> 1) as usize - 1)?;
        let at = u32_at(self.units, unit.checked_mul(4)?)?;
        let name = self.files.get(at as usize..)?;
        let name = &name[..name.len().min(MAX_NAME_BYTES + 1)];
        let length = name.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&name[..length])
            .ok()
            .filter(|name| !name.is_empty())
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'a>> {
        (0..self.count).map_while(|index| self.entry(index))
    }

    /// The first candidate that the program's bytes prove.
    fn text_start(&self, elf: &Elf<'_>) -> Result<u64, String> {
        let sound = self.entries().count();
        if sound != self.count {
            return Err(format!("function {sound} of {} is not sound", self.count));
        }
        let header = elf
            .relocated()
            .get(&(self.address.saturating_add(TEXT_START_AT)));
        let header = header.copied().unwrap_or(self.header_text);
        let candidates = [
            ("its header", (header != 0).then_some(header)),
            ("runtime.text", elf.symbol("runtime.text")),
            ("the module data", self.module_text(elf)),
        ];
        let mut tried = Vec::new();
        for (from, text) in candidates {
            let Some(text) = text else { continue };
            match self.speaks_against(elf, text) {
                None => return Ok(text),
                Some(why) => tried.push(format!("{text:#x} of {from} is not proven: {why}")),
            }
        }
        if tried.is_empty() {
            return Err("the start of the text is nowhere to be found".into());
        }
        Err(tried.join("; "))
    }

    /// What speaks against this text start; none if the gaps prove it.
    fn speaks_against(&self, elf: &Elf<'_>, text: u64) -> Option<String> {
        let (mut gaps, mut odd) = (0, 0);
        for entry in self.entries() {
            let Some(filled) = self.gap_is_filled(elf, text, &entry) else {
                continue;
            };
            gaps += 1;
            odd += usize::from(!filled);
        }
        if gaps < MIN_GAPS {
            return Some(format!("only {gaps} gaps between functions to look at"));
        }
        (odd * 1000 > gaps * ODD_GAPS_PER_MILLE).then(|| {
            format!("{odd} of {gaps} gaps between functions hold something else than padding")
        })
    }

    /// Whether padding fills the gap behind a function; none if there is no gap, or no end of the code is known.
    fn gap_is_filled(&self, elf: &Elf<'_>, text: u64, entry: &Entry<'_>) -> Option<bool> {
        let (end, next) = (entry.code_end?, u64::from(entry.next));
        if end == next || next - end.min(next) >= MAX_GAP_BYTES {
            return None;
        }
        if end > next {
            return Some(false);
        }
        let length = usize::try_from(next - end).ok()?;
        let gap = elf
            .bytes_at(text.checked_add(end)?)
            .and_then(|bytes| bytes.get(..length));
        Some(gap.is_some_and(|gap| gap.iter().all(|byte| *byte == PADDING)))
    }

    fn claims(&self, elf: &Elf<'_>, text: u64) -> Vec<Claim> {
        let mut before = true;
        self.entries()
            .map(|entry| {
                let behind = self.gap_is_filled(elf, text, &entry) != Some(false);
                let against = (!(before && behind))
                    .then_some("what stands before or behind it is not the linker's padding");
                before = behind;
                let end = entry.code_end.unwrap_or(u64::from(entry.next));
                Claim {
                    name: entry.name.to_owned(),
                    address: text.saturating_add(u64::from(entry.offset)),
                    size_bytes: end.saturating_sub(u64::from(entry.offset)),
                    origin: Origin::Pclntab,
                    file: entry.file.map(Box::from),
                    against,
                }
            })
            .collect()
    }

    /// The text start from the module data, which is known by its pointers to this table's parts.
    fn module_text(&self, elf: &Elf<'_>) -> Option<u64> {
        let first = u64::from(u32_at(self.functions, 0)?);
        let is_it = |at: u64| {
            let word = |index: u64| elf.pointer(at.checked_add(index * 8)?);
            let text = word(WORD_TEXT)?;
            let same = word(0)? == self.address
                && word(WORD_NAMES)? == self.address.checked_add(self.names_at)?
                && word(WORD_FUNCTIONS)? == self.address.checked_add(self.functions_at)?
                && word(WORD_FIRST_PC)? == text.checked_add(first)?;
            same.then_some(text)
        };
        let relocated = elf.relocated();
        if !relocated.is_empty() {
            let places = relocated.iter().filter(|(_, to)| **to == self.address);
            if let Some(text) = places.filter_map(|(at, _)| is_it(*at)).next() {
                return Some(text);
            }
        }
        elf.data_segments().find_map(|(address, bytes)| {
            let (words, _) = bytes.as_chunks::<8>();
            let wanted = self.address.to_le_bytes();
            words
                .iter()
                .enumerate()
                .filter(|(_, word)| **word == wanted)
                .find_map(|(index, _)| is_it(address.checked_add(index as u64 * 8)?))
        })
    }
}

/// How many bytes of code a pc table covers: the sum of its pc steps. None if it does not end.
fn covered_bytes(table: &[u8]) -> Option<u64> {
    let mut rest = table;
    let mut covered = 0_u64;
    for step in 0..MAX_STEPS {
        let value = varint(&mut rest)?;
        if value == 0 && step > 0 {
            return Some(covered);
        }
        covered = covered.checked_add(u64::from(varint(&mut rest)?))?;
    }
    None
}

fn varint(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for shift in (0..35).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u64::from_le_bytes(*bytes))
}
