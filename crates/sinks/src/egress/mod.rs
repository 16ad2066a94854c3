//! The only way out: every outgoing connection of every sink is made here, so that none can be talked into
//! reaching the inside of the network it runs in (server-side request forgery).
//!
//! One connection, in this order:
//! 1. The URL is parsed once (`Endpoint`). The `url` crate normalises every spelling of an IPv4 address
//!    (decimal, octal, hexadecimal, short) to the address itself, and what is parsed is what is dialled.
//! 2. An address in the URL is judged by [`AddressPolicy`]. A name is resolved, and if *any* of its addresses
//!    is forbidden, all are refused: who controls the name must not be able to try until the order suits.
//! 3. The judged address itself is dialled, never the name again, so that a second DNS answer changes
//!    nothing.
//! 4. The socket's peer address is judged once more.
//! 5. TLS checks the certificate against the name in the URL (`ClientTls`).
//!
//! Proxies from the environment and redirects do not exist here.

mod address;
mod connector;
mod endpoint;
mod named_addresses;
mod resolver;
mod server;
mod stream;
mod tls;

pub use address::{AddressPolicy, Forbidden};
pub use resolver::{Resolve, SystemResolver};

pub(crate) use connector::{ConnectError, Connector, Established};
pub(crate) use endpoint::Endpoint;
pub(crate) use named_addresses::AddressNames;
pub(crate) use server::{Scheme, Server, Servers};
pub(crate) use stream::Stream;
pub(crate) use tls::{ClientTls, ClientTlsSettings, Identity, Protocols, TlsSettingsError};
