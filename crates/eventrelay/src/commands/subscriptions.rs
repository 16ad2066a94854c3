//! `eventrelay subscriptions`: makes, shows, changes, pauses and deletes subscriptions of a running server.

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::arguments::{
    CreateSubscriptionArguments, DeleteSubscriptionArguments, ListArguments, PatchSubscriptionArguments,
    ReplaceSubscriptionArguments, RotateSecretArguments, Setting, SubscriptionArguments,
    SubscriptionsCommand, TestSubscriptionArguments,
};
use crate::client::{Api, parse, segment};
use crate::exit::{Exit, Failure};
use crate::table::{self, Column};
use crate::{commands, confirmation, document, output};

const PATH: &str = "/v1/subscriptions";
const COLUMNS: [Column; 7] = [
    ("NAME", "/name"),
    ("STATUS", "/status"),
    ("ORIGIN", "/origin"),
    ("SINK", "/sink/kind"),
    ("TYPES", "/filter/types"),
    ("ORDER", "/order"),
    ("REVISION", "/revision"),
];

/// Runs one of them.
pub(crate) fn run(command: &SubscriptionsCommand) -> Result<(), Failure> {
    commands::block_on(async {
        match command {
            SubscriptionsCommand::List(arguments) => list(arguments).await,
            SubscriptionsCommand::Get(arguments) => show(arguments, "").await,
            SubscriptionsCommand::Secret(arguments) => show(arguments, "/secret").await,
            SubscriptionsCommand::Stats(arguments) => show(arguments, "/stats").await,
            SubscriptionsCommand::Create(arguments) => create(arguments).await,
            SubscriptionsCommand::Replace(arguments) => replace(arguments).await,
            SubscriptionsCommand::Patch(arguments) => patch(arguments).await,
            SubscriptionsCommand::Delete(arguments) => delete(arguments).await,
            SubscriptionsCommand::Pause(arguments) => tell(arguments, "pause").await,
            SubscriptionsCommand::Resume(arguments) => tell(arguments, "resume").await,
            SubscriptionsCommand::Enable(arguments) => tell(arguments, "enable").await,
            SubscriptionsCommand::Test(arguments) => test(arguments).await,
            SubscriptionsCommand::RotateSecret(arguments) => rotate_secret(arguments).await,
        }
    })
}

async fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let api = Api::new(&arguments.api.server)?;
    let page = api.list(PATH, &[], arguments.cursor.as_deref(), arguments.limit as usize).await?;
    output::page(&page, arguments.api.json, &COLUMNS)
}

async fn show(arguments: &SubscriptionArguments, what: &str) -> Result<(), Failure> {
    let path = format!("{}{what}", path_of(&arguments.name)?);
    output::thing(&Api::new(&arguments.api.server)?.get(&path).await?, arguments.api.json)
}

async fn create(arguments: &CreateSubscriptionArguments) -> Result<(), Failure> {
    let mut declaration = match &arguments.file {
        Some(file) => document::read(file)?,
        None => json!({}),
    };
    set_all(&mut declaration, &arguments.settings)?;
    if let Some(name) = &arguments.name {
        declaration["name"] = name.clone().into();
    }
    let created = Api::new(&arguments.api.server)?.post(PATH, &declaration).await?;
    show_standing(&created, arguments.api.json)
}

async fn replace(arguments: &ReplaceSubscriptionArguments) -> Result<(), Failure> {
    let path = path_of(&arguments.name)?;
    let declaration = document::read(&arguments.file)?;
    let api = Api::new(&arguments.api.server)?;
    let replaced = api.change(Method::PUT, &path, Some(&declaration), arguments.revision.revision).await?;
    show_standing(&replaced, arguments.api.json)
}

async fn patch(arguments: &PatchSubscriptionArguments) -> Result<(), Failure> {
    let path = path_of(&arguments.name)?;
    let mut patch = match &arguments.file {
        Some(file) => document::read(file)?,
        None => json!({}),
    };
    set_all(&mut patch, &arguments.settings)?;
    for field in &arguments.unset {
        document::set(&mut patch, field, Value::Null)?;
    }
    let api = Api::new(&arguments.api.server)?;
    let patched = api.change(Method::PATCH, &path, Some(&patch), arguments.revision.revision).await?;
    show_standing(&patched, arguments.api.json)
}

/// The one that was looked at, if it is still that one.
async fn delete(arguments: &DeleteSubscriptionArguments) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Found {
        revision: u64,
    }
    let SubscriptionArguments { name, api: server } = &arguments.subscription;
    let path = path_of(name)?;
    let api = Api::new(&server.server)?;
    let found: Found = parse(&api.get(&path).await?)?;
    let what = format!("delete {name} with its cursor, retries, dead letters and attempts");
    confirmation::ask(&what, arguments.consent)?;
    api.change(Method::DELETE, &path, None, Some(found.revision)).await?;
    eprintln!("{name} is deleted");
    Ok(())
}

async fn tell(arguments: &SubscriptionArguments, what: &str) -> Result<(), Failure> {
    let path = format!("{}/{what}", path_of(&arguments.name)?);
    let shown = Api::new(&arguments.api.server)?.post_nothing(&path).await?;
    show_standing(&shown, arguments.api.json)
}

/// A target that did not take the sample ends as what did not succeed.
async fn test(arguments: &TestSubscriptionArguments) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Tried {
        outcome: String,
    }
    let SubscriptionArguments { name, api: server } = &arguments.subscription;
    let path = format!("{}/test", path_of(name)?);
    let api = Api::new(&server.server)?;
    let answer = match &arguments.event {
        None => api.post(&path, &json!({})).await?,
        Some(event) => {
            let event: Value = serde_json::from_str(event)
                .map_err(|error| Failure::usage(format!("--event is not JSON: {error}")))?;
            api.post(&path, &json!({"event": event})).await?
        }
    };
    output::thing(&answer, server.json)?;
    let tried: Tried = parse(&answer)?;
    match tried.outcome.as_str() {
        "delivered" | "ready" | "no_target" => Ok(()),
        outcome => {
            let outcome = table::printable(outcome);
            Err(Failure::new(Exit::Unsuccessful, format!("the sample was not delivered: {outcome}")))
        }
    }
}

async fn rotate_secret(arguments: &RotateSecretArguments) -> Result<(), Failure> {
    let SubscriptionArguments { name, api: server } = &arguments.subscription;
    let path = format!("{}/secret/rotate", path_of(name)?);
    let mut rotation = json!({});
    if let Some(file) = &arguments.secret_file {
        rotation["secret"] = document::read_text(file)?.trim().into();
    }
    if let Some(seconds) = arguments.overlap_seconds {
        rotation["overlap_seconds"] = seconds.into();
    }
    let api = Api::new(&server.server)?;
    output::thing(&api.post_at(&path, &rotation, arguments.revision.revision).await?, server.json)
}

fn set_all(declaration: &mut Value, settings: &[Setting]) -> Result<(), Failure> {
    settings.iter().try_for_each(|Setting { field, value }| document::set(declaration, field, value.clone()))
}

fn show_standing(subscription: &Bytes, as_json: bool) -> Result<(), Failure> {
    output::document(subscription, as_json, |shown| {
        let text = |name: &str| table::printable(shown[name].as_str().unwrap_or("-"));
        format!("{} is {}, at revision {}", text("name"), text("status"), shown["revision"])
    })
}

fn path_of(name: &str) -> Result<String, Failure> {
    Ok(format!("{PATH}/{}", segment(name)?))
}
