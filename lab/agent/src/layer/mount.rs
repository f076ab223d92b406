//! Making a layer over a folder.

use std::{
    ffi::CString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, OpenOptionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::{Resource, Rlimit, getrlimit, setrlimit, setsid, umask},
};

use super::{
    Layer, SERVE,
    control::{ask, beside},
};
use crate::node::OWN_BINARY;

/// What such a mount is called in `/proc/mounts`.
const KIND: &str = "fuse.harness-layer";
/// The kernel's door.
const DEVICE: &str = "/dev/fuse";
/// How many requests are worked on at a time.
const WORKERS: usize = 8;
/// How long a layer may take to be there.
const BEGIN_LIMIT: Duration = Duration::from_secs(15);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(10);
/// How many dead mounts over each other are removed.
const DEAD_MAX: usize = 16;

/// `layer-mount FOLDER`: there is a layer over it that answers, or why not.
pub fn main_mount(arguments: &[String]) -> ExitCode {
    let [folder] = arguments else {
        return ExitCode::FAILURE;
    };
    match make(Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("no layer can be made over {folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn make(folder: &Path) -> io::Result<()> {
    let own = beside(folder, "");
    DirBuilder::new().recursive(true).mode(0o700).create(own)?;
    let lock = File::create(beside(folder, "lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    for _ in 0..DEAD_MAX {
        if !is_mounted(folder)? {
            break;
        }
        if ask(folder, "look").is_ok() {
            return Ok(());
        }
        // Its layer has ended: whoever has files open there cannot use them any more.
        unmount(folder, UnmountFlags::DETACH)?;
    }
    let said = beside(folder, "said");
    let mut child = Command::new(OWN_BINARY)
        .arg(SERVE)
        .arg(folder)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&said)?)
        .spawn()?;
    let give_up = Instant::now() + BEGIN_LIMIT;
    loop {
        if is_mounted(folder)? && ask(folder, "look").is_ok() {
            return Ok(());
        }
        if child.try_wait()?.is_some() {
            let why = fs::read_to_string(&said).unwrap_or_default();
            return Err(io::Error::other(why.trim().to_owned()));
        }
        if Instant::now() >= give_up {
            child.kill()?;
            child.wait()?;
            return Err(Errno::TIMEDOUT.into());
        }
        thread::sleep(POLL);
    }
}

/// Whether a layer is mounted there, dead or alive.
fn is_mounted(folder: &Path) -> io::Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let escaped = escape(folder);
    Ok(mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(&escaped) && words.next() == Some(KIND)
    }))
}

/// A path as `/proc/mounts` has it.
fn escape(path: &Path) -> String {
    let mut text = String::new();
    for character in path.display().to_string().chars() {
        match character {
            ' ' => text.push_str("\\040"),
            '\t' => text.push_str("\\011"),
            '\n' => text.push_str("\\012"),
            '\\' => text.push_str("\\134"),
            other => text.push(other),
        }
    }
    text
}

/// `layer-serve FOLDER`: the layer, until its mount is gone.
pub fn main_serve(arguments: &[String]) -> ExitCode {
    let [folder] = arguments else {
        return ExitCode::FAILURE;
    };
    match serve(PathBuf::from(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may read it any more.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(folder: PathBuf) -> io::Result<()> {
    // It leads a session already if it was started by hand.
    let _ = setsid();
    umask(Mode::empty());
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, Rlimit { ..files })?;
    let channel = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(DEVICE)
        .map_err(|error| io::Error::new(error.kind(), format!("{DEVICE}: {error}")))?;
    let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(&folder, path, Mode::empty())?;
    let control = beside(&folder, "control");
    match fs::remove_file(&control) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&control)?;
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
        channel.as_raw_fd()
    );
    let options = CString::new(options)?;
    let target = CString::new(folder.as_os_str().as_bytes())?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    mount("harness-layer", &*target, KIND, flags, &*options)
        .map_err(|error| io::Error::other(format!("mount of {KIND}: {error}")))?;
    let layer = Arc::new(Layer::new(folder, channel.into(), root)?);
    layer.listen(listener);
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let layer = Arc::clone(&layer);
            thread::spawn(move || layer.work())
        })
        .collect();
    for worker in workers {
        match worker.join() {
            Ok(ended) => ended?,
            Err(_) => return Err(io::Error::other("a worker panicked")),
        }
    }
    // Another one may listen there by now; then it is asked in vain once, and told anew.
    Ok(())
}
