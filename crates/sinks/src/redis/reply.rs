//! What a server answers, and what its errors mean.
//!
//! | error | meaning |
//! |---|---|
//! | `WRONGTYPE`, elements too large | this entry will never be taken |
//! | `NOPERM` | this entry is not taken as things are |
//! | an id that is not above the stream's top | this id was passed |
//! | `MOVED`, `ASK` | another node has the slot |
//! | `READONLY`, `MASTERDOWN`, `CLUSTERDOWN`, `NOAUTH`, `NOREPLICAS` | this server is not the one to write to, or we must log in again: the next try makes a new connection |
//! | `LOADING`, `OOM`, `MISCONF`, `TRYAGAIN`, `BUSY` and all others | the server cannot now |

use redis::{ServerError, Value};

/// How much of a server's words is kept.
const WORDS_CHARS: usize = 300;

/// A server's error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerWord {
    code: String,
    /// The rest of it, cut to a limit.
    words: String,
}

/// What an error says of the command that it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It can never be done.
    Never,
    /// It cannot be done now; others may.
    NotNow,
    /// Its id is not above the stream's top.
    Passed,
    /// The slot is at another node. `once` is for this request only.
    Elsewhere { address: String, once: bool },
    /// The server can do nothing of the kind now.
    Unavailable {
        /// Whether another connection may lead to a server that can.
        reconnect: bool,
    },
}

impl ServerWord {
    pub(super) fn of(error: &ServerError) -> Self {
        let words = error.details().unwrap_or_default();
        let end = words.char_indices().nth(WORDS_CHARS).map_or(words.len(), |(end, _)| end);
        Self { code: error.code().to_owned(), words: words[..end].to_owned() }
    }

    pub(super) fn code(&self) -> &str {
        &self.code
    }

    pub(super) fn meaning(&self) -> Meaning {
        match self.code.as_str() {
            "WRONGTYPE" => Meaning::Never,
            "NOPERM" => Meaning::NotNow,
            "MOVED" | "ASK" => match self.words.split_whitespace().nth(1) {
                Some(address) => Meaning::Elsewhere { address: address.to_owned(), once: self.code == "ASK" },
                None => Meaning::Unavailable { reconnect: true },
            },
            "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "NOAUTH" | "NOREPLICAS" => {
                Meaning::Unavailable { reconnect: true }
            }
            "ERR" if self.words.contains("equal or smaller than the target stream top item") => {
                Meaning::Passed
            }
            "ERR" if self.words.contains("Elements are too large") => Meaning::Never,
            _ => Meaning::Unavailable { reconnect: false },
        }
    }
}

/// For people.
impl std::fmt::Display for ServerWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redis refused: {} {}", self.code, self.words)
    }
}

/// The items of an answer that is a list; none of any other.
pub(super) fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

/// An answer that is a text.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// An answer that is a number.
pub(super) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        other => text(other)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(code: &str, words: &str) -> Meaning {
        ServerWord { code: code.to_owned(), words: words.to_owned() }.meaning()
    }

    #[test]
    fn only_what_lies_in_the_entry_is_final() {
        assert_eq!(meaning("WRONGTYPE", "Operation against a key"), Meaning::Never);
        assert_eq!(meaning("ERR", "Elements are too large to be stored"), Meaning::Never);
        assert_eq!(meaning("NOPERM", "this user has no permissions"), Meaning::NotNow);
        let passed = "The ID specified in XADD is equal or smaller than the target stream top item";
        assert_eq!(meaning("ERR", passed), Meaning::Passed);
        for code in ["LOADING", "OOM", "MISCONF", "TRYAGAIN", "BUSY", "ERR", "NEWER"] {
            assert_eq!(meaning(code, "words"), Meaning::Unavailable { reconnect: false }, "{code}");
        }
        for code in ["READONLY", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH"] {
            assert_eq!(meaning(code, "words"), Meaning::Unavailable { reconnect: true }, "{code}");
        }
    }

    #[test]
    fn a_redirection_names_a_node() {
        let address = "10.0.0.1:7001".to_owned();
        assert_eq!(
            meaning("MOVED", "3999 10.0.0.1:7001"),
            Meaning::Elsewhere { address: address.clone(), once: false }
        );
        assert_eq!(meaning("ASK", "3999 10.0.0.1:7001"), Meaning::Elsewhere { address, once: true });
        assert_eq!(meaning("MOVED", "nonsense"), Meaning::Unavailable { reconnect: true });
    }
}
