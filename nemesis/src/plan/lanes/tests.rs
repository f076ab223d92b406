//! Files of lanes, read and planned.

use super::*;

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
const FILE: &str = r#"
# Two of four.
lanes:
  - name: cut
    fault: partition
    target: leader
    start: 10s..15s
    duration: 20s
    interval: 10s
    count: 2
  - fault: kill
    name: death
    target: other
    start: {with: cut, when: asked, after: 2s}
    end: {with: cut, when: healed, after: 0s..1s}
  - fault: pause
    target: subject
    trigger: log="a, b"
"#;

fn plan(seed: u64, text: &str) -> Plan {
    schedule_lanes(Seed(seed), &parse_lanes(text).unwrap(), &NODES, 120_000).unwrap()
}

fn of_lane(plan: &Plan, lane: u32) -> Vec<&PlannedFault> {
    let faults = plan.faults.iter();
    faults.filter(|fault| fault.lane == lane).collect()
}

#[test]
fn lanes_are_read_and_planned() {
    let plan = plan(7, FILE);
    let cut = of_lane(&plan, 0);
    assert_eq!(cut.len(), 2);
    assert!((10_000..=15_000).contains(&cut[0].inject_ms));
    assert_eq!(cut[0].heal_ms - cut[0].inject_ms, 20_000);
    assert_eq!(cut[1].inject_ms - cut[0].heal_ms, 10_000);
    let death = of_lane(&plan, 1);
    let Some(meta::Trigger::Fault(step)) = &death[0].trigger else {
        panic!("{death:?}")
    };
    assert_eq!(
        (step.lane, step.name.as_str(), step.step, step.delay_ms),
        (0, "cut", FaultMoment::Asked, 2_000)
    );
    let until = death[0].until.as_ref().unwrap();
    assert!(until.delay_ms <= 1_000 && until.step == FaultMoment::Healed);
    assert_eq!((death[0].target.as_str(), death[0].inject_ms), ("other", 0));
    let pause = of_lane(&plan, 2);
    let shown = pause[0].trigger.as_ref().unwrap().to_string();
    assert_eq!(shown, "a line of the log that matches \"a, b\"");
    assert!(
        plan.faults
            .iter()
            .zip(1..)
            .all(|(fault, id)| fault.id == id)
    );
}

#[test]
fn a_lane_is_not_shifted_by_others_nor_by_its_place() {
    let mut alone = String::from("lanes:\n");
    alone.extend(FILE.lines().skip(3).take(7).flat_map(|line| [line, "\n"]));
    let moved = format!(
        "{}\n{}",
        "lanes:\n  - fault: stop\n    name: before",
        &alone[7..]
    );
    let (all, alone, moved) = (plan(7, FILE), plan(7, &alone), plan(7, &moved));
    let drawn = |plan: &Plan, lane| {
        let faults = of_lane(plan, lane).into_iter();
        let drawn = faults.map(|fault| (fault.inject_ms, fault.heal_ms, fault.order.clone()));
        drawn.collect::<Vec<_>>()
    };
    assert_eq!(drawn(&all, 0), drawn(&alone, 0));
    assert_eq!(drawn(&all, 0), drawn(&moved, 1));
    assert_ne!(drawn(&all, 0), drawn(&plan(8, FILE), 0));
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_field() {
    let one = |field: &str| format!("lanes:\n  - fault: kill\n    name: a\n    {field}\n");
    for (text, fragments) in [
        (one("target: leadr|n2"), &["line 4", "lane a: target", "only a partition"][..]),
        (one("durration: 3s"), &["line ", "durration"]),
        (one("duration: 3"), &["line 4", "lane a: duration", "no unit"]),
        (one("duration: 1ms"), &["line 4", "cannot be observed"]),
        (one("start: {with: b}"), &["line 4", "start", "no lane is called", "there are a"]),
        (one("start: {with: a}"), &["cannot wait for itself"]),
        (one("start: [1]"), &["line ", "10s..15s"]),
        (one("trigger: logs=x"), &["line 4", "lane a: trigger", "did you mean \"log\"?"]),
        (one("trigger: at=3s"), &["stands in start"]),
        (one("count: 0"), &["line 4", "leave the lane out"]),
        (one("target: subject"), &["line 4", "waits for none"]),
        ("lanes:\n  - fault: kil\n".to_owned(), &["line 2", "did you mean \"kill\"?"]),
        ("lanes:\n  - fault: kill:n1\n".to_owned(), &["fields of their own"]),
        ("lanes: []\n".to_owned(), &["write 1 to"]),
        ("lane: 3\n".to_owned(), &["lane"]),
        (
            "lanes:\n  - {name: a, fault: kill}\n  - {name: a, fault: stop}\n".to_owned(),
            &["line 3", "two lanes a"],
        ),
        (
            "lanes:\n- {name: a, fault: kill, start: {with: b}}\n- {name: b, fault: stop, start: {with: a}}\n".to_owned(),
            &["line 2", "begin with each other"],
        ),
        (
            "lanes:\n- {name: a, fault: kill}\n- {name: b, fault: stop, start: {with: a}, trigger: join}\n".to_owned(),
            &["line 3", "choose one of both"],
        ),
        (
            "lanes:\n- {name: a, fault: kill}\n- {name: b, fault: stop, end: {with: a, when: gone}}\n".to_owned(),
            &["line 3", "asked, observed or healed"],
        ),
    ] {
        let message = parse_lanes(&text).unwrap_err().to_string();
        for fragment in fragments {
            assert!(message.contains(fragment), "{text}\n{message}");
        }
    }
}

#[test]
fn what_does_not_fit_the_run_is_refused() {
    let text = "lanes:\n  - fault: kill\n    name: a\n    target: n9\n";
    let refused = |text: &str| {
        let lanes = parse_lanes(text).unwrap();
        let error = schedule_lanes(Seed(1), &lanes, &NODES, 60_000).unwrap_err();
        error.to_string()
    };
    assert!(
        refused(text).contains("line 2: lane a: target"),
        "{}",
        refused(text)
    );
    let late = refused("lanes:\n  - fault: kill\n    start: 58s\n");
    assert!(late.contains("raise --time-limit"), "{late}");
    let watched = refused("lanes:\n  - fault: kill\n    trigger: view=raft:n8:voter\n");
    assert!(watched.contains("waits for \"n8\""), "{watched}");
}

#[test]
fn another_fault_says_whom_it_strikes() {
    let text = "lanes:\n- {name: a, fault: partition, target: one}\n- {fault: kill, target: subject, start: {with: a}}\n";
    let lanes = parse_lanes(text).unwrap();
    assert_eq!(lanes[1].lane.to_string(), "kill:subject");
    assert_eq!(lanes[1].name, "kill-2");
}
