//! What happened, in sentences, the worst first.
//!
//! Laws:
//! - at most [`LIMIT`] sentences, each with a link to its proof;
//! - invalid is told from witnesses, unknown says what was missing and how to get it, valid says what was
//!   really exercised;
//! - nothing is said here that a table further down does not show.

use std::collections::BTreeSet;

use harness_core::{
    history::Outcome,
    verdict::{Severity, Verdict},
};

use super::{
    ReportInput,
    check::Check,
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
/// From here on a stretch without an ok is worth a sentence.
const GAP_WORTH_NS: u64 = number::NS_PER_S;

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
        sentences.extend(valid(scene));
    } else if sentences.len() < LIMIT {
        sentences.push(exercised(scene));
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

/// What was really done: operations by kind and outcome.
fn exercised(scene: &Scene<'_>) -> Sentence {
    let counts = scene.tally.counts;
    let kinds: Vec<String> = scene
        .tally
        .kinds
        .iter()
        .map(|kind| format!("{} {}", number::count(kind.counts.all()), kind.name))
        .collect();
    let lead = format!(
        "{} ended ok, {} fail, {} info",
        number::counted(counts.ok, "operation"),
        number::count(counts.fail),
        number::count(counts.info)
    );
    let mut text = if kinds.is_empty() {
        "No client did anything.".to_owned()
    } else {
        format!("By kind: {}.", kinds.join(", "))
    };
    if let Some(latency) = scene.tally.latency {
        text.push_str(&format!(
            " Half of the ok ones took at most {}, 99 of 100 at most {}, the slowest {}.",
            number::duration(latency.p50_ns),
            number::duration(latency.p99_ns),
            number::duration(latency.max_ns)
        ));
    }
    // What was exercised is no finding: beside something broken it carries no verdict of its own.
    let verdict = match scene.input.verdict.verdict {
        Verdict::Valid => Verdict::Valid,
        _ => Verdict::NotApplicable,
    };
    Sentence::new(verdict, lead, text).proof("operations-by-kind", "operations")
}

fn valid(scene: &Scene<'_>) -> Vec<Sentence> {
    let changed = scene
        .membership
        .and_then(|membership| told::exercised(membership, scene.checks));
    let mut sentences: Vec<Sentence> = changed.into_iter().collect();
    sentences.extend([exercised(scene), held(scene.faults), judged(scene)]);
    sentences.extend(gap(scene));
    sentences.extend(worth_a_look(scene));
    sentences
}

fn held(faults: &Faults) -> Sentence {
    if faults.total == 0 {
        return Sentence::new(
            Verdict::Valid,
            "No fault was injected",
            "The system was only loaded, so nothing is known about how it bears faults.",
        )
        .proof("faults", "faults");
    }
    let kinds: Vec<String> = faults
        .held_by_kind
        .iter()
        .map(|(kind, count)| format!("{} {kind}", number::count(*count)))
        .collect();
    let lead = format!(
        "{} of {} took hold",
        number::count(faults.total - faults.not_held),
        number::counted(faults.total, "fault")
    );
    let text = format!(
        "{}; {} observed healed.",
        if kinds.is_empty() {
            "None".to_owned()
        } else {
            kinds.join(", ")
        },
        number::count(faults.healed)
    );
    Sentence::new(Verdict::Valid, lead, text).proof("faults", "faults")
}

fn judged(scene: &Scene<'_>) -> Sentence {
    let named = |wanted: Verdict| {
        scene
            .checks
            .iter()
            .filter(|check| check.verdict == wanted && check.invariant.is_none())
            .map(|check| check.name.as_str())
            .collect::<Vec<_>>()
    };
    let invariants = |wanted: Verdict| {
        let of = |check: &&Check| check.verdict == wanted && check.invariant.is_some();
        scene.checks.iter().filter(of).count() as u64
    };
    let mut valid: Vec<String> = named(Verdict::Valid)
        .into_iter()
        .map(str::to_owned)
        .collect();
    let held = invariants(Verdict::Valid);
    let mut lead = format!(
        "{} found nothing wrong",
        number::counted(valid.len() as u64, "checker")
    );
    if held > 0 {
        lead = format!("{} of membership held", number::counted(held, "invariant"));
        if !valid.is_empty() {
            let others = number::counted(valid.len() as u64, "other checker");
            lead.push_str(&format!(", and {others} found nothing wrong"));
        }
    }
    let mut idle: Vec<String> = named(Verdict::NotApplicable)
        .into_iter()
        .map(str::to_owned)
        .collect();
    let unasked = invariants(Verdict::NotApplicable);
    if unasked > 0 {
        idle.push(number::counted(unasked, "invariant"));
    }
    valid.extend(
        (valid.is_empty() && held > 0).then(|| "The table says what each of them says".to_owned()),
    );
    let mut text = full_stop(capital(&valid.join(", ")));
    if !idle.is_empty() {
        text.push_str(&format!(" Not applicable: {}.", idle.join(", ")));
    }
    Sentence::new(Verdict::Valid, lead, text).proof("checkers", "checkers")
}

fn gap(scene: &Scene<'_>) -> Option<Sentence> {
    let gap = scene.series.longest_gap?;
    let length = gap.end_ns - gap.start_ns;
    if length < GAP_WORTH_NS {
        return None;
    }
    let open = scene
        .input
        .history
        .operations
        .iter()
        .filter(|operation| operation.outcome != Outcome::Ok)
        .filter(|operation| (gap.start_ns..gap.end_ns).contains(&operation.invoked_ns))
        .count() as u64;
    let lead = format!("Nothing ended ok for {}", number::duration(length));
    let text = format!(
        "From {} to {}; {} that began then ended fail or info.",
        number::instant(gap.start_ns),
        number::instant(gap.end_ns),
        number::counted(open, "operation")
    );
    let mut sentence = Sentence::new(Verdict::Valid, lead, text).proof("time", "time axis");
    sentence.around = scene
        .faults
        .around(gap.start_ns, gap.end_ns)
        .as_deref()
        .map(capital)
        .map(full_stop);
    Some(sentence)
}

fn worth_a_look(scene: &Scene<'_>) -> Option<Sentence> {
    let warning = scene.checks.iter().find_map(|check| {
        let note = check
            .notes
            .iter()
            .find(|note| note.severity >= Severity::Warning)?;
        Some((check, note))
    });
    if let Some((check, note)) = warning {
        let lead = format!("Worth a look: {}", note.kind);
        return Some(
            Sentence::new(Verdict::Valid, lead, note.text.clone())
                .proof(&check.anchor, format!("checker {}", check.name)),
        );
    }
    let node = scene.nodes.iter().find(|node| node.unexpected > 0)?;
    let lead = format!("A process on {} ended by itself", node.name);
    let exit = node.exits.iter().find(|exit| !exit.expected)?;
    let text = format!("At {}: {}.", exit.at, exit.words);
    Some(
        Sentence::new(Verdict::Valid, lead, text)
            .proof(&node.anchor, format!("node {}", node.name)),
    )
}
