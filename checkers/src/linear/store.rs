//! A whole key-value store as one object: [texts](super::text) by key.
//!
//! Linearizability is local, so keys are judged one by one and this model is for comparing only: it finds the same
//! verdict the long way, because the orders of all keys are tried together.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher},
    sync::Arc,
};

use harness_core::fast::FastHasher;
use serde_json::Value;

use super::{
    spec::{Call, ModelError, Placement, SequentialSpec},
    text::{Text, TextOp},
};
use crate::words;

/// A text with its hash, so that a state of many is hashed fast. Equality is compared exactly.
#[derive(Clone, Debug)]
pub struct Held {
    text: Arc<str>,
    hash: u64,
}

impl Held {
    fn new(text: Arc<str>) -> Self {
        let hash = BuildHasherDefault::<FastHasher>::default().hash_one(&*text);
        Self { text, hash }
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.text, &other.text) || self.text == other.text)
    }
}

impl Eq for Held {}

impl Hash for Held {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// What a key was asked, and said.
pub type StoreOp = (usize, TextOp);

/// Texts that all start as given.
#[derive(Clone, Debug)]
pub struct Store {
    one: Text,
    keys: HashMap<Value, usize>,
    /// Keys that the history will use.
    width: usize,
}

impl Store {
    /// A store of that many keys at most.
    #[must_use]
    pub fn new(initial: &Value, width: usize) -> Self {
        Self {
            one: Text::new(initial),
            keys: HashMap::new(),
            width,
        }
    }
}

impl SequentialSpec for Store {
    type State = Vec<Held>;
    type Op = StoreOp;

    const REMEMBER_STEPS: bool = true;

    fn initial(&self) -> Vec<Held> {
        vec![Held::new(self.one.initial()); self.width]
    }

    fn place(&mut self, call: &Call<'_>) -> Result<Placement<StoreOp>, ModelError> {
        let [key, argument] = call.argument.as_array().map_or(&[][..], Vec::as_slice) else {
            return Err(ModelError::Shape {
                f: call.f.to_owned(),
                expected: "[key, value]",
                found: words::show(call.argument),
            });
        };
        let result = match call.result.as_array().map(Vec::as_slice) {
            Some([other, result]) if other == key => result,
            _ => call.result,
        };
        let next = self.keys.len();
        let key = *self.keys.entry(key.clone()).or_insert(next);
        self.width = self.width.max(self.keys.len());
        let placed = self.one.place(&Call {
            argument,
            result,
            ..*call
        })?;
        Ok(match placed {
            Placement::Required(op) => Placement::Required((key, op)),
            Placement::Optional(op) => Placement::Optional((key, op)),
            Placement::Nothing => Placement::Nothing,
        })
    }

    fn step(&self, state: &Vec<Held>, (key, op): &StoreOp) -> Option<Vec<Held>> {
        let before = state.get(*key)?;
        let after = self.one.step(&before.text, op)?;
        let mut state = state.clone();
        if !self.one.is_read(op) {
            state[*key] = Held::new(after);
        }
        Some(state)
    }

    fn is_read(&self, (_, op): &StoreOp) -> bool {
        self.one.is_read(op)
    }

    /// A put forgets what its key held, not what the others hold.
    fn is_blind(&self, _op: &StoreOp) -> bool {
        false
    }

    fn heap_bytes(&self, state: &Vec<Held>) -> usize {
        state.len() * size_of::<Held>()
    }

    fn show(&self, state: &Vec<Held>) -> String {
        let shown: Vec<String> = state.iter().map(|held| self.one.show(&held.text)).collect();
        words::cut(&shown.join(", "), words::VALUE_LIMIT_CHARS)
    }
}
