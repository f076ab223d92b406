//! Which other models take the operations of a history that does not fit the one that was chosen: what to say then.

use super::{
    Kind, MODELS, Object, Options, Text,
    problem::{View, build},
};

/// Operations before and behind the one that does not fit which a model must take as well.
const NEIGHBOURS: usize = 50;

/// What to do about an operation that does not fit, as the end of a sentence; empty if no model takes it.
pub(super) fn mend(options: &Options, views: &[View<'_>], unfit: u64) -> String {
    let at = views
        .iter()
        .position(|view| view.operation.index == unfit)
        .unwrap_or(0);
    let end = views.len().min(at + NEIGHBOURS);
    let near = &views[at.saturating_sub(NEIGHBOURS)..end];
    let others: Vec<&str> = MODELS
        .into_iter()
        .filter(|model| takes(options, model, near))
        .collect();
    match others.as_slice() {
        [] => String::new(),
        [one] => format!("; try --model {one}"),
        several => format!("; try --model NAME, one of {}", several.join(", ")),
    }
}

fn takes(options: &Options, model: &str, views: &[View<'_>]) -> bool {
    let options = Options {
        model: model.to_owned(),
        ..options.clone()
    };
    if model == "key-value" {
        return build(Text::new(&options.initial_text()), views).is_ok();
    }
    match Kind::from_name(model) {
        Some(kind) => {
            let object = Object::new(kind, &options.initial, options.null_matches_any);
            build(object, views).is_ok()
        }
        None => build(options.register(), views).is_ok(),
    }
}
