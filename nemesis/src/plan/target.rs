//! What a fault is and whom it strikes, as the words of the command line.
//!
//! A target names nodes by what they are (`leader`, `minority`) or by their names. Two families
//! of faults read the same words:
//! - a fault of a process or a node (kill, stop, pause, …) or on its conditions strikes the nodes that are meant;
//! - a partition puts the nodes that are meant on one side and everybody else on the other,
//!   or it is one of the shapes that only a network can have (halves, bridge, ring, groups).
//!
//! `majority` and `minority` count voters, because a quorum is made of voters: go-dqlite keeps
//! three of five nodes as voters, and two of five nodes can be a majority of those.

use std::{collections::BTreeMap, fmt};

use super::{
    condition::{Condition, options::Written},
    trigger::WaitsFor,
};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Nodes do not hear each other.
    Partition,
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Stop,
    /// SIGSTOP.
    Pause,
    /// SIGTERM, and started again at once.
    Restart,
    /// The node itself boots anew.
    Reboot,
    /// SIGKILL, and its data are gone.
    Wipe,
    /// Leadership is handed over.
    LeaderTransfer,
    /// What the node has to live with: its network, disk, limits, files, clock.
    Condition(Condition),
}

impl Kind {
    /// Every kind, in the order in which help lists them.
    pub const ALL: [Self; 8 + Condition::ALL.len()] = {
        let mut all = [Self::Partition; 8 + Condition::ALL.len()];
        all[1] = Self::Kill;
        all[2] = Self::Stop;
        all[3] = Self::Pause;
        all[4] = Self::Restart;
        all[5] = Self::Reboot;
        all[6] = Self::Wipe;
        all[7] = Self::LeaderTransfer;
        let mut at = 0;
        while at < Condition::ALL.len() {
            all[8 + at] = Self::Condition(Condition::ALL[at]);
            at += 1;
        }
        all
    };

    /// As on the command line, in the plan and in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::Reboot => "reboot",
            Self::Wipe => "wipe",
            Self::LeaderTransfer => "leader-transfer",
            Self::Condition(condition) => condition.as_str(),
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The targets that are named by a word, in the order in which help lists them.
    #[must_use]
    pub fn words(self) -> &'static [Target] {
        match self {
            Self::Partition => &PARTITION_WORDS,
            Self::Kill | Self::Stop | Self::Pause | Self::Condition(_) => &PROCESS_WORDS,
            Self::Restart => &PROCESS_WORDS,
            Self::Reboot => &PROCESS_WORDS,
            Self::Wipe => &WIPE_WORDS,
            Self::LeaderTransfer => &HEIR_WORDS,
        }
    }

    /// The fault on a node's conditions that it is, if it is one.
    #[must_use]
    pub fn condition(self) -> Option<Condition> {
        match self {
            Self::Condition(condition) => Some(condition),
            _ => None,
        }
    }

    /// Whether this kind can have that target at all.
    #[must_use]
    pub fn offers(self, target: &Target) -> bool {
        match target {
            Target::Nodes(Selector::List(_)) => true,
            Target::Groups(_) | Target::Mute(_) | Target::Deaf(_) => self == Self::Partition,
            word => self.words().contains(word),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a majority is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Count {
    /// Nodes that have a vote when the fault is injected.
    Voters,
    /// All nodes of the lab.
    Nodes,
}

/// Which nodes are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// One node.
    One,
    /// The most that are less than half.
    Minority(Count),
    /// The fewest that are more than half.
    Majority(Count),
    /// The most that are less than a third of the nodes, at least one.
    MinorityThird,
    /// The node that leads when the fault is injected.
    Leader,
    /// Every node.
    All,
    /// The node that the operation is about that set the fault off.
    Subject,
    /// A member that no fault in force strikes.
    Other,
    /// These, by name.
    List(Vec<String>),
}

/// Whom a fault strikes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Another word for each fault, drawn from the seed. A plan never holds it: there it has been drawn.
    Random,
    /// These nodes; for a partition: these against everybody else.
    Nodes(Selector),
    /// Nobody else hears these; they hear everybody.
    Mute(Selector),
    /// These hear nobody else; everybody hears them.
    Deaf(Selector),
    /// Two groups of nodes that differ in size by one at most.
    Halves,
    /// Everybody sees a majority, no two the same one.
    MajoritiesRing,
    /// Two halves, and one node that sees both.
    Bridge,
    /// Groups by name, at least two; who is in none sees everybody.
    Groups(Vec<Vec<String>>),
}

/// With this many nodes, the most that are less than a third are two.
const THIRD_IS_TWO_NODES: usize = 7;

/// The words that name a target of a partition.
const PARTITION_WORDS: [Target; 17] = [
    Target::Random,
    Target::Nodes(Selector::One),
    Target::Halves,
    Target::Nodes(Selector::Majority(Count::Voters)),
    Target::Nodes(Selector::Minority(Count::Voters)),
    Target::Nodes(Selector::Majority(Count::Nodes)),
    Target::Nodes(Selector::Minority(Count::Nodes)),
    Target::MajoritiesRing,
    Target::Bridge,
    Target::Nodes(Selector::Leader),
    Target::Nodes(Selector::MinorityThird),
    Target::Nodes(Selector::Subject),
    Target::Nodes(Selector::Other),
    Target::Mute(Selector::One),
    Target::Mute(Selector::Leader),
    Target::Deaf(Selector::One),
    Target::Deaf(Selector::Leader),
];

/// The words that name a target of a process fault.
const PROCESS_WORDS: [Target; 11] = [
    Target::Random,
    Target::Nodes(Selector::One),
    Target::Nodes(Selector::Minority(Count::Voters)),
    Target::Nodes(Selector::Majority(Count::Voters)),
    Target::Nodes(Selector::Minority(Count::Nodes)),
    Target::Nodes(Selector::Majority(Count::Nodes)),
    Target::Nodes(Selector::MinorityThird),
    Target::Nodes(Selector::Leader),
    Target::Nodes(Selector::All),
    Target::Nodes(Selector::Subject),
    Target::Nodes(Selector::Other),
];

/// The words that name a target of a wipe: a majority that lost its data could not be healed.
const WIPE_WORDS: [Target; 4] = [
    Target::Random,
    Target::Nodes(Selector::One),
    Target::Nodes(Selector::Minority(Count::Voters)),
    Target::Nodes(Selector::Leader),
];

/// The words that name whom leadership is handed to.
const HEIR_WORDS: [Target; 2] = [Target::Random, Target::Nodes(Selector::One)];

impl Target {
    /// What `random` draws from for that kind among so many nodes. `nodes:…` is left to those who
    /// ask for it, as are those of one direction, and `minority-third` where it is the same as `one`.
    #[must_use]
    pub fn mix(kind: Kind, nodes: usize) -> Vec<Self> {
        let drawn = |target: &&Self| match target {
            Self::Random
            | Self::Mute(_)
            | Self::Deaf(_)
            | Self::Nodes(
                Selector::Majority(Count::Nodes)
                | Selector::Minority(Count::Nodes)
                | Selector::Subject
                | Selector::Other,
            ) => false,
            Self::Nodes(Selector::MinorityThird) => nodes >= THIRD_IS_TWO_NODES,
            target => target.least_nodes(kind) <= nodes,
        };
        kind.words().iter().filter(drawn).cloned().collect()
    }

    /// The fewest nodes with which it means something.
    #[must_use]
    pub fn least_nodes(&self, kind: Kind) -> usize {
        match self {
            Self::MajoritiesRing => 3,
            Self::Bridge => 3,
            _ if matches!(
                self.selector(),
                Some(Selector::Minority(_) | Selector::Majority(_))
            ) =>
            {
                3
            }
            _ if kind == Kind::Partition => 2,
            _ => 1,
        }
    }

    /// Whether somebody must be asked who leads before it can be resolved.
    #[must_use]
    pub fn needs_leader(&self) -> bool {
        self.selector() == Some(&Selector::Leader)
    }

    /// The nodes that it names, if it does not take all.
    #[must_use]
    pub fn selector(&self) -> Option<&Selector> {
        match self {
            Self::Nodes(selector) | Self::Mute(selector) | Self::Deaf(selector) => Some(selector),
            Self::Random | Self::Halves | Self::MajoritiesRing | Self::Bridge | Self::Groups(_) => {
                None
            }
        }
    }

    /// Whether somebody must be asked who votes before it can be resolved.
    #[must_use]
    pub fn needs_voters(&self) -> bool {
        matches!(self, Self::MajoritiesRing | Self::Bridge)
            || matches!(
                self.selector(),
                Some(
                    Selector::Minority(Count::Voters)
                        | Selector::Majority(Count::Voters)
                        | Selector::Leader
                )
            )
    }

    /// One sentence for people on what it means for a fault of that kind.
    #[must_use]
    pub fn meaning(&self, kind: Kind) -> &'static str {
        if let (Kind::LeaderTransfer, Self::Nodes(selector)) = (kind, self) {
            return selector.meaning_as_heir();
        }
        match (self, kind == Kind::Partition) {
            (Self::Random, true) => {
                "another one of the shapes below for each fault, drawn from the seed, all before one again"
            }
            (Self::Random, false) => {
                "another one of the choices below for each fault, drawn from the seed, all before one again"
            }
            (Self::Mute(Selector::Leader), _) => {
                "nobody hears the node that leads when the fault begins; it hears everybody"
            }
            (Self::Mute(_), _) => {
                "nobody hears these nodes; they hear everybody (mute:n1+n2 names them)"
            }
            (Self::Deaf(Selector::Leader), _) => {
                "the node that leads when the fault begins hears nobody; everybody hears it"
            }
            (Self::Deaf(_), _) => {
                "these nodes hear nobody; everybody hears them (deaf:n1+n2 names them)"
            }
            (Self::Halves, _) => "two groups of nodes that differ in size by one at most",
            (Self::MajoritiesRing, _) => {
                "a ring in which every node sees a majority of the nodes and no two see the same; voters sit side by side, so that each of three or five voters sees a majority of them too"
            }
            (Self::Bridge, _) => {
                "two groups that do not see each other, and one voter that sees both; the other voters are dealt to both sides"
            }
            (Self::Groups(_), _) => {
                "these groups do not see each other; nodes in none of them see everybody"
            }
            (Self::Nodes(selector), true) => selector.meaning_as_side(),
            (Self::Nodes(selector), false) => selector.meaning_as_nodes(),
        }
    }
}

impl Selector {
    fn meaning_as_heir(&self) -> &'static str {
        match self {
            Self::List(_) => "the first of these that has a vote and does not lead is to lead",
            _ => "a voter that does not lead is to lead, drawn from the seed",
        }
    }

    fn meaning_as_side(&self) -> &'static str {
        match self {
            Self::One => "one node, drawn from the seed, against all others",
            Self::Minority(Count::Voters) => {
                "the most voters that are less than half of them, against all others"
            }
            Self::Majority(Count::Voters) => {
                "the fewest voters that are more than half of them, against all others: the side that can go on may have fewer nodes"
            }
            Self::Minority(Count::Nodes) => {
                "the most nodes that are less than half of the nodes, whoever votes, against all others"
            }
            Self::Majority(Count::Nodes) => {
                "the fewest nodes that are more than half of the nodes, whoever votes, against all others"
            }
            Self::MinorityThird => {
                "the most nodes that are less than a third of the nodes (at least one), against all others"
            }
            Self::Leader => {
                "the node that leads when the fault begins, against all others; a voter instead, with a note, if nobody is known to lead"
            }
            Self::All => "nobody is left to be cut from",
            Self::Subject => {
                "the node that the operation is about that set the fault off (see @), against all others"
            }
            Self::Other => {
                "one member that no fault in force strikes, drawn from the seed, against all others"
            }
            Self::List(_) => "these nodes against all others",
        }
    }

    fn meaning_as_nodes(&self) -> &'static str {
        match self {
            Self::One => "one node, drawn from the seed",
            Self::Minority(Count::Voters) => "the most voters that are less than half of them",
            Self::Majority(Count::Voters) => "the fewest voters that are more than half of them",
            Self::Minority(Count::Nodes) => {
                "the most nodes that are less than half of the nodes, whoever votes"
            }
            Self::Majority(Count::Nodes) => {
                "the fewest nodes that are more than half of the nodes, whoever votes"
            }
            Self::MinorityThird => {
                "the most nodes that are less than a third of the nodes, at least one"
            }
            Self::Leader => {
                "the node that leads when the fault begins; a voter instead, with a note, if nobody is known to lead"
            }
            Self::All => "every node, at once",
            Self::Subject => "the node that the operation is about that set the fault off (see @)",
            Self::Other => "one member that no fault in force strikes, drawn from the seed",
            Self::List(_) => "these nodes",
        }
    }
}

impl fmt::Display for Target {
    /// As on the command line; [`super::parse::parse_target`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.write_str("random"),
            Self::Mute(selector) => write!(f, "mute:{selector}"),
            Self::Deaf(selector) => write!(f, "deaf:{selector}"),
            Self::Halves => f.write_str("halves"),
            Self::MajoritiesRing => f.write_str("majorities-ring"),
            Self::Bridge => f.write_str("bridge"),
            Self::Groups(groups) => {
                let sides: Vec<_> = groups.iter().map(|group| group.join("+")).collect();
                f.write_str(&sides.join("|"))
            }
            Self::Nodes(selector) => selector.fmt(f),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "one",
            Self::Minority(Count::Voters) => "minority",
            Self::Majority(Count::Voters) => "majority",
            Self::Minority(Count::Nodes) => "nodes:minority",
            Self::Majority(Count::Nodes) => "nodes:majority",
            Self::MinorityThird => "minority-third",
            Self::Leader => "leader",
            Self::All => "all",
            Self::Subject => "subject",
            Self::Other => "other",
            Self::List(names) => return f.write_str(&names.join("+")),
        })
    }
}

/// One kind of fault with its target: what one part of `--nemesis` asks for. Faults of one lane
/// never overlap each other; lanes do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// What to do.
    pub kind: Kind,
    /// What was chosen about it, by name.
    pub options: BTreeMap<String, String>,
    /// To whom.
    pub target: Target,
    /// What each of its faults waits for; none: its time alone.
    pub trigger: Option<WaitsFor>,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Random => write!(f, "{}{}", self.kind, Written(&self.options))?,
            target => write!(f, "{}{}:{target}", self.kind, Written(&self.options))?,
        }
        match &self.trigger {
            Some(trigger) => write!(f, "@{trigger}"),
            None => Ok(()),
        }
    }
}
