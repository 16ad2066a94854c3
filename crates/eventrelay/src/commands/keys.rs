//! `eventrelay keys`: makes, lists and revokes API keys of a running server.

use bytes::Bytes;
use eventrelay_server::auth::ApiKey;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::arguments::{CreateKeyArguments, KeysCommand, ListKeysArguments, RevokeKeyArguments};
use crate::client::{Answer, Client};
use crate::exit::{Exit, Failure};
use crate::{commands, stdout};

const PATH: &str = "/v1/keys";

/// Runs one of them.
pub(crate) fn run(command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Create(arguments) => commands::block_on(create(arguments)),
        KeysCommand::List(arguments) => commands::block_on(list(arguments)),
        KeysCommand::Revoke(arguments) => commands::block_on(revoke(arguments)),
        KeysCommand::Generate => stdout::answer(ApiKey::generate().expose()),
    }
}

async fn create(arguments: CreateKeyArguments) -> Result<(), Failure> {
    let client = Client::new(&arguments.server)?;
    let mut wanted = json!({"name": arguments.name, "scopes": arguments.scopes, "tenant": arguments.tenant});
    if let Some(seconds) = arguments.expires_in_seconds {
        wanted["expires_in_seconds"] = seconds.into();
    }
    let body = Bytes::from(wanted.to_string());
    let answer = taken(client.post(PATH, &[(CONTENT_TYPE, "application/json")], body).await?)?;
    if arguments.json {
        return print_json(&answer);
    }
    let created: Created = parse(&answer)?;
    eprintln!("{}: this is shown once, and kept nowhere", created.id);
    stdout::answer(&created.key)
}

async fn list(arguments: ListKeysArguments) -> Result<(), Failure> {
    let client = Client::new(&arguments.server)?;
    let answer = taken(client.get(PATH).await?)?;
    if arguments.json {
        return print_json(&answer);
    }
    let list: List = parse(&answer)?;
    stdout::answer(&table(&list.data))
}

async fn revoke(arguments: RevokeKeyArguments) -> Result<(), Failure> {
    let is_id = arguments.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_id {
        return Err(Failure::usage("a key's id has letters, digits and `_` only; `keys list` shows it"));
    }
    let client = Client::new(&arguments.server)?;
    taken(client.delete(&format!("{PATH}/{}", arguments.id)).await?)?;
    eprintln!("{} is revoked", arguments.id);
    Ok(())
}

#[derive(Deserialize)]
struct Created {
    id: String,
    key: String,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    name: String,
    tenant: String,
    scopes: Vec<String>,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    revoked_at: Option<String>,
}

impl Listed {
    fn state(&self) -> String {
        match (&self.revoked_at, &self.expires_at) {
            (Some(at), _) => format!("revoked {at}"),
            (None, Some(at)) => format!("until {at}"),
            (None, None) => "good".to_owned(),
        }
    }
}

fn table(keys: &[Listed]) -> String {
    let head = ["ID", "TENANT", "SCOPES", "STATE", "LAST USED", "NAME"].map(str::to_owned);
    let row = |key: &Listed| {
        let used = key.last_used_at.clone().unwrap_or_else(|| "never".to_owned());
        [key.id.clone(), key.tenant.clone(), key.scopes.join(","), key.state(), used, key.name.clone()]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(keys.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |row: &[String; 6]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn taken(answer: Answer) -> Result<Answer, Failure> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    Err(Failure::new(Exit::Refused, format!("the server refused: {}", answer.problem())))
}

fn parse<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::unexpected(format!("the server's answer is not understood: {error}")))
}

fn print_json(answer: &Answer) -> Result<(), Failure> {
    let value: Value = parse(answer)?;
    stdout::answer(&value.to_string())
}
