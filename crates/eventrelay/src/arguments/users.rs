//! `eventrelay users`.

use clap::{Args, Subcommand};

use super::{ApiArguments, ConsentArguments};

#[derive(Debug, Subcommand)]
#[command(after_help = "\
All ask a running server, which wants a key with the scope `tenant_admin`, or `admin` for other tenants, in EVENTRELAY_API_KEY
where auth.required is set.")]
pub(crate) enum UsersCommand {
    /// Make a user and print the id; the password is the first line of stdin, or asked for at a terminal
    Create(CreateUserArguments),
    /// List the users
    List(ApiArguments),
    /// Give a user a new password, from stdin or asked for; whoever is logged in as the user is not any more
    SetPassword(UserArguments),
    /// Remove a user, at once
    Delete(DeleteUserArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CreateUserArguments {
    /// What the user logs in with
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) email: String,
    /// What the user may do: viewer, operator, admin
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: String,
    /// What people call the user
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) name: String,
    /// Where the user has the role, [default: the tenant of the key]; an admin of `default` may do everything
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// Make a user who cannot log in with a password, and read none
    #[arg(long)]
    pub(crate) without_password: bool,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct UserArguments {
    /// The user's id, as `list` shows it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) api: ApiArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteUserArguments {
    #[command(flatten)]
    pub(crate) user: UserArguments,
    #[command(flatten)]
    pub(crate) consent: ConsentArguments,
}
