//! What `harness sweep` was asked for, understood: refused with the mend before anything is touched.

use std::path::{Path, PathBuf};

use harness_core::sweep::{FailBy, Strike, SweepOp, Victim};
use harness_run::sweep::{Journal, Points};
use regex::Regex;

use crate::{
    args::SweepArgs,
    failure::{Failure, chain},
};

/// Members at first where one joins.
const MEMBERS_JOIN: usize = 3;
/// The same where one is removed: three voters and the one that is removed.
const MEMBERS_REMOVE: usize = 4;
/// Fewest members: an operation is about one, and is asked of another.
const MEMBERS_MIN: usize = 2;
/// Most lines of a file of points.
const POINTS_LIMIT: usize = 10_000;

/// What was asked for, understood.
pub(super) struct Asked {
    pub args: SweepArgs,
    pub op: SweepOp,
    pub fail_by: Option<FailBy>,
    pub victim: Victim,
    pub fault: Strike,
    pub members: usize,
    pub points: Points,
    pub resumed: Option<(PathBuf, Journal)>,
}

fn word<T: Copy>(
    field: &str,
    given: Option<&str>,
    from: fn(&str) -> Option<T>,
    all: &[&str],
) -> Result<T, Failure> {
    let given = given.unwrap_or_default();
    from(given).ok_or_else(|| {
        Failure::usage(format!(
            "{field}: {given:?} is none; there are {}",
            all.join(", ")
        ))
    })
}

fn words<T: Copy>(all: &[T], text: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|one| text(*one)).collect()
}

pub(super) fn understood(args: SweepArgs) -> Result<Asked, Failure> {
    if args.system != "lxd" {
        return Err(Failure::usage(format!(
            "system: {:?} cannot be put back as it was, which a sweep needs; there is lxd",
            args.system
        )));
    }
    if let Some(folder) = &args.resume {
        let folder = resumed(&args.results, folder)?;
        let journal = Journal::resume(&folder).map_err(|error| Failure::usage(chain(&error)))?;
        let head = journal.head().clone();
        let points = match journal.trace() {
            // What is in the journal counts.
            Some(_) => Points::Own,
            None => points(head.pattern.as_deref(), &head.named)?,
        };
        return Ok(Asked {
            op: head.op,
            fail_by: head.fails_by(),
            victim: head.victim,
            fault: head.fault,
            members: head.members,
            points,
            resumed: Some((folder, journal)),
            args,
        });
    }
    let op = op(args.op.as_deref())?;
    let fail_by = fail_by(op, args.fail_by.as_deref())?;
    let victim = word(
        "victim",
        args.victim.as_deref(),
        Victim::from_word,
        &words(Victim::ALL, Victim::as_str),
    )?;
    let fault = word(
        "fault",
        Some(&args.fault),
        Strike::from_word,
        &words(Strike::ALL, Strike::as_str),
    )?;
    let fits = match victim {
        Victim::Joiner => op != SweepOp::Remove,
        Victim::Removed => op == SweepOp::Remove,
        Victim::Leader | Victim::Follower => true,
    };
    if !fits {
        let own = match op {
            SweepOp::Remove => Victim::Removed,
            SweepOp::Join | SweepOp::FailedJoin => Victim::Joiner,
        };
        return Err(Failure::usage(format!(
            "victim: a {op} has no {victim}; there are {own}, {}, {}",
            Victim::Leader,
            Victim::Follower
        )));
    }
    let members = members(op, args.members)?;
    let named = match &args.points {
        Some(file) => names_in(file)?,
        None => Vec::new(),
    };
    Ok(Asked {
        points: points(args.pattern.as_deref(), &named)?,
        op,
        fail_by,
        victim,
        fault,
        members,
        resumed: None,
        args,
    })
}

/// The operation.
pub(in crate::commands) fn op(given: Option<&str>) -> Result<SweepOp, Failure> {
    let all = words(SweepOp::ALL, SweepOp::as_str);
    word("op", given, SweepOp::from_word, &all)
}

/// Members at first.
pub(in crate::commands) fn members(op: SweepOp, given: Option<usize>) -> Result<usize, Failure> {
    let members = given.unwrap_or(match op {
        SweepOp::Remove => MEMBERS_REMOVE,
        SweepOp::Join | SweepOp::FailedJoin => MEMBERS_JOIN,
    });
    if members < MEMBERS_MIN {
        return Err(Failure::usage(format!(
            "members: {members} is fewer than a sweep needs; write {MEMBERS_MIN} at least"
        )));
    }
    Ok(members)
}

/// What makes the join fail, where one is to fail.
pub(in crate::commands) fn fail_by(
    op: SweepOp,
    given: Option<&str>,
) -> Result<Option<FailBy>, Failure> {
    match (op, given) {
        (SweepOp::FailedJoin, None) => Ok(Some(FailBy::NameClash)),
        (SweepOp::FailedJoin, given) => word(
            "fail-by",
            given,
            FailBy::from_word,
            &words(FailBy::ALL, FailBy::as_str),
        )
        .map(Some),
        (_, None) => Ok(None),
        (op, Some(_)) => Err(Failure::usage(format!(
            "fail-by: a {op} is to go through; leave it out, or use --op failed-join"
        ))),
    }
}

/// The points that were asked for: named ones before those that match.
pub(in crate::commands) fn points(
    pattern: Option<&str>,
    named: &[String],
) -> Result<Points, Failure> {
    if !named.is_empty() {
        return Ok(Points::Named(named.to_vec()));
    }
    match pattern {
        None => Ok(Points::Own),
        Some(pattern) => Regex::new(pattern)
            .map(Points::Matching)
            .map_err(|error| Failure::usage(format!("match: {}", chain(&error)))),
    }
}

fn names_in(file: &Path) -> Result<Vec<String>, Failure> {
    let said = |what: String| Failure::usage(format!("points: {}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| said(error.to_string()))?;
    let lines = text.lines().map(str::trim);
    let names: Vec<String> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(ToOwned::to_owned)
        .collect();
    match names.len() {
        0 => Err(said("no function is named in it".to_owned())),
        count if count > POINTS_LIMIT => {
            Err(said(format!("{count} names are more than {POINTS_LIMIT}")))
        }
        _ => Ok(names),
    }
}

/// The folder of a sweep to go on with.
fn resumed(results: &Path, given: &Path) -> Result<PathBuf, Failure> {
    let folder = match given.to_str() {
        Some("latest") => results.join("sweeps").join("latest"),
        _ => given.to_owned(),
    };
    std::fs::canonicalize(&folder).map_err(|error| {
        Failure::usage(format!(
            "resume: {}: {error}; name the folder of a sweep (they are in {}), or latest",
            folder.display(),
            results.join("sweeps").display()
        ))
    })
}

/// How many clusters work at once.
pub(super) fn cells_of(asked: &Asked, nodes: usize) -> Result<usize, Failure> {
    let needed = match asked.op {
        SweepOp::Join | SweepOp::FailedJoin => asked.members + 1,
        SweepOp::Remove => asked.members,
    };
    let room = nodes / needed;
    let cells = asked.args.parallel.unwrap_or(room.max(1));
    if cells == 0 {
        return Err(Failure::usage(
            "parallel: 0 clusters do nothing; write 1 at least, or leave it out".to_owned(),
        ));
    }
    if cells > room {
        return Err(Failure::usage(format!(
            "nodes: a sweep of {} with {} members, {cells} at once, needs {} nodes ({needed} for each cluster), and the lab has {nodes}; \
             use a larger lab, a smaller --parallel, or fewer --members",
            asked.op,
            asked.members,
            needed.saturating_mul(cells)
        )));
    }
    Ok(cells)
}
