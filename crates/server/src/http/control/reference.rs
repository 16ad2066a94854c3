//! `GET /docs`: the API for people, made of the OpenAPI document. One page that needs nothing else: no script, no file from
//! elsewhere, and a policy that allows neither.

use std::fmt::Write;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName};
use http::{HeaderMap, Uri};
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::curl::{self, Server};
use super::document::Document;
use super::resources::Resources;
use crate::http::request_source::RequestSource;

const STYLE: &str = include_str!("reference.css");
/// How deep the fields of a body are shown.
const MAX_DEPTH: usize = 3;

pub(super) fn routes() -> OpenApiRouter<Resources> {
    OpenApiRouter::new().routes(routes!(get_docs))
}

/// The API as a page to read
#[utoipa::path(
    get, path = "/docs", tag = "documentation", security(()),
    responses((status = 200, description = "The page", body = String, content_type = "text/html; charset=utf-8"))
)]
async fn get_docs(
    State(resources): State<Resources>,
    source: RequestSource,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let scheme = if source.is_tls { "https" } else { "http" };
    let url = format!("{scheme}://{}", authority(&uri, &headers));
    let server = Server { url: &url, asks_for_keys: resources.api_keys.required() };
    let style_hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers: [(HeaderName, String); 3] = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, "no-cache".to_owned()),
    ];
    (headers, page(&resources.document, server)).into_response()
}

/// What the client calls the server, where that is a plain name: it stands in lines for a shell.
fn authority(uri: &Uri, headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let named = uri.authority().map(http::uri::Authority::as_str).or(host).unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if !named.is_empty() && named.bytes().all(is_plain) {
        named.to_owned()
    } else {
        "localhost:8080".to_owned()
    }
}

fn page(document: &Document, server: Server<'_>) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>EventRelay API</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n\
         <h1>EventRelay API</h1>\n<p>The same for programs: <a href=\"/v1/openapi.json\">openapi.json</a>. \
         What is wrong is told as problem details (RFC 9457) with a stable <code>code</code>.</p>\n<nav><ul>\n"
    );
    for (path, method, operation) in document.operations() {
        let (id, method) = (escaped(&text(&operation["operationId"])), method.to_ascii_uppercase());
        push(
            &mut html,
            format_args!("<li><a href=\"#{id}\"><code>{method} {}</code></a></li>\n", escaped(path)),
        );
    }
    html.push_str("</ul></nav>\n");
    for (path, method, operation) in document.operations() {
        section(&mut html, document, server, path, method, operation);
    }
    html.push_str("</body></html>\n");
    html
}

fn section(
    html: &mut String,
    document: &Document,
    server: Server<'_>,
    path: &str,
    method: &str,
    operation: &Value,
) {
    let (id, upper) = (escaped(&text(&operation["operationId"])), method.to_ascii_uppercase());
    let path_shown = escaped(path);
    push(
        html,
        format_args!("<h3 id=\"{id}\"><code><span class=\"method\">{upper}</span>{path_shown}</code></h3>\n"),
    );
    push(html, format_args!("<p><strong>{}</strong></p>\n", escaped(&text(&operation["summary"]))));
    if let Some(description) = operation["description"].as_str() {
        push(html, format_args!("<p>{}</p>\n", escaped(description)));
    }
    let scope = operation["security"][0]["bearer"][0].as_str();
    let needs = scope.map_or_else(
        || "For everybody.".to_owned(),
        |scope| format!("Needs the scope <code>{}</code>.", escaped(scope)),
    );
    push(html, format_args!("<p>{needs}</p>\n"));
    let kind = match (operation.get("x-endless"), operation.get("x-browser")) {
        (Some(_), _) => "curl endless",
        // What it leads to is a page of somebody else, and makes sense to a browser alone.
        (None, Some(_)) => "curl browser",
        (None, None) => "curl",
    };
    let line = escaped(&curl::line(document, server, path, method, operation));
    push(html, format_args!("<pre class=\"{kind}\">{line}</pre>\n"));
    parameters(html, operation);
    body(html, document, operation);
    statuses(html, operation);
}

fn parameters(html: &mut String, operation: &Value) {
    let Some(parameters) = operation["parameters"].as_array().filter(|all| !all.is_empty()) else { return };
    html.push_str("<table><tr><th>Parameter</th><th>In</th><th>Type</th><th></th></tr>\n");
    for parameter in parameters {
        let needed = if parameter["required"] == true { "required. " } else { "" };
        push(
            html,
            format_args!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{needed}{}</td></tr>\n",
                escaped(&text(&parameter["name"])),
                escaped(&text(&parameter["in"])),
                escaped(&kind_of(&parameter["schema"])),
                escaped(&text(&parameter["description"])),
            ),
        );
    }
    html.push_str("</table>\n");
}

fn body(html: &mut String, document: &Document, operation: &Value) {
    for (media_type, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
        push(
            html,
            format_args!(
                "<table><tr><th>Body: <code>{}</code></th><th>Type</th><th></th></tr>\n",
                escaped(media_type)
            ),
        );
        fields(html, document, &content["schema"], "", 0);
        html.push_str("</table>\n");
    }
}

/// A row for each field, those of objects in objects with their whole path.
fn fields(html: &mut String, document: &Document, schema: &Value, prefix: &str, depth: usize) {
    let schema = document.resolved(schema);
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        fields(html, document, variant, prefix, depth);
    }
    if depth >= MAX_DEPTH {
        return;
    }
    if schema["items"].is_object() {
        fields(html, document, &schema["items"], &format!("{prefix}[]"), depth + 1);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let is_needed =
            schema["required"].as_array().is_some_and(|names| names.contains(&Value::from(name.as_str())));
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let resolved = document.resolved(field);
        let described =
            field["description"].as_str().or(resolved["description"].as_str()).unwrap_or_default();
        push(
            html,
            format_args!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{}{}</td></tr>\n",
                escaped(&path),
                escaped(&kind_of(resolved)),
                if is_needed { "required. " } else { "" },
                escaped(described),
            ),
        );
        fields(html, document, field, &path, depth + 1);
    }
}

fn statuses(html: &mut String, operation: &Value) {
    html.push_str("<table><tr><th>Status</th><th></th></tr>\n");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let described = escaped(&text(&response["description"]));
        push(html, format_args!("<tr><td><code>{}</code></td><td>{described}</td></tr>\n", escaped(status)));
    }
    html.push_str("</table>\n");
}

/// A schema's type with its limits, in a few words.
fn kind_of(schema: &Value) -> String {
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
        Value::String(kind) => kind.clone(),
        _ => "any".to_owned(),
    };
    let limits = [
        ("minimum", "from"),
        ("maximum", "to"),
        ("maxLength", "at most, characters:"),
        ("maxItems", "at most, items:"),
    ];
    let limits = limits.iter().filter_map(|(name, word)| {
        let limit = schema.get(*name)?;
        Some(format!(" {word} {limit}"))
    });
    kind + &limits.collect::<String>()
}

fn push(html: &mut String, piece: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = html.write_fmt(piece);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// As the text of a page, or of an attribute.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_host_that_is_no_plain_name_does_not_get_into_a_line_for_a_shell() {
        let of = |host: &'static str| {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            authority(&Uri::from_static("/docs"), &headers)
        };
        assert_eq!(of("relay.internal:8080"), "relay.internal:8080");
        assert_eq!(of("[::1]:80"), "[::1]:80");
        for host in ["$(reboot)", "a\"b", "a b", "", "<b>"] {
            assert_eq!(of(host), "localhost:8080", "{host}");
        }
    }

    #[test]
    fn every_operation_has_a_section_with_a_line() {
        let document = Document::new(super::super::routes().split_for_parts().1);
        let html = page(&document, Server { url: "http://localhost", asks_for_keys: false });
        let count = document.operations().count();
        assert_eq!(html.matches("<pre class=\"curl").count(), count);
        assert!(count > 5 && !html.contains("<script"), "{count}");
    }
}
