//! Who is who in views: members matched with nodes of the lab.
//!
//! By name, else by address, else by a certificate that some view lists beside a name or an address. What matches none
//! is `foreign`. The same rule as the checker's, so that lanes and witnesses speak of the same members.

use std::collections::HashMap;

use harness_core::{
    membership::{change, member_of},
    view::{Member, View},
};

use crate::{model::ReportInput, text};

/// Longest name that is shown, in characters.
const NAME_CHARS: usize = 40;

/// Somebody: a place in [`Roster::people`].
pub type Id = usize;

/// Somebody who is in a view, in an operation, or a node of the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// As shown: clipped, and on one line.
    pub name: String,
    /// As it stands in the run.
    pub exact: String,
    /// It matches no node of the lab, and no operation let it in.
    pub foreign: bool,
}

/// All of them: nodes of the lab first, in their order, then members that operations name, then foreigners.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// Everybody.
    pub people: Vec<Person>,
    by_name: HashMap<String, Id>,
    by_host: HashMap<String, Id>,
    by_fingerprint: HashMap<String, Id>,
    by_stranger: HashMap<String, Id>,
}

impl Roster {
    pub(super) fn new(input: &ReportInput<'_>) -> Self {
        let mut roster = Self::default();
        for node in &input.meta.nodes {
            let id = roster.add(&node.name);
            if !node.address.is_empty() {
                roster.by_host.insert(host(&node.address).to_owned(), id);
            }
        }
        for operation in &input.history.operations {
            if change(&operation.f).is_some()
                && let Some(member) = member_of(operation)
            {
                roster.add(member);
            }
        }
        for member in input.views.iter().filter_map(View::members).flatten() {
            if let Some(print) = &member.fingerprint
                && !roster.by_fingerprint.contains_key(print)
                && let Some(id) = roster.by_name_or_host(member)
            {
                roster.by_fingerprint.insert(print.clone(), id);
            }
        }
        roster
    }

    fn add(&mut self, name: &str) -> Id {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        self.people.push(Person {
            name: text::clip(name, NAME_CHARS),
            exact: name.to_owned(),
            foreign: false,
        });
        self.by_name.insert(name.to_owned(), self.people.len() - 1);
        self.people.len() - 1
    }

    fn by_name_or_host(&self, member: &Member) -> Option<Id> {
        let name = member.name.as_ref().and_then(|name| self.by_name.get(name));
        let address = member.address.as_deref();
        name.or_else(|| address.and_then(|address| self.by_host.get(host(address))))
            .copied()
    }

    /// Who it is; one who matches nobody is taken in as a foreigner.
    pub(super) fn who(&mut self, member: &Member) -> Id {
        let known = self.by_name_or_host(member).or_else(|| {
            let print = member.fingerprint.as_ref()?;
            self.by_fingerprint.get(print).copied()
        });
        if let Some(id) = known {
            return id;
        }
        let print = || {
            let print = member.fingerprint.as_ref()?;
            Some(format!("certificate {print}"))
        };
        let called = member
            .name
            .clone()
            .or_else(|| member.address.clone())
            .or_else(print)
            .or_else(|| member.raft_id.map(|id| format!("raft id {id}")))
            .unwrap_or_else(|| "without a name".to_owned());
        if let Some(id) = self.by_stranger.get(&called) {
            return *id;
        }
        let exact = format!("foreign {called}");
        self.people.push(Person {
            name: text::clip(&exact, NAME_CHARS),
            exact,
            foreign: true,
        });
        self.by_stranger.insert(called, self.people.len() - 1);
        self.people.len() - 1
    }

    /// The node or member of that exact name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Id> {
        self.by_name.get(name).copied()
    }

    /// Whom a text names: the longest name that stands in it as a word of its own.
    #[must_use]
    pub fn named_in(&self, text: &str) -> Option<Id> {
        let stands = |name: &str| {
            text.match_indices(name).any(|(at, _)| {
                let edge = |character: Option<char>| {
                    character.is_none_or(|character| !is_of_name(character))
                };
                let after = &text[at + name.len()..];
                // A full stop ends a sentence, or joins a host name's parts.
                let dotted = after
                    .strip_prefix('.')
                    .is_some_and(|rest| rest.starts_with(is_of_name));
                edge(text[..at].chars().next_back()) && edge(after.chars().next()) && !dotted
            })
        };
        (0..self.people.len())
            .filter(|id| {
                let person = &self.people[*id];
                !person.exact.is_empty() && (stands(&person.exact) || stands(&person.name))
            })
            .max_by_key(|id| self.people[*id].exact.len())
    }
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '_')
}

/// The address without its port: `10.0.3.11:8443`, `[fd00::1]:8443` and bare ones.
fn host(address: &str) -> &str {
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
    use super::*;

    #[test]
    fn a_name_in_a_text_is_a_word_of_its_own() {
        let mut roster = Roster::default();
        for name in ["n1", "n11", "n1-b", "n4"] {
            roster.add(name);
        }
        let exact = |text| {
            let id = roster.named_in(text)?;
            Some(roster.people[id].exact.as_str())
        };
        for (text, name) in [
            ("n11 is half a member.", Some("n11")),
            ("The name n4 is burnt.", Some("n4")),
            ("The join of n1-b took effect by halves.", Some("n1-b")),
            ("It was n1.", Some("n1")),
            ("n1.example is somebody else", None),
            ("Nobody", None),
        ] {
            assert_eq!(exact(text), name, "{text}");
        }
    }

    #[test]
    fn ports_are_no_part_of_a_host() {
        for (address, bare) in [
            ("10.0.3.11:8443", "10.0.3.11"),
            ("10.0.3.11", "10.0.3.11"),
            ("[fd00::1]:8443", "fd00::1"),
            ("fd00::1", "fd00::1"),
        ] {
            assert_eq!(host(address), bare);
        }
    }
}
