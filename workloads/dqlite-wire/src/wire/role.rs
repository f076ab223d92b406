//! The role of a server in raft's configuration, and the formats that carry it.

/// What a server does in the cluster.
///
/// Two numberings exist: on the *wire* voter 0, standby 1, spare 2; on *disk* and in raft's traces
/// standby 0, voter 1, spare 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Replicates, votes, and may lead (wire code 0).
    Voter,
    /// Replicates and does not vote (wire code 1).
    StandBy,
    /// Neither replicates nor votes (wire code 2).
    Spare,
}

impl Role {
    /// The code on the wire.
    pub fn wire_code(self) -> u64 {
        match self {
            Self::Voter => 0,
            Self::StandBy => 1,
            Self::Spare => 2,
        }
    }

    /// The role of a code on the wire.
    pub fn from_wire_code(code: u64) -> Option<Self> {
        [Self::Voter, Self::StandBy, Self::Spare]
            .into_iter()
            .find(|role| role.wire_code() == code)
    }

    /// The code in raft's files and traces.
    pub fn disk_code(self) -> u8 {
        match self {
            Self::StandBy => 0,
            Self::Voter => 1,
            Self::Spare => 2,
        }
    }

    /// The role of a code in raft's files and traces.
    pub fn from_disk_code(code: u8) -> Option<Self> {
        [Self::StandBy, Self::Voter, Self::Spare]
            .into_iter()
            .find(|role| role.disk_code() == code)
    }

    /// The name as dqlite's tools print it: `voter`, `stand-by`, `spare`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::StandBy => "stand-by",
            Self::Spare => "spare",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How a server lists the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ClusterFormat {
    /// Ids and addresses (code 0).
    WithoutRoles,
    /// Ids, addresses and roles (code 1).
    #[default]
    WithRoles,
}

impl ClusterFormat {
    /// The code on the wire.
    pub fn wire_code(self) -> u64 {
        match self {
            Self::WithoutRoles => 0,
            Self::WithRoles => 1,
        }
    }

    /// The format of a code on the wire.
    pub fn from_wire_code(code: u64) -> Option<Self> {
        [Self::WithoutRoles, Self::WithRoles]
            .into_iter()
            .find(|format| format.wire_code() == code)
    }
}
