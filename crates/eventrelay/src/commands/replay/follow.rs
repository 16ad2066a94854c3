//! Following a replay or a redrive to its end, with a bar where a person watches. It goes on without this command.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use crate::arguments::FollowArguments;
use crate::client::{Api, parse, segment};
use crate::exit::{Exit, Failure};
use crate::{output, progress};

/// Between two looks; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is looked at.
#[derive(Deserialize)]
struct Replay {
    id: u64,
    subscription: String,
    kind: String,
    state: String,
    start_offset: u64,
    next_offset: u64,
    end_offset: u64,
    delivered: u64,
}

impl Replay {
    fn is_running(&self) -> bool {
        self.state == "running"
    }
}

/// What became of something that was just begun: to its end, unless it is to go on alone.
pub(crate) async fn begun(
    api: &Api,
    begun: Bytes,
    follow: FollowArguments,
    as_json: bool,
) -> Result<(), Failure> {
    if follow.detach {
        return output::document(&begun, as_json, in_words);
    }
    to_the_end(api, begun, as_json).await
}

/// Follows from what was shown first, and shows how it ended.
pub(crate) async fn to_the_end(api: &Api, first: Bytes, as_json: bool) -> Result<(), Failure> {
    let mut shown = first;
    let mut replay: Replay = parse(&shown)?;
    let subscription = format!("/v1/subscriptions/{}", segment(&replay.subscription)?);
    let path = format!("{subscription}/replays/{}", replay.id);
    if replay.is_running() {
        warn_of_standstill(api, &subscription).await?;
    }
    let total = replay.end_offset.saturating_sub(replay.start_offset);
    let bar = progress::offsets(format!("{} {}", replay.kind, replay.id), total);
    let mut pause = FIRST_PAUSE;
    while replay.is_running() {
        bar.set_position(replay.next_offset.saturating_sub(replay.start_offset));
        bar.set_message(format!("{} delivered", replay.delivered));
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        shown = api.get(&path).await?;
        replay = parse(&shown)?;
    }
    bar.finish_and_clear();
    output::document(&shown, as_json, in_words)?;
    match replay.state.as_str() {
        "done" => Ok(()),
        state => Err(Failure::new(Exit::Unsuccessful, format!("the {} is {state}", replay.kind))),
    }
}

/// One that stands still could be followed for ever without a word.
async fn warn_of_standstill(api: &Api, subscription: &str) -> Result<(), Failure> {
    let shown: Value = parse(&api.get(subscription).await?)?;
    match shown["status"].as_str() {
        Some("running") | None => {}
        Some(status) => eprintln!("{} is {status}: nothing is delivered until it is resumed", shown["name"]),
    }
    Ok(())
}

/// How far it has come.
pub(super) fn in_words(replay: &Value) -> String {
    let text = |name: &str| replay[name].as_str().unwrap_or("-").to_owned();
    let mut words = format!(
        "{} {} of {} is {}: {} delivered, {} left to retries, {} refused, {} no longer in the log",
        text("kind"),
        replay["id"],
        text("subscription"),
        text("state"),
        replay["delivered"],
        replay["deferred"],
        replay["refused"],
        replay["lost"]
    );
    if let Some(reason) = replay["state_reason"].as_str() {
        words.push_str(": ");
        words.push_str(&crate::table::printable(reason));
    }
    words
}
