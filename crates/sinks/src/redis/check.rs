//! Looks whether what is delivered will be taken. Changes nothing.
//!
//! | asked | by |
//! |---|---|
//! | can we log in, to the node that has the stream | connecting |
//! | is a fixed stream's key a stream or free; also that of dead letters | `TYPE` |
//! | may we do all that deliveries do there, and does the server take writes | queueing it in a transaction that is discarded |
//! | is a stream ours whose ids are made from offsets | its owner (`owned/ledger.rs`) |
//! | does the server keep what it has acknowledged | `CONFIG GET appendonly`; a warning in the log if not |
//!
//! Redis judges rights, memory, roles and slots when a command is queued, so a transaction that is never carried out tells
//! as much as one that is, with any version that has users, and needs no right that deliveries do not need.

use redis::{Cmd, Pipeline, Value};
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, Unanswered};
use super::owned::{Ledger, OwnedStreams};
use super::publish::Publisher;
use super::reply::{self, ServerWord};
use crate::CheckError;

/// Checks a target by what is the same for all events.
pub(super) async fn check(
    publisher: &Publisher,
    owned: Option<&OwnedStreams>,
    deadline: Instant,
) -> Result<(), CheckError> {
    let template = &publisher.template;
    let stream = template.fixed_stream();
    let all = async {
        let connection = connect(publisher, stream.unwrap_or_default(), deadline).await?;
        warn_unless_durable(&connection, deadline).await?;
        if let Some(stream) = stream {
            check_type(&connection, stream, deadline).await?;
            let commands = commands_of(publisher, owned, stream);
            check_rights(&connection, commands, deadline).await?;
            if let Some(owned) = owned {
                check_owner(&connection, owned, stream, deadline).await?;
            }
        }
        if let Some(stream) = template.fixed_dead_letter_stream() {
            let connection = connect(publisher, stream, deadline).await?;
            check_type(&connection, stream, deadline).await?;
            check_rights(&connection, vec![append(stream)], deadline).await?;
        }
        Ok(())
    };
    timeout_at(deadline, all)
        .await
        .unwrap_or_else(|_elapsed| Err(CheckError::Unreachable("no answer in time".to_owned())))
}

async fn connect(publisher: &Publisher, stream: &str, deadline: Instant) -> Result<Connection, CheckError> {
    let node = publisher.nodes.node_of(publisher.slot(stream), deadline).await?;
    Ok(publisher.nodes.fresh_connection(&node).await?)
}

async fn check_type(connection: &Connection, stream: &str, deadline: Instant) -> Result<(), CheckError> {
    let mut command = redis::cmd("TYPE");
    command.arg(stream);
    match connection.ask_one(command, deadline).await.map_err(unreachable)? {
        Ok(answer) => match reply::text(&answer) {
            Some("stream" | "none") | None => Ok(()),
            Some(other) => Err(CheckError::Mismatch(format!("{stream:?} is a {other} and no stream"))),
        },
        // A right that deliveries do not need.
        Err(word) if word.code() == "NOPERM" => Ok(()),
        Err(word) => Err(refused(&word)),
    }
}

/// All that deliveries do with a stream.
fn commands_of(publisher: &Publisher, owned: Option<&OwnedStreams>, stream: &str) -> Vec<Cmd> {
    let mut commands = vec![append(stream)];
    if let Some(group) = &publisher.group {
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(stream).arg(group).arg("0").arg("MKSTREAM");
        commands.push(command);
    }
    if let Some((owned, key)) = owned.zip(Ledger::key(stream)) {
        let mut info = redis::cmd("XINFO");
        info.arg("STREAM").arg(stream);
        let mut range = redis::cmd("XRANGE");
        range.arg(stream).arg("0").arg("0");
        let ledger = owned.ledger();
        commands.extend([
            info,
            range,
            ledger.claim(&key),
            Ledger::read_owner(&key),
            Ledger::note_passed(&key, [0]),
            Ledger::no_longer_passed(&key, [0]),
        ]);
    }
    commands
}

fn append(stream: &str) -> Cmd {
    let mut command = redis::cmd("XADD");
    command.arg(stream).arg("*").arg("eventrelay").arg("");
    command
}

async fn check_rights(
    connection: &Connection,
    commands: Vec<Cmd>,
    deadline: Instant,
) -> Result<(), CheckError> {
    // By itself, for where it is refused the commands behind it would be carried out.
    let begun = connection.ask_one(redis::cmd("MULTI"), deadline).await.map_err(unreachable)?;
    begun.map_err(|word| refused(&word))?;
    let mut pipeline = Pipeline::with_capacity(commands.len() + 1);
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline.add_command(redis::cmd("DISCARD"));
    for answer in connection.ask(&pipeline, 0, deadline).await.map_err(unreachable)? {
        if let Value::ServerError(error) = answer {
            return Err(refused(&ServerWord::of(&error)));
        }
    }
    Ok(())
}

async fn check_owner(
    connection: &Connection,
    owned: &OwnedStreams,
    stream: &str,
    deadline: Instant,
) -> Result<(), CheckError> {
    let Some(key) = Ledger::key(stream) else {
        let why = format!("with braces as in {stream:?}, no key beside the stream is in its slot");
        return Err(CheckError::Mismatch(why));
    };
    let owner = connection.ask_one(Ledger::read_owner(&key), deadline).await.map_err(unreachable)?;
    let owner = owner.map_err(|word| refused(&word))?;
    let mut exists = redis::cmd("XLEN");
    exists.arg(stream);
    let length = match connection.ask_one(exists, deadline).await.map_err(unreachable)? {
        Ok(length) => reply::number(&length).unwrap_or(0),
        Err(word) if word.code() == "NOPERM" => 0,
        Err(word) => return Err(refused(&word)),
    };
    let owner = reply::text(&owner);
    match owned.ledger().refusal(stream, owner) {
        Some(why) if owner.is_some() || length > 0 => Err(CheckError::Mismatch(why)),
        _ => Ok(()),
    }
}

/// Says in the log when the server does not keep what it has acknowledged.
async fn warn_unless_durable(connection: &Connection, deadline: Instant) -> Result<(), CheckError> {
    for (setting, safe) in [("appendonly", "yes"), ("appendfsync", "always")] {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg(setting);
        // Many may not ask, and then it stays unknown.
        let Ok(answer) = connection.ask_one(command, deadline).await.map_err(unreachable)? else {
            return Ok(());
        };
        let value = reply::items(&answer).get(1).and_then(reply::text);
        if let Some(value) = value.filter(|value| *value != safe) {
            tracing::warn!(
                setting,
                value,
                "so it is in Redis: a crash there can lose entries that count as delivered (safe is {safe:?})"
            );
            return Ok(());
        }
    }
    Ok(())
}

fn unreachable(unanswered: Unanswered) -> CheckError {
    CheckError::Unreachable(unanswered.0)
}

fn refused(word: &ServerWord) -> CheckError {
    match word.code() {
        "NOPERM" | "NOAUTH" | "WRONGPASS" => CheckError::Forbidden(word.to_string()),
        "WRONGTYPE" => CheckError::Mismatch(word.to_string()),
        "ERR" => CheckError::Mismatch(word.to_string()),
        _ => CheckError::Unreachable(word.to_string()),
    }
}
