//! The report of synthetic runs: golden texts, and properties of the page.
//!
//! Golden files are made by `INSTA_UPDATE=always cargo test -p harness-report`, and read by a person before they are
//! committed.

use std::collections::HashSet;

use harness_core::{
    meta::{Meta, Plan},
    verdict::{Verdict, VerdictFile},
};
use harness_report::{Model, RenderError, html, json, junit, model::story, summary, terminal};

mod synthetic;

#[path = "cases/membership.rs"]
mod membership;

fn model(run: &synthetic::Run) -> Model {
    run.with(Model::new)
}

fn page(run: &synthetic::Run) -> String {
    html::render(&model(run)).expect("a page")
}

fn plain(model: &Model, width: usize) -> String {
    terminal::render(
        model,
        terminal::Style {
            colour: false,
            width,
        },
    )
}

/// Text in the middle between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).expect("the first mark") + from.len();
    let end = text[start..].find(to).expect("the second mark");
    &text[start..start + end]
}

#[test]
fn terminal_golden() {
    for (name, run) in [
        ("valid", synthetic::valid()),
        ("invalid", synthetic::invalid()),
        ("unknown", synthetic::unknown()),
    ] {
        insta::assert_snapshot!(format!("terminal_{name}"), plain(&model(&run), 100));
    }
}

#[test]
fn summary_golden() {
    for (name, run) in [
        ("valid", synthetic::valid()),
        ("invalid", synthetic::invalid()),
        ("unknown", synthetic::unknown()),
    ] {
        let text = summary::render(&model(&run));
        assert!(text.lines().count() < 40, "{name}");
        insta::assert_snapshot!(format!("summary_{name}"), text);
    }
}

#[test]
fn junit_golden() -> Result<(), RenderError> {
    for (name, run) in [
        ("valid", synthetic::valid()),
        ("invalid", synthetic::invalid()),
        ("unknown", synthetic::unknown()),
    ] {
        insta::assert_snapshot!(format!("junit_{name}"), junit::render(&model(&run))?);
    }
    Ok(())
}

#[test]
fn json_golden_and_back() -> Result<(), serde_json::Error> {
    let value = json::RunSummary::new(&model(&synthetic::invalid()));
    let text = serde_json::to_string_pretty(&value)?;
    assert_eq!(serde_json::from_str::<json::RunSummary>(&text)?, value);
    insta::assert_snapshot!("json_invalid", text);
    Ok(())
}

#[test]
fn the_terminal_keeps_its_width_and_its_words_without_colour() {
    let model = model(&synthetic::rich());
    for width in [40, 60, 80, 100] {
        for line in plain(&model, width).lines() {
            let copied = ["  report", "  repeat", "  check", "  heal"];
            let counted = line.starts_with("  ✓") || line.starts_with("  operations");
            if !copied.iter().any(|verb| line.starts_with(verb)) && (width >= 80 || !counted) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }
    let coloured = terminal::render(
        &model,
        terminal::Style {
            colour: true,
            width: 100,
        },
    );
    assert!(coloured.contains("\x1b[1;31minvalid\x1b[0m"));
    let mut bare = coloured;
    for code in [
        "\x1b[1;31m",
        "\x1b[1;7m",
        "\x1b[32m",
        "\x1b[33m",
        "\x1b[2m",
        "\x1b[0m",
    ] {
        bare = bare.replace(code, "");
    }
    assert_eq!(bare, plain(&model, 100));
}

#[test]
fn every_output_says_simulation_and_only_where_it_is_one() -> Result<(), RenderError> {
    let outputs = |run: &synthetic::Run| -> Result<Vec<String>, RenderError> {
        let model = model(run);
        Ok(vec![
            html::render(&model)?,
            summary::render(&model),
            junit::render(&model)?,
            plain(&model, 100),
        ])
    };
    for text in outputs(&synthetic::unknown())? {
        assert!(text.contains("SIMULATION"));
    }
    for text in outputs(&synthetic::valid())? {
        assert!(!text.contains("SIMULATION"));
    }
    let value = json::RunSummary::new(&model(&synthetic::unknown()));
    assert!(value.simulated && value.alarms[0].contains("SIMULATION"));
    Ok(())
}

#[test]
fn the_page_asks_nothing_of_the_network_and_runs_only_its_own_script() {
    let page = page(&synthetic::rich());
    for word in [
        "http://",
        "https://",
        "src=\"",
        "@import",
        "url(//",
        "<link",
        "<iframe",
        " style=\"",
    ] {
        assert!(
            !page.contains(word) || word == "src=\"" && !page.contains("<img"),
            "{word}"
        );
    }
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\">");
    assert!(
        policy.contains("default-src &#39;none&#39;") || policy.contains("default-src 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    let policy = policy
        .replace("&#39;", "'")
        .replace("&#43;", "+")
        .replace("&#x2F;", "/");
    assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
    assert!(!page.contains(" onclick="));
}

#[test]
fn hostile_text_stays_text() -> Result<(), RenderError> {
    let evil = "</script><img src=x onerror=alert(1)>\"' \u{202e}\x1b[31m| @all `";
    let mut run = synthetic::rich();
    run.meta.nodes[0].name = evil.to_owned();
    run.meta.system = evil.to_owned();
    run.meta.workload = evil.to_owned();
    run.meta.config = serde_json::json!({ evil: evil });
    run.logs.push((
        evil.to_owned(),
        evil.to_owned(),
        format!("panic: {evil}\n").into_bytes(),
    ));
    run.faults[0].label = evil.to_owned();
    run.faults[1].kind = evil.to_owned();
    run.faults[0].evidence[0].text = evil.to_owned();
    for operation in &mut run.history.operations {
        operation.f = evil.into();
        operation.input = serde_json::json!(evil);
        operation.output = serde_json::json!([evil]);
        operation.node = Some(evil.into());
    }
    for result in &mut run.verdict.results {
        result.checker = evil.to_owned();
        result.summary = evil.to_owned();
        result
            .figures
            .insert(evil.to_owned(), serde_json::json!(evil));
        for witness in &mut result.witnesses {
            witness.kind = evil.to_owned();
            witness.story = evil.to_owned();
            witness.title = evil.to_owned();
            witness.edges[0].words = evil.to_owned();
        }
    }
    let model = model(&run);
    let page = html::render(&model)?;
    assert!(page.contains("onerror=alert"), "it is shown");
    assert!(!page.contains("<img"));
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains('\u{202e}') && !page.contains('\x1b'));
    well_formed(&page);
    let data = between(&page, "id=\"data\">", "</script>");
    assert!(!data.contains('<'));
    serde_json::from_str::<serde_json::Value>(data)?;
    let comment = summary::render(&model);
    assert!(!comment.contains("<img") && !comment.contains("@all") && comment.lines().count() < 40);
    assert!(!plain(&model, 100).contains('\x1b'));
    assert!(!junit::render(&model)?.contains("<img"));
    Ok(())
}

/// Checks that tags nest, as a strict reader of XML would; returns how many there were.
fn well_formed(page: &str) -> usize {
    let void = ["meta", "input", "br", "hr"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!doctype html>").expect("a doctype");
    let mut count = 0;
    while let Some(start) = rest.find('<') {
        let tag = &rest[start + 1..];
        let end = tag.find('>').expect("a tag ends");
        let (inside, after) = (&tag[..end], &tag[end + 1..]);
        rest = after;
        count += 1;
        if let Some(name) = inside.strip_prefix('/') {
            assert_eq!(
                open.pop(),
                Some(name),
                "before: {}",
                &after[..after.len().min(80)]
            );
            continue;
        }
        let name = inside.split([' ', '\n', '/']).next().expect("a name");
        assert!(
            name.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{name}"
        );
        assert!(inside.matches('"').count() % 2 == 0, "{inside}");
        if inside.ends_with('/') || void.contains(&name) {
            continue;
        }
        open.push(name);
        if matches!(name, "script" | "style") {
            let close = format!("</{name}>");
            rest = &rest[rest.find(&close).expect("it is closed")..];
        }
    }
    assert_eq!(open, Vec::<&str>::new());
    count
}

#[test]
fn pages_are_well_formed_and_links_lead_somewhere_unique() {
    for run in [
        synthetic::valid(),
        synthetic::rich(),
        synthetic::invalid(),
        synthetic::unknown(),
        synthetic::membership::killed_joiner(),
        synthetic::membership::joins_and_removes(),
        synthetic::membership::unread(),
    ] {
        let page = page(&run);
        assert!(well_formed(&page) > 300);
        let ids: Vec<&str> = page
            .split(" id=\"")
            .skip(1)
            .map(|rest| &rest[..rest.find('"').expect("a quote")])
            .collect();
        let unique: HashSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), unique.len(), "an anchor is given twice");
        for link in page.split("href=\"#").skip(1) {
            let anchor = &link[..link.find('"').expect("a quote")];
            assert!(unique.contains(anchor), "#{anchor} leads nowhere");
        }
        for reference in page.split("url(#").skip(1) {
            let anchor = &reference[..reference.find(')').expect("a bracket")];
            assert!(unique.contains(anchor), "pattern {anchor} is missing");
        }
    }
}

#[test]
fn sections_stand_in_the_order_of_the_design() {
    let page = page(&synthetic::rich());
    let order = [
        "id=\"verdict\"",
        "id=\"what\"",
        "id=\"repeat\"",
        "id=\"time\"",
        "id=\"checkers\"",
        "id=\"faults\"",
        "id=\"nodes\"",
        "id=\"rest\"",
    ];
    let places: Vec<usize> = order.iter().map(|id| page.find(id).expect(id)).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(page.contains("<title>SIMULATION · ✗ invalid"));
    assert!(page.contains("prefers-reduced-motion") && page.contains("@media print"));
}

#[test]
fn the_worst_comes_first_and_at_most_five() {
    let model = model(&synthetic::rich());
    assert_eq!(model.sentences[0].lead, "A read went back in time.");
    assert!(model.sentences[0].explanation.is_some());
    assert!(
        model.sentences[0]
            .around
            .as_deref()
            .is_some_and(|around| around.starts_with("During fault 1"))
    );
    assert!(model.sentences.len() <= story::LIMIT);
    let verdicts: Vec<_> = model
        .sentences
        .iter()
        .map(|sentence| sentence.verdict)
        .collect();
    assert_eq!(verdicts[..3], [Verdict::Invalid; 3]);
    assert_eq!(model.checks[0].verdict, Verdict::Invalid);
}

#[test]
fn an_empty_run_is_unknown_and_still_a_report() -> Result<(), RenderError> {
    let run = synthetic::Run {
        meta: Meta {
            system: "dqlite".to_owned(),
            ..Meta::default()
        },
        plan: Plan::default(),
        faults: Vec::new(),
        history: harness_core::history::History::default(),
        views: Vec::new(),
        verdict: VerdictFile {
            format_version: 1,
            verdict: Verdict::Unknown,
            results: Vec::new(),
        },
        logs: Vec::new(),
    };
    let model = model(&run);
    assert_eq!(model.sentences[0].lead, "Nothing was judged.");
    well_formed(&html::render(&model)?);
    let junit = junit::render(&model)?;
    assert!(
        junit.contains("errors=\"1\""),
        "never greener than the run: {junit}"
    );
    assert!(plain(&model, 80).contains("nothing was judged"));
    Ok(())
}

#[test]
fn a_million_operations_are_under_five_megabytes_and_witnesses_stay_exact() {
    let run = synthetic::large();
    let operations = run.history.operations.len();
    assert!(operations >= 1_000_000, "{operations}");
    let model = model(&run);
    let page = html::render(&model).expect("a page");
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    assert!(model.series.binned);
    let stands_for: u64 = model
        .series
        .points
        .iter()
        .map(|point| u64::from(point.count))
        .sum();
    let counts = model.tally.counts;
    assert_eq!(
        stands_for,
        counts.ok + counts.fail,
        "no operation is lost in a bin"
    );
    let exact: HashSet<u64> = model
        .series
        .points
        .iter()
        .filter(|point| point.count == 1)
        .map(|point| point.index)
        .collect();
    for witness in model.witnesses() {
        for shown in witness
            .operations
            .iter()
            .filter(|shown| shown.end_ns.is_some())
        {
            assert!(
                exact.contains(&shown.index),
                "operation {} is binned",
                shown.index
            );
        }
    }
    let slowest = model
        .series
        .points
        .iter()
        .map(|point| point.latency_ns)
        .max();
    let fails = run
        .history
        .operations
        .iter()
        .filter_map(harness_report::model::tally::latency_ns)
        .max();
    assert_eq!(slowest, fails, "the slowest is shown");
}
