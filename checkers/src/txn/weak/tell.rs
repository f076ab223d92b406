//! Turns what makes an order impossible into words.

use harness_core::verdict::Witness;

use super::{
    super::{
        findings::{edge, knew_of, name, who, witness_of},
        graph::node,
    },
    Broken, Edge, Level, Reason,
    reads::{External, INITIAL, Sessions},
};

/// A witness.
pub(super) fn witness(sessions: &Sessions, broken: &Broken, level: Level) -> Witness {
    match broken {
        Broken::Initial { txn, step, saw } => initial(sessions, *txn, *step as usize, *saw),
        Broken::Circle(edges) => circle(sessions, edges, broken.kind(), level),
    }
}

fn initial(sessions: &Sessions, txn: u32, step: usize, saw: u32) -> Witness {
    let read = sessions.shown(step);
    let written = sessions.wrote_last(saw, sessions.txns.step(step).key);
    let said = format!(
        "{} read {read}, though it knew of {}, which wrote {written}",
        name(&sessions.txns.operation(txn)),
        name(&sessions.txns.operation(saw)),
    );
    let mut witness = witness_of(
        "initial-value-too-late",
        "Saw what was there at first after it had been written over.",
        &sessions.txns,
        &[txn, saw],
        |operations, clock| {
            let writer = operations.get(1).copied().unwrap_or(operations[0]);
            format!(
                "{} read {read}. What it had read or done before leads back to {}, which wrote {written}.",
                who(operations[0], clock),
                who(writer, clock),
            )
        },
    );
    witness.edges.push(edge(&sessions.txns, saw, txn, said));
    witness
}

fn circle(sessions: &Sessions, edges: &[Edge], kind: &str, level: Level) -> Witness {
    let title = match kind {
        "causality-cycle" => "Transactions saw each other's work in a circle.",
        _ => "No order of commits explains what was read.",
    };
    let mut numbers: Vec<u32> = edges.iter().map(|edge| edge.from).collect();
    let mut told = Vec::new();
    for step in edges {
        let (said, reader) = because(sessions, *step, level);
        numbers.extend(reader.filter(|reader| !numbers.contains(reader)));
        told.push(edge(&sessions.txns, step.from, step.to, said));
    }
    let names: Vec<String> = edges
        .iter()
        .chain(edges.first())
        .map(|edge| name(&sessions.txns.operation(edge.from)))
        .collect();
    let reasons: Vec<&str> = told.iter().map(|edge| &*edge.words).collect();
    let mut witness = witness_of(kind, title, &sessions.txns, &numbers, |_, _| {
        if edges.is_empty() {
            return "It is certain that some transactions must each come before the other, but the search for a short circle was given up.".to_owned();
        }
        format!(
            "{}. So {} must each come before the next, which is a circle.",
            reasons.join(". "),
            names.join(" → ")
        )
    });
    witness.edges = told;
    witness
}

/// The reason of an edge in words, and the transaction whose reads tell it.
fn because(sessions: &Sessions, step: Edge, level: Level) -> (String, Option<u32>) {
    let name_of = |txn: u32| name(&sessions.txns.operation(txn));
    let (from, to) = (name_of(step.from), name_of(step.to));
    if step.reason == Reason::Session
        || sessions.session[step.from as usize] == sessions.session[step.to as usize]
            && sessions.position[step.from as usize] < sessions.position[step.to as usize]
    {
        let process = sessions.txns.operation(step.from).process;
        return (format!("Process {process} did {from} before {to}"), None);
    }
    let reads = sessions.external(step.to);
    if let Some(read) = reads.iter().find(|read| read.from == step.from) {
        let read = sessions.shown(read.step as usize);
        return (format!("{to} read {read}, which {from} wrote"), None);
    }
    let knows = Knowledge {
        sessions,
        level,
        of: step.from,
    };
    for reader in (0..node(sessions.txns.len())).filter(|txn| sessions.counts(*txn)) {
        let reads = sessions.external(reader);
        let told = reads.iter().find(|read| {
            read.from == step.to
                && reader != step.from
                && sessions.wrote(step.from, read.key)
                && knows.before(reader, reads, read)
        });
        if let Some(read) = told {
            let shown = sessions.shown(read.step as usize);
            let wrote = sessions.wrote_last(step.from, read.key);
            let said = knew_of(&name_of(reader), (&shown, &to), (&from, &wrote));
            return (said, Some(reader));
        }
    }
    (
        format!("{from} must come before {to}: sessions and reads lead from the one to the other"),
        None,
    )
}

/// Who knows of a transaction.
struct Knowledge<'s> {
    sessions: &'s Sessions,
    level: Level,
    of: u32,
}

impl Knowledge<'_> {
    /// Whether a reader knew of it when it read.
    fn before(&self, reader: u32, reads: &[External], read: &External) -> bool {
        let sessions = self.sessions;
        let in_session = sessions.session[self.of as usize] == sessions.session[reader as usize]
            && sessions.position[self.of as usize] < sessions.position[reader as usize];
        match self.level {
            Level::ReadCommitted => reads
                .iter()
                .any(|earlier| earlier.step < read.step && earlier.from == self.of),
            Level::ReadAtomic => in_session || reads.iter().any(|other| other.from == self.of),
            Level::Causal => in_session || self.leads_to(reader),
        }
    }

    /// Whether it leads to another transaction by sessions and reads: a walk back from there.
    fn leads_to(&self, reader: u32) -> bool {
        let sessions = self.sessions;
        let mut seen = vec![false; sessions.txns.len()];
        let mut open = vec![reader];
        while let Some(at) = open.pop() {
            if at == self.of {
                return true;
            }
            let reads = sessions.external(at);
            let position = sessions.position[at as usize] as usize;
            let previous = position
                .checked_sub(2)
                .map(|place| sessions.members[sessions.session[at as usize] as usize][place]);
            let from = reads.iter().map(|read| read.from);
            for before in from.filter(|from| *from != INITIAL).chain(previous) {
                if !std::mem::replace(&mut seen[before as usize], true) {
                    open.push(before);
                }
            }
        }
        false
    }
}
