//! The laws of generators, on random trees of combinators in a simulated run.

use std::time::Duration;

use harness_core::{
    event::EventType,
    generator::{
        BoxGenerator, Combine, Context, Generator, Next, Op, OpSpec, ThreadSet, choose,
        cycle_times, each_thread, flip_flop, from_fn, mix, operations, per_key, phases, repeat,
        reserve, sequence,
        simulate::{Response, simulate},
        sleep,
    },
    history,
    seed::Seed,
};
use proptest::prelude::*;
use rand::Rng;
use serde_json::Value;

const EVENT_LIMIT: usize = 300;

#[derive(Clone, Debug)]
enum Tree {
    Ops(u8),
    Repeat,
    Drawn,
    Sleep(u16),
    Limit(Box<Tree>, u8),
    TimeLimit(Box<Tree>, u16),
    Delay(Box<Tree>, u16),
    Stagger(Box<Tree>, u16),
    Rate(Box<Tree>, u16),
    UntilOk(Box<Tree>),
    ProcessLimit(Box<Tree>, u8),
    Synchronize(Box<Tree>),
    OnThreads(Box<Tree>, u8),
    EachThread(Box<Tree>),
    PerKey(Box<Tree>, u8, Option<u8>),
    Map(Box<Tree>),
    Filter(Box<Tree>),
    FlipFlop(Box<Tree>, Box<Tree>),
    Reserve(Box<Tree>, u8, Box<Tree>),
    Mix(Vec<(u8, Tree)>),
    Any(Vec<Tree>),
    Phases(Vec<Tree>),
    Sequence(Vec<Tree>),
    CycleTimes(Vec<(u16, Tree)>),
}

fn micros(count: u16) -> Duration {
    Duration::from_micros(u64::from(count))
}

fn build(tree: &Tree) -> BoxGenerator {
    let stream = Seed(5).stream(&format!("{tree:?}"));
    match tree {
        Tree::Ops(count) => operations((0..*count).map(|n| OpSpec::new("listed", n))).boxed(),
        Tree::Repeat => repeat(OpSpec::new("same", ())).boxed(),
        Tree::Drawn => from_fn(stream, |rng, n, context| {
            OpSpec::new("drawn", (rng.random_range(0..9_u8), n, context.time_ns))
        })
        .boxed(),
        Tree::Sleep(time) => sleep(micros(*time)).boxed(),
        Tree::Limit(inner, count) => build(inner).limit(u64::from(*count)).boxed(),
        Tree::TimeLimit(inner, time) => build(inner).time_limit(micros(*time)).boxed(),
        Tree::Delay(inner, time) => build(inner).delay(micros(*time)).boxed(),
        Tree::Stagger(inner, time) => build(inner).stagger(micros(*time), stream).boxed(),
        Tree::Rate(inner, rate) => build(inner).rate(f64::from(*rate)).boxed(),
        Tree::UntilOk(inner) => build(inner).until_ok().boxed(),
        Tree::ProcessLimit(inner, count) => build(inner).process_limit(usize::from(*count)).boxed(),
        Tree::Synchronize(inner) => build(inner).synchronize().boxed(),
        Tree::OnThreads(inner, mask) => {
            let mut set = ThreadSet::default();
            (0..8)
                .filter(|bit| mask & (1 << bit) != 0)
                .for_each(|bit| set.insert(bit));
            build(inner).on_threads(set).boxed()
        }
        Tree::EachThread(inner) => {
            let inner = inner.clone();
            each_thread(move |_| build(&inner)).boxed()
        }
        Tree::PerKey(inner, size, count) => {
            // A key of its own so that no endless run of empty keys can come about.
            let inner = (**inner).clone();
            per_key(usize::from(*size), count.map(u64::from), move |_| {
                sequence([OpSpec::new("key", ()).once().boxed(), build(&inner)]).boxed()
            })
            .boxed()
        }
        Tree::Map(inner) => build(inner)
            .map(|spec| OpSpec::new(format!("{}'", spec.f), spec.value))
            .boxed(),
        Tree::Filter(inner) => build(inner)
            .limit(30)
            .filter(|op| op.thread % 3 != 2)
            .boxed(),
        Tree::FlipFlop(a, b) => flip_flop(build(a), build(b)).boxed(),
        Tree::Reserve(a, size, b) => reserve([(usize::from(*size), build(a))], build(b)).boxed(),
        Tree::Mix(all) => mix(
            stream,
            all.iter()
                .map(|(weight, tree)| (u32::from(*weight), build(tree))),
        )
        .boxed(),
        Tree::Any(all) => choose::any(all.iter().map(build)).boxed(),
        Tree::Phases(all) => phases(all.iter().map(build)).boxed(),
        Tree::Sequence(all) => sequence(all.iter().map(build)).boxed(),
        Tree::CycleTimes(all) => {
            cycle_times(all.iter().map(|(time, tree)| (micros(*time), build(tree)))).boxed()
        }
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        (0_u8..6).prop_map(Tree::Ops),
        Just(Tree::Repeat),
        Just(Tree::Drawn),
        (0_u16..3000).prop_map(Tree::Sleep),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let one = inner.clone().prop_map(Box::new);
        let time = 0_u16..5000;
        let many = prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            (one.clone(), 0_u8..20).prop_map(|(tree, n)| Tree::Limit(tree, n)),
            (one.clone(), time.clone()).prop_map(|(tree, t)| Tree::TimeLimit(tree, t)),
            (one.clone(), time.clone()).prop_map(|(tree, t)| Tree::Delay(tree, t)),
            (one.clone(), time.clone()).prop_map(|(tree, t)| Tree::Stagger(tree, t)),
            (one.clone(), 1_u16..5000).prop_map(|(tree, t)| Tree::Rate(tree, t)),
            one.clone().prop_map(Tree::UntilOk),
            (one.clone(), 0_u8..12).prop_map(|(tree, n)| Tree::ProcessLimit(tree, n)),
            one.clone().prop_map(Tree::Synchronize),
            (one.clone(), prop::num::u8::ANY).prop_map(|(tree, mask)| Tree::OnThreads(tree, mask)),
            one.clone().prop_map(Tree::EachThread),
            (one.clone(), 0_u8..4, prop::option::of(0_u8..9))
                .prop_map(|(tree, n, count)| Tree::PerKey(tree, n, count)),
            one.clone().prop_map(Tree::Map),
            one.clone().prop_map(Tree::Filter),
            (one.clone(), one.clone()).prop_map(|(a, b)| Tree::FlipFlop(a, b)),
            (one.clone(), 0_u8..5, one.clone()).prop_map(|(a, n, b)| Tree::Reserve(a, n, b)),
            prop::collection::vec((0_u8..4, inner.clone()), 0..4).prop_map(Tree::Mix),
            many.clone().prop_map(Tree::Any),
            many.clone().prop_map(Tree::Phases),
            many.prop_map(Tree::Sequence),
            prop::collection::vec((time, inner), 0..4).prop_map(Tree::CycleTimes),
        ]
    })
}

fn response(op: &Op, process: u64, seed: u64) -> Response {
    let mut rng = Seed(seed).stream("latency").draw(op.time_ns ^ process);
    Response {
        latency_ns: rng.random_range(0..3_000_000),
        event_type: match rng.random_range(0..10) {
            0 => EventType::Info,
            1 | 2 => EventType::Fail,
            _ => EventType::Ok,
        },
        value: Value::Null,
    }
}

/// Checks what must hold at each asking.
fn inspect(generator: &dyn Generator, context: &Context<'_>, next: &Next, done: &mut bool) {
    assert_eq!(*next, generator.peek(context), "asking has an effect");
    if *done {
        assert_eq!(*next, Next::Done, "done is not final");
    }
    match next {
        Next::Op(op) => {
            assert!(context.free.contains(op.thread), "thread is not free");
            assert!(context.threads.contains(op.thread), "thread is not allowed");
            assert!(op.time_ns >= context.time_ns, "an operation in the past");
        }
        Next::Pending { .. } => {}
        Next::Done => *done = true,
    }
}

/// As if by an interpreter that asks in vain: other contexts in between must change nothing.
fn ask_in_vain(generator: &dyn Generator, context: &Context<'_>) {
    let later = Context {
        time_ns: context.time_ns.saturating_add(1_000_000),
        ..*context
    };
    let none = ThreadSet::default();
    let _ = generator.peek(&later);
    let _ = generator.peek(&Context {
        free: &none,
        ..*context
    });
    let _ = generator.peek(&Context {
        threads: &none,
        ..*context
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn laws_hold(tree in trees(), threads in 1_usize..9, seed in prop::num::u64::ANY) {
        let mut done = false;
        let simulated = simulate(
            &mut build(&tree),
            threads,
            EVENT_LIMIT,
            &mut |op, process| response(op, process, seed),
            &mut |generator, context, next| {
                ask_in_vain(generator, context);
                inspect(generator, context, next, &mut done);
            },
        );
        prop_assert!(simulated.events.windows(2).all(|pair| pair[0].time_ns <= pair[1].time_ns));
        history::pair(simulated.events).unwrap();
    }

    #[test]
    fn advancing_twice_is_advancing_once(tree in trees(), threads in 1_usize..9, seed in prop::num::u64::ANY) {
        let run = |twice: bool| {
            let mut generator: BoxGenerator =
                if twice { Box::new(Twice(build(&tree))) } else { build(&tree) };
            simulate(
                &mut generator,
                threads,
                EVENT_LIMIT,
                &mut |op, process| response(op, process, seed),
                &mut |_, _, _| {},
            )
            .events
        };
        prop_assert_eq!(run(false), run(true));
    }
}

/// Tells of each moment twice.
struct Twice(BoxGenerator);

impl Generator for Twice {
    fn advance(&mut self, context: &Context<'_>) {
        self.0.advance(context);
        self.0.advance(context);
    }
    fn peek(&self, context: &Context<'_>) -> Next {
        self.0.peek(context)
    }
    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        self.0.commit(context, op);
    }
    fn update(&mut self, context: &Context<'_>, thread: usize, event: &harness_core::event::Event) {
        self.0.update(context, thread, event);
    }
}
