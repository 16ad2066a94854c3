//! `eventrelay deliveries`: what became of a subscription's events, and one that is to be tried now.

use serde_json::Value;

use crate::arguments::{DeliveriesCommand, ListDeliveriesArguments, RetryArguments};
use crate::client::{Api, segment};
use crate::exit::Failure;
use crate::table::Column;
use crate::{commands, output};

const COLUMNS: [Column; 7] = [
    ("EVENT", "/event_id"),
    ("TYPE", "/event_type"),
    ("ACCEPTED", "/accepted_at"),
    ("STATE", "/state"),
    ("ATTEMPTS", "/attempts"),
    ("NEXT ATTEMPT", "/next_attempt_at"),
    ("ERROR", "/error"),
];

/// Runs one of them.
pub(crate) fn run(command: &DeliveriesCommand) -> Result<(), Failure> {
    match command {
        DeliveriesCommand::List(arguments) => commands::block_on(list(arguments)),
        DeliveriesCommand::Retry(arguments) => commands::block_on(retry(arguments)),
    }
}

async fn list(arguments: &ListDeliveriesArguments) -> Result<(), Failure> {
    let path = format!("/v1/subscriptions/{}/deliveries", segment(&arguments.name)?);
    let parameters = [
        ("state", arguments.state.as_deref()),
        ("from", arguments.from.as_deref()),
        ("to", arguments.to.as_deref()),
        ("order", Some(arguments.order.as_str())),
    ];
    let list = &arguments.list;
    let api = Api::new(&list.api.server)?;
    let page = api.list(&path, &parameters, list.cursor.as_deref(), list.limit as usize).await?;
    output::page(&page, list.api.json, &COLUMNS)
}

async fn retry(arguments: &RetryArguments) -> Result<(), Failure> {
    let RetryArguments { name, event_id, api } = arguments;
    let path = format!("/v1/subscriptions/{}/deliveries/{}/retry", segment(name)?, segment(event_id)?);
    let answer = Api::new(&api.server)?.post_nothing(&path).await?;
    output::document(&answer, api.json, in_words)
}

fn in_words(answer: &Value) -> String {
    let replay = &answer["replay_id"];
    match answer["outcome"].as_str() {
        Some("due") => "it waited for a retry, and is due now".to_owned(),
        Some("pending") => "its turn has not come yet: it is delivered then".to_owned(),
        Some("redrive") => format!("it was a dead letter, and is put back by redrive {replay}"),
        Some("replay") => format!("it was delivered, and is delivered once more by replay {replay}"),
        _ => answer.to_string(),
    }
}
