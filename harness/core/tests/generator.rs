//! Each combinator in a simulated run with a system that answers after a millisecond.

use std::time::Duration;

use harness_core::{
    event::{Event, EventType, Process},
    generator::{
        BoxGenerator, Combine, Op, OpSpec, ThreadSet, any, cycle_times, each_thread, flip_flop,
        from_fn, mix, nothing, operations, per_key, phases, repeat, reserve,
        simulate::{Response, Simulated, simulate},
        sleep,
    },
    seed::Seed,
};
use rand::Rng;
use serde_json::{Value, json};

const MS: u64 = 1_000_000;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn named(f: &str) -> BoxGenerator {
    repeat(OpSpec::new(f, ())).boxed()
}

fn answer(latency_ns: u64, event_type: EventType) -> Response {
    Response {
        latency_ns,
        event_type,
        value: Value::Null,
    }
}

fn run_with(
    generator: impl Combine,
    threads: usize,
    mut respond: impl FnMut(&Op, u64) -> Response,
) -> Simulated {
    let mut generator = generator.boxed();
    let simulated = simulate(
        &mut generator,
        threads,
        4000,
        &mut respond,
        &mut |_, _, _| {},
    );
    assert!(!simulated.stuck, "{:?}", simulated.events.last());
    simulated
}

fn run(generator: impl Combine, threads: usize) -> Vec<Event> {
    let simulated = run_with(generator, threads, |_, _| answer(MS, EventType::Ok));
    assert!(!simulated.cut);
    simulated.events
}

fn invocations(events: &[Event]) -> Vec<&Event> {
    let invoked = |event: &&Event| event.event_type == EventType::Invoke;
    events.iter().filter(invoked).collect()
}

fn names(events: &[Event]) -> String {
    let names: Vec<&str> = invocations(events).iter().map(|event| &*event.f).collect();
    names.join(" ")
}

#[test]
fn operations_and_limits() {
    let listed = operations([OpSpec::new("a", 1), OpSpec::new("b", 2)]);
    assert_eq!(names(&run(listed, 1)), "a b");
    assert_eq!(names(&run(named("a").limit(3), 2)), "a a a");
    assert_eq!(names(&run(named("a").once(), 2)), "a");
    assert_eq!(names(&run(nothing(), 2)), "");
}

#[test]
fn draws_depend_on_stream_and_number_only() {
    let draws = |threads| {
        let generator = from_fn(Seed(1).stream("w"), |rng, n, _| {
            OpSpec::new("a", (n, rng.random::<u32>()))
        });
        let events = run(generator.limit(20), threads);
        let values = invocations(&events);
        values
            .iter()
            .map(|event| event.value.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(draws(1), draws(7));
    assert_eq!(draws(1)[3][0], json!(3));
    assert_ne!(draws(1)[3][1], draws(1)[4][1]);
}

#[test]
fn time_limit_counts_from_its_turn() {
    let events = run(
        phases([
            sleep(ms(10)).boxed(),
            named("a").time_limit(ms(5)).boxed(),
            named("b").once().boxed(),
        ]),
        1,
    );
    assert_eq!(names(&events), "a a a a a b");
    assert_eq!(events[0].time_ns, 10 * MS);
    assert_eq!(events.last().unwrap().time_ns, 16 * MS);
}

#[test]
fn delay_never_comes_sooner_and_rate_makes_up() {
    let times = |events: &[Event]| -> Vec<u64> {
        invocations(events)
            .iter()
            .map(|event| event.time_ns / MS)
            .collect()
    };
    // The system takes 4 ms for the first, 1 ms for the others.
    let slow_first = |generator: BoxGenerator| {
        let mut first = true;
        let respond = move |_: &Op, _| {
            let latency_ms = if std::mem::take(&mut first) { 5 } else { 1 };
            answer(latency_ms * MS, EventType::Ok)
        };
        times(&run_with(generator.limit(5), 1, respond).events)
    };
    assert_eq!(
        slow_first(named("a").delay(ms(2)).boxed()),
        [0, 5, 7, 9, 11]
    );
    assert_eq!(slow_first(named("a").rate(500.0).boxed()), [0, 5, 6, 7, 8]);
}

#[test]
fn stagger_has_its_mean() {
    let count = 1500;
    let stagger = named("a").stagger(ms(2), Seed(3).stream("stagger"));
    let events = run_with(stagger.limit(count), 64, |_, _| answer(MS, EventType::Ok)).events;
    let last_ns = invocations(&events).last().unwrap().time_ns;
    let mean_ns = last_ns / (count - 1);
    assert!((19 * MS / 10..21 * MS / 10).contains(&mean_ns), "{mean_ns}");
}

#[test]
fn mix_keeps_its_weights_and_passes_shares_on() {
    let mixed = mix(
        Seed(9).stream("mix"),
        [(3, named("a")), (1, named("b")), (0, named("c"))],
    );
    let events = run(mixed.limit(1000), 4);
    let count = invocations(&events)
        .iter()
        .filter(|event| &*event.f == "a")
        .count();
    assert!((700..800).contains(&count), "{count}");
    assert_eq!(
        invocations(&events)
            .iter()
            .filter(|event| &*event.f == "c")
            .count(),
        0
    );

    let ends = mix(
        Seed(9).stream("mix"),
        [
            (9, named("a").limit(2).boxed()),
            (1, named("b").limit(9).boxed()),
        ],
    );
    assert_eq!(invocations(&run(ends, 4)).len(), 11);
}

#[test]
fn any_takes_the_soonest_and_turns() {
    let both = any([named("a").limit(2).boxed(), named("b").limit(2).boxed()]);
    assert_eq!(names(&run(both, 1)), "a b a b");
    let late = any([
        named("late").delay(ms(50)).limit(2).boxed(),
        named("b").delay(ms(1)).limit(4).boxed(),
    ]);
    assert_eq!(names(&run(late, 4)), "late b b b b late");
    // A sleeping one may have something sooner than the other's operation.
    let wakes = any([
        named("slow").delay(ms(50)).limit(2).boxed(),
        sleep(ms(3)).then(named("woken").once()).boxed(),
    ]);
    assert_eq!(names(&run(wakes, 4)), "slow woken slow");
}

#[test]
fn phases_wait_for_open_operations_and_then_does_not() {
    let at = |events: &[Event]| events.iter().position(|event| &*event.f == "b").unwrap();
    let open_before = |events: &[Event]| {
        let before = &events[..at(events)];
        2 * invocations(before).len() - before.len()
    };
    let one = || named("a").limit(3).boxed();
    let synchronized = run(phases([one(), named("b").limit(3).boxed()]), 4);
    assert_eq!(open_before(&synchronized), 0);
    let running = run(one().then(named("b").limit(3)), 4);
    assert_eq!(open_before(&running), 3);
}

#[test]
fn reserve_gives_threads_in_order() {
    let events = run(
        reserve(
            [(2, named("a").limit(6).boxed())],
            named("b").limit(9).boxed(),
        ),
        5,
    );
    for event in invocations(&events) {
        let Process::Client(process) = event.process else {
            panic!("a nemesis");
        };
        assert_eq!(&*event.f == "a", process < 2, "{event:?}");
    }
    assert_eq!(invocations(&events).len(), 15);
}

#[test]
fn each_thread_has_its_own() {
    let events = run(
        each_thread(|_| operations([OpSpec::new("read", ())]).boxed()),
        5,
    );
    let mut processes: Vec<Process> = invocations(&events).iter().map(|e| e.process).collect();
    processes.sort();
    assert_eq!(processes, (0..5).map(Process::Client).collect::<Vec<_>>());
}

#[test]
fn on_threads_uses_only_these() {
    let mut set = ThreadSet::default();
    set.insert(3);
    let events = run(named("a").limit(4).on_threads(set), 5);
    assert!(
        events
            .iter()
            .all(|event| event.process == Process::Client(3))
    );
    assert_eq!(invocations(&events).len(), 4);
}

#[test]
fn until_ok_ends_with_its_own_ok() {
    let mut left = 3;
    let simulated = run_with(named("a").until_ok(), 1, |_, _| {
        left -= 1;
        answer(
            MS,
            if left == 0 {
                EventType::Ok
            } else {
                EventType::Fail
            },
        )
    });
    assert_eq!(names(&simulated.events), "a a a");
    // The other's ok does not count.
    let respond = |op: &Op, _| {
        let own = &*op.f == "a";
        answer(MS, if own { EventType::Fail } else { EventType::Ok })
    };
    let both = any([
        named("a").limit(4).until_ok().boxed(),
        named("b").limit(4).boxed(),
    ]);
    assert_eq!(invocations(&run_with(both, 2, respond).events).len(), 8);
}

#[test]
fn flip_flop_alternates_until_one_ends() {
    let flips = flip_flop(named("a"), named("b").limit(2).boxed());
    assert_eq!(names(&run(flips, 3)), "a b a b a");
}

#[test]
fn cycle_times_takes_turns() {
    let cycle = cycle_times([(ms(3), named("a")), (ms(2), named("b"))]);
    assert_eq!(names(&run(cycle.limit(12), 1)), "a a a b b a a a b b a a");
}

#[test]
fn per_key_goes_on_to_the_next_key() {
    let keys = per_key(2, Some(5), |key| named("w").limit(3 + key % 2).boxed());
    let events = run(keys, 5);
    let mut counts = [0_u64; 5];
    let mut groups = [None; 5];
    for event in invocations(&events) {
        let key = usize::try_from(event.value[0].as_u64().unwrap()).unwrap();
        counts[key] += 1;
        let Process::Client(process) = event.process else {
            panic!("a nemesis");
        };
        assert_eq!(
            *groups[key].get_or_insert(process / 2),
            process / 2,
            "two groups on a key"
        );
    }
    assert_eq!(counts, [3, 4, 3, 4, 3]);
}

#[test]
fn process_limit_bounds_retired_processes() {
    let simulated = run_with(named("a").process_limit(7), 2, |_, _| {
        answer(MS, EventType::Info)
    });
    let events = &simulated.events;
    let highest = invocations(events).iter().map(|event| event.process).max();
    assert!(highest <= Some(Process::Client(6)), "{highest:?}");
    assert!(invocations(events).len() >= 6);
}

#[test]
fn map_rewrites_and_filter_leaves_out() {
    let numbers = || from_fn(Seed(0).stream("n"), |_, n, _| OpSpec::new("a", n));
    let mapped = numbers()
        .map(|spec| OpSpec::new("b", json!([spec.value])))
        .limit(2);
    let events = run(mapped, 1);
    assert_eq!(
        (names(&events).as_str(), &events[2].value),
        ("b b", &json!([1]))
    );
    let even = numbers()
        .filter(|op| op.value.as_u64().unwrap().is_multiple_of(2))
        .limit(3);
    let events = run(even, 1);
    let values: Vec<&Value> = invocations(&events)
        .iter()
        .map(|event| &event.value)
        .collect();
    assert_eq!(values, [&json!(0), &json!(2), &json!(4)]);
}
