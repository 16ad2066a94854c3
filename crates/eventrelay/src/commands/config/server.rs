//! `eventrelay config show` and `eventrelay config validate`: what a running server goes by, and what it says of a file.

use serde::Deserialize;
use serde_json::Value;

use crate::arguments::{ApiArguments, ValidateArguments};
use crate::client::{Api, parse};
use crate::exit::Failure;
use crate::{document, output, stdout, table};

pub(super) async fn show(arguments: &ApiArguments) -> Result<(), Failure> {
    let config = Api::new(&arguments.server)?.get("/v1/config").await?;
    output::thing(&config, arguments.json)
}

/// A file that could not be used ends as `config check` does.
pub(super) async fn validate(arguments: &ValidateArguments) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Verdict {
        valid: bool,
        problems: Vec<Value>,
    }
    let text = document::read_text(&arguments.file)?;
    let answer = Api::new(&arguments.api.server)?.post_toml("/v1/config/validate", text).await?;
    let verdict: Verdict = parse(&answer)?;
    if arguments.api.json {
        output::json(&answer)?;
    } else if verdict.valid {
        stdout::answer("The configuration is valid.")?;
    } else {
        stdout::answer(&table::list(&[("KEY", "/key"), ("PROBLEM", "/message")], &verdict.problems))?;
    }
    if verdict.valid { Ok(()) } else { Err(Failure::usage("the configuration is not valid")) }
}
