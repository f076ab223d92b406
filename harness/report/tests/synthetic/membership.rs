//! Synthetic runs of membership on an LXD that never was.

use harness_core::{
    event::EventType,
    view::{Role, Source},
};
use serde_json::json;

use super::{
    MS, Run, S, fault,
    world::{EVER, World},
};

/// Five nodes: n4 is killed while it joins, and stays half a member; its name is burnt. n5 is the canary.
pub fn killed_joiner() -> Run {
    let mut world = World::new(5, 120);
    world.canary_rows();
    world.led.push((63 * S, 3, 3));
    world.faults = vec![
        fault(
            1,
            "kill@function",
            "kill n4 at cluster.Join",
            &["n4"],
            (41.1, 46.0),
            &[(
                "n4",
                "process 812 gone after SIGKILL at github.com/lxc/lxd/lxd/cluster.Join",
            )],
        ),
        fault(
            2,
            "partition",
            "partition leader: n1 | n2 n3",
            &["n1"],
            (62.0, 70.0),
            &[("n1", "19 packets dropped")],
        ),
    ];
    let joiner = &mut world.lives[3];
    joiner.trusted.push((41_050 * MS, EVER));
    joiner.database.push((41_180 * MS, EVER));
    joiner.pending.push((41_180 * MS, EVER));
    joiner.stopped = vec![(41_280 * MS, 46 * S)];
    let value = json!({"member": "n4", "token": "77aa"});
    world.operation(
        (40_900 * MS, 70_900 * MS),
        "join",
        value,
        EventType::Info,
        Some(("timeout", "no answer in 30 s")),
    );
    let value = json!({"member": "n4", "token": "81cd"});
    world.operation(
        (113_700 * MS, 114_000 * MS),
        "retry-join",
        value,
        EventType::Fail,
        Some((
            "refused",
            "A cluster member already exists with this name: n4",
        )),
    );
    let value = json!({"member": "n4", "force": true});
    world.operation(
        (114_400 * MS, 114_700 * MS),
        "retry-remove",
        value,
        EventType::Fail,
        Some(("refused", "Cluster member not found")),
    );
    world.probes(4);
    world.done(&["kill@function", "partition"])
}

/// Twelve nodes: eight join one after the other, then leave in another order; nothing breaks.
pub fn joins_and_removes() -> Run {
    let mut world = World::new(12, 160);
    world.settle_ms = 6_000;
    world.canary_rows();
    for number in 3..11 {
        let at = (5 + (number as u64 - 3) * 5) * S;
        let role = if number < 5 {
            Role::StandBy
        } else {
            Role::Spare
        };
        world.join(number, at, &[(at + 700 * MS, role)]);
    }
    for (place, number) in [10, 4, 9, 5, 8, 3, 7, 6].into_iter().enumerate() {
        world.remove(number, (60 + place as u64 * 6) * S);
    }
    world.probes(11);
    world.done(&["none"])
}

/// Five nodes: the database of n3 cannot be read from 50 s on, and n2 is killed, started,
/// and stops by itself.
pub fn unread() -> Run {
    let mut world = World::new(6, 120);
    world.canary_rows();
    let roles = [(10_700 * MS, Role::StandBy), (90 * S, Role::Voter)];
    world.join(3, 10 * S, &roles);
    world.join(4, 20 * S, &[(20_700 * MS, Role::StandBy)]);
    world.lives[2].unread = vec![
        ((50 * S, EVER), Source::Database),
        ((30 * S, 34 * S), Source::Raft),
    ];
    world.lives[1].runs = vec![(0, 80 * S), (84 * S, 90 * S)];
    world.lives[1].stopped = vec![(80 * S, 84 * S), (90 * S, EVER)];
    world.lives[1].raft = vec![((0, 91 * S), Role::Voter), ((91 * S, EVER), Role::Spare)];
    let seen = [("n2", "process 700 gone after SIGKILL")];
    world.faults = vec![fault(1, "kill", "kill n2", &["n2"], (79.6, 84.0), &seen)];
    world.led.push((81 * S, 3, 3));
    world.probes(5);
    world.done(&["kill"])
}

/// Twelve nodes for ten minutes, read so often that there are some 40,000 readings; members come and go all the time, and one node is read badly.
pub fn long() -> Run {
    let mut world = World::new(12, 600);
    world.interval_ns = 600 * MS;
    world.canary_rows();
    for number in 3..11 {
        let mut at = (6 + (number as u64 - 3) * 9) * S;
        while at + 64 * S < 565 * S {
            world.join(
                number,
                at,
                &[(at + 700 * MS, Role::StandBy), (at + 20 * S, Role::Spare)],
            );
            world.remove(number, at + 60 * S);
            at += 72 * S;
        }
    }
    world.lives[1].unread = (0..300)
        .map(|second| ((second * 2 * S, (second * 2 + 1) * S), Source::Raft))
        .collect();
    world.faults = (0..8)
        .map(|number| {
            let from = 30.0 + 65.0 * f64::from(number);
            let node = format!("n{}", number % 3 + 1);
            fault(
                number + 1,
                "pause",
                &format!("pause {node}"),
                &[&node],
                (from, from + 8.0),
                &[(&node, "process 611 in state T")],
            )
        })
        .collect();
    world.probes(11);
    world.done(&["pause"])
}
