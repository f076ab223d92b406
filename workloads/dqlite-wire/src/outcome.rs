//! Did it take effect? What each error code proves, and why.
//!
//! An error answer either proves that a statement or change cannot take effect any more
//! ([`Outcome::Failed`]) or proves nothing ([`Outcome::Indeterminate`]). The question depends on what
//! was sent ([`Sent`]): a read has no effect whatever is answered, and a statement inside an open
//! transaction has none until COMMIT.
//!
//! Laws:
//!
//! 1. `Failed` needs a reason; what no rule knows is `Indeterminate`.
//! 2. A rule for an exact code comes before the rule for its family (`code & 0xff`), and one that
//!    also wants a message before one that does not: the first that matches decides.
//! 3. `Failed` for [`Sent::InTransaction`] and [`Sent::Commit`] holds only if COMMIT is not sent
//!    afterwards: several errors leave the transaction open.
//!
//! Source: SQLite's list of result codes (sqlite.org/rescode.html); how dqlite 1.11.1 and 1.18 turn
//! raft's status into a code (`gateway.c`, `leader.c`, `translate.c`); raft 0.15 (`client.c`,
//! `replication.c`, `membership.c`). Codes that were seen on real nodes are marked so in their `why`.

/// Whether a request that was answered with an error took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did not, and will not.
    Failed,
    /// It may have, now or later.
    Indeterminate,
}

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Something that changes nothing: a SELECT, PREPARE, OPEN, LEADER, CLUSTER, DUMP, BEGIN, ROLLBACK.
    ReadOnly,
    /// A statement inside an open transaction, other than COMMIT.
    InTransaction,
    /// One writing statement outside a transaction.
    Write,
    /// COMMIT of a transaction.
    Commit,
    /// A text of several statements: any of them may have taken effect before one failed.
    Script,
    /// ADD, ASSIGN or REMOVE.
    Membership,
    /// TRANSFER.
    Transfer,
}

/// Where a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// [`Sent::Write`] and [`Sent::Commit`].
    Data,
    /// [`Sent::Membership`] and [`Sent::Transfer`].
    Cluster,
    /// Both.
    Any,
}

/// Which codes a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codes {
    /// This code and no other.
    Exact(u64),
    /// Every code whose lowest byte is this.
    Family(u64),
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Which codes.
    pub codes: Codes,
    /// The constant's name.
    pub name: &'static str,
    /// Where it applies.
    pub scope: Scope,
    /// A part of the message that must be there, if any.
    pub message: Option<&'static str>,
    /// What it proves.
    pub outcome: Outcome,
    /// Why.
    pub why: &'static str,
}

impl Rule {
    const fn new(
        scope: Scope,
        codes: Codes,
        name: &'static str,
        outcome: Outcome,
        why: &'static str,
    ) -> Self {
        Self {
            codes,
            name,
            scope,
            message: None,
            outcome,
            why,
        }
    }

    const fn saying(self, message: &'static str) -> Self {
        Self {
            message: Some(message),
            ..self
        }
    }

    fn matches(&self, sent: Sent, code: u64, message: &str) -> bool {
        let scope = match self.scope {
            Scope::Any => true,
            Scope::Data => matches!(sent, Sent::Write | Sent::Commit),
            Scope::Cluster => matches!(sent, Sent::Membership | Sent::Transfer),
        };
        let codes = match self.codes {
            Codes::Exact(exact) => code == exact,
            Codes::Family(primary) => code & 0xff == primary,
        };
        scope && codes && self.message.is_none_or(|part| message.contains(part))
    }
}

/// What an error proves, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classification {
    /// What it proves.
    pub outcome: Outcome,
    /// Why.
    pub why: &'static str,
    /// The rule that decided; `None` where what was sent decided alone, or no rule knew the code.
    pub rule: Option<&'static Rule>,
}

/// SQLITE_BUSY: another connection holds the lock, a checkpoint runs, or a change is in progress.
pub const BUSY: u64 = 5;
/// SQLITE_BUSY_SNAPSHOT: the transaction read a state that another has replaced since.
pub const BUSY_SNAPSHOT: u64 = 517;
/// SQLITE_IOERR_NOT_LEADER: the node does not lead.
pub const NOT_LEADER: u64 = 10_250;
/// SQLITE_IOERR_LEADERSHIP_LOST: the node stopped leading while the request was under way.
pub const LEADERSHIP_LOST: u64 = 10_506;

use Codes::{Exact, Family};
use Outcome::{Failed, Indeterminate};
use Scope::{Any, Cluster, Data};

/// The table: first match decides.
pub const RULES: &[Rule] = &[
    Rule::new(Any, Exact(NOT_LEADER), "SQLITE_IOERR_NOT_LEADER", Failed,
        "refused before anything was appended to the log: the node looked at its raft state first (seen)"),
    Rule::new(Any, Exact(LEADERSHIP_LOST), "SQLITE_IOERR_LEADERSHIP_LOST", Indeterminate,
        "the entry is in the log of the old leader and perhaps of others; the next leader commits or drops it (seen)"),
    Rule::new(Data, Exact(778), "SQLITE_IOERR_WRITE", Indeterminate,
        "raft could not write the entry on the leader's disk, while followers may already have received it"),
    Rule::new(Data, Exact(8_202), "SQLITE_IOERR_NOT_LEADER before 1.0", Indeterminate,
        "before dqlite 1.0 not the leader; in today's SQLite the same number is SQLITE_IOERR_DATA"),
    Rule::new(Data, Exact(8_458), "SQLITE_IOERR_LEADERSHIP_LOST before 1.0", Indeterminate,
        "before dqlite 1.0 leadership lost; in today's SQLite the same number is SQLITE_IOERR_CORRUPTFS"),
    Rule::new(Data, Family(10), "SQLITE_IOERR", Indeterminate,
        "what dqlite answers when raft reports any other failure of an entry that was already appended"),
    Rule::new(Data, Family(5), "SQLITE_BUSY", Failed,
        "a lock was not had, or a checkpoint runs: refused before it ran. A transaction stays open: roll it back (seen)"),
    Rule::new(Data, Family(6), "SQLITE_LOCKED", Failed,
        "a conflict inside the server's own connections: refused before it ran"),
    Rule::new(Data, Family(19), "SQLITE_CONSTRAINT", Failed,
        "SQLite undid the statement; at COMMIT (deferred foreign keys) the transaction stays open: roll it back (seen)"),
    Rule::new(Data, Exact(1), "SQLITE_ERROR", Indeterminate,
        "a writing statement with RETURNING stepped to its first row, and SQLite may commit it as it is reset (read in 1.18)")
        .saying("rows yielded"),
    Rule::new(Data, Family(1), "SQLITE_ERROR", Failed,
        "not compiled, or refused as it ran (no such table, no transaction is active), or the barrier before it failed (seen)"),
    Rule::new(Data, Exact(100), "SQLITE_ROW", Indeterminate,
        "a statement that yields rows was sent as EXEC; one that writes (RETURNING) may be committed as it is reset (1.11; seen, and the next write made the node abort)"),
    Rule::new(Data, Exact(0), "SQLITE_OK", Failed,
        "the text held no statement").saying("empty statement"),
    Rule::new(Data, Exact(516), "SQLITE_ABORT_ROLLBACK", Failed,
        "SQLite rolled the transaction back"),
    Rule::new(Data, Exact(4), "SQLITE_ABORT", Indeterminate,
        "the server shut the connection down while its entry was in raft's hands"),
    Rule::new(Data, Family(7), "SQLITE_NOMEM", Failed,
        "memory ran out before the entry was made; or, on 1.11, raft's own code 7 (not the leader, or handing over) as it refused the entry"),
    Rule::new(Data, Family(8), "SQLITE_READONLY", Failed, "refused before it ran"),
    Rule::new(Data, Family(9), "SQLITE_INTERRUPT", Failed,
        "SQLite stopped the statement and undid it before it could commit"),
    Rule::new(Data, Family(12), "SQLITE_NOTFOUND", Failed,
        "the connection has no such database or statement, as after the node stopped leading: nothing was run (seen)"),
    Rule::new(Data, Family(13), "SQLITE_FULL", Failed,
        "the database reached its largest size before the entry was made"),
    Rule::new(Data, Family(14), "SQLITE_CANTOPEN", Failed, "no file was opened, so nothing was run"),
    Rule::new(Data, Family(15), "SQLITE_PROTOCOL", Failed, "the lock could not be had in time: refused before it ran"),
    Rule::new(Data, Family(17), "SQLITE_SCHEMA", Failed, "the statement no longer fits the schema: refused before it ran"),
    Rule::new(Data, Family(18), "SQLITE_TOOBIG", Failed, "a text or blob is over SQLite's limit: refused before it was committed"),
    Rule::new(Data, Family(20), "SQLITE_MISMATCH", Failed, "SQLite undid the statement"),
    Rule::new(Data, Family(21), "SQLITE_MISUSE", Failed, "SQLite refused the call"),
    Rule::new(Data, Family(3), "SQLITE_PERM", Failed, "refused before it ran"),
    Rule::new(Data, Family(23), "SQLITE_AUTH", Failed, "refused as it was compiled"),
    Rule::new(Data, Family(25), "SQLITE_RANGE", Failed, "more parameters than the statement has: nothing was run (seen)"),
    Rule::new(Data, Exact(1_001), "DQLITE_PROTO", Failed, "a parameter of a kind that cannot be bound: nothing was run"),
    Rule::new(Data, Exact(1_005), "DQLITE_PARSE", Failed, "the server could not read the request: nothing was run"),
    Rule::new(Cluster, Exact(BUSY), "SQLITE_BUSY", Failed,
        "another change is in progress; raft refused this one"),
    Rule::new(Cluster, Exact(1), "RAFT_BADID", Failed, "no such server: raft refused the change")
        .saying("ID is not valid"),
    Rule::new(Cluster, Exact(1), "RAFT_DUPLICATEID", Failed,
        "a server with this id is already there: raft refused the change").saying("ID already in use"),
    Rule::new(Cluster, Exact(1), "RAFT_DUPLICATEADDRESS", Failed,
        "a server with this address is already there: raft refused the change").saying("address already in use"),
    Rule::new(Cluster, Exact(1), "RAFT_BADROLE", Failed,
        "the server has this role already, or there is no such role: raft refused the change").saying("role is not valid"),
    Rule::new(Cluster, Exact(1), "RAFT_NOCONNECTION", Failed,
        "the server did not catch up, so its promotion was dropped before it was appended").saying("no connection"),
];

/// What an answer with this code and message proves about what was sent.
///
/// ```
/// use dqlite_wire::outcome::{self, Outcome, Sent};
///
/// let lost = outcome::classify(Sent::Commit, outcome::LEADERSHIP_LOST, "disk I/O error");
/// assert_eq!(lost.outcome, Outcome::Indeterminate);
/// let read = outcome::classify(Sent::ReadOnly, outcome::LEADERSHIP_LOST, "disk I/O error");
/// assert_eq!(read.outcome, Outcome::Failed);
/// ```
pub fn classify(sent: Sent, code: u64, message: &str) -> Classification {
    if let Some(outcome) = decided_by_kind(sent) {
        return outcome;
    }
    let rule = RULES.iter().find(|rule| rule.matches(sent, code, message));
    match rule {
        Some(rule) => Classification {
            outcome: rule.outcome,
            why: rule.why,
            rule: Some(rule),
        },
        None => Classification {
            outcome: Indeterminate,
            why: "no rule knows this code, and an unknown answer proves nothing",
            rule: None,
        },
    }
}

/// What a lost request proves: it was sent, and no answer came.
pub fn classify_lost(sent: Sent) -> Classification {
    decided_by_kind(sent).unwrap_or(Classification {
        outcome: Indeterminate,
        why: "it was sent, and no answer came",
        rule: None,
    })
}

/// What follows from what was sent, whatever was answered.
fn decided_by_kind(sent: Sent) -> Option<Classification> {
    let (outcome, why) = match sent {
        Sent::ReadOnly => (Failed, "it has no effect that could be in doubt"),
        Sent::InTransaction => (
            Failed,
            "a transaction takes effect at its COMMIT, which must not be sent any more",
        ),
        Sent::Script => (
            Indeterminate,
            "statements before the one that failed may have taken effect",
        ),
        Sent::Write | Sent::Commit | Sent::Membership | Sent::Transfer => return None,
    };
    Some(Classification {
        outcome,
        why,
        rule: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_can_decide() {
        for (index, rule) in RULES.iter().enumerate() {
            let (Exact(code) | Family(code)) = rule.codes;
            let sent = match rule.scope {
                Data | Any => Sent::Write,
                Cluster => Sent::Membership,
            };
            let found = classify(sent, code, rule.message.unwrap_or(""));
            assert_eq!(
                found.rule,
                Some(rule),
                "rule {index} is hidden by an earlier one"
            );
            assert!(!rule.why.is_empty());
        }
    }

    #[test]
    fn codes_prove_what_they_prove() {
        let table = [
            (Sent::Write, NOT_LEADER, "not leader", Failed),
            (Sent::Commit, NOT_LEADER, "not leader", Failed),
            (Sent::Membership, NOT_LEADER, "not leader", Failed),
            (Sent::Script, NOT_LEADER, "not leader", Indeterminate),
            (Sent::Write, LEADERSHIP_LOST, "", Indeterminate),
            (Sent::Commit, LEADERSHIP_LOST, "", Indeterminate),
            (Sent::Membership, LEADERSHIP_LOST, "", Indeterminate),
            (Sent::InTransaction, LEADERSHIP_LOST, "", Failed),
            (Sent::ReadOnly, LEADERSHIP_LOST, "", Failed),
            (Sent::Write, BUSY, "database is locked", Failed),
            (Sent::Commit, BUSY, "checkpoint in progress", Failed),
            (Sent::Commit, BUSY_SNAPSHOT, "", Failed),
            (Sent::Membership, BUSY, "", Failed),
            (Sent::Membership, BUSY_SNAPSHOT, "", Indeterminate),
            (Sent::Write, 2_067, "UNIQUE constraint failed", Failed),
            (Sent::Commit, 787, "FOREIGN KEY constraint failed", Failed),
            (Sent::Write, 778, "", Indeterminate),
            (Sent::Write, 10, "", Indeterminate),
            (Sent::Write, 266, "", Indeterminate),
            (Sent::Write, 11, "", Indeterminate),
            (Sent::Write, 1, "near \"X\": syntax error", Failed),
            (
                Sent::Write,
                1,
                "rows yielded when none expected",
                Indeterminate,
            ),
            (Sent::Membership, 1, "operation canceled", Indeterminate),
            (Sent::Membership, 1, "server ID already in use", Failed),
            (
                Sent::Transfer,
                1,
                "leadership transfer failed",
                Indeterminate,
            ),
            (Sent::Write, 0, "", Indeterminate),
            (Sent::Write, 4_242_424_242, "", Indeterminate),
        ];
        for (sent, code, message, outcome) in table {
            let found = classify(sent, code, message);
            assert_eq!(found.outcome, outcome, "{sent:?} {code} {message}");
        }
    }

    #[test]
    fn a_lost_request_is_in_doubt_unless_it_has_no_effect() {
        assert_eq!(classify_lost(Sent::Write).outcome, Indeterminate);
        assert_eq!(classify_lost(Sent::Commit).outcome, Indeterminate);
        assert_eq!(classify_lost(Sent::Transfer).outcome, Indeterminate);
        assert_eq!(classify_lost(Sent::InTransaction).outcome, Failed);
        assert_eq!(classify_lost(Sent::ReadOnly).outcome, Failed);
    }
}
