//! `eventrelay events`: looks for events, and shows them and what became of them.

use serde_json::Value;

use crate::arguments::{EventArguments, EventsCommand, SearchArguments};
use crate::client::{Api, Page, parse, segment};
use crate::commands::attempts;
use crate::exit::Failure;
use crate::table::{self, Column};
use crate::{commands, output};

const FOUND: [Column; 6] = [
    ("ID", "/event/id"),
    ("OFFSET", "/event/offset"),
    ("TYPE", "/event/type"),
    ("SOURCE", "/event/source"),
    ("SUBJECT", "/event/subject"),
    ("STATE", "/delivery/state"),
];
const DELIVERIES: [Column; 5] = [
    ("SUBSCRIPTION", "/subscription"),
    ("STATE", "/state"),
    ("ATTEMPTS", "/attempts"),
    ("NEXT ATTEMPT", "/next_attempt_at"),
    ("ERROR", "/error"),
];

/// Runs one of them.
pub(crate) fn run(command: &EventsCommand) -> Result<(), Failure> {
    commands::block_on(async {
        match command {
            EventsCommand::Search(arguments) => search(arguments).await,
            EventsCommand::Get(arguments) => output::thing(&get(arguments, "").await?, arguments.api.json),
            EventsCommand::Status(arguments) => {
                output::document(&get(arguments, "/status").await?, arguments.api.json, status)
            }
            EventsCommand::Deliveries(arguments) => list(arguments, "/deliveries", &DELIVERIES).await,
            EventsCommand::Attempts(arguments) => list(arguments, "/attempts", &attempts::COLUMNS).await,
        }
    })
}

async fn search(arguments: &SearchArguments) -> Result<(), Failure> {
    let list = &arguments.list;
    let parameters = [
        ("from", arguments.from.as_deref()),
        ("to", arguments.to.as_deref()),
        ("type", arguments.event_type.as_deref()),
        ("source", arguments.source.as_deref()),
        ("subject", arguments.subject.as_deref()),
        ("key", arguments.key.as_deref()),
        ("subscription", arguments.subscription.as_deref()),
        ("status", arguments.status.as_deref()),
        ("order", Some(arguments.order.as_str())),
    ];
    let api = Api::new(&list.api.server)?;
    let page = api.list("/v1/events", &parameters, list.cursor.as_deref(), list.limit as usize).await?;
    output::page(&page, list.api.json, &FOUND)
}

async fn get(arguments: &EventArguments, what: &str) -> Result<bytes::Bytes, Failure> {
    let path = format!("/v1/events/{}{what}", segment(&arguments.event_id)?);
    Api::new(&arguments.api.server)?.get(&path).await
}

async fn list(arguments: &EventArguments, what: &str, columns: &[Column]) -> Result<(), Failure> {
    let page: Page = parse(&get(arguments, what).await?)?;
    output::page(&page, arguments.api.json, columns)
}

fn status(status: &Value) -> String {
    let deliveries = status["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
    let state = table::printable(status["status"].as_str().unwrap_or("-"));
    format!("{state}, at offset {}\n{}", status["offset"], table::list(&DELIVERIES, deliveries))
}
