//! `provider: lxd` in `lab.yaml`: nodes as instances of a server of LXD or Incus. Each field but `provider` has a default.
//!
//! ```yaml
//! provider: lxd
//! nodes: 5
//! suite: bookworm               # and `with`, `packages`: what containers are made from
//! remote: https://192.0.2.1     # or the path of a socket; else the server that is installed here
//! certificate: client.crt       # with https only: ours, which the server trusts, its key,
//! key: client.key
//! fingerprint: 0c3a…            # and the SHA-256 of the server's certificate
//! project: default
//! pool: default                 # a storage pool that exists
//! network: harnesslxd           # the bridge and the profile that are made; instances are harnesslxd-n1 and so on
//! network_config: {}            # further keys of that bridge
//! attach: ovn0                  # or a network that exists, on which `subnet` is free; one that spans machines, for nodes on several
//! subnet: 10.85.0.0/24
//! target: [m1, m2]              # members of a cluster, one node each in turn
//! instance: container           # or virtual-machine, which needs
//! image: debian/12/cloud        # an image of the server that has cloud-init and an SSH server
//! config: { limits.memory: 2GiB }
//! jump: { host: 192.0.2.1, user: ops, key: id, host_key: ssh-ed25519 AAAA… }   # if the nodes are reached over a host
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{InventoryError, Provider, RawAccess, RawHop, Reader};
use crate::{
    image::{ImageSystem, Suite},
    provider::lxd::{DEFAULT_SERVER_PORT, DEFAULT_SUBNET, Https, Instance, LxdSpec, Remote},
    subnet::SubnetError,
};

/// Digits of a certificate's fingerprint.
const FINGERPRINT_DIGITS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLxd {
    #[serde(rename = "provider")]
    _provider: Provider,
    nodes: Option<usize>,
    suite: Option<Suite>,
    with: Option<BTreeSet<ImageSystem>>,
    packages: Option<BTreeSet<String>>,
    image: Option<String>,
    instance: Option<Instance>,
    remote: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    fingerprint: Option<String>,
    project: Option<String>,
    pool: Option<String>,
    network: Option<String>,
    #[serde(default)]
    network_config: BTreeMap<String, String>,
    attach: Option<String>,
    subnet: Option<String>,
    #[serde(default)]
    target: Vec<String>,
    #[serde(default)]
    config: BTreeMap<String, String>,
    jump: Option<RawHop>,
}

impl Reader<'_> {
    pub(super) fn lxd(&self) -> Result<LxdSpec, InventoryError> {
        let mut raw: RawLxd = self.yaml()?;
        if raw.image.is_some() {
            for (field, given) in [
                ("suite", raw.suite.is_some()),
                ("with", raw.with.is_some()),
                ("packages", raw.packages.is_some()),
            ] {
                if given {
                    return Err(self.at(
                        field,
                        "the image of the server has what it has; leave it out, or `image`",
                    ));
                }
            }
        }
        let subnet = match self.subnet(raw.subnet.take())? {
            Some(subnet) => subnet,
            None => DEFAULT_SUBNET
                .parse()
                .map_err(|error: SubnetError| self.at("subnet", error))?,
        };
        let jump = raw.jump.take().map(|hop| {
            self.hop(hop, "root", None, &RawAccess::default())
                .map_err(|problem| self.error(self.line_of("jump"), problem))
        });
        let mut spec = LxdSpec {
            image: self.recipe(
                raw.suite,
                raw.with.take(),
                raw.packages.take().unwrap_or_default(),
            )?,
            jump: jump.transpose()?,
            ..LxdSpec::new(self.remote(&mut raw)?, subnet)
        };
        spec.nodes = raw.nodes.unwrap_or(spec.nodes);
        spec.instance = raw.instance.unwrap_or_default();
        spec.server_image = raw.image;
        for (field, given) in [
            (&mut spec.project, raw.project),
            (&mut spec.pool, raw.pool),
            (&mut spec.network, raw.network),
        ] {
            if let Some(given) = given {
                *field = given;
            }
        }
        spec.attach = raw.attach;
        spec.target = raw.target;
        spec.config = raw.config;
        spec.network_config = raw.network_config;
        spec.check().map_err(|error| {
            self.error(self.line_of_problem(&error.to_string()), error.to_string())
        })?;
        Ok(spec)
    }

    /// The line of the first field that a problem names.
    fn line_of_problem(&self, problem: &str) -> Option<usize> {
        let fields = [
            "network_config",
            "config",
            "image",
            "network",
            "project",
            "pool",
            "attach",
            "target",
            "nodes",
        ];
        let named = |field: &&str| {
            problem
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == *field)
        };
        fields
            .iter()
            .filter(|field| named(field))
            .find_map(|field| self.line_of(field))
    }

    fn remote(&self, raw: &mut RawLxd) -> Result<Remote, InventoryError> {
        let needs_https = [
            ("certificate", raw.certificate.is_some()),
            ("key", raw.key.is_some()),
            ("fingerprint", raw.fingerprint.is_some()),
        ];
        let Some(remote) = raw.remote.take() else {
            return self
                .only_with_https(&needs_https)
                .map(|()| Remote::of_this_machine());
        };
        let Some(address) = remote.strip_prefix("https://") else {
            if remote.contains("://") {
                let problem =
                    format!("`{remote}` is neither a path nor of the form https://host:8443");
                return Err(self.at("remote", problem));
            }
            self.only_with_https(&needs_https)?;
            return Ok(Remote::Unix(self.path(Path::new(&remote))));
        };
        let (host, port) = host_and_port(address).ok_or_else(|| {
            self.at(
                "remote",
                format!("`{remote}` is not of the form https://host:8443"),
            )
        })?;
        let missing = |field: &str, what: &str| {
            self.error(
                self.line_of("remote"),
                format!("field `{field}` is missing; {what}"),
            )
        };
        let fingerprint = raw.fingerprint.take().ok_or_else(|| {
            missing(
                "fingerprint",
                "`lxc info` on the server says it, as certificate_fingerprint",
            )
        })?;
        let digits = fingerprint.to_ascii_lowercase().replace(':', "");
        if digits.len() != FINGERPRINT_DIGITS || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            let problem = format!("`{fingerprint}` is not {FINGERPRINT_DIGITS} hexadecimal digits");
            return Err(self.at("fingerprint", problem));
        }
        let file = |path: Option<PathBuf>, field| {
            path.map(|path| self.path(&path)).ok_or_else(|| {
                missing(
                    field,
                    "name our certificate, which the server trusts, and its key, both in PEM",
                )
            })
        };
        Ok(Remote::Https(Https {
            host,
            port,
            certificate: file(raw.certificate.take(), "certificate")?,
            key: file(raw.key.take(), "key")?,
            fingerprint: digits,
        }))
    }

    fn only_with_https(&self, fields: &[(&str, bool)]) -> Result<(), InventoryError> {
        match fields.iter().find(|(_, given)| *given) {
            Some((field, _)) => Err(self.at(
                field,
                "a socket needs none; leave it out, or write `remote: https://…`",
            )),
            None => Ok(()),
        }
    }
}

/// `host`, `host:port`, `[::1]` or `[::1]:port`.
fn host_and_port(address: &str) -> Option<(String, u16)> {
    let address = address.strip_suffix('/').unwrap_or(address);
    let (host, rest) = match address.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => match address.find(':') {
            Some(colon) => address.split_at(colon),
            None => (address, ""),
        },
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None if rest.is_empty() => DEFAULT_SERVER_PORT,
        None => return None,
    };
    let plain = !host.is_empty() && !host.contains(['/', '@', ' ']);
    plain.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};
    use crate::{
        access::{Credential, KnownBy},
        provider::LabSpec,
    };

    fn read(text: &str) -> Result<LxdSpec, String> {
        match parse(Path::new("/etc/lab.yaml"), text) {
            Ok(LabSpec::Lxd(spec)) => Ok(*spec),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn an_inventory_of_instances_is_read_with_its_defaults() {
        let spec = read("provider: lxd").unwrap();
        assert_eq!(
            spec,
            LxdSpec::new(Remote::of_this_machine(), DEFAULT_SUBNET.parse().unwrap())
        );
        let spec = read("{provider: lxd, remote: run/unix.socket, nodes: 3, network: lab1, suite: trixie, config: {limits.memory: 1GiB}}").unwrap();
        assert_eq!(spec.remote, Remote::Unix("/etc/run/unix.socket".into()));
        assert_eq!(spec.instance_name("n3"), "lab1-n3");
        assert_eq!(spec.image.to_string(), "trixie+dqlite");
        assert_eq!(spec.config["limits.memory"], "1GiB");
    }

    #[test]
    fn a_server_far_away_is_known_by_its_certificate() {
        let fingerprint = "AB:".repeat(31) + "CD";
        let spec = read(&format!(
            "provider: lxd\nremote: https://[fd00::1]\ncertificate: c.pem\nkey: /k.pem\nfingerprint: {fingerprint}\n\
             target: [m1, m2]\njump: {{host: j, user: ops, agent: true, host_key: ssh-ed25519 AAAA}}\n"
        ))
        .unwrap();
        let Remote::Https(https) = &spec.remote else {
            panic!("{:?}", spec.remote)
        };
        assert_eq!((https.host.as_str(), https.port), ("fd00::1", 8443));
        assert_eq!(https.certificate, Path::new("/etc/c.pem"));
        assert_eq!(https.key, Path::new("/k.pem"));
        assert_eq!(https.fingerprint, "ab".repeat(31) + "cd");
        assert_eq!(spec.remote.to_string(), "https://[fd00::1]:8443");
        let jump = spec.jump.as_ref().unwrap();
        assert_eq!(
            (jump.user.as_str(), &jump.credential),
            ("ops", &Credential::Agent)
        );
        assert_eq!(jump.known_by, KnownBy::HostKey("ssh-ed25519 AAAA".into()));
        let targets: Vec<_> = (0..3).map(|ordinal| spec.target_of(ordinal)).collect();
        assert_eq!(targets, [Some("m1"), Some("m2"), Some("m1")]);
    }

    #[test]
    fn a_virtual_machine_is_made_from_an_image_of_the_server() {
        let spec =
            read("{provider: lxd, instance: virtual-machine, image: debian/12/cloud}").unwrap();
        let lab = LabSpec::Lxd(Box::new(spec));
        assert_eq!(lab.recipe(), None);
        assert!(
            lab.summary()
                .starts_with("5 virtual machines of debian/12/cloud on harnesslxd")
        );
    }

    #[test]
    fn a_bad_inventory_is_answered_with_line_field_and_mend() {
        let https = |fields: &str| format!("provider: lxd\nremote: https://h\n{fields}");
        let table = [
            (
                "provider: lxd\nbridge: b".to_owned(),
                "2: unknown field `bridge`, expected one of `provider`, `nodes`, ",
            ),
            (
                "provider: lxd\nnodes: 0".into(),
                "2: a lab cannot have 0 nodes (it has 1 to 16)",
            ),
            (
                "provider: lxd\nnetwork: a_b".into(),
                "2: a lab cannot have the network `a_b` (a lower-case letter, then up to 10 letters and digits)",
            ),
            (
                "provider: lxd\nsubnet: 10.0.0.1/24".into(),
                "2: field `subnet`: subnet `10.0.0.1/24` has bits below its prefix; write 10.0.0.0/24",
            ),
            (
                "provider: lxd\npool: a/b".into(),
                "2: a lab cannot have the pool `a/b` (letters, digits, dots, dashes and underscores)",
            ),
            (
                "provider: lxd\nconfig:\n  raw.lxc: x".into(),
                "2: a lab cannot have the key `raw.lxc` in config: it is the harness's own",
            ),
            (
                "provider: lxd\nattach: ovn0\nnetwork_config: {a: b}".into(),
                "3: a lab cannot have network_config beside attach: a network that is not ours is not changed",
            ),
            (
                "provider: lxd\ninstance: vm".into(),
                "2: instance: unknown variant `vm`, expected `container` or `virtual-machine`",
            ),
            (
                "provider: lxd\ninstance: virtual-machine".into(),
                " a lab cannot have virtual machines without `image`: name an image of the server that has cloud-init",
            ),
            (
                "provider: lxd\nimage: x".into(),
                "2: a lab cannot have containers of the server's image `x`: they are made from suite, with and packages",
            ),
            (
                "provider: lxd\nimage: x\nsuite: trixie".into(),
                "3: field `suite`: the image of the server has what it has; leave it out, or `image`",
            ),
            (
                "provider: lxd\nremote: ssh://h".into(),
                "2: field `remote`: `ssh://h` is neither a path nor of the form https://host:8443",
            ),
            (
                "provider: lxd\nremote: https://h:x".into(),
                "2: field `remote`: `https://h:x` is not of the form https://host:8443",
            ),
            (
                "provider: lxd\nremote: /s\nkey: k".into(),
                "3: field `key`: a socket needs none; leave it out, or write `remote: https://…`",
            ),
            (
                https(""),
                "2: field `fingerprint` is missing; `lxc info` on the server says it, as certificate_fingerprint",
            ),
            (
                https("fingerprint: abc"),
                "3: field `fingerprint`: `abc` is not 64 hexadecimal digits",
            ),
            (
                https(&format!("fingerprint: '{}'", "0".repeat(64))),
                "2: field `certificate` is missing; name our certificate, which the server trusts, and its key, both in PEM",
            ),
            (
                "provider: lxd\njump: {host: j, key: k}".into(),
                "2: field `host_key` is missing for jump host j; write its public host key, or name a file by `known_hosts`",
            ),
            (
                "provider: lxd\njump: {host: j, host_key: ssh-rsa A}".into(),
                "2: field `key` is missing for jump host j; name a private key, or write `agent: true`",
            ),
        ];
        for (text, expected) in table {
            let said = read(&text).unwrap_err();
            assert!(
                said.starts_with(&format!("/etc/lab.yaml:{expected}")),
                "{text}\n{said}"
            );
        }
    }
}
