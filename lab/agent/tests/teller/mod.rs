//! Processes that tell their clocks, for tests that shift them.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicI64, Ordering},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};

use crate::leftovers::Mark;

pub const AGENT: &str = env!("CARGO_BIN_EXE_harness-agent");
/// Set for a run of the test program itself that tells its clocks: how many threads read them besides.
pub const TELLER: &str = "HARNESS_TEST_CLOCK_TELLER";
/// How far two readings may be apart that should be the same.
const NEAR_MS: i64 = 40;

fn wall_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_nanos()).unwrap()
}

fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// A process that tells `WALL MONOTONIC` again and again while others of its threads do nothing but read clocks.
pub struct Teller {
    pub child: Child,
    lines: BufReader<ChildStdout>,
    pub folder: tempfile::TempDir,
    _mark: Mark,
}

impl Teller {
    pub fn new(unique: &str, threads: u32) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["a_process_tells_the_right_time", "--exact", "--nocapture"])
            .env(TELLER, threads.to_string());
        Self::of(command, unique)
    }

    pub fn of(mut command: Command, unique: &str) -> Self {
        let mark = Mark::new(unique);
        let (name, value) = mark.assignment().split_once('=').unwrap();
        let mut child = command
            .env(name, value)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut teller = Self {
            child,
            lines,
            folder: tempfile::tempdir().unwrap(),
            _mark: mark,
        };
        // What the test's own frame prints comes first.
        while teller.reading().is_none() {}
        teller
    }

    pub fn notes(&self) -> PathBuf {
        self.folder.path().join("notes")
    }

    /// How far its wall clock is off, by the clock that is not shifted, and that one: milliseconds.
    fn reading(&mut self) -> Option<(i64, i64)> {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended");
        let (wall, monotonic) = line.trim().split_once(' ')?;
        let (wall, monotonic): (i64, i64) = (wall.parse().ok()?, monotonic.parse().ok()?);
        let ours = wall_ns() - monotonic_ns();
        let off_ms = (wall - monotonic - ours + 500_000).div_euclid(1_000_000);
        Some((off_ms, monotonic / 1_000_000))
    }

    /// What it tells from now on, for so many lines. What waits in the pipe is of before.
    fn readings(&mut self, count: usize) -> Vec<(i64, i64)> {
        let now_ms = monotonic_ns() / 1_000_000;
        let mut readings = Vec::new();
        while readings.len() < count {
            // The test's own frame says after a minute that it still runs.
            let Some(reading) = self.reading() else {
                continue;
            };
            if reading.1 > now_ms {
                readings.push(reading);
            }
        }
        let late_ms = monotonic_ns() / 1_000_000 - readings[count - 1].1;
        assert!(
            (0..5_000).contains(&late_ms),
            "its monotonic clock: {late_ms}"
        );
        readings
    }

    #[track_caller]
    pub fn assert_off(&mut self, expected_ms: i64) {
        for (off_ms, _) in self.readings(20) {
            assert!((off_ms - expected_ms).abs() <= NEAR_MS, "{off_ms}");
        }
    }

    /// A command of the agent that must succeed; what it said.
    #[track_caller]
    fn agent(&self, arguments: &[&str]) -> String {
        let (done, said) = agent(arguments);
        assert!(done, "{arguments:?}: {said}");
        said
    }

    #[track_caller]
    pub fn shift(&self, how: &[&str]) -> String {
        let pid = self.child.id().to_string();
        let notes = self.notes();
        let arguments = [&["clock-shift", &pid, notes.to_str().unwrap()], how].concat();
        self.agent(&arguments)
    }

    #[track_caller]
    pub fn look(&self) -> String {
        self.agent(&["clock-look", self.notes().to_str().unwrap()])
    }

    #[track_caller]
    pub fn restore(&self) -> String {
        self.agent(&["clock-restore", self.notes().to_str().unwrap()])
    }

    pub fn vdso(&self) -> Vec<u8> {
        let pid = self.child.id();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let line = maps.lines().find(|line| line.ends_with("[vdso]")).unwrap();
        let (start, rest) = line.split_once('-').unwrap();
        let (end, _) = rest.split_once(' ').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = (number(start), number(end));
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
        memory.read_exact_at(&mut bytes, start).unwrap();
        bytes
    }

    pub fn state(&self) -> char {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn agent(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(AGENT).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    (output.status.success(), said)
}

/// Tells its clocks for ever; its other threads end it if their monotonic clock goes backwards.
pub fn tell(threads: u32) -> ! {
    static LATEST_WALL_NS: AtomicI64 = AtomicI64::new(0);
    for _ in 0..threads {
        thread::spawn(|| {
            let mut before = monotonic_ns();
            loop {
                LATEST_WALL_NS.store(wall_ns(), Ordering::Relaxed);
                let now = monotonic_ns();
                if now < before {
                    std::process::exit(3);
                }
                before = now;
            }
        });
    }
    loop {
        let line = format!("{} {}\n", wall_ns(), monotonic_ns());
        if std::io::stdout().write_all(line.as_bytes()).is_err() {
            std::process::exit(0);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// What each way is seen to do, by the process and by whoever looks, and that it is gone byte by byte.
pub fn each_way(teller: &mut Teller) {
    let own = teller.vdso();
    for by_ms in [60_000, -250, -86_400_000] {
        let said = teller.shift(&["jump", &format!("{by_ms}000000")]);
        assert!(said.contains("clock functions of process"), "{said}");
        teller.assert_off(by_ms);
        let said = teller.look();
        let expected = format!("off by {by_ms} ms");
        assert!(
            said.starts_with("seen ") && said.ends_with(&expected),
            "{said}"
        );
        assert_ne!(teller.vdso(), own);
        assert!(teller.restore().contains("byte by byte as they were"));
        assert_eq!(teller.vdso(), own);
        teller.assert_off(0);
        assert!(teller.look().contains("has its own clock functions"));
        assert!(teller.restore().contains("are its own"), "again");
    }

    teller.shift(&["skew", "-200000"]);
    let readings = teller.readings(60);
    let (first, last) = (readings[0], readings[59]);
    let grown = (last.0 - first.0) * 1_000 / (last.1 - first.1);
    assert!((-230..=-170).contains(&grown), "{grown} ms a second");
    let said = teller.look();
    assert!(
        said.starts_with("seen ") && said.contains("µs more"),
        "{said}"
    );
    teller.restore();
    assert_eq!(teller.vdso(), own);

    teller.shift(&["strobe", "30000000000", "100000000"]);
    let offs: Vec<i64> = teller.readings(150).iter().map(|(off, _)| *off).collect();
    let mut turns = offs.clone();
    turns.dedup_by(|a, b| (*a - *b).abs() <= NEAR_MS);
    assert!(turns.len() >= 4, "{turns:?}");
    let is_one = |off: &i64| off.abs() <= NEAR_MS || (off - 30_000).abs() <= NEAR_MS;
    assert!(offs.iter().all(is_one), "{offs:?}");
    let said = teller.look();
    assert!(
        said.starts_with("seen ") && said.ends_with("in turn"),
        "{said}"
    );
    assert!(
        said.contains("0 ms, ") && said.contains("30000 ms"),
        "{said}"
    );
    teller.restore();
    assert_eq!(teller.vdso(), own);
    teller.assert_off(0);
}

pub fn rounds(teller: &mut Teller, count: u32) {
    let own = teller.vdso();
    for round in 0..count {
        let how: &[&str] = match round % 3 {
            0 => &["jump", "3600000000000"],
            1 => &["strobe", "60000000000", "1000000"],
            _ => &["skew", "500000"],
        };
        teller.shift(how);
        assert!(teller.restore().contains("byte by byte"));
    }
    assert_eq!(teller.vdso(), own);
    teller.assert_off(0);
    assert_eq!(teller.child.try_wait().unwrap(), None);
}
