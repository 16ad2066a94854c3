//! The variables by which every program that exports traces is told where to: `OTEL_EXPORTER_OTLP_ENDPOINT`,
//! `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_SERVICE_NAME`. They stand where the defaults stand: any other source is stronger.
//!
//! An empty variable counts as none, as OpenTelemetry has it. Headers are `name=value,name=value`, the values with `%` escapes.

use figment::value::{Dict, Value};

use super::Problem;
use super::load::{Layer, Origin};

const SECTION: &str = "telemetry";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// What the variables set; `variable` gives the value of one.
///
/// # Errors
/// When the headers cannot be read. Shows nothing of them.
pub(super) fn layer(variable: impl Fn(&str) -> Option<String>) -> Result<Layer, Problem> {
    let given = |name| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let mut section = Dict::new();
    for (key, name) in [("otlp_endpoint", ENDPOINT), ("service_name", SERVICE_NAME)] {
        if let Some(text) = given(name) {
            section.insert(key.to_owned(), Value::from(text));
        }
    }
    if let Some(text) = given(HEADERS) {
        let headers = headers(&text).ok_or_else(|| Problem {
            key: format!("{SECTION}.otlp_headers"),
            source: Some(Origin::StandardEnvironment.of("telemetry.otlp_headers")),
            why: "must be name=value,name=value, the values in UTF-8 with % escapes".to_owned(),
        })?;
        section.insert("otlp_headers".to_owned(), Value::from(headers));
    }
    let mut values = Dict::new();
    if !section.is_empty() {
        values.insert(SECTION.to_owned(), Value::from(section));
    }
    Ok(Layer { origin: Origin::StandardEnvironment, values })
}

/// The variable that sets a key.
pub(super) fn variable_of(key: &str) -> &'static str {
    match key {
        "telemetry.otlp_endpoint" => ENDPOINT,
        "telemetry.service_name" => SERVICE_NAME,
        _ => HEADERS,
    }
}

fn headers(text: &str) -> Option<Dict> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.trim().to_owned(), Value::from(unescaped(value.trim())?)))
        })
        .collect()
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let (byte, behind) = match (first, behind) {
            (b'%', [high, low, behind @ ..]) => (hex(*high)? << 4 | hex(*low)?, behind),
            (b'%', _) => return None,
            (plain, behind) => (*plain, behind),
        };
        bytes.push(byte);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(variables: &[(&str, &str)]) -> Result<Dict, Problem> {
        let variable = |wanted: &str| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        };
        layer(variable).map(|layer| layer.values)
    }

    #[test]
    fn the_variables_are_keys_of_the_section() {
        assert_eq!(values(&[]), Ok(Dict::new()));
        assert_eq!(values(&[(ENDPOINT, " "), (HEADERS, ""), (SERVICE_NAME, "")]), Ok(Dict::new()));
        let all = values(&[
            (ENDPOINT, "http://collector:4318"),
            (HEADERS, "authorization=Bearer%20a%3Db=, x-scope = team ,"),
            (SERVICE_NAME, "shop-relay"),
        ]);
        let section = Value::from(all.unwrap().remove(SECTION).unwrap().into_dict().unwrap());
        let text = |path: &str| section.find_ref(path).and_then(Value::as_str).map(str::to_owned);
        assert_eq!(text("otlp_endpoint").as_deref(), Some("http://collector:4318"));
        assert_eq!(text("otlp_headers.authorization").as_deref(), Some("Bearer a=b="));
        assert_eq!(text("otlp_headers.x-scope").as_deref(), Some("team"));
        assert_eq!(text("service_name").as_deref(), Some("shop-relay"));
    }

    #[test]
    fn headers_that_are_none_are_refused_and_not_quoted() {
        for wrong in ["canary", "a=%zzcanary", "a=canary%2", "a=canary%ff", "a=b,canary"] {
            let problem = values(&[(HEADERS, wrong)]).unwrap_err();
            assert!(problem.to_string().contains(HEADERS), "{problem}");
            assert!(!problem.to_string().contains("canary"), "{problem}");
        }
    }
}
