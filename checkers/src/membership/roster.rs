//! Who is who: members of views and operations, matched with nodes of the lab.
//!
//! A member is matched by its name, else by its address, else by its certificate; certificates are learned from views
//! that list one beside a name or an address. What matches nobody is `foreign`: it is somebody, but nobody whom we let in.
//! If name and address of one entry belong to two nodes the name counts here; `identity-agreement` says so.

use std::collections::HashMap;

use harness_core::{
    meta::Meta,
    view::{Member, View},
};

/// Somebody, as a number: its place in the roster.
pub(super) type Id = usize;

#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Names for people; a foreigner's begins with `foreign `.
    names: Vec<String>,
    foreign: Vec<bool>,
    by_name: HashMap<String, Id>,
    by_host: HashMap<String, Id>,
    by_fingerprint: HashMap<String, Id>,
    by_stranger: HashMap<String, Id>,
}

impl Roster {
    /// Lab nodes first, in their order; then members that operations name.
    pub fn new<'a>(
        meta: &'a Meta,
        others: impl IntoIterator<Item = &'a str>,
        views: &[View],
    ) -> Self {
        let mut roster = Self::default();
        for node in &meta.nodes {
            let id = roster.add_known(&node.name);
            if !node.address.is_empty() {
                roster.by_host.insert(host(&node.address).to_owned(), id);
            }
        }
        for name in others {
            roster.add_known(name);
        }
        for member in views.iter().filter_map(View::members).flatten() {
            if let Some(fingerprint) = &member.fingerprint
                && !roster.by_fingerprint.contains_key(fingerprint)
                && let Some(id) = roster.by_name_or_host(member)
            {
                roster.by_fingerprint.insert(fingerprint.clone(), id);
            }
        }
        roster
    }

    fn add_known(&mut self, name: &str) -> Id {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        self.names.push(name.to_owned());
        self.foreign.push(false);
        self.by_name.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }

    fn by_name_or_host(&self, member: &Member) -> Option<Id> {
        let name = member.name.as_ref().and_then(|name| self.by_name.get(name));
        let address = member.address.as_deref();
        name.or_else(|| address.and_then(|address| self.by_host.get(host(address))))
            .copied()
    }

    /// Who it is; one who matches nobody is taken in as a foreigner.
    pub fn who(&mut self, member: &Member) -> Id {
        let print = member.fingerprint.as_ref();
        let known = self.by_name_or_host(member).or_else(|| {
            print
                .and_then(|print| self.by_fingerprint.get(print))
                .copied()
        });
        if let Some(id) = known {
            return id;
        }
        let called = member
            .name
            .clone()
            .or_else(|| member.address.clone())
            .or_else(|| {
                member
                    .fingerprint
                    .as_ref()
                    .map(|print| format!("certificate {print}"))
            })
            .or_else(|| member.raft_id.map(|id| format!("raft id {id}")))
            .unwrap_or_else(|| "without a name".to_owned());
        if let Some(id) = self.by_stranger.get(&called) {
            return *id;
        }
        let shown = crate::words::cut(&called, crate::words::VALUE_LIMIT_CHARS);
        self.names.push(format!("foreign {shown}"));
        self.foreign.push(true);
        self.by_stranger.insert(called, self.names.len() - 1);
        self.names.len() - 1
    }

    pub fn named(&self, name: &str) -> Option<Id> {
        self.by_name.get(name).copied()
    }

    pub fn name(&self, id: Id) -> &str {
        self.names.get(id).map_or("nobody", String::as_str)
    }

    pub fn is_foreign(&self, id: Id) -> bool {
        self.foreign.get(id).copied().unwrap_or(true)
    }

    pub fn ids(&self) -> std::ops::Range<Id> {
        0..self.names.len()
    }
}

/// The address without its port: `10.0.3.11:8443`, `[fd00::1]:8443` and bare ones.
pub(super) fn host(address: &str) -> &str {
    if let Some(rest) = address.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match address.rsplit_once(':') {
        // Two colons are an IPv6 address without a port.
        Some((host, _)) if !host.contains(':') => host,
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use harness_core::{
        meta::NodeMeta,
        view::{Reading, Source},
    };

    use super::*;

    #[test]
    fn ports_are_no_part_of_a_host() {
        assert_eq!(host("10.0.3.11:8443"), "10.0.3.11");
        assert_eq!(host("10.0.3.11"), "10.0.3.11");
        assert_eq!(host("[fd00::1]:8443"), "fd00::1");
        assert_eq!(host("fd00::1"), "fd00::1");
    }

    #[test]
    fn members_are_matched_by_name_address_or_certificate() {
        let meta = Meta {
            nodes: vec![NodeMeta {
                name: "n1".to_owned(),
                address: "10.0.0.1".to_owned(),
                ..NodeMeta::default()
            }],
            ..Meta::default()
        };
        let learned = View {
            sample: 0,
            source: Source::Truststore,
            label: None,
            node: Arc::from("n1"),
            start_ns: 0,
            end_ns: 0,
            reading: Reading::Members(vec![Member {
                name: Some("n1".to_owned()),
                fingerprint: Some("f1".to_owned()),
                ..Member::default()
            }]),
            raft: None,
        };
        let mut roster = Roster::new(&meta, ["n9"], &[learned]);
        let by_address = Member {
            address: Some("10.0.0.1:9000".to_owned()),
            ..Member::default()
        };
        let by_print = Member {
            fingerprint: Some("f1".to_owned()),
            ..Member::default()
        };
        let stranger = Member {
            address: Some("10.0.0.7:9000".to_owned()),
            ..Member::default()
        };
        assert_eq!(roster.who(&by_address), 0);
        assert_eq!(roster.who(&by_print), 0);
        assert_eq!(roster.named("n9"), Some(1));
        let id = roster.who(&stranger);
        assert!(roster.is_foreign(id));
        assert_eq!(roster.who(&stranger), id);
        assert_eq!(roster.name(id), "foreign 10.0.0.7:9000");
    }
}
