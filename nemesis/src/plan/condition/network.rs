//! Loss by a table of our own, and what the kernel's queue disciplines can do: rate, delay, copies, order, flipped bits.
//!
//! - Loss: `inet harness_loss_ID`, one table a fault, so that faults compose. Both directions are drawn separately.
//! - What netem does is done by the agent's relay ([`relay`]) where the kernel lacks it.
//! - The others: packets to other nodes are given the priority of one class of an `htb` at the root of the interface that leads
//!   to them. Whatever has another priority, the controller's connection first of all, goes past all classes, unlimited.
//!   They are about what the node *sends*.

use std::{fmt::Write as _, net::IpAddr};

use super::{Asked, Condition, relay, script::Place, script::Scripts};

/// Our queue discipline, by number: nobody else's heal or ours takes away another one.
const HANDLE: &str = "4841:";
/// The class of packets to other nodes.
const CLASS: &str = "4841:20";
/// Before connection tracking, and after a partition's table (-300).
const PRIORITY: &str = "-299";
/// What a class may send at once, bytes: one packet, so that a limit is felt at once.
const BURST_BYTES: u32 = 1_600;
/// How many packets wait in a limited class before more are dropped.
const QUEUE_PACKETS: u32 = 200;

fn family(peer: &IpAddr) -> &'static str {
    if peer.is_ipv4() { "ip" } else { "ip6" }
}

/// Tables of nft for a shell: replaced in one transaction.
pub(super) fn apply(table: &str, body: &str) -> String {
    format!(
        "nft -f - <<'END' || fail 'nft refused'\nadd table {table}\ndelete table {table}\ntable {table} {{\n{body}}}\nEND\n"
    )
}

pub(super) fn remove_table(table: &str) -> String {
    format!(
        "nft 'add table {table}; delete table {table}' || fail 'nft refused'\n\
         nft list table {table} >/dev/null 2>&1 && fail 'table {table} is still there'\n\
         echo 'table {table} is gone'\n"
    )
}

pub(super) fn check_loss() -> String {
    let trial = "add table inet harness_trial\nadd chain inet harness_trial c { type filter hook output priority -299; }\n\
        add rule inet harness_trial c ip daddr 192.0.2.1 numgen random mod 100 < 1 counter drop\n";
    format!(
        "command -v nft >/dev/null || lacks 'the node has no nft' 'install nftables'\n\
         said=$(printf '{}' | nft -c -f - 2>&1) || lacks \"nft cannot draw by lot here ($(echo \"$said\" | head -n 1))\" 'take a kernel with nft_numgen, and a node that may change its rules'\n",
        trial.replace('\n', "\\n")
    )
}

pub(super) fn loss(asked: &Asked, fault: u32, place: &Place) -> Scripts {
    let table = format!("inet harness_loss_{fault}");
    let share = asked.number("share");
    let mut body = String::new();
    for (hook, field) in [("input", "saddr"), ("output", "daddr")] {
        // Writing to a String cannot fail.
        let _ = writeln!(
            body,
            "chain {hook} {{ type filter hook {hook} priority {PRIORITY}; policy accept;"
        );
        for peer in &place.peers {
            let family = family(peer);
            let _ = writeln!(
                body,
                "{family} {field} {peer} numgen random mod 100 < {share} counter drop\n{family} {field} {peer} counter"
            );
        }
        body.push_str("}\n");
    }
    let count = "nft list table TABLE | awk '{ for (i = 1; i < NF; i++) if ($i == \"packets\") { if ($NF == \"drop\") lost += $(i+1); else passed += $(i+1) } }\n\
        END { printf \"%s %d of %d packets lost\\n\", (lost > 0 && (passed > 0 || SHARE == 100)) ? \"seen\" : \"unseen\", lost, lost + passed }'\n";
    Scripts {
        inject: apply(&table, &body),
        observe: count
            .replace("TABLE", &table)
            .replace("SHARE", &share.to_string()),
        heal: remove_table(&table),
    }
}

/// The interface that leads to the other nodes.
pub(super) fn find_device(place: &Place) -> String {
    let peer = place
        .peers
        .first()
        .map_or("127.0.0.1".to_owned(), IpAddr::to_string);
    format!(
        "dev=$(ip -o route get {peer} | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p')\n\
         [ -n \"$dev\" ] || fail 'no interface leads to {peer}'\n"
    )
}

/// The root's own handle is `0:` as long as nobody chose a queue discipline.
const ROOT: &str = "root=$(tc qdisc show dev \"$dev\" root | sed -n '1s/^qdisc \\([^ ]*\\) \\([^ ]*\\) .*/\\1 \\2/p')\n";

/// Succeeds where the kernel has such a queue discipline; else `$said` says why not. In a network of its own.
fn can_queue(kind: &str) -> String {
    format!("can_queue() {{ said=$(unshare -n tc qdisc add dev lo root {kind} 2>&1); }}\n")
}

/// How to try netem.
const NETEM: &str = "netem delay 1ms";

pub(super) fn check_queue(condition: Condition, place: &Place) -> String {
    let (trial, instead, without) = if condition == Condition::Rate {
        (
            "htb",
            String::new(),
            "lacks \"the kernel has no htb ($(echo \"$said\" | head -n 1))\" 'take a kernel with sch_htb'".to_owned(),
        )
    } else {
        (
            NETEM,
            relay::can(place),
            format!(
                "{{ can_relay && way '{}'; lacks \"the kernel has no netem ($(echo \"$said\" | head -n 1)), and the agent no relay: $tried\" 'take a kernel with sch_netem, or with nfnetlink_queue, xt_NFQUEUE and nft_compat; loss and rate work without it'; }}",
                relay::WAY
            ),
        )
    };
    format!(
        "command -v tc >/dev/null && command -v ip >/dev/null || lacks 'the node has no tc' 'install iproute2'\n\
         command -v nft >/dev/null || lacks 'the node has no nft' 'install nftables'\n\
         {can}{instead}can_queue || {without}\n\
         {device}{ROOT}\
         case \"$root\" in ''|*' 0:') ;; '{ours}') lacks \"$dev has a queue discipline left from an earlier run\" 'harness lab heal' ;;\n\
         *) lacks \"$dev has a queue discipline of its own ($root)\" \"remove it: tc qdisc del dev $dev root\" ;; esac\n",
        can = can_queue(trial),
        device = find_device(place),
        ours = format_args!("htb {HANDLE}"),
    )
}

/// What stands in the class.
fn leaf(asked: &Asked) -> String {
    let share = asked.number("share");
    let delay = asked.number("delay");
    match asked.condition {
        Condition::Slow => format!("netem delay {delay}ms {}ms", asked.number("jitter")),
        Condition::Duplicate => format!("netem duplicate {share}%"),
        // Those that are picked go at once, before the ones that wait.
        Condition::Reorder => format!("netem delay {delay}ms reorder {share}%"),
        Condition::Corrupt => format!("netem corrupt {share}%"),
        _ => format!("pfifo limit {QUEUE_PACKETS}"),
    }
}

/// What netem does: by the kernel, or by the relay where that is lacking.
pub(super) fn netem(asked: &Asked, fault: u32, place: &Place) -> Scripts {
    let by_kernel = queue(asked, fault, place);
    Scripts {
        inject: format!(
            "{can}if can_queue; then\n{}else\n{}fi\n",
            by_kernel.inject,
            relay::inject(asked, fault, place),
            can = can_queue(NETEM),
        ),
        observe: format!(
            "if [ -e \"$notes/relay\" ]; then\n{}else\n{}fi\n",
            relay::observe(asked.condition),
            by_kernel.observe
        ),
        heal: format!(
            "if [ -e \"$notes/relay\" ]; then\n{}else\n{}fi\n",
            relay::heal(asked.condition, fault),
            by_kernel.heal
        ),
    }
}

pub(super) fn queue(asked: &Asked, fault: u32, place: &Place) -> Scripts {
    let table = format!("inet harness_queue_{fault}");
    let limited = asked.condition == Condition::Rate;
    let class = if limited {
        format!(
            "rate {}bit burst {BURST_BYTES}b cburst {BURST_BYTES}b quantum {BURST_BYTES}",
            asked.number("bw")
        )
    } else {
        format!("rate 100gbit quantum {BURST_BYTES}")
    };
    let mut rules =
        format!("chain output {{ type filter hook output priority {PRIORITY}; policy accept;\n");
    for peer in &place.peers {
        // Writing to a String cannot fail.
        let _ = writeln!(
            rules,
            "{} daddr {peer} meta priority set {CLASS}",
            family(peer)
        );
    }
    rules.push_str("}\n");
    let inject = format!(
        "{device}{ROOT}case \"$root\" in ''|*' 0:') ;; *) fail \"$dev has a queue discipline already: $root\" ;; esac\n\
         echo \"$dev\" >\"$notes/dev\" || exit 1\n\
         tc qdisc add dev \"$dev\" root handle {HANDLE} htb || exit 1\n\
         tc class add dev \"$dev\" parent {HANDLE} classid {CLASS} htb {class} || exit 1\n\
         tc qdisc add dev \"$dev\" parent {CLASS} {leaf} || exit 1\n{rules}",
        device = find_device(place),
        leaf = leaf(asked),
        rules = apply(&table, &rules),
    );
    let least = i32::from(limited);
    let waits = if limited {
        "; the class made them wait %d times"
    } else {
        ""
    };
    let observe = format!(
        "read -r dev <\"$notes/dev\" || fail 'there are no notes'\n\
         tc -s class show dev \"$dev\" | awk '/^class / {{ ours = ($3 == \"{CLASS}\") }}\n\
         ours && /Sent/ {{ passed = $4; gsub(/[(,)]/, \"\"); for (i = 1; i < NF; i++) {{ if ($i == \"overlimits\") waited = $(i+1); if ($i == \"dropped\") dropped = $(i+1) }} }}\n\
         END {{ printf \"%s %d packets sent to other nodes by way of {leaf}, %d dropped{waits}\\n\", (passed > 0 && waited >= {least}) ? \"seen\" : \"unseen\", passed, dropped, waited }}'\n",
        leaf = leaf_words(asked),
    );
    let heal = format!(
        "if [ -s \"$notes/dev\" ]; then\nread -r dev <\"$notes/dev\"\n{ROOT}\
         if [ \"$root\" = 'htb {HANDLE}' ]; then tc qdisc del dev \"$dev\" root || fail 'tc refused'; fi\n{ROOT}\
         [ \"$root\" != 'htb {HANDLE}' ] || fail \"$dev still has our queue discipline\"\n\
         echo \"$dev has its own queue again\"\nfi\n{}",
        remove_table(&table)
    );
    Scripts {
        inject,
        observe,
        heal,
    }
}

fn leaf_words(asked: &Asked) -> String {
    match asked.condition {
        Condition::Rate => format!("a class of {} bit/s", asked.number("bw")),
        _ => leaf(asked),
    }
}
