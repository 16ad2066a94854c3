//! Finding keys that do not exist, before anything is merged, so that each is reported with the source it stands in.

use figment::value::{Dict, Value};

use super::load::{Layer, Problem};
use super::{Config, load};

/// The keys of one source that no section has.
pub(super) fn keys(layer: &Layer) -> Vec<Problem> {
    let mut problems = Vec::new();
    match serde_json::to_value(Config::default()) {
        Ok(known) => collect(&layer.values, &known, "", &layer.origin, &mut problems),
        Err(error) => problems.push(Problem { key: String::new(), source: None, why: error.to_string() }),
    }
    problems
}

/// The defaults serve as the list of what exists: an optional key is there with `null`, and a table whose keys are anybody's
/// choice is empty.
fn collect(
    values: &Dict,
    known: &serde_json::Value,
    prefix: &str,
    origin: &load::Origin,
    found: &mut Vec<Problem>,
) {
    let Some(known) = known.as_object().filter(|known| !known.is_empty()) else { return };
    for (name, value) in values {
        let key = format!("{prefix}{name}");
        match (known.get(name), value) {
            (None, _) => {
                let why = match nearest(name, known.keys()) {
                    Some(near) => format!("there is no such key; did you mean `{prefix}{near}`?"),
                    None => "there is no such key".to_owned(),
                };
                found.push(Problem { source: Some(origin.of(&key)), key, why });
            }
            (Some(section), Value::Dict(_, values)) => {
                collect(values, section, &format!("{key}."), origin, found);
            }
            // A plain value where a section belongs is a wrong type, which extraction reports.
            (Some(_), _) => {}
        }
    }
}

/// The known name that was probably meant.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}
