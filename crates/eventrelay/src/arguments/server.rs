//! What all commands that ask a running server have alike.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ServerAddress {
    /// The server; or EVENTRELAY_URL, else http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// With https: the authorities to believe instead of the public web's, in PEM; or EVENTRELAY_CA_FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// With https: a certificate to show to a server that asks for one, in PEM; or EVENTRELAY_CLIENT_CERTIFICATE_FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) client_certificate_file: Option<PathBuf>,
    /// With https: the private key of that certificate, in PEM; or EVENTRELAY_CLIENT_KEY_FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) client_key_file: Option<PathBuf>,
}

/// A server whose API is asked.
#[derive(Debug, Args)]
pub(crate) struct ApiArguments {
    /// Print the server's answer as JSON, as it is
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerAddress,
}

/// A list of a server's.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// The most items; as many pages are asked for as that takes
    #[arg(long, value_name = "ITEMS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    /// Where to go on: the `next` of an earlier list
    #[arg(long, value_name = "CURSOR")]
    pub(crate) cursor: Option<String>,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

/// For what cannot be undone.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ConsentArguments {
    /// Do it without asking; needed where nobody can be asked
    #[arg(long, short)]
    pub(crate) yes: bool,
}
