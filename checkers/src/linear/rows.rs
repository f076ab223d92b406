//! Whole histories of registers with unique writes, decided by zones straight from [rows](harness_core::compact).
//!
//! The conditions are those of [`super::zones`], for all keys in one pass, without sorting: every zone stands once in an
//! array over the positions of the history (a forward one where it begins, a backward one at its last call), and one walk
//! over that array remembers for each key the last forward zone.
//!
//! A key whose writes are not unique, or that has compare-and-sets or appends, is [decided as elsewhere](super::searched), by blocks or a
//! search. One without a legal order is read again as a tree of values and goes the general way, which explains it. So a verdict here is
//! never another one than there.

use harness_core::{
    compact::{self, Atom, Compact, NEVER, Reading, Row, Shape},
    fast::FastMap,
    history::{History, Operation, Outcome},
    verdict::{Budget, CheckInput, CheckResult, Verdict},
};
use serde_json::Value;

use super::{Figures, Keyed, Linearizable, Tally, problem};
use crate::{
    registry::{Source, Straight},
    words,
};

/// Kinds of operations that read.
pub(super) const READS: [&str; 3] = ["read", "r", "get"];
const WRITES: [&str; 4] = ["write", "w", "put", "set"];

/// A key that breaks a condition is told by all of its operations up to so many; beyond, by those of the two values.
const TOLD_WHOLE: usize = 20_000;
/// Spare places of a table by value, beside two for each operation.
const TABLE_SLACK: u64 = 1_024;
const NO_KEY: u32 = u32::MAX;
const NOBODY: u32 = u32::MAX;

/// What a row does to its key.
#[derive(Clone, Copy)]
enum Deed {
    Read(Atom),
    Write(Atom),
    /// It makes its key one for the search.
    Other,
    Nothing,
}

#[derive(Clone, Copy)]
pub(super) enum Verb {
    Read,
    Write,
    Cas,
    Append,
}

/// A value of a key: its write and the reads of it.
#[derive(Clone, Copy)]
struct Cluster {
    key: u32,
    /// Call of its write; 0: there is none.
    written: u32,
    first_return: u32,
    last_call: u32,
}

impl Cluster {
    const NONE: Self = Self {
        key: NO_KEY,
        written: 0,
        first_return: NEVER,
        last_call: 0,
    };

    fn write(&mut self, row: &Row) {
        self.written = row.call;
        self.last_call = self.last_call.max(row.call);
        if row.outcome == Outcome::Ok {
            self.first_return = self.first_return.min(row.ret);
        }
    }

    fn read(&mut self, row: &Row) {
        self.first_return = self.first_return.min(row.ret);
        self.last_call = self.last_call.max(row.call);
    }

    fn is_forward(&self) -> bool {
        self.first_return < self.last_call
    }
}

/// How the options read these rows.
pub(super) struct Lens<'a> {
    pub compact: &'a Compact<'a>,
    pub verbs: Vec<Verb>,
    pub keyed: bool,
    pub text: bool,
    initial: Atom,
    null_matches_any: bool,
}

impl<'a> Lens<'a> {
    /// None: the model has no zones, or some row is not of its kind.
    fn new(checker: &Linearizable, compact: &'a Compact<'a>) -> Option<Self> {
        let options = &checker.options;
        let text = options.model == "key-value";
        let with_cas = options.model == "cas-register";
        let verbs = compact
            .names
            .iter()
            .map(|name| match *name {
                name if READS.contains(&name) => Some(Verb::Read),
                name if WRITES.contains(&name) => Some(Verb::Write),
                "cas" if with_cas => Some(Verb::Cas),
                "append" if text => Some(Verb::Append),
                _ => None,
            })
            .collect::<Option<Vec<Verb>>>()?;
        let keyed = match options.keyed {
            Keyed::Yes => true,
            Keyed::No => false,
            Keyed::Auto => compact.rows.iter().all(|row| match verbs[row.f as usize] {
                Verb::Read => row.has(Row::ASKS),
                Verb::Cas => row.shape == Shape::Nested,
                Verb::Write | Verb::Append => row.has(Row::PAIR),
            }),
        };
        let initial = match &options.initial {
            Value::Null => Atom::NULL,
            Value::Number(number) => Atom::integer(number.as_i64()?)?,
            Value::String(known) if text && known.is_empty() => Atom::NULL,
            Value::String(known) => {
                let id = compact.texts.iter().position(|text| text == known);
                Atom::text(id.map_or(u32::MAX, |id| id as u32))
            }
            _ => return None,
        };
        Some(Self {
            compact,
            verbs,
            keyed,
            text,
            initial,
            null_matches_any: options.null_matches_any && !text,
        })
    }

    /// The key's atom and what is done to it. None: not for this way.
    fn deed(&self, row: &Row) -> Option<(Atom, Deed)> {
        if row.shape == Shape::Odd || self.keyed && !row.has(Row::PAIR) {
            return None;
        }
        let (key, value, size) = match (self.keyed, row.shape) {
            (false, Shape::Single) => (Atom::NULL, row.atoms[0], 1),
            (false, Shape::Pair) => (Atom::NULL, Atom::NULL, 2),
            (true, Shape::Pair) => (row.atoms[0], row.atoms[1], 1),
            (true, Shape::Nested) => (row.atoms[0], Atom::NULL, 2),
            _ => return None,
        };
        let deed = match self.verbs[row.f as usize] {
            Verb::Read if row.outcome != Outcome::Ok => Deed::Nothing,
            Verb::Read if self.keyed && row.has(Row::OTHER_KEY) || size != 1 => return None,
            Verb::Read if self.null_matches_any && value == Atom::NULL => Deed::Nothing,
            Verb::Read => Deed::Read(self.value(value)?),
            Verb::Cas if size != 2 => return None,
            Verb::Cas if row.outcome == Outcome::Fail && !row.has(Row::OBSERVED) => Deed::Nothing,
            Verb::Cas => Deed::Other,
            _ if size != 1 => return None,
            _ if row.outcome == Outcome::Fail => Deed::Nothing,
            Verb::Write => Deed::Write(self.value(value)?),
            Verb::Append => Deed::Other,
        };
        Some((key, deed))
    }

    /// Of text, null and the empty one are the same; numbers stand for their digits and go the general way.
    fn value(&self, value: Atom) -> Option<Atom> {
        match value.as_text() {
            _ if !self.text => Some(value),
            Some(id) if self.compact.texts[id].is_empty() => Some(Atom::NULL),
            None if value != Atom::NULL => None,
            _ => Some(value),
        }
    }
}

/// Keys by number, and the number of each row's key.
struct Keys {
    of_row: Vec<u32>,
    rows: Vec<u32>,
}

/// What is known of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    /// Not only reads and unique writes.
    Search,
    /// It was searched, and is not told by the general way.
    Searched,
    /// These two values cannot both be placed.
    Broken(Atom, Atom),
}

impl Straight for Linearizable {
    /// Judges a history in bytes, if its values are simple and most of its keys are registers with unique writes.
    fn check_bytes(
        &self,
        source: &Source<'_>,
        budget: &dyn Budget,
    ) -> Option<(CheckResult, Vec<String>)> {
        let options = &self.options;
        let model = options.model.as_str();
        if !options.zones
            || !options.partition
            || !matches!(model, "register" | "cas-register" | "key-value")
        {
            return None;
        }
        let reading = Reading {
            ignore: &options.ignore,
            observers: &READS,
            observing: &options.observing_failures,
            threads: source.threads,
            release: source.release,
        };
        let compact = compact::read(source.bytes, source.format, &reading)?;
        let lens = Lens::new(self, &compact)?;
        let mut tally = Tally::new(compact.rows.len());
        let (keys, mut clusters) = lens.clusters()?;
        let positions = compact.event_count as usize + 1;
        let memory = (compact.rows.capacity() * size_of::<Row>()
            + clusters.all.capacity() * size_of::<Cluster>()
            + (positions + keys.of_row.len()) * size_of::<u32>()) as u64;
        if let Err(limit) = budget.spend(memory) {
            let summary = format!(
                "{limit} with {} on {} read, before the first key was decided",
                words::plural(keys.of_row.len(), "operation", "operations"),
                words::plural(keys.rows.len(), "key", "keys")
            );
            let unknown = CheckResult::new("linearizable", Verdict::Unknown, summary);
            return Some((unknown, compact.remarks));
        }
        clusters.walk(positions);
        for key in self.search_rows(&lens, &clusters.rows_to_search(&keys), budget)? {
            clusters.fates[key.number] = Fate::Searched;
            tally.add(key.key.as_ref(), key.result);
        }
        let chosen = lens.to_explain(&keys, &clusters.fates)?;
        let fine = clusters
            .fates
            .iter()
            .filter(|fate| **fate == Fate::Fine)
            .count();
        tally.add_fine(
            fine,
            Figures {
                bytes_max: memory,
                by_zones: fine,
                ..Figures::default()
            },
        );
        if !chosen.is_empty() {
            let part = compact::select(source.bytes, source.format, &reading, &chosen)?;
            if let Some(unfit) = self.add_part(&part, lens.keyed, &mut tally, budget) {
                return Some((unfit, compact.remarks));
            }
        }
        let remarks = compact.remarks.clone();
        Some((tally.result("linearizable", model), remarks))
    }
}

impl Linearizable {
    fn add_part(
        &self,
        part: &History,
        keyed: bool,
        tally: &mut Tally,
        budget: &dyn Budget,
    ) -> Option<CheckResult> {
        let operations: Vec<&Operation> = part.operations.iter().collect();
        let meta = harness_core::meta::Meta::default();
        let input = CheckInput::of_history(part, &meta);
        self.add_keys(problem::split(&operations, keyed), &input, tally, budget)
    }
}

/// All clusters, and the keys they belong to.
struct Clusters {
    all: Vec<Cluster>,
    /// The value of each.
    value: Values,
    /// The initial value's, by key.
    initial: Vec<Cluster>,
    initial_value: Atom,
    fates: Vec<Fate>,
}

enum Values {
    /// Whole numbers from this one on, one for each place.
    From(i64),
    Listed(Vec<Atom>),
}

impl Lens<'_> {
    fn clusters(&self) -> Option<(Keys, Clusters)> {
        let rows = &self.compact.rows;
        let mut ids: FastMap<Atom, u32> = FastMap::default();
        let mut keys = Keys {
            of_row: Vec::with_capacity(rows.len()),
            rows: Vec::new(),
        };
        let (mut low, mut high, mut integers) = (i64::MAX, i64::MIN, true);
        let mut last = (Atom::NULL, NO_KEY);
        for row in rows {
            let (key, deed) = self.deed(row)?;
            if last.1 == NO_KEY || last.0 != key {
                let next = u32::try_from(keys.rows.len()).ok()?;
                let id = *ids.entry(key).or_insert(next);
                if id == next {
                    keys.rows.push(0);
                }
                last = (key, id);
            }
            keys.of_row.push(last.1);
            keys.rows[last.1 as usize] += 1;
            if let Deed::Read(value) | Deed::Write(value) = deed
                && value != self.initial
            {
                match value.as_integer() {
                    Some(number) => (low, high) = (low.min(number), high.max(number)),
                    None => integers = false,
                }
            }
        }
        let places = rows.len() as u64 * 2 + TABLE_SLACK;
        let direct = integers && low <= high && high.abs_diff(low) < places;
        let clusters = direct
            .then(|| self.by_place(&keys, low, high))
            .flatten()
            .map_or_else(|| self.by_table(&keys), Some)?;
        Some((keys, clusters))
    }

    fn fill(
        &self,
        keys: &Keys,
        clusters: &mut Clusters,
        mut place: impl FnMut(&mut Vec<Cluster>, u32, Atom) -> Option<usize>,
    ) -> Option<()> {
        for (row, key) in self.compact.rows.iter().zip(&keys.of_row) {
            let at = *key as usize;
            match self.deed(row)?.1 {
                Deed::Nothing => {}
                Deed::Other => clusters.fates[at] = Fate::Search,
                Deed::Read(value) if value == self.initial => clusters.initial[at].read(row),
                Deed::Write(value) if value == self.initial => clusters.fates[at] = Fate::Search,
                Deed::Read(value) => {
                    let place = place(&mut clusters.all, *key, value)?;
                    clusters.all[place].read(row);
                }
                Deed::Write(value) => {
                    let place = place(&mut clusters.all, *key, value)?;
                    let cluster = &mut clusters.all[place];
                    if cluster.written != 0 {
                        clusters.fates[at] = Fate::Search;
                    }
                    cluster.write(row);
                }
            }
        }
        Some(())
    }

    /// By the number itself. None: two keys have the same one.
    fn by_place(&self, keys: &Keys, low: i64, high: i64) -> Option<Clusters> {
        let mut clusters = Clusters::new(self.initial, keys, Values::From(low));
        let places = usize::try_from(high.abs_diff(low)).ok()? + 1;
        clusters.all = vec![Cluster::NONE; places];
        self.fill(keys, &mut clusters, |all, key, value| {
            let place = usize::try_from(value.as_integer()?.checked_sub(low)?).ok()?;
            let owner = &mut all[place].key;
            if *owner == NO_KEY {
                *owner = key;
            }
            (*owner == key).then_some(place)
        })?;
        Some(clusters)
    }

    fn by_table(&self, keys: &Keys) -> Option<Clusters> {
        let mut clusters = Clusters::new(self.initial, keys, Values::Listed(Vec::new()));
        let mut places: FastMap<(u32, Atom), u32> = FastMap::default();
        let mut values = Vec::new();
        self.fill(keys, &mut clusters, |all, key, value| {
            let next = u32::try_from(all.len()).ok()?;
            let place = *places.entry((key, value)).or_insert(next);
            if place == next {
                all.push(Cluster {
                    key,
                    ..Cluster::NONE
                });
                values.push(value);
            }
            Some(place as usize)
        })?;
        clusters.value = Values::Listed(values);
        Some(clusters)
    }

    /// Rows of the keys that go the general way. None: these are most of a large history, which then goes there whole.
    fn to_explain(&self, keys: &Keys, fates: &[Fate]) -> Option<Vec<u32>> {
        if fates.iter().all(|fate| *fate == Fate::Fine) {
            return Some(Vec::new());
        }
        let rows = (0_u32..).zip(self.compact.rows.iter().zip(&keys.of_row));
        let mut chosen = Vec::new();
        for (number, (row, key)) in rows {
            let take = match fates[*key as usize] {
                Fate::Fine | Fate::Searched => false,
                Fate::Search => true,
                Fate::Broken(..) if keys.rows[*key as usize] as usize <= TOLD_WHOLE => true,
                Fate::Broken(one, other) => self.is_about(row, one) || self.is_about(row, other),
            };
            if take {
                chosen.push(number);
            }
        }
        let searched = fates.contains(&Fate::Search);
        (!searched || chosen.len() <= self.compact.rows.len() / 2).then_some(chosen)
    }

    /// Whether a row reads or writes that value, or tried to.
    fn is_about(&self, row: &Row, value: Atom) -> bool {
        let own = row.atoms[usize::from(self.keyed)];
        self.value(own) == Some(value)
    }
}

impl Clusters {
    fn new(initial_value: Atom, keys: &Keys, value: Values) -> Self {
        Self {
            all: Vec::new(),
            value,
            initial: vec![Cluster::NONE; keys.rows.len()],
            initial_value,
            fates: vec![Fate::Fine; keys.rows.len()],
        }
    }

    fn value(&self, cluster: u32) -> Atom {
        match &self.value {
            _ if cluster == NOBODY => self.initial_value,
            Values::From(low) => {
                Atom::integer(low + i64::from(cluster)).unwrap_or(self.initial_value)
            }
            Values::Listed(values) => values[cluster as usize],
        }
    }

    /// The rows of each key that is not decided.
    fn rows_to_search(&self, keys: &Keys) -> Vec<(usize, Vec<u32>)> {
        if !self.fates.contains(&Fate::Search) {
            return Vec::new();
        }
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.fates.len()];
        for (row, key) in (0_u32..).zip(&keys.of_row) {
            if self.fates[*key as usize] == Fate::Search {
                rows[*key as usize].push(row);
            }
        }
        let all = rows.into_iter().enumerate();
        all.filter(|(_, rows)| !rows.is_empty()).collect()
    }

    fn broken(&mut self, one: u32, other: u32) {
        let key = self.all[other as usize].key as usize;
        if self.fates[key] == Fate::Fine {
            self.fates[key] = Fate::Broken(self.value(one), self.value(other));
        }
    }

    /// Looks at all zones in the order of positions.
    fn walk(&mut self, positions: usize) {
        let mut zones = vec![NOBODY; positions];
        for number in 0..self.all.len() as u32 {
            let cluster = self.all[number as usize];
            if cluster.key == NO_KEY || cluster.first_return == NEVER {
                continue;
            }
            if cluster.written == 0 || cluster.first_return < cluster.written {
                self.broken(number, number);
            } else if cluster.is_forward() {
                zones[cluster.first_return as usize] = number;
            } else {
                zones[cluster.last_call as usize] = number;
            }
        }
        // The last forward zone of each key: its end and its cluster. The first is the initial value's.
        let mut last: Vec<(u32, u32)> = self
            .initial
            .iter()
            .map(|cluster| (cluster.last_call, NOBODY))
            .collect();
        for number in zones {
            if number == NOBODY {
                continue;
            }
            let cluster = self.all[number as usize];
            let (end, before) = last[cluster.key as usize];
            if cluster.first_return < end {
                self.broken(before, number);
            } else if cluster.is_forward() {
                last[cluster.key as usize] = (cluster.last_call, number);
            }
        }
    }
}
