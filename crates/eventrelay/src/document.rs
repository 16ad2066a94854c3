//! Documents that users hand in: a file or stdin, in JSON or in TOML.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::exit::Failure;

/// The largest document, which is what the server takes.
const MAX_BYTES: u64 = 1 << 20;

/// The text of a file, or of stdin where it is `-`.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let cannot = |error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let source: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(path).map_err(cannot)?),
    };
    let mut text = String::new();
    source.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Failure::usage(format!("{} has more than {MAX_BYTES} bytes", path.display())));
    }
    Ok(text)
}

/// An object: JSON where it begins with a brace, else TOML.
pub(crate) fn read(path: &Path) -> Result<Value, Failure> {
    let text = read_text(path)?;
    let malformed = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", path.display()));
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(&text).map_err(|error| malformed(&error));
    }
    let table: toml::Table = text.parse().map_err(|error| malformed(&error))?;
    of_toml(toml::Value::Table(table)).map_err(|why| malformed(&why))
}

/// A time becomes its text, as the API takes it.
fn of_toml(value: toml::Value) -> Result<Value, &'static str> {
    match value {
        toml::Value::String(text) => Ok(text.into()),
        toml::Value::Integer(number) => Ok(number.into()),
        toml::Value::Boolean(flag) => Ok(flag.into()),
        toml::Value::Datetime(time) => Ok(time.to_string().into()),
        toml::Value::Float(number) => {
            serde_json::Number::from_f64(number).map(Value::Number).ok_or("a number is not finite")
        }
        toml::Value::Array(items) => items.into_iter().map(of_toml).collect(),
        toml::Value::Table(members) => {
            members.into_iter().map(|(name, value)| Ok((name, of_toml(value)?))).collect()
        }
    }
}

/// Puts a value at a path such as `retry.max_attempts`, making the objects on the way.
pub(crate) fn set(document: &mut Value, path: &str, value: Value) -> Result<(), Failure> {
    let mut at = document;
    for name in path.split('.') {
        if at.is_null() {
            *at = Value::Object(serde_json::Map::new());
        }
        let members = at.as_object_mut().filter(|_| !name.is_empty());
        let members =
            members.ok_or_else(|| Failure::usage(format!("`{path}` is no path into this document")))?;
        at = members.entry(name).or_insert(Value::Null);
    }
    *at = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_makes_the_objects_on_its_way() {
        let mut document = json!({"retry": {"max_attempts": 3}, "order": "strict"});
        set(&mut document, "retry.timeout_ms", json!(5)).unwrap();
        set(&mut document, "sink.kind", json!("stdout")).unwrap();
        let wanted = json!({"retry": {"max_attempts": 3, "timeout_ms": 5}, "order": "strict", "sink": {"kind": "stdout"}});
        assert_eq!(document, wanted);
        for wrong in ["order.by", "", "retry..x"] {
            assert!(set(&mut document, wrong, json!(1)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn toml_is_read_as_the_json_that_the_api_takes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(
            &path,
            "name = 'a'\nstart = { time = 2026-01-31T00:00:00Z }\n[filter]\ntypes = ['x.*']\n",
        )
        .unwrap();
        let wanted =
            json!({"name": "a", "start": {"time": "2026-01-31T00:00:00Z"}, "filter": {"types": ["x.*"]}});
        assert_eq!(read(&path).unwrap(), wanted);
    }
}
