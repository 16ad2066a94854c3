//! What the API answered, for programs (`--json`: as it is) or for people.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::{Page, parse};
use crate::exit::Failure;
use crate::stdout;
use crate::table::{self, Column};

/// A document as the server sent it.
pub(crate) fn json(document: &[u8]) -> Result<(), Failure> {
    stdout::line(&stdout::without_controls(document.trim_ascii())).map(|_| ())
}

/// A document, or what `for_people` makes of it.
pub(crate) fn document(
    document: &Bytes,
    as_json: bool,
    for_people: impl FnOnce(&Value) -> String,
) -> Result<(), Failure> {
    if as_json {
        return json(document);
    }
    stdout::answer(&for_people(&parse(document)?))
}

/// One thing with all its members.
pub(crate) fn thing(thing: &Bytes, as_json: bool) -> Result<(), Failure> {
    document(thing, as_json, table::members)
}

/// Items of a list: `{"data": […], "next": …}`, or a table.
pub(crate) fn page(page: &Page, as_json: bool, columns: &[Column]) -> Result<(), Failure> {
    if as_json {
        let text = serde_json::to_vec(page).map_err(Failure::unexpected)?;
        return json(&text);
    }
    stdout::answer(&table::list(columns, &items(page)?))?;
    if let Some(next) = &page.next {
        eprintln!("There is more: --limit, or --cursor {}", table::printable(next));
    }
    Ok(())
}

/// The items of a list.
pub(crate) fn items<T: DeserializeOwned>(page: &Page) -> Result<Vec<T>, Failure> {
    page.data.iter().map(|item| parse(item.get().as_bytes())).collect()
}
