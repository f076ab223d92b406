//! From findings to a verdict, one way for all invariants.
//!
//! - A finding makes `invalid`. One that shows again in a later quiet window is told once, with its first and last moment.
//! - Without findings, an invariant of quiescence is `valid` only if the end of the run was judged; else `unknown`, with
//!   the reason. (What was proven in an earlier window stays proven.)
//! - Gaps are what could not be judged; they make `unknown` where nothing was found.

use std::collections::BTreeMap;

use harness_core::{
    history::Operation,
    verdict::{CheckResult, Note, Severity, Verdict, Witness},
};
use serde_json::Value;

use super::{analysis::Analysis, changes::Change, quiet::Settled, roster::Id};
use crate::words::{self, Clock, end_ns};

/// Proof that something is wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub kind: &'static str,
    /// A few words for tables, with who and where: `n4 in database+truststore, not in raft`.
    pub short: String,
    /// A headline: `n4 is half a member.`
    pub title: String,
    pub story: String,
    pub operations: Vec<u64>,
    pub nodes: Vec<String>,
    pub start_ns: u64,
    pub end_ns: u64,
    pub explanation: Option<String>,
}

impl Finding {
    pub fn new(kind: &'static str, short: String, title: String, story: String) -> Self {
        Self {
            kind,
            short,
            title,
            story,
            operations: Vec::new(),
            nodes: Vec::new(),
            start_ns: 0,
            end_ns: 0,
            explanation: None,
        }
    }

    pub fn between(mut self, start_ns: u64, end_ns: u64) -> Self {
        self.start_ns = start_ns;
        self.end_ns = end_ns.max(start_ns);
        self
    }

    /// Nodes concerned; each once, sorted.
    pub fn on(mut self, nodes: impl IntoIterator<Item = String>) -> Self {
        self.nodes.extend(nodes);
        self.nodes.sort_unstable();
        self.nodes.dedup();
        self
    }

    /// The operation that led to it: told at the end of the story.
    pub fn led_by(mut self, analysis: &Analysis<'_>, cause: Option<&Change<'_>>) -> Self {
        if let Some(cause) = cause {
            self.story.push(' ');
            self.story.push_str(&analysis.tell(cause));
            self.operations.push(cause.operation.index);
            self.start_ns = self.start_ns.min(cause.operation.invoked_ns);
        }
        self
    }

    /// About these operations, and nothing else.
    pub fn about(mut self, operations: &[&Operation]) -> Self {
        self.operations = operations.iter().map(|operation| operation.index).collect();
        self.start_ns = operations
            .iter()
            .map(|operation| operation.invoked_ns)
            .min()
            .unwrap_or(0);
        self.end_ns = operations
            .iter()
            .map(|operation| end_ns(operation))
            .max()
            .unwrap_or(0);
        self.on(words::nodes_of(operations.iter().copied()))
    }

    fn witness(self) -> Witness {
        Witness {
            kind: self.kind.to_owned(),
            title: self.title,
            story: self.story,
            culprits: self.operations.clone(),
            operations: self.operations,
            edges: Vec::new(),
            nodes: self.nodes,
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            explanation: self.explanation,
        }
    }
}

/// What an invariant says.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// Why there is nothing to judge.
    pub not_applicable: Option<String>,
    pub findings: Vec<Finding>,
    /// What could not be judged: kind and sentence.
    pub gaps: Vec<(&'static str, String)>,
    /// What is worth knowing.
    pub notes: Vec<Note>,
    pub figures: BTreeMap<String, Value>,
    pub looked_at: usize,
    /// What was looked at, for the summary of a valid one: `in 3 quiet windows`.
    pub valid: String,
}

impl Judgement {
    pub fn not_applicable(why: impl Into<String>) -> Self {
        Self {
            not_applicable: Some(why.into()),
            ..Self::default()
        }
    }

    /// Asks about each settled window; unknown if the end of the run could not be judged.
    pub fn at_quiescence<'a>(
        analysis: &Analysis<'a>,
        valid: &str,
        mut look: impl FnMut(&Settled<'a>) -> Vec<Finding>,
    ) -> Self {
        let mut judgement = Self {
            looked_at: analysis.settled.len(),
            ..Self::default()
        };
        for settled in &analysis.settled {
            for finding in look(settled) {
                judgement.add(finding);
            }
        }
        if let Some(why) = &analysis.unsettled {
            judgement.gaps.push(("not-quiescent", why.clone()));
        }
        let windows = words::plural(analysis.settled.len(), "quiet window", "quiet windows");
        judgement.valid = format!("{valid}, in {windows}");
        judgement
    }

    /// Adds a finding, or stretches the same one of an earlier window.
    pub fn add(&mut self, finding: Finding) {
        let same = |known: &&mut Finding| {
            (known.kind, &known.short, &known.title)
                == (finding.kind, &finding.short, &finding.title)
        };
        match self.findings.iter_mut().find(same) {
            Some(known) => {
                known.end_ns = known.end_ns.max(finding.end_ns);
                known.start_ns = known.start_ns.min(finding.start_ns);
            }
            None => self.findings.push(finding),
        }
    }

    pub fn result(self, name: &str) -> CheckResult {
        let (verdict, summary) = if let Some(why) = &self.not_applicable {
            (Verdict::NotApplicable, why.clone())
        } else if let Some(first) = self.findings.first() {
            let more = match self.findings.len() - 1 {
                0 => String::new(),
                more => format!(", and {} more", words::count(more)),
            };
            let clock = Clock::spanning([first.start_ns, first.end_ns]);
            let since = clock.at(first.start_ns);
            (
                Verdict::Invalid,
                format!("{}, since {since}{more}", first.short),
            )
        } else if let Some((_, why)) = self.gaps.first() {
            (Verdict::Unknown, why.clone())
        } else {
            (Verdict::Valid, self.valid)
        };
        let mut result = CheckResult::new(name, verdict, summary);
        result.notes = self.notes;
        let severity = if verdict == Verdict::Unknown {
            Severity::Error
        } else {
            Severity::Warning
        };
        for (kind, why) in self.gaps {
            result.notes.push(words::note(kind, severity, why));
        }
        for finding in self.findings {
            let text = format!("{} {}", finding.title, finding.story);
            let note = words::note(finding.kind, Severity::Error, text);
            result.notes.push(note);
            result.witnesses.push(finding.witness());
        }
        result.figures = self.figures;
        result.looked_at = self.looked_at as u64;
        words::finish(result)
    }
}

/// `n1, n2 and n3`.
pub(super) fn listed(names: &[String]) -> String {
    match names {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Since when a place says what it says of a member: the start of the first reading of the unbroken row of readings up to
/// this one that agree on whether it lists the member.
pub(super) fn since(analysis: &Analysis<'_>, number: usize, member: Id) -> u64 {
    let reading = &analysis.readings[number];
    let listed = reading.lists(member);
    let mut since_ns = reading.view.start_ns;
    let place = &analysis.by_place[reading.place];
    let at = place.partition_point(|other| *other < number);
    for before in place[..at].iter().rev() {
        let before = &analysis.readings[*before];
        if before.members.is_some() && before.lists(member) != listed {
            break;
        }
        if before.members.is_some() {
            since_ns = before.view.start_ns;
        }
    }
    since_ns
}

/// Names of nodes on which readings were made.
pub(super) fn nodes_of(analysis: &Analysis<'_>, readings: &[usize]) -> Vec<String> {
    readings
        .iter()
        .filter_map(|number| analysis.node_of(&analysis.readings[*number]))
        .map(|node| analysis.name(node).to_owned())
        .collect()
}
