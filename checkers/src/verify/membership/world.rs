//! Who is who, who is a member, and what places said, as plainly as it can be said.

use std::collections::{BTreeMap, BTreeSet};

use harness_core::{
    fault::FaultRecord,
    history::{Operation, Outcome},
    membership::{ChangeKind, Purpose, change, member_of},
    verdict::CheckInput,
    view::{Member, Reading, Role, Source, UnreadKind, View},
};
use serde_json::Value;

const NS_PER_MS: u64 = 1_000_000;
/// What holds if nothing else is said, milliseconds.
const SETTLE_MS: u64 = 30_000;
/// Likewise.
const RECOVERY_MS: u64 = 60_000;
/// Voters that go-dqlite keeps for LXD and microcluster.
const VOTERS: u64 = 3;
/// What keeps a node from running.
const STOPPING: [&str; 5] = ["kill", "stop", "pause", "reboot", "wipe"];

/// A join or a remove.
#[derive(Clone, Copy)]
pub(super) struct Deed<'a> {
    pub operation: &'a Operation,
    pub kind: ChangeKind,
    pub purpose: Purpose,
    pub member: &'a str,
}

impl Deed<'_> {
    pub fn is(&self, kind: ChangeKind, outcome: Outcome) -> bool {
        (self.kind, self.operation.outcome) == (kind, outcome)
    }

    pub fn began(&self) -> u64 {
        self.operation.invoked_ns
    }

    pub fn ended(&self) -> u64 {
        self.operation.completed_ns.unwrap_or(u64::MAX)
    }

    /// Whether it was over when the other began.
    pub fn before(&self, other: &Self) -> bool {
        let ended = self.operation.completed_index;
        ended.is_some_and(|ended| ended < other.operation.index)
    }
}

/// Whether somebody is a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    In,
    Out,
    Open,
}

/// Where something is read: source, label and node.
pub(super) type Place<'a> = (Source, Option<&'a str>, &'a str);

/// Places with what they list.
pub(super) type Said<'a> = Vec<(Place<'a>, &'a [Member])>;

pub(super) struct World<'a> {
    pub input: CheckInput<'a>,
    pub deeds: Vec<Deed<'a>>,
    pub sources: Vec<Source>,
    /// The end of what was seen.
    pub horizon_ns: u64,
    /// Who was a member at time 0; none if nobody knows.
    first: Option<BTreeSet<String>>,
    known: BTreeSet<&'a str>,
    prints: BTreeMap<&'a str, String>,
}

impl<'a> World<'a> {
    pub fn new(input: &CheckInput<'a>) -> Self {
        let operations = &input.history.operations;
        let deed = |operation: &'a Operation| {
            let (kind, purpose) = change(&operation.f)?;
            let member = member_of(operation)?;
            Some(Deed {
                operation,
                kind,
                purpose,
                member,
            })
        };
        let deeds: Vec<Deed<'a>> = operations.iter().filter_map(deed).collect();
        let given = input.meta.workload_options["initial_members"].as_array();
        let told: Vec<&str> = given
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let nodes = input.meta.nodes.iter().map(|node| node.name.as_str());
        let known = nodes.chain(deeds.iter().map(|deed| deed.member));
        let views = input.views.iter().map(|view| view.end_ns);
        let ended = operations.iter().filter_map(|one| one.completed_ns);
        let mut world = Self {
            input: *input,
            known: known.chain(told.iter().copied()).collect(),
            deeds,
            sources: Vec::new(),
            horizon_ns: views.chain(ended).max().unwrap_or(0),
            first: None,
            prints: BTreeMap::new(),
        };
        for member in input.views.iter().filter_map(View::members).flatten() {
            if let (Some(print), Some(name)) = (&member.fingerprint, world.called(member)) {
                world.prints.entry(print).or_insert(name);
            }
        }
        world.sources = world.has();
        let told = told.into_iter().map(str::to_owned).collect();
        world.first = if given.is_some() {
            Some(told)
        } else {
            world.seen_first()
        };
        world
    }

    fn option(&self, name: &str) -> Option<u64> {
        self.input.meta.workload_options[name].as_u64()
    }

    pub fn settle_ns(&self) -> u64 {
        self.option("settle_ms").unwrap_or(SETTLE_MS) * NS_PER_MS
    }

    pub fn recovery_ns(&self) -> u64 {
        self.option("recovery_timeout_ms").unwrap_or(RECOVERY_MS) * NS_PER_MS
    }

    pub fn voters(&self) -> Option<u64> {
        let managed = ["lxd", "microcluster"].contains(&self.input.meta.system.as_str());
        self.option("max_voters").or(managed.then_some(VOTERS))
    }

    /// Whether a node is meant to run at the end.
    pub fn meant(&self, node: &str) -> bool {
        let live = self.input.meta.workload_options["live_nodes"].as_array();
        live.is_none_or(|live| live.iter().any(|name| name == node))
    }

    fn has(&self) -> Vec<Source> {
        let given = self.input.meta.workload_options["sources"].as_array();
        let has = |source: &Source| match (given, self.input.meta.system.as_str()) {
            (Some(given), _) => given.iter().any(|one| one == source.as_str()),
            (None, "lxd" | "microcluster") => true,
            (None, "dqlite") => [Source::Raft, Source::Cache].contains(source),
            (None, _) => self.input.views.iter().any(|view| view.source == *source),
        };
        Source::ALL.into_iter().filter(has).collect()
    }

    /// Members that database or raft gave first, before anybody changed anything.
    fn seen_first(&self) -> Option<BTreeSet<String>> {
        let changed = self.deeds.iter().map(Deed::began).min().unwrap_or(u64::MAX);
        let says = |view: &&View| {
            view.end_ns < changed
                && !view.is_history()
                && [Source::Database, Source::Raft].contains(&view.source)
                && view.members().is_some_and(|members| !members.is_empty())
        };
        let first = self.input.views.iter().filter(says);
        let first = first.min_by_key(|view| (view.start_ns, view.end_ns))?;
        Some(self.names(first.members()?))
    }

    /// The name of somebody by name or address.
    fn called(&self, member: &Member) -> Option<String> {
        let name = member
            .name
            .as_deref()
            .filter(|name| self.known.contains(name));
        let at = member.address.as_deref().map(host);
        let nodes = &self.input.meta.nodes;
        let mut housed = nodes.iter().filter(|node| !node.address.is_empty());
        let lives = housed.rfind(|node| Some(host(&node.address)) == at);
        name.or(lives.map(|node| node.name.as_str()))
            .map(str::to_owned)
    }

    /// Who it is.
    pub fn who(&self, member: &Member) -> String {
        let print = member.fingerprint.as_deref();
        let by_print = || self.prints.get(print?).cloned();
        if let Some(name) = self.called(member).or_else(by_print) {
            return name;
        }
        let certificate = print.map(|print| format!("certificate {print}"));
        let number = member.raft_id.map(|id| format!("raft id {id}"));
        let words = [
            member.name.clone(),
            member.address.clone(),
            certificate,
            number,
        ];
        let words = words.into_iter().flatten().next();
        format!(
            "foreign {}",
            words.unwrap_or_else(|| "without a name".to_owned())
        )
    }

    pub fn names(&self, members: &[Member]) -> BTreeSet<String> {
        members.iter().map(|member| self.who(member)).collect()
    }

    pub fn lists(&self, members: &[Member], name: &str) -> bool {
        members.iter().any(|member| self.who(member) == name)
    }

    /// The one of whom a headline begins to tell; long names are cut there.
    pub fn subject(&self, title: &str) -> Option<String> {
        let strangers = self.input.views.iter().filter_map(View::members).flatten();
        let strangers = strangers.map(|member| self.who(member));
        let all: BTreeSet<String> = self.known.iter().map(|name| (*name).to_owned()).collect();
        let begins = |name: &String| match title.split_once('…') {
            Some((cut, _)) if name.starts_with(cut) => true,
            _ => title
                .strip_prefix(name.as_str())
                .is_some_and(|rest| rest.starts_with(' ')),
        };
        all.into_iter().chain(strangers).find(begins)
    }

    /// Whether somebody is a member then: whatever may have taken effect last says the same.
    pub fn standing(&self, name: &str, at_ns: u64) -> Standing {
        let of = |deed: &&Deed<'a>| deed.member == name && deed.began() <= at_ns;
        let past: Vec<&Deed<'a>> = self.deeds.iter().filter(of).collect();
        let over =
            |deed: &&Deed<'a>| deed.operation.outcome == Outcome::Ok && deed.ended() <= at_ns;
        let done: Vec<&Deed<'a>> = past.iter().copied().filter(over).collect();
        let last = |deed: &&&Deed<'a>| !done.iter().any(|other| deed.before(other));
        let mut may: BTreeSet<bool> = done.iter().filter(last).map(|deed| joins(deed)).collect();
        if done.is_empty() {
            let Some(first) = &self.first else {
                return Standing::Open;
            };
            may.insert(first.contains(name));
        }
        let open = past.iter().filter(|deed| {
            let open = deed.operation.outcome == Outcome::Info || deed.ended() > at_ns;
            open && deed.operation.outcome != Outcome::Fail
        });
        may.extend(open.map(|deed| joins(deed)));
        match (may.contains(&true), may.contains(&false)) {
            (true, false) => Standing::In,
            (false, true) => Standing::Out,
            _ => Standing::Open,
        }
    }

    /// Whether somebody was a member from then until then, without doubt.
    pub fn stayed(&self, name: &str, from_ns: u64, until_ns: u64) -> bool {
        let touched = |deed: &Deed<'_>| {
            deed.member == name && deed.began() <= until_ns && deed.ended() > from_ns
        };
        self.standing(name, from_ns) == Standing::In && !self.deeds.iter().any(touched)
    }

    /// Whether a fault may have been in force at a moment of that time.
    pub fn struck(&self, from_ns: u64, until_ns: u64) -> bool {
        let mut forces = self.input.faults.iter().filter_map(force);
        forces.any(|(start, end)| start <= until_ns && end >= from_ns)
    }

    /// Whether nothing was done to the cluster for the settle time.
    pub fn calm(&self, at_ns: u64) -> bool {
        let deeds = self.deeds.iter().map(|deed| (deed.began(), deed.ended()));
        let forming = [(0, 0)];
        let faults = self.input.faults.iter().filter_map(force);
        let mut all = deeds.chain(forming).chain(faults);
        let settle_ns = self.settle_ns();
        all.all(|(start, end)| start >= at_ns && end > 0 || end.saturating_add(settle_ns) <= at_ns)
    }

    /// All places of sources that the system has, as they are and not as they were.
    pub fn places(&self) -> BTreeSet<Place<'a>> {
        let now = self.input.views.iter().filter(|view| !view.is_history());
        let ours = now.filter(|view| self.sources.contains(&view.source));
        ours.map(place).collect()
    }

    /// Who was a member at time 0, as far as anybody knows.
    pub fn first(&self) -> Vec<&str> {
        self.first.iter().flatten().map(String::as_str).collect()
    }

    /// Readings of a place, by when they began.
    pub fn readings(&self, of: Place<'a>) -> Vec<&'a View> {
        let all = self.input.views.iter();
        let mut all: Vec<&View> = all.filter(|view| place(view) == of).collect();
        all.sort_by_key(|view| (view.start_ns, view.end_ns));
        all
    }

    /// What a place said at a moment: what was being read then, or what the readings around it say alike.
    pub fn said(&self, of: Place<'a>, at_ns: u64) -> Option<&'a [Member]> {
        let readings = self.readings(of);
        let before = readings.iter().rfind(|view| view.start_ns <= at_ns)?;
        let members = before.members()?;
        if before.end_ns >= at_ns {
            return Some(members);
        }
        let after = readings.iter().find(|view| view.start_ns > at_ns)?;
        let sorted = |members: &'a [Member]| {
            let mut all: Vec<&Member> = members.iter().collect();
            all.sort();
            all
        };
        (sorted(members) == sorted(after.members()?)).then_some(members)
    }

    /// What all places said that count then.
    pub fn all_said(&self, at_ns: u64) -> Said<'a> {
        self.counted(at_ns, |of| self.said(of, at_ns))
    }

    /// Of what places are taken to say, what counts: that of members that run, but not of the raft of a spare, which is sent no log.
    pub fn counted(
        &self,
        at_ns: u64,
        said: impl Fn(Place<'a>) -> Option<&'a [Member]>,
    ) -> Said<'a> {
        let says = |of: Place<'a>| Some((of, said(of)?));
        let all: Said<'a> = self.places().into_iter().filter_map(says).collect();
        let running: BTreeSet<&str> = all.iter().map(|((.., on), _)| *on).collect();
        let running = running.into_iter().filter(|node| self.runs(node, at_ns));
        let (certain, open): (BTreeSet<&str>, BTreeSet<&str>) = running
            .filter(|node| self.standing(node, at_ns) != Standing::Out)
            .partition(|node| self.standing(node, at_ns) == Standing::In);
        let listed = |node: &&str| {
            let mut said = all.iter().filter(|((.., on), _)| certain.contains(on));
            said.all(|(_, members)| self.lists(members, node))
        };
        let open = open.into_iter().filter(listed);
        let live: BTreeSet<&str> = open.chain(certain.iter().copied()).collect();
        let live = all.iter().filter(|((.., on), _)| live.contains(on));
        let live: Said<'a> = live.copied().collect();
        let counts =
            |(of, _): &(Place<'a>, &[Member])| of.0 != Source::Raft || !self.spare(&live, of.2);
        live.iter().copied().filter(counts).collect()
    }

    /// Whether all who say that they vote have a node for a spare.
    fn spare(&self, said: &[(Place<'a>, &'a [Member])], node: &str) -> bool {
        let raft = said.iter().filter(|(of, _)| of.0 == Source::Raft);
        let voters = raft.filter(|(of, members)| self.role(members, of.2) == Some(Role::Voter));
        let mut roles = voters
            .map(|(_, members)| self.role(members, node))
            .peekable();
        roles.peek().is_some() && roles.all(|role| role == Some(Role::Spare))
    }

    pub fn role(&self, members: &[Member], name: &str) -> Option<Role> {
        let mut entries = members.iter().filter(|member| self.who(member) == name);
        entries.find_map(|member| member.role)
    }

    /// Whether a node is meant to run, and was not found stopped when it was looked at last.
    fn runs(&self, node: &str, at_ns: u64) -> bool {
        let stopped = |of: Place<'a>| {
            let readings = self.readings(of);
            let last = readings.iter().rfind(|view| view.start_ns <= at_ns);
            last.is_some_and(|view| is_stopped(view))
        };
        let own = self.places().into_iter().filter(|(.., on)| *on == node);
        self.meant(node) && !own.into_iter().any(stopped)
    }
}

fn joins(deed: &Deed<'_>) -> bool {
    deed.kind == ChangeKind::Join
}

fn place(view: &View) -> Place<'_> {
    (view.source, view.label.as_deref(), &view.node)
}

pub(super) fn is_stopped(view: &View) -> bool {
    let stopped = UnreadKind::Stopped;
    matches!(&view.reading, Reading::Unread { kind, .. } if *kind == stopped)
}

/// Whether a fault keeps its nodes from running.
pub(super) fn stops(fault: &FaultRecord) -> bool {
    let word = fault.kind.split(['@', '-', ':']).next();
    word.is_some_and(|word| STOPPING.contains(&word))
}

/// When a fault may have been in force; none if nobody was told.
pub(super) fn force(fault: &FaultRecord) -> Option<(u64, u64)> {
    if fault.asked_ns.is_none() && fault.observed_ns.is_none() {
        return None;
    }
    let by_itself = fault.heal_asked_ns.filter(|_| fault.self_healed);
    let end_ns = fault.healed_ns.or(by_itself).unwrap_or(u64::MAX);
    Some((fault.intended_ns, end_ns))
}

/// An address without its port.
pub(super) fn host(address: &str) -> &str {
    if let Some((inside, _)) = address
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return inside;
    }
    match address.split(':').count() {
        2 => address.split(':').next().unwrap_or(address),
        _ => address,
    }
}
