//! The history by itself, without views: `linearizable-membership`, `token-single-use`, `no-hang`.
//!
//! `linearizable-membership` gives joins, removes and lists to [`linear`](crate::linear) as operations on one set; what is
//! indeterminate may take effect at any later time or never. Only lists can contradict the rest.
//!
//! `no-hang`: an operation that was begun when no fault was in force, nor had been for the settle time, and during which
//! none was, does not run into its deadline.

use harness_core::{
    history::{History, Operation, Outcome},
    membership::{ChangeKind, JoinValue, LIST, REMOVED_PROBE, change, member_of},
    verdict::{Budget, CheckInput, Checker, Verdict},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{
    analysis::{Analysis, because},
    judgement::{Finding, Judgement},
};
use crate::{
    linear::{Keyed, Linearizable, Options},
    words::{self, Clock, cut},
};

/// Kind of the error of an operation that ran into its deadline.
const TIMEOUT: &str = "timeout";

/// Seen on 1.18.1 (Debian's go-dqlite 2.0.0): a leader without a quorum listed who was joining, and the next leader's log did not have that entry.
const UNCOMMITTED: &str = "dqlite answers a list from the configuration that its leader appended last, committed or not: one who joins may be \
     listed, and be gone again when the next leader overwrites that entry. Views of raft with the label log say which configurations were committed.";

pub(super) fn linearizable_membership(analysis: &Analysis<'_>, budget: &dyn Budget) -> Judgement {
    let operations = &analysis.input.history.operations;
    let listed = |operation: &&Operation| &*operation.f == LIST && operation.outcome == Outcome::Ok;
    if !operations.iter().any(|operation| listed(&operation)) {
        return Judgement::not_applicable(
            "no list was read, and joins and removes alone contradict nothing",
        );
    }
    let Some(initial) = &analysis.changes.initial else {
        return gap(
            "no-initial-members",
            "nobody knows who was a member at first",
        );
    };
    let history = History {
        operations: operations.iter().filter_map(on_a_set).collect(),
        ..History::default()
    };
    let members: Vec<&str> = analysis
        .roster
        .ids()
        .filter(|id| initial[*id])
        .map(|id| analysis.name(id))
        .collect();
    let checker = Linearizable::new(Options {
        model: "membership".to_owned(),
        initial: json!(members),
        keyed: Keyed::No,
        ..Options::default()
    });
    let input = CheckInput {
        history: &history,
        ..analysis.input
    };
    let result = checker.check(&input, budget);
    let mut judgement = Judgement {
        looked_at: history.operations.len(),
        valid: format!(
            "{} of one set have a legal order",
            words::plural(history.operations.len(), "operation", "operations")
        ),
        figures: result.figures,
        ..Judgement::default()
    };
    match result.verdict {
        Verdict::Valid | Verdict::NotApplicable => {}
        Verdict::Unknown => judgement.gaps.push(("not-decided", result.summary)),
        Verdict::Invalid => {
            for witness in result.witnesses {
                let mut finding = Finding::new(
                    "no-legal-order",
                    "joins, removes and lists have no legal order".to_owned(),
                    witness.title,
                    witness.story,
                )
                .between(witness.start_ns, witness.end_ns)
                .on(witness.nodes);
                finding.operations = witness.operations;
                let known =
                    (analysis.input.meta.system == "dqlite").then(|| UNCOMMITTED.to_owned());
                finding.explanation = witness.explanation.or(known);
                judgement.add(finding);
            }
        }
    }
    judgement
}

fn gap(kind: &'static str, why: &str) -> Judgement {
    Judgement {
        gaps: vec![(kind, why.to_owned())],
        ..Judgement::default()
    }
}

/// An operation in the words of the model `membership`; None if it is about something else.
fn on_a_set(operation: &Operation) -> Option<Operation> {
    if &*operation.f == LIST {
        return Some(operation.clone());
    }
    let (kind, _) = change(&operation.f)?;
    let member = json!(member_of(operation)?);
    let f = match kind {
        ChangeKind::Join => "join",
        ChangeKind::Remove => "remove",
    };
    Some(Operation {
        f: f.into(),
        input: member.clone(),
        output: member,
        ..operation.clone()
    })
}

pub(super) fn token_single_use(analysis: &Analysis<'_>) -> Judgement {
    let mut by_token: BTreeMap<String, Vec<&Operation>> = BTreeMap::new();
    for change in &analysis.changes.all {
        if change.kind != ChangeKind::Join {
            continue;
        }
        // Whoever joins learns its token only while it joins, so mostly the result says which it was.
        let token = [&change.operation.output, &change.operation.input]
            .into_iter()
            .filter_map(|value| serde_json::from_value::<JoinValue>(value.clone()).ok())
            .find_map(|value| value.token);
        if let Some(token) = token {
            by_token.entry(token).or_default().push(change.operation);
        }
    }
    if by_token.is_empty() {
        return Judgement::not_applicable("no join says which token it used");
    }
    let mut judgement = Judgement {
        looked_at: by_token.len(),
        valid: format!(
            "{} let in one member each at most",
            words::plural(by_token.len(), "token", "tokens")
        ),
        ..Judgement::default()
    };
    for (token, joins) in &by_token {
        let let_in: Vec<&Operation> = joins
            .iter()
            .copied()
            .filter(|join| join.outcome == Outcome::Ok)
            .collect();
        if let_in.len() < 2 {
            continue;
        }
        let names: Vec<String> = let_in
            .iter()
            .map(|join| {
                format!(
                    "{} (operation {})",
                    member_of(join).unwrap_or_default(),
                    join.index
                )
            })
            .collect();
        let token = cut(token, 16);
        judgement.add(
            Finding::new(
                "token-used-twice",
                format!(
                    "token {token} let in {}",
                    words::plural(let_in.len(), "member", "members")
                ),
                "A token was used twice.".to_owned(),
                format!("Token {token} let in {}.", super::judgement::listed(&names)),
            )
            .about(&let_in),
        );
    }
    judgement
}

pub(super) fn no_hang(analysis: &Analysis<'_>) -> Judgement {
    let about_membership = |operation: &&Operation| {
        change(&operation.f).is_some() || matches!(&*operation.f, LIST | REMOVED_PROBE)
    };
    let operations = &analysis.input.history.operations;
    let judged: Vec<&Operation> = operations.iter().filter(about_membership).collect();
    if judged.is_empty() {
        return Judgement::not_applicable("no operation on membership was tried");
    }
    let mut judgement = Judgement {
        looked_at: judged.len(),
        valid: format!(
            "none of {} ran into its deadline without a fault",
            words::plural(judged.len(), "operation", "operations")
        ),
        ..Judgement::default()
    };
    for operation in judged {
        let member = member_of(operation).unwrap_or_default();
        let what = format!("{} {member}", operation.f).trim_end().to_owned();
        let Some(end_ns) = operation.completed_ns else {
            judgement.gaps.push((
                "never-ended",
                format!(
                    "the end of operation {} ({what}) was not recorded",
                    operation.index
                ),
            ));
            continue;
        };
        let timed_out = operation
            .error
            .as_ref()
            .is_some_and(|error| error.kind == TIMEOUT);
        let from_ns = operation
            .invoked_ns
            .saturating_sub(analysis.rules.settle_ns);
        if !timed_out || !analysis.faults_during(from_ns, end_ns).is_empty() {
            continue;
        }
        let clock = Clock::spanning([operation.invoked_ns, end_ns]);
        judgement.add(
            Finding::new(
                "hung",
                format!("{what} (operation {}) hung", operation.index),
                format!("Operation {} hung.", operation.index),
                format!(
                    "{what}{} began at {} and was given up at {}{}; no fault was in force.",
                    words::on_node(operation),
                    clock.at(operation.invoked_ns),
                    clock.at(end_ns),
                    because(operation)
                ),
            )
            .about(&[operation])
            .on((!member.is_empty()).then(|| member.to_owned())),
        );
    }
    judgement
}

/// Whether a `removed-probe` found the node still inside; None if it says nothing.
pub(super) fn still_inside(probe: &Operation) -> Option<bool> {
    (probe.outcome == Outcome::Ok)
        .then(|| probe.output.get("in").and_then(Value::as_bool))
        .flatten()
}
