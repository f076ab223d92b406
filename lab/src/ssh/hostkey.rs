//! Whether a host is the one that is meant.
//!
//! Laws:
//! - every session is checked, before anything is said about who we are;
//! - a message names the fingerprint that was shown, as `ssh-keygen -l` prints it, and the mend;
//! - the algorithms that we ask for are those whose keys we know, so that a host with several keys
//!   shows one that can be judged (RFC 4253, section 7.1).

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use ssh2::{CheckResult, HostKeyType, KnownHostFileKind, KnownHosts, MethodType, Session};

use super::target::HostKeyPolicy;

/// What we offer for an rsa key; the plain `ssh-rsa` signature is SHA-1.
const RSA_METHODS: &str = "rsa-sha2-512,rsa-sha2-256";

/// Why a host key was not accepted: a fragment for a message.
pub(super) type Refusal = String;

/// Asks for the kinds of keys that we can judge. Call it before the handshake.
pub(super) fn prefer_known(
    session: &Session,
    policy: &HostKeyPolicy,
    host: &str,
    port: u16,
) -> Result<(), Refusal> {
    let kinds = match policy {
        HostKeyPolicy::Pinned(keys) => keys
            .iter()
            .map(|key| pinned_blob(key).map(|_| key.split_whitespace().next().unwrap_or_default()))
            .map(|kind| kind.map(str::to_owned))
            .collect::<Result<Vec<_>, _>>()?,
        HostKeyPolicy::KnownHosts(_) | HostKeyPolicy::AcceptNew(_) => {
            kinds_in_file(policy, host, port)
        }
    };
    if kinds.is_empty() {
        return match policy {
            HostKeyPolicy::Pinned(_) => Err("no key is pinned for it".into()),
            _ => Ok(()),
        };
    }
    let mut methods = Vec::new();
    for kind in &kinds {
        let offered = match kind.as_str() {
            "ssh-rsa" => RSA_METHODS,
            other => other,
        };
        if !methods.contains(&offered) {
            methods.push(offered);
        }
    }
    session
        .method_pref(MethodType::HostKey, &methods.join(","))
        .map_err(|error| {
            format!(
                "keys of kind {} are not supported: {error}",
                kinds.join(", ")
            )
        })
}

/// The kinds of the keys that a file has for a host by its plain name. Hashed names cannot be
/// listed without knowing the key, and then the default order is used.
fn kinds_in_file(policy: &HostKeyPolicy, host: &str, port: u16) -> Vec<String> {
    let (HostKeyPolicy::KnownHosts(file) | HostKeyPolicy::AcceptNew(file)) = policy else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let bracketed = format!("[{host}]:{port}");
    let named = |names: &str| {
        names.split(',').any(|name| {
            name == bracketed || (port == super::target::DEFAULT_SSH_PORT && name == host)
        })
    };
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (names, kind) = (words.next()?, words.next()?);
            named(names).then(|| kind.to_owned())
        })
        .collect()
}

/// Judges the key that the host showed. Call it after the handshake.
pub(super) fn check(
    session: &Session,
    policy: &HostKeyPolicy,
    host: &str,
    port: u16,
) -> Result<(), Refusal> {
    let (key, kind) = session.host_key().ok_or("it shows no key")?;
    match policy {
        HostKeyPolicy::Pinned(pinned) => check_pinned(key, pinned),
        HostKeyPolicy::KnownHosts(file) => {
            let known = read(session, file)?;
            judge(known.check_port(host, port, key), key, file, None)
        }
        HostKeyPolicy::AcceptNew(file) => {
            let known = if file.exists() {
                read(session, file)?
            } else {
                session.known_hosts().map_err(|error| error.to_string())?
            };
            let add = || remember(known_name(host, port), kind, key, file);
            judge(known.check_port(host, port, key), key, file, Some(&add))
        }
    }
}

fn check_pinned(key: &[u8], pinned: &[String]) -> Result<(), Refusal> {
    let mut expected = Vec::new();
    for line in pinned {
        let blob = pinned_blob(line)?;
        if blob == key {
            return Ok(());
        }
        expected.push(fingerprint(&blob));
    }
    Err(format!(
        "shown {}, pinned {}; if the node was made anew, update the pinned key",
        fingerprint(key),
        expected.join(", ")
    ))
}

fn pinned_blob(line: &str) -> Result<Vec<u8>, Refusal> {
    let encoded = line
        .split_whitespace()
        .nth(1)
        .ok_or_else(|| format!("the pinned key `{line}` is not of the form `ssh-ed25519 AAAA…`"))?;
    STANDARD
        .decode(encoded)
        .map_err(|error| format!("the pinned key `{line}` is not base64: {error}"))
}

fn read(session: &Session, file: &std::path::Path) -> Result<KnownHosts, Refusal> {
    let mut known = session.known_hosts().map_err(|error| error.to_string())?;
    known
        .read_file(file, KnownHostFileKind::OpenSSH)
        .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    Ok(known)
}

fn judge(
    result: CheckResult,
    key: &[u8],
    file: &std::path::Path,
    add: Option<&dyn Fn() -> Result<(), Refusal>>,
) -> Result<(), Refusal> {
    let shown = fingerprint(key);
    let file_name = file.display();
    match (result, add) {
        (CheckResult::Match, _) => Ok(()),
        (CheckResult::NotFound, Some(add)) => add(),
        (CheckResult::NotFound, None) => Err(format!(
            "shown {shown}, and {file_name} does not have the host; check the fingerprint on the node and add it"
        )),
        (CheckResult::Mismatch, _) => Err(format!(
            "shown {shown}, and {file_name} has another; if the node was made anew, remove its line there"
        )),
        (CheckResult::Failure, _) => Err(format!("{file_name} could not be searched")),
    }
}

/// Appends one line, so that lines that we do not understand stay as they are.
fn remember(
    name: String,
    kind: HostKeyType,
    key: &[u8],
    file: &std::path::Path,
) -> Result<(), Refusal> {
    use std::io::Write;
    let kind = match kind {
        HostKeyType::Rsa => "ssh-rsa",
        HostKeyType::Ecdsa256 => "ecdsa-sha2-nistp256",
        HostKeyType::Ecdsa384 => "ecdsa-sha2-nistp384",
        HostKeyType::Ecdsa521 => "ecdsa-sha2-nistp521",
        HostKeyType::Ed25519 => "ssh-ed25519",
        HostKeyType::Dss | HostKeyType::Unknown => {
            return Err(format!(
                "its key {} is of a kind that we do not keep",
                fingerprint(key)
            ));
        }
    };
    let line = format!("{name} {kind} {}\n", STANDARD.encode(key));
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(|error| format!("{} cannot be written: {error}", file.display()))
}

/// A host's name in a known_hosts file: with brackets and port unless it is the usual one.
fn known_name(host: &str, port: u16) -> String {
    if port == super::target::DEFAULT_SSH_PORT {
        host.to_owned()
    } else {
        format!("[{host}]:{port}")
    }
}

/// `SHA256:…`, as `ssh-keygen -l` prints it.
fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // A key made for this test and thrown away; the fingerprint is what `ssh-keygen -lf` printed for it.
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f test";

    #[test]
    fn pinned_keys_are_compared_as_bytes() {
        let blob = pinned_blob(KEY).unwrap();
        assert_eq!(check_pinned(&blob, &[KEY.into()]), Ok(()));
        let mut other = blob.clone();
        *other.last_mut().unwrap() ^= 1;
        let refusal = check_pinned(&other, &[KEY.into()]).unwrap_err();
        assert!(refusal.contains(&fingerprint(&blob)) && refusal.contains(&fingerprint(&other)));
        assert!(check_pinned(&blob, &[]).is_err());
        for broken in ["", "ssh-ed25519", "ssh-ed25519 !!!"] {
            assert!(pinned_blob(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn names_in_known_hosts_have_the_port_unless_it_is_the_usual_one() {
        for (host, port, name) in [
            ("n1", 22, "n1"),
            ("n1", 2222, "[n1]:2222"),
            ("fd00::1", 2222, "[fd00::1]:2222"),
        ] {
            assert_eq!(known_name(host, port), name);
        }
    }
}
