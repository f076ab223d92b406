//! The page's data: what its script needs to tell what lies under the pointer. Columns instead of rows, because that is
//! a third of the size.

use std::collections::HashMap;

use harness_core::history::Outcome;
use serde::Serialize;

use crate::{
    model::{
        Model,
        membership::{Membership, lanes::Held},
        series::Window,
    },
    number::{NS_PER_MS, NS_PER_S},
    plot::panel,
};

#[derive(Serialize)]
struct Data<'a> {
    started_wall_ms: u64,
    end_us: u64,
    window_us: u64,
    kinds: Vec<&'a str>,
    faults: Vec<Fault<'a>>,
    rate: Rate,
    quantiles_us: [Vec<Option<u64>>; 3],
    latency_ms: (f64, f64),
    points: Points,
    /// Words of [`Held`], by number.
    held: Vec<&'static str>,
    lanes: Vec<LaneData<'a>>,
    /// Who says what, by number.
    said: Vec<&'a str>,
    led: Vec<(u64, String)>,
}

/// When a stretch begins, what holds from then on, and who says what (from 1; 0 is all).
type Start = (u64, usize, usize);

/// One lane: its sources with the starts of their stretches, and its roles.
#[derive(Serialize)]
struct LaneData<'a> {
    id: &'a str,
    until_us: u64,
    sources: Vec<(&'static str, Vec<Start>)>,
    roles: Vec<(u64, u64, &'static str)>,
}

#[derive(Serialize)]
struct Fault<'a> {
    id: u32,
    label: &'a str,
    from_us: u64,
    to_us: u64,
}

#[derive(Serialize)]
struct Rate {
    ok: Vec<f64>,
    fail: Vec<f64>,
    info: Vec<f64>,
}

/// Columns of equal length: start, latency, 1 if failed, operations, index, process, kind.
#[derive(Default, Serialize)]
struct Points {
    t: Vec<u64>,
    l: Vec<u64>,
    o: Vec<u8>,
    n: Vec<u32>,
    i: Vec<u64>,
    p: Vec<u64>,
    k: Vec<usize>,
}

/// The data as JSON that may stand in a `<script>`: nothing in it ends one.
pub(super) fn encode(model: &Model) -> Result<String, serde_json::Error> {
    let series = &model.series;
    let quantile = |pick: fn(&crate::model::tally::Quantiles) -> u64| {
        let of = |window: &Window| window.latency.as_ref().map(|latency| pick(latency) / 1_000);
        series.windows.iter().map(of).collect()
    };
    let rate = |pick: fn(&Window) -> u64| {
        let per_second = NS_PER_S as f64 / series.window_ns as f64;
        let of = |window: &Window| (pick(window) as f64 * per_second * 100.0).round() / 100.0;
        series.windows.iter().map(of).collect()
    };
    let mut points = Points::default();
    for point in &series.points {
        points.t.push(point.at_ns / 1_000);
        points.l.push(point.latency_ns / 1_000);
        points.o.push(u8::from(point.outcome != Outcome::Ok));
        points.n.push(point.count);
        points.i.push(point.index);
        points.p.push(point.process);
        points.k.push(point.kind);
    }
    let (lanes, said) = model.membership.as_ref().map(lanes).unwrap_or_default();
    let data = Data {
        started_wall_ms: model.axis.started_wall_ns / NS_PER_MS,
        end_us: model.axis.end_ns / 1_000,
        window_us: series.window_ns / 1_000,
        kinds: model
            .tally
            .kinds
            .iter()
            .map(|kind| kind.name.as_str())
            .collect(),
        faults: model
            .faults
            .rows
            .iter()
            .filter_map(|row| {
                let (from, to) = row.in_force(model.axis.end_ns)?;
                Some(Fault {
                    id: row.id,
                    label: &row.label,
                    from_us: from / 1_000,
                    to_us: to / 1_000,
                })
            })
            .collect(),
        rate: Rate {
            ok: rate(|window| window.counts.ok),
            fail: rate(|window| window.counts.fail),
            info: rate(|window| window.counts.info),
        },
        quantiles_us: [
            quantile(|latency| latency.p50_ns),
            quantile(|latency| latency.p95_ns),
            quantile(|latency| latency.p99_ns),
        ],
        latency_ms: panel::latency_range_ms(series),
        points,
        held: HELD.map(Held::words).to_vec(),
        led: model.membership.as_ref().map_or_else(Vec::new, led),
        lanes,
        said,
    };
    Ok(escape_json(&serde_json::to_string(&data)?))
}

/// All that a stripe can say, by number.
const HELD: [Held; 7] = [
    Held::Nowhere,
    Held::Everywhere,
    Held::Pending,
    Held::Unread(Some(true)),
    Held::Unread(Some(false)),
    Held::Unread(None),
    Held::Differ,
];

fn led(membership: &Membership) -> Vec<(u64, String)> {
    let led = membership.led.iter();
    led.map(|stretch| (stretch.from_ns / 1_000, stretch.what.words()))
        .collect()
}

fn lanes(membership: &Membership) -> (Vec<LaneData<'_>>, Vec<&str>) {
    let mut said: Vec<&str> = Vec::new();
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut lanes = Vec::with_capacity(membership.lanes.len());
    for lane in &membership.lanes {
        let mut sources = Vec::new();
        for stripe in &lane.stripes {
            let mut starts = Vec::with_capacity(stripe.stretches.len());
            for stretch in &stripe.stretches {
                let held = HELD.iter().position(|held| *held == stretch.what);
                let who = stretch.words.as_deref().map_or(0, |words| {
                    *numbers.entry(words).or_insert_with(|| {
                        said.push(words);
                        said.len()
                    })
                });
                starts.push((stretch.from_ns / 1_000, held.unwrap_or_default(), who));
            }
            sources.push((stripe.source.as_str(), starts));
        }
        let ends = lane
            .stripes
            .iter()
            .filter_map(|stripe| stripe.stretches.last());
        lanes.push(LaneData {
            id: &lane.anchor,
            until_us: ends.map(|last| last.to_ns).max().unwrap_or_default() / 1_000,
            sources,
            roles: lane
                .roles
                .iter()
                .map(|role| (role.from_ns / 1_000, role.to_ns / 1_000, role.what.words()))
                .collect(),
        });
    }
    (lanes, said)
}

/// In JSON these characters occur inside strings only, where `\u` may stand for them.
fn escape_json(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}
