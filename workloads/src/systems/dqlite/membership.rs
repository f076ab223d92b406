//! Joining and removing members of a cluster of `dqlite-demo`, as its operators would.
//!
//! - A join is the start of the program with `--join` and the addresses of all members. It generates an id, is added by the
//!   leader as a spare, gives itself a role if one is free, and only then serves its HTTP interface. That, and its id in the
//!   leader's list, is the end of the join.
//! - A remove is REMOVE of the raft id at the leader, as go-dqlite's shell does (`.remove`), while the member runs; one that
//!   leads hands leadership over first (dqlite #324: a leader that is told to remove itself can crash). Then the program is
//!   stopped on the removed node, which is the application's part, and nothing starts it again. By `force` the member is
//!   never contacted: what runs there runs on.
//! - Roles are not our business here: the leader's go-dqlite gives away the vote of who was removed at its next look.
//!
//! What a removed node does that runs on (seen, 1.11.5): nothing tells it. It keeps the old configuration, is not replicated
//! to, does not add itself again; and its HTTP interface goes on reading and writing the cluster's data, because it is a
//! client of the leader like any other, and dqlite without TLS asks nobody who they are. A joiner that was killed after its ADD
//! and before it had deleted its file `join` asks to be added again when it is started: for ever while its id is there.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use dqlite_wire::{
    client::{ClientError, Deadline, Limits, connect},
    outcome::Sent,
};
use harness_lab::{
    Node,
    capability::{CapabilityError, ChangeError, Invitation, Kill, Membership, Seen, Start},
};

use super::{
    super::supervised,
    Dqlite, http,
    origin::Origin,
    outcome, paths,
    roles::listed,
    session::{self, FromNode},
};

/// How often something is looked at again while waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often a joiner's process and log are looked at, which costs its node a few processes.
const LOG_INTERVAL: Duration = Duration::from_millis(750);
/// Pause before a change that was refused for the moment is asked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long one answer of the HTTP interface is waited for during a join.
const SERVES_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for a script that does not wait for anything.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stop is waited for at least, seconds: a deadline that is nearly over still lets it show.
const STOP_WAIT_LEAST_S: u64 = 1;
/// How much of a joiner's log is read, in bytes.
const LOG_LIMIT_BYTES: usize = 256 * 1024;

/// What is on a node of an earlier life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Past {
    /// Its raft id by `info.yaml`; none if there is no such file.
    id: Option<u64>,
    /// Whether a join was begun and not completed.
    is_joining: bool,
    /// Length of its log, in bytes.
    log_bytes: u64,
}

impl Past {
    /// Reads what [`paths::look_script`] prints.
    fn read(text: &str) -> Self {
        let mut past = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("identity", id)) => past.id = id.trim().parse().ok(),
                Some(("log", bytes)) => past.log_bytes = bytes.trim().parse().unwrap_or(0),
                None if line == "joining" => past.is_joining = true,
                _ => {}
            }
        }
        past
    }
}

fn left(deadline: Deadline) -> Duration {
    deadline
        .instant()
        .saturating_duration_since(tokio::time::Instant::now())
}

impl Dqlite {
    async fn past(&self, node: &Node) -> Result<Past, CapabilityError> {
        let text = supervised::script(
            node,
            "look for an earlier life of dqlite-demo",
            paths::look_script(node),
            SCRIPT_TIMEOUT,
        )
        .await?;
        Ok(Past::read(&text))
    }

    /// What a joiner's process and log say while its join is waited for: an error ends the join.
    async fn watch(&self, member: &Node, log_from: u64) -> Result<(), ChangeError> {
        let log = member
            .transport
            .read_file(&paths::PROCESS.log_file(), log_from, LOG_LIMIT_BYTES)
            .await
            .unwrap_or_default();
        if let Some(error) = outcome::lasting_refusal(&String::from_utf8_lossy(&log)) {
            return Err(error);
        }
        match self.is_running(member).await {
            Ok(false) => {
                let words = paths::PROCESS.last_words(member).await;
                let message = format!("its process ended while it joined; {words}");
                Err(outcome::unclear("ended", message))
            }
            // What could not be looked at is no reason to give up.
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// A joiner whose address another id has would ask for ever. It is ended and cleared; that nothing came of it is
    /// proven if the other id still has the address then.
    async fn give_up(
        &self,
        via: &Node,
        member: &Node,
        why: ChangeError,
        deadline: Deadline,
    ) -> ChangeError {
        let own = self.past(member).await.ok().and_then(|past| past.id);
        if let Err(error) = self.kill(member).await {
            return outcome::of_node(&error);
        }
        let is_other = async {
            let mut leader = session::leader_via(via, deadline).await.ok()?;
            let members = session::members(&mut leader, deadline).await.ok()?;
            Some(listed(&members, member).is_ok_and(|found| Some(found.id) != own))
        };
        let (ChangeError::Refused(said) | ChangeError::Unclear(said)) = why;
        if is_other.await != Some(true) {
            return ChangeError::Unclear(said);
        }
        match self.end_and_clear(member).await {
            Ok(_) => ChangeError::Refused(said),
            Err(error) => outcome::of_node(&error),
        }
    }

    async fn remove_from_raft(
        &self,
        via: &Node,
        member: &Node,
        force: bool,
        deadline: Deadline,
    ) -> Result<(), ChangeError> {
        let mut tried = BTreeSet::new();
        loop {
            match self
                .remove_once(via, member, force, &mut tried, deadline)
                .await
            {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if outcome::is_passing(&error) && left(deadline) > RETRY_PAUSE => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(RETRY_PAUSE.min(left(deadline))).await;
        }
    }

    /// Whether it was removed; false if the leader was asked to step down first.
    async fn remove_once(
        &self,
        via: &Node,
        member: &Node,
        force: bool,
        tried: &mut BTreeSet<u64>,
        deadline: Deadline,
    ) -> Result<bool, ChangeError> {
        let mut leader = session::leader_via(via, deadline).await?;
        let members = session::members(&mut leader, deadline).await?;
        let target = listed(&members, member)?;
        if target.id == leader.node.id {
            if force {
                let message = format!(
                    "{} leads, and by force it is not contacted; stop it, or remove it without force",
                    member.name
                );
                return Err(outcome::refused("leads", message));
            }
            self.make_another_lead(&mut leader, &members, tried, deadline)
                .await?;
            return Ok(false);
        }
        match leader.connection.remove(target.id, deadline).await {
            Ok(()) => Ok(true),
            Err(error) => Err(outcome::of_wire(&error, Sent::Membership)),
        }
    }

    /// Whether its own dqlite socket serves data: what only a leader does.
    async fn serves_by_socket(&self, node: &Node, deadline: Deadline) -> Result<bool, ChangeError> {
        let connector = FromNode::new(node, left(deadline));
        let told = async {
            let address = paths::db_address(node);
            let mut connection = connect(&connector, &address, Limits::default(), deadline).await?;
            connection.open(paths::DATABASE, deadline).await?;
            connection
                .query_sql("SELECT count(*) FROM sqlite_master", &[], deadline)
                .await
        };
        match told.await {
            Ok(_) => Ok(true),
            Err(ClientError::Rejected { .. }) => Ok(false),
            Err(error) if outcome::is_no_listener(&error) => Ok(false),
            Err(error) => {
                let message = outcome::with_sources(&error);
                Err(outcome::unclear("not-told", message))
            }
        }
    }
}

#[async_trait]
impl Membership for Dqlite {
    async fn stand_by(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.end_and_clear(node).await
    }

    /// `dqlite-demo --join` started again goes on where it was.
    fn joins_unwiped(&self) -> bool {
        true
    }

    async fn invite(
        &self,
        via: &Node,
        _member: &Node,
        deadline: Duration,
    ) -> Result<Invitation, ChangeError> {
        // dqlite has no tokens. That `via` is a member is all that can be said beforehand.
        // It is asked of the leader: whoever has just joined does not list itself yet (seen).
        let deadline = Deadline::after(deadline);
        let mut leader = session::leader_via(via, deadline).await?;
        let members = session::members(&mut leader, deadline).await?;
        listed(&members, via)?;
        Ok(Invitation { token: None })
    }

    async fn join(
        &self,
        via: &Node,
        member: &Node,
        _invitation: &Invitation,
        deadline: Duration,
    ) -> Result<(), ChangeError> {
        let deadline = Deadline::after(deadline);
        let mut leader = session::leader_via(via, deadline).await?;
        let members = session::members(&mut leader, deadline).await?;
        drop(leader);
        // Nothing was begun until the process is started: what fails before proves that.
        let not_begun =
            |error: CapabilityError| outcome::refused("not-begun", outcome::with_sources(&error));
        let past = self.past(member).await.map_err(not_begun)?;
        let known = listed(&members, member).ok().map(|found| found.id);
        if past.id.is_some() && past.id != known && !past.is_joining {
            let message = format!(
                "{} has the data of an earlier membership; let it stand by first",
                member.name
            );
            return Err(outcome::refused("not-wiped", message));
        }
        let mut addresses = vec![paths::db_address(via)];
        addresses.extend(members.into_iter().map(|found| found.address));
        let own = paths::db_address(member);
        let mut seen = BTreeSet::new();
        addresses.retain(|address| *address != own && seen.insert(address.clone()));
        self.start_as(member, &Origin::Join(addresses))
            .await
            .map_err(|error| outcome::of_node(&error))?;
        match self
            .wait_for_join(via, member, past.log_bytes, deadline)
            .await
        {
            Err(ChangeError::Refused(said)) => Err(self
                .give_up(via, member, ChangeError::Refused(said), deadline)
                .await),
            waited => waited,
        }
    }

    async fn remove(
        &self,
        via: &Node,
        member: &Node,
        force: bool,
        deadline: Duration,
    ) -> Result<(), ChangeError> {
        let deadline = Deadline::after(deadline);
        self.remove_from_raft(via, member, force, deadline).await?;
        if force {
            return Ok(());
        }
        let wait_s = left(deadline).as_secs().max(STOP_WAIT_LEAST_S);
        let wait_s =
            u32::try_from(wait_s).map_or(paths::STOP_WAIT_S, |s| s.min(paths::STOP_WAIT_S));
        match self.retire(member, wait_s).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let message = format!(
                    "it is removed, and was not seen to stop: {}",
                    outcome::with_sources(&error)
                );
                Err(outcome::unclear("not-stopped", message))
            }
        }
    }

    async fn list(&self, via: &Node, deadline: Duration) -> Result<Vec<String>, ChangeError> {
        let deadline = Deadline::after(deadline);
        let mut leader = session::leader_via(via, deadline).await?;
        let members = session::members(&mut leader, deadline).await?;
        Ok(members
            .into_iter()
            .map(|member| match self.node_at(&member.address) {
                Some(node) => node.name.to_string(),
                None => member.address,
            })
            .collect())
    }

    /// Whether its own dqlite serves. `dqlite-demo` without TLS lets anybody who knows the addresses write to the cluster as a
    /// client, also a removed node that runs on (seen on three suites): being a client is not being a member.
    async fn takes_part(&self, node: &Node, deadline: Duration) -> Result<bool, ChangeError> {
        let deadline = Deadline::after(deadline);
        let not_told = |message: String| Err(outcome::unclear("not-told", message));
        match self.is_running(node).await {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => return not_told(outcome::with_sources(&error)),
        }
        self.serves_by_socket(node, deadline).await
    }
}

impl Dqlite {
    async fn wait_for_join(
        &self,
        via: &Node,
        member: &Node,
        log_from: u64,
        deadline: Deadline,
    ) -> Result<(), ChangeError> {
        let mut last = String::from("it was not asked");
        let mut watched = Instant::now();
        while !deadline.is_over() {
            let wait = SERVES_TIMEOUT.min(left(deadline));
            match http::put(member, "harness-joined", member.name.as_str(), wait).await {
                Ok(()) => match self.is_listed(via, member, deadline).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => last = "it serves, and the leader does not list it".to_owned(),
                    Err(error) => last = error.to_string(),
                },
                Err(error) => last = outcome::with_sources(&error),
            }
            if watched.elapsed() >= LOG_INTERVAL {
                self.watch(member, log_from).await?;
                watched = Instant::now();
            }
            tokio::time::sleep(POLL_INTERVAL.min(left(deadline))).await;
        }
        let message = format!(
            "{} was not seen to have joined in time: {last}",
            member.name
        );
        Err(outcome::unclear("timeout", message))
    }

    /// Whether the leader lists the member under the id that it has.
    async fn is_listed(
        &self,
        via: &Node,
        member: &Node,
        deadline: Deadline,
    ) -> Result<bool, ChangeError> {
        let id = self
            .past(member)
            .await
            .map_err(|error| outcome::of_node(&error))?
            .id;
        // Who was asked to let it in may have left since; the member knows the leader as well.
        let soon = Deadline::after(SERVES_TIMEOUT.min(left(deadline)));
        let mut leader = match session::leader_via(via, soon).await {
            Ok(leader) => leader,
            Err(_) => session::leader_via(member, deadline).await?,
        };
        let members = session::members(&mut leader, deadline).await?;
        Ok(listed(&members, member).is_ok_and(|found| Some(found.id) == id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_was_is_read_from_what_the_script_prints() {
        let past = |id, is_joining, log_bytes| Past {
            id,
            is_joining,
            log_bytes,
        };
        let table = [
            ("absent\nlog 0\n", past(None, false, 0)),
            (
                "absent\nidentity 3297041220608546238\nlog 512\n",
                past(Some(3_297_041_220_608_546_238), false, 512),
            ),
            (
                "running 7 S\nidentity 12\njoining\nlog 9\n",
                past(Some(12), true, 9),
            ),
            // Half-written: there is a file, and no id in it.
            ("absent\nidentity \njoining\nlog 0\n", past(None, true, 0)),
        ];
        for (text, expected) in table {
            assert_eq!(Past::read(text), expected, "{text:?}");
        }
    }
}
