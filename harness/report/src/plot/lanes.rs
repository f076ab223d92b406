//! Membership lanes: one lane a member, a stripe a source, brackets for its joins and removes, its role below.
//!
//! ```text
//! n4          + join · info ┌───────────────────────────
//! database    ········████████████████████████████████     filled: every live node says so
//! truststore          ▥▥██████████████████████████████     hatched: they disagree
//! raft                                                     blank: none does
//! cache       ┄┄┄┄                                         dotted: unread
//!             pending                        ✗ 1 ✗ 2 ✗ 3   role, and the proofs about it
//! ```
//!
//! Stripes are thick strokes that do not scale, so a dash pattern is a hatch at every width and every zoom, and hundreds of
//! stretches are one path.

use plotters::prelude::PathElement;

use super::{
    backend::{Ink, Paint},
    chart::{draw, failed, seconds, time_ticks},
    escape,
    hatch::Hatch,
    layer::{self, Panel},
    panel::Row,
    strip,
};
use crate::{
    model::{
        Model,
        membership::{
            Membership,
            lanes::{Held, Lane, RoleSaid},
            standing::Change,
            words,
        },
    },
    number, text,
};

/// Height of a row of brackets.
const BRACKET_PX: u32 = 17;
/// Distance of two stripes.
const STRIPE_PX: u32 = 11;
/// Height of the row of roles.
const ROLE_PX: u32 = 17;
/// Room below a lane.
const PAD_PX: u32 = 5;
/// Characters of a name that fit left of a lane.
const NAME_CHARS: usize = 11;
/// Brackets in a lane, at most.
const BRACKET_LIMIT: usize = 300;
/// Width of the page for which labels are laid out, and of one of their characters, in pixels.
const REFERENCE_PX: f64 = 900.0;
const CHARACTER_PX: f64 = 6.2;
/// The shortest role that has its word beside it, in pixels.
const SHORTEST_PX: f64 = 24.0;
/// Stretches of one source that are told in words.
const TOLD_LIMIT: usize = 8;

/// The lanes, then leader and term.
pub(super) fn rows(model: &Model, hatches: &[Hatch]) -> Vec<Row> {
    let Some(membership) = &model.membership else {
        return Vec::new();
    };
    let mut rows: Vec<Row> = membership
        .lanes
        .iter()
        .map(|lane| row(model, hatches, lane))
        .collect();
    if let Some(first) = rows.first_mut() {
        first.title = "Membership";
        first.caption = caption(membership);
    }
    rows.extend(strip::leader(model, membership));
    rows
}

fn caption(membership: &Membership) -> String {
    let mut words = format!(
        "a stripe is filled while that source of every live node lists the member; {}",
        number::counted(membership.readings, "reading")
    );
    if membership.lanes_left_out > 0 {
        let more = number::counted(membership.lanes_left_out as u64, "member");
        words.push_str(&format!("; {more} more not drawn"));
    }
    if membership
        .lanes
        .iter()
        .any(|lane| lane.stripes.iter().any(|stripe| stripe.merged))
    {
        words.push_str("; stretches too many to draw are merged, the worst of them shown");
    }
    words
}

/// Where things are in a lane, from its top.
struct Layout {
    stripes_px: u32,
    role_px: u32,
    height_px: u32,
}

impl Layout {
    fn new(lane: &Lane) -> Self {
        let stripes_px = BRACKET_PX * lane.levels().max(1) as u32;
        let role_px = stripes_px + STRIPE_PX * lane.stripes.len() as u32;
        Self {
            stripes_px,
            role_px,
            height_px: role_px + ROLE_PX + PAD_PX,
        }
    }

    fn stripe_middle_px(&self, stripe: usize) -> f64 {
        f64::from(self.stripes_px + STRIPE_PX * stripe as u32) + f64::from(STRIPE_PX) / 2.0
    }
}

fn row(model: &Model, hatches: &[Hatch], lane: &Lane) -> Row {
    let layout = Layout::new(lane);
    let panel = Panel {
        height_px: layout.height_px,
        words: Some(words::of(lane, TOLD_LIMIT)),
        links: true,
        behind: behind(model, hatches, lane, &layout),
        above: [
            brackets(model, lane),
            roles(model, lane, &layout),
            proofs(model, lane, &layout),
        ]
        .concat(),
        ..Panel::default()
    };
    let svg = paths(model, lane, &layout).map(|paths| Panel { paths, ..panel }.svg());
    Row {
        id: lane.anchor.clone(),
        class: "member",
        title: "",
        caption: String::new(),
        gutter: gutter(lane, &layout),
        svg,
    }
}

fn gutter(lane: &Lane, layout: &Layout) -> String {
    let mut svg = format!(
        "<svg class=\"gutter\" height=\"{}\" aria-hidden=\"true\"><text class=\"who\" x=\"100%\" dx=\"-8\" y=\"13\">{}</text>",
        layout.height_px,
        escape(&text::clip(&lane.name, NAME_CHARS))
    );
    for (place, stripe) in lane.stripes.iter().enumerate() {
        let y = layout.stripe_middle_px(place) + 3.2;
        svg.push_str(&format!(
            "<text class=\"source\" x=\"100%\" dx=\"-8\" y=\"{y:.1}\">{}</text>",
            stripe.source
        ));
    }
    if !lane.roles.is_empty() {
        let y = layout.role_px + 12;
        svg.push_str(&format!(
            "<text class=\"source\" x=\"100%\" dx=\"-8\" y=\"{y}\">role</text>"
        ));
    }
    svg.push_str("</svg>");
    svg
}

fn behind(model: &Model, hatches: &[Hatch], lane: &Lane, layout: &Layout) -> String {
    let mut svg = String::new();
    // Behind the stripes only, so that words above and below them stay readable.
    let top = (layout.stripes_px - 1).to_string();
    let height = (layout.role_px - layout.stripes_px + 2).to_string();
    for place in &lane.faults {
        let fault = &model.faults.rows[*place];
        svg.push_str(&layer::band(&model.axis, hatches, fault, (&top, &height)));
    }
    for span in lane.stopped.iter().take(BRACKET_LIMIT) {
        let label = layer::lasting_label(
            &model.axis,
            "role-label halo doubt",
            *span,
            (11, 2),
            "stopped",
        );
        let down = layer::rect(&model.axis, "down", *span, (&top, &height), "");
        svg.push_str(&down);
        svg.push_str(&label);
    }
    for tick in time_ticks(model) {
        svg.push_str(&layer::line(&model.axis, "grid", tick, "0", "100%"));
    }
    svg
}

fn ink(held: Held) -> Option<Ink> {
    Some(match held {
        Held::Nowhere => return None,
        Held::Everywhere => Ink::MemberIn,
        Held::Pending => Ink::MemberPending,
        Held::Differ => Ink::MemberDiffers,
        Held::Unread(Some(true)) => Ink::MemberUnreadIn,
        Held::Unread(_) => Ink::MemberUnread,
    })
}

fn role_ink(role: RoleSaid) -> Option<Ink> {
    use harness_core::view::Role;
    Some(match role {
        RoleSaid::Role(Role::Voter) => Ink::RoleVoter,
        RoleSaid::Role(Role::StandBy) => Ink::RoleStandBy,
        RoleSaid::Role(Role::Spare) => Ink::RoleSpare,
        RoleSaid::None | RoleSaid::Pending | RoleSaid::Differ => return None,
    })
}

fn paths(model: &Model, lane: &Lane, layout: &Layout) -> Result<String, super::PlotError> {
    let height = f64::from(layout.height_px);
    draw(layout.height_px, 0.0..height, model, |chart| {
        let mut strokes: Vec<(Ink, u64, u64, f64)> = Vec::new();
        for (place, stripe) in lane.stripes.iter().enumerate() {
            let y = height - layout.stripe_middle_px(place);
            let drawn = stripe.stretches.iter().filter_map(|stretch| {
                Some((ink(stretch.what)?, stretch.from_ns, stretch.to_ns, y))
            });
            strokes.extend(drawn);
        }
        let y = height - f64::from(layout.role_px) - 2.0;
        let roles = lane.roles.iter().filter_map(|stretch| {
            Some((role_ink(stretch.what)?, stretch.from_ns, stretch.to_ns, y))
        });
        strokes.extend(roles);
        // One path an ink: consecutive shapes of one paint share it.
        strokes.sort_by_key(|(ink, ..)| *ink as u8);
        let lines = strokes.into_iter().map(|(ink, from, to, y)| {
            let ends = [(seconds(from), y), (seconds(to), y)];
            PathElement::new(ends, Paint::from(ink).style())
        });
        chart.draw_series(lines).map_err(failed)?;
        Ok(())
    })
}

/// `+ join · info`.
fn bracket_words(change: &Change) -> (String, String) {
    use harness_core::{history::Outcome, membership::ChangeKind};
    let sign = match change.kind {
        ChangeKind::Join => "+",
        ChangeKind::Remove => "−",
    };
    let (outcome, brief) = match change.outcome {
        Outcome::Ok => ("", ""),
        Outcome::Fail => (" · fail", "✗"),
        Outcome::Info => (" · info", "?"),
    };
    let force = if change.force { " by force" } else { "" };
    (
        format!("{sign} {}{force}{outcome}", change.f),
        format!("{sign}{brief}"),
    )
}

fn brackets(model: &Model, lane: &Lane) -> String {
    let axis = &model.axis;
    let mut svg = String::new();
    let mut free_px = [0.0_f64; crate::model::membership::lanes::LEVEL_LIMIT];
    for (level, change) in lane.changes.iter().take(BRACKET_LIMIT) {
        let top = *level as u32 * BRACKET_PX;
        let (bar, foot) = ((top + 13).to_string(), (top + BRACKET_PX).to_string());
        let outcome = change.outcome.as_str();
        let class = format!("bracket {outcome}");
        let end_ns = change.end_ns.unwrap_or(axis.end_ns).max(change.start_ns);
        let mut item = layer::rect(axis, &class, (change.start_ns, end_ns), (&bar, "2"), "");
        item.push_str(&layer::line(axis, &class, change.start_ns, &bar, &foot));
        if change.end_ns.is_some() {
            item.push_str(&layer::line(axis, &class, end_ns, &bar, &foot));
        }
        let at_px = axis.share(change.start_ns) * REFERENCE_PX;
        if at_px >= free_px[*level] {
            let (full, brief) = bracket_words(change);
            let width = full.chars().count() as f64 * CHARACTER_PX + 6.0;
            let leftward = at_px + width > REFERENCE_PX;
            let end = if leftward { " end" } else { "" };
            for (size, words) in [("full", &full), ("brief", &brief)] {
                let class = format!("bracket-label halo {outcome} {size}{end}");
                item.push_str(&layer::label(
                    axis,
                    &class,
                    change.start_ns,
                    top + 11,
                    0,
                    words,
                ));
            }
            free_px[*level] = at_px + width;
        }
        let words = format!(
            "operation {}: {}, {}",
            change.index,
            lane.name,
            change.words()
        );
        svg.push_str(&anchor(model, change, &words, &item));
    }
    svg
}

/// A link to the operation's row, if it has one.
fn anchor(model: &Model, change: &Change, words: &str, item: &str) -> String {
    let listed = model
        .operations
        .binary_search_by_key(&change.index, |listed| listed.index)
        .is_ok();
    let words = escape(words);
    if listed {
        format!(
            "<a href=\"#op-{}\" aria-label=\"{words}\"><title>{words}</title>{item}</a>",
            change.index
        )
    } else {
        format!("<g><title>{words}</title>{item}</g>")
    }
}

fn roles(model: &Model, lane: &Lane, layout: &Layout) -> String {
    let mut svg = String::new();
    let mut free_px = 0.0_f64;
    for stretch in &lane.roles {
        let at_px = model.axis.share(stretch.from_ns) * REFERENCE_PX;
        let words = stretch.what.words();
        let width = words.chars().count() as f64 * CHARACTER_PX + 6.0;
        // A role of a moment has no room for its word; the pointer tells it, and the lane in words.
        let own_px = model.axis.share(stretch.to_ns) * REFERENCE_PX - at_px;
        if at_px < free_px || at_px + width > REFERENCE_PX || own_px < width.min(SHORTEST_PX) {
            continue;
        }
        let class = match stretch.what {
            RoleSaid::Differ => "role-label halo bad",
            RoleSaid::Pending => "role-label halo doubt",
            RoleSaid::Role(_) | RoleSaid::None => "role-label halo",
        };
        let y = layout.role_px + 14;
        svg.push_str(&layer::lasting_label(
            &model.axis,
            class,
            (stretch.from_ns, stretch.to_ns),
            (y, 3),
            words,
        ));
        free_px = at_px + width;
    }
    svg
}

/// A frame around what the proofs are about, and a link to each.
fn proofs(model: &Model, lane: &Lane, layout: &Layout) -> String {
    let witnesses: Vec<_> = model
        .witnesses()
        .filter(|witness| lane.witnesses.contains(&witness.number))
        .collect();
    let (Some(start_ns), Some(end_ns)) = (
        witnesses.iter().map(|witness| witness.start_ns).min(),
        witnesses.iter().map(|witness| witness.end_ns).max(),
    ) else {
        return String::new();
    };
    let y = (layout.stripes_px - 1).to_string();
    let height = (layout.role_px - layout.stripes_px + 2).to_string();
    let mut svg = layer::rect(
        &model.axis,
        "proof-frame",
        (start_ns, end_ns.max(start_ns)),
        (&y, &height),
        "",
    );
    // From the right end to the left, so that they end where the proofs end.
    let mut right_px = 3.0;
    for witness in witnesses.iter().rev() {
        let words = format!("✗ {}", witness.number);
        svg.push_str(&format!(
            "<a href=\"#{}\" aria-label=\"witness {}: {}\"><title>{}</title>{}</a>",
            escape(&witness.anchor),
            witness.number,
            escape(&witness.title),
            escape(&witness.title),
            layer::label(
                &model.axis,
                "row-label halo bad full end",
                end_ns,
                layout.role_px + 14,
                -(right_px as i32),
                &words
            )
        ));
        right_px += words.chars().count() as f64 * 6.9 + 7.0;
    }
    // Where there is no room for all of them, one stands for them.
    if let Some(first) = witnesses.first() {
        svg.push_str(&format!(
            "<a href=\"#{}\" aria-label=\"the first of {}\">{}</a>",
            escape(&first.anchor),
            number::counted(witnesses.len() as u64, "proof"),
            layer::label(
                &model.axis,
                "row-label halo bad brief end",
                end_ns,
                layout.role_px + 14,
                -3,
                &format!("✗ {}", number::counted(witnesses.len() as u64, "proof"))
            )
        ));
    }
    svg
}
