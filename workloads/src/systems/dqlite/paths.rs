//! Where things are on a node that runs `dqlite-demo`, and the scripts that act on its process.
//!
//! Each script is for `/bin/sh -c`, needs only dash and coreutils, is idempotent, and tells a
//! process apart from a later one with the same number by its start time (field 22 of `/proc/PID/stat`).
//!
//! What the scripts print, a word first, is read by `process`:
//! `running PID`, `absent`, `gone PID`, `alive PID`, `stopped PID`, `state PID S`, `origin WORDS`.
//!
//! The file `origin` says how the node came, or is to come, into a cluster: `bootstrap`, or `join ADDRESS,…`. go-dqlite
//! bootstraps whenever it finds no data and is given nobody to join: so what has no such file stands by, and is never started.

use std::path::PathBuf;

use harness_lab::Node;

use super::origin::Origin;

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

/// How long a graceful stop is waited for. go-dqlite's handover gives up after a minute without a leader.
pub const STOP_WAIT_S: u32 = 75;
/// How long a killed process may take to vanish.
pub const KILL_WAIT_S: u32 = 10;
/// How long SIGSTOP and SIGCONT may take to show.
pub const PAUSE_WAIT_S: u32 = 5;

/// `PID STARTTIME` of the process that runs, or ran last.
#[must_use]
pub fn pid_file() -> PathBuf {
    format!("{BASE}/pid").into()
}

/// Both outputs of all its processes, one after the other.
#[must_use]
pub fn log_file() -> PathBuf {
    format!("{BASE}/dqlite.log").into()
}

/// How the last process ended.
#[must_use]
pub fn exit_file() -> PathBuf {
    format!("{BASE}/exit.json").into()
}

/// How earlier processes ended, one object a line.
#[must_use]
pub fn exits_file() -> PathBuf {
    format!("{BASE}/exits.jsonl").into()
}

/// How the node came into its cluster: see [`Origin`].
#[must_use]
pub fn origin_file() -> PathBuf {
    format!("{BASE}/origin").into()
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

/// Sets `$pid` to the process that runs now, or to nothing. A zombie does not run.
const FIND: &str = r#"
base=/srv/harness/dqlite
pid= start=
[ -e "$base/pid" ] && read -r pid start <"$base/pid"
alive() {
  [ -n "$pid" ] && [ -r "/proc/$pid/stat" ] || return 1
  s=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
  s=${s##*) }
  set -- $s
  state=$1
  [ "$state" != Z ] && [ "$state" != X ] && [ "${20}" = "$start" ]
}
"#;

/// Prints `running PID` or `absent`.
#[must_use]
pub fn probe_script() -> String {
    format!("{FIND}\nif alive; then echo \"running $pid $state\"; else echo absent; fi\n")
}

/// Sends a signal, waits until the process is gone: `gone PID`, `absent` or `alive PID`; then how it ended, if known.
fn end_script(signal: &str, before: &str, wait_s: u32) -> String {
    format!(
        r#"{FIND}
alive || {{ echo absent; exit 0; }}
{before}
kill -{signal} "$pid"
n=0
while alive; do
  n=$((n+1))
  [ $n -gt {turns} ] && {{ echo "alive $pid"; exit 0; }}
  sleep 0.02
done
echo "gone $pid"
m=0
while [ ! -s "$base/exit.json" ] && [ $m -lt 25 ]; do m=$((m+1)); sleep 0.02; done
cat "$base/exit.json" 2>/dev/null || true
"#,
        turns = wait_s * 50
    )
}

/// SIGTERM. Leaves a note that the stop was wanted, so that a start that comes meanwhile waits for it.
#[must_use]
pub fn stop_script(wait_s: u32) -> String {
    end_script("TERM", ": >\"$base/stopping\"", wait_s)
}

/// SIGKILL; works on a stopped process too.
#[must_use]
pub fn kill_script() -> String {
    end_script("KILL", ":", KILL_WAIT_S)
}

/// SIGSTOP, or SIGCONT: prints `state PID S` once the state is as wanted, `alive PID` if that never came.
fn state_script(signal: &str, test: &str) -> String {
    format!(
        r#"{FIND}
alive || {{ echo absent; exit 0; }}
kill -{signal} "$pid"
n=0
while alive; do
  if [ "$state" {test} T ]; then echo "state $pid $state"; exit 0; fi
  n=$((n+1))
  [ $n -gt {turns} ] && {{ echo "alive $pid"; exit 0; }}
  sleep 0.02
done
echo absent
"#,
        turns = PAUSE_WAIT_S * 50
    )
}

/// SIGSTOP: prints `state PID T` once it is seen, `alive PID` if it never is.
#[must_use]
pub fn pause_script() -> String {
    state_script("STOP", "=")
}

/// SIGCONT: prints `state PID S` once the state is another than T, `alive PID` if it never is.
#[must_use]
pub fn resume_script() -> String {
    state_script("CONT", "!=")
}

/// Waits for a stop that is under way, and keeps the record of how the last process ended.
#[must_use]
pub fn before_start_script() -> String {
    format!(
        r#"{FIND}
mkdir -p "$base/data"
if [ -e "$base/stopping" ]; then
  n=0
  while alive && [ $n -lt {turns} ]; do n=$((n+1)); sleep 0.02; done
  alive && kill -KILL "$pid"
  rm -f "$base/stopping"
fi
if alive; then echo "running $pid $state"; exit 0; fi
if [ -s "$base/exit.json" ]; then cat "$base/exit.json" >>"$base/exits.jsonl"; echo >>"$base/exits.jsonl"; rm -f "$base/exit.json"; fi
echo absent
{READ_ORIGIN}
echo "origin $origin"
"#,
        turns = STOP_WAIT_S * 50
    )
}

/// Sets `$origin` to what the file of that name says, or to nothing.
const READ_ORIGIN: &str = r#"origin=
[ -e "$base/origin" ] && read -r origin <"$base/origin""#;

/// Starts the program with nothing but a shell, for the ledger: there is no agent then to supervise it. What stands by is
/// left alone.
#[must_use]
pub fn start_script(arguments: &[String]) -> String {
    let words: Vec<String> = arguments.iter().map(|word| quote(word)).collect();
    format!(
        r#"{before}
if alive; then exit 0; fi
set -- {command}
case "$origin" in
  {bootstrap}) ;;
  {join}\ *) set -- "$@" {flag} "${{origin#{join} }}" ;;
  *) echo "stands by"; exit 0 ;;
esac
setsid sh -c 'read -r line <"/proc/$$/stat"; line=${{line##*) }}; start=$(set -- $line; shift 19; echo "$1"); echo "$$ $start" >{BASE}/pid; exec "$@"' sh "$@" </dev/null >>{BASE}/dqlite.log 2>&1 &
n=0
pid=
while [ $n -lt 250 ]; do
  n=$((n+1)); sleep 0.02
  [ -e "$base/pid" ] && read -r pid start <"$base/pid"
  alive && {{ echo "running $pid $state"; exit 0; }}
done
exit 1
"#,
        before = before_start_script(),
        command = words.join(" "),
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
         rm -rf {BASE}/data {BASE}/origin {BASE}/stopping\n",
        kill = kill_script()
    )
}

/// SIGTERM, and once the process is gone the node stands by: nothing starts it again, its data stay.
#[must_use]
pub fn retire_script(wait_s: u32) -> String {
    format!(
        "said=$({stop})\necho \"$said\"\ncase \"$said\" in *alive*) exit 0 ;; esac\n\
         rm -f {BASE}/origin {BASE}/stopping\n",
        stop = stop_script(wait_s)
    )
}

/// What is on the node of an earlier life, after what [`probe_script`] prints: `identity ID` of go-dqlite's `info.yaml`,
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
        probe = probe_script(),
        folder = quote(&data_folder(node).display().to_string()),
        log = log_file().display(),
    )
}

/// Ends what runs, at once, and removes all that we put on the node.
#[must_use]
pub fn wipe_script() -> String {
    // What still runs keeps its data: wiping it under a live process makes failures that are the harness's own.
    format!(
        "said=$({})\necho \"$said\"\ncase \"$said\" in alive*) exit 0 ;; esac\nrm -rf {BASE}\nmkdir -p {BASE}\n",
        kill_script()
    )
}

/// Quotes a word for a POSIX shell.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
