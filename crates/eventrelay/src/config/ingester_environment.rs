//! The environment of an idempotent REST ingester (`[compat] ingester_presets`): started in the same environment, the relay
//! delivers to where the ingester did.
//!
//! | variable | what it makes |
//! |---|---|
//! | `REDIS_ADDR` | the subscription `ingester-redis`: all events to the stream `eventrail.events` there, dead letters to `eventrail.events.dlq` |
//! | `POSTGRES_DSN` | the subscription `ingester-postgres`: all events to the table `eventrail_events` there, created when missing |
//! | `MAX_RETRIES` | how often a failed delivery of these two is tried again |
//! | `BASE_BACKOFF_MS` | how long the first retry waits at most; each one twice as long as the one before |
//! | `CONSUMER_NAME` | noted in their metadata: it names a worker of the stream, which goes on reading it |
//!
//! Other programs have variables of these names too, so nothing but these two subscriptions goes by them. A subscription of
//! the same name in the file stands in their place. An empty variable counts as none.

use std::num::NonZeroU32;

use eventrelay_sinks::postgres;
use eventrelay_state::{Order, RetryPolicy, SinkSpec, Subscription};
use serde_json::{Map, Value, json};

use super::Problem;

const REDIS_ADDR: &str = "REDIS_ADDR";
const POSTGRES_DSN: &str = "POSTGRES_DSN";
const MAX_RETRIES: &str = "MAX_RETRIES";
const BASE_BACKOFF_MS: &str = "BASE_BACKOFF_MS";
const CONSUMER_NAME: &str = "CONSUMER_NAME";
/// The table of the ingester's own has other columns, which nobody fills.
const TABLE: &str = "eventrail_events";

/// What the variables ask for; `variable` gives the value of one.
///
/// # Errors
/// Names the variable that is wrong. Shows no secret.
pub(super) fn subscriptions(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Subscription>, Vec<Problem>> {
    let given = |name| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let (redis, postgres) = (given(REDIS_ADDR), given(POSTGRES_DSN));
    if redis.is_none() && postgres.is_none() {
        return Ok(Vec::new());
    }
    let mut problems = Vec::new();
    let mut noted =
        |result: Result<Subscription, Problem>| result.map_err(|problem| problems.push(problem)).ok();
    let policy = || -> Result<Policy, Problem> {
        Ok(Policy {
            max_retries: number(MAX_RETRIES, given(MAX_RETRIES))?,
            base_backoff_ms: number(BASE_BACKOFF_MS, given(BASE_BACKOFF_MS))?,
            consumer_name: given(CONSUMER_NAME),
        })
    };
    let redis = redis.and_then(|address| noted(policy().and_then(|policy| policy.apply(to_redis(&address)))));
    let postgres = postgres.and_then(|dsn| {
        noted(policy().and_then(|policy| to_postgres(&dsn).and_then(|made| policy.apply(made))))
    });
    if problems.is_empty() {
        Ok(redis.into_iter().chain(postgres).collect())
    } else {
        problems.dedup();
        Err(problems)
    }
}

/// What holds for both.
struct Policy {
    max_retries: Option<u32>,
    base_backoff_ms: Option<u32>,
    consumer_name: Option<String>,
}

impl Policy {
    fn apply(self, (name, order, sink): Made) -> Result<Subscription, Problem> {
        let mut retry = RetryPolicy::default();
        if let Some(attempts) =
            self.max_retries.and_then(|retries| NonZeroU32::new(retries.saturating_add(1)))
        {
            retry.max_attempts = attempts;
        }
        if let Some(milliseconds) = self.base_backoff_ms {
            retry.initial_backoff_ms = u64::from(milliseconds);
            retry.backoff_multiplier = NonZeroU32::MIN.saturating_add(1);
        }
        let metadata = self.consumer_name.map(|consumer| ("consumer_name".to_owned(), consumer));
        // A declaration in the file is read in the same way, so what is not named has its default.
        let declared = serde_json::from_value(json!({
            "name": name,
            "description": "made from the environment of an idempotent REST ingester",
            "metadata": metadata.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "order": order,
            "retry": retry,
            "sink": sink,
        }));
        declared.map_err(|error| problem(name, error.to_string()))
    }
}

/// A name, an order and a sink.
type Made = (&'static str, Order, SinkSpec);

/// Entries stand in the order in which events were accepted, as the ingester's workers know them.
fn to_redis(address: &str) -> Made {
    let server = if address.contains("://") { address.to_owned() } else { format!("redis://{address}") };
    let mut settings = Map::new();
    settings.insert("servers".to_owned(), json!([server]));
    settings.insert("layout".to_owned(), json!("eventrail"));
    ("ingester-redis", Order::Strict, SinkSpec { kind: "redis".to_owned(), settings })
}

fn to_postgres(dsn: &str) -> Result<Made, Problem> {
    let settings =
        postgres::settings_of_dsn(dsn).map_err(|error| problem(POSTGRES_DSN, error.to_string()))?;
    let mut settings = Value::Object(settings);
    settings["table"] = json!(TABLE);
    settings["create_table"] = json!(true);
    settings["columns"] = json!({
        "id": "id", "event_type": "type", "source": "source", "payload": "data", "idempotency_key": "idempotency_key",
        "created_at": "received_at",
    });
    settings["on_conflict"] = json!(["id"]);
    let settings = settings.as_object().cloned().unwrap_or_default();
    Ok(("ingester-postgres", Order::Unordered, SinkSpec { kind: "postgres".to_owned(), settings }))
}

fn number(name: &str, text: Option<String>) -> Result<Option<u32>, Problem> {
    let parsed = text.map(|text| text.parse()).transpose();
    parsed.map_err(|_| problem(name, "must be a whole number from 0 to 4294967295".to_owned()))
}

fn problem(variable: &str, why: String) -> Problem {
    Problem { key: variable.to_owned(), source: Some(format!("environment variable {variable}")), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(variables: &[(&str, &str)]) -> Result<Vec<Subscription>, Vec<Problem>> {
        subscriptions(|wanted| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_same_environment_makes_the_same_deliveries() {
        assert_eq!(made(&[(MAX_RETRIES, "x"), (REDIS_ADDR, " ")]), Ok(Vec::new()), "it is somebody else's");
        let made = made(&[
            (REDIS_ADDR, "redis:6379"),
            (POSTGRES_DSN, "postgres://u:p@db:5432/app?sslmode=disable"),
            (MAX_RETRIES, "5"),
            (BASE_BACKOFF_MS, "250"),
            (CONSUMER_NAME, "worker-1"),
        ]);
        let [redis, postgres] = &made.unwrap()[..] else { panic!("two") };
        for made in [redis, postgres] {
            assert_eq!((made.retry.max_attempts.get(), made.retry.initial_backoff_ms), (6, 250));
            assert_eq!(made.metadata["consumer_name"], "worker-1");
            made.validate().unwrap();
        }
        let settings = &redis.sink.as_ref().unwrap().settings;
        assert_eq!(
            (&settings["servers"], &settings["layout"]),
            (&json!(["redis://redis:6379"]), &json!("eventrail"))
        );
        let settings = &postgres.sink.as_ref().unwrap().settings;
        assert_eq!((&settings["host"], &settings["table"]), (&json!("db"), &json!(TABLE)));
    }

    #[test]
    fn a_variable_that_is_wrong_is_named_and_not_quoted() {
        for (variables, name) in [
            (&[(REDIS_ADDR, "a:1"), (MAX_RETRIES, "-1")][..], MAX_RETRIES),
            (&[(POSTGRES_DSN, "canary")], POSTGRES_DSN),
        ] {
            let problems = made(variables).unwrap_err();
            assert_eq!(problems.len(), 1);
            let said = problems[0].to_string();
            assert!(said.contains(name) && !said.contains("canary"), "{said}");
        }
    }
}
