//! Probes that outlive the channel that armed them: sshd was killed, the network is cut, the controller is away for a moment.
//!
//! ```text
//! agent 1 ── armed, door at FOLDER/kept/KEY ── its input closes ── keeps the probe ── hands it over ── ends
//!                                                                                        │ descriptors
//! agent 2 ────────────────────────────── the same KEY is asked for ──────────────────────┘ goes on
//! ```
//!
//! What is handed over are the kernel's own objects: no entry is missed meanwhile, and none is counted twice.
//!
//! Laws:
//! - one who keeps a probe has it for as long as was asked, at most; then, or when its door is gone, it is taken away;
//! - whoever hands over has left its door before, so that the next one's is never removed;
//! - when the guard heals, or is told that there is nothing to be undone any more, nothing stays armed.

use std::{
    fs::{self, DirBuilder},
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::DirBuilderExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use harness_core::frame::probe::{Keep, MAX_KEEP_MS, ProbeArmed, ProbeHit};
use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use serde::{Deserialize, Serialize};

use crate::node::OWN_BINARY;

/// What is asked at a door: the probe, or that it be taken away.
const GIVE: u8 = b'g';
const END: u8 = b'e';
/// How long an answer at a door may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Bytes of what is said with the descriptors, at most.
const STATE_BYTES: usize = 4096;
/// Descriptors of one probe: the probe and its program, the ring, the counters.
pub const DESCRIPTORS: usize = 4;

/// What is said with the descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// What was said when it was armed.
    pub said: ProbeArmed,
    /// Whether a signal is sent at the hit that fires.
    pub signalled: bool,
    /// The hit that fired, if it has.
    pub fired: Option<ProbeHit>,
}

/// A probe's descriptors in the order of [`DESCRIPTORS`], and what is known of it.
pub struct Given {
    pub descriptors: [OwnedFd; DESCRIPTORS],
    pub state: State,
}

/// Beside the agent's binary.
fn own_folder() -> io::Result<PathBuf> {
    let binary = fs::read_link(OWN_BINARY)?;
    Ok(binary.parent().ok_or(Errno::NOENT)?.join("kept"))
}

/// A file's name and nothing else.
fn is_name(key: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    (1..=64).contains(&key.len()) && key.chars().all(fits)
}

/// Where the next agent asks for a probe.
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// How long it is kept without a channel.
    pub limit: Duration,
    open: bool,
}

/// What became of a probe at its door.
#[derive(Debug)]
pub enum Answer {
    /// Somebody else has it, or it is to be taken away: this one waits until it is.
    Gone(UnixStream),
    /// It is ours as before.
    Ours,
}

impl Door {
    pub fn open(keep: &Keep) -> io::Result<Self> {
        Self::open_in(&own_folder()?, keep)
    }

    fn open_in(folder: &Path, keep: &Keep) -> io::Result<Self> {
        if !is_name(&keep.key) || keep.for_ms > MAX_KEEP_MS {
            return Err(Errno::INVAL.into());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let path = folder.join(&keep.key);
        remove(&path)?;
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            path,
            limit: Duration::from_millis(keep.for_ms),
            open: true,
        })
    }

    /// Whether it is still there: who removes us from the node removes it.
    pub fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Answers whoever stands there.
    pub fn answer(
        &mut self,
        state: &State,
        descriptors: [BorrowedFd<'_>; DESCRIPTORS],
    ) -> io::Result<Answer> {
        let mut visitor = match self.listener.accept() {
            Ok((visitor, _)) => visitor,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Answer::Ours),
            Err(error) => return Err(error),
        };
        visitor.set_nonblocking(false)?;
        visitor.set_read_timeout(Some(ANSWER_LIMIT))?;
        visitor.set_write_timeout(Some(ANSWER_LIMIT))?;
        let mut wish = [0];
        if visitor.read_exact(&mut wish).is_err() {
            return Ok(Answer::Ours);
        }
        self.close()?;
        if wish == [GIVE] {
            send(&visitor, state, descriptors)?;
        }
        Ok(Answer::Gone(visitor))
    }

    fn close(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.open) {
            remove(&self.path)?;
        }
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // It may have gone with us from the node.
        let _ = self.close();
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// The probe that is kept under this key, if there is one.
pub fn take(keep: &Keep) -> Option<Given> {
    own_folder()
        .and_then(|folder| take_from(&folder, keep))
        .ok()
}

fn take_from(folder: &Path, keep: &Keep) -> io::Result<Given> {
    if !is_name(&keep.key) {
        return Err(Errno::INVAL.into());
    }
    let door = knock(&folder.join(&keep.key), GIVE)?;
    receive(&door)
}

/// Takes away all that are kept on this node, and returns when they are gone.
pub fn end_all() {
    let Ok(entries) = own_folder().and_then(fs::read_dir) else {
        return;
    };
    for entry in entries.flatten() {
        let ended = knock(&entry.path(), END).and_then(|mut door| {
            // Its end closes the connection.
            door.read_to_end(&mut Vec::new())
        });
        if ended.is_err() {
            // Nobody is behind it.
            let _ = remove(&entry.path());
        }
    }
}

fn knock(path: &Path, wish: u8) -> io::Result<UnixStream> {
    let mut door = UnixStream::connect(path)?;
    door.set_read_timeout(Some(ANSWER_LIMIT))?;
    door.set_write_timeout(Some(ANSWER_LIMIT))?;
    door.write_all(&[wish])?;
    Ok(door)
}

fn send(
    to: &UnixStream,
    state: &State,
    descriptors: [BorrowedFd<'_>; DESCRIPTORS],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(state)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if bytes.len() > STATE_BYTES || !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::TOOBIG.into());
    }
    let sent = sendmsg(
        to,
        &[IoSlice::new(&bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    if sent < bytes.len() {
        return Err(Errno::IO.into());
    }
    Ok(())
}

fn receive(from: &UnixStream) -> io::Result<Given> {
    let mut bytes = [0; STATE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        from,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::with_capacity(DESCRIPTORS);
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let state = serde_json::from_slice(&bytes[..received.bytes])?;
    let descriptors = descriptors.try_into().map_err(|_| Errno::BADMSG)?;
    Ok(Given { descriptors, state })
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::fd::AsRawFd, thread};

    use harness_core::frame::probe::ProbeMethod;

    use super::*;

    fn keep(key: &str) -> Keep {
        Keep {
            key: key.to_owned(),
            for_ms: 1000,
        }
    }

    fn state() -> State {
        State {
            said: ProbeArmed {
                method: ProbeMethod::UprobePmu,
                unprobed: Vec::new(),
                attach_ns: 1,
                monotonic_ns: 2,
                wall_ns: 3,
                kept: false,
            },
            signalled: true,
            fired: None,
        }
    }

    /// Answers one visitor; what became of it.
    fn answer(mut door: Door, files: [fs::File; DESCRIPTORS]) -> thread::JoinHandle<bool> {
        thread::spawn(move || {
            door.listener.set_nonblocking(false).unwrap();
            let [a, b, c, d] = &files;
            let files = [a.as_fd(), b.as_fd(), c.as_fd(), d.as_fd()];
            matches!(door.answer(&state(), files), Ok(Answer::Gone(_)))
        })
    }

    fn files(folder: &Path) -> [fs::File; DESCRIPTORS] {
        ["a", "b", "c", "d"].map(|name| {
            fs::write(folder.join(name), name).unwrap();
            fs::File::open(folder.join(name)).unwrap()
        })
    }

    #[test]
    fn the_very_descriptors_are_handed_over_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        let door = Door::open_in(&kept, &keep("run-1")).unwrap();
        let path = door.path.clone();
        let answering = answer(door, files(folder.path()));
        let given = take_from(&kept, &keep("run-1")).unwrap();
        assert!(answering.join().unwrap());
        assert!(!path.exists());
        assert_eq!(given.state.said, state().said);
        for (descriptor, expected) in given.descriptors.into_iter().zip(["a", "b", "c", "d"]) {
            let number = descriptor.as_raw_fd();
            let mut text = String::new();
            fs::File::from(descriptor)
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, expected, "{number}");
        }
        assert!(take_from(&kept, &keep("run-1")).is_err(), "given once");
    }

    #[test]
    fn who_is_told_to_end_gives_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        let door = Door::open_in(&kept, &keep("run-2")).unwrap();
        let path = door.path.clone();
        let answering = answer(door, files(folder.path()));
        let mut visitor = knock(&path, END).unwrap();
        assert_eq!(visitor.read_to_end(&mut Vec::new()).unwrap(), 0);
        assert!(answering.join().unwrap());
    }

    #[test]
    fn a_key_is_a_plain_name_and_the_time_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        for key in ["", "../x", "a/b", "a b", &"x".repeat(65)] {
            assert!(Door::open_in(folder.path(), &keep(key)).is_err(), "{key}");
            assert!(take_from(folder.path(), &keep(key)).is_err(), "{key}");
        }
        let long = Keep {
            for_ms: MAX_KEEP_MS + 1,
            ..keep("run")
        };
        assert!(Door::open_in(folder.path(), &long).is_err());
    }
}
