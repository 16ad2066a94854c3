//! What `check()` finds.

use eventrelay_sinks::CheckError;
use serde_json::{Value, json};

use crate::broker;
use crate::broker_events::within_patience;
use crate::components::Component;
use crate::management::Management;

async fn check(broker: &Component, settings: Value) -> Result<(), CheckError> {
    let sink = broker::sink(broker, &settings);
    let checked = within_patience(sink.check()).await;
    sink.close().await;
    checked
}

pub(crate) async fn what_is_there_is_found_and_what_is_not_is_named(
    broker: &Component,
    management: Management,
) {
    management.exchange_and_queue("checked", "checked", "#");
    for settings in [
        json!({"exchange": "checked"}),
        json!({"exchange": "checked", "routing_key": "k"}),
        json!({"exchange": "", "routing_key": "checked"}),
        json!({"exchange": "", "routing_key": "{type}"}),
        json!({"exchange": "{type}"}),
    ] {
        assert_eq!(check(broker, settings.clone()).await, Ok(()), "{settings}");
    }
    for (settings, what) in [
        (json!({"exchange": "nowhere"}), "no exchange \"nowhere\""),
        (json!({"exchange": "", "routing_key": "nowhere"}), "no queue \"nowhere\""),
        (json!({"exchange": "checked", "vhost": "nowhere"}), "no virtual host \"nowhere\""),
    ] {
        let error = check(broker, settings).await.unwrap_err();
        assert!(matches!(&error, CheckError::Missing(why) if why.contains(what)), "{error}");
    }
    assert_eq!(management.messages("checked").len(), 0, "a check leaves nothing behind");
}

pub(crate) async fn logins_and_rights_are_told_apart(broker: &Component, management: Management) {
    management.exchange_and_queue("guarded", "guarded", "#");
    management.user("reader", "reader", "^other$");
    management.user("keyed", "keyed", "^guarded$");
    let topic = json!({"exchange": "guarded", "write": "^order[.].*$", "read": ""});
    management.put("topic-permissions/%2F/keyed", &topic);
    let check_as = async |user: &str, password: &str, routing_key: &str| {
        let settings =
            json!({"exchange": "guarded", "routing_key": routing_key, "user": user, "password": password});
        check(broker, settings).await
    };
    let forbidden = |result: Result<(), CheckError>| match result {
        Err(CheckError::Forbidden(why)) => why,
        other => panic!("{other:?}"),
    };
    let wrong = forbidden(check_as("guest", "canary", "k").await);
    assert!(wrong.contains("does not know the user \"guest\"") && !wrong.contains("canary"), "{wrong}");
    assert!(forbidden(check_as("reader", "reader", "k").await).contains("guarded"));
    assert!(forbidden(check_as("keyed", "keyed", "invoice.paid").await).contains("invoice.paid"));
    assert_eq!(check_as("keyed", "keyed", "order.paid").await, Ok(()));
    assert_eq!(check_as("keyed", "keyed", "{type}").await, Ok(()), "of its keys nothing is known");
    management.put("vhosts/closed", &json!({}));
    let closed = check(broker, json!({"vhost": "closed", "user": "keyed", "password": "keyed"})).await;
    assert!(forbidden(closed).contains("closed"));
}
