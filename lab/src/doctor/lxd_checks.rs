//! The server of a lab of provider `lxd`: whether it answers, trusts us, and has what the lab needs.

use super::{Check, Subject};
use crate::provider::{
    LabSpec,
    lxd::{self, LxdSpec, ServerError},
};

/// Nothing unless such a lab was asked for.
pub(super) fn all(subject: &Subject<'_>) -> Vec<Check> {
    match subject.lab {
        Some(LabSpec::Lxd(spec)) => server(spec),
        _ => Vec::new(),
    }
}

fn server(spec: &LxdSpec) -> Vec<Check> {
    const NAME: &str = "server";
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let seen = match runtime {
        Ok(runtime) => runtime.block_on(lxd::look(spec)),
        Err(error) => {
            return vec![Check::fail(
                NAME,
                error.to_string(),
                "free some memory and descriptors",
            )];
        }
    };
    match seen {
        Err(error) => vec![failed(NAME, &error)],
        Ok((summary, lacks)) => {
            let mut checks = vec![Check::pass(NAME, format!("{summary} at {}", spec.remote))];
            if lacks.is_empty() {
                let what = format!("project {}, storage pool {}", spec.project, spec.pool);
                checks.push(Check::pass("what the lab needs", what));
            }
            checks.extend(lacks.iter().map(|lack| failed("what the lab needs", lack)));
            checks
        }
    }
}

/// An error as a check: what it says of its mend goes where mends go.
fn failed(name: &str, error: &ServerError) -> Check {
    let said = error.to_string();
    let (detail, mend) = match said.split_once(" (mend: ") {
        Some((detail, mend)) => (detail, mend.strip_suffix(')').unwrap_or(mend)),
        None => (said.as_str(), "look at the server's own log"),
    };
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    Check::fail(
        name,
        format!("{detail}{}", source.unwrap_or_default()),
        mend,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::lxd::{DEFAULT_SUBNET, Remote};

    #[test]
    fn a_server_that_does_not_answer_fails_with_the_mend_where_mends_go() {
        let folder = tempfile::tempdir().unwrap();
        let remote = Remote::Unix(folder.path().join("none"));
        let spec = LxdSpec::new(remote, DEFAULT_SUBNET.parse().unwrap());
        let checks = server(&spec);
        let [check] = &checks[..] else {
            panic!("{checks:?}")
        };
        assert_eq!(check.status, super::super::Status::Fail);
        assert!(
            check
                .detail
                .ends_with("cannot be reached: No such file or directory (os error 2)"),
            "{check:?}"
        );
        assert_eq!(
            check.mend.as_deref(),
            Some("start it, or name another by `remote` in lab.yaml")
        );
    }
}
