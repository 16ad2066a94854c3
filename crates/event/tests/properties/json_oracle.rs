//! The JSON check against another: what we take, serde_json takes; what we refuse and it takes, we refuse on purpose.

use eventrelay_event::json::{JsonErrorKind, Limits, validate};
use proptest::prelude::*;
use serde_json::Value;

use crate::generate;

fn compare(text: &[u8]) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_slice::<Value>(text);
    match validate(text, &Limits::default()) {
        Ok(()) => prop_assert!(theirs.is_ok(), "we take {:?}: {:?}", String::from_utf8_lossy(text), theirs),
        Err(error) => {
            prop_assert!(error.position <= text.len());
            let stricter = matches!(
                error.kind,
                JsonErrorKind::TooDeep { .. }
                    | JsonErrorKind::Nul
                    | JsonErrorKind::NumberOutOfRange
                    | JsonErrorKind::DuplicateName
            );
            let why = format!("we refuse {:?}: {error}", String::from_utf8_lossy(text));
            prop_assert!(stricter || theirs.is_err(), "{}", why);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn generated_json_is_taken(text in generate::json_text()) {
        prop_assert_eq!(validate(text.as_bytes(), &Limits::default()), Ok(()));
        compare(text.as_bytes())?;
    }

    #[test]
    fn every_cut_is_judged_alike(text in generate::json_text()) {
        for length in 0..text.len() {
            compare(&text.as_bytes()[..length])?;
        }
    }

    #[test]
    fn every_change_of_a_byte_is_judged_alike(
        text in generate::json_text(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(&b"\"\\{}[],:-+.eE0u \n\x00\x1f\x7f\xff\xc0\xed"[..])],
        insert in any::<bool>(),
    ) {
        let mut text = text.into_bytes();
        let at = at.index(text.len());
        if insert {
            text.insert(at, byte);
        } else {
            text[at] = byte;
        }
        compare(&text)?;
    }

    #[test]
    fn json_like_soup_is_judged_alike(text in r#"([\[\]{},:"\\ ]|\\u[dD][89cC]00|"a"|1|-|0|\.|e|true|null|é){0,24}"#) {
        compare(text.as_bytes())?;
    }
}
