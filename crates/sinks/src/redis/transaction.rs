//! Commands that are carried out together: `MULTI`, the commands, `EXEC`, in one write.
//!
//! One transaction of a batch is one write to Redis's append-only file, and one sync where it syncs always: several times as fast
//! as the same commands by themselves. It is no transaction as databases have it: a command that fails when it is its turn, such as
//! an append to what is no stream, leaves the others as they are. A command that Redis refuses before that, for rights or memory,
//! discards all of them.
//!
//! `WAIT` behind it counts the replicas that have what this connection wrote.

use std::time::Duration;

use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use super::connection::{Connection, Unanswered};
use super::reply::{self, ServerWord};

/// `ASKING`, `MULTI`, `EXEC` and `WAIT`.
const FRAME_COMMANDS: usize = 4;
/// What is left of the time for the answer to `WAIT` itself.
const WAIT_MARGIN: Duration = Duration::from_millis(100);

/// Commands, ready to be sent.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    commands: Vec<Cmd>,
    /// What answers may have beyond some hundred bytes each.
    pub(super) reply_bytes: u64,
}

/// What else is to be asked with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing {
    /// Another node has sent us here, for once.
    pub(super) asking: bool,
    /// How many replicas are to have it; 0 asks nothing.
    pub(super) replicas: u8,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Executed {
    /// It was carried out: the answer to each command.
    Done(Vec<Result<Value, ServerWord>>),
    /// It was carried out, by fewer servers than was asked for.
    TooFewReplicas(i64),
    /// Nothing was carried out.
    Discarded {
        /// The commands that were refused, by their places.
        refused: Vec<(usize, ServerWord)>,
        word: ServerWord,
    },
}

impl Transaction {
    pub(super) fn with_capacity(commands: usize) -> Self {
        Self { commands: Vec::with_capacity(commands), reply_bytes: 0 }
    }

    /// Adds a command. Its answer has the same place among the answers.
    pub(super) fn push(&mut self, command: Cmd) {
        self.commands.push(command);
    }

    /// Sends it. An error says that nothing is known of what was carried out.
    pub(super) async fn run(
        self,
        connection: &Connection,
        framing: Framing,
        deadline: Instant,
    ) -> Result<Executed, Unanswered> {
        let count = self.commands.len();
        let alone = count == 1;
        let mut pipeline = Pipeline::with_capacity(count + FRAME_COMMANDS);
        if framing.asking {
            pipeline.add_command(redis::cmd("ASKING"));
        }
        if !alone {
            pipeline.add_command(redis::cmd("MULTI"));
        }
        for command in self.commands {
            pipeline.add_command(command);
        }
        if !alone {
            pipeline.add_command(redis::cmd("EXEC"));
        }
        if framing.replicas > 0 {
            pipeline.add_command(wait(framing.replicas, deadline));
        }
        let mut answers = connection.ask(&pipeline, self.reply_bytes, deadline).await?;
        let replicas = if framing.replicas > 0 { answers.pop() } else { None };
        if framing.asking {
            answers.remove(0);
        }
        let executed = if alone { Executed::Done(results(answers)) } else { read(answers)? };
        let enough =
            |answer: &Value| reply::number(answer).is_some_and(|it| it >= i64::from(framing.replicas));
        Ok(match (executed, replicas) {
            (Executed::Done(_), Some(answer)) if !enough(&answer) => {
                Executed::TooFewReplicas(reply::number(&answer).unwrap_or(0))
            }
            (executed, _) => executed,
        })
    }
}

/// As long as there is time.
fn wait(replicas: u8, deadline: Instant) -> Cmd {
    let left = deadline.saturating_duration_since(Instant::now()).saturating_sub(WAIT_MARGIN);
    let mut command = redis::cmd("WAIT");
    // 0 would be for ever.
    command.arg(replicas).arg(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1));
    command
}

/// Reads the answers to `MULTI`, the commands and `EXEC`.
fn read(mut answers: Vec<Value>) -> Result<Executed, Unanswered> {
    let exec = answers.pop().unwrap_or(Value::Nil);
    let began = !matches!(answers.first(), Some(Value::ServerError(_)) | None);
    let queued = answers.into_iter().skip(1);
    if !began {
        // Without a transaction, each was carried out by itself.
        return Ok(Executed::Done(results(queued)));
    }
    match exec {
        Value::Array(answers) if answers.len() == queued.len() => Ok(Executed::Done(results(answers))),
        Value::ServerError(error) => {
            let refused = queued.enumerate().filter_map(|(place, answer)| match answer {
                Value::ServerError(error) => Some((place, ServerWord::of(&error))),
                _ => None,
            });
            Ok(Executed::Discarded { refused: refused.collect(), word: ServerWord::of(&error) })
        }
        _ => Err(Unanswered("Redis answered a transaction with something else than its results".to_owned())),
    }
}

fn results(answers: impl IntoIterator<Item = Value>) -> Vec<Result<Value, ServerWord>> {
    let result = |answer| match answer {
        Value::ServerError(error) => Err(ServerWord::of(&error)),
        value => Ok(value),
    };
    answers.into_iter().map(result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued() -> Value {
        Value::SimpleString("QUEUED".to_owned())
    }

    #[test]
    fn a_transaction_has_an_answer_for_each_command_or_is_not_understood() {
        let exec = Value::Array(vec![Value::Int(1), Value::Int(2)]);
        let executed = read(vec![Value::Okay, queued(), queued(), exec.clone()]).unwrap();
        assert!(
            matches!(executed, Executed::Done(answers) if answers == [Ok(Value::Int(1)), Ok(Value::Int(2))])
        );
        assert!(read(vec![Value::Okay, queued(), exec]).is_err());
        assert!(read(vec![Value::Okay, queued(), Value::Nil]).is_err());
        assert!(
            read(vec![])
                .is_ok_and(|executed| matches!(executed, Executed::Done(answers) if answers.is_empty()))
        );
    }

    #[test]
    fn waiting_has_an_end() {
        let shown = |deadline| String::from_utf8(wait(2, deadline).get_packed_command()).unwrap();
        assert!(shown(Instant::now()).contains("\r\n1\r\n"), "never 0, which is for ever");
    }
}
