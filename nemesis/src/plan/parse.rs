//! Reading `--nemesis`.
//!
//! The grammar; a value has no white space except around its parts:
//!
//! ```text
//! nemesis = "none" | part { "," part }
//! part    = kind { option } [ ":" target ] [ "@" trigger ]      without a target: random
//! kind    = "partition" | "kill" | "stop" | "pause" | …      one of Kind::ALL, among them those of Condition::ALL
//! option  = "/" name "=" value                      see [`super::condition`]
//! target  = word | group { "|" group }      several groups: partition only
//!         | ( "mute:" | "deaf:" ) ( word | group )    one direction: partition only
//! word    = one of Kind::words, such as "leader" or "nodes:majority"
//! group   = node { "+" node }
//! node    = a name without any of  , : | + = @  and white space
//! trigger = see [`super::trigger`]
//! ```
//!
//! A comma always separates faults, never nodes, except within double quotes in a trigger: `partition:n1+n2|n3+n4+n5,kill:leader`. Options are
//! the kind's, and stand beside it: `loss/share=30%:leader@join`.
//! Words win over nodes of the same name. Whether nodes exist is known only once there is a
//! lab, so [`check_nodes`] is a second step; a mistyped word is found there, as a node that
//! does not exist.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{
    condition::options::{OptionError, parse_options},
    suggest::nearest,
    target::{Kind, Lane, Selector, Target},
    trigger::{TriggerError, WaitsFor, parse_trigger},
};

/// Most parts that one `--nemesis` may have.
pub const MAX_LANES: usize = 16;
/// What separates names, and so cannot be in one.
const RESERVED: [char; 6] = [',', ':', '|', '+', '=', '@'];

/// What is wrong with a value of `--nemesis`. Each message names the part and what is possible.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Nothing between two commas, or nothing at all.
    #[error(
        "part {number} of the nemesis {value:?} is empty; write one of {possible}, or several joined by commas"
    )]
    EmptyPart {
        /// The whole value.
        value: String,
        /// Which part, from 1.
        number: usize,
        /// What may stand there.
        possible: String,
    },
    /// More than [`MAX_LANES`] parts.
    #[error("the nemesis has {parts} parts, and at most {MAX_LANES} are possible")]
    TooMany {
        /// How many it has.
        parts: usize,
    },
    /// `none` and something else.
    #[error(
        "the nemesis {value:?} asks for none and for some; write `none` alone, or leave it out"
    )]
    NoneAndSome {
        /// The whole value.
        value: String,
    },
    /// A kind that does not exist.
    #[error("no fault is called {word:?} (in {part:?}){hint}; there are {possible}")]
    UnknownKind {
        /// What was written.
        word: String,
        /// Where.
        part: String,
        /// `; did you mean …?`, or nothing.
        hint: String,
        /// What may stand there.
        possible: String,
    },
    /// A target that this kind cannot have, or that nobody can.
    #[error("{kind} cannot have the target {target:?} ({reason}){hint}; targets are {possible}")]
    BadTarget {
        /// The kind.
        kind: Kind,
        /// What was written.
        target: String,
        /// Why not.
        reason: String,
        /// `; did you mean …?`, or nothing.
        hint: String,
        /// What may stand there.
        possible: String,
    },
    /// A trigger that is none.
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    /// An option that is none, or that this kind does not have.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A target that only a trigger gives.
    #[error(
        "{part:?} strikes the node that an operation is about, and waits for none; write which, as in {part}@join+300ms"
    )]
    NoSubject {
        /// Where.
        part: String,
    },
    /// A fault that cannot strike at a function's entry.
    #[error("{part:?} cannot strike where a function is entered ({reason})")]
    AtFunction {
        /// Where.
        part: String,
        /// Why not.
        reason: &'static str,
    },
    /// A word that is neither a target nor a node of the lab.
    #[error(
        "{word:?} (in {part:?}) is neither a target of {kind} nor a node{hint}; targets are {possible}; nodes are {nodes}"
    )]
    UnknownNode {
        /// What was written.
        word: String,
        /// Where.
        part: String,
        /// The kind.
        kind: Kind,
        /// `; did you mean …?`, or nothing.
        hint: String,
        /// Which words may stand there.
        possible: String,
        /// Which nodes may stand there.
        nodes: String,
    },
    /// A trigger that names a node that is none.
    #[error("{part:?} waits for {word:?}, which is no node; nodes are {nodes}")]
    WatchedNode {
        /// What was written.
        word: String,
        /// Where.
        part: String,
        /// Which nodes there are.
        nodes: String,
    },
    /// The lab has too few nodes for that target.
    #[error("{part:?} needs at least {least} nodes, and there are {nodes}")]
    TooFewNodes {
        /// Where.
        part: String,
        /// How many it needs.
        least: usize,
        /// How many there are.
        nodes: usize,
    },
    /// A group that has every node in it.
    #[error(
        "{part:?} names every node as one group, so that nobody is left to be cut from; write groups as in n1+n2|n3"
    )]
    NobodyLeft {
        /// Where.
        part: String,
    },
}

/// Reads a value of `--nemesis`. No lane means no faults.
pub fn parse(value: &str) -> Result<Vec<Lane>, ParseError> {
    let parts: Vec<&str> = split(value).into_iter().map(str::trim).collect();
    if parts == ["none"] {
        return Ok(Vec::new());
    }
    if parts.len() > MAX_LANES {
        return Err(ParseError::TooMany { parts: parts.len() });
    }
    let mut lanes = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        match *part {
            "" => {
                return Err(ParseError::EmptyPart {
                    value: value.to_owned(),
                    number: at + 1,
                    possible: possible_kinds(),
                });
            }
            "none" => {
                return Err(ParseError::NoneAndSome {
                    value: value.to_owned(),
                });
            }
            part => lanes.push(parse_part(part)?),
        }
    }
    Ok(lanes)
}

/// At commas, except within double quotes; quotes that are not closed are letters like others.
fn split(value: &str) -> Vec<&str> {
    let paired = value.matches('"').count().is_multiple_of(2);
    let mut quoted = false;
    value
        .split(|c: char| {
            quoted ^= c == '"' && paired;
            c == ',' && !quoted
        })
        .collect()
}

/// Reads one fault.
pub(super) fn parse_part(whole: &str) -> Result<Lane, ParseError> {
    let (part, trigger) = match whole.split_once('@') {
        Some((part, trigger)) => (part, Some(parse_trigger(trigger)?)),
        None => (whole, None),
    };
    let (word, target) = match part.split_once(':') {
        Some((word, target)) => (word, Some(target)),
        None => (part, None),
    };
    let mut pieces = word.split('/');
    let word = pieces.next().unwrap_or_default();
    let Some(kind) = Kind::from_word(word) else {
        return Err(unknown_kind(word, part));
    };
    let pieces: Vec<&str> = pieces.collect();
    let options = match (kind.condition(), pieces.first()) {
        (Some(condition), _) => parse_options(condition, &pieces)?,
        (None, None) => BTreeMap::new(),
        (None, Some(piece)) => {
            return Err(ParseError::Option(OptionError::HasNone {
                kind: kind.to_string(),
                text: (*piece).to_owned(),
            }));
        }
    };
    let target = match target {
        Some(text) => parse_target(kind, text)?,
        None => Target::Random,
    };
    let told = trigger.as_ref().is_some_and(WaitsFor::has_subject);
    if target.selector() == Some(&Selector::Subject) && !told {
        return Err(ParseError::NoSubject {
            part: part.to_owned(),
        });
    }
    if matches!(trigger, Some(WaitsFor::Entry(_))) {
        check_entry(kind, &target, whole)?;
    }
    Ok(Lane {
        kind,
        options,
        target,
        trigger,
    })
}

/// Whether that fault can strike at a function's entry, where the process is frozen or killed.
fn check_entry(kind: Kind, target: &Target, part: &str) -> Result<(), ParseError> {
    let wrong = |reason| {
        Err(ParseError::AtFunction {
            part: part.to_owned(),
            reason,
        })
    };
    if kind == Kind::Stop {
        return wrong(
            "a process that is frozen there does not act upon being asked to stop; use kill, pause or partition",
        );
    }
    if !matches!(kind, Kind::Kill | Kind::Pause | Kind::Partition) {
        return wrong(
            "the signal that is sent there can only kill or freeze; use kill, pause or partition",
        );
    }
    match target.selector() {
        Some(Selector::One | Selector::Leader | Selector::Subject) => Ok(()),
        Some(Selector::List(names)) if names.len() == 1 => Ok(()),
        _ => wrong("it is watched on one node: one, leader, subject, or a node's name"),
    }
}

fn unknown_kind(word: &str, part: &str) -> ParseError {
    let hint = if let Some((kind, target)) = word.split_once('=')
        && Kind::from_word(kind).is_some()
    {
        format!("; did you mean \"{kind}:{target}\"?")
    } else if word.contains(['|', '+']) {
        "; nodes of one group are joined by +, as in partition:n1+n2|n3, because a comma begins the next fault".to_owned()
    } else {
        hint(nearest(word, Kind::ALL.map(Kind::as_str)))
    };
    ParseError::UnknownKind {
        word: word.to_owned(),
        part: part.to_owned(),
        hint,
        possible: possible_kinds(),
    }
}

/// Reads the target of a kind, as in a plan or after the colon on the command line.
pub fn parse_target(kind: Kind, text: &str) -> Result<Target, ParseError> {
    let word_or_groups = kind
        .words()
        .iter()
        .find(|target| target.to_string() == text)
        .cloned();
    if let Some(target) = word_or_groups {
        return Ok(target);
    }
    let bad = |reason: &str| {
        let words: Vec<String> = kind.words().iter().map(Target::to_string).collect();
        ParseError::BadTarget {
            kind,
            target: text.to_owned(),
            reason: reason.to_owned(),
            hint: hint(nearest(text, words.iter().map(String::as_str))),
            possible: possible_targets(kind),
        }
    };
    if Kind::ALL.iter().any(|other| {
        other
            .words()
            .iter()
            .any(|target| target.to_string() == text)
    }) {
        return Err(bad("only other faults can"));
    }
    for (prefix, one_way) in [
        ("mute:", Target::Mute as fn(Selector) -> Target),
        ("deaf:", Target::Deaf),
    ] {
        if let Some(rest) = text.strip_prefix(prefix) {
            if kind != Kind::Partition {
                return Err(bad("only a partition has a direction"));
            }
            return match parse_target(kind, rest)? {
                Target::Nodes(selector) => Ok(one_way(selector)),
                _ => Err(bad("only nodes can be mute or deaf")),
            };
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut groups = Vec::new();
    for group in text.split('|') {
        let names: Vec<&str> = group.split('+').collect();
        for name in &names {
            if name.is_empty() {
                return Err(bad("a node's name is missing"));
            }
            if name.contains(RESERVED) || name.contains(char::is_whitespace) {
                return Err(bad(
                    "names of nodes have no white space and none of , : | + = @",
                ));
            }
            if seen.contains(name) {
                return Err(bad(&format!("{name} is in it twice")));
            }
            seen.push(name);
        }
        groups.push(names.into_iter().map(str::to_owned).collect::<Vec<_>>());
    }
    match (groups.len(), kind) {
        (1, _) => Ok(Target::Nodes(Selector::List(groups.swap_remove(0)))),
        (_, Kind::Partition) => Ok(Target::Groups(groups)),
        _ => Err(bad("only a partition has groups; join nodes by +")),
    }
}

/// Whether the lanes can be had with these nodes: named ones exist, and there are enough.
pub fn check_nodes(lanes: &[Lane], nodes: &[&str]) -> Result<(), ParseError> {
    for lane in lanes {
        let least = lane.target.least_nodes(lane.kind);
        if nodes.len() < least {
            return Err(ParseError::TooFewNodes {
                part: lane.to_string(),
                least,
                nodes: nodes.len(),
            });
        }
        if let Some(WaitsFor::Watch(watching)) = &lane.trigger
            && let Some(name) = watching.nodes().find(|name| !nodes.contains(name))
        {
            return Err(ParseError::WatchedNode {
                word: name.to_owned(),
                part: lane.to_string(),
                nodes: nodes.join(", "),
            });
        }
        let named: Vec<&String> = match &lane.target {
            Target::Nodes(Selector::List(names))
            | Target::Mute(Selector::List(names))
            | Target::Deaf(Selector::List(names)) => names.iter().collect(),
            Target::Groups(groups) => groups.iter().flatten().collect(),
            _ => continue,
        };
        for name in &named {
            if !nodes.contains(&name.as_str()) {
                return Err(unknown_node(name, lane, nodes));
            }
        }
        let one_group = lane.target.selector().is_some() && lane.kind == Kind::Partition;
        if one_group && named.len() == nodes.len() {
            return Err(ParseError::NobodyLeft {
                part: lane.to_string(),
            });
        }
    }
    Ok(())
}

fn unknown_node(name: &str, lane: &Lane, nodes: &[&str]) -> ParseError {
    let words: Vec<String> = lane.kind.words().iter().map(Target::to_string).collect();
    // Names such as n1 and n9 are all near each other, so only words are worth a suggestion there.
    let near = nearest(
        name,
        words
            .iter()
            .map(String::as_str)
            .chain(nodes.iter().copied()),
    );
    ParseError::UnknownNode {
        word: name.to_owned(),
        part: lane.to_string(),
        kind: lane.kind,
        hint: hint(near),
        possible: words.join(", "),
        nodes: nodes.join(", "),
    }
}

fn hint(near: Option<&str>) -> String {
    near.map(|word| format!("; did you mean {word:?}?"))
        .unwrap_or_default()
}

fn possible_kinds() -> String {
    let kinds = Kind::ALL.map(Kind::as_str).join(", ");
    format!("{kinds}, none")
}

fn possible_targets(kind: Kind) -> String {
    let words: Vec<String> = kind.words().iter().map(Target::to_string).collect();
    let explicit = match kind {
        Kind::Partition => "or nodes as in n1+n2 or n1+n2|n3",
        _ => "or nodes as in n1+n2",
    };
    format!("{}, {explicit}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::target::Count;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_can_be_written_is_read_and_written_back() {
        let cases = [
            ("partition", Kind::Partition, Target::Random),
            (
                "partition:leader",
                Kind::Partition,
                Target::Nodes(Selector::Leader),
            ),
            (
                "partition:majorities-ring",
                Kind::Partition,
                Target::MajoritiesRing,
            ),
            (
                "kill:minority",
                Kind::Kill,
                Target::Nodes(Selector::Minority(Count::Voters)),
            ),
            (
                "stop:nodes:majority",
                Kind::Stop,
                Target::Nodes(Selector::Majority(Count::Nodes)),
            ),
            ("pause:all", Kind::Pause, Target::Nodes(Selector::All)),
            (
                "kill:n1+n2",
                Kind::Kill,
                Target::Nodes(Selector::List(list(&["n1", "n2"]))),
            ),
            (
                "partition:n1+n2|n3+n4+n5",
                Kind::Partition,
                Target::Groups(vec![list(&["n1", "n2"]), list(&["n3", "n4", "n5"])]),
            ),
        ];
        for (text, kind, target) in cases {
            let trigger = None;
            let lane = Lane {
                kind,
                options: BTreeMap::new(),
                target,
                trigger,
            };
            assert_eq!(parse(text), Ok(vec![lane]), "{text}");
            assert_eq!(parse(text).unwrap()[0].to_string(), text);
        }
        for text in [
            "partition:mute:n1+n2",
            "restart:minority",
            "reboot:leader@join+1ms..5ms",
            "wipe:one",
            "leader-transfer:n2+n3",
            "partition:deaf:minority",
            "partition:mute:subject@join",
            "kill:subject@join+300ms",
            "partition@remove.done",
            "stop:n1+n2@join+0ms..1500ms",
            "kill:subject@join/fn=github.com/lxc/lxd/lxd/cluster.Join",
            "pause:leader@fn=main.(*App).run.func1#2",
            "partition:mute:n4@remove.done+1ms..5ms/fn=main.run@0x4010",
            "loss",
            "loss/share=30%:leader@join+1ms",
            "bitflip/at=10%/file=open-*/kill=no:n1+n2",
            "clock/by=-2s:subject@remove.done",
        ] {
            assert_eq!(parse(text).unwrap()[0].to_string(), text);
        }
        assert_eq!(parse("none"), Ok(vec![]));
        assert_eq!(parse(" partition , kill:one ").unwrap().len(), 2);
    }

    #[test]
    fn every_word_reads_back() {
        for kind in Kind::ALL {
            for target in kind.words() {
                assert_eq!(parse_target(kind, &target.to_string()).as_ref(), Ok(target));
                assert!(kind.offers(target) && !target.meaning(kind).is_empty());
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_possible() {
        for (text, fragments) in [
            (
                "",
                &["part 1", "partition, kill, stop, pause, ", "clock, none"][..],
            ),
            ("kill,,stop", &["part 2", "\"kill,,stop\""]),
            ("kill,none", &["none alone"]),
            (
                "partitoin:leader",
                &["\"partitoin\"", "did you mean \"partition\"?", "kill"],
            ),
            ("partition=leader", &["did you mean \"partition:leader\"?"]),
            ("partition:n1,n2|n3", &["\"n2|n3\"", "joined by +"]),
            ("kill:mute:n1", &["only a partition has a direction"]),
            ("partition:mute:halves", &["only nodes can be mute"]),
            ("partition:mute:n1|n2", &["only nodes can be mute"]),
            ("partition:deaf:subject", &["waits for none"]),
            ("kill:halves", &["only other faults", "minority"]),
            ("partition:all", &["only other faults", "bridge"]),
            ("kill:n1|n2", &["only a partition has groups"]),
            ("kill:n1++n2", &["name is missing"]),
            ("kill:n1+n1", &["n1 is in it twice"]),
            ("kill:", &["name is missing"]),
            (
                "kill:subject",
                &["waits for none", "kill:subject@join+300ms"],
            ),
            ("kill@join+3", &["no unit"]),
            ("kill:subject@fn=main.run", &["waits for none"]),
            ("kill@fn=main.run", &["watched on one node"]),
            ("kill:n1+n2@fn=main.run", &["watched on one node"]),
            ("partition:halves@fn=main.run", &["watched on one node"]),
            ("stop:n1@fn=main.run", &["asked to stop", "use kill"]),
            (
                "reboot:n1@fn=main.run",
                &["only kill or freeze", "use kill"],
            ),
            ("wipe:all", &["only other faults", "minority"]),
            ("leader-transfer:leader", &["only other faults", "one"]),
            (
                "loss/shar=3%",
                &["loss has no option \"shar\"", "did you mean \"share\"?"],
            ),
            ("loss/share=0%", &["share=0%", "1% to 100%"]),
            ("rate/1mbit", &["\"1mbit\" is no option", "rate/bw=256kbit"]),
            ("rate/bw=1mbit/bw=2mbit", &["bw twice"]),
            ("kill/bw=1mbit:one", &["kill has no options"]),
            ("los/share=3%", &["\"los\""]),
            ("memory:halves", &["only other faults"]),
            ("fds:n1@fn=main.run", &["use kill, pause or partition"]),
            (
                "kill:nodes:majoritty",
                &["did you mean \"nodes:majority\"?"],
            ),
        ] {
            let message = parse(text).unwrap_err().to_string().replace('`', "");
            for fragment in fragments {
                assert!(message.contains(fragment), "{text}: {message}");
            }
        }
        assert!(matches!(
            parse(&"kill,".repeat(20)),
            Err(ParseError::TooMany { .. })
        ));
    }

    #[test]
    fn nodes_are_checked_once_they_are_known() {
        let nodes = ["n1", "n2", "n3"];
        let check = |text: &str, nodes: &[&str]| check_nodes(&parse(text).unwrap(), nodes);
        assert_eq!(check("partition:n1|n2+n3,kill:n3", &nodes), Ok(()));
        assert_eq!(check("kill:n1+n2+n3", &nodes), Ok(()));
        let message = check("partition:leadr", &nodes).unwrap_err().to_string();
        assert!(message.contains("did you mean \"leader\"?"), "{message}");
        assert!(message.contains("nodes are n1, n2, n3"), "{message}");
        assert!(matches!(
            check("kill:n1+n9", &nodes),
            Err(ParseError::UnknownNode { .. })
        ));
        assert!(matches!(
            check("partition:n1+n2+n3", &nodes),
            Err(ParseError::NobodyLeft { .. })
        ));
        assert!(matches!(
            check("partition:bridge", &nodes[..2]),
            Err(ParseError::TooFewNodes { least: 3, .. })
        ));
        assert!(matches!(
            check("partition", &nodes[..1]),
            Err(ParseError::TooFewNodes { least: 2, .. })
        ));
    }
}
