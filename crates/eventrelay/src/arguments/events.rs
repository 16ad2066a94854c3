//! `eventrelay events`.

use clap::{Args, Subcommand};

use super::{ApiArguments, ListArguments};

#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Look for events in the log
    Search(Box<SearchArguments>),
    /// Show an event
    Get(EventArguments),
    /// Show what became of an event
    Status(EventArguments),
    /// List an event's deliveries, one for each subscription that it is for
    Deliveries(EventArguments),
    /// List the attempts to deliver an event, over all subscriptions
    Attempts(EventArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The log is read, which takes a while where little matches:
  eventrelay events search --type 'order.*' --from 2026-01-31T00:00:00Z --limit 200")]
pub(crate) struct SearchArguments {
    /// Only events accepted at or after this time, in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only events accepted before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// A pattern of the type, such as `order.*`
    #[arg(long = "type", value_name = "PATTERN")]
    pub(crate) event_type: Option<String>,
    /// A pattern of the source
    #[arg(long, value_name = "PATTERN")]
    pub(crate) source: Option<String>,
    /// A pattern of the subject
    #[arg(long, value_name = "PATTERN")]
    pub(crate) subject: Option<String>,
    /// Only events with this key
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Only events that are for this subscription
    #[arg(long, value_name = "NAME")]
    pub(crate) subscription: Option<String>,
    /// Only those of which this became there: pending, retrying, delivered, dead
    #[arg(long, value_name = "STATE", requires = "subscription")]
    pub(crate) status: Option<String>,
    /// `desc`, the newest first, or `asc`
    #[arg(long, value_name = "ORDER", default_value = "desc")]
    pub(crate) order: String,
    #[command(flatten)]
    pub(crate) list: ListArguments,
}

#[derive(Debug, Args)]
pub(crate) struct EventArguments {
    /// The event's id
    #[arg(value_name = "EVENT_ID")]
    pub(crate) event_id: String,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}
