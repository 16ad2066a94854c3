//! The command line: a file for each group of commands, and one for each thing that several of them take.

mod apply;
mod audit_log;
mod completions;
mod config;
mod dead_letters;
mod deliveries;
mod events;
mod filter;
mod keys;
mod log;
mod place;
mod publish;
mod replay;
mod serve;
mod server;
mod subscriptions;
mod svix;
mod tail;
mod tenants;
mod users;
mod version;

use clap::{Parser, Subcommand};

pub(crate) use apply::ApplyArguments;
pub(crate) use audit_log::AuditLogArguments;
pub(crate) use completions::CompletionsArguments;
pub(crate) use config::{CheckArguments, ConfigCommand, ValidateArguments};
pub(crate) use dead_letters::{
    DeadLetterArguments, DeadLetterChoice, DeadLettersCommand, DiscardArguments, ListDeadLettersArguments,
    RedriveArguments,
};
pub(crate) use deliveries::{
    AttemptArguments, AttemptsCommand, DeliveriesCommand, ListAttemptsArguments, ListDeliveriesArguments,
    RetryArguments,
};
pub(crate) use events::{EventArguments, EventsCommand, SearchArguments};
pub(crate) use filter::FilterArguments;
pub(crate) use keys::{CreateKeyArguments, KeyArguments, KeysCommand};
pub(crate) use log::{InspectArguments, LogArguments, LogCommand, RepairArguments};
pub(crate) use place::Place;
pub(crate) use publish::PublishArguments;
pub(crate) use replay::{
    CreateReplayArguments, FollowArguments, ListReplaysArguments, ReplayArguments, ReplayCommand,
    SeekArguments,
};
pub(crate) use serve::ServeArguments;
pub(crate) use server::{ApiArguments, ConsentArguments, ListArguments, ServerAddress};
pub(crate) use subscriptions::{
    CreateSubscriptionArguments, DeleteSubscriptionArguments, PatchSubscriptionArguments,
    ReplaceSubscriptionArguments, RevisionArguments, RotateSecretArguments, Setting, SubscriptionArguments,
    SubscriptionsCommand, TestSubscriptionArguments,
};
pub(crate) use svix::{SvixCommand, SvixTokenArguments};
pub(crate) use tail::{TailArguments, TailStart};
pub(crate) use tenants::{
    CreateTenantArguments, DeleteTenantArguments, TenantsCommand, UpdateTenantArguments,
};
pub(crate) use users::{CreateUserArguments, DeleteUserArguments, UserArguments, UsersCommand};
pub(crate) use version::VersionArguments;

use crate::exit;

/// A durable event relay in one binary.
///
/// Takes events over HTTP, gRPC and TCP, writes each to a log on disk before it answers, and delivers it to every matching
/// subscription at least once. `eventrelay serve` needs no configuration.
#[derive(Debug, Parser)]
#[command(name = "eventrelay", version, after_help = exit::HELP, propagate_version = false)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Serve(Box<ServeArguments>),
    /// Publish events to a running server
    Publish(Box<PublishArguments>),
    /// Follow the events of a running server
    Tail(TailArguments),
    /// Look for events, show them and what became of them
    #[command(subcommand)]
    Events(Box<EventsCommand>),
    /// Make, show, change, pause and delete subscriptions
    #[command(subcommand)]
    Subscriptions(Box<SubscriptionsCommand>),
    /// Have the subscriptions that a file declares, whatever there is now: says what would change, and changes it
    Apply(ApplyArguments),
    /// List a subscription's deliveries, and try one now
    #[command(subcommand)]
    Deliveries(DeliveriesCommand),
    /// Show a subscription's attempts, with what was sent and answered
    #[command(subcommand)]
    Attempts(AttemptsCommand),
    /// Show dead letters, put them back into delivery, or throw them away
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Deliver a part of the log again to a subscription
    #[command(subcommand)]
    Replay(ReplayCommand),
    /// Move a subscription's cursor
    Seek(SeekArguments),
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// What clients of Svix need
    #[command(subcommand)]
    Svix(SvixCommand),
    /// Make, list and remove users, who log in with a password
    #[command(subcommand)]
    Users(UsersCommand),
    /// Make, list, change and remove tenants
    #[command(subcommand)]
    Tenants(TenantsCommand),
    /// List who changed what
    AuditLog(Box<AuditLogArguments>),
    /// Examine or mend the log of a data directory, while no server runs on it
    #[command(subcommand)]
    Log(LogCommand),
    /// Check a configuration, print one to start from, or show a server's
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the completions of a shell
    Completions(CompletionsArguments),
    /// Print the version
    Version(VersionArguments),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
