//! The text that cuts a node's network, and the reading of what nft says of it.
//!
//! Laws:
//! - everything is in a table of our own, `inet harness`; nothing else is named, flushed or changed;
//! - one text is one transaction: the old table goes and the new one comes in the same instant, so
//!   that there is no moment in which a partition has a hole or a node is cut from everybody;
//! - only addresses of peers are dropped: what comes from the controller, and what a node sends
//!   to itself, passes;
//! - each rule has a counter, because a partition is believed only once packets were dropped.
//!
//! Debian 12 has nft 1.0.6, which has no `destroy`: a table is removed by adding it (which does
//! nothing if it is there) and deleting it. Dropping packets, unlike rejecting connections, also
//! stops the ones that were open before. Rules run at priority -300, before connection tracking,
//! so that no state of it lets packets through.

use std::{collections::BTreeMap, fmt::Write, net::IpAddr};

use serde_json::Value;
use thiserror::Error;

use super::cut::Drops;

/// The family and name of our table.
pub const TABLE: &str = "inet harness";
/// The shell command that reads a transaction from its input. `nft` is not in everybody's search path.
pub const APPLY: &str = "PATH=\"$PATH:/usr/sbin:/sbin\" exec nft -f -";
/// The shell command whose output [`counters`] reads; it fails if there is no table.
pub const LIST_TABLE: &str = "PATH=\"$PATH:/usr/sbin:/sbin\" exec nft -j list table inet harness";
/// The shell command whose output [`has_table`] reads; it succeeds with and without a table.
pub const LIST_TABLES: &str = "PATH=\"$PATH:/usr/sbin:/sbin\" exec nft -j list tables inet";
/// The shell command that removes the table, whether it is there or not.
pub const HEAL: &str =
    "PATH=\"$PATH:/usr/sbin:/sbin\" exec nft 'add table inet harness; delete table inet harness'";

/// A transaction after which the node drops exactly this; nothing: no table is left.
#[must_use]
pub fn render(peers: &BTreeMap<IpAddr, Drops>) -> String {
    let mut text = format!("add table {TABLE}\ndelete table {TABLE}\n");
    if peers.is_empty() {
        return text;
    }
    let chain = |text: &mut String, hook: &str, field: &str, least: Drops| {
        let mut rules = String::new();
        for (peer, _) in peers.iter().filter(|(_, drops)| **drops >= least) {
            let family = if peer.is_ipv4() { "ip" } else { "ip6" };
            // Writing to a String cannot fail.
            let _ = writeln!(rules, "\t\t{family} {field} {peer} counter drop");
        }
        if rules.is_empty() {
            return;
        }
        let _ = write!(
            text,
            "\tchain {hook} {{\n\t\ttype filter hook {hook} priority -300; policy accept;\n{rules}\t}}\n"
        );
    };
    let _ = writeln!(text, "table {TABLE} {{");
    chain(&mut text, "input", "saddr", Drops::Incoming);
    chain(&mut text, "output", "daddr", Drops::Both);
    text.push_str("}\n");
    text
}

/// What nft wrote is not what it writes.
#[derive(Debug, Error)]
#[error("nft's answer cannot be understood ({detail})")]
pub struct NftError {
    /// What was wrong.
    pub detail: String,
}

fn entries(json: &[u8]) -> Result<Vec<Value>, NftError> {
    let error = |detail: String| NftError { detail };
    let mut answer: Value = serde_json::from_slice(json).map_err(|e| error(e.to_string()))?;
    match answer.get_mut("nftables").map(Value::take) {
        Some(Value::Array(entries)) => Ok(entries),
        _ => Err(error("no list \"nftables\" in it".to_owned())),
    }
}

/// Packets dropped so far by peer, both directions together, from the output of [`LIST_TABLE`].
pub fn counters(json: &[u8]) -> Result<BTreeMap<IpAddr, u64>, NftError> {
    let mut packets = BTreeMap::new();
    for entry in entries(json)? {
        let Some(expressions) = entry.pointer("/rule/expr").and_then(Value::as_array) else {
            continue;
        };
        let peer = expressions
            .iter()
            .find_map(|e| e.pointer("/match/right")?.as_str()?.parse().ok());
        let count = expressions
            .iter()
            .find_map(|e| e.pointer("/counter/packets")?.as_u64());
        if let (Some(peer), Some(count)) = (peer, count) {
            let sum: &mut u64 = packets.entry(peer).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    Ok(packets)
}

/// Whether our table is there, from the output of [`LIST_TABLES`].
pub fn has_table(json: &[u8]) -> Result<bool, NftError> {
    let is_ours = |entry: &Value| {
        let at = |field: &str| entry.pointer(field).and_then(Value::as_str);
        at("/table/family") == Some("inet") && at("/table/name") == Some("harness")
    };
    Ok(entries(json)?.iter().any(is_ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(addresses: &[&str], drops: Drops) -> BTreeMap<IpAddr, Drops> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        addresses.map(|address| (address, drops)).collect()
    }

    #[test]
    fn a_transaction_replaces_the_table() {
        let golden = "\
add table inet harness
delete table inet harness
table inet harness {
\tchain input {
\t\ttype filter hook input priority -300; policy accept;
\t\tip saddr 10.77.0.12 counter drop
\t\tip saddr 10.77.0.13 counter drop
\t\tip6 saddr fd00::2 counter drop
\t}
\tchain output {
\t\ttype filter hook output priority -300; policy accept;
\t\tip daddr 10.77.0.12 counter drop
\t\tip daddr 10.77.0.13 counter drop
\t\tip6 daddr fd00::2 counter drop
\t}
}
";
        assert_eq!(
            render(&peers(
                &["10.77.0.13", "10.77.0.12", "fd00::2"],
                Drops::Both
            )),
            golden
        );
    }

    #[test]
    fn who_is_deaf_goes_on_talking() {
        let golden = "\
add table inet harness
delete table inet harness
table inet harness {
\tchain input {
\t\ttype filter hook input priority -300; policy accept;
\t\tip saddr 10.77.0.12 counter drop
\t}
}
";
        assert_eq!(render(&peers(&["10.77.0.12"], Drops::Incoming)), golden);
    }

    #[test]
    fn nobody_to_cut_leaves_no_table() {
        let golden = "add table inet harness\ndelete table inet harness\n";
        assert_eq!(render(&BTreeMap::new()), golden);
    }

    /// As nft 1.0.6 wrote it.
    const LISTED: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}}, {"table": {"family": "inet", "name": "harness", "handle": 3}}, {"chain": {"family": "inet", "table": "harness", "name": "input", "handle": 1, "type": "filter", "hook": "input", "prio": -300, "policy": "accept"}}, {"rule": {"family": "inet", "table": "harness", "chain": "input", "handle": 3, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.0.0.2"}}, {"counter": {"packets": 2, "bytes": 120}}, {"drop": null}]}}, {"rule": {"family": "inet", "table": "harness", "chain": "output", "handle": 4, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "10.0.0.2"}}, {"counter": {"packets": 5, "bytes": 300}}, {"drop": null}]}}, {"rule": {"family": "inet", "table": "harness", "chain": "output", "handle": 5, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip6", "field": "daddr"}}, "right": "fd00::2"}}, {"counter": {"packets": 0, "bytes": 0}}, {"drop": null}]}}]}"#;

    #[test]
    fn counters_of_both_directions_are_added() {
        let read = counters(LISTED.as_bytes()).unwrap();
        assert_eq!(read[&"10.0.0.2".parse::<IpAddr>().unwrap()], 7);
        assert_eq!(read[&"fd00::2".parse::<IpAddr>().unwrap()], 0);
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn the_table_is_found_only_if_it_is_ours() {
        let with = |table: &str| format!(r#"{{"nftables": [{{"metainfo": {{}}}}{table}]}}"#);
        let cases = [
            ("", false),
            (
                r#", {"table": {"family": "ip", "name": "harness", "handle": 1}}"#,
                false,
            ),
            (
                r#", {"table": {"family": "inet", "name": "filter", "handle": 1}}"#,
                false,
            ),
            (
                r#", {"table": {"family": "inet", "name": "harness", "handle": 3}}"#,
                true,
            ),
        ];
        for (table, expected) in cases {
            assert_eq!(
                has_table(with(table).as_bytes()).unwrap(),
                expected,
                "{table}"
            );
        }
    }

    #[test]
    fn what_is_not_nfts_is_refused() {
        for bad in ["", "{}", "Error: No such file", r#"{"nftables": 3}"#] {
            assert!(
                counters(bad.as_bytes()).is_err() && has_table(bad.as_bytes()).is_err(),
                "{bad}"
            );
        }
    }
}
