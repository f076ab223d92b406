//! The scripts of a fault on a node: whether it can be had, doing it, seeing it, undoing it.
//!
//! All are for `/bin/sh -c` (dash, coreutils, util-linux), end by themselves, and speak in lines that begin with a word:
//!
//! | script | success | says |
//! | --- | --- | --- |
//! | check | exit 0 | nothing if it can be had, or `way HOW` if not in the usual way; else `lacks REASON`, and perhaps `mend WHAT TO DO` |
//! | inject | exit 0 | lines for people, as evidence |
//! | observe | exit 0 | `seen TEXT` once it holds, `unseen TEXT` while it does not |
//! | heal | exit 0: it was seen to be undone | lines for people, as evidence |

use std::{
    fmt::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{Asked, Condition, clock, disk, files, layer, limits, network};

/// Where faults keep their notes on a node, one folder each.
pub const NOTES: &str = "/var/lib/harness/faults";

/// The folder of a fault's notes on a node.
#[must_use]
pub fn notes(fault: u32) -> String {
    format!("{NOTES}/{fault}")
}

/// Where a fault strikes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The addresses of the other nodes.
    pub peers: Vec<IpAddr>,
    /// The system's process, where it must be known.
    pub process: Option<u32>,
    /// Where the system keeps its data, where it must be known.
    pub data_folder: Option<PathBuf>,
}

impl Place {
    /// The data folder, quoted for a shell.
    pub(super) fn folder(&self) -> String {
        quote(self.data_folder.as_deref().unwrap_or(Path::new("")))
    }
}

/// What is done and seen on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scripts {
    /// Does it.
    pub inject: String,
    /// Looks whether it holds.
    pub observe: String,
    /// Undoes it.
    pub heal: String,
}

/// Whether a fault can be had on a node.
#[must_use]
pub fn check(condition: Condition, place: &Place) -> String {
    let body = match condition {
        Condition::Loss => network::check_loss(),
        Condition::Rate => network::check_queue(condition, place),
        Condition::Slow | Condition::Duplicate | Condition::Reorder | Condition::Corrupt => {
            network::check_queue(condition, place)
        }
        Condition::DiskFull => disk::check_mount(place),
        Condition::SlowIo => disk::check_freeze(place),
        Condition::IoError | Condition::LoseWrites => layer::check(place),
        Condition::Fds => limits::check_fds(),
        Condition::Memory | Condition::Cpu => limits::check_group(condition),
        Condition::Bitflip | Condition::Truncate | Condition::Remove => files::check(),
        Condition::Clock => clock::check(place),
    };
    format!("{SETUP}{body}")
}

/// The scripts of a fault with that number.
#[must_use]
pub fn scripts(asked: &Asked, fault: u32, place: &Place) -> Scripts {
    let scripts = match asked.condition {
        Condition::Loss => network::loss(asked, fault, place),
        Condition::Rate => network::queue(asked, fault, place),
        Condition::Slow | Condition::Duplicate | Condition::Reorder | Condition::Corrupt => {
            network::netem(asked, fault, place)
        }
        Condition::DiskFull => disk::full(asked, place),
        Condition::SlowIo => disk::slow(asked, place),
        Condition::IoError => layer::fail(asked, place),
        Condition::LoseWrites => layer::lose(place),
        Condition::Fds => limits::fds(asked, place),
        Condition::Memory | Condition::Cpu => limits::group(asked, fault, place),
        Condition::Bitflip | Condition::Truncate | Condition::Remove => files::damage(asked, place),
        Condition::Clock => clock::shift(asked, place),
    };
    let notes = notes(fault);
    let mut setup = SETUP.to_owned();
    // Writing to a String cannot fail.
    let _ = writeln!(setup, "notes={notes}");
    // Nothing was done where there are no notes.
    let guard = "[ -d \"$notes\" ] || { echo 'nothing was done here'; exit 0; }\n";
    let end = "rm -rf \"$notes\"\n";
    let heal = format!("{setup}{guard}{}{end}", scripts.heal);
    // Whoever finds the notes can undo the fault, too: see `leftovers`.
    let begin = format!(
        "[ ! -d \"$notes\" ] || fail 'a fault of that number was left from an earlier run: harness lab heal'\n\
         mkdir -p \"$notes\" && cat >\"$notes/heal\" <<'HEAL_ENDS' || exit 1\n{heal}HEAL_ENDS\n"
    );
    Scripts {
        inject: format!("{setup}{begin}{}", scripts.inject),
        observe: format!("{setup}{}", scripts.observe),
        heal,
    }
}

/// Whether a script is the heal of such a fault: what it says has been seen.
#[must_use]
pub fn is_heal(script: &str) -> bool {
    script.starts_with(SETUP)
}

/// Lists what faults left on a node, a line each; nothing if nothing is left.
#[must_use]
pub fn leftovers() -> String {
    format!("ls {NOTES} 2>/dev/null || true\n")
}

/// Undoes whatever any fault left on a node, by the notes that it left there; fails if something stays.
#[must_use]
pub fn heal_leftovers() -> String {
    format!(
        "bad=0\nfor notes in {NOTES}/*/; do\n[ -e \"$notes/heal\" ] || continue\n\
         echo \"fault $(basename \"$notes\"):\"\nsh \"$notes/heal\" || bad=1\ndone\nexit $bad\n"
    )
}

/// Before every script. Tools are not in everybody's search path, and what they say is read.
const SETUP: &str = "PATH=\"$PATH:/usr/sbin:/sbin\" LC_ALL=C\nexport PATH LC_ALL\n\
    fail() { echo \"$*\" >&2; exit 1; }\n\
    way() { echo \"way $1\"; exit 0; }\n\
    lacks() { echo \"lacks $1\"; [ -z \"$2\" ] || echo \"mend $2\"; exit 0; }\n";

/// Sets `$start` to when process `$pid` began, in ticks since boot; empty if there is none.
pub(super) const START_TIME: &str = r#"begun() {
  line=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  line=${line##*) }
  set -- $line
  case "$1" in Z|X) return 0 ;; esac
  echo "${20}"
}
"#;

/// Quotes a path for a shell.
fn quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// What a check said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Why it cannot be had.
    pub reason: String,
    /// What to do, if something can be done.
    pub mend: Option<String>,
}

/// Reads what a check said; none if the fault can be had.
#[must_use]
pub fn lack(said: &str) -> Option<Lack> {
    let find = |word: &str| said.lines().find_map(|line| line.strip_prefix(word));
    Some(Lack {
        reason: find("lacks ")?.trim().to_owned(),
        mend: find("mend ").map(|mend| mend.trim().to_owned()),
    })
}

/// In what other way than the usual one a fault is had, by what a check said.
#[must_use]
pub fn way(said: &str) -> Option<String> {
    let way = said.lines().find_map(|line| line.strip_prefix("way "));
    way.map(|way| way.trim().to_owned())
}

/// What a look at a fault said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// It holds, and this was seen.
    Seen(String),
    /// It was not seen to hold, because of this.
    Unseen(String),
}

/// Reads what a look said.
#[must_use]
pub fn look(said: &str) -> Look {
    let line = said.lines().rev().find_map(|line| {
        let seen = line
            .strip_prefix("seen ")
            .map(|text| Look::Seen(text.trim().to_owned()));
        seen.or_else(|| {
            let unseen = line.strip_prefix("unseen ");
            unseen.map(|text| Look::Unseen(text.trim().to_owned()))
        })
    });
    line.unwrap_or_else(|| Look::Unseen(format!("its script said {said:?}")))
}
