//! Request bodies, in each of their forms.

use bytes::Bytes;
use eventrelay_event::{EventLimits, Tenant, cloudevents, native};

use crate::accepted::{Way, answer};
use crate::drive;

#[test]
fn fuzz_native_bodies() {
    let (tenant, limits) = (Tenant::default(), EventLimits::default());
    drive("native", |input| -> Way {
        let body = Bytes::copy_from_slice(input);
        let one = native::decode(&body, &tenant, &limits);
        // An event alone and the same one in a list.
        if let Ok(one) = &one
            && !one.is_batch
        {
            let list = Bytes::from([b"[", input, b"]"].concat());
            let listed = native::decode(&list, &tenant, &limits).unwrap();
            assert_eq!((&listed.events, listed.is_batch), (&one.events, true));
        }
        answer(input, &one)
    });
}

#[test]
fn fuzz_native_lines() {
    let (tenant, limits) = (Tenant::default(), EventLimits::default());
    drive("lines", |input| -> Way {
        let lines = native::decode_lines(&Bytes::copy_from_slice(input), &tenant, &limits);
        // Together as each by itself.
        if let Ok(lines) = &lines {
            let mut events = lines.events.iter();
            for line in input.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
                let alone = native::decode(&Bytes::copy_from_slice(line), &tenant, &limits).unwrap();
                assert_eq!((alone.events.first(), alone.is_batch), (events.next(), false));
            }
            assert_eq!(events.next(), None);
        }
        answer(input, &lines)
    });
}

#[test]
fn fuzz_structured_cloudevents() {
    let (tenant, limits) = (Tenant::default(), EventLimits::default());
    drive("structured", |input| -> Way {
        let body = Bytes::copy_from_slice(input);
        let one = cloudevents::decode_structured(&body, &tenant, &limits);
        if let Ok(one) = &one {
            let list = Bytes::from([b"[", input, b"]"].concat());
            assert_eq!(cloudevents::decode_batch(&list, &tenant, &limits).unwrap().events, one.events);
            assert!(cloudevents::decode_batch(&body, &tenant, &limits).is_err());
        }
        answer(input, &one)
    });
}

#[test]
fn fuzz_batched_cloudevents() {
    let (tenant, limits) = (Tenant::default(), EventLimits::default());
    drive("batch", |input| -> Way {
        let body = Bytes::copy_from_slice(input);
        let batch = cloudevents::decode_batch(&body, &tenant, &limits);
        assert!(batch.is_err() || cloudevents::decode_structured(&body, &tenant, &limits).is_err());
        answer(input, &batch)
    });
}

/// An input is a message: lines of headers, an empty line, the body.
#[test]
fn fuzz_binary_cloudevents() {
    let (tenant, limits) = (Tenant::default(), EventLimits::default());
    drive("binary", |input| -> Way {
        let end = input.windows(2).position(|pair| pair == b"\n\n").unwrap_or(input.len());
        let body = input.get(end + 2..).unwrap_or_default();
        let headers: Vec<(&str, &[u8])> = input[..end]
            .split(|byte| *byte == b'\n')
            .filter_map(|line| {
                let colon = line.iter().position(|byte| *byte == b':')?;
                Some((std::str::from_utf8(&line[..colon]).ok()?, line[colon + 1..].trim_ascii()))
            })
            .collect();
        let content_type = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let content_type = content_type.and_then(|(_, value)| std::str::from_utf8(value).ok());
        let body = Bytes::copy_from_slice(body);
        let decoded = cloudevents::decode_binary(headers.into_iter(), content_type, body, &tenant, &limits);
        answer(input, &decoded)
    });
}
