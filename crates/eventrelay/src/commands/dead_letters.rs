//! `eventrelay dead-letters`: shows them, puts them back into delivery, and throws them away.

use http::Method;
use serde_json::{Value, json};

use super::replay::follow;
use crate::arguments::{
    DeadLetterArguments, DeadLetterChoice, DeadLettersCommand, DiscardArguments, ListDeadLettersArguments,
    RedriveArguments,
};
use crate::client::{Api, segment};
use crate::exit::Failure;
use crate::table::Column;
use crate::{commands, confirmation, output};

const COLUMNS: [Column; 6] = [
    ("EVENT", "/event_id"),
    ("OFFSET", "/offset"),
    ("TYPE", "/event/type"),
    ("ATTEMPTS", "/attempts"),
    ("DEAD SINCE", "/dead_at"),
    ("REASON", "/reason"),
];

/// Which of them a command is for.
enum Chosen<'a> {
    One(&'a str),
    Matching(Value),
}

impl<'a> Chosen<'a> {
    fn of(choice: &'a DeadLetterChoice) -> Result<Self, Failure> {
        match (&choice.event_id, choice.filter.filter(), choice.all) {
            (Some(event_id), ..) => Ok(Self::One(segment(event_id)?)),
            (None, Some(filter), _) => Ok(Self::Matching(filter)),
            (None, None, true) => Ok(Self::Matching(json!({}))),
            (None, None, false) => {
                Err(Failure::usage("which dead letters? An EVENT_ID, a filter such as --type, or --all"))
            }
        }
    }
}

/// Runs one of them.
pub(crate) fn run(command: &DeadLettersCommand) -> Result<(), Failure> {
    match command {
        DeadLettersCommand::List(arguments) => commands::block_on(list(arguments)),
        DeadLettersCommand::Get(arguments) => commands::block_on(get(arguments)),
        DeadLettersCommand::Redrive(arguments) => commands::block_on(redrive(arguments)),
        DeadLettersCommand::Discard(arguments) => commands::block_on(discard(arguments)),
    }
}

async fn list(arguments: &ListDeadLettersArguments) -> Result<(), Failure> {
    let list = &arguments.list;
    let api = Api::new(&list.api.server)?;
    let path = path_of(&arguments.name)?;
    let page = api.list(&path, &[], list.cursor.as_deref(), list.limit as usize).await?;
    output::page(&page, list.api.json, &COLUMNS)
}

async fn get(arguments: &DeadLetterArguments) -> Result<(), Failure> {
    let path = format!("{}/{}", path_of(&arguments.name)?, segment(&arguments.event_id)?);
    output::thing(&Api::new(&arguments.api.server)?.get(&path).await?, arguments.api.json)
}

async fn redrive(arguments: &RedriveArguments) -> Result<(), Failure> {
    let choice = &arguments.choice;
    let path = path_of(&choice.name)?;
    let chosen = Chosen::of(choice)?;
    let api = Api::new(&choice.api.server)?;
    let begun = match chosen {
        Chosen::One(event_id) => api.post_nothing(&format!("{path}/{event_id}/redrive")).await?,
        Chosen::Matching(filter) => {
            let mut body = json!({"filter": filter});
            if let Some(events) = arguments.max_events_per_second {
                body["max_events_per_second"] = events.into();
            }
            api.post(&format!("{path}/redrive"), &body).await?
        }
    };
    follow::begun(&api, begun, arguments.follow, choice.api.json).await
}

async fn discard(arguments: &DiscardArguments) -> Result<(), Failure> {
    let choice = &arguments.choice;
    let path = path_of(&choice.name)?;
    let chosen = Chosen::of(choice)?;
    let api = Api::new(&choice.api.server)?;
    match chosen {
        // One that is named is meant.
        Chosen::One(event_id) => {
            api.change(Method::DELETE, &format!("{path}/{event_id}"), None, None).await?;
            eprintln!("{event_id} is discarded");
            Ok(())
        }
        Chosen::Matching(filter) => {
            let which = if choice.all { "all" } else { "the matching" };
            let what = format!("discard {which} dead letters of {}", choice.name);
            confirmation::ask(&what, arguments.consent)?;
            let answer = api.post(&format!("{path}/discard"), &json!({"filter": filter})).await?;
            output::document(&answer, choice.api.json, |answer| {
                format!("{} dead letters are discarded", answer["discarded"])
            })
        }
    }
}

fn path_of(subscription: &str) -> Result<String, Failure> {
    Ok(format!("/v1/subscriptions/{}/dead-letters", segment(subscription)?))
}
