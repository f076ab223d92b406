//! The layer on a real mount: it is as the folder beneath, fails what it is told to fail, and loses exactly what was not synced.
//! Needs root and a kernel with FUSE; fails, and never skips, without.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod layer;

use std::{
    fs,
    io::{ErrorKind, Read},
    os::unix::{
        fs::{FileExt, MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    process::Command,
};

use layer::{
    DSYNC, Layer, NOBODY,
    conform::{aligned, conform, errno},
    open, put, put_with, sync,
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use rustix::{
    fs::{FallocateFlags, OFlags, fallocate},
    io::Errno,
};

#[test]
fn it_is_as_the_folder_beneath() {
    let plain = Layer::bare();
    let layered = Layer::new();
    let expected = conform(&plain.folder());
    assert_eq!(conform(&layered.folder()), expected);
    let through = fs::read(layered.file("f")).unwrap();
    layered.unmount();
    layered.wait_for_end();
    // Without it the folder goes on as it was.
    assert_eq!(fs::read(layered.file("f")).unwrap(), through);
    assert_eq!(fs::metadata(layered.file("c")).unwrap().nlink(), 2);
    assert_eq!(fs::read(layered.file("large")).unwrap().len(), 5 << 20);
}

#[test]
fn rights_are_those_of_whoever_asks() {
    let layer = Layer::new();
    fs::set_permissions(
        layer.folder().parent().unwrap(),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    fs::write(layer.file("mine"), b"secret").unwrap();
    fs::set_permissions(layer.file("mine"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(layer.folder(), fs::Permissions::from_mode(0o777)).unwrap();
    let run = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(layer.folder());
        command.uid(NOBODY).gid(NOBODY).output().unwrap()
    };
    assert!(!run("cat mine").status.success());
    assert!(
        run("umask 027; echo x >theirs; mkdir folder")
            .status
            .success()
    );
    let theirs = fs::metadata(layer.file("theirs")).unwrap();
    assert_eq!(
        (theirs.uid(), theirs.gid(), theirs.mode() & 0o777),
        (NOBODY, NOBODY, 0o640)
    );
    assert_eq!(fs::metadata(layer.file("folder")).unwrap().uid(), NOBODY);
}

#[test]
fn what_is_to_fail_fails_and_nothing_else() {
    let layer = Layer::new();
    fs::write(layer.file("f"), vec![1; 8192]).unwrap();
    let file = open(&layer.file("f"), OFlags::empty()).unwrap();
    let dsync = open(&layer.file("f"), DSYNC).unwrap();
    let tries = || {
        let (mut block, from) = aligned(0, 4096);
        let direct = open(&layer.file("f"), OFlags::DIRECT).unwrap();
        [
            errno(direct.read_at(&mut block[from..from + 4096], 0).map(drop)),
            errno(file.write_at(b"x", 0).map(drop)),
            errno(file.sync_all()),
            errno(file.sync_data()),
            errno(file.set_len(8192)),
            errno(fallocate(&file, FallocateFlags::empty(), 0, 4096).map_err(Into::into)),
            errno(dsync.write_at(b"x", 0).map(drop)),
        ]
    };
    let io = Some(Errno::IO.raw_os_error());
    let full = Some(Errno::NOSPC.raw_os_error());
    assert_eq!(tries(), [None; 7]);
    for (rule, expected) in [
        ("EIO all 100", [io; 7]),
        ("EIO read 100", [io, None, None, None, None, None, None]),
        (
            "ENOSPC write 100",
            [None, full, None, None, full, full, full],
        ),
        ("EIO sync 100", [None, None, io, io, None, None, io]),
    ] {
        layer.tell(&format!("refuse {rule}"));
        assert_eq!(tries(), expected, "{rule}");
        // Names are not touched.
        fs::write(layer.file("other"), b"").unwrap();
        fs::remove_file(layer.file("other")).unwrap();
    }
    assert!(
        layer
            .tell("look")
            .starts_with("rule EIO sync 100\nrefused 0 0 3\n")
    );
    fs::write(layer.file(".harness-trial"), b"x").unwrap();
    assert_eq!(
        errno(
            fs::File::open(layer.file(".harness-trial"))
                .unwrap()
                .sync_all()
        ),
        io
    );
    assert!(layer.tell("pass").starts_with("rule none\nrefused 0 0 3\n"));
    assert_eq!(tries(), [None; 7]);
    layer.tell("refuse EIO write 50");
    let failed = (0..400).filter(|_| file.write_at(b"x", 0).is_err()).count();
    assert!((100..300).contains(&failed), "{failed} of 400");
}

#[test]
fn what_was_not_synced_is_lost_and_nothing_else() {
    let layer = Layer::bare();
    fs::write(layer.file("before"), b"before the layer").unwrap();
    layer.mount();
    let name = |name: &str| layer.file(name);
    assert_eq!(layer.lose(), [], "nothing was changed");

    put(&name("before"), 7, b"THE");
    put(&name("new"), 0, b"never synced");
    put(&name("synced"), 0, b"0123456789");
    sync(&name("synced"));
    put(&name("synced"), 3, b"xyz");
    put(&name("synced"), 8, b"longer");
    fs::create_dir(name("folder")).unwrap();
    put(&name("folder/data"), 0, b"durable");
    open(&name("folder/data"), OFlags::empty())
        .unwrap()
        .sync_data()
        .unwrap();
    fs::rename(name("folder/data"), name("renamed")).unwrap();
    put(&name("shorter"), 0, b"a long text");
    sync(&name("shorter"));
    open(&name("shorter"), OFlags::empty())
        .unwrap()
        .set_len(2)
        .unwrap();
    put(&name("again"), 0, b"one");
    sync(&name("again"));
    put(&name("again"), 0, b"two");
    sync(&name("again"));
    put_with(&name("o_sync"), 0, b"at once", OFlags::SYNC);
    put_with(&name("o_dsync"), 4, b"at once", DSYNC);
    let segment = open(&name("segment"), DSYNC).unwrap();
    fallocate(&segment, FallocateFlags::empty(), 0, 65_536).unwrap();
    let (block, from) = aligned(7, 4096);
    let direct = open(&name("direct"), OFlags::DIRECT | DSYNC).unwrap();
    fallocate(&direct, FallocateFlags::empty(), 0, 8192).unwrap();
    direct.write_all_at(&block[from..from + 4096], 0).unwrap();
    drop(direct);
    // Direct, and yet not synced.
    let direct = open(&name("direct"), OFlags::DIRECT).unwrap();
    direct
        .write_all_at(&block[from..from + 4096], 4096)
        .unwrap();
    drop(direct);
    let plain = open(&name("plain"), OFlags::empty()).unwrap();
    fallocate(&plain, FallocateFlags::empty(), 0, 65_536).unwrap();
    put(&name("unlinked"), 0, b"x");
    fs::remove_file(name("unlinked")).unwrap();
    put(&name("hole"), 0, &[5; 16_384]);
    sync(&name("hole"));
    let hole = open(&name("hole"), OFlags::empty()).unwrap();
    fallocate(
        &hole,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        4096,
        4096,
    )
    .unwrap();
    fs::write(name("over.tmp"), b"new content").unwrap();
    fs::rename(name("over.tmp"), name("over")).unwrap();

    let told = layer::agent(&["layer-tell", &layer.folder().display().to_string(), "lose"]);
    let said = String::from_utf8(told.stderr).unwrap();
    assert!(said.contains("is still open to be written"), "{said}");
    assert_eq!(fs::read(name("new")).unwrap(), b"never synced");
    drop((segment, plain, hole));
    let lost = layer.lose();
    let text = |file: &str| String::from_utf8(fs::read(name(file)).unwrap()).unwrap();
    assert_eq!(text("before"), "before the layer");
    assert_eq!(text("new"), "");
    assert_eq!(text("synced"), "0123456789");
    assert_eq!(text("renamed"), "durable");
    assert_eq!(text("shorter"), "a long text");
    assert_eq!(text("again"), "two");
    assert_eq!(text("o_sync"), "at once");
    assert_eq!(text("o_dsync"), "\0\0\0\0at once");
    assert_eq!(fs::read(name("segment")).unwrap(), vec![0; 65_536]);
    let direct = fs::read(name("direct")).unwrap();
    assert_eq!((direct.len(), direct[4095], direct[4096]), (8192, 7, 0));
    assert_eq!(text("plain"), "");
    assert_eq!(fs::read(name("hole")).unwrap(), vec![5; 16_384]);
    assert_eq!(text("over"), "", "its name was durable, its bytes were not");
    let named = |name: &str, back, cut, length| (name.to_owned(), back, cut, length);
    assert_eq!(
        lost,
        [
            named("before", 3, 0, 16),
            named("direct", 4096, 0, 8192),
            named("hole", 4096, 0, 16_384),
            named("new", 0, 12, 0),
            named("over", 0, 11, 0),
            named("plain", 0, 65_536, 0),
            named("shorter", 9, -9, 11),
            named("synced", 5, 4, 10),
        ]
    );
    assert_eq!(layer.lose(), [], "once");
    // It goes on: what is synced from now on stays.
    put(&name("synced"), 0, b"later");
    sync(&name("synced"));
    put(&name("synced"), 0, b"LATER");
    layer.lose();
    assert_eq!(text("synced"), "later56789");
}

/// A mapped file's pages are written when its process has gone: they were not synced either.
#[test]
fn what_was_mapped_and_not_synced_is_lost() {
    let layer = Layer::new();
    put(&layer.file("f"), 0, &[1; 8192]);
    sync(&layer.file("f"));
    let file = open(&layer.file("f"), OFlags::empty()).unwrap();
    #[expect(unsafe_code, reason = "a file can be mapped in no other way")]
    // SAFETY: nobody else changes this file of the test's own folder while it is mapped.
    let mut map = unsafe { memmap2::MmapMut::map_mut(&file) }.unwrap();
    map[0] = 2;
    map.flush().unwrap();
    map[4096] = 3;
    drop((map, file));
    layer.lose();
    let bytes = fs::read(layer.file("f")).unwrap();
    assert_eq!((bytes[0], bytes[4096]), (2, 1));
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, usize, usize, u8, bool),
    Resize(usize, usize),
    Sync(usize),
    Rename(usize, usize),
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    let file = || 0..3_usize;
    prop_oneof![
        8 => (file(), 0..20_000_usize, 1..9_000_usize, 1..=255_u8, prop::bool::weighted(0.25))
            .prop_map(|(file, at, length, byte, at_once)| Step::Write(file, at, length, byte, at_once)),
        2 => (file(), 0..30_000_usize).prop_map(|(file, length)| Step::Resize(file, length)),
        3 => file().prop_map(Step::Sync),
        1 => (file(), file()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => Just(Step::Lose),
    ]
}

/// A file as it is, and as it is once what was not synced is lost.
#[derive(Clone, Debug, Default)]
struct Model {
    now: Vec<u8>,
    durable: Vec<u8>,
}

#[test]
fn losing_gives_what_a_model_says() {
    let layer = Layer::new();
    // A write that is durable at once makes the whole file durable, where the kernel follows it by a sync: seen, not assumed.
    put(&layer.file("whole"), 0, b"plain");
    put_with(&layer.file("whole"), 100, b"x", DSYNC);
    layer.lose();
    let whole = fs::read(layer.file("whole")).unwrap()[0] != 0;
    eprintln!("O_DSYNC makes the whole file durable: {whole}");
    let mut runner = TestRunner::new(Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    });
    let steps = prop::collection::vec(step(), 1..40);
    runner
        .run(&steps, |steps| {
            let name = |file: usize| layer.file(&format!("file{file}"));
            let mut models: Vec<Model> = vec![Model::default(); 3];
            for file in 0..3 {
                let _ = fs::remove_file(name(file));
                fs::write(name(file), b"").unwrap();
            }
            for step in steps.iter().chain([&Step::Lose]) {
                match *step {
                    Step::Write(file, at, length, byte, at_once) => {
                        let flags = if at_once { DSYNC } else { OFlags::empty() };
                        put_with(&name(file), at as u64, &vec![byte; length], flags);
                        let model = &mut models[file];
                        let end = at + length;
                        model.now.resize(model.now.len().max(end), 0);
                        model.now[at..end].fill(byte);
                        if at_once && whole {
                            model.durable = model.now.clone();
                        } else if at_once {
                            model.durable.resize(model.durable.len().max(end), 0);
                            model.durable[at..end].fill(byte);
                        }
                    }
                    Step::Resize(file, length) => {
                        open(&name(file), OFlags::empty())
                            .unwrap()
                            .set_len(length as u64)
                            .unwrap();
                        models[file].now.resize(length, 0);
                    }
                    Step::Sync(file) => {
                        sync(&name(file));
                        models[file].durable = models[file].now.clone();
                    }
                    Step::Rename(from, to) if from != to => {
                        fs::rename(name(from), name(to)).unwrap();
                        models[to] = std::mem::take(&mut models[from]);
                        fs::write(name(from), b"").unwrap();
                    }
                    Step::Rename(..) => {}
                    Step::Lose => {
                        layer.lose();
                        for model in &mut models {
                            model.now = model.durable.clone();
                        }
                    }
                }
                for (file, model) in models.iter().enumerate() {
                    let mut bytes = Vec::new();
                    fs::File::open(name(file))
                        .unwrap()
                        .read_to_end(&mut bytes)
                        .unwrap();
                    prop_assert!(bytes == model.now, "file{file} after {step:?} of {steps:?}");
                }
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn it_ends_with_its_mount_and_a_dead_one_is_mended() {
    let layer = Layer::new();
    fs::write(layer.file("f"), b"text").unwrap();
    layer.mount();
    let first = layer.processes();
    assert_eq!(first.len(), 1, "one, however often it is asked for");
    let pid = rustix::process::Pid::from_raw(first[0].cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    layer.wait_for_end();
    // What is asked at the very moment of its end is cut off.
    let dead = loop {
        match fs::read(layer.file("f")).unwrap_err().kind() {
            ErrorKind::ConnectionAborted => {}
            other => break other,
        }
    };
    assert_eq!(dead, ErrorKind::NotConnected);
    let told = layer::agent(&["layer-tell", &layer.folder().display().to_string(), "look"]);
    assert!(
        String::from_utf8(told.stderr)
            .unwrap()
            .contains("does not answer")
    );
    layer.mount();
    assert_eq!(fs::read(layer.file("f")).unwrap(), b"text");
    assert_eq!(layer.processes().len(), 1);
    layer.unmount();
    layer.wait_for_end();
    assert_eq!(fs::read(layer.file("f")).unwrap(), b"text");
}

#[test]
fn what_cannot_be_layered_is_told() {
    let nowhere = layer::agent(&["layer-mount", "/nonexistent-folder-of-a-test/data"]);
    assert!(!nowhere.status.success());
    let layer = Layer::bare();
    fs::remove_dir(layer.folder()).unwrap();
    let output = layer::agent(&["layer-mount", &layer.folder().display().to_string()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no layer can be made over"), "{said}");
    assert!(said.contains("No such file"), "{said}");
    assert!(layer.processes().is_empty());
}
