//! Keys that unique writes alone do not decide, straight from their rows: with compare-and-sets, appends, or a value written twice.
//!
//! Each row is shown to the model as the tree of values shows it, so that blocks and search see the same problem. Keys without a legal
//! order are left to the general way, which finds that again and tells it; others need no words.

use harness_core::{
    compact::{Atom, NEVER, Row},
    event::OpError,
    verdict::Budget,
};
use serde_json::Value;

use super::{
    Ending, KeyResult, Linearizable, decide_by_search,
    problem::Draft,
    rows::{Lens, Verb},
    search::Problem,
    spec::{Call, SequentialSpec},
    text::Text,
};

/// What became of a key that has a legal order, or for which a limit was reached.
pub(super) struct Searched {
    /// Its number.
    pub number: usize,
    /// Itself, if values carry one.
    pub key: Option<Value>,
    pub result: KeyResult,
}

impl Linearizable {
    /// Keys, with their rows, of which it is not known that they have no legal order. None: a row does not fit the model.
    pub(super) fn search_rows(
        &self,
        lens: &Lens<'_>,
        keys: &[(usize, Vec<u32>)],
        budget: &dyn Budget,
    ) -> Option<Vec<Searched>> {
        let mut searched = Vec::new();
        for (number, rows) in keys {
            let result = if lens.text {
                let text = Text::new(&self.options.initial_text());
                let problem = self.problem(text, lens, rows)?;
                let decided = decide_by_search(&problem, budget);
                KeyResult::new(&problem, decided, None)
            } else {
                let mut problem = self.problem(self.options.register(), lens, rows)?;
                let decided = self.decide_register(&mut problem, budget);
                KeyResult::new(&problem, decided, None)
            };
            if !matches!(result.ending, Ending::Stuck(_)) {
                searched.push(Searched {
                    number: *number,
                    key: lens.key(*rows.first()?),
                    result,
                });
            }
        }
        Some(searched)
    }

    fn problem<S: SequentialSpec>(
        &self,
        spec: S,
        lens: &Lens<'_>,
        rows: &[u32],
    ) -> Option<Problem<S>> {
        let observed = self.options.observing_failures.first().map(|kind| OpError {
            kind: kind.clone(),
            message: String::new(),
        });
        let mut draft = Draft::new(spec, rows.len());
        for row in rows {
            let row = &lens.compact.rows[*row as usize];
            let value = lens.shown(row);
            let reads = matches!(lens.verbs[row.f as usize], Verb::Read);
            let (argument, result) = match reads {
                true => (&Value::Null, &value),
                false => (&value, &Value::Null),
            };
            let call = Call {
                f: lens.compact.names[row.f as usize],
                // Neither model has owners.
                process: 0,
                outcome: row.outcome,
                argument,
                result,
                error: observed.as_ref().filter(|_| row.has(Row::OBSERVED)),
            };
            let end = (row.ret != NEVER).then_some(u64::from(row.ret));
            draft.add(&call, u64::from(row.call), end).ok()?;
        }
        Some(draft.finish())
    }
}

impl Lens<'_> {
    fn key(&self, row: u32) -> Option<Value> {
        let row = &self.compact.rows[row as usize];
        self.keyed.then(|| self.tree(row.atoms[0]))
    }

    /// What a row read or wrote, without its key.
    fn shown(&self, row: &Row) -> Value {
        let own = &row.atoms[usize::from(self.keyed)..];
        match self.verbs[row.f as usize] {
            Verb::Cas => own[..2].iter().map(|atom| self.tree(*atom)).collect(),
            Verb::Read | Verb::Write | Verb::Append => self.tree(own[0]),
        }
    }

    fn tree(&self, atom: Atom) -> Value {
        match (atom.as_integer(), atom.as_text()) {
            (Some(number), _) => number.into(),
            (None, Some(text)) => self.compact.texts[text].into(),
            (None, None) => Value::Null,
        }
    }
}
