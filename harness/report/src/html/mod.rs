//! `report.html`: one file, no network.
//!
//! Laws:
//! - text from systems under test is only ever written through the template's escaping, [`crate::plot::escape`] or
//!   JSON with `<` as `\u003c`;
//! - the content security policy allows exactly our script and our style sheet, by their hashes: text that slipped
//!   through would still not run;
//! - no style attribute anywhere, so that the policy can be that strict.

pub mod data;

use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use harness_core::verdict::Verdict;
use sha2::{Digest as _, Sha256};

use crate::{
    RenderError, glossary,
    model::{
        Model,
        block::{self, Block},
        fault::{FaultRow, State, Waited},
        headline::SIMULATION,
        log::Line,
        membership::{
            cell::{Cell, Kind},
            lanes::Lane,
            matrix::NodeState,
            told::{self, Convergence},
            words,
        },
        witness::WitnessView,
    },
    number,
    plot::{
        escape,
        hatch::{self, Hatch},
        panel::{self, Row},
        timeline,
    },
};

/// The page's style sheet.
const CSS: &str = include_str!("../../assets/report.css");
/// Stretches of one source that are told in words below the lanes.
const LANE_WORDS: usize = 40;
/// The page's script.
const JS: &str = include_str!("../../assets/report.js");

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    m: &'a Model,
    policy: String,
    css: &'static str,
    js: &'static str,
    data: String,
    definitions: String,
    hatches: Vec<Hatch>,
    rows: Vec<Row>,
    blocks: Vec<Block<'a>>,
    convergence: Vec<Convergence>,
    simulation: &'static str,
    terms: Vec<&'static glossary::Term>,
}

/// Writes the page.
pub fn render(model: &Model) -> Result<String, RenderError> {
    let hatches = hatch::hatches(&model.faults.kinds());
    let page = Page {
        m: model,
        policy: policy(),
        css: CSS,
        js: JS,
        data: data::encode(model)?,
        definitions: hatch::definitions(&hatches),
        rows: panel::rows(model, &hatches),
        blocks: block::blocks(&model.checks),
        convergence: told::convergence(&model.checks),
        hatches,
        simulation: SIMULATION,
        terms: terms(model),
    };
    Ok(page.render()?)
}

/// Words to explain at the end of the page.
fn terms(model: &Model) -> Vec<&'static glossary::Term> {
    let told = |term: &&glossary::Term| model.witnesses().any(|one| one.term == Some(*term));
    let anomalies = glossary::ANOMALIES.iter().filter(told);
    glossary::TERMS.iter().chain(anomalies).collect()
}

/// What the page may do: run our script, use our style sheet, nothing else.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(JS),
        hash(CSS)
    )
}

impl Page<'_> {
    /// A word with its explanation at hand.
    fn term(&self, word: &str) -> String {
        self.term_as(word, word)
    }

    /// The same, written differently.
    fn term_as(&self, word: &str, shown: &str) -> String {
        match glossary::find(word) {
            Some(term) => format!(
                "<a class=\"term\" href=\"#{}\" data-help=\"{}\">{}</a>",
                term.anchor,
                escape(term.help),
                escape(shown)
            ),
            None => escape(shown),
        }
    }

    fn glyph(&self, verdict: &Verdict) -> &'static str {
        verdict.glyph()
    }

    fn word(&self, verdict: &Verdict) -> &'static str {
        verdict.as_str()
    }

    fn verdict_term(&self, verdict: &Verdict) -> String {
        self.term(&verdict.as_str().replace('-', " "))
    }

    fn timeline(&self, witness: &WitnessView) -> String {
        timeline::svg(witness, &self.m.faults.rows, &self.hatches)
    }

    fn swatch(&self, hatch: &Hatch) -> String {
        format!(
            "<svg class=\"swatch\" width=\"26\" height=\"14\" aria-hidden=\"true\"><rect class=\"band hue-{}\" width=\"26\" height=\"14\" fill=\"url(#{})\"/></svg>",
            hatch.hue,
            escape(&hatch.id)
        )
    }

    /// A lane in words: all of it, within reason.
    fn lane_words(&self, lane: &Lane) -> String {
        words::of(lane, LANE_WORDS)
    }

    /// What a cell shows, and what is read out instead of a sign.
    fn cell(&self, cell: &Cell) -> String {
        let (sign, said) = match cell.kind {
            Kind::In => ("✓", "in"),
            Kind::Out => ("·", "not in"),
            Kind::Unread => ("?", "unread"),
            Kind::Stopped => ("–", "stopped"),
        };
        if !cell.differs.is_empty() {
            return format!("<b>✗ {}</b>", escape(&cell.differs));
        }
        let why = match cell.why {
            "" => String::new(),
            why => format!("<small>{}</small>", escape(why)),
        };
        format!("<span aria-hidden=\"true\">{sign}</span><span class=\"heard\">{said}</span>{why}")
    }

    fn cell_class(&self, cell: &Cell) -> String {
        let kind = match cell.kind {
            Kind::In => "in",
            Kind::Out => "out",
            Kind::Unread => "unread",
            Kind::Stopped => "stopped",
        };
        let mut class = kind.to_owned();
        for (holds, word) in [
            (!cell.differs.is_empty(), " odd"),
            (cell.first, " edge"),
            (!cell.counts, " aside"),
        ] {
            if holds {
                class.push_str(word);
            }
        }
        class
    }

    fn node_state(&self, state: &NodeState) -> &'static str {
        match state {
            NodeState::Live => "",
            NodeState::Stopped => "stopped",
            NodeState::Outside => "no member",
            NodeState::Spare => "spare",
        }
    }

    fn at(&self, ns: &Option<u64>) -> String {
        ns.map_or_else(|| "–".to_owned(), number::instant_fine)
    }

    fn count(&self, value: impl std::borrow::Borrow<u64>) -> String {
        number::count(*value.borrow())
    }

    fn duration(&self, ns: &u64) -> String {
        number::duration(*ns)
    }

    fn instant(&self, ns: &u64) -> String {
        number::instant_fine(*ns)
    }

    /// How long after it was asked for a fault was seen to hold.
    fn lag(&self, fault: &FaultRow) -> String {
        match (fault.asked_ns, fault.observed_ns) {
            (Some(asked), Some(observed)) if observed >= asked => {
                format!("{} after asked", number::duration(observed - asked))
            }
            _ => String::new(),
        }
    }

    /// What a fault waited for, when that happened, and how late it took hold then.
    fn waited(&self, fault: &FaultRow) -> String {
        let fired = match &fault.waited {
            None => return String::new(),
            Some(Waited::For(what)) if fault.state == State::OnlyPlanned => {
                return format!("waits for {what}");
            }
            Some(Waited::For(what)) => return format!("waited for {what}, which never fired"),
            Some(Waited::Fired(fired)) => fired,
        };
        let mut text = format!(
            "waited for {} at {}",
            fired.what,
            number::instant_fine(fired.at_ns)
        );
        if let Some(bound_ns) = fired.bound_ns.filter(|bound_ns| *bound_ns > 0) {
            text = format!("{text} (± {})", number::duration(bound_ns));
        }
        if fired.delay_ns > 0 {
            text = format!("{text}, then {}", number::duration(fired.delay_ns));
        }
        match fired.late_ns {
            Some(late_ns) => format!("{text}; took hold {} late", number::duration(late_ns)),
            None => text,
        }
    }

    fn in_force(&self, fault: &FaultRow) -> String {
        match (fault.observed_ns, fault.healed_ns) {
            (Some(from), Some(to)) if to >= from => {
                format!("in force for {}", number::duration(to - from))
            }
            _ => String::new(),
        }
    }

    /// A line of a log, escaped here because its shape depends on what it is.
    fn log_line(&self, line: &Line) -> String {
        match line {
            Line::LeftOut(count) => {
                format!(
                    "<span class=\"cut\">… {} left out</span>\n",
                    number::counted(*count, "line")
                )
            }
            Line::Mark(moment) => format!(
                "<a class=\"mark\" href=\"#{}\">▸ {} · {}</a>\n",
                escape(&moment.anchor),
                number::instant_fine(moment.at_ns),
                escape(&moment.what)
            ),
            Line::Text { at, text, alarm } => {
                let at = at.as_deref().unwrap_or_default();
                let class = if *alarm { " class=\"alarming\"" } else { "" };
                format!("<span{class}><b>{at:>10}</b>  {}</span>\n", escape(text))
            }
        }
    }

    fn has_logs(&self) -> bool {
        self.m.nodes.iter().any(|node| !node.excerpts.is_empty())
    }
}
