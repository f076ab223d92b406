//! The made-up object, and the lies that it can be told to tell once.

use std::collections::BTreeMap;

use harness_core::{event::EventType, format::MISMATCH};
use rand::Rng;
use serde_json::{Map, Value, json};

use super::{Parameters, Plant, Workload};

/// What each account holds at first.
pub(super) const OPENING_BALANCE: u64 = 10;
/// The largest amount of a transfer.
const TRANSFER_MAX: u64 = 5;

/// What completing the operation makes known.
#[derive(Clone, Debug, Default)]
pub(super) struct Effect {
    /// The key that it used.
    key: Option<u64>,
    /// It made this value.
    made: Option<Value>,
    /// It replaced this value, whose making had been acknowledged before this operation began.
    replaced: Option<Value>,
}

/// How an operation takes effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Index of its invocation.
    pub invoked: u64,
    /// Whether it may tell the lie: its answer will be `ok`.
    pub may_lie: bool,
}

#[derive(Default)]
struct Cell {
    value: Value,
    /// Since which event the making of the value is acknowledged; the first value was always there.
    settled: Option<u64>,
    /// A value whose overwriting has been acknowledged, and since which event.
    stale: Option<(Value, u64)>,
    open: u64,
}

/// Where the lost write is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    NotYet,
    /// The write to this key is open; nobody else may use the key.
    Writing(u64),
    /// It was acknowledged; the next operation on this key must be a read.
    ReadNext(u64),
    /// That read is open; nobody may write.
    Reading(u64),
    Done,
}

pub(super) struct Store {
    cells: Vec<Cell>,
    next_value: u64,
    set: Vec<u64>,
    balances: Vec<u64>,
    lists: BTreeMap<u64, Vec<u64>>,
    /// Keys of lists in use, with the number of appends begun.
    active: Vec<(u64, u64)>,
    next_list: u64,
    /// The lists as they were when a part of the operations had begun; see [`Plant::OldSnapshot`].
    snapshot: Option<BTreeMap<u64, Vec<u64>>>,
    planted: bool,
    half_way: bool,
    a_hundredth: bool,
    lost: Lost,
}

impl Store {
    pub fn new(parameters: &Parameters) -> Self {
        let keys = parameters.keys;
        Self {
            cells: (0..keys)
                .map(|_| Cell {
                    settled: Some(0),
                    ..Cell::default()
                })
                .collect(),
            next_value: 1,
            set: Vec::new(),
            balances: vec![OPENING_BALANCE; keys as usize],
            lists: BTreeMap::new(),
            active: (0..keys).map(|key| (key, 0)).collect(),
            next_list: keys,
            snapshot: None,
            planted: false,
            half_way: false,
            a_hundredth: false,
            lost: Lost::NotYet,
        }
    }

    pub fn planted(&self) -> bool {
        self.planted
    }

    /// The next operation; None if this process should wait.
    pub fn invoke(
        &mut self,
        parameters: &Parameters,
        rng: &mut impl Rng,
        number: u64,
    ) -> Option<(&'static str, Value)> {
        self.half_way = number >= parameters.operations / 2;
        self.a_hundredth = number >= parameters.operations / 100;
        match parameters.workload {
            Workload::Register | Workload::CasRegister | Workload::KeyValue => {
                self.invoke_cell(parameters, rng)
            }
            Workload::Set => {
                self.next_value += 1;
                Some(("add", json!(self.next_value - 2)))
            }
            Workload::Bank => Some(if rng.random::<f64>() < parameters.reads {
                ("read", Value::Null)
            } else {
                let from = rng.random_range(0..parameters.keys);
                let to = (from + rng.random_range(1..parameters.keys.max(2))) % parameters.keys;
                (
                    "transfer",
                    json!({"from": from, "to": to, "amount": rng.random_range(1..=TRANSFER_MAX)}),
                )
            }),
            Workload::ListAppend => Some(self.invoke_transaction(parameters, rng)),
            Workload::RwRegister => Some(self.invoke_registers(parameters, rng)),
        }
    }

    fn invoke_cell(
        &mut self,
        parameters: &Parameters,
        rng: &mut impl Rng,
    ) -> Option<(&'static str, Value)> {
        let text = parameters.workload == Workload::KeyValue;
        let read = if text { "get" } else { "read" };
        if let Lost::ReadNext(key) = self.lost {
            self.lost = Lost::Reading(key);
            self.cells[key as usize].open += 1;
            return Some((read, json!([key, null])));
        }
        let key = rng.random_range(0..parameters.keys);
        if matches!(self.lost, Lost::Writing(held) | Lost::Reading(held) if held == key) {
            return None;
        }
        let cell = &mut self.cells[key as usize];
        let lose = parameters.plant == Some(Plant::LostWrite)
            && self.half_way
            && self.lost == Lost::NotYet
            && cell.open == 0
            && cell.settled.is_some();
        cell.open += 1;
        let draw: f64 = rng.random();
        if !lose && draw < parameters.reads {
            return Some((read, json!([key, null])));
        }
        let value = if parameters.values == 0 {
            self.next_value += 1;
            self.next_value - 1
        } else {
            rng.random_range(0..parameters.values)
        };
        if lose {
            self.lost = Lost::Writing(key);
        }
        let half = draw < f64::midpoint(1.0, parameters.reads);
        Some(match parameters.workload {
            Workload::KeyValue if half && !lose && parameters.values == 0 => {
                ("put", json!([key, format!("{value};")]))
            }
            Workload::KeyValue => ("append", json!([key, format!("{value};")])),
            Workload::CasRegister if half && !lose => {
                let old = if parameters.values == 0 {
                    cell.value.clone()
                } else {
                    json!(rng.random_range(0..parameters.values))
                };
                ("cas", json!([key, [old, value]]))
            }
            _ => ("write", json!([key, value])),
        })
    }

    fn invoke_transaction(
        &mut self,
        parameters: &Parameters,
        rng: &mut impl Rng,
    ) -> (&'static str, Value) {
        let steps = rng.random_range(parameters.transaction_min..=parameters.transaction_max);
        let micro: Vec<Value> = (0..steps)
            .map(|_| {
                let at = rng.random_range(0..self.active.len());
                let (key, appends) = &mut self.active[at];
                let used = *key;
                if rng.random::<f64>() < parameters.reads {
                    return json!(["r", used, null]);
                }
                *appends += 1;
                let value = *appends;
                if value >= parameters.appends_per_key {
                    self.active[at] = (self.next_list, 0);
                    self.next_list += 1;
                }
                json!(["append", used, value])
            })
            .collect();
        ("txn", micro.into())
    }

    fn invoke_registers(
        &mut self,
        parameters: &Parameters,
        rng: &mut impl Rng,
    ) -> (&'static str, Value) {
        let steps = rng.random_range(parameters.transaction_min..=parameters.transaction_max);
        let mut step = || {
            let key = rng.random_range(0..parameters.keys);
            if rng.random::<f64>() < parameters.reads {
                return json!(["r", key, null]);
            }
            self.next_value += 1;
            json!(["w", key, self.next_value - 1])
        };
        let micro: Vec<Value> = (0..steps).map(|_| step()).collect();
        ("txn", micro.into())
    }

    fn apply_registers(&mut self, input: &Value) -> Value {
        let mut output = input.clone();
        for step in output.as_array_mut().into_iter().flatten() {
            let key = step[1].as_u64().unwrap_or(0) as usize;
            if step[0] == "w" {
                self.cells[key].value = step[2].clone();
            } else {
                step[2] = self.cells[key].value.clone();
            }
        }
        output
    }

    /// Whether failing or losing the answer would spoil the lie.
    pub fn is_reserved(&self, input: &Value) -> bool {
        match self.lost {
            Lost::Writing(held) | Lost::Reading(held) | Lost::ReadNext(held) => {
                input.get(0).and_then(Value::as_u64) == Some(held)
            }
            Lost::NotYet | Lost::Done => false,
        }
    }

    /// The operation will not complete `ok`.
    pub fn forget(&mut self, input: &Value) {
        let key = input.get(0).and_then(Value::as_u64);
        if let Some(cell) = key.and_then(|key| self.cells.get_mut(key as usize)) {
            cell.open = cell.open.saturating_sub(1);
        }
    }

    /// The answer and what it makes known, or the kind of error.
    pub fn apply(
        &mut self,
        parameters: &Parameters,
        rng: &mut impl Rng,
        (f, input): (&str, &Value),
        moment: Moment,
    ) -> Result<(Value, Effect), &'static str> {
        let plant = parameters.plant.filter(|_| moment.may_lie && !self.planted);
        match parameters.workload {
            Workload::Register | Workload::CasRegister | Workload::KeyValue => {
                self.apply_cell(plant, f, input, moment)
            }
            Workload::Set => Ok((self.apply_set(plant, rng, f, input), Effect::default())),
            Workload::Bank => Ok((self.apply_bank(plant, f, input)?, Effect::default())),
            Workload::ListAppend => Ok((
                self.apply_transaction(plant, parameters, input),
                Effect::default(),
            )),
            Workload::RwRegister => Ok((self.apply_registers(input), Effect::default())),
        }
    }

    fn apply_cell(
        &mut self,
        plant: Option<Plant>,
        f: &str,
        input: &Value,
        moment: Moment,
    ) -> Result<(Value, Effect), &'static str> {
        let key = input.get(0).and_then(Value::as_u64).unwrap_or(0);
        let argument = input.get(1).cloned().unwrap_or_default();
        let cell = &mut self.cells[key as usize];
        let before = cell.value.clone();
        let effect = Effect {
            key: Some(key),
            ..Effect::default()
        };
        let after = match f {
            "read" | "get" => {
                let mut seen = before;
                if plant == Some(Plant::StaleRead)
                    && self.half_way
                    && let Some((stale, _)) =
                        cell.stale.take_if(|(_, since)| *since < moment.invoked)
                {
                    self.planted = true;
                    seen = stale;
                }
                if f == "get" && seen.is_null() {
                    seen = json!("");
                }
                return Ok((json!([key, seen]), effect));
            }
            "append" => json!(format!(
                "{}{}",
                before.as_str().unwrap_or(""),
                argument.as_str().unwrap_or("")
            )),
            "cas" if argument.get(0) != Some(&before) => return Err(MISMATCH),
            "cas" => argument.get(1).cloned().unwrap_or_default(),
            _ => argument,
        };
        if self.lost == Lost::Writing(key) {
            return Ok((input.clone(), effect));
        }
        let replaced = cell
            .settled
            .is_some_and(|since| since < moment.invoked)
            .then_some(before)
            .filter(|before| !before.is_null());
        cell.value = after.clone();
        cell.settled = None;
        Ok((
            input.clone(),
            Effect {
                made: Some(after),
                replaced,
                ..effect
            },
        ))
    }

    fn apply_set(
        &mut self,
        plant: Option<Plant>,
        rng: &mut impl Rng,
        f: &str,
        input: &Value,
    ) -> Value {
        if f == "add" {
            let value = input.as_u64().unwrap_or(0);
            let lie = plant == Some(Plant::LostElement) && self.half_way;
            if lie {
                self.planted = true;
            } else {
                self.set.push(value);
            }
            return input.clone();
        }
        let mut seen = self.set.clone();
        if plant == Some(Plant::DuplicateElement) && !seen.is_empty() {
            self.planted = true;
            seen.push(seen[rng.random_range(0..seen.len())]);
        }
        json!(seen)
    }

    fn apply_bank(
        &mut self,
        plant: Option<Plant>,
        f: &str,
        input: &Value,
    ) -> Result<Value, &'static str> {
        if f == "transfer" {
            let field = |name: &str| input.get(name).and_then(Value::as_u64).unwrap_or(0);
            let (from, to, amount) = (
                field("from") as usize,
                field("to") as usize,
                field("amount"),
            );
            if self.balances[from] < amount {
                return Err("insufficient-funds");
            }
            self.balances[from] -= amount;
            self.balances[to] += amount;
            return Ok(input.clone());
        }
        let mut seen = self.balances.clone();
        if plant == Some(Plant::BrokenTotal) && self.half_way {
            self.planted = true;
            seen[0] += 1;
        }
        let map: Map<String, Value> = seen
            .iter()
            .enumerate()
            .map(|(account, balance)| (account.to_string(), json!(balance)))
            .collect();
        Ok(map.into())
    }

    fn apply_transaction(
        &mut self,
        plant: Option<Plant>,
        parameters: &Parameters,
        input: &Value,
    ) -> Value {
        let lie = plant == Some(Plant::LostAppend) && self.half_way;
        let micro = input.as_array().map(Vec::as_slice).unwrap_or_default();
        if parameters.plant == Some(Plant::OldSnapshot) && self.a_hundredth {
            let snapshot = self.snapshot.get_or_insert_with(|| self.lists.clone());
            if micro.iter().all(|step| step[0] == "r") {
                self.planted = true;
                let seen = |step: &Value| {
                    let list = step[1].as_u64().and_then(|key| snapshot.get(&key));
                    json!(["r", step[1], list.filter(|list| !list.is_empty())])
                };
                return micro.iter().map(seen).collect();
            }
        }
        let answer: Vec<Value> = micro
            .iter()
            .map(|step| {
                let key = step.get(1).and_then(Value::as_u64).unwrap_or(0);
                let list = self.lists.entry(key).or_default();
                if step.get(0).and_then(Value::as_str) == Some("r") {
                    let seen = if list.is_empty() {
                        Value::Null
                    } else {
                        json!(list)
                    };
                    let young = self.active.iter().any(|(active, appends)| {
                        *active == key && *appends < parameters.appends_per_key / 2
                    });
                    // This reader sees the last element; nobody ever will again.
                    if lie && !self.planted && young && list.pop().is_some() {
                        self.planted = true;
                    }
                    return json!(["r", key, seen]);
                }
                list.push(step.get(2).and_then(Value::as_u64).unwrap_or(0));
                step.clone()
            })
            .collect();
        answer.into()
    }

    /// Forgets lists that neither an open transaction nor a later one asks for.
    pub fn prune<'a>(&mut self, open: impl Iterator<Item = &'a Value>) {
        let open_keys = open
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(|step| step.get(1).and_then(Value::as_u64));
        let oldest = self
            .active
            .iter()
            .map(|(key, _)| *key)
            .chain(open_keys)
            .min()
            .unwrap_or(0);
        self.lists = self.lists.split_off(&oldest);
    }

    /// The operation was answered.
    pub fn complete(&mut self, effect: &Effect, event_type: EventType, now: u64) {
        let Some(key) = effect.key else { return };
        let cell = &mut self.cells[key as usize];
        cell.open = cell.open.saturating_sub(1);
        if event_type == EventType::Ok {
            if effect.made.is_some() && effect.made.as_ref() == Some(&cell.value) {
                cell.settled = Some(now);
            }
            if let Some(before) = &effect.replaced {
                cell.stale = Some((before.clone(), now));
            }
        }
        match self.lost {
            Lost::Writing(held) if held == key => self.lost = Lost::ReadNext(key),
            Lost::Reading(held) if held == key => {
                self.lost = Lost::Done;
                self.planted = true;
            }
            _ => {}
        }
    }
}
