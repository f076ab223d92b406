//! What is broken in what the places show.

use super::*;

pub(super) fn joined_row_gone(run: &mut Run) -> bool {
    lose(run, 8, |view| view.source == Source::Database)
}

pub(super) fn joined_gone(run: &mut Run) -> bool {
    lose(run, 8, |_| true)
}

pub(super) fn certificate_gone(run: &mut Run) -> bool {
    lose(run, 1, |view| {
        view.source == Source::Truststore && &*view.node == "n2"
    })
}

pub(super) fn raft_gone_on_one(run: &mut Run) -> bool {
    // Its socket only: a data folder would need a new index.
    lose(run, 4, |view| {
        view.label.as_deref() == Some("socket") && &*view.node == "n2"
    })
}

pub(super) fn member_gone(run: &mut Run) -> bool {
    next_index(run);
    lose(run, 4, |_| true)
}

pub(super) fn removed_certificate(run: &mut Run) -> bool {
    let from = began(run, 7);
    gain(run, 7, from, MemberState::Active, |view| {
        view.source == Source::Truststore
    })
}

pub(super) fn removed_in_cache(run: &mut Run) -> bool {
    let from = began(run, 7);
    gain(run, 7, from, MemberState::Active, |view| {
        view.label.as_deref() == Some("list") && &*view.node == "n1"
    })
}

pub(super) fn removed_in_raft(run: &mut Run) -> bool {
    let from = began(run, 7);
    gain(run, 7, from, MemberState::Active, |view| {
        view.label.as_deref() == Some("socket")
    })
}

pub(super) fn stranger(run: &mut Run) -> bool {
    next_index(run);
    let from = run.final_ns;
    // None of the lab's twelve.
    gain(run, 77, from, MemberState::Active, |view| {
        view.source == Source::Raft
    })
}

pub(super) fn refused_join_certificate(run: &mut Run) -> bool {
    let from = began(run, 9);
    gain(run, 9, from, MemberState::Active, |view| {
        view.source == Source::Truststore
    })
}

pub(super) fn refused_remove_row(run: &mut Run) -> bool {
    lose(run, 6, |view| view.source == Source::Database)
}

pub(super) fn half_join(run: &mut Run) -> bool {
    let from = run.final_ns;
    gain(run, 10, from, MemberState::Active, |view| {
        matches!(view.source, Source::Database | Source::Truststore)
    })
}

pub(super) fn half_join_in_cache(run: &mut Run) -> bool {
    let from = run.final_ns;
    gain(run, 10, from, MemberState::Active, |view| {
        view.source == Source::Cache && &*view.node == "n3"
    })
}

pub(super) fn half_remove(run: &mut Run) -> bool {
    lose(run, 5, |view| view.source == Source::Truststore)
}

pub(super) fn stays_pending(run: &mut Run) -> bool {
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

pub(super) fn other_role(run: &mut Run) -> bool {
    set_role(run, 4, Role::Spare, |view| {
        view.label.as_deref() == Some("socket") && &*view.node == "n2"
    })
}

pub(super) fn too_few_voters(run: &mut Run) -> bool {
    next_index(run);
    set_role(run, 3, Role::StandBy, |_| true)
}

pub(super) fn too_many_voters(run: &mut Run) -> bool {
    next_index(run);
    set_role(run, 4, Role::Voter, |_| true)
}

pub(super) fn swapped_certificates(run: &mut Run) -> bool {
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

pub(super) fn other_raft_id(run: &mut Run) -> bool {
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

pub(super) fn id_twice(run: &mut Run) -> bool {
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

pub(super) fn back_for_a_moment(run: &mut Run) -> bool {
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

pub(super) fn back_for_good(run: &mut Run) -> bool {
    next_index(run);
    let from = run.final_ns;
    gain(run, 7, from, MemberState::Active, |_| true)
}

pub(super) fn two_leaders(run: &mut Run) -> bool {
    let view = run
        .views
        .iter_mut()
        .rfind(|view| &*view.node == "n2" && view.label.as_deref() == Some("disk"));
    let raft = view.and_then(|view| view.raft.as_mut()).unwrap();
    raft.leader = raft.leader.map(|leader| leader + 1);
    true
}

pub(super) fn two_changes(run: &mut Run) -> bool {
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

pub(super) fn two_configurations(run: &mut Run) -> bool {
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

pub(super) fn most_down(run: &mut Run) -> bool {
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
