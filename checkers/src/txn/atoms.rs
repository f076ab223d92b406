//! Values in a word each: numbers as they are, anything else by its place in a list.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use serde_json::Value;

use super::graph::node;

/// A value that can be compared quickly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Atom(u64);

/// Numbers from minus this up to it, not included, stand for themselves.
const NUMBER_LIMIT: i64 = 1 << 61;
/// The first word that is a place in the list.
const OTHERS: u64 = 1 << 62;

impl Atom {
    /// Null.
    pub const NULL: Self = Self(u64::MAX);

    /// A whole number, if it is not too large.
    pub fn number(number: i64) -> Option<Self> {
        let fits = (-NUMBER_LIMIT..NUMBER_LIMIT).contains(&number);
        fits.then(|| Self(number.wrapping_add(NUMBER_LIMIT) as u64))
    }

    /// The number, if it is a whole one that is not negative and below the limit.
    pub fn small(self, limit: usize) -> Option<usize> {
        let number = self.0.wrapping_sub(NUMBER_LIMIT as u64);
        usize::try_from(number)
            .ok()
            .filter(|number| *number < limit)
    }

    /// As it was made.
    pub fn word(self) -> u64 {
        self.0
    }

    /// Among other atoms, of which these are the values that are no small numbers, by their places here.
    pub fn renamed(self, known: &[Self]) -> Self {
        match self.0.checked_sub(OTHERS).map(usize::try_from) {
            Some(Ok(place)) => known.get(place).copied().unwrap_or(self),
            _ => self,
        }
    }

    /// From [`Atom::word`].
    pub fn of_word(word: u64) -> Self {
        Self(word)
    }
}

/// Values that are no small numbers.
#[derive(Default)]
pub(super) struct Atoms {
    places: HashMap<String, u32>,
    others: Vec<Value>,
}

impl Atoms {
    /// The atom of a value: equal values have equal ones.
    pub fn intern(&mut self, value: &Value) -> Atom {
        if value.is_null() {
            return Atom::NULL;
        }
        if let Some(atom) = value.as_i64().and_then(Atom::number) {
            return atom;
        }
        let next = node(self.others.len());
        let place = *self.places.entry(value.to_string()).or_insert(next);
        if place == next {
            self.others.push(value.clone());
        }
        Atom(OTHERS + u64::from(place))
    }

    /// The values that are no small numbers, by place.
    pub fn others(&self) -> impl Iterator<Item = &Value> {
        self.others.iter()
    }

    /// The value of an atom.
    pub fn value(&self, atom: Atom) -> Value {
        match atom {
            Atom::NULL => Value::Null,
            Atom(word) if word < OTHERS => Value::from((word as i64).wrapping_sub(NUMBER_LIMIT)),
            Atom(word) => {
                let place = usize::try_from(word - OTHERS).unwrap_or(usize::MAX);
                self.others.get(place).cloned().unwrap_or_default()
            }
        }
    }
}

/// Mixes a word so that its upper bits are evenly spread.
pub(super) fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// A quick hash of words, for maps that hostile input can make no slower than a walk over what it holds.
#[derive(Clone, Copy, Default)]
pub(super) struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mixed(self.0.rotate_left(17) ^ word);
    }
}

/// A map by words.
pub(super) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_come_back_and_are_told_apart() {
        let values = [
            json!(null),
            json!(0),
            json!(-1),
            json!(i64::MIN),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(NUMBER_LIMIT),
            json!(NUMBER_LIMIT - 1),
            json!(-NUMBER_LIMIT),
            json!(1.0),
            json!("1"),
            json!("null"),
            json!([1, 2]),
            json!(true),
        ];
        let mut atoms = Atoms::default();
        let made: Vec<Atom> = values.iter().map(|value| atoms.intern(value)).collect();
        for (place, value) in values.iter().enumerate() {
            assert_eq!(atoms.value(made[place]), *value);
            assert_eq!(atoms.intern(value), made[place]);
            assert_eq!(made.iter().filter(|atom| **atom == made[place]).count(), 1);
        }
    }
}
