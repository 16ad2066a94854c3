//! Progress bars: on stderr, and only where a person watches.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts bytes to `total`; with no total, a counter. Draws nothing unless stderr is a terminal.
pub(crate) fn bytes(what: &'static str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "{prefix} {bar:32} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg} (ends in {eta})",
        None => "{prefix} {bytes} {binary_bytes_per_sec} {msg}",
    };
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    bar
}

/// A bar that counts offsets to `total`. Draws nothing unless stderr is a terminal.
pub(crate) fn offsets(what: String, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:32} {percent}% {msg} (ends in {eta})") {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    bar
}
