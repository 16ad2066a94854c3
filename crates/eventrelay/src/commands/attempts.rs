//! `eventrelay attempts`: what was tried, and what was sent and answered.

use crate::arguments::{AttemptArguments, AttemptsCommand, ListAttemptsArguments};
use crate::client::{Api, segment};
use crate::exit::Failure;
use crate::table::Column;
use crate::{commands, output};

/// Of a list of attempts.
pub(super) const COLUMNS: [Column; 8] = [
    ("ID", "/id"),
    ("SUBSCRIPTION", "/subscription"),
    ("OFFSET", "/offset"),
    ("ATTEMPT", "/attempt"),
    ("OUTCOME", "/outcome"),
    ("STATUS", "/response_status"),
    ("STARTED", "/started_at"),
    ("REASON", "/reason"),
];

/// Runs one of them.
pub(crate) fn run(command: &AttemptsCommand) -> Result<(), Failure> {
    match command {
        AttemptsCommand::List(arguments) => commands::block_on(list(arguments)),
        AttemptsCommand::Get(arguments) => commands::block_on(get(arguments)),
    }
}

async fn list(arguments: &ListAttemptsArguments) -> Result<(), Failure> {
    let path = format!("/v1/subscriptions/{}/attempts", segment(&arguments.name)?);
    let parameters = [
        ("event_id", arguments.event_id.as_deref()),
        ("outcome", arguments.outcome.as_deref()),
        ("from", arguments.from.as_deref()),
        ("to", arguments.to.as_deref()),
    ];
    let list = &arguments.list;
    let api = Api::new(&list.api.server)?;
    let page = api.list(&path, &parameters, list.cursor.as_deref(), list.limit as usize).await?;
    output::page(&page, list.api.json, &COLUMNS)
}

async fn get(arguments: &AttemptArguments) -> Result<(), Failure> {
    let AttemptArguments { name, attempt, api } = arguments;
    let path = format!("/v1/subscriptions/{}/attempts/{attempt}", segment(name)?);
    output::thing(&Api::new(&api.server)?.get(&path).await?, api.json)
}
