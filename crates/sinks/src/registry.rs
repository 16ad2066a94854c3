//! Makes a sink from a kind's name and its settings.

use std::sync::Arc;

use serde_json::Value;

use crate::file::FileSink;
use crate::http::HttpSink;
#[cfg(feature = "kafka")]
use crate::kafka::{self, KafkaSink};
use crate::nats::NatsSink;
use crate::object_store::ObjectStoreSink;
use crate::postgres::PostgresSink;
use crate::rabbitmq::RabbitmqSink;
use crate::redis::RedisSink;
use crate::stdout::StdoutSink;
use crate::webhook::WebhookSink;
use crate::{
    Environment, Owner, Sink, SinkError, file, http, nats, object_store, postgres, rabbitmq, redis, settings,
    stdout, webhook,
};

/// The kinds there are.
pub const KINDS: &[&str] = &[
    webhook::KIND,
    http::KIND,
    #[cfg(feature = "kafka")]
    kafka::KIND,
    postgres::KIND,
    nats::KIND,
    rabbitmq::KIND,
    redis::KIND,
    object_store::KIND,
    file::KIND,
    stdout::KIND,
];

/// Makes the sink of a subscription. Connects to nothing and writes nothing yet, but reads the files that the
/// settings name (certificates, secrets), so it is not for an async task where trusted settings may name
/// them.
///
/// # Errors
/// When there is no such kind, and when a field is missing, unknown, of the wrong type or out of its limits.
/// The error names the field and shows no secret.
pub fn build(
    kind: &str,
    settings: &Value,
    owner: &Owner,
    environment: &Environment,
) -> Result<Arc<dyn Sink>, SinkError> {
    match kind {
        webhook::KIND => {
            Ok(Arc::new(WebhookSink::new(&settings::parse(webhook::KIND, settings)?, environment)?))
        }
        http::KIND => Ok(Arc::new(HttpSink::new(&settings::parse(http::KIND, settings)?, environment)?)),
        #[cfg(feature = "kafka")]
        kafka::KIND => Ok(Arc::new(KafkaSink::new(settings::parse(kafka::KIND, settings)?, environment)?)),
        object_store::KIND => {
            let settings = settings::parse(object_store::KIND, settings)?;
            Ok(Arc::new(ObjectStoreSink::new(&settings, owner, environment)?))
        }
        nats::KIND => {
            Ok(Arc::new(NatsSink::new(&settings::parse(nats::KIND, settings)?, owner, environment)?))
        }
        rabbitmq::KIND => {
            Ok(Arc::new(RabbitmqSink::new(&settings::parse(rabbitmq::KIND, settings)?, owner, environment)?))
        }
        redis::KIND => {
            Ok(Arc::new(RedisSink::new(&settings::parse(redis::KIND, settings)?, owner, environment)?))
        }
        file::KIND => Ok(Arc::new(FileSink::new(&settings::parse(file::KIND, settings)?, environment)?)),
        postgres::KIND => {
            let settings = settings::parse(postgres::KIND, settings)?;
            Ok(Arc::new(PostgresSink::new(&settings, owner, environment)?))
        }
        stdout::KIND => Ok(Arc::new(StdoutSink::new(&settings::parse(stdout::KIND, settings)?)?)),
        #[cfg(not(feature = "kafka"))]
        "kafka" => Err(SinkError::NotBuilt { kind: "kafka" }),
        _ => Err(SinkError::UnknownKind { kind: kind.to_owned(), known: KINDS }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owner() -> Owner {
        Owner { tenant: "default".to_owned(), subscription: "s".to_owned(), log_id: [0; 16] }
    }

    fn error(kind: &str, settings: &Value) -> String {
        match build(kind, settings, &owner(), &Environment::default()) {
            Ok(_) => panic!("{kind} with {settings} was made"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_kind_is_made_and_says_its_name() {
        let webhook = json!({"url": "https://example.com/", "unsigned": true});
        let nats = json!({"servers": ["nats://broker.example.com"], "subject": "events.{type}"});
        let rabbitmq =
            json!({"servers": ["amqp://broker.example.com"], "routing_key": "{type}", "password": "guest"});
        let postgres = json!({"host": "db.example.com", "database": "d", "user": "u", "table": "events", "exactly_once": true});
        for (kind, settings) in [
            ("webhook", webhook),
            ("http", json!({"url": "https://example.com/{key}"})),
            ("object_store", json!({"local": {"directory": "archive"}})),
            ("file", json!({"directory": "events"})),
            ("postgres", postgres),
            ("nats", nats),
            ("rabbitmq", rabbitmq),
            ("redis", json!({"servers": ["redis://redis.example.com"], "stream": "events", "ids": "offset"})),
            ("stdout", json!({})),
        ] {
            let sink = build(kind, &settings, &owner(), &Environment::default()).unwrap();
            assert_eq!(sink.kind(), kind);
            assert!(KINDS.contains(&kind) && sink.batch_limit().events >= 1);
        }
    }

    #[test]
    fn an_unknown_kind_lists_the_known() {
        assert_eq!(
            error("fax", &json!({})),
            format!("unknown sink kind `fax`; the known kinds are {}", KINDS.join(", "))
        );
    }

    #[test]
    fn settings_that_are_no_object_and_missing_fields_are_named() {
        assert!(error("stdout", &json!(7)).contains("stdout sink"));
        assert!(error("file", &json!({})).contains("missing field `directory`"));
        assert!(error("webhook", &json!({})).contains("missing field `url`"));
        let unsigned = error("webhook", &json!({"url": "https://example.com/"}));
        assert!(unsigned.contains("`secrets`") && unsigned.contains("unsigned"), "{unsigned}");
    }

    #[test]
    fn settings_from_elsewhere_cannot_reach_into_this_machine() {
        let url = "https://example.com/";
        for (field, value) in
            [("secrets_file", "/etc/passwd"), ("secrets_env", "PATH"), ("ca_file", "/etc/passwd")]
        {
            let error = error("webhook", &json!({"url": url, field: value}));
            assert!(error.contains(&format!("`{field}`")) && error.contains("configuration file"), "{error}");
        }
        for directory in ["/etc", "../up", "a/../../up"] {
            assert!(error("file", &json!({"directory": directory})).contains("`directory`"));
        }
    }

    #[test]
    fn no_error_shows_a_secret() {
        let url = "https://example.com/";
        for settings in [
            json!({"url": "https://canary@example.com/"}),
            json!({"url": 1, "secrets": "whsec_canary"}),
            json!({"url": url, "secrets": "whsec_canary"}),
            json!({"url": url, "secrets": ["whsec_canary"]}),
            json!({"url": url, "secrets": [["canary"]]}),
            json!({"url": url, "secrets": {"canary": "canary"}}),
            json!({"url": url, "headers": "canary"}),
            json!({"url": url, "headers": {"authorization": ["canary"]}}),
            json!({"url": url, "headers": {"authorization": "canary\n"}}),
            json!({"url": url, "timeout_ms": "canary"}),
            json!({"url": url, "body": "canary"}),
            json!("canary"),
        ] {
            let error = error("webhook", &settings);
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
