//! What can be chosen about LXD, and the preseeds that follow from it. Pure.
//!
//! Storage pools and networks are left out, as joins are simpler then; a fragment of a preseed brings them in:
//!
//! ```yaml
//! offline_threshold_s: 11
//! bootstrap: |                  # merged into the preseed of the first member
//!   storage_pools:
//!   - { name: local, driver: dir }
//! join: |                       # merged into the preseed of everybody else
//!   cluster:
//!     member_config:
//!     - { entity: storage-pool, name: local, key: source, value: "" }
//! ```

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};
use thiserror::Error;

/// The smallest `cluster.offline_threshold` that LXD takes, in seconds.
pub const MIN_OFFLINE_THRESHOLD_S: u64 = 11;
/// The largest that we take, in seconds: longer settles are no tests.
pub const MAX_OFFLINE_THRESHOLD_S: u64 = 600;
/// Heartbeat intervals that are waited for beyond the threshold until the sources of membership agree.
const SETTLE_HEARTBEATS: u32 = 2;
/// The most stand-bys that LXD takes.
pub const MAX_STANDBY: usize = 5;
/// The fewest voters that LXD takes.
pub const MIN_VOTERS: usize = 3;
/// Longest fragment of a preseed, in bytes.
pub const FRAGMENT_LIMIT_BYTES: usize = 64 * 1024;
/// Fewest folders below `/` of a state folder, which is removed whole when a node is wiped.
const MIN_STATE_DEPTH: usize = 3;

/// What can be chosen. Each field has a default.
///
/// The defaults are those of Debian's package, run in a folder of ours. A snap's LXD, with its service switched off, is
/// run by naming its programs (`/snap/lxd/current/bin/lxd`, `/snap/lxd/current/bin/lxc`) and its libraries in `environment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// `cluster.offline_threshold`, in seconds. LXD's heartbeat interval is half of it.
    pub offline_threshold_s: u64,
    /// `cluster.max_voters`: an odd number.
    pub max_voters: usize,
    /// `cluster.max_standby`.
    pub max_standby: usize,
    /// Port of the members' HTTPS interface.
    pub port: u16,
    /// `LXD_DIR`. It is removed when a node is wiped.
    pub state_folder: PathBuf,
    /// The socket of the local interface; `unix.socket` in the state folder if none is named.
    pub socket: Option<PathBuf>,
    /// The daemon's program, by path or found through `PATH`.
    pub lxd: String,
    /// The client's program.
    pub lxc: String,
    /// Arguments of the daemon.
    pub arguments: Vec<String>,
    /// Variables for daemon and client beside `LXD_DIR`, such as `LD_LIBRARY_PATH`.
    pub environment: BTreeMap<String, String>,
    /// YAML that is merged into the preseed of the first member.
    pub bootstrap: Option<String>,
    /// YAML that is merged into the preseed of everybody else.
    pub join: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            offline_threshold_s: MIN_OFFLINE_THRESHOLD_S,
            max_voters: 3,
            max_standby: 2,
            port: 8443,
            state_folder: PathBuf::from(super::BASE).join("data"),
            socket: None,
            lxd: "lxd".to_owned(),
            lxc: "lxc".to_owned(),
            arguments: vec!["--group".to_owned(), "root".to_owned()],
            environment: BTreeMap::new(),
            bootstrap: None,
            join: None,
        }
    }
}

/// What is wrong with options.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("lxd.{field}: {message}")]
pub struct OptionError {
    /// The field.
    pub field: &'static str,
    /// What is wrong, with the mend.
    pub message: String,
}

fn wrong(field: &'static str, message: impl Into<String>) -> OptionError {
    OptionError {
        field,
        message: message.into(),
    }
}

impl Options {
    /// Whether LXD would take them.
    ///
    /// # Errors
    /// The first field that it would not.
    pub fn check(&self) -> Result<(), OptionError> {
        let threshold = MIN_OFFLINE_THRESHOLD_S..=MAX_OFFLINE_THRESHOLD_S;
        if !threshold.contains(&self.offline_threshold_s) {
            return Err(wrong(
                "offline_threshold_s",
                format!(
                    "{} is not from {MIN_OFFLINE_THRESHOLD_S} to {MAX_OFFLINE_THRESHOLD_S}; LXD wants more than 10",
                    self.offline_threshold_s
                ),
            ));
        }
        if self.max_voters < MIN_VOTERS || self.max_voters.is_multiple_of(2) {
            return Err(wrong(
                "max_voters",
                format!(
                    "{} is not an odd number of at least {MIN_VOTERS}",
                    self.max_voters
                ),
            ));
        }
        if self.max_standby > MAX_STANDBY {
            return Err(wrong(
                "max_standby",
                format!("{} is more than {MAX_STANDBY}", self.max_standby),
            ));
        }
        if self.port == 0 {
            return Err(wrong("port", "0 is no port; leave it out for 8443"));
        }
        check_state_folder(&self.state_folder)?;
        for (field, program) in [("lxd", &self.lxd), ("lxc", &self.lxc)] {
            if program.trim().is_empty() {
                return Err(wrong(field, "is empty; name a program"));
            }
        }
        if let Some(name) = self.environment.keys().find(|name| !is_variable(name)) {
            return Err(wrong(
                "environment",
                format!("`{name}` is no name of a variable, or one that is set by the harness"),
            ));
        }
        // Whether they can be merged shows by merging them.
        self.bootstrap_preseed("n1", "192.0.2.1:8443")?;
        self.join_preseed("n2", "192.0.2.2:8443", "token")?;
        Ok(())
    }

    /// The socket of the local interface.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket
            .clone()
            .unwrap_or_else(|| self.state_folder.join("unix.socket"))
    }

    /// The database that each daemon keeps for itself.
    #[must_use]
    pub fn local_database(&self) -> PathBuf {
        self.state_folder.join("database/local.db")
    }

    /// The folder of raft's files.
    #[must_use]
    pub fn raft_folder(&self) -> PathBuf {
        self.state_folder.join("database/global")
    }

    /// How often the leader tells everybody who is a member: half the threshold.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.offline_threshold_s) / 2
    }

    /// How long the sources of membership may still differ after a disturbance: until an absent member counts as offline,
    /// and two heartbeats, which carry truststores and roles around.
    #[must_use]
    pub fn settle(&self) -> Duration {
        Duration::from_secs(self.offline_threshold_s) + self.heartbeat() * SETTLE_HEARTBEATS
    }

    /// Settings that are made once the first member is there: set in its preseed, `cluster.offline_threshold` makes the
    /// handler of 5.0.2 panic, because a daemon that is not clustered has no heartbeat to reset (seen on both suites).
    #[must_use]
    pub fn settings(&self) -> Vec<String> {
        vec![
            format!("cluster.offline_threshold={}", self.offline_threshold_s),
            format!("cluster.max_voters={}", self.max_voters),
            format!("cluster.max_standby={}", self.max_standby),
        ]
    }

    /// The preseed of the first member: name, and address with port.
    ///
    /// # Errors
    /// If the fragment is no YAML, or sets what we set.
    pub fn bootstrap_preseed(&self, name: &str, address: &str) -> Result<String, OptionError> {
        let ours = map([
            ("config", map([("core.https_address", text(address))])),
            (
                "cluster",
                map([("server_name", text(name)), ("enabled", Value::Bool(true))]),
            ),
        ]);
        preseed("bootstrap", ours, self.bootstrap.as_deref())
    }

    /// The preseed of a joiner: its name (5.0.2 takes it from the token, later ones want it here), its address with port,
    /// and the token.
    ///
    /// # Errors
    /// If the fragment is no YAML, or sets what we set.
    pub fn join_preseed(
        &self,
        name: &str,
        address: &str,
        token: &str,
    ) -> Result<String, OptionError> {
        let cluster = map([
            ("server_name", text(name)),
            ("enabled", Value::Bool(true)),
            ("server_address", text(address)),
            ("cluster_token", text(token)),
        ]);
        preseed("join", map([("cluster", cluster)]), self.join.as_deref())
    }
}

fn check_state_folder(folder: &Path) -> Result<(), OptionError> {
    let plain = folder
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    // The root is a component too.
    if !folder.is_absolute() || !plain || folder.components().count() <= MIN_STATE_DEPTH {
        return Err(wrong(
            "state_folder",
            format!(
                "{} is no absolute path at least {MIN_STATE_DEPTH} folders deep; it is removed when a node is wiped",
                folder.display()
            ),
        ));
    }
    Ok(())
}

fn is_variable(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name != "LXD_DIR" && name.chars().all(good) && name.starts_with(|c: char| !c.is_ascii_digit())
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries = entries.map(|(key, value)| (text(key), value));
    Value::Mapping(Mapping::from_iter(entries))
}

fn preseed(
    field: &'static str,
    mut ours: Value,
    fragment: Option<&str>,
) -> Result<String, OptionError> {
    if let Some(fragment) = fragment {
        if fragment.len() > FRAGMENT_LIMIT_BYTES {
            return Err(wrong(
                field,
                format!("is longer than {FRAGMENT_LIMIT_BYTES} bytes"),
            ));
        }
        let theirs: Value = serde_yaml::from_str(fragment)
            .map_err(|error| wrong(field, format!("is no YAML: {error}")))?;
        merge(&mut ours, theirs, "").map_err(|message| wrong(field, message))?;
    }
    serde_yaml::to_string(&ours).map_err(|error| wrong(field, error.to_string()))
}

/// Adds what a fragment says; what we say stays ours alone.
fn merge(ours: &mut Value, theirs: Value, at: &str) -> Result<(), String> {
    match (ours, theirs) {
        (_, Value::Null) => Ok(()),
        (Value::Mapping(ours), Value::Mapping(theirs)) => {
            for (key, value) in theirs {
                let name = key
                    .as_str()
                    .ok_or_else(|| format!("`{at}` has a key that is no text"))?;
                let path = if at.is_empty() {
                    name.to_owned()
                } else {
                    format!("{at}.{name}")
                };
                match ours.get_mut(&key) {
                    Some(mine) => merge(mine, value, &path)?,
                    None => {
                        ours.insert(key, value);
                    }
                }
            }
            Ok(())
        }
        (_, _) if at.is_empty() => {
            Err("is no mapping; write what `lxd init --preseed` takes".to_owned())
        }
        (_, _) => Err(format!("sets `{at}`, which the harness sets; leave it out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Options)) -> Options {
        let mut options = Options::default();
        change(&mut options);
        options
    }

    #[test]
    fn what_lxd_would_not_take_is_named() {
        assert_eq!(Options::default().check(), Ok(()));
        let cases: [(Options, &str); 12] = [
            (with(|o| o.offline_threshold_s = 10), "offline_threshold_s"),
            (with(|o| o.offline_threshold_s = 601), "offline_threshold_s"),
            (with(|o| o.max_voters = 4), "max_voters"),
            (with(|o| o.max_voters = 1), "max_voters"),
            (with(|o| o.max_standby = 6), "max_standby"),
            (with(|o| o.port = 0), "port"),
            (with(|o| o.state_folder = "/var/lib".into()), "state_folder"),
            (
                with(|o| o.state_folder = "/a/b/../c/d".into()),
                "state_folder",
            ),
            (with(|o| o.lxc = " ".into()), "lxc"),
            (
                with(|o| {
                    o.environment.insert("LXD_DIR".into(), "/x".into());
                }),
                "environment",
            ),
            (with(|o| o.bootstrap = Some("a: [".into())), "bootstrap"),
            (
                with(|o| o.join = Some("cluster: { cluster_token: x }".into())),
                "join",
            ),
        ];
        for (options, field) in cases {
            assert_eq!(options.check().unwrap_err().field, field, "{options:?}");
        }
    }

    #[test]
    fn settling_follows_from_the_threshold() {
        assert_eq!(Options::default().settle(), Duration::from_secs(22));
        let slow = with(|o| o.offline_threshold_s = 20);
        assert_eq!(slow.settle(), Duration::from_secs(40));
    }

    #[test]
    fn preseeds_are_yaml_whatever_is_in_them() {
        let options = with(|o| {
            o.bootstrap =
                Some("config: { images.auto_update_interval: 0 }\nnetworks: [{ name: b0 }]".into());
        });
        let made: Value = serde_yaml::from_str(
            &options
                .bootstrap_preseed("n1", "[2001:db8::1]:8443")
                .unwrap(),
        )
        .unwrap();
        let wanted: Value = serde_yaml::from_str(
            "config: { core.https_address: '[2001:db8::1]:8443', images.auto_update_interval: 0 }\n\
             cluster: { server_name: n1, enabled: true }\nnetworks: [{ name: b0 }]",
        )
        .unwrap();
        assert_eq!(made, wanted);
        for odd in ["yes", "0x1", "a: b", "\"", "- ", "#x", "12", "a\nb", "~"] {
            let made: Value =
                serde_yaml::from_str(&options.join_preseed(odd, "192.0.2.1:1", odd).unwrap())
                    .unwrap();
            assert_eq!(made["cluster"]["server_name"], text(odd));
            assert_eq!(made["cluster"]["cluster_token"], text(odd));
        }
    }

    #[test]
    fn options_read_back_and_strangers_are_refused() {
        let written = serde_yaml::to_string(&Options::default()).unwrap();
        let read: Options = serde_yaml::from_str(&written).unwrap();
        assert_eq!(read, Options::default());
        assert!(serde_yaml::from_str::<Options>("offline_treshold_s: 20").is_err());
    }
}
