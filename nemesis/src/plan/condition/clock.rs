//! The wall clock jumps, alternates or runs at a wrong rate. A node that owns its clock has that set; where it does not, as in a
//! container, the clock of the system's process alone is shifted, by the node's agent, which rewrites what the process reads it with.
//!
//! Laws:
//! - a clock that a node shares with its host is never touched;
//! - a rate is of the process's clock in any case: setting a node's clock has no rate;
//! - the process's clock is put back byte by byte by the agent's copy in the notes, which needs no controller and no other file.

use super::{
    Asked,
    disk::seconds,
    limits::process,
    script::{Place, Scripts},
};

/// How far the clock may be from where it should be, in milliseconds; less where it is moved by less than twice of it.
const NEAR_MAX_MS: i64 = 1_000;
/// How late setting it may be, in milliseconds.
const SETTING_MS: i64 = 100;
/// How often it is set, should a busy node be late each time.
const SETS_MAX: u32 = 10;
/// How long a node's clock that alternates is watched, in milliseconds.
const WATCH_MS: i64 = 3_000;
/// How long it may alternate, in seconds, should nobody end it.
const STROBE_MAX_S: u32 = 1_800;
/// Nanoseconds of a millisecond.
const NS_PER_MS: i64 = 1_000_000;

/// Succeeds where the node owns its clock and may set it; else `$why` says why not.
// Bit 25 of the effective capabilities: CAP_SYS_TIME.
const OWNS: &str = r#"owns_clock() {
  why='a container shares the clock of its host'
  tr '\0' '\n' </proc/1/environ 2>/dev/null | grep -q '^container=' && return 1
  [ -e /run/systemd/container ] && return 1
  awk '$5 == "/" { for (i = 7; i <= NF; i++) if ($i == "-") { exit ($(i+1) == "overlay") ? 0 : 1 } }' /proc/self/mountinfo && return 1
  why='the node may not set its clock'
  caps=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
  [ $(( (0x$caps >> 25) & 1 )) = 1 ]
}
"#;

/// What a script is started by: on a node the agent, or its guard.
const STARTER: &str = "\"/proc/$PPID/exe\"";

pub(super) fn check(place: &Place) -> String {
    let pid = place.process.map(|pid| pid.to_string()).unwrap_or_default();
    format!(
        "{OWNS}owns_clock && exit 0\n\
         said=$({STARTER} clock-check {pid} 2>&1) || lacks \"$why, and that of a process cannot be shifted: $said\" \
         'take nodes of x86-64 whose agent may trace processes (CAP_SYS_PTRACE), or machines that own their clock (provider ssh)'\n"
    )
}

/// Sets `$wall` and `$mono` to milliseconds of the two clocks.
const CLOCKS: &str = "clocks() { wall=$(($(date +%s%N) / 1000000)); mono=$(awk '{ printf \"%d\", $1 * 1000 }' /proc/uptime); }\n";
/// Sets the wall clock to `$1` milliseconds since 1970.
const SET: &str =
    "set_wall() { date -u -s \"@$(($1 / 1000)).$(printf %03d $(($1 % 1000)))\" >/dev/null; }\n";
/// Sets `$off` to how far the wall clock is off since the notes were made. Succeeds if that is near `$1`.
const OFF: &str = "near() { clocks; off=$((wall - was - (mono - since))); far=$((off - ($1))); [ $far -ge 0 ] || far=$((-far)); [ $far -le $2 ]; }\n";

pub(super) fn shift(asked: &Asked, place: &Place) -> Scripts {
    let how = asked.word("how");
    let (by, period) = (asked.number("by"), asked.number("period"));
    let near = NEAR_MAX_MS.min(by.abs() / 2);
    let (on_process, on_node) = match how {
        "strobe" => (
            format!("strobe {} {}", by * NS_PER_MS, period * NS_PER_MS),
            Some(alternate(by, period)),
        ),
        "skew" => (format!("skew {}", asked.number("rate")), None),
        _ => (format!("jump {}", by * NS_PER_MS), Some(set(by))),
    };
    let of_process = format!(
        "{process}cp {STARTER} \"$notes/agent\" && \"$notes/agent\" --version >/dev/null || fail 'the agent cannot be run from its notes'\n\
         \"$notes/agent\" clock-shift $pid \"$notes/process\" {on_process} || exit 1\n",
        process = process(place),
    );
    let inject = match on_node {
        Some(on_node) => format!(
            "{OWNS}{CLOCKS}{SET}if owns_clock; then\n\
             clocks\necho \"$wall $mono\" >\"$notes/clocks\" || exit 1\n{on_node}else\n{of_process}fi\n"
        ),
        None => of_process,
    };
    let look = match how {
        "strobe" => look_both(by, near, period),
        _ => format!(
            "if near {by} {near}; then echo \"seen the wall clock is off by $off ms\"; else echo \"unseen the wall clock is off by $off ms\"; fi\n"
        ),
    };
    let observe = format!(
        "if [ -e \"$notes/process\" ]; then exec \"$notes/agent\" clock-look \"$notes/process\"; fi\n\
         {CLOCKS}{OFF}read -r was since <\"$notes/clocks\" || fail 'there are no notes'\n{look}"
    );
    let back = near.max(SETTING_MS);
    let heal = format!(
        "{CLOCKS}{SET}{OFF}if [ -e \"$notes/process\" ]; then\n\
         \"$notes/agent\" clock-restore \"$notes/process\" || fail 'the clock of the process is not as it was'\nfi\n\
         {END_STROBE}was=\n[ -s \"$notes/clocks\" ] && read -r was since <\"$notes/clocks\"\n\
         if [ -n \"$was\" ]; then\n\
         near 0 {near} || set_wall $((wall - off)) || fail 'the clock cannot be set'\n\
         n=0\nuntil near 0 {back}; do\n\
         n=$((n+1)); [ $n -le {SETS_MAX} ] || fail \"the wall clock is still off by $off ms\"\nset_wall $((wall - off))\ndone\n\
         echo \"the wall clock is off by $off ms\"\nfi\n"
    );
    Scripts {
        inject,
        observe,
        heal,
    }
}

fn set(by: i64) -> String {
    format!(
        "set_wall $((wall + ({by}))) || fail 'the clock cannot be set'\necho 'the wall clock was moved by {by} ms'\n"
    )
}

/// Sets the clock there and back until nobody wants it any more.
fn alternate(by: i64, period: i64) -> String {
    let sleep = seconds(period);
    format!(
        ": >\"$notes/on\"\ncat >\"$notes/strobe\" <<'END'\n\
         {CLOCKS}{SET}echo $$ >\"$1/pid\"\n\
         trap 'exit 0' TERM INT HUP\n\
         read -r was since <\"$1/clocks\" || exit 1\n\
         end=$(($(cut -d. -f1 /proc/uptime) + {STROBE_MAX_S}))\n\
         while [ -e \"$1/on\" ] && [ \"$(cut -d. -f1 /proc/uptime)\" -lt $end ]; do\n\
         clocks; set_wall $((was + mono - since + ({by}))) || break\n\
         sleep {sleep} & wait $!\n\
         clocks; set_wall $((was + mono - since))\n\
         sleep {sleep} & wait $!\n\
         done\n\
         rm -f \"$1/pid\"\nEND\n\
         setsid sh \"$notes/strobe\" \"$notes\" </dev/null >/dev/null 2>&1 &\n\
         n=0\nuntil [ -s \"$notes/pid\" ]; do n=$((n+1)); [ $n -le 100 ] || fail 'nobody began to set it'; sleep 0.05; done\n\
         echo 'the wall clock is moved by {by} ms for {sleep} s, and back for {sleep} s, again and again'\n"
    )
}

/// Watches until the clock was seen there and back, if it comes to both in time.
fn look_both(by: i64, near: i64, period: i64) -> String {
    let both = if period * 2 <= WATCH_MS { "yes" } else { "" };
    format!(
        "clocks\nend=$((mono + {WATCH_MS})) there= back=\n\
         while [ $mono -lt $end ]; do\n\
         near {by} {near} && there=$off\n\
         near 0 {near} && back=$off\n\
         if [ -n \"$there\" ] && {{ [ -n \"$back\" ] || [ -z \"{both}\" ]; }}; then\n\
         echo \"seen the wall clock was off by $there ms${{back:+, then by $back ms, in turn}}\"; exit 0; fi\n\
         sleep 0.02\ndone\n\
         echo \"unseen the wall clock is off by $off ms\"\n"
    )
}

/// Ends whoever sets the clock there and back.
const END_STROBE: &str = "rm -f \"$notes/on\"\nsetter=\n[ -s \"$notes/pid\" ] && read -r setter <\"$notes/pid\"\n\
    if [ -n \"$setter\" ]; then\n\
    n=0\nwhile grep -q \"$notes/strobe\" \"/proc/$setter/cmdline\" 2>/dev/null; do\n\
    [ $n = 0 ] && kill -TERM \"$setter\" 2>/dev/null\n\
    n=$((n+1)); [ $n -le 400 ] || fail \"process $setter goes on setting the clock\"; sleep 0.05; done\nfi\n";
