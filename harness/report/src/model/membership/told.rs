//! Membership in sentences: all that was found about one member is one sentence, with a link to each proof.

use harness_core::{
    event::ANSWERED_ERROR,
    history::Outcome,
    membership::{ChangeKind, Purpose},
    verdict::Verdict,
};

use super::{
    Membership,
    lanes::{Held, Lane, Stretch},
    roster::Id,
    standing::Change,
};
use crate::{
    model::{check::Check, fault::Faults, story::Sentence, witness::WitnessView},
    number, text,
};

/// Links to proofs beside the first.
const MORE_LIMIT: usize = 7;
/// What a refusal said, in characters.
const REASON_CHARS: usize = 160;
/// Kinds of witnesses that say where a member is and is not: one sentence on its lane says all of them.
const WHERE: [&str; 10] = [
    "half-a-member",
    "ghost",
    "lost",
    "pending",
    "joined-and-gone",
    "remains-of-a-join",
    "half-a-join",
    "removed-and-there",
    "harmed-by-a-refused-remove",
    "half-a-remove",
];
/// A kind whose operation says what was tried.
const REFUSED: &str = "change-refused";
/// The invariant whose figures are times of convergence.
const CONVERGENCE: &str = "convergence-time";

/// Proofs about one member.
type Proofs<'a> = Vec<(&'a Check, &'a WitnessView)>;

/// All proofs of invariants about one member, in the order of the checks.
pub(in crate::model) fn proofs<'a>(
    membership: &Membership,
    checks: &'a [Check],
    member: Id,
) -> Proofs<'a> {
    checks
        .iter()
        .filter(|check| check.verdict == Verdict::Invalid && check.invariant.is_some())
        .flat_map(|check| check.witnesses.iter().map(move |witness| (check, witness)))
        .filter(|(_, witness)| membership.subject(witness) == Some(member))
        .collect()
}

/// What was found about one member, as one sentence.
pub(in crate::model) fn about(
    membership: &Membership,
    checks: &[Check],
    faults: &Faults,
    member: Id,
) -> Option<Sentence> {
    let proofs = proofs(membership, checks, member);
    let (first_check, first) = proofs.first()?;
    let changes = changes_of(membership, &proofs);
    let placed = proofs
        .iter()
        .find(|(_, witness)| WHERE.contains(&witness.kind.as_str()));
    let lane = membership.lane(member);
    let mut parts: Vec<String> = Vec::new();
    match (placed, lane) {
        (Some((_, witness)), Some(lane)) => parts.extend(whereabouts(lane, witness.end_ns)),
        _ => parts.push(first.story.clone()),
    }
    if placed.is_some() {
        parts.extend(led_by(
            &changes,
            faults,
            &membership.roster.people[member].name,
        ));
    }
    let refused = proofs.iter().filter(|(_, witness)| witness.kind == REFUSED);
    for (_, witness) in refused {
        parts.extend(refusal(membership, witness));
    }
    // Titles that none of the above tells.
    let mut also: Vec<&str> = Vec::new();
    for (_, witness) in &proofs[1..] {
        let told = WHERE.contains(&witness.kind.as_str()) || witness.kind == REFUSED;
        if !told && witness.title != first.title && !also.contains(&witness.title.as_str()) {
            also.push(&witness.title);
        }
    }
    parts.extend(also.iter().map(|title| (*title).to_owned()));
    let link = |check: &Check, witness: &WitnessView| {
        format!("witness {}, {}", witness.number, check.name)
    };
    let mut sentence = Sentence::new(Verdict::Invalid, first.title.clone(), parts.join(" "))
        .proof(&first.anchor, link(first_check, first));
    sentence.more = proofs[1..]
        .iter()
        .take(MORE_LIMIT)
        .map(|(check, witness)| (witness.anchor.clone(), link(check, witness)))
        .collect();
    sentence.explanation = proofs
        .iter()
        .find_map(|(_, witness)| witness.explanation.clone());
    Some(sentence)
}

/// Joins and removes that the proofs name, by when they were invoked.
fn changes_of<'m>(membership: &'m Membership, proofs: &Proofs<'_>) -> Vec<&'m Change> {
    membership
        .changes
        .iter()
        .filter(|change| {
            let names = |witness: &WitnessView| {
                let own = witness.operations.iter().filter(|shown| !shown.neighbour);
                own.map(|shown| shown.index)
                    .any(|index| index == change.index)
            };
            proofs.iter().any(|(_, witness)| names(witness))
        })
        .collect()
}

fn at(stretches: &[Stretch<Held>], at_ns: u64) -> Option<usize> {
    let place = stretches.partition_point(|stretch| stretch.from_ns <= at_ns);
    place.checked_sub(1)
}

/// Since when a source says what it says at that place; a stretch in which it was unread interrupts nothing.
fn since(stretches: &[Stretch<Held>], place: usize) -> u64 {
    let inside = |held: Held| match held {
        Held::Everywhere | Held::Pending | Held::Unread(Some(true)) => Some(Some(true)),
        Held::Nowhere | Held::Unread(Some(false)) => Some(Some(false)),
        Held::Differ => Some(None),
        Held::Unread(None) => None,
    };
    let now = inside(stretches[place].what);
    let mut since_ns = stretches[place].from_ns;
    for stretch in stretches[..place].iter().rev() {
        match inside(stretch.what) {
            None => {}
            before if before == now => since_ns = stretch.from_ns,
            _ => break,
        }
    }
    since_ns
}

/// `The database (pending) and the truststore of every live node list it; raft and the cache do not, since 41.20 s.`
fn whereabouts(lane: &Lane, at_ns: u64) -> Option<String> {
    let (mut inside, mut outside, mut other) = (Vec::new(), Vec::new(), Vec::new());
    let mut since_ns = None;
    for stripe in &lane.stripes {
        let place = at(&stripe.stretches, at_ns)?;
        let stretch = &stripe.stretches[place];
        let source = match stripe.source {
            harness_core::view::Source::Raft => "raft".to_owned(),
            source => format!("the {source}"),
        };
        match stretch.what {
            Held::Everywhere => inside.push(source),
            Held::Pending => inside.push(format!("{source} (as pending)")),
            Held::Nowhere => outside.push(source),
            Held::Unread(_) | Held::Differ => {
                let words = stretch.words.as_deref().unwrap_or(stretch.what.words());
                other.push(format!("in {source} it is {words}"));
            }
        }
        since_ns = since_ns.max(Some(since(&stripe.stretches, place)));
    }
    let mut words = Vec::new();
    if let Some(listed) = joined(&inside) {
        let verb = if inside.len() == 1 { "lists" } else { "list" };
        words.push(format!("{listed} of every live node {verb} it"));
    }
    if let Some(listed) = joined(&outside) {
        let verb = if outside.len() == 1 { "does" } else { "do" };
        words.push(match words.is_empty() {
            false => format!("{listed} {verb} not"),
            true => format!(
                "{listed} of no live node {} it",
                if outside.len() == 1 { "lists" } else { "list" }
            ),
        });
    }
    let mut words = words.join(", ");
    if !other.is_empty() {
        let gap = if words.is_empty() { "" } else { "; " };
        words.push_str(&format!("{gap}{}", other.join("; ")));
    }
    let since = since_ns.map(|ns| format!(", since {}", number::instant(ns)));
    Some(format!(
        "{}{}.",
        text::capital(&words),
        since.unwrap_or_default()
    ))
}

fn joined(names: &[String]) -> Option<String> {
    match names {
        [] => None,
        [one] => Some(one.clone()),
        [first @ .., last] => Some(format!("{} and {last}", first.join(", "))),
    }
}

/// `It was joining (operation 812, outcome unknown: timeout: …) when fault 3 (kill n4) struck it, seen 0.3 s later.`
fn led_by(changes: &[&Change], faults: &Faults, name: &str) -> Option<String> {
    let by_load = || {
        changes
            .iter()
            .filter(|change| change.purpose == Purpose::Load)
    };
    let change = by_load()
        .rfind(|change| change.outcome == Outcome::Info)
        .or_else(|| by_load().next_back())?;
    let doing = match change.kind {
        ChangeKind::Join => "was joining",
        ChangeKind::Remove => "was being removed",
    };
    let outcome = match change.outcome {
        Outcome::Ok => "ok".to_owned(),
        Outcome::Fail => "refused".to_owned(),
        Outcome::Info => "outcome unknown".to_owned(),
    };
    let because = change
        .error
        .as_ref()
        .map_or_else(String::new, |(kind, said)| {
            format!(": {kind}: {}", text::clip(said, REASON_CHARS))
        });
    let end_ns = change.end_ns.or(change.given_up_ns).unwrap_or(u64::MAX);
    let meanwhile = || {
        faults.rows.iter().filter(|row| {
            row.in_force(u64::MAX)
                .is_some_and(|(from, to)| from <= end_ns && to >= change.start_ns)
        })
    };
    let fault = meanwhile()
        .find(|row| row.nodes.iter().any(|node| node == name))
        .or_else(|| meanwhile().next());
    let told = match fault.and_then(|row| Some((row, row.observed_ns?))) {
        None => String::new(),
        Some((row, observed_ns)) if observed_ns >= change.start_ns => format!(
            " when fault {} ({}) struck, seen {} after it began",
            row.id,
            row.label,
            number::duration(observed_ns - change.start_ns)
        ),
        Some((row, _)) => format!(" while fault {} ({}) was in force", row.id, row.label),
    };
    Some(format!(
        "It {doing} (operation {} at {}, {outcome}{because}){told}.",
        change.index,
        number::instant(change.start_ns)
    ))
}

/// `Joining it again was refused: … (operation 901).`
fn refusal(membership: &Membership, witness: &WitnessView) -> Option<String> {
    let tried = witness.operations.iter().filter(|shown| !shown.neighbour);
    let change = tried
        .filter_map(|shown| {
            let changes = membership.changes.iter();
            changes.rev().find(|change| change.index == shown.index)
        })
        .find(|change| change.purpose != Purpose::Load)?;
    let doing = match change.kind {
        ChangeKind::Join => "Joining it again",
        ChangeKind::Remove => "Removing it",
    };
    let answered = change
        .error
        .as_ref()
        .is_some_and(|(kind, _)| kind == ANSWERED_ERROR);
    let how = match change.outcome {
        // What it may have done before it failed is not known: an answer all the same.
        Outcome::Info if !answered => "gave no answer",
        Outcome::Info => "failed",
        _ => "was refused",
    };
    let because = change.error.as_ref().map_or_else(String::new, |(_, said)| {
        format!(": {}", text::clip(said, REASON_CHARS))
    });
    Some(format!(
        "{doing} {how}{because} (operation {}).",
        change.index
    ))
}

/// What was done to membership, and how soon sources agreed again.
pub(in crate::model) fn exercised(membership: &Membership, checks: &[Check]) -> Option<Sentence> {
    if membership.changes.is_empty() {
        return None;
    }
    let count = |kind: ChangeKind, outcome: Outcome| {
        let same = |change: &&Change| change.kind == kind && change.outcome == outcome;
        membership.changes.iter().filter(same).count() as u64
    };
    let lead = format!(
        "{} and {} took effect",
        number::counted(count(ChangeKind::Join, Outcome::Ok), "join"),
        number::counted(count(ChangeKind::Remove, Outcome::Ok), "remove")
    );
    let refused = count(ChangeKind::Join, Outcome::Fail) + count(ChangeKind::Remove, Outcome::Fail);
    let open = count(ChangeKind::Join, Outcome::Info) + count(ChangeKind::Remove, Outcome::Info);
    let members: Vec<&str> = membership.members().collect();
    let mut text = format!(
        "{} refused, {} of unknown outcome. Members at the end: {}.",
        number::count(refused),
        number::count(open),
        text::clip(&members.join(", "), 200)
    );
    if let Some(row) = convergence(checks)
        .iter()
        .find(|row| row.what == "operation")
    {
        text.push_str(&format!(
            " Sources agreed again after half of them within {}, after 99 of 100 within {}, at most {}.",
            row.p50, row.p99, row.max
        ));
    }
    Some(Sentence::new(Verdict::Valid, lead, text).proof("membership", "final state"))
}

/// How soon sources agreed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Convergence {
    /// After an `operation` or a `heal`.
    pub what: &'static str,
    /// How often that was measured.
    pub count: String,
    /// Half took at most this.
    pub p50: String,
    /// 99 of 100.
    pub p99: String,
    /// The longest.
    pub max: String,
}

/// The figures of `convergence-time`, where it measured something.
#[must_use]
pub fn convergence(checks: &[Check]) -> Vec<Convergence> {
    let Some(check) = checks.iter().find(|check| check.name == CONVERGENCE) else {
        return Vec::new();
    };
    ["operation", "heal"]
        .into_iter()
        .filter_map(|what| {
            let figure = |name: &str| {
                let wanted = format!("after {what}{name}");
                let mut figures = check.figures.iter();
                let (_, shown) = figures.find(|(words, _)| *words == wanted)?;
                Some(shown.clone()).filter(|shown| !shown.is_empty())
            };
            Some(Convergence {
                what,
                count: figure("")?,
                p50: figure(" p50")?,
                p99: figure(" p99")?,
                max: figure(" max")?,
            })
        })
        .collect()
}

/// Invariants that could not be judged for one reason.
pub(in crate::model) fn unjudged(checks: &[Check]) -> Vec<(String, Vec<&Check>)> {
    let mut reasons: Vec<(String, Vec<&Check>)> = Vec::new();
    let unknown = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Unknown && check.invariant.is_some());
    for check in unknown {
        let reason = check.reason();
        match reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, same)) => same.push(check),
            None => reasons.push((reason.to_owned(), vec![check])),
        }
    }
    reasons
}
