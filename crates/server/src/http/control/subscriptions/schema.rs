//! The declaration of a subscription as OpenAPI shows it. What is read is [`eventrelay_state::Subscription`]; a test holds the
//! two together.

#![allow(dead_code, reason = "for the documentation: the fields are read by other types")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, KnownFormat, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, SchemaType,
    Type,
};
use utoipa::{PartialSchema, ToSchema};

/// A subscription: which events, from where on, how, and to which target, if to any. Its name stands beside what
/// [`SubscriptionSettings`] has.
pub(crate) struct SubscriptionDeclaration;

/// The name of a subscription.
#[derive(Deserialize, ToSchema)]
struct Named {
    /// Its name, unique within the tenant. In a body for a path that has it, it may be left out.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$", examples("billing"))]
    name: String,
}

impl PartialSchema for SubscriptionDeclaration {
    fn schema() -> RefOr<Schema> {
        let mut declaration = object_of(SubscriptionSettings::schema(), Named::schema());
        declaration.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        declaration.into()
    }
}

impl ToSchema for SubscriptionDeclaration {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        SubscriptionSettings::schemas(schemas);
    }
}

/// An object with the members of two.
pub(super) fn object_of(first: RefOr<Schema>, second: RefOr<Schema>) -> Object {
    let (RefOr::T(Schema::Object(mut whole)), RefOr::T(Schema::Object(more))) = (first, second) else {
        return Object::new();
    };
    whole.properties.extend(more.properties);
    whole.required.extend(more.required);
    whole
}

/// Members of a subscription's declaration to change; `null` takes one back to its default.
#[derive(Deserialize, ToSchema)]
#[schema(value_type = Object)]
pub(crate) struct SubscriptionPatch(Value);

/// Everything about a subscription but its name.
#[derive(Deserialize, ToSchema)]
pub(crate) struct SubscriptionSettings {
    /// Whose events it receives: the API key's tenant, and no other.
    #[schema(
        required = false,
        min_length = 1,
        max_length = 64,
        pattern = "^[a-z0-9_-]+$",
        examples("default")
    )]
    tenant: String,
    /// What it is for, in the owner's words.
    #[schema(required = false, max_length = 1024)]
    description: String,
    /// The owner's own notes, which mean nothing here.
    #[schema(required = false)]
    metadata: BTreeMap<String, String>,
    /// Which events it receives; all of them where nothing is said.
    #[schema(required = false)]
    filter: FilterDeclaration,
    /// What is delivered in place of the event's data: a CEL expression.
    #[schema(required = false, value_type = Option<String>)]
    transform: Option<String>,
    /// Where a new subscription begins: `earliest`, `latest` (the default), an offset or a time.
    #[schema(required = false)]
    start: Place,
    /// What order deliveries keep: `unordered` (the default), `by_key` or `strict`.
    #[schema(required = false)]
    order: OrderName,
    /// The most calls of the sink at once; of a pull subscription, the most leased events.
    #[schema(required = false, minimum = 1, maximum = 4096, default = 64)]
    max_in_flight: u32,
    /// How many events a call of the sink, or a pull, takes.
    #[schema(required = false)]
    batch: BatchDeclaration,
    /// When failed deliveries are tried again, and when they are given up.
    #[schema(required = false)]
    retry: RetryDeclaration,
    /// When a target counts as down, and how it is probed.
    #[schema(required = false)]
    breaker: BreakerDeclaration,
    /// The most events a second, retries included.
    #[schema(required = false, minimum = 1, maximum = 4_294_967_295u64)]
    max_events_per_second: Option<u32>,
    /// The same with a period of its own: not both.
    #[schema(required = false)]
    rate_limit: Option<RateDeclaration>,
    /// Which attempts are kept for people to look at: `failures` (the default) or `all`.
    #[schema(required = false)]
    keep_attempts: KeepAttemptsName,
    /// Through what it delivers; none: consumers pull its events.
    #[schema(required = false)]
    sink: Option<SinkDeclaration>,
}

/// Which events: patterns, and an expression that must be true.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterDeclaration {
    /// Patterns of types, such as `order.*`; one of them must match.
    #[schema(required = false, max_items = 64)]
    types: Vec<String>,
    /// Patterns of sources.
    #[schema(required = false, max_items = 64)]
    sources: Vec<String>,
    /// Patterns of subjects.
    #[schema(required = false, max_items = 64)]
    subjects: Vec<String>,
    /// A CEL expression that must be true.
    #[schema(required = false, max_length = 4096)]
    cel: Option<String>,
}

/// A place in the log: `"earliest"`, `"latest"`, `{"offset": 1200}` or `{"time": "2026-01-31T00:00:00Z"}`.
#[derive(Deserialize)]
pub(crate) struct Place;

impl PartialSchema for Place {
    fn schema() -> RefOr<Schema> {
        let of = |name: &str, member: ObjectBuilder| {
            ObjectBuilder::new()
                .property(name, member)
                .required(name)
                .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        };
        let offset = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer)).minimum(Some(0));
        let time = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        OneOfBuilder::new()
            .item(
                ObjectBuilder::new()
                    .schema_type(SchemaType::Type(Type::String))
                    .enum_values(Some(["earliest", "latest"])),
            )
            .item(of("offset", offset))
            .item(of("time", time))
            .into()
    }
}

impl ToSchema for Place {}

/// What order deliveries keep.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OrderName {
    Unordered,
    ByKey,
    Strict,
}

/// Which attempts are kept.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeepAttemptsName {
    Failures,
    All,
}

/// How many events go together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchDeclaration {
    /// The most events.
    #[schema(required = false, minimum = 1, maximum = 4_294_967_295u64)]
    max_events: Option<u32>,
    /// The most bytes.
    #[schema(required = false, minimum = 1, maximum = 4_294_967_295u64)]
    max_bytes: Option<u32>,
    /// How long the first event waits for more.
    #[schema(required = false, minimum = 0, maximum = 3_600_000)]
    max_age_ms: Option<u32>,
}

/// So many events in so much time.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateDeclaration {
    /// How many.
    #[schema(minimum = 1, maximum = 4_294_967_295u64)]
    events: u32,
    /// In how many milliseconds.
    #[schema(required = false, minimum = 1, maximum = 86_400_000, default = 1000)]
    period_ms: u32,
}

/// When a failed delivery is tried again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryDeclaration {
    /// The attempts after which a delivery becomes a dead letter.
    #[schema(required = false, minimum = 1, maximum = 4_294_967_295u64, default = 12)]
    max_attempts: u32,
    /// The longest wait after the first failure.
    #[schema(required = false, minimum = 0, maximum = 4_294_967_295u64, default = 5000)]
    initial_backoff_ms: u64,
    /// How much longer the longest wait becomes with each failure.
    #[schema(required = false, minimum = 1, maximum = 4_294_967_295u64, default = 6)]
    backoff_multiplier: u32,
    /// What the longest wait never exceeds.
    #[schema(required = false, minimum = 0, maximum = 86_400_000, default = 86_400_000)]
    max_backoff_ms: u64,
    /// The waits after each failure, one by one, instead of the three above; the last one holds for all later failures.
    #[schema(required = false, max_items = 100)]
    schedule_ms: Vec<RetryWait>,
    /// How long one call of the sink may take.
    #[schema(required = false, minimum = 1, maximum = 3_600_000, default = 30_000)]
    timeout_ms: u64,
    /// The most deliveries that wait for a retry at once.
    #[schema(required = false, minimum = 1, maximum = 1_000_000, default = 10_000)]
    max_retrying: u32,
}

/// How long to wait before the next attempt, within a fifth.
#[derive(Deserialize, ToSchema)]
#[schema(minimum = 0, maximum = 86_400_000)]
pub(crate) struct RetryWait(u64);

/// When a target counts as down.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BreakerDeclaration {
    /// Opens after this many failed calls in a row.
    #[schema(required = false, minimum = 1, maximum = 4_294_967_295u64, default = 10)]
    consecutive_failures: u32,
    /// Opens when this share of the latest calls failed.
    #[schema(required = false, exclusive_minimum = 0.0, maximum = 1.0, default = 0.5)]
    failure_ratio: f64,
    /// How many of the latest calls the share is taken over.
    #[schema(required = false, minimum = 1, maximum = 10_000, default = 100)]
    window: u32,
    /// The wait before the first probe.
    #[schema(required = false, minimum = 1, maximum = 3_600_000, default = 1000)]
    initial_probe_delay_ms: u64,
    /// What the wait between probes never exceeds.
    #[schema(required = false, minimum = 1, maximum = 3_600_000, default = 60_000)]
    max_probe_delay_ms: u64,
}

/// The sink's kind, and beside it that kind's own settings.
#[derive(Deserialize, ToSchema)]
pub(crate) struct SinkDeclaration {
    /// `webhook`, `http`, `kafka`, `postgres`, `redis`, `nats`, `rabbitmq`, `object_store`, `file` or `stdout`.
    #[schema(examples("webhook"))]
    kind: String,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use eventrelay_state::Subscription;
    use serde_json::json;

    use super::*;

    fn names(schema: &Value) -> BTreeSet<String> {
        let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
        let parts = schema["allOf"].as_array().into_iter().flatten().flat_map(names);
        own.chain(parts).collect()
    }

    #[test]
    fn what_is_shown_is_what_is_read() {
        let whole: Subscription = serde_json::from_value(json!({
            "name": "a", "description": "d", "metadata": {"a": "b"}, "transform": "data", "max_events_per_second": 1,
            "keep_attempts": "all", "filter": {"types": ["a"], "sources": ["b"], "subjects": ["c"], "cel": "true"},
            "batch": {"max_events": 1, "max_bytes": 1, "max_age_ms": 1}, "sink": {"kind": "stdout"},
            "retry": {"schedule_ms": [1000]},
        }))
        .unwrap();
        let written = serde_json::to_value(whole).unwrap();
        let of = |value: &Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
        let schema = |schema| serde_json::to_value(schema).unwrap();
        let mut top = of(&written);
        top.insert("rate_limit".to_owned());
        assert_eq!(names(&schema(SubscriptionDeclaration::schema())), top);
        assert_eq!(names(&schema(FilterDeclaration::schema())), of(&written["filter"]));
        assert_eq!(names(&schema(BatchDeclaration::schema())), of(&written["batch"]));
        assert_eq!(names(&schema(RetryDeclaration::schema())), of(&written["retry"]));
        assert_eq!(names(&schema(BreakerDeclaration::schema())), of(&written["breaker"]));
    }
}
