//! `eventrelay dead-letters`.

use clap::{Args, Subcommand};

use super::{ApiArguments, ConsentArguments, FilterArguments, FollowArguments, ListArguments};

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List a subscription's dead letters, the newest events first
    List(ListDeadLettersArguments),
    /// Show a dead letter with its event
    Get(DeadLetterArguments),
    /// Put dead letters back into delivery, and follow how far that has come
    Redrive(RedriveArguments),
    /// Throw dead letters away
    Discard(DiscardArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ListDeadLettersArguments {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) list: ListArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DeadLetterArguments {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The event's id, or its offset
    #[arg(value_name = "EVENT_ID")]
    pub(crate) event_id: String,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

/// Which dead letters: one, those of a filter, or all. One of the three.
#[derive(Debug, Args)]
pub(crate) struct DeadLetterChoice {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The id or offset of one event
    #[arg(value_name = "EVENT_ID", conflicts_with_all = ["all", "types", "sources", "subjects", "cel"])]
    pub(crate) event_id: Option<String>,
    /// All that there are now
    #[arg(long, conflicts_with_all = ["types", "sources", "subjects", "cel"])]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArguments,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RedriveArguments {
    #[command(flatten)]
    pub(crate) choice: DeadLetterChoice,
    /// The most events a second, beside the subscription's own limit
    #[arg(long, value_name = "EVENTS", conflicts_with = "event_id", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_events_per_second: Option<u32>,
    #[command(flatten)]
    pub(crate) follow: FollowArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DiscardArguments {
    #[command(flatten)]
    pub(crate) choice: DeadLetterChoice,
    #[command(flatten)]
    pub(crate) consent: ConsentArguments,
}
