//! Do the places where a product keeps its membership agree, with each other and with what operations said?
//!
//! A product keeps its members in a database, in truststores, in raft and in caches, on every node; joins and removes
//! change them one after the other, and who dies in between leaves them half done. The sampler reads all of them again and
//! again ([`harness_core::view`]); here named invariants are judged over those views and the history
//! ([`harness_core::membership`] has the shapes of its operations).
//!
//! Laws:
//! - each invariant has a verdict of its own; one without its precondition, or of a source that the system does not have,
//!   is `not-applicable`;
//! - what could not be read is unknown, never empty: at quiescence each source of each live member is needed, in one
//!   complete sample; safety invariants judge what was read;
//! - nothing is guessed of a member whose own operation is indeterminate: it may be in or out, but not by halves;
//! - a finding names the member, the places, since when, the operation that led to it and the faults in force meanwhile.
//!
//! One file a group: `analysis` works out what all look at, `rules` (what `meta` says), `roster` (who is who), `changes`
//! (what operations prove), `quiet` (when it was quiet, and what was said then), `judgement` (from findings to verdicts); then
//! `agreement` with `crash_points`, `presence`, `outcomes`, `roles`, `identity`, `raft`, `safety`, `order`, `probes`,
//! `restart`, `convergence`. [`INVARIANTS`] lists them all.
//!
//! After microcluster's CheckMembershipConsistency (its issue 515), which compares sorted addresses of three places as one
//! node sees them; ours looks at every node, names, certificates, roles and time as well.

mod agreement;
mod analysis;
mod changes;
mod convergence;
mod crash_points;
mod identity;
mod judgement;
mod leftovers;
mod order;
mod outcomes;
mod presence;
mod probes;
mod quiet;
mod raft;
mod restart;
mod roles;
mod roster;
mod rules;
mod safety;

use harness_core::verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict};
use serde_json::json;

use crate::words;
use analysis::Analysis;
use judgement::Judgement;

pub use rules::SETTLE_MS;

/// The name of the checker that judges them all in one result.
pub const NAME: &str = "membership";

/// When an invariant must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// At all times.
    Safety,
    /// What an operation said against what sources hold.
    Operation,
    /// When nothing is done and the settle time is over.
    Quiescence,
    /// Something good happens in time.
    Liveness,
}

/// A named invariant.
#[derive(Clone, Copy)]
pub struct Invariant {
    /// Its name, the one of its checker.
    pub name: &'static str,
    /// When it must hold.
    pub group: Group,
    /// What it says, for people.
    pub says: &'static str,
    judge: Judge,
}

/// How an invariant is judged.
#[derive(Clone, Copy)]
enum Judge {
    Plain(fn(&Analysis<'_>) -> Judgement),
    /// By a search that may run into its limits.
    Searching(fn(&Analysis<'_>, &dyn Budget) -> Judgement),
}

const fn plain(
    group: Group,
    name: &'static str,
    judge: fn(&Analysis<'_>) -> Judgement,
    says: &'static str,
) -> Invariant {
    Invariant {
        name,
        group,
        says,
        judge: Judge::Plain(judge),
    }
}

use Group::{Liveness, Operation, Quiescence, Safety};

/// All invariants, the ones that people look for first at the head.
#[rustfmt::skip]
pub const INVARIANTS: [Invariant; 27] = [
    plain(Quiescence, "three-source-agreement", agreement::three_source_agreement, "database, truststore and raft of every live node hold the same members"),
    plain(Quiescence, "no-ghost", presence::no_ghost, "nobody is in a source who was removed or never joined"),
    plain(Quiescence, "no-lost", presence::no_lost, "nobody who joined and was not removed is missing from a source"),
    plain(Quiescence, "no-pending", presence::no_pending, "nobody is pending"),
    plain(Operation, "ok-join-durable", outcomes::ok_join_durable, "who joined is in every source"),
    plain(Operation, "fail-join-clean", outcomes::fail_join_clean, "a refused join leaves nothing"),
    plain(Operation, "info-join-atomic", outcomes::info_join_atomic, "an indeterminate join took effect everywhere or nowhere"),
    plain(Operation, "ok-remove-complete", outcomes::ok_remove_complete, "who was removed is in no source"),
    plain(Operation, "fail-remove-intact", outcomes::fail_remove_intact, "a refused remove changes nothing"),
    plain(Operation, "info-remove-atomic", outcomes::info_remove_atomic, "an indeterminate remove took effect everywhere or nowhere"),
    plain(Operation, "token-single-use", order::token_single_use, "a token lets in one member"),
    Invariant {
        name: "linearizable-membership",
        group: Operation,
        says: "joins, removes and lists have a legal order on one set",
        judge: Judge::Searching(order::linearizable_membership),
    },
    plain(Safety, "no-resurrection", safety::no_resurrection, "who was removed does not come back without a join"),
    plain(Safety, "quorum-safety", safety::quorum_safety, "no accepted change leaves the running voters below a majority"),
    plain(Safety, "one-leader-per-term", raft::one_leader_per_term, "a term has one leader"),
    plain(Safety, "single-change", raft::single_change, "successive configurations differ in one member"),
    plain(Safety, "config-prefix", raft::config_prefix, "one index of raft's log holds one configuration"),
    plain(Safety, "id-unique", identity::id_unique, "no two members share an id"),
    plain(Quiescence, "role-agreement", roles::role_agreement, "all sources give a member one role"),
    plain(Quiescence, "voter-target", roles::voter_target, "there are as many voters as the system means to have"),
    plain(Quiescence, "identity-agreement", identity::identity_agreement, "name, address, certificate and raft id belong together"),
    plain(Quiescence, "removed-is-out", probes::removed_is_out, "a removed node can neither read nor write"),
    plain(Liveness, "progress-after-heal", probes::progress_after_heal, "every live member takes a write after healing"),
    plain(Liveness, "restart-one-restores", restart::restart_one_restores, "of two that were stopped at once, starting one restores service"),
    plain(Liveness, "membership-progress", probes::membership_progress, "a canary and every member in doubt can be joined and removed"),
    plain(Liveness, "convergence-time", convergence::convergence_time, "sources agree again after every disturbance"),
    plain(Liveness, "no-hang", order::no_hang, "no operation runs into its deadline without a fault"),
];

impl Invariant {
    /// The invariant of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        INVARIANTS
            .into_iter()
            .find(|invariant| invariant.name == name)
    }

    fn result(&self, analysis: &Analysis<'_>, budget: &dyn Budget) -> CheckResult {
        let mut judgement = match self.judge {
            Judge::Plain(judge) => judge(analysis),
            Judge::Searching(judge) => judge(analysis, budget),
        };
        if let Some(problem) = &analysis.rules.problem {
            judgement.notes.push(words::note(
                "options",
                Severity::Warning,
                format!("workload_options were not understood, defaults hold: {problem}"),
            ));
        }
        judgement.result(self.name)
    }
}

/// Judges all invariants, in the order of [`INVARIANTS`].
#[must_use]
pub fn judge_membership(input: &CheckInput<'_>, budget: &dyn Budget) -> Vec<CheckResult> {
    let analysis = Analysis::new(input);
    INVARIANTS
        .iter()
        .map(|invariant| invariant.result(&analysis, budget))
        .collect()
}

/// One invariant as a checker of its own name.
#[derive(Clone, Copy)]
pub struct One(pub Invariant);

impl Checker for One {
    fn name(&self) -> &str {
        self.0.name
    }

    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        self.0.result(&Analysis::new(input), budget)
    }
}

/// One checker an invariant.
#[must_use]
pub fn checkers() -> Vec<Box<dyn Checker>> {
    INVARIANTS
        .iter()
        .map(|invariant| -> Box<dyn Checker> { Box::new(One(*invariant)) })
        .collect()
}

/// All invariants merged to one result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Membership;

impl Checker for Membership {
    fn name(&self) -> &str {
        NAME
    }

    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        merged(judge_membership(input, budget))
    }
}

fn merged(results: Vec<CheckResult>) -> CheckResult {
    let verdict = Verdict::merge(results.iter().map(|result| result.verdict));
    let names = |wanted: Verdict| -> Vec<String> {
        results
            .iter()
            .filter(|result| result.verdict == wanted)
            .map(|result| result.checker.clone())
            .collect()
    };
    let (invalid, unknown) = (names(Verdict::Invalid), names(Verdict::Unknown));
    let mut summary = format!(
        "{} valid, {} invalid, {} unknown, {} not applicable",
        words::plural(names(Verdict::Valid).len(), "invariant", "invariants"),
        invalid.len(),
        unknown.len(),
        names(Verdict::NotApplicable).len()
    );
    if !invalid.is_empty() {
        summary = format!("{}; {summary}", invalid.join(", "));
    }
    let mut whole = CheckResult::new(NAME, verdict, summary);
    let by_name: serde_json::Map<_, _> = results
        .iter()
        .map(|result| (result.checker.clone(), json!(result.verdict)))
        .collect();
    whole
        .figures
        .insert("invariants".to_owned(), by_name.into());
    for result in results {
        whole.looked_at = whole.looked_at.max(result.looked_at);
        for mut note in result.notes {
            note.text = format!("{}: {}", result.checker, note.text);
            whole.notes.push(note);
        }
        if let Some(worst) = result.witnesses.into_iter().next() {
            whole.witnesses.push(worst);
        }
    }
    words::finish(whole)
}
