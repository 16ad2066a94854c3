//! A `curl` line for each operation that works as it is printed, made of the examples in the document.
//!
//! What the server names itself, such as the id of a key, nobody can know beforehand. A parameter of the path for such a thing
//! says where one comes from, and the line gets it there:
//!
//! ```text
//! "x-example-from": {"operation": "create_key", "pattern": "key_[0-9a-f]{16}"}
//! curl -sS "http://…/v1/keys/$(curl -sS … -d '{"name":…}' "http://…/v1/keys" | grep -oE 'key_[0-9a-f]{16}' | head -n 1)"
//! ```

use serde_json::Value;

use super::document::Document;

/// How often a line may ask another one.
const MAX_DEPTH: usize = 3;

/// Where the lines lead to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server<'a> {
    /// Scheme and authority, which needs no quoting.
    pub(super) url: &'a str,
    /// Whether a key has to be shown.
    pub(super) asks_for_keys: bool,
}

/// The line of an operation.
pub(super) fn line(
    document: &Document,
    server: Server<'_>,
    path: &str,
    method: &str,
    operation: &Value,
) -> String {
    nested(document, server, path, method, operation, 0)
}

fn nested(
    document: &Document,
    server: Server<'_>,
    path: &str,
    method: &str,
    operation: &Value,
    depth: usize,
) -> String {
    let is_endless = operation.get("x-endless").is_some();
    let mut line = if is_endless { "curl -sSN".to_owned() } else { "curl -sS".to_owned() };
    let (content_type, body) = body_of(operation);
    let implied = if body.is_some() { "post" } else { "get" };
    if method != implied {
        line.push_str(&format!(" -X {}", method.to_ascii_uppercase()));
    }
    if server.asks_for_keys && operation["security"].as_array().is_some_and(|ways| !ways.is_empty()) {
        line.push_str(" -H \"authorization: Bearer $EVENTRELAY_API_KEY\"");
    }
    if let Some(body) = body {
        line.push_str(&format!(" -H 'content-type: {content_type}' --data-binary {}", quoted(&body)));
    }
    let url =
        format!("{}{}{}", server.url, named(document, server, path, operation, depth), query_of(operation));
    line.push_str(&format!(" \"{url}\""));
    line
}

/// The path with a name in each of its places.
fn named(document: &Document, server: Server<'_>, path: &str, operation: &Value, depth: usize) -> String {
    let mut named = path.to_owned();
    for parameter in parameters(operation, "path") {
        let Some(name) = parameter["name"].as_str() else { continue };
        let source = parameter.get("x-example-from").filter(|_| depth < MAX_DEPTH);
        let got = source.and_then(|source| {
            let pattern = source["pattern"].as_str()?;
            let (path, method, operation) = document.find(source["operation"].as_str()?)?;
            let asked = nested(document, server, path, method, operation, depth + 1);
            Some(format!("$({asked} | grep -oE {} | head -n 1)", quoted(pattern)))
        });
        let value = got.unwrap_or_else(|| text(&parameter["example"]));
        named = named.replace(&format!("{{{name}}}"), &value);
    }
    named
}

/// The parameters of the query that must be there.
fn query_of(operation: &Value) -> String {
    let needed = parameters(operation, "query").filter(|parameter| parameter["required"] == true);
    let pairs: Vec<String> = needed
        .map(|parameter| format!("{}={}", text(&parameter["name"]), text(&parameter["example"])))
        .collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn parameters<'a>(operation: &'a Value, place: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    all.filter(move |parameter| parameter["in"] == place)
}

/// The media type of the body, and its example; JSON where there is a choice.
fn body_of(operation: &Value) -> (&str, Option<String>) {
    let Some(contents) = operation["requestBody"]["content"].as_object() else { return ("", None) };
    let json = contents.get_key_value("application/json");
    let Some((media_type, content)) = json.or_else(|| contents.iter().next()) else { return ("", None) };
    let of_many = || content["examples"].as_object()?.values().next()?.get("value");
    let example = content.get("example").or_else(of_many);
    (media_type.as_str(), example.map(text))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(operation: &str, asks_for_keys: bool) -> String {
        let document = Document::new(super::super::routes().split_for_parts().1);
        let (path, method, operation) = document.find(operation).unwrap();
        let server = Server { url: "http://localhost:8080", asks_for_keys };
        line(&document, server, path, method, operation)
    }

    #[test]
    fn a_line_has_what_the_operation_needs_and_no_more() {
        assert_eq!(line_of("list_keys", false), r#"curl -sS "http://localhost:8080/v1/keys""#);
        assert_eq!(
            line_of("list_keys", true),
            r#"curl -sS -H "authorization: Bearer $EVENTRELAY_API_KEY" "http://localhost:8080/v1/keys""#
        );
        assert_eq!(line_of("get_openapi", true), r#"curl -sS "http://localhost:8080/v1/openapi.json""#);
        assert!(line_of("create_key", false).contains(r#"--data-binary '{"name":"the shop""#));
    }

    #[test]
    fn a_line_that_needs_a_name_of_the_servers_gets_it() {
        let line = line_of("revoke_key", false);
        assert!(
            line.starts_with(r#"curl -sS -X DELETE "http://localhost:8080/v1/keys/$(curl -sS -H "#),
            "{line}"
        );
        assert!(line.ends_with(r#"| grep -oE 'key_[0-9a-f]{16}' | head -n 1)""#), "{line}");
    }

    #[test]
    fn a_quote_cannot_end_the_word() {
        assert_eq!(quoted("a'b; rm -rf"), r"'a'\''b; rm -rf'");
    }
}
