//! `eventrelay apply`: has the server's subscriptions be what a file declares.
//!
//! ```text
//!  + create  billing
//!  ~ change  search
//!      retry.max_attempts: 12 → 5
//!  = keep    audit
//!  - delete  old
//! ```
//!
//! The plan is made of what the server has at one moment; each change and deletion is for the revision that was compared, so one
//! that somebody else has changed since is refused, and nothing of theirs is lost. It stops at the first refusal: what was done
//! stays, and a second apply goes on from there.

mod declarations;
mod plan;

use http::Method;
use serde_json::{Map, Value, json};

use crate::arguments::ApplyArguments;
use crate::client::{Api, segment};
use crate::exit::{Exit, Failure};
use crate::{commands, confirmation, output, stdout, table};
use plan::{Plan, Wishes};

const PATH: &str = "/v1/subscriptions";

/// Says what would change, and changes it.
pub(crate) fn run(arguments: &ApplyArguments) -> Result<(), Failure> {
    let declared = declarations::read(&arguments.file)?;
    commands::block_on(async {
        let api = Api::new(&arguments.api.server)?;
        let known: Vec<Map<String, Value>> = output::items(&api.all(PATH).await?)?;
        let wishes = Wishes { prune: arguments.prune, send_secrets: arguments.send_secrets };
        let plan =
            Plan::new(&declared, &known, wishes).map_err(|error| Failure::new(Exit::Refused, error))?;
        if !arguments.api.json {
            stdout::answer(&in_words(&plan))?;
        }
        let is_to_be_done = !arguments.dry_run && !plan.is_empty();
        if is_to_be_done {
            if !plan.delete.is_empty() {
                let names: Vec<&str> = plan.delete.iter().map(|deletion| deletion.name.as_str()).collect();
                confirmation::ask(&format!("delete {}", names.join(", ")), arguments.consent)?;
            }
            carry_out(&api, &plan).await?;
        }
        if arguments.api.json {
            stdout::json(&in_json(&plan, is_to_be_done))?;
        }
        match arguments.dry_run && !plan.is_empty() {
            // The plan has said it.
            true => Err(Failure::new(Exit::ChangesPending, "")),
            false => Ok(()),
        }
    })
}

async fn carry_out(api: &Api, plan: &Plan) -> Result<(), Failure> {
    for creation in &plan.create {
        let created = api.post(PATH, &creation.body).await;
        created.map_err(|failure| of_subscription(&creation.name, &failure))?;
        eprintln!("{} is created", creation.name);
    }
    for change in &plan.change {
        let path = format!("{PATH}/{}", segment(&change.name)?);
        let changed = api.change(Method::PUT, &path, Some(&change.body), Some(change.revision)).await;
        changed.map_err(|failure| of_subscription(&change.name, &failure))?;
        eprintln!("{} is changed", change.name);
    }
    for deletion in &plan.delete {
        let path = format!("{PATH}/{}", segment(&deletion.name)?);
        let deleted = api.change(Method::DELETE, &path, None, Some(deletion.revision)).await;
        deleted.map_err(|failure| of_subscription(&deletion.name, &failure))?;
        eprintln!("{} is deleted", deletion.name);
    }
    Ok(())
}

fn of_subscription(name: &str, failure: &Failure) -> Failure {
    Failure::new(
        failure.exit,
        format!("{name}: {}\nwhat comes after it in the plan was not done", failure.why),
    )
}

fn in_words(plan: &Plan) -> String {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(plan.create.iter().map(|creation| format!("+ create  {}", creation.name)));
    for change in &plan.change {
        lines.push(format!("~ change  {}", change.name));
        let shown = |value: &Value| match value {
            Value::Null => "nothing".to_owned(),
            value => table::printable(&value.to_string()),
        };
        lines.extend(change.fields.iter().map(|field| {
            let name = table::printable(&field.field);
            format!("    {name}: {} → {}", shown(&field.before), shown(&field.after))
        }));
    }
    lines.extend(plan.unchanged.iter().map(|name| format!("= keep    {name}")));
    lines.extend(plan.delete.iter().map(|deletion| format!("- delete  {}", deletion.name)));
    lines.push(format!(
        "{} to create, {} to change, {} to keep, {} to delete",
        plan.create.len(),
        plan.change.len(),
        plan.unchanged.len(),
        plan.delete.len()
    ));
    lines.join("\n")
}

fn in_json(plan: &Plan, applied: bool) -> Value {
    let create: Vec<&String> = plan.create.iter().map(|creation| &creation.name).collect();
    let change: Vec<Value> =
        plan.change.iter().map(|change| json!({"name": change.name, "fields": change.fields})).collect();
    let delete: Vec<&String> = plan.delete.iter().map(|deletion| &deletion.name).collect();
    json!({"create": create, "change": change, "unchanged": plan.unchanged, "delete": delete, "applied": applied})
}
