//! Names in real programs: the LXDs of both suites' images, and (with the feature `go`) programs that this machine's compilers
//! build, whose `.symtab` is the truth. Fails without images (`HARNESS_IMAGES`, else the default folder) or compilers.

use std::{fs, path::PathBuf};

use harness_nemesis::symbols::{Origin, Symbols};
use regex::Regex;

fn images() -> PathBuf {
    std::env::var_os("HARNESS_IMAGES")
        .map_or_else(|| "/var/lib/harness/images".into(), PathBuf::from)
}

/// A program of each image of a suite that has it.
fn programs(suite: &str, program: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(images()).unwrap_or_else(|error| {
        panic!(
            "{}: {error} (mend: harness lab image build)",
            images().display()
        )
    });
    let found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.file_name()
                .expect("a name")
                .to_string_lossy()
                .starts_with(&format!("{suite}-"))
        })
        .map(|path| path.join("rootfs").join(program))
        .filter(|path| path.exists())
        .collect();
    assert!(
        !found.is_empty(),
        "no image of {suite} has {program} (mend: harness lab image build --suite {suite} --with lxd)"
    );
    found
}

#[test]
fn the_functions_of_a_join_are_found_in_the_lxds_of_both_suites() {
    let closures = Regex::new(r"^main\.clusterPutJoin\.func").unwrap();
    for (suite, module) in [
        ("bookworm", "github.com/lxc/lxd"),
        ("trixie", "github.com/canonical/lxd"),
    ] {
        for program in programs(suite, "usr/bin/lxd") {
            let bytes = fs::read(&program).unwrap();
            let symbols = Symbols::read(&bytes, None).unwrap();
            assert_eq!(symbols.problems(), [""; 0], "{program:?}");
            assert!(symbols.functions().len() > 40_000);
            for name in [
                "Join",
                "Accept",
                "Bootstrap",
                "Leave",
                "Purge",
                "SetupTrust",
            ] {
                let name = format!("{module}/lxd/cluster.{name}");
                let function = symbols
                    .find(&name)
                    .unwrap_or_else(|error| panic!("{program:?}: {error}"));
                assert_eq!(function.origin, Origin::Pclntab);
                assert!(function.size_bytes > 8, "{function:?}");
            }
            assert!(symbols.matching(&closures).count() >= 5, "{program:?}");
            assert!(
                symbols
                    .functions()
                    .iter()
                    .any(|function| function.origin == Origin::Dynsym)
            );
        }
    }
}

#[test]
fn libraries_are_read_by_what_they_export() {
    for suite in ["bookworm", "trixie"] {
        for library in programs(suite, "usr/lib/x86_64-linux-gnu/libdqlite.so.0") {
            let symbols = Symbols::read(&fs::read(&library).unwrap(), None).unwrap();
            let function = symbols.find("dqlite_node_start").unwrap();
            assert_eq!(function.origin, Origin::Dynsym, "{library:?}");
        }
    }
}

#[cfg(feature = "go")]
mod built {
    use std::{collections::BTreeMap, fs, path::Path, process::Command};

    use harness_nemesis::symbols::{Function, Origin, Symbols};

    fn run(folder: &Path, program: &str, arguments: &[&str]) {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .env("GOFLAGS", "-mod=mod")
            .env("GOPROXY", "off")
            .output()
            .unwrap_or_else(|error| {
                panic!("{program}: {error} (mend: install Go, gcc and binutils)")
            });
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
    }

    #[test]
    fn what_go_builds_is_read_the_same_stripped_and_not() {
        let folder = tempfile::tempdir().unwrap();
        let source = include_str!("go/main.go");
        let without_c = source.split("/*").next().unwrap().to_owned()
            + &source
                .split("import \"C\"")
                .nth(1)
                .unwrap()
                .replace(", C.add(1, 2)", "");
        for (name, text) in [("withc", source), ("plain", &without_c)] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("main.go"), text).unwrap();
            fs::write(
                folder.path().join(name).join("go.mod"),
                "module example\n\ngo 1.22\n",
            )
            .unwrap();
        }
        for (name, mode) in [
            ("withc", "exe"),
            ("withc", "pie"),
            ("plain", "exe"),
            ("plain", "pie"),
        ] {
            let at = folder.path().join(name);
            run(
                &at,
                "go",
                &["build", &format!("-buildmode={mode}"), "-o", "whole", "."],
            );
            run(&at, "strip", &["-o", "stripped", "whole"]);
            let whole = Symbols::read(&fs::read(at.join("whole")).unwrap(), None).unwrap();
            let stripped = Symbols::read(&fs::read(at.join("stripped")).unwrap(), None).unwrap();
            assert_eq!(stripped.problems(), [""; 0], "{name} {mode}");
            let go_only = |symbols: &Symbols| -> BTreeMap<(u64, String), u64> {
                let functions = symbols.functions().iter();
                functions
                    .filter(|function| function.origin == Origin::Pclntab)
                    .map(|function| {
                        (
                            (function.address, function.name.clone()),
                            function.size_bytes,
                        )
                    })
                    .collect()
            };
            let found = go_only(&stripped);
            assert_eq!(found, go_only(&whole), "{name} {mode}");
            assert!(found.len() > 1000, "{name} {mode}: {}", found.len());
            let truth = truth(&at.join("whole"));
            let mut compared = 0;
            for ((address, name), size) in &found {
                // Generics are told in full there.
                let Some((other, real_size)) = truth.get(address) else {
                    continue;
                };
                if other == name {
                    assert_eq!(size, real_size, "{name}");
                    compared += 1;
                }
            }
            let main: Vec<_> = found
                .keys()
                .filter(|(_, name)| name.starts_with("main."))
                .collect();
            for (address, name) in &main {
                let (other, _) = truth
                    .get(address)
                    .unwrap_or_else(|| panic!("{name} is nowhere"));
                let bare = other.split('[').next().unwrap().trim_end_matches(".abi0");
                assert!(name.starts_with(bare), "{name} {other}");
            }
            assert!(
                main.iter().any(|(_, name)| name == "main.join.func1"),
                "{main:?}"
            );
            assert!(
                compared * 10 > found.len() * 9,
                "{name} {mode}: {compared} of {}",
                found.len()
            );
        }
    }

    /// Name and size by address, as `nm` tells them.
    fn truth(program: &Path) -> BTreeMap<u64, (String, u64)> {
        let output = Command::new("nm")
            .arg("-S")
            .arg(program)
            .output()
            .expect("what nm prints");
        let text = String::from_utf8(output.stdout).expect("what nm prints");
        let mut truth = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.splitn(4, ' ');
            let (Some(address), Some(size), Some(kind), Some(name)) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            if kind.eq_ignore_ascii_case("t") {
                let number = |text: &str| u64::from_str_radix(text, 16).expect("what nm prints");
                truth.insert(number(address), (name.to_owned(), number(size)));
            }
        }
        truth
    }

    #[test]
    fn a_stripped_program_is_read_by_its_mini_debug_information_or_its_debug_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let source = "static __attribute__((noinline)) int secret_step(int x) { __asm__(\"\"); return x * 3; }\n\
                  int main(int n, char **v) { return secret_step(n); }\n";
        fs::write(at.join("c.c"), source).unwrap();
        run(
            at,
            "gcc",
            &["-O1", "-g", "-Wl,--build-id", "-o", "whole", "c.c"],
        );
        run(at, "objcopy", &["--only-keep-debug", "whole", "debug"]);
        run(at, "strip", &["-o", "stripped", "whole"]);
        run(at, "objcopy", &["--strip-debug", "debug", "mini"]);
        run(at, "xz", &["mini"]);
        run(
            at,
            "objcopy",
            &[
                "--add-section",
                ".gnu_debugdata=mini.xz",
                "stripped",
                "with-mini",
            ],
        );
        let read = |name: &str| fs::read(at.join(name)).unwrap();
        let whole = Symbols::read(&read("whole"), None).unwrap();
        let truth = whole.find("secret_step").unwrap();
        assert_eq!(truth.origin, Origin::Symtab);
        let stripped = Symbols::read(&read("stripped"), None).unwrap();
        assert!(stripped.find("secret_step").is_err());
        let path = stripped.debug_file_path().unwrap();
        assert!(
            path.starts_with("/usr/lib/debug/.build-id/") && path.ends_with(".debug"),
            "{path}"
        );
        let mini = Symbols::read(&read("with-mini"), None).unwrap();
        let debug = Symbols::read(&read("stripped"), Some(&read("debug"))).unwrap();
        for (symbols, origin) in [(mini, Origin::MiniDebugInfo), (debug, Origin::DebugFile)] {
            assert_eq!(symbols.problems(), [""; 0]);
            let found = symbols.find("secret_step").unwrap();
            let expected = Function {
                origin,
                ..truth.clone()
            };
            assert_eq!(*found, expected);
        }
    }
}
