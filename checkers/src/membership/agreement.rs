//! `three-source-agreement`: for every live node, database, truststore and raft hold the same members.
//!
//! Whoever is in some of these places and not in others is reported with the region of the Venn diagram that it is in, such
//! as `database+truststore, not raft`, and with the crash points that are known to leave it there. Caches do not count
//! here: they may be derived from any of the three. Roles and names have invariants of their own.

use harness_core::view::{MemberState, Source};

use super::{
    analysis::Analysis,
    crash_points::{self, Listing},
    judgement::{Finding, Judgement, listed, since},
    quiet::Settled,
    roster::Id,
};
use crate::words::Clock;

pub(super) fn three_source_agreement(analysis: &Analysis<'_>) -> Judgement {
    let sources: Vec<Source> = analysis.rules.core_sources().collect();
    if sources.len() < 2 {
        let kept = sources
            .first()
            .map_or("no such place", |source| source.as_str());
        return Judgement::not_applicable(format!(
            "of database, truststore and raft this system has only {kept}: there is nothing to compare"
        ));
    }
    Judgement::at_quiescence(analysis, "database, truststore and raft agree", |settled| {
        analysis
            .roster
            .ids()
            .filter_map(|id| disagreement(analysis, settled, &sources, id))
            .collect()
    })
}

/// Where a member is listed, source by source.
struct Row {
    source: Source,
    inside: Vec<usize>,
    outside: Vec<usize>,
}

impl Row {
    fn listing(&self) -> Listing {
        match (self.inside.is_empty(), self.outside.is_empty()) {
            (false, true) => Listing::All,
            (false, false) => Listing::Part,
            (true, _) => Listing::None,
        }
    }
}

fn disagreement(
    analysis: &Analysis<'_>,
    settled: &Settled<'_>,
    sources: &[Source],
    id: Id,
) -> Option<Finding> {
    let rows: Vec<Row> = sources
        .iter()
        .map(|source| {
            let of_source = settled
                .readings
                .iter()
                .copied()
                .filter(|number| analysis.readings[*number].view.source == *source);
            let (inside, outside) =
                of_source.partition(|number| analysis.readings[*number].lists(id));
            Row {
                source: *source,
                inside,
                outside,
            }
        })
        .collect();
    if rows.iter().all(|row| row.inside.is_empty()) || rows.iter().all(|row| row.outside.is_empty())
    {
        return None;
    }
    let name = analysis.name(id);
    let since_ns = rows
        .iter()
        .flat_map(|row| row.inside.iter().chain(&row.outside))
        .map(|number| since(analysis, *number, id))
        .max()
        .unwrap_or(settled.since_ns);
    let clock = Clock::spanning([since_ns, settled.until_ns]);
    let story = format!(
        "{name} is in {}, and not in {}, since {} and still at {}.",
        places(analysis, rows.iter().flat_map(|row| &row.inside)),
        places(analysis, rows.iter().flat_map(|row| &row.outside)),
        clock.at(since_ns),
        clock.at(settled.until_ns)
    );
    let cause = settled.standings[id].cause;
    let pending = rows
        .iter()
        .flat_map(|row| &row.inside)
        .flat_map(|number| analysis.readings[*number].entries(id))
        .any(|member| member.state == Some(MemberState::Pending));
    let listing = |source: Source| {
        let row = rows.iter().find(|row| row.source == source);
        row.map_or(Listing::None, Row::listing)
    };
    let found = [Source::Database, Source::Truststore, Source::Raft].map(listing);
    let mut finding = Finding::new(
        "half-a-member",
        format!("{name} in {}", region(analysis, &rows)),
        format!("{name} is half a member."),
        story,
    )
    .between(since_ns, settled.until_ns)
    .on(settled
        .live
        .iter()
        .map(|node| analysis.name(*node).to_owned()))
    .on([name.to_owned()])
    .led_by(analysis, cause.as_ref());
    finding.explanation = crash_points::known(
        &analysis.input.meta.system,
        cause.map(|cause| cause.kind),
        found,
        pending,
    );
    Some(finding)
}

/// `database+truststore, not in raft`; `truststore (n1 only), not in database+raft`.
fn region(analysis: &Analysis<'_>, rows: &[Row]) -> String {
    let mut inside: Vec<String> = Vec::new();
    let mut outside = Vec::new();
    for row in rows {
        match row.listing() {
            Listing::None => outside.push(row.source.as_str()),
            Listing::Part => {
                let mut nodes = super::judgement::nodes_of(analysis, &row.inside);
                nodes.sort_unstable();
                nodes.dedup();
                inside.push(format!("{} (only of {})", row.source, listed(&nodes)));
            }
            Listing::All | Listing::Any => inside.push(row.source.as_str().to_owned()),
        }
    }
    let inside = inside.join("+");
    if outside.is_empty() {
        return inside;
    }
    format!("{inside}, not in {}", outside.join("+"))
}

fn places<'b>(analysis: &Analysis<'_>, numbers: impl IntoIterator<Item = &'b usize>) -> String {
    let names: Vec<String> = numbers
        .into_iter()
        .map(|number| analysis.place_name(analysis.readings[*number].place))
        .collect();
    listed(&names)
}
