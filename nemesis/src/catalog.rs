//! What faults there are, for people: `--help`, `--dry-run` and the README read it from here.

use crate::plan::{Kind, Target, condition::OptionInfo};

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
    /// What the nodes must have for it; empty: nothing beyond what every lab has.
    pub node_needs: &'static str,
    /// What can be chosen about it.
    pub options: &'static [OptionInfo],
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
    let (summary, evidence, heal, needs, node_needs) = match kind {
        Kind::Partition => (
            "nodes do not hear each other: packets between them are dropped on both sides, open connections included; the controller is never cut off",
            "each node dropped packets of each node that it is cut from",
            "the rules are removed; seen when they are gone and every pair that was cut connects again",
            "",
            "nftables",
        ),
        Kind::Kill => (
            "the system's process is killed at once (SIGKILL)",
            "the process is gone, ended by signal 9",
            "it is started again; seen when its process runs",
            "kill, start",
            "",
        ),
        Kind::Stop => (
            "the system is asked to stop (SIGTERM) and may tidy up",
            "the process is gone, with its exit code",
            "it is started again; seen when its process runs",
            "stop, start",
            "",
        ),
        Kind::Pause => (
            "the system's process is frozen (SIGSTOP): it is there, holds its connections, and does nothing",
            "the process is in state T",
            "it goes on (SIGCONT); seen when it is in another state",
            "pause",
            "",
        ),
        Kind::Restart => (
            "the system is asked to stop (SIGTERM) and started again as soon as it has",
            "the process is gone, and another one runs",
            "it is started if it does not run; seen when its process runs",
            "stop, start",
            "",
        ),
        Kind::Reboot => (
            "the node itself boots anew: all its processes end at once (on a machine with systemd, in order); the system is started at the heal",
            "process 1 began anew under another boot id, and the system does not run",
            "the system is started again; seen when its process runs",
            "start",
            "",
        ),
        Kind::Wipe => (
            "the system's process is killed and its data are removed, as if the disk were lost; not with the workload membership",
            "the process is gone and so are its data",
            "a live member removes it by force, and it joins anew; seen when the system says so",
            "wipe, membership",
            "",
        ),
        Kind::LeaderTransfer => (
            "the leader hands leadership to another voter",
            "the other one is seen to lead",
            "nothing is to be undone",
            "leader-transfer, leader",
            "",
        ),
        Kind::Condition(condition) => {
            let words = condition.words();
            (
                words.summary,
                words.evidence,
                words.heal,
                words.needs,
                words.node_needs,
            )
        }
    };
    FaultInfo {
        kind,
        summary,
        evidence,
        heal,
        needs,
        node_needs,
        options: kind
            .condition()
            .map_or(&[], |condition| condition.options()),
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
         Options of a fault stand at its kind, as in rate/bw=1mbit:leader or slow/delay=50ms/jitter=5ms.\n\
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
    let mut told: Option<Kind> = None;
    for fault in catalog() {
        text.push_str(&format!("\n{}: {}.\n", fault.kind, fault.summary));
        text.push_str(&format!(
            "  seen:  {}\n  heal:  {}\n",
            fault.evidence, fault.heal
        ));
        if !fault.node_needs.is_empty() {
            text.push_str(&format!("  needs: {}\n", fault.node_needs));
        }
        for option in fault.options {
            text.push_str(&format!(
                "  /{}={}  {} ({})\n",
                option.name,
                option.default,
                option.meaning,
                option.shape.example()
            ));
        }
        // The targets of faults that strike nodes are the same for all of them.
        if fault.kind != Kind::Partition
            && let Some(first) = told
        {
            text.push_str(&format!("  targets: those of {first}\n"));
            continue;
        }
        if fault.kind != Kind::Partition {
            told = Some(fault.kind);
        }
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
