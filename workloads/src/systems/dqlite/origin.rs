//! How a node came, or is to come, into a cluster, and with which arguments it is therefore started.
//!
//! go-dqlite looks at `--join` only while its folder has no data: then it joins those, or bootstraps a cluster of its own if
//! there is nobody to join. Afterwards `info.yaml` and `cluster.yaml` say who it is, and `--join` is not looked at (read in
//! 1.11.5, 2.0.0 and 3.0.4). A first node that was removed and wiped must join like any other; so each node keeps a file that
//! says which it is, and one without that file is not started at all.
//!
//! A node joins by the addresses of all members, not of one: a stand-by or spare does not know who leads, and a node that was
//! given only such an address asks it for ever (seen: `WARN: attempt 5: server 10.89.0.14:9001: no known leader`).

/// How a node came into a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It made the cluster.
    Bootstrap,
    /// It joined these addresses, the one that was asked for first.
    Join(Vec<String>),
}

impl Origin {
    /// The word for [`Origin::Bootstrap`] in the file.
    pub const BOOTSTRAP: &'static str = "bootstrap";
    /// The word before the addresses in the file.
    pub const JOIN: &'static str = "join";
    /// The flag of `dqlite-demo`.
    pub const JOIN_FLAG: &'static str = "--join";

    /// As it stands in the file, without the newline: `bootstrap`, or `join 10.0.0.1:9001,10.0.0.2:9001`.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Bootstrap => Self::BOOTSTRAP.to_owned(),
            Self::Join(addresses) => format!("{} {}", Self::JOIN, addresses.join(",")),
        }
    }

    /// Reads it; none if nothing stands there, or nothing that was written here.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == Self::BOOTSTRAP {
            return Some(Self::Bootstrap);
        }
        let addresses = text.strip_prefix(Self::JOIN)?.strip_prefix(' ')?;
        let addresses: Vec<String> = addresses
            .split(',')
            .map(|address| address.trim().to_owned())
            .collect();
        let is_whole = addresses.iter().all(|address| !address.is_empty());
        is_whole.then_some(Self::Join(addresses))
    }

    /// What is added to the program's arguments.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        match self {
            Self::Bootstrap => Vec::new(),
            Self::Join(addresses) => vec![Self::JOIN_FLAG.to_owned(), addresses.join(",")],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_nothing_else_does() {
        let join = Origin::Join(vec!["10.0.0.1:9001".into(), "10.0.0.2:9001".into()]);
        for origin in [Origin::Bootstrap, join.clone()] {
            assert_eq!(
                Origin::decode(&format!("{}\n", origin.encode())),
                Some(origin)
            );
        }
        assert_eq!(join.encode(), "join 10.0.0.1:9001,10.0.0.2:9001");
        for text in [
            "",
            "\n",
            "join",
            "join ",
            "join a,,b",
            "joina",
            "bootstraps",
        ] {
            assert_eq!(Origin::decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_a_joiner_is_told_whom_to_join() {
        assert!(Origin::Bootstrap.arguments().is_empty());
        let join = Origin::Join(vec!["10.0.0.1:9001".into(), "10.0.0.2:9001".into()]);
        assert_eq!(join.arguments(), ["--join", "10.0.0.1:9001,10.0.0.2:9001"]);
    }
}
