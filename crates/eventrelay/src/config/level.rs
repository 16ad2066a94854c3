//! `logging.level`: a level, then levels by module: `info,eventrelay_delivery=debug`.

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::Logging;

/// A `logging.level` that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{part:?} is not {expected}; for example: info,eventrelay_delivery=debug")]
pub struct LevelError {
    part: String,
    expected: &'static str,
}

impl Logging {
    /// The filter that `level` describes.
    ///
    /// # Errors
    /// When it is not a level followed by `module=level` parts. (`Targets` itself would take a misspelt level for
    /// a module's name.)
    pub fn filter(&self) -> Result<Targets, LevelError> {
        let mut parts = self.level.split(',').map(str::trim);
        let default = level(parts.next().unwrap_or_default())?;
        parts.try_fold(Targets::new().with_default(default), |targets, part| match part.split_once('=') {
            Some((module, name)) if !module.is_empty() => Ok(targets.with_target(module, level(name)?)),
            _ => Err(LevelError { part: part.to_owned(), expected: "module=level" }),
        })
    }
}

fn level(name: &str) -> Result<LevelFilter, LevelError> {
    match name {
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(LevelError { part: name.to_owned(), expected: "error, warn, info, debug or trace" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(level: &str) -> Result<Targets, LevelError> {
        Logging { level: level.to_owned(), ..Logging::default() }.filter()
    }

    #[test]
    fn a_module_can_have_its_own_level() {
        let targets = filter("warn, eventrelay_delivery=debug").unwrap();
        assert!(targets.would_enable("eventrelay_delivery::engine", &tracing::Level::DEBUG));
        assert!(!targets.would_enable("eventrelay_log", &tracing::Level::INFO));
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        for wrong in ["", "loud", "INFO,", "info,delivery", "info,=debug", "info,delivery=loud"] {
            assert!(filter(wrong).is_err(), "{wrong:?}");
        }
    }
}
