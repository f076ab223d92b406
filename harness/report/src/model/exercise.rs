//! What a run really exercised, in sentences: operations, joins and removes, faults that took hold, what was judged.

use harness_core::{
    history::Outcome,
    verdict::{Severity, Verdict},
};

use super::{
    check::Check,
    fault::Faults,
    membership::told,
    story::{Scene, Sentence},
};
use crate::{
    number,
    text::{capital, full_stop},
};

/// From here on a stretch without an ok is worth a sentence.
const GAP_WORTH_NS: u64 = number::NS_PER_S;

/// What was really done: operations by kind and outcome.
pub(super) fn exercised(scene: &Scene<'_>) -> Sentence {
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

pub(super) fn valid(scene: &Scene<'_>) -> Vec<Sentence> {
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
