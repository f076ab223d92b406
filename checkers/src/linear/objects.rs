//! Small objects whose state is a JSON value: mutex, counter, set, list, queue, stack, several registers, membership.
//!
//! | model | f | state at first |
//! | --- | --- | --- |
//! | `mutex` | `acquire`, `release` | unlocked |
//! | `owned-mutex` | the same, only the owner releases | unlocked |
//! | `counter` | `add` n, `increment` [n], `decrement` [n], `read` | 0 |
//! | `set` | `add` v, `remove` v, `read` | empty |
//! | `list` | `append` v, `read` | empty |
//! | `queue` | `enqueue` v, `dequeue` (null: it was empty) | empty |
//! | `stack` | `push` v, `pop` (null: it was empty) | empty |
//! | `multi-register` | `txn` of `[read k v]` and `[write k v]` | the initial object |
//! | `membership` | `join` m, `remove` m, `list` | the initial members |
//!
//! They are for small histories and for checking other checkers: a step copies the state. Sets and members are kept
//! sorted, so that equal ones are equal. A `remove` of what is not there is legal and changes nothing. A read of a set, of
//! members or of a list gives a list, or null for an empty one; anything else does not fit.

use harness_core::history::{Operation, Outcome};
use serde_json::{Map, Value, json};

use super::spec::{Call, ModelError, Placement, SequentialSpec};
use crate::{
    keyed::{self, Role, Shape},
    words,
};

/// Which object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A lock that does not know its owner.
    Mutex,
    /// A lock that only the process that acquired it releases.
    OwnedMutex,
    /// A number.
    Counter,
    /// A set.
    Set,
    /// A list that is appended to.
    List,
    /// First in, first out.
    Queue,
    /// Last in, first out.
    Stack,
    /// Registers that are read and written together.
    MultiRegister,
    /// The members of a cluster.
    Membership,
}

impl Kind {
    /// Names of models.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Mutex, "mutex"),
        (Self::OwnedMutex, "owned-mutex"),
        (Self::Counter, "counter"),
        (Self::Set, "set"),
        (Self::List, "list"),
        (Self::Queue, "queue"),
        (Self::Stack, "stack"),
        (Self::MultiRegister, "multi-register"),
        (Self::Membership, "membership"),
    ];

    /// What an operation does with its value; None if that is not the object's, or does not tell keys from values.
    pub(super) fn role(self, f: &str) -> Option<Role> {
        Some(match (self, f) {
            (Self::Mutex | Self::OwnedMutex, "acquire" | "release") => Role::Gives(Shape::Nothing),
            (Self::Counter, "add") => Role::Gives(Shape::Integer),
            (Self::Counter, "increment" | "decrement") => Role::Gives(Shape::Amount),
            (Self::Counter, "read") => Role::Asks(Shape::Integer),
            (Self::Set, "add" | "remove")
            | (Self::Membership, "join" | "remove")
            | (Self::List, "append")
            | (Self::Queue, "enqueue")
            | (Self::Stack, "push") => Role::Gives(Shape::Anything),
            (Self::Set | Self::Membership, "read" | "list") | (Self::List, "read") => {
                Role::Asks(Shape::Collection)
            }
            (Self::Queue, "dequeue") | (Self::Stack, "pop") => Role::Asks(Shape::Anything),
            _ => return None,
        })
    }

    /// Whether values carry keys, by their look.
    pub(super) fn looks_keyed(self, operations: &[&Operation]) -> bool {
        let known = |operation: &&Operation| self.role(&operation.f).is_some();
        operations.iter().all(known)
            && keyed::told(operations.iter().copied(), |f| {
                self.role(f).unwrap_or(Role::Other)
            })
    }

    /// The object of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(kind, _)| *kind)
    }
}

/// What an object was asked, and said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ObjectOp {
    /// Saw this state.
    Read(Value),
    /// Became locked.
    Acquire,
    /// Became unlocked.
    Release,
    /// Became locked by this process.
    AcquireAs(u64),
    /// Became unlocked by this process.
    ReleaseAs(u64),
    /// Changed the number.
    Add(i64),
    /// Put an element in.
    Insert(Value),
    /// Took that element out of a set.
    Remove(Value),
    /// Took the next element; None if nobody saw which.
    Take(Option<Value>),
    /// Reads (true) and writes (false) of registers.
    Transaction(Vec<(bool, String, Value)>),
}

/// An object.
#[derive(Clone, Debug)]
pub struct Object {
    kind: Kind,
    initial: Value,
    null_matches_any: bool,
}

impl Object {
    /// Starts as `initial`, or as the table says if that is null.
    #[must_use]
    pub fn new(kind: Kind, initial: &Value, null_matches_any: bool) -> Self {
        let initial = match (kind, initial) {
            (Kind::Mutex, Value::Null) => json!(false),
            (Kind::OwnedMutex, given) => given.clone(),
            (Kind::Counter, Value::Null) => json!(0),
            (Kind::MultiRegister, Value::Null) => json!({}),
            (_, Value::Null) => json!([]),
            (Kind::Set | Kind::Membership, given) => sorted(given),
            (_, given) => given.clone(),
        };
        Self {
            kind,
            initial,
            null_matches_any,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether something is in it before the first operation.
    pub(super) fn starts_with_elements(&self) -> bool {
        self.initial.as_array().is_none_or(|all| !all.is_empty())
    }

    fn op(&self, call: &Call<'_>) -> Result<Option<ObjectOp>, ModelError> {
        let ok = call.outcome == Outcome::Ok;
        let seen = |value: Value| Ok(ok.then_some(ObjectOp::Read(value)));
        Ok(Some(match (self.kind, call.f) {
            (Kind::Mutex, "acquire") => ObjectOp::Acquire,
            (Kind::Mutex, "release") => ObjectOp::Release,
            (Kind::OwnedMutex, "acquire") => ObjectOp::AcquireAs(call.process),
            (Kind::OwnedMutex, "release") => ObjectOp::ReleaseAs(call.process),
            (Kind::Counter, "increment") => ObjectOp::Add(amount(call)?),
            (Kind::Counter, "decrement") => ObjectOp::Add(
                amount(call)?
                    .checked_neg()
                    .ok_or_else(|| shape(call, "a smaller number"))?,
            ),
            (Kind::Counter, "add") => ObjectOp::Add(
                call.argument
                    .as_i64()
                    .ok_or_else(|| shape(call, "a whole number"))?,
            ),
            (Kind::Set | Kind::Membership, "read" | "list") | (Kind::List, "read") if !ok => {
                return Ok(None);
            }
            (Kind::Set | Kind::Membership, "read" | "list") => {
                return seen(sorted(&elements(call)?));
            }
            (Kind::List, "read") => return seen(elements(call)?),
            (Kind::Counter, "read") => return seen(call.result.clone()),
            (Kind::Set, "add")
            | (Kind::List, "append")
            | (Kind::Queue, "enqueue")
            | (Kind::Stack, "push")
            | (Kind::Membership, "join") => ObjectOp::Insert(call.argument.clone()),
            (Kind::Set | Kind::Membership, "remove") => ObjectOp::Remove(call.argument.clone()),
            (Kind::Queue, "dequeue") | (Kind::Stack, "pop") => {
                ObjectOp::Take(ok.then(|| call.result.clone()))
            }
            (Kind::MultiRegister, "txn") => ObjectOp::Transaction(self.transaction(call)?),
            (_, other) => {
                return Err(ModelError::Unknown {
                    f: other.to_owned(),
                });
            }
        }))
    }

    /// Reads whose value nobody saw are left out.
    fn transaction(&self, call: &Call<'_>) -> Result<Vec<(bool, String, Value)>, ModelError> {
        let ok = call.outcome == Outcome::Ok;
        let steps = if ok && call.result.is_array() {
            call.result
        } else {
            call.argument
        };
        let mut parsed = Vec::new();
        for step in steps.as_array().into_iter().flatten() {
            let Some([head, register, value]) = step.as_array().map(Vec::as_slice) else {
                return Err(shape(call, "[read or write, register, value]"));
            };
            let register = register
                .as_str()
                .map_or_else(|| register.to_string(), str::to_owned);
            match head.as_str() {
                Some("read" | "r") if ok && !(self.null_matches_any && value.is_null()) => {
                    parsed.push((true, register, value.clone()));
                }
                Some("read" | "r") => {}
                Some("write" | "w") => parsed.push((false, register, value.clone())),
                _ => return Err(shape(call, "[read or write, register, value]")),
            }
        }
        Ok(parsed)
    }
}

/// By how much: by one, if it does not say.
fn amount(call: &Call<'_>) -> Result<i64, ModelError> {
    match call.argument {
        Value::Null => Ok(1),
        given => given
            .as_i64()
            .ok_or_else(|| shape(call, "a whole number, or none for 1")),
    }
}

fn shape(call: &Call<'_>, expected: &'static str) -> ModelError {
    ModelError::Shape {
        f: call.f.to_owned(),
        expected,
        found: words::show(call.argument),
    }
}

/// What a read gave, if that is a list; nothing is an empty one.
fn elements(call: &Call<'_>) -> Result<Value, ModelError> {
    match call.result {
        Value::Null => Ok(json!([])),
        Value::Array(_) => Ok(call.result.clone()),
        other => Err(ModelError::Shape {
            f: call.f.to_owned(),
            expected: "a list",
            found: words::show(other),
        }),
    }
}

/// Elements by their JSON text, each once.
fn sorted(value: &Value) -> Value {
    let mut elements: Vec<Value> = value.as_array().cloned().unwrap_or_default();
    elements.sort_by_cached_key(Value::to_string);
    elements.dedup();
    elements.into()
}

fn with(state: &Value, change: impl FnOnce(&mut Vec<Value>)) -> Value {
    let mut elements: Vec<Value> = state.as_array().cloned().unwrap_or_default();
    change(&mut elements);
    elements.into()
}

impl SequentialSpec for Object {
    type State = Value;
    type Op = ObjectOp;

    const REMEMBER_STEPS: bool = true;

    fn initial(&self) -> Value {
        self.initial.clone()
    }

    fn place(&mut self, call: &Call<'_>) -> Result<Placement<ObjectOp>, ModelError> {
        let Some(op) = self.op(call)? else {
            return Ok(Placement::Nothing);
        };
        let silent = matches!(&op, ObjectOp::Transaction(steps) if steps.is_empty());
        Ok(match call.outcome {
            Outcome::Fail => Placement::Nothing,
            _ if silent => Placement::Nothing,
            Outcome::Ok => Placement::Required(op),
            Outcome::Info => Placement::Optional(op),
        })
    }

    fn step(&self, state: &Value, op: &ObjectOp) -> Option<Value> {
        match op {
            ObjectOp::Read(seen) => (seen == state).then(|| state.clone()),
            ObjectOp::Acquire => (*state == json!(false)).then_some(json!(true)),
            ObjectOp::Release => (*state == json!(true)).then_some(json!(false)),
            ObjectOp::AcquireAs(process) => state.is_null().then(|| json!(process)),
            ObjectOp::ReleaseAs(process) => {
                (state.as_u64() == Some(*process)).then_some(Value::Null)
            }
            ObjectOp::Add(number) => Some(json!(state.as_i64()?.checked_add(*number)?)),
            ObjectOp::Insert(element) => {
                let after = with(state, |elements| elements.push(element.clone()));
                Some(match self.kind {
                    Kind::Set | Kind::Membership => sorted(&after),
                    _ => after,
                })
            }
            ObjectOp::Remove(element) => Some(with(state, |elements| {
                elements.retain(|other| other != element)
            })),
            ObjectOp::Take(seen) => {
                let elements = state.as_array()?;
                let next = if self.kind == Kind::Queue {
                    elements.first()
                } else {
                    elements.last()
                };
                let taken = next.cloned().unwrap_or_default();
                if seen.as_ref().is_some_and(|seen| *seen != taken) {
                    return None;
                }
                Some(with(state, |elements| {
                    if self.kind == Kind::Stack {
                        elements.pop();
                    } else if !elements.is_empty() {
                        elements.remove(0);
                    }
                }))
            }
            ObjectOp::Transaction(steps) => {
                let mut registers: Map<String, Value> = state.as_object()?.clone();
                for (read, register, value) in steps {
                    if *read {
                        if registers.get(register).unwrap_or(&Value::Null) != value {
                            return None;
                        }
                    } else {
                        registers.insert(register.clone(), value.clone());
                    }
                }
                Some(registers.into())
            }
        }
    }

    fn is_read(&self, op: &ObjectOp) -> bool {
        match op {
            ObjectOp::Read(_) => true,
            ObjectOp::Transaction(steps) => steps.iter().all(|(read, ..)| *read),
            _ => false,
        }
    }

    fn is_blind(&self, _op: &ObjectOp) -> bool {
        false
    }

    fn heap_bytes(&self, state: &Value) -> usize {
        /// What an element takes, roughly: a value and its text.
        const ELEMENT_BYTES: usize = 64;
        state.as_array().map_or(0, Vec::len) * ELEMENT_BYTES
            + state.as_object().map_or(0, Map::len) * 2 * ELEMENT_BYTES
    }

    fn show(&self, state: &Value) -> String {
        words::show(state)
    }
}
