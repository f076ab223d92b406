//! The load's joins and removes: a state machine over what is known of each node.
//!
//! ```text
//!  standing by ──join──▶ ok: a member ──remove──▶ ok: standing by again (wiped before its next join)
//!       ▲                fail: standing by        fail: still a member; by force next time
//!       │                info: in doubt           info: in doubt
//!       └──────────────── ok ◀── remove by force ── in doubt
//! ```
//!
//! Laws:
//! - never two operations on one member at once; never one on the canary;
//! - members that are certain, without those that are being removed, are never fewer than the floor. Who is in doubt
//!   does not count as a member here;
//! - a node that may be a member never joins: one in doubt is removed first, and left alone if that is refused
//!   [`TRIES`] times (the final phase tries it again);
//! - one change after the other, unless concurrent ones are allowed; the joins of a batch are one change then;
//! - joins of a batch are invoked one right after the other, when there is a free thread for each.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use harness_core::{
    event::{Event, EventType},
    generator::{Context, Generator, Next, OpSpec},
    membership::{ChangeKind, JOIN, JoinValue, REMOVE, RemoveValue},
    seed::{Seed, Stream},
};
use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::{Cast, Change, Parameters};

/// How often in a row the load tries a change of a member that does not succeed.
pub const TRIES: u32 = 3;
/// How long a member is left alone after a change that did not succeed; longer with each further one in a row.
pub const PAUSE: Duration = Duration::from_secs(5);
/// Where members may be forced out that run, one remove in so many is by force.
const FORCE_ONE_IN: u32 = 4;

/// What is known of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    In,
    Out(Past),
    InDoubt,
}

/// Why a node is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Past {
    Never,
    JoinFailed,
    Removed,
}

#[derive(Clone, Debug)]
struct Known {
    standing: Standing,
    busy: bool,
    /// Changes in a row that did not succeed.
    tries: u32,
    not_before_ns: u64,
}

/// One change, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decided {
    kind: ChangeKind,
    member: Arc<str>,
    force: bool,
    batch: Option<(u64, usize)>,
}

/// What to do now.
enum Decision {
    /// This; the others of its batch right after it.
    Do(Decided, Vec<Arc<str>>),
    /// Nothing before then, or before something ends.
    Wait(Option<u64>),
}

/// See the module.
pub struct Changes {
    parameters: Parameters,
    floor: usize,
    known: BTreeMap<Arc<str>, Known>,
    stream: Stream,
    pauses: Stream,
    count: u64,
    batches: u64,
    /// Joins of the batch that is being invoked, and its number and size.
    rest: Vec<Arc<str>>,
    batch: (u64, usize),
    next_ns: u64,
    /// By thread.
    open: BTreeMap<usize, Decided>,
}

impl Changes {
    /// The changes of a run.
    #[must_use]
    pub fn new(parameters: &Parameters, cast: &Cast, seed: Seed) -> Self {
        let known = |standing| Known {
            standing,
            busy: false,
            tries: 0,
            not_before_ns: 0,
        };
        let members = cast.initial.iter().map(|name| (name, Standing::In));
        let others = cast
            .standing_by
            .iter()
            .map(|name| (name, Standing::Out(Past::Never)));
        Self {
            parameters: parameters.clone(),
            floor: cast.floor,
            known: members
                .chain(others)
                .map(|(name, standing)| (Arc::clone(name), known(standing)))
                .collect(),
            stream: seed.stream("workload/changes"),
            pauses: seed.stream("workload/changes/pauses"),
            count: 0,
            batches: 0,
            rest: Vec::new(),
            batch: (0, 0),
            next_ns: 0,
            open: BTreeMap::new(),
        }
    }

    /// Members that are certain and that nobody is removing.
    #[must_use]
    pub fn members(&self) -> usize {
        self.known
            .values()
            .filter(|known| known.standing == Standing::In && !known.busy)
            .count()
    }

    fn may_join(&self, past: Past) -> bool {
        match past {
            Past::Never => true,
            Past::JoinFailed => self.parameters.allows(Change::RetryFailed),
            Past::Removed => self.parameters.allows(Change::Rejoin),
        }
    }

    /// Nodes of which `wanted` holds, that are not busy and not to be left alone for good; and when the next one may be asked for.
    fn ready(&self, now_ns: u64, wanted: impl Fn(&Known) -> bool) -> (Vec<Arc<str>>, Option<u64>) {
        let mut ready = Vec::new();
        let mut later_ns = None;
        for (name, known) in &self.known {
            if known.busy || known.tries >= TRIES || !wanted(known) {
                continue;
            }
            if known.not_before_ns <= now_ns {
                ready.push(Arc::clone(name));
            } else {
                let at_ns = known.not_before_ns;
                later_ns = Some(later_ns.map_or(at_ns, |soonest: u64| soonest.min(at_ns)));
            }
        }
        (ready, later_ns)
    }

    fn decide(&self, context: &Context<'_>) -> Decision {
        let now_ns = context.time_ns;
        if let Some((member, rest)) = self.rest.split_first() {
            return Decision::Do(self.join(member, Some(self.batch)), rest.to_vec());
        }
        if !self.open.is_empty() && !self.parameters.allows(Change::Concurrent) {
            return Decision::Wait(None);
        }
        if now_ns < self.next_ns {
            return Decision::Wait(Some(self.next_ns));
        }
        let joinable =
            |known: &Known| matches!(known.standing, Standing::Out(past) if self.may_join(past));
        let (mut joiners, join_ns) = self.ready(now_ns, joinable);
        let removable = self.members() > self.floor;
        let (members, remove_ns) =
            self.ready(now_ns, |known| removable && known.standing == Standing::In);
        let in_doubt = |known: &Known| {
            self.parameters.allows(Change::RetryFailed) && known.standing == Standing::InDoubt
        };
        let (doubtful, doubt_ns) = self.ready(now_ns, in_doubt);
        let mut rng = self.stream.draw(self.count);
        // A batch waits until it is full, unless nothing else could ever fill it.
        let wanted = self.parameters.parallel_join;
        let busy = self.known.values().any(|known| known.busy);
        let full = joiners.len() >= wanted;
        let never_fuller = !busy && members.is_empty() && remove_ns.is_none() && join_ns.is_none();
        let size = joiners.len().min(wanted);
        let free = context.free.intersection(context.threads).len();
        let mut kinds = Vec::new();
        if size > 0 && (full || never_fuller) && free >= size {
            kinds.push(0);
        }
        if !members.is_empty() {
            kinds.push(1);
        }
        if !doubtful.is_empty() {
            kinds.push(2);
        }
        match kinds.choose(&mut rng) {
            Some(0) => {
                let mut chosen = Vec::new();
                for _ in 0..size {
                    chosen.push(joiners.swap_remove(rng.random_range(0..joiners.len())));
                }
                let batch = (size > 1).then_some((self.batches + 1, size));
                let first = chosen.remove(0);
                Decision::Do(self.join(&first, batch), chosen)
            }
            Some(1) => self.one(members.choose(&mut rng), &mut rng),
            Some(_) => self.one(doubtful.choose(&mut rng), &mut rng),
            None => {
                let soonest = [join_ns, remove_ns, doubt_ns].into_iter().flatten().min();
                Decision::Wait(soonest)
            }
        }
    }

    fn join(&self, member: &Arc<str>, batch: Option<(u64, usize)>) -> Decided {
        Decided {
            kind: ChangeKind::Join,
            member: Arc::clone(member),
            force: false,
            batch,
        }
    }

    fn one(&self, member: Option<&Arc<str>>, rng: &mut ChaCha8Rng) -> Decision {
        let Some(member) = member else {
            return Decision::Wait(None);
        };
        let known = &self.known[member];
        let refused = known.tries > 0 && self.parameters.allows(Change::RemoveDead);
        let drawn = rng.random_ratio(1, FORCE_ONE_IN) && self.parameters.allows(Change::Force);
        let remove = Decided {
            kind: ChangeKind::Remove,
            member: Arc::clone(member),
            force: known.standing == Standing::InDoubt || refused || drawn,
            batch: None,
        };
        Decision::Do(remove, Vec::new())
    }

    fn pause_ns(&self) -> u64 {
        let uniform: f64 = self.pauses.draw(self.count).random();
        let mean = self.parameters.change_interval.as_secs_f64();
        let pause = Duration::try_from_secs_f64(-(1.0 - uniform).ln() * mean);
        nanos(pause.unwrap_or(Duration::ZERO))
    }

    fn ended(&mut self, time_ns: u64, change: &Decided, event_type: EventType) {
        let Some(known) = self.known.get_mut(&change.member) else {
            return;
        };
        known.busy = false;
        if event_type == EventType::Ok {
            known.tries = 0;
            known.not_before_ns = 0;
        } else {
            known.tries += 1;
            let pause_ns = nanos(PAUSE).saturating_mul(u64::from(known.tries));
            known.not_before_ns = time_ns.saturating_add(pause_ns);
        }
        let before = known.standing;
        known.standing = match (change.kind, event_type) {
            (ChangeKind::Join, EventType::Ok) => Standing::In,
            // A retry: it was to be a member.
            (ChangeKind::Remove, EventType::Ok) if before == Standing::InDoubt => {
                Standing::Out(Past::JoinFailed)
            }
            (ChangeKind::Remove, EventType::Ok) => Standing::Out(Past::Removed),
            (ChangeKind::Join, EventType::Fail) => Standing::Out(Past::JoinFailed),
            (ChangeKind::Remove, EventType::Fail) => before,
            (_, EventType::Info | EventType::Invoke) => {
                // In doubt for another reason than before: worth new tries.
                if before != Standing::InDoubt {
                    known.tries = 0;
                }
                Standing::InDoubt
            }
        };
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn spec(change: &Decided) -> OpSpec {
    let member = change.member.to_string();
    match change.kind {
        ChangeKind::Join => OpSpec::new(
            JOIN,
            JoinValue {
                member,
                token: None,
                batch: change.batch.map(|(number, _)| number),
                together: change.batch.map(|(_, size)| size),
                ..JoinValue::default()
            },
        ),
        ChangeKind::Remove => OpSpec::new(
            REMOVE,
            RemoveValue {
                member,
                force: change.force,
            },
        ),
    }
}

impl Generator for Changes {
    fn peek(&self, context: &Context<'_>) -> Next {
        if context.free_thread().is_none() {
            return Next::Pending { until_ns: None };
        }
        match self.decide(context) {
            Decision::Do(change, _) => spec(&change).now(context),
            Decision::Wait(until_ns) => Next::Pending { until_ns },
        }
    }

    fn commit(&mut self, context: &Context<'_>, op: &harness_core::generator::Op) {
        let Decision::Do(change, rest) = self.decide(context) else {
            return;
        };
        if let Some(known) = self.known.get_mut(&change.member) {
            known.busy = true;
        }
        if let Some((number, size)) = change.batch {
            self.batches = number;
            self.batch = (number, size);
            // Nobody else may take them meanwhile.
            for member in &rest {
                if let Some(known) = self.known.get_mut(member) {
                    known.busy = true;
                }
            }
        }
        self.rest = rest;
        self.open.insert(op.thread, change);
        self.next_ns = context.time_ns.saturating_add(self.pause_ns());
        self.count += 1;
    }

    fn update(&mut self, _context: &Context<'_>, thread: usize, event: &Event) {
        if event.event_type == EventType::Invoke {
            return;
        }
        if let Some(change) = self.open.remove(&thread) {
            self.ended(event.time_ns, &change, event.event_type);
        }
    }
}
