//! What a check finds, before any event is delivered.

use eventrelay_sinks::CheckError;
use serde_json::json;

use crate::broker_events::within_patience;
use crate::stores::Store;

#[tokio::test]
async fn a_store_that_is_fit_is_found_so_and_left_as_it_was() {
    for store in Store::all() {
        for exactly_once in [true, false] {
            let sink = store.sink(&json!({"exactly_once": exactly_once}));
            assert_eq!(within_patience(sink.check()).await, Ok(()));
        }
        assert_eq!(store.objects().len(), 0);
        if let Store::Local(directory) = &store {
            assert!(!directory.path().join("archive").exists());
        }
    }
}

#[tokio::test]
async fn each_fault_is_told_from_the_others() {
    let Some(store) = Store::s3() else { return };
    for exactly_once in [true, false] {
        for (s3, kind, reason) in [
            (json!({"endpoint": "http://127.0.0.1:1"}), "cannot be reached", "cannot be connected to"),
            (json!({"secret_access_key": "canary"}), "does not let us in", "SignatureDoesNotMatch"),
            (json!({"access_key_id": "canary"}), "does not let us in", "403 Forbidden"),
            (json!({"bucket": "elsewhere"}), "lacks what is needed", "NoSuchBucket"),
        ] {
            // Asked for an object, this store does not say that it is the bucket that is missing.
            if !exactly_once && reason == "NoSuchBucket" {
                continue;
            }
            let sink = store.sink(&json!({"s3": s3, "exactly_once": exactly_once}));
            let error = within_patience(sink.check()).await.unwrap_err().to_string();
            assert!(error.contains(kind) && error.contains(reason), "{exactly_once}, {s3}: {error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_directory_must_be_one() {
    let store = Store::local();
    let Store::Local(directory) = &store else { unreachable!() };
    std::fs::write(directory.path().join("archive"), b"").unwrap();
    let error = store.sink(&json!({})).check().await.unwrap_err();
    assert!(matches!(&error, CheckError::Mismatch(why) if why.contains("is not a folder")), "{error}");
}
