//! `eventrelay.v1.EventRelay/PublishStream`, as a pipeline's dialect.

use eventrelay_event::Tenant;
use tonic::Code;

use super::messages;
use super::pipeline::{Answered, Batch, Dialect};
use super::refusals::Refused;
use super::service::Shared;
use crate::proto::v1;
use crate::proto::v1::publish_result::Outcome;

/// Messages with numbers that rise, each with one or more events; one answer for all that are ready.
#[derive(Debug, Default)]
pub(crate) struct PublishStream {
    last_sequence: Option<u64>,
}

impl Dialect for PublishStream {
    type Request = v1::PublishStreamRequest;
    type Response = v1::PublishStreamResponse;

    fn read(&mut self, shared: &Shared, tenant: &Tenant, request: Self::Request) -> Result<Batch, Refused> {
        let sequence = request.sequence;
        if let Some(last) = self.last_sequence.replace(sequence)
            && sequence <= last
        {
            let message =
                format!("sequence {sequence} follows {last}; each must be higher than the one before");
            return Err(Refused::new(Code::InvalidArgument, "invalid_sequence", message));
        }
        Ok(Batch { sequence, events: shared.events(request.events, tenant) })
    }

    fn write(&self, answered: impl Iterator<Item = Answered>) -> Vec<Self::Response> {
        let result = |answered: Answered| v1::PublishResult {
            sequence: answered.sequence,
            outcome: Some(match answered.outcome {
                Ok(receipts) => Outcome::Stored(v1::Receipts { receipts: messages::receipts(&receipts) }),
                Err(refused) => Outcome::Refused(refused.into_refusal()),
            }),
        };
        vec![v1::PublishStreamResponse { results: answered.map(result).collect() }]
    }
}
