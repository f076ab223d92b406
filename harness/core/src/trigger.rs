//! What a fault of a plan waits for besides a phase of an operation and a function's entry: things that are watched on the
//! nodes, and other faults. How they stand in `plan.json`:
//!
//! ```json
//! {"on":"watch","log":{"pattern":"became leader"},"nth":1,"node":"n2"}
//! {"on":"watch","file":{"event":"created","glob":"snapshot-*"},"nth":1,"after":{"f":"join","moment":"invoked","delay_ms":0}}
//! {"on":"watch","query":{"sql":"SELECT count(*) > 10 FROM elements"},"nth":1}
//! {"on":"watch","view":{"source":"database","member":"n4","state":"pending"},"nth":1}
//! {"on":"fault","lane":0,"name":"cut","step":"observed","delay_ms":2000}
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    meta::OperationPhase,
    view::{Member, MemberState, Role, Source},
};

/// Something that is watched, where, and which time it counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Watch {
    /// What is watched.
    #[serde(flatten)]
    pub what: Watched,
    /// On which node; none: on every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Which time, from 1, counted on each node from when it is watched.
    pub nth: u64,
    /// From when on it is watched, on the node that the operation is about if it is about one; none: from the fault's own time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<OperationPhase>,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watched {
    /// A line of the system's logs.
    Log {
        /// A regular expression that matches somewhere in the line.
        pattern: String,
    },
    /// A file.
    File {
        /// What happens to it.
        event: FileEvent,
        /// Its path in the system's data folder, or from `/` on: `*` and `?` match within a name, `**` across folders.
        glob: String,
    },
    /// A predicate over the system's answers.
    Query(Predicate),
    /// A source of membership shows a member in a state.
    View {
        /// The source.
        source: Source,
        /// The member: a node's name.
        member: String,
        /// The state.
        state: Shown,
    },
}

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileEvent {
    /// It comes to be under that name, also by being renamed.
    Created,
    /// Its content is written or cut.
    Changed,
    /// It goes from that name, also by being renamed.
    Removed,
}

impl FileEvent {
    /// All, as written.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Created, "created"),
        (Self::Changed, "changed"),
        (Self::Removed, "removed"),
    ];

    /// As written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        word(&Self::ALL, self)
    }
}

/// What is asked of a system again and again, until it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Predicate {
    /// The first column of the first row is neither NULL nor 0 nor empty.
    Sql(String),
    /// A GET is answered with a status of 200 to 299.
    Http {
        /// The path, with its query.
        path: String,
        /// A regular expression that matches somewhere in the answer; none: any answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pattern: Option<String>,
    },
}

/// How a source shows a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    /// It is in it, however.
    There,
    /// It is not in it, though the source could be read.
    Absent,
    /// Its join has not ended.
    Pending,
    /// It is a full member.
    Active,
    /// It was emptied of its work.
    Evacuated,
    /// It counts for quorum.
    Voter,
    /// It receives the log and does not vote.
    StandBy,
    /// It receives nothing.
    Spare,
}

impl Shown {
    /// All, as written.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::There, "there"),
        (Self::Absent, "absent"),
        (Self::Pending, "pending"),
        (Self::Active, "active"),
        (Self::Evacuated, "evacuated"),
        (Self::Voter, "voter"),
        (Self::StandBy, "stand-by"),
        (Self::Spare, "spare"),
    ];

    /// As written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        word(&Self::ALL, self)
    }

    /// Whether that is how a list shows whoever is meant. `found` is the member's entry, if the list has one.
    #[must_use]
    pub fn is(self, found: Option<&Member>) -> bool {
        let Some(member) = found else {
            return self == Self::Absent;
        };
        match self {
            Self::There => true,
            Self::Absent => false,
            Self::Pending => member.state == Some(MemberState::Pending),
            Self::Active => member.state == Some(MemberState::Active),
            Self::Evacuated => member.state == Some(MemberState::Evacuated),
            Self::Voter => member.role == Some(Role::Voter),
            Self::StandBy => member.role == Some(Role::StandBy),
            Self::Spare => member.role == Some(Role::Spare),
        }
    }
}

/// A fault of another lane comes to a step, and so long after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FaultStep {
    /// The other lane.
    pub lane: u32,
    /// Its name, for people.
    pub name: String,
    /// Which step.
    pub step: FaultMoment,
    /// How long after it, milliseconds.
    pub delay_ms: u64,
}

/// A step in the life of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultMoment {
    /// The nodes are told.
    Asked,
    /// It is seen to hold.
    Observed,
    /// It is seen to be undone.
    Healed,
}

impl FaultMoment {
    /// All, as written.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Asked, "asked"),
        (Self::Observed, "observed"),
        (Self::Healed, "healed"),
    ];

    /// As written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        word(&Self::ALL, self)
    }
}

fn word<T: Copy + PartialEq>(all: &[(T, &'static str)], one: T) -> &'static str {
    let found = all.iter().find(|(other, _)| *other == one);
    found.map_or("", |(_, word)| word)
}

impl fmt::Display for Watched {
    /// For people: `a line of the log that matches "x"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log { pattern } => write!(f, "a line of the log that matches {pattern:?}"),
            Self::File { event, glob } => write!(f, "{glob} to be {}", event.as_str()),
            Self::Query(Predicate::Sql(statement)) => write!(f, "{statement:?} to hold"),
            Self::Query(Predicate::Http { path, pattern }) => {
                write!(f, "GET {path} to be answered")?;
                match pattern {
                    Some(pattern) => write!(f, " with what matches {pattern:?}"),
                    None => Ok(()),
                }
            }
            Self::View {
                source,
                member,
                state,
            } => write!(f, "the {source} to show {member} {}", state.as_str()),
        }
    }
}

impl fmt::Display for Watch {
    /// For people, after `waits for`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(after) = &self.after {
            write!(f, "{after}, then ")?;
        }
        write!(f, "{}", self.what)?;
        if self.nth > 1 {
            write!(f, ", time {}", self.nth)?;
        }
        match &self.node {
            Some(node) => write!(f, " on {node}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for FaultStep {
    /// For people, after `waits for`: `a fault of lane cut to be observed, then 2000 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.step.as_str();
        write!(f, "a fault of lane {} to be {step}", self.name)?;
        match self.delay_ms {
            0 => Ok(()),
            delay_ms => write!(f, ", then {delay_ms} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::Trigger;

    #[test]
    fn what_the_module_shows_reads_and_writes_back() {
        for line in [
            r#"{"on":"watch","log":{"pattern":"became leader"},"node":"n2","nth":1}"#,
            r#"{"on":"watch","file":{"event":"created","glob":"snapshot-*"},"nth":1,"after":{"f":"join","moment":"invoked","delay_ms":0}}"#,
            r#"{"on":"watch","query":{"sql":"SELECT count(*) > 10 FROM elements"},"nth":1}"#,
            r#"{"on":"watch","query":{"http":{"path":"/1.0"}},"nth":1}"#,
            r#"{"on":"watch","view":{"source":"database","member":"n4","state":"pending"},"nth":1}"#,
            r#"{"on":"fault","lane":0,"name":"cut","step":"observed","delay_ms":2000}"#,
        ] {
            let trigger: Trigger = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&trigger).unwrap(), line);
        }
    }

    #[test]
    fn a_member_is_shown_in_a_state() {
        let member = Member {
            state: Some(MemberState::Pending),
            role: Some(Role::Spare),
            ..Member::default()
        };
        let shown: Vec<&str> = Shown::ALL
            .iter()
            .filter(|(state, _)| state.is(Some(&member)))
            .map(|(_, word)| *word)
            .collect();
        assert_eq!(shown, ["there", "pending", "spare"]);
        let absent: Vec<&str> = Shown::ALL
            .iter()
            .filter(|(state, _)| state.is(None))
            .map(|(_, word)| *word)
            .collect();
        assert_eq!(absent, ["absent"]);
    }
}
