//! What lies behind and above a panel's geometry, placed in per cent of the time axis: bands, marks and text.
//!
//! Each element carries its times in `data-a` and `data-b` (microseconds since the run began), by which the script places it
//! again when the reader zooms.

use std::fmt::Write as _;

use super::{
    backend::{X_UNITS, Y_UNITS_PER_PX},
    escape,
    hatch::Hatch,
};
use crate::model::{
    axis::Axis,
    fault::{FaultRow, State},
};

/// Microseconds of nanoseconds.
fn us(ns: u64) -> u64 {
    ns / 1_000
}

/// A place on the axis, in per cent.
#[must_use]
pub fn percent(axis: &Axis, at_ns: u64) -> String {
    let text = format!("{:.3}", axis.share(at_ns) * 100.0);
    let short = text.trim_end_matches('0').trim_end_matches('.');
    format!("{short}%")
}

/// A rectangle from one time to another.
#[must_use]
pub fn rect(
    axis: &Axis,
    class: &str,
    (a_ns, b_ns): (u64, u64),
    (y, height): (&str, &str),
    more: &str,
) -> String {
    let width = (axis.share(b_ns) - axis.share(a_ns)).max(0.0) * 100.0;
    format!(
        "<rect class=\"{class}\" data-a=\"{}\" data-b=\"{}\" x=\"{}\" y=\"{y}\" width=\"{width:.3}%\" height=\"{height}\"{more}/>",
        us(a_ns),
        us(b_ns),
        percent(axis, a_ns),
    )
}

/// A vertical line at a time.
#[must_use]
pub fn line(axis: &Axis, class: &str, at_ns: u64, y1: &str, y2: &str) -> String {
    let x = percent(axis, at_ns);
    format!(
        "<line class=\"{class}\" data-a=\"{}\" x1=\"{x}\" x2=\"{x}\" y1=\"{y1}\" y2=\"{y2}\"/>",
        us(at_ns)
    )
}

/// Text that begins at a time.
#[must_use]
pub fn label(axis: &Axis, class: &str, at_ns: u64, y: u32, dx: i32, text: &str) -> String {
    format!(
        "<text class=\"{class}\" data-a=\"{}\" x=\"{}\" y=\"{y}\" dx=\"{dx}\">{}</text>",
        us(at_ns),
        percent(axis, at_ns),
        escape(text)
    )
}

/// Text that begins at a time, of something that lasts to another: it stays in sight while that is, however far the reader
/// zooms in.
#[must_use]
pub fn lasting_label(
    axis: &Axis,
    class: &str,
    (a_ns, b_ns): (u64, u64),
    (y, dx): (u32, i32),
    text: &str,
) -> String {
    format!(
        "<text class=\"{class}\" data-a=\"{}\" data-b=\"{}\" x=\"{}\" y=\"{y}\" dx=\"{dx}\">{}</text>",
        us(a_ns),
        us(b_ns),
        percent(axis, a_ns),
        escape(text)
    )
}

/// The hatch of a kind, as an attribute.
#[must_use]
pub fn fill_of(hatches: &[Hatch], kind: &str) -> String {
    hatches
        .iter()
        .find(|hatch| hatch.kind == kind)
        .map_or_else(String::new, |hatch| {
            format!(" fill=\"url(#{})\"", escape(&hatch.id))
        })
}

/// The colour class of a kind.
#[must_use]
pub fn hue_of(hatches: &[Hatch], kind: &str) -> usize {
    hatches
        .iter()
        .find(|hatch| hatch.kind == kind)
        .map_or(0, |hatch| hatch.hue)
}

/// One fault's band: hatched while it was seen to hold, plain while it was only asked for (or only its healing was),
/// an empty box if it was never seen.
#[must_use]
pub fn band(axis: &Axis, hatches: &[Hatch], fault: &FaultRow, y: (&str, &str)) -> String {
    let hue = hue_of(hatches, &fault.kind);
    let mut svg = String::new();
    let end = fault.healed_ns.unwrap_or(axis.end_ns);
    match (fault.asked_ns, fault.observed_ns) {
        (asked, Some(observed)) => {
            if let Some(asked) = asked.filter(|asked| *asked < observed) {
                svg.push_str(&rect(
                    axis,
                    &format!("asked hue-{hue}"),
                    (asked, observed),
                    y,
                    "",
                ));
            }
            let until = fault
                .heal_asked_ns
                .unwrap_or(end)
                .clamp(observed, end.max(observed));
            let class = if fault.state == State::SelfHealed {
                "band self"
            } else {
                "band"
            };
            svg.push_str(&rect(
                axis,
                &format!("{class} hue-{hue}"),
                (observed, until),
                y,
                &fill_of(hatches, &fault.kind),
            ));
            if until < end {
                svg.push_str(&rect(
                    axis,
                    &format!("asked hue-{hue}"),
                    (until, end),
                    y,
                    "",
                ));
            }
        }
        (Some(asked), None) => {
            svg.push_str(&rect(
                axis,
                &format!("unseen hue-{hue}"),
                (asked, end),
                y,
                "",
            ));
        }
        (None, None) => {}
    }
    svg
}

/// A panel: what lies behind, the geometry that stretches, what lies above.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    /// Its height.
    pub height_px: u32,
    /// What it says to those who do not see it; None if its parts speak for themselves.
    pub words: Option<String>,
    /// Whether there are links in it, which one who does not see it must reach.
    pub links: bool,
    /// Drawn first.
    pub behind: String,
    /// Plotters' paths.
    pub paths: String,
    /// Drawn last.
    pub above: String,
}

impl Panel {
    /// The panel as inline SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        let height = self.height_px;
        let mut svg = match &self.words {
            Some(words) => format!(
                "<svg class=\"panel\" height=\"{height}\" role=\"{}\" aria-label=\"{}\">",
                if self.links { "group" } else { "img" },
                escape(words)
            ),
            None => format!("<svg class=\"panel\" height=\"{height}\" role=\"group\">"),
        };
        svg.push_str(&self.behind);
        if !self.paths.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(
                svg,
                "<svg class=\"geo\" width=\"100%\" height=\"{height}\" viewBox=\"0 0 {X_UNITS} {}\" preserveAspectRatio=\"none\">{}</svg>",
                height * Y_UNITS_PER_PX,
                self.paths
            );
        }
        svg.push_str(&self.above);
        svg.push_str("</svg>");
        svg
    }
}
