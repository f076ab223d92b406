//! Good inventories and what they mean, bad ones and what is said about them.

use super::*;

fn read(text: &str) -> Result<LabSpec, String> {
    parse(Path::new("/etc/lab.yaml"), text).map_err(|error| error.to_string())
}

#[test]
fn an_inventory_of_machines_is_read_with_its_defaults() {
    let text = "
provider: ssh
defaults: {user: ops, key: id, known_hosts: /k}
nodes:
  - {name: n1, address: 192.0.2.11, host: node1, port: 2222}
  - {name: n2, address: 192.0.2.12, user: root, agent: true, host_key: ssh-ed25519 AAAA me, jump: {host: j}}
";
    let Ok(LabSpec::Ssh(spec)) = read(text) else {
        panic!("{:?}", read(text))
    };
    let [first, second] = &spec.nodes[..] else {
        panic!("two nodes")
    };
    assert_eq!(first.access.host, "node1");
    assert_eq!(first.access.port, 2222);
    assert_eq!(first.access.credential, Credential::Key("/etc/id".into()));
    assert_eq!(first.access.known_by, KnownBy::KnownHosts("/k".into()));
    assert!(first.access.sudo, "who is not root becomes it");
    assert_eq!(second.ordinal, 1);
    assert_eq!(second.access.credential, Credential::Agent);
    assert_eq!(
        second.access.known_by,
        KnownBy::HostKey("ssh-ed25519 AAAA".into())
    );
    assert!(!second.access.sudo);
    let hop = second.access.jump.as_ref().unwrap();
    assert_eq!((hop.user.as_str(), hop.port), ("root", 22));
    assert_eq!(hop.known_by, KnownBy::KnownHosts("/k".into()));
}

#[test]
fn an_inventory_of_containers_is_read_with_its_defaults() {
    assert_eq!(read("provider: lxc"), Ok(LabSpec::default()));
    let text = "{provider: lxc, nodes: 3, suite: trixie, with: [lxd], packages: [strace], bridge: lab1, subnet: 10.9.0.0/24}";
    let Ok(LabSpec::Lxc(spec)) = read(text) else {
        panic!("{:?}", read(text))
    };
    assert_eq!(spec.nodes, 3);
    assert_eq!(spec.image.to_string(), "trixie+lxd+strace");
    assert_eq!(spec.bridge, "lab1");
    assert_eq!(spec.subnet.to_string(), "10.9.0.0/24");
}

#[test]
fn a_bad_inventory_is_answered_with_line_field_and_mend() {
    let node = |fields: &str| format!("provider: ssh\nnodes:\n  - {{{fields}}}\n");
    let table = [
        ("nodes: 3".into(), "1: field `provider` is missing; write `provider: lxc`, `lxd` or `ssh`"),
        ("provider: vm".into(), "1: provider: unknown variant `vm`, expected one of `lxc`, `lxd`, `ssh`"),
        ("provider: lxc\nnode: 3".into(), "2: unknown field `node`, expected one of `provider`, `nodes`, `suite`, `with`, `packages`, `bridge`, `subnet`"),
        ("provider: lxc\nnodes: 99".into(), "2: field `nodes`: a lab cannot have 99 nodes (it has 1 to 16)"),
        ("provider: lxc\nbridge: a-b".into(), "2: field `bridge`: a lab cannot have the bridge `a-b` (a lower-case letter, then up to 10 letters and digits)"),
        ("provider: lxc\nsubnet: 8.0.0.0/24".into(), "2: field `subnet`: subnet `8.0.0.0/24` is not private; take one inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"),
        ("provider: lxc\nsuite: forky\nwith: [lxd]".into(), "3: field `with`: forky has no package of lxd; take bookworm or trixie"),
        ("provider: lxc\npackages: [--x]".into(), "2: field `packages`: `--x` is not the name of a Debian package"),
        ("provider: ssh\nnodes: []".into(), "2: field `nodes` lists 0; list 1 to 16"),
        (node("name: n1, address: 192.0.2.1, prot: 22"), "3: nodes[0]: unknown field `prot`, expected one of `name`, `address`, `host`, `port`, `user`, `key`, `agent`, `sudo`, `jump`, `host_key`, `known_hosts`"),
        (node("name: n1, address: 192.0.2.999"), "3: nodes[0].address: invalid IP address syntax"),
        (node("name: n1, address: 127.0.0.1"), "3: field `address`: the other nodes cannot reach n1 at 127.0.0.1"),
        (node("name: N1, address: 192.0.2.1"), "3: field `name`: `N1` is not a letter, then up to 31 lower-case letters, digits and dashes"),
        (node("name: n1, address: 192.0.2.1"), "3: field `key` is missing for n1; name a private key, or write `agent: true`"),
        (node("name: n1, address: 192.0.2.1, key: k, agent: true"), "3: fields `key` and `agent`: n1 has both; keep one"),
        (node("name: n1, address: 192.0.2.1, key: k"), "3: field `host_key` is missing for n1; write its public host key, or name a file by `known_hosts`"),
        (node("name: n1, address: 192.0.2.1, key: k, host_key: AAAA"), "3: field `host_key` of n1 is not of the form `ssh-ed25519 AAAA…`; take it from ssh-keyscan"),
        (node("name: n1, address: 192.0.2.1, key: k, host_key: ssh-rsa A, known_hosts: k"), "3: fields `host_key` and `known_hosts`: n1 has both; keep one"),
        (
            "provider: ssh\ndefaults:\n  key: k\n  known_hosts: k\nnodes:\n  - name: n1\n    address: 192.0.2.1\n  - name: n1\n    address: 192.0.2.2\n".into(),
            "8: field `name`: there are two nodes `n1`; rename one",
        ),
        (
            "provider: ssh\ndefaults:\n  key: k\n  known_hosts: k\nnodes:\n- name: n1\n  address: 192.0.2.1\n- name: n2\n  address: 192.0.2.1\n".into(),
            "8: field `address`: n2 has the address of n1; list each machine once",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(
            read(&text).unwrap_err(),
            format!("/etc/lab.yaml:{expected}"),
            "{text}"
        );
    }
}
