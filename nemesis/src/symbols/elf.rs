//! The ELF file: where addresses lie in it, its symbol tables, and the proof of one function.

use std::{cell::OnceCell, collections::HashMap};

use object::{
    LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _,
    elf::{
        EM_X86_64, ET_DYN, PF_X, PT_LOAD, R_X86_64_RELATIVE, SHF_EXECINSTR, SHN_UNDEF, STT_FUNC,
    },
    read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _, Sym as _},
};

use super::{Claim, ENTRY_BYTES, Function, MAX_NAME_BYTES, Origin, PADDING, SymbolError, xz};

/// Bytes of one entry of `.rela.dyn`: offset, info, addend.
const RELA_BYTES: usize = 24;
/// Sizes of an ELF file's first fields, up to and with its machine.
const MACHINE_AT: usize = 18;

/// A stretch of the file that is mapped at an address.
struct Segment<'a> {
    address: u64,
    file_offset: u64,
    bytes: &'a [u8],
    executable: bool,
}

/// An ELF file for x86-64.
pub(super) struct Elf<'a> {
    file: ElfFile64<'a, LittleEndian>,
    segments: Vec<Segment<'a>>,
    /// Address ranges of sections that hold code; empty if the file has no sections.
    code: Vec<(u64, u64)>,
    /// What the loader writes at an address, where the file itself may hold nothing.
    relocated: OnceCell<HashMap<u64, u64>>,
}

impl<'a> Elf<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, SymbolError> {
        let not_elf = |detail: String| SymbolError::NotElf { detail };
        if !bytes.starts_with(b"\x7fELF") {
            return Err(not_elf("it does not begin as an ELF file".into()));
        }
        // Class 2: 64 bits; data 1: little-endian.
        if bytes.get(4..6) != Some(&[2, 1]) {
            return Err(SymbolError::WrongMachine {
                machine: "another word size or byte order".into(),
            });
        }
        let machine = bytes.get(MACHINE_AT..MACHINE_AT + 2);
        let machine = machine.map(|two| u16::from(two[0]) | u16::from(two[1]) << 8);
        match machine {
            Some(machine) if machine == EM_X86_64 => {}
            Some(machine) => {
                return Err(SymbolError::WrongMachine {
                    machine: format!("ELF machine {machine}"),
                });
            }
            None => return Err(not_elf("it is cut short".into())),
        }
        let file =
            ElfFile64::<LittleEndian>::parse(bytes).map_err(|error| not_elf(error.to_string()))?;
        let segments = segments(&file, bytes);
        let code = file
            .sections()
            .filter(is_code)
            .map(|section| {
                (
                    section.address(),
                    section.address().saturating_add(section.size()),
                )
            })
            .collect();
        Ok(Self {
            file,
            segments,
            code,
            relocated: OnceCell::new(),
        })
    }

    pub(super) fn build_id(&self) -> Option<Vec<u8>> {
        let id = self.file.build_id().ok().flatten()?;
        (!id.is_empty()).then(|| id.to_vec())
    }

    /// Section bytes and address, by name.
    pub(super) fn section(&self, name: &str) -> Option<(u64, &'a [u8])> {
        let section = self.file.section_by_name(name)?;
        Some((section.address(), section.data().ok()?))
    }

    /// The bytes of the file that are mapped from this address on, to the end of their segment.
    pub(super) fn bytes_at(&self, address: u64) -> Option<&'a [u8]> {
        let segment = self.segment(address)?;
        let skip = usize::try_from(address - segment.address).ok()?;
        segment.bytes.get(skip..)
    }

    /// The mapped stretches that hold no code: address and bytes.
    pub(super) fn data_segments(&self) -> impl Iterator<Item = (u64, &'a [u8])> {
        let data = self.segments.iter().filter(|segment| !segment.executable);
        data.map(|segment| (segment.address, segment.bytes))
    }

    /// A pointer as the loaded program sees it, before the loader's own shift.
    pub(super) fn pointer(&self, address: u64) -> Option<u64> {
        if let Some(value) = self.relocated().get(&address) {
            return Some(*value);
        }
        self.bytes_at(address)?
            .first_chunk()
            .map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// Where the loader writes pointers by itself, and to what.
    pub(super) fn relocated(&self) -> &HashMap<u64, u64> {
        self.relocated.get_or_init(|| {
            if self.file.elf_header().e_type(LittleEndian) != ET_DYN {
                return HashMap::new();
            }
            let (_, bytes) = self.section(".rela.dyn").unwrap_or((0, &[]));
            let (entries, _) = bytes.as_chunks::<RELA_BYTES>();
            let word = |entry: &[u8; RELA_BYTES], at: usize| {
                let bytes = entry[at * 8..].first_chunk().copied();
                u64::from_le_bytes(bytes.unwrap_or_default())
            };
            entries
                .iter()
                .filter(|entry| word(entry, 1) & 0xffff_ffff == u64::from(R_X86_64_RELATIVE))
                .map(|entry| (word(entry, 0), word(entry, 2)))
                .collect()
        })
    }

    /// Whether this range is wholly code that is in the file.
    pub(super) fn is_code(&self, address: u64, size_bytes: u64) -> bool {
        let Some(end) = address.checked_add(size_bytes) else {
            return false;
        };
        let in_section = self.code.is_empty()
            || self
                .code
                .iter()
                .any(|(from, to)| *from <= address && end <= *to);
        in_section
            && self.segment(address).is_some_and(|segment| {
                segment.executable && end - segment.address <= segment.bytes.len() as u64
            })
    }

    /// The address of a symbol that need not be a function.
    pub(super) fn symbol(&self, name: &str) -> Option<u64> {
        let symbol = self.file.symbols().find(|symbol| symbol.name() == Ok(name));
        symbol.map(|symbol| symbol.address())
    }

    /// The symbol table in `.gnu_debugdata`, unpacked.
    pub(super) fn mini_debug_info(&self) -> Option<Result<Vec<u8>, String>> {
        let (_, packed) = self.section(".gnu_debugdata")?;
        Some(xz::unpack(packed))
    }

    /// What its own symbol table says, under another origin.
    pub(super) fn claims_as(&self, origin: Origin) -> Vec<Claim> {
        let mut claims = self.claims(Origin::Symtab);
        for claim in &mut claims {
            claim.origin = origin;
        }
        claims
    }

    /// The functions of one of its symbol tables.
    pub(super) fn claims(&self, origin: Origin) -> Vec<Claim> {
        let symbols: Vec<_> = match origin {
            Origin::Dynsym => self.file.dynamic_symbols().collect(),
            _ => self.file.symbols().collect(),
        };
        let mut claims: Vec<Claim> = symbols
            .iter()
            .filter(|symbol| {
                let raw = symbol.elf_symbol();
                raw.st_type() == STT_FUNC && raw.st_shndx(LittleEndian) != SHN_UNDEF
            })
            .filter_map(|symbol| {
                let name = symbol.name().ok()?;
                (!name.is_empty() && name.len() <= MAX_NAME_BYTES).then(|| Claim {
                    name: name.to_owned(),
                    address: symbol.address(),
                    size_bytes: symbol.size(),
                    origin,
                    file: None,
                    against: None,
                })
            })
            .collect();
        speak_against_nested(&mut claims);
        claims
    }

    /// Turns a claim into a function, or says what speaks against it.
    pub(super) fn prove(&self, claim: Claim) -> Result<Function, (String, &'static str)> {
        match self.proof(&claim) {
            Ok((file_offset, entry)) => Ok(Function {
                name: claim.name,
                address: claim.address,
                size_bytes: claim.size_bytes,
                file_offset,
                entry,
                origin: claim.origin,
                file: claim.file,
            }),
            Err(reason) => Err((claim.name, reason)),
        }
    }

    fn proof(&self, claim: &Claim) -> Result<(u64, [u8; ENTRY_BYTES]), &'static str> {
        if let Some(reason) = claim.against {
            return Err(reason);
        }
        if claim.size_bytes == 0 {
            return Err("the table gives it no size");
        }
        if !self.is_code(claim.address, claim.size_bytes) {
            return Err("it does not lie wholly in the program's code");
        }
        let segment = self
            .segment(claim.address)
            .ok_or("no part of the file is mapped there")?;
        let skip = claim.address - segment.address;
        let bytes = usize::try_from(skip)
            .ok()
            .and_then(|skip| segment.bytes.get(skip..))
            .unwrap_or_default();
        let entry = *bytes
            .first_chunk::<ENTRY_BYTES>()
            .ok_or("the code ends right behind its entry")?;
        if entry[0] == PADDING || entry == [0; ENTRY_BYTES] {
            return Err("padding stands where it should begin");
        }
        Ok((segment.file_offset + skip, entry))
    }

    fn segment(&self, address: u64) -> Option<&Segment<'a>> {
        self.segments.iter().find(|segment| {
            address >= segment.address && address - segment.address < segment.bytes.len() as u64
        })
    }
}

/// A function that begins inside another one is a label, or one of the two sizes is wrong.
fn speak_against_nested(claims: &mut [Claim]) {
    claims.sort_by_key(|claim| (claim.address, std::cmp::Reverse(claim.size_bytes)));
    let (mut begin, mut end) = (0, 0);
    for claim in claims {
        if claim.address > begin && claim.address < end {
            claim.against = Some("it begins inside another function");
        } else {
            begin = claim.address;
            end = end.max(claim.address.saturating_add(claim.size_bytes));
        }
    }
}

fn is_code<'a>(section: &impl object::ObjectSection<'a>) -> bool {
    match section.flags() {
        object::SectionFlags::Elf { sh_flags } => sh_flags & u64::from(SHF_EXECINSTR) != 0,
        _ => false,
    }
}

fn segments<'a>(file: &ElfFile64<'a, LittleEndian>, bytes: &'a [u8]) -> Vec<Segment<'a>> {
    file.elf_program_headers()
        .iter()
        .filter(|header| header.p_type(LittleEndian) == PT_LOAD)
        .filter_map(|header| {
            Some(Segment {
                address: header.p_vaddr(LittleEndian),
                file_offset: header.p_offset(LittleEndian),
                bytes: header.data(LittleEndian, bytes).ok()?,
                executable: header.p_flags(LittleEndian) & PF_X != 0,
            })
        })
        .collect()
}
