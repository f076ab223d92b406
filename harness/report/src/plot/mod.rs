//! Plots as inline SVG: themed by the page's style sheet, readable without a script, small.
//!
//! Plotters maps values to coordinates and draws series; [`backend`] writes what it draws. A plot's geometry stretches
//! to the width it is given (`preserveAspectRatio="none"` with strokes that do not scale), while text, bands and
//! marks are placed in per cent and keep their shape: so one drawing serves 390 and 2,560 pixels, and a script
//! zooms by changing one view box and those per cents.

pub mod backend;
mod chart;
pub mod hatch;
pub mod lanes;
pub mod layer;
pub mod panel;
mod strip;
pub mod timeline;

/// A plot that could not be drawn. It leaves a sentence in its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("draw the plot: {0}")]
pub struct PlotError(pub String);

/// Text that is safe between tags and in quoted attributes of SVG and HTML.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
