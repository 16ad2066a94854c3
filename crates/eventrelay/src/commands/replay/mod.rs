//! `eventrelay replay`: delivers a part of the log again.

pub(super) mod follow;

use serde_json::json;

use crate::arguments::{CreateReplayArguments, ListReplaysArguments, ReplayArguments, ReplayCommand};
use crate::client::{Api, segment};
use crate::exit::Failure;
use crate::table::Column;
use crate::{commands, output};

const COLUMNS: [Column; 9] = [
    ("ID", "/id"),
    ("KIND", "/kind"),
    ("STATE", "/state"),
    ("START", "/start_offset"),
    ("NEXT", "/next_offset"),
    ("END", "/end_offset"),
    ("DELIVERED", "/delivered"),
    ("REFUSED", "/refused"),
    ("CREATED", "/created_at"),
];

/// Runs one of them.
pub(crate) fn run(command: &ReplayCommand) -> Result<(), Failure> {
    commands::block_on(async {
        match command {
            ReplayCommand::Create(arguments) => create(arguments).await,
            ReplayCommand::List(arguments) => list(arguments).await,
            ReplayCommand::Get(arguments) => {
                let shown = Api::new(&arguments.api.server)?.get(&path_of(arguments)?).await?;
                output::thing(&shown, arguments.api.json)
            }
            ReplayCommand::Follow(arguments) => {
                let api = Api::new(&arguments.api.server)?;
                let shown = api.get(&path_of(arguments)?).await?;
                follow::to_the_end(&api, shown, arguments.api.json).await
            }
            ReplayCommand::Cancel(arguments) => {
                let path = format!("{}/cancel", path_of(arguments)?);
                let shown = Api::new(&arguments.api.server)?.post_nothing(&path).await?;
                output::document(&shown, arguments.api.json, follow::in_words)
            }
        }
    })
}

async fn create(arguments: &CreateReplayArguments) -> Result<(), Failure> {
    let path = format!("/v1/subscriptions/{}/replays", segment(&arguments.name)?);
    let mut body = json!({"from": arguments.from.json()});
    if let Some(to) = &arguments.to {
        body["to"] = to.json();
    }
    if let Some(filter) = arguments.filter.filter() {
        body["filter"] = filter;
    }
    if let Some(events) = arguments.max_events_per_second {
        body["max_events_per_second"] = events.into();
    }
    let api = Api::new(&arguments.api.server)?;
    let begun = api.post(&path, &body).await?;
    follow::begun(&api, begun, arguments.follow, arguments.api.json).await
}

async fn list(arguments: &ListReplaysArguments) -> Result<(), Failure> {
    let path = format!("/v1/subscriptions/{}/replays", segment(&arguments.name)?);
    let list = &arguments.list;
    let api = Api::new(&list.api.server)?;
    let page = api.list(&path, &[], list.cursor.as_deref(), list.limit as usize).await?;
    output::page(&page, list.api.json, &COLUMNS)
}

fn path_of(arguments: &ReplayArguments) -> Result<String, Failure> {
    Ok(format!("/v1/subscriptions/{}/replays/{}", segment(&arguments.name)?, arguments.replay))
}
