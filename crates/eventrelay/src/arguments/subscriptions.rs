//! `eventrelay subscriptions`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{ApiArguments, ConsentArguments, ListArguments};

#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionsCommand {
    /// List subscriptions
    List(ListArguments),
    /// Show a subscription
    Get(SubscriptionArguments),
    /// Make a subscription
    Create(CreateSubscriptionArguments),
    /// Replace a subscription's whole declaration; its cursor, retries and dead letters stay
    Replace(ReplaceSubscriptionArguments),
    /// Change parts of a subscription's declaration
    Patch(PatchSubscriptionArguments),
    /// Delete a subscription with its cursor, retries, dead letters and attempts
    Delete(DeleteSubscriptionArguments),
    /// Stop delivering; the log keeps what waits
    Pause(SubscriptionArguments),
    /// Go on delivering
    Resume(SubscriptionArguments),
    /// Go on delivering to a target that had disabled the subscription
    Enable(SubscriptionArguments),
    /// Give the target one sample event, and show the whole exchange
    Test(TestSubscriptionArguments),
    /// Print the signing secrets of a webhook
    Secret(SubscriptionArguments),
    /// Give a webhook a new signing secret; the old one signs too until the overlap ends
    RotateSecret(RotateSecretArguments),
    /// Show how a subscription stands, and what came of its attempts lately
    Stats(SubscriptionArguments),
}

#[derive(Debug, Args)]
pub(crate) struct SubscriptionArguments {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A webhook with a new secret:
  eventrelay subscriptions create billing --set sink.kind=webhook \\
    --set sink.url=https://billing.example.com/hooks --set 'filter.types=[\"order.*\"]'
Without a sink, consumers pull its events. What a declaration may have: docs/configuration.md.")]
pub(crate) struct CreateSubscriptionArguments {
    /// Its name; may stand in the file instead
    #[arg(value_name = "NAME", required_unless_present = "file")]
    pub(crate) name: Option<String>,
    /// Its declaration, in JSON or TOML; `-` is stdin
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// A member of the declaration, such as `retry.max_attempts=5`; may be given more than once
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(crate) settings: Vec<Setting>,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

/// Which revision a change is for.
#[derive(Debug, Args)]
pub(crate) struct RevisionArguments {
    /// Only if it is still at this revision, as `get` shows it
    #[arg(long, value_name = "REVISION")]
    pub(crate) revision: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct ReplaceSubscriptionArguments {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Its new declaration, in JSON or TOML; `-` is stdin. A secret that is `[redacted]` stays what it is
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) revision: RevisionArguments,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "\
  eventrelay subscriptions patch billing --set max_in_flight=8 --set sink.url=https://new.example.com/hooks --unset transform")]
pub(crate) struct PatchSubscriptionArguments {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What to change, in JSON (a merge patch) or TOML; `-` is stdin
    #[arg(long, short, value_name = "FILE", required_unless_present_any = ["settings", "unset"])]
    pub(crate) file: Option<PathBuf>,
    /// A member to change, such as `retry.max_attempts=5`; may be given more than once
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(crate) settings: Vec<Setting>,
    /// A member to take back to its default; may be given more than once
    #[arg(long, value_name = "FIELD")]
    pub(crate) unset: Vec<String>,
    #[command(flatten)]
    pub(crate) revision: RevisionArguments,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

/// A member of a declaration by its path, and a value: JSON where it is JSON, else text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    pub(crate) field: String,
    pub(crate) value: Value,
}

impl FromStr for Setting {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (field, value) = text.split_once('=').ok_or("expected FIELD=VALUE")?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok(Self { field: field.to_owned(), value })
    }
}

#[derive(Debug, Args)]
pub(crate) struct DeleteSubscriptionArguments {
    #[command(flatten)]
    pub(crate) subscription: SubscriptionArguments,
    #[command(flatten)]
    pub(crate) consent: ConsentArguments,
}

#[derive(Debug, Args)]
pub(crate) struct TestSubscriptionArguments {
    #[command(flatten)]
    pub(crate) subscription: SubscriptionArguments,
    /// The event to deliver, as JSON [default: one of the type eventrelay.sample]
    #[arg(long, value_name = "EVENT")]
    pub(crate) event: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RotateSecretArguments {
    #[command(flatten)]
    pub(crate) subscription: SubscriptionArguments,
    /// A file with the new secret, `whsec_…` or `whsk_…`; `-` is stdin [default: one is made]
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// How long the old secrets go on signing [default: a day]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=604_800))]
    pub(crate) overlap_seconds: Option<u32>,
    #[command(flatten)]
    pub(crate) revision: RevisionArguments,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_json_where_it_is_json() {
        let value = |text: &str| text.parse::<Setting>().map(|setting| setting.value);
        assert_eq!(value("a.b=5"), Ok(json!(5)));
        assert_eq!(value(r#"filter.types=["order.*"]"#), Ok(json!(["order.*"])));
        assert_eq!(value("sink.url=https://example.com/?a=b"), Ok(json!("https://example.com/?a=b")));
        assert!(value("max_in_flight").is_err());
    }
}
