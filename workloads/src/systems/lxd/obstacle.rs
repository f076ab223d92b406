//! What stands in a joiner's way while it joins, so that the join fails: put up before it, taken down after it.
//!
//! 1. Before anything is changed on a node, the way to undo it is left there as faults leave theirs: `harness lab heal` and the start
//!    of a sweep run it, whoever put it up. Nothing else is named: a table of its own, beside the one of the nemesis.
//! 2. Taking down what is not there is nothing. Whatever removes a daemon's data takes it down as well ([`TAKE_DOWN`]): a node that is
//!    wiped or put back has none.
//!
//! - A member's address is asked for by letting the joiner listen at an address that is not its own (`ip_nonlocal_bind`). The address
//!   itself is not put on it: that would answer for the member in the whole network, and hide the member from the joiner.
//! - An unreachable member is one whose daemon the joiner's packets do not get to, nor its to the joiner's. Only what is sent to or
//!   from the daemons' port is dropped: a partition that strikes meanwhile is healed, and by a ledger after a `kill -9` as well, before
//!   this is taken down, and is healed once the nodes connect to each other, which they are asked at another port. (With all packets
//!   dropped, the next sweep called such a partition not healed, and did not begin.)
//!
//! Seen on bookworm's 5.0.2, three members, by hand, nothing struck:
//! - at the address of n3: `Failed request to add member: The cluster already has a member with address: …` after 1.6 s. The joiner's
//!   certificate stays in all truststores, and the joiner keeps the address as its own; started again without being allowed to listen
//!   there, it is not ready after 20 s (`Unable to bind https address …, re-trying for a minute`);
//! - cut off from the leader n1: 10 s to find that n1 does not answer, n2 is asked and takes the certificate, and sends the request to
//!   be accepted on to n1: `Failed request to add member: Post "https://…/internal/cluster/accept": … i/o timeout` after 31 s. The
//!   certificate stays in all truststores, nothing in `nodes` and in raft;
//! - cut off from the follower n3 instead: the join is ok after 6.5 s. So it is the leader that it is cut off from.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use harness_lab::{Exec, Node};

/// Where the way to undo it is left: below the folder of the nemesis's notes.
const NOTES: &str = "/var/lib/harness/faults/join";
/// What the way to undo it says to whoever heals.
const GONE: &str = "what stood in the way of its join is gone";
/// How long a script may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Takes down what stands; nothing if nothing does. Says nothing: it is a part of scripts whose words are read.
pub(super) const TAKE_DOWN: &str =
    "[ ! -e /var/lib/harness/faults/join/heal ] || sh /var/lib/harness/faults/join/heal >/dev/null";

/// Something in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It may listen where others live.
    ForeignAddress(IpAddr),
    /// It and the daemon at this address do not hear each other, nor the daemon there and its own at the same port.
    Cut(SocketAddr),
}

const SETUP: &str = "set -e\nPATH=\"$PATH:/usr/sbin:/sbin\"\n";

/// The script that puts it up.
fn put_up(way: Way) -> String {
    let heal = |undo: &str| {
        format!(
            "{TAKE_DOWN}\nmkdir -p {NOTES}\ncat >{NOTES}/heal <<HEAL_ENDS\n{SETUP_QUOTED}{undo}\nrm -rf {NOTES}\necho {GONE}\nHEAL_ENDS\n",
            SETUP_QUOTED = SETUP.replace('$', "\\$"),
        )
    };
    match way {
        Way::ForeignAddress(address) => {
            let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
            let switch = format!("/proc/sys/net/{family}/ip_nonlocal_bind");
            format!(
                "{SETUP}{}echo 1 >{switch}\n",
                // What it was is read when the undoing is written down.
                heal(&format!("echo $(cat {switch}) >{switch}")),
            )
        }
        Way::Cut(daemon) => {
            let (address, port) = (daemon.ip(), daemon.port());
            let family = if address.is_ipv4() { "ip" } else { "ip6" };
            let chain = |hook: &str, side: &str| {
                let rule = |end: &str| {
                    format!("\t\t{family} {side} {address} tcp {end} {port} counter drop\n")
                };
                format!(
                    "\tchain {hook} {{\n\t\ttype filter hook {hook} priority -300; policy accept;\n{}{}\t}}\n",
                    rule("sport"),
                    rule("dport")
                )
            };
            format!(
                "{SETUP}{}nft -f - <<NFT_ENDS\ntable inet harness_join {{\n{}{}}}\nNFT_ENDS\n",
                heal("nft 'add table inet harness_join; delete table inet harness_join'"),
                chain("input", "saddr"),
                chain("output", "daddr"),
            )
        }
    }
}

/// Runs a script on a node; what the node or the transport said if it could not.
async fn run(node: &Node, script: String) -> Result<(), String> {
    let ran = node
        .transport
        .exec(Exec::shell(script).timeout(LIMIT))
        .await;
    let output = ran.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(output.stderr_text().trim().to_owned()),
    }
}

/// Puts it up on a node; why not, if it could not be.
pub(super) async fn raise(node: &Node, way: Way) -> Result<(), String> {
    run(node, put_up(way)).await
}

/// Takes down what stands on a node; why not, if it could not be.
pub(super) async fn lower(node: &Node) -> Result<(), String> {
    run(node, TAKE_DOWN.to_owned()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_written_down_before_anything_is_changed() {
        for (way, changes) in [
            (
                Way::ForeignAddress("10.0.0.3".parse().unwrap()),
                "echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind",
            ),
            (
                Way::ForeignAddress("fd00::3".parse().unwrap()),
                "echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind",
            ),
            (
                Way::Cut("10.0.0.1:8443".parse().unwrap()),
                "ip daddr 10.0.0.1 tcp dport 8443 counter drop",
            ),
            (
                Way::Cut("[fd00::1]:8443".parse().unwrap()),
                "ip6 saddr fd00::1 tcp sport 8443 counter drop",
            ),
        ] {
            let script = put_up(way);
            let written = script.find("\nHEAL_ENDS\n").expect("the way back");
            let changed = script.find(changes).expect("the change");
            assert!(written < changed, "{script}");
            assert!(script.starts_with("set -e\n"), "{script}");
            // Nothing but the daemons' words is dropped.
            let drops = script.lines().filter(|line| line.contains("drop"));
            for line in drops.filter(|line| !line.contains("delete")) {
                assert!(line.contains(" tcp ") && line.contains(" 8443 "), "{line}");
            }
        }
    }
}
