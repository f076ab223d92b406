//! Turns what debootstrap left into a node's root: our SSH server as process 1, nothing of the
//! machine that built it, nothing that two nodes must not share.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::{ImageError, Suite};
use crate::state::{self, StateError, make_folder, remove_file, write_atomic};

/// The program that a container of ours runs as process 1.
pub const INIT: &str = "/usr/local/lib/harness/node-init";
const NODE_INIT: &str = include_str!("node-init.sh");
const SSHD_CONFIG: &str = include_str!("sshd_config");
/// OpenSSH 9.8 and later shut out an address that connects often without logging in, which is what
/// waiting for a node looks like.
const SSHD_CONFIG_LATER: &str = "PerSourcePenalties no\n";
/// Packages installed later must not start their services.
const POLICY: &str = "#!/bin/sh\nexit 101\n";
/// The index of a suite that moves can be past its date.
const APT: &str = "Acquire::Check-Valid-Until \"false\";\nAPT::Install-Recommends \"false\";\n";

/// What a node does without: documentation, and what was only needed to install.
const EMPTIED: [&str; 8] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
];
/// What must be a node's own, or names the machine that built the image.
const REMOVED: [&str; 4] = [
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "etc/hostname",
    "etc/resolv.conf",
];

/// Does all that; the file system stays as it is otherwise.
pub(super) fn run(rootfs: &Path, suite: Suite) -> Result<(), ImageError> {
    for folder in EMPTIED {
        empty(&rootfs.join(folder))?;
    }
    for file in REMOVED {
        remove_file(&rootfs.join(file))?;
    }
    remove_host_keys(&rootfs.join("etc/ssh"))?;
    // Without name servers a lookup fails at once instead of waiting.
    write(
        rootfs,
        "etc/resolv.conf",
        0o644,
        "# nodes have no name servers\n",
    )?;
    write(rootfs, "etc/apt/apt.conf.d/99harness", 0o644, APT)?;
    write(rootfs, "usr/sbin/policy-rc.d", 0o755, POLICY)?;
    write(rootfs, INIT.trim_start_matches('/'), 0o755, NODE_INIT)?;
    let mut sshd = SSHD_CONFIG.to_owned();
    if suite != Suite::Bookworm {
        sshd.push_str(SSHD_CONFIG_LATER);
    }
    write(rootfs, "etc/ssh/harness_sshd_config", 0o644, &sshd)
}

fn write(rootfs: &Path, path: &str, mode: u32, text: &str) -> Result<(), ImageError> {
    let path = rootfs.join(path);
    if let Some(folder) = path.parent() {
        make_folder(folder, 0o755)?;
    }
    write_atomic(&path, mode, text.as_bytes())?;
    // The mode of a new file is subject to the umask of whoever builds.
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))
        .map_err(StateError::io("cannot set the mode of", &path))?;
    Ok(())
}

/// Removes what a folder holds, and keeps the folder: packages expect it.
fn empty(folder: &Path) -> Result<(), ImageError> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            state::remove_folder(&path)?;
        } else {
            remove_file(&path)?;
        }
    }
    Ok(())
}

fn remove_host_keys(folder: &Path) -> Result<(), ImageError> {
    let entries = fs::read_dir(folder).map_err(StateError::io("cannot read", folder))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("ssh_host_") {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

/// Name and version of every package, from dpkg's own list.
pub(super) fn packages(rootfs: &Path) -> Result<BTreeMap<String, String>, ImageError> {
    let path = rootfs.join("var/lib/dpkg/status");
    let text = fs::read_to_string(&path).map_err(StateError::io("cannot read", &path))?;
    Ok(parse_status(&text))
}

fn parse_status(text: &str) -> BTreeMap<String, String> {
    let field = |stanza: &str, name: &str| {
        stanza
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
    };
    text.split("\n\n")
        .filter_map(|stanza| Some((field(stanza, "Package:")?, field(stanza, "Version:")?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dpkgs_list_is_read() {
        let text = "Package: adduser\nStatus: install ok installed\nVersion: 3.134\n\nPackage: go-dqlite\nDepends: x\nVersion: 1.11.5-1+b5\n\n";
        let packages = parse_status(text);
        assert_eq!(packages.len(), 2);
        assert_eq!(packages["go-dqlite"], "1.11.5-1+b5");
    }

    #[test]
    fn a_root_loses_what_two_nodes_must_not_share() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for file in [
            "etc/ssh/ssh_host_rsa_key",
            "etc/ssh/moduli",
            "etc/machine-id",
            "var/log/apt/term.log",
        ] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), "x").unwrap();
        }
        run(root, Suite::Trixie).unwrap();
        assert!(!root.join("etc/ssh/ssh_host_rsa_key").exists());
        assert!(!root.join("etc/machine-id").exists());
        assert!(root.join("etc/ssh/moduli").exists());
        assert!(root.join("var/log").exists() && !root.join("var/log/apt").exists());
        let mode = root
            .join("usr/local/lib/harness/node-init")
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
        let sshd = fs::read_to_string(root.join("etc/ssh/harness_sshd_config")).unwrap();
        assert!(sshd.ends_with("PerSourcePenalties no\n"));
    }
}
