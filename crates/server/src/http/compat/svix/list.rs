//! Lists come in pages: `{"data": […], "iterator": "…", "prevIterator": "…", "done": true}`. The iterator names the last item of the
//! page, and leads to those behind it; the other one names the first, with a `-` before it, and leads back.

use eventrelay_state::SvixPage;
use serde::Serialize;

use super::parameters::Parameters;
use super::refusal::Refusal;

/// What leads back begins with it.
const BACK: char = '-';

/// A page of a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    pub(super) iterator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prev_iterator: Option<String>,
    pub(super) done: bool,
}

/// Which page is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) limit: u32,
    /// The item that it begins behind.
    pub(super) behind: Option<String>,
    /// Whether it is the page before that item, not the one after it.
    pub(super) is_back: bool,
}

impl Wanted {
    pub(super) fn of(parameters: &Parameters) -> Result<Self, Refusal> {
        let limit = parameters.limit()?;
        let iterator = parameters.text("iterator").filter(|iterator| !iterator.is_empty());
        let back = iterator.and_then(|iterator| iterator.strip_prefix(BACK));
        Ok(Self { limit, behind: back.or(iterator).map(str::to_owned), is_back: back.is_some() })
    }

    /// The same of a table of names; one more than is wanted, which tells that there is another page.
    pub(super) fn by_name(&self, is_descending: bool) -> SvixPage {
        SvixPage {
            after: self.behind.clone(),
            descending: is_descending != self.is_back,
            limit: self.limit + 1,
        }
    }
}

impl<T> List<T> {
    /// A page of items of which one more than the limit was asked for, in the order in which they were found.
    pub(super) fn new(mut found: Vec<T>, wanted: &Wanted, name: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
        let done = found.len() <= limit;
        found.truncate(limit);
        if wanted.is_back {
            found.reverse();
        }
        let iterator = found.last().map(&name).or_else(|| wanted.behind.clone());
        let first = found.first().map(|first| format!("{BACK}{}", name(first)));
        let prev_iterator = first.filter(|_| wanted.behind.is_some());
        Self { data: found, iterator, prev_iterator, done }
    }

    /// The same of a list that leads on only.
    pub(super) fn one_way(self) -> Self {
        Self { prev_iterator: None, ..self }
    }

    pub(super) fn map<U>(self, change: impl FnMut(T) -> U) -> List<U> {
        let Self { data, iterator, prev_iterator, done } = self;
        List { data: data.into_iter().map(change).collect(), iterator, prev_iterator, done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(behind: Option<&str>, is_back: bool, found: &[&'static str]) -> List<&'static str> {
        let wanted = Wanted { limit: 2, behind: behind.map(str::to_owned), is_back };
        List::new(found.to_vec(), &wanted, |item| (*item).to_owned())
    }

    #[test]
    fn iterators_lead_on_and_back() {
        let first = page(None, false, &["a", "b", "c"]);
        assert_eq!((first.data, first.done), (vec!["a", "b"], false));
        assert_eq!((first.iterator.as_deref(), first.prev_iterator), (Some("b"), None));
        let second = page(Some("b"), false, &["c", "d"]);
        assert_eq!((second.iterator.as_deref(), second.done), (Some("d"), true));
        assert_eq!(second.prev_iterator.as_deref(), Some("-c"));
        let back = page(Some("c"), true, &["b", "a"]);
        assert_eq!((back.data, back.iterator.as_deref()), (vec!["a", "b"], Some("b")));
        assert_eq!(page(Some("d"), false, &[]).iterator.as_deref(), Some("d"));
    }
}
