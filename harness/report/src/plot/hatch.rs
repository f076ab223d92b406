//! Hatches of fault kinds: each kind its own pattern as well as its own colour, the same in every report.
//!
//! Colours are those of Okabe and Ito's palette, which stay apart for colour-blind readers
//! (<https://jfly.uni-koeln.de/color/>); their shades for light and dark are in the style sheet, by number.

use super::escape;
use crate::text;

/// Kinds with a fixed look, in the order of the palette.
const FIXED: [&str; 8] = [
    "partition",
    "kill",
    "pause",
    "stop",
    "clock",
    "disk",
    "network",
    "process",
];
/// Number of patterns.
const PATTERNS: usize = 8;

/// How bands of one kind look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hatch {
    /// The kind.
    pub kind: String,
    /// The id of its pattern.
    pub id: String,
    /// The number of its colour in the style sheet: class `hue-N`.
    pub hue: usize,
    /// The number of its pattern.
    pub pattern: usize,
}

/// A look for each kind. Kinds that we do not know take what the known ones leave.
#[must_use]
pub fn hatches(kinds: &[&str]) -> Vec<Hatch> {
    let fixed = |kind: &str| FIXED.iter().position(|known| *known == kind);
    let taken: Vec<_> = kinds.iter().filter_map(|kind| fixed(kind)).collect();
    let mut free = (0..PATTERNS).filter(|place| !taken.contains(place)).cycle();
    let mut anchors = text::Anchors::default();
    kinds
        .iter()
        .map(|kind| {
            let place = fixed(kind).or_else(|| free.next()).unwrap_or_default();
            Hatch {
                kind: (*kind).to_owned(),
                id: anchors.claim(&format!("hatch-{}", text::slug(kind))),
                hue: place,
                pattern: place,
            }
        })
        .collect()
}

/// The lines of a pattern in a tile of 8 by 8 pixels.
fn strokes(pattern: usize) -> &'static str {
    match pattern {
        0 => "M-2 2L2-2M0 8L8 0M6 10L10 6",
        1 => "M0 0L8 8M8 0L0 8",
        2 => "M2 0V8M6 0V8",
        3 => "M0 2H8M0 6H8",
        4 => "M-2 6L2 10M0 0L8 8M6-2L10 2",
        5 => "M2 2h.01M6 6h.01",
        6 => "M0 4H8M4 0V8",
        _ => "M0 6L4 2L8 6",
    }
}

/// An SVG without size that defines all patterns; bands refer to it from everywhere on the page.
#[must_use]
pub fn definitions(hatches: &[Hatch]) -> String {
    let mut svg = String::from(
        "<svg class=\"defs\" width=\"0\" height=\"0\" aria-hidden=\"true\" focusable=\"false\"><defs>",
    );
    for hatch in hatches {
        svg.push_str(&format!(
            "<pattern id=\"{}\" class=\"hue-{}\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">\
             <rect class=\"hatch-ground\" width=\"8\" height=\"8\"/><path class=\"hatch-line p{}\" d=\"{}\"/></pattern>",
            escape(&hatch.id),
            hatch.hue,
            hatch.pattern,
            strokes(hatch.pattern),
        ));
    }
    svg.push_str("</defs></svg>");
    svg
}
