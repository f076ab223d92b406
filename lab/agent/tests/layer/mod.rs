//! A layer of a test: over a folder of its own, gone with it.

pub mod conform;

use std::{
    fs, io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;

pub const AGENT: &str = env!("CARGO_BIN_EXE_harness-agent");
/// `O_DSYNC`; what rustix calls so has the bit of `O_SYNC` as well.
pub const DSYNC: OFlags = OFlags::from_bits_retain(libc::O_DSYNC.cast_unsigned());
/// A user without rights.
pub const NOBODY: u32 = 65_534;
/// Time in which something shows that is to happen soon.
const SOON: Duration = Duration::from_secs(10);

/// A folder with a layer over it.
pub struct Layer {
    whole: tempfile::TempDir,
    text: String,
}

impl Layer {
    pub fn new() -> Self {
        let layer = Self::bare();
        layer.mount();
        layer
    }

    /// Without a layer as yet.
    pub fn bare() -> Self {
        let whole = tempfile::tempdir().unwrap();
        let folder = whole.path().join("data");
        fs::create_dir(&folder).unwrap();
        let text = folder.display().to_string();
        Self { whole, text }
    }

    pub fn folder(&self) -> PathBuf {
        self.whole.path().join("data")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub fn mount(&self) {
        let output = agent(&["layer-mount", &self.text]);
        assert!(output.status.success(), "{output:?}");
    }

    pub fn unmount(&self) {
        let output = Command::new("umount").arg(self.folder()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// What the layer answers.
    pub fn tell(&self, words: &str) -> String {
        let mut arguments = vec!["layer-tell", &self.text];
        arguments.extend(words.split(' '));
        let output = agent(&arguments);
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Loses what was not synced: the files that were changed by it, each with bytes put back, bytes cut off and its length.
    pub fn lose(&self) -> Vec<(String, u64, i64, u64)> {
        let said = self.tell("lose");
        let lost = said.lines().filter_map(|line| line.strip_prefix("lost "));
        let lost = lost.map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse().unwrap();
            (
                words[0].to_owned(),
                number(1),
                words[2].parse().unwrap(),
                number(3),
            )
        });
        lost.collect()
    }

    /// Processes that are layers over this folder.
    pub fn processes(&self) -> Vec<u32> {
        let is_ours = |pid: &u32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
            words.get(1) == Some(&&b"layer-serve"[..])
                && words.get(2) == Some(&self.text.as_bytes())
        };
        let all = fs::read_dir("/proc").unwrap();
        let all = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        all.filter(is_ours).collect()
    }

    #[track_caller]
    pub fn wait_for_end(&self) {
        let give_up = Instant::now() + SOON;
        while !self.processes().is_empty() {
            assert!(Instant::now() < give_up, "the layer outlives its mount");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        // A test that failed may have left it dead, or open.
        for _ in 0..4 {
            let _ = Command::new("umount").arg("-l").arg(self.folder()).output();
        }
    }
}

pub fn agent(arguments: &[&str]) -> Output {
    Command::new(AGENT).args(arguments).output().unwrap()
}

/// Opens to read and write, made if it is not there.
pub fn open(path: &Path, flags: OFlags) -> io::Result<fs::File> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// Writes without syncing.
pub fn put(path: &Path, at: u64, bytes: &[u8]) {
    put_with(path, at, bytes, OFlags::empty());
}

pub fn put_with(path: &Path, at: u64, bytes: &[u8], flags: OFlags) {
    open(path, flags).unwrap().write_all_at(bytes, at).unwrap();
}

pub fn sync(path: &Path) {
    fs::File::open(path).unwrap().sync_all().unwrap();
}
