//! Which functions a program has, and where each begins: from the bytes of an ELF file, for a probe on an unmodified binary.
//!
//! A probe at a wrong address is armed without an error and never fires, so an address is used only once it is proven:
//!
//! ```text
//! .gopclntab   functions that ascend and lie in executable bytes; each descriptor names the offset that its entry
//!              names; the linker's padding (0xcc) fills exactly the gaps that the tables predict  (see `pclntab`)
//! .symtab .dynsym .gnu_debugdata, a debug file    a function with a size, whole in executable bytes, that begins
//!              inside no other function; a debug file has the program's build id
//! ```
//!
//! Laws: pure (bytes in, values out); hostile bytes give an error or fewer functions, never a panic; what is not proven
//! is kept with its reason and never handed out for use.
//!
//! Sources: ELF-64 object file format; Go's `runtime/symtab.go` and `debug/gosym`; GDB's manual on mini debug information.

mod elf;
mod pclntab;
mod xz;

use std::{collections::HashMap, fmt};

use regex::Regex;
use serde::Serialize;
use thiserror::Error;

use crate::plan::nearest;
use elf::Elf;

/// Bytes at a function's entry that are kept, so that whoever arms a probe can see that it is the same file.
pub const ENTRY_BYTES: usize = 8;
/// Longest name of a function in bytes; what is longer is not a function's.
pub const MAX_NAME_BYTES: usize = 8 * 1024;
/// Names that an error suggests, at most.
const MAX_SUGGESTIONS: usize = 5;
/// What the linkers fill gaps with, and no function begins with.
const PADDING: u8 = 0xcc;

/// Where a function's name and address came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Go's table of functions, which stripping leaves.
    Pclntab,
    /// The symbol table.
    Symtab,
    /// What a library or a program exports.
    Dynsym,
    /// The compressed symbol table in `.gnu_debugdata`.
    MiniDebugInfo,
    /// A separate debug file of the same build.
    DebugFile,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pclntab => ".gopclntab",
            Self::Symtab => ".symtab",
            Self::Dynsym => ".dynsym",
            Self::MiniDebugInfo => ".gnu_debugdata",
            Self::DebugFile => "debug file",
        })
    }
}

/// A function whose address is proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Function {
    /// Its name as the table has it, such as `main.(*App).run.func1` or `dqlite_node_start`.
    pub name: String,
    /// Where it begins in the file's address space.
    pub address: u64,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Where it begins in the file, in bytes: what a uprobe wants.
    pub file_offset: u64,
    /// The file's bytes there.
    pub entry: [u8; ENTRY_BYTES],
    /// Which table says so.
    pub origin: Origin,
    /// The source file, as Go's table has it, such as `github.com/lxc/lxd/lxd/api_cluster.go`; none where no table says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Box<str>>,
}

/// Why a function cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SymbolError {
    /// No ELF file of a kind that is understood.
    #[error("this is no program that can be read: {detail}")]
    NotElf {
        /// What is wrong.
        detail: String,
    },
    /// Another machine's.
    #[error("the program is for {machine}; only x86-64 is understood (mend: nodes of that kind)")]
    WrongMachine {
        /// The machine as ELF names or numbers it.
        machine: String,
    },
    /// The debug file is another build's.
    #[error(
        "the debug file is of build {debug}, the program of build {program} (mend: the debug package of the program's own version)"
    )]
    OtherBuild {
        /// Build id of the debug file, in hexadecimal.
        debug: String,
        /// Build id of the program.
        program: String,
    },
    /// No such function.
    #[error("no function is called {name}{hint} (an inlined function has no entry of its own)")]
    NotFound {
        /// What was asked for.
        name: String,
        /// Similar names, and what of the file could not be used; may be empty.
        hint: String,
    },
    /// Several are called so.
    #[error("{} functions are called {name}: say which one: {}", .addresses.len(), places(.name, .addresses))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Where they begin.
        addresses: Vec<u64>,
    },
    /// It is there, but its address could not be proven.
    #[error("{name} is in the program, but its address is not proven: {reason}")]
    Unproven {
        /// What was asked for.
        name: String,
        /// What speaks against it.
        reason: String,
    },
}

/// The functions of one program or library.
#[derive(Clone, Debug)]
pub struct Symbols {
    /// Sorted by name, then address; one entry for a name at an address.
    functions: Vec<Function>,
    unproven: HashMap<String, &'static str>,
    problems: Vec<String>,
    build_id: Option<Vec<u8>>,
}

/// A function as a table tells it, before it is proven.
pub(crate) struct Claim {
    name: String,
    address: u64,
    size_bytes: u64,
    origin: Origin,
    file: Option<Box<str>>,
    /// What speaks against it already.
    against: Option<&'static str>,
}

impl Symbols {
    /// Reads every table of a program, and of its debug file if there is one.
    ///
    /// # Errors
    /// [`SymbolError::NotElf`], [`SymbolError::WrongMachine`] and [`SymbolError::OtherBuild`]. A single table that cannot be used
    /// is no error: see [`Symbols::problems`].
    pub fn read(program: &[u8], debug_file: Option<&[u8]>) -> Result<Self, SymbolError> {
        let elf = Elf::parse(program)?;
        let mut claims = Vec::new();
        let mut problems = Vec::new();
        match pclntab::claims(&elf) {
            Ok(found) => claims.extend(found),
            Err(problem) => problems.extend(problem),
        }
        claims.extend(elf.claims(Origin::Symtab));
        claims.extend(elf.claims(Origin::Dynsym));
        match elf.mini_debug_info() {
            None => {}
            Some(Ok(bytes)) => match Elf::parse(&bytes) {
                Ok(mini) => claims.extend(mini.claims_as(Origin::MiniDebugInfo)),
                Err(error) => problems.push(format!(".gnu_debugdata: {error}")),
            },
            Some(Err(problem)) => problems.push(format!(".gnu_debugdata: {problem}")),
        }
        if let Some(bytes) = debug_file {
            let debug = Elf::parse(bytes)?;
            same_build(&elf, &debug)?;
            claims.extend(debug.claims_as(Origin::DebugFile));
        }
        Ok(Self::prove(&elf, claims, problems))
    }

    fn prove(elf: &Elf<'_>, claims: Vec<Claim>, problems: Vec<String>) -> Self {
        let mut functions = Vec::with_capacity(claims.len());
        let mut unproven = HashMap::new();
        for claim in claims {
            match elf.prove(claim) {
                Ok(function) => functions.push(function),
                Err((name, reason)) => {
                    unproven.insert(name, reason);
                }
            }
        }
        // The sort is stable, so of two tables that agree the first one stays.
        functions.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
        functions.dedup_by(|b, a| a.name == b.name && a.address == b.address);
        Self {
            functions,
            unproven,
            problems,
            build_id: elf.build_id(),
        }
    }

    /// The proven functions, by name.
    #[must_use]
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// What of the file could not be used, for people.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// How many names are known whose address is not proven.
    #[must_use]
    pub fn unproven_count(&self) -> usize {
        self.unproven.len()
    }

    /// The build id that the linker wrote; none if it wrote none.
    #[must_use]
    pub fn build_id(&self) -> Option<&[u8]> {
        self.build_id.as_deref()
    }

    /// Where a distribution puts this build's debug file, such as `/usr/lib/debug/.build-id/4f/8c6b….debug`.
    #[must_use]
    pub fn debug_file_path(&self) -> Option<String> {
        let (first, rest) = self.build_id()?.split_first()?;
        let rest = hexadecimal(rest);
        Some(format!("/usr/lib/debug/.build-id/{first:02x}/{rest}.debug"))
    }

    /// The functions whose names match, by name.
    pub fn matching<'a>(&'a self, pattern: &'a Regex) -> impl Iterator<Item = &'a Function> {
        self.functions
            .iter()
            .filter(|function| pattern.is_match(&function.name))
    }

    /// The one function of that name; `NAME@0xADDRESS` where several are called so.
    ///
    /// # Errors
    /// [`SymbolError::NotFound`], [`SymbolError::Ambiguous`] and [`SymbolError::Unproven`].
    pub fn find(&self, name: &str) -> Result<&Function, SymbolError> {
        let (wanted, address) = split_address(name);
        let from = self
            .functions
            .partition_point(|function| function.name.as_str() < wanted);
        let named: Vec<&Function> = self.functions[from..]
            .iter()
            .take_while(|function| function.name == wanted)
            .filter(|function| address.is_none_or(|address| function.address == address))
            .collect();
        match named.as_slice() {
            [one] => Ok(one),
            [] => Err(self.not_found(name, wanted)),
            several => Err(SymbolError::Ambiguous {
                name: wanted.to_owned(),
                addresses: several.iter().map(|function| function.address).collect(),
            }),
        }
    }

    fn not_found(&self, name: &str, wanted: &str) -> SymbolError {
        if let Some(reason) = self.unproven.get(wanted) {
            return SymbolError::Unproven {
                name: name.to_owned(),
                reason: (*reason).to_owned(),
            };
        }
        let last = wanted.rsplit(['/', '.']).next().unwrap_or(wanted);
        let last = last.to_lowercase();
        let similar: Vec<&str> = self
            .functions
            .iter()
            .filter(|function| !last.is_empty() && function.name.to_lowercase().contains(&last))
            .take(MAX_SUGGESTIONS)
            .map(|function| function.name.as_str())
            .collect();
        let mut hint = String::new();
        let near = nearest(
            wanted,
            self.functions.iter().map(|function| function.name.as_str()),
        );
        if !similar.is_empty() {
            hint = format!("; similar: {}", similar.join(", "));
        } else if let Some(near) = near {
            hint = format!("; did you mean {near}?");
        }
        for problem in &self.problems {
            hint.push_str("; ");
            hint.push_str(problem);
        }
        SymbolError::NotFound {
            name: name.to_owned(),
            hint,
        }
    }
}

/// `NAME@0xADDRESS` of each.
fn places(name: &str, addresses: &[u64]) -> String {
    let shown = addresses.iter().take(MAX_SUGGESTIONS);
    let mut shown: Vec<String> = shown.map(|at| format!("{name}@{at:#x}")).collect();
    if addresses.len() > MAX_SUGGESTIONS {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

fn split_address(name: &str) -> (&str, Option<u64>) {
    let split = name.rsplit_once("@0x").and_then(|(name, digits)| {
        let address = u64::from_str_radix(digits, 16).ok()?;
        Some((name, address))
    });
    split.map_or((name, None), |(name, address)| (name, Some(address)))
}

fn same_build(program: &Elf<'_>, debug: &Elf<'_>) -> Result<(), SymbolError> {
    let (ours, theirs) = (program.build_id(), debug.build_id());
    if ours.is_some() && ours == theirs {
        return Ok(());
    }
    let text = |id: Option<Vec<u8>>| id.map_or_else(|| "unknown".into(), |id| hexadecimal(&id));
    Err(SymbolError::OtherBuild {
        debug: text(theirs),
        program: text(ours),
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
