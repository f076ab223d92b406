//! Finds cycles and gives them their names, from the weakest set of edges to the strongest.
//!
//! All cycles lie within strongly connected components of the whole graph, so a history without any is judged by one pass.
//! Within a component each question is about existence and has an exact answer:
//!
//! - **G0**, **G1c**: a component of the graph that has only those edges;
//! - **G-single**: an anti-dependency whose target leads back to its source without another one ([`super::single`]);
//! - **G-nonadjacent**: a component of the product with "was the last edge an anti-dependency?", where such an edge may not
//!   follow another. A closed walk that visits a node twice splits in two, and one of the halves still has no two
//!   adjacent ones; so the walk exists exactly if a cycle does (it is what snapshot isolation forbids: Cerone and Gotsman 2016);
//! - **G2-item**: an anti-dependency within a component.
//!
//! First with the data's edges alone, then with the order of each process, then with real time. What a worse finding in the same
//! component implies is not looked for again: after a G0 no G1c. A short cycle to show is a second, bounded search
//! ([`super::paths`]); whether it ends well changes no verdict.

use harness_core::verdict::{Budget, Exhausted};

use super::{
    anomaly::{Anomaly, Cycle, Order},
    graph::{ALL, Graph, Kinds, PASS, node},
    paths::{self, Step},
    scc::{Components, components},
    single::{self, Single},
};

/// A cycle that exists.
pub(super) struct Found {
    /// What it is: its kind and the order that it needs.
    pub anomaly: Anomaly,
    /// Its edges in order, each from the end of the one before; empty if the search for a short one gave up.
    pub steps: Vec<Step>,
    /// Transactions of the component that it lies in.
    pub among: Vec<u32>,
}

/// What the graph holds.
#[derive(Default)]
pub(super) struct Cycles {
    /// One for each kind in each component.
    pub found: Vec<Found>,
    /// Number of components.
    pub components: usize,
    /// Transactions of the largest.
    pub largest: usize,
    /// Whether a search for cycles with one anti-dependency gave up: they then count as G-nonadjacent, which they are too.
    pub singles_undecided: bool,
}

impl Cycles {
    /// Components: the transactions of each.
    pub fn all(&self) -> Vec<&[u32]> {
        self.among(|_| true)
    }

    /// The components in which there is, or may be, a cycle with one anti-dependency.
    pub fn with_single(&self) -> Vec<&[u32]> {
        self.among(|anomaly| match anomaly {
            Anomaly::Cycle(_, Cycle::GSingle) => true,
            Anomaly::Cycle(_, Cycle::GNonadjacent) => self.singles_undecided,
            _ => false,
        })
    }

    /// What there may be besides: if a search gave up, a circle that counts as G-nonadjacent may be a G-single, which more models forbid.
    pub fn undecided(&self) -> Option<Anomaly> {
        let single = Anomaly::Cycle(Order::Plain, Cycle::GSingle);
        self.singles_undecided.then_some(single)
    }

    fn among(&self, counts: impl Fn(Anomaly) -> bool) -> Vec<&[u32]> {
        let found = self.found.iter().filter(|found| counts(found.anomaly));
        let mut components: Vec<&[u32]> = found.map(|found| &*found.among).collect();
        // What was found in one component stands together.
        components.dedup();
        components
    }
}

/// A component, with nodes numbered anew.
struct Part {
    graph: Graph,
    /// Nodes of the whole graph.
    nodes: Vec<u32>,
    /// How many of them are transactions: they come first.
    transactions: u32,
}

/// Finds all there is to say about this graph, whose first nodes are transactions, by the data and the orders named.
pub(super) fn search(
    graph: &Graph,
    transactions: usize,
    orders: &[Order],
    budget: &dyn Budget,
) -> Result<Cycles, Exhausted> {
    budget.spend(graph.memory_bytes())?;
    let mut cycles = Cycles::default();
    let kinds = orders.iter().fold(0, |kinds, order| {
        kinds | Cycle::G2Item.base(*order) | order.anti()
    });
    let mut groups = components(graph, kinds).groups();
    groups.sort_by_key(|group| group[0]);
    let mut place = vec![u32::MAX; graph.len()];
    cycles.components = groups.len();
    for nodes in groups {
        budget.spend(2 * graph.memory_bytes())?;
        let real = nodes.partition_point(|at| (*at as usize) < transactions);
        cycles.largest = cycles.largest.max(real);
        let part = Part {
            graph: graph.part(&nodes, &mut place),
            transactions: node(real),
            nodes,
        };
        part.climb(orders, &mut cycles, budget)?;
    }
    Ok(cycles)
}

impl Part {
    /// From the weakest edges to the strongest.
    fn climb(
        &self,
        orders: &[Order],
        cycles: &mut Cycles,
        budget: &dyn Budget,
    ) -> Result<(), Exhausted> {
        let mut known: Vec<Anomaly> = Vec::new();
        for order in orders.iter().copied() {
            for cycle in Cycle::ALL {
                let anomaly = Anomaly::Cycle(order, cycle);
                if known.iter().any(|found| found.implies(anomaly)) {
                    continue;
                }
                budget.spend(self.graph.memory_bytes())?;
                let steps = match cycle {
                    Cycle::G0 | Cycle::G1c => self.writes_and_reads(cycle.base(order)),
                    Cycle::GSingle => {
                        match single::search(&self.graph, cycle.base(order), order.anti(), budget)?
                        {
                            Single::Found(steps) => Some(steps),
                            Single::None => None,
                            Single::GaveUp => {
                                cycles.singles_undecided = true;
                                None
                            }
                        }
                    }
                    Cycle::GNonadjacent => self.nonadjacent(order, &known),
                    Cycle::G2Item => self.any(order),
                };
                if let Some(steps) = steps {
                    known.push(anomaly);
                    cycles.found.push(Found {
                        anomaly,
                        steps: self.outside(&steps),
                        among: self.nodes[..self.transactions as usize].to_vec(),
                    });
                }
            }
        }
        Ok(())
    }

    fn outside(&self, steps: &[Step]) -> Vec<Step> {
        paths::between_transactions(steps, self.transactions)
            .into_iter()
            .map(|step| Step {
                from: self.nodes[step.from as usize],
                to: self.nodes[step.to as usize],
                kind: step.kind,
            })
            .collect()
    }

    fn writes_and_reads(&self, kinds: Kinds) -> Option<Vec<Step>> {
        let parts = components(&self.graph, kinds);
        let smallest = parts.groups().into_iter().min_by_key(Vec::len)?;
        let inside = |from, to| parts.together(from, to);
        let starts = smallest.iter().filter(|at| **at < self.transactions);
        Some(
            paths::shortest_through(&self.graph, kinds, starts.copied(), &inside)
                .unwrap_or_default(),
        )
    }

    /// Cycles without adjacent anti-dependencies. If there are worse ones, that closed walk may be one of them.
    fn nonadjacent(&self, order: Order, known: &[Anomaly]) -> Option<Vec<Step>> {
        let worse = known
            .iter()
            .any(|found| matches!(found, Anomaly::Cycle(_, cycle) if *cycle < Cycle::GNonadjacent));
        let (base, anti) = (Cycle::GNonadjacent.base(order), order.anti());
        let size = node(self.graph.len());
        let product = Graph::build(2 * self.graph.len(), |edges| {
            for from in 0..size {
                for (to, kind) in self.graph.edges(from) {
                    if kind & PASS != 0 {
                        edges.add(from, to, kind);
                        edges.add(from + size, to + size, kind);
                    } else if kind & base != 0 {
                        edges.add(from, to, kind);
                        edges.add(from + size, to, kind);
                    } else if kind & anti != 0 {
                        edges.add(from, to + size, kind);
                    }
                }
            }
        });
        let parts = components(&product, ALL);
        let starts: Vec<u32> = (size..2 * size)
            .filter(|at| at - size < self.transactions && in_cycle(&parts, *at))
            .collect();
        // An anti-dependency may lead into a fan and on to a transaction, so one of these is a transaction.
        if starts.is_empty() {
            return None;
        }
        let inside = |from, to| parts.together(from, to);
        let walk = paths::shortest_through(&product, ALL, starts.into_iter(), &inside);
        let steps: Vec<Step> = walk
            .unwrap_or_default()
            .into_iter()
            .map(|step| Step {
                from: step.from % size,
                to: step.to % size,
                kind: step.kind,
            })
            .collect();
        let cycle = paths::without_repeats(&steps, self.transactions, anti);
        if worse && paths::count_anti(&cycle, anti) < 2 {
            return None;
        }
        Some(cycle)
    }

    fn any(&self, order: Order) -> Option<Vec<Step>> {
        let kinds = Cycle::G2Item.base(order) | order.anti();
        let parts = components(&self.graph, kinds);
        let mut anti = Vec::new();
        for from in 0..node(self.graph.len()) {
            for (to, kind) in self.graph.edges(from) {
                if kind & order.anti() != 0 && parts.together(from, to) {
                    anti.push(Step { from, to, kind });
                }
            }
        }
        if anti.is_empty() {
            return None;
        }
        let inside = |_: &Step, from, to| parts.together(from, to);
        Some(paths::shortest_closing(&self.graph, kinds, &anti, &inside).unwrap_or_default())
    }
}

fn in_cycle(parts: &Components, at: u32) -> bool {
    parts.size[parts.of[at as usize] as usize] > 1
}
