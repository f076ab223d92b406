//! Watching logs and files by inotify, for one stream, gone with it.
//!
//! Laws:
//! - only folders are watched, so that files that come, go or are made anew are noticed, and folders on the way to them as well;
//! - a watch stands before what is there is looked at: what happens in between is seen twice rather than not at all, and counts once;
//! - what the kernel dropped is said, as an end: nobody can tell what was in it.

mod glob;
mod lines;
mod tree;

use std::{ffi::OsString, io, mem::MaybeUninit, os::fd::OwnedFd, path::Path};

use harness_core::frame::{
    message::{End, Failure},
    watch::{MAX_TOLD_CHARS, WatchEnd, WatchHit, WatchRequest, WatchTarget},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};

use self::{lines::Lines, tree::Tree};
use crate::{
    node,
    stream::{Inbound, Stream},
};

/// Bytes of events that are read in one go.
const EVENT_BYTES: usize = 16 * 1024;

/// Watches until the time that was asked for, or until the controller says so or is gone.
pub fn run(stream: &Stream, request: &WatchRequest) {
    match serve(stream, request) {
        Ok(end) => stream.end(&End::Watched(end)),
        Err(failure) => stream.end(&End::Failed(failure)),
    }
}

/// Something that happened to what a folder holds.
struct Event {
    folder: i32,
    flags: ReadFlags,
    name: OsString,
}

/// What is watched.
enum Watched {
    Lines(Lines),
    Tree(Tree),
}

impl Watched {
    fn new(notifier: &Notifier, what: &WatchTarget) -> Result<Self, Failure> {
        match what {
            WatchTarget::Log { paths, pattern } => {
                Lines::new(notifier, paths, pattern).map(Self::Lines)
            }
            WatchTarget::File { glob, event } => Tree::new(notifier, glob, *event).map(Self::Tree),
        }
    }

    /// Tells each time that was seen: path and text.
    fn look(
        &mut self,
        notifier: &Notifier,
        events: &[Event],
        seen: &mut dyn FnMut(&Path, &str),
    ) -> Result<(), Failure> {
        match self {
            Self::Lines(lines) => lines.look(notifier, events, seen),
            Self::Tree(tree) => tree.look(notifier, events, seen),
        }
    }
}

fn serve(stream: &Stream, request: &WatchRequest) -> Result<WatchEnd, Failure> {
    if request.nth == 0 {
        return Err(refuse("it is counted from 1, so there is no time 0"));
    }
    let notifier = Notifier::new()?;
    let mut watched = Watched::new(&notifier, &request.what)?;
    stream.opened();
    let mut end = WatchEnd::default();
    loop {
        if stream.cancelled() {
            return Err(failure("watch", &Errno::CANCELED.into()));
        }
        match stream.take() {
            Inbound::Eof => return Ok(end),
            Inbound::Data(bytes) => stream.consumed(bytes.len()),
            Inbound::Nothing => {}
        }
        let events = notifier.take()?;
        if !events.is_empty() {
            watched.look(&notifier, &events, &mut |path, text| {
                end.seen += 1;
                if end.seen == request.nth {
                    end.hit = Some(hit(path, text));
                }
            })?;
            if end.hit.is_some() {
                return Ok(end);
            }
            continue;
        }
        let mut fds = [
            PollFd::from_borrowed_fd(stream.wake_fd(), PollFlags::IN),
            PollFd::new(&notifier.0, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => stream.clear_wake(),
            Err(error) => return Err(failure("wait for events", &error.into())),
        }
    }
}

fn hit(path: &Path, text: &str) -> WatchHit {
    let clock = node::clock();
    let cut = |text: &str| text.chars().take(MAX_TOLD_CHARS).collect();
    WatchHit {
        path: cut(&path.to_string_lossy()),
        text: cut(text),
        monotonic_ns: clock.monotonic_ns,
        wall_ns: clock.wall_ns,
    }
}

/// The kernel's notifications.
struct Notifier(OwnedFd);

impl Notifier {
    fn new() -> Result<Self, Failure> {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        inotify::init(flags)
            .map(Self)
            .map_err(|error| failure("watch files", &error.into()))
    }

    /// Watches a folder; none if there is no such folder.
    fn add(&self, folder: &Path, flags: WatchFlags) -> Result<Option<i32>, Failure> {
        let flags = flags | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD;
        match inotify::add_watch(&self.0, folder, flags) {
            Ok(number) => Ok(Some(number)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => {
                let what = format!("watch {}", folder.display());
                Err(failure(&what, &error.into()))
            }
        }
    }

    /// What happened since the last call; empty if nothing did.
    fn take(&self) -> Result<Vec<Event>, Failure> {
        let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut events = Vec::new();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(events),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failure("read events", &error.into())),
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                return Err(refuse(
                    "more happened than the kernel keeps (fs.inotify.max_queued_events), and some of it was lost",
                ));
            }
            let name = event.file_name().map(|name| name.to_bytes().to_vec());
            let name = name.unwrap_or_default();
            events.push(Event {
                folder: event.wd(),
                flags: event.events(),
                name: std::os::unix::ffi::OsStringExt::from_vec(name),
            });
            if reader.is_buffer_empty() {
                return Ok(events);
            }
        }
    }
}

/// What could not be done, in words that name the mend.
fn failure(what: &str, error: &io::Error) -> Failure {
    let mend = match error.raw_os_error() {
        Some(libc::EMFILE) => " (mend: raise fs.inotify.max_user_instances)",
        Some(libc::ENOSPC) => " (mend: raise fs.inotify.max_user_watches)",
        _ => "",
    };
    Failure {
        errno: error.raw_os_error(),
        message: format!("{what}: {error}{mend}"),
    }
}

fn refuse(message: impl Into<String>) -> Failure {
    Failure {
        errno: Some(libc::EINVAL),
        message: message.into(),
    }
}
