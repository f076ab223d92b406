//! Excerpts of product logs: the lines around faults and witnesses, and lines that sound an alarm.
//!
//! Laws:
//! - whole logs are never shown; what is left out is said where it is left out;
//! - a line without a time stamp belongs to the one before it, as a stack trace does;
//! - a node's clock is corrected by its measured offset before times are compared.

use std::collections::BTreeMap;

use harness_core::verdict::LogText;

use crate::{number, text, wall};

/// Lines that are taken around one moment.
const LINES_A_MOMENT: usize = 6;
/// How long before a moment lines are taken.
const BEFORE_NS: u64 = 300 * number::NS_PER_MS;
/// How long after a moment lines are taken.
const AFTER_NS: u64 = 1_500 * number::NS_PER_MS;
/// Lines that sound an alarm, taken wherever they stand.
const ALARM_LINES: usize = 20;
/// Lines that follow an alarm and are taken with it.
const AFTER_ALARM_LINES: usize = 6;
/// Lines of one file, at most.
const FILE_LINES: usize = 120;
/// Characters of one line.
const LINE_CHARS: usize = 320;
/// Bytes of one file that are searched, from its end.
const SCAN_BYTES: usize = 64 * 1024 * 1024;
/// What alarms.
const ALARMS: [&str; 8] = [
    "panic:",
    "assertion",
    "fatal error",
    "sanitizer:",
    "runtime error:",
    "segmentation fault",
    "sigsegv",
    "sigabrt",
];

/// A moment of the run that makes lines around it worth showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since the run began.
    pub at_ns: u64,
    /// What it was: `fault 2 observed`.
    pub what: String,
    /// Where the page tells more.
    pub anchor: String,
}

/// A line of an excerpt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// That many lines are left out here.
    LeftOut(u64),
    /// The moments that the next lines are around.
    Mark(Moment),
    /// A line of the log.
    Text {
        /// When it was written, since the run began; None if it has no time stamp.
        at: Option<String>,
        /// The line.
        text: String,
        /// Whether it sounds an alarm.
        alarm: bool,
    },
}

/// Lines of one log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// Its path under the run's folder.
    pub path: String,
    /// Its size.
    pub size: String,
    /// The lines, in order.
    pub lines: Vec<Line>,
    /// Why there is no line, or what could not be done.
    pub remark: Option<String>,
}

/// How a node's time stamps become times of the run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Nanoseconds since 1970 when the run began, on the controller.
    pub started_wall_ns: u64,
    /// The node's clock minus the controller's.
    pub offset_ns: i64,
}

impl Clock {
    /// Nanoseconds since the run began; negative before it.
    #[must_use]
    pub fn of_run(self, node_wall_ns: u64) -> i64 {
        let difference = i128::from(node_wall_ns)
            - i128::from(self.started_wall_ns)
            - i128::from(self.offset_ns);
        i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
    }
}

struct Scanned<'a> {
    bytes: &'a [u8],
    at_ns: Option<i64>,
    stamped: bool,
}

/// Takes the lines of one log that matter.
#[must_use]
pub fn excerpt(log: &LogText<'_>, clock: Clock, moments: &[Moment]) -> Excerpt {
    let (bytes, cut) = tail(log.bytes);
    let mut at_ns = None;
    let lines: Vec<Scanned<'_>> = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| {
            let stamp = wall::stamp_in(line).map(|stamp| clock.of_run(stamp));
            at_ns = stamp.or(at_ns);
            Scanned {
                bytes: line,
                at_ns,
                stamped: stamp.is_some(),
            }
        })
        .collect();
    let mut chosen: BTreeMap<usize, bool> = BTreeMap::new();
    choose_alarms(&lines, &mut chosen);
    let marks = choose_around(&lines, moments, &mut chosen);
    let has_stamps = lines.iter().any(|line| line.stamped);
    let mut remarks = Vec::new();
    if cut {
        remarks.push(format!(
            "only its last {} were searched",
            number::bytes(SCAN_BYTES as u64)
        ));
    }
    if !has_stamps && !log.bytes.is_empty() {
        remarks.push("no time stamps that we can read, so only alarms are shown".to_owned());
    }
    if chosen.is_empty() {
        remarks.push("nothing was written around faults or witnesses".to_owned());
    }
    Excerpt {
        path: format!(
            "logs/{}/{}",
            text::clip(log.node, 40),
            text::clip(log.path, 120)
        ),
        size: number::bytes(log.bytes.len() as u64),
        lines: assemble(&lines, &chosen, &marks),
        remark: (!remarks.is_empty()).then(|| remarks.join("; ")),
    }
}

fn tail(bytes: &[u8]) -> (&[u8], bool) {
    let trimmed = bytes.trim_ascii_end();
    match trimmed.len().checked_sub(SCAN_BYTES) {
        Some(start) if start > 0 => (&trimmed[start..], true),
        _ => (trimmed, false),
    }
}

fn choose_alarms(lines: &[Scanned<'_>], chosen: &mut BTreeMap<usize, bool>) {
    let alarming = |line: &Scanned<'_>| {
        let head = &line.bytes[..line.bytes.len().min(LINE_CHARS)];
        ALARMS
            .iter()
            .any(|alarm| contains_ignoring_case(head, alarm.as_bytes()))
    };
    let places = (0..lines.len()).filter(|place| alarming(&lines[*place]));
    for place in places.take(ALARM_LINES) {
        chosen.insert(place, true);
        for next in place + 1..(place + 1 + AFTER_ALARM_LINES).min(lines.len()) {
            chosen.entry(next).or_insert(false);
        }
    }
}

fn contains_ignoring_case(text: &[u8], lower: &[u8]) -> bool {
    text.windows(lower.len())
        .any(|window| window.eq_ignore_ascii_case(lower))
}

/// Chooses the lines around each moment; gives for the first line of each the moments that it is around.
fn choose_around(
    lines: &[Scanned<'_>],
    moments: &[Moment],
    chosen: &mut BTreeMap<usize, bool>,
) -> BTreeMap<usize, Vec<Moment>> {
    let mut marks: BTreeMap<usize, Vec<Moment>> = BTreeMap::new();
    for moment in moments {
        if chosen.len() >= FILE_LINES {
            break;
        }
        let Ok(at) = i64::try_from(moment.at_ns) else {
            continue;
        };
        let first = at.saturating_sub(BEFORE_NS as i64);
        let last = at.saturating_add(AFTER_NS as i64);
        let start = lines.partition_point(|line| line.at_ns.is_none_or(|time| time < first));
        let around = (start..lines.len())
            .take_while(|place| lines[*place].at_ns.is_some_and(|time| time <= last))
            .take(LINES_A_MOMENT);
        let mut marked = false;
        for place in around {
            if !marked {
                marks.entry(place).or_default().push(moment.clone());
                marked = true;
            }
            chosen.entry(place).or_insert(false);
        }
    }
    marks
}

fn assemble(
    lines: &[Scanned<'_>],
    chosen: &BTreeMap<usize, bool>,
    marks: &BTreeMap<usize, Vec<Moment>>,
) -> Vec<Line> {
    let mut shown = Vec::new();
    let mut next = 0;
    for (place, alarm) in chosen {
        if *place > next {
            shown.push(Line::LeftOut((*place - next) as u64));
        }
        next = place + 1;
        for moment in marks.get(place).into_iter().flatten() {
            shown.push(Line::Mark(moment.clone()));
        }
        let line = &lines[*place];
        shown.push(Line::Text {
            at: line
                .at_ns
                .filter(|_| line.stamped)
                .map(number::instant_signed),
            text: text::clip(&String::from_utf8_lossy(line.bytes), LINE_CHARS),
            alarm: *alarm,
        });
    }
    if !chosen.is_empty() && next < lines.len() {
        shown.push(Line::LeftOut((lines.len() - next) as u64));
    }
    shown
}
