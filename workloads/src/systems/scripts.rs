//! The scripts that act on a process which the agent's supervisor started, whatever program it is.
//!
//! Each script is for `/bin/sh -c`, needs only dash and coreutils, is idempotent, and tells a
//! process apart from a later one with the same number by its start time (field 22 of `/proc/PID/stat`).
//! All take `base`, the folder on the node that holds `pid` (`PID STARTTIME`), `exit.json` (how the last process ended),
//! `exits.jsonl` (how earlier ones did, one object a line) and the log.
//!
//! What the scripts print, a word first, is read by [`super::supervised`]:
//! `running PID`, `absent`, `gone PID`, `alive PID`, `state PID S`.

use super::{data_layer as layer, data_mount as mount};

/// How long a killed process may take to vanish.
pub const KILL_WAIT_S: u32 = 10;
/// How long SIGSTOP and SIGCONT may take to show.
pub const PAUSE_WAIT_S: u32 = 5;

/// Sets `$pid` to the process that runs now, or to nothing. A zombie does not run.
fn find(base: &str) -> String {
    format!(
        r#"
base={base}
pid= start=
[ -e "$base/pid" ] && read -r pid start <"$base/pid"
alive() {{
  [ -n "$pid" ] && [ -r "/proc/$pid/stat" ] || return 1
  s=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
  s=${{s##*) }}
  set -- $s
  state=$1
  [ "$state" != Z ] && [ "$state" != X ] && [ "${{20}}" = "$start" ]
}}
"#,
        base = quote(base)
    )
}

/// Prints `running PID` or `absent`.
#[must_use]
pub fn probe(base: &str) -> String {
    format!(
        "{find}\nif alive; then echo \"running $pid $state\"; else echo absent; fi\n",
        find = find(base)
    )
}

/// Asks the process to end by the command `ask`, waits until it is gone: `gone PID`, `absent` or `alive PID`; then how it
/// ended, if known. `before` is run first if there is a process.
fn end(base: &str, ask: &str, before: &str, wait_s: u32) -> String {
    format!(
        r#"{find}
alive || {{ echo absent; exit 0; }}
{before}
{ask}
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
        find = find(base),
        turns = wait_s * 50
    )
}

/// Asks it to stop by a command, which finds its process id in `$pid`. Leaves a note that the stop was wanted, so that a
/// start that comes meanwhile waits for it.
#[must_use]
pub fn stop(base: &str, ask: &str, wait_s: u32) -> String {
    end(base, ask, ": >\"$base/stopping\"", wait_s)
}

/// A command that waits for an instant of the node's monotonic clock, says how late it is, and asks. What runs it is the agent.
#[must_use]
pub fn at_instant(at_ns: i64, ask: &str) -> String {
    format!("\"/proc/$PPID/exe\" wait-until {at_ns} || exit 1\n{ask}")
}

/// How late [`at_instant`] was, microseconds.
#[must_use]
pub fn lateness_us(said: &str) -> Option<u64> {
    let late = said.lines().find_map(|line| line.strip_prefix("late-us "));
    late.and_then(|late| late.trim().parse().ok())
}

/// SIGKILL; works on a stopped process too.
#[must_use]
pub fn kill(base: &str) -> String {
    end(base, "kill -KILL \"$pid\"", ":", KILL_WAIT_S)
}

/// SIGSTOP, or SIGCONT: prints `state PID S` once the state is as wanted, `alive PID` if that never came.
fn change_state(base: &str, signal: &str, test: &str) -> String {
    format!(
        r#"{find}
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
        find = find(base),
        turns = PAUSE_WAIT_S * 50
    )
}

/// SIGSTOP: prints `state PID T` once it is seen, `alive PID` if it never is.
#[must_use]
pub fn pause(base: &str) -> String {
    change_state(base, "STOP", "=")
}

/// SIGCONT: prints `state PID S` once the state is another than T, `alive PID` if it never is.
#[must_use]
pub fn resume(base: &str) -> String {
    change_state(base, "CONT", "!=")
}

/// Waits for a stop that is under way for at most as long as that may take, and keeps the record of how the last process ended.
#[must_use]
pub fn before_start(base: &str, stop_wait_s: u32) -> String {
    format!(
        r#"{find}
mkdir -p "$base/data"
if [ -e "$base/stopping" ]; then
  n=0
  while alive && [ $n -lt {turns} ]; do n=$((n+1)); sleep 0.02; done
  alive && kill -KILL "$pid"
  rm -f "$base/stopping"
fi
if alive; then echo "running $pid $state"; exit 0; fi
{mount}mount_data || {{ echo "the file system of $base/data cannot be mounted" >&2; exit 1; }}
{layer}mount_layer || {{ echo "there is no layer over $base/data" >&2; exit 1; }}
if [ -s "$base/exit.json" ]; then cat "$base/exit.json" >>"$base/exits.jsonl"; echo >>"$base/exits.jsonl"; rm -f "$base/exit.json"; fi
echo absent
"#,
        find = find(base),
        mount = mount::MOUNT,
        layer = layer::MOUNT,
        turns = stop_wait_s * 50
    )
}

/// Starts the program with nothing but a shell, for the ledger: there is no agent then to supervise it. `choose` is run when it
/// is known that nothing runs, with the command in `"$@"`; it may add to it, or exit.
#[must_use]
pub fn start(
    base: &str,
    log: &str,
    env: &[(String, String)],
    argv: &[String],
    choose: &str,
    stop_wait_s: u32,
) -> String {
    let set = env.iter().map(|(name, value)| format!("{name}={value}"));
    let words = if env.is_empty() {
        argv.to_vec()
    } else {
        std::iter::once("env".to_owned())
            .chain(set)
            .chain(argv.iter().cloned())
            .collect()
    };
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!(
        r#"{before}
if alive; then exit 0; fi
set -- {command}
{choose}
setsid sh -c 'read -r line <"/proc/$$/stat"; line=${{line##*) }}; start=$(set -- $line; shift 19; echo "$1"); echo "$$ $start" >{base}/pid; exec "$@"' sh "$@" </dev/null >>{base}/{log} 2>&1 &
n=0
pid=
while [ $n -lt 250 ]; do
  n=$((n+1)); sleep 0.02
  [ -e "$base/pid" ] && read -r pid start <"$base/pid"
  alive && {{ echo "running $pid $state"; exit 0; }}
done
exit 1
"#,
        before = before_start(base, stop_wait_s),
        command = words.join(" "),
    )
}

/// Ends what runs, at once, runs `release`, and removes all that we put on the node.
#[must_use]
pub fn wipe(base: &str, release: &str) -> String {
    // What still runs keeps its data: wiping it under a live process makes failures that are the harness's own.
    format!(
        "said=$({kill})\necho \"$said\"\ncase \"$said\" in alive*) exit 0 ;; esac\n{release}\nrm -rf {base}\nmkdir -p {base}\n",
        kill = kill(base),
        base = quote(base),
    )
}

/// Runs `release` unless the process runs: `alive PID` or `absent`.
#[must_use]
pub fn release(base: &str, release: &str) -> String {
    format!(
        "{find}\nif alive; then echo \"alive $pid\"; exit 0; fi\n{release}\necho absent\n",
        find = find(base)
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
