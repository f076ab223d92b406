//! The scripts of faults on files and on the clock, run by a real shell on files and processes of the test's own. Nothing outside a
//! temporary folder is changed: `date` is a stand-in that moves a clock of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use harness_nemesis::plan::{
    Asked, Condition,
    condition::{
        options::parse_options,
        script::{Look, NOTES, Place, Scripts, look, scripts},
    },
};

/// A clock that can be set: the real one, and how far it was moved in milliseconds.
const DATE: &str = r#"#!/bin/sh
far=$(cat "OFFSET" 2>/dev/null || echo 0)
now=$(($(/bin/date +%s%N) / 1000000))
case "$*" in
  *-s*) for word; do :; done; word=${word#@}; s=${word%.*}; ms=${word#*.}; echo $((s * 1000 + 1$ms - 1000 - now)) >"OFFSET" ;;
  *) echo "$((now + far))000000" ;;
esac
"#;

struct Ground {
    folder: tempfile::TempDir,
    scripts: Scripts,
}

impl Ground {
    fn new(condition: Condition, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data/member");
        fs::create_dir_all(&data).expect("a folder");
        fs::create_dir_all(folder.path().join("bin")).expect("a folder");
        let given = parse_options(condition, options).expect("options");
        let asked = Asked::read(condition, &given).expect("options");
        let place = Place {
            data_folder: Some(folder.path().join("data")),
            ..Place::default()
        };
        let scripts = scripts(&asked, 1, &place);
        Self { folder, scripts }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("data/member/segment")
    }

    /// Whether it succeeded, and what it said.
    fn run(&self, script: &str) -> (bool, String) {
        let notes = self.folder.path().join("notes");
        let script = script.replace(NOTES, &notes.display().to_string());
        let path = format!("{}:/usr/bin:/bin", self.folder.path().join("bin").display());
        let output = Command::new("/bin/sh")
            .args(["-c", &script])
            .env("PATH", path)
            .output()
            .expect("a shell");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    fn inject(&self) -> String {
        let (done, said) = self.run(&self.scripts.inject);
        assert!(done, "{said}");
        let seen = look(&self.run(&self.scripts.observe).1);
        assert!(matches!(seen, Look::Seen(_)), "{seen:?}");
        said
    }

    fn heal(&self) -> String {
        let (done, said) = self.run(&self.scripts.heal);
        assert!(done, "{said}");
        assert!(!self.folder.path().join("notes/1").exists());
        let again = self.run(&self.scripts.heal);
        assert_eq!(again, (true, "nothing was done here\n".to_owned()));
        said
    }
}

fn damaged(file: &Path) -> Option<Vec<u8>> {
    fs::read(file).ok()
}

/// Each kind of damage: what the file is then, and that it comes back byte by byte.
#[test]
fn a_file_is_damaged_as_asked_and_put_back() {
    let was: Vec<u8> = (0..=255).collect();
    let mut flipped = was.clone();
    flipped[128] = 129;
    let cases = [
        (Condition::Bitflip, &["at=50%"][..], Some(flipped)),
        (Condition::Truncate, &["keep=25%"], Some(was[..64].to_vec())),
        (Condition::Remove, &["file=seg*"], None),
    ];
    for (condition, options, expected) in cases {
        let ground = Ground::new(condition, options);
        fs::write(ground.file(), &was).unwrap();
        let said = ground.inject();
        assert!(said.contains("member/segment"), "{said}");
        assert_eq!(damaged(&ground.file()), expected, "{condition}");
        let said = ground.heal();
        assert!(said.contains("put back as it was"), "{condition}: {said}");
        assert_eq!(damaged(&ground.file()), Some(was.clone()), "{condition}");
    }
}

/// What the system has written since is its own, and a folder that was made anew is another member's.
#[test]
fn what_the_system_made_since_is_left() {
    for condition in [Condition::Bitflip, Condition::Truncate, Condition::Remove] {
        let ground = Ground::new(condition, &[]);
        fs::write(ground.file(), b"before it was struck").unwrap();
        ground.inject();
        fs::write(ground.file(), b"written since").unwrap();
        let said = ground.heal();
        assert!(said.contains("left as it is"), "{condition}: {said}");
        assert_eq!(fs::read(ground.file()).unwrap(), b"written since");

        let ground = Ground::new(condition, &[]);
        fs::write(ground.file(), b"before it was struck").unwrap();
        ground.inject();
        let member = ground.folder.path().join("data/member");
        fs::rename(&member, ground.folder.path().join("old")).unwrap();
        fs::create_dir(&member).unwrap();
        let said = ground.heal();
        assert!(said.contains("made anew"), "{condition}: {said}");
        assert!(!ground.file().exists(), "{condition}");
    }
}

#[test]
fn without_a_file_of_that_name_nothing_is_struck() {
    let ground = Ground::new(Condition::Remove, &["file=open-*"]);
    fs::write(ground.file(), b"x").unwrap();
    let (done, said) = ground.run(&ground.scripts.inject);
    assert!(
        !done && said.contains("no file of the data folder is called open-*"),
        "{said}"
    );
    assert!(ground.heal().contains("no file was struck"));
    assert!(ground.file().exists());
}

/// A number that an earlier run left is not struck over: its notes are what heals it.
#[test]
fn notes_of_an_earlier_fault_are_not_overwritten() {
    let ground = Ground::new(Condition::Remove, &[]);
    fs::write(ground.file(), b"x").unwrap();
    ground.inject();
    let (done, said) = ground.run(&ground.scripts.inject);
    assert!(!done && said.contains("harness lab heal"), "{said}");
    assert!(ground.heal().contains("put back"));
}

/// A node that owns its clock, whatever the machine of the test does; the clock is the stand-in's.
fn own_clock(options: &[&str]) -> Ground {
    let mut ground = Ground::new(Condition::Clock, options);
    let offset = ground.folder.path().join("offset");
    let date = ground.folder.path().join("bin/date");
    fs::write(&date, DATE.replace("OFFSET", &offset.display().to_string())).expect("the stand-in");
    fs::set_permissions(&date, fs::Permissions::from_mode(0o755)).expect("the stand-in");
    let inject = ground.scripts.inject;
    ground.scripts.inject = inject.replace("if owns_clock; then", "if true; then");
    assert_ne!(ground.scripts.inject, inject);
    ground
}

fn far_ms(ground: &Ground) -> i64 {
    let far = fs::read_to_string(ground.folder.path().join("offset")).expect("the stand-in");
    far.trim().parse().expect("the stand-in")
}

#[test]
fn a_clock_jumps_both_ways_and_is_set_back() {
    for (by, by_ms) in [
        ("+60s", 60_000_i64),
        ("-2500ms", -2_500),
        ("+1800ms", 1_800),
    ] {
        let ground = own_clock(&[&format!("by={by}")]);
        ground.inject();
        let far = far_ms(&ground);
        let near = by_ms.abs() / 2;
        assert!((far - by_ms).abs() < near, "{by}: {far}");
        ground.heal();
        let far = far_ms(&ground);
        assert!(far.abs() <= near.min(1_000), "{by}: {far}");
    }
}

#[test]
fn a_clock_that_did_not_jump_is_not_said_to_have() {
    let ground = own_clock(&["by=+600ms"]);
    let refuses = ground.scripts.inject.replace("set_wall $((", "true $((");
    let (done, said) = ground.run(&refuses);
    assert!(done, "{said}");
    let seen = look(&ground.run(&ground.scripts.observe).1);
    assert!(matches!(seen, Look::Unseen(_)), "{seen:?}");
    ground.heal();
}

#[test]
fn a_clock_goes_there_and_back_until_it_is_healed() {
    let ground = own_clock(&["how=strobe", "by=-5s", "period=300ms"]);
    let said = ground.inject();
    assert!(said.contains("again and again"), "{said}");
    let seen = look(&ground.run(&ground.scripts.observe).1);
    let Look::Seen(text) = seen else {
        panic!("{seen:?}");
    };
    assert!(text.contains("in turn"), "{text}");
    ground.heal();
    let mut fars = Vec::new();
    for _ in 0..8 {
        fars.push(far_ms(&ground));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(fars.iter().all(|far| far.abs() <= 1_000), "{fars:?}");
}

/// A process of the test's own that reads no clock: what its memory holds is looked at.
#[cfg(target_arch = "x86_64")]
struct Process {
    ground: Ground,
    child: std::process::Child,
}

#[cfg(target_arch = "x86_64")]
impl Process {
    /// Where the clock is shared, whatever the machine of the test does.
    fn new(options: &[&str]) -> Self {
        let child = Command::new("sleep").arg("300").spawn().expect("sleep");
        let mut ground = Ground::new(Condition::Clock, options);
        let agent = ground.folder.path().join("agent");
        fs::write(&agent, harness_lab::agent_image()).expect("the agent");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("the agent");
        let given = parse_options(Condition::Clock, options).expect("options");
        let place = Place {
            process: Some(child.id()),
            ..Place::default()
        };
        let asked = Asked::read(Condition::Clock, &given).expect("options");
        ground.scripts = scripts(&asked, 1, &place);
        // What starts the scripts here is no agent.
        let inject = &ground.scripts.inject;
        let ours = inject.replace("/proc/$PPID/exe", &agent.display().to_string());
        assert_ne!(&ours, inject);
        ground.scripts.inject = ours.replace("if owns_clock; then", "if false; then");
        Self { ground, child }
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_process_s_clock_is_shifted_and_put_back_each_way() {
    for (options, seen) in [
        (&[][..], "off by 60000 ms"),
        (&["how=strobe", "by=-2s", "period=200ms"], "in turn"),
        (&["how=skew", "rate=-10%"], "µs more than 100 ms before"),
    ] {
        let process = Process::new(options);
        process.ground.inject();
        let told = look(&process.ground.run(&process.ground.scripts.observe).1);
        let Look::Seen(text) = told else {
            panic!("{told:?}");
        };
        assert!(text.contains(seen), "{text}");
        let said = process.ground.heal();
        assert!(said.contains("byte by byte as they were"), "{said}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_process_that_ended_has_taken_its_clock_with_it() {
    let mut process = Process::new(&[]);
    process.ground.inject();
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    let seen = look(&process.ground.run(&process.ground.scripts.observe).1);
    assert!(matches!(seen, Look::Unseen(_)), "{seen:?}");
    let said = process.ground.heal();
    assert!(said.contains("gone, and its clock with it"), "{said}");
}
