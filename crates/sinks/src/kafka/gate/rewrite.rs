//! What of a broker's answer is passed on to librdkafka.
//!
//! | answer | what is changed |
//! |---|---|
//! | ApiVersions | the newest version of each API is at most the newest that is understood here |
//! | Metadata | a broker's address becomes that of the gate's listener for it |
//! | all | an error code that librdkafka's binding has no name for becomes -1, "unknown" |
//!
//! Produce ends at version 8, since later ones may name brokers to go to in tagged fields. An unknown error code must not
//! get through: the binding makes a Rust enum of it, and an enum with a value that it does not have is undefined behaviour.

use rdkafka::types::RDKafkaRespErr;

use crate::kafka::metadata::{self, Metadata};
use crate::kafka::wire::{ApiKey, Malformed, RESPONSE_HEADER_BYTES, Reader};

/// The APIs that librdkafka may use here, each with the newest version.
const APIS: [(ApiKey, i16); 4] = [
    (ApiKey::Produce, 8),
    (ApiKey::Metadata, metadata::NEWEST_VERSION),
    (ApiKey::ApiVersions, 3),
    (ApiKey::InitProducerId, 4),
];

const UNSUPPORTED_VERSION: i16 = 35;

/// A request whose answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) correlation: i32,
    pub(super) api: ApiKey,
    pub(super) version: i16,
}

/// The API of a request, if it may pass.
pub(super) fn admit(key: i16, version: i16) -> Option<ApiKey> {
    let api = ApiKey::of_key(key)?;
    let (_, newest) = APIS.into_iter().find(|(known, _)| *known == api)?;
    (0..=newest).contains(&version).then_some(api)
}

/// Changes a response frame (without its length) as it must be. `local` gives the port of the listener for a broker.
/// Gives the error code of a Produce response; 0 is success.
///
/// # Errors
/// When it is not an answer to `pending`, or a broker cannot be given a listener.
pub(super) fn rewrite<E: From<Malformed>>(
    frame: &mut Vec<u8>,
    pending: Pending,
    local: impl FnOnce(&[(&str, u16)]) -> Result<Vec<u16>, E>,
) -> Result<Option<i16>, E> {
    if frame[..RESPONSE_HEADER_BYTES] != pending.correlation.to_be_bytes() {
        return Err(Malformed("it belongs to another request").into());
    }
    match pending.api {
        ApiKey::ApiVersions => limit_versions(frame, pending.version)?,
        ApiKey::Produce => return Ok(Some(produce_error(frame)?)),
        ApiKey::InitProducerId => {
            let flexible = pending.api.is_flexible(pending.version);
            let mut reader = Reader::new(&frame[RESPONSE_HEADER_BYTES..], flexible);
            reader.tags()?;
            reader.i32()?;
            let at = RESPONSE_HEADER_BYTES + reader.position();
            name_error(frame, at)?;
        }
        ApiKey::Metadata => {
            let body = &frame[RESPONSE_HEADER_BYTES..];
            let metadata = Metadata::read(pending.version, body)?;
            let brokers: Vec<_> = metadata.brokers.iter().map(|broker| (broker.host, broker.port)).collect();
            let ports = local(&brokers)?;
            let addresses: Vec<_> = ports.into_iter().map(|port| ("127.0.0.1", port)).collect();
            let rewritten = metadata.rewrite(body, &addresses, is_known);
            frame.truncate(RESPONSE_HEADER_BYTES);
            frame.extend_from_slice(&rewritten);
        }
        // `admit` lets none of these through.
        ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => {
            return Err(Malformed("it was not asked for").into());
        }
    }
    Ok(None)
}

/// ApiVersions: `error i16, [ key i16, oldest i16, newest i16 ], …`. Its header is never flexible.
fn limit_versions(frame: &mut [u8], version: i16) -> Result<(), Malformed> {
    let mut reader = Reader::new(&frame[RESPONSE_HEADER_BYTES..], ApiKey::ApiVersions.is_flexible(version));
    let error = reader.i16()?;
    let mut limits = Vec::new();
    // A broker that does not know the version asked for answers in version 0, and is asked again.
    if error != UNSUPPORTED_VERSION {
        for _ in 0..reader.count()? {
            let key = reader.i16()?;
            reader.i16()?;
            let at = RESPONSE_HEADER_BYTES + reader.position();
            let newest = reader.i16()?;
            reader.tags()?;
            if let Some((_, limit)) = APIS.iter().find(|(api, _)| api.key() == key) {
                limits.push((at, newest.min(*limit)));
            }
        }
    }
    for (at, newest) in limits {
        frame[at..at + 2].copy_from_slice(&newest.to_be_bytes());
    }
    name_error(frame, RESPONSE_HEADER_BYTES)?;
    Ok(())
}

/// Produce up to version 8: `[ topic string, [ partition i32, error i16, … ] ], …`. librdkafka sends one partition a request.
fn produce_error(frame: &mut [u8]) -> Result<i16, Malformed> {
    let mut reader = Reader::new(&frame[RESPONSE_HEADER_BYTES..], false);
    let topics = reader.count()?;
    reader.string()?;
    let partitions = reader.count()?;
    if (topics, partitions) != (1, 1) {
        return Err(Malformed("it is about another number of partitions than were sent"));
    }
    reader.i32()?;
    let at = RESPONSE_HEADER_BYTES + reader.position();
    name_error(frame, at)
}

/// Makes an error code that has no name "unknown". Gives what it is then.
fn name_error(frame: &mut [u8], at: usize) -> Result<i16, Malformed> {
    let code = frame.get_mut(at..at + 2).ok_or(Malformed("it ends too early"))?;
    let mut error = i16::from_be_bytes([code[0], code[1]]);
    if !is_known(error) {
        error = -1;
        code.copy_from_slice(&error.to_be_bytes());
    }
    Ok(error)
}

fn is_known(code: i16) -> bool {
    // Below -1 are librdkafka's own.
    code >= -1
        && RDKafkaRespErr::try_from(i32::from(code))
            .is_ok_and(|it| it != RDKafkaRespErr::RD_KAFKA_RESP_ERR_END_ALL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::metadata::tests::body;
    use crate::kafka::wire::{put_count, put_string};

    fn pending(api: ApiKey, version: i16) -> Pending {
        Pending { correlation: 7, api, version }
    }

    fn pass(body: &[u8], pending: Pending) -> Result<(Vec<u8>, Option<i16>), Malformed> {
        let mut frame = [&7i32.to_be_bytes(), body].concat();
        let error = rewrite(&mut frame, pending, |brokers| {
            assert_eq!(brokers, [("broker.example", 9092)]);
            Ok(vec![40_000])
        })?;
        Ok((frame.split_off(RESPONSE_HEADER_BYTES), error))
    }

    fn versions(version: i16, apis: &[(i16, i16, i16)]) -> Vec<u8> {
        let flexible = version >= 3;
        let mut out = 0i16.to_be_bytes().to_vec();
        put_count(&mut out, apis.len(), flexible);
        for (key, oldest, newest) in apis {
            for number in [key, oldest, newest] {
                out.extend_from_slice(&number.to_be_bytes());
            }
            out.extend_from_slice(if flexible { &[0] } else { &[] });
        }
        out.extend_from_slice(&[0; 5]);
        out
    }

    #[test]
    fn versions_end_at_what_is_understood_here() {
        for version in 0..=3 {
            let offered = versions(version, &[(0, 3, 13), (3, 0, 13), (18, 0, 4), (22, 0, 3), (71, 0, 1)]);
            let limited = versions(version, &[(0, 3, 8), (3, 0, 12), (18, 0, 3), (22, 0, 3), (71, 0, 1)]);
            assert_eq!(pass(&offered, pending(ApiKey::ApiVersions, version)), Ok((limited, None)));
        }
        let refused = [&UNSUPPORTED_VERSION.to_be_bytes()[..], &versions(0, &[(18, 0, 2)])[2..]].concat();
        assert_eq!(pass(&refused, pending(ApiKey::ApiVersions, 3)), Ok((refused, None)), "it is asked again");
    }

    #[test]
    fn only_what_a_producer_needs_is_admitted() {
        assert_eq!(admit(0, 8), Some(ApiKey::Produce));
        assert_eq!(admit(3, 12), Some(ApiKey::Metadata));
        for (key, version) in [(0, 9), (0, -1), (3, 13), (17, 1), (36, 0), (71, 0), (10, 0), (-1, 0), (19, 2)]
        {
            assert_eq!(admit(key, version), None, "{key} {version}");
        }
    }

    #[test]
    fn brokers_are_where_the_gate_listens() {
        for version in 0..=12 {
            let (passed, error) =
                pass(&body(version, "broker.example", 0, 0), pending(ApiKey::Metadata, version)).unwrap();
            assert_eq!((Metadata::read(version, &passed).unwrap().brokers[0].port, error), (40_000, None));
            assert!(!passed.windows(6).any(|part| part == b"broker"));
        }
    }

    #[test]
    fn errors_that_have_no_name_become_unknown() {
        let produce = |error: i16| {
            let mut body = Vec::new();
            put_count(&mut body, 1, false);
            put_string(&mut body, Some("orders"), false);
            put_count(&mut body, 1, false);
            body.extend_from_slice(&[0; 4]);
            body.extend_from_slice(&error.to_be_bytes());
            body
        };
        assert_eq!(pass(&produce(10), pending(ApiKey::Produce, 8)), Ok((produce(10), Some(10))));
        for unnamed in [98, 99, 101, 120, 130, 4242, i16::MAX, -2, -150, i16::MIN] {
            assert_eq!(
                pass(&produce(unnamed), pending(ApiKey::Produce, 8)),
                Ok((produce(-1), Some(-1))),
                "{unnamed}"
            );
        }
        let init = |error: i16| [&[0; 4][..], &error.to_be_bytes(), &[0; 10]].concat();
        assert_eq!(pass(&init(120), pending(ApiKey::InitProducerId, 1)), Ok((init(-1), None)));
        let flexible = |error| [&[0][..], &init(error)].concat();
        assert_eq!(pass(&flexible(120), pending(ApiKey::InitProducerId, 4)), Ok((flexible(-1), None)));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let other = Pending { correlation: 8, ..pending(ApiKey::Produce, 8) };
        assert!(pass(&[0; 32], other).is_err());
        for api in [ApiKey::Produce, ApiKey::Metadata, ApiKey::InitProducerId, ApiKey::ApiVersions] {
            assert!(pass(&[], pending(api, 3)).is_err(), "{api:?}");
        }
        assert!(pass(&[0; 32], pending(ApiKey::Produce, 8)).is_err(), "no partition");
    }
}
