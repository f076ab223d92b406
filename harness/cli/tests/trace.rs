//! `harness trace --op` as far as it goes without a lab: what it refuses, and with which mend.

#[expect(dead_code, reason = "each test program uses what it needs")]
mod support;

use support::{harness, stderr};

#[test]
fn what_cannot_be_traced_is_refused_with_the_mend() {
    for (arguments, said) in [
        (&["--op", "joni"][..], "there are join, remove, failed-join"),
        (&["--op", "join", "--for", "5s"], "cannot be used with"),
        (&["--op", "join", "--node", "n1"], "cannot be used with"),
        (
            &["--op", "join", "--binary", "/bin/sh"],
            "cannot be used with",
        ),
        (&["--op", "join", "--system", "dqlite"], "--system lxd"),
        (&["--op", "join", "--members", "1"], "write 2 at least"),
        (&["--op", "join", "--match", "("], "match: "),
        (
            &["--op", "join", "--fail-by", "name-clash"],
            "fail-by: a join is to go through",
        ),
        (
            &["--op", "failed-join", "--fail-by", "luck"],
            "there are name-clash, unreachable-member, refused-address",
        ),
        (&["--fail-by", "name-clash"], "--op"),
        (&["--op", "join", "--op-timeout", "soon"], "op-timeout: "),
        (
            &["--op", "join", "--members", "4", "--nodes", "4"],
            "a join with 4 members needs 5; the lab has 4",
        ),
        (&["--keep-idle"], "--op"),
        (&["--members", "3"], "--op"),
    ] {
        let output = harness()
            .arg("trace")
            .args(arguments)
            .env_remove("HARNESS_LAB")
            .env_remove("HARNESS_SYSTEM")
            .output()
            .expect("the binary starts");
        assert_eq!(output.status.code(), Some(254), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(
            stderr(&output).contains(said),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}
