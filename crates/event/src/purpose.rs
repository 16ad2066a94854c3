//! Why an event is on its way to a subscription.

/// Why an event is on its way to a subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Purpose {
    /// The subscription's cursor has come to it.
    #[default]
    Live,
    /// It was a dead letter, and somebody asked for another try.
    Redrive,
    /// Somebody asked for a part of the log again. The target has it already, and wants it once more.
    Replay,
}

impl Purpose {
    /// The stable name: `live`, `redrive` or `replay`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Redrive => "redrive",
            Self::Replay => "replay",
        }
    }

    /// The purpose of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Live, Self::Redrive, Self::Replay].into_iter().find(|purpose| purpose.name() == name)
    }
}
