//! One broken thing each, and the invariants that must fail because of it: exactly these, no other.

mod answers;
mod places;

use std::collections::BTreeMap;

use harness_core::{
    event::{Event, EventType, OpError},
    view::{LOG, Member, MemberState, Reading, Role, Source, UnreadKind, View},
};
use serde_json::json;

use super::{MS, Profile, Run, emit::address, name};
use answers::*;
use places::*;

/// A broken thing.
pub struct Mutation {
    /// What is broken.
    pub name: &'static str,
    /// Of which system the places are.
    pub system: &'static str,
    /// What the run is made of.
    pub profile: Profile,
    /// Breaks a run; false if this one has nothing to break.
    pub breaks: fn(&mut Run) -> bool,
    /// The invariants that must fail, sorted.
    pub fails: &'static [&'static str],
}

const fn row(
    name: &'static str,
    system: &'static str,
    breaks: fn(&mut Run) -> bool,
    fails: &'static [&'static str],
) -> Mutation {
    Mutation {
        name,
        system,
        profile: Profile::Rich,
        breaks,
        fails,
    }
}

/// The table: mutation, invariants that must fail.
#[rustfmt::skip]
pub const TABLE: [Mutation; 38] = [
    row("the row of a joined member is gone", "lxd", joined_row_gone, &["convergence-time", "no-lost", "ok-join-durable", "three-source-agreement"]),
    row("a joined member is gone from everywhere", "microcluster", joined_gone, &["no-lost", "ok-join-durable"]),
    row("one node lost a certificate", "lxd", certificate_gone, &["convergence-time", "no-lost", "three-source-agreement"]),
    row("one node's raft lost a member", "dqlite", raft_gone_on_one, &["convergence-time", "no-lost"]),
    row("a member is gone from everywhere", "lxd", member_gone, &["no-lost"]),
    row("a removed member keeps its certificate", "microcluster", removed_certificate, &["convergence-time", "no-ghost", "ok-remove-complete", "three-source-agreement"]),
    row("a removed member stays in one cache", "lxd", removed_in_cache, &["convergence-time", "no-ghost", "ok-remove-complete"]),
    row("a removed member stays in raft", "dqlite", removed_in_raft, &["convergence-time", "no-ghost", "ok-remove-complete"]),
    row("a stranger is in raft", "lxd", stranger, &["convergence-time", "no-ghost", "three-source-agreement"]),
    row("a refused join leaves a certificate", "lxd", refused_join_certificate, &["convergence-time", "fail-join-clean", "no-ghost", "three-source-agreement"]),
    row("a refused remove drops the row", "microcluster", refused_remove_row, &["convergence-time", "fail-remove-intact", "no-lost", "three-source-agreement"]),
    row("a join without an answer took effect by halves", "lxd", half_join, &["convergence-time", "info-join-atomic", "three-source-agreement"]),
    row("a join without an answer is in one cache", "dqlite", half_join_in_cache, &["convergence-time", "info-join-atomic"]),
    row("a remove without an answer took effect by halves", "lxd", half_remove, &["convergence-time", "info-remove-atomic", "three-source-agreement"]),
    row("a row stays pending", "lxd", stays_pending, &["convergence-time", "no-pending"]),
    row("one node has another role", "lxd", other_role, &["role-agreement"]),
    row("there are too few voters", "lxd", too_few_voters, &["voter-target"]),
    row("there are too many voters", "dqlite", too_many_voters, &["voter-target"]),
    row("two certificates are swapped on one node", "microcluster", swapped_certificates, &["identity-agreement"]),
    row("one node's raft has another id", "dqlite", other_raft_id, &["identity-agreement"]),
    row("a raft id is given twice while things move", "lxd", id_twice, &["id-unique"]),
    row("a removed member comes back for a moment", "lxd", back_for_a_moment, &["no-resurrection"]),
    row("a removed member comes back for good", "lxd", back_for_good, &["no-ghost", "no-resurrection", "ok-remove-complete"]),
    row("a term has two leaders", "lxd", two_leaders, &["one-leader-per-term"]),
    row("a configuration changes two members", "dqlite", two_changes, &["single-change"]),
    row("an index holds two configurations", "dqlite", two_configurations, &["config-prefix"]),
    row("a change is accepted while most voters are down", "lxd", most_down, &["quorum-safety"]),
    row("a list forgets a member", "lxd", list_forgets, &["linearizable-membership"]),
    row("a token lets in two", "lxd", token_twice, &["token-single-use"]),
    row("a removed node still writes", "dqlite", removed_writes, &["removed-is-out"]),
    row("a member takes no write after healing", "lxd", no_write, &["progress-after-heal"]),
    Mutation { profile: Profile::Double, ..row("starting one of two does not restore service", "dqlite", not_restored, &["restart-one-restores"]) },
    row("the canary is refused", "lxd", canary_refused, &["membership-progress"]),
    row("a name is burnt", "microcluster", burnt_name, &["membership-progress"]),
    row("a half-joined member is not found, and joins once it is wiped", "lxd", half_joined_not_found, &["convergence-time", "info-join-atomic", "membership-progress", "no-pending", "three-source-agreement"]),
    row("a certificate is left whose member is not found, and which joins once it is wiped", "microcluster", certificate_not_found, &["convergence-time", "info-join-atomic", "membership-progress", "three-source-agreement"]),
    row("a join is refused of the node as it is, and works once it is wiped", "dqlite", refused_unwiped, &["membership-progress"]),
    row("a list hangs", "lxd", list_hangs, &["no-hang"]),
];

fn is(member: &Member, node: usize) -> bool {
    member.name.as_deref() == Some(&*name(node))
        || member.address.as_deref() == Some(&*address(node))
}

/// Changes readings from a time on; false if there was none.
pub fn edit(
    run: &mut Run,
    from_ns: u64,
    which: impl Fn(&View) -> bool,
    mut change: impl FnMut(&mut Vec<Member>),
) -> bool {
    let mut any = false;
    for view in &mut run.views {
        if view.start_ns >= from_ns
            && view.label.as_deref() != Some(LOG)
            && which(view)
            && let Reading::Members(members) = &mut view.reading
        {
            change(members);
            any = true;
        }
    }
    any
}

/// Gives the configurations of the last quiet window a new index, as if one more change had been made.
fn next_index(run: &mut Run) {
    for view in &mut run.views {
        if view.start_ns >= run.final_ns
            && let Some(raft) = &mut view.raft
        {
            raft.previous_index = raft.index;
            raft.index = raft.index.map(|index| index + 1);
        }
    }
}

fn lose(run: &mut Run, node: usize, which: impl Fn(&View) -> bool) -> bool {
    let from = run.final_ns;
    edit(run, from, which, |members| {
        members.retain(|member| !is(member, node))
    })
}

/// Somebody is in these readings from a time on, if he is not; false if there are none.
pub fn gain(
    run: &mut Run,
    node: usize,
    from_ns: u64,
    state: MemberState,
    which: impl Fn(&View) -> bool,
) -> bool {
    let mut any = false;
    for source in Source::ALL {
        any |= edit(
            run,
            from_ns,
            |view| view.source == source && which(view),
            |members| {
                if members.iter().any(|member| is(member, node)) {
                    return;
                }
                let raft = matches!(source, Source::Raft | Source::Cache);
                members.push(Member {
                    name: (source != Source::Raft).then(|| name(node)),
                    address: (source != Source::Truststore).then(|| address(node)),
                    fingerprint: (source == Source::Truststore).then(|| format!("f{node}x0")),
                    raft_id: raft.then_some(900 + node as u64),
                    role: raft.then_some(Role::Spare),
                    state: (source == Source::Database).then_some(state),
                });
            },
        );
    }
    any
}

fn began(run: &Run, node: usize) -> u64 {
    run.began[&name(node)]
}

/// Whether a change of the history ended shortly before: no quiet window.
fn moving(run: &Run) -> impl Fn(&View) -> bool + use<> {
    let ends: Vec<u64> = run
        .events
        .iter()
        .filter(|event| {
            event.event_type != EventType::Invoke && event.value.get("member").is_some()
        })
        .filter(|event| &*event.f != "removed-probe")
        .map(|event| event.time_ns)
        .collect();
    move |view| {
        ends.iter()
            .any(|end| (*end..*end + 500 * MS).contains(&view.start_ns))
    }
}

/// Changes how operations ended; false if there is none such.
pub fn end_otherwise(
    run: &mut Run,
    event_type: EventType,
    kind: &str,
    which: impl Fn(&Event) -> bool,
) -> bool {
    let mut any = false;
    for event in &mut run.events {
        if event.event_type == EventType::Ok && which(event) {
            event.event_type = event_type;
            event.error = Some(OpError {
                kind: kind.to_owned(),
                message: "no".to_owned(),
            });
            any = true;
        }
    }
    any
}

/// Nothing of a member is ever seen.
pub fn erase(run: &mut Run, node: usize) {
    for view in &mut run.views {
        if let Reading::Members(members) = &mut view.reading {
            members.retain(|member| !is(member, node));
        }
    }
    run.views.retain(|view| *view.node != *name(node));
}
