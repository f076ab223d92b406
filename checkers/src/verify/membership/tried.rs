//! What was tried, and how it ended.

use std::collections::BTreeSet;

use harness_core::{
    event::ANSWERED_ERROR,
    fault::FaultRecord,
    history::{Operation, Outcome},
    membership::{
        ChangeKind, DATA_WRITE, JoinValue, LIST, Purpose, REMOVED_PROBE, RETRY_UNWIPED,
        WRITE_PROBE, member_of,
    },
    view::{Member, MemberState, Source},
};
use serde_json::{Value, json};

use super::{
    super::{
        Finding,
        order::{self, Act},
    },
    Claim, NOBODY, error, is_ok,
    world::{Deed, Standing, World, is_stopped, stops},
};

/// Ends that are no word of the product's: nobody was asked, or nobody answered.
const UNASKED: [&str; 9] = [
    "killed",
    "no-member",
    "nonsense",
    "not-allowed",
    "not-begun",
    "not-ready",
    "not-sent",
    "not-wiped",
    "timeout",
];

fn refuted(why: &str) -> Finding {
    Finding::Refuted(why.to_owned())
}

/// All that it names joined, with one token.
pub(super) fn token(claim: &Claim<'_, '_>) -> Finding {
    let named = claim.operations();
    let token = |join: &&Operation| {
        let said = [&join.output, &join.input];
        let mut said = said.map(|value| serde_json::from_value::<JoinValue>(value.clone()).ok());
        said.iter_mut()
            .flatten()
            .find_map(|value| value.token.take())
    };
    let joined = |one: &&Operation| {
        is_ok(one)
            && harness_core::membership::change(&one.f)
                .is_some_and(|(kind, _)| kind == ChangeKind::Join)
    };
    let tokens: BTreeSet<Option<String>> = named.iter().map(token).collect();
    let proved =
        named.len() > 1 && named.iter().all(joined) && tokens.len() == 1 && !tokens.contains(&None);
    Finding::of(proved, "they did not all join with one token")
}

/// Joins, removes and lists have no order: first those of each member by itself, then all.
pub(super) fn order(claim: &Claim<'_, '_>) -> Finding {
    let ends = claim
        .operations()
        .into_iter()
        .filter_map(|one| one.completed_index);
    let Some(until) = ends.max() else {
        return refuted(NOBODY);
    };
    let world = claim.world;
    let lists = |one: &&Operation| &*one.f == LIST && is_ok(one);
    let begun: Vec<&Operation> = world
        .input
        .history
        .operations
        .iter()
        .filter(|one| one.index < until)
        .collect();
    let seen = begun
        .iter()
        .filter(|one| lists(one))
        .flat_map(|one| one.output.as_array().into_iter().flatten());
    let changed = world.deeds.iter().map(|deed| json!(deed.member));
    let first = world.first();
    let members: Vec<Value> = seen
        .cloned()
        .chain(changed)
        .chain(first.iter().map(|name| json!(name)))
        .collect();
    for (at, member) in members.iter().enumerate() {
        if members[..at].contains(member) {
            continue;
        }
        let acts = on_one(world, &begun, until, member);
        let is_first = json!(first.iter().any(|name| member == name));
        if order::exists("register", &is_first, &as_acts(&acts)) == Some(false) {
            return Finding::Confirmed;
        }
    }
    let acts = on_all(world, &begun, until);
    let mut names: Vec<Value> = first.iter().map(|name| json!(name)).collect();
    names.sort_by_key(Value::to_string);
    match order::exists("membership", &names.into(), &as_acts(&acts)) {
        Some(exists) => Finding::of(!exists, "there is a legal order"),
        None => Finding::NotTried("too many operations to try all orders".to_owned()),
    }
}

/// Changes of one member and what lists say of it, as writes and reads of a truth.
fn on_one(world: &World<'_>, begun: &[&Operation], until: u64, member: &Value) -> Vec<Operation> {
    let deed = |one: &Operation| {
        let deed = world
            .deeds
            .iter()
            .find(|deed| deed.operation.index == one.index)?;
        (deed.member == member).then_some(deed.kind == ChangeKind::Join)
    };
    let one = |one: &&Operation| {
        if let Some(joins) = deed(one) {
            let done = json!(joins);
            return Some(as_act(one, "write", done, until));
        }
        let has = one.output.as_array()?.contains(member);
        (&*one.f == LIST).then(|| as_act(one, "read", json!(has), until))
    };
    begun.iter().filter_map(one).filter(counts).collect()
}

fn on_all(world: &World<'_>, begun: &[&Operation], until: u64) -> Vec<Operation> {
    let one = |one: &&Operation| {
        if &*one.f == LIST {
            return Some(as_act(one, LIST, one.output.clone(), until));
        }
        let deed = world
            .deeds
            .iter()
            .find(|deed| deed.operation.index == one.index)?;
        let word = match deed.kind {
            ChangeKind::Join => "join",
            ChangeKind::Remove => "remove",
        };
        Some(as_act(one, word, json!(deed.member), until))
    };
    begun.iter().filter_map(one).filter(counts).collect()
}

/// In the words of an object; who had not ended by then may or may not have had an effect.
fn as_act(of: &Operation, f: &str, value: Value, until: u64) -> Operation {
    let ended = of.completed_index.is_some_and(|end| end <= until);
    Operation {
        f: f.into(),
        input: value.clone(),
        output: value,
        outcome: if is_ok(of) && !ended {
            Outcome::Info
        } else {
            of.outcome
        },
        ..of.clone()
    }
}

/// What failed did nothing, and a list without an answer says nothing.
fn counts(act: &Operation) -> bool {
    let reads = [LIST, "read"].contains(&&*act.f);
    is_ok(act) || act.outcome == Outcome::Info && !reads
}

fn as_acts(operations: &[Operation]) -> Vec<Act<'_>> {
    let act = |operation| Act {
        operation,
        argument: operation.input.clone(),
        result: operation.output.clone(),
        owed: is_ok(operation),
    };
    operations.iter().map(act).collect()
}

/// Who was removed could still read or write.
pub(super) fn inside(claim: &Claim<'_, '_>) -> Finding {
    let Some(probe) = claim.operations().first().copied() else {
        return refuted(NOBODY);
    };
    let out = |name: &str| claim.world.standing(name, probe.invoked_ns) == Standing::Out;
    let proved = &*probe.f == REMOVED_PROBE
        && is_ok(probe)
        && probe.output["in"] == json!(true)
        && member_of(probe).is_some_and(out);
    Finding::of(proved, "no removed node was found inside by it")
}

/// When everything was healed.
fn healed_ns(world: &World<'_>) -> Option<u64> {
    let recover = world.input.meta.phase("recover");
    let healed = world
        .input
        .faults
        .iter()
        .filter_map(|fault| fault.healed_ns);
    recover
        .map(|phase| u64::try_from(phase.start_ns).unwrap_or(0))
        .or(healed.max())
}

/// A member that runs took no write, though it was tried for long enough.
pub(super) fn no_progress(claim: &Claim<'_, '_>) -> Finding {
    let world = claim.world;
    let node = claim.operations().first().and_then(|one| one.node.clone());
    let (Some(node), Some(from_ns)) = (node, healed_ns(world)) else {
        return refuted(NOBODY);
    };
    let is_in = |at_ns| world.standing(&node, at_ns) == Standing::In;
    let last = world.input.views.iter().filter(|view| !view.is_history());
    let last = last.max_by_key(|view| (view.start_ns, view.end_ns));
    let stopped = world.input.views.iter().any(|view| {
        last.is_some_and(|last| last.sample == view.sample)
            && *view.node == *node
            && is_stopped(view)
    });
    if !is_in(from_ns) || !is_in(world.horizon_ns) || !world.meant(&node) || stopped {
        return Finding::Refuted(format!("{node} was not to take writes"));
    }
    let attempts: Vec<&Operation> = world
        .input
        .history
        .operations
        .iter()
        .filter(|one| {
            &*one.f == WRITE_PROBE
                && one.invoked_ns >= from_ns
                && one.node.as_deref() == Some(&*node)
        })
        .collect();
    let until_ns = from_ns.saturating_add(world.recovery_ns());
    let long = attempts
        .iter()
        .any(|one| one.completed_ns.is_some_and(|end| end >= until_ns));
    let proved = long && !attempts.iter().any(|one| is_ok(one));
    Finding::of(
        proved,
        "a write succeeded there, or it was not tried for so long",
    )
}

/// Every attempt of a change of one kind on a canary or a member in doubt failed, the last one under no fault.
pub(super) fn refused(claim: &Claim<'_, '_>) -> Finding {
    let Some(deed) = claim.deed() else {
        return refuted(NOBODY);
    };
    let world = claim.world;
    let alike = |one: &&Deed<'_>| one.member == deed.member && one.purpose == deed.purpose;
    let probes: Vec<&Deed<'_>> = world.deeds.iter().filter(alike).collect();
    let same = || probes.iter().filter(|one| one.kind == deed.kind);
    let later = |one: &Deed<'_>| one.operation.index > deed.operation.index;
    let superseded = probes
        .iter()
        .any(|one| one.kind != deed.kind && is_ok(one.operation) && later(one));
    let tried_later = same().any(|one| later(one) && &*one.operation.f != RETRY_UNWIPED);
    let until_ns = deed.ended().min(world.horizon_ns);
    let proved = deed.purpose != Purpose::Load
        && !same().any(|one| is_ok(one.operation))
        && !superseded
        && !tried_later
        && !world.struck(deed.began(), until_ns);
    Finding::of(proved, "such a change succeeded, or a fault was in force")
}

/// A member that some places hold and some do not: it was not found, or not let in as it was.
pub(super) fn way_out(claim: &Claim<'_, '_>) -> Finding {
    let world = claim.world;
    let named = claim.operations();
    let tried: Vec<&Deed<'_>> = world
        .deeds
        .iter()
        .filter(|deed| {
            deed.purpose != Purpose::Load
                && named.iter().any(|one| one.index == deed.operation.index)
        })
        .collect();
    let proves = |deed: &&Deed<'_>| {
        let one = deed.operation;
        let until_ns = deed.ended().min(world.horizon_ns);
        !world.struck(deed.began(), until_ns)
            && match (deed.kind, one.outcome) {
                (ChangeKind::Remove, Outcome::Fail) => {
                    error(one) == "not-found" && held(world, deed).0
                }
                (ChangeKind::Join, Outcome::Fail) => {
                    &*one.f == RETRY_UNWIPED
                        && !UNASKED.contains(&error(one))
                        && held(world, deed).1
                }
                (ChangeKind::Join, Outcome::Info) => {
                    &*one.f == RETRY_UNWIPED && error(one) == ANSWERED_ERROR && held(world, deed).1
                }
                _ => false,
            }
    };
    let proved = !tried.is_empty() && tried.iter().all(proves);
    Finding::of(
        proved,
        "what it names was not refused so, or places held all or nothing of the member",
    )
}

/// Before an operation, as places were read last: whether database or truststore held the member, and whether some place did not
/// hold it, or as pending.
fn held(world: &World<'_>, deed: &Deed<'_>) -> (bool, bool) {
    let until_ns = deed.began();
    let done = world.deeds.iter().filter(|one| {
        one.member == deed.member
            && one.operation.outcome != Outcome::Fail
            && one.began() < until_ns
    });
    let from_ns = done.map(Deed::ended).max().unwrap_or(0);
    let inside =
        |view: &&harness_core::view::View| from_ns <= view.start_ns && view.end_ns <= until_ns;
    let (mut kept, mut lacks) = (false, false);
    for of in world.places() {
        if world.standing(of.2, until_ns) != Standing::In {
            continue;
        }
        let Some(members) = world
            .readings(of)
            .into_iter()
            .rfind(inside)
            .and_then(|view| view.members())
        else {
            continue;
        };
        let entries: Vec<&Member> = members
            .iter()
            .filter(|one| world.who(one) == deed.member)
            .collect();
        kept |= !entries.is_empty() && [Source::Database, Source::Truststore].contains(&of.0);
        lacks |= entries.is_empty()
            || entries
                .iter()
                .any(|one| one.state == Some(MemberState::Pending));
    }
    (kept, lacks)
}

/// Two members, half of all or more, were down; one was started, and no write succeeded until the other was.
pub(super) fn not_restored(claim: &Claim<'_, '_>) -> Finding {
    let world = claim.world;
    let Some(last) = claim.operations().first().copied() else {
        return refuted(NOBODY);
    };
    let alone = |fault: &&FaultRecord| stops(fault) && fault.took_hold() && fault.nodes.len() == 1;
    let faults: Vec<&FaultRecord> = world.input.faults.iter().filter(alone).collect();
    let named = |fault: &FaultRecord| claim.witness.nodes.contains(&fault.nodes[0]);
    let pairs = faults
        .iter()
        .flat_map(|one| faults.iter().map(move |other| (*one, *other)));
    let mut pairs =
        pairs.filter(|(one, other)| one.nodes != other.nodes && named(one) && named(other));
    let proved = pairs.any(|(started, down)| {
        let Some(from_ns) = started.healed_ns else {
            return false;
        };
        let until_ns = down
            .heal_asked_ns
            .or(down.healed_ns)
            .unwrap_or(world.horizon_ns);
        let both_ns = started
            .observed_ns
            .max(down.observed_ns)
            .unwrap_or(u64::MAX);
        let third = faults.iter().any(|one| {
            ![started.id, down.id].contains(&one.id)
                && one.intended_ns < until_ns
                && one.healed_ns.is_none_or(|at| at > from_ns)
        });
        let nodes = world.input.meta.nodes.iter();
        let members = nodes.filter(|node| world.standing(&node.name, both_ns) == Standing::In);
        let between = |one: &&Operation| {
            [WRITE_PROBE, DATA_WRITE].contains(&&*one.f)
                && one.invoked_ns >= from_ns
                && one.completed_ns.is_some_and(|end| end <= until_ns)
        };
        let wrote = world
            .input
            .history
            .operations
            .iter()
            .filter(between)
            .any(is_ok);
        let long = last
            .completed_ns
            .is_some_and(|end| end >= from_ns.saturating_add(world.recovery_ns()));
        both_ns < from_ns
            && from_ns < until_ns
            && !third
            && [3, 4].contains(&members.count())
            && between(&last)
            && long
            && !wrote
    });
    Finding::of(proved, "a write succeeded, or two were not down so")
}

/// It ran into its deadline, and no fault was in force, nor had been for the settle time.
pub(super) fn hung(claim: &Claim<'_, '_>) -> Finding {
    let Some(one) = claim.operations().first().copied() else {
        return refuted(NOBODY);
    };
    let Some(end_ns) = one.completed_ns else {
        return refuted("nobody saw its end");
    };
    let from_ns = one.invoked_ns.saturating_sub(claim.world.settle_ns());
    let proved = error(one) == "timeout" && !claim.world.struck(from_ns, end_ns);
    Finding::of(proved, "it did not time out, or a fault was in force")
}
