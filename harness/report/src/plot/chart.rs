//! Drawing with plotters on the time axis, and tick marks of both axes.

use plotters::{
    coord::{
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
        types::RangedCoordf64,
    },
    prelude::*,
};

use super::{
    PlotError,
    backend::{CompactSvg, Ink, Paint},
    escape,
};
use crate::{model::Model, number};

/// Tick marks on a value axis, about.
const TICKS: usize = 4;

/// Tick marks on the time axis, about.
const TIME_TICKS: usize = 8;

pub(super) fn time_ticks(model: &Model) -> Vec<u64> {
    let end = seconds(model.axis.end_ns);
    let coordinate: RangedCoordf64 = (0.0..end).into();
    coordinate
        .key_points(TIME_TICKS)
        .into_iter()
        .filter(|tick| *tick >= 0.0 && *tick < end * 0.985)
        .map(|tick| (tick * number::NS_PER_S as f64).round() as u64)
        .collect()
}

pub(super) type Chart<'a, Y> = ChartContext<'a, CompactSvg, Cartesian2d<RangedCoordf64, Y>>;

/// Draws with plotters on the time axis and that value axis.
pub(super) fn draw<R>(
    height_px: u32,
    values: R,
    model: &Model,
    with: impl FnOnce(&mut Chart<'_, R::CoordDescType>) -> Result<(), PlotError>,
) -> Result<String, PlotError>
where
    R: AsRangedCoord<Value = f64>,
    R::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let drawing = CompactSvg::new(height_px);
    {
        let root = drawing.clone().into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .build_cartesian_2d(0.0..seconds(model.axis.end_ns), values)
            .map_err(failed)?;
        with(&mut chart)?;
        root.present().map_err(failed)?;
    }
    Ok(drawing.into_paths())
}

pub(super) fn mesh<Y>(chart: &mut Chart<'_, Y>, ticks: &[f64]) -> Result<(), PlotError>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let range = chart.x_range();
    let lines = ticks.iter().map(|tick| {
        PathElement::new(
            [(range.start, *tick), (range.end, *tick)],
            Paint::from(Ink::Mesh).style(),
        )
    });
    chart.draw_series(lines).map_err(failed)?;
    Ok(())
}

pub(super) fn failed(error: impl std::fmt::Display) -> PlotError {
    PlotError(error.to_string())
}

pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / number::NS_PER_S as f64
}

pub(super) fn top_of(steps: &[(f64, f64)]) -> f64 {
    let top = steps.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    if top > 0.0 { top * 1.08 } else { 1.0 }
}

pub(super) fn ticks(top: f64) -> Vec<f64> {
    let coordinate: RangedCoordf64 = (0.0..top).into();
    coordinate.key_points(TICKS)
}

/// A tick's value in few characters.
pub(super) fn short(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{}k", plain(value / 1_000.0))
    } else if value >= 1_000.0 {
        number::count(value as u64)
    } else {
        plain(value)
    }
}

/// Up to three decimals, none that are zero.
pub(super) fn plain(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn gutter_words(words: &str, height_px: u32) -> String {
    format!(
        "<svg class=\"gutter\" height=\"{height_px}\" aria-hidden=\"true\"><text x=\"100%\" dx=\"-8\" y=\"15\">{}</text></svg>",
        escape(words)
    )
}

/// Marks by their share of the height, from the top.
pub(super) fn gutter_ticks(marks: &[(f64, String)], height_px: u32) -> String {
    let mut svg = format!("<svg class=\"gutter\" height=\"{height_px}\" aria-hidden=\"true\">");
    for (share, text) in marks {
        let y = (share * f64::from(height_px) + 4.0).clamp(10.0, f64::from(height_px) - 1.0);
        svg.push_str(&format!(
            "<text x=\"100%\" dx=\"-8\" y=\"{y:.0}\">{}</text>",
            escape(text)
        ));
    }
    svg.push_str("</svg>");
    svg
}
