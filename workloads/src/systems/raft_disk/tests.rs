use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use harness_core::view::{LOG, Member};
use harness_lab::{
    Address, ClockOffset, Daemon, Exec, ExitStatus, NodeName, NodeStream, Output, Transport,
    TransportError,
};
use tempfile::TempDir;

use super::*;

/// What happens to the folder each time a file of it is read.
type Meddle = Box<dyn Fn(&Path) + Send + Sync>;

/// This machine in the place of a node.
struct Here {
    read_bytes: AtomicUsize,
    meddle: Meddle,
}

#[async_trait]
impl Transport for Here {
    fn node(&self) -> &str {
        "n1"
    }

    async fn exec(&self, exec: Exec) -> Result<Output, TransportError> {
        let output = Command::new(&exec.argv[0])
            .args(&exec.argv[1..])
            .output()
            .unwrap();
        Ok(Output {
            status: ExitStatus::Code(output.status.code().unwrap()),
            stdout: output.stdout,
            stderr: output.stderr,
            stdout_dropped_bytes: 0,
            stderr_dropped_bytes: 0,
            duration: Duration::ZERO,
        })
    }

    async fn read_file(
        &self,
        path: &Path,
        offset_bytes: u64,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, TransportError> {
        // So that a deadline can be over.
        tokio::time::sleep(Duration::from_millis(1)).await;
        (self.meddle)(path);
        let refused = |source| TransportError::Refused {
            node: "n1".to_owned(),
            what: format!("read {}", path.display()),
            source,
        };
        let bytes = fs::read(path).map_err(refused)?;
        let from = usize::try_from(offset_bytes).unwrap().min(bytes.len());
        let to = (from + limit_bytes).min(bytes.len());
        self.read_bytes.fetch_add(to - from, Ordering::SeqCst);
        Ok(bytes[from..to].to_vec())
    }

    async fn spawn(&self, _: Daemon) -> Result<u32, TransportError> {
        unreachable!("reading starts nothing")
    }

    async fn write_file(&self, _: &Path, _: u32, _: &[u8]) -> Result<(), TransportError> {
        unreachable!("reading writes nothing")
    }

    async fn upload(&self, _: &Path, _: &Path, _: u32) -> Result<u64, TransportError> {
        unreachable!("reading writes nothing")
    }

    async fn download(&self, _: &Path, _: &Path, _: u64) -> Result<u64, TransportError> {
        unreachable!("nothing is copied whole")
    }

    async fn connect(
        &self,
        _: &Address,
        _: Duration,
    ) -> Result<Box<dyn NodeStream>, TransportError> {
        unreachable!("nobody is asked")
    }

    async fn clock_offset(&self) -> Result<ClockOffset, TransportError> {
        unreachable!("no clock is read")
    }

    async fn close(&self) {}
}

/// The folder of a real node, as `dqlite-wire` keeps it, in its true sizes.
struct Fixture {
    folder: TempDir,
    node: Node,
    here: Arc<Here>,
}

impl Fixture {
    fn new(name: &str) -> Self {
        Self::meddled(name, Box::new(|_| {}))
    }

    fn meddled(name: &str, meddle: Meddle) -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("dqlite-wire/tests/fixtures/raft")
            .join(name);
        let folder = TempDir::new().unwrap();
        for line in fs::read_to_string(from.join("SIZES")).unwrap().lines() {
            let (size_bytes, file) = line.split_once(' ').unwrap();
            let to = folder.path().join(file);
            fs::copy(from.join(file), &to).unwrap();
            let file = fs::File::options().write(true).open(to).unwrap();
            file.set_len(size_bytes.parse().unwrap()).unwrap();
        }
        Self::at(folder, meddle)
    }

    fn at(folder: TempDir, meddle: Meddle) -> Self {
        let here = Arc::new(Here {
            read_bytes: AtomicUsize::new(0),
            meddle,
        });
        let node = Node {
            name: NodeName::new("n1"),
            ordinal: 0,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            transport: here.clone(),
        };
        Self { folder, node, here }
    }

    async fn read(&self, reader: &Reader) -> Vec<PlaceReading> {
        let deadline = Duration::from_secs(60);
        reader.read(&self.node, self.folder.path(), deadline).await
    }

    async fn read_new(&self) -> Vec<PlaceReading> {
        self.read(&Reader::default()).await
    }

    fn read_bytes(&self) -> usize {
        self.here.read_bytes.swap(0, Ordering::SeqCst)
    }
}

fn members(reading: &PlaceReading) -> &[Member] {
    match &reading.reading {
        Reading::Members(members) => members,
        Reading::Unread { kind, message } => panic!("{kind:?}: {message}"),
    }
}

fn why(reading: &PlaceReading) -> (UnreadKind, &str) {
    match &reading.reading {
        Reading::Unread { kind, message } => (*kind, message),
        Reading::Members(members) => panic!("{members:?}"),
    }
}

const ALL: [&str; 7] = [
    "bookworm-joined",
    "bookworm-live",
    "bookworm-killed",
    "bookworm-stopped",
    "trixie-live",
    "trixie-killed",
    "trixie-stopped",
];

#[tokio::test]
async fn real_folders_tell_the_newest_first_and_then_the_older_ones() {
    for name in ALL {
        let fixture = Fixture::new(name);
        let readings = fixture.read_new().await;
        let newest = readings[0].raft.unwrap();
        assert_eq!(readings[0].label, Some(LABEL), "{name}");
        assert!(newest.index.is_some() && newest.entry_term.is_some());
        assert!(newest.term.is_some() && newest.leader.is_none());
        // The last change may still be undone; those before it may not.
        assert_eq!(newest.committed, None, "{name}");
        assert!(readings.len() > 3, "{name}: {}", readings.len());
        for pair in readings.windows(2) {
            let [new, old] = [&pair[0], &pair[1]].map(|reading| reading.raft.unwrap());
            assert_eq!(pair[1].label, Some(LOG), "{name}");
            assert_eq!(old.committed, Some(true), "{name}");
            assert_eq!(new.previous_index, old.index, "{name}");
            assert_ne!(members(&pair[0]), members(&pair[1]), "{name}");
        }
        // Three open segments of 8 MiB each are there where the node ran.
        let read = fixture.read_bytes();
        assert!(read < 256 * 1024, "{name}: {read} bytes");
    }
}

/// The one follower whose snapshot calls a configuration by the index of the one before it.
#[tokio::test]
async fn a_snapshot_that_is_mispaired_contradicts_nobody() {
    let follower = Fixture::new("bookworm-mispaired").read_new().await;
    let leader = Fixture::new("bookworm-live").read_new().await;
    assert_eq!(follower.len(), 1);
    assert!(!members(&follower[0]).is_empty());
    let at = follower[0].raft.unwrap();
    assert_eq!((at.index, at.committed), (None, None));
    // What it holds is told with its true index by the one whose log still has the entry.
    let same = leader
        .iter()
        .find(|reading| members(reading) == members(&follower[0]));
    assert_eq!(same.unwrap().raft.unwrap().index, Some(11_265));
}

#[tokio::test]
async fn closed_segments_are_fetched_once_and_anew_when_they_are_others() {
    let fixture = Fixture::new("bookworm-stopped");
    let reader = Reader::default();
    let first = fixture.read(&reader).await;
    let whole = fixture.read_bytes();
    assert_eq!(fixture.read(&reader).await, first);
    let again = fixture.read_bytes();
    let name = "0000000000011265-0000000000011270";
    let path = fixture.folder.path().join(name);
    let segment_bytes = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
    assert_eq!(whole - again, segment_bytes);
    // The same name, another file: what was kept does not count.
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (kind, message) = {
        let readings = fixture.read(&reader).await;
        let (kind, message) = why(&readings[0]);
        (kind, message.to_owned())
    };
    assert_eq!(kind, UnreadKind::Error);
    assert!(message.contains("checksum mismatch"), "{message}");
}

#[tokio::test]
async fn what_holds_nobody_is_told_from_what_cannot_be_read() {
    // Nothing there, as on a node that stands by.
    let empty = Fixture::at(TempDir::new().unwrap(), Box::new(|_| {}));
    assert!(members(&empty.read_new().await[0]).is_empty());
    let missing = empty.folder.path().join("missing");
    let readings = read(&empty.node, &missing, Duration::from_secs(10)).await;
    assert!(members(&readings[0]).is_empty());
    // Raft would not start on this: its words say why.
    let broken = Fixture::new("bookworm-stopped");
    let segment = broken
        .folder
        .path()
        .join("0000000000011265-0000000000011270");
    let file = fs::File::options().write(true).open(segment).unwrap();
    file.set_len(100).unwrap();
    let readings = broken.read_new().await;
    let (kind, message) = why(&readings[0]);
    assert_eq!(kind, UnreadKind::Error);
    assert!(message.contains("load closed segment"), "{message}");
    // No time at all.
    let whole = Fixture::new("bookworm-live");
    let readings = read(&whole.node, whole.folder.path(), Duration::ZERO).await;
    assert_eq!(why(&readings[0]).0, UnreadKind::Timeout);
}

#[tokio::test]
async fn a_folder_that_changes_is_read_again_but_not_for_ever() {
    // Raft closes the segment that it wrote, once, while it is read.
    let close = |path: &Path| {
        let folder = path.parent().unwrap();
        let closed = folder.join("0000000000011265-0000000000011269");
        let open = folder.join("open-1");
        if open.exists() {
            let bytes = fs::read(&open).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            fs::write(&closed, &bytes[..used.next_multiple_of(8)]).unwrap();
            fs::remove_file(open).unwrap();
        }
    };
    let calm = Fixture::new("bookworm-live").read_new().await;
    let changing = Fixture::meddled("bookworm-live", Box::new(close));
    assert_eq!(changing.read_new().await, calm);

    let count = AtomicUsize::new(0);
    let restless = Fixture::meddled(
        "bookworm-live",
        Box::new(move |path| {
            let number = 100 + count.fetch_add(1, Ordering::SeqCst);
            fs::write(path.with_file_name(format!("open-{number}")), [0; 8]).unwrap();
        }),
    );
    let readings = restless.read_new().await;
    let (kind, message) = why(&readings[0]);
    assert_eq!(kind, UnreadKind::Error);
    assert!(
        message.contains("changed while they were read"),
        "{message}"
    );
}
