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

/// All of them, as listed at the end of the page.
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
        "G0",
        "term-g0",
        "Transactions wrote over each other's work in a circle, so that each seems to come before the other.",
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
        "G2-item",
        "term-g2-item",
        "Transactions each missed what another one wrote, so that no order of them, one after the other, explains what they saw.",
    ),
    term(
        "lost",
        "term-lost",
        "An element whose addition was acknowledged, and that a later final read does not show.",
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

/// The term whose word this is; `stale-read` finds `stale read`.
#[must_use]
pub fn find(word: &str) -> Option<&'static Term> {
    let wanted = word.replace('-', " ");
    TERMS
        .iter()
        .find(|term| term.word == word || term.word.replace('-', " ") == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_term_is_one_sentence_and_found() {
        for term in TERMS {
            assert!(term.help.ends_with('.'), "{}", term.word);
            assert_eq!(find(term.word), Some(term));
        }
        assert_eq!(find("stale-read").map(|term| term.word), Some("stale read"));
        assert_eq!(find("nothing"), None);
    }
}
