//! One broken thing each, and the invariants that must fail because of it: exactly these, no other.

use std::collections::BTreeMap;

use harness_core::{
    event::{Event, EventType, OpError},
    view::{LOG, Member, MemberState, Reading, Role, Source, UnreadKind, View},
};
use serde_json::json;

use super::{MS, Profile, Run, emit::address, name};

/// A broken thing.
pub struct Mutation {
    pub name: &'static str,
    pub system: &'static str,
    pub profile: Profile,
    /// Breaks a run; false if this one has nothing to break.
    pub breaks: fn(&mut Run) -> bool,
    /// Sorted.
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

fn joined_row_gone(run: &mut Run) -> bool {
    lose(run, 8, |view| view.source == Source::Database)
}

fn joined_gone(run: &mut Run) -> bool {
    lose(run, 8, |_| true)
}

fn certificate_gone(run: &mut Run) -> bool {
    lose(run, 1, |view| {
        view.source == Source::Truststore && &*view.node == "n2"
    })
}

fn raft_gone_on_one(run: &mut Run) -> bool {
    // Its socket only: a data folder would need a new index.
    lose(run, 4, |view| {
        view.label.as_deref() == Some("socket") && &*view.node == "n2"
    })
}

fn member_gone(run: &mut Run) -> bool {
    next_index(run);
    lose(run, 4, |_| true)
}

fn removed_certificate(run: &mut Run) -> bool {
    let from = began(run, 7);
    gain(run, 7, from, MemberState::Active, |view| {
        view.source == Source::Truststore
    })
}

fn removed_in_cache(run: &mut Run) -> bool {
    let from = began(run, 7);
    gain(run, 7, from, MemberState::Active, |view| {
        view.label.as_deref() == Some("list") && &*view.node == "n1"
    })
}

fn removed_in_raft(run: &mut Run) -> bool {
    let from = began(run, 7);
    gain(run, 7, from, MemberState::Active, |view| {
        view.label.as_deref() == Some("socket")
    })
}

fn stranger(run: &mut Run) -> bool {
    next_index(run);
    let from = run.final_ns;
    // None of the lab's twelve.
    gain(run, 77, from, MemberState::Active, |view| {
        view.source == Source::Raft
    })
}

fn refused_join_certificate(run: &mut Run) -> bool {
    let from = began(run, 9);
    gain(run, 9, from, MemberState::Active, |view| {
        view.source == Source::Truststore
    })
}

fn refused_remove_row(run: &mut Run) -> bool {
    lose(run, 6, |view| view.source == Source::Database)
}

fn half_join(run: &mut Run) -> bool {
    let from = run.final_ns;
    gain(run, 10, from, MemberState::Active, |view| {
        matches!(view.source, Source::Database | Source::Truststore)
    })
}

fn half_join_in_cache(run: &mut Run) -> bool {
    let from = run.final_ns;
    gain(run, 10, from, MemberState::Active, |view| {
        view.source == Source::Cache && &*view.node == "n3"
    })
}

fn half_remove(run: &mut Run) -> bool {
    lose(run, 5, |view| view.source == Source::Truststore)
}

fn stays_pending(run: &mut Run) -> bool {
    let from = run.final_ns;
    edit(
        run,
        from,
        |view| view.source == Source::Database,
        |members| {
            members
                .iter_mut()
                .filter(|member| is(member, 8))
                .for_each(|member| member.state = Some(MemberState::Pending));
        },
    )
}

fn set_role(run: &mut Run, node: usize, role: Role, which: impl Fn(&View) -> bool) -> bool {
    let from = run.final_ns;
    edit(run, from, which, |members| {
        members
            .iter_mut()
            .filter(|member| is(member, node) && member.role.is_some())
            .for_each(|member| member.role = Some(role));
    })
}

fn other_role(run: &mut Run) -> bool {
    set_role(run, 4, Role::Spare, |view| {
        view.label.as_deref() == Some("socket") && &*view.node == "n2"
    })
}

fn too_few_voters(run: &mut Run) -> bool {
    next_index(run);
    set_role(run, 3, Role::StandBy, |_| true)
}

fn too_many_voters(run: &mut Run) -> bool {
    next_index(run);
    set_role(run, 4, Role::Voter, |_| true)
}

fn swapped_certificates(run: &mut Run) -> bool {
    let from = run.final_ns;
    edit(
        run,
        from,
        |view| view.source == Source::Truststore && &*view.node == "n2",
        |members| {
            let at = |node| members.iter().position(|member| is(member, node)).unwrap();
            let (one, other) = (at(1), at(3));
            let print = members[one].fingerprint.take();
            members[one].fingerprint = members[other].fingerprint.take();
            members[other].fingerprint = print;
        },
    )
}

fn other_raft_id(run: &mut Run) -> bool {
    let from = run.final_ns;
    edit(
        run,
        from,
        |view| view.label.as_deref() == Some("socket") && &*view.node == "n2",
        |members| {
            members
                .iter_mut()
                .filter(|member| is(member, 1))
                .for_each(|member| member.raft_id = Some(999));
        },
    )
}

fn id_twice(run: &mut Run) -> bool {
    let moving = moving(run);
    let view = run.views.iter_mut().find(|view| {
        moving(view) && view.label.as_deref() == Some("socket") && view.members().is_some()
    });
    let Some(View {
        reading: Reading::Members(members),
        ..
    }) = view
    else {
        return false;
    };
    members[1].raft_id = members[0].raft_id;
    true
}

fn back_for_a_moment(run: &mut Run) -> bool {
    let moving = moving(run);
    let removed = began(run, 7);
    let at_n1 = |view: &&View| view.source == Source::Database && &*view.node == "n1";
    let gone = run
        .views
        .iter()
        .filter(at_n1)
        .filter(|view| view.start_ns > removed)
        .find(|view| {
            view.members()
                .is_some_and(|members| !members.iter().any(|member| is(member, 7)))
        });
    let Some(gone_ns) = gone.map(|view| view.end_ns) else {
        return false;
    };
    let back = run.views.iter().filter(at_n1).rfind(|view| {
        moving(view) && view.start_ns > gone_ns + 20 * MS && view.members().is_some()
    });
    let Some((start, sample)) = back.map(|view| (view.start_ns, view.sample)) else {
        return false;
    };
    gain(run, 7, start, MemberState::Active, |view| {
        view.sample == sample && view.source == Source::Database && &*view.node == "n1"
    })
}

fn back_for_good(run: &mut Run) -> bool {
    next_index(run);
    let from = run.final_ns;
    gain(run, 7, from, MemberState::Active, |_| true)
}

fn two_leaders(run: &mut Run) -> bool {
    let view = run
        .views
        .iter_mut()
        .rfind(|view| &*view.node == "n2" && view.label.as_deref() == Some("disk"));
    let raft = view.and_then(|view| view.raft.as_mut()).unwrap();
    raft.leader = raft.leader.map(|leader| leader + 1);
    true
}

fn two_changes(run: &mut Run) -> bool {
    let mut at: BTreeMap<u64, (Option<u64>, Vec<Member>)> = BTreeMap::new();
    for view in run.views.iter().filter(|view| &*view.node == "n1") {
        if let (Some(raft), Some(members)) = (view.raft, view.members()) {
            at.insert(raft.index.unwrap(), (raft.previous_index, members.to_vec()));
        }
    }
    let far = at.iter().find_map(|(index, (previous, members))| {
        let before = at.get(&(*previous)?)?.0?;
        let old = &at.get(&before)?.1;
        let differ = |one: &[Member], other: &[Member]| {
            one.iter().filter(|member| !other.contains(member)).count()
        };
        let who = |list: &[Member]| list.iter().map(|member| member.raft_id).collect::<Vec<_>>();
        let gone = who(old)
            .iter()
            .filter(|id| !who(members).contains(id))
            .count();
        (differ(members, old) + gone > 1).then_some((*index, before))
    });
    let Some((index, before)) = far else {
        return false;
    };
    for view in run.views.iter_mut().filter(|view| &*view.node == "n1") {
        if let Some(raft) = view.raft.as_mut().filter(|raft| raft.index == Some(index)) {
            raft.previous_index = Some(before);
        }
    }
    true
}

fn two_configurations(run: &mut Run) -> bool {
    let moving = moving(run);
    let mut seen = Vec::new();
    for view in &mut run.views {
        let Some(index) = view
            .raft
            .and_then(|raft| raft.index)
            .filter(|_| &*view.node == "n2")
        else {
            continue;
        };
        let again = seen.contains(&index) && view.label.as_deref() == Some("disk") && moving(view);
        seen.push(index);
        if !again {
            continue;
        }
        if let Reading::Members(members) = &mut view.reading {
            let spare = members
                .iter_mut()
                .find(|member| member.role == Some(Role::Spare));
            if let Some(spare) = spare {
                spare.role = Some(Role::StandBy);
                return true;
            }
        }
    }
    false
}

fn most_down(run: &mut Run) -> bool {
    let fault = &mut run.faults[0];
    fault.nodes = (1..=3).map(name).collect();
    let down = fault.observed_ns.unwrap()..fault.heal_asked_ns.unwrap();
    // Who does not run does not answer.
    for view in &mut run.views {
        let is_down =
            (1..=3).any(|node| *view.node == *name(node)) && down.contains(&view.start_ns);
        if is_down && view.label.as_deref() == Some("socket") {
            view.reading = Reading::Unread {
                kind: UnreadKind::Stopped,
                message: "no process".to_owned(),
            };
        }
    }
    true
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

fn list_forgets(run: &mut Run) -> bool {
    let list = run
        .events
        .iter_mut()
        .rfind(|event| &*event.f == "list" && event.event_type == EventType::Ok)
        .unwrap();
    list.value
        .as_array_mut()
        .unwrap()
        .retain(|member| member != "n1");
    true
}

fn token_twice(run: &mut Run) -> bool {
    for event in &mut run.events {
        if matches!(event.value["member"].as_str(), Some("n8" | "n11"))
            && event.value.get("token").is_some()
        {
            event.value["token"] = json!("t0");
        }
    }
    true
}

fn removed_writes(run: &mut Run) -> bool {
    let probe = run
        .events
        .iter_mut()
        .find(|event| &*event.f == "removed-probe" && event.event_type == EventType::Ok)
        .unwrap();
    probe.value["in"] = json!(true);
    true
}

fn no_write(run: &mut Run) -> bool {
    end_otherwise(run, EventType::Fail, "no-leader", |event| {
        &*event.f == "availability" && event.node.as_deref() == Some("n1")
    })
}

fn not_restored(run: &mut Run) -> bool {
    let recover_ns = run.meta.phases[0].start_ns as u64;
    end_otherwise(run, EventType::Fail, "no-leader", |event| {
        &*event.f == "availability" && event.time_ns < recover_ns
    })
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

fn canary_refused(run: &mut Run) -> bool {
    erase(run, 11);
    run.events.retain(|event| &*event.f != "canary-remove");
    end_otherwise(run, EventType::Fail, "refused", |event| {
        &*event.f == "canary-join"
    })
}

fn burnt_name(run: &mut Run) -> bool {
    erase(run, 10);
    end_otherwise(run, EventType::Fail, "refused", |event| {
        event.f.starts_with("retry-") && event.value["member"] == "n10"
    })
}

/// n10 is left in some sources from its join on until it is joined anew, wiped, after a removal that did not find it.
fn not_found(run: &mut Run, which: impl Fn(&View) -> bool) -> bool {
    let of = |event: &&Event, f: &str| &*event.f == f && event.value["member"] == "n10";
    let begin = |f| {
        let mut all = run.events.iter();
        all.find(|event| of(event, f)).map(|event| event.time_ns)
    };
    let refused = run.events.iter().any(|event| {
        let error = event.error.as_ref();
        of(&event, "retry-remove") && error.is_some_and(|error| error.kind == "not-found")
    });
    let joined_unwiped = run
        .events
        .iter()
        .any(|event| of(&event, "retry-unwiped") && event.event_type == EventType::Ok);
    let (Some(until), true, false) = (begin("retry-join"), refused, joined_unwiped) else {
        return false;
    };
    let from = began(run, 10);
    gain(run, 10, from, MemberState::Pending, |view| {
        view.start_ns < until && which(view)
    })
}

fn half_joined_not_found(run: &mut Run) -> bool {
    not_found(run, |view| {
        matches!(view.source, Source::Database | Source::Truststore)
    })
}

fn certificate_not_found(run: &mut Run) -> bool {
    not_found(run, |view| view.source == Source::Truststore)
}

fn refused_unwiped(run: &mut Run) -> bool {
    let mut any = false;
    for event in &mut run.events {
        if &*event.f == "retry-unwiped"
            && event.value["member"] == "n10"
            && let Some(error) = &mut event.error
        {
            error.kind = "answered-error".to_owned();
            any = true;
        }
    }
    any
}

fn list_hangs(run: &mut Run) -> bool {
    let last = run
        .events
        .iter()
        .rfind(|event| &*event.f == "list")
        .unwrap()
        .time_ns;
    end_otherwise(run, EventType::Info, "timeout", |event| {
        &*event.f == "list" && event.time_ns == last
    })
}
