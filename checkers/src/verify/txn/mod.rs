//! Witnesses of transactions, by definitions alone.
//!
//! Laws:
//! - it takes a history and what a witness claims, and shares no code with those who search: neither their columns, nor their orders of
//!   versions, nor their graphs;
//! - it believes nothing: kinds of edges are found anew, words are not read;
//! - a claim that it has no definition for is not tried, never confirmed.
//!
//! For a circle it is enough that each edge is one *in the closure*: if T2 wrote some later version than T1, then there is a path of
//! write-dependencies from T1 to T2, and the circle can be made longer by it without another kind of edge.

mod circle;
mod facts;
mod order;
mod sight;
mod single;
mod weak;

use harness_core::{
    history::History,
    verdict::{CheckResult, Witness},
};
use serde_json::Value;

use super::Finding;
use facts::{Facts, Shape};

/// Transactions among which the way from one to another is looked for step by step: that takes time by their square.
const WEAK_LIMIT_TRANSACTIONS: usize = 2_000;

/// What became of each witness of one of the checkers of transactions.
pub(super) fn witnesses(history: &History, result: &CheckResult) -> Vec<Finding> {
    let weak = result.checker == "weak-isolation";
    let shape = match result.checker.as_str() {
        "append" | "list-append" => Shape::Lists,
        _ => Shape::Registers,
    };
    let facts = Facts::new(history, shape);
    let large = facts.txns.len() > WEAK_LIMIT_TRANSACTIONS;
    let too_many =
        || Finding::NotTried(format!("more than {WEAK_LIMIT_TRANSACTIONS} transactions"));
    if weak && large {
        return vec![too_many(); result.witnesses.len()];
    }
    let model = result.figures.get("model").and_then(Value::as_str);
    let one = |witness: &Witness| {
        if witness.operations.is_empty() {
            return Finding::Refuted("it names no operation of the history".to_owned());
        }
        if large && shape == Shape::Registers && sight::is_sight(witness) {
            return too_many();
        }
        let told = if weak {
            weak::verify(&facts, model.unwrap_or_default(), witness)
        } else if order::is_order(witness) {
            match order::verify(&facts, witness) {
                Ok(false) => {
                    return Finding::NotTried(format!("{} of too many", witness.kind));
                }
                told => told,
            }
        } else if sight::is_sight(witness) {
            sight::verify(&facts, witness)
        } else {
            single::verify(&facts, witness).unwrap_or_else(|| circle::verify(&facts, witness))
        };
        match told {
            Ok(true) => Finding::Confirmed,
            Ok(false) => Finding::NotTried(format!("{} without its edges", witness.kind)),
            Err(detail) => Finding::Refuted(detail),
        }
    };
    result.witnesses.iter().map(one).collect()
}
