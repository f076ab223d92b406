//! The last word on registers: what no circle speaks against is proven, contradicted, or said to be open.
//!
//! | what was asked for | proof that it holds | proof that it does not |
//! | --- | --- | --- |
//! | read (un)committed | no circle: versions can be ordered as transactions saw each other | a circle |
//! | serializable, repeatable read, snapshot isolation, their session and strong forms | an order of all transactions that explains all reads ([`super::serial`]), or an order of all versions without a forbidden circle ([`super::versions`]) | there is no such order of some of the transactions |
//! | read atomic, causal, their session forms | the same, or an order of commits ([`super::commits`]) | there is none |
//! | any other model | the same, of serializability or of snapshot isolation; no circle, where reads tell the whole order of versions ([`Registers::is_ordered`]) | what was found before, or what rules out causal or read atomic if it implies them |
//!
//! An order that is more than what was asked for is proof as well: one of real time, or one of points for snapshot isolation.
//!
//! The first proof takes history of any size. The second one takes tables that grow by the square, so it is for up to
//! [`versions::TRANSACTIONS_LIMIT`] transactions; a larger history that is not proven by the first one is left open.

use std::ops::Range;

use harness_core::{
    history::Operation,
    verdict::{Budget, Edge, Exhausted, Witness},
};

use super::{
    anomaly::{Anomaly, Cycle, Order},
    commits,
    findings::{Findings, edge, equals, key, name, who, witness},
    graph::node,
    input::NONE,
    model::Model,
    registers::Registers,
    serial,
    sight::Sight,
    versions::{Answer, Case, Step, TRANSACTIONS_LIMIT, Why, Work},
};
use crate::words;

/// Transactions up to which one after the other is left out, to see whether the others have no order either.
const REDUCE_LIMIT: usize = 200;
/// Transactions that are shown if there are more.
const SHOWN_LIMIT: usize = 20;

/// What is left to be proven of a model.
enum Need {
    Nothing,
    /// An order under this one; of two points a transaction if it is that of snapshots.
    Exactly(Order, bool),
    /// An order that is more than the model needs, and keeps this one.
    Enough(Order),
}

fn need(model: Model) -> Need {
    let orders = model.orders();
    let order = orders.last().copied().unwrap_or(Order::Plain);
    let forbids = |order, cycle| model.forbids(Anomaly::Cycle(order, cycle));
    if forbids(order, Cycle::G2Item) {
        Need::Exactly(order, false)
    } else if forbids(order, Cycle::GNonadjacent) {
        Need::Exactly(order, true)
    } else if model.is_partial() || forbids(Order::Plain, Cycle::GSingle) {
        Need::Enough(order)
    } else {
        Need::Nothing
    }
}

/// Proves a model of which nothing forbidden was found, or adds to the findings; gives why it stays open if neither is possible.
pub(super) fn decide(
    registers: &Registers,
    model: Model,
    findings: &mut Findings,
    budget: &dyn Budget,
) -> Result<Sight, Exhausted> {
    let decided = match need(model) {
        Need::Enough(order) if played(registers, order, 0..1) => return Ok(Sight::default()),
        Need::Enough(_) => commits::decide(registers, model, findings, budget)?,
        Need::Nothing | Need::Exactly(..) => None,
    };
    let forbidden = |(anomaly, _)| model.forbids(anomaly);
    // The same model, or one that says more; or what rules it out.
    if decided.is_some_and(|decided| decided.implies(model)) || findings.counts().any(forbidden) {
        return Ok(Sight {
            decided,
            open: None,
        });
    }
    if circles_tell(registers, model, findings) {
        return Ok(Sight {
            decided,
            open: None,
        });
    }
    let open = weigh(registers, model, findings, budget)?;
    Ok(Sight { decided, open })
}

/// Whether circles of the data say all that there is to say of a model that is not decided by orders. Not where a transaction read a
/// key twice and saw two values, for such reads order versions in either way and lead to no edge of their own.
fn circles_tell(registers: &Registers, model: Model, findings: &Findings) -> bool {
    let mut kinds = findings.counts().map(|(kind, _)| kind);
    matches!(need(model), Need::Enough(Order::Plain))
        && !kinds.any(|kind| kind == Anomaly::Internal)
        && registers.is_ordered()
}

/// Whether an order of all transactions was found that keeps this one. Most histories keep real time, which leads to an order sooner than nothing does.
fn played(registers: &Registers, order: Order, attempts: Range<u64>) -> bool {
    serial::found(registers, order, attempts.clone())
        || order != Order::Realtime && serial::found(registers, Order::Realtime, attempts)
}

/// By orders of transactions and of versions; gives why it stays open if none helps.
fn weigh(
    registers: &Registers,
    model: Model,
    findings: &mut Findings,
    budget: &dyn Budget,
) -> Result<Option<String>, Exhausted> {
    let (order, split) = match need(model) {
        Need::Nothing => return Ok(None),
        Need::Exactly(order, split) => (order, Some(split)),
        Need::Enough(order) => (order, None),
    };
    let played = |attempts: Range<u64>| played(registers, order, attempts);
    if played(0..1) {
        return Ok(None);
    }
    let again = 1..serial::tries(registers.txns.len());
    let all: Vec<u32> = (0..node(registers.txns.len()))
        .filter(|txn| registers.took_effect[*txn as usize])
        .collect();
    if all.len() > TRANSACTIONS_LIMIT {
        if played(again) {
            return Ok(None);
        }
        return Ok(Some(format!(
            "the order of values is known in part only, and {} are more than the {TRANSACTIONS_LIMIT} of which all orders are weighed",
            words::plural(all.len(), "transaction", "transactions")
        )));
    }
    let table_bytes = (2 * 4 * all.len() * all.len() / 8) as u64;
    // What was asked for first. Where that stays open more than that may be easier to prove: more order leaves less to be weighed.
    let mut tries = vec![(order, split.unwrap_or(false))];
    for more in [Order::Realtime, order] {
        for snapshots in [false, true] {
            let enough = !snapshots || split != Some(false);
            if enough && !tries.contains(&(more, snapshots)) {
                tries.push((more, snapshots));
            }
        }
    }
    let mut again = Some(again);
    for (try_order, try_split) in tries {
        budget.spend(table_bytes)?;
        let mut work = Work::new(budget, table_bytes);
        match Case::new(registers, all.clone(), try_order, try_split).decide(&mut work) {
            Answer::Fits => return Ok(None),
            Answer::Broken(members, circle) if Some(try_split) == split && try_order == order => {
                tell(
                    registers,
                    model,
                    (members, circle),
                    (order, try_split),
                    findings,
                    &mut Work::new(budget, table_bytes),
                );
                return Ok(None);
            }
            other => {
                if let Some(exhausted) = work.exhausted() {
                    return Ok(Some(format!(
                        "{exhausted} while orders of values were weighed"
                    )));
                }
                // Too hard to weigh: perhaps luck finds an order.
                if matches!(other, Answer::Open) && again.take().is_some_and(&played) {
                    return Ok(None);
                }
            }
        }
    }
    let reason = match split {
        Some(_) => "weighing the orders of values took too much work",
        None => {
            "the order of values is known in part only, and no order shows more than what was asked for"
        }
    };
    Ok(Some(reason.to_owned()))
}

/// Makes it small, as far as the work allows, and adds it under the weakest name that it has.
fn tell(
    registers: &Registers,
    model: Model,
    (mut members, mut circle): (Vec<u32>, Vec<Step>),
    (order, split): (Order, bool),
    findings: &mut Findings,
    work: &mut Work<'_>,
) {
    let mut broken =
        |members: Vec<u32>, order, split| match Case::new(registers, members, order, split)
            .decide(work)
        {
            Answer::Broken(members, circle) => Some((members, circle)),
            Answer::Fits | Answer::Open => None,
        };
    // The same with less: first what is enough for less order, then with fewer transactions.
    let mut named = (order, split);
    for weaker in Order::ALL {
        let mut of = |split| broken(members.clone(), weaker, split).map(|found| (found, split));
        let found = of(true).or_else(|| (!split).then(|| of(false)).flatten());
        if let Some((found, split)) = found.filter(|_| weaker <= order) {
            (members, circle) = found;
            named = (weaker, split);
            break;
        }
    }
    let (order, split) = named;
    if members.len() <= REDUCE_LIMIT {
        let mut at = 0;
        while at < members.len() {
            let mut fewer = members.clone();
            fewer.remove(at);
            match broken(fewer, order, split) {
                Some(found) => {
                    (members, circle) = found;
                    // What was kept before may be gone as well.
                    at = at.min(members.len());
                }
                None => at += 1,
            }
        }
    }
    let anomaly = match split {
        true => Anomaly::NoSnapshotOrder(order),
        false => Anomaly::NoSerialOrder(order),
    };
    debug_assert!(model.forbids(anomaly), "{}", anomaly.name());
    findings.add(anomaly, || told(registers, anomaly, &members, &circle));
}

fn told(registers: &Registers, anomaly: Anomaly, members: &[u32], circle: &[Step]) -> Witness {
    let txns = &registers.txns;
    // Who missed something is to blame, else whoever was last.
    let missed = |step: &&Step| matches!(step.why, Why::Missed(..) | Why::Initial(_));
    let culprit = circle.iter().find(missed).map(|step| step.from);
    let culprit = culprit.or_else(|| members.last().copied());
    let mut shown: Vec<u32> = culprit.into_iter().collect();
    shown.extend(members.iter().filter(|member| Some(**member) != culprit));
    let edges: Vec<Edge> = circle
        .iter()
        .map(|step| edge(txns, step.from, step.to, because(registers, *step)))
        .collect();
    let mut witness = witness(anomaly, txns, &shown, |operations, clock| {
        let count = words::plural(operations.len(), "transaction", "transactions");
        let names: Vec<String> = operations
            .iter()
            .take(SHOWN_LIMIT)
            .map(|operation| name(operation))
            .collect();
        let reasons: Vec<&str> = edges.iter().map(|edge| &*edge.words).collect();
        let reasons = match reasons.is_empty() {
            true => "Every order of what they wrote was weighed".to_owned(),
            false => reasons.join(". "),
        };
        format!(
            "No order of the {count} {} explains what they read. {reasons}. So {} cannot be placed.",
            names.join(", "),
            operations
                .first()
                .map_or_else(String::new, |culprit| who(culprit, clock)),
        )
    });
    witness.edges = edges;
    witness
}

/// Why the one must come before the other.
fn because(registers: &Registers, step: Step) -> String {
    let txns = &registers.txns;
    let operation = |txn: u32| -> Operation { txns.operation(txn) };
    let (a, b) = (name(&operation(step.from)), name(&operation(step.to)));
    let shown = |of: u32, place: Option<usize>| {
        place.map_or_else(
            || key(&txns.key(of)),
            |place| equals(&txns.key(of), &txns.value(place)),
        )
    };
    let steps = |txn: u32, of: u32, write: bool| {
        let fits = move |place: &usize| {
            let step = txns.step(*place);
            step.key == of && step.write == write
        };
        txns.places(txn).filter(fits)
    };
    let wrote = |txn: u32, of: u32| shown(of, steps(txn, of, true).next_back());
    // What it read of that transaction, or of nobody.
    let read = |txn: u32, of: u32, from: Option<u32>| {
        let from_it = |place: &usize| {
            let version = registers.saw(*place);
            let writer = txns.writes.get(version as usize).map(|write| write.txn);
            writer == from && version != NONE
        };
        shown(of, steps(txn, of, false).find(from_it))
    };
    match step.why {
        Why::Order => {
            let (from, to) = (operation(step.from), operation(step.to));
            match from.process == to.process {
                true => format!("Process {} did {a} before {b}", from.process),
                false => format!("{a} had ended before {b} began"),
            }
        }
        Why::Read(of) => format!(
            "{b} read {}, which {a} wrote",
            read(step.to, of, Some(step.from))
        ),
        Why::Initial(of) => format!(
            "{a} read {} and missed {}, which {b} wrote",
            read(step.from, of, None),
            wrote(step.to, of)
        ),
        Why::Wrote(of, reader) => format!(
            "{a} must write {} before {b} writes {}{}",
            wrote(step.from, of),
            wrote(step.to, of),
            reader.map_or_else(String::new, |reader| {
                let reader = name(&operation(reader));
                format!(", for {reader} read the latter and comes after {a}")
            })
        ),
        Why::Missed(of, writer) => format!(
            "{a} must come before {b}: it read {}, and {} wrote that before {b} wrote {}",
            read(step.from, of, Some(writer)),
            name(&operation(writer)),
            wrote(step.to, of),
        ),
    }
}
