//! Files that match a glob: created, changed, removed.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use harness_core::{
    frame::{message::Failure, watch::MAX_FOLDERS},
    trigger::FileEvent,
};
use rustix::fs::inotify::{ReadFlags, WatchFlags};

use super::{Event, Notifier, failure, glob::Glob, refuse};

/// How long what a listing found may be told once more by its folder's watch: events wait in a queue, and a busy machine reads them
/// in several goes.
const TOLD_AGAIN: Duration = Duration::from_secs(2);

/// Folders that the glob leads through.
pub(super) struct Tree {
    glob: Glob,
    event: FileEvent,
    folders: HashMap<i32, PathBuf>,
    /// What was listed when its folder came to be, and is told; and when that was.
    listed: HashMap<PathBuf, Instant>,
}

impl Tree {
    pub(super) fn new(notifier: &Notifier, glob: &str, event: FileEvent) -> Result<Self, Failure> {
        let parsed =
            Glob::new(glob).ok_or_else(|| refuse(format!("{glob:?} is no glob from / on")))?;
        let mut tree = Self {
            glob: parsed,
            event,
            folders: HashMap::new(),
            listed: HashMap::new(),
        };
        // What is there already does not count.
        tree.enter(notifier, Path::new("/"), &mut |_, _| {})?;
        Ok(tree)
    }

    fn wanted(&self) -> WatchFlags {
        let way = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM;
        match self.event {
            FileEvent::Created => way,
            FileEvent::Changed => way | WatchFlags::MODIFY,
            FileEvent::Removed => way | WatchFlags::DELETE,
        }
    }

    /// Watches a folder and those in it that the glob leads through, and tells what it finds there: for a folder that has just come
    /// to be, that was created.
    fn enter(
        &mut self,
        notifier: &Notifier,
        folder: &Path,
        created: &mut dyn FnMut(&Path, &str),
    ) -> Result<(), Failure> {
        let Some(number) = notifier.add(folder, self.wanted())? else {
            return Ok(());
        };
        self.folders.insert(number, folder.to_owned());
        if self.folders.len() > MAX_FOLDERS {
            return Err(refuse(format!(
                "the glob leads through more than {MAX_FOLDERS} folders (mend: a narrower one)"
            )));
        }
        let at = |error: io::Error| failure(&format!("list {}", folder.display()), &error);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(error)),
        };
        for entry in entries {
            let path = entry.map_err(at)?.path();
            if self.event == FileEvent::Created && self.means(&path) {
                created(&path, "");
            }
            self.enter_below(notifier, &path, created)?;
        }
        Ok(())
    }

    fn enter_below(
        &mut self,
        notifier: &Notifier,
        path: &Path,
        created: &mut dyn FnMut(&Path, &str),
    ) -> Result<(), Failure> {
        let text = path.to_string_lossy().into_owned();
        let names = names(&text);
        if !self.glob.leads_through(&names) {
            return Ok(());
        }
        let looked = match self.glob.is_literal(names.len()) {
            true => fs::metadata(path),
            false => fs::symlink_metadata(path),
        };
        match looked {
            Ok(found) if found.is_dir() => self.enter(notifier, path, created),
            // A file, or gone by now.
            _ => Ok(()),
        }
    }

    fn means(&self, path: &Path) -> bool {
        self.glob.matches(&names(&path.to_string_lossy()))
    }

    pub(super) fn look(
        &mut self,
        notifier: &Notifier,
        events: &[Event],
        seen: &mut dyn FnMut(&Path, &str),
    ) -> Result<(), Failure> {
        let counts = match self.event {
            FileEvent::Created => ReadFlags::CREATE | ReadFlags::MOVED_TO,
            FileEvent::Changed => ReadFlags::MODIFY,
            FileEvent::Removed => ReadFlags::DELETE | ReadFlags::MOVED_FROM,
        };
        self.listed.retain(|_, at| at.elapsed() < TOLD_AGAIN);
        for event in events {
            if event.flags.contains(ReadFlags::IGNORED) {
                self.folders.remove(&event.folder);
                continue;
            }
            let Some(folder) = self.folders.get(&event.folder) else {
                continue;
            };
            let path = folder.join(&event.name);
            let is_folder = event.flags.contains(ReadFlags::ISDIR);
            if is_folder && event.flags.contains(ReadFlags::MOVED_FROM) {
                // What it holds is under another name from now on.
                self.folders.retain(|_, folder| !folder.starts_with(&path));
            }
            let came = event
                .flags
                .intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
            let twice = came && self.listed.contains_key(&path);
            if event.flags.intersects(counts) && self.means(&path) && !twice {
                seen(&path, "");
            }
            if is_folder && came {
                let mut found = Vec::new();
                self.enter_below(notifier, &path, &mut |path, _| found.push(path.to_owned()))?;
                for path in found {
                    if self.listed.insert(path.clone(), Instant::now()).is_none() {
                        seen(&path, "");
                    }
                }
            }
        }
        Ok(())
    }
}

fn names(path: &str) -> Vec<&str> {
    path.split('/').filter(|name| !name.is_empty()).collect()
}
