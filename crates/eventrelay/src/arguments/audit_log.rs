//! `eventrelay audit-log`.

use clap::Args;

use super::ListArguments;

#[derive(Debug, Args)]
#[command(after_help = "\
The server wants a key with the scope `tenant_admin`, or `admin` for other tenants, in EVENTRELAY_API_KEY where auth.required is set.")]
pub(crate) struct AuditLogArguments {
    /// Only changes in one tenant
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// Only changes made at this time or later, in RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only changes made before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Only changes by somebody of this id or name
    #[arg(long, value_name = "ID_OR_NAME")]
    pub(crate) actor: Option<String>,
    /// Only changes by this kind of actor: `api_key`, user, anonymous, configuration, system
    #[arg(long, value_name = "KIND")]
    pub(crate) actor_kind: Option<String>,
    /// Only this kind of change, such as `subscription.update`
    #[arg(long, value_name = "ACTION")]
    pub(crate) action: Option<String>,
    /// Only changes of this kind of thing, such as subscription
    #[arg(long, value_name = "KIND")]
    pub(crate) resource_kind: Option<String>,
    /// Only changes of the thing of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) resource_name: Option<String>,
    #[command(flatten)]
    pub(crate) list: ListArguments,
}
