//! What places said when it was quiet.

use std::collections::{BTreeMap, BTreeSet};

use harness_core::{
    history::Outcome,
    membership::ChangeKind,
    view::{Member, MemberState, Role, Source},
};

use super::{
    super::Finding,
    Claim, NOBODY,
    world::{Deed, Place, Said, Standing, World, host},
};

pub(super) fn witness(claim: &Claim<'_, '_>) -> Finding {
    let (world, at_ns) = (claim.world, claim.witness.end_ns);
    if !world.calm(at_ns) {
        return Finding::Refuted("it was not quiet at its end".to_owned());
    }
    let said = world.all_said(at_ns);
    match claim.witness.kind.as_str() {
        "voter-count" => return voters(world, &said, at_ns),
        "mixed-identity" => return mixed(world, &said, &claim.witness.title),
        "half-a-member" | "ghost" | "lost" | "pending" | "roles-differ" => {}
        _ => return outcome(claim, &said),
    }
    let Some(name) = world.subject(&claim.witness.title) else {
        return Finding::Refuted("its headline names nobody".to_owned());
    };
    if !claim.witness.nodes.contains(&name) && !name.starts_with("foreign ") {
        return Finding::Refuted(format!("{name} is not among those concerned"));
    }
    let standing = match name.starts_with("foreign ") {
        true => Standing::Out,
        false => world.standing(&name, at_ns),
    };
    let core = || said.iter().filter(|(of, _)| of.0 != Source::Cache);
    let lists = |members: &[Member]| world.lists(members, &name);
    let waits =
        |member: &Member| member.state == Some(MemberState::Pending) && world.who(member) == name;
    let proved = match claim.witness.kind.as_str() {
        "half-a-member" => {
            core().any(|(_, members)| lists(members)) && core().any(|(_, members)| !lists(members))
        }
        "ghost" => standing == Standing::Out && said.iter().any(|(_, members)| lists(members)),
        "lost" => standing == Standing::In && said.iter().any(|(_, members)| !lists(members)),
        "pending" => said.iter().any(|(_, members)| members.iter().any(waits)),
        _ => roles(world, &said, &name, at_ns).len() > 1,
    };
    Finding::of(proved, "places did not say so of that member at its end")
}

/// What an operation said against what places hold, where it is the last word on its member.
fn outcome(claim: &Claim<'_, '_>, said: &Said<'_>) -> Finding {
    let (world, at_ns) = (claim.world, claim.witness.end_ns);
    let Some(deed) = claim.deed() else {
        return Finding::Refuted(NOBODY.to_owned());
    };
    let lists = |members: &[Member]| world.lists(members, deed.member);
    let (inside, outside) = (
        said.iter().any(|(_, members)| lists(members)),
        said.iter().any(|(_, members)| !lists(members)),
    );
    use ChangeKind::{Join, Remove};
    use Outcome::{Fail, Info, Ok};
    let (kind, ended, standing, wrong) = match claim.witness.kind.as_str() {
        "joined-and-gone" => (Join, Ok, Standing::In, outside),
        "remains-of-a-join" => (Join, Fail, Standing::Out, inside),
        "half-a-join" => (Join, Info, Standing::Open, inside && outside),
        "removed-and-there" => (Remove, Ok, Standing::Out, inside),
        "harmed-by-a-refused-remove" => (Remove, Fail, Standing::In, outside),
        _ => (Remove, Info, Standing::Open, inside && outside),
    };
    let others = world.deeds.iter().filter(|other| {
        other.member == deed.member
            && other.began() <= at_ns
            && other.operation.index != deed.operation.index
    });
    let last = |mut others: Vec<&Deed<'_>>| {
        others.retain(|other| !other.before(&deed));
        others.is_empty()
    };
    if !deed.is(kind, ended) || world.standing(deed.member, at_ns) != standing {
        return Finding::Refuted("that operation does not leave the member so".to_owned());
    }
    if ended != Info && !last(others.collect()) {
        return Finding::Refuted("it is not the last word on that member".to_owned());
    }
    Finding::of(
        wrong,
        "places said at its end what that operation lets expect",
    )
}

/// Roles that places give somebody. A cache counts once raft has shown the role of now, and no other, for the settle time.
fn roles(world: &World<'_>, said: &Said<'_>, name: &str, at_ns: u64) -> BTreeSet<Role> {
    let given = |members: &[Member]| -> BTreeSet<Role> {
        let entries = members.iter().filter(|member| world.who(member) == name);
        entries.filter_map(|member| member.role).collect()
    };
    let raft = || said.iter().filter(|(of, _)| of.0 == Source::Raft);
    let now: BTreeSet<Option<Role>> = raft()
        .map(|(_, members)| world.role(members, name))
        .collect();
    let one = (now.len() == 1).then(|| now.into_iter().next().flatten());
    // When each look at raft ended, and the role that it gave.
    let looks: Vec<(u64, Role)> = raft()
        .flat_map(|(of, _)| world.readings(*of))
        .filter(|view| view.end_ns <= at_ns)
        .filter_map(|view| Some((view.end_ns, world.role(view.members()?, name)?)))
        .collect();
    let changed_ns = one.flatten().and_then(|one| {
        let old = looks.iter().filter(|(_, role)| *role != one);
        let old_ns = old.map(|(end, _)| *end).max()?;
        looks
            .iter()
            .map(|(end, _)| *end)
            .filter(|end| *end > old_ns)
            .min()
    });
    let late = |of: Place<'_>| {
        let readings = world.readings(of);
        // The reading of the last sample, of which the witness speaks.
        let read = readings.iter().rfind(|view| view.start_ns <= at_ns);
        let read_ns = read.map_or(0, |view| view.start_ns);
        changed_ns.is_some_and(|changed| read_ns < changed.saturating_add(world.settle_ns()))
    };
    said.iter()
        .filter(|(of, _)| of.0 != Source::Cache || !late(*of))
        .flat_map(|(_, members)| given(members))
        .collect()
}

fn voters(world: &World<'_>, said: &Said<'_>, at_ns: u64) -> Finding {
    let Some(target) = world.voters() else {
        return Finding::Refuted("nobody said how many voters there should be".to_owned());
    };
    let running: BTreeSet<&str> = said.iter().map(|((.., on), _)| *on).collect();
    let nodes = &world.input.meta.nodes;
    let member = |name: &str| world.standing(name, at_ns) == Standing::In;
    if nodes
        .iter()
        .any(|node| member(&node.name) && !running.contains(node.name.as_str()))
    {
        return Finding::Refuted("a member did not run, and cannot be promoted".to_owned());
    }
    let wrong = |members: &[Member]| {
        let voters = members
            .iter()
            .filter(|member| member.role == Some(Role::Voter));
        let voters = voters.count() as u64;
        let gives = members.iter().any(|member| member.role.is_some());
        let few = if members.len() as u64 >= target {
            target
        } else {
            1
        };
        gives && (voters < few || voters > target)
    };
    let mut raft = said.iter().filter(|(of, _)| of.0 == Source::Raft);
    let proved = raft.any(|(_, members)| wrong(members));
    Finding::of(proved, "raft had as many voters as it should everywhere")
}

/// What tells members apart: the word for it, and what a member has of it.
pub(super) fn attributes(member: &Member) -> [(&'static str, Option<String>); 4] {
    let number = member.raft_id.map(|id| id.to_string());
    [
        ("name", member.name.clone()),
        ("address", member.address.clone()),
        ("certificate", member.fingerprint.clone()),
        ("raft id", number),
    ]
}

fn mixed(world: &World<'_>, said: &Said<'_>, title: &str) -> Finding {
    let lab = world.input.meta.nodes.iter();
    let lab = lab
        .filter(|node| !node.address.is_empty())
        .map(|node| Member {
            name: Some(node.name.clone()),
            address: Some(node.address.clone()),
            ..Member::default()
        });
    let listed = said.iter().flat_map(|(_, members)| members.iter().cloned());
    let mut goes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for mut member in listed.chain(lab) {
        member.address = member.address.map(|address| host(&address).to_owned());
        let has = attributes(&member);
        for (key, value) in &has {
            for (other, goes_with) in &has {
                if let (Some(value), Some(with)) = (value, goes_with)
                    && key != other
                {
                    let headline = format!("The {other} of {key} {value} is not one.");
                    goes.entry(headline).or_default().insert(with.clone());
                }
            }
        }
    }
    let told = |headline: &str| match title.split_once('…') {
        Some((cut, _)) => headline.starts_with(cut),
        None => headline == title,
    };
    let proved = goes
        .iter()
        .any(|(headline, with)| told(headline) && with.len() > 1);
    Finding::of(proved, "one goes with one at its end")
}
