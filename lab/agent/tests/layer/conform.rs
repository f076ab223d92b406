//! What programs do in a folder, so that what comes of it can be compared.

use std::{
    fs,
    io::Write,
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use rustix::fs::{CWD, FallocateFlags, FileType, Mode, OFlags, SeekFrom, fallocate, mknodat, seek};

use super::{AGENT, DSYNC, NOBODY, open, put};

pub fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// Bytes at an address that direct I/O takes.
pub fn aligned(fill: u8, count: usize) -> (Vec<u8>, usize) {
    let bytes = vec![fill; count + 4096];
    let from = bytes.as_ptr().align_offset(4096);
    (bytes, from)
}

/// Does what programs do in a folder; what came of each.
pub fn conform(folder: &Path) -> Vec<String> {
    let mut came = Vec::new();
    let mut note = |what: &str, of: String| came.push(format!("{what}: {of}"));
    let at = |name: &str| folder.join(name);
    let text = |name: &str| format!("{:?}", fs::read(folder.join(name)).map(|bytes| bytes.len()));

    fs::write(at("a"), b"hello").unwrap();
    note("written", format!("{:?}", fs::read(at("a")).unwrap()));
    put(&at("a"), 100_000, b"end");
    note("sparse", text("a"));
    let mut appended = fs::OpenOptions::new().append(true).open(at("a")).unwrap();
    appended.write_all(b"more").unwrap();
    drop(appended);
    note("appended", text("a"));
    fs::File::options()
        .write(true)
        .open(at("a"))
        .unwrap()
        .set_len(3)
        .unwrap();
    note("truncated", format!("{:?}", fs::read(at("a")).unwrap()));
    let truncating = fs::File::create(at("a")).unwrap();
    note("opened with O_TRUNC", text("a"));
    drop(truncating);
    note(
        "made twice",
        format!("{:?}", errno(fs::File::create_new(at("a")))),
    );
    note("not there", format!("{:?}", errno(fs::read(at("none")))));

    fs::create_dir(at("d")).unwrap();
    fs::write(at("d/x"), b"x").unwrap();
    note(
        "folder with something in it",
        format!("{:?}", errno(fs::remove_dir(at("d")))),
    );
    fs::rename(at("a"), at("d/a")).unwrap();
    fs::write(at("b"), b"over").unwrap();
    fs::rename(at("d/x"), at("b")).unwrap();
    note("renamed over", format!("{:?}", fs::read(at("b")).unwrap()));
    fs::hard_link(at("b"), at("c")).unwrap();
    put(&at("c"), 1, b"yz");
    let linked = fs::metadata(at("b")).unwrap();
    note("linked", format!("{} {}", linked.nlink(), linked.len()));
    symlink("b", at("s")).unwrap();
    note(
        "symbolic",
        format!(
            "{:?} {:?}",
            fs::read_link(at("s")).unwrap(),
            fs::read(at("s")).unwrap()
        ),
    );
    mknodat(
        CWD,
        at("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    let fifo = fs::metadata(at("fifo")).unwrap();
    note(
        "fifo",
        format!("{} {:o}", fifo.file_type().is_fifo(), fifo.mode()),
    );
    let listener = std::os::unix::net::UnixListener::bind(at("sock"));
    note("socket", format!("{:?}", errno(listener)));

    let mut open_file = open(&at("gone"), OFlags::empty()).unwrap();
    open_file.write_all(b"still here").unwrap();
    fs::remove_file(at("gone")).unwrap();
    let mut said = [0; 10];
    open_file.read_exact_at(&mut said, 0).unwrap();
    note(
        "unlinked while open",
        format!("{said:?} {}", open_file.metadata().unwrap().nlink()),
    );
    drop(open_file);

    let file = open(&at("f"), OFlags::empty()).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, 65_536).unwrap();
    note("allocated", format!("{}", file.metadata().unwrap().len()));
    fallocate(&file, FallocateFlags::KEEP_SIZE, 65_536, 65_536).unwrap();
    note(
        "allocated beyond",
        format!("{}", file.metadata().unwrap().len()),
    );
    file.write_all_at(&[7; 8192], 0).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, punch, 4096, 4096).unwrap();
    let bytes = fs::read(at("f")).unwrap();
    note(
        "punched",
        format!("{} {} {}", bytes[4095], bytes[4096], bytes.len()),
    );
    note(
        "no such allocation",
        format!(
            "{:?}",
            fallocate(&file, FallocateFlags::UNSHARE_RANGE, 0, 1).is_err()
        ),
    );
    let holed = open(&at("holed"), OFlags::empty()).unwrap();
    holed.write_all_at(b"x", 1 << 20).unwrap();
    holed.sync_all().unwrap();
    note(
        "data begins at",
        format!("{:?}", seek(&holed, SeekFrom::Data(0))),
    );
    note(
        "hole begins at",
        format!("{:?}", seek(&holed, SeekFrom::Hole(0))),
    );

    let direct = open(&at("direct"), OFlags::DIRECT | DSYNC).unwrap();
    let (block, from) = aligned(9, 8192);
    direct
        .write_all_at(&block[from..from + 8192], 4096)
        .unwrap();
    let (mut back, from) = aligned(0, 4096);
    direct
        .read_exact_at(&mut back[from..from + 4096], 8192)
        .unwrap();
    note(
        "direct",
        format!("{} {}", back[from], direct.metadata().unwrap().len()),
    );

    let mapped = open(&at("mapped"), OFlags::empty()).unwrap();
    mapped.set_len(8192).unwrap();
    #[expect(unsafe_code, reason = "a file can be mapped in no other way")]
    // SAFETY: nobody else has this file of the test's own folder.
    let mut map = unsafe { memmap2::MmapMut::map_mut(&mapped) }.unwrap();
    map[5000] = 42;
    map.flush().unwrap();
    let mut byte = [0];
    mapped.read_exact_at(&mut byte, 5000).unwrap();
    drop(map);
    note(
        "mapped",
        format!(
            "{byte:?} {:?}",
            fs::read(at("mapped")).map(|bytes| bytes[5000])
        ),
    );
    fs::copy(AGENT, at("program")).unwrap();
    let output = Command::new(at("program"))
        .arg("--version")
        .output()
        .unwrap();
    note("run", String::from_utf8(output.stdout).unwrap());

    rustix::fs::setxattr(at("b"), "user.k", b"value", rustix::fs::XattrFlags::CREATE).unwrap();
    let mut value = [0; 16];
    let count = rustix::fs::getxattr(at("b"), "user.k", &mut value[..]).unwrap();
    note("attribute", format!("{:?}", &value[..count]));
    let again = rustix::fs::setxattr(at("b"), "user.k", b"v", rustix::fs::XattrFlags::CREATE);
    note("attribute twice", format!("{again:?}"));
    let mut names = [0; 64];
    let count = rustix::fs::listxattr(at("b"), &mut names[..]).unwrap();
    note("attributes", format!("{:?}", &names[..count]));
    rustix::fs::removexattr(at("b"), "user.k").unwrap();
    note(
        "no attribute",
        format!(
            "{:?}",
            rustix::fs::getxattr(at("b"), "user.k", &mut value[..])
        ),
    );

    fs::set_permissions(at("b"), fs::Permissions::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(at("b"), Some(NOBODY), Some(NOBODY)).unwrap();
    let owned = fs::metadata(at("b")).unwrap();
    note(
        "given away",
        format!("{} {} {:o}", owned.uid(), owned.gid(), owned.mode()),
    );
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_000_000, 5_000);
    open(&at("c"), OFlags::empty())
        .unwrap()
        .set_modified(time)
        .unwrap();
    let times = fs::metadata(at("c")).unwrap();
    note("time", format!("{} {}", times.mtime(), times.mtime_nsec()));

    fs::create_dir(at("many")).unwrap();
    for number in 0..600 {
        fs::write(
            at(&format!("many/a file with quite a long name {number}")),
            b"",
        )
        .unwrap();
    }
    note(
        "many",
        format!("{}", fs::read_dir(at("many")).unwrap().count()),
    );
    fs::remove_dir_all(at("many")).unwrap();
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    note("names", format!("{names:?}"));
    let large = vec![3; 5 << 20];
    fs::write(at("large"), &large).unwrap();
    note(
        "large",
        format!("{}", fs::read(at("large")).unwrap() == large),
    );
    came
}
