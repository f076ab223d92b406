//! A configuration of raft: who the servers are, and what each does.
//!
//! A byte (format 1), the count in eight bytes, then each server: eight bytes of id, the address up
//! to a zero, a byte for the role; zeros to a whole word. No field is aligned.
//!
//! ```text
//! 01 0100000000000000 be55318c8571c12d "127.0.0.1:27191" 00 01 00000000000000    one voter
//! ```
//!
//! Law: what decodes is a configuration that raft accepts: ids are not zero, ids and addresses are
//! each used once, roles are known. (An address that is not UTF-8 is refused here, not by raft.)

use std::collections::BTreeSet;
use std::fmt::{Display, Formatter};

use super::content::Content;
use super::problem::FileFault;
use crate::wire::role::Role;

/// The only format version of a configuration that raft has had.
pub const CONFIGURATION_FORMAT: u8 = 1;

/// Format and count.
const PREAMBLE_BYTES: usize = 9;

/// Id, an empty address, role.
const LEAST_SERVER_BYTES: u64 = 10;

/// One server of a [`Configuration`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Server {
    /// Its raft id; never 0.
    pub id: u64,
    /// Its address, such as `10.0.0.1:9001`.
    pub address: String,
    /// What it does.
    pub role: Role,
}

impl Display for Server {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {} {}", self.id, self.address, self.role)
    }
}

/// The members of a cluster at one index of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Configuration {
    /// The servers in raft's order, which is that of joining.
    pub servers: Vec<Server>,
}

impl Configuration {
    /// Reads a configuration as it stands in an entry or in a snapshot's metadata.
    ///
    /// # Errors
    ///
    /// The faults of [`FileFault`] that speak of configurations, servers, addresses and roles.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileFault> {
        Self::decode_at(&Content::whole(bytes), 0)
    }

    /// Reads the configuration that reaches from byte `at` to the end of `content`.
    pub(super) fn decode_at(content: &Content<'_>, at: usize) -> Result<Self, FileFault> {
        content.need(at, PREAMBLE_BYTES as u64)?;
        let format = content.u8(at);
        if format != CONFIGURATION_FORMAT {
            return Err(FileFault::ConfigurationFormat { format });
        }
        let count = content.u64(at + 1);
        let mut at = at + PREAMBLE_BYTES;
        let most = (content.size() - at) as u64 / LEAST_SERVER_BYTES;
        if count > most {
            return Err(FileFault::ServerCount { count, most });
        }
        let mut servers = Vec::new();
        let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..count {
            let (server, end) = server_at(content, at)?;
            at = end;
            if !ids.insert(server.id) {
                return Err(FileFault::DuplicateId { id: server.id });
            }
            if !addresses.insert(server.address.clone()) {
                return Err(FileFault::DuplicateAddress);
            }
            servers.push(server);
        }
        Ok(Self { servers })
    }

    /// The server of an id.
    pub fn server(&self, id: u64) -> Option<&Server> {
        self.servers.iter().find(|server| server.id == id)
    }
}

impl Display for Configuration {
    /// `7 n1:9001 voter, 8 n2:9001 spare`
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        for (i, server) in self.servers.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(formatter, "{separator}{server}")?;
        }
        Ok(())
    }
}

/// The server at byte `at`, and the byte after it.
fn server_at(content: &Content<'_>, at: usize) -> Result<(Server, usize), FileFault> {
    content.need(at, LEAST_SERVER_BYTES)?;
    let id = content.u64(at);
    if id == 0 {
        return Err(FileFault::ServerId);
    }
    let start = at + size_of::<u64>();
    let end = content
        .find_zero(start)
        .ok_or(FileFault::AddressUnterminated)?;
    // Everything before the zero was given: what was not given is zero.
    let address = std::str::from_utf8(content.given(start, end - start))
        .map_err(|_| FileFault::AddressNotUtf8)?
        .to_owned();
    content.need(end + 1, 1)?;
    let code = content.u8(end + 1);
    let role = Role::from_disk_code(code).ok_or(FileFault::UnknownRole { code })?;
    Ok((Server { id, address, role }, end + 2))
}
