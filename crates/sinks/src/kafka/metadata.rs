//! The answer to a Metadata request: who the brokers are, and what they know of topics.
//!
//! ```text
//! throttle i32 (3+)
//! brokers [ node id i32, host string, port i32, rack string (1+) ]
//! cluster id string (2+)    controller i32 (1+)
//! topics  [ error i16, name string, id 16 bytes (10+), internal i8 (1+),
//!           partitions [ error i16, index i32, leader i32, epoch i32 (7+), replicas [i32], in sync [i32], offline [i32] (5+) ],
//!           allowed operations i32 (8+) ]
//! ```
//!
//! The number in brackets is the version from which on a field is there. From version 9 on it is flexible, and every
//! structure ends with tagged fields.

use std::ops::Range;

use super::wire::{ApiKey, Malformed, Reader, put_count, put_string};

/// The newest version that is understood here.
pub(super) const NEWEST_VERSION: i16 = 12;

/// The bit of ACL operation `WRITE` among a topic's allowed operations.
const WRITE: i32 = 1 << 4;

/// A Metadata response's body, read.
#[derive(Debug)]
pub(super) struct Metadata<'a> {
    version: i16,
    /// Where the array of brokers stands.
    brokers_at: Range<usize>,
    pub(super) brokers: Vec<Broker<'a>>,
    pub(super) topics: Vec<Topic<'a>>,
    /// Where each error code stands, of topics and partitions.
    error_codes_at: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broker<'a> {
    node_id: i32,
    pub(super) host: &'a str,
    pub(super) port: u16,
    rack: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Topic<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) error: i16,
    pub(super) partitions: usize,
    /// Whether we may produce to it; none where the broker does not say.
    pub(super) may_write: Option<bool>,
}

impl<'a> Metadata<'a> {
    /// Reads the body of a response; with its header's tagged fields, where the version has them.
    pub(super) fn read(version: i16, body: &'a [u8]) -> Result<Self, Malformed> {
        if !(0..=NEWEST_VERSION).contains(&version) {
            return Err(Malformed("its version is unknown"));
        }
        let mut reader = Reader::new(body, ApiKey::Metadata.is_flexible(version));
        reader.tags()?;
        if version >= 3 {
            reader.i32()?;
        }
        let start = reader.position();
        let count = reader.count()?;
        let mut brokers = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            brokers.push(Broker::read(version, &mut reader)?);
        }
        let brokers_at = start..reader.position();
        if version >= 2 {
            reader.string()?;
        }
        if version >= 1 {
            reader.i32()?;
        }
        let count = reader.count()?;
        let mut topics = Vec::with_capacity(count.min(64));
        let mut error_codes_at = Vec::new();
        for _ in 0..count {
            topics.push(Topic::read(version, &mut reader, &mut error_codes_at)?);
        }
        Ok(Self { version, brokers_at, brokers, topics, error_codes_at })
    }

    /// The same body with other addresses for the brokers, one for each, and with every error code that `known` does not
    /// take replaced by -1, "unknown".
    pub(super) fn rewrite(
        &self,
        body: &[u8],
        addresses: &[(&str, u16)],
        known: impl Fn(i16) -> bool,
    ) -> Vec<u8> {
        assert_eq!(addresses.len(), self.brokers.len(), "every broker has an address");
        let flexible = ApiKey::Metadata.is_flexible(self.version);
        let mut out = Vec::with_capacity(body.len() + 16 * addresses.len());
        out.extend_from_slice(&body[..self.brokers_at.start]);
        put_count(&mut out, self.brokers.len(), flexible);
        for (broker, (host, port)) in self.brokers.iter().zip(addresses) {
            out.extend_from_slice(&broker.node_id.to_be_bytes());
            put_string(&mut out, Some(host), flexible);
            out.extend_from_slice(&i32::from(*port).to_be_bytes());
            if self.version >= 1 {
                put_string(&mut out, broker.rack, flexible);
            }
            if flexible {
                out.push(0);
            }
        }
        let brokers_end = out.len();
        out.extend_from_slice(&body[self.brokers_at.end..]);
        for at in &self.error_codes_at {
            let at = at - self.brokers_at.end + brokers_end;
            if !known(i16::from_be_bytes([out[at], out[at + 1]])) {
                out[at..at + 2].copy_from_slice(&(-1i16).to_be_bytes());
            }
        }
        out
    }
}

impl<'a> Broker<'a> {
    fn read(version: i16, reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let node_id = reader.i32()?;
        let host = reader.string()?.ok_or(Malformed("a broker has no host"))?;
        let port = u16::try_from(reader.i32()?).map_err(|_| Malformed("a broker's port is none"))?;
        let rack = if version >= 1 { reader.string()? } else { None };
        reader.tags()?;
        Ok(Self { node_id, host, port, rack })
    }
}

impl<'a> Topic<'a> {
    fn read(
        version: i16,
        reader: &mut Reader<'a>,
        error_codes_at: &mut Vec<usize>,
    ) -> Result<Self, Malformed> {
        error_codes_at.push(reader.position());
        let error = reader.i16()?;
        let name = reader.string()?;
        if version >= 10 {
            reader.take(16)?;
        }
        if version >= 1 {
            reader.i8()?;
        }
        let partitions = reader.count()?;
        for _ in 0..partitions {
            error_codes_at.push(reader.position());
            reader.i16()?;
            let numbers = if version >= 7 { 3 } else { 2 };
            reader.take(numbers * 4)?;
            let arrays = if version >= 5 { 3 } else { 2 };
            for _ in 0..arrays {
                reader.numbers()?;
            }
            reader.tags()?;
        }
        let operations = if version >= 8 { Some(reader.i32()?) } else { None };
        reader.tags()?;
        // The smallest number stands for "not asked for".
        let may_write = operations.filter(|set| *set != i32::MIN).map(|set| set & WRITE != 0);
        Ok(Self { name, error, partitions, may_write })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A response of one broker and one topic with one partition.
    pub(in super::super) fn body(version: i16, host: &str, error: i16, operations: i32) -> Vec<u8> {
        let flexible = version >= 9;
        let tags = |out: &mut Vec<u8>| out.extend_from_slice(if flexible { &[1, 9, 2, 0, 0] } else { &[] });
        let mut out = Vec::new();
        tags(&mut out);
        if version >= 3 {
            out.extend_from_slice(&0i32.to_be_bytes());
        }
        put_count(&mut out, 1, flexible);
        out.extend_from_slice(&7i32.to_be_bytes());
        put_string(&mut out, Some(host), flexible);
        out.extend_from_slice(&9092i32.to_be_bytes());
        if version >= 1 {
            put_string(&mut out, Some("rack"), flexible);
        }
        tags(&mut out);
        if version >= 2 {
            put_string(&mut out, Some("cluster"), flexible);
        }
        if version >= 1 {
            out.extend_from_slice(&7i32.to_be_bytes());
        }
        put_count(&mut out, 1, flexible);
        out.extend_from_slice(&error.to_be_bytes());
        put_string(&mut out, Some("orders"), flexible);
        if version >= 10 {
            out.extend_from_slice(&[7; 16]);
        }
        if version >= 1 {
            out.push(0);
        }
        put_count(&mut out, 1, flexible);
        out.extend_from_slice(&error.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        if version >= 7 {
            out.extend_from_slice(&[0; 4]);
        }
        for replicas in [2, 1, 0].into_iter().take(if version >= 5 { 3 } else { 2 }) {
            put_count(&mut out, replicas, flexible);
            out.resize(out.len() + 4 * replicas, 0);
        }
        tags(&mut out);
        if version >= 8 {
            out.extend_from_slice(&operations.to_be_bytes());
        }
        tags(&mut out);
        if (8..=10).contains(&version) {
            out.extend_from_slice(&i32::MIN.to_be_bytes());
        }
        tags(&mut out);
        out
    }

    #[test]
    fn every_version_is_read_and_rewritten() {
        for version in 0..=NEWEST_VERSION {
            let body = body(version, "broker.example", 3, 1 << 4);
            let metadata = Metadata::read(version, &body).unwrap();
            assert_eq!((metadata.brokers[0].host, metadata.brokers[0].port), ("broker.example", 9092));
            let topic = metadata.topics[0];
            assert_eq!((topic.name, topic.error, topic.partitions), (Some("orders"), 3, 1), "{version}");
            assert_eq!(topic.may_write, (version >= 8).then_some(true), "{version}");

            let rewritten = metadata.rewrite(&body, &[("127.0.0.1", 40_000)], |_| true);
            let read = Metadata::read(version, &rewritten).unwrap();
            assert_eq!(
                read.brokers,
                [Broker { host: "127.0.0.1", port: 40_000, ..metadata.brokers[0] }],
                "{version}"
            );
            assert_eq!(read.topics, metadata.topics, "{version}");
            assert_eq!(body[metadata.brokers_at.end..], rewritten[read.brokers_at.end..], "{version}");
        }
    }

    #[test]
    fn error_codes_that_nobody_knows_become_unknown() {
        for version in 0..=NEWEST_VERSION {
            let body = body(version, "b", 4242, 0);
            let metadata = Metadata::read(version, &body).unwrap();
            let rewritten = metadata.rewrite(&body, &[("127.0.0.1", 1)], |code| code < 130);
            let read = Metadata::read(version, &rewritten).unwrap();
            assert_eq!(read.topics[0].error, -1, "{version}");
            assert!(!rewritten.windows(2).any(|code| code == 4242i16.to_be_bytes()), "the partition's too");
        }
    }

    #[test]
    fn what_may_be_written_is_told_only_where_the_broker_says() {
        let read = |operations| {
            let body = body(8, "b", 0, operations);
            Metadata::read(8, &body).unwrap().topics[0].may_write
        };
        assert_eq!((read(i32::MIN), read(1 << 3), read(1 << 4 | 1 << 3)), (None, Some(false), Some(true)));
    }

    #[test]
    fn every_cut_is_refused_and_no_flip_makes_it_panic() {
        for version in [0, 5, 8, 12] {
            let body = body(version, "broker.example", 0, 0);
            let end = Metadata::read(version, &body).unwrap().error_codes_at[1];
            for cut in 0..end {
                assert!(Metadata::read(version, &body[..cut]).is_err(), "{version}: {cut}");
            }
            for at in 0..body.len() {
                let mut flipped = body.clone();
                flipped[at] ^= 0xff;
                if let Ok(metadata) = Metadata::read(version, &flipped) {
                    let addresses = vec![("127.0.0.1", 1); metadata.brokers.len()];
                    metadata.rewrite(&flipped, &addresses, |_| false);
                }
            }
        }
        assert!(Metadata::read(13, &[0; 64]).is_err());
    }
}
