//! The scripts of faults on files and on the clock, run by a real shell on files of the test's own. Nothing outside a temporary
//! folder is changed: `date` is a stand-in that moves a clock of its own.

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

#[test]
fn a_clock_jumps_both_ways_and_is_set_back() {
    for (by, by_ms) in [("+60s", 60_000_i64), ("-2500ms", -2_500)] {
        let ground = Ground::new(Condition::Clock, &[&format!("by={by}")]);
        let offset = ground.folder.path().join("offset");
        let date = ground.folder.path().join("bin/date");
        fs::write(&date, DATE.replace("OFFSET", &offset.display().to_string())).unwrap();
        fs::set_permissions(&date, fs::Permissions::from_mode(0o755)).unwrap();
        let far = || {
            fs::read_to_string(&offset)
                .unwrap()
                .trim()
                .parse::<i64>()
                .unwrap()
        };
        ground.inject();
        assert!((far() - by_ms).abs() < 1_000, "{by}: {}", far());
        ground.heal();
        assert!(far().abs() < 1_000, "{by}: {}", far());
    }
}
