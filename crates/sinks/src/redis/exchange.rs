//! Sends a transaction to the server that it belongs to, wherever that has gone.

use tokio::time::{Instant, timeout_at};

use super::nodes::Nodes;
use super::reply::{Meaning, ServerWord};
use super::transaction::{Executed, Framing, Transaction};
use crate::connect_failure::ConnectFailure;

/// How often a cluster may send us on before we ask it anew, at the next try.
const MAX_REDIRECTIONS: usize = 5;

/// A way to the servers.
pub(super) struct Exchange<'a> {
    pub(super) nodes: &'a Nodes,
    pub(super) replicas: u8,
    pub(super) deadline: Instant,
}

impl Exchange<'_> {
    /// Sends a transaction about keys of one slot. `build` makes it, again for each redirection.
    ///
    /// The error is why nothing is known of what was carried out, or why nothing was. A connection that leads to a server which
    /// takes no writes, or gives no answer, is not used again. Safe to drop at any await, which counts as no answer.
    pub(super) async fn run(&self, slot: u16, build: impl Fn() -> Transaction) -> Result<Executed, String> {
        let mut sent_on: Option<(String, bool)> = None;
        for _ in 0..=MAX_REDIRECTIONS {
            let found = async {
                let node = match &sent_on {
                    Some((address, _)) => self.nodes.node_at(address)?,
                    None => self.nodes.node_of(slot, self.deadline).await?,
                };
                let connection = self.nodes.connection(&node).await?;
                Ok((node, connection))
            };
            let (node, connection) = match timeout_at(self.deadline, found).await {
                Ok(Ok(found)) => found,
                Ok(Err::<_, ConnectFailure>(failure)) => {
                    return Err(failure.to_string());
                }
                Err(_elapsed) => {
                    return Err(format!("{} could not be connected to in time", self.nodes.target()));
                }
            };
            let asking = sent_on.as_ref().is_some_and(|(_, once)| *once);
            let suspect = node.suspect(&connection);
            let framing = Framing { asking, replicas: self.replicas };
            let executed = match build().run(&connection, framing, self.deadline).await {
                Ok(executed) => executed,
                Err(unanswered) => {
                    self.nodes.slots_have_moved();
                    return Err(unanswered.to_string());
                }
            };
            match verdict(&executed) {
                Verdict::Answered => {
                    suspect.acquit();
                    return Ok(executed);
                }
                Verdict::WrongServer => {
                    self.nodes.slots_have_moved();
                    return Ok(executed);
                }
                Verdict::Elsewhere { address, once } => {
                    suspect.acquit();
                    if !once {
                        self.nodes.slots_have_moved();
                    }
                    sent_on = Some((address, once));
                }
            }
        }
        Err("the nodes of the cluster send us from one to the other".to_owned())
    }
}

enum Verdict {
    Answered,
    /// It takes no writes, or does not know us any more.
    WrongServer,
    Elsewhere {
        address: String,
        once: bool,
    },
}

/// What an answer says of the server that gave it.
fn verdict(executed: &Executed) -> Verdict {
    let mut verdict = Verdict::Answered;
    let mut judge = |word: &ServerWord| match word.meaning() {
        Meaning::Elsewhere { address, once } => verdict = Verdict::Elsewhere { address, once },
        Meaning::Unavailable { reconnect: true } => verdict = Verdict::WrongServer,
        _ => {}
    };
    match executed {
        Executed::TooFewReplicas(_) => {}
        Executed::Discarded { refused, word } => {
            judge(word);
            refused.iter().take(1).for_each(|(_, word)| judge(word));
        }
        // Only if it is about all of them: what was carried out must not be sent again.
        Executed::Done(answers) if answers.iter().all(Result::is_err) => {
            answers.iter().take(1).filter_map(|answer| answer.as_ref().err()).for_each(judge);
        }
        Executed::Done(_) => {}
    }
    verdict
}
