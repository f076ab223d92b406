//! What happened, in sentences, the worst first.
//!
//! Laws:
//! - at most [`LIMIT`] sentences, each with a link to its proof;
//! - invalid is told from witnesses, unknown says what was missing and how to get it, valid says what was
//!   really exercised;
//! - nothing is said here that a table further down does not show.

use std::collections::BTreeSet;

use harness_core::verdict::Verdict;

use super::{
    ReportInput,
    check::Check,
    exercise,
    fault::{Faults, State},
    membership::{Membership, told},
    node::Node,
    series::Series,
    tally::Tally,
};
use crate::{
    number,
    text::{capital, full_stop},
};

/// Sentences, at most.
pub const LIMIT: usize = 5;

/// One sentence, with a headline before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// What it is about: invalid, unknown, valid.
    pub verdict: Verdict,
    /// A few words, ending in a full stop.
    pub lead: String,
    /// The sentence, or a few.
    pub text: String,
    /// What was in force then.
    pub around: Option<String>,
    /// Known behaviour that explains it.
    pub explanation: Option<String>,
    /// The anchor of its proof, without `#`.
    pub anchor: String,
    /// What the link says: `witness 1`.
    pub link: String,
    /// Further proofs of the same: anchors, and what their links say.
    pub more: Vec<(String, String)>,
}

impl Sentence {
    pub(super) fn new(verdict: Verdict, lead: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            verdict,
            lead: full_stop(lead.into()),
            text: text.into(),
            around: None,
            explanation: None,
            anchor: String::new(),
            link: String::new(),
            more: Vec::new(),
        }
    }

    pub(super) fn proof(mut self, anchor: &str, link: impl Into<String>) -> Self {
        anchor.clone_into(&mut self.anchor);
        self.link = link.into();
        self
    }
}

/// What the sentences are made from.
pub(super) struct Scene<'a> {
    pub input: &'a ReportInput<'a>,
    pub tally: &'a Tally,
    pub faults: &'a Faults,
    pub checks: &'a [Check],
    pub membership: Option<&'a Membership>,
    pub series: &'a Series,
    pub nodes: &'a [Node],
}

/// The sentences, and how many did not fit.
pub(super) struct Told {
    pub sentences: Vec<Sentence>,
    pub left_out: usize,
}

pub(super) fn tell(scene: &Scene<'_>) -> Told {
    let mut sentences = invalid(scene);
    sentences.extend(unknown(scene));
    if scene.input.verdict.verdict == Verdict::Valid {
        sentences.extend(exercise::valid(scene));
    } else if sentences.len() < LIMIT {
        sentences.push(exercise::exercised(scene));
    }
    let left_out = sentences.len().saturating_sub(LIMIT);
    sentences.truncate(LIMIT);
    Told {
        sentences,
        left_out,
    }
}

/// The first witness of each checker before the second of any; what membership invariants found about one member is told
/// once, where the first of it stands.
fn invalid(scene: &Scene<'_>) -> Vec<Sentence> {
    let checks: Vec<_> = scene
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Invalid)
        .collect();
    let rounds = checks.iter().map(|check| check.witnesses.len()).max();
    let mut sentences: Vec<Sentence> = Vec::new();
    let mut told_of = BTreeSet::new();
    for round in 0..rounds.unwrap_or_default().max(1) {
        for check in &checks {
            if let Some(witness) = check.witnesses.get(round) {
                if let (Some(membership), Some(_)) = (scene.membership, check.invariant)
                    && let Some(member) = membership.subject(witness)
                {
                    if told_of.insert(member) {
                        sentences.extend(told::about(
                            membership,
                            scene.checks,
                            scene.faults,
                            member,
                        ));
                    }
                    continue;
                }
                let link = format!("witness {}, {}", witness.number, check.name);
                let mut sentence = Sentence::new(
                    Verdict::Invalid,
                    witness.title.clone(),
                    witness.story.clone(),
                )
                .proof(&witness.anchor, link);
                // A story that names its fault need not be told it again.
                sentence.around = witness
                    .around
                    .as_deref()
                    .filter(|_| !witness.story.contains("was in force"))
                    .map(capital)
                    .map(full_stop);
                // The same explanation once; each witness has it where it stands.
                let told = |earlier: &Sentence| earlier.explanation == witness.explanation;
                if !sentences.iter().any(told) {
                    sentence.explanation = witness.explanation.clone();
                }
                sentences.push(sentence);
            } else if round == 0 {
                let lead = format!("{} is broken", check.name);
                sentences.push(
                    Sentence::new(Verdict::Invalid, lead, check.reason().to_owned())
                        .proof(&check.anchor, format!("checker {}", check.name)),
                );
            }
        }
    }
    sentences
}

fn unknown(scene: &Scene<'_>) -> Vec<Sentence> {
    let mut sentences = Vec::new();
    if scene.checks.is_empty() {
        let again = format!(
            "Judge what was recorded: harness check {}.",
            scene.input.folder
        );
        sentences.push(
            Sentence::new(Verdict::Unknown, "Nothing was judged", again)
                .proof("checkers", "checkers"),
        );
    }
    for (reason, checks) in told::unjudged(scene.checks) {
        sentences.extend(unjudged(&reason, &checks, scene.input.folder));
    }
    for check in scene.checks {
        if check.verdict == Verdict::Unknown && check.invariant.is_none() {
            let text = format!(
                "{} {}",
                full_stop(capital(check.reason())),
                how_to_know(check, scene.input.folder)
            );
            sentences.push(
                Sentence::new(
                    Verdict::Unknown,
                    format!("{} could not be judged", check.name),
                    text,
                )
                .proof(&check.anchor, format!("checker {}", check.name)),
            );
        }
    }
    sentences.extend(faults_without_effect(scene.faults));
    sentences
}

/// One sentence for all invariants that lack the same.
fn unjudged(reason: &str, checks: &[&Check], folder: &str) -> Option<Sentence> {
    let first = checks.first()?;
    let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    let lead = match checks {
        [one] => format!("{} could not be judged", one.name),
        several => format!("{} invariants could not be judged", several.len()),
    };
    let list = if checks.len() > 1 {
        format!(" They are {}.", names.join(", "))
    } else {
        String::new()
    };
    let text = format!(
        "{}{list} {}",
        full_stop(capital(reason)),
        how_to_know(first, folder)
    );
    let link = format!("checker {}", first.name);
    Some(Sentence::new(Verdict::Unknown, lead, text).proof(&first.anchor, link))
}

fn faults_without_effect(faults: &Faults) -> Option<Sentence> {
    let without: Vec<_> = faults
        .rows
        .iter()
        .filter(|row| !matches!(row.state, State::Healed | State::NotHealed))
        .collect();
    let first = without.first()?;
    let why = first
        .problems
        .first()
        .map_or_else(|| first.state.words().to_owned(), Clone::clone);
    let lead = format!(
        "{} of {} never took hold",
        number::count(faults.not_held),
        number::counted(faults.total, "fault")
    );
    let text = format!("Fault {} ({}): {}", first.id, first.label, full_stop(why));
    Some(
        Sentence::new(Verdict::Unknown, lead, text)
            .proof(&first.anchor, format!("fault {}", first.id)),
    )
}

/// How to get what was missing, from the words in which the checker says what that was.
fn how_to_know(check: &Check, folder: &str) -> String {
    let mut said = check.summary.to_lowercase();
    for note in &check.notes {
        said.push_str(&note.kind);
        said.push(' ');
        said.push_str(&note.text.to_lowercase());
    }
    let about = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if about(&["out of time", "out of memory", "time limit", "memory limit"]) {
        format!("Judge the stored run with a larger limit: harness check {folder}.")
    } else if about(&["core dump", "core_pattern"]) {
        "Let the nodes keep core dumps (harness doctor says what is missing), then repeat the run."
            .to_owned()
    } else if about(&["not observed", "never took hold", "no evidence"]) {
        "Repeat the run; harness doctor says what a node lacks to inject that fault.".to_owned()
    } else if about(&["without an ok", "no ok"]) {
        "Repeat the run for longer, or with fewer faults, so that each kind ends ok at least once."
            .to_owned()
    } else if about(&["in common", "no sample of the views", "samples that show"]) {
        "Repeat the run with a shorter sampling interval, and with more time between disturbances."
            .to_owned()
    } else if about(&["never quiet", "still under way at the end"]) {
        "Repeat the run with more time at its end, so that the sources can settle.".to_owned()
    } else if about(&["could not be read", "was not read"]) {
        "Repeat the run once that source can be read; what it said is under Final state.".to_owned()
    } else if about(&[
        "not judged yet",
        "not implemented",
        "no checker",
        "another issue",
    ]) {
        format!("It is recorded: once there is a checker, harness check {folder} judges it.")
    } else {
        format!("Mend that and repeat the run, or judge it again: harness check {folder}.")
    }
}
