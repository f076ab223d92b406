//! A sweep: one crash point after the other, each on a fresh cluster, and what was left where.
//!
//! `sweep.jsonl` is its journal while it goes on: the head, the trace, then one line a point that is finished. `sweep.json` is the
//! same folded: consecutive points that came to the same are one [`Range`]. Times within an operation are nanoseconds since it was invoked.
//!
//! ```json
//! {"head":{"format_version":1,"system":"lxd","op":"join","victim":"joiner","fault":"kill","members":3}}
//! {"trace":{"points":[{"number":1,"function":"main.clusterPutJoin","at_ns":81200000,"hits":1}],"entered":312,"idle":201}}
//! {"point":{"number":1,"function":"main.clusterPutJoin","struck":true,"outcome":{"type":"info","kind":"answered-error"},"left":{"database":{"holds":"nobody"}}}}
//! ```

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{history::Outcome, verdict::Verdict};

mod fold;
mod remains;

pub use fold::{Came, Range, fold};
pub use remains::{Held, Holds, Place, Remains, Standing, Who, remains};

/// The version of `sweep.jsonl` and `sweep.json`.
pub const FORMAT_VERSION: u32 = 1;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// All.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As on the command line and in files.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            /// The one of that name.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// The operation whose functions are the crash points.
    SweepOp {
        /// A node joins.
        Join = "join",
        /// A member is removed.
        Remove = "remove",
        /// A node joins in a way that fails, so that its revert runs.
        FailedJoin = "failed-join",
    }
}

words! {
    /// What makes a failed join fail.
    FailBy {
        /// The joiner asks for the name of a member.
        NameClash = "name-clash",
        /// The joiner and the leader do not reach each other, and it asks another member.
        UnreachableMember = "unreachable-member",
        /// The joiner asks for the address of a member.
        RefusedAddress = "refused-address",
    }
}

words! {
    /// Whom the fault strikes.
    Victim {
        /// The node that joins.
        Joiner = "joiner",
        /// The member that leads.
        Leader = "leader",
        /// A member that votes, does not lead, and is not what the operation is about.
        Follower = "follower",
        /// The member that is removed.
        Removed = "removed",
    }
}

words! {
    /// What strikes at the point.
    Strike {
        /// SIGKILL at the instruction.
        Kill = "kill",
        /// SIGSTOP at the instruction, the node is cut off from all others, SIGCONT.
        PausePartition = "pause+partition",
    }
}

words! {
    /// A way to mend what was left, in the order in which they are tried. The first, starting again what was struck, is part of every point.
    MendKind {
        /// What was struck is started again, or its network is whole again; nothing else is done.
        Restart = "restart",
        /// The operation is done again as a user would at once, on what is there.
        Retry = "retry",
        /// The member is removed by force.
        ForcedRemoval = "forced removal",
        /// The node is wiped and joins.
        FreshJoin = "fresh join",
    }
}

/// What a sweep is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The system under test.
    pub system: String,
    /// Its versions, by package.
    #[serde(default)]
    pub system_versions: BTreeMap<String, String>,
    /// Suite of the nodes' image; empty if they have none of ours.
    #[serde(default)]
    pub suite: String,
    /// The operation.
    pub op: SweepOp,
    /// What makes the join fail; none of an operation that is to go through. Files that were written before there was a choice
    /// have none, and were [`FailBy::NameClash`]: see [`Head::fails_by`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_by: Option<FailBy>,
    /// Whom the fault strikes.
    pub victim: Victim,
    /// What strikes.
    pub fault: Strike,
    /// Members at first.
    pub members: usize,
    /// What names of points match, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The points, if they were named by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<String>,
    /// Nanoseconds since 1970 when it began.
    #[serde(default)]
    pub started_wall_ns: u64,
    /// How long all sources had to say the same until they counted as settled, milliseconds.
    #[serde(default)]
    pub unchanged_ms: u64,
}

impl Head {
    /// What makes the join fail; none of an operation that is to go through.
    #[must_use]
    pub fn fails_by(&self) -> Option<FailBy> {
        (self.op == SweepOp::FailedJoin).then(|| self.fail_by.unwrap_or(FailBy::NameClash))
    }
}

/// A function that the operation enters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashPoint {
    /// Its place in the order of first entries, from 1.
    pub number: u32,
    /// Its name, as the program has it.
    pub function: String,
    /// When it was first entered in the trace; none if it was named by hand and not traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ns: Option<u64>,
    /// How often it was entered in the trace.
    #[serde(default)]
    pub hits: u64,
    /// Which of these entries was the daemon's first: commands of its program enter some functions before it.
    #[serde(default = "first")]
    pub nth: u64,
    /// In how many of the traces it was entered; none if it was named by hand, or by a file from when there was one trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traced: Option<Traced>,
}

/// In how many of the traces a point was entered: one that only some have depends on chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// In so many.
    pub entered: u32,
    /// Of so many.
    pub of: u32,
}

impl Traced {
    /// Whether each trace has it.
    #[must_use]
    pub fn always(self) -> bool {
        self.entered == self.of
    }
}

impl fmt::Display for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.entered, self.of)
    }
}

const fn first() -> u64 {
    1
}

/// What tracing the operation came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The points, in order.
    pub points: Vec<CrashPoint>,
    /// Functions watched.
    pub watched: usize,
    /// Functions entered during the operation.
    pub entered: usize,
    /// Of them, those that an idle cluster enters too: they are no points.
    pub idle: usize,
    /// How the operation ended when nothing struck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OpEnd>,
    /// How long it took then, milliseconds.
    #[serde(default)]
    pub took_ms: u64,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpEnd {
    /// `ok`, `fail` or `info`.
    #[serde(rename = "type")]
    pub end: String,
    /// The error's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The error's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Trace {
    /// What several traces of the same operation have together, on fresh clusters each: the points of all, in the order of the first
    /// trace that has them. How the operation ended is told of the first. None if there is no trace.
    #[must_use]
    pub fn union(traces: Vec<Self>) -> Option<Self> {
        let of = u32::try_from(traces.len()).unwrap_or(u32::MAX);
        let mut traces = traces.into_iter();
        let mut whole = traces.next()?;
        let once = Traced { entered: 1, of };
        for point in &mut whole.points {
            point.traced = Some(once);
        }
        for other in traces {
            whole.entered = whole.entered.max(other.entered);
            whole.idle = whole.idle.max(other.idle);
            for point in other.points {
                let known = whole
                    .points
                    .iter_mut()
                    .find(|known| known.function == point.function);
                match known {
                    Some(known) => {
                        if let Some(traced) = &mut known.traced {
                            traced.entered += 1;
                        }
                    }
                    None => whole.points.push(CrashPoint {
                        traced: Some(once),
                        ..point
                    }),
                }
            }
        }
        for (point, number) in whole.points.iter_mut().zip(1..) {
            point.number = number;
        }
        Some(whole)
    }
}

impl OpEnd {
    /// Of an operation of a history.
    #[must_use]
    pub fn of(operation: &crate::history::Operation) -> Self {
        let error = operation.error.as_ref();
        Self {
            end: match operation.outcome {
                Outcome::Ok => "ok",
                Outcome::Fail => "fail",
                Outcome::Info => "info",
            }
            .to_owned(),
            kind: error.map(|error| error.kind.clone()),
            message: error.map(|error| error.message.clone()),
        }
    }
}

/// One try to mend what was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mend {
    /// Which.
    pub kind: MendKind,
    /// How its operation ended; none of a restart, which has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OpEnd>,
    /// Whether the sources of all members agree afterwards.
    pub agrees: bool,
    /// What is where afterwards.
    pub left: Remains,
}

/// What one point came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointResult {
    /// The point.
    #[serde(flatten)]
    pub point: CrashPoint,
    /// Whether the function was entered and the fault seen to hold.
    pub struck: bool,
    /// What was seen of the fault, or why it was not.
    pub evidence: String,
    /// How the operation ended.
    pub outcome: OpEnd,
    /// Whether all sources were unchanged for the time that was asked for.
    pub settled: bool,
    /// How long that took from healing on, milliseconds.
    pub settle_ms: u64,
    /// Whether the sources of all members agreed when it was settled.
    pub agrees: bool,
    /// What was where then.
    pub left: Remains,
    /// The membership checker's verdict.
    pub verdict: Verdict,
    /// Invariants that did not hold.
    #[serde(default)]
    pub invalid: Vec<String>,
    /// What was tried to mend it, in order.
    #[serde(default)]
    pub mends: Vec<Mend>,
    /// The run's folder, below the sweep's.
    pub run: String,
    /// What it took in all, milliseconds.
    pub took_ms: u64,
    /// Of that, putting the fresh state back.
    pub fresh_ms: u64,
}

impl PointResult {
    /// What mended it: none if nothing did; a restart if there was nothing more to mend. Where all sources agree and the member is not
    /// where it was wanted, the change must go through as well: a name that cannot be used any more is not mended.
    #[must_use]
    pub fn mended_by(&self) -> Option<MendKind> {
        if !self.agrees {
            let mended = self.mends.iter().find(|mend| mend.agrees);
            return mended.map(|mend| mend.kind);
        }
        let went_through = |mend: &&Mend| {
            let end = mend.outcome.as_ref();
            mend.agrees && end.is_some_and(|end| end.end == Outcome::Ok.as_str())
        };
        match self.mends.iter().find(went_through) {
            _ if self.mends.is_empty() => Some(MendKind::Restart),
            Some(mend) if mend.kind == MendKind::Retry => Some(MendKind::Restart),
            mend => mend.map(|mend| mend.kind),
        }
    }
}

/// A line of `sweep.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// The first.
    Head(Box<Head>),
    /// The second.
    Trace(Box<Trace>),
    /// A point that is finished.
    Point(Box<PointResult>),
}

/// `sweep.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// What it is.
    #[serde(flatten)]
    pub head: Head,
    /// What was traced.
    pub trace: Trace,
    /// What points came to, by number.
    pub results: Vec<PointResult>,
    /// The same folded.
    pub ranges: Vec<Range>,
}

impl Sweep {
    /// Folds what is finished.
    #[must_use]
    pub fn new(head: Head, trace: Trace, mut results: Vec<PointResult>) -> Self {
        results.sort_by_key(|result| result.point.number);
        let ranges = fold(&results);
        Self {
            head,
            trace,
            results,
            ranges,
        }
    }
}

/// What stands in a journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Journalled {
    /// What the sweep is.
    pub head: Head,
    /// Its points, if they are known yet.
    pub trace: Option<Trace>,
    /// What is finished.
    pub results: Vec<PointResult>,
}

impl Journalled {
    /// From the lines of a journal; a torn last line is left out. None if it has no head.
    ///
    /// # Errors
    /// The number of a line (from 1) that makes no sense, and why.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, (usize, String)> {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |at| at + 1);
        let (mut head, mut trace, mut results) = (None, None, Vec::new());
        for (at, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice(line).map_err(|error| (at + 1, error.to_string()))? {
                Line::Head(found) => head = Some(*found),
                Line::Trace(found) => trace = Some(*found),
                Line::Point(found) => results.push(*found),
            }
        }
        Ok(head.map(|head| Self {
            head,
            trace,
            results,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(names: &[&str], entered: usize, idle: usize) -> Trace {
        let points = names.iter().zip(1..).map(|(name, number)| CrashPoint {
            number,
            function: (*name).to_owned(),
            at_ns: Some(u64::from(number) * 10),
            hits: u64::from(number),
            nth: 1,
            traced: None,
        });
        Trace {
            points: points.collect(),
            watched: 9,
            entered,
            idle,
            outcome: None,
            took_ms: 5,
        }
    }

    #[test]
    fn a_union_has_the_points_of_all_traces_and_says_how_many_have_each() {
        let first = trace(&["a", "b", "c"], 7, 4);
        let second = trace(&["b", "d", "a"], 8, 3);
        let whole = Trace::union(vec![first, second]).expect("two traces");
        let points: Vec<(u32, &str, String)> = whole
            .points
            .iter()
            .map(|point| {
                let traced = point.traced.expect("counted");
                (point.number, point.function.as_str(), traced.to_string())
            })
            .collect();
        assert_eq!(
            points,
            [
                (1, "a", "2 of 2".to_owned()),
                (2, "b", "2 of 2".to_owned()),
                (3, "c", "1 of 2".to_owned()),
                (4, "d", "1 of 2".to_owned()),
            ]
        );
        let always: Vec<bool> = whole
            .points
            .iter()
            .filter_map(|point| point.traced.map(Traced::always))
            .collect();
        assert_eq!(always, [true, true, false, false]);
        // What is told of a point is of the first trace that has it.
        assert_eq!((whole.points[1].at_ns, whole.points[1].hits), (Some(20), 2));
        assert_eq!((whole.points[3].at_ns, whole.points[3].hits), (Some(20), 2));
        assert_eq!((whole.entered, whole.idle, whole.took_ms), (8, 4, 5));
    }

    #[test]
    fn a_union_of_one_trace_is_that_trace_and_of_none_there_is_none() {
        let one = Trace::union(vec![trace(&["a"], 1, 0)]).expect("a trace");
        assert!(one.points[0].traced.is_some_and(Traced::always));
        assert_eq!(Trace::union(Vec::new()), None);
    }

    #[test]
    fn a_failed_join_of_a_file_without_a_reason_is_a_name_clash() {
        let head = |op: &str, more: &str| -> Head {
            let text = format!(
                r#"{{"format_version":1,"system":"lxd","op":"{op}","victim":"joiner","fault":"kill","members":3{more}}}"#
            );
            serde_json::from_str(&text).expect("a head")
        };
        assert_eq!(head("failed-join", "").fails_by(), Some(FailBy::NameClash));
        assert_eq!(head("join", "").fails_by(), None);
        for by in FailBy::ALL {
            let more = format!(r#","fail_by":"{by}""#);
            let head = head("failed-join", &more);
            assert_eq!(head.fails_by(), Some(*by));
            let text = serde_json::to_string(&head).expect("JSON");
            assert!(text.contains(&format!(r#""fail_by":"{by}""#)), "{text}");
        }
    }
}
