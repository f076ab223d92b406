//! Following logs: lines that are appended, across renaming, removing, cutting and making anew.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use harness_core::frame::{
    message::Failure,
    watch::{MAX_LINE_BYTES, MAX_PATHS},
};
use regex_lite::Regex;
use rustix::fs::inotify::{ReadFlags, WatchFlags};

use super::{Event, Notifier, failure, refuse};

/// Bytes that are read in one go.
const READ_BYTES: usize = 64 * 1024;

/// Files that are followed.
pub(super) struct Lines {
    followed: Vec<Followed>,
    pattern: Regex,
}

/// One file.
struct Followed {
    path: PathBuf,
    /// The file that was found under that name last: it may have been renamed since, and written to still.
    open: Option<File>,
    offset: u64,
    /// The beginning of a line whose end is not there yet.
    begun: Vec<u8>,
}

impl Lines {
    pub(super) fn new(
        notifier: &Notifier,
        paths: &[String],
        pattern: &str,
    ) -> Result<Self, Failure> {
        if paths.is_empty() || paths.len() > MAX_PATHS {
            let message = format!("{} logs to follow, not 1 to {MAX_PATHS}", paths.len());
            return Err(refuse(message));
        }
        let pattern = Regex::new(pattern)
            .map_err(|error| refuse(format!("{pattern:?} is no regular expression: {error}")))?;
        let mut lines = Self {
            followed: paths.iter().map(|path| Followed::new(path)).collect(),
            pattern,
        };
        lines.watch_folders(notifier)?;
        for followed in &mut lines.followed {
            followed.begin_at_end().map_err(|error| {
                let what = format!("follow {}", followed.path.display());
                failure(&what, &error)
            })?;
        }
        Ok(lines)
    }

    /// Idempotent.
    fn watch_folders(&self, notifier: &Notifier) -> Result<(), Failure> {
        let way = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        for followed in &self.followed {
            let mut folders = followed.path.ancestors().skip(1);
            if let Some(own) = folders.next() {
                notifier.add(own, way | WatchFlags::MODIFY)?;
            }
            for folder in folders {
                notifier.add(folder, way)?;
            }
        }
        Ok(())
    }

    pub(super) fn look(
        &mut self,
        notifier: &Notifier,
        events: &[Event],
        seen: &mut dyn FnMut(&Path, &str),
    ) -> Result<(), Failure> {
        let moved = ReadFlags::ISDIR | ReadFlags::IGNORED | ReadFlags::DELETE_SELF;
        let moved = moved | ReadFlags::MOVE_SELF;
        if events.iter().any(|event| event.flags.intersects(moved)) {
            self.watch_folders(notifier)?;
        }
        let pattern = &self.pattern;
        for followed in &mut self.followed {
            let path = followed.path.clone();
            followed
                .read(&mut |line| {
                    let line = String::from_utf8_lossy(line);
                    if pattern.is_match(&line) {
                        seen(&path, &line);
                    }
                })
                .map_err(|error| failure(&format!("read {}", path.display()), &error))?;
        }
        Ok(())
    }
}

impl Followed {
    fn new(path: &str) -> Self {
        Self {
            path: path.into(),
            open: None,
            offset: 0,
            begun: Vec::new(),
        }
    }

    fn begin_at_end(&mut self) -> io::Result<()> {
        self.open = found(File::open(&self.path))?;
        if let Some(file) = &self.open {
            self.offset = file.metadata()?.len();
        }
        Ok(())
    }

    /// Takes what was appended since, of whatever has stood under the name since.
    fn read(&mut self, line: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        loop {
            self.read_open(line)?;
            let Some(now) = found(fs::metadata(&self.path))? else {
                return Ok(());
            };
            let Some(file) = &self.open else {
                self.open_anew()?;
                continue;
            };
            let known = file.metadata()?;
            if (known.dev(), known.ino()) != (now.dev(), now.ino()) {
                self.open_anew()?;
            } else if now.len() < self.offset {
                self.offset = 0;
                self.begun.clear();
            } else {
                return Ok(());
            }
        }
    }

    fn open_anew(&mut self) -> io::Result<()> {
        // It may be gone again.
        self.open = found(File::open(&self.path))?;
        self.offset = 0;
        self.begun.clear();
        Ok(())
    }

    fn read_open(&mut self, line: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let Some(file) = &mut self.open else {
            return Ok(());
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.offset += count as u64;
            for piece in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
                let ended = piece.last() == Some(&b'\n');
                let text = &piece[..piece.len() - usize::from(ended)];
                let room = MAX_LINE_BYTES.saturating_sub(self.begun.len());
                self.begun.extend_from_slice(&text[..text.len().min(room)]);
                if ended {
                    line(&self.begun);
                    self.begun.clear();
                }
            }
        }
    }
}

/// None for what is not there.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        Err(error) => Err(error),
    }
}
