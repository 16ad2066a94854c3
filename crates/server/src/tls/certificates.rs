//! The certificates that a door shows: loaded at the start, and again when their files change or somebody asks.
//!
//! A whole configuration of rustls is exchanged for another, so that certificate, key and the authorities for clients change
//! together, and sessions that began under the old ones are not resumed. A handshake takes the one that is current when the
//! client's first message is there, and keeps it.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;
use tokio::sync::Notify;

use super::error::TlsError;
use super::files::{Fingerprint, Loaded, TlsFiles};
use super::metrics::TlsMetrics;
use super::options::TlsOptions;

/// What one door shows. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Certificates(Arc<Shown>);

struct Shown {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
    /// What the files looked like before they were read at the start.
    at_start: Fingerprint,
    asked: Notify,
    handshake_timeout: Duration,
    /// None: the files are not looked at unless asked.
    interval: Option<Duration>,
    metrics: TlsMetrics,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.0.files).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads the files that the options name; none where there is to be no TLS. Blocking.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub(crate) fn open(
        section: &'static str,
        options: &TlsOptions,
        protocols: &'static [&'static [u8]],
        metrics: &TlsMetrics,
    ) -> Result<Option<Self>, TlsError> {
        let Some(files) = TlsFiles::new(section, options, protocols) else { return Ok(None) };
        let at_start = files.fingerprint();
        let loaded = files.load()?;
        warn_of(&files, &loaded);
        metrics.shown_until(loaded.validity.until_seconds);
        let interval = options.reload_interval_ms;
        Ok(Some(Self(Arc::new(Shown {
            files,
            current: RwLock::new(loaded.config),
            at_start,
            asked: Notify::new(),
            handshake_timeout: Duration::from_millis(options.handshake_timeout_ms),
            interval: (interval > 0).then(|| Duration::from_millis(interval)),
            metrics: metrics.clone(),
        }))))
    }

    /// Has the files read again soon, whether or not they have changed.
    pub fn request_reload(&self) {
        self.0.asked.notify_one();
    }

    /// What a handshake that begins now uses.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn handshake_timeout(&self) -> Duration {
        self.0.handshake_timeout
    }

    /// Looks at the files, and reads them again when they have changed or somebody asks, for as long as it is polled.
    pub(crate) async fn watch(&self) -> Infallible {
        let mut seen = self.0.at_start.clone();
        loop {
            let asked = tokio::select! {
                () = self.0.asked.notified() => true,
                () = self.interval() => false,
            };
            let (shown, before) = (Arc::clone(&self.0), seen.clone());
            match tokio::task::spawn_blocking(move || shown.look(&before, asked)).await {
                Ok(now) => seen = now,
                Err(error) => tracing::error!(%error, "reading the files of TLS failed"),
            }
        }
    }

    async fn interval(&self) {
        match self.0.interval {
            Some(interval) => tokio::time::sleep(interval).await,
            None => std::future::pending().await,
        }
    }
}

/// Runs `serving`, and keeps the certificates up to date meanwhile.
pub(crate) async fn kept_fresh<T>(
    certificates: Option<&Certificates>,
    serving: impl Future<Output = T>,
) -> T {
    let Some(certificates) = certificates else { return serving.await };
    tokio::select! {
        ended = serving => ended,
        never = certificates.watch() => match never {},
    }
}

impl Shown {
    /// Reads the files if they look different, or it has to be. What cannot be used is tried again when it has changed.
    fn look(&self, before: &Fingerprint, asked: bool) -> Fingerprint {
        let now = self.files.fingerprint();
        if asked || now != *before {
            self.reload();
        }
        now
    }

    fn reload(&self) {
        let section = self.files.section();
        let loaded = self.files.load();
        self.metrics.count_reload(loaded.is_ok());
        match loaded {
            Ok(loaded) => {
                warn_of(&self.files, &loaded);
                let expires_in_seconds = loaded.validity.until_seconds - now_seconds();
                self.metrics.shown_until(loaded.validity.until_seconds);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded.config;
                tracing::info!(
                    section,
                    expires_in_seconds,
                    "new connections get the certificate as it is now"
                );
            }
            Err(error) => tracing::error!(
                section, %error,
                "the changed files of TLS cannot be used; the certificate before them stays"
            ),
        }
    }
}

/// What works, but not as somebody wants it.
fn warn_of(files: &TlsFiles, loaded: &Loaded) {
    let section = files.section();
    let now = now_seconds();
    if loaded.validity.until_seconds <= now {
        tracing::warn!(
            section,
            expired_for_seconds = now - loaded.validity.until_seconds,
            "the certificate (or one of its chain) has expired: clients will refuse it"
        );
    }
    if loaded.validity.from_seconds > now {
        tracing::warn!(
            section,
            good_in_seconds = loaded.validity.from_seconds - now,
            "the certificate (or one of its chain) is not good yet: clients will refuse it"
        );
    }
    if loaded.key_is_readable_by_others {
        tracing::warn!(
            section, file = %files.key_path().display(),
            "everybody on this machine may read the private key: take that right away (chmod o-r)"
        );
    }
}

fn now_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
