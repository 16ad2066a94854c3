//! Where a front door listens, if it does: an address, or the word `off`.

use std::fmt;
use std::net::{AddrParseError, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where to listen. In the configuration it is `"127.0.0.1:9000"` or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere: this door stays shut.
    Off,
    /// There. Port 0 takes any free one.
    At(SocketAddr),
}

impl Listen {
    /// The address, where there is one.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

impl FromStr for Listen {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" { Ok(Self::Off) } else { text.parse().map(Self::At) }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| {
            de::Error::invalid_value(
                de::Unexpected::Str(&text),
                &"an IP address and a port, such as \"127.0.0.1:9000\", or \"off\"",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_address_or_off() {
        assert_eq!(serde_json::from_str::<Listen>("\"off\"").unwrap(), Listen::Off);
        let address = serde_json::from_str::<Listen>("\"127.0.0.1:9000\"").unwrap();
        assert_eq!(address.address().unwrap().port(), 9000);
        assert_eq!(serde_json::to_string(&address).unwrap(), "\"127.0.0.1:9000\"");
        for wrong in ["\"\"", "\"localhost:9000\"", "9000", "false"] {
            assert!(serde_json::from_str::<Listen>(wrong).is_err(), "{wrong}");
        }
    }
}
