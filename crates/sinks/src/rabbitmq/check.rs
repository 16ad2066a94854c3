//! Looks whether what is delivered will be taken. Changes nothing.
//!
//! | asked | by |
//! |---|---|
//! | can we log in to the virtual host | connecting |
//! | is a fixed exchange there; with the default exchange, a fixed queue | passive declarations |
//! | may we publish to it, with a fixed routing key also to that | a publish in a transaction that is rolled back |
//!
//! Whether a message is routed to a queue only the message itself can show.

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, ErrorKind, ExchangeKind};
use tokio::time::timeout;

use super::connection::Connection;
use crate::CheckError;
use crate::error::chain;

const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;

/// How often a publish is tried that was refused in a way which does not say why.
const TRIES: usize = 5;

/// Checks a target by what is the same for all events.
pub(super) async fn check(
    connection: &Connection,
    exchange: Option<&str>,
    routing_key: Option<&str>,
    limit: Duration,
) -> Result<(), CheckError> {
    if let Some(why) = connection.blocked() {
        return Err(CheckError::Unreachable(why));
    }
    let Some(exchange) = exchange else { return Ok(()) };
    let all = async {
        check_existence(connection, exchange, routing_key).await?;
        check_rights(connection, exchange, routing_key).await
    };
    timeout(limit, all).await.unwrap_or_else(|_elapsed| {
        Err(CheckError::Unreachable(format!("no answer within {} ms", limit.as_millis())))
    })
}

async fn check_existence(
    connection: &Connection,
    exchange: &str,
    routing_key: Option<&str>,
) -> Result<(), CheckError> {
    let channel = plain_channel(connection).await?;
    let missing = |what: &str, name: &str| CheckError::Missing(format!("there is no {what} {name:?}"));
    if !exchange.is_empty() {
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let name = short(exchange)?;
        let declared =
            channel.exchange_declare(name, ExchangeKind::Direct, passive, FieldTable::default()).await;
        return declared.map_err(|error| match code(&error) {
            Some(NOT_FOUND) => missing("exchange", exchange),
            _ => refused(&error),
        });
    }
    let Some(queue) = routing_key else { return Ok(()) };
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare(short(queue)?, passive, FieldTable::default()).await;
    declared.map(|_| ()).map_err(|error| match code(&error) {
        Some(NOT_FOUND) => missing("queue", queue),
        _ => refused(&error),
    })
}

/// Rights are looked at when a message is published, and messages in a transaction go nowhere before it is committed.
async fn check_rights(
    connection: &Connection,
    exchange: &str,
    routing_key: Option<&str>,
) -> Result<(), CheckError> {
    let (exchange, key) = (short(exchange)?, short(routing_key.unwrap_or_default())?);
    let mut published = publish_and_roll_back(connection, &exchange, &key).await?;
    for _ in 1..TRIES {
        if !published.as_ref().is_err_and(is_closed_channel) {
            break;
        }
        published = publish_and_roll_back(connection, &exchange, &key).await?;
    }
    published
        .map_err(|error| match code(&error) {
            Some(ACCESS_REFUSED) => CheckError::Forbidden(words(&error)),
            _ => refused(&error),
        })
        .or_else(|error| match error {
            // Of which routing keys there will be, nothing is known.
            CheckError::Forbidden(why) if routing_key.is_none() && why.contains("topic") => Ok(()),
            error => Err(error),
        })
}

/// The inner result is the broker's word.
async fn publish_and_roll_back(
    connection: &Connection,
    exchange: &ShortString,
    routing_key: &ShortString,
) -> Result<lapin::Result<()>, CheckError> {
    let channel = plain_channel(connection).await?;
    channel.tx_select().await.map_err(|error| refused(&error))?;
    let publish = async {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let published =
            channel.basic_publish(exchange.clone(), routing_key.clone(), options, b"", properties).await?;
        published.await?;
        channel.tx_rollback().await
    };
    Ok(publish.await)
}

/// The broker refused the publish before the rollback was sent, which then says that there is no channel, and not why.
fn is_closed_channel(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidChannelState(..))
}

async fn plain_channel(connection: &Connection) -> Result<Channel, CheckError> {
    connection.plain_channel().await.map_err(|error| refused(&error))
}

fn short(name: &str) -> Result<ShortString, CheckError> {
    ShortString::try_new(name).map_err(|error| CheckError::Mismatch(error.to_string()))
}

/// The broker's number for an error.
fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(answer) => Some(answer.get_id()),
        _ => None,
    }
}

fn words(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(answer) => answer.get_message().to_string(),
        _ => chain(error),
    }
}

fn refused(error: &lapin::Error) -> CheckError {
    match code(error) {
        Some(ACCESS_REFUSED) => CheckError::Forbidden(words(error)),
        Some(_) => CheckError::Mismatch(words(error)),
        None => CheckError::Unreachable(words(error)),
    }
}
