//! Where things are on a node that runs `dqlite-demo`, and the scripts that only it needs.
//!
//! The file `origin` says how the node came, or is to come, into a cluster: `bootstrap`, or `join ADDRESS,…`. go-dqlite
//! bootstraps whenever it finds no data and is given nobody to join: so what has no such file stands by, and is never started.

use std::path::PathBuf;

use harness_lab::Node;

use super::origin::Origin;
use crate::systems::{data_layer, scripts, supervised::Supervised};

/// The folder of everything that we put on a node for this system.
pub const BASE: &str = "/srv/harness/dqlite";
/// The TCP port of dqlite's wire protocol and of raft, between nodes and for clients.
pub const DB_PORT: u16 = 9001;
/// The TCP port of `dqlite-demo`'s HTTP interface.
pub const API_PORT: u16 = 8001;
/// The program, found through `PATH`.
pub const PROGRAM: &str = "dqlite-demo";

/// The database of `dqlite-demo`.
pub const DATABASE: &str = "demo";

/// How long a graceful stop is waited for, in seconds. go-dqlite's handover gives up after a minute without a leader.
pub const STOP_WAIT_S: u32 = 75;

/// Its process.
pub const PROCESS: Supervised = Supervised {
    program: PROGRAM,
    base: BASE,
    log: "dqlite.log",
    stop_wait_s: STOP_WAIT_S,
};

/// How the node came into its cluster: see [`Origin`].
#[must_use]
pub fn origin_file() -> PathBuf {
    format!("{BASE}/origin").into()
}

/// The folder that is given to the program for its data.
#[must_use]
pub fn data_root() -> PathBuf {
    format!("{BASE}/data").into()
}

/// The folder that holds raft's files and go-dqlite's YAML; `dqlite-demo` puts the address beneath `--dir`.
#[must_use]
pub fn data_folder(node: &Node) -> PathBuf {
    format!("{BASE}/data/{}", db_address(node)).into()
}

/// The address of its wire protocol.
#[must_use]
pub fn db_address(node: &Node) -> String {
    format!("{}:{DB_PORT}", node.address)
}

/// The address of its HTTP interface.
#[must_use]
pub fn api_address(node: &Node) -> String {
    format!("{}:{API_PORT}", node.address)
}

/// For a start without us: adds to the words of the command what the origin asks for, or ends there, because what stands
/// by is left alone.
#[must_use]
pub fn choose_origin() -> String {
    format!(
        r#"origin=
[ -e "$base/origin" ] && read -r origin <"$base/origin"
case "$origin" in
  {bootstrap}) ;;
  {join}\ *) set -- "$@" {flag} "${{origin#{join} }}" ;;
  *) echo "stands by"; exit 0 ;;
esac"#,
        bootstrap = Origin::BOOTSTRAP,
        join = Origin::JOIN,
        flag = Origin::JOIN_FLAG,
    )
}

/// Ends what runs, at once, and removes its data: the node stands by. How its processes ended, and what they logged, stays.
#[must_use]
pub fn clear_script() -> String {
    format!(
        "said=$({kill})\necho \"$said\"\ncase \"$said\" in alive*) exit 0 ;; esac\n\
         base={BASE}\n{layer}mount_layer || exit 1\n\
         rm -rf {BASE}/data/* {BASE}/data/.[!.]* {BASE}/origin {BASE}/stopping\nrmdir {BASE}/data 2>/dev/null || true\n",
        kill = scripts::kill(BASE),
        layer = data_layer::MOUNT,
    )
}

/// SIGTERM, and once the process is gone the node stands by: nothing starts it again, its data stay.
#[must_use]
pub fn retire_script(wait_s: u32) -> String {
    format!(
        "said=$({stop})\necho \"$said\"\ncase \"$said\" in *alive*) exit 0 ;; esac\n\
         rm -f {BASE}/origin {BASE}/stopping\n",
        stop = scripts::stop(BASE, TERM, wait_s)
    )
}

/// Asks it to stop; see [`scripts::stop`].
pub const TERM: &str = "kill -TERM \"$pid\"";

/// What is on the node of an earlier life, after what [`scripts::probe`] prints: `identity ID` of go-dqlite's `info.yaml`,
/// `joining` if a join was not completed, and `log BYTES`.
#[must_use]
pub fn look_script(node: &Node) -> String {
    format!(
        r#"{probe}
cd {folder} 2>/dev/null && {{
  [ -e info.yaml ] && echo "identity $(sed -n 's/^ID: *//p' info.yaml)"
  [ -e join ] && echo joining
}}
echo "log $(stat -c %s {log} 2>/dev/null || echo 0)"
"#,
        probe = scripts::probe(BASE),
        folder = scripts::quote(&data_folder(node).display().to_string()),
        log = PROCESS.log_file().display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, base: &std::path::Path) -> String {
        let script = script.replace(BASE, &base.display().to_string());
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", &script])
            .stderr(std::process::Stdio::null())
            .output()
            .expect("a shell");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// By a real shell, on a real process.
    #[test]
    fn what_stands_by_is_not_started_and_what_is_cleared_stands_by() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        let words = ["sh", "-c", "sleep 300", "sh"].map(str::to_owned);
        let start = scripts::start(BASE, "log", &[], &words, &choose_origin(), 5);
        let said = run(&start, base);
        assert_eq!(said.lines().last(), Some("stands by"), "{said}");
        std::fs::write(base.join("origin"), "join a:1,b:2\n").unwrap();
        let said = run(&start, base);
        assert!(
            said.lines().any(|line| line.starts_with("running ")),
            "{said}"
        );
        let kept = std::fs::read_to_string(base.join("pid")).unwrap();
        let pid = kept.split_whitespace().next().unwrap();
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        assert!(command.trim_end().ends_with("--join a:1,b:2"), "{command}");
        let said = run(&clear_script(), base);
        assert!(said.contains(&format!("gone {pid}")), "{said}");
        assert!(!base.join("origin").exists() && !base.join("data").exists());
        assert_eq!(run(&start, base).lines().last(), Some("stands by"));
    }
}
