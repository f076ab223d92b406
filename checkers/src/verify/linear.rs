//! Witnesses of linearizability.
//!
//! A read of a wrong value is proved by at most three operations:
//!
//! - nobody who may have written the value began before the read had ended; or
//! - somebody showed or left another value (the evidence), after everybody who may have written this one had ended and
//!   before the read began; and who writes it later began after the read had ended.
//!
//! Anything else is proved by trying all orders of what happened to that key until the culprit had ended. That needs a
//! model that has all kinds of operations there: else nothing is tried.

use harness_core::{
    format::MISMATCH,
    history::{Operation, Outcome},
    verdict::{CheckInput, Witness},
};
use serde_json::{Value, json};

use super::{
    Finding, keys,
    order::{self, Act},
};

/// The default model of the checker.
const MODEL: &str = "cas-register";

pub(super) fn queue(options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let mut options = options.clone();
    if options.is_null() {
        options = json!({});
    }
    options["model"] = json!("queue");
    self::witness(&options, input, witness)
}

pub(super) fn witness(options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let operations = &input.history.operations;
    let find = |index: &u64| {
        operations
            .iter()
            .find(|operation| operation.index == *index)
    };
    let Some(culprit) = witness.culprits.first().and_then(find) else {
        return Finding::Refuted("it names no operation of the history".to_owned());
    };
    if witness.operations.iter().any(|index| find(index).is_none()) {
        return Finding::Refuted("it names an operation that is not in the history".to_owned());
    }
    let model = options
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or(MODEL);
    let given = options.get("initial").unwrap_or(&Value::Null);
    let (Some(initial), Some(kinds)) = (order::initial(model, given), order::kinds(model)) else {
        return Finding::NotTried(format!("the model {model} is not known here"));
    };
    let counted = counted(options, operations);
    if let Some(strange) = counted.iter().find(|one| !kinds.contains(&&*one.f)) {
        return Finding::NotTried(format!("{} is no operation of {model} here", strange.f));
    }
    let acts = acts(options, model, counted, culprit);
    if let Some(strange) = acts.iter().find(|act| !order::fits(model, act)) {
        return Finding::NotTried(format!("{} is nothing that {model} gives", strange.result));
    }
    let Some(target) = acts.iter().find(|act| act.operation.index == culprit.index) else {
        return Finding::Refuted("the culprit is not among its key's operations".to_owned());
    };
    let registers = matches!(model, "register" | "cas-register");
    if registers && witness.kind != "not-linearizable" {
        let Some(value) = shows(target) else {
            return Finding::Refuted("the culprit saw nothing".to_owned());
        };
        return wrong_value(&initial, &acts, target, &value, witness);
    }
    let until = culprit.completed_index.unwrap_or(u64::MAX);
    let mut prefix: Vec<Act<'_>> = acts
        .into_iter()
        .filter(|act| act.operation.index < until)
        .collect();
    if let Some(some) = about(model, &prefix, witness) {
        // Of a stack a witness does not always name all that it takes.
        let whole = std::mem::replace(&mut prefix, some);
        let exists = || order::exists(model, &initial, &cut(prefix.clone(), until));
        if model == "stack" && exists() != Some(false) {
            prefix = whole;
        }
    }
    match order::exists(model, &initial, &cut(prefix, until)) {
        Some(exists) => Finding::of(!exists, "there is a legal order"),
        None => Finding::NotTried("too many operations to try all orders".to_owned()),
    }
}

/// Who had not ended by then is owed no place; reads of that kind say nothing.
fn cut(acts: Vec<Act<'_>>, until: u64) -> Vec<Act<'_>> {
    acts.into_iter()
        .map(|act| Act {
            owed: act.owed
                && act
                    .operation
                    .completed_index
                    .is_some_and(|end| end <= until),
            ..act
        })
        .filter(|act| act.owed || !order::looks(&act.operation.f))
        .collect()
}

/// Of a queue or a stack, only the values that the witness names: taking a value away altogether keeps an order legal.
fn about<'a>(model: &str, acts: &[Act<'a>], witness: &Witness) -> Option<Vec<Act<'a>>> {
    if !matches!(model, "queue" | "stack") {
        return None;
    }
    let value = |act: &Act<'_>| match &*act.operation.f {
        "enqueue" | "push" => act.argument.clone(),
        _ => act.result.clone(),
    };
    let named: Vec<Value> = acts
        .iter()
        .filter(|act| witness.operations.contains(&act.operation.index))
        .map(value)
        .collect();
    // An empty take speaks of all values.
    (!named.iter().any(Value::is_null)).then(|| {
        acts.iter()
            .filter(|act| named.contains(&value(act)))
            .cloned()
            .collect()
    })
}

/// The operations that are the model's.
fn counted<'a>(options: &Value, operations: &'a [Operation]) -> Vec<&'a Operation> {
    let ignored = |operation: &Operation| {
        options.get("ignore").and_then(Value::as_array).map_or_else(
            || &*operation.f == "availability",
            |ignore| ignore.iter().any(|f| *f == *operation.f),
        )
    };
    operations
        .iter()
        .filter(|operation| !ignored(operation))
        .collect()
}

/// The operations on the culprit's key.
fn acts<'a>(
    options: &Value,
    model: &str,
    counted: Vec<&'a Operation>,
    culprit: &Operation,
) -> Vec<Act<'a>> {
    let two = |value: &Value| value.as_array().is_some_and(|array| array.len() == 2);
    let looks = |operation: &&Operation| {
        two(&operation.input)
            && match &*operation.f {
                "read" | "r" | "get" => operation.input[1].is_null(),
                "cas" => two(&operation.input[1]),
                _ => true,
            }
    };
    let registers = matches!(model, "register" | "cas-register" | "key-value");
    let keyed = match options.get("keyed").and_then(Value::as_str) {
        Some("yes") => true,
        Some("no") => false,
        _ if registers => counted.iter().all(looks),
        _ => keys::told(model, counted.iter().copied(), Some),
    };
    // A store of many keys taken as one is its keys all the same.
    let whole = options.get("partition") == Some(&Value::Bool(false)) && model == "key-value";
    let keyed = keyed || whole;
    let silent_null = options.get("null_matches_any") == Some(&Value::Bool(true));
    counted
        .into_iter()
        .filter(|operation| !keyed || operation.input[0] == culprit.input[0])
        .map(|operation| {
            let inner = |value: &Value| match value.as_array().map(Vec::as_slice) {
                Some([key, inner]) if keyed && *key == operation.input[0] => inner.clone(),
                _ => value.clone(),
            };
            let mut result = inner(&operation.output);
            if silent_null && let ("multi-register", Some(steps)) = (model, result.as_array_mut()) {
                let reads = |step: &Value| matches!(step[0].as_str(), Some("r" | "read"));
                steps.retain(|step| !(reads(step) && step[2].is_null()));
            }
            Act {
                operation,
                argument: inner(&operation.input),
                result,
                owed: operation.outcome != Outcome::Info,
            }
        })
        .filter(|act| match act.operation.outcome {
            Outcome::Fail => {
                model == "cas-register"
                    && &*act.operation.f == "cas"
                    && observes(options, act.operation)
            }
            Outcome::Info => !order::looks(&act.operation.f),
            Outcome::Ok => {
                let silent = silent_null && matches!(model, "register" | "cas-register");
                !(silent && order::looks(&act.operation.f) && act.result.is_null())
            }
        })
        .collect()
}

/// Whether a compare-and-set failed because it saw another value.
fn observes(options: &Value, operation: &Operation) -> bool {
    let kind = operation.error.as_ref().map(|error| error.kind.as_str());
    options
        .get("observing_failures")
        .and_then(Value::as_array)
        .map_or(kind == Some(MISMATCH), |kinds| {
            kinds.iter().any(|known| known.as_str() == kind)
        })
}

/// The value that a register was seen to have.
fn shows(act: &Act<'_>) -> Option<Value> {
    match &*act.operation.f {
        "read" | "r" | "get" => Some(act.result.clone()),
        "cas" => act.argument.get(0).cloned(),
        _ => None,
    }
}

/// The value that a register has behind the operation, seen or left.
fn leaves(act: &Act<'_>) -> Option<Value> {
    match &*act.operation.f {
        "read" | "r" | "get" => Some(act.result.clone()),
        "cas" => act.argument.get(1).cloned(),
        "write" | "w" | "put" | "set" => Some(act.argument.clone()),
        _ => None,
    }
}

fn wrong_value(
    initial: &Value,
    acts: &[Act<'_>],
    target: &Act<'_>,
    value: &Value,
    witness: &Witness,
) -> Finding {
    let culprit = target.operation;
    let end = culprit.completed_index.unwrap_or(u64::MAX);
    let reads = |act: &Act<'_>| matches!(&*act.operation.f, "read" | "r" | "get");
    let writers: Vec<&Operation> = acts
        .iter()
        .filter(|act| act.operation.outcome != Outcome::Fail)
        .filter(|act| !reads(act) && leaves(act).as_ref() == Some(value))
        .map(|act| act.operation)
        .filter(|writer| writer.index < end && writer.index != culprit.index)
        .collect();
    if matches!(
        witness.kind.as_str(),
        "unwritten-read" | "failed-write-read" | "future-read"
    ) {
        return Finding::of(
            writers.is_empty() && value != initial,
            "somebody may have written it in time",
        );
    }
    let proves = |act: &&Act<'_>| {
        let evidence = act.operation;
        evidence.outcome == Outcome::Ok
            && witness.operations.contains(&evidence.index)
            && evidence
                .completed_index
                .is_some_and(|ended| ended < culprit.index)
            && leaves(act).is_some_and(|left| left != *value)
            && writers.iter().all(|writer| {
                writer.outcome == Outcome::Ok
                    && writer
                        .completed_index
                        .is_some_and(|ended| ended < evidence.index)
            })
    };
    Finding::of(
        acts.iter().any(|act| proves(&act)),
        "no operation that it names shows that the value had been replaced",
    )
}
