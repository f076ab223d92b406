//! Runs stored, listed, found, loaded and judged again.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the answer")]

use std::{fs, os::unix::fs::MetadataExt, path::Path, time::Duration};

use harness_core::{
    event::{Event, EventType, Process},
    fault::{self, Evidence, Heal, LedgerLine, Step},
    meta::{Meta, Plan},
    verdict::{Budget, CheckInput, CheckResult, Checker, Exhausted, Verdict},
};
use harness_run::{
    check::{LimitedBudget, Limits, judge, merge},
    clock::RunClock,
    files::{Owner, link_atomic, write_atomic},
    ledger::{LedgerOpenError, LedgerWriter},
    load::{LoadError, LoadedRun},
    store::{RunFolder, RunStore, StoreError},
};
use serde_json::json;

const SECOND_NS: u64 = 1_000_000_000;
const LIMITS: Limits = Limits {
    time: Duration::from_secs(60),
    memory_bytes: 1 << 30,
};

fn store() -> (tempfile::TempDir, RunStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = RunStore::new(folder.path(), None);
    (folder, store)
}

fn event(process: u64, event_type: EventType) -> Event {
    Event {
        index: 0,
        time_ns: 5,
        process: Process::Client(process),
        node: Some("n1".into()),
        event_type,
        f: "read".into(),
        value: json!([1, null]),
        error: None,
    }
}

fn intend(fault: u32) -> LedgerLine {
    LedgerLine {
        fault,
        time_ns: 1,
        wall_ns: 2,
        step: Step::Intend {
            kind: "partition".to_owned(),
            label: "partition n2".to_owned(),
            nodes: vec!["n2".to_owned()],
            planned: Some(1),
            heals: vec![Heal {
                node: "n2".to_owned(),
                script: "true".to_owned(),
            }],
        },
    }
}

fn healed(fault: u32) -> LedgerLine {
    LedgerLine {
        step: Step::Healed {
            evidence: vec![Evidence {
                node: "n2".to_owned(),
                text: "answers".to_owned(),
            }],
        },
        ..intend(fault)
    }
}

/// A whole run, stored.
fn stored(store: &RunStore, wall_ns: u64) -> RunFolder {
    let run = store.create("dqlite-bank-partition", wall_ns).unwrap();
    let meta = Meta {
        id: run.id().to_owned(),
        workload: "bank".to_owned(),
        ..Meta::default()
    };
    run.write_meta(&meta).unwrap();
    run.write_plan(&Plan::default()).unwrap();
    let recorder = run.recorder(RunClock::start()).unwrap();
    recorder.record(&mut event(0, EventType::Invoke));
    recorder.record(&mut event(0, EventType::Ok));
    assert_eq!(recorder.finish().unwrap().events, 2);
    let ledger = run.ledger(None).unwrap();
    ledger.append(&intend(1)).unwrap();
    let log = run.log_path("n1", "var/../app.log").unwrap();
    fs::write(log, b"hello \xff").unwrap();
    fs::write(run.log_path("n2", "empty.log").unwrap(), b"").unwrap();
    run
}

#[test]
fn a_run_comes_back_as_it_was_stored() {
    let (_folder, store) = store();
    let run = stored(&store, 1_795_320_861 * SECOND_NS);
    assert!(run.id().starts_with("20261122T041421Z-"), "{}", run.id());
    let loaded = LoadedRun::load(store.open("latest").unwrap()).unwrap();
    assert_eq!(loaded.meta.id, run.id());
    assert_eq!(loaded.history.operations.len(), 1);
    assert_eq!(loaded.faults.len(), 1);
    assert!(loaded.verdict.is_none());
    assert!(loaded.remarks.is_empty(), "{:?}", loaded.remarks);
    let logs = loaded.log_texts();
    let names: Vec<_> = logs.iter().map(|log| (log.node, log.path)).collect();
    assert_eq!(names, [("n1", "var/app.log"), ("n2", "empty.log")]);
    assert_eq!(
        (logs[0].bytes, logs[1].bytes),
        (&b"hello \xff"[..], &b""[..])
    );
}

#[test]
fn the_list_is_newest_first_and_stands_broken_ones() {
    let (_folder, store) = store();
    assert!(store.list().unwrap().is_empty());
    let old = stored(&store, 1_000_000_000 * SECOND_NS);
    let new = stored(&store, 1_100_000_000 * SECOND_NS);
    let verdict = merge(vec![CheckResult::new("bank", Verdict::Valid, "fine")]);
    new.write_verdict(&verdict).unwrap();
    let broken = store.create("../x y", 900_000_000 * SECOND_NS).unwrap();
    fs::write(broken.path("meta.json"), "{").unwrap();
    let list = store.list().unwrap();
    let ids: Vec<_> = list.iter().map(|entry| entry.folder.id()).collect();
    assert_eq!(ids, [new.id(), old.id(), broken.id()]);
    assert_eq!(list[0].verdict, Some(Verdict::Valid));
    assert!(list[0].remarks.is_empty());
    assert_eq!(list[1].name, "dqlite-bank-partition");
    assert_eq!(list[1].remarks.len(), 1, "never judged");
    assert_eq!(list[2].name, "..-x-y");
    assert_eq!(list[2].remarks.len(), 2, "{:?}", list[2].remarks);
    assert!(broken.folder().starts_with(store.root()));
}

#[test]
fn a_run_is_found_by_path_id_or_beginning() {
    let (_folder, store) = store();
    let run = stored(&store, 1_000_000_000 * SECOND_NS);
    let path = run.folder().to_str().unwrap().to_owned();
    for which in [&path, run.id(), "20010909T", "latest"] {
        assert_eq!(store.open(which).unwrap().id(), run.id(), "{which}");
    }
    assert!(matches!(
        store.open("nothing"),
        Err(StoreError::NotFound { .. })
    ));
    assert!(matches!(store.open(""), Err(StoreError::NotFound { .. })));
    stored(&store, 1_000_000_000 * SECOND_NS);
    assert!(matches!(
        store.open("20010909T"),
        Err(StoreError::Ambiguous { .. })
    ));
    assert_eq!(store.open(run.id()).unwrap().id(), run.id());
}

#[test]
fn a_killed_run_can_be_loaded() {
    let (_folder, store) = store();
    let run = stored(&store, SECOND_NS);
    let history = run.path("history.jsonl");
    let bytes = fs::read(&history).unwrap();
    fs::write(&history, &bytes[..bytes.len() - 4]).unwrap();
    let ledger = run.path("ledger.jsonl");
    let mut lines = fs::read(&ledger).unwrap();
    lines.extend_from_slice(b"{\"fault\":1,\"ti");
    fs::write(&ledger, lines).unwrap();
    fs::remove_file(run.path("plan.json")).unwrap();
    let loaded = LoadedRun::load(run.clone()).unwrap();
    assert_eq!(loaded.history.event_count, 1);
    assert_eq!(loaded.faults.len(), 1);
    assert_eq!(loaded.remarks.len(), 2, "{:?}", loaded.remarks);
    fs::remove_file(run.path("meta.json")).unwrap();
    assert!(matches!(
        LoadedRun::load(run),
        Err(LoadError::NoMeta { .. })
    ));
}

#[test]
fn the_ledger_is_mirrored_and_open_faults_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, active) = (
        folder.path().join("ledger.jsonl"),
        folder.path().join("state/active"),
    );
    let ledger = LedgerWriter::create(&mine, Some(&active), None).unwrap();
    ledger.append(&intend(1)).unwrap();
    assert_eq!(fs::read(&mine).unwrap(), fs::read(&active).unwrap());
    assert_eq!(
        fault::decode(&fs::read(&active).unwrap()).unwrap(),
        [intend(1)]
    );
    assert!(!ledger.retire_active().unwrap());
    let other = folder.path().join("other.jsonl");
    let refused = LedgerWriter::create(&other, Some(&active), None);
    assert!(matches!(
        refused,
        Err(LedgerOpenError::NotHealed { count: 1, .. })
    ));
    // The controller is killed in the middle of a line; `lab heal` goes on after it.
    let mut torn = fs::read(&active).unwrap();
    torn.extend_from_slice(b"{\"fault\":1");
    fs::write(&active, torn).unwrap();
    LedgerWriter::resume(&active)
        .unwrap()
        .append(&healed(1))
        .unwrap();
    let lines = fault::decode(&fs::read(&active).unwrap()).unwrap();
    assert_eq!(lines, [intend(1), healed(1)]);
    let next = LedgerWriter::create(&other, Some(&active), None).unwrap();
    next.append(&intend(1)).unwrap();
    next.append(&healed(1)).unwrap();
    assert!(next.retire_active().unwrap());
    assert!(!active.exists());
    assert!(next.retire_active().unwrap());
}

#[test]
fn files_are_replaced_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meta.json");
    write_atomic(&path, b"old", None).unwrap();
    write_atomic(&path, b"new", None).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    let link = folder.path().join("latest");
    link_atomic(Path::new("a"), &link, None).unwrap();
    link_atomic(Path::new("b"), &link, None).unwrap();
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("b"));
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        2,
        "temporary files are left"
    );
}

#[test]
fn files_become_the_owners() {
    let folder = tempfile::tempdir().unwrap();
    let me = fs::metadata(folder.path()).unwrap();
    // Only root can give files away; to oneself everybody can.
    let uid = if me.uid() == 0 { 1234 } else { me.uid() };
    let owner = Owner { uid, gid: me.gid() };
    let store = RunStore::new(&folder.path().join("results"), Some(owner));
    let run = stored(&store, SECOND_NS);
    run.hand_over().unwrap();
    for path in [
        run.folder().to_owned(),
        run.path("meta.json"),
        run.path("logs/n1/var/app.log"),
    ] {
        assert_eq!(
            fs::metadata(&path).unwrap().uid(),
            uid,
            "{}",
            path.display()
        );
    }
    let link = fs::symlink_metadata(store.root().join("latest")).unwrap();
    assert_eq!(link.uid(), uid);
    assert_eq!(
        fs::metadata(folder.path().join("results")).unwrap().uid(),
        uid
    );
}

struct Crashes;

impl Checker for Crashes {
    fn name(&self) -> &str {
        "crashes"
    }
    fn check(&self, _input: &CheckInput<'_>, _budget: &dyn Budget) -> CheckResult {
        panic!("on purpose")
    }
}

struct Counts;

impl Checker for Counts {
    fn name(&self) -> &str {
        "counts"
    }
    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        budget.spend(10).unwrap();
        let count = input.history.operations.len();
        CheckResult::new("counts", Verdict::Valid, format!("{count} operations"))
    }
}

#[test]
fn judging_again_gives_the_same_and_a_crash_is_unknown() {
    let (_folder, store) = store();
    let run = stored(&store, SECOND_NS);
    let loaded = LoadedRun::load(run.clone()).unwrap();
    let logs = loaded.log_texts();
    let checkers: [Box<dyn Checker>; 2] = [Box::new(Counts), Box::new(Crashes)];
    let first = judge(&checkers, &loaded.input(&logs), LIMITS);
    assert_eq!(first.verdict, Verdict::Unknown);
    assert_eq!(first.results[0].summary, "1 operations");
    assert!(first.results[1].summary.contains("on purpose"));
    run.write_verdict(&first).unwrap();
    let again = LoadedRun::load(run).unwrap();
    assert_eq!(
        again.verdict.as_ref().map(|file| file.verdict),
        Some(Verdict::Unknown)
    );
    assert_eq!(
        judge(&checkers[..1], &again.input(&logs), LIMITS).verdict,
        Verdict::Valid
    );
}

#[test]
fn budgets_run_out() {
    let budget = LimitedBudget::start(Limits {
        time: Duration::from_secs(3600),
        memory_bytes: 100,
    });
    assert_eq!(budget.spend(100), Ok(()));
    assert_eq!(budget.spend(101), Err(Exhausted::Memory));
    let budget = LimitedBudget::start(Limits {
        time: Duration::ZERO,
        memory_bytes: 100,
    });
    assert_eq!(budget.spend(0), Err(Exhausted::Time));
}
