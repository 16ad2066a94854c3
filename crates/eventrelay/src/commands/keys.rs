//! `eventrelay keys`: makes, shows, lists and revokes API keys of a running server.

use eventrelay_server::auth::ApiKey;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::arguments::{ApiArguments, CreateKeyArguments, KeyArguments, KeysCommand};
use crate::client::{Api, parse, segment};
use crate::exit::Failure;
use crate::table::{self, Column};
use crate::{commands, output, stdout};

const PATH: &str = "/v1/keys";
const COLUMNS: [Column; 6] = [
    ("ID", "/id"),
    ("TENANT", "/tenant"),
    ("SCOPES", "/scopes"),
    ("STATE", "/state"),
    ("LAST USED", "/last_used_at"),
    ("NAME", "/name"),
];

/// Runs one of them.
pub(crate) fn run(command: &KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Create(arguments) => commands::block_on(create(arguments)),
        KeysCommand::List(arguments) => commands::block_on(list(arguments)),
        KeysCommand::Get(arguments) => commands::block_on(get(arguments)),
        KeysCommand::Revoke(arguments) => commands::block_on(revoke(arguments)),
        KeysCommand::Generate => stdout::answer(ApiKey::generate().expose()),
    }
}

async fn create(arguments: &CreateKeyArguments) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Created {
        id: String,
        key: String,
    }
    let mut wanted = json!({"name": arguments.name, "scopes": arguments.scopes});
    if let Some(tenant) = &arguments.tenant {
        wanted["tenant"] = tenant.as_str().into();
    }
    if let Some(seconds) = arguments.expires_in_seconds {
        wanted["expires_in_seconds"] = seconds.into();
    }
    let answer = Api::new(&arguments.api.server)?.post(PATH, &wanted).await?;
    if arguments.api.json {
        return output::json(&answer);
    }
    let created: Created = parse(&answer)?;
    eprintln!("{}: this is shown once, and kept nowhere", created.id);
    stdout::answer(&created.key)
}

async fn list(arguments: &ApiArguments) -> Result<(), Failure> {
    let page = Api::new(&arguments.server)?.all(PATH).await?;
    if arguments.json {
        return output::page(&page, true, &COLUMNS);
    }
    let mut keys: Vec<Value> = output::items(&page)?;
    for key in &mut keys {
        key["state"] = state(key).into();
    }
    stdout::answer(&table::list(&COLUMNS, &keys))
}

/// What it is good for.
fn state(key: &Value) -> String {
    match (key["revoked_at"].as_str(), key["expires_at"].as_str()) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(at)) => format!("until {at}"),
        (None, None) => "good".to_owned(),
    }
}

async fn get(arguments: &KeyArguments) -> Result<(), Failure> {
    let path = format!("{PATH}/{}", segment(&arguments.id)?);
    output::thing(&Api::new(&arguments.api.server)?.get(&path).await?, arguments.api.json)
}

/// Asks nobody: a key that is in the wrong hands must end at once.
async fn revoke(arguments: &KeyArguments) -> Result<(), Failure> {
    let path = format!("{PATH}/{}", segment(&arguments.id)?);
    Api::new(&arguments.api.server)?.change(Method::DELETE, &path, None, None).await?;
    eprintln!("{} is revoked", arguments.id);
    Ok(())
}
