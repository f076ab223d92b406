//! What each place said, as a function of time: successive readings that say the same are one.
//!
//! A **place** is a source, with its label, on a node. A reading holds from the start of its sample until that of the next
//! reading of its place: what one sample reads is taken as read at once, so that places that were read one after the other do
//! not seem to disagree in between.
//! A node is **stopped** in a sample in which some source says that the system does not run there: then nothing that was
//! read from its disk is what a live node says.

use std::collections::{HashMap, HashSet};

use harness_core::view::{Member, RaftPosition, Reading, Source, UnreadKind, View};

use super::roster::{Id, Roster};
use crate::{model::ReportInput, text};

/// Where something is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The source.
    pub source: Source,
    /// Which one, where a node has several.
    pub label: Option<String>,
    /// The node; None if it is none of the lab and of the operations.
    pub node: Option<Id>,
}

/// A member as a place lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub id: Id,
    /// What stands there.
    pub member: Member,
}

/// What a reading gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It holds these, by id.
    Members(Vec<Entry>),
    /// It could not be read, though the node runs.
    Unread {
        /// A stable word.
        kind: &'static str,
        /// What was said.
        message: String,
    },
    /// The node is stopped.
    Stopped,
}

impl Said {
    /// Whom it holds, if it was read.
    #[must_use]
    pub fn members(&self) -> Option<&[Entry]> {
        match self {
            Self::Members(members) => Some(members),
            _ => None,
        }
    }

    /// What it says of one member; None if it was not read.
    #[must_use]
    pub fn lists(&self, id: Id) -> Option<bool> {
        let members = self.members()?;
        Some(members.binary_search_by_key(&id, |entry| entry.id).is_ok())
    }

    /// Entries of one member.
    pub fn entries(&self, id: Id) -> impl Iterator<Item = &Member> {
        self.members()
            .into_iter()
            .flatten()
            .filter(move |entry| entry.id == id)
            .map(|entry| &entry.member)
    }
}

/// A stretch of equal readings of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaidFrom {
    /// The place.
    pub place: usize,
    /// When the sample of the first of them began.
    pub start_ns: u64,
    /// What they say.
    pub said: Said,
}

/// What a node says of raft's term and leader, each if it says it; leader 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    pub at_ns: u64,
    pub node: Id,
    pub term: Option<u64>,
    pub leader: Option<u64>,
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Every place, in the order in which it is shown: source, label, node.
    pub places: Vec<Place>,
    /// What they said, by time.
    pub readings: Vec<SaidFrom>,
    /// When each place was last read, by place.
    pub read_ns: Vec<u64>,
    /// When the last reading ended.
    pub until_ns: u64,
    /// Number of readings, before equal ones were merged.
    pub count: u64,
    pub(super) leads: Vec<Lead>,
    /// Members by raft id, as the latest reading that has one says.
    pub(super) raft_ids: HashMap<u64, Id>,
}

impl Seen {
    /// `joined`: when joins of a member ended ok; what its own places said before is never merged with what they say after.
    pub(super) fn new(
        input: &ReportInput<'_>,
        roster: &mut Roster,
        joined: &HashMap<Id, Vec<u64>>,
    ) -> Self {
        let mut seen = Self {
            count: input.views.len() as u64,
            ..Self::default()
        };
        let stopped: HashSet<(u64, &str)> = input
            .views
            .iter()
            .filter(|view| {
                matches!(
                    view.reading,
                    Reading::Unread {
                        kind: UnreadKind::Stopped,
                        ..
                    }
                )
            })
            .map(|view| (view.sample, &*view.node))
            .collect();
        let mut views: Vec<_> = input
            .views
            .iter()
            .filter(|view| !view.is_history())
            .collect();
        let mut began: HashMap<u64, u64> = HashMap::new();
        for view in &views {
            let began_ns = began.entry(view.sample).or_insert(view.start_ns);
            *began_ns = view.start_ns.min(*began_ns);
        }
        let start_of = |view: &View| began.get(&view.sample).copied().unwrap_or(view.start_ns);
        views.sort_by_key(|view| (start_of(view), view.start_ns, view.end_ns));
        let mut numbers: HashMap<(Source, Option<&str>, &str), usize> = HashMap::new();
        // Of each place: its last stretch, and when the last reading in it began.
        let mut last: Vec<Option<(usize, u64)>> = Vec::new();
        for view in views {
            let start_ns = start_of(view);
            let key = (view.source, view.label.as_deref(), &*view.node);
            let place = *numbers.entry(key).or_insert_with(|| {
                seen.places.push(Place {
                    source: view.source,
                    label: view.label.as_deref().map(|label| text::clip(label, 24)),
                    node: roster.named(&view.node),
                });
                last.push(None);
                seen.read_ns.push(0);
                seen.places.len() - 1
            });
            seen.until_ns = seen.until_ns.max(view.end_ns);
            seen.read_ns[place] = view.end_ns;
            let said = if stopped.contains(&(view.sample, &*view.node)) {
                Said::Stopped
            } else {
                said(&view.reading, roster)
            };
            if let (Said::Members(members), Some(node)) = (&said, seen.places[place].node) {
                if let Some(raft) = &view.raft {
                    seen.lead(start_ns, node, raft);
                }
                if view.source == Source::Raft {
                    for entry in members {
                        if let Some(number) = entry.member.raft_id {
                            seen.raft_ids.insert(number, entry.id);
                        }
                    }
                }
            }
            let joins = seen.places[place].node.and_then(|node| joined.get(&node));
            let joined_since = |before_ns: u64| {
                let since = |at_ns: &u64| before_ns < *at_ns && *at_ns <= start_ns;
                joins.is_some_and(|joins| joins.iter().any(since))
            };
            let number = match last[place] {
                Some((number, before_ns))
                    if seen.readings[number].said == said && !joined_since(before_ns) =>
                {
                    number
                }
                _ => {
                    seen.readings.push(SaidFrom {
                        place,
                        start_ns,
                        said,
                    });
                    seen.readings.len() - 1
                }
            };
            last[place] = Some((number, start_ns));
        }
        seen.arrange();
        seen
    }

    fn lead(&mut self, at_ns: u64, node: Id, raft: &RaftPosition) {
        if raft.term.is_some() || raft.leader.is_some() {
            self.leads.push(Lead {
                at_ns,
                node,
                term: raft.term,
                leader: raft.leader,
            });
        }
    }

    /// Puts places in the order in which they are shown.
    fn arrange(&mut self) {
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        order.sort_by_key(|number| {
            let place = &self.places[*number];
            (
                place.source,
                place.label.clone(),
                place.node.unwrap_or(usize::MAX),
            )
        });
        let mut new = vec![0; order.len()];
        for (to, from) in order.iter().enumerate() {
            new[*from] = to;
        }
        self.places = order
            .iter()
            .map(|from| self.places[*from].clone())
            .collect();
        self.read_ns = order.iter().map(|from| self.read_ns[*from]).collect();
        for reading in &mut self.readings {
            reading.place = new[reading.place];
        }
    }

    /// When the system was looked for on a node and did not run, up to `until_ns`.
    #[must_use]
    pub fn stopped(&self, node: Id, until_ns: u64) -> Vec<(u64, u64)> {
        // A stopped node is stopped in all of its places: one of them tells.
        let Some(place) = self
            .places
            .iter()
            .position(|place| place.node == Some(node))
        else {
            return Vec::new();
        };
        let mut spans: Vec<(u64, u64)> = Vec::new();
        let mut since_ns = None;
        let own = self
            .readings
            .iter()
            .filter(|reading| reading.place == place);
        for reading in own.take_while(|reading| reading.start_ns < until_ns) {
            match (&reading.said, since_ns) {
                (Said::Stopped, None) => since_ns = Some(reading.start_ns),
                (Said::Stopped, Some(_)) | (_, None) => {}
                (_, Some(from_ns)) => {
                    spans.push((from_ns, reading.start_ns));
                    since_ns = None;
                }
            }
        }
        spans.extend(since_ns.map(|from_ns| (from_ns, until_ns)));
        spans
    }

    /// The last reading of each place, by place.
    #[must_use]
    pub fn last(&self) -> Vec<Option<&SaidFrom>> {
        let mut last = vec![None; self.places.len()];
        for reading in &self.readings {
            last[reading.place] = Some(reading);
        }
        last
    }

    /// The sources that were read anywhere, in the order in which they are shown.
    #[must_use]
    pub fn sources(&self) -> Vec<Source> {
        let has = |source: &Source| self.places.iter().any(|place| place.source == *source);
        Source::ALL.into_iter().filter(has).collect()
    }
}

fn said(reading: &Reading, roster: &mut Roster) -> Said {
    match reading {
        Reading::Members(members) => {
            let mut entries: Vec<Entry> = members
                .iter()
                .map(|member| Entry {
                    id: roster.who(member),
                    member: member.clone(),
                })
                .collect();
            entries.sort_by(|a, b| (a.id, &a.member).cmp(&(b.id, &b.member)));
            Said::Members(entries)
        }
        Reading::Unread {
            kind: UnreadKind::Stopped,
            ..
        } => Said::Stopped,
        Reading::Unread { kind, message } => Said::Unread {
            kind: kind.as_str(),
            message: text::clip(message, 200),
        },
    }
}
