//! What is where: for each place, on how many of the members that could be read one node is listed, and what else is odd there.
//!
//! Laws: what could not be read is said to be unread, never to hold nobody; a place is named as in views (`truststore/global`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::view::{LOG, Member, MemberState, Reading, Role, Source, View};

/// A node of the lab, as sources may name it.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its address, without a port.
    pub address: &'a str,
    /// The name that is told instead: clusters at work at once have nodes of other names, and come to the same.
    pub shown: &'a str,
}

/// Whom a place lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// It is listed on every member that could be read.
    All,
    /// On some.
    Part,
    /// On none.
    Nobody,
    /// No member could be read.
    Unread,
}

/// What a place of the members says of the node that the operation is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Held {
    /// On how many.
    pub holds: Holds,
    /// Whether it is pending there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
    /// Its role there, if all say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// What was where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Remains {
    /// By place, as the other members have it.
    pub places: BTreeMap<String, Held>,
    /// By place, how many members the node itself lists; none where it could not be read.
    #[serde(default)]
    pub own: BTreeMap<String, Option<usize>>,
    /// What matches no node, or a node a second time: `truststore/global: n2 twice`.
    #[serde(default)]
    pub odd: BTreeSet<String>,
    /// Other members that are not in a place of each member: `n3 not in database`.
    #[serde(default)]
    pub missing: BTreeSet<String>,
}

/// Whether places agree, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Every source of every member has the node as a full member, and so has the node itself.
    In,
    /// No source of any member has it, and it knows of no cluster itself.
    Out,
    /// Neither.
    Between,
}

/// A place of one source.
pub type Place = (Source, Option<String>);

fn place_name(source: Source, label: Option<&str>) -> String {
    match label {
        Some(label) => format!("{source}/{label}"),
        None => source.to_string(),
    }
}

/// Who an entry means; none if it is no node of the lab.
fn meant<'a>(entry: &Member, nodes: &[Who<'a>]) -> Option<&'a str> {
    let host = |address: &str| match address.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host.to_owned(),
        _ => address.to_owned(),
    };
    let by_address = entry.address.as_deref().map(host);
    nodes
        .iter()
        .find(|node| {
            entry.name.as_deref() == Some(node.name) || by_address.as_deref() == Some(node.address)
        })
        .map(|node| node.name)
}

/// What the newest reading of each place says. `members` are those who were members before and should be after, without `subject`.
#[must_use]
pub fn remains(views: &[View], nodes: &[Who<'_>], members: &[&str], subject: &str) -> Remains {
    let mut newest: BTreeMap<(String, &str), &View> = BTreeMap::new();
    for view in views {
        if view.label.as_deref() == Some(LOG) {
            continue;
        }
        let place = place_name(view.source, view.label.as_deref());
        newest.insert((place, &view.node), view);
    }
    let shown = |name: &str| {
        let node = nodes.iter().find(|node| node.name == name);
        node.map_or_else(|| name.to_owned(), |node| node.shown.to_owned())
    };
    let mut found = Remains::default();
    let mut seen: BTreeMap<&str, Vec<(bool, Option<&Member>)>> = BTreeMap::new();
    for ((place, node), view) in &newest {
        let listed = match &view.reading {
            Reading::Members(listed) => Some(listed),
            Reading::Unread { .. } => None,
        };
        if *node == subject {
            found.own.insert(place.clone(), listed.map(Vec::len));
            continue;
        }
        if !members.contains(node) {
            continue;
        }
        let of_place = seen.entry(place).or_default();
        let Some(listed) = listed else {
            of_place.push((false, None));
            continue;
        };
        let mut entries: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in listed {
            match meant(entry, nodes) {
                Some(name) => *entries.entry(name).or_default() += 1,
                None => {
                    let shown = entry.name.as_deref().or(entry.address.as_deref());
                    let shown = shown.unwrap_or("somebody without a name");
                    found.odd.insert(format!("{place}: {shown} is no node"));
                }
            }
        }
        for (name, count) in &entries {
            if *count > 1 {
                found
                    .odd
                    .insert(format!("{place}: {} {count} times", shown(name)));
            } else if *name != subject && !members.contains(name) {
                found
                    .odd
                    .insert(format!("{place}: {}, which never joined", shown(name)));
            }
        }
        // A cache that goes stale by design is shown, and nobody is missing from it.
        if view.source != Source::Cache {
            for member in members
                .iter()
                .filter(|member| !entries.contains_key(*member))
            {
                found.missing.insert(format!(
                    "{} not in {place} of {}",
                    shown(member),
                    shown(node)
                ));
            }
        }
        let entry = listed
            .iter()
            .find(|entry| meant(entry, nodes) == Some(subject));
        of_place.push((true, entry));
    }
    for (place, readings) in seen {
        let read = readings.iter().filter(|(read, _)| *read).count();
        let entries: Vec<&Member> = readings.iter().filter_map(|(_, entry)| *entry).collect();
        let holds = match (read, entries.len()) {
            (0, _) => Holds::Unread,
            (_, 0) => Holds::Nobody,
            (read, listed) if read == listed => Holds::All,
            _ => Holds::Part,
        };
        let roles: BTreeSet<Option<Role>> = entries.iter().map(|entry| entry.role).collect();
        found.places.insert(
            place.to_owned(),
            Held {
                holds,
                pending: entries
                    .iter()
                    .any(|entry| entry.state == Some(MemberState::Pending)),
                role: match roles.len() {
                    1 => roles.first().copied().flatten(),
                    _ => None,
                },
            },
        );
    }
    found
}

impl Remains {
    /// Places other than caches, as the members have them.
    fn core(&self) -> impl Iterator<Item = (&str, &Held)> {
        let cache = Source::Cache.as_str();
        let places = self.places.iter();
        places
            .filter(move |(place, _)| !place.starts_with(cache))
            .map(|(place, held)| (place.as_str(), held))
    }

    /// Where the node stands. What is odd or missing besides is [`Remains::is_clean`]'s matter.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let mut core = self.core().peekable();
        if core.peek().is_none() {
            return Standing::Between;
        }
        let all: Vec<&Held> = core.map(|(_, held)| held).collect();
        let every = |holds: Holds| all.iter().all(|held| held.holds == holds);
        let cache = Source::Cache.as_str();
        let own = || {
            self.own
                .iter()
                .filter(|(place, _)| !place.starts_with(cache))
        };
        // Nobody has it, but it may go on as one of a cluster.
        if every(Holds::Nobody) {
            let goes_on = own().any(|(_, count)| count.is_some_and(|count| count > 1));
            return if goes_on {
                Standing::Between
            } else {
                Standing::Out
            };
        }
        // Its own places must have been read and be as full as those of a member are.
        let itself =
            !self.own.is_empty() && own().all(|(_, count)| count.is_some_and(|count| count > 1));
        if every(Holds::All) && itself && all.iter().all(|held| !held.pending) {
            return Standing::In;
        }
        Standing::Between
    }

    /// Whether nothing is odd and nobody is missing.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.odd.is_empty() && self.missing.is_empty()
    }

    /// Whether all sources agree on who is a member.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.is_clean() && self.standing() != Standing::Between
    }

    /// For people: `database (pending) + truststore, not raft`. Labels that say the same are told as one source.
    #[must_use]
    pub fn words(&self) -> String {
        match self.standing() {
            Standing::In if self.is_clean() => return "a full member".to_owned(),
            Standing::Out if self.is_clean() => return "nothing".to_owned(),
            _ => {}
        }
        let mut sources: BTreeMap<&str, BTreeMap<&str, &Held>> = BTreeMap::new();
        for (place, held) in self.core() {
            let (source, label) = place.split_once('/').unwrap_or((place, ""));
            sources.entry(source).or_default().insert(label, held);
        }
        let (mut inside, mut outside, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        for (source, labels) in &sources {
            let mut distinct: Vec<&Held> = labels.values().copied().collect();
            distinct.dedup();
            let alike = distinct.len() == 1;
            for (label, held) in labels.iter().take(if alike { 1 } else { labels.len() }) {
                let name = match alike || label.is_empty() {
                    true => (*source).to_owned(),
                    false => format!("{source}/{label}"),
                };
                let mut how = Vec::new();
                if held.holds == Holds::Part {
                    how.push("on some");
                }
                if held.pending {
                    how.push("pending");
                }
                let name = match how.is_empty() {
                    true => name,
                    false => format!("{name} ({})", how.join(", ")),
                };
                match held.holds {
                    Holds::All | Holds::Part => inside.push(name),
                    Holds::Nobody => outside.push(name),
                    Holds::Unread => unread.push(name),
                }
            }
        }
        let mut parts = Vec::new();
        match (inside.is_empty(), outside.is_empty()) {
            (false, true) => parts.push(inside.join(" + ")),
            (false, false) => parts.push(format!(
                "{}, not {}",
                inside.join(" + "),
                outside.join(" nor ")
            )),
            _ => {}
        }
        if !unread.is_empty() {
            parts.push(format!("{} unread", unread.join(" and ")));
        }
        parts.extend(self.odd.iter().cloned());
        parts.extend(self.missing.iter().cloned());
        if parts.is_empty() {
            parts.push("nothing".to_owned());
        }
        parts.join("; ")
    }

    /// For people, of the node's own places: `itself: a cluster of 4`, `itself: alone`, `itself: database unread`.
    #[must_use]
    pub fn own_words(&self) -> String {
        let mut says: BTreeMap<Option<usize>, Vec<&str>> = BTreeMap::new();
        for (place, count) in &self.own {
            says.entry(*count).or_default().push(place);
        }
        let one = says.len() == 1;
        let told = says.iter().map(|(count, places)| {
            let what = match count {
                None => "unread".to_owned(),
                Some(0) => "nobody".to_owned(),
                Some(1) => "one member".to_owned(),
                Some(count) => format!("{count} members"),
            };
            match one {
                true => what,
                false => format!("{} {what}", places.join(" ")),
            }
        });
        told.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::view::UnreadKind;

    const NODES: [Who<'static>; 3] = [
        Who {
            name: "n1",
            address: "10.0.0.1",
            shown: "n1",
        },
        Who {
            name: "n2",
            address: "10.0.0.2",
            shown: "n2",
        },
        Who {
            name: "n4",
            address: "10.0.0.4",
            shown: "n4",
        },
    ];

    fn view(source: Source, label: Option<&str>, node: &str, members: &[Member]) -> View {
        View {
            sample: 1,
            source,
            label: label.map(Arc::from),
            node: Arc::from(node),
            start_ns: 1,
            end_ns: 2,
            reading: Reading::Members(members.to_vec()),
            raft: None,
        }
    }

    fn named(name: &str) -> Member {
        Member {
            name: Some(name.to_owned()),
            ..Member::default()
        }
    }

    fn at(address: &str) -> Member {
        Member {
            address: Some(address.to_owned()),
            ..Member::default()
        }
    }

    fn pending(name: &str) -> Member {
        Member {
            state: Some(MemberState::Pending),
            ..named(name)
        }
    }

    fn of(node: &str, database: &[Member], truststore: &[Member], raft: &[Member]) -> Vec<View> {
        vec![
            view(Source::Database, None, node, database),
            view(Source::Truststore, Some("global"), node, truststore),
            view(Source::Raft, Some("socket"), node, raft),
        ]
    }

    fn told(views: &[View]) -> Remains {
        remains(views, &NODES, &["n1", "n2"], "n4")
    }

    #[test]
    fn a_joiner_that_was_accepted_and_not_added_is_told_so() {
        let (d, t) = (
            [named("n1"), named("n2"), pending("n4")],
            [named("n1"), named("n2"), named("n4")],
        );
        let r = [at("10.0.0.1:8443"), at("10.0.0.2:8443")];
        let mut views = of("n1", &d, &t, &r);
        views.extend(of("n2", &d, &t, &r));
        let left = told(&views);
        assert_eq!(left.words(), "database (pending) + truststore, not raft");
        assert_eq!(left.standing(), Standing::Between);
        assert!(left.is_clean() && !left.agrees());
        // A certificate on one member only.
        views.push(view(
            Source::Truststore,
            Some("global"),
            "n2",
            &[named("n1"), named("n2")],
        ));
        assert_eq!(
            told(&views).words(),
            "database (pending) + truststore (on some), not raft"
        );
    }

    #[test]
    fn a_full_member_needs_its_own_word() {
        let (named, at) = (
            [named("n1"), named("n2"), named("n4")],
            [at("10.0.0.1:8443"), at("10.0.0.2"), at("10.0.0.4")],
        );
        let mut views = of("n1", &named, &named, &at);
        views.extend(of("n2", &named, &named, &at));
        assert_eq!(told(&views).standing(), Standing::Between);
        views.extend(of("n4", &named, &named, &at));
        let left = told(&views);
        assert_eq!(
            (
                left.standing(),
                left.words().as_str(),
                left.own_words().as_str()
            ),
            (Standing::In, "a full member", "3 members")
        );
        let unread = Reading::Unread {
            kind: UnreadKind::Timeout,
            message: String::new(),
        };
        views.push(View {
            reading: unread,
            ..view(Source::Database, None, "n4", &[])
        });
        let left = told(&views);
        assert_eq!(left.standing(), Standing::Between);
        assert_eq!(
            left.own_words(),
            "database unread, raft/socket truststore/global 3 members"
        );
    }

    #[test]
    fn who_goes_on_as_a_member_of_a_cluster_that_does_not_know_it_is_not_out() {
        let both = [named("n1"), named("n2")];
        let raft = [at("10.0.0.1:8443"), at("10.0.0.2:8443")];
        let mut views = [of("n1", &both, &both, &raft), of("n2", &both, &both, &raft)].concat();
        views.extend(of("n4", &[], &[named("n4")], &[]));
        assert_eq!(told(&views).standing(), Standing::Out);
        views.push(view(Source::Raft, Some("disk"), "n4", &raft));
        let left = told(&views);
        assert_eq!(
            (left.standing(), left.words().as_str()),
            (Standing::Between, "nothing")
        );
    }

    #[test]
    fn what_is_odd_or_missing_spoils_agreement() {
        let both = [named("n1"), named("n2")];
        let raft = [at("10.0.0.1:8443"), at("10.0.0.2:8443")];
        let clean = [of("n1", &both, &both, &raft), of("n2", &both, &both, &raft)].concat();
        assert_eq!(told(&clean).words(), "nothing");
        assert!(told(&clean).agrees());
        for (source, members, words) in [
            (
                Source::Truststore,
                vec![named("n1"), named("n2"), named("n2")],
                "truststore/global: n2 2 times",
            ),
            (
                Source::Truststore,
                vec![named("n1"), named("n2"), named("x")],
                "truststore/global: x is no node",
            ),
            (
                Source::Truststore,
                vec![named("n1")],
                "n2 not in truststore/global of n1",
            ),
        ] {
            let mut views = clean.clone();
            views.push(view(source, Some("global"), "n1", &members));
            assert!(!told(&views).agrees());
            assert_eq!(told(&views).words(), words);
        }
        assert!(!told(&[]).agrees(), "nobody looked");
    }
}
