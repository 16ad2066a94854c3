//! `eventrelay tenants`.

use clap::{Args, Subcommand};

use super::{ApiArguments, ConsentArguments, ListArguments, RevisionArguments};

#[derive(Debug, Subcommand)]
#[command(after_help = "\
All ask a running server, which wants a key with the scope `admin` in EVENTRELAY_API_KEY where auth.required is set.")]
pub(crate) enum TenantsCommand {
    /// Make a tenant
    Create(CreateTenantArguments),
    /// List the tenants
    List(ListArguments),
    /// Show a tenant
    Get(TenantArguments),
    /// Change what a tenant is called, or what is noted of it
    Update(UpdateTenantArguments),
    /// Remove a tenant that has nothing left
    Delete(DeleteTenantArguments),
}

#[derive(Debug, Args)]
pub(crate) struct TenantArguments {
    /// The tenant's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct CreateTenantArguments {
    #[command(flatten)]
    pub(crate) tenant: TenantArguments,
    /// What people call it
    #[arg(long, value_name = "NAME")]
    pub(crate) display_name: Option<String>,
    /// Something to note, such as `team=shop`; may be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = note)]
    pub(crate) metadata: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateTenantArguments {
    #[command(flatten)]
    pub(crate) tenant: TenantArguments,
    /// What people call it
    #[arg(long, value_name = "NAME", required_unless_present = "metadata")]
    pub(crate) display_name: Option<String>,
    /// What to note in place of all that is noted; may be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = note)]
    pub(crate) metadata: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) revision: RevisionArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteTenantArguments {
    #[command(flatten)]
    pub(crate) tenant: TenantArguments,
    /// Delete its subscriptions, keys and users too
    #[arg(long)]
    pub(crate) cascade: bool,
    #[command(flatten)]
    pub(crate) consent: ConsentArguments,
}

fn note(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
