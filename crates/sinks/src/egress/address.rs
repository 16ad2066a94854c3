//! Which addresses may be connected to.
//!
//! | range | default | with `allow_private` |
//! |---|---|---|
//! | public unicast | allowed | allowed |
//! | loopback, RFC 1918, 100.64/10, fc00::/7 | refused | allowed |
//! | cloud metadata services, all of 169.254/16 and fe80::/10 | refused | refused |
//! | everything else: this network, multicast, broadcast, reserved, documentation, benchmarking, Teredo, … | refused | refused |
//!
//! An IPv6 address that carries an IPv4 address (mapped, NAT64, 6to4, ISATAP) is judged by that one too. IPv6
//! is refused unless known to be good: only 2000::/3 and 64:ff9b::/96 are looked at further. `allow_networks`
//! lifts any refusal but that of a metadata service.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Which addresses may be connected to. The default: public ones only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Allow loopback, private, carrier-grade NAT and unique local addresses.
    pub allow_private: bool,
    /// Networks that are allowed whatever they are, but for metadata services in them.
    pub allow_networks: Vec<IpNet>,
}

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// Loopback, RFC 1918, carrier-grade NAT or unique local: can be allowed by configuration.
    Private,
    /// A cloud's metadata service, or link-local, where most of them are.
    Metadata,
    /// Not an address that a service on the internet has.
    Special,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Private => "a private or loopback address",
            Self::Metadata => "a link-local or cloud metadata address",
            Self::Special => "a reserved address",
        })
    }
}

const PRIVATE_V4: [Ipv4Net; 5] = [
    net4([127, 0, 0, 0], 8),
    net4([10, 0, 0, 0], 8),
    net4([172, 16, 0, 0], 12),
    net4([192, 168, 0, 0], 16),
    net4([100, 64, 0, 0], 10),
];

const METADATA_V4: [Ipv4Net; 4] = [
    net4([169, 254, 0, 0], 16),     // most clouds; link-local as a whole
    net4([100, 100, 100, 200], 32), // Alibaba Cloud
    net4([168, 63, 129, 16], 32),   // Azure's wire server
    net4([192, 0, 0, 192], 32),     // Oracle Cloud
];

const SPECIAL_V4: [Ipv4Net; 9] = [
    net4([0, 0, 0, 0], 8), // "this network": Linux takes 0.0.0.0 for loopback
    net4([192, 0, 0, 0], 24),
    net4([192, 0, 2, 0], 24),
    net4([192, 88, 99, 0], 24), // 6to4 relays
    net4([198, 18, 0, 0], 15),
    net4([198, 51, 100, 0], 24),
    net4([203, 0, 113, 0], 24),
    net4([224, 0, 0, 0], 4),
    net4([240, 0, 0, 0], 4), // with 255.255.255.255
];

const UNIQUE_LOCAL: Ipv6Net = net6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7);
const GLOBAL_UNICAST: Ipv6Net = net6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
const NAT64: Ipv6Net = net6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
const SIX_TO_FOUR: Ipv6Net = net6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);

const METADATA_V6: [Ipv6Net; 3] = [
    net6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),         // link-local
    net6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32),     // AWS: fd00:ec2::254, ::253, ::23
    net6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), // Google Cloud
];

/// Inside 2000::/3, yet not on the internet.
const SPECIAL_V6: [Ipv6Net; 3] = [
    net6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // protocol assignments: Teredo, benchmarking, ORCHID
    net6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    net6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

impl AddressPolicy {
    /// Allows loopback and private addresses too; metadata services stay refused.
    #[must_use]
    pub fn private_allowed() -> Self {
        Self { allow_private: true, allow_networks: Vec::new() }
    }

    /// Judges one address.
    pub fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        let address = address.to_canonical();
        let forbidden = match address {
            IpAddr::V4(v4) => classify_v4(v4),
            IpAddr::V6(v6) => classify_v6(v6),
        };
        match forbidden {
            None => Ok(()),
            Some(Forbidden::Metadata) => Err(Forbidden::Metadata),
            Some(Forbidden::Private) if self.allow_private => Ok(()),
            Some(_) if self.allow_networks.iter().any(|network| network.contains(&address)) => Ok(()),
            Some(why) => Err(why),
        }
    }
}

fn classify_v4(address: Ipv4Addr) -> Option<Forbidden> {
    let within = |ranges: &[Ipv4Net]| ranges.iter().any(|range| range.contains(&address));
    // Metadata first: some of them sit inside the other ranges.
    if within(&METADATA_V4) {
        Some(Forbidden::Metadata)
    } else if within(&PRIVATE_V4) {
        Some(Forbidden::Private)
    } else if within(&SPECIAL_V4) {
        Some(Forbidden::Special)
    } else {
        None
    }
}

fn classify_v6(address: Ipv6Addr) -> Option<Forbidden> {
    let within = |ranges: &[Ipv6Net]| ranges.iter().any(|range| range.contains(&address));
    if within(&METADATA_V6) {
        return Some(Forbidden::Metadata);
    }
    if address.is_loopback() || UNIQUE_LOCAL.contains(&address) {
        // A unique local address may yet be an ISATAP one.
        return isatap(address).and_then(classify_v4).or(Some(Forbidden::Private));
    }
    let routed = GLOBAL_UNICAST.contains(&address) || NAT64.contains(&address);
    if !routed || within(&SPECIAL_V6) {
        return Some(Forbidden::Special);
    }
    embedded_v4(address).and_then(classify_v4)
}

/// The IPv4 address that a translator or tunnel would send this one's packets to.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    if NAT64.contains(&address) {
        return Some(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]));
    }
    if SIX_TO_FOUR.contains(&address) {
        return Some(Ipv4Addr::new(octets[2], octets[3], octets[4], octets[5]));
    }
    isatap(address)
}

/// ISATAP (RFC 5214): an interface identifier of `0000:5efe` or `0200:5efe` and an IPv4 address.
fn isatap(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let marked = matches!(octets[8..12], [0 | 2, 0, 0x5e, 0xfe]);
    marked.then(|| Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]))
}

const fn net4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), prefix)
}

const fn net6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(policy: &AddressPolicy, address: &str) -> Option<Forbidden> {
        policy.check(address.parse().unwrap()).err()
    }

    #[test]
    fn public_addresses_pass() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "169.253.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert_eq!(judge(&AddressPolicy::default(), address), None, "{address}");
        }
    }

    #[test]
    fn private_addresses_pass_only_where_allowed() {
        for address in [
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fc00::1",
            "fdff::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "2606:4700::5efe:10.0.0.1",
            "2606:4700::200:5efe:10.0.0.1",
        ] {
            assert_eq!(judge(&AddressPolicy::default(), address), Some(Forbidden::Private), "{address}");
            assert_eq!(judge(&AddressPolicy::private_allowed(), address), None, "{address}");
        }
    }

    #[test]
    fn metadata_services_never_pass() {
        let everything = AddressPolicy {
            allow_private: true,
            allow_networks: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        };
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2606:4700::5efe:169.254.169.254",
            "fd12::5efe:169.254.169.254",
            "::ffff:100.100.100.200",
        ] {
            assert_eq!(judge(&everything, address), Some(Forbidden::Metadata), "{address}");
        }
    }

    #[test]
    fn special_addresses_do_not_pass_as_private_ones() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::127.0.0.1",
            "::7f00:1",
            "64:ff9b:1::7f00:1",
            "64:ff9b:1::808:808",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "3fff::1",
            "5f00::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "64:ff9b::",
            "2002::1",
            "::ffff:0.0.0.0",
            "::ffff:0:127.0.0.1",
        ] {
            assert_eq!(
                judge(&AddressPolicy::private_allowed(), address),
                Some(Forbidden::Special),
                "{address}"
            );
        }
    }

    #[test]
    fn an_allowed_network_lifts_the_refusal_of_itself_only() {
        let policy =
            AddressPolicy { allow_private: false, allow_networks: vec!["10.1.0.0/16".parse().unwrap()] };
        assert_eq!(judge(&policy, "10.1.2.3"), None);
        assert_eq!(judge(&policy, "::ffff:10.1.2.3"), None);
        assert_eq!(judge(&policy, "10.2.0.1"), Some(Forbidden::Private));
    }
}
