//! TLS on the front doors: which certificate is shown, who is asked for one, and how both change while the server runs.
//!
//! ```text
//! options        the `tls` table of a door's section
//! files          what the options name, read and checked: a certificate chain, its key, and who may vouch for clients
//! certificates   what is shown now; reads the files again when they change, or when asked to
//! handshake      from an accepted socket to a [`Stream`], within a deadline
//! stream         a connection's bytes, with or without TLS: all that the doors know of it
//! ```
//!
//! - The handshake is the connection's own task's: a client that is slow at it costs its own place and no other.
//! - A pair of files that cannot be used changes nothing: the one before stays, and connections that are open keep theirs.
//! - Nothing is said to who sends no TLS (but the HTTP door's short answer, to what cannot be TLS): what is an alert to one
//!   client is a row of acknowledgements to another, which sends frames.
//! - A client certificate says that a client may connect, not what it may do: that is what API keys are for.

mod certificate;
mod certificates;
mod error;
mod files;
mod handshake;
mod metrics;
mod options;
mod stream;

pub use certificates::Certificates;
pub(crate) use certificates::kept_fresh;
pub use error::{TlsError, TlsFileProblem};
pub(crate) use files::read_certificates;
pub(crate) use handshake::accept;
pub(crate) use metrics::TlsMetrics;
pub use options::{ClientCertificates, TlsOptions};
pub(crate) use stream::{ReadHalf, Stream, WriteHalf, say_goodbye};
