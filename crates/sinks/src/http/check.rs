//! Looks whether the target can be reached, without sending it an event.
//!
//! It is connected to, with TLS where the URL asks for it; a token is fetched where one is needed; and where the settings
//! name a path for it, that is asked for with `GET` and our credentials.

use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use tokio::time::Instant;

use super::HttpSink;
use super::address::Address;
use super::settings::{KIND, Settings};
use crate::http_client::{Answer, OutgoingRequest, Target};
use crate::{CheckError, SinkError, settings};

/// What is asked for, where the settings name it.
pub(super) fn target(settings: &Settings, address: &Address) -> Result<Option<Target>, SinkError> {
    let Some(path) = &settings.check_path else { return Ok(None) };
    let why = "must begin with `/` and be percent-encoded";
    address.at(path.expose()).map(Some).ok_or_else(|| settings::refused(KIND, "check_path", why))
}

pub(super) async fn check(sink: &HttpSink) -> Result<(), CheckError> {
    let deadline = Instant::now() + sink.timeout;
    let connected = sink.pool.connector().connect().await;
    connected.map_err(|error| CheckError::Unreachable(error.to_string()))?;
    let credential = sink.authorization.credential(deadline).await.map_err(|error| match error.refused {
        true => CheckError::Forbidden(error.to_string()),
        false => CheckError::Unreachable(error.to_string()),
    })?;
    let Some(target) = &sink.check_target else { return Ok(()) };
    let mut headers = sink.headers.fixed().clone();
    if let Some(header) = credential.header {
        headers.insert(AUTHORIZATION, header);
    }
    let request =
        OutgoingRequest { method: Method::GET, target: target.clone(), headers, body: bytes::Bytes::new() };
    let answer = sink.pool.send(&request, sink.limits(deadline)).await.map_err(|error| {
        CheckError::Unreachable(error.describe(sink.pool.connector().endpoint(), sink.timeout))
    })?;
    judge(sink, &answer)
}

fn judge(sink: &HttpSink, answer: &Answer) -> Result<(), CheckError> {
    let status = answer.status();
    let why = format!("{} answered {status} to the check", sink.pool.connector().endpoint());
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(CheckError::Forbidden(why)),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(CheckError::Missing(why)),
        StatusCode::TOO_MANY_REQUESTS => Err(CheckError::Unreachable(why)),
        status if status.is_server_error() => Err(CheckError::Unreachable(why)),
        _ => Err(CheckError::Mismatch(why)),
    }
}
