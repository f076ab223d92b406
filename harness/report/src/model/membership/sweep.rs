//! What the places of each source say together, from moment to moment.
//!
//! At each moment the places on **live** nodes count: nodes that are certainly members ([`super::standing`]) and are not
//! stopped. One pass over all turns (a reading that says something new, a node that becomes a member or ceases to be one) draws
//! every member's stripes. What a spare says of raft does not count (module `spare`).

use std::collections::{BTreeMap, BTreeSet};

use harness_core::view::{MemberState, Role, Source};

use super::{
    lanes::{Held, RoleSaid, Stretch, Stripe},
    places::{Said, Seen},
    roster::{Id, Roster},
    spare::spares,
};
use crate::text;

/// Stretches of one stripe, at most; more are merged in windows, the worst of each is shown.
pub const STRETCH_LIMIT: usize = 2_000;
/// Nodes that are named in the words of one stretch.
const NAMED_LIMIT: usize = 6;
/// Words of a stretch, in characters.
const WORDS_CHARS: usize = 200;

/// What has been drawn of one member so far.
struct Pen {
    stripes: Vec<Vec<Stretch<Held>>>,
    roles: Vec<Stretch<RoleSaid>>,
}

/// Something that changes what the places say together.
enum Turn {
    /// Number of a reading.
    Reading(usize),
    /// A node is certainly a member from now on, or not.
    Counts(Id, bool),
}

/// What may look different after turns at one moment.
#[derive(Default)]
struct Changed {
    sources: BTreeSet<Source>,
    /// Which nodes count: then everything may.
    nodes: bool,
}

/// The state of the sweep over time.
struct Sweep<'a> {
    seen: &'a Seen,
    roster: &'a Roster,
    sources: Vec<Source>,
    /// Places by source, in the order of `sources`.
    places: Vec<Vec<usize>>,
    /// Whether a source has more than one label.
    labelled: Vec<bool>,
    /// Reading of each place.
    now: Vec<Option<usize>>,
    /// Since when each node counts.
    counts: Vec<Option<u64>>,
    /// Whose raft does not count.
    spares: BTreeSet<Id>,
}

pub(super) type Stripes = BTreeMap<Id, (Vec<Stripe>, Vec<Stretch<RoleSaid>>)>;

/// Stripes and roles of those members, up to `until_ns`.
pub(super) fn stripes(
    seen: &Seen,
    roster: &Roster,
    members: &[Id],
    certain: &[Vec<(u64, bool)>],
    until_ns: u64,
) -> Stripes {
    let sources = seen.sources();
    let of = |source: Source| {
        let places = seen.places.iter().enumerate();
        places
            .filter(move |(_, place)| place.source == source)
            .map(|(number, _)| number)
            .collect::<Vec<_>>()
    };
    let places: Vec<Vec<usize>> = sources.iter().map(|source| of(*source)).collect();
    let labelled = places
        .iter()
        .map(|places| {
            let first = places.first().map(|place| &seen.places[*place].label);
            places
                .iter()
                .any(|place| Some(&seen.places[*place].label) != first)
        })
        .collect();
    let mut turns: Vec<(u64, Turn)> = certain
        .iter()
        .enumerate()
        .flat_map(|(id, turns)| {
            turns
                .iter()
                .map(move |(at_ns, member)| (*at_ns, Turn::Counts(id, *member)))
        })
        .collect();
    let readings = seen.readings.iter().enumerate();
    turns.extend(readings.map(|(number, reading)| (reading.start_ns, Turn::Reading(number))));
    turns.sort_by_key(|(at_ns, _)| *at_ns);
    let mut sweep = Sweep {
        seen,
        roster,
        places,
        labelled,
        now: vec![None; seen.places.len()],
        counts: vec![None; roster.people.len()],
        spares: BTreeSet::new(),
        sources,
    };
    let mut pens: Vec<Pen> = members.iter().map(|_| sweep.pen()).collect();
    let first_ns = seen.readings.first().map_or(0, |reading| reading.start_ns);
    let mut turns = turns
        .into_iter()
        .take_while(|(at_ns, _)| *at_ns < until_ns)
        .peekable();
    while let Some((at_ns, turn)) = turns.next() {
        // What happens at one moment is drawn once.
        let mut changed = Changed::default();
        sweep.apply(at_ns, turn, &mut changed);
        while let Some((_, turn)) = turns.next_if(|(next_ns, _)| *next_ns == at_ns) {
            sweep.apply(at_ns, turn, &mut changed);
        }
        if changed.nodes || changed.sources.contains(&Source::Raft) {
            sweep.spares = sweep.spares_now();
        }
        if at_ns < first_ns {
            continue;
        }
        for (member, pen) in members.iter().zip(&mut pens) {
            sweep.draw(*member, pen, at_ns, &changed);
        }
    }
    members
        .iter()
        .zip(pens)
        .map(|(member, pen)| (*member, sweep.done(pen, until_ns)))
        .collect()
}

impl Sweep<'_> {
    fn pen(&self) -> Pen {
        Pen {
            stripes: vec![Vec::new(); self.sources.len()],
            roles: Vec::new(),
        }
    }

    fn apply(&mut self, at_ns: u64, turn: Turn, changed: &mut Changed) {
        match turn {
            Turn::Reading(number) => {
                let place = self.seen.readings[number].place;
                self.now[place] = Some(number);
                changed.sources.insert(self.seen.places[place].source);
            }
            Turn::Counts(node, counts) => {
                self.counts[node] = counts.then_some(at_ns);
                changed.nodes = true;
            }
        }
    }

    fn spares_now(&self) -> BTreeSet<Id> {
        let raft = self
            .sources
            .iter()
            .position(|source| *source == Source::Raft);
        let places = raft.map_or(&[] as &[usize], |raft| &self.places[raft]);
        spares(places.iter().filter_map(|place| self.live(*place)))
    }

    /// What a place of a live node says now, and the node.
    fn live(&self, place: usize) -> Option<(Id, &Said)> {
        let node = self.seen.places[place].node?;
        let since_ns = self.counts[node]?;
        let reading = &self.seen.readings[self.now[place]?];
        let counts = reading.start_ns >= since_ns && reading.said != Said::Stopped;
        counts.then_some((node, &reading.said))
    }

    fn draw(&self, member: Id, pen: &mut Pen, at_ns: u64, changed: &Changed) {
        let mut roles = changed.nodes;
        for (number, source) in self.sources.iter().enumerate() {
            if changed.nodes || changed.sources.contains(source) {
                let (held, words) = self.held(number, member);
                put(&mut pen.stripes[number], at_ns, held, words);
                roles |= *source != Source::Cache;
            }
        }
        if roles {
            put(&mut pen.roles, at_ns, self.role(member), None);
        }
    }

    fn held(&self, source: usize, member: Id) -> (Held, Option<String>) {
        let (mut inside, mut outside, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        let mut pending = false;
        for place in &self.places[source] {
            let Some((node, said)) = self.live(*place) else {
                continue;
            };
            if self.sources[source] == Source::Raft && self.spares.contains(&node) {
                continue;
            }
            match said.lists(member) {
                Some(true) => {
                    pending |= is_pending(said, member);
                    inside.push((node, *place));
                }
                Some(false) => outside.push((node, *place)),
                None => unread.push((node, *place)),
            }
        }
        let names = |places: &[(Id, usize)]| self.names(source, places);
        match (inside.is_empty(), outside.is_empty(), unread.is_empty()) {
            (false, false, _) => {
                let words = format!("listed by {}; not by {}", names(&inside), names(&outside));
                (Held::Differ, Some(text::clip(&words, WORDS_CHARS)))
            }
            (true, true, true) => (Held::Unread(None), Some("no live node was read".to_owned())),
            (no_inside, no_outside, false) => {
                let rest = (!no_inside || !no_outside).then_some(!no_inside);
                (
                    Held::Unread(rest),
                    Some(format!("unread on {}", names(&unread))),
                )
            }
            (true, false, true) => (Held::Nowhere, None),
            (false, true, true) if pending => (Held::Pending, None),
            (false, true, true) => (Held::Everywhere, None),
        }
    }

    /// `n1, n3 (list)`.
    fn names(&self, source: usize, places: &[(Id, usize)]) -> String {
        let name = |(node, place): &(Id, usize)| {
            let name = &self.roster.people[*node].name;
            match &self.seen.places[*place].label {
                Some(label) if self.labelled[source] => format!("{name} ({label})"),
                _ => name.clone(),
            }
        };
        let mut names: Vec<String> = places.iter().take(NAMED_LIMIT).map(name).collect();
        if places.len() > NAMED_LIMIT {
            names.push(format!("{} more", places.len() - NAMED_LIMIT));
        }
        names.join(", ")
    }

    fn role(&self, member: Id) -> RoleSaid {
        let mut said = RoleSaid::None;
        let mut roles: Vec<Role> = Vec::new();
        for (number, source) in self.sources.iter().enumerate() {
            if *source == Source::Cache {
                continue;
            }
            for (node, what) in self.places[number]
                .iter()
                .filter_map(|place| self.live(*place))
            {
                if *source == Source::Raft && self.spares.contains(&node) {
                    continue;
                }
                if is_pending(what, member) {
                    said = RoleSaid::Pending;
                }
                roles.extend(what.entries(member).filter_map(|entry| entry.role));
            }
        }
        match roles.first() {
            Some(first) if roles.iter().any(|role| role != first) => RoleSaid::Differ,
            _ if said == RoleSaid::Pending => said,
            Some(first) => RoleSaid::Role(*first),
            None => said,
        }
    }

    fn done(&self, mut pen: Pen, until_ns: u64) -> (Vec<Stripe>, Vec<Stretch<RoleSaid>>) {
        let stripes = self
            .sources
            .iter()
            .zip(&mut pen.stripes)
            .map(|(source, stretches)| {
                close(stretches, until_ns);
                let merged = coarsen(stretches, STRETCH_LIMIT);
                Stripe {
                    source: *source,
                    stretches: std::mem::take(stretches),
                    merged,
                }
            })
            .collect();
        close(&mut pen.roles, until_ns);
        pen.roles.retain(|stretch| stretch.what != RoleSaid::None);
        coarsen(&mut pen.roles, STRETCH_LIMIT);
        (stripes, pen.roles)
    }
}

fn is_pending(said: &Said, member: Id) -> bool {
    said.entries(member)
        .any(|entry| entry.state == Some(MemberState::Pending))
}

/// Says what holds from then on.
fn put<T: PartialEq>(stretches: &mut Vec<Stretch<T>>, at_ns: u64, what: T, words: Option<String>) {
    if let Some(last) = stretches.last() {
        if last.what == what && last.words == words {
            return;
        }
        if last.from_ns == at_ns {
            stretches.pop();
            return put(stretches, at_ns, what, words);
        }
    }
    if let Some(last) = stretches.last_mut() {
        last.to_ns = at_ns;
    }
    stretches.push(Stretch {
        from_ns: at_ns,
        to_ns: at_ns,
        what,
        words,
    });
}

fn close<T>(stretches: &mut [Stretch<T>], until_ns: u64) {
    for number in 1..stretches.len() {
        stretches[number - 1].to_ns = stretches[number].from_ns;
    }
    if let Some(last) = stretches.last_mut() {
        last.to_ns = until_ns.max(last.from_ns);
    }
}

/// Merges stretches in windows until there are few enough; each window shows the worst in it. Says whether it did.
fn coarsen<T: PartialOrd>(stretches: &mut Vec<Stretch<T>>, limit: usize) -> bool {
    let (Some(first), Some(last)) = (stretches.first(), stretches.last()) else {
        return false;
    };
    if stretches.len() <= limit {
        return false;
    }
    let window_ns = (last.to_ns - first.from_ns) / limit as u64 + 1;
    let mut merged: Vec<Stretch<T>> = Vec::with_capacity(limit + 1);
    for stretch in stretches.drain(..) {
        match merged.last_mut() {
            Some(open) if stretch.from_ns - open.from_ns < window_ns => {
                open.to_ns = stretch.to_ns;
                if stretch.what > open.what {
                    (open.what, open.words) = (stretch.what, stretch.words);
                }
            }
            _ => merged.push(stretch),
        }
    }
    *stretches = merged;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(from_ns: u64, to_ns: u64, what: Held) -> Stretch<Held> {
        Stretch {
            from_ns,
            to_ns,
            what,
            words: None,
        }
    }

    #[test]
    fn equal_neighbours_are_one_stretch_and_the_last_word_at_a_moment_counts() {
        let mut stretches = Vec::new();
        put(&mut stretches, 5, Held::Nowhere, None);
        put(&mut stretches, 7, Held::Nowhere, None);
        put(&mut stretches, 9, Held::Differ, None);
        put(&mut stretches, 9, Held::Everywhere, None);
        close(&mut stretches, 20);
        assert_eq!(
            stretches,
            [
                stretch(5, 9, Held::Nowhere),
                stretch(9, 20, Held::Everywhere)
            ]
        );
    }

    #[test]
    fn merged_stretches_cover_the_same_time_and_keep_the_worst() {
        let mut stretches: Vec<_> = (0..1_000)
            .map(|at| {
                let odd = [Held::Everywhere, Held::Unread(Some(true))][at as usize % 2];
                stretch(at, at + 1, if at == 500 { Held::Differ } else { odd })
            })
            .collect();
        assert!(coarsen(&mut stretches, 100));
        assert!(stretches.len() <= 100, "{}", stretches.len());
        assert!(stretches.iter().any(|stretch| stretch.what == Held::Differ));
        assert_eq!(
            (stretches[0].from_ns, stretches[stretches.len() - 1].to_ns),
            (0, 1_000)
        );
        assert!(
            stretches
                .windows(2)
                .all(|pair| pair[0].to_ns == pair[1].from_ns)
        );
        assert!(!coarsen(&mut stretches, 100));
    }
}
