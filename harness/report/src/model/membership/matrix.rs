//! The final state: what the last reading of each place says of each member.
//!
//! Laws:
//! - what a row is held against is what operations say of its member; if they do not say, what most places say (in, if it is
//!   half and half);
//! - only places of live nodes, that is of running nodes that are certainly members, are held against it;
//! - a cell that differs says so in words; an unread one says why; a stopped node says that;
//! - raft sends a spare no log: what a spare says of raft is shown and held against nothing;
//! - a table too wide to be read at a glance has one column for those places of a source that say the same of everybody.

use std::collections::BTreeMap;

use harness_core::{
    history::Outcome,
    view::{Member, Source},
};

use super::{
    cell::{Cell, Expected, cell, most, short_print},
    places::{Place, Said, SaidFrom, Seen},
    roster::{Id, Roster},
    spare::spares,
    standing::{Change, Standing},
};
use crate::number;

/// A place that was not read for so long before the end counts as unread.
pub const STALE_NS: u64 = 30 * number::NS_PER_S;

/// Rows, at most.
pub const ROW_LIMIT: usize = 60;
/// Columns from which on those that say the same become one: what a page of 1280 pixels shows.
const FOLD_FROM: usize = 36;
/// Nodes that are named at the head of a column.
const HEAD_LIMIT: usize = 3;

/// Columns, at most.
pub const COLUMN_LIMIT: usize = 144;

/// What a node is at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It runs and is a member: what it says counts.
    Live,
    /// It is a member and does not run.
    Stopped,
    /// It is no member, or nobody knows: shown, held against nothing.
    Outside,
    /// It is a spare, and this place is raft: shown, held against nothing.
    Spare,
}

/// A place, or several of a source that say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The node's name; where they are several, the first few and how many more.
    pub node: String,
    /// The names of all of them.
    pub nodes: Vec<String>,
    /// What the node is.
    pub state: NodeState,
}

/// Columns of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `truststore (local)`.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Column>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its lane's anchor, if it has one.
    pub lane: Option<String>,
    /// What operations say of it.
    pub standing: String,
    /// Its role, raft id and the beginning of its certificate's fingerprint, as most places give them.
    pub known: Vec<String>,
    /// How long before the last reading its last join or remove ended, if it may still be settling.
    pub fresh: Option<String>,
    /// By column.
    pub cells: Vec<Cell>,
}

impl Row {
    /// Whether some cell differs.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.cells.iter().any(|cell| !cell.differs.is_empty())
    }
}

/// The whole table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matrix {
    /// Columns.
    pub groups: Vec<Group>,
    /// Rows.
    pub rows: Vec<Row>,
    /// Places that could not be read, and why.
    pub unread: Vec<String>,
    /// Members that are stopped.
    pub stopped: Vec<String>,
    /// Rows and columns that are not shown.
    pub left_out: (usize, usize),
    /// When the last reading ended.
    pub until: String,
}

impl Matrix {
    /// What the table shows, in a sentence.
    #[must_use]
    pub fn words(&self) -> String {
        let odd_of = |fresh: bool| {
            let rows = self.rows.iter().filter(|row| row.differs());
            rows.filter(move |row| row.fresh.is_some() == fresh)
        };
        let odd: Vec<&str> = odd_of(false).map(|row| row.name.as_str()).collect();
        let mut words = if odd.is_empty() && odd_of(true).next().is_some() {
            "Every place that was read says the same of every member that had time to settle."
                .to_owned()
        } else if odd.is_empty() {
            "Every place that was read says the same of every member.".to_owned()
        } else {
            format!("Places do not say the same of {}.", odd.join(", "))
        };
        for row in odd_of(true) {
            words.push_str(&format!(
                " They differ about {}, but its last join or remove ended only {} before the last reading.",
                row.name,
                row.fresh.as_deref().unwrap_or_default()
            ));
        }
        if !self.unread.is_empty() {
            let count = number::counted(self.unread.len() as u64, "place");
            words.push_str(&format!(" {count} could not be read at the end."));
        }
        if !self.stopped.is_empty() {
            words.push_str(&format!(" Not running: {}.", self.stopped.join(", ")));
        }
        words
    }
}

/// A place that is shown, and its last reading.
pub(super) struct Last<'a> {
    pub place: &'a Place,
    pub node: Id,
    /// When it was last read.
    pub read_ns: u64,
    pub reading: &'a SaidFrom,
    pub state: NodeState,
}

/// What the table is made from, besides the readings.
pub(super) struct Context<'a> {
    pub roster: &'a Roster,
    pub standings: &'a [Standing],
    pub certain: &'a [Vec<(u64, bool)>],
    pub changes: &'a [Change],
    pub lanes: &'a BTreeMap<Id, String>,
    /// How long sources may differ after a join or a remove.
    pub settle_ns: u64,
}

pub(super) fn matrix(seen: &Seen, context: &Context<'_>) -> Matrix {
    let Context {
        roster,
        standings,
        certain,
        lanes,
        ..
    } = *context;
    let counts = |node: Id| certain[node].last().is_some_and(|(_, member)| *member);
    let said = seen.last();
    let rafts = seen
        .places
        .iter()
        .zip(&said)
        .filter_map(|(place, reading)| {
            let node = place.node.filter(|node| counts(*node))?;
            (place.source == Source::Raft).then_some((node, &(*reading)?.said))
        });
    let spares = spares(rafts);
    let last: Vec<Last<'_>> = seen
        .places
        .iter()
        .zip(said)
        .zip(&seen.read_ns)
        .filter_map(|((place, reading), read_ns)| {
            let (node, reading) = (place.node?, reading?);
            let state = match (counts(node), &reading.said) {
                (true, Said::Stopped) => NodeState::Stopped,
                (true, _) if place.source == Source::Raft && spares.contains(&node) => {
                    NodeState::Spare
                }
                (true, _) => NodeState::Live,
                (false, _) => NodeState::Outside,
            };
            // A node that is no member and knows of nobody but itself has nothing to say.
            let speaks = reading
                .said
                .members()
                .is_some_and(|members| members.iter().any(|entry| entry.id != node));
            let since_ns = certain[node].last().map_or(0, |(at_ns, _)| *at_ns);
            let outside = speaks && *read_ns > since_ns;
            (state != NodeState::Outside || outside).then_some(Last {
                place,
                node,
                read_ns: *read_ns,
                reading,
                state,
            })
        })
        .collect();
    let columns_left_out = last.len().saturating_sub(COLUMN_LIMIT);
    let last = &last[..last.len().min(COLUMN_LIMIT)];
    let shown: Vec<Id> = (0..roster.people.len())
        .filter(|id| {
            counts(*id)
                || last
                    .iter()
                    .any(|last| last.reading.said.lists(*id) == Some(true))
                || matches!(standings[*id], Standing::Removed(_) | Standing::Doubt(_))
        })
        .collect();
    let rows: Vec<Row> = shown
        .iter()
        .take(ROW_LIMIT)
        .map(|id| {
            let mut row = row(*id, last, roster, &standings[*id], lanes.get(id).cloned());
            row.fresh = fresh(*id, seen, context);
            row
        })
        .collect();
    let mut stopped: Vec<String> = last
        .iter()
        .filter(|last| last.state == NodeState::Stopped)
        .map(|last| roster.people[last.node].name.clone())
        .collect();
    stopped.dedup();
    stopped.sort_unstable();
    stopped.dedup();
    let (groups, rows) = if last.len() > FOLD_FROM {
        fold(groups(last, roster), rows)
    } else {
        (groups(last, roster), rows)
    };
    Matrix {
        groups,
        unread: unread(last, roster, seen.until_ns),
        stopped,
        left_out: (shown.len() - rows.len(), columns_left_out),
        rows,
        until: number::instant(seen.until_ns),
    }
}

pub(super) fn place_name(place: &Place) -> String {
    match &place.label {
        Some(label) => format!("{} ({label})", place.source),
        None => place.source.to_string(),
    }
}

fn groups(last: &[Last<'_>], roster: &Roster) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for last in last {
        let name = place_name(last.place);
        if groups.last().is_none_or(|group| group.name != name) {
            groups.push(Group {
                name,
                columns: Vec::new(),
            });
        }
        if let Some(group) = groups.last_mut() {
            let name = &roster.people[last.node].name;
            group.columns.push(Column {
                node: name.clone(),
                nodes: vec![name.clone()],
                state: last.state,
            });
        }
    }
    groups
}

/// Makes columns of a source that say the same of everybody one.
fn fold(groups: Vec<Group>, rows: Vec<Row>) -> (Vec<Group>, Vec<Row>) {
    let mut folded: Vec<Row> = rows
        .iter()
        .map(|row| Row {
            cells: Vec::new(),
            ..row.clone()
        })
        .collect();
    let mut shorter = Vec::new();
    let mut at = 0;
    for group in groups {
        let mut columns: Vec<(usize, Column)> = Vec::new();
        for column in group.columns {
            let same = |other: usize, state: NodeState| {
                state == column.state
                    && rows.iter().all(|row| row.cells[at].says(&row.cells[other]))
            };
            match columns
                .iter_mut()
                .find(|(other, held)| same(*other, held.state))
            {
                Some((_, held)) => held.nodes.extend(column.nodes),
                None => columns.push((at, column)),
            }
            at += 1;
        }
        for (number, (from, column)) in columns.iter_mut().enumerate() {
            let more = column.nodes.len().saturating_sub(HEAD_LIMIT);
            column.node = column.nodes[..column.nodes.len().min(HEAD_LIMIT)].join(" ");
            if more > 0 {
                column.node.push_str(&format!(" +{more}"));
            }
            for (row, short) in rows.iter().zip(&mut folded) {
                let mut cell = row.cells[*from].clone();
                cell.first = number == 0;
                if column.nodes.len() > 1 {
                    cell.help
                        .push_str(&format!("; the same on {}", column.nodes[1..].join(", ")));
                }
                short.cells.push(cell);
            }
        }
        shorter.push(Group {
            name: group.name,
            columns: columns.into_iter().map(|(_, column)| column).collect(),
        });
    }
    (shorter, folded)
}

fn unread(last: &[Last<'_>], roster: &Roster, until_ns: u64) -> Vec<String> {
    last.iter()
        .filter(|last| last.state == NodeState::Live)
        .filter_map(|last| match &last.reading.said {
            Said::Unread { kind, message } => Some(format!(
                "{} of {}, since {}: {kind}: {message}",
                place_name(last.place),
                roster.people[last.node].name,
                number::instant(last.reading.start_ns)
            )),
            _ if until_ns.saturating_sub(last.read_ns) > STALE_NS => Some(format!(
                "{} of {}: last read at {}",
                place_name(last.place),
                roster.people[last.node].name,
                number::instant(last.read_ns)
            )),
            _ => None,
        })
        .collect()
}

/// How long before the last reading the last join or remove of a member ended, if sources may still be settling.
fn fresh(id: Id, seen: &Seen, context: &Context<'_>) -> Option<String> {
    let own = |change: &&Change| change.member == id && change.outcome == Outcome::Ok;
    let ends = context.changes.iter().filter(own);
    let last_ns = ends.filter_map(|change| change.end_ns).max()?;
    let since_ns = seen.until_ns.saturating_sub(last_ns);
    (since_ns < context.settle_ns).then(|| number::duration(since_ns))
}

fn row(
    id: Id,
    last: &[Last<'_>],
    roster: &Roster,
    standing: &Standing,
    lane: Option<String>,
) -> Row {
    let live = || last.iter().filter(|last| last.state == NodeState::Live);
    let inside = match standing {
        Standing::Member => true,
        Standing::Removed(_) | Standing::Never | Standing::Foreign => false,
        Standing::Doubt(_) | Standing::Unknown => {
            let said: Vec<bool> = live()
                .filter_map(|last| last.reading.said.lists(id))
                .collect();
            said.iter().filter(|said| **said).count() * 2 >= said.len()
        }
    };
    let entries = || live().flat_map(|last| last.reading.said.entries(id));
    let member = Member {
        name: None,
        address: None,
        fingerprint: most(entries().filter_map(|entry| entry.fingerprint.clone())),
        raft_id: most(entries().filter_map(|entry| entry.raft_id)),
        role: most(entries().filter_map(|entry| entry.role)),
        state: None,
    };
    let expected = Expected { inside, member };
    let mut before: Option<String> = None;
    let cells = last
        .iter()
        .map(|last| {
            let name = place_name(last.place);
            let first = before.as_ref() != Some(&name);
            before = Some(name);
            cell(id, last, roster, &expected, first)
        })
        .collect();
    let member = &expected.member;
    let known = [
        member.role.map(|role| role.as_str().to_owned()),
        member.raft_id.map(|id| format!("raft id {id}")),
        member.fingerprint.as_deref().map(short_print),
    ]
    .into_iter()
    .flatten()
    .collect();
    Row {
        name: roster.people[id].name.clone(),
        lane,
        standing: standing.words(),
        known,
        fresh: None,
        cells,
    }
}
