//! `eventrelay seek`: moves a subscription's cursor.

use serde_json::json;

use crate::arguments::SeekArguments;
use crate::client::{Api, segment};
use crate::exit::Failure;
use crate::{commands, output};

/// Moves it, and says where deliveries go on.
pub(crate) fn run(arguments: &SeekArguments) -> Result<(), Failure> {
    let SeekArguments { name, to, api } = arguments;
    let path = format!("/v1/subscriptions/{}/seek", segment(name)?);
    commands::block_on(async {
        let answer = Api::new(&api.server)?.post(&path, &json!({"to": to.json()})).await?;
        output::document(&answer, api.json, |answer| {
            format!("{name} goes on with offset {}", answer["cursor"])
        })
    })
}
