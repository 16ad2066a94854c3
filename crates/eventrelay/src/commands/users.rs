//! `eventrelay users`: makes, lists and removes users of a running server, and gives them new passwords.

use http::Method;
use serde_json::json;

use crate::arguments::{ApiArguments, CreateUserArguments, DeleteUserArguments, UserArguments, UsersCommand};
use crate::client::{Api, segment};
use crate::exit::Failure;
use crate::table::{self, Column};
use crate::{commands, confirmation, output, typed_password};

const PATH: &str = "/v1/users";
const COLUMNS: [Column; 6] = [
    ("ID", "/id"),
    ("TENANT", "/tenant"),
    ("ROLE", "/role"),
    ("DISABLED", "/disabled"),
    ("LAST LOGIN", "/last_login_at"),
    ("EMAIL", "/email"),
];

/// Runs one of them.
pub(crate) fn run(command: &UsersCommand) -> Result<(), Failure> {
    match command {
        UsersCommand::Create(arguments) => commands::block_on(create(arguments)),
        UsersCommand::List(arguments) => commands::block_on(list(arguments)),
        UsersCommand::SetPassword(arguments) => commands::block_on(set_password(arguments)),
        UsersCommand::Delete(arguments) => commands::block_on(delete(arguments)),
    }
}

async fn create(arguments: &CreateUserArguments) -> Result<(), Failure> {
    let api = Api::new(&arguments.api.server)?;
    let mut wanted = json!({
        "email": arguments.email, "role": arguments.role, "name": arguments.name, "tenant": arguments.tenant,
    });
    if !arguments.without_password {
        wanted["password"] = typed_password::read()?.as_str().into();
    }
    let created = api.post(PATH, &wanted).await?;
    output::document(&created, arguments.api.json, |user| {
        table::printable(user["id"].as_str().unwrap_or_default())
    })
}

async fn list(arguments: &ApiArguments) -> Result<(), Failure> {
    output::page(&Api::new(&arguments.server)?.all(PATH).await?, arguments.json, &COLUMNS)
}

async fn set_password(arguments: &UserArguments) -> Result<(), Failure> {
    let path = path_of(&arguments.id)?;
    let api = Api::new(&arguments.api.server)?;
    let body = json!({"password": typed_password::read()?.as_str()});
    api.change(Method::PATCH, &path, Some(&body), None).await?;
    eprintln!("{} has a new password, and is logged in nowhere", arguments.id);
    Ok(())
}

async fn delete(arguments: &DeleteUserArguments) -> Result<(), Failure> {
    let user = &arguments.user;
    let path = path_of(&user.id)?;
    confirmation::ask(&format!("delete the user {}", user.id), arguments.consent)?;
    Api::new(&user.api.server)?.change(Method::DELETE, &path, None, None).await?;
    eprintln!("{} is removed", user.id);
    Ok(())
}

fn path_of(id: &str) -> Result<String, Failure> {
    Ok(format!("{PATH}/{}", segment(id)?))
}
