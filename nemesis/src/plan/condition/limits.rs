//! What the system's process may have: open files by its own limit, memory and processor time by a control group.
//!
//! A limit is of the process that runs when it is struck: one that is started later has none.

use super::{
    Asked, Condition,
    script::{Place, START_TIME, Scripts},
};

/// The period of a processor limit, microseconds.
const PERIOD_US: i64 = 100_000;
/// The least that the kernel takes as a quota, microseconds.
const QUOTA_MIN_US: i64 = 1_000;

pub(super) fn check_fds() -> String {
    "command -v prlimit >/dev/null || lacks 'the node has no prlimit' 'install util-linux'\n"
        .to_owned()
}

/// Sets `$pid`, and refuses if there is no such process.
pub(super) fn process(place: &Place) -> String {
    match place.process {
        None => "fail 'no process of the system was ever started here'\n".to_owned(),
        Some(pid) => format!(
            "{START_TIME}pid={pid}\nstart=$(begun $pid)\n[ -n \"$start\" ] || fail \"process $pid does not run\"\n"
        ),
    }
}

/// Reads the notes: `$pid $start` and more, and sets `$there` if that process still runs.
fn noted(more: &str) -> String {
    format!(
        "{START_TIME}pid= there=\n[ -s \"$notes/process\" ] && read -r pid start {more} <\"$notes/process\"\n\
         [ -n \"$pid\" ] && [ \"$(begun \"$pid\")\" = \"$start\" ] && there=yes\n"
    )
}

/// The lowest number that is not in use: with the limit there, the next open fails.
const LOWEST_FREE: &str = "free() { n=0; while [ -e \"/proc/$1/fd/$n\" ] || [ -L \"/proc/$1/fd/$n\" ]; do n=$((n+1)); done; echo $n; }\n";
/// The limits of a process's open files, soft then hard.
const LIMITS: &str = "limits() { awk '/^Max open files/ { print $4, $5 }' \"/proc/$1/limits\"; }\n";

pub(super) fn fds(asked: &Asked, place: &Place) -> Scripts {
    let spare = asked.number("spare");
    Scripts {
        inject: format!(
            "{}{LOWEST_FREE}{LIMITS}old=$(limits $pid)\nset -- $old\n\
             to=$(( $(free $pid) + {spare} ))\n[ \"$1\" = unlimited ] || [ \"$to\" -le \"$1\" ] || to=$1\n\
             echo \"$pid $start $1 $2 $to\" >\"$notes/process\" || exit 1\n\
             prlimit --pid $pid --nofile=$to:$2 || exit 1\n\
             echo \"process $pid may have files open up to number $to, before up to $1\"\n",
            process(place)
        ),
        // One that has closed files since it was limited is limited anew.
        observe: format!(
            "{}{LOWEST_FREE}{LIMITS}[ -n \"$there\" ] || {{ echo 'unseen its process has ended'; exit 0; }}\n\
             set -- $(limits $pid)\n\
             [ \"$1\" = \"$to\" ] || {{ echo \"unseen the limit is $1\"; exit 0; }}\n\
             n=$(free $pid)\n\
             if [ $n -ge $to ]; then echo \"seen all $to numbers that process $pid may use are in use: the next open fails (EMFILE)\"; exit 0; fi\n\
             echo \"unseen process $pid may still open files: $n is free below $to\"\n\
             n=$((n + {spare})); [ $n -lt $to ] || exit 0\n\
             echo \"$pid $start $soft $hard $n\" >\"$notes/process\" && prlimit --pid $pid --nofile=$n:$hard\n",
            noted("soft hard to")
        ),
        heal: format!(
            "{}{LIMITS}if [ -n \"$there\" ]; then\n\
             prlimit --pid $pid --nofile=$soft:$hard || [ -z \"$(begun $pid)\" ] || fail 'prlimit refused'\n\
             set -- $(limits $pid)\n\
             [ -z \"$1\" ] || [ \"$1\" = \"$soft\" ] || fail \"the limit is still $1\"\n\
             echo \"process $pid may have files open up to number $soft again\"\n\
             else echo \"process ${{pid:-that was to be limited}} is gone, and its limit with it\"; fi\n",
            noted("soft hard to")
        ),
    }
}

fn controller(condition: Condition) -> (&'static str, &'static str, &'static str) {
    match condition {
        Condition::Memory => ("memory", "memory.limit_in_bytes", "memory.max"),
        _ => ("cpu", "cpu.cfs_quota_us", "cpu.max"),
    }
}

/// Sets `$v` to the version of control groups and `$group` to where process `$1` is in the hierarchy of this controller.
fn find_group(condition: Condition) -> String {
    let (name, _, _) = controller(condition);
    format!(
        r#"group_of() {{
  at=$(awk -F: -v c={name} '{{ n = split($2, names, ","); for (i = 1; i <= n; i++) if (names[i] == c) {{ sub(/^[^:]*:[^:]*:/, ""); print; exit }} }}' "/proc/$1/cgroup")
  if [ -n "$at" ]; then
    v=1
    mount=$(awk -v c={name} '$3 == "cgroup" {{ n = split($4, names, ","); for (i = 1; i <= n; i++) if (names[i] == c) {{ print $2; exit }} }}' /proc/mounts)
  else
    v=2
    at=$(sed -n 's/^0:://p' "/proc/$1/cgroup")
    mount=$(awk '$3 == "cgroup2" {{ print $2; exit }}' /proc/mounts)
  fi
  group=$mount${{at%/}}
}}
"#
    )
}

pub(super) fn check_group(condition: Condition) -> String {
    let (name, old, new) = controller(condition);
    format!(
        "{}group_of self\n\
         [ -n \"$mount\" ] && [ -d \"$group\" ] || lacks 'the node does not see its control group of {name}' 'mount cgroup in the node, writable'\n\
         trial=\"$group/harness-trial-$$\"\n\
         said=$(mkdir \"$trial\" 2>&1) || lacks \"the node may make no control group ($said)\" 'mount cgroup in the node, writable'\n\
         [ -e \"$trial/{old}\" ] || [ -e \"$trial/{new}\" ]; there=$?\nrmdir \"$trial\"\n\
         [ $there = 0 ] || lacks \"a control group below ${{at:-/}} gets no {name} controller\" 'run the system in a control group whose children get it (cgroup.subtree_control), or with cgroup v1'\n",
        find_group(condition)
    )
}

pub(super) fn group(asked: &Asked, fault: u32, place: &Place) -> Scripts {
    let (_, old, new) = controller(asked.condition);
    let memory = asked.condition == Condition::Memory;
    let limit = if memory {
        asked.number("limit")
    } else {
        (asked.number("share") * PERIOD_US / 100).max(QUOTA_MIN_US)
    };
    let write = if memory {
        format!(
            "if [ $v = 1 ]; then echo {limit} >\"$ours/{old}\"; else echo {limit} >\"$ours/{new}\"; fi || exit 1\n"
        )
    } else {
        format!(
            "if [ $v = 1 ]; then echo {PERIOD_US} >\"$ours/cpu.cfs_period_us\" && echo {limit} >\"$ours/{old}\"; else echo '{limit} {PERIOD_US}' >\"$ours/{new}\"; fi || exit 1\n"
        )
    };
    let inject = format!(
        "{process}{find}group_of $pid\n[ -d \"$group\" ] || fail 'the group of the process is not seen here'\n\
         ours=\"$group/harness-{fault}\"\n\
         echo \"$pid $start $v $group $ours\" >\"$notes/process\" || exit 1\n\
         mkdir \"$ours\" || exit 1\n{write}\
         echo $pid >\"$ours/cgroup.procs\" || exit 1\n\
         echo \"process $pid is in a control group of {words}\"\n",
        process = process(place),
        find = find_group(asked.condition),
        words = words(asked, limit),
    );
    let seen = if memory {
        "if [ $v = 1 ]; then hits=$(cat \"$ours/memory.failcnt\"); oom=$(awk '$1 == \"oom_kill\" { print $2 }' \"$ours/memory.oom_control\")\n\
         else hits=$(awk '$1 == \"max\" { print $2 }' \"$ours/memory.events\"); oom=$(awk '$1 == \"oom_kill\" { print $2 }' \"$ours/memory.events\"); fi\n\
         [ \"${hits:-0}\" -gt 0 ] && { echo \"seen the limit was met $hits times, ${oom:-0} processes killed for it\"; exit 0; }\n\
         echo 'unseen the limit was not met'\n"
    } else {
        "times=$(awk '$1 == \"nr_throttled\" { print $2 }' \"$ours/cpu.stat\")\n\
         ms=$(awk '$1 == \"throttled_time\" { printf \"%d\", $2 / 1000000 } $1 == \"throttled_usec\" { printf \"%d\", $2 / 1000 }' \"$ours/cpu.stat\")\n\
         [ \"${times:-0}\" -gt 0 ] && { echo \"seen held back $times times, $ms ms in all\"; exit 0; }\n\
         echo 'unseen it was not held back'\n"
    };
    let observe = format!(
        "{}[ -d \"$ours\" ] || fail 'there is no control group'\n{seen}",
        noted("v group ours")
    );
    // A process that was killed for its memory may be there as a zombie for a moment.
    let heal = format!(
        "{}if [ -n \"$ours\" ] && [ -d \"$ours\" ]; then\n\
         n=0\nwhile ! rmdir \"$ours\" 2>/dev/null; do\n\
         n=$((n+1)); [ $n -le 100 ] || fail \"$ours does not go away\"\n\
         while read -r one; do echo \"$one\" >\"$group/cgroup.procs\" 2>/dev/null; done <\"$ours/cgroup.procs\"\n\
         sleep 0.05\ndone\n\
         echo 'its control group is gone'\nelse echo 'it has no control group'; fi\n",
        noted("v group ours")
    );
    Scripts {
        inject,
        observe,
        heal,
    }
}

fn words(asked: &Asked, limit: i64) -> String {
    match asked.condition {
        Condition::Memory => format!("{limit} bytes"),
        _ => format!("{} % of a processor", asked.number("share")),
    }
}
