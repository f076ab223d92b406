//! The report of runs with membership: lanes against a brute-force oracle, the final state, sentences, goldens, hostile names.

use std::collections::BTreeMap;

use harness_checkers::membership as checker;
use harness_core::{
    verdict::Verdict,
    view::{Member, Reading, UnreadKind, View},
};
use harness_report::{
    Model, RenderError, html, junit,
    model::{
        block,
        membership::{
            Membership,
            cell::{Cell, Kind},
            invariants::INVARIANTS,
            lanes::{Held, Lane, Stretch},
        },
    },
    summary,
};

use super::{
    model, page, plain,
    synthetic::{self, Run, membership as runs},
    well_formed,
};

fn membership(model: &Model) -> &Membership {
    model.membership.as_ref().expect("membership")
}

fn lane<'a>(model: &'a Model, name: &str) -> &'a Lane {
    let mut lanes = membership(model).lanes.iter();
    lanes.find(|lane| lane.name == name).expect("a lane")
}

fn at<T: Copy>(stretches: &[Stretch<T>], at_ns: u64) -> Option<T> {
    let mut found = stretches.iter();
    found
        .find(|stretch| stretch.from_ns <= at_ns && at_ns < stretch.to_ns)
        .map(|stretch| stretch.what)
}

#[test]
fn goldens() -> Result<(), RenderError> {
    for (name, run) in [
        ("killed_joiner", runs::killed_joiner()),
        ("joins_and_removes", runs::joins_and_removes()),
        ("unread", runs::unread()),
    ] {
        let model = model(&run);
        insta::assert_snapshot!(format!("terminal_{name}"), plain(&model, 100));
        let comment = summary::render(&model);
        assert!(comment.lines().count() < 40, "{name}");
        insta::assert_snapshot!(format!("summary_{name}"), comment);
        let cases = junit::render(&model)?;
        for invariant in INVARIANTS {
            let case = format!("testcase name=\"{}\"", invariant.name);
            assert_eq!(cases.matches(&case).count(), 1, "{name}: {case}");
        }
    }
    Ok(())
}

#[test]
fn the_table_of_invariants_is_the_checker_s() {
    let ours: BTreeMap<&str, String> = INVARIANTS
        .iter()
        .map(|invariant| (invariant.name, format!("{:?}", invariant.group)))
        .collect();
    let theirs: BTreeMap<&str, String> = checker::INVARIANTS
        .iter()
        .map(|invariant| (invariant.name, format!("{:?}", invariant.group)))
        .collect();
    assert_eq!(ours, theirs);
    assert!(
        INVARIANTS
            .iter()
            .all(|invariant| invariant.says.ends_with('.'))
    );
}

#[test]
fn half_a_member_is_one_sentence_with_a_link_to_each_proof() {
    let run = runs::killed_joiner();
    let model = model(&run);
    let invalid: Vec<_> = model
        .sentences
        .iter()
        .filter(|sentence| sentence.verdict == Verdict::Invalid)
        .collect();
    assert_eq!(invalid.len(), 1, "{invalid:#?}");
    let told = invalid[0];
    assert_eq!(told.lead, "n4 is half a member.");
    for words in [
        "The database (as pending) and the truststore of every live node list it, raft and the cache do not, since 41.20 s.",
        "It was joining (operation ",
        "outcome unknown: timeout: no answer in 30 s) when fault 1 (kill n4 at cluster.Join) struck, seen 384 ms after it began.",
        "Joining it again was refused: A cluster member already exists with this name: n4 (operation ",
        "Removing it was refused: Cluster member not found (operation ",
    ] {
        assert!(told.text.contains(words), "{words} in {}", told.text);
    }
    assert!(
        told.explanation
            .as_ref()
            .is_some_and(|known| known.contains("LJ4"))
    );
    let mut anchors: Vec<&str> = told
        .more
        .iter()
        .map(|(anchor, _)| anchor.as_str())
        .collect();
    anchors.push(&told.anchor);
    let witnesses: Vec<&str> = model
        .witnesses()
        .map(|witness| witness.anchor.as_str())
        .collect();
    assert_eq!(anchors.len(), witnesses.len());
    assert!(witnesses.iter().all(|anchor| anchors.contains(anchor)));
    // The same story once: a note that says what a witness says is not repeated.
    let page = html::render(&model).expect("a page");
    assert_eq!(
        page.matches("and is pending though nothing is under way")
            .count(),
        2,
        "story and its timeline"
    );
}

#[test]
fn the_lane_of_half_a_member_shows_where_it_is_and_links_the_proofs() {
    let run = runs::killed_joiner();
    let model = model(&run);
    let lane = lane(&model, "n4");
    let held: Vec<Option<Held>> = lane
        .stripes
        .iter()
        .map(|stripe| at(&stripe.stretches, 100_000_000_000))
        .collect();
    assert_eq!(
        held,
        [
            Held::Pending,
            Held::Everywhere,
            Held::Nowhere,
            Held::Nowhere
        ]
        .map(Some)
    );
    assert_eq!(lane.witnesses, [1, 2, 3, 4, 5, 6]);
    assert_eq!(lane.faults.len(), 1, "the partition struck n1");
    assert_eq!(lane.changes[0].1.end_ns, None, "an info stays open");
    let page = html::render(&model).expect("a page");
    let start = page.find("id=\"lane-n4\"").expect("the lane");
    let end = page[start..].find("id=\"lane-n5\"").expect("the next") + start;
    let drawn = &page[start..end];
    for witness in model.witnesses() {
        assert!(drawn.contains(&format!("href=\"#{}\"", witness.anchor)));
    }
    assert!(drawn.contains("proof-frame") && drawn.contains("held pending"));
    assert!(drawn.contains("n4. Database: not in from 0.20 s; in, pending from 41.20 s"));
}

/// The number of the node that a member is, from 1: by its name, or by the last part of its address.
fn number_of(member: &Member) -> usize {
    let of_name = member
        .name
        .as_deref()
        .and_then(|name| name[1..].parse().ok());
    let host = |address: &str| address.split(':').next()?.rsplit('.').next()?.parse().ok();
    of_name
        .or_else(|| member.address.as_deref().and_then(host))
        .or_else(|| {
            let print = member.fingerprint.as_deref()?;
            let number = u32::from_str_radix(&print[..8], 16).ok()? - 0x9f2c_0000;
            Some(number as usize / 0x1357 + 1)
        })
        .expect("somebody")
}

/// What one sample says of one member in one source: every place of it was read at nearly one moment.
fn oracle(views: &[&View], number: usize) -> Option<Held> {
    let stopped = |view: &&&View| {
        views.iter().any(|other| {
            other.node == view.node
                && matches!(
                    other.reading,
                    Reading::Unread {
                        kind: UnreadKind::Stopped,
                        ..
                    }
                )
        })
    };
    let (mut inside, mut outside, mut unread, mut pending) = (0, 0, 0, false);
    for view in views.iter().filter(|view| !stopped(view)) {
        match view.members() {
            None => unread += 1,
            Some(members) => {
                let mut entries = members.iter().filter(|member| number_of(member) == number);
                match entries.next() {
                    None => outside += 1,
                    Some(member) => {
                        inside += 1;
                        pending |= member.state == Some(harness_core::view::MemberState::Pending);
                    }
                }
            }
        }
    }
    Some(match (inside, outside, unread) {
        (0, 0, 0) => return None,
        (0, 0, _) => Held::Unread(None),
        (0, _, 0) => Held::Nowhere,
        (0, _, _) => Held::Unread(Some(false)),
        (_, 0, 0) if pending => Held::Pending,
        (_, 0, 0) => Held::Everywhere,
        (_, 0, _) => Held::Unread(Some(true)),
        _ => Held::Differ,
    })
}

#[test]
fn stripes_say_what_each_sample_says() {
    for (name, run) in [
        ("killed joiner", runs::killed_joiner()),
        ("joins and removes", runs::joins_and_removes()),
        ("unread", runs::unread()),
    ] {
        let model = model(&run);
        let mut samples: BTreeMap<(u64, &str), Vec<&View>> = BTreeMap::new();
        for view in &run.views {
            samples
                .entry((view.sample, view.source.as_str()))
                .or_default()
                .push(view);
        }
        let mut compared = 0;
        for ((sample, source), views) in &samples {
            // When all of this sample has begun; nothing was done to the cluster in between.
            let at_ns = views.iter().map(|view| view.start_ns).max().expect("one") + 1_000_000;
            for lane in &membership(&model).lanes {
                let mut stripes = lane.stripes.iter();
                let stripe = stripes
                    .find(|stripe| stripe.source.as_str() == *source)
                    .expect("a stripe");
                let number = lane.name[1..].parse().expect("a number");
                let Some(expected) = oracle(views, number) else {
                    continue;
                };
                assert_eq!(
                    at(&stripe.stretches, at_ns),
                    Some(expected),
                    "{name}, sample {sample}, {source} of {}",
                    lane.name
                );
                compared += 1;
            }
        }
        assert!(compared > 1_000, "{name}: {compared}");
    }
}

fn cells<'a>(model: &'a Model, member: &str) -> &'a [Cell] {
    let mut rows = membership(model).matrix.rows.iter();
    let row = rows.find(|row| row.name == member).expect("a row");
    &row.cells
}

#[test]
fn the_final_state_marks_what_differs_and_says_why_something_is_unread() {
    let run = runs::killed_joiner();
    let half = model(&run);
    let told: Vec<&str> = cells(&half, "n4")
        .iter()
        .map(|cell| cell.differs.as_str())
        .collect();
    let places = ["pending", "", "", "absent", "absent"];
    let wanted: Vec<&str> = places.iter().flat_map(|word| [*word; 3]).collect();
    assert_eq!(told, wanted);
    assert!(
        cells(&half, "n1")
            .iter()
            .all(|cell| cell.differs.is_empty())
    );
    assert!(
        membership(&half)
            .matrix
            .words()
            .starts_with("Places do not say the same of n4.")
    );

    let run = runs::unread();
    let unread = model(&run);
    let matrix = &membership(&unread).matrix;
    assert_eq!(matrix.stopped, ["n2"]);
    assert_eq!(matrix.unread.len(), 1);
    assert!(matrix.unread[0].starts_with("database of n3, since 50.20 s: timeout: no answer"));
    let kinds = |kind: Kind| {
        cells(&unread, "n1")
            .iter()
            .filter(|cell| cell.kind == kind)
            .count()
    };
    assert_eq!((kinds(Kind::Unread), kinds(Kind::Stopped)), (1, 5));
    let seconds = |ns: u64| ns / 1_000_000_000;
    let stopped: Vec<(u64, u64)> = lane(&unread, "n2")
        .stopped
        .iter()
        .map(|(from, to)| (seconds(*from), seconds(*to)))
        .collect();
    assert_eq!(stopped, [(80, 84), (90, 120)]);
    let page = page(&run);
    assert!(page.contains("<span class=\"heard\">unread</span><small>timeout</small>"));
    assert!(page.contains("n2<small>stopped</small>"));
}

#[test]
fn a_wrong_role_id_or_certificate_is_marked_in_its_cell() {
    use harness_core::view::{Role, Source};
    let mut run = runs::joins_and_removes();
    let last = run
        .views
        .iter()
        .map(|view| view.sample)
        .max()
        .expect("views");
    for view in run
        .views
        .iter_mut()
        .filter(|view| view.sample + 5 > last && &*view.node == "n2")
    {
        if let Reading::Members(members) = &mut view.reading {
            match view.source {
                Source::Raft => members[0].role = Some(Role::Spare),
                Source::Truststore => members[1].fingerprint = Some("00ff00ff00ff".to_owned()),
                Source::Cache => members[2].raft_id = Some(77),
                Source::Database => {}
            }
        }
    }
    let model = model(&run);
    for (member, word) in [("n1", "spare"), ("n3", "id 77")] {
        let odd: Vec<_> = cells(&model, member)
            .iter()
            .filter(|cell| !cell.differs.is_empty())
            .collect();
        assert_eq!(odd.len(), 1, "{member}: {odd:#?}");
        assert_eq!(odd[0].differs, word);
    }
    let odd: Vec<_> = cells(&model, "n2")
        .iter()
        .map(|cell| cell.differs.as_str())
        .collect();
    assert_eq!(
        odd.iter().filter(|word| **word == "00ff00ff").count(),
        2,
        "{odd:?}"
    );
}

#[test]
fn invariants_stand_in_groups_the_worst_first_and_what_does_not_apply_is_folded() {
    let run = runs::killed_joiner();
    let model = model(&run);
    let blocks = block::blocks(&model.checks);
    assert_eq!(blocks.len(), 5, "four groups and the others");
    let shown: usize = blocks
        .iter()
        .map(|block| block.rows.len() + block.folded.len())
        .sum();
    assert_eq!(shown, model.checks.len());
    assert_eq!(blocks[0].rows[0].verdict, Verdict::Invalid);
    for block in &blocks {
        let verdicts = block.rows.iter().map(|check| check.verdict);
        assert!(
            verdicts
                .clone()
                .all(|verdict| block.group.is_none() || verdict != Verdict::NotApplicable)
        );
        let ranks: Vec<bool> = verdicts.map(|verdict| verdict == Verdict::Valid).collect();
        assert!(ranks.is_sorted(), "{ranks:?}");
    }
    let page = html::render(&model).expect("a page");
    for invariant in INVARIANTS {
        assert!(
            page.contains(&format!("id=\"checker-{}\"", invariant.name)),
            "{}",
            invariant.name
        );
    }
}

#[test]
fn one_reason_for_many_unknown_invariants_is_told_once() {
    let model = model(&runs::unread());
    let unknown: Vec<_> = model
        .sentences
        .iter()
        .filter(|sentence| sentence.verdict == Verdict::Unknown)
        .collect();
    assert_eq!(unknown.len(), 1, "{unknown:#?}");
    assert_eq!(unknown[0].lead, "10 invariants could not be judged.");
    assert!(unknown[0].text.contains("atabase of n3"));
}

#[test]
fn a_run_without_views_has_no_lanes_and_no_final_state() {
    let page = page(&synthetic::rich());
    for part in ["id=\"membership\"", "class=\"row member\"", "held in"] {
        assert!(
            !page
                .split("</style>")
                .nth(1)
                .expect("a body")
                .contains(part),
            "{part}"
        );
    }
}

#[test]
fn the_leader_and_its_term_have_a_row() {
    let model = model(&runs::killed_joiner());
    let led: Vec<(u64, String)> = membership(&model)
        .led
        .iter()
        .map(|stretch| (stretch.from_ns / 1_000_000_000, stretch.what.words()))
        .collect();
    assert_eq!(
        led,
        [
            (0, "n1 · term 2".to_owned()),
            (63, "n3 · term 3".to_owned())
        ]
    );
}

/// Every text that a system under test can put into a view.
fn poison(run: &mut Run, evil: &str) {
    for view in &mut run.views {
        view.label = view.label.as_ref().map(|_| evil.into());
        match &mut view.reading {
            Reading::Members(members) => {
                for member in members.iter_mut().filter(|member| number_of(member) > 3) {
                    member.name = Some(evil.to_owned());
                    member.address = Some(evil.to_owned());
                    member.fingerprint = Some(evil.to_owned());
                }
            }
            Reading::Unread { message, .. } => evil.clone_into(message),
        }
    }
}

#[test]
fn hostile_names_in_views_stay_text() -> Result<(), RenderError> {
    let evil = "</script><img src=x onerror=alert(1)>\"' \u{202e}\x1b[31m| @all `";
    for mut run in [runs::killed_joiner(), runs::unread()] {
        poison(&mut run, evil);
        for operation in &mut run.history.operations {
            operation.error = operation.error.take().map(|mut error| {
                error.message = evil.to_owned();
                error
            });
        }
        let model = model(&run);
        let page = html::render(&model)?;
        assert!(page.contains("onerror=alert"), "it is shown");
        assert!(!page.contains("<img") && !page.contains('\u{202e}') && !page.contains('\x1b'));
        assert_eq!(page.matches("</script").count(), 2);
        well_formed(&page);
        let comment = summary::render(&model);
        assert!(!comment.contains("<img") && !comment.contains("@all"));
        assert!(!plain(&model, 100).contains('\x1b'));
        assert!(!junit::render(&model)?.contains("<img"));
    }
    Ok(())
}

#[test]
fn ten_minutes_of_twelve_nodes_stay_small() {
    let run = runs::long();
    assert!(run.views.len() > 40_000, "{} views", run.views.len());
    let page = page(&run);
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    well_formed(&page);
}
