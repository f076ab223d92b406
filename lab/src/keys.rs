//! Key pairs: ours, and one host key a node, all made before the node starts.
//!
//! Laws: a private key is readable by its owner only; our key is made once and kept; a host
//! key belongs to one node and is known to us before the first connection, so that nothing
//! is ever trusted on first use.

use std::{fs, path::Path};

use crate::{
    host,
    provider::LabError,
    state::{self, State},
};

/// An ed25519 key pair in OpenSSH's form.
#[derive(Clone)]
pub(crate) struct KeyPair {
    /// The private half.
    pub private: String,
    /// The public half: `ssh-ed25519 AAAA…`, without a comment.
    pub public: String,
}

/// Our key pair; it is made at the first call. Returns the public half.
pub(crate) fn ensure(state: &State) -> Result<String, LabError> {
    let folder = state.keys();
    state::make_folder(&folder, 0o700)?;
    let private = folder.join(PRIVATE_KEY);
    if !private.exists() {
        let pair = generate(&folder, "harness")?;
        state::write_atomic(&folder.join(PUBLIC_KEY), 0o644, pair.public.as_bytes())?;
        // Last, because its presence says that both are there.
        state::write_atomic(&private, 0o600, pair.private.as_bytes())?;
    }
    let public = folder.join(PUBLIC_KEY);
    let text =
        fs::read_to_string(&public).map_err(state::StateError::io("cannot read", &public))?;
    Ok(text.trim().to_owned())
}

/// File name of the private half of our key.
pub(crate) const PRIVATE_KEY: &str = "id_ed25519";
const PUBLIC_KEY: &str = "id_ed25519.pub";

/// Makes a new pair; `folder` holds it for a moment and must be private.
pub(crate) fn generate(folder: &Path, comment: &str) -> Result<KeyPair, LabError> {
    let private = folder.join(format!(".new-{comment}-{}", std::process::id()));
    let public = private.with_extension("pub");
    let clear = || state::remove_file(&private).and_then(|()| state::remove_file(&public));
    clear()?;
    let path = private.to_string_lossy().into_owned();
    host::run(
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", &path],
        host::QUICK,
    )
    .map_err(LabError::Tool)?;
    let read =
        |path: &Path| fs::read_to_string(path).map_err(state::StateError::io("cannot read", path));
    let public_line = read(&public)?;
    let pair = KeyPair {
        private: read(&private)?,
        public: public_line
            .split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" "),
    };
    clear()?;
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn our_key_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(folder.path()).unwrap();
        let first = ensure(&state).unwrap();
        assert!(first.starts_with("ssh-ed25519 AAAA"), "{first}");
        assert_eq!(ensure(&state).unwrap(), first);
        let mode = |name| {
            state
                .keys()
                .join(name)
                .metadata()
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode(PRIVATE_KEY), 0o600);
        assert_eq!(
            state.keys().metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(fs::read_dir(state.keys()).unwrap().count(), 2);
    }
}
