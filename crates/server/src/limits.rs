//! Checks that the limits of a front door's section make sense.

/// A limit that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{section}.{name} = {value}: must be {expected}")]
pub struct OptionsError {
    /// The section of the configuration.
    pub section: &'static str,
    /// The option's name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// What it must be.
    pub expected: &'static str,
}

/// Checks the limits of one section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LimitCheck {
    pub(crate) section: &'static str,
}

impl LimitCheck {
    pub(crate) fn at_least(
        self,
        name: &'static str,
        value: usize,
        least: usize,
        expected: &'static str,
    ) -> Result<(), OptionsError> {
        if value < least { Err(self.error(name, &value, expected)) } else { Ok(()) }
    }

    pub(crate) fn at_most(
        self,
        name: &'static str,
        value: usize,
        most: usize,
        expected: &'static str,
    ) -> Result<(), OptionsError> {
        if value > most { Err(self.error(name, &value, expected)) } else { Ok(()) }
    }

    /// Refuses the first that is zero.
    pub(crate) fn none_zero<const N: usize>(
        self,
        values: [(&'static str, u64); N],
    ) -> Result<(), OptionsError> {
        match values.into_iter().find(|(_, value)| *value == 0) {
            Some((name, value)) => Err(self.error(name, &value, "at least 1")),
            None => Ok(()),
        }
    }

    pub(crate) fn error(
        self,
        name: &'static str,
        value: &impl ToString,
        expected: &'static str,
    ) -> OptionsError {
        OptionsError { section: self.section, name, value: value.to_string(), expected }
    }
}
