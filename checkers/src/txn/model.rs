//! Consistency models: what each forbids, and which follows from which.
//!
//! A model forbids anomalies of its own and all that the models forbid which it implies. So a set of anomalies found
//! rules out some models; the weakest of these are the finding (`not`), the stronger ones follow (`also_not`).
//!
//! Sources: Adya 1999 (read uncommitted PL-1, read committed PL-2, monotonic view PL-2L, consistent view PL-2+, forward
//! consistent view PL-FCV, update serializable PL-3U, repeatable read PL-2.99, serializable PL-3); Bailis and others,
//! VLDB 2013 (monotonic atomic view, cursor stability); Cerone, Bernardi and Gotsman, CONCUR 2015 (read atomic, causal,
//! parallel snapshot isolation, prefix, snapshot isolation); Daudjee and Salem, VLDB 2006 (strong and strong session snapshot
//! isolation); Cerone and Gotsman, PODC 2016 (snapshot isolation forbids exactly the cycles without two adjacent
//! anti-dependencies), and their longer paper, J. ACM 2018 (parallel snapshot isolation forbids exactly those with one anti-dependency at
//! most). The relations are those of Elle's map of models, with which results are compared, and one that follows from the last of these and is
//! not in the map: parallel snapshot isolation implies consistent view.
//!
//! Some models forbid more than the anomalies that are looked for ([`PARTIAL`]). For these a finding is proof, and without one they hold for certain
//! only if a stronger model does that is checked in full. Of these read atomic and causal are decided where that is the question: on lists by [`super::sight`],
//! on registers by [`super::commits`].
//!
//! Sessions count in the models named `strong-session-` alone, so that serializable, say, implies causal, as it does in Cerone, Bernardi and Gotsman's paper.
//! The levels of [`super::weak`] have sessions, as in Biswas and Enea's (OOPSLA 2019): its `causal` is `strong-session-causal` here.

use super::anomaly::{Anomaly, Cycle, Order};

/// A model, by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Model(usize);

struct Row {
    name: &'static str,
    implies: &'static [&'static str],
    forbids: &'static [Anomaly],
}

const fn row(
    name: &'static str,
    implies: &'static [&'static str],
    forbids: &'static [Anomaly],
) -> Row {
    Row {
        name,
        implies,
        forbids,
    }
}

const fn plain(cycle: Cycle) -> Anomaly {
    Anomaly::Cycle(Order::Plain, cycle)
}

const fn process(cycle: Cycle) -> Anomaly {
    Anomaly::Cycle(Order::Process, cycle)
}

const fn realtime(cycle: Cycle) -> Anomaly {
    Anomaly::Cycle(Order::Realtime, cycle)
}

/// Weak before strong.
static ROWS: [Row; 27] = [
    row(
        "read-uncommitted",
        &[],
        &[
            plain(Cycle::G0),
            Anomaly::DuplicateElements,
            Anomaly::UnwrittenRead,
        ],
    ),
    row(
        "read-committed",
        &["read-uncommitted"],
        &[
            Anomaly::G1a,
            Anomaly::G1b,
            plain(Cycle::G1c),
            Anomaly::IncompatibleOrder,
            Anomaly::CyclicVersions,
            Anomaly::DirtyUpdate,
            Anomaly::FutureRead,
        ],
    ),
    row("monotonic-view", &["read-committed"], &[]),
    row("monotonic-snapshot-read", &["read-committed"], &[]),
    row("monotonic-atomic-view", &["read-committed"], &[]),
    row(
        "cursor-stability",
        &["read-committed"],
        &[Anomaly::LostUpdate],
    ),
    row(
        "consistent-view",
        &["cursor-stability", "monotonic-view"],
        &[plain(Cycle::GSingle)],
    ),
    row("forward-consistent-view", &["consistent-view"], &[]),
    row("update-serializable", &["forward-consistent-view"], &[]),
    row(
        "repeatable-read",
        &["cursor-stability", "monotonic-atomic-view"],
        &[plain(Cycle::G2Item), Anomaly::LostUpdate],
    ),
    row(
        "read-atomic",
        &["monotonic-atomic-view"],
        &[
            Anomaly::Internal,
            Anomaly::FutureRead,
            Anomaly::FracturedRead(Order::Plain),
        ],
    ),
    row("update-atomic", &["read-atomic"], &[Anomaly::LostUpdate]),
    row(
        "causal",
        &["read-atomic"],
        &[Anomaly::CausalityViolation(Order::Plain)],
    ),
    row(
        "parallel-snapshot-isolation",
        &["causal", "consistent-view", "update-atomic"],
        &[],
    ),
    row("prefix", &["causal"], &[]),
    row(
        "snapshot-isolation",
        &[
            "forward-consistent-view",
            "monotonic-atomic-view",
            "monotonic-snapshot-read",
            "parallel-snapshot-isolation",
            "prefix",
        ],
        &[plain(Cycle::GNonadjacent)],
    ),
    row(
        "serializable",
        &[
            "repeatable-read",
            "update-serializable",
            "snapshot-isolation",
        ],
        &[],
    ),
    row(
        "strong-session-read-uncommitted",
        &["read-uncommitted"],
        &[process(Cycle::G0)],
    ),
    row(
        "strong-session-read-committed",
        &["read-committed", "strong-session-read-uncommitted"],
        &[process(Cycle::G1c)],
    ),
    row(
        "strong-session-read-atomic",
        &["read-atomic", "strong-session-read-committed"],
        &[Anomaly::FracturedRead(Order::Process)],
    ),
    row(
        "strong-session-causal",
        &["causal", "strong-session-read-atomic"],
        &[Anomaly::CausalityViolation(Order::Process)],
    ),
    row(
        "strong-session-snapshot-isolation",
        &["snapshot-isolation", "strong-session-causal"],
        &[process(Cycle::GNonadjacent)],
    ),
    row(
        "strong-session-serializable",
        &["serializable", "strong-session-snapshot-isolation"],
        &[process(Cycle::G2Item)],
    ),
    row(
        "strong-read-uncommitted",
        &["strong-session-read-uncommitted"],
        &[realtime(Cycle::G0)],
    ),
    row(
        "strong-read-committed",
        &["strong-session-read-committed", "strong-read-uncommitted"],
        &[realtime(Cycle::G1c)],
    ),
    row(
        "strong-snapshot-isolation",
        &["strong-session-snapshot-isolation", "strong-read-committed"],
        &[realtime(Cycle::GNonadjacent)],
    ),
    row(
        "strict-serializable",
        &["strong-session-serializable", "strong-snapshot-isolation"],
        &[realtime(Cycle::G2Item)],
    ),
];

/// Other names.
const ALIASES: [(&str, &str); 4] = [
    ("strong-serializable", "strict-serializable"),
    ("causal-cerone", "causal"),
    ("conflict-serializable", "serializable"),
    (
        "strong-session-serializability",
        "strong-session-serializable",
    ),
];

/// Models of who saw whose work, weak before strong. [`super::sight`] and [`super::commits`] decide them.
const BY_SIGHT: [&str; 4] = [
    "read-atomic",
    "causal",
    "strong-session-read-atomic",
    "strong-session-causal",
];

/// Models that forbid more than what is looked for everywhere.
const PARTIAL: [&str; 12] = [
    "monotonic-view",
    "monotonic-snapshot-read",
    "monotonic-atomic-view",
    "cursor-stability",
    "forward-consistent-view",
    "update-serializable",
    "read-atomic",
    "update-atomic",
    "causal",
    "prefix",
    "strong-session-read-atomic",
    "strong-session-causal",
];

/// All names, weak before strong.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

impl Model {
    /// The model of that name.
    pub fn named(name: &str) -> Option<Self> {
        let name = ALIASES
            .iter()
            .find(|(alias, _)| *alias == name)
            .map_or(name, |(_, name)| name);
        ROWS.iter().position(|row| row.name == name).map(Self)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        ROWS[self.0].name
    }

    /// Whether it holds if these are all anomalies of the kinds that are looked for: a model that implies it, or itself,
    /// is checked in full and forbids none of them. `decided` is one that was decided though it is not checked in full everywhere; `in_order` says
    /// whether the order of writes is known where models of circles need it.
    pub fn holds(self, anomalies: &[Anomaly], decided: Option<Self>, in_order: bool) -> bool {
        (0..ROWS.len()).map(Self).any(|model| {
            let in_full = !PARTIAL.contains(&model.name()) && (in_order || !model.needs_order());
            model.implies(self)
                && (in_full || decided == Some(model))
                && !anomalies.iter().any(|anomaly| model.forbids(*anomaly))
        })
    }

    /// Whether it forbids some circles with anti-dependencies and not all: if it forbids all, transactions have an order, and then their writes have one.
    fn needs_order(self) -> bool {
        let forbids = |order, cycle| self.forbids(Anomaly::Cycle(order, cycle));
        Order::ALL.into_iter().any(|order| {
            let some = forbids(order, Cycle::GSingle) || forbids(order, Cycle::GNonadjacent);
            some && !forbids(order, Cycle::G2Item)
        })
    }

    /// Which of the models of who saw whose work says most about this one: the strongest that it implies, else the weakest that implies it.
    pub fn by_sight(self) -> Option<Self> {
        let all = || BY_SIGHT.iter().filter_map(|name| Self::named(name));
        let implied = all().rfind(|model| self.implies(*model));
        implied.or_else(|| all().find(|model| model.implies(self)))
    }

    /// Whether it forbids more than what is looked for.
    pub fn is_partial(self) -> bool {
        PARTIAL.contains(&self.name())
    }

    /// Whether a history with this anomaly does not have this model.
    pub fn forbids(self, anomaly: Anomaly) -> bool {
        let row = &ROWS[self.0];
        row.forbids.iter().any(|own| anomaly.implies(*own))
            || row
                .implies
                .iter()
                .filter_map(|name| Self::named(name))
                .any(|weaker| weaker.forbids(anomaly))
    }

    /// The orders besides the data's that it has a say about, the data's own included.
    pub fn orders(self) -> Vec<Order> {
        let needs = |order: Order| {
            Cycle::ALL
                .into_iter()
                .any(|cycle| self.forbids(Anomaly::Cycle(order, cycle)))
        };
        Order::ALL
            .into_iter()
            .filter(|order| needs(*order))
            .collect()
    }

    /// Whether whatever has this model has the other one.
    pub fn implies(self, other: Self) -> bool {
        self == other
            || ROWS[self.0]
                .implies
                .iter()
                .filter_map(|name| Self::named(name))
                .any(|weaker| weaker.implies(other))
    }
}

/// The weakest models that these anomalies rule out, and the stronger ones that fall with them.
pub(super) fn ruled_out(anomalies: &[Anomaly]) -> (Vec<&'static str>, Vec<&'static str>) {
    let out: Vec<Model> = (0..ROWS.len())
        .map(Model)
        .filter(|model| anomalies.iter().any(|anomaly| model.forbids(*anomaly)))
        .collect();
    let (weakest, rest): (Vec<Model>, Vec<Model>) = out.iter().partition(|model| {
        !out.iter()
            .any(|other| other != *model && model.implies(*other))
    });
    let names = |models: Vec<Model>| {
        let mut names: Vec<&str> = models.into_iter().map(Model::name).collect();
        names.sort_unstable();
        names
    };
    (names(weakest), names(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_a_model_implies_exists_and_stands_before_it() {
        for (place, row) in ROWS.iter().enumerate() {
            for name in row.implies {
                assert!(
                    Model::named(name).is_some_and(|model| model.0 < place),
                    "{name}"
                );
            }
        }
        for (_, name) in ALIASES {
            assert!(Model::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn orders_that_matter() {
        for (name, number) in [
            ("serializable", 1),
            ("read-uncommitted", 1),
            ("strong-session-read-committed", 2),
            ("causal", 1),
            ("strong-session-causal", 2),
            ("strong-read-uncommitted", 3),
            ("strict-serializable", 3),
        ] {
            let orders = Model::named(name).map(Model::orders);
            assert_eq!(orders.map_or(0, |orders| orders.len()), number, "{name}");
        }
    }

    #[test]
    fn what_anomalies_rule_out() {
        let table: [(&[Anomaly], &[&str]); 11] = [
            (&[], &[]),
            (&[plain(Cycle::G0)], &["read-uncommitted"]),
            (&[Anomaly::G1a], &["read-committed"]),
            (&[Anomaly::Internal], &["read-atomic"]),
            (
                &[Anomaly::LostUpdate],
                &["cursor-stability", "update-atomic"],
            ),
            (
                &[plain(Cycle::GSingle)],
                &["consistent-view", "repeatable-read"],
            ),
            (&[plain(Cycle::G2Item)], &["repeatable-read"]),
            (
                &[Anomaly::FracturedRead(Order::Plain)],
                &["consistent-view", "read-atomic", "repeatable-read"],
            ),
            (
                &[Anomaly::CausalityViolation(Order::Process)],
                &["strong-session-causal"],
            ),
            (&[realtime(Cycle::GSingle)], &["strong-snapshot-isolation"]),
            (&[realtime(Cycle::G2Item)], &["strict-serializable"]),
        ];
        for (anomalies, expected) in table {
            assert_eq!(ruled_out(anomalies).0, expected, "{anomalies:?}");
        }
        assert_eq!(
            ruled_out(&[process(Cycle::GSingle)]),
            (
                vec!["strong-session-snapshot-isolation"],
                vec![
                    "strict-serializable",
                    "strong-session-serializable",
                    "strong-snapshot-isolation"
                ]
            )
        );
    }

    #[test]
    fn who_needs_the_order_of_writes() {
        for (name, needs) in [
            ("read-committed", false),
            ("consistent-view", true),
            ("repeatable-read", false),
            ("snapshot-isolation", true),
            ("strong-session-snapshot-isolation", true),
            ("serializable", false),
            ("strict-serializable", false),
        ] {
            let model = Model::named(name);
            assert_eq!(model.map(Model::needs_order), Some(needs), "{name}");
            // Nothing was found, and nobody knows in which order was written.
            let holds = model.map(|model| model.holds(&[plain(Cycle::G2Item)], None, false));
            assert_eq!(holds, Some(name == "read-committed"), "{name}");
        }
    }

    #[test]
    fn who_saw_whom_decides_models_on_either_side() {
        for (name, decided) in [
            ("monotonic-atomic-view", Some("read-atomic")),
            ("read-atomic", Some("read-atomic")),
            ("update-atomic", Some("read-atomic")),
            ("prefix", Some("causal")),
            (
                "strong-session-read-atomic",
                Some("strong-session-read-atomic"),
            ),
            ("monotonic-view", None),
        ] {
            let found = Model::named(name).and_then(Model::by_sight);
            assert_eq!(found.map(Model::name), decided, "{name}");
        }
        let single = [plain(Cycle::GSingle)];
        for (name, decided, holds) in [
            ("causal", None, false),
            ("causal", Some("causal"), true),
            ("monotonic-atomic-view", Some("causal"), true),
            ("prefix", Some("causal"), false),
            ("consistent-view", Some("causal"), false),
        ] {
            let model = Model::named(name)
                .map(|model| model.holds(&single, decided.and_then(Model::named), true));
            assert_eq!(model, Some(holds), "{name}");
        }
    }
}
