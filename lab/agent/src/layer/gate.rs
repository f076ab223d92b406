//! Which reads, writes and syncs fail, and with what. Everything passes until it is told otherwise.
//!
//! A file whose name begins with `.harness-` is the harness's own: what fails there is not counted as the system's.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::io::Errno;

use crate::random::mix;

/// What may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Reading bytes.
    Read,
    /// Writing bytes, and changing a file's length or what is allocated to it.
    Write,
    /// `fsync` and `fdatasync`, and writes that are to be durable at once.
    Sync,
}

impl Work {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Sync];

    const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
        }
    }

    const fn place(self) -> usize {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::Sync => 2,
        }
    }
}

/// Errors by their names.
const ERRORS: [(&str, Errno); 4] = [
    ("EIO", Errno::IO),
    ("ENOSPC", Errno::NOSPC),
    ("EDQUOT", Errno::DQUOT),
    ("EROFS", Errno::ROFS),
];

/// What fails from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    errno: Errno,
    /// By [`Work::place`].
    fails: [bool; 3],
    share_percent: u64,
}

impl Rule {
    /// Reads `EIO read+sync 30`: an error, `read`, `write`, `sync` joined by `+` or `all`, and percent.
    pub fn parse(words: &[&str]) -> Option<Self> {
        let [errno, works, share] = words else {
            return None;
        };
        let errno = ERRORS.iter().find(|(name, _)| name == errno)?.1;
        let mut fails = [*works == "all"; 3];
        for word in works.split('+').filter(|word| *word != "all") {
            let work = Work::ALL.into_iter().find(|work| work.word() == word)?;
            fails[work.place()] = true;
        }
        let share_percent = share
            .parse()
            .ok()
            .filter(|share| (1..=100).contains(share))?;
        Some(Self {
            errno,
            fails,
            share_percent,
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ERRORS.iter().find(|(_, errno)| *errno == self.errno);
        let works = Work::ALL
            .into_iter()
            .filter(|work| self.fails[work.place()]);
        let works: Vec<_> = works.map(Work::word).collect();
        write!(
            f,
            "{} {} {}",
            name.map_or("?", |(name, _)| name),
            works.join("+"),
            self.share_percent
        )
    }
}

/// What everything passes.
#[derive(Debug, Default)]
pub struct Gate {
    rule: Mutex<Option<Rule>>,
    draws: AtomicU64,
    /// By [`Work::place`], since the rule was set.
    refused: [AtomicU64; 3],
    refused_ours: AtomicU64,
}

impl Gate {
    /// From now on this fails, or nothing.
    pub fn set(&self, rule: Option<Rule>) {
        let mut held = self.rule.lock().unwrap_or_else(PoisonError::into_inner);
        if rule.is_some() {
            self.refused_ours.store(0, Ordering::Relaxed);
            for count in &self.refused {
                count.store(0, Ordering::Relaxed);
            }
        }
        *held = rule;
    }

    /// Whether it fails. `ours`: it is the harness's own.
    pub fn pass(&self, work: Work, ours: bool) -> Result<(), Errno> {
        let rule = self.rule.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rule) = rule.as_ref().filter(|rule| rule.fails[work.place()]) else {
            return Ok(());
        };
        let draw = mix(self.draws.fetch_add(1, Ordering::Relaxed));
        if draw % 100 >= rule.share_percent {
            return Ok(());
        }
        let count = if ours {
            &self.refused_ours
        } else {
            &self.refused[work.place()]
        };
        count.fetch_add(1, Ordering::Relaxed);
        Err(rule.errno)
    }

    /// `rule EIO write+sync 100` or `rule none`, and `refused READS WRITES SYNCS` of the system since it was set.
    pub fn tell(&self) -> String {
        let rule = self.rule.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = rule.as_ref().map_or("none".to_owned(), Rule::to_string);
        let [reads, writes, syncs] = &self.refused;
        let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "rule {rule}\nrefused {} {} {}\n",
            number(reads),
            number(writes),
            number(syncs)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_written() {
        for text in [
            "EIO read+write+sync 100",
            "ENOSPC write 1",
            "EROFS read+sync 50",
        ] {
            let words: Vec<&str> = text.split(' ').collect();
            assert_eq!(Rule::parse(&words).unwrap().to_string(), text);
        }
        assert_eq!(
            Rule::parse(&["EIO", "all", "100"]),
            Rule::parse(&["EIO", "sync+read+write", "100"])
        );
        for bad in [
            &["EIO", "all"][..],
            &["E", "all", "1"],
            &["EIO", "open", "1"],
            &["EIO", "", "1"],
            &["EIO", "all", "0"],
            &["EIO", "all", "101"],
        ] {
            assert_eq!(Rule::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_fails_is_what_was_asked_for_in_its_share() {
        let gate = Gate::default();
        assert_eq!(gate.pass(Work::Write, false), Ok(()));
        gate.set(Rule::parse(&["EIO", "write", "100"]));
        assert_eq!(gate.pass(Work::Write, false), Err(Errno::IO));
        assert_eq!(gate.pass(Work::Write, true), Err(Errno::IO));
        assert_eq!(gate.pass(Work::Read, false), Ok(()));
        assert_eq!(gate.tell(), "rule EIO write 100\nrefused 0 1 0\n");
        gate.set(Rule::parse(&["ENOSPC", "sync", "30"]));
        let failed = (0..10_000).filter(|_| gate.pass(Work::Sync, false).is_err());
        assert!((2_800..3_200).contains(&failed.count()), "{}", gate.tell());
        gate.set(None);
        assert_eq!(gate.pass(Work::Sync, false), Ok(()));
        assert!(gate.tell().starts_with("rule none\nrefused 0 0 "));
    }
}
