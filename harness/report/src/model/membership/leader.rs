//! Leader and term over time, as nodes say in their views of raft.
//!
//! At each moment the highest term that a node knows counts, and the leaders that are named in it. A node that says only
//! one of the two has the other taken from what it said last.

use std::collections::BTreeMap;

use super::{
    lanes::Stretch,
    places::Seen,
    roster::{Id, Roster},
};

/// Stretches, at most; later ones are left out, and the last one goes to the end.
pub const LIMIT: usize = 1_000;

/// Who leads in which term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Led {
    /// The highest term that was said.
    pub term: Option<u64>,
    /// Leaders named in it: none, one, or a contradiction.
    pub leaders: Vec<String>,
}

impl Led {
    /// `n1 · term 4`.
    #[must_use]
    pub fn words(&self) -> String {
        let who = match self.leaders.as_slice() {
            [] => "no leader".to_owned(),
            [one] => one.clone(),
            several => format!("{} at once", several.join(" and ")),
        };
        match self.term {
            Some(term) => format!("{who} · term {term}"),
            None => who,
        }
    }
}

pub(super) fn led(seen: &Seen, roster: &Roster, until_ns: u64) -> Vec<Stretch<Led>> {
    let mut stretches: Vec<Stretch<Led>> = Vec::new();
    let mut said: BTreeMap<Id, (Option<u64>, Option<u64>)> = BTreeMap::new();
    for lead in seen.leads.iter().filter(|lead| lead.at_ns < until_ns) {
        let entry = said.entry(lead.node).or_default();
        if lead.term.is_some() && lead.term != entry.0 {
            // A leader is one of its own term only.
            *entry = (lead.term, lead.leader);
        }
        entry.1 = lead.leader.or(entry.1);
        let term = said.values().filter_map(|(term, _)| *term).max();
        let mut leaders: Vec<String> = said
            .values()
            .filter(|(of, _)| of.is_none() || *of == term)
            .filter_map(|(_, leader)| leader.filter(|leader| *leader != 0))
            .map(|leader| match seen.raft_ids.get(&leader) {
                Some(id) => roster.people[*id].name.clone(),
                None => format!("raft id {leader}"),
            })
            .collect();
        leaders.sort_unstable();
        leaders.dedup();
        let what = Led { term, leaders };
        if stretches.last().is_some_and(|last| last.what == what) || stretches.len() >= LIMIT {
            continue;
        }
        if let Some(last) = stretches.last_mut() {
            last.to_ns = lead.at_ns;
        }
        stretches.push(Stretch {
            from_ns: lead.at_ns,
            to_ns: lead.at_ns,
            what,
            words: None,
        });
    }
    if let Some(last) = stretches.last_mut() {
        last.to_ns = until_ns;
    }
    stretches
}
