//! Words that a newcomer may not know, each in one sentence.
//!
//! The page shows the sentence where the word stands and once more in the list at its end.

/// A word and its sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// As it stands in the text.
    pub word: &'static str,
    /// Its anchor.
    pub anchor: &'static str,
    /// One sentence.
    pub help: &'static str,
}

const fn term(word: &'static str, anchor: &'static str, help: &'static str) -> Term {
    Term { word, anchor, help }
}

/// Those that every page lists at its end.
pub const TERMS: &[Term] = &[
    term("ok", "term-ok", "The operation took effect."),
    term(
        "fail",
        "term-fail",
        "The operation definitely did not take effect, and never will; there is proof, such as an answer that rejects it.",
    ),
    term(
        "info",
        "term-info",
        "Nobody knows: after a time-out or a lost connection the operation may have taken effect, may yet, or never will.",
    ),
    term(
        "valid",
        "term-valid",
        "The checkers looked and found nothing wrong with what was recorded; it is no proof that nothing ever is.",
    ),
    term(
        "invalid",
        "term-invalid",
        "A checker found proof that the system broke a promise; a witness shows it.",
    ),
    term(
        "unknown",
        "term-unknown",
        "A checker could not look, or not far enough, so it says neither valid nor invalid.",
    ),
    term(
        "not applicable",
        "term-not-applicable",
        "There was nothing to judge: what the checker is about did not occur in this run.",
    ),
    term(
        "witness",
        "term-witness",
        "The few operations that together prove that something is wrong.",
    ),
    term(
        "process",
        "term-process",
        "A client that does one operation at a time; an info retires it, and a new number takes its place.",
    ),
    term(
        "nemesis",
        "term-nemesis",
        "The part of the harness that injects faults.",
    ),
    term(
        "fault",
        "term-fault",
        "Something broken on purpose, such as a partition; it counts only if it was observed to hold.",
    ),
    term(
        "evidence",
        "term-evidence",
        "What was seen on a node that shows that a fault held or was healed, such as packets dropped.",
    ),
    term(
        "linearizable",
        "term-linearizable",
        "Each operation seems to happen at one moment between its start and its end, in one order that all clients agree on.",
    ),
    term(
        "stale read",
        "term-stale-read",
        "A read that shows a value which had already been overwritten before the read began.",
    ),
    term(
        "lost",
        "term-lost",
        "An element whose addition was acknowledged, or a member that joined, and that is not there when it is looked for later.",
    ),
    term(
        "quantile",
        "term-quantile",
        "p99 = 5 ms says that 99 of 100 operations took at most 5 ms.",
    ),
    term(
        "voter",
        "term-voter",
        "A raft member whose vote counts for elections and commits.",
    ),
    term(
        "stand-by",
        "term-stand-by",
        "A raft member that copies the log but has no vote; it can be made a voter.",
    ),
    term(
        "spare",
        "term-spare",
        "A raft member that neither votes nor copies the log.",
    ),
    term(
        "pending",
        "term-pending",
        "Let in by the cluster, but its join has not ended: a row in the database, and nothing more.",
    ),
    term(
        "stopped",
        "term-stopped",
        "The system's process was looked for on the node, and does not run.",
    ),
    term(
        "fingerprint",
        "term-fingerprint",
        "SHA-256 of a member's certificate; its first eight digits are shown.",
    ),
    term(
        "source",
        "term-source",
        "A place where a system keeps its membership: database, truststore, raft or cache.",
    ),
    term(
        "quorum",
        "term-quorum",
        "More than half of the voters; without it nothing can be committed.",
    ),
    term(
        "clock bound",
        "term-clock-bound",
        "How wrong the measured clock offset can be: half of the shortest round trip to the node.",
    ),
    term(
        "seed",
        "term-seed",
        "The number from which all random choices are drawn; it repeats the plan, not the order in which things happen to interleave.",
    ),
];

/// What transactions can do wrong: a page lists those that it tells of.
pub const ANOMALIES: &[Term] = &[
    term(
        "G0",
        "term-g0",
        "Transactions wrote over each other's work in a circle, so that each seems to come before the other.",
    ),
    term(
        "G1a",
        "term-g1a",
        "A transaction saw what another one had written that failed, and that should have left nothing.",
    ),
    term(
        "G1b",
        "term-g1b",
        "A transaction saw a value that another one wrote on the way, and replaced before it ended.",
    ),
    term(
        "G1c",
        "term-g1c",
        "Transactions saw each other's work in a circle, so that each seems to come before the other.",
    ),
    term(
        "G-single",
        "term-g-single",
        "A transaction saw a part of another's work and missed the rest, so that it can stand neither before it nor behind it.",
    ),
    term(
        "G-nonadjacent",
        "term-g-nonadjacent",
        "Transactions missed what others wrote, in a circle in which no two that missed something stand next to each other; no order of snapshots allows that.",
    ),
    term(
        "G2-item",
        "term-g2-item",
        "Transactions each missed what another one wrote, so that no order of them, one after the other, explains what they saw.",
    ),
    term(
        "internal",
        "term-internal",
        "A transaction that does not see what itself read or wrote before.",
    ),
    term(
        "dirty-update",
        "term-dirty-update",
        "A transaction that succeeded built on what one had written that failed.",
    ),
    term(
        "lost-update",
        "term-lost-update",
        "Two transactions read the same value, and both replaced it, so that the change of one is gone.",
    ),
    term(
        "duplicate-elements",
        "term-duplicate-elements",
        "An element that was appended once stands in its list twice.",
    ),
    term(
        "incompatible-order",
        "term-incompatible-order",
        "Two reads of one list of which neither is the beginning of the other: its elements cannot have come in one order.",
    ),
    term(
        "future-read",
        "term-future-read",
        "A transaction that sees what itself writes only later.",
    ),
    term(
        "cyclic-versions",
        "term-cyclic-versions",
        "Values of one key of which each must have replaced the other.",
    ),
    term(
        "unwritten-read",
        "term-unwritten-read",
        "A read of a value that nobody ever wrote.",
    ),
    term(
        "fractured-read",
        "term-fractured-read",
        "A transaction that saw one of another's writes, and for another of its keys something older.",
    ),
    term(
        "causality-violation",
        "term-causality-violation",
        "A transaction that saw an effect, and for another key something older than what the effect was built on.",
    ),
    term(
        "no-snapshot-order",
        "term-no-snapshot-order",
        "Whichever order the versions of each key had, no order of snapshots explains what the transactions saw.",
    ),
    term(
        "no-serial-order",
        "term-no-serial-order",
        "Whichever order the versions of each key had, no order of the transactions, one after the other, explains what they saw.",
    ),
];

/// What an anomaly's name ends with if it needs more than what was read and written: that a process does one thing after the other, or
/// that one thing was over when the other began.
const ORDERS: [&str; 2] = ["-process", "-realtime"];

/// The term whose word this is; `stale-read` finds `stale read`, and `G0-process` finds `G0`.
#[must_use]
pub fn find(word: &str) -> Option<&'static Term> {
    let bare = ORDERS.iter().find_map(|order| word.strip_suffix(order));
    let word = bare.unwrap_or(word);
    let wanted = word.replace('-', " ");
    TERMS
        .iter()
        .chain(ANOMALIES)
        .find(|term| term.word == word || term.word.replace('-', " ") == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_term_is_one_sentence_and_found() {
        for term in TERMS.iter().chain(ANOMALIES) {
            assert!(term.help.ends_with('.'), "{}", term.word);
            assert_eq!(find(term.word), Some(term));
        }
        assert_eq!(find("stale-read").map(|term| term.word), Some("stale read"));
        assert_eq!(find("G0-realtime"), find("G0"));
        assert_eq!(find("nothing"), None);
    }
}
