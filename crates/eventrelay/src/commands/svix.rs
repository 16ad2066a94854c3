//! `eventrelay svix`: what clients of Svix need.

use std::time::Duration;

use eventrelay::{Config, Sources};
use eventrelay_server::http::organization_token;

use crate::arguments::{SvixCommand, SvixTokenArguments};
use crate::exit::Failure;
use crate::stdout;

/// Runs one of them.
pub(crate) fn run(command: SvixCommand) -> Result<(), Failure> {
    match command {
        SvixCommand::Token(arguments) => token(arguments),
    }
}

/// Signs a token with the secret that `serve` would read.
fn token(arguments: SvixTokenArguments) -> Result<(), Failure> {
    let config = Config::load(&Sources { file: arguments.config, ..Sources::default() })?;
    let secret = config.compat.jwt_secret().map_err(|error| Failure::usage(error.to_string()))?;
    let secret = secret.ok_or_else(|| {
        Failure::usage(
            "there is no secret to sign with: set compat.svix_jwt_secret_file, or use an API key as the token",
        )
    })?;
    let lifetime = arguments.expires_in_seconds.map(Duration::from_secs);
    stdout::answer(organization_token(&secret, lifetime).expose())
}
