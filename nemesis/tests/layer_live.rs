//! The scripts of `io-error` and `lose-writes`, run by a real shell on a real layer over a folder of the test's own. Needs root and a
//! kernel with FUSE; fails, and never skips, without.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output},
};

use harness_lab::agent_image;
use harness_nemesis::plan::{
    Asked, Condition,
    condition::{
        options::parse_options,
        script::{Lack, Look, NOTES, Place, Scripts, check, lack, look, scripts},
    },
};

struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    /// Without a layer as yet.
    fn bare() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("data")).expect("a folder");
        Self { folder }
    }

    fn new() -> Self {
        let ground = Self::bare();
        let agent = ground.agent();
        fs::create_dir(agent.parent().expect("a folder")).expect("a folder");
        fs::write(&agent, agent_image()).expect("the agent is written");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("it can be run");
        let made = ground.shell("\"$0.layer/agent\" layer-mount \"$0\"");
        assert!(made.status.success(), "{made:?}");
        ground
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn agent(&self) -> PathBuf {
        self.folder.path().join("data.layer/agent")
    }

    fn place(&self) -> Place {
        Place {
            data_folder: Some(self.data()),
            ..Place::default()
        }
    }

    fn scripts(&self, condition: Condition, options: &[&str]) -> Scripts {
        let given = parse_options(condition, options).expect("options");
        let asked = Asked::read(condition, &given).expect("options");
        scripts(&asked, 1, &self.place())
    }

    /// A script with the folder as `$0`.
    fn shell(&self, script: &str) -> Output {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).arg(self.data());
        command.output().expect("a shell")
    }

    /// What a script said that must succeed.
    #[track_caller]
    fn run(&self, script: &str) -> String {
        let notes = self.folder.path().join("notes");
        let script = script.replace(NOTES, &notes.display().to_string());
        let output = self.shell(&script);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn lack(&self, condition: Condition) -> Option<Lack> {
        lack(&self.run(&check(condition, &self.place())))
    }

    fn has_notes(&self) -> bool {
        self.folder.path().join("notes/1").exists()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // A test that failed may have left one dead.
        for _ in 0..4 {
            let _ = self.shell("umount -l \"$0\"");
        }
    }
}

#[test]
fn what_has_no_layer_is_told_with_the_mend() {
    let ground = Ground::bare();
    for condition in [Condition::IoError, Condition::LoseWrites] {
        let lack = ground.lack(condition).expect("there is no layer");
        assert_eq!(lack.reason, "there is no layer over the data folder");
        assert!(lack.mend.is_some_and(|mend| mend.contains("--data-layer")));
    }
    assert_eq!(Ground::new().lack(Condition::IoError), None);
}

#[test]
fn each_kind_of_work_fails_as_asked_and_passes_again() {
    let ground = Ground::new();
    let file = ground.data().join("file");
    fs::write(&file, b"text").expect("it is written");
    for (options, expected) in [
        (
            &[][..],
            "EIO (Input/output error): a read, a write, a sync;",
        ),
        (&["ops=read"], "EIO (Input/output error): a read;"),
        (
            &["ops=write+sync", "errno=EROFS"],
            "EROFS (Read-only file system): a write, a sync;",
        ),
        (
            &["ops=sync", "share=30%"],
            "EIO (Input/output error): a sync;",
        ),
        (
            &["errno=ENOSPC", "ops=write"],
            "ENOSPC (No space left on device): a write;",
        ),
    ] {
        let scripts = ground.scripts(Condition::IoError, options);
        ground.run(&scripts.inject);
        match look(&ground.run(&scripts.observe)) {
            Look::Seen(text) => assert!(text.contains(expected), "{options:?}: {text}"),
            Look::Unseen(why) => panic!("{options:?}: {why}"),
        }
        let failed = fs::read(&file).is_err();
        let reads = options.is_empty() || options.contains(&"ops=read");
        assert_eq!(failed, reads, "{options:?}");
        let said = ground.run(&scripts.heal);
        assert!(said.contains("everything passes"), "{said}");
        // The kernel tries to read again.
        assert_eq!(!said.contains(" 0 reads"), reads, "{said}");
        assert_eq!(ground.run(&scripts.heal), "nothing was done here\n");
        fs::write(&file, b"text").expect("it is written");
        assert_eq!(fs::read_dir(ground.data()).expect("a folder").count(), 1);
        assert!(!ground.has_notes());
    }
}

#[test]
fn what_was_lost_is_told_file_by_file() {
    let ground = Ground::new();
    let scripts = ground.scripts(Condition::LoseWrites, &[]);
    let said = ground.run(&scripts.inject);
    assert_eq!(said, "nothing was un-synced: no byte is lost\n");
    assert_eq!(
        look(&ground.run(&scripts.observe)),
        Look::Seen("nothing was un-synced: no byte is lost".to_owned())
    );
    ground.run(&scripts.heal);

    fs::write(ground.data().join("kept"), b"0123456789").expect("it is written");
    ground.run("sync \"$0/kept\"");
    ground.run("printf xyz | dd of=\"$0/kept\" conv=notrunc bs=1 seek=8 2>/dev/null");
    fs::write(ground.data().join("new"), b"never synced").expect("it is written");
    let said = ground.run(&scripts.inject);
    assert_eq!(
        said,
        "15 bytes of 2 files that were not synced are lost\n\
         kept: 2 bytes are as they were, 1 bytes cut off, 10 bytes long\n\
         new: 12 bytes cut off, 0 bytes long\n"
    );
    assert_eq!(
        fs::read(ground.data().join("kept")).expect("it is there"),
        b"0123456789"
    );
    let said = ground.run(&scripts.heal);
    assert!(said.contains("stays lost"), "{said}");
    assert!(!ground.has_notes());

    // A file that somebody writes is no power cut.
    let open = fs::File::create(ground.data().join("open")).expect("it is made");
    let script = scripts.inject.replace(
        NOTES,
        &ground.folder.path().join("notes").display().to_string(),
    );
    let refused = ground.shell(&script);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("open is still open"),
        "{said}"
    );
    drop(open);
    ground.run(&scripts.heal);
}

#[test]
fn a_layer_that_ended_is_replaced_by_the_heal() {
    let ground = Ground::new();
    fs::write(ground.data().join("file"), b"text").expect("it is written");
    let scripts = ground.scripts(Condition::IoError, &["ops=write"]);
    ground.run(&scripts.inject);
    let all = fs::read_dir("/proc").expect("processes");
    let layer = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let folder = ground.data().display().to_string();
    let layer = layer.filter(|pid| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        words.get(1..3) == Some(&[&b"layer-serve"[..], folder.as_bytes()])
    });
    let layer: Vec<u32> = layer.collect();
    assert_eq!(layer.len(), 1);
    ground.run(&format!(
        "kill -9 {}; while [ -e /proc/{}/exe ]; do sleep 0.05; done",
        layer[0], layer[0]
    ));
    let lack = ground.lack(Condition::IoError).expect("it does not answer");
    assert!(lack.reason.contains("does not answer"), "{lack:?}");
    let said = ground.run(&scripts.heal);
    assert!(
        said.contains("the layer had ended") && said.contains("everything passes"),
        "{said}"
    );
    assert_eq!(
        fs::read(ground.data().join("file")).expect("it is there"),
        b"text"
    );
    assert_eq!(ground.lack(Condition::IoError), None);
    // The system and its layer were removed meanwhile.
    ground.run(&scripts.inject);
    ground.run("umount \"$0\" && rm -r \"$0.layer\"");
    let said = ground.run(&scripts.heal);
    assert!(said.contains("the layer is gone"), "{said}");
}
