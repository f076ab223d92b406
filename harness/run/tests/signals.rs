//! Signals, sent to this process: alone in its file, since they concern the whole process.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the answer")]

use std::{process::Command, time::Duration};

use harness_run::{
    cancel::{Cancel, Level},
    signals::listen,
};
use tokio::time::timeout;

fn send(signal: &str) {
    let pid = std::process::id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn the_first_stops_and_the_second_leaves() {
    let cancel = Cancel::new();
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let _signals = listen(cancel.clone(), move |name, level| {
        let _ = said.send((name, level));
    })
    .unwrap();
    assert!(!*cancel.watch().borrow());
    send("TERM");
    timeout(Duration::from_secs(5), cancel.reached(Level::Stop))
        .await
        .unwrap();
    assert_eq!(cancel.level(), Level::Stop);
    assert!(*cancel.watch().borrow());
    send("HUP");
    timeout(Duration::from_secs(5), cancel.reached(Level::Leave))
        .await
        .unwrap();
    assert_eq!(heard.recv().await, Some(("SIGTERM", Level::Stop)));
    assert_eq!(heard.recv().await, Some(("SIGHUP", Level::Leave)));
    cancel.raise(Level::Stop);
    assert_eq!(cancel.level(), Level::Leave, "it never falls");
}
