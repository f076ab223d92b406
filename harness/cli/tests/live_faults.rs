//! Every fault on a node's conditions, in whole runs on real dqlite: seen from outside while it is in force, and gone afterwards, also
//! where the controller was killed in the middle. What is not offered here is refused. Needs root or `sudo -n`: fails, and never
//! skips, where the lab cannot come up.
#![cfg(feature = "live")]

#[cfg(feature = "full")]
mod process;
mod support;

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

#[cfg(feature = "full")]
use process::{signal, worker};
use serde_json::Value;
use support::{Folder, checker, expect_code, harness, stderr, stdout};

/// How long a fault may take to be seen to hold, with the cluster that is formed before.
const OBSERVE_LIMIT: Duration = Duration::from_secs(90);
/// How long between two looks at the ledger.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// The options of every run here: one fault of six seconds.
const RUN: [&str; 6] = [
    "--workload",
    "bank",
    "--time-limit",
    "15",
    "--interval",
    "6s/4s",
];
/// The options of a run that is killed: its fault holds far longer than the node waits for a word.
#[cfg(feature = "full")]
const UNATTENDED: [&str; 8] = [
    "--workload",
    "bank",
    "--time-limit",
    "300",
    "--interval",
    "200s/4s",
    "--agent-heals-after",
    "6s",
];
/// How long after the controller's death a node has healed itself: its lease, and a start of the system.
#[cfg(feature = "full")]
const HEALED_WITHIN: Duration = Duration::from_secs(30);
/// A data folder that can be full.
const SMALL: [&str; 2] = ["--data-size", "64MiB"];

/// A data folder that can fail.
const LAYERED: [&str; 1] = ["--data-layer"];

/// What only the run makes, and what a fault needs of it.
fn needs(fault: &str) -> &'static [&'static str] {
    match fault {
        "disk-full" | "slow-io" => &SMALL,
        "io-error" | "lose-writes" => &LAYERED,
        _ => &[],
    }
}

/// Faults that `live` and `live_nodes` look at.
const ELSEWHERE: [&str; 8] = [
    "partition",
    "kill",
    "stop",
    "pause",
    "restart",
    "reboot",
    "wipe",
    "leader-transfer",
];

/// Shell for a node: succeeds while the fault is in force, seen without the notes that it keeps.
fn effect(fault: &str) -> &'static str {
    match fault {
        "loss" => "nft list tables | grep -q harness_loss_",
        "rate" => "tc qdisc show | grep -q 'htb 4841:'",
        // What connecting to another node takes: what is sent waits 80 ms at least, or nothing does.
        "slow" => {
            "own=$(ip -o -4 addr show dev eth0 | sed 's/.* inet \\([0-9.]*\\)\\/.*/\\1/'); peer=${own%.*}.11; [ $peer != $own ] || peer=${own%.*}.12; \
             least=9999; for n in 1 2 3 4 5; do a=$(date +%s%N); bash -c \"exec 3<>/dev/tcp/$peer/22\"; b=$(date +%s%N); \
             ms=$(((b - a) / 1000000)); [ $ms -ge $least ] || least=$ms; done; [ $least -ge 70 ]"
        }
        // By the kernel's netem, or where it has none by a relay of the agent.
        "duplicate" | "reorder" | "corrupt" => {
            "tc qdisc show | grep -q netem || { nft list tables | grep -q harness_netem_ && pgrep -f '[n]etem-serve'; }"
        }
        "disk-full" => {
            "f=/srv/harness/dqlite/data/trial; dd if=/dev/zero of=$f bs=4k count=8 conv=fsync 2>&1 | grep -q 'No space left'; full=$?; rm -f $f; exit $full"
        }
        // A busy machine is slow by itself: once nobody freezes the file system, only a write that hangs says that it is frozen.
        "slow-io" => {
            "f=/srv/harness/dqlite/data/trial; write() { timeout 20 dd if=/dev/zero of=$f bs=4k count=1 conv=fsync 2>/dev/null; }; \
             if ! grep -qs 'faults/[0-9]*/freeze' /proc/[0-9]*/cmdline; then write; ended=$?; rm -f $f; exit $((ended != 124)); fi; \
             slow=1; for n in 1 2 3 4 5 6 7 8; do a=$(date +%s%N); write; b=$(date +%s%N); [ $((b - a)) -lt 150000000 ] || slow=0; sleep 0.15; done; rm -f $f; exit $slow"
        }
        "io-error" => {
            "f=/srv/harness/dqlite/data/trial; : >$f; dd if=/dev/zero of=$f bs=4k count=1 conv=notrunc 2>&1 | grep -q 'Input/output error'; failed=$?; rm -f $f; exit $failed"
        }
        "lose-writes" => {
            "read -r pid start </srv/harness/dqlite/pid; [ ! -e /proc/$pid ] && [ -s /var/lib/harness/faults/1/done ]"
        }
        "fds" => {
            "read -r pid start </srv/harness/dqlite/pid; [ \"$(awk '/^Max open files/ { print $4 }' /proc/$pid/limits)\" -lt 1000 ]"
        }
        "memory" | "cpu" => {
            "find /sys/fs/cgroup -maxdepth 4 -name 'harness-[0-9]*' 2>/dev/null | grep -q ."
        }
        "bitflip" | "truncate" | "remove" => "[ -s /var/lib/harness/faults/1/done ]",
        // The functions in its memory are other ones than in a process that was left alone.
        // Compared with the shell's own, as a child that was just begun may be between two programs; where that cannot be read, it is
        // never gone, and the test fails.
        "clock" => {
            "vdso() { at=$(sed -n 's/-.*\\[vdso\\]$//p' /proc/$1/maps); dd if=/proc/$1/mem bs=4096 skip=$((0x$at / 4096)) count=2 2>/dev/null | cksum; }; \
             read -r pid start </srv/harness/dqlite/pid; own=$(vdso $$); is=$(vdso $pid); [ \"${own#* }\" = 8192 ] || exit 0; \
             [ \"${is#* }\" = 8192 ] && [ \"$is\" != \"$own\" ]"
        }
        other => panic!("the test knows no effect of {other}"),
    }
}

fn on(node: &str, script: &str) -> bool {
    let script = format!("PATH=$PATH:/usr/sbin:/sbin; {script}");
    let mut command = harness();
    command.args(["lab", "exec", node, "--", "sh", "-c", &script]);
    command
        .output()
        .expect("the binary starts")
        .status
        .success()
}

/// The faults of the catalog with whether the lab offers them to a run with a small data folder.
fn catalog() -> Vec<(String, bool)> {
    expect_code(&harness().args(["lab", "up"]).output().expect("up"), 0);
    let output = harness()
        .args(["faults", "--json"])
        .output()
        .expect("faults");
    expect_code(&output, 0);
    let told: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(told["lab"], true);
    let faults = told["faults"].as_array().expect("faults");
    let ours = faults
        .iter()
        .filter(|fault| !ELSEWHERE.contains(&name(fault).as_str()));
    ours.map(|fault| {
        let offered = fault["offered"].as_bool().expect("asked");
        assert_eq!(
            offered,
            fault["lacking"] == Value::Array(Vec::new()),
            "{fault}"
        );
        let by_run = !needs(&name(fault)).is_empty();
        (name(fault), offered || by_run)
    })
    .collect()
}

fn name(fault: &Value) -> String {
    fault["fault"].as_str().expect("a name").to_owned()
}

fn arguments(fault: &str, run: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = run.iter().map(|word| (*word).to_owned()).collect();
    all.extend(["--nemesis".to_owned(), format!("{fault}:leader")]);
    all.extend(needs(fault).iter().map(|word| (*word).to_owned()));
    all
}

fn start(folder: &Folder, fault: &str, run: &[&str]) -> Child {
    harness()
        .args(["run", "--results"])
        .arg(folder.path())
        .args(arguments(fault, run))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts")
}

fn lines(folder: &Folder) -> Vec<Value> {
    // Until a run has begun there is no folder of it.
    let Ok(latest) = std::fs::canonicalize(folder.path().join("runs/latest")) else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(latest.join("ledger.jsonl")).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Waits until the run says that the fault holds; the node that it holds on.
fn struck(folder: &Folder, fault: &str, child: &mut Child) -> String {
    let began = Instant::now();
    loop {
        let lines = lines(folder);
        if lines.iter().any(|line| line["step"] == "observed") {
            let intend = lines.iter().find(|line| line["step"] == "intend");
            let node = intend.and_then(|line| line["nodes"][0].as_str());
            return node.expect("a node").to_owned();
        }
        let ended = child.try_wait().expect("our child");
        assert!(
            ended.is_none() && began.elapsed() < OBSERVE_LIMIT,
            "{fault} was not seen to hold ({ended:?}): {lines:#?}"
        );
        std::thread::sleep(LOOK_PAUSE);
    }
}

/// Nothing of any fault is on any node.
fn assert_clean(fault: &str) {
    let left = "[ -z \"$(ls /var/lib/harness/faults 2>/dev/null)\" ] && ! nft list tables | grep harness && ! tc qdisc show | grep 4841: && ! pgrep -f '[n]etem-serve' \
        && ! find /sys/fs/cgroup -maxdepth 4 -name 'harness-*' | grep . && ! find /srv/harness -name '.harness-*' | grep .";
    assert!(on("all", left), "{fault} left something");
}

/// What is offered does what it says, and goes; a verdict is given, whatever it is.
#[test]
fn every_fault_that_is_offered_is_seen_from_outside_and_healed() {
    let offered: Vec<String> = catalog()
        .into_iter()
        .filter(|(_, is)| *is)
        .map(|(name, _)| name)
        .collect();
    // Fewer would mean that the lab lacks what every kernel of ours has had.
    for least in [
        "clock",
        "loss",
        "rate",
        "disk-full",
        "io-error",
        "lose-writes",
        "fds",
        "bitflip",
        "truncate",
        "remove",
        "slow",
        "duplicate",
        "reorder",
        "corrupt",
    ] {
        assert!(
            offered.iter().any(|fault| fault == least),
            "{least}: {offered:?}"
        );
    }
    for fault in &offered {
        let folder = Folder::new();
        let mut child = start(&folder, fault, &RUN);
        let node = struck(&folder, fault, &mut child);
        assert!(on(&node, effect(fault)), "{fault} is not seen on {node}");
        let code = child.wait().expect("it ends").code();
        let lines = lines(&folder);
        assert!(
            [Some(0), Some(1), Some(2)].contains(&code),
            "{fault}: {code:?} {lines:#?}"
        );
        let steps: Vec<&str> = lines
            .iter()
            .filter_map(|line| line["step"].as_str())
            .collect();
        assert_eq!(
            steps,
            ["intend", "asked", "observed", "heal-asked", "healed"],
            "{fault}: {lines:#?}"
        );
        let verdict = folder.json("verdict.json");
        assert_eq!(
            checker(&verdict, "faults")["verdict"],
            "valid",
            "{fault}: {verdict}"
        );
        assert!(!on(&node, effect(fault)), "{fault} is still seen on {node}");
        assert_clean(fault);
    }
}

/// What each fault's node undoes by itself once the controller is gone, and what of the fault stays all the same.
///
/// A node and `lab heal` have the same scripts, so none of these waits for `lab heal` to be undone. What does wait for it is the ledger,
/// which is the controller's: that the fault is over is written there when the nodes are asked what they did.
#[cfg(feature = "full")]
const ALONE: [(&str, &str, &str); 17] = [
    ("loss", "its table is removed", "nothing"),
    ("rate", "the queue is removed", "nothing"),
    ("slow", "the queue or relay is removed", "nothing"),
    ("duplicate", "the queue or relay is removed", "nothing"),
    ("reorder", "the queue or relay is removed", "nothing"),
    ("corrupt", "the queue or relay is removed", "nothing"),
    ("disk-full", "there is room, and the system runs", "nothing"),
    ("slow-io", "nobody freezes the file system", "nothing"),
    ("io-error", "nothing fails, and the system runs", "nothing"),
    (
        "lose-writes",
        "the system runs",
        "what was lost: nobody kept it",
    ),
    ("fds", "the limit is as it was", "nothing"),
    ("memory", "the group is removed, the system runs", "nothing"),
    ("cpu", "the group is removed", "nothing"),
    // To wipe a node and let it in anew takes a member that is asked: only a run that goes on does that.
    ("bitflip", "the file is put back", CHANGED),
    ("truncate", "the file is put back", CHANGED),
    ("remove", "the file is put back", CHANGED),
    ("clock", "the functions are as they were", "nothing"),
];
/// Putting it back would be damage of our own.
#[cfg(feature = "full")]
const CHANGED: &str = "a file that the system changed since";
/// `lab status` where a ledger has a fault that nobody has closed.
#[cfg(feature = "full")]
const OPEN: i32 = 3;
/// Faults after which the node starts the system.
#[cfg(feature = "full")]
const STARTS: [&str; 7] = [
    "disk-full",
    "io-error",
    "lose-writes",
    "memory",
    "bitflip",
    "truncate",
    "remove",
];

/// The controller is killed while the fault is in force: the node heals itself in time, and `lab heal` finishes the rest.
#[cfg(feature = "full")]
#[test]
fn every_fault_is_healed_after_the_controller_was_killed() {
    for (fault, _) in catalog().into_iter().filter(|(_, is)| *is) {
        let row = ALONE.iter().find(|(name, ..)| *name == fault);
        let (_, undone, stays) = row.unwrap_or_else(|| panic!("{fault} is not in the table"));
        let folder = Folder::new();
        let mut child = start(&folder, &fault, &UNATTENDED);
        let node = struck(&folder, &fault, &mut child);
        assert!(on(&node, effect(&fault)), "{fault} is not seen on {node}");
        signal(worker(&child), "KILL");
        child.wait().expect("it ends");
        let killed = Instant::now();
        // Its guard ends once it has done its work.
        while !on(&node, "! pgrep -f '[g]uard-watch'") {
            assert!(
                killed.elapsed() < HEALED_WITHIN,
                "{fault}: {node} did not heal itself"
            );
            std::thread::sleep(LOOK_PAUSE);
        }
        // By itself, before anybody heals.
        assert!(
            !on(&node, effect(&fault)),
            "{fault} is still seen on {node}: {undone}, by itself; what stays is {stays}"
        );
        assert_clean(&fault);
        let runs = "read -r pid start </srv/harness/dqlite/pid; grep -qs '^State:.[RSD]' /proc/$pid/status";
        if STARTS.contains(&fault.as_str()) {
            assert!(on(&node, runs), "{fault}: {node} did not start the system");
        }
        let status = || harness().args(["lab", "status"]).output().expect("looks");
        expect_code(&status(), OPEN);
        let output = harness().args(["lab", "heal"]).output().expect("heals");
        expect_code(&output, 0);
        expect_code(&status(), 0);
        assert!(
            !on(&node, effect(&fault)),
            "{fault} is seen again on {node}"
        );
        assert_clean(&fault);
        let told = format!("{}{}", stdout(&output), stderr(&output));
        for said in [
            "healed itself after",
            "its script succeeded",
            "healed: nothing of any fault is left",
        ] {
            assert!(told.contains(said), "{fault}: {told}");
        }
    }
}

/// What this kernel or these nodes lack is refused before the load, with the mend.
#[test]
fn what_is_not_offered_is_refused_with_the_mend() {
    let refused: Vec<String> = catalog()
        .into_iter()
        .filter(|(_, is)| !is)
        .map(|(name, _)| name)
        .collect();
    // Those need one and the same of the kernel.
    let netem = ["slow", "duplicate", "reorder", "corrupt"].map(str::to_owned);
    let lacking = netem.iter().filter(|fault| refused.contains(fault)).count();
    assert!([0, netem.len()].contains(&lacking), "{refused:?}");
    // A process's clock can be shifted wherever the lab's containers run.
    assert!(!refused.contains(&"clock".to_owned()), "{refused:?}");
    let nowhere = ["disk-full", "slow-io", "io-error", "lose-writes"].map(str::to_owned);
    for fault in refused.iter().chain(&nowhere) {
        let folder = Folder::new();
        let mut arguments = RUN.to_vec();
        let nemesis = format!("{fault}:one");
        arguments.extend(["--nemesis", &nemesis]);
        let output = folder.run(&arguments);
        expect_code(&output, 254);
        let said = stderr(&output);
        assert!(
            said.contains(&format!("{fault} cannot be had on n")),
            "{said}"
        );
        let mends = ["take ", "give the run --data-"];
        assert!(mends.iter().any(|mend| said.contains(mend)), "{said}");
        let history = std::fs::read_to_string(folder.latest().join("history.jsonl"));
        assert_eq!(history.expect("a history").lines().count(), 1, "no load");
        assert_clean(fault);
    }
}

/// A byte that the system does not write meanwhile is put back as it was.
#[test]
fn a_file_that_nobody_changed_is_put_back() {
    expect_code(&harness().args(["lab", "up"]).output().expect("up"), 0);
    let folder = Folder::new();
    let mut arguments = RUN.to_vec();
    arguments.extend([
        "--nemesis",
        "bitflip/file=info.yaml/kill=no/rejoin=no/at=90%:one",
    ]);
    let output = folder.run(&arguments);
    let code = output.status.code();
    assert!(
        [Some(0), Some(1), Some(2)].contains(&code),
        "{}",
        stderr(&output)
    );
    let lines = lines(&folder);
    let healed = lines
        .iter()
        .find(|line| line["step"] == "healed")
        .expect("healed");
    let told = healed["evidence"].to_string();
    assert!(told.contains("info.yaml is put back as it was"), "{told}");
    assert_clean("bitflip");
}
