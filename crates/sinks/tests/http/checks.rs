//! What a check finds without sending an event.

use eventrelay_sinks::CheckError;
use serde_json::json;

use crate::receiver::{Receiver, Reply};
use crate::sinks::sink;

#[tokio::test]
async fn a_target_that_listens_passes_and_hears_nothing() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    sink(&receiver, "/", &json!({})).check().await.unwrap();
    assert!(receiver.so_far().1.is_empty());
    let nobody = sink(&receiver, "/", &json!({}));
    drop(receiver);
    assert!(matches!(nobody.check().await, Err(CheckError::Unreachable(_))));
}

#[tokio::test]
async fn the_check_path_is_asked_for_with_our_credentials() {
    let receiver = Receiver::answering(|_, request| {
        if request.headers.get("authorization").is_none_or(|it| it != "Bearer t") {
            return Reply::status("403 Forbidden", "");
        }
        match request.line.as_str() {
            "GET /health?deep=1 HTTP/1.1" => Reply::ok(),
            "GET /busy HTTP/1.1" => Reply::status("503 Service Unavailable", ""),
            "GET /moved HTTP/1.1" => Reply::status("301 Moved Permanently", ""),
            _ => Reply::status("404 Not Found", ""),
        }
    })
    .await;
    let check = async |path: &str, token: &str| {
        let settings = json!({"check_path": path, "bearer_token": token});
        sink(&receiver, "/in/{key}", &settings).check().await
    };
    check("/health?deep=1", "t").await.unwrap();
    assert!(
        matches!(check("/health?deep=1", "x").await, Err(CheckError::Forbidden(why)) if why.contains("403"))
    );
    assert!(matches!(check("/none", "t").await, Err(CheckError::Missing(_))));
    assert!(matches!(check("/busy", "t").await, Err(CheckError::Unreachable(_))));
    assert!(matches!(check("/moved", "t").await, Err(CheckError::Mismatch(_))));
}

#[tokio::test]
async fn a_client_that_the_tokens_server_does_not_know_is_forbidden() {
    let receiver = Receiver::always(Reply::ok()).await;
    let tokens = Receiver::always(Reply::status("401 Unauthorized", "")).await;
    let oauth2 = json!({
        "token_url": format!("http://{}/", tokens.address), "client_id": "c", "client_secret": "s",
    });
    let checked = sink(&receiver, "/", &json!({"oauth2": oauth2})).check().await;
    assert!(matches!(checked, Err(CheckError::Forbidden(why)) if why.contains("401")));
}
