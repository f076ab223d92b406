//! Exit codes, and which one wins if several hold.

use crate::verdict::Verdict;

/// How `harness` exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything judged is valid.
    Valid,
    /// Something is proven wrong.
    Invalid,
    /// Nothing proven wrong, not everything could be judged.
    Unknown,
    /// Faults are left on the nodes.
    LabDirty,
    /// Bad usage or configuration.
    Usage,
    /// The harness itself failed.
    HarnessFailure,
    /// Interrupted, after healing.
    Interrupted,
}

impl Exit {
    /// The process' exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Invalid => 1,
            Self::Unknown => 2,
            Self::LabDirty => 3,
            Self::Usage => 254,
            Self::HarnessFailure => 255,
            Self::Interrupted => 130,
        }
    }

    /// The first of 255, 254, 130, 3, 1, 2, 0 that holds.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let rank = |exit: Self| match exit {
            Self::HarnessFailure => 0,
            Self::Usage => 1,
            Self::Interrupted => 2,
            Self::LabDirty => 3,
            Self::Invalid => 4,
            Self::Unknown => 5,
            Self::Valid => 6,
        };
        if rank(self) <= rank(other) {
            self
        } else {
            other
        }
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Valid => Self::Valid,
            Verdict::Invalid => Self::Invalid,
            Verdict::Unknown | Verdict::NotApplicable => Self::Unknown,
        }
    }
}
