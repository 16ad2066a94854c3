//! `eventrelay tail`.

use clap::Args;

use super::ServerAddress;

#[derive(Debug, Args)]
#[command(after_help = "\
Prints one event per line as JSON. When the connection breaks it is made again, from the next offset.")]
pub(crate) struct TailArguments {
    #[command(flatten)]
    pub(crate) server: ServerAddress,
    /// Where to begin: `earliest`, `latest` or an offset
    #[arg(long, value_name = "WHERE", default_value = "latest")]
    pub(crate) from: TailStart,
    /// Stop after this many events
    #[arg(long, short = 'n', value_name = "EVENTS")]
    pub(crate) count: Option<u64>,
}

/// Where a tail begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TailStart {
    Earliest,
    Latest,
    Offset(u64),
}

impl std::str::FromStr for TailStart {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => text.parse().map(Self::Offset).map_err(|_| "expected `earliest`, `latest` or an offset"),
        }
    }
}

impl std::fmt::Display for TailStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Offset(offset) => write!(f, "{offset}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_starts_where_it_is_told() {
        assert_eq!("earliest".parse(), Ok(TailStart::Earliest));
        assert_eq!("18446744073709551615".parse(), Ok(TailStart::Offset(u64::MAX)));
        assert!("-1".parse::<TailStart>().is_err());
    }
}
