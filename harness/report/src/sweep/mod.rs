//! A sweep for people: a table for the terminal, a page, and commands that repeat each distinct outcome. Pure.

use std::time::Duration;

use harness_core::sweep::{Came, CrashPoint, Head, MendKind, PointResult, Range, Sweep};

mod page;
mod table;

pub use page::page;
pub use table::table;

/// A name without the path of its package: `cluster.Join`.
#[must_use]
pub fn short(function: &str) -> &str {
    let end = function.find('(').unwrap_or(function.len());
    let start = function[..end].rfind('/').map_or(0, |slash| slash + 1);
    &function[start..]
}

/// What mended it, in words.
fn mended(came: &Came) -> &'static str {
    match (came.struck, came.mended_by) {
        (false, _) => "",
        (_, None) => "nothing",
        (_, Some(MendKind::Restart)) => "the restart",
        (_, Some(MendKind::Retry)) => "a retry",
        (_, Some(MendKind::ForcedRemoval)) => "a forced removal",
        (_, Some(MendKind::FreshJoin)) => "a fresh join",
    }
}

/// How the operation ended and what was left, in words.
fn left(came: &Came) -> &str {
    match came.struck {
        true => &came.left,
        false => "never entered, or not seen to hold",
    }
}

/// `3` or `3–7`.
fn numbers(range: &Range) -> String {
    match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{}–{}", range.first, range.last),
    }
}

/// One line about what was swept.
#[must_use]
pub fn title(head: &Head) -> String {
    let version = head.system_versions.get(&head.system);
    let by = head
        .fails_by()
        .map_or_else(String::new, |by| format!(" by {by}"));
    format!(
        "{} {} · {}{by} · {} · {} of {} members",
        head.system,
        version.map_or("", String::as_str),
        head.op,
        head.fault,
        head.victim,
        head.members
    )
}

/// How long putting the fresh cluster back took, seconds: least to most. None if no point was tried, or files do not tell.
fn fresh(sweep: &Sweep) -> Option<String> {
    let took = sweep.results.iter().map(|result| result.fresh_ms);
    let (least, most) = (took.clone().min()?, took.max()?);
    let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
    (most > 0).then(|| format!("{:.0} to {:.0} s", seconds(least), seconds(most)))
}

/// A result of each distinct outcome, the first of its kind.
fn distinct(sweep: &Sweep) -> Vec<&PointResult> {
    let mut seen: Vec<Came> = Vec::new();
    let mut found = Vec::new();
    for result in &sweep.results {
        let came = Came::of(result);
        if !seen.contains(&came) {
            seen.push(came);
            found.push(result);
        }
    }
    found
}

/// For each distinct outcome, one command that repeats it, behind a line that tells it.
#[must_use]
pub fn minimal(sweep: &Sweep) -> String {
    let mut out = String::new();
    for result in distinct(sweep) {
        let came = Came::of(result);
        out.push_str(&format!(
            "# {}: {}, {}; itself: {}; mended by {}\n{}\n",
            short(&result.point.function),
            came.outcome,
            left(&came),
            came.own,
            match mended(&came) {
                "" => "nobody",
                by => by,
            },
            command(&sweep.head, &result.point)
        ));
    }
    out
}

/// The command that sweeps one point.
#[must_use]
pub fn command(head: &Head, point: &CrashPoint) -> String {
    let mut pattern = String::from("^");
    for letter in point.function.chars() {
        if ".()*+?[]{}|^$\\".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('$');
    let by = head
        .fails_by()
        .map_or_else(String::new, |by| format!(" --fail-by {by}"));
    format!(
        "harness sweep --system {} --op {}{by} --victim {} --fault {} --members {} --match '{pattern}'",
        head.system, head.op, head.victim, head.fault, head.members
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use harness_core::{
        sweep::{
            FORMAT_VERSION, FailBy, Held, Holds, Mend, OpEnd, Remains, Strike, SweepOp, Trace,
            Traced, Victim,
        },
        verdict::Verdict,
    };

    use super::*;

    fn held(holds: Holds, pending: bool) -> Held {
        Held {
            holds,
            pending,
            role: None,
        }
    }

    fn left(inside: bool) -> Remains {
        let holds = if inside { Holds::All } else { Holds::Nobody };
        Remains {
            places: BTreeMap::from([
                ("database".to_owned(), held(holds, inside)),
                ("raft/socket".to_owned(), held(Holds::Nobody, false)),
                ("truststore/global".to_owned(), held(holds, false)),
            ]),
            own: BTreeMap::from([("database".to_owned(), Some(1))]),
            ..Remains::default()
        }
    }

    fn result(number: u32, function: &str, inside: bool) -> PointResult {
        let mend = Mend {
            kind: MendKind::ForcedRemoval,
            outcome: Some(OpEnd {
                end: "ok".to_owned(),
                kind: None,
                message: None,
            }),
            agrees: true,
            left: left(false),
        };
        PointResult {
            point: CrashPoint {
                number,
                function: function.to_owned(),
                at_ns: Some(1_234_567),
                hits: 1,
                nth: 1,
                traced: None,
            },
            struck: number != 4,
            evidence: "n4: process 7 gone <b>".to_owned(),
            outcome: OpEnd {
                end: "info".to_owned(),
                kind: Some("answered-error".to_owned()),
                message: Some("EOF & <script>".to_owned()),
            },
            settled: true,
            settle_ms: 11_500,
            agrees: !inside,
            left: left(inside),
            verdict: Verdict::Invalid,
            invalid: vec!["no-pending".to_owned()],
            mends: if inside { vec![mend] } else { Vec::new() },
            run: "runs/x".to_owned(),
            took_ms: 31_000,
            fresh_ms: 4_500 + u64::from(number) * 600,
        }
    }

    fn sweep() -> Sweep {
        let head = Head {
            format_version: FORMAT_VERSION,
            system: "lxd".to_owned(),
            system_versions: BTreeMap::from([("lxd".to_owned(), "5.0.2".to_owned())]),
            suite: "bookworm".to_owned(),
            op: SweepOp::Join,
            fail_by: None,
            victim: Victim::Joiner,
            fault: Strike::Kill,
            members: 3,
            pattern: None,
            named: Vec::new(),
            started_wall_ns: 0,
            unchanged_ms: 11_500,
        };
        let join = "github.com/lxc/lxd/lxd/cluster.(*Gateway).init";
        let results = vec![
            result(1, "main.clusterPutJoin", false),
            result(2, "github.com/lxc/lxd/lxd/cluster.SetupTrust", false),
            result(3, join, true),
            result(4, "main.clusterPutJoin.func3.5", false),
        ];
        let trace = Trace {
            points: results.iter().map(|result| result.point.clone()).collect(),
            watched: 575,
            entered: 142,
            idle: 55,
            ..Trace::default()
        };
        Sweep::new(head, trace, results)
    }

    #[test]
    fn the_table_has_a_line_for_each_range() {
        let table = table(&sweep());
        let expected = "\
lxd 5.0.2 · join · kill · joiner of 3 members
4 points of 142 functions entered (55 of them by an idle cluster too), 575 watched; 4 tried, 3 distinct outcomes
putting the fresh cluster back took 5 to 7 s a point
points  from                         to                  operation  left                                                          mended by
1–2     main.clusterPutJoin          cluster.SetupTrust  info       nothing; itself: one member                                   the restart
3       cluster.(*Gateway).init                          info       database (pending) + truststore, not raft; itself: one member  a forced removal
4       main.clusterPutJoin.func3.5                      info       never entered, or not seen to hold
";
        let squeezed = |text: &str| {
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            text.lines().map(words).collect::<Vec<_>>()
        };
        assert_eq!(squeezed(&table), squeezed(expected));
    }

    #[test]
    fn a_command_repeats_one_point_of_each_distinct_outcome() {
        let told = minimal(&sweep());
        let commands: Vec<&str> = told.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            commands,
            [
                r"harness sweep --system lxd --op join --victim joiner --fault kill --members 3 --match '^main\.clusterPutJoin$'",
                r"harness sweep --system lxd --op join --victim joiner --fault kill --members 3 --match '^github\.com/lxc/lxd/lxd/cluster\.\(\*Gateway\)\.init$'",
                r"harness sweep --system lxd --op join --victim joiner --fault kill --members 3 --match '^main\.clusterPutJoin\.func3\.5$'",
            ]
        );
        assert!(told.contains("mended by a forced removal"), "{told}");
    }

    #[test]
    fn what_made_a_join_fail_is_told_and_repeated() {
        for by in FailBy::ALL {
            let mut sweep = sweep();
            sweep.head.op = SweepOp::FailedJoin;
            sweep.head.fail_by = Some(*by);
            let said = title(&sweep.head);
            assert!(said.contains(&format!("· failed-join by {by} ·")), "{said}");
            let command = command(&sweep.head, &sweep.results[0].point);
            let flags = format!("--op failed-join --fail-by {by} --victim");
            assert!(command.contains(&flags), "{command}");
            assert!(minimal(&sweep).contains(&flags));
        }
        // Of a sweep from before there was a choice as well: the usual one may change.
        let mut old = sweep();
        old.head.op = SweepOp::FailedJoin;
        assert!(minimal(&old).contains("--fail-by name-clash"));
    }

    #[test]
    fn points_that_depend_on_chance_are_named() {
        let mut sweep = sweep();
        for (point, entered) in sweep.trace.points.iter_mut().zip([2, 1, 2, 1]) {
            point.traced = Some(Traced { entered, of: 2 });
        }
        let told = table(&sweep);
        assert!(told.contains("depend on chance: 2, 4\n"), "{told}");
        sweep.trace.points.retain(|point| point.number % 2 == 1);
        assert!(!table(&sweep).contains("chance"));
    }

    #[test]
    fn the_page_escapes_what_systems_said_and_needs_no_network() {
        let page = page(&sweep()).unwrap();
        assert!(page.contains("database (pending) + truststore, not raft"));
        assert!(!page.contains("<script>") && !page.contains("gone <b>"));
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("src="));
        assert!(page.contains("default-src 'none'"));
    }
}
