//! Tests of [`super`].

use super::*;

#[test]
fn flags_win_over_the_file() {
    let file: RunOptions =
        serde_yaml::from_str("workload: set\ntime-limit: 30\nnodes: 3\n").unwrap();
    let flags = RunOptions {
        workload: Some("bank".to_owned()),
        ..RunOptions::default()
    };
    let config = RunConfig::from_options(&flags.or(file)).unwrap();
    assert_eq!(config.workload.name(), "bank");
    assert_eq!(config.time_limit, Duration::from_secs(30));
    assert_eq!(config.nodes, Some(3));
}

#[test]
fn what_makes_no_sense_is_refused_with_its_field() {
    let with = |change: fn(&mut RunOptions)| {
        let mut options = RunOptions::default();
        change(&mut options);
        match RunConfig::from_options(&options) {
            Ok(_) => panic!("accepted {options:?}"),
            Err(failure) => failure.to_string(),
        }
    };
    for (message, field) in [
        (with(|o| o.time_limit = Some("soon".into())), "time-limit"),
        (with(|o| o.time_limit = Some("0".into())), "time-limit"),
        (with(|o| o.time_limit = Some("-3".into())), "time-limit"),
        (with(|o| o.workload = Some("banc".into())), "workload"),
        (with(|o| o.system = Some("etcd".into())), "system"),
        (with(|o| o.nodes = Some(0)), "nodes"),
        (with(|o| o.concurrency = Some("n2".into())), "concurrency"),
        (with(|o| o.seed = Some("x".into())), "seed"),
        (with(|o| o.rate = Some(-1.0)), "rate"),
        (with(|o| o.interval = Some("1/".into())), "interval"),
        (with(|o| o.plant = Some("stale-read".into())), "plant"),
        (with(|o| o.reads = Some("log".into())), "reads"),
        (with(|o| o.allow_negative = Some(true)), "allow-negative"),
        (with(|o| o.check_memory = Some(0)), "check-memory"),
        (with(|o| o.seed = Some("-1".into())), "seed"),
        (
            with(|o| {
                o.system = Some("sim".into());
                o.suite = Some("trixie".into());
            }),
            "suite",
        ),
        (
            with(|o| {
                o.system = Some("sim".into());
                o.lab = Some("lab.yaml".into());
            }),
            "lab",
        ),
        (with(|o| o.changes = Some("forec".into())), "changes"),
        (
            with(|o| o.changes = Some("none,rejoin".into())),
            "changes: none stands alone",
        ),
        (with(|o| o.floor = Some(0)), "floor"),
        (with(|o| o.initial = Some(0)), "initial"),
        (with(|o| o.parallel_join = Some(0)), "parallel-join"),
        (
            with(|o| o.change_timeout = Some("0".into())),
            "change-timeout",
        ),
        (
            with(|o| o.agent_heals_after = Some("4s".into())),
            "agent-heals-after",
        ),
        (
            with(|o| o.sample_interval = Some("1ms".into())),
            "sample-interval",
        ),
        (with(|o| o.max_voters = Some(3)), "max-voters"),
        (
            with(|o| {
                o.system = Some("lxd".into());
                o.max_voters = Some(4);
            }),
            "lxd.max_voters",
        ),
        (
            with(|o| {
                o.system = Some("lxd".into());
                o.offline_threshold = Some("10s".into());
            }),
            "lxd.offline_threshold_s",
        ),
        (
            with(|o| {
                o.system = Some("lxd".into());
                o.max_standby = Some(6);
            }),
            "lxd.max_standby",
        ),
        (
            with(|o| {
                o.system = Some("lxd".into());
                o.data_layer = Some(true);
            }),
            "data-layer",
        ),
        (
            with(|o| {
                o.data_layer = Some(true);
                o.data_size = Some("64MiB".into());
            }),
            "data-layer",
        ),
        (
            with(|o| {
                o.workload = Some("set".into());
                o.initial = Some(3);
            }),
            "initial",
        ),
    ] {
        assert!(message.starts_with(field), "{message}");
    }
}

#[test]
fn times_are_read_with_their_units() {
    for (text, ms) in [
        ("60", 60_000),
        ("1.5m", 90_000),
        ("200ms", 200),
        ("2h", 7_200_000),
    ] {
        assert_eq!(parse_time("f", text).unwrap().as_millis(), ms);
    }
}

#[test]
fn unknown_fields_of_the_file_are_named() {
    let error = serde_yaml::from_str::<RunOptions>("wrokload: set\n").unwrap_err();
    assert!(error.to_string().contains("wrokload"), "{error}");
}

/// Help refers to it.
#[test]
fn the_readme_lists_every_field_of_lxds_options() {
    let readme = include_str!("../../../../README.md");
    let fields = serde_json::to_value(lxd::Options::default()).unwrap();
    for field in fields.as_object().unwrap().keys() {
        assert!(readme.contains(&format!("`{field}`")), "{field}");
    }
}
