//! What healing came to, node by node.

use std::{fmt, io};

use harness_core::fault::Evidence;
use harness_lab::{TransportError, capability::CapabilityError};

/// Whose trouble it is that something could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The node could not be reached, or is not ours, or did not do as told: the lab is dirty.
    Lab,
    /// The node did as told, and the system did not come back: something to report about the system.
    System,
}

/// Something that could not be done on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The node's name.
    pub node: String,
    /// Whose trouble it is.
    pub cause: Cause,
    /// What happened, as a fragment for people.
    pub text: String,
}

impl Trouble {
    pub(super) fn lab(node: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            cause: Cause::Lab,
            text: text.into(),
        }
    }

    pub(super) fn transport(node: &str, error: &TransportError) -> Self {
        Self::lab(node, with_sources(error))
    }

    pub(super) fn capability(node: &str, error: &CapabilityError) -> Self {
        Self {
            node: node.to_owned(),
            cause: match error {
                CapabilityError::Transport(_) => Cause::Lab,
                _ => Cause::System,
            },
            text: with_sources(error),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What transports and capabilities say mostly begins with the node's name already.
        if self.text.contains(&self.node) {
            f.write_str(&self.text)
        } else {
            write!(f, "{}: {}", self.node, self.text)
        }
    }
}

/// Troubles as one reason.
pub(super) fn reason(troubles: &[Trouble]) -> String {
    let texts: Vec<String> = troubles.iter().map(Trouble::to_string).collect();
    texts.join("; ")
}

/// An error with what caused it; library messages do not repeat their sources.
pub(super) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // A transparent wrapper says the same again.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What became of one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultHeal {
    /// Its number in its run.
    pub fault: u32,
    /// Its kind, as in the ledger.
    pub kind: String,
    /// For people.
    pub label: String,
    /// Whether it was seen to be undone.
    pub healed: bool,
}

/// What became of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeHeal {
    /// Its name.
    pub node: String,
    /// What was done on it and seen, in order.
    pub done: Vec<String>,
    /// What could not be done on it.
    pub troubles: Vec<Trouble>,
}

/// What healing came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealReport {
    /// Every node that something was to be done on.
    pub nodes: Vec<NodeHeal>,
    /// Every fault that was open.
    pub faults: Vec<FaultHeal>,
    /// What went wrong with the harness itself, such as a ledger that cannot be written.
    pub problems: Vec<String>,
}

impl HealReport {
    /// Whether everything was undone.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.troubles().next().is_none() && self.faults.iter().all(|fault| fault.healed)
    }

    /// Whether something of ours may be left on a node: exit code 3. False if it is only that the
    /// system does not come back.
    #[must_use]
    pub fn lab_is_dirty(&self) -> bool {
        self.troubles().any(|trouble| trouble.cause == Cause::Lab)
    }

    /// All that could not be done.
    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.nodes.iter().flat_map(|node| &node.troubles)
    }

    pub(super) fn node(&mut self, name: &str) -> &mut NodeHeal {
        let at = match self.nodes.iter().position(|node| node.node == name) {
            Some(at) => at,
            None => {
                self.nodes.push(NodeHeal {
                    node: name.to_owned(),
                    done: Vec::new(),
                    troubles: Vec::new(),
                });
                self.nodes.len() - 1
            }
        };
        &mut self.nodes[at]
    }

    pub(super) fn add(&mut self, undone: &Undone) {
        for seen in &undone.evidence {
            self.node(&seen.node).done.push(seen.text.clone());
        }
        for trouble in &undone.troubles {
            self.node(&trouble.node).troubles.push(trouble.clone());
        }
    }

    pub(super) fn ledger_failed(&mut self, error: &io::Error) {
        self.problems
            .push(format!("the ledger cannot be written: {error}"));
    }
}

/// What was seen when something was undone, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Undone {
    pub(super) evidence: Vec<Evidence>,
    pub(super) troubles: Vec<Trouble>,
}

impl Undone {
    pub(super) fn saw(&mut self, node: &str, text: impl Into<String>) {
        self.evidence.push(Evidence {
            node: node.to_owned(),
            text: text.into(),
        });
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.evidence.extend(other.evidence);
        self.troubles.extend(other.troubles);
    }
}
