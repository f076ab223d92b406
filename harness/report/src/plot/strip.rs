//! The strips of the time axis that show when, not how much: phases, faults, witnesses, and the axis itself.

use super::{
    PlotError,
    chart::{gutter_words, plain, seconds, time_ticks},
    escape,
    hatch::Hatch,
    layer::{self, Panel},
    panel::Row,
};
use crate::{
    model::{Model, fault::FaultRow, membership::Membership},
    number,
};

/// Height of a row of phases, faults or witnesses.
const ROW_PX: u32 = 22;

/// Rows of faults, at most; later ones share the last.
const FAULT_ROWS: usize = 8;

/// Width of the page for which labels of bands are laid out, in pixels, and of one character.
const REFERENCE_PX: f64 = 900.0;

const CHARACTER_PX: f64 = 6.6;

/// Stretches of leaders that are told in words.
const LEADERS_TOLD: usize = 32;

pub(super) fn phases(model: &Model) -> Row {
    let mut panel = Panel {
        height_px: ROW_PX,
        ..Panel::default()
    };
    let mut said = Vec::new();
    let mut free_px = 0.0;
    for (place, phase) in model.axis.phases.iter().enumerate() {
        let start = phase.start_ns.max(0).unsigned_abs();
        let end = phase
            .end_ns
            .map_or(model.axis.end_ns, |end| end.max(0).unsigned_abs())
            .min(model.axis.end_ns);
        if end <= start {
            continue;
        }
        let class = if place % 2 == 0 {
            "phase even"
        } else {
            "phase odd"
        };
        panel.behind.push_str(&layer::rect(
            &model.axis,
            class,
            (start, end),
            ("2", "18"),
            "",
        ));
        let at_px = model.axis.share(start) * REFERENCE_PX;
        if at_px >= free_px && model.axis.share(end) * REFERENCE_PX - at_px > CHARACTER_PX * 2.0 {
            let text = &phase.name;
            panel
                .above
                .push_str(&layer::label(&model.axis, "row-label", start, 15, 5, text));
            free_px = at_px + text.chars().count() as f64 * CHARACTER_PX + 8.0;
        }
        said.push(format!(
            "{} from {} for {}",
            phase.name, phase.start, phase.length
        ));
    }
    panel.words = Some(format!("Phases: {}.", said.join("; ")));
    row(
        "panel-phases",
        "",
        "",
        gutter_words("phases", ROW_PX),
        Ok(panel.svg()),
    )
}

/// Faults that overlap lie in different rows; each kind begins a row of its own.
fn fault_rows(model: &Model) -> Vec<(usize, &FaultRow)> {
    let mut ends: Vec<(&str, u64)> = Vec::new();
    let mut placed = Vec::new();
    for fault in &model.faults.rows {
        let Some(start) = fault.asked_ns.or(fault.observed_ns) else {
            continue;
        };
        let end = fault.healed_ns.unwrap_or(model.axis.end_ns);
        let free = ends
            .iter()
            .position(|(kind, until)| *kind == fault.kind && *until <= start);
        let lane = match free {
            Some(lane) => lane,
            None if ends.len() < FAULT_ROWS => {
                ends.push((&fault.kind, 0));
                ends.len() - 1
            }
            None => FAULT_ROWS - 1,
        };
        ends[lane].1 = ends[lane].1.max(end);
        placed.push((lane, fault));
    }
    placed
}

pub(super) fn faults(model: &Model, hatches: &[Hatch]) -> Row {
    let placed = fault_rows(model);
    let lanes = placed.iter().map(|(lane, _)| lane + 1).max().unwrap_or(1);
    let mut panel = Panel {
        height_px: ROW_PX * lanes as u32,
        ..Panel::default()
    };
    let mut next_px = vec![f64::INFINITY; lanes];
    for (lane, fault) in placed.iter().rev() {
        let start = fault.observed_ns.or(fault.asked_ns).unwrap_or_default();
        let top = *lane as u32 * ROW_PX;
        let (y, height) = ((top + 3).to_string(), (ROW_PX - 6).to_string());
        let mut item = layer::band(&model.axis, hatches, fault, (&y, &height));
        let at_px = model.axis.share(start) * REFERENCE_PX;
        let room = ((next_px[*lane].min(REFERENCE_PX) - at_px) / CHARACTER_PX - 2.0).max(0.0);
        let full = format!("{} {}", fault.id, fault.label);
        let text = if room >= full.chars().count() as f64 {
            full
        } else if room >= 8.0 {
            crate::text::clip(&full, room as usize)
        } else if room >= 2.0 {
            fault.id.to_string()
        } else {
            String::new()
        };
        next_px[*lane] = at_px;
        let brief = fault.id.to_string();
        for (class, words) in [
            ("row-label halo full", &text),
            ("row-label halo brief", &brief),
        ] {
            item.push_str(&layer::label(&model.axis, class, start, top + 15, 5, words));
        }
        panel.above.insert_str(
            0,
            &format!(
                "<a href=\"#{}\" aria-label=\"fault {}: {}, {}\">{item}</a>",
                escape(&fault.anchor),
                fault.id,
                escape(&fault.label),
                fault.state.words()
            ),
        );
    }
    if placed.is_empty() {
        panel.words = Some("No fault was injected.".to_owned());
        panel.above = "<text class=\"row-label dim\" x=\"5\" y=\"15\">none</text>".to_owned();
    }
    let gutter = gutter_words("faults", panel.height_px);
    row("panel-faults", "", "", gutter, Ok(panel.svg()))
}

pub(super) fn witnesses(model: &Model) -> Row {
    let mut panel = Panel {
        height_px: ROW_PX,
        ..Panel::default()
    };
    let mut taken: Vec<(f64, f64)> = Vec::new();
    for witness in model.witnesses() {
        let span = (witness.start_ns, witness.end_ns.max(witness.start_ns));
        let class = if model.is_about_a_member(witness) {
            "witness state"
        } else {
            "witness"
        };
        let mut item = layer::rect(&model.axis, class, span, ("4", "14"), "");
        item.push_str(&layer::line(
            &model.axis,
            "witness",
            witness.end_ns,
            "1",
            "21",
        ));
        let at_px = model.axis.share(witness.end_ns) * REFERENCE_PX;
        let text = format!("✗ {} {}", witness.number, witness.kind);
        let brief = format!("✗ {}", witness.number);
        if let Some(leftward) = beside(at_px, label_px(&text), &taken) {
            taken.push(covered(at_px, label_px(&text), leftward));
            for (size, words) in [("full", &text), ("brief", &brief)] {
                item.push_str(&witness_label(model, witness.end_ns, leftward, size, words));
            }
        } else if let Some(leftward) = beside(at_px, label_px(&brief), &taken) {
            taken.push(covered(at_px, label_px(&brief), leftward));
            item.push_str(&witness_label(
                model,
                witness.end_ns,
                leftward,
                "full",
                &brief,
            ));
        }
        panel.above.push_str(&format!(
            "<a href=\"#{}\" aria-label=\"witness {}: {} at {}\">{item}</a>",
            escape(&witness.anchor),
            witness.number,
            escape(&witness.title),
            number::instant(witness.end_ns)
        ));
    }
    row(
        "panel-witnesses",
        "",
        "",
        gutter_words("witnesses", ROW_PX),
        Ok(panel.svg()),
    )
}

fn label_px(words: &str) -> f64 {
    words.chars().count() as f64 * CHARACTER_PX + 10.0
}

/// What a label beside a place covers.
fn covered(at_px: f64, width_px: f64, leftward: bool) -> (f64, f64) {
    match leftward {
        false => (at_px, at_px + width_px),
        true => (at_px - width_px, at_px),
    }
}

/// Whether a label has room left of its place, as none right of it is left; None: neither.
fn beside(at_px: f64, width_px: f64, taken: &[(f64, f64)]) -> Option<bool> {
    [false, true].into_iter().find(|leftward| {
        let (low, high) = covered(at_px, width_px, *leftward);
        low >= 0.0
            && high <= REFERENCE_PX
            && taken.iter().all(|(from, to)| high <= *from || low >= *to)
    })
}

fn witness_label(model: &Model, at_ns: u64, leftward: bool, size: &str, words: &str) -> String {
    let (end, dx) = if leftward { (" end", -5) } else { ("", 5) };
    let class = format!("row-label halo bad {size}{end}");
    layer::label(&model.axis, &class, at_ns, 15, dx, words)
}

pub(super) fn time_axis(model: &Model) -> Row {
    let mut panel = Panel {
        height_px: 24,
        words: Some(format!(
            "Time axis: 0 to {} since the run began.",
            number::instant(model.axis.end_ns)
        )),
        ..Panel::default()
    };
    for tick in time_ticks(model) {
        panel
            .above
            .push_str(&layer::line(&model.axis, "tick", tick, "0", "5"));
        let text = plain(seconds(tick));
        panel
            .above
            .push_str(&layer::label(&model.axis, "tick-label", tick, 19, 0, &text));
    }
    row(
        "panel-time",
        "",
        "",
        gutter_words("seconds", 24).replace("dx=\"-8\" y=\"15\"", "dx=\"-16\" y=\"19\""),
        Ok(panel.svg()),
    )
}

/// Leader and term, as nodes say.
pub(super) fn leader(model: &Model, membership: &Membership) -> Option<Row> {
    membership.led.first()?;
    let mut panel = Panel {
        height_px: ROW_PX,
        ..Panel::default()
    };
    let mut said = Vec::new();
    let mut free_px = 0.0_f64;
    for (place, stretch) in membership.led.iter().enumerate() {
        let class = match (stretch.what.leaders.len(), place % 2) {
            (0, _) => "led none",
            (1, 0) => "led even",
            (1, _) => "led odd",
            _ => "led several",
        };
        let span = (stretch.from_ns, stretch.to_ns);
        let words = stretch.what.words();
        panel.behind.push_str(&format!(
            "<g><title>{}</title>{}</g>",
            escape(&format!(
                "{words}, from {}",
                number::instant(stretch.from_ns)
            )),
            layer::rect(&model.axis, class, span, ("3", "16"), "")
        ));
        let at_px = model.axis.share(stretch.from_ns) * REFERENCE_PX;
        let until_px = model.axis.share(stretch.to_ns) * REFERENCE_PX;
        let width = words.chars().count() as f64 * 6.9 + 8.0;
        if at_px >= free_px {
            let brief = stretch.what.leaders.join("+");
            let fits = at_px + width <= until_px.max(at_px + 1.0);
            let full = if fits {
                words.as_str()
            } else if until_px - at_px > 24.0 {
                &brief
            } else {
                ""
            };
            let class = if stretch.what.leaders.len() > 1 {
                "row-label halo bad"
            } else {
                "row-label"
            };
            for (size, words) in [("full", full), ("brief", brief.as_str())] {
                let class = format!("{class} {size}");
                panel.above.push_str(&layer::lasting_label(
                    &model.axis,
                    &class,
                    span,
                    (15, 5),
                    words,
                ));
            }
            free_px = if full.is_empty() {
                at_px
            } else {
                at_px + full.chars().count() as f64 * 6.9
            };
        }
        if said.len() < LEADERS_TOLD {
            said.push(format!("{words} from {}", number::instant(stretch.from_ns)));
        }
    }
    panel.words = Some(format!(
        "Leader and term, as nodes say: {}.",
        said.join("; ")
    ));
    Some(row(
        "panel-leader",
        "",
        "",
        gutter_words("leader", ROW_PX),
        Ok(panel.svg()),
    ))
}

fn row(
    id: &'static str,
    title: &'static str,
    caption: &str,
    gutter: String,
    svg: Result<String, PlotError>,
) -> Row {
    Row {
        id: id.to_owned(),
        class: "strip",
        title,
        caption: caption.to_owned(),
        gutter,
        svg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_witnesses_never_cover_each_other() {
        let mut taken = Vec::new();
        let mut sides = Vec::new();
        for (at, words) in [
            (500.0, "✗ 1 G-single-realtime"),
            (505.0, "✗ 2 G-single-realtime"),
            (510.0, "✗ 3 G2-item"),
            (890.0, "✗ 4 lost"),
            (100.0, "✗ 5 lost"),
        ] {
            let side = beside(at, label_px(words), &taken);
            if let Some(leftward) = side {
                taken.push(covered(at, label_px(words), leftward));
            }
            sides.push(side);
        }
        // The second would begin within the first's place on either side.
        assert_eq!(sides, [Some(false), None, None, Some(true), Some(false)]);
        assert_eq!(beside(499.0, 60.0, &taken), Some(true));
    }
}
