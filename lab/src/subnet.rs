//! The lab's own IPv4 subnet: its arithmetic, and whether it collides with a route that exists.
//!
//! Laws: a subnet is private, so that nothing routable is ever shadowed; the controller is
//! its first address; nodes begin at [`FIRST_NODE`], so that there is room for other things.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Offset of the first node's address in the subnet.
pub const FIRST_NODE: u32 = 11;
/// Widest subnet that is taken, in bits of prefix.
pub const MIN_PREFIX_BITS: u8 = 16;
/// Narrowest subnet that is taken, in bits of prefix.
pub const MAX_PREFIX_BITS: u8 = 27;

/// Why a text is not a subnet for a lab.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubnetError {
    /// It is not of the form `10.83.0.0/24`.
    #[error("subnet `{0}` is not of the form 10.83.0.0/24")]
    Form(String),
    /// The prefix is out of bounds.
    #[error("subnet `{0}` needs a prefix of {MIN_PREFIX_BITS} to {MAX_PREFIX_BITS} bits")]
    Prefix(String),
    /// Bits below the prefix are set.
    #[error("subnet `{given}` has bits below its prefix; write {network}")]
    HostBits {
        /// What was given.
        given: String,
        /// What was probably meant.
        network: String,
    },
    /// It holds public addresses.
    #[error(
        "subnet `{0}` is not private; take one inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
    )]
    Public(String),
}

/// A private IPv4 network, such as `10.83.0.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: Ipv4Addr,
    prefix_bits: u8,
}

impl Subnet {
    /// The address of the controller's end of the bridge.
    #[must_use]
    pub fn controller(self) -> Ipv4Addr {
        self.at(1)
    }

    /// The address of the node with this ordinal (from 0); none beyond the end of the subnet.
    #[must_use]
    pub fn node(self, ordinal: usize) -> Option<Ipv4Addr> {
        let offset = u32::try_from(ordinal).ok()?.checked_add(FIRST_NODE)?;
        (offset < self.size() - 1).then(|| self.at(offset))
    }

    /// Bits of the prefix.
    #[must_use]
    pub fn prefix_bits(self) -> u8 {
        self.prefix_bits
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(self, network: Ipv4Addr, prefix_bits: u8) -> bool {
        let mask = mask(self.prefix_bits.min(prefix_bits));
        self.network.to_bits() & mask == network.to_bits() & mask
    }

    fn at(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + offset)
    }

    fn size(self) -> u32 {
        1 << (32 - u32::from(self.prefix_bits))
    }
}

impl Default for Subnet {
    /// `10.83.0.0/24`.
    fn default() -> Self {
        Self {
            network: Ipv4Addr::new(10, 83, 0, 0),
            prefix_bits: 24,
        }
    }
}

fn mask(prefix_bits: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(prefix_bits.min(32)))
        .unwrap_or(0)
}

/// Reads `A.B.C.D/P`, or `A.B.C.D` as a single address.
fn parse_network(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
    let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    Some((address.parse().ok()?, prefix))
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let form = || SubnetError::Form(text.to_owned());
        let (network, prefix_bits) = parse_network(text)
            .filter(|_| text.contains('/'))
            .ok_or_else(form)?;
        if !(MIN_PREFIX_BITS..=MAX_PREFIX_BITS).contains(&prefix_bits) {
            return Err(SubnetError::Prefix(text.to_owned()));
        }
        let base = Ipv4Addr::from_bits(network.to_bits() & mask(prefix_bits));
        if base != network {
            return Err(SubnetError::HostBits {
                given: text.to_owned(),
                network: format!("{base}/{prefix_bits}"),
            });
        }
        if !network.is_private() {
            return Err(SubnetError::Public(text.to_owned()));
        }
        Ok(Self {
            network,
            prefix_bits,
        })
    }
}

impl TryFrom<String> for Subnet {
    type Error = SubnetError;

    fn try_from(text: String) -> Result<Self, SubnetError> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_bits)
    }
}

/// One line of `ip -j -4 route show table all`; only what is needed of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Route {
    /// Where it leads, such as `10.0.0.0/8` or `default`.
    pub dst: String,
    /// The interface, if it has one.
    #[serde(default)]
    pub dev: Option<String>,
    /// Who made it.
    #[serde(default)]
    pub protocol: Option<String>,
    /// `blackhole`, `local`, …; nothing for an ordinary one.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
}

/// The first route that leads into the subnet and is neither the default one nor `ours`.
pub(crate) fn collision(
    subnet: Subnet,
    routes: &[Route],
    ours: impl Fn(&Route) -> bool,
) -> Option<&Route> {
    routes.iter().filter(|route| !ours(route)).find(|route| {
        parse_network(&route.dst)
            .is_some_and(|(network, bits)| bits > 0 && subnet.overlaps(network, bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_read_and_bad_ones_say_why() {
        let table = [
            ("10.83.0.0/24", "10.83.0.0/24"),
            ("172.20.0.0/16", "172.20.0.0/16"),
            (
                "10.83.0.0",
                "subnet `10.83.0.0` is not of the form 10.83.0.0/24",
            ),
            (
                "10.83.0/24",
                "subnet `10.83.0/24` is not of the form 10.83.0.0/24",
            ),
            (
                "10.83.0.0/40",
                "subnet `10.83.0.0/40` is not of the form 10.83.0.0/24",
            ),
            (
                "10.0.0.0/8",
                "subnet `10.0.0.0/8` needs a prefix of 16 to 27 bits",
            ),
            (
                "10.83.0.0/28",
                "subnet `10.83.0.0/28` needs a prefix of 16 to 27 bits",
            ),
            (
                "10.83.0.7/24",
                "subnet `10.83.0.7/24` has bits below its prefix; write 10.83.0.0/24",
            ),
            (
                "8.8.8.0/24",
                "subnet `8.8.8.0/24` is not private; take one inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16",
            ),
        ];
        for (text, expected) in table {
            let got = text
                .parse::<Subnet>()
                .map_or_else(|e| e.to_string(), |s| s.to_string());
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn nodes_are_numbered_from_eleven_to_the_last_address_but_one() {
        let subnet: Subnet = "10.83.0.0/27".parse().unwrap();
        assert_eq!(subnet.controller(), Ipv4Addr::new(10, 83, 0, 1));
        assert_eq!(subnet.node(0), Some(Ipv4Addr::new(10, 83, 0, 11)));
        assert_eq!(subnet.node(19), Some(Ipv4Addr::new(10, 83, 0, 30)));
        assert_eq!(subnet.node(20), None);
        assert_eq!(subnet.node(usize::MAX), None);
    }

    #[test]
    fn a_route_into_the_subnet_collides_unless_it_is_ours_or_the_default() {
        let routes: Vec<Route> = serde_json::from_str(
            r#"[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]},
                {"type":"blackhole","dst":"10.83.0.0/24","protocol":"183","metric":1000000,"flags":[]},
                {"dst":"10.83.0.0/24","dev":"harness0","protocol":"kernel","flags":[]},
                {"dst":"192.0.2.0/24","dev":"eth0","flags":[]},
                {"dst":"10.0.0.0/8","dev":"tun0","flags":[]}]"#,
        )
        .unwrap();
        let ours = |route: &Route| {
            route.dev.as_deref() == Some("harness0") || route.protocol.as_deref() == Some("183")
        };
        let hit = |subnet: &str, count: usize| {
            collision(subnet.parse().unwrap(), &routes[..count], ours).map(|r| r.dst.clone())
        };
        assert_eq!(hit("10.83.0.0/24", 4), None);
        assert_eq!(hit("10.83.0.0/24", 5), Some("10.0.0.0/8".into()));
        assert_eq!(hit("10.84.0.0/24", 4), None);
        assert_eq!(hit("192.168.0.0/16", 5), None);
    }
}
