//! The panels above the one time axis that show how much: rates, latencies, open operations.

use std::collections::BTreeMap;

use plotters::{
    coord::ranged1d::{Ranged, ValueFormatter},
    prelude::*,
};

use super::{
    PlotError,
    backend::{Ink, Paint},
    chart::{Chart, draw, failed, gutter_ticks, mesh, seconds, short, ticks, time_ticks, top_of},
    hatch::Hatch,
    lanes,
    layer::{self, Panel},
    strip,
};
use crate::{
    model::{
        Model,
        series::{Series, Window},
        tally::Counts,
    },
    number,
};

/// Height of a rate panel.
const RATE_PX: u32 = 96;

/// Height of the latency panel.
const LATENCY_PX: u32 = 220;

/// Open operations that are drawn one by one.
const OPEN_LINES: usize = 64;

/// Distance between two of them.
const OPEN_STEP_PX: u32 = 5;

/// Points that stand for more operations are drawn stronger from here on, and stronger still from there on.
const DENSE: [u32; 2] = [2, 10];

/// A panel with its title and value axis.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its id: `panel-rate`.
    pub id: String,
    /// Its class: `values`, `strip`, `member`.
    pub class: &'static str,
    /// Its title; empty for a row whose gutter says it.
    pub title: &'static str,
    /// One sentence on how to read it.
    pub caption: String,
    /// What stands left of it.
    pub gutter: String,
    /// The panel, or why there is none.
    pub svg: Result<String, PlotError>,
}

/// All panels, from top to bottom.
#[must_use]
pub fn rows(model: &Model, hatches: &[Hatch]) -> Vec<Row> {
    let mut rows = vec![strip::phases(model)];
    rows.extend(lanes::rows(model, hatches));
    rows.push(strip::faults(model, hatches));
    if model.witnesses().next().is_some() {
        rows.push(strip::witnesses(model));
    }
    let behind = backdrop(model, hatches);
    rows.push(rate_ok(model, &behind));
    if model.tally.counts.fail + model.tally.counts.info > 0 {
        rows.push(rate_not_ok(model, &behind));
    }
    rows.push(latency(model, &behind));
    if !model.series.open.is_empty() {
        rows.push(open(model, &behind));
    }
    rows.push(strip::time_axis(model));
    rows
}

/// Bands and marks that lie behind every plot of values.
fn backdrop(model: &Model, hatches: &[Hatch]) -> String {
    let mut svg = String::new();
    for fault in &model.faults.rows {
        svg.push_str(&layer::band(&model.axis, hatches, fault, ("0", "100%")));
    }
    for tick in time_ticks(model) {
        svg.push_str(&layer::line(&model.axis, "grid", tick, "0", "100%"));
    }
    for witness in model.witnesses() {
        // What is about a member is framed in its lane; its span would only redden everything else.
        if model.is_about_a_member(witness) {
            continue;
        }
        let span = (witness.start_ns, witness.end_ns.max(witness.start_ns));
        svg.push_str(&layer::rect(&model.axis, "proof", span, ("0", "100%"), ""));
        svg.push_str(&layer::line(
            &model.axis,
            "proof",
            witness.end_ns,
            "0",
            "100%",
        ));
    }
    svg
}

fn rate_ok(model: &Model, behind: &str) -> Row {
    let rates = rates(model, |counts| counts.ok);
    let top = top_of(&rates);
    let paths = draw(RATE_PX, 0.0..top, model, |chart| {
        mesh(chart, &ticks(top))?;
        let area = AreaSeries::new(rates.clone(), 0.0, Paint::from(Ink::RateOk).style());
        chart.draw_series(area).map_err(failed)?;
        Ok(())
    });
    let mean = model.tally.counts.ok as f64 / seconds(model.axis.end_ns);
    let words = format!(
        "Operations that ended ok, a second: {} on average, {} at most.",
        number::rate(mean),
        number::rate(rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max))
    );
    let caption = format!(
        "a second, in windows of {}",
        number::duration(model.series.window_ns)
    );
    value_row(
        "panel-rate-ok",
        "Operations that ended ok",
        caption,
        words,
        behind,
        (RATE_PX, top),
        paths,
    )
}

fn rate_not_ok(model: &Model, behind: &str) -> Row {
    let fail = rates(model, |counts| counts.fail);
    let info = rates(model, |counts| counts.info);
    let top = top_of(&fail).max(top_of(&info));
    let paths = draw(RATE_PX, 0.0..top, model, |chart| {
        mesh(chart, &ticks(top))?;
        for (rates, ink) in [(&fail, Ink::RateFail), (&info, Ink::RateInfo)] {
            let area = AreaSeries::new(rates.clone(), 0.0, Paint::from(ink).style());
            chart.draw_series(area).map_err(failed)?;
        }
        Ok(())
    });
    let words = format!(
        "Operations that ended fail ({} in all) and info ({} in all), a second.",
        number::count(model.tally.counts.fail),
        number::count(model.tally.counts.info)
    );
    let caption = "a second; its own scale".to_owned();
    value_row(
        "panel-rate-not-ok",
        "Operations that ended fail or info",
        caption,
        words,
        behind,
        (RATE_PX, top),
        paths,
    )
}

fn value_row(
    id: &'static str,
    title: &'static str,
    caption: String,
    words: String,
    behind: &str,
    (height_px, top): (u32, f64),
    paths: Result<String, PlotError>,
) -> Row {
    let marks = ticks(top)
        .into_iter()
        .map(|tick| (1.0 - tick / top, short(tick)))
        .collect::<Vec<_>>();
    let svg = paths.map(|paths| {
        Panel {
            height_px,
            words: Some(words),
            behind: behind.to_owned(),
            paths,
            ..Panel::default()
        }
        .svg()
    });
    Row {
        id: id.to_owned(),
        class: "values",
        title,
        caption,
        gutter: gutter_ticks(&marks, height_px),
        svg,
    }
}

/// The least and the greatest latency that the panel shows, in milliseconds.
#[must_use]
pub fn latency_range_ms(series: &Series) -> (f64, f64) {
    let ms = |ns: u64| ns.max(1) as f64 / number::NS_PER_MS as f64;
    let least = series.points.iter().map(|point| point.latency_ns).min();
    let most = series.points.iter().map(|point| point.latency_ns).max();
    let (low, high) = (
        ms(least.unwrap_or(1_000_000)) * 0.8,
        ms(most.unwrap_or(10_000_000)) * 1.25,
    );
    (low, high.max(low * 10.0))
}

fn latency(model: &Model, behind: &str) -> Row {
    let (low, high) = latency_range_ms(&model.series);
    let decades: Vec<f64> = (-6..9)
        .map(|power| 10_f64.powi(power))
        .filter(|tick| (low..high).contains(tick))
        .collect();
    let paths = draw(LATENCY_PX, (low..high).log_scale(), model, |chart| {
        mesh(chart, &decades)?;
        points(chart, model)?;
        quantiles(chart, model)
    });
    let marks: Vec<_> = decades
        .iter()
        .map(|tick| {
            let share = (high / tick).ln() / (high / low).ln();
            (
                share,
                number::duration((tick * number::NS_PER_MS as f64) as u64)
                    .replace(".00", "")
                    .replace(".0 ", " "),
            )
        })
        .collect();
    let words = match model.tally.latency {
        Some(all) => format!(
            "Latencies of ok operations: half at most {}, 95 of 100 at most {}, 99 of 100 at most {}, the slowest {}.",
            number::duration(all.p50_ns),
            number::duration(all.p95_ns),
            number::duration(all.p99_ns),
            number::duration(all.max_ns)
        ),
        None => "No operation ended ok, so there is no latency.".to_owned(),
    };
    let caption = if model.series.binned {
        "by start, logarithmic; points that would cover each other are one, the slowest and those near a witness are exact"
    } else {
        "by start, logarithmic; every operation is a point"
    };
    let svg = paths.map(|paths| {
        Panel {
            height_px: LATENCY_PX,
            words: Some(words),
            behind: behind.to_owned(),
            paths,
            ..Panel::default()
        }
        .svg()
    });
    Row {
        id: "panel-latency".to_owned(),
        class: "values",
        title: "Latency",
        caption: caption.to_owned(),
        gutter: gutter_ticks(&marks, LATENCY_PX),
        svg,
    }
}

/// Whether they failed, how dense they are, which kind they are.
type Group = (usize, usize, usize);

/// Points, grouped by paint: what is rare is drawn last, on top.
fn points<Y>(chart: &mut Chart<'_, Y>, model: &Model) -> Result<(), PlotError>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let inks = [
        [Ink::PointOk1, Ink::PointOk2, Ink::PointOk3],
        [Ink::PointFail1, Ink::PointFail2, Ink::PointFail3],
    ];
    let density = |count: u32| DENSE.iter().filter(|from| count >= **from).count();
    let mut groups: BTreeMap<Group, Vec<(f64, f64)>> = BTreeMap::new();
    for point in &model.series.points {
        let failed = usize::from(point.outcome != harness_core::history::Outcome::Ok);
        let at = seconds(point.at_ns);
        let ms = point.latency_ns.max(1) as f64 / number::NS_PER_MS as f64;
        groups
            .entry((failed, density(point.count), point.kind))
            .or_default()
            .push((at, ms));
    }
    for ((failed_, density, kind), places) in groups {
        let paint = Paint {
            ink: inks[failed_][density],
            kind: u8::try_from(kind + 1).unwrap_or_default(),
        };
        let dots = places
            .into_iter()
            .map(|place| Circle::new(place, 1, paint.style()));
        chart.draw_series(dots).map_err(failed)?;
    }
    Ok(())
}

/// Takes a quantile of a window.
type Pick = fn(&Window) -> Option<u64>;

/// Lines through the middles of windows; a window without an ok breaks them.
fn quantiles<Y>(chart: &mut Chart<'_, Y>, model: &Model) -> Result<(), PlotError>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let picks: [(Ink, Pick); 3] = [
        (Ink::P50, |window| Some(window.latency?.p50_ns)),
        (Ink::P95, |window| Some(window.latency?.p95_ns)),
        (Ink::P99, |window| Some(window.latency?.p99_ns)),
    ];
    let half = model.series.window_ns / 2;
    for (ink, pick) in picks {
        let values: Vec<Option<(f64, f64)>> = model
            .series
            .windows
            .iter()
            .enumerate()
            .map(|(place, window)| {
                let middle = place as u64 * model.series.window_ns + half;
                let ms = pick(window)?.max(1) as f64 / number::NS_PER_MS as f64;
                Some((seconds(middle.min(model.axis.end_ns)), ms))
            })
            .collect();
        for stretch in values.split(Option::is_none) {
            let line = stretch.iter().copied().flatten();
            let series = LineSeries::new(line, Paint::from(ink).style());
            chart.draw_series(series).map_err(failed)?;
        }
    }
    Ok(())
}

/// Operations that may still take effect, each open to the right end; many of them as a number.
fn open(model: &Model, behind: &str) -> Row {
    let open = &model.series.open;
    let one_by_one = open.len() <= OPEN_LINES;
    let shown = open.len() as f64;
    let height_px = if one_by_one {
        (open.len() as u32 * OPEN_STEP_PX).max(10) + 10
    } else {
        RATE_PX
    };
    let end = seconds(model.axis.end_ns);
    let paths = draw(height_px, 0.0..shown + 1.0, model, |chart| {
        if one_by_one {
            let lines = open.iter().enumerate().map(|(place, operation)| {
                let y = shown - place as f64;
                let paint = Paint {
                    ink: Ink::Open,
                    kind: u8::try_from(operation.kind + 1).unwrap_or_default(),
                };
                PathElement::new([(seconds(operation.at_ns), y), (end, y)], paint.style())
            });
            chart.draw_series(lines).map_err(failed)?;
            return Ok(());
        }
        mesh(chart, &ticks(shown + 1.0))?;
        let area = AreaSeries::new(open_steps(model), 0.0, Paint::from(Ink::OpenCount).style());
        chart.draw_series(area).map_err(failed)?;
        Ok(())
    });
    let words = format!(
        "{} ended info: each may still take effect until the right end.",
        number::counted(open.len() as u64, "operation")
    );
    let caption = if one_by_one {
        "each line begins where the operation was invoked, and nothing bounds its end"
    } else {
        "how many there are by then; nothing bounds their ends"
    };
    let marks = if one_by_one {
        Vec::new()
    } else {
        ticks(shown + 1.0)
            .into_iter()
            .map(|tick| (1.0 - tick / (shown + 1.0), short(tick)))
            .collect()
    };
    let svg = paths.map(|paths| {
        Panel {
            height_px,
            words: Some(words),
            behind: behind.to_owned(),
            paths,
            ..Panel::default()
        }
        .svg()
    });
    Row {
        id: "panel-open".to_owned(),
        class: "values",
        title: "Info: may still take effect",
        caption: caption.to_owned(),
        gutter: gutter_ticks(&marks, height_px),
        svg,
    }
}

/// The number of open operations by window, as steps.
fn open_steps(model: &Model) -> Vec<(f64, f64)> {
    let mut steps = Vec::new();
    let mut begun = model.series.open.iter().peekable();
    let mut count = 0.0;
    for window in 0..model.series.windows.len() as u64 {
        let start = window * model.series.window_ns;
        let end = (start + model.series.window_ns).min(model.axis.end_ns);
        while begun.next_if(|operation| operation.at_ns < end).is_some() {
            count += 1.0;
        }
        steps.extend([(seconds(start), count), (seconds(end), count)]);
    }
    steps
}

/// Rates by window as steps.
fn rates(model: &Model, pick: fn(&Counts) -> u64) -> Vec<(f64, f64)> {
    let series = &model.series;
    let mut steps = Vec::with_capacity(series.windows.len() * 2);
    for (place, window) in series.windows.iter().enumerate() {
        let start = place as u64 * series.window_ns;
        let end = (start + series.window_ns).min(model.axis.end_ns);
        let length = seconds(end.saturating_sub(start)).max(seconds(series.window_ns) / 2.0);
        let rate = pick(&window.counts) as f64 / length;
        steps.extend([(seconds(start), rate), (seconds(end), rate)]);
    }
    steps
}
