//! A lane in words: for those who do not see it, and for paper.

use super::lanes::{Lane, Stretch};
use crate::{number, text};

/// A lane in words, for those who do not see it and for paper.
#[must_use]
pub fn of(lane: &Lane, limit: usize) -> String {
    let mut words = format!("{}.", lane.name);
    for stripe in &lane.stripes {
        words.push_str(&format!(
            " {}: {}.",
            text::capital(stripe.source.as_str()),
            told(&stripe.stretches, limit, |held| held.words())
        ));
    }
    if !lane.roles.is_empty() {
        let roles = told(&lane.roles, limit, |role| role.words());
        words.push_str(&format!(" Role: {roles}."));
    }
    for (from_ns, to_ns) in lane.stopped.iter().take(limit) {
        words.push_str(&format!(
            " Its node was stopped from {} to {}.",
            number::instant(*from_ns),
            number::instant(*to_ns)
        ));
    }
    for (_, change) in lane.changes.iter().take(limit) {
        words.push_str(&format!(" Operation {}: {}.", change.index, change.words()));
    }
    if lane.changes.len() > limit {
        let more = number::counted((lane.changes.len() - limit) as u64, "more operation");
        words.push_str(&format!(" {more}."));
    }
    words
}

fn told<T: Copy>(
    stretches: &[Stretch<T>],
    limit: usize,
    word: impl Fn(T) -> &'static str,
) -> String {
    let mut told: Vec<String> = stretches
        .iter()
        .take(limit)
        .map(|stretch| {
            let who = stretch.words.as_ref();
            let who = who.map_or_else(String::new, |who| format!(" ({who})"));
            format!(
                "{}{who} from {}",
                word(stretch.what),
                number::instant(stretch.from_ns)
            )
        })
        .collect();
    if told.is_empty() {
        told.push("never read".to_owned());
    }
    if stretches.len() > limit {
        let more = number::counted((stretches.len() - limit) as u64, "more change");
        told.push(more);
    }
    told.join("; ")
}
