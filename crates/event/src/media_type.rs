//! What a content type says, as far as it decides how data is kept and how a request is read.

/// Whether the data is JSON: `application/json`, `text/json` or any `+json`.
pub(crate) fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    ends_with(essence, "/json") || ends_with(essence, "+json")
}

/// Whether the data is text in UTF-8, by its type; the bytes may still be anything.
pub(crate) fn is_text(content_type: &str) -> bool {
    const TEXTUAL: [&str; 8] = [
        "application/xml",
        "application/yaml",
        "application/x-yaml",
        "application/toml",
        "application/javascript",
        "application/graphql",
        "application/sql",
        "application/x-www-form-urlencoded",
    ];
    let essence = essence(content_type);
    let textual = starts_with(essence, "text/")
        || ends_with(essence, "+xml")
        || ends_with(essence, "+yaml")
        || TEXTUAL.iter().any(|textual| essence.eq_ignore_ascii_case(textual));
    textual && charset_is_utf8(content_type)
}

/// Whether the charset is UTF-8 or a part of it, or none is named.
pub(crate) fn charset_is_utf8(content_type: &str) -> bool {
    parameter(content_type, "charset").is_none_or(|charset| {
        ["utf-8", "utf8", "us-ascii"]
            .iter()
            .any(|known| charset.trim_matches('"').eq_ignore_ascii_case(known))
    })
}

/// The type and subtype, without parameters.
pub(crate) fn essence(content_type: &str) -> &str {
    content_type.split_once(';').map_or(content_type, |(essence, _)| essence).trim_matches([' ', '\t'])
}

/// Whether it is `type/subtype` with anything printable after a semicolon (RFC 9110, 8.3.1).
pub(crate) fn is_valid(content_type: &str) -> bool {
    let is_token = |text: &str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(legal)
    };
    let printable = content_type.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    printable
        && essence(content_type)
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

/// A parameter's value. One inside a quoted string of another is found too, which no real content type has.
fn parameter<'a>(content_type: &'a str, name: &str) -> Option<&'a str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (found, value) = parameter.split_once('=')?;
        found.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn ends_with(text: &str, suffix: &str) -> bool {
    let start = text.len().checked_sub(suffix.len());
    start.and_then(|start| text.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_by_subtype_or_suffix() {
        for json in
            ["application/json", "Application/JSON; charset=utf-8", "text/json", "application/problem+json"]
        {
            assert!(is_json(json), "{json}");
        }
        for other in
            ["application/jsonl", "text/plain; x=application/json", "json", "+jsonx", "application/x-ndjson"]
        {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn text_in_another_charset_is_not_text() {
        assert!(is_text("text/csv"));
        assert!(is_text("image/svg+xml; charset=\"UTF-8\""));
        assert!(!is_text("text/plain; charset=iso-8859-1"));
        assert!(!is_text("application/octet-stream"));
    }

    #[test]
    fn a_content_type_has_two_tokens() {
        assert!(is_valid("application/vnd.x+json; v=1"));
        for bad in ["", "json", "/json", "a/", "a/b c", "a b/c", "a/b;\n", "a/b;é"] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }
}
