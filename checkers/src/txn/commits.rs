//! Read atomic and causal on registers: is there an order of commits?
//!
//! After Biswas and Enea (OOPSLA 2019), as [`super::weak`], whose levels have sessions: here they count in the models named `strong-session-` alone, as they do for
//! lists ([`super::sight`]), which also gives the anomalies their names. Say T3 read x from T1, and T2 wrote x as well. If T3 knew of T2, because it read something of T2's or, for causal,
//! because reads lead from T2 to it over any number of steps, then T2 commits before T1. What was there at first was committed before everything else. The models hold exactly if
//! that makes no circle with who read from whom.
//!
//! Who knew of whom is kept as a table of bits, so this is for up to [`TRANSACTIONS_LIMIT`] transactions.

use std::collections::{BTreeMap, VecDeque};

use harness_core::{
    history::Outcome,
    verdict::{Budget, Edge, Exhausted, Witness},
};

use super::{
    anomaly::Anomaly,
    findings::{Findings, edge, equals, knew_of, name, witness},
    graph::{ALL, Graph, PROCESS, WR, WW, node},
    input::NONE,
    model::Model,
    registers::{INITIAL, Read, Registers},
    scc::components,
    sight,
    versions::TRANSACTIONS_LIMIT,
    weak::{Reason, circle},
};

/// Whether these decide a model of who saw whose work: adds what speaks against it. None: there are too many transactions.
pub(super) fn decide(
    registers: &Registers,
    model: Model,
    findings: &mut Findings,
    budget: &dyn Budget,
) -> Result<Option<Model>, Exhausted> {
    let count = registers.took_effect.iter().filter(|took| **took).count();
    let Some(decided) = model.by_sight().filter(|_| count <= TRANSACTIONS_LIMIT) else {
        return Ok(None);
    };
    let mut known: Vec<Anomaly> = Vec::new();
    for anomaly in sight::kinds(decided) {
        if known.iter().any(|found| found.implies(anomaly)) {
            continue;
        }
        budget.spend((count * count / 8 + 8 * registers.reads.len()) as u64)?;
        let Some(commits) = Commits::new(registers, anomaly) else {
            return Ok(None);
        };
        if let Some(steps) = commits.broken() {
            known.push(anomaly);
            findings.add(anomaly, || tell(registers, anomaly, &steps));
        }
    }
    Ok(Some(decided))
}

/// Why one transaction must come before another, or cannot stand where it does.
#[derive(Clone, Copy)]
enum Why {
    /// One process did the first before.
    Session,
    /// The second read what the first wrote.
    Read,
    /// This read of what the second wrote knew of the first.
    Commit(Read),
    /// By this read the first saw what was there at first, and so missed the second.
    Missed(Read),
}

/// From one transaction to the next of a circle.
#[derive(Clone, Copy)]
struct Step {
    from: u32,
    to: u32,
    why: Why,
}

/// Who saw whom, and who knew of whom.
struct Commits<'r> {
    registers: &'r Registers,
    /// By number: transactions that took effect.
    txns: Vec<u32>,
    /// By transaction: its number, or [`NONE`].
    number: Vec<u32>,
    /// By number: whom it read from, and the last one that its process had done before, or [`NONE`].
    saw: Vec<Vec<u32>>,
    previous: Vec<u32>,
    /// By number: a row of bits, of whom it knew.
    knew: Vec<u64>,
    words: usize,
}

impl<'r> Commits<'r> {
    /// As far as the anomaly counts them. None: they saw each other in a circle.
    fn new(registers: &'r Registers, anomaly: Anomaly) -> Option<Self> {
        let all = 0..node(registers.txns.len());
        let txns: Vec<u32> = all
            .filter(|txn| registers.took_effect[*txn as usize])
            .collect();
        let mut commits = Self {
            registers,
            number: vec![NONE; registers.txns.len()],
            saw: vec![Vec::new(); txns.len()],
            previous: vec![NONE; txns.len()],
            words: txns.len().div_ceil(u64::BITS as usize),
            knew: Vec::new(),
            txns,
        };
        for (number, txn) in (0_u32..).zip(&commits.txns) {
            commits.number[*txn as usize] = number;
        }
        for read in &registers.reads {
            let reader = commits.number[read.txn as usize];
            if reader != NONE && registers.is_version(read.saw) {
                let writer = commits.number[registers.writer(read.saw) as usize];
                if writer != reader {
                    commits.saw[reader as usize].push(writer);
                }
            }
        }
        if sight::with_sessions(anomaly) {
            let mut last = vec![NONE; registers.txns.processes.len()];
            for (number, txn) in (0_u32..).zip(&commits.txns) {
                let process = registers.txns.process[*txn as usize] as usize;
                if let Some(last) = last.get_mut(process) {
                    commits.previous[number as usize] = *last;
                    if registers.txns.outcome(*txn) == Outcome::Ok {
                        *last = number;
                    }
                }
            }
        }
        let direct = matches!(anomaly, Anomaly::FracturedRead(_));
        commits.find_known(direct).then_some(commits)
    }

    fn base(&self) -> impl Iterator<Item = (u32, u32, Why)> + '_ {
        (0..node(self.txns.len())).flat_map(|to| {
            let saw = self.saw[to as usize].iter();
            let saw = saw.map(move |from| (*from, to, Why::Read));
            let previous = self.previous[to as usize];
            let previous = (previous != NONE).then_some((previous, to, Why::Session));
            saw.chain(previous)
        })
    }

    /// Fills the rows of bits; false if there is a circle.
    fn find_known(&mut self, direct: bool) -> bool {
        let graph = Graph::build(self.txns.len(), |edges| {
            self.base()
                .for_each(|(from, to, _)| edges.add(from, to, WR));
        });
        let parts = components(&graph, ALL);
        if parts.size.iter().any(|size| *size > 1) {
            return false;
        }
        // Components are numbered against the direction of edges.
        let mut ordered = vec![0; self.txns.len()];
        for (at, part) in (0_u32..).zip(&parts.of) {
            ordered[parts.of.len() - 1 - *part as usize] = at;
        }
        let words = self.words;
        self.knew = vec![0; self.txns.len() * words];
        // By number: whom the process had done before.
        let mut earlier = vec![0; if direct { self.knew.len() } else { 0 }];
        let mut row = vec![0; words];
        for at in ordered {
            row.fill(0);
            let of = |at: u32| at as usize * words..(at as usize + 1) * words;
            let set = |row: &mut [u64], bit: u32| row[(bit / 64) as usize] |= 1 << (bit % 64);
            let previous = self.previous[at as usize];
            if previous != NONE {
                let more = if direct { &earlier } else { &self.knew };
                merge(&mut row, &more[of(previous)]);
                set(&mut row, previous);
            }
            if direct {
                earlier[of(at)].copy_from_slice(&row);
            }
            for from in &self.saw[at as usize] {
                if !direct {
                    merge(&mut row, &self.knew[of(*from)]);
                }
                set(&mut row, *from);
            }
            self.knew[of(at)].copy_from_slice(&row);
        }
        true
    }

    fn knew(&self, at: u32, of: u32) -> bool {
        self.knew[at as usize * self.words + (of / 64) as usize] & (1 << (of % 64)) != 0
    }

    /// A circle, if there is one.
    fn broken(&self) -> Option<Vec<Step>> {
        let registers = self.registers;
        let mut demanded: BTreeMap<(u32, u32), Read> = BTreeMap::new();
        for read in &registers.reads {
            let (reader, initial) = (self.number[read.txn as usize], read.saw == INITIAL);
            if reader == NONE || !(initial || registers.is_version(read.saw)) {
                continue;
            }
            for write in registers.txns.writes_of(read.key).map(node) {
                if write == read.saw || !registers.is_version(write) {
                    continue;
                }
                let other = self.number[registers.writer(write) as usize];
                if other == reader || !self.knew(reader, other) {
                    continue;
                }
                if initial {
                    return Some(self.missed(*read, reader, other));
                }
                let writer = self.number[registers.writer(read.saw) as usize];
                demanded.entry((other, writer)).or_insert(*read);
            }
        }
        let graph = Graph::build(self.txns.len(), |edges| {
            for (from, to, why) in self.base() {
                let kind = if matches!(why, Why::Read) {
                    WR
                } else {
                    PROCESS
                };
                edges.add(from, to, kind);
            }
            for (from, to) in demanded.keys() {
                edges.add(*from, *to, WW);
            }
        });
        let steps = circle(&graph)?.into_iter().map(|edge| Step {
            from: edge.from,
            to: edge.to,
            why: match (edge.reason, demanded.get(&(edge.from, edge.to))) {
                (Reason::Read, _) => Why::Read,
                (Reason::Commit, Some(read)) => Why::Commit(*read),
                (Reason::Session | Reason::Commit, _) => Why::Session,
            },
        });
        Some(self.outside(steps))
    }

    fn outside(&self, steps: impl Iterator<Item = Step>) -> Vec<Step> {
        let txn = |number: u32| self.txns[number as usize];
        let outside = steps.map(|step| Step {
            from: txn(step.from),
            to: txn(step.to),
            why: step.why,
        });
        outside.collect()
    }

    /// From who missed it to the one that it knew of, and back by the fewest steps.
    fn missed(&self, read: Read, reader: u32, known: u32) -> Vec<Step> {
        let mut onward: Vec<Option<Step>> = vec![None; self.txns.len()];
        let mut open = VecDeque::from([reader]);
        while let Some(to) = open
            .pop_front()
            .filter(|_| onward[known as usize].is_none())
        {
            let previous = std::iter::successors(Some(self.previous[to as usize]), |at| {
                // What a process did earlier it did before this one too.
                self.previous.get(*at as usize).copied()
            });
            let previous = previous.take_while(|at| *at != NONE);
            let previous = previous.map(|from| (from, Why::Session));
            let saw = self.saw[to as usize].iter().map(|from| (*from, Why::Read));
            for (from, why) in saw.chain(previous) {
                let slot = &mut onward[from as usize];
                if slot.is_none() && from != reader {
                    *slot = Some(Step { from, to, why });
                    open.push_back(from);
                }
            }
        }
        let mut steps = vec![Step {
            from: reader,
            to: known,
            why: Why::Missed(read),
        }];
        let mut at = known;
        while let Some(step) = onward[at as usize].filter(|_| at != reader) {
            steps.push(step);
            at = step.to;
        }
        self.outside(steps.into_iter())
    }
}

fn merge(into: &mut [u64], more: &[u64]) {
    for (into, more) in into.iter_mut().zip(more) {
        *into |= more;
    }
}

/// A witness of a circle. Who read what was old is to blame.
fn tell(registers: &Registers, anomaly: Anomaly, steps: &[Step]) -> Witness {
    let txns = &registers.txns;
    let reader = |step: &Step| match step.why {
        Why::Commit(read) | Why::Missed(read) => Some(read.txn),
        Why::Session | Why::Read => None,
    };
    let readers: Vec<u32> = steps.iter().filter_map(reader).collect();
    let numbers: Vec<u32> = readers
        .iter()
        .copied()
        .chain(steps.iter().map(|step| step.from))
        .collect();
    let edges: Vec<Edge> = steps
        .iter()
        .map(|step| edge(txns, step.from, step.to, because(registers, *step)))
        .collect();
    let mut witness = witness(anomaly, txns, &numbers, |operations, _| {
        let reasons: Vec<&str> = edges.iter().map(|edge| &*edge.words).collect();
        let culprit = operations
            .first()
            .map_or_else(String::new, |first| name(first));
        match steps.first().map(|step| step.why) {
            None => "It is certain that some transactions must each come before the other, but the search for a short circle was given up.".to_owned(),
            Some(Why::Missed(_)) => format!(
                "{}. But {}. So {culprit} knew of what it missed.",
                reasons[0],
                reasons[1..].join("; ")
            ),
            Some(_) => format!(
                "{}. So each must come before the next, which is a circle; {culprit} read an old value.",
                reasons.join("; ")
            ),
        }
    });
    witness.edges = edges;
    witness
}

fn because(registers: &Registers, step: Step) -> String {
    let txns = &registers.txns;
    let operation = |txn: u32| txns.operation(txn);
    let (from, to) = (name(&operation(step.from)), name(&operation(step.to)));
    let shown = |place: usize| equals(&txns.key(txns.step(place).key), &txns.value(place));
    let wrote = |txn: u32, key: u32| {
        let last = txns.places(txn).rev().find(|place| {
            let step = txns.step(*place);
            step.write && step.key == key
        });
        last.map_or_else(String::new, shown)
    };
    match step.why {
        Why::Session => format!(
            "Process {} did {from} before {to}",
            operation(step.from).process
        ),
        Why::Read => {
            let saw = registers.reads.iter().find(|read| {
                read.txn == step.to
                    && registers.is_version(read.saw)
                    && registers.writer(read.saw) == step.from
            });
            let read = saw.map_or_else(String::new, |read| shown(read.step as usize));
            format!("{to} read {read}, which {from} wrote")
        }
        Why::Commit(read) => knew_of(
            &name(&operation(read.txn)),
            (&shown(read.step as usize), &to),
            (&from, &wrote(step.from, read.key)),
        ),
        Why::Missed(read) => format!(
            "{from} read {} and missed {}, which {to} wrote",
            shown(read.step as usize),
            wrote(step.to, read.key)
        ),
    }
}
