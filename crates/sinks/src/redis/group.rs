//! Moves a consumer group of the stream, as its workers' owner asks: they read on from there.
//!
//! The group that the settings name is made where it is missing, as with every append. Another one must be there: a misspelt
//! name would be a group that nobody reads.

use redis::Cmd;
use tokio::time::Instant;

use super::connection::{Connection, Unanswered};
use super::publish::Publisher;
use super::reply::ServerWord;
use crate::GroupError;
use crate::connect_failure::ConnectFailure;

/// Sets the position of a group; none: that of the settings. `$` is the stream's end.
pub(super) async fn set_position(
    publisher: &Publisher,
    group: Option<&str>,
    position: &str,
    deadline: Instant,
) -> Result<(), GroupError> {
    let stream = publisher.template.fixed_stream().ok_or(GroupError::Unsupported)?;
    let own = publisher.group.as_deref();
    let group = group.or(own).ok_or(GroupError::Unsupported)?;
    let node = publisher.nodes.node_of(publisher.slot(stream), deadline).await?;
    // Once in a while: a connection of its own, so that none has to be suspected.
    let connection = publisher.nodes.fresh_connection(&node).await?;
    let moved = xgroup(&connection, "SETID", stream, group, position, deadline).await?;
    match moved {
        Ok(()) => Ok(()),
        Err(word) if !is_missing(&word) => Err(failed(word)),
        Err(_) if own != Some(group) => Err(GroupError::NotFound { group: group.to_owned() }),
        Err(_) => xgroup(&connection, "CREATE", stream, group, position, deadline).await?.map_err(failed),
    }
}

async fn xgroup(
    connection: &Connection,
    action: &str,
    stream: &str,
    group: &str,
    position: &str,
    deadline: Instant,
) -> Result<Result<(), ServerWord>, GroupError> {
    let mut command: Cmd = redis::cmd("XGROUP");
    command.arg(action).arg(stream).arg(group).arg(position);
    if action == "CREATE" {
        command.arg("MKSTREAM");
    }
    let answer = connection.ask_one(command, deadline).await;
    let answer = answer.map_err(|Unanswered(why)| GroupError::Failed { why })?;
    Ok(answer.map(|_| ()))
}

/// Whether the group is not there, or not even its stream.
fn is_missing(word: &ServerWord) -> bool {
    word.code() == "NOGROUP" || word.to_string().contains("requires the key to exist")
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(word: ServerWord) -> GroupError {
    GroupError::Failed { why: word.to_string() }
}

impl From<ConnectFailure> for GroupError {
    fn from(failure: ConnectFailure) -> Self {
        Self::Failed { why: failure.to_string() }
    }
}
