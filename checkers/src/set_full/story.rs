//! What became of an element, told.

use harness_core::{history::Operation, verdict::Witness};

use super::Element;
use crate::words::{self, Clock, end_ns};

/// The story of a lost, stale, duplicated, failed or unexpected element.
pub(super) fn witness(kind: &str, element: &Element<'_>, reads: &[&Operation]) -> Option<Witness> {
    let read = |number: u32| reads.get(number as usize).copied();
    let value = words::show(element.value);
    let add = element.add;
    let missing = match kind {
        "stale" => read(element.last_stale),
        _ => read(element.last_absent),
    };
    match kind {
        "lost" | "stale" => {
            let missing = missing?;
            let clock =
                Clock::spanning([missing.invoked_ns, end_ns(missing), add.map_or(0, end_ns)]);
            let known = match add {
                Some(add) if element.acknowledged => format!(
                    "Process {}{} added {value}, acknowledged at {}",
                    add.process,
                    words::on_node(add),
                    clock.at(end_ns(add))
                ),
                _ => format!("{value} was read"),
            };
            let seen = match read(element.last_present) {
                Some(last) if kind == "lost" => {
                    format!(
                        " It was last read by process {}, ending at {}.",
                        last.process,
                        clock.at(end_ns(last))
                    )
                }
                None => " No read ever had it.".to_owned(),
                Some(_) => " Later reads have it again.".to_owned(),
            };
            let story = format!(
                "{known}; process {}{} read the set from {} to {} without it.{seen}",
                missing.process,
                words::on_node(missing),
                clock.at(missing.invoked_ns),
                clock.at(end_ns(missing))
            );
            let mut operations: Vec<&Operation> = add.into_iter().collect();
            operations.extend(read(element.last_present).filter(|_| kind == "lost"));
            operations.push(missing);
            let title = if kind == "lost" {
                "An element vanished."
            } else {
                "A read missed an element that was there."
            };
            Some(words::witness(
                kind,
                title,
                story,
                &operations,
                &[missing.index],
            ))
        }
        "duplicated" => {
            let twice = read(element.duplicated_in)?;
            let clock = Clock::spanning([twice.invoked_ns, end_ns(twice)]);
            let story = format!(
                "Process {}{} read {value} more than once in the read that ended at {}.",
                twice.process,
                words::on_node(twice),
                clock.at(end_ns(twice))
            );
            let mut operations: Vec<&Operation> = add.into_iter().collect();
            operations.push(twice);
            Some(words::witness(
                kind,
                "An element is there twice.",
                story,
                &operations,
                &[twice.index],
            ))
        }
        _ => {
            let seen = read(element.first_present)?;
            let clock = Clock::spanning([seen.invoked_ns, end_ns(seen)]);
            let why = match add {
                Some(add) if element.all_failed => format!(
                    "process {} had tried to add it, and was told that it failed",
                    add.process
                ),
                Some(add) => format!(
                    "process {} began to add it only at {}",
                    add.process,
                    clock.at(add.invoked_ns)
                ),
                None => "nobody ever tried to add it".to_owned(),
            };
            let story = format!(
                "Process {}{} read {value} at {}, but {why}.",
                seen.process,
                words::on_node(seen),
                clock.at(end_ns(seen))
            );
            let title = if element.all_failed {
                "A failed add took effect."
            } else {
                "An element came from nowhere."
            };
            let mut operations: Vec<&Operation> = add.into_iter().collect();
            operations.push(seen);
            Some(words::witness(
                kind,
                title,
                story,
                &operations,
                &[seen.index],
            ))
        }
    }
}
