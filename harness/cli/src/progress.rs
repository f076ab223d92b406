//! What is shown while something goes on: bars on a terminal, plain lines every few seconds in a pipe.
//!
//! Everything here goes to standard error and changes nothing else.

use std::{
    io::IsTerminal,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use harness_lab::{image, provider::LabProgress};
use harness_run::live::{Live, Moment};
use indicatif::{ProgressBar, ProgressStyle};

use crate::terminal;

/// How often a line is written where there is no terminal.
pub const PLAIN_INTERVAL: Duration = Duration::from_secs(5);
/// How often the live line changes on a terminal.
const TICK: Duration = Duration::from_millis(120);

/// The bar of an image that is being built.
const IMAGE_BAR: &str = "{spinner} [{bar:30}] {pos}/{len} {wide_msg}";
/// How often a run is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Over how long rates are shown.
const RATE_WINDOW: Duration = Duration::from_secs(3);

/// One live line, or lines now and then.
pub struct Bars {
    bar: Option<ProgressBar>,
    last: Mutex<Option<(Instant, String)>>,
}

impl Bars {
    /// A live line if standard error is a terminal.
    #[must_use]
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let template = if terminal::on_stderr() {
                "{spinner:.cyan} {wide_msg}"
            } else {
                "{spinner} {wide_msg}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self {
            bar,
            last: Mutex::new(None),
        }
    }

    /// Shows what goes on now. In a pipe a text is written when it begins with another word than the last, or some seconds later.
    pub fn live(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let word = |text: &str| text.split_whitespace().next().map(ToOwned::to_owned);
        let due = last.as_ref().is_none_or(|(when, before)| {
            when.elapsed() >= PLAIN_INTERVAL || word(before) != word(text)
        });
        if due {
            terminal::say(text);
            *last = Some((Instant::now(), text.to_owned()));
        }
    }

    /// Writes a line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| terminal::say(text)),
            None => terminal::say(text),
        }
    }

    /// Takes the live line away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// One step of an image's build: a bar where the number of steps is known.
    pub fn image(&self, step: &image::Progress) {
        let phase = format!("{:?}", step.phase).to_lowercase();
        let total = step.total.filter(|total| *total > 0);
        if let (Some(bar), Some(total)) = (&self.bar, total) {
            if let Ok(style) = ProgressStyle::with_template(IMAGE_BAR) {
                bar.set_style(style);
            }
            bar.set_length(total as u64);
            bar.set_position(step.done as u64);
            bar.set_message(format!("image: {phase}  {}", step.detail));
            return;
        }
        let count = total.map_or_else(String::new, |total| format!(" {}/{total}", step.done));
        self.live(&format!("image: {phase}{count}  {}", step.detail));
    }

    /// One step of a lab's coming up.
    pub fn lab(&self, step: &LabProgress) {
        match step {
            LabProgress::Image(step) => self.image(step),
            LabProgress::Node { node, step } => self.live(&format!("lab: {node} {step}")),
        }
    }
}

/// Shows a run's moments until the handle is aborted: one line a phase that is done, one live line.
pub fn watch_run(bars: Arc<Bars>, live: Arc<Live>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut last = live.moment();
        let mut window = (Instant::now(), last.clone());
        let mut phase_began = Instant::now();
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let now = live.moment();
            if now.phase != last.phase {
                tell_done(&bars, &last, phase_began);
                phase_began = Instant::now();
                window = (Instant::now(), now.clone());
            }
            bars.live(&line(&window, &now));
            if window.0.elapsed() >= RATE_WINDOW {
                window = (Instant::now(), now.clone());
            }
            last = now;
        }
    })
}

/// The line that stays of a phase.
fn tell_done(bars: &Bars, moment: &Moment, began: Instant) {
    if !moment.phase.is_empty() {
        bars.line(&format!(
            "{} done in {:.1} s{}",
            moment.phase,
            began.elapsed().as_secs_f64(),
            counts(moment)
        ));
    }
}

fn counts(moment: &Moment) -> String {
    let total = moment.operations.total;
    if total.invoked == 0 || ["form", "heal", "settle", "collect"].contains(&moment.phase.as_str())
    {
        return String::new();
    }
    format!(
        "  {} ok, {} fail, {} info",
        total.ok, total.fail, total.info
    )
}

/// Members by source: one number where all places agree, least and most where they do not.
fn members(now: &Moment) -> String {
    let told = |(source, least, most): &(&str, usize, usize)| {
        if least == most {
            format!("{source} {most}")
        } else {
            format!("{source} {least}-{most}")
        }
    };
    now.members.iter().map(told).collect::<Vec<_>>().join(", ")
}

/// The live line: phase, time left, operations a second, leader, members by source, faults in force.
fn line(before: &(Instant, Moment), now: &Moment) -> String {
    let mut line = now.phase.clone();
    if let Some(left) = now.left {
        line.push_str(&format!("  {:.0} s left", left.as_secs_f64()));
    }
    let (then, total) = (before.1.operations.total, now.operations.total);
    if total.invoked > 0 && !["settle", "collect"].contains(&now.phase.as_str()) {
        let seconds = before.0.elapsed().as_secs_f64().max(0.1);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        line.push_str(&format!(
            "  {:.0}/{:.0}/{:.0} ok/fail/info a second",
            rate(total.ok, then.ok),
            rate(total.fail, then.fail),
            rate(total.info, then.info)
        ));
    }
    if now.phase == "load" {
        line.push_str(&format!(
            "  leader {}",
            now.leader.as_deref().unwrap_or("none")
        ));
    }
    if !now.members.is_empty() && now.phase != "collect" {
        line.push_str(&format!("  members {}", members(now)));
    }
    if !now.faults.is_empty() {
        line.push_str(&format!("  in force: {}", now.faults.join("; ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_line_tells_members_by_source() {
        let now = Moment {
            phase: "settle".to_owned(),
            members: vec![("database", 4, 4), ("raft", 3, 4)],
            ..Moment::default()
        };
        let before = (Instant::now(), Moment::default());
        assert_eq!(line(&before, &now), "settle  members database 4, raft 3-4");
    }
}
