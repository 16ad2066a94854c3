//! `eventrelay replay` and `eventrelay seek`.

use clap::{Args, Subcommand};

use super::{ApiArguments, FilterArguments, ListArguments, Place};

#[derive(Debug, Subcommand)]
pub(crate) enum ReplayCommand {
    /// Deliver a part of the log again, and follow how far that has come
    Create(CreateReplayArguments),
    /// List a subscription's replays and redrives, the newest first
    List(ListReplaysArguments),
    /// Show how far a replay or redrive has come
    Get(ReplayArguments),
    /// Follow a replay or redrive to its end
    Follow(ReplayArguments),
    /// Cancel a replay or redrive
    Cancel(ReplayArguments),
}

/// Whether to wait for what was begun.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FollowArguments {
    /// Return at once, and let it go on by itself
    #[arg(long)]
    pub(crate) detach: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
  eventrelay replay create billing --from 2026-01-31T00:00:00Z --to 2026-02-01T00:00:00Z --type 'order.*'
It goes on when this command is stopped; `replay cancel` ends it.")]
pub(crate) struct CreateReplayArguments {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// From here on: `earliest`, `latest`, an offset, or a time in RFC 3339
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: Place,
    /// To here, exclusive [default: the cursor, for what comes then is live]
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: Option<Place>,
    #[command(flatten)]
    pub(crate) filter: FilterArguments,
    /// The most events a second, beside the subscription's own limit
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_events_per_second: Option<u32>,
    #[command(flatten)]
    pub(crate) follow: FollowArguments,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ListReplaysArguments {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) list: ListArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The replay's number
    #[arg(value_name = "REPLAY")]
    pub(crate) replay: u64,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Forwards, and what is passed is not delivered; or backwards, and it is delivered again.
What waits for a retry is forgotten; dead letters and replays stay.")]
pub(crate) struct SeekArguments {
    /// The subscription
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Where deliveries go on: `earliest`, `latest`, an offset, or a time in RFC 3339
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: Place,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}
