//! A bank: transfers move money, and every read of all accounts shows the same total.
//!
//! A read shows `{"0": 10, "1": 90}`: balance by account. Under snapshot isolation or better each read is of one
//! instant, and transfers keep the total, so:
//! - **wrong-total**: the balances do not add up to the total;
//! - **negative**: a balance is below zero, unless that is allowed;
//! - **missing-account**, **unexpected-account**: the accounts are not those that the bank was opened with;
//! - **null-balance**: an account without a balance.
//!
//! Options come from `meta.workload_options`: `{"total":100,"accounts":[0,1],"allow_negative":false}`, or are given. Without
//! a total the first read's counts as right, and a note says so. After Jepsen's bank test.

use std::collections::BTreeMap;

use harness_core::{
    history::{Operation, Outcome},
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict, Witness},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::words::{self, Clock, end_ns};

/// Witnesses of one kind.
const WITNESSES_PER_KIND: usize = 3;
/// Points of the totals' course that figures keep: one each time the total changes.
const TOTALS_LIMIT: usize = 200;
/// Accounts that a story lists.
const ACCOUNTS_SHOWN: usize = 8;

/// What the checker is told besides the history. What is not given is taken from `meta.workload_options`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// What all balances add up to.
    pub total: Option<i64>,
    /// The accounts, as numbers or names.
    pub accounts: Option<Vec<Value>>,
    /// Whether a balance may be below zero.
    pub allow_negative: Option<bool>,
}

/// The checker.
#[derive(Clone, Debug, Default)]
pub struct Bank {
    options: Options,
}

impl Bank {
    /// With these options.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }
}

struct Rules {
    total: Option<i128>,
    accounts: Option<Vec<String>>,
    allow_negative: bool,
}

/// One thing that is wrong with a read.
struct Fault<'a> {
    kind: &'static str,
    read: &'a Operation,
    text: String,
    /// How far off it is, to show the worst first.
    size: i128,
}

fn account_name(account: &Value) -> String {
    account
        .as_str()
        .map_or_else(|| account.to_string(), str::to_owned)
}

impl Checker for Bank {
    fn name(&self) -> &'static str {
        "bank"
    }

    fn check(&self, input: &CheckInput<'_>, _budget: &dyn Budget) -> CheckResult {
        let mut rules = self.rules(&input.meta.workload_options);
        let operations = &input.history.operations;
        let reads: Vec<&Operation> = operations
            .iter()
            .filter(|operation| &*operation.f == "read" && operation.outcome == Outcome::Ok)
            .collect();
        let transfers = operations
            .iter()
            .filter(|operation| &*operation.f == "transfer" && operation.outcome != Outcome::Fail)
            .count();
        if reads.is_empty() {
            return CheckResult::new(
                self.name(),
                Verdict::Unknown,
                "no read succeeded: no total was seen",
            );
        }
        let mut faults = Vec::new();
        let mut totals: Vec<(u64, i128)> = Vec::new();
        let mut inferred = None;
        let mut odd = 0;
        for read in &reads {
            let Some(total) = judge_read(read, &rules, &mut faults) else {
                odd += 1;
                continue;
            };
            if totals.last().is_none_or(|(_, last)| *last != total) {
                totals.push((end_ns(read), total));
            }
            match rules.total {
                None => {
                    rules.total = Some(total);
                    inferred = Some(total);
                }
                Some(expected) if expected != total => faults.push(Fault {
                    kind: "wrong-total",
                    read,
                    text: format!(
                        "{} add up to {total}, not {expected}: {} {}",
                        balances(&read.output),
                        (total - expected).abs(),
                        if total > expected {
                            "too much"
                        } else {
                            "missing"
                        }
                    ),
                    size: (total - expected).abs(),
                }),
                Some(_) => {}
            }
        }
        let judged = reads.len() - odd;
        let mut result = conclude(self.name(), &faults, judged, transfers, rules.total);
        if odd > 0 {
            result.notes.push(words::note(
                "odd-read",
                Severity::Warning,
                format!(
                    "{} gave no balances and were not judged",
                    words::plural(odd, "read", "reads")
                ),
            ));
        }
        if let Some(total) = inferred {
            result.notes.push(words::note(
                "total-inferred",
                Severity::Warning,
                format!("the total was not given: the first read's, {total}, counts as right"),
            ));
        }
        tell(&mut result, faults, operations);
        result.looked_at = reads.len() as u64;
        let course: Vec<Value> = totals
            .iter()
            .take(TOTALS_LIMIT)
            .map(|(time, total)| json!({"time_ns": time, "total": total.to_string().parse::<i64>().unwrap_or(i64::MAX)}))
            .collect();
        for (name, value) in [
            ("read_count", json!(judged)),
            ("transfer_count", json!(transfers)),
            (
                "expected_total",
                json!(rules.total.and_then(|total| i64::try_from(total).ok())),
            ),
            ("totals_over_time", course.into()),
            ("total_changes", json!(totals.len().saturating_sub(1))),
        ] {
            result.figures.insert(name.to_owned(), value);
        }
        words::finish(result)
    }
}

impl Bank {
    fn rules(&self, meta: &Value) -> Rules {
        let stored = || meta["accounts"].as_array().cloned();
        let accounts = self.options.accounts.clone().or_else(stored);
        Rules {
            total: self
                .options
                .total
                .or_else(|| meta["total"].as_i64())
                .map(i128::from),
            accounts: accounts.map(|accounts| accounts.iter().map(account_name).collect()),
            allow_negative: self
                .options
                .allow_negative
                .or_else(|| meta["allow_negative"].as_bool())
                .unwrap_or(false),
        }
    }
}

/// Checks accounts and signs; the total, or None if this is no map of balances.
fn judge_read<'a>(read: &'a Operation, rules: &Rules, faults: &mut Vec<Fault<'a>>) -> Option<i128> {
    let map = read.output.as_object()?;
    let mut total = 0_i128;
    let mut add = |kind, text, size| {
        faults.push(Fault {
            kind,
            read,
            text,
            size,
        })
    };
    if let Some(accounts) = &rules.accounts {
        for account in accounts
            .iter()
            .filter(|account| !map.contains_key(*account))
        {
            add(
                "missing-account",
                format!("account {} was not there", words::cut(account, 40)),
                1,
            );
        }
        for account in map.keys().filter(|account| !accounts.contains(account)) {
            add(
                "unexpected-account",
                format!(
                    "account {} was there, which was never opened",
                    words::cut(account, 40)
                ),
                1,
            );
        }
    }
    for (account, balance) in map {
        let account = words::cut(account, 40);
        match balance.as_i64() {
            Some(balance) => {
                total += i128::from(balance);
                if balance < 0 && !rules.allow_negative {
                    add(
                        "negative",
                        format!("account {account} held {balance}"),
                        i128::from(balance).abs(),
                    );
                }
            }
            None if balance.is_null() => add(
                "null-balance",
                format!("account {account} had no balance"),
                1,
            ),
            None => add(
                "null-balance",
                format!(
                    "account {account} held {}, no whole number",
                    words::show(balance)
                ),
                1,
            ),
        }
    }
    Some(total)
}

fn balances(value: &Value) -> String {
    let Some(map) = value.as_object() else {
        return words::show(value);
    };
    // Numbers in their order, then names.
    let sorted: BTreeMap<(Option<i64>, &str), &Value> = map
        .iter()
        .map(|(account, balance)| ((account.parse().ok(), account.as_str()), balance))
        .collect();
    let mut shown: Vec<String> = sorted
        .iter()
        .take(ACCOUNTS_SHOWN)
        .map(|((_, account), balance)| {
            format!("{}: {}", words::cut(account, 20), words::show(balance))
        })
        .collect();
    if sorted.len() > ACCOUNTS_SHOWN {
        shown.push(format!("and {} more", sorted.len() - ACCOUNTS_SHOWN));
    }
    format!("the balances ({})", shown.join(", "))
}

const KINDS: [(&str, &str); 5] = [
    ("wrong-total", "Money appeared or vanished."),
    ("negative", "A balance fell below zero."),
    ("missing-account", "An account is missing."),
    ("unexpected-account", "An account came from nowhere."),
    ("null-balance", "An account has no balance."),
];

fn conclude(
    name: &str,
    faults: &[Fault<'_>],
    reads: usize,
    transfers: usize,
    total: Option<i128>,
) -> CheckResult {
    if faults.is_empty() {
        if reads == 0 {
            return CheckResult::new(name, Verdict::Unknown, "no read gave balances");
        }
        let total = total.map_or_else(String::new, |total| total.to_string());
        let summary = format!(
            "{} show the total {total} over {}",
            words::plural(reads, "read", "reads"),
            words::plural(transfers, "transfer", "transfers")
        );
        return CheckResult::new(name, Verdict::Valid, summary);
    }
    let parts: Vec<String> = KINDS
        .iter()
        .filter_map(|(kind, _)| {
            let number = faults.iter().filter(|fault| fault.kind == *kind).count();
            (number > 0).then(|| format!("{} {kind}", words::count(number as u64)))
        })
        .collect();
    let summary = format!(
        "{} in {}",
        parts.join(", "),
        words::plural(reads, "read", "reads")
    );
    CheckResult::new(name, Verdict::Invalid, summary)
}

fn tell(result: &mut CheckResult, mut faults: Vec<Fault<'_>>, operations: &[Operation]) {
    faults.sort_by_key(|fault| fault.read.index);
    for (kind, title) in KINDS {
        let of_kind: Vec<&Fault<'_>> = faults.iter().filter(|fault| fault.kind == kind).collect();
        let Some(first) = of_kind.first() else {
            continue;
        };
        let clock = Clock::spanning([0, end_ns(first.read)]);
        result.notes.push(words::note(
            kind,
            Severity::Error,
            format!(
                "{}, first at {}: {}",
                words::plural(of_kind.len(), "time", "times"),
                clock.at(end_ns(first.read)),
                first.text
            ),
        ));
        // The first and the worst.
        let mut shown: Vec<&Fault<'_>> = vec![first];
        let mut by_size = of_kind.clone();
        by_size.sort_by_key(|fault| std::cmp::Reverse(fault.size));
        for fault in by_size {
            if shown.len() < WITNESSES_PER_KIND
                && shown
                    .iter()
                    .all(|other| other.read.index != fault.read.index)
            {
                shown.push(fault);
            }
        }
        result.witnesses.extend(
            shown
                .into_iter()
                .map(|fault| witness(fault, title, operations)),
        );
    }
}

/// The read, the last good-looking one before it, and the transfers open between them.
fn witness(fault: &Fault<'_>, title: &str, operations: &[Operation]) -> Witness {
    /// Transfers that a witness shows beside the read.
    const TRANSFERS_SHOWN: usize = 6;
    let read = fault.read;
    let clock = Clock::spanning([read.invoked_ns, end_ns(read)]);
    let story = format!(
        "Process {}{} read the accounts from {} to {}: {}.",
        read.process,
        words::on_node(read),
        clock.at(read.invoked_ns),
        clock.at(end_ns(read)),
        fault.text
    );
    let mut beside: Vec<&Operation> = operations
        .iter()
        .filter(|other| {
            &*other.f == "transfer"
                && other.outcome != Outcome::Fail
                && other.index < read.completed_index.unwrap_or(u64::MAX)
                && (other.outcome == Outcome::Info
                    || other.completed_index.is_some_and(|end| end > read.index))
        })
        .collect();
    let from = beside.len().saturating_sub(TRANSFERS_SHOWN);
    beside.drain(..from);
    beside.push(read);
    words::witness(fault.kind, title, story, &beside, &[read.index])
}
