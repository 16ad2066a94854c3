//! Lists come in pages: `?limit=50&cursor=…`, answered with `{"data": […], "next": "…"}`, where `next` is the cursor of the
//! next page and null at the end.
//!
//! A cursor names the last item of the page before it, so pages neither skip nor repeat what is there all the while. It is
//! opaque: base64url of whatever the list is sorted by.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::{IntoParams, ToSchema};

/// The longest cursor.
const MAX_CURSOR_CHARS: usize = 1024;

/// How many items a page has at most: 1 to 250, 50 where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageLimit(u16);

impl PageLimit {
    const MOST: u16 = 250;

    pub(crate) fn items(self) -> usize {
        usize::from(self.0)
    }

    /// What is asked for, to see whether there is a next page.
    pub(crate) fn one_more(self) -> u32 {
        u32::from(self.0) + 1
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(50)
    }
}

impl<'de> Deserialize<'de> for PageLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.parse().ok().filter(|number| (1..=Self::MOST).contains(number));
        number.map(Self).ok_or_else(|| de::Error::custom(format!("must be 1 to {}", Self::MOST)))
    }
}

/// Where a page begins: after the item that `T` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Cursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.to_string()))
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Cursor<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = Some(text).filter(|text| text.len() <= MAX_CURSOR_CHARS);
        let bytes = bytes.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let item = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|item| item.parse().ok());
        item.map(Self).ok_or_else(|| de::Error::custom("must be the `next` of a page"))
    }
}

/// The parameters of a list that has no others. One with filters has these two fields among its own.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// How many items the page has at most.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 250, default = 50, example = 50)]
    pub(crate) limit: PageLimit,
    /// Where the page begins: the `next` of the one before it.
    #[param(value_type = Option<String>, max_length = 1024)]
    pub(crate) cursor: Option<Cursor<String>>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(bound = "T: ToSchema")]
pub(crate) struct Listed<T> {
    /// The items.
    pub(crate) data: Vec<T>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    pub(crate) next: Option<String>,
}

impl<T> Listed<T> {
    /// A page of items of which one more than the limit was asked for: that one tells that there is a next page.
    pub(crate) fn new<K: fmt::Display>(mut found: Vec<T>, limit: PageLimit, name: impl Fn(&T) -> K) -> Self {
        let has_more = found.len() > limit.items();
        found.truncate(limit.items());
        let next = found.last().filter(|_| has_more).map(|last| Cursor(name(last)).to_string());
        Self { data: found, next }
    }

    pub(crate) fn map<U>(self, change: impl FnMut(T) -> U) -> Listed<U> {
        Listed { data: self.data.into_iter().map(change).collect(), next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_names_the_next_one_until_the_end() {
        let limit = PageLimit(2);
        let first = Listed::new(vec![1, 5, 9], limit, |item| *item);
        let next: Cursor<u64> = serde_json::from_value(json!(first.next.unwrap())).unwrap();
        assert_eq!((first.data, next), (vec![1, 5], Cursor(5)));
        assert_eq!(Listed::new(vec![9, 12], limit, |item| *item).next, None);
    }

    #[test]
    fn a_cursor_that_is_none_of_ours_is_refused() {
        for text in ["", "!", "YWJj", "/w", &"x".repeat(2000)] {
            assert!(serde_json::from_value::<Cursor<u64>>(json!(text)).is_err(), "{text}");
        }
    }
}
