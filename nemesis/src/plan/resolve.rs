//! Which nodes a target means at the moment in which its fault is injected.
//!
//! Laws:
//! - nothing is drawn here: the plan's permutation of the nodes says in which order they are taken,
//!   so the same plan in the same situation strikes the same nodes;
//! - what had to be assumed stands in the label: an unknown leader or unknown voters are never
//!   passed over in silence;
//! - nobody but nodes of the lab is struck;
//! - where some nodes are no members, targets are chosen among the members; a cut still puts every node on a side, members first.
//!
//! Fallbacks: if nobody is known to lead, `leader` takes the first voter of the order (the leader
//! is one of them); if the voters are not known, every node counts as one.

use thiserror::Error;

use super::{
    cut::Cut,
    target::{Count, Kind, Selector, Target},
};

/// What is known of the nodes when a fault is injected. Nodes are meant by their place in `nodes`.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Their names.
    pub nodes: &'a [String],
    /// Who leads; none if nobody is known to.
    pub leader: Option<usize>,
    /// Who votes; none if it could not be learnt.
    pub voters: Option<&'a [usize]>,
    /// Whom the operation is about that set the fault off; none if nothing did, or if it is about no node.
    pub subject: Option<usize>,
    /// Who is a member, or may be; none if all nodes are.
    pub members: Option<&'a [usize]>,
}

/// What to do to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Cut these from each other.
    Cut(Cut),
    /// Strike the system's process on these, in this order.
    Nodes(Vec<usize>),
}

/// A target that was made concrete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// For people: `partition leader: n2 | n1 n3 n4 n5`, with what was assumed.
    pub label: String,
    /// The nodes that are struck: the side that was chosen, or all that are cut if no side was.
    pub nodes: Vec<usize>,
    /// What to do.
    pub effect: Effect,
}

/// Why a target means nobody.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// A minority of two, for instance.
    #[error("{target} means nobody here ({detail})")]
    Nobody {
        /// The target.
        target: String,
        /// Why.
        detail: String,
    },
    /// The plan's permutation is of other nodes.
    #[error("the plan was made for {planned} nodes, and there are {nodes}")]
    OtherNodes {
        /// How many the plan takes in turn.
        planned: usize,
        /// How many there are.
        nodes: usize,
    },
    /// A name that no node has.
    #[error("no node is called {0:?}")]
    NoSuchNode(String),
    /// `random`, which a plan draws.
    #[error("random is drawn when the plan is made")]
    NotDrawn,
    /// A target of another kind of fault.
    #[error("{kind} cannot have the target {target}")]
    NotOffered {
        /// The kind.
        kind: Kind,
        /// The target.
        target: String,
    },
}

/// Makes a target concrete. `order` is the plan's permutation of the nodes.
pub fn resolve(
    kind: Kind,
    target: &Target,
    order: &[u32],
    facts: &Facts<'_>,
) -> Result<Resolved, ResolveError> {
    if !kind.offers(target) {
        return Err(ResolveError::NotOffered {
            kind,
            target: target.to_string(),
        });
    }
    let situation = Situation::new(target, order, facts)?;
    match (kind, target) {
        (_, Target::Random) => Err(ResolveError::NotDrawn),
        (Kind::Partition, target) => situation.partition(target),
        (Kind::LeaderTransfer, Target::Nodes(selector)) => situation.heir(selector),
        (_, Target::Nodes(selector)) => situation.process(kind, selector),
        (kind, target) => Err(ResolveError::NotOffered {
            kind,
            target: target.to_string(),
        }),
    }
}

/// The facts, with the order checked and the fallbacks applied.
struct Situation<'a> {
    names: &'a [String],
    /// All nodes, members first.
    order: Vec<usize>,
    /// Members in the plan's order.
    members: Vec<usize>,
    /// Voters in the plan's order.
    voters: Vec<usize>,
    leader: Option<usize>,
    subject: Option<usize>,
    /// What was assumed.
    notes: Vec<String>,
}

impl<'a> Situation<'a> {
    fn new(target: &Target, order: &[u32], facts: &Facts<'a>) -> Result<Self, ResolveError> {
        let count = facts.nodes.len();
        let order: Vec<usize> = order.iter().map(|at| *at as usize).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..count) {
            return Err(ResolveError::OtherNodes {
                planned: order.len(),
                nodes: count,
            });
        }
        let is_member = |at: &usize| facts.members.is_none_or(|members| members.contains(at));
        let (mut members, others): (Vec<usize>, Vec<usize>) =
            order.iter().partition(|at| is_member(at));
        let order: Vec<usize> = members.iter().chain(&others).copied().collect();
        let mut notes = Vec::new();
        if members.is_empty() {
            notes.push("no member is known, all nodes counted as members".to_owned());
            members.clone_from(&order);
        }
        let known: Option<Vec<usize>> = facts.voters.map(|voters| {
            order
                .iter()
                .copied()
                .filter(|at| voters.contains(at))
                .collect()
        });
        let voters = match known {
            Some(voters) if !voters.is_empty() => voters,
            _ => {
                if target.needs_voters() {
                    notes.push(format!(
                        "voters unknown, all {} counted as voters",
                        if others.is_empty() {
                            "nodes"
                        } else {
                            "members"
                        }
                    ));
                }
                members.clone()
            }
        };
        let leader = facts.leader.filter(|leader| *leader < count);
        if target.needs_leader() {
            if leader.is_some() {
                // Who votes matters only where nobody is known to lead.
                notes.clear();
            } else if let Some(first) = voters.first() {
                notes.insert(0, format!("leader unknown, took {}", facts.nodes[*first]));
            }
        }
        Ok(Self {
            names: facts.nodes,
            order,
            members,
            voters,
            leader,
            subject: facts.subject.filter(|subject| *subject < count),
            notes,
        })
    }

    fn select(&self, selector: &Selector) -> Result<Vec<usize>, ResolveError> {
        let first = |of: &[usize], count: usize| of.iter().copied().take(count).collect::<Vec<_>>();
        let pool = |count: Count| match count {
            Count::Voters => &self.voters,
            Count::Nodes => &self.members,
        };
        let chosen = match selector {
            // Whoever knows the faults in force leaves out those that they strike.
            Selector::One | Selector::Other => first(&self.members, 1),
            Selector::Minority(count) => first(pool(*count), minority(pool(*count).len())),
            Selector::Majority(count) => first(pool(*count), majority(pool(*count).len())),
            Selector::MinorityThird => first(&self.members, minority_third(self.members.len())),
            Selector::Leader => match self.leader {
                Some(leader) => vec![leader],
                None => first(&self.voters, 1),
            },
            Selector::All => self.members.clone(),
            Selector::Subject => self.subject.into_iter().collect(),
            Selector::List(names) => self.named(names)?,
        };
        if chosen.is_empty() {
            return Err(ResolveError::Nobody {
                target: selector.to_string(),
                detail: match selector {
                    Selector::Subject => "the operation is about no node of the lab".to_owned(),
                    _ => format!("{} nodes, {} voters", self.order.len(), self.voters.len()),
                },
            });
        }
        Ok(chosen)
    }

    fn named(&self, names: &[String]) -> Result<Vec<usize>, ResolveError> {
        let place = |name: &String| {
            let found = self.names.iter().position(|node| node == name);
            found.ok_or_else(|| ResolveError::NoSuchNode(name.clone()))
        };
        names.iter().map(place).collect()
    }

    /// Whom leadership is handed to: a voter that does not lead.
    fn heir(&self, selector: &Selector) -> Result<Resolved, ResolveError> {
        let candidates = match selector {
            Selector::List(names) => self.named(names)?,
            _ => self.voters.clone(),
        };
        let can_lead = |at: &usize| Some(*at) != self.leader && self.voters.contains(at);
        let Some(heir) = candidates.into_iter().find(can_lead) else {
            return Err(ResolveError::Nobody {
                target: selector.to_string(),
                detail: "nobody of them has a vote and does not lead".to_owned(),
            });
        };
        Ok(Resolved {
            label: self.label(
                Kind::LeaderTransfer,
                &selector.to_string(),
                &self.list(&[heir]),
            ),
            nodes: vec![heir],
            effect: Effect::Nodes(vec![heir]),
        })
    }

    fn process(&self, kind: Kind, selector: &Selector) -> Result<Resolved, ResolveError> {
        let nodes = self.select(selector)?;
        Ok(Resolved {
            label: self.label(kind, &selector.to_string(), &self.list(&nodes)),
            nodes: nodes.clone(),
            effect: Effect::Nodes(nodes),
        })
    }

    fn partition(&self, target: &Target) -> Result<Resolved, ResolveError> {
        let (cut, nodes, shape) = match target {
            Target::Nodes(selector) => {
                let side = self.select(selector)?;
                let (cut, shape) = self.groups(&[side.clone(), self.others(&side)]);
                (cut, Some(side), shape)
            }
            Target::Mute(selector) => {
                let side = self.select(selector)?;
                let (cut, shape) = self.one_way(&side, &self.others(&side));
                (cut, Some(side), shape)
            }
            Target::Deaf(selector) => {
                let side = self.select(selector)?;
                let (cut, shape) = self.one_way(&self.others(&side), &side);
                (cut, Some(side), shape)
            }
            Target::Halves => {
                let (left, right) = self.order.split_at(self.order.len() / 2);
                let (cut, shape) = self.groups(&[left.to_vec(), right.to_vec()]);
                (cut, None, shape)
            }
            Target::Groups(groups) => {
                let groups: Result<Vec<_>, _> = groups.iter().map(|g| self.named(g)).collect();
                let (cut, shape) = self.groups(&groups?);
                (cut, None, shape)
            }
            Target::Bridge => {
                let (cut, shape) = self.bridge();
                (cut, None, shape)
            }
            Target::MajoritiesRing => {
                let (cut, shape) = self.ring();
                (cut, None, shape)
            }
            Target::Random => return Err(ResolveError::NotDrawn),
        };
        if cut.is_empty() {
            return Err(ResolveError::Nobody {
                target: target.to_string(),
                detail: format!("nobody to be cut among {} nodes", self.order.len()),
            });
        }
        // A list of names is in the label as the groups themselves.
        let word = match target {
            Target::Groups(_) | Target::Nodes(Selector::List(_)) => String::new(),
            Target::Mute(Selector::List(_)) => "mute".to_owned(),
            Target::Deaf(Selector::List(_)) => "deaf".to_owned(),
            word => word.to_string(),
        };
        Ok(Resolved {
            label: self.label(Kind::Partition, &word, &shape),
            nodes: nodes.unwrap_or_else(|| cut.nodes()),
            effect: Effect::Cut(cut),
        })
    }

    fn groups(&self, groups: &[Vec<usize>]) -> (Cut, String) {
        let sides: Vec<String> = groups.iter().map(|group| self.list(group)).collect();
        (Cut::between(groups), sides.join(" | "))
    }

    /// The second do not hear the first.
    fn one_way(&self, mute: &[usize], deaf: &[usize]) -> (Cut, String) {
        let mut cut = Cut::default();
        for from in mute {
            for to in deaf {
                cut.add_deaf(*to, *from);
            }
        }
        let shape = format!("{} not heard by {}", self.list(mute), self.list(deaf));
        (cut, shape)
    }

    /// One voter in the middle; the others dealt in turn to both sides, voters first.
    fn bridge(&self) -> (Cut, String) {
        let dealt = self.voters_first();
        let Some((middle, others)) = dealt.split_first() else {
            return (Cut::default(), String::new());
        };
        let deal = |from: usize| {
            others
                .iter()
                .copied()
                .skip(from)
                .step_by(2)
                .collect::<Vec<_>>()
        };
        let (cut, shape) = self.groups(&[deal(0), deal(1)]);
        (cut, format!("{shape}, {} sees all", self.names[*middle]))
    }

    /// Each sees its neighbours in the ring, as many as make a majority with itself. Three nodes
    /// in a ring all see each other, so there the ring is opened to a line, where the law holds too.
    fn ring(&self) -> (Cut, String) {
        let ring = self.voters_first();
        let count = ring.len();
        let mut cut = Cut::default();
        if count == 3 {
            cut.add(ring[0], ring[2]);
            return (cut, format!("{} (the ends are cut)", self.chain(&ring)));
        }
        let neighbours = majority(count) - 1;
        // An odd number of neighbours is the near ones and the one across; without one across, one more on each side.
        let across = !neighbours.is_multiple_of(2) && count.is_multiple_of(2);
        let reach = if across {
            neighbours / 2
        } else {
            neighbours.div_ceil(2)
        };
        for a in 0..count {
            for b in a + 1..count {
                let distance = (b - a).min(count - (b - a));
                if distance > reach && !(across && distance == count / 2) {
                    cut.add(ring[a], ring[b]);
                }
            }
        }
        let sees = 2 * reach + usize::from(across);
        let shape = format!("{} (a ring, each sees {sees} others)", self.chain(&ring));
        (cut, shape)
    }

    fn voters_first(&self) -> Vec<usize> {
        let mut nodes = self.voters.clone();
        nodes.extend(self.others(&self.voters));
        nodes
    }

    /// In the plan's order.
    fn others(&self, but: &[usize]) -> Vec<usize> {
        self.order
            .iter()
            .copied()
            .filter(|at| !but.contains(at))
            .collect()
    }

    fn list(&self, nodes: &[usize]) -> String {
        let mut sorted = nodes.to_vec();
        sorted.sort_unstable();
        let names: Vec<&str> = sorted.iter().map(|at| self.names[*at].as_str()).collect();
        names.join(" ")
    }

    fn chain(&self, nodes: &[usize]) -> String {
        let names: Vec<&str> = nodes.iter().map(|at| self.names[*at].as_str()).collect();
        names.join("-")
    }

    fn label(&self, kind: Kind, word: &str, shape: &str) -> String {
        let notes = match self.notes.as_slice() {
            [] => String::new(),
            notes => format!(" ({})", notes.join("; ")),
        };
        match word {
            "" => format!("{kind}: {shape}{notes}"),
            word => format!("{kind} {word}: {shape}{notes}"),
        }
    }
}

/// The fewest that are more than half.
#[must_use]
pub fn majority(count: usize) -> usize {
    count / 2 + 1
}

/// The most that are less than half.
#[must_use]
pub fn minority(count: usize) -> usize {
    count.saturating_sub(1) / 2
}

/// The most that are less than a third, at least one.
#[must_use]
pub fn minority_third(count: usize) -> usize {
    (count.saturating_sub(1) / 3).max(1)
}
