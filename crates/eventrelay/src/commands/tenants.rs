//! `eventrelay tenants`: makes, shows, lists, changes and removes tenants.

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::arguments::{
    CreateTenantArguments, DeleteTenantArguments, ListArguments, TenantsCommand, UpdateTenantArguments,
};
use crate::client::{Api, parse, segment};
use crate::exit::Failure;
use crate::table::Column;
use crate::{commands, confirmation, output};

const PATH: &str = "/v1/tenants";
const COLUMNS: [Column; 4] = [
    ("NAME", "/name"),
    ("DISPLAY NAME", "/display_name"),
    ("CREATED", "/created_at"),
    ("REVISION", "/revision"),
];

/// Runs one of them.
pub(crate) fn run(command: &TenantsCommand) -> Result<(), Failure> {
    commands::block_on(async {
        match command {
            TenantsCommand::Create(arguments) => create(arguments).await,
            TenantsCommand::List(arguments) => list(arguments).await,
            TenantsCommand::Get(arguments) => {
                let tenant = Api::new(&arguments.api.server)?.get(&path_of(&arguments.name)?).await?;
                output::thing(&tenant, arguments.api.json)
            }
            TenantsCommand::Update(arguments) => update(arguments).await,
            TenantsCommand::Delete(arguments) => delete(arguments).await,
        }
    })
}

async fn create(arguments: &CreateTenantArguments) -> Result<(), Failure> {
    let tenant = &arguments.tenant;
    let mut wanted = changes(arguments.display_name.as_ref(), &arguments.metadata);
    wanted["name"] = tenant.name.clone().into();
    let created = Api::new(&tenant.api.server)?.post(PATH, &wanted).await?;
    output::thing(&created, tenant.api.json)
}

async fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let api = Api::new(&arguments.api.server)?;
    let page = api.list(PATH, &[], arguments.cursor.as_deref(), arguments.limit as usize).await?;
    output::page(&page, arguments.api.json, &COLUMNS)
}

async fn update(arguments: &UpdateTenantArguments) -> Result<(), Failure> {
    let tenant = &arguments.tenant;
    let path = path_of(&tenant.name)?;
    let changes = changes(arguments.display_name.as_ref(), &arguments.metadata);
    let api = Api::new(&tenant.api.server)?;
    let changed = api.change(Method::PATCH, &path, Some(&changes), arguments.revision.revision).await?;
    output::thing(&changed, tenant.api.json)
}

/// The one that was looked at, if it is still that one.
async fn delete(arguments: &DeleteTenantArguments) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Found {
        revision: u64,
    }
    let tenant = &arguments.tenant;
    let path = path_of(&tenant.name)?;
    let api = Api::new(&tenant.api.server)?;
    let found: Found = parse(&api.get(&path).await?)?;
    let (contents, deletion) = match arguments.cascade {
        true => (" with its subscriptions, keys and users", format!("{path}?cascade=true")),
        false => ("", path),
    };
    confirmation::ask(&format!("delete the tenant {}{contents}", tenant.name), arguments.consent)?;
    api.change(Method::DELETE, &deletion, None, Some(found.revision)).await?;
    eprintln!("{} is deleted", tenant.name);
    Ok(())
}

fn changes(display_name: Option<&String>, metadata: &[(String, String)]) -> Value {
    let mut changes = json!({});
    if let Some(name) = display_name {
        changes["display_name"] = name.clone().into();
    }
    if !metadata.is_empty() {
        let notes: Map<String, Value> =
            metadata.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        changes["metadata"] = notes.into();
    }
    changes
}

fn path_of(name: &str) -> Result<String, Failure> {
    Ok(format!("{PATH}/{}", segment(name)?))
}
