//! Prints what a dqlite data folder holds: term, vote, snapshots, segments, configurations, problems.
//!
//! `cargo run -p dqlite-wire --example raftdump -- /tmp/dqlite-demo/127.0.0.1:9001 [more folders ...]`
//!
//! It only reads. The exit code is 1 if raft would refuse to start on one of the folders.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use dqlite_wire::raft::{File, Folder, Segment, SegmentRange};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut code = ExitCode::SUCCESS;
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().is_none() {
        return Err("give the data folder of a node".into());
    }
    for path in args {
        println!("{path}");
        let folder = read(Path::new(&path))?;
        print(&folder);
        if folder.refusal().is_some() {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn read(path: &Path) -> Result<Folder, Box<dyn Error>> {
    let mut owned = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            owned.push((name, fs::read(entry.path())?));
        }
    }
    let files: Vec<_> = owned
        .iter()
        .map(|(name, bytes)| File::whole(name, bytes))
        .collect();
    Ok(Folder::read(&files))
}

fn print(folder: &Folder) {
    match folder.metadata {
        Some(metadata) => println!("  {metadata:?}"),
        None => println!("  no metadata"),
    }
    for snapshot in &folder.snapshots {
        println!(
            "  {}: {} bytes, {:?}",
            snapshot.id, snapshot.data_bytes, snapshot.data
        );
        match &snapshot.meta {
            Ok(meta) => println!(
                "    configuration {}: {}",
                meta.configuration_index, meta.configuration
            ),
            Err(fault) => println!("    {fault}"),
        }
    }
    for segment in &folder.segments {
        print_segment(segment);
    }
    println!(
        "  last index {}, last term {}",
        folder.last_index(),
        folder.last_term()
    );
    for at in folder.configurations() {
        let term = at.term.map_or("?".to_owned(), |term| term.to_string());
        let committed = if at.known_committed {
            "committed"
        } else {
            "last"
        };
        println!(
            "  configuration {} (term {term}, {:?}, {committed}): {}",
            at.index, at.origin, at.configuration
        );
    }
    for problem in &folder.problems {
        println!("  {:?}: {problem}", problem.severity);
    }
}

fn print_segment(segment: &Segment) {
    let range = match segment.range {
        SegmentRange::Closed { first, end } => format!("closed {first}-{end}"),
        SegmentRange::Open { counter } => format!("open {counter}"),
    };
    println!(
        "  {range}: {} entries from {:?} in {} batches, {} bytes, {:?}, {:?}",
        segment.entries.len(),
        segment.first_index,
        segment.batches,
        segment.used_bytes,
        segment.tail,
        segment.usage
    );
}
