//! Raft's files written by hand, so that tests can say exactly what stands in them; and the
//! committed folders of real nodes.

use std::fs;
use std::path::PathBuf;

use dqlite_wire::raft::{Configuration, File, Folder, Server};

pub const OPEN_SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

/// A folder in memory: names, bytes, sizes.
#[derive(Debug, Clone, Default)]
pub struct Files(pub Vec<(String, Vec<u8>, u64)>);

impl Files {
    /// Adds a whole file, or replaces it.
    pub fn put(&mut self, name: &str, bytes: Vec<u8>) {
        let size = bytes.len() as u64;
        self.remove(name);
        self.0.push((name.to_owned(), bytes, size));
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(other, ..)| other != name);
    }

    pub fn rename(&mut self, from: &str, to: &str) {
        for (name, ..) in &mut self.0 {
            if name == from {
                *name = to.to_owned();
            }
        }
    }

    /// Changes the bytes of a file, and its size with them.
    pub fn edit(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.0.iter_mut().find(|(other, ..)| other == name).unwrap();
        change(&mut file.1);
        file.2 = file.1.len() as u64;
    }

    pub fn read(&self) -> Folder {
        let files: Vec<_> = self
            .0
            .iter()
            .map(|(name, bytes, size)| File::beginning(name, bytes, *size))
            .collect();
        Folder::read(&files)
    }
}

/// A committed folder, and what its node answered to CLUSTER.
pub fn fixture(name: &str) -> (Files, String) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/raft")
        .join(name);
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let mut files = Files::default();
    for line in text("SIZES").lines() {
        let (size, name) = line.split_once(' ').unwrap();
        let bytes = fs::read(folder.join(name)).unwrap();
        files
            .0
            .push((name.to_owned(), bytes, size.parse().unwrap()));
    }
    let cluster = text("CLUSTER").lines().collect::<Vec<_>>().join(", ");
    (files, cluster)
}

/// Little-endian words.
pub fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The checksum by long division, bit by bit: nothing in common with the table of the decoder.
pub fn crc(parts: &[&[u8]]) -> u32 {
    let mut remainder: u32 = 0;
    for byte in parts.concat() {
        for bit in (0..8).rev() {
            let carries = (remainder >> 31 == 1) != (byte >> bit & 1 == 1);
            remainder = (remainder << 1) ^ if carries { 0x04c1_1db7 } else { 0 };
        }
    }
    remainder
}

pub fn metadata(version: u64, term: u64, voted_for: u64) -> Vec<u8> {
    words(&[1, version, term, voted_for])
}

pub fn configuration(configuration: &Configuration) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(words(&[configuration.servers.len() as u64]));
    for Server { id, address, role } in &configuration.servers {
        bytes.extend(id.to_le_bytes());
        bytes.extend(address.as_bytes());
        bytes.extend([0, role.disk_code()]);
    }
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// Term, type, payload.
pub type RawEntry = (u64, u8, Vec<u8>);

pub fn command(term: u64, bytes: usize) -> RawEntry {
    (term, 1, vec![0xab; bytes])
}

pub fn barrier(term: u64) -> RawEntry {
    (term, 2, vec![0; 8])
}

pub fn change(term: u64, new: &Configuration) -> RawEntry {
    (term, 3, configuration(new))
}

pub fn batch(entries: &[RawEntry]) -> Vec<u8> {
    let mut header = words(&[entries.len() as u64]);
    let mut data = Vec::new();
    for (term, code, payload) in entries {
        header.extend(term.to_le_bytes());
        header.extend([*code, 0, 0, 0]);
        header.extend((payload.len() as u32).to_le_bytes());
        data.extend(payload);
    }
    let mut bytes = crc(&[&header]).to_le_bytes().to_vec();
    bytes.extend(crc(&[&data]).to_le_bytes());
    bytes.extend(header);
    bytes.extend(data);
    bytes
}

/// A segment of these batches.
pub fn segment(batches: &[&[RawEntry]]) -> Vec<u8> {
    let mut bytes = words(&[1]);
    for entries in batches {
        bytes.extend(batch(entries));
    }
    bytes
}

pub fn closed_name(first: u64, end: u64) -> String {
    format!("{first:016}-{end:016}")
}

pub fn snapshot_meta(index: u64, members: &Configuration) -> Vec<u8> {
    let encoded = configuration(members);
    let covered = words(&[index, encoded.len() as u64]);
    let checksum = crc(&[&covered, &encoded]);
    let mut bytes = words(&[1, u64::from(checksum)]);
    bytes.extend(covered);
    bytes.extend(encoded);
    bytes
}

pub fn snapshot_data() -> Vec<u8> {
    words(&[1, 0])
}
