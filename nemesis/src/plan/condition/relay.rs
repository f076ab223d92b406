//! Packets that come late, twice, out of order or damaged where the kernel has no netem: by the agent's relay (`lab/agent/src/netem`).
//!
//! `ip harness_netem_ID` leads what the node sends to other nodes to the relay, before any other table of ours sees it. The relay runs on
//! the copy of the agent in the fault's notes, writes down there what it did, and ends with them. When it is gone, packets pass.

use std::{fmt::Write as _, net::IpAddr};

use super::{
    Asked, Condition,
    network::find_device,
    script::{Place, START_TIME},
};

/// What a script is started by: on a node the agent, or its guard.
const STARTER: &str = "\"/proc/$PPID/exe\"";
/// Before a partition's table (-300).
const PRIORITY: &str = "-301";
/// The group that the relay sends as.
const GID: &str = "18497";
/// How long a relay may take to end once it was told to.
const END_TENTHS: u32 = 50;

/// What is said of it where it is offered in place of the kernel's.
pub(super) const WAY: &str = "by a relay of the agent, in user space: the kernel has no netem";

/// Succeeds where a relay can be had; else `$tried` says why not. In a network of its own, so that nothing is changed.
pub(super) fn can(place: &Place) -> String {
    if place.peers.iter().any(IpAddr::is_ipv6) {
        return "can_relay() { tried='the relay knows IPv4 only'; return 1; }\n".to_owned();
    }
    format!(
        "can_relay() {{\ntried=$(unshare -n sh -c 'nft \"add table ip harness_trial; add chain ip harness_trial held\" && exec \"$0\" netem-check harness_trial' {STARTER} 2>&1)\n}}\n"
    )
}

/// What is asked of the relay, as it reads it.
fn shape(asked: &Asked) -> String {
    let (share, delay) = (asked.number("share"), asked.number("delay"));
    match asked.condition {
        Condition::Slow => format!("slow {delay} {}", asked.number("jitter")),
        Condition::Duplicate => format!("duplicate {share}"),
        Condition::Reorder => format!("reorder {share} {delay}"),
        _ => format!("corrupt {share}"),
    }
}

/// The same for people.
fn words(asked: &Asked) -> String {
    let (share, delay) = (asked.number("share"), asked.number("delay"));
    match asked.condition {
        Condition::Slow => format!(
            "{delay} ms late, and up to {} ms more or less",
            asked.number("jitter")
        ),
        Condition::Duplicate => format!("{share} % of it twice"),
        Condition::Reorder => format!("{share} % of it at once and the rest {delay} ms late"),
        _ => format!("{share} % of it with a bit flipped"),
    }
}

/// Of the packets that were sent, what became of those that are meant.
fn touched(condition: Condition) -> &'static str {
    match condition {
        Condition::Slow => "came late",
        Condition::Duplicate => "went out twice",
        Condition::Reorder => "overtook the others",
        _ => "had a bit flipped",
    }
}

fn table(fault: u32) -> String {
    format!("ip harness_netem_{fault}")
}

pub(super) fn inject(asked: &Asked, fault: u32, place: &Place) -> String {
    let mut rules = format!(
        "chain held {{ }}\nchain output {{ type filter hook output priority {PRIORITY}; policy accept;\nmeta skgid {GID} return\n"
    );
    // Where there are others it is not offered.
    for peer in place.peers.iter().filter(|peer| peer.is_ipv4()) {
        // Writing to a String cannot fail.
        let _ = writeln!(rules, "ip daddr {peer} goto held");
    }
    rules.push_str("}\n");
    format!(
        "{device}cp {STARTER} \"$notes/agent\" && \"$notes/agent\" --version >/dev/null || fail 'the agent cannot be run from its notes'\n\
         {apply}: >\"$notes/relay\"\n\
         \"$notes/agent\" netem-start \"$notes\" {name} \"$(cat \"/sys/class/net/$dev/mtu\")\" {shape} || exit 1\n\
         echo 'the kernel has no netem: the agent relays what the node sends to other nodes, {words}'\n",
        device = find_device(place),
        apply = super::network::apply(&table(fault), &rules),
        name = table(fault).trim_start_matches("ip "),
        shape = shape(asked),
        words = words(asked),
    )
}

/// Sets `$1` to `$7` to what the relay did.
const COUNTS: &str = "set -- $(cat \"$notes/counts\" 2>/dev/null)\n[ $# = 7 ] || set -- 0 0 0 0 0 0 0\n\
    ms() { echo \"$(($1 / 1000)).$(($1 % 1000 / 100))\"; }\n\
    did() { echo \"$1 packets to other nodes went by way of the agent's relay, $2 TOUCHED, $(ms $4) to $(ms $5) ms after they were sent; $6 were lost, $7 too long for it\"; }\n";

fn counts(condition: Condition) -> String {
    COUNTS.replace("TOUCHED", touched(condition))
}

pub(super) fn observe(condition: Condition) -> String {
    format!(
        "{START_TIME}read -r pid start <\"$notes/pid\" || fail 'there are no notes'\n\
         [ \"$(begun $pid)\" = \"$start\" ] || fail \"the relay has ended: $(cat \"$notes/said\")\"\n\
         {}if [ $2 -gt 0 ] && [ $3 -gt 0 ]; then echo \"seen $(did $*)\"; else echo \"unseen $(did $*)\"; fi\n",
        counts(condition)
    )
}

pub(super) fn heal(condition: Condition, fault: u32) -> String {
    format!(
        "{remove}{START_TIME}pid= start=\n[ -s \"$notes/pid\" ] && read -r pid start <\"$notes/pid\"\n\
         {counts}if [ -n \"$pid\" ]; then\n\
         if [ \"$(begun $pid)\" = \"$start\" ]; then kill $pid; else echo \"the relay had ended before, so that packets passed: $(cat \"$notes/said\")\"; fi\n\
         n=0\nwhile [ \"$(begun $pid)\" = \"$start\" ]; do n=$((n+1)); [ $n -le {END_TENTHS} ] || fail 'the relay does not end'; sleep 0.1; done\n\
         echo \"the relay is gone: $(did $*)\"\nfi\n",
        remove = super::network::remove_table(&table(fault)),
        counts = counts(condition),
    )
}
