//! Small ELF files made here, our own test program, and hostile bytes.

use proptest::prelude::*;

use super::*;

const TEXT_ADDRESS: u64 = 0x40_0000;
/// Go's text begins that far behind `.text`, as it does with cgo.
const GO_TEXT_SKIP: u64 = 0x100;
const DATA_ADDRESS: u64 = 0x80_0000;
const TEXT_BYTES: usize = 0x1000;
const HEAD_BYTES: usize = 64 + 2 * 56;
/// What the header's text start is made to say.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Header {
    Right,
    /// As if Go's text began where `.text` does.
    StartOfSection,
    /// As Go 1.26 writes it.
    Zero,
}

struct Made {
    names: Vec<String>,
    bytes: Vec<u8>,
}

fn entry_of(index: usize) -> u64 {
    (index * 64) as u64
}

/// Function `index` has this many bytes of code; padding up to 64 follows.
fn code_bytes(index: usize) -> usize {
    20 + index % 30
}

/// A program without sections: one segment of code, one of data with the module data (if wanted) and the table.
fn go_program(names: &[&str], header: Header, module: bool) -> Made {
    let names: Vec<String> = (0..40)
        .map(|index| {
            names
                .get(index)
                .map_or_else(|| format!("main.f{index}"), |name| (*name).into())
        })
        .collect();
    let mut text = vec![0x90; TEXT_BYTES];
    for index in 0..names.len() {
        let from = usize::try_from(GO_TEXT_SKIP + entry_of(index)).unwrap();
        text[from..from + code_bytes(index)].fill(0x50);
        text[from + code_bytes(index)..from + 64].fill(PADDING);
    }
    let module_words = 24;
    let table_address = DATA_ADDRESS + module_words * 8;
    let (table, names_at, functions_at) = table(&names, header);
    let mut data = vec![0_u64; usize::try_from(module_words).unwrap()];
    if module {
        data[0] = table_address;
        data[1] = table_address + names_at;
        data[16] = table_address + functions_at;
        data[20] = TEXT_ADDRESS + GO_TEXT_SKIP;
        data[22] = TEXT_ADDRESS + GO_TEXT_SKIP;
    }
    let data: Vec<u8> = data
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .chain(table)
        .collect();
    let mut bytes = vec![0; 0x1000];
    bytes.extend_from_slice(&text);
    bytes.extend_from_slice(&data);
    write_head(&mut bytes, text.len(), data.len());
    Made { names, bytes }
}

fn table(names: &[String], header: Header) -> (Vec<u8>, u64, u64) {
    let (mut name_bytes, mut pc_tables) = (vec![0], vec![0]);
    let pairs_bytes = names.len() * 8 + 4;
    let (mut pairs, mut descriptors) = (Vec::new(), Vec::new());
    for (index, name) in names.iter().enumerate() {
        let entry = u32::try_from(entry_of(index)).unwrap();
        let at = u32::try_from(pairs_bytes + descriptors.len()).unwrap();
        pairs.extend([entry, at]);
        let stack = u32::try_from(pc_tables.len()).unwrap();
        pc_tables.extend([2, u8::try_from(code_bytes(index)).unwrap(), 0]);
        let name_at = u32::try_from(name_bytes.len()).unwrap();
        name_bytes.extend_from_slice(name.as_bytes());
        name_bytes.push(0);
        // The stack table serves as the table of files too: its first value is 0. The second unit has the file.
        for word in [entry, name_at, 0, 0, stack, stack, 0, 0, 1, 0] {
            descriptors.extend_from_slice(&word.to_le_bytes());
        }
    }
    pairs.push(u32::try_from(entry_of(names.len())).unwrap());
    let names_at = 72_u64;
    let pc_at = names_at + name_bytes.len() as u64;
    let units_at = pc_at + pc_tables.len() as u64;
    let units: Vec<u8> = [u32::MAX, 5]
        .iter()
        .flat_map(|at: &u32| at.to_le_bytes())
        .collect();
    let files_at = units_at + units.len() as u64;
    let files = b"a.go\0example.org/app/run.go\0";
    let functions_at = files_at + files.len() as u64;
    let text = match header {
        Header::Right => TEXT_ADDRESS + GO_TEXT_SKIP,
        Header::StartOfSection => TEXT_ADDRESS,
        Header::Zero => 0,
    };
    let mut out = 0xffff_fff1_u32.to_le_bytes().to_vec();
    out.extend([0, 0, 1, 8]);
    for word in [
        names.len() as u64,
        0,
        text,
        names_at,
        units_at,
        files_at,
        pc_at,
        functions_at,
    ] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend(name_bytes);
    out.extend(pc_tables);
    out.extend(units);
    out.extend(files);
    out.extend(pairs.iter().flat_map(|word| word.to_le_bytes()));
    out.extend(descriptors);
    (out, names_at, functions_at)
}

fn write_head(bytes: &mut [u8], text_bytes: usize, data_bytes: usize) {
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    head.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [TEXT_ADDRESS, 64, 0] {
        head.extend_from_slice(&word.to_le_bytes());
    }
    head.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 64, 0, 0, 0, 0, 0]);
    let text_offset = 0x1000_u64;
    for (flags, offset, address, length) in [
        (5_u32, text_offset, TEXT_ADDRESS, text_bytes as u64),
        (
            6,
            text_offset + text_bytes as u64,
            DATA_ADDRESS,
            data_bytes as u64,
        ),
    ] {
        head.extend_from_slice(&1_u32.to_le_bytes());
        head.extend_from_slice(&flags.to_le_bytes());
        for word in [offset, address, address, length, length, 0x1000] {
            head.extend_from_slice(&word.to_le_bytes());
        }
    }
    assert_eq!(head.len(), HEAD_BYTES);
    bytes[..HEAD_BYTES].copy_from_slice(&head);
}

#[test]
fn go_functions_are_found_wherever_the_start_of_the_text_is_told() {
    for (header, module) in [
        (Header::Right, false),
        (Header::Zero, true),
        // The header is wrong by the distance that cgo makes: the gaps disprove it, the module data is right.
        (Header::StartOfSection, true),
    ] {
        let made = go_program(&["main.main", "main.(*App).run.func3.5"], header, module);
        let symbols = Symbols::read(&made.bytes, None).unwrap();
        assert_eq!(symbols.problems(), [""; 0], "{header:?}");
        assert_eq!(symbols.functions().len(), made.names.len());
        let function = symbols.find("main.(*App).run.func3.5").unwrap();
        let expected = Function {
            name: "main.(*App).run.func3.5".into(),
            address: TEXT_ADDRESS + GO_TEXT_SKIP + 64,
            size_bytes: 21,
            file_offset: 0x1000 + GO_TEXT_SKIP + 64,
            entry: [0x50; 8],
            origin: Origin::Pclntab,
            file: Some("example.org/app/run.go".into()),
        };
        assert_eq!(*function, expected, "{header:?}");
    }
}

#[test]
fn a_start_of_the_text_that_is_not_proven_gives_no_function() {
    let made = go_program(&[], Header::StartOfSection, false);
    let symbols = Symbols::read(&made.bytes, None).unwrap();
    assert_eq!(symbols.functions(), []);
    let problem = &symbols.problems()[0];
    assert!(
        problem.contains("0x400000 of its header is not proven"),
        "{problem}"
    );
    let error = symbols.find("main.f1").unwrap_err().to_string();
    assert!(error.contains("not proven"), "{error}");
    let made = go_program(&[], Header::Zero, false);
    let symbols = Symbols::read(&made.bytes, None).unwrap();
    assert!(symbols.problems()[0].contains("nowhere to be found"));
}

#[test]
fn one_function_with_something_else_around_it_is_not_handed_out() {
    let names: Vec<String> = (0..40).map(|index| format!("main.f{index}")).collect();
    let mut made = go_program(&[], Header::Right, false);
    // Too few gaps to allow for one odd one: the whole table is in doubt.
    let gap = 0x1000 + usize::try_from(GO_TEXT_SKIP).unwrap() + 64 + code_bytes(1);
    made.bytes[gap] = 0x90;
    assert_eq!(made.names, names);
    assert!(
        Symbols::read(&made.bytes, None)
            .unwrap()
            .find("main.f1")
            .is_err()
    );
}

#[test]
fn names_are_exact_and_several_of_one_name_need_an_address() {
    let made = go_program(
        &["main.g[...]", "main.h", "main.g[...]"],
        Header::Right,
        false,
    );
    let symbols = Symbols::read(&made.bytes, None).unwrap();
    let error = symbols.find("main.g[...]").unwrap_err();
    let first = TEXT_ADDRESS + GO_TEXT_SKIP;
    let addresses = vec![first, first + 128];
    assert_eq!(
        error,
        SymbolError::Ambiguous {
            name: "main.g[...]".into(),
            addresses
        }
    );
    let text = error.to_string();
    assert!(
        text.ends_with("say which one: main.g[...]@0x400100, main.g[...]@0x400180"),
        "{text}"
    );
    assert_eq!(
        symbols.find("main.g[...]@0x400180").unwrap().address,
        first + 128
    );
    assert!(matches!(
        symbols.find("main.g[...]@0x400181"),
        Err(SymbolError::NotFound { .. })
    ));
    assert!(matches!(
        symbols.find("main.H"),
        Err(SymbolError::NotFound { .. })
    ));
    let error = symbols.find("lib.h").unwrap_err().to_string();
    assert!(error.contains("similar: main.h"), "{error}");
    let pattern = Regex::new(r"^main\.[gh]").unwrap();
    assert_eq!(symbols.matching(&pattern).count(), 3);
}

#[test]
fn what_is_no_program_for_this_machine_is_refused() {
    let made = go_program(&[], Header::Right, false).bytes;
    let with = |at: usize, byte: u8| {
        let mut bytes = made.clone();
        bytes[at] = byte;
        Symbols::read(&bytes, None).unwrap_err()
    };
    // 183: aarch64. 1: 32 bits. 2: big-endian.
    assert_eq!(
        with(18, 183),
        SymbolError::WrongMachine {
            machine: "ELF machine 183".into()
        }
    );
    assert!(matches!(with(4, 1), SymbolError::WrongMachine { .. }));
    assert!(matches!(with(5, 2), SymbolError::WrongMachine { .. }));
    assert!(matches!(with(0, b'#'), SymbolError::NotElf { .. }));
    assert!(matches!(
        Symbols::read(&made[..17], None),
        Err(SymbolError::NotElf { .. })
    ));
    assert!(matches!(
        Symbols::read(b"#!/bin/sh\n", None),
        Err(SymbolError::NotElf { .. })
    ));
}

/// A function of known name and address in the program that runs this test.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the name must be what the symbol table says")]
#[inline(never)]
extern "C" fn harness_symbols_test_subject(x: u64) -> u64 {
    std::hint::black_box(x) ^ 0x5a5a_1234
}

#[test]
fn our_own_program_is_read_by_its_symbol_table_and_is_its_own_debug_file() {
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let symbols = Symbols::read(&own, Some(&own)).unwrap_or_else(|error| panic!("{error}"));
    let subject = symbols.find("harness_symbols_test_subject").unwrap();
    let main = symbols.find("main").unwrap();
    assert_eq!(subject.origin, Origin::Symtab);
    // The loader shifts both alike.
    let loaded = harness_symbols_test_subject as extern "C" fn(u64) -> u64 as usize as u64;
    assert_eq!(loaded & 0xfff, subject.address & 0xfff);
    assert_ne!(main.address, subject.address);
    assert_eq!(harness_symbols_test_subject(0), 0x5a5a_1234);
    let from = usize::try_from(subject.file_offset).unwrap();
    assert_eq!(own[from..from + ENTRY_BYTES], subject.entry);
    let made = go_program(&[], Header::Right, false);
    assert!(matches!(
        Symbols::read(&made.bytes, Some(&own)),
        Err(SymbolError::OtherBuild { .. })
    ));
}

#[test]
fn packed_symbol_tables_are_unpacked_within_bounds() {
    use std::io::Write as _;
    let mut packer =
        lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::default()).unwrap();
    packer.write_all(&[7; 100_000]).unwrap();
    let packed = packer.finish().unwrap();
    assert_eq!(xz::unpack(&packed).unwrap(), [7; 100_000]);
    assert!(xz::unpack(&packed[..packed.len() / 2]).is_err());
    assert!(xz::unpack(b"no xz").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn hostile_programs_never_panic_and_never_lie_outside(
        zero in any::<bool>(),
        cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..24),
        in_tables in any::<bool>(),
    ) {
        let header = if zero { Header::Zero } else { Header::Right };
        let mut bytes = go_program(&[], header, true).bytes;
        let from = if in_tables { 0x1000 + TEXT_BYTES } else { 0 };
        for (index, byte) in changes {
            let length = bytes.len() - from;
            bytes[from + index.index(length)] = byte;
        }
        bytes.truncate(cut.index(bytes.len() * 4));
        if let Ok(symbols) = Symbols::read(&bytes, None) {
            for function in symbols.functions() {
                let from = usize::try_from(function.file_offset).unwrap();
                prop_assert_eq!(&bytes[from..from + ENTRY_BYTES], &function.entry);
            }
        }
    }

    #[test]
    fn hostile_packed_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut packed = b"\xfd7zXZ\0".to_vec();
        packed.extend(&bytes);
        let _ = xz::unpack(&packed);
    }
}
