//! What faults there are, for people: `--help`, `--dry-run` and the README read it from here.

use crate::plan::{Kind, Target};

/// One kind of fault, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultInfo {
    /// The kind.
    pub kind: Kind,
    /// What it does, in one line.
    pub summary: &'static str,
    /// What counts as having seen it hold.
    pub evidence: &'static str,
    /// How it is undone, and what counts as having seen that.
    pub heal: &'static str,
    /// What a system must be able to do for it; empty: nothing.
    pub needs: &'static str,
    /// Its targets, the default first.
    pub targets: Vec<TargetInfo>,
}

/// One target of a fault, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetInfo {
    /// As on the command line: `leader`, or a pattern such as `NODE+NODE`.
    pub word: String,
    /// What it means, in one sentence.
    pub meaning: &'static str,
}

/// All faults.
#[must_use]
pub fn catalog() -> Vec<FaultInfo> {
    Kind::ALL.map(info).into()
}

/// The description of one kind.
#[must_use]
pub fn info(kind: Kind) -> FaultInfo {
    let (summary, evidence, heal, needs) = match kind {
        Kind::Partition => (
            "nodes do not hear each other: packets between them are dropped on both sides, open connections included; the controller is never cut off",
            "each node dropped packets of each node that it is cut from",
            "the rules are removed; seen when they are gone and every pair that was cut connects again",
            "",
        ),
        Kind::Kill => (
            "the system's process is killed at once (SIGKILL)",
            "the process is gone, ended by signal 9",
            "it is started again; seen when its process runs",
            "kill, start",
        ),
        Kind::Stop => (
            "the system is asked to stop (SIGTERM) and may tidy up",
            "the process is gone, with its exit code",
            "it is started again; seen when its process runs",
            "stop, start",
        ),
        Kind::Pause => (
            "the system's process is frozen (SIGSTOP): it is there, holds its connections, and does nothing",
            "the process is in state T",
            "it goes on (SIGCONT); seen when it is in another state",
            "pause",
        ),
    };
    FaultInfo {
        kind,
        summary,
        evidence,
        heal,
        needs,
        targets: targets(kind),
    }
}

fn targets(kind: Kind) -> Vec<TargetInfo> {
    let mut targets: Vec<TargetInfo> = kind
        .words()
        .iter()
        .map(|target| TargetInfo {
            word: target.to_string(),
            meaning: target.meaning(kind),
        })
        .collect();
    let list = Target::Nodes(crate::plan::Selector::List(Vec::new()));
    targets.push(TargetInfo {
        word: "NODE+NODE".to_owned(),
        meaning: list.meaning(kind),
    });
    if kind == Kind::Partition {
        targets.push(TargetInfo {
            word: "NODE+NODE|NODE".to_owned(),
            meaning: Target::Groups(Vec::new()).meaning(kind),
        });
    }
    targets
}

/// How to write `--nemesis`, and all faults with their targets, as plain text.
#[must_use]
pub fn help() -> String {
    let mut text = String::from(
        "none, or faults joined by commas, each KIND or KIND:TARGET, such as partition,kill:leader\n\
         or partition:n1+n2|n3+n4+n5. Each is a lane of its own; lanes may overlap.\n\
         What a fault waits for stands after @: an operation, as in kill:subject@join+0ms..1500ms or\n\
         stop:leader@remove.done; a function, as in kill:n4@fn=main.run#2 (kill, pause, partition); or\n\
         both, as in kill:subject@join/fn=main.run. harness points lists functions. Or a time, once, as in\n\
         kill:leader@at=12s; or what is watched on the nodes, on all or on one as in log:n2=, perhaps after an\n\
         operation as in join/log=: a line of the system's logs, log=REGEX#2; a file in its data folder,\n\
         file=created:GLOB (changed, removed); a predicate, query=sql:SELECT ... or query=http:/PATH~REGEX;\n\
         how a source shows a member, view=database:n4:pending (there, absent, active, evacuated, voter,\n\
         stand-by, spare). The subject is the node where that was seen, of a view the member. Double quotes\n\
         keep a comma: kill:subject@log=\"a, b\". @FILE names a file of lanes with schedules of their own,\n\
         which may begin and end with each other (README).\n",
    );
    for fault in catalog() {
        text.push_str(&format!("\n{}: {}.\n", fault.kind, fault.summary));
        text.push_str(&format!(
            "  seen:  {}\n  heal:  {}\n",
            fault.evidence, fault.heal
        ));
        let width = fault
            .targets
            .iter()
            .map(|t| t.word.len())
            .max()
            .unwrap_or(0);
        for target in &fault.targets {
            text.push_str(&format!("  :{:<width$}  {}\n", target.word, target.meaning));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_target_is_described() {
        let help = help();
        for kind in Kind::ALL {
            assert!(help.contains(&format!("\n{kind}: ")));
            assert_eq!(
                info(kind).targets[0].word,
                "random",
                "the default comes first"
            );
            for target in info(kind).targets {
                assert!(!target.meaning.is_empty() && help.contains(&target.word));
            }
        }
    }
}
