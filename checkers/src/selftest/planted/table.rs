//! What is planted: a few transactions for each anomaly, and who forbids it.

use super::{
    Lie::{AtOnce, InTurn},
    Plant,
    Step::{Lists, Shows, Writes},
};

/// What most have in common: all of it succeeds, open at once, and weak isolation has no say about it.
const AT_ONCE: Plant = Plant {
    name: "",
    models: (0, &[]),
    levels: (0, &[]),
    lie: AtOnce,
    failed: 0,
    txns: &[],
};

/// Anomalies of lists.
pub(super) const LISTS: &[Plant] = &[
    Plant {
        name: "lost-append",
        models: (1, &["G0-realtime", "G-single-realtime"]),
        lie: InTurn,
        txns: &[&[Writes(0, 1)], &[Writes(0, 2)], &[Lists(0, &[2])]],
        ..AT_ONCE
    },
    Plant {
        name: "duplicate",
        models: (6, &["duplicate-elements"]),
        txns: &[&[Writes(0, 1)], &[Lists(0, &[1, 1])]],
        ..AT_ONCE
    },
    Plant {
        name: "incompatible-order",
        models: (6, &["incompatible-order"]),
        txns: &[
            &[Writes(0, 1)],
            &[Writes(0, 2)],
            &[Lists(0, &[1, 2])],
            &[Lists(0, &[2, 1])],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "aborted-read",
        models: (6, &["G1a"]),
        failed: 1,
        txns: &[&[Writes(0, 1)], &[Lists(0, &[1])]],
        ..AT_ONCE
    },
    Plant {
        name: "dirty-update",
        models: (6, &["G1a", "dirty-update"]),
        failed: 1,
        txns: &[&[Writes(0, 1)], &[Writes(0, 2)], &[Lists(0, &[1, 2])]],
        ..AT_ONCE
    },
    Plant {
        name: "intermediate-read",
        models: (6, &["G1b", "G-single"]),
        txns: &[
            &[Writes(0, 1), Writes(0, 2)],
            &[Lists(0, &[1])],
            &[Lists(0, &[1, 2])],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "internal",
        models: (5, &["internal"]),
        txns: &[&[Writes(0, 1), Lists(0, &[])]],
        ..AT_ONCE
    },
    Plant {
        name: "future-read",
        models: (6, &["future-read"]),
        txns: &[&[Lists(0, &[1]), Writes(0, 1)]],
        ..AT_ONCE
    },
    Plant {
        name: "write-cycle",
        models: (6, &["G0"]),
        txns: &[
            &[Writes(0, 1), Writes(1, 1)],
            &[Writes(0, 2), Writes(1, 2)],
            &[Lists(0, &[1, 2]), Lists(1, &[2, 1])],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "circular-reads",
        models: (6, &["G1c"]),
        txns: &[
            &[Writes(0, 1), Lists(1, &[1])],
            &[Writes(1, 1), Lists(0, &[1])],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "lost-update",
        models: (3, &["lost-update", "G-single"]),
        txns: &[
            &[Lists(0, &[]), Writes(0, 1)],
            &[Lists(0, &[]), Writes(0, 2)],
            &[Lists(0, &[1, 2])],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "fractured-read",
        models: (5, &["G-single", "fractured-read"]),
        txns: &[
            &[Writes(0, 1), Writes(1, 1)],
            &[Lists(0, &[]), Lists(1, &[1])],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "seen-in-part",
        models: (5, &["G-single", "fractured-read"]),
        txns: &[
            &[Writes(0, 1), Writes(1, 1)],
            &[Writes(1, 2)],
            &[Lists(1, &[1, 2]), Lists(0, &[])],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "missed-cause",
        models: (4, &["G-single", "causality-violation"]),
        txns: &[
            &[Writes(0, 1)],
            &[Lists(0, &[1]), Writes(1, 1)],
            &[Lists(1, &[1]), Lists(0, &[])],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "not-seen-behind",
        models: (3, &["G-single"]),
        txns: &[
            &[Writes(0, 1), Writes(1, 1)],
            &[Writes(0, 2)],
            &[Lists(0, &[1, 2])],
            &[Writes(0, 3), Lists(1, &[])],
            &[Lists(0, &[1, 2, 3])],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "long-fork",
        models: (3, &["G-nonadjacent"]),
        txns: &[
            &[Writes(0, 1)],
            &[Writes(1, 1)],
            &[Lists(0, &[1]), Lists(1, &[])],
            &[Lists(0, &[]), Lists(1, &[1])],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "write-skew",
        models: (2, &["G2-item"]),
        txns: &[
            &[Lists(0, &[]), Writes(1, 1)],
            &[Lists(1, &[]), Writes(0, 1)],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "stale-read",
        models: (1, &["G-single-realtime"]),
        lie: InTurn,
        txns: &[&[Writes(0, 1)], &[Lists(0, &[])]],
        ..AT_ONCE
    },
];

/// Anomalies of registers.
pub(super) const REGISTERS: &[Plant] = &[
    Plant {
        name: "aborted-read",
        models: (6, &["G1a"]),
        levels: (3, &["aborted-read"]),
        failed: 1,
        txns: &[&[Writes(0, 1)], &[Shows(0, Some(1))]],
        ..AT_ONCE
    },
    Plant {
        name: "intermediate-read",
        models: (6, &["G1b"]),
        levels: (3, &["intermediate-read"]),
        txns: &[&[Writes(0, 1), Writes(0, 2)], &[Shows(0, Some(1))]],
        ..AT_ONCE
    },
    Plant {
        name: "internal",
        models: (5, &["internal"]),
        levels: (3, &["internal"]),
        txns: &[&[Writes(0, 1), Shows(0, None)]],
        ..AT_ONCE
    },
    Plant {
        name: "future-read",
        models: (6, &["future-read"]),
        levels: (3, &["future-read"]),
        txns: &[&[Shows(0, Some(1)), Writes(0, 1)]],
        ..AT_ONCE
    },
    Plant {
        name: "cyclic-versions",
        models: (6, &["cyclic-versions", "G1c"]),
        levels: (3, &["causality-cycle"]),
        txns: &[
            &[Shows(0, Some(2)), Writes(0, 1)],
            &[Shows(0, Some(1)), Writes(0, 2)],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "circular-reads",
        models: (6, &["G1c"]),
        levels: (3, &["causality-cycle"]),
        txns: &[
            &[Writes(0, 1), Shows(1, Some(1))],
            &[Writes(1, 1), Shows(0, Some(1))],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "half-seen",
        models: (5, &["G-single", "fractured-read"]),
        levels: (3, &["initial-value-too-late"]),
        txns: &[
            &[Writes(0, 1), Writes(1, 1)],
            &[Shows(0, Some(1)), Shows(1, None)],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "seen-backwards",
        models: (5, &["G-single", "fractured-read"]),
        levels: (3, &["commit-order-cycle"]),
        txns: &[
            &[Writes(0, 1)],
            &[Shows(0, Some(1)), Writes(0, 2), Writes(1, 1)],
            &[Shows(1, Some(1)), Shows(0, Some(1))],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "fractured-read",
        models: (5, &["G-single", "fractured-read"]),
        levels: (2, &["initial-value-too-late"]),
        txns: &[
            &[Writes(0, 1), Writes(1, 1)],
            &[Shows(0, None), Shows(1, Some(1))],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "missed-cause",
        models: (4, &["G-single", "causality-violation"]),
        levels: (1, &["initial-value-too-late"]),
        txns: &[
            &[Writes(0, 1)],
            &[Shows(0, Some(1)), Writes(1, 1)],
            &[Shows(1, Some(1)), Shows(0, None)],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "lost-update",
        models: (3, &["lost-update", "G2-item"]),
        txns: &[
            &[Shows(0, None), Writes(0, 1)],
            &[Shows(0, None), Writes(0, 2)],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "long-fork",
        models: (3, &["G-nonadjacent"]),
        txns: &[
            &[Writes(0, 1)],
            &[Writes(1, 1)],
            &[Shows(0, Some(1)), Shows(1, None)],
            &[Shows(0, None), Shows(1, Some(1))],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "write-skew",
        models: (2, &["G2-item"]),
        txns: &[
            &[Shows(0, None), Writes(1, 1)],
            &[Shows(1, None), Writes(0, 1)],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "no-order",
        models: (2, &["no-serial-order"]),
        txns: &[
            &[Writes(0, 1), Writes(1, 1)],
            &[Shows(0, Some(1)), Writes(1, 2)],
            &[Shows(1, Some(1)), Writes(0, 2)],
        ],
        ..AT_ONCE
    },
    Plant {
        name: "stale-read",
        models: (1, &["G-single-realtime"]),
        lie: InTurn,
        txns: &[&[Writes(0, 1)], &[Shows(0, None)]],
        ..AT_ONCE
    },
];
