//! What readings and faults show over time.

use std::collections::{BTreeMap, BTreeSet};

use harness_core::{
    history::Outcome,
    membership::ChangeKind,
    view::{Member, MemberState, Role, Source, View},
};

use super::{
    super::Finding,
    Claim, NOBODY,
    quiet::attributes,
    world::{Deed, World, force, stops},
};

/// A place no longer listed who was removed, and did again, though no join can have taken effect until then.
pub(super) fn resurrected(claim: &Claim<'_, '_>) -> Finding {
    let world = claim.world;
    let Some(remove) = claim.deed() else {
        return Finding::Refuted(NOBODY.to_owned());
    };
    if !remove.is(ChangeKind::Remove, Outcome::Ok) {
        return Finding::Refuted("that operation removed nobody for certain".to_owned());
    }
    let may_join = |deed: &Deed<'_>| {
        deed.member == remove.member
            && deed.kind == ChangeKind::Join
            && deed.operation.outcome != Outcome::Fail
            && deed.began() <= claim.witness.end_ns
            && (deed.operation.outcome == Outcome::Info || !deed.before(&remove))
    };
    if world.deeds.iter().any(may_join) {
        return Finding::Refuted("a join of it may have taken effect".to_owned());
    }
    let lists = |view: &View| Some(world.lists(view.members()?, remove.member));
    let rose = world.places().into_iter().any(|of| {
        let readings = world.readings(of);
        let mut back = readings.iter().filter(|view| {
            view.end_ns == claim.witness.end_ns
                && lists(view) == Some(true)
                && view.start_ns > remove.ended()
                && world.stayed(&view.node, remove.began(), view.end_ns)
        });
        back.any(|back| {
            readings.iter().any(|gone| {
                lists(gone) == Some(false)
                    && gone.start_ns >= remove.began()
                    && gone.end_ns < back.start_ns
            })
        })
    });
    Finding::of(
        rose,
        "no place of a lasting member lost it and had it again",
    )
}

/// After a change was accepted, half or more of the voters did not run.
pub(super) fn quorum(claim: &Claim<'_, '_>) -> Finding {
    let world = claim.world;
    let Some(deed) = claim.deed() else {
        return Finding::Refuted(NOBODY.to_owned());
    };
    let other = |one: &Deed<'_>| {
        one.operation.index != deed.operation.index
            && one.began() <= claim.witness.end_ns
            && one.ended() > deed.ended()
    };
    if deed.operation.outcome != Outcome::Ok || world.deeds.iter().any(other) {
        return Finding::Refuted("it was not accepted, or another change followed".to_owned());
    }
    let shows = |view: &&View| {
        view.source == Source::Raft
            && !view.is_history()
            && view.start_ns > deed.ended()
            && view.end_ns == claim.witness.end_ns
            && world.stayed(&view.node, deed.began(), view.end_ns)
    };
    let lost = |view: &View| {
        let members = view.members().unwrap_or_default();
        let voters = members.iter().filter(|one| one.role == Some(Role::Voter));
        let voters: BTreeSet<String> = voters.map(|one| world.who(one)).collect();
        let down = voters
            .iter()
            .filter(|name| is_down(world, name, deed.began(), view.end_ns));
        !voters.is_empty() && 2 * (voters.len() - down.count()) <= voters.len()
    };
    let proved = world.input.views.iter().filter(shows).any(lost);
    Finding::of(proved, "more than half of raft's voters ran")
}

/// Whether a fault kept a node down from then until then.
fn is_down(world: &World<'_>, node: &str, from_ns: u64, until_ns: u64) -> bool {
    let joined = |since_ns: u64| {
        world.deeds.iter().any(|deed| {
            deed.member == node
                && deed.is(ChangeKind::Join, Outcome::Ok)
                && (since_ns..=until_ns).contains(&deed.ended())
        })
    };
    let answered = |since_ns: u64| {
        world.input.views.iter().any(|view| {
            *view.node == *node
                && view.source == Source::Raft
                && view.label.as_deref() == Some("socket")
                && view.members().is_some()
                && view.start_ns >= since_ns
                && view.end_ns <= until_ns
        })
    };
    world.input.faults.iter().any(|fault| {
        let healed = fault.heal_asked_ns.or(fault.healed_ns);
        stops(fault)
            && fault.took_hold()
            && fault.nodes.iter().any(|name| name == node)
            && healed.is_none_or(|at| at >= until_ns)
            && fault.observed_ns.is_some_and(|since_ns| {
                since_ns <= from_ns && !joined(since_ns) && !answered(since_ns)
            })
    })
}

/// Two readings of raft that contradict each other.
pub(super) fn pair(claim: &Claim<'_, '_>) -> Finding {
    let named = |view: &&View| {
        view.source == Source::Raft
            && view.members().is_some()
            && view.raft.is_some()
            && claim.within(view.start_ns, view.end_ns)
            && claim.witness.nodes.iter().any(|node| **node == *view.node)
    };
    let views: Vec<&View> = claim.world.input.views.iter().filter(named).collect();
    let contradicts: fn(&View, &View) -> bool = match claim.witness.kind.as_str() {
        "two-leaders" => |one, other| {
            let (one, other) = (one.raft.unwrap_or_default(), other.raft.unwrap_or_default());
            let leads = |leader: Option<u64>| leader.is_some_and(|leader| leader != 0);
            one.term.is_some()
                && one.term == other.term
                && leads(one.leader)
                && leads(other.leader)
                && one.leader != other.leader
        },
        "many-changes" => |one, other| {
            let at = |view: &View| view.raft.unwrap_or_default();
            one.node == other.node
                && at(one).index.is_some()
                && at(one).index == at(other).previous_index
                && differing(one, other) > 1
        },
        _ => |one, other| {
            let (first, second) = (one.raft.unwrap_or_default(), other.raft.unwrap_or_default());
            let committed = [first.committed, second.committed] == [Some(true); 2];
            let one_term = first.entry_term.is_some() && first.entry_term == second.entry_term;
            first.index.is_some()
                && first.index == second.index
                && (committed || one_term)
                && differing(one, other) > 0
        },
    };
    let proved = views
        .iter()
        .any(|one| views.iter().any(|other| contradicts(one, other)));
    Finding::of(
        proved,
        "no two readings of those nodes contradict each other so",
    )
}

/// In how many members two configurations differ.
fn differing(one: &View, other: &View) -> usize {
    let of = |view: &View| -> BTreeMap<(Option<u64>, Option<String>), Option<Role>> {
        let members = view.members().unwrap_or_default().iter();
        let entry = |member: &Member| ((member.raft_id, member.address.clone()), member.role);
        members.map(entry).collect()
    };
    let (one, other) = (of(one), of(other));
    let all: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    all.into_iter()
        .filter(|key| one.get(key) != other.get(key))
        .count()
}

/// One reading that gives two entries the same.
pub(super) fn twice(claim: &Claim<'_, '_>) -> Finding {
    let doubled = |view: &View| {
        let members = view.members().unwrap_or_default();
        (0..4).any(|which| {
            let mut seen = BTreeSet::new();
            let loose = which < 2 && view.source == Source::Truststore;
            let word = |member: &Member| attributes(member)[which].clone();
            let mut given = members.iter().map(word);
            !loose
                && given.any(|(word, value)| {
                    let told = claim.witness.title == format!("Two members have one {word}.");
                    value.is_some_and(|value| !seen.insert(value)) && told
                })
        })
    };
    let mut views = claim.world.input.views.iter().filter(|view| {
        claim.within(view.start_ns, view.end_ns)
            && claim.witness.nodes.iter().any(|node| **node == *view.node)
    });
    Finding::of(views.any(doubled), "no reading there lists anybody twice")
}

/// Something ended when the witness begins, nothing else was done until it ends, and places still differ then.
pub(super) fn never(claim: &Claim<'_, '_>) -> Finding {
    let (world, witness) = (claim.world, claim.witness);
    let (from_ns, until_ns) = (witness.start_ns, witness.end_ns);
    let deeds = world.deeds.iter();
    let named = |deed: &&Deed<'_>| {
        witness.operations.is_empty() || witness.operations.contains(&deed.operation.index)
    };
    let mut ends: Vec<u64> = deeds.clone().filter(named).map(Deed::ended).collect();
    let faults: Vec<(u64, u64)> = world.input.faults.iter().filter_map(force).collect();
    if witness.operations.is_empty() {
        ends = faults.iter().map(|(_, end)| *end).collect();
    }
    if !ends.contains(&from_ns) {
        return Finding::Refuted("what it names did not end when it begins".to_owned());
    }
    let mut all = deeds.map(|deed| (deed.began(), deed.ended())).chain(faults);
    if all.any(|(start, end)| start < until_ns && end > from_ns) {
        return Finding::Refuted("something else was done meanwhile".to_owned());
    }
    if until_ns < from_ns.saturating_add(world.settle_ns()) {
        return Finding::Refuted("the settle time was not over".to_owned());
    }
    // Each place as it was read last.
    let last = |of| {
        let mut readings = world.readings(of).into_iter();
        let last = readings.rfind(|view| from_ns <= view.start_ns && view.end_ns <= until_ns);
        last.and_then(View::members)
    };
    let said = world.counted(until_ns, last);
    let said = || said.iter().map(|(_, members)| *members);
    let lists: BTreeSet<BTreeSet<String>> = said().map(|members| world.names(members)).collect();
    let waits = |member: &Member| member.state == Some(MemberState::Pending);
    let pending = said().any(|members| members.iter().any(waits));
    Finding::of(lists.len() > 1 || pending, "all places agreed at its end")
}
