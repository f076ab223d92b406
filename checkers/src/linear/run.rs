//! One pass of the [search](super::search): the frontier, step by step.

use harness_core::verdict::{Budget, Exhausted};

use super::{
    configs::{Config, ConfigSet, FastMap, Uses},
    search::{Ending, Entry, Figures, Problem, Step, Stuck},
    spec::SequentialSpec,
};

/// In a pass with a beam, one completion may explore this many times the beam.
const BEAM_EXPLORES: usize = 32;
/// The budget is asked each time so many configurations were explored.
const SPEND_EVERY: u64 = 1_024;
/// States that may be remembered beyond four times those of the frontier.
const STATES_SLACK: usize = 4_096;
/// Possible states that are shown.
const STATES_SHOWN: usize = 5;
/// The longest trail that is recorded for a witness, in operations taken by all configurations together.
const TRAIL_LIMIT: usize = 8_000_000;

/// One pass.
pub(super) struct Run<'a, S: SequentialSpec, const W: usize> {
    problem: &'a Problem<S>,
    budget: &'a dyn Budget,
    beam: Option<usize>,
    /// Whether configurations were dropped that might have gone on.
    pub dropped: bool,
    figures: Figures,
    states: Vec<S::State>,
    state_ids: FastMap<S::State, u32>,
    remembered: FastMap<(u32, u32), Option<u32>>,
    heap_bytes: usize,
    uses: Uses,
    frontier: ConfigSet<W>,
    next: ConfigSet<W>,
    seen: ConfigSet<W>,
    /// Entries open now that are no reads, and those that are.
    open_writes: Vec<u32>,
    open_reads: Vec<u32>,
    /// Pending classes and how many of each.
    pending: Vec<(u32, u32)>,
    /// Way of each configuration: the one before, and the entry or (from the top) the pending class that was taken.
    trail: Option<Vec<(u32, u32)>>,
}

const PENDING_BIT: u32 = 1 << 31;
const NO_TRAIL: u32 = u32::MAX;

impl<'a, S: SequentialSpec, const W: usize> Run<'a, S, W> {
    pub fn new(
        problem: &'a Problem<S>,
        budget: &'a dyn Budget,
        beam: Option<usize>,
        record: bool,
    ) -> Self {
        let initial = problem.spec.initial();
        let mut run = Self {
            problem,
            budget,
            beam,
            dropped: false,
            figures: Figures::default(),
            heap_bytes: 0,
            states: Vec::new(),
            state_ids: FastMap::default(),
            remembered: FastMap::default(),
            uses: Uses::new(),
            frontier: ConfigSet::new(),
            next: ConfigSet::new(),
            seen: ConfigSet::new(),
            open_writes: Vec::new(),
            open_reads: Vec::new(),
            pending: Vec::new(),
            trail: record.then(Vec::new),
        };
        let state = run.intern(initial);
        run.frontier.insert(
            Config {
                state,
                uses: 0,
                mask: [0; W],
            },
            NO_TRAIL,
            &run.uses,
        );
        run
    }

    pub fn add_to(&self, figures: &mut Figures) {
        figures.steps += self.figures.steps;
        figures.explored += self.figures.explored;
        figures.frontier_max = figures.frontier_max.max(self.figures.frontier_max);
        figures.bytes_max = figures.bytes_max.max(self.figures.bytes_max);
    }

    /// Up to that step.
    pub fn run(&mut self, until: usize) -> Ending {
        let mut placed = 0;
        for (number, step) in self.problem.steps[..until].iter().enumerate() {
            self.figures.steps += 1;
            match *step {
                Step::Call(entry) => self.call(entry),
                Step::Pending(entry) => {
                    let class = self.problem.entries[entry as usize].class;
                    match self.pending.iter_mut().find(|known| known.0 == class) {
                        Some(known) => known.1 += 1,
                        None => self.pending.push((class, 1)),
                    }
                }
                Step::Return(entry) => {
                    if let Err(limit) = self.complete(entry) {
                        return Ending::Exhausted { limit, placed };
                    }
                    if self.next.is_empty() {
                        return Ending::Stuck(self.stuck(number));
                    }
                    std::mem::swap(&mut self.frontier, &mut self.next);
                    placed += 1;
                    if let Err(limit) = self.tidy() {
                        return Ending::Exhausted { limit, placed };
                    }
                }
            }
        }
        Ending::Linearizable
    }

    fn call(&mut self, entry: u32) {
        let Entry { class, slot, .. } = self.problem.entries[entry as usize];
        let op = &self.problem.classes[class as usize];
        if !self.problem.spec.is_read(op) {
            self.open_writes.push(entry);
            return;
        }
        self.open_reads.push(entry);
        let (problem, states, trail) = (self.problem, &self.states, &mut self.trail);
        self.frontier.each_mut(|config, way| {
            if problem
                .spec
                .step(&states[config.state as usize], op)
                .is_some()
            {
                config.set(slot);
                *way = extend(trail, *way, entry);
            }
        });
    }

    /// Continues every configuration of the frontier until it has taken `target`, into `next`.
    fn complete(&mut self, target: u32) -> Result<(), Exhausted> {
        let slot = self.problem.entries[target as usize].slot;
        self.next.clear();
        let mut missing = Vec::new();
        for (config, way) in self.frontier.iter() {
            if config.has(slot) {
                let mut done = config;
                done.clear(slot);
                self.next.insert(done, way, &self.uses);
            } else {
                missing.push((config, way));
            }
        }
        if !missing.is_empty() {
            self.explore(target, &missing)?;
        }
        self.open_writes.retain(|open| *open != target);
        self.open_reads.retain(|open| *open != target);
        Ok(())
    }

    /// Breadth first in the number of pending operations used, so that what uses fewest is found first.
    fn explore(&mut self, target: u32, missing: &[(Config<W>, u32)]) -> Result<(), Exhausted> {
        let Entry {
            class: target_class,
            slot,
            ..
        } = self.problem.entries[target as usize];
        self.seen.clear();
        let mut layer: Vec<(u32, bool)> = Vec::new();
        let mut later: Vec<(u32, bool)> = Vec::new();
        for (config, way) in missing {
            let number = self.seen.inserted() as u32;
            if self.seen.insert(*config, *way, &self.uses) {
                layer.push((number, false));
            }
        }
        let explore_limit = self.beam.map(|beam| beam * BEAM_EXPLORES);
        loop {
            let Some((number, fresh)) = layer.pop() else {
                if later.is_empty() {
                    return Ok(());
                }
                std::mem::swap(&mut layer, &mut later);
                continue;
            };
            if !self.seen.is_alive(number as usize) {
                continue;
            }
            if explore_limit.is_some_and(|limit| self.seen.inserted() > limit) {
                self.dropped = true;
                return Ok(());
            }
            self.figures.explored += 1;
            if self.figures.explored.is_multiple_of(SPEND_EVERY) {
                self.spend()?;
            }
            let (config, way) = self.seen.get(number as usize);
            let blind = |class: u32| {
                self.problem
                    .spec
                    .is_blind(&self.problem.classes[class as usize])
            };
            if !(fresh && blind(target_class))
                && let Some(state) = self.step(config.state, target_class)
            {
                let way = extend(&mut self.trail, way, target);
                let (mut done, way, _) =
                    self.take_reads(Config { state, ..config }, way, config.state != state);
                done.clear(slot);
                self.next.insert(done, way, &self.uses);
            }
            for place in 0..self.open_writes.len() {
                let entry = self.open_writes[place];
                let Entry {
                    class, slot: bit, ..
                } = self.problem.entries[entry as usize];
                let useless = fresh
                    && self
                        .problem
                        .spec
                        .is_blind(&self.problem.classes[class as usize]);
                if entry == target || config.has(bit) || useless {
                    continue;
                }
                let Some(state) = self.step(config.state, class) else {
                    continue;
                };
                let mut taken = Config { state, ..config };
                taken.set(bit);
                let way = extend(&mut self.trail, way, entry);
                self.reach(
                    taken,
                    way,
                    (target, slot),
                    config.state != state,
                    false,
                    &mut layer,
                );
            }
            for place in 0..self.pending.len() {
                let (class, number) = self.pending[place];
                let useless = fresh
                    && self
                        .problem
                        .spec
                        .is_blind(&self.problem.classes[class as usize]);
                if useless || self.uses.of(config.uses, class) >= number {
                    continue;
                }
                let Some(state) = self
                    .step(config.state, class)
                    .filter(|state| *state != config.state)
                else {
                    continue;
                };
                let uses = self.uses.plus(config.uses, class);
                let way = extend(&mut self.trail, way, class | PENDING_BIT);
                self.reach(
                    Config {
                        state,
                        uses,
                        ..config
                    },
                    way,
                    (target, slot),
                    true,
                    true,
                    &mut later,
                );
            }
        }
    }

    /// Takes matching reads; files the configuration under `next` if the target was one of them, else for exploring.
    fn reach(
        &mut self,
        config: Config<W>,
        way: u32,
        (_, target_slot): (u32, usize),
        changed: bool,
        pending: bool,
        into: &mut Vec<(u32, bool)>,
    ) {
        let (mut config, way, took) = self.take_reads(config, way, changed);
        if config.has(target_slot) {
            config.clear(target_slot);
            self.next.insert(config, way, &self.uses);
            return;
        }
        let number = self.seen.inserted() as u32;
        if self.seen.insert(config, way, &self.uses) {
            into.push((number, pending && !took));
        }
    }

    fn take_reads(
        &mut self,
        mut config: Config<W>,
        mut way: u32,
        changed: bool,
    ) -> (Config<W>, u32, bool) {
        let mut took = false;
        if changed {
            for entry in &self.open_reads {
                let Entry { class, slot, .. } = self.problem.entries[*entry as usize];
                let op = &self.problem.classes[class as usize];
                if !config.has(slot)
                    && self
                        .problem
                        .spec
                        .step(&self.states[config.state as usize], op)
                        .is_some()
                {
                    config.set(slot);
                    way = extend(&mut self.trail, way, *entry);
                    took = true;
                }
            }
        }
        (config, way, took)
    }

    fn step(&mut self, state: u32, class: u32) -> Option<u32> {
        if S::REMEMBER_STEPS
            && let Some(known) = self.remembered.get(&(state, class))
        {
            return *known;
        }
        let after = self
            .problem
            .spec
            .step(
                &self.states[state as usize],
                &self.problem.classes[class as usize],
            )
            .map(|after| self.intern(after));
        if S::REMEMBER_STEPS {
            self.remembered.insert((state, class), after);
        }
        after
    }

    fn intern(&mut self, state: S::State) -> u32 {
        if let Some(known) = self.state_ids.get(&state) {
            return *known;
        }
        let id = u32::try_from(self.states.len()).unwrap_or(u32::MAX);
        self.heap_bytes += self.problem.spec.heap_bytes(&state);
        self.states.push(state.clone());
        self.state_ids.insert(state, id);
        id
    }

    /// Keeps the beam, forgets what nobody holds any more.
    fn tidy(&mut self) -> Result<(), Exhausted> {
        self.figures.frontier_max = self.figures.frontier_max.max(self.frontier.len());
        if let Some(beam) = self.beam
            && self.frontier.len() > beam
        {
            self.dropped = true;
            let uses = &self.uses;
            self.frontier
                .truncate_by(beam, uses, |config| uses.total(config.uses));
        }
        let live = self.frontier.len();
        let quiet = self.open_writes.is_empty() && self.open_reads.is_empty();
        let slack = if quiet {
            STATES_SLACK / 16
        } else {
            STATES_SLACK
        };
        if self.states.len() > 4 * live + slack {
            self.forget_states();
        }
        if self.uses.len() > 4 * live + STATES_SLACK {
            let mut kept = Vec::new();
            self.frontier.each_mut(|config, _| kept.push(config.uses));
            self.uses.keep(kept.iter_mut());
            let mut renumbered = kept.into_iter();
            self.frontier
                .each_mut(|config, _| config.uses = renumbered.next().unwrap_or(0));
        }
        if self.figures.steps.is_multiple_of(SPEND_EVERY) {
            self.spend()?;
        }
        Ok(())
    }

    fn forget_states(&mut self) {
        let old = std::mem::take(&mut self.states);
        self.state_ids.clear();
        self.remembered.clear();
        self.heap_bytes = 0;
        let mut numbers: FastMap<u32, u32> = FastMap::default();
        let mut frontier = std::mem::replace(&mut self.frontier, ConfigSet::new());
        frontier.each_mut(|config, _| {
            let state = config.state;
            config.state = *numbers
                .entry(state)
                .or_insert_with(|| self.intern(old[state as usize].clone()));
        });
        self.frontier = frontier;
    }

    fn spend(&mut self) -> Result<(), Exhausted> {
        // A state is held in a list and in a table; steps remembered take about 32 bytes each.
        let bytes = self.states.len() * (2 * size_of::<S::State>() + 16)
            + 2 * self.heap_bytes
            + self.remembered.len() * 32
            + self.uses.bytes()
            + self.frontier.bytes()
            + self.next.bytes()
            + self.seen.bytes()
            + self.trail.as_ref().map_or(0, |trail| trail.capacity() * 8);
        self.figures.bytes_max = self.figures.bytes_max.max(bytes as u64);
        self.budget.spend(bytes as u64)
    }

    fn stuck(&self, step: usize) -> Stuck {
        let mut states: Vec<String> = Vec::new();
        let mut longest: Vec<u32> = Vec::new();
        for (config, way) in self.frontier.iter() {
            let shown = self.problem.spec.show(&self.states[config.state as usize]);
            if states.len() < STATES_SHOWN && !states.contains(&shown) {
                states.push(shown);
            }
            if longest.is_empty() {
                longest = self.order(way);
            }
        }
        Stuck {
            step,
            states,
            order: longest,
            because: None,
        }
    }

    fn order(&self, mut way: u32) -> Vec<u32> {
        let mut order = Vec::new();
        let Some(trail) = &self.trail else {
            return order;
        };
        while let Some((before, taken)) = trail.get(way as usize) {
            if taken & PENDING_BIT == 0 {
                order.push(*taken);
            } else {
                // Any pending operation of that class will do: the first one stands for it.
                let class = taken & !PENDING_BIT;
                let entry = self.problem.steps.iter().find_map(|step| match *step {
                    Step::Pending(entry) if self.problem.entries[entry as usize].class == class => {
                        Some(entry)
                    }
                    _ => None,
                });
                order.extend(entry);
            }
            way = *before;
        }
        order.reverse();
        order
    }
}

fn extend(trail: &mut Option<Vec<(u32, u32)>>, way: u32, taken: u32) -> u32 {
    let Some(trail) = trail else { return NO_TRAIL };
    if trail.len() >= TRAIL_LIMIT {
        return way;
    }
    trail.push((way, taken));
    u32::try_from(trail.len() - 1).unwrap_or(NO_TRAIL)
}
