//! Synthetic runs for tests and for the demonstration: made from a little generator of numbers, so that they are the
//! same everywhere. Nothing here ran anywhere; what is shown to people says SIMULATION.

use std::{collections::BTreeMap, sync::Arc};

use harness_core::{
    event::{Event, EventType, OpError, Process},
    fault::{Evidence, FaultRecord},
    history::{self, History},
    meta::{Meta, NodeMeta, Phase, Plan, PlannedFault, ProcessExit},
    verdict::{CheckResult, Edge, LogText, Note, Severity, Verdict, VerdictFile, Witness},
    view::View,
};
use harness_report::{ReportInput, RunFile};
use serde_json::{Value, json};

pub mod membership;
mod world;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
/// 2026-11-22 04:14:11 UTC.
const STARTED_WALL_NS: u64 = 1_795_320_851 * S;
const PROCESSES: u64 = 10;

/// A run that owns what [`ReportInput`] borrows.
pub struct Run {
    pub meta: Meta,
    pub plan: Plan,
    pub faults: Vec<FaultRecord>,
    pub history: History,
    pub views: Vec<View>,
    pub verdict: VerdictFile,
    pub logs: Vec<(String, String, Vec<u8>)>,
}

impl Run {
    /// Passes the run on as what the report takes.
    pub fn with<T>(&self, take: impl FnOnce(&ReportInput<'_>) -> T) -> T {
        let logs: Vec<LogText<'_>> = self
            .logs
            .iter()
            .map(|(node, path, bytes)| LogText { node, path, bytes })
            .collect();
        let files = [
            RunFile {
                path: "meta.json",
                size_bytes: 4_812,
            },
            RunFile {
                path: "history.jsonl",
                size_bytes: 1_912_004,
            },
            RunFile {
                path: "ledger.jsonl",
                size_bytes: 6_120,
            },
            RunFile {
                path: "verdict.json",
                size_bytes: 9_001,
            },
        ];
        take(&ReportInput {
            meta: &self.meta,
            plan: &self.plan,
            faults: &self.faults,
            history: &self.history,
            views: &self.views,
            verdict: &self.verdict,
            logs: &logs,
            folder: "results/runs/latest",
            files: &files,
        })
    }
}

/// A little generator of numbers (Knuth's 64-bit multiplier), good enough to look natural.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

struct Raw {
    event: Event,
    tag: &'static str,
}

/// A load on a register: `rate` operations a second from ten processes, slower and failing while faults hold.
struct Load {
    dice: Dice,
    raw: Vec<Raw>,
    next_process: u64,
}

fn node_of(process: u64) -> Arc<str> {
    ["n1", "n2", "n3", "n4", "n5"][(process % 5) as usize].into()
}

impl Load {
    fn new() -> Self {
        Self {
            dice: Dice(0x005e_ed42),
            raw: Vec::new(),
            next_process: PROCESSES,
        }
    }

    fn push(
        &mut self,
        time_ns: u64,
        process: u64,
        kind: EventType,
        f: &str,
        value: Value,
        tag: &'static str,
    ) {
        self.raw.push(Raw {
            event: Event {
                index: 0,
                time_ns,
                process: Process::Client(process),
                node: Some(node_of(process)),
                event_type: kind,
                f: f.into(),
                value,
                error: None,
            },
            tag,
        });
    }

    fn error(&mut self, kind: &str, message: &str) {
        if let Some(last) = self.raw.last_mut() {
            last.event.error = Some(OpError {
                kind: kind.to_owned(),
                message: message.to_owned(),
            });
        }
    }

    /// One process from a time on; `hard` says how likely trouble is then.
    fn process(&mut self, slot: u64, end_ns: u64, step_ns: u64, hard: impl Fn(u64) -> f64) {
        let mut process = slot;
        let mut now = (self.dice.roll() * step_ns as f64) as u64;
        let mut value = slot;
        while now < end_ns {
            let trouble = hard(now);
            let f = ["read", "read", "write", "cas"][(self.dice.roll() * 4.0) as usize];
            let key = (self.dice.roll() * 6.0) as u64;
            value = (value * 7 + 3) % 50;
            let base = 1.2 * (1.0 + trouble * 6.0) * (-self.dice.roll().max(1e-9).ln()).max(0.15);
            let stutter = if self.dice.roll() < 0.004 { 18.0 } else { 1.0 };
            let latency = (base * stutter * MS as f64 * if f == "read" { 0.5 } else { 1.0 }) as u64;
            let (input, output) = match f {
                "read" => (json!([key, null]), json!([key, value])),
                "write" => (json!([key, value]), json!([key, value])),
                _ => (
                    json!([key, [value, value + 1]]),
                    json!([key, [value, value + 1]]),
                ),
            };
            self.push(now, process, EventType::Invoke, f, input.clone(), "");
            let luck = self.dice.roll();
            let ended = now + latency;
            if luck < trouble * 0.035 {
                self.push(now + 2 * S, process, EventType::Info, f, input, "");
                self.error("timeout", "no answer within 2 s");
                process = self.next_process;
                self.next_process += 5;
                now += 2 * S;
            } else if luck < trouble * 0.3 || (f == "cas" && luck > 0.985) {
                let (kind, message) = if f == "cas" && trouble == 0.0 {
                    ("mismatch", "the value was another")
                } else {
                    ("not-leader", "the node answered that it is not the leader")
                };
                self.push(ended, process, EventType::Fail, f, input, "");
                self.error(kind, message);
                now = ended + 40 * MS;
            } else {
                self.push(ended, process, EventType::Ok, f, output, "");
                now = ended;
            }
            now += (step_ns as f64 * (0.3 + 1.4 * self.dice.roll())) as u64;
        }
    }

    fn done(mut self) -> (History, BTreeMap<&'static str, u64>) {
        self.raw.sort_by_key(|raw| raw.event.time_ns);
        let mut tags = BTreeMap::new();
        for (index, raw) in self.raw.iter_mut().enumerate() {
            raw.event.index = index as u64;
            if !raw.tag.is_empty() && raw.event.event_type == EventType::Invoke {
                tags.insert(raw.tag, index as u64);
            }
        }
        let history =
            history::pair(self.raw.into_iter().map(|raw| raw.event)).expect("it pairs up");
        (history, tags)
    }
}

fn meta(workload: &str, nemesis: &[&str], seconds: u64) -> Meta {
    let span = |name: &str, from: f64, to: f64| Phase {
        name: name.to_owned(),
        start_ns: (from * S as f64) as i64,
        end_ns: Some((to * S as f64) as i64),
    };
    let end = seconds as f64;
    let nodes = (1..=5_u32)
        .map(|number| NodeMeta {
            name: format!("n{number}"),
            address: format!("10.77.0.{number}"),
            versions: BTreeMap::from([
                ("dqlite-demo".to_owned(), "1.11.5-1".to_owned()),
                ("libdqlite0".to_owned(), "1.11.1-1".to_owned()),
            ]),
            kernel: "6.1.0-41-amd64".to_owned(),
            clock_offset_ns: Some(i64::from(number) * 41_000 - 100_000),
            clock_bound_ns: Some(62_000 + u64::from(number) * 1_000),
            exits: Vec::new(),
            core_dumps: Vec::new(),
            cores_visible: Some(true),
            cores_reason: String::new(),
        })
        .collect();
    Meta {
        format_version: 1,
        id: "20261122T041411Z-7f3a".to_owned(),
        harness_version: "0.1.0".to_owned(),
        git_commit: Some("cbc5bdb".to_owned()),
        system: "dqlite".to_owned(),
        system_versions: BTreeMap::from([
            ("dqlite-demo".to_owned(), "1.11.5-1".to_owned()),
            ("libdqlite0".to_owned(), "1.11.1-1".to_owned()),
        ]),
        workload: workload.to_owned(),
        nemesis: nemesis.iter().map(|name| (*name).to_owned()).collect(),
        provider: "lxc".to_owned(),
        suite: "bookworm".to_owned(),
        image_hash: "sha256:4be1".to_owned(),
        nodes,
        seed: 0x005e_ed42,
        time_limit_s: end,
        started_wall_ns: STARTED_WALL_NS,
        phases: vec![
            span("form", -4.2, 0.0),
            span("load", 0.0, end),
            span("heal", end, end + 0.4),
            span("recover", end + 0.4, end + 2.1),
            span("final-reads", end + 2.1, end + 3.0),
            span("collect", end + 3.0, end + 4.4),
            span("check", end + 4.4, end + 6.0),
        ],
        config: json!({"lab": {"provider": "lxc", "nodes": 5}, "run": {"workload": workload, "rate": 140, "concurrency": PROCESSES}}),
        workload_options: json!({"keys": 6}),
        command_line: vec![
            "harness".to_owned(),
            "run".to_owned(),
            "--nemesis".to_owned(),
            nemesis.join(","),
        ],
        repeat: [
            "run",
            "--workload",
            workload,
            "--nemesis",
            &nemesis.join(","),
            "--time-limit",
            "60",
            "--seed",
            "0x5eed42",
        ]
        .map(str::to_owned)
        .to_vec(),
        environment: BTreeMap::from([
            ("kernel".to_owned(), "6.1.0-41-amd64".to_owned()),
            ("processors".to_owned(), "2".to_owned()),
            ("memory".to_owned(), "8.00 GB".to_owned()),
        ]),
        ..Meta::default()
    }
}

fn fault(
    id: u32,
    kind: &str,
    label: &str,
    nodes: &[&str],
    (from_s, to_s): (f64, f64),
    seen: &[(&str, &str)],
) -> FaultRecord {
    let ns = |seconds: f64| (seconds * S as f64) as u64;
    FaultRecord {
        id,
        kind: kind.to_owned(),
        label: label.to_owned(),
        nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
        planned: Some(id),
        heals: Vec::new(),
        triggered: None,
        intended_ns: ns(from_s) - 6 * MS,
        asked_ns: Some(ns(from_s)),
        observed_ns: Some(ns(from_s) + 184 * MS),
        heal_asked_ns: Some(ns(to_s)),
        healed_ns: Some(ns(to_s) + 92 * MS),
        self_healed: false,
        evidence: seen
            .iter()
            .map(|(node, text)| Evidence {
                node: (*node).to_owned(),
                text: (*text).to_owned(),
            })
            .collect(),
        problems: Vec::new(),
    }
}

fn plan_of(faults: &[FaultRecord]) -> Plan {
    Plan {
        format_version: 1,
        seed: 0x005e_ed42,
        faults: faults
            .iter()
            .map(|fault| PlannedFault {
                trigger: None,
                until: None,
                options: std::collections::BTreeMap::new(),
                id: fault.id,
                lane: 0,
                kind: fault.kind.clone(),
                target: "leader".to_owned(),
                inject_ms: fault.asked_ns.unwrap_or_default() / MS,
                heal_ms: fault.healed_ns.unwrap_or_default() / MS,
                order: vec![0, 1, 2, 3, 4],
            })
            .collect(),
    }
}

fn trouble(faults: &[FaultRecord], now: u64) -> f64 {
    let during = |fault: &FaultRecord| {
        fault.observed_ns.is_some_and(|from| from <= now)
            && fault.healed_ns.is_none_or(|to| now <= to)
    };
    if faults.iter().any(during) { 1.0 } else { 0.0 }
}

fn result(name: &str, verdict: Verdict, summary: &str, looked_at: u64, ms: f64) -> CheckResult {
    let mut result = CheckResult::new(name, verdict, summary);
    result.looked_at = looked_at;
    result.duration_ms = ms;
    result
}

fn file(results: Vec<CheckResult>) -> VerdictFile {
    VerdictFile {
        format_version: 1,
        verdict: Verdict::merge(results.iter().map(|result| result.verdict)),
        results,
    }
}

/// Sixty seconds of `bank` under partitions, all in order.
pub fn valid() -> Run {
    let faults = vec![
        fault(
            1,
            "partition",
            "partition leader: n2 | n1 n3 n4 n5",
            &["n2"],
            (10.0, 20.0),
            &[
                ("n2", "7 packets dropped"),
                ("n2", "no connection from n1, n3, n4, n5"),
            ],
        ),
        fault(
            2,
            "partition",
            "partition halves: n1 n4 | n2 n3 n5",
            &["n1", "n4"],
            (30.0, 40.0),
            &[("n1", "41 packets dropped")],
        ),
        fault(
            3,
            "partition",
            "partition one: n5 | n1 n2 n3 n4",
            &["n5"],
            (50.0, 60.0),
            &[("n5", "12 packets dropped")],
        ),
    ];
    let mut load = Load::new();
    for slot in 0..PROCESSES {
        load.process(slot, 60 * S, 70 * MS, |now| trouble(&faults, now) * 0.4);
    }
    let (history, _) = load.done();
    let looked = history.operations.len() as u64;
    let mut availability = result(
        "availability",
        Verdict::Valid,
        "5 of 5 nodes accepted a write, the last after 1.52 s",
        5,
        3.0,
    );
    availability.figures = BTreeMap::from([
        ("recovery_max_ms".to_owned(), json!(1520.0)),
        ("recovered_count".to_owned(), json!(5)),
    ]);
    let mut linear = result(
        "linearizable",
        Verdict::Valid,
        "6 of 6 keys linearizable",
        looked,
        412.0,
    );
    linear.memory_bytes = Some(18_400_000);
    Run {
        meta: meta("register", &["partition"], 60),
        plan: plan_of(&faults),
        faults,
        history,
        views: Vec::new(),
        verdict: file(vec![
            linear,
            availability,
            result(
                "stats",
                Verdict::Valid,
                "every kind of operation ended ok",
                looked,
                2.0,
            ),
            result(
                "log-patterns",
                Verdict::Valid,
                "no assertion, panic or sanitizer report in 18,204 lines",
                18_204,
                31.0,
            ),
            result(
                "core-dumps",
                Verdict::NotApplicable,
                "no process ended by a signal",
                0,
                0.0,
            ),
        ]),
        logs: Vec::new(),
    }
}

/// What the demonstration shows: a stale read during a partition, an unexpected abort, an undecided checker.
pub fn rich() -> Run {
    let mut faults = vec![
        fault(
            1,
            "partition",
            "partition leader: n2 | n1 n3 n4 n5",
            &["n2"],
            (10.0, 20.0),
            &[
                ("n2", "7 packets dropped"),
                ("n2", "no connection from n1, n3, n4, n5"),
            ],
        ),
        fault(
            2,
            "kill",
            "kill one: n3",
            &["n3"],
            (27.0, 33.0),
            &[
                ("n3", "process 812 gone after SIGKILL"),
                ("n3", "process 907 runs and answers"),
            ],
        ),
        fault(
            3,
            "pause",
            "pause minority: n1 n4",
            &["n1", "n4"],
            (38.0, 46.0),
            &[
                ("n1", "process 611 in state T"),
                ("n4", "process 604 in state T"),
            ],
        ),
        fault(
            4,
            "partition",
            "partition halves: n1 n4 | n2 n3 n5",
            &["n1", "n4"],
            (44.0, 54.0),
            &[("n1", "41 packets dropped")],
        ),
        fault(5, "kill", "kill leader: n5", &["n5"], (57.0, 59.0), &[]),
    ];
    faults[4].observed_ns = None;
    faults[4].problems =
        vec!["process 655 still answered 2.00 s after SIGKILL was asked for".to_owned()];
    let mut load = Load::new();
    for slot in 0..PROCESSES {
        load.process(slot, 60 * S, 70 * MS, |now| trouble(&faults, now));
    }
    stale_read(&mut load);
    let (history, tags) = load.done();
    let looked = history.operations.len() as u64;
    let mut meta = meta("register", &["partition", "kill", "pause"], 60);
    meta.simulated = true;
    meta.nodes[2].exits = vec![
        ProcessExit {
            pid: 812,
            code: None,
            signal: Some(9),
            core: false,
            wall_ns: STARTED_WALL_NS + 27_120 * MS,
            expected: true,
        },
        ProcessExit {
            pid: 907,
            code: None,
            signal: Some(6),
            core: true,
            wall_ns: STARTED_WALL_NS + 34_410 * MS,
            expected: false,
        },
    ];
    meta.nodes[2].core_dumps = vec!["logs/n3/core.dqlite-demo.907".to_owned()];
    meta.nodes[4].cores_visible = Some(false);
    meta.nodes[4].cores_reason =
        "core_pattern pipes into a program that the node does not have".to_owned();
    Run {
        meta,
        plan: plan_of(&faults),
        faults,
        verdict: file(rich_results(looked, &tags)),
        history,
        views: Vec::new(),
        logs: rich_logs(),
    }
}

/// Two clients on a key of their own: one sees 5, and later the other still sees 3.
fn stale_read(load: &mut Load) {
    let mut op = |process: u64,
                  (from, to): (u64, Option<u64>),
                  f: &str,
                  input: Value,
                  output: Value,
                  tag: &'static str| {
        load.push(from * MS, process, EventType::Invoke, f, input, tag);
        if let Some(to) = to {
            load.push(to * MS, process, EventType::Ok, f, output, "");
        }
    };
    op(
        101,
        (11_402, Some(11_460)),
        "write",
        json!([9, 3]),
        json!([9, 3]),
        "write-3",
    );
    op(
        103,
        (11_610, Some(11_905)),
        "write",
        json!([9, 5]),
        json!([9, 5]),
        "write-5",
    );
    op(
        102,
        (11_912, Some(11_950)),
        "read",
        json!([9, null]),
        json!([9, 5]),
        "read-5",
    );
    op(
        107,
        (12_380, Some(12_402)),
        "read",
        json!([9, null]),
        json!([9, 3]),
        "read-3",
    );
    op(
        107,
        (12_450, Some(12_470)),
        "read",
        json!([9, null]),
        json!([9, 3]),
        "",
    );
    op(
        101,
        (11_300, Some(11_340)),
        "read",
        json!([9, null]),
        json!([9, 0]),
        "",
    );
    op(
        104,
        (41_200, None),
        "write",
        json!([9, 8]),
        json!(null),
        "write-8",
    );
    op(
        106,
        (47_900, Some(47_931)),
        "read",
        json!([9, null]),
        json!([9, 8]),
        "read-8",
    );
    op(
        109,
        (51_100, Some(51_144)),
        "read",
        json!([9, null]),
        json!([9, 5]),
        "read-5-again",
    );
}

fn rich_results(looked: u64, tags: &BTreeMap<&'static str, u64>) -> Vec<CheckResult> {
    let tag = |name: &str| tags.get(name).copied().expect("a tagged operation");
    let mut linear = result(
        "linearizable",
        Verdict::Invalid,
        "1 of 7 keys is not linearizable: a read went back in time",
        looked,
        1_812.0,
    );
    linear.memory_bytes = Some(41_200_000);
    linear.witnesses = vec![
        Witness {
            kind: "stale-read".to_owned(),
            title: "A read went back in time.".to_owned(),
            story: "Process 107 read key 9 = 3 at 12.40 s; process 102 had read 5, and that read had ended at 11.95 s.".to_owned(),
            operations: vec![tag("write-3"), tag("write-5"), tag("read-5"), tag("read-3")],
            culprits: vec![tag("read-3")],
            edges: vec![
                Edge { from: tag("write-3"), to: tag("write-5"), words: "3 was written before 5: its write had ended".to_owned() },
                Edge { from: tag("write-5"), to: tag("read-5"), words: "process 102 read the 5 that process 103 wrote".to_owned() },
                Edge { from: tag("read-5"), to: tag("read-3"), words: "began 0.43 s after 5 had been read, and shows 3 again".to_owned() },
            ],
            nodes: vec!["n2".to_owned(), "n3".to_owned()],
            start_ns: 11_402 * MS,
            end_ns: 12_402 * MS,
            explanation: Some("A dqlite leader that was cut off answers reads from its own state, without asking a quorum, until its lease ends (dqlite, gateway.c; see the README of the workload).".to_owned()),
        },
        Witness {
            kind: "stale-read".to_owned(),
            title: "A value came and went.".to_owned(),
            story: "Process 106 read key 9 = 8 at 47.93 s, which only operation of unknown outcome wrote; process 109 read 5 again at 51.14 s.".to_owned(),
            operations: vec![tag("write-8"), tag("read-8"), tag("read-5-again")],
            culprits: vec![tag("read-5-again")],
            edges: vec![
                Edge { from: tag("write-8"), to: tag("read-8"), words: "the write took effect: 8 was read".to_owned() },
                Edge { from: tag("read-8"), to: tag("read-5-again"), words: "began 3.17 s later, and nothing wrote 5 in between".to_owned() },
            ],
            nodes: vec!["n2".to_owned(), "n5".to_owned()],
            start_ns: 41_200 * MS,
            end_ns: 51_144 * MS,
            explanation: None,
        },
    ];
    let mut logs = result(
        "log-patterns",
        Verdict::Invalid,
        "1 assertion failed on n3",
        22_140,
        44.0,
    );
    logs.notes = vec![Note {
        kind: "assertion".to_owned(),
        severity: Severity::Error,
        text: "n3, dqlite-demo.log line 4,120: raft: Assertion `r->commit_index >= r->last_applied' failed".to_owned(),
    }];
    let mut append = result(
        "append",
        Verdict::Unknown,
        "recorded; there is no checker for it, not judged yet",
        0,
        0.0,
    );
    append.notes = vec![Note {
        kind: "not-judged".to_owned(),
        severity: Severity::Error,
        text: "cycles of list-append transactions are not judged yet".to_owned(),
    }];
    let mut stats = result(
        "stats",
        Verdict::Valid,
        "every kind of operation ended ok",
        looked,
        2.1,
    );
    stats.notes = vec![Note {
        kind: "many-fail".to_owned(),
        severity: Severity::Warning,
        text: "11 of 100 cas operations ended fail".to_owned(),
    }];
    let mut availability = result(
        "availability",
        Verdict::Valid,
        "5 of 5 nodes accepted a write, the last after 1.52 s",
        5,
        3.0,
    );
    availability.figures = BTreeMap::from([
        ("recovery_max_ms".to_owned(), json!(1520.0)),
        ("recovered_count".to_owned(), json!(5)),
        ("slowest_node".to_owned(), json!("n3")),
    ]);
    vec![
        linear,
        availability,
        stats,
        logs,
        append,
        result(
            "bank",
            Verdict::NotApplicable,
            "no transfer in this run",
            0,
            0.0,
        ),
    ]
}

fn rich_logs() -> Vec<(String, String, Vec<u8>)> {
    let mut text = Vec::new();
    for tick in 0..240_u64 {
        let second = 11 + tick / 4;
        let line = format!(
            "2026-11-22T04:{:02}:{:02}.{:03}Z dqlite-demo[907]: heartbeat {tick} sent to 4 followers\n",
            14 + second / 60,
            second % 60,
            tick % 4 * 250
        );
        text.extend_from_slice(line.as_bytes());
        if tick == 137 {
            text.extend_from_slice(b"dqlite-demo: src/raft.c:412: raft_step: Assertion `r->commit_index >= r->last_applied' failed.\n  #0 raise\n  #1 abort\n</script><img src=x onerror=alert(1)>\n");
        }
    }
    vec![
        ("n3".to_owned(), "dqlite-demo.log".to_owned(), text),
        (
            "n2".to_owned(),
            "dqlite-demo.log".to_owned(),
            b"no stamps here\nstarted\n".to_vec(),
        ),
    ]
}

/// The same, as a real run whose lab was left dirty: for the words that must not be missing.
pub fn invalid() -> Run {
    let mut run = rich();
    run.meta.simulated = false;
    run.meta.lab_dirty = true;
    run.faults[3].healed_ns = None;
    run
}

/// A simulation that somebody interrupted, with faults that never took hold and checkers that could not look.
pub fn unknown() -> Run {
    let mut faults = vec![fault(
        1,
        "partition",
        "partition leader: n2 | n1 n3 n4 n5",
        &["n2"],
        (10.0, 20.0),
        &[],
    )];
    faults[0].observed_ns = None;
    faults[0].problems = vec!["no packet was dropped within 5 s".to_owned()];
    let mut load = Load::new();
    for slot in 0..PROCESSES {
        load.process(slot, 24 * S, 200 * MS, |_| 0.0);
    }
    let (history, _) = load.done();
    let looked = history.operations.len() as u64;
    let mut meta = meta("register", &["partition"], 60);
    meta.simulated = true;
    meta.interrupted = true;
    let mut slow = result(
        "linearizable",
        Verdict::Unknown,
        "out of memory after 3 of 6 keys",
        looked,
        60_000.0,
    );
    slow.memory_bytes = Some(4_000_000_000);
    let mut plan = plan_of(&faults);
    plan.faults.push(PlannedFault {
        trigger: None,
        until: None,
        options: std::collections::BTreeMap::new(),
        id: 2,
        inject_ms: 30_000,
        heal_ms: 40_000,
        ..plan.faults[0].clone()
    });
    Run {
        meta,
        plan,
        faults,
        history,
        views: Vec::new(),
        verdict: file(vec![
            slow,
            result(
                "coverage",
                Verdict::Unknown,
                "the required fault partition was not observed to hold",
                1,
                0.1,
            ),
            result(
                "stats",
                Verdict::Valid,
                "every kind of operation ended ok",
                looked,
                1.0,
            ),
        ]),
        logs: Vec::new(),
    }
}

/// About a million operations, with a witness in their midst.
pub fn large() -> Run {
    let mut run = rich();
    let mut load = Load::new();
    for slot in 0..PROCESSES {
        load.process(slot, 600 * S, 3_350_000, |now| {
            if now / (30 * S) % 2 == 1 { 0.05 } else { 0.0 }
        });
    }
    stale_read(&mut load);
    let (history, tags) = load.done();
    run.verdict = file(rich_results(history.operations.len() as u64, &tags));
    run.history = history;
    run.meta.time_limit_s = 600.0;
    run
}
