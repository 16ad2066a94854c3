//! `eventrelay deliveries` and `eventrelay attempts`.

use clap::{Args, Subcommand};

use super::{ApiArguments, ListArguments};

#[derive(Debug, Subcommand)]
pub(crate) enum DeliveriesCommand {
    /// List a subscription's deliveries
    List(ListDeliveriesArguments),
    /// Deliver an event now, whatever became of it
    Retry(RetryArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ListDeliveriesArguments {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Only those in this state: pending, retrying, delivered, dead
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,
    /// Only of events accepted at or after this time, in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only of events accepted before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// `desc`, the newest events first, or `asc`
    #[arg(long, value_name = "ORDER", default_value = "desc")]
    pub(crate) order: String,
    #[command(flatten)]
    pub(crate) list: ListArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArguments {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The event's id
    #[arg(value_name = "EVENT_ID")]
    pub(crate) event_id: String,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AttemptsCommand {
    /// List a subscription's attempts, the newest first
    List(ListAttemptsArguments),
    /// Show an attempt with what was sent and what came back
    Get(AttemptArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ListAttemptsArguments {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Only those of this event
    #[arg(long, value_name = "EVENT_ID")]
    pub(crate) event_id: Option<String>,
    /// Only those that ended so: delivered, retry, reject, gone
    #[arg(long, value_name = "OUTCOME")]
    pub(crate) outcome: Option<String>,
    /// Only those that began at or after this time, in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only those that began before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) list: ListArguments,
}

#[derive(Debug, Args)]
pub(crate) struct AttemptArguments {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The attempt's number, as `list` shows it
    #[arg(value_name = "ATTEMPT")]
    pub(crate) attempt: u64,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}
