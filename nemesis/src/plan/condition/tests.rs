//! The tables: what can be written, and what the scripts are made of.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Asked, Condition,
    options::parse_options,
    script::{self, Look, Place},
};

fn place() -> Place {
    Place {
        peers: ["10.77.0.12", "fd00::3"]
            .map(|ip| ip.parse::<IpAddr>().unwrap())
            .to_vec(),
        process: Some(812),
        data_folder: Some("/srv/it's here".into()),
    }
}

fn asked(condition: Condition, given: &[&str]) -> Asked {
    let given = parse_options(condition, given).unwrap();
    Asked::read(condition, &given).unwrap()
}

#[test]
fn every_default_is_a_value_and_every_option_is_read() {
    for condition in Condition::ALL {
        let usual = Asked::read(condition, &BTreeMap::new()).unwrap();
        for option in condition.options() {
            let piece = format!("{}={}", option.name, option.default);
            let Some(ways) = condition.means_with(option.name) else {
                assert_eq!(asked(condition, &[&piece]), usual, "{condition}/{piece}");
                continue;
            };
            for way in ways {
                let how = format!("how={way}");
                let usual = asked(condition, &[&how]);
                assert_eq!(asked(condition, &[&piece, &how]), usual, "{piece}/{how}");
            }
        }
    }
}

#[test]
fn values_have_units_and_bounds() {
    use Condition::{Bitflip, Clock, DiskFull, Fds, IoError, Loss, Rate, Slow};
    for (condition, name, value, expected) in [
        (Loss, "share", "7%", Some(7)),
        (Loss, "share", "7", Some(7)),
        (Loss, "share", "101%", None),
        (Loss, "share", "-1%", None),
        (Slow, "delay", "2s", Some(2_000)),
        (Slow, "delay", "250ms", Some(250)),
        (Slow, "delay", "250", None),
        (Slow, "delay", "601s", None),
        (Rate, "bw", "64kbit", Some(64_000)),
        (Rate, "bw", "1mbit", Some(1_000_000)),
        (Rate, "bw", "1", None),
        (Rate, "bw", "200gbit", None),
        (DiskFull, "keep", "64KiB", Some(65_536)),
        (DiskFull, "keep", "12", Some(12)),
        (DiskFull, "keep", "99999999999999999999GiB", None),
        (Fds, "spare", "3", Some(3)),
        (Fds, "spare", "+3", None),
        (Clock, "by", "-250ms", Some(-250)),
        (Clock, "by", "+60s", Some(60_000)),
        (Clock, "by", "60s", None),
        (Clock, "how", "back", None),
        (Bitflip, "file", "a;rm -rf", None),
        (Bitflip, "file", "$(x)", None),
        (Bitflip, "kill", "maybe", None),
        (IoError, "errno", "ENOSPC", Some(0)),
        (IoError, "errno", "EPERM", None),
        (IoError, "errno", "", None),
        (IoError, "ops", "read+sync", Some(0)),
        (IoError, "ops", "open", None),
        (IoError, "ops", "read+", None),
        (IoError, "ops", "read+all", None),
    ] {
        let piece = format!("{name}={value}");
        let read = parse_options(condition, &[&piece]).ok();
        let read = read.map(|given| Asked::read(condition, &given).unwrap().number(name));
        assert_eq!(read, expected, "{condition}/{piece}");
    }
    assert_eq!(asked(Bitflip, &["file=open-*"]).word("file"), "open-*");
}

/// What means nothing with the way that was asked for is refused, and not passed over.
#[test]
fn options_of_a_clock_go_with_its_way() {
    let read = |given: &[&str]| {
        let given = parse_options(Condition::Clock, given).map_err(|error| error.to_string())?;
        Ok::<Asked, String>(Asked::read(Condition::Clock, &given).unwrap())
    };
    let strobe = read(&["how=strobe", "by=-2s", "period=500ms"]).unwrap();
    assert_eq!(
        (strobe.number("by"), strobe.number("period")),
        (-2_000, 500)
    );
    for (rate, ppm) in [("+5%", 50_000), ("-200ppm", -200), ("-50%", -500_000)] {
        let skew = read(&["how=skew", &format!("rate={rate}")]).unwrap();
        assert_eq!(skew.number("rate"), ppm);
    }
    for rate in ["5%", "+0%", "+51%", "+0.5%", "+5"] {
        let refused = read(&["how=skew", &format!("rate={rate}")]).unwrap_err();
        assert!(refused.contains("at most 50%"), "{refused}");
    }
    let refused = |given: &[&str]| read(given).unwrap_err();
    assert_eq!(
        refused(&["period=2s"]),
        "clock takes period only with how=strobe"
    );
    assert_eq!(
        refused(&["by=+1s", "how=skew"]),
        "clock takes by only with how=jump or how=strobe"
    );
}

/// What a shell makes of them, without running them: quotes, loops and here-documents are closed.
#[test]
fn every_script_is_one_that_a_shell_can_read() {
    let reads = |what: &str, text: &str| {
        let shell = std::process::Command::new("/bin/sh")
            .args(["-n", "-c", text])
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&shell.stderr).into_owned();
        assert!(
            shell.status.success() && said.is_empty(),
            "{what}: {said}\n{text}"
        );
    };
    reads("heal_leftovers", &script::heal_leftovers());
    let usual = |condition| (condition, &[][..]);
    let ways = [&["how=strobe"][..], &["how=skew"]].map(|way| (Condition::Clock, way));
    for (condition, options) in Condition::ALL.into_iter().map(usual).chain(ways) {
        reads("check", &script::check(condition, &place()));
        for place in [place(), Place::default()] {
            let all = script::scripts(&asked(condition, options), 7, &place);
            reads(condition.as_str(), &all.inject);
            reads(condition.as_str(), &all.observe);
            reads(condition.as_str(), &all.heal);
            assert!(script::is_heal(&all.heal));
            assert!(all.inject.contains("/var/lib/harness/faults/7"));
        }
    }
}

/// A heal is on disk before anybody knows what it will find on the node.
#[test]
fn heals_do_not_depend_on_the_place() {
    for condition in Condition::ALL {
        let heal = |place: &Place| script::scripts(&asked(condition, &[]), 3, place).heal;
        assert_eq!(heal(&place()), heal(&Place::default()), "{condition}");
    }
}

#[test]
fn only_other_nodes_are_named() {
    for condition in Condition::ALL.into_iter().filter(|c| c.is_network()) {
        let inject = script::scripts(&asked(condition, &[]), 3, &place()).inject;
        assert!(inject.contains("ip daddr 10.77.0.12 "), "{inject}");
        assert!(inject.contains("ip6 daddr fd00::3 "), "{inject}");
        let rules = inject.lines().filter(|line| line.contains("daddr"));
        let expected = match condition {
            // Both ways.
            Condition::Loss => 4,
            Condition::Rate => 2,
            // By the kernel, and by the relay, which knows IPv4 only.
            _ => 3,
        };
        assert_eq!(rules.count(), expected, "{inject}");
    }
}

#[test]
fn what_scripts_say_is_read() {
    assert_eq!(script::lack(""), None);
    let lack = script::lack("lacks no netem\nmend another kernel\n").unwrap();
    assert_eq!(
        (lack.reason.as_str(), lack.mend.as_deref()),
        ("no netem", Some("another kernel"))
    );
    assert_eq!(script::lack("lacks x").unwrap().mend, None);
    assert_eq!(
        script::look("noise\nseen 7 of 9\n"),
        Look::Seen("7 of 9".to_owned())
    );
    assert_eq!(
        script::look("unseen 0 of 9"),
        Look::Unseen("0 of 9".to_owned())
    );
    assert!(matches!(script::look("what"), Look::Unseen(_)));
}
