//! `eventrelay keys`.

use clap::{Args, Subcommand};

use super::ApiArguments;

#[derive(Debug, Subcommand)]
#[command(after_help = "\
All but `generate` ask a running server, which wants a key with the scope `tenant_admin`, or `admin` for other tenants, in
EVENTRELAY_API_KEY where auth.required is set.")]
pub(crate) enum KeysCommand {
    /// Make a key and print it, this once
    Create(CreateKeyArguments),
    /// List the keys: whose they are and what they may do, not what they say
    List(ApiArguments),
    /// Show a key: whose it is and what it may do
    Get(KeyArguments),
    /// End a key for good, at once
    Revoke(KeyArguments),
    /// Print a key for auth.bootstrap_key_file; asks no server
    Generate,
}

#[derive(Debug, Args)]
pub(crate) struct CreateKeyArguments {
    /// What to call it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// What it may do: publish, read, consume, manage, tenant_admin, admin
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true)]
    pub(crate) scopes: Vec<String>,
    /// Whose events it is for [default: the tenant of the key that asks; with the scope `admin`, `default`]
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// When it ends by itself, in seconds from now [default: never]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) expires_in_seconds: Option<u64>,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArguments {
    /// The key's id, as `list` shows it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}
