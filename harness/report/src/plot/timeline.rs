//! A witness as a small timeline: one lane a process, one box an operation, an arrow with words for each reason.
//!
//! Laws:
//! - order and overlap are true: an end before a start is drawn left of it; long waits are shortened, and the
//!   caption says so;
//! - a box is as wide as its words, so that nothing covers anything; lanes grow wide instead, and scroll;
//! - an arrow's words lie in a row of their own between lanes.

use std::collections::BTreeMap;

use super::{escape, hatch::Hatch, layer};
use crate::{
    model::{
        fault::FaultRow,
        witness::{Reason, Shown, WitnessView},
    },
    number, text,
};

/// Width of a character of the boxes' font.
const CHARACTER_PX: f64 = 6.9;
/// Where lanes begin.
const LEFT_PX: f64 = 132.0;
/// Height of a box.
const BOX_PX: f64 = 24.0;
/// Height of a row of words between lanes.
const WORDS_PX: f64 = 20.0;
/// Between a lane and what is above and below.
const PAD_PX: f64 = 9.0;
/// Height of the strip of faults.
const STRIP_PX: f64 = 18.0;
/// Height of the strip of times.
const TIMES_PX: f64 = 22.0;
/// Distance of two events, at least and at most, unless a box needs more.
const STEP_PX: (f64, f64) = (12.0, 64.0);
/// Room between two boxes of one lane.
const BETWEEN_PX: f64 = 8.0;
/// How far an open box goes beyond its words.
const OPEN_PX: f64 = 56.0;
/// Words on an arrow, in characters; the list below has all.
const WORDS_CHARS: usize = 72;
/// Between a stroke and words right of it.
const BESIDE_PX: f64 = 7.0;
/// Room that a time takes.
const TIME_PX: f64 = 66.0;
/// Faults in the strip.
const STRIP_FAULTS: usize = 4;

/// A start or an end, and its turn among those of the same time: starts come first (0), then ends (1), because intervals are closed. But
/// one process does one thing after the other: what it begins where it ended something comes behind that end (2, 3 and so on).
type Moment = (u64, u32);

/// When an operation starts and ends.
type Span = (Moment, Option<Moment>);

/// Where everything is.
struct Layout<'a> {
    witness: &'a WitnessView,
    spans: BTreeMap<u64, Span>,
    x: BTreeMap<Moment, f64>,
    lane_y: Vec<f64>,
    /// Row of words by reason, from its number.
    words_y: Vec<f64>,
    width: f64,
    height: f64,
}

/// The timeline as inline SVG.
#[must_use]
pub fn svg(witness: &WitnessView, faults: &[FaultRow], hatches: &[Hatch]) -> String {
    let layout = Layout::new(witness);
    let mut svg = format!(
        "<svg class=\"timeline\" width=\"{w:.0}\" height=\"{h:.0}\" viewBox=\"0 0 {w:.0} {h:.0}\" role=\"img\" aria-label=\"{}\">",
        escape(&format!(
            "Timeline of witness {}: {} The operations are listed below it.",
            witness.number, witness.story
        )),
        w = layout.width,
        h = layout.height,
    );
    svg.push_str(&layout.strip(faults, hatches));
    svg.push_str(&layout.lanes());
    for reason in &witness.reasons {
        svg.push_str(&layout.arrow(reason));
    }
    for shown in &witness.operations {
        svg.push_str(&layout.operation(shown));
    }
    for reason in &witness.reasons {
        svg.push_str(&layout.words(reason));
    }
    svg.push_str(&layout.times());
    svg.push_str("</svg>");
    svg
}

fn words_width(words: &str) -> f64 {
    words.chars().count() as f64 * CHARACTER_PX
}

impl<'a> Layout<'a> {
    fn new(witness: &'a WitnessView) -> Self {
        let spans = spans(witness);
        let (x, mut width) = columns(witness, &spans);
        let lanes = witness.lanes.len().max(1);
        let mut rows = vec![0_usize; lanes];
        let lane_of = |index: u64| {
            let found = witness.operations.iter().find(|shown| shown.index == index);
            found.map_or(0, |shown| shown.lane)
        };
        let slots: Vec<(usize, usize)> = witness
            .reasons
            .iter()
            .map(|reason| {
                let upper = lane_of(reason.from).min(lane_of(reason.to));
                rows[upper] += 1;
                (upper, rows[upper] - 1)
            })
            .collect();
        let mut lane_y = Vec::with_capacity(lanes);
        let mut y = STRIP_PX + PAD_PX;
        for count in &rows {
            lane_y.push(y);
            y += BOX_PX + PAD_PX + *count as f64 * WORDS_PX + PAD_PX;
        }
        let words_y = slots
            .into_iter()
            .map(|(lane, row)| lane_y[lane] + BOX_PX + PAD_PX + (row as f64 + 0.85) * WORDS_PX)
            .collect();
        let mut layout = Self {
            witness,
            spans,
            x,
            lane_y,
            words_y,
            width,
            height: y + TIMES_PX,
        };
        for reason in &witness.reasons {
            width = width.max(layout.words_at(reason).0 + words_width(&arrow_words(reason)) + 30.0);
        }
        layout.width = width;
        layout
    }

    fn find(&self, index: u64) -> Option<&'a Shown> {
        self.witness
            .operations
            .iter()
            .find(|shown| shown.index == index)
    }

    fn x_at(&self, moment: Moment) -> Option<f64> {
        self.x.get(&moment).copied()
    }

    fn start_x(&self, shown: &Shown) -> f64 {
        let span = self.spans.get(&shown.index);
        span.and_then(|(start, _)| self.x_at(*start))
            .unwrap_or(LEFT_PX)
    }

    fn end_x(&self, shown: &Shown) -> f64 {
        match self.spans.get(&shown.index) {
            Some((_, Some(end))) => self.x_at(*end).unwrap_or(self.width),
            _ => self.width - 6.0,
        }
    }

    /// Where an arrow leaves or meets a box.
    fn anchor_x(&self, shown: &Shown, towards_end: bool) -> f64 {
        let (start, end) = (self.start_x(shown), self.end_x(shown));
        let inset = ((end - start) / 3.0).min(24.0);
        if towards_end && shown.end_ns.is_some() {
            end - inset
        } else {
            start + inset
        }
    }

    /// A moment between two events, in proportion.
    fn x_of(&self, at_ns: u64) -> f64 {
        let before = self.x.range(..=(at_ns, u32::MAX)).next_back();
        let after = self.x.range((at_ns, u32::MAX)..).next();
        match (before, after) {
            (Some(((from, _), x)), Some(((to, _), next))) if to > from => {
                x + (next - x) * ((at_ns - from) as f64 / (to - from) as f64)
            }
            (Some((_, x)), _) => *x,
            (None, Some((_, x))) => *x,
            (None, None) => LEFT_PX,
        }
    }

    fn strip(&self, faults: &[FaultRow], hatches: &[Hatch]) -> String {
        let (Some(((first, _), _)), Some(((last, _), _))) =
            (self.x.first_key_value(), self.x.last_key_value())
        else {
            return String::new();
        };
        let mut svg = String::new();
        let in_force = faults.iter().filter_map(|fault| {
            let (from, to) = fault.in_force(u64::MAX)?;
            (from <= *last && to >= *first).then_some((fault, from, to))
        });
        for (place, (fault, from, to)) in in_force.take(STRIP_FAULTS).enumerate() {
            let left = if from <= *first {
                LEFT_PX
            } else {
                self.x_of(from)
            };
            let right = if to >= *last {
                self.width
            } else {
                self.x_of(to)
            };
            let width = (right - left).max(2.0);
            svg.push_str(&format!(
                "<rect class=\"band hue-{}\" x=\"{left:.1}\" y=\"0\" width=\"{width:.1}\" height=\"{:.1}\"{}/>",
                layer::hue_of(hatches, &fault.kind),
                self.height - TIMES_PX,
                layer::fill_of(hatches, &fault.kind),
            ));
            if place == 0 {
                let limit = (width / CHARACTER_PX) as usize;
                let words = text::clip(
                    &format!("fault {}: {}", fault.id, fault.label),
                    limit.max(8),
                );
                svg.push_str(&format!(
                    "<a href=\"#{}\"><text class=\"row-label halo\" x=\"{:.1}\" y=\"13\">{}</text></a>",
                    escape(&fault.anchor),
                    left + 4.0,
                    escape(&words)
                ));
            }
        }
        svg
    }

    fn lanes(&self) -> String {
        let mut svg = String::new();
        for (name, y) in self.witness.lanes.iter().zip(&self.lane_y) {
            let middle = y + BOX_PX / 2.0;
            svg.push_str(&format!(
                "<line class=\"lane\" x1=\"{LEFT_PX}\" x2=\"{:.0}\" y1=\"{middle}\" y2=\"{middle}\"/>\
                 <text class=\"lane-name\" x=\"{}\" y=\"{}\">{}</text>",
                self.width,
                LEFT_PX - 10.0,
                middle + 4.0,
                escape(&text::clip(name, 18))
            ));
        }
        svg
    }

    fn operation(&self, shown: &Shown) -> String {
        let (x, y) = (self.start_x(shown), self.lane_y[shown.lane]);
        let width = (self.end_x(shown) - x).max(2.0);
        let mut class = format!("op {}", shown.outcome.as_str());
        if shown.culprit {
            class.push_str(" culprit");
        }
        if shown.neighbour {
            class.push_str(" beside");
        }
        let shape = if shown.end_ns.is_some() {
            format!(
                "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BOX_PX}\" rx=\"3\"/>"
            )
        } else {
            // Without a right side: nothing bounds its end.
            format!(
                "<path d=\"M{right:.1} {y}H{x:.1}V{bottom}H{right:.1}\"/>\
                 <path class=\"tip\" d=\"M{tip:.1} {up}l7 5l-7 5\"/>",
                right = x + width,
                bottom = y + BOX_PX,
                tip = x + width - 9.0,
                up = y + BOX_PX / 2.0 - 5.0,
            )
        };
        let mark = if shown.culprit { "✗ " } else { "" };
        format!(
            "<a href=\"#op-{}\" class=\"{class}\">{shape}<text x=\"{:.1}\" y=\"{}\">{mark}{}</text></a>",
            shown.index,
            x + 6.0,
            y + BOX_PX / 2.0 + 4.0,
            escape(&shown.label)
        )
    }

    /// Where an arrow leaves a box, and where it meets one.
    fn ends(&self, reason: &Reason) -> Option<[(f64, f64); 2]> {
        let (from, to) = (self.find(reason.from)?, self.find(reason.to)?);
        let row = self.words_y[reason.number - 1];
        let side = |shown: &Shown| {
            let top = self.lane_y[shown.lane];
            if row > top { top + BOX_PX } else { top }
        };
        Some([
            (self.anchor_x(from, true), side(from)),
            (self.anchor_x(to, false), side(to)),
        ])
    }

    fn arrow(&self, reason: &Reason) -> String {
        let Some([(x1, y1), (x2, y2)]) = self.ends(reason) else {
            return String::new();
        };
        let row = self.words_y[reason.number - 1];
        let head = if row > y2 { 6.0 } else { -6.0 };
        format!(
            "<path class=\"arrow\" d=\"M{x1:.1} {y1}V{row}H{x2:.1}V{y2}\"/>\
             <path class=\"head\" d=\"M{:.1} {h}L{x2:.1} {y2}L{:.1} {h}z\"/>",
            x2 - 4.0,
            x2 + 4.0,
            h = y2 + head,
        )
    }

    /// Upright strokes of an arrow: where, and from which height to which.
    fn strokes(&self, reason: &Reason) -> Option<[(f64, f64, f64); 2]> {
        let row = self.words_y[reason.number - 1];
        let ends = self.ends(reason)?;
        Some(ends.map(|(x, side)| (x, side.min(row), side.max(row))))
    }

    /// Right of the stroke that comes from above, and of whatever else would run through the words.
    fn words_at(&self, reason: &Reason) -> (f64, f64) {
        let x = match (self.find(reason.from), self.find(reason.to)) {
            (Some(from), Some(to)) => {
                let (x1, x2) = (self.anchor_x(from, true), self.anchor_x(to, false));
                match from.lane.cmp(&to.lane) {
                    std::cmp::Ordering::Less => x1,
                    std::cmp::Ordering::Greater => x2,
                    std::cmp::Ordering::Equal => x1.max(x2),
                }
            }
            _ => LEFT_PX,
        };
        let y = self
            .words_y
            .get(reason.number - 1)
            .copied()
            .unwrap_or_default();
        let width = words_width(&arrow_words(reason));
        let mut strokes: Vec<f64> = self
            .witness
            .reasons
            .iter()
            .filter_map(|other| self.strokes(other))
            .flatten()
            .filter(|(_, top, bottom)| *top < y - 1.0 && *bottom > y - WORDS_PX)
            .map(|(at, _, _)| at)
            .collect();
        strokes.sort_by(f64::total_cmp);
        let mut x = x + BESIDE_PX;
        for stroke in strokes {
            if stroke > x - BESIDE_PX && stroke < x + width {
                x = stroke + BESIDE_PX;
            }
        }
        (x, y)
    }

    fn words(&self, reason: &Reason) -> String {
        let (x, y) = self.words_at(reason);
        format!(
            "<text class=\"words halo\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            y - 4.0,
            escape(&arrow_words(reason))
        )
    }

    /// Those of these moments whose times have room beside each other, with so many decimals; the first come first.
    fn with_room(&self, moments: &[Moment], decimals: usize) -> Vec<(u64, f64)> {
        let mut taken: Vec<(u64, f64)> = Vec::new();
        for moment in moments {
            let Some(x) = self.x_at(*moment) else {
                continue;
            };
            let room = words_width(&number::instant_to(moment.0, decimals)).max(TIME_PX);
            if taken.iter().all(|(_, other)| (other - x).abs() >= room) {
                taken.push((moment.0, x));
            }
        }
        taken
    }

    /// Times below, as many as have room; those of the witness' own operations first.
    fn times(&self) -> String {
        let own: Vec<Moment> = self
            .witness
            .operations
            .iter()
            .filter(|shown| !shown.neighbour)
            .filter_map(|shown| self.spans.get(&shown.index))
            .flat_map(|(start, end)| std::iter::once(*start).chain(*end))
            .collect();
        let bottom = self.height - TIMES_PX;
        // More digits need more room, which leaves fewer times to tell apart.
        let (mut decimals, mut taken) = (0, self.with_room(&own, 0));
        loop {
            let times: Vec<u64> = taken.iter().map(|(time, _)| *time).collect();
            let needed = number::decimals_apart(&times);
            if needed <= decimals {
                break;
            }
            decimals = needed;
            taken = self.with_room(&own, decimals);
        }
        let mut svg = String::new();
        for (time, x) in taken {
            svg.push_str(&format!(
                "<line class=\"guide\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{STRIP_PX}\" y2=\"{}\"/>\
                 <text class=\"tick-label\" x=\"{x:.1}\" y=\"{}\">{}</text>",
                bottom + 4.0,
                bottom + 17.0,
                number::instant_to(time, decimals)
            ));
        }
        svg
    }
}

fn arrow_words(reason: &Reason) -> String {
    format!(
        "{}. {}",
        reason.number,
        text::clip(&reason.words, WORDS_CHARS)
    )
}

/// When each operation starts and ends, by index.
fn spans(witness: &WitnessView) -> BTreeMap<u64, Span> {
    let mut shown: Vec<&Shown> = witness.operations.iter().collect();
    shown.sort_by_key(|shown| shown.index);
    let mut last: Vec<Option<Moment>> = vec![None; witness.lanes.len().max(1)];
    shown
        .into_iter()
        .map(|shown| {
            let behind = last[shown.lane].filter(|(time, _)| *time == shown.start_ns);
            let start = (shown.start_ns, behind.map_or(0, |(_, turn)| turn + 1));
            let end = shown.end_ns.map(|end| match end == shown.start_ns {
                true => (end, start.1 + 1),
                false => (end, 1),
            });
            last[shown.lane] = end;
            (shown.index, (start, end))
        })
        .collect()
}

/// The place of each start and end, from left to right, and the width that they need.
fn columns(witness: &WitnessView, spans: &BTreeMap<u64, Span>) -> (BTreeMap<Moment, f64>, f64) {
    let mut moments: BTreeMap<Moment, Vec<(&Shown, Span)>> = BTreeMap::new();
    for shown in &witness.operations {
        let Some(span) = spans.get(&shown.index) else {
            continue;
        };
        for moment in std::iter::once(span.0).chain(span.1) {
            moments.entry(moment).or_default().push((shown, *span));
        }
    }
    let times: Vec<u64> = moments.keys().map(|(time, _)| *time).collect();
    let shortest = times
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .filter(|step| *step > 0)
        .min()
        .unwrap_or(1);
    let mut places: BTreeMap<Moment, f64> = BTreeMap::new();
    let mut lane_free = vec![LEFT_PX; witness.lanes.len().max(1)];
    let mut width = LEFT_PX + TIME_PX;
    let mut previous: Option<(u64, f64)> = None;
    for (moment, concerned) in &moments {
        let mut x = match previous {
            None => LEFT_PX + 4.0,
            Some((time, x)) => {
                let waited = (moment.0 - time) as f64 / shortest as f64;
                x + (STEP_PX.0 + 6.0 * (1.0 + waited).log2()).min(STEP_PX.1)
            }
        };
        for (shown, (start, _)) in concerned {
            let words = words_width(&shown.label) + if shown.culprit { 26.0 } else { 12.0 };
            if moment != start {
                let start = places.get(start).copied().unwrap_or(x);
                x = x.max(start + words);
            } else {
                x = x.max(lane_free[shown.lane] + BETWEEN_PX);
                if shown.end_ns.is_none() {
                    width = width.max(x + words + OPEN_PX);
                }
            }
        }
        for (shown, _) in concerned {
            lane_free[shown.lane] = lane_free[shown.lane].max(x);
        }
        places.insert(*moment, x);
        previous = Some((moment.0, x));
        width = width.max(x + TIME_PX / 2.0);
    }
    // An open box begun early must still go beyond everything that comes later.
    for shown in witness
        .operations
        .iter()
        .filter(|shown| shown.end_ns.is_none())
    {
        let span = spans.get(&shown.index);
        let start = span
            .and_then(|(start, _)| places.get(start).copied())
            .unwrap_or(LEFT_PX);
        width = width.max(start + words_width(&shown.label) + OPEN_PX);
    }
    (places, width + 8.0)
}

#[cfg(test)]
mod tests {
    use harness_core::history::Outcome;

    use super::*;

    fn shown(index: u64, lane: usize, start_ns: u64, end_ns: u64) -> Shown {
        Shown {
            index,
            lane,
            label: format!("append {index} to a long list"),
            start_ns,
            end_ns: Some(end_ns),
            outcome: Outcome::Ok,
            culprit: index == 2,
            neighbour: false,
        }
    }

    fn witness(operations: Vec<Shown>) -> WitnessView {
        WitnessView {
            anchor: "witness-1".to_owned(),
            number: 1,
            kind: "G-single".to_owned(),
            term: None,
            title: String::new(),
            story: String::new(),
            explanation: None,
            around: None,
            start_ns: 0,
            end_ns: 9,
            nodes: Vec::new(),
            lanes: vec!["process 0".to_owned(), "process 1".to_owned()],
            operations,
            reasons: Vec::new(),
            left_out: 0,
        }
    }

    #[test]
    fn boxes_of_a_lane_never_overlap_however_close_their_times() {
        // A clock of milliseconds: one ends where the next begins, or takes no time at all.
        let operations = vec![
            shown(0, 0, 1_000_000, 2_000_000),
            shown(1, 1, 2_000_000, 2_000_000),
            shown(2, 0, 2_000_000, 2_000_000),
            shown(3, 0, 2_000_000, 2_000_000),
            shown(4, 1, 2_000_000, 3_000_000),
            shown(5, 0, 2_000_000, 3_000_000),
        ];
        let witness = witness(operations);
        let layout = Layout::new(&witness);
        let mut free = [0.0; 2];
        for shown in &witness.operations {
            let (start, end) = (layout.start_x(shown), layout.end_x(shown));
            assert!(start >= free[shown.lane] + BETWEEN_PX, "{}", shown.index);
            assert!(end >= start + words_width(&shown.label), "{}", shown.index);
            free[shown.lane] = end;
        }
        // What another process began before it had ended still overlaps it.
        let [first, beside, ..] = &witness.operations[..] else {
            return;
        };
        assert!(layout.start_x(beside) < layout.end_x(first));
    }

    #[test]
    fn times_have_room_for_all_their_digits() {
        let hour_ns = 3_600_000_000_000;
        let operations = (0..6)
            .map(|index| {
                shown(
                    index,
                    (index % 2) as usize,
                    hour_ns + index,
                    hour_ns + 900 * index + 1,
                )
            })
            .collect();
        let witness = witness(operations);
        let layout = Layout::new(&witness);
        let times = layout.times();
        let texts: Vec<(f64, &str)> = times
            .split("<text class=\"tick-label\" x=\"")
            .skip(1)
            .filter_map(|text| {
                let (x, rest) = text.split_once('"')?;
                let words = rest.split_once('>')?.1.split_once('<')?.0;
                Some((x.parse().ok()?, words))
            })
            .collect();
        assert!(texts.len() > 1, "{times}");
        for (place, (x, words)) in texts.iter().enumerate() {
            for (other, _) in &texts[..place] {
                assert!((x - other).abs() >= words_width(words), "{times}");
            }
        }
    }
}
