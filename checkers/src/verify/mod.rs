//! Checks witnesses once more: small, slow, and by definitions alone.
//!
//! Laws:
//! - it takes a history and what a witness claims, and shares no code with those who search: neither their columns, nor their orders of
//!   versions, nor their graphs;
//! - it believes nothing: kinds of edges are found anew, words are not read;
//! - a claim that it has no definition for is [`Verified::NotKnown`], never [`Verified::Holds`].
//!
//! For a circle it is enough that each edge is one *in the closure*: if T2 wrote some later version than T1, then there is a path of
//! write-dependencies from T1 to T2, and the circle can be made longer by it without another kind of edge.

mod circle;
mod facts;
mod single;
mod weak;

use harness_core::{
    history::History,
    verdict::{CheckResult, Witness},
};

use facts::Facts;

/// What is said of a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// It is proof of what it claims.
    Holds,
    /// It is not: what is wrong with it.
    Wrong(String),
    /// The verifier has no definition of this, or the witness shows too little: which.
    NotKnown(String),
}

/// Checks a witness of a checker's result against the history.
#[must_use]
pub fn witness(history: &History, result: &CheckResult, witness: &Witness) -> Verified {
    let shape = match result.checker.as_str() {
        "append" | "list-append" => facts::Shape::Lists,
        "rw-register" | "weak-isolation" => facts::Shape::Registers,
        other => return Verified::NotKnown(format!("witnesses of {other}")),
    };
    let facts = Facts::new(history, shape);
    let told = if result.checker == "weak-isolation" {
        let model = result.figures.get("model").and_then(|name| name.as_str());
        weak::verify(&facts, model.unwrap_or_default(), witness)
    } else if let Some(told) = single::verify(&facts, witness) {
        told
    } else {
        circle::verify(&facts, witness)
    };
    match told {
        Ok(true) => Verified::Holds,
        Ok(false) => Verified::NotKnown(format!("{} without its edges", witness.kind)),
        Err(detail) => Verified::Wrong(detail),
    }
}
