//! Who we are to a server.

use async_nats::ConnectOptions;

use super::settings::{KIND, Settings};
use crate::setting_files::SecretSource;
use crate::{Environment, Secret, SinkError, settings};

/// What a seed of a user's nkey is: `SU` and base32, 58 characters together.
const SEED_CHARS: usize = 58;

/// One way to log in.
#[derive(Debug)]
pub(super) enum Login {
    Nobody,
    Password { user: String, password: Secret },
    Token(Secret),
    NkeySeed(Secret),
    Credentials(Secret),
}

impl Login {
    /// Reads the files and variables that the settings name.
    pub(super) fn of(settings: &Settings, environment: &Environment) -> Result<Self, SinkError> {
        let read = |field, value, file, env| -> Result<Option<Secret>, SinkError> {
            let source = SecretSource { field, value, file, env };
            let secret = source.read(KIND, environment)?;
            match secret {
                Some(secret) if secret.expose().is_empty() => Err(settings::refused(KIND, field, "is empty")),
                secret => Ok(secret),
            }
        };
        let Settings { user, password, token, nkey_seed, credentials, .. } = settings;
        let password = read(
            "password",
            password.as_ref(),
            settings.password_file.as_deref(),
            settings.password_env.as_deref(),
        )?;
        let token =
            read("token", token.as_ref(), settings.token_file.as_deref(), settings.token_env.as_deref())?;
        let seed = read(
            "nkey_seed",
            nkey_seed.as_ref(),
            settings.nkey_seed_file.as_deref(),
            settings.nkey_seed_env.as_deref(),
        )?;
        let credentials = read(
            "credentials",
            credentials.as_ref(),
            settings.credentials_file.as_deref(),
            settings.credentials_env.as_deref(),
        )?;
        if let (Some(user), Some(password)) = (user, password) {
            return Ok(Self::Password { user: user.clone(), password });
        }
        if let Some(token) = token {
            return Ok(Self::Token(token));
        }
        if let Some(seed) = seed {
            let text = seed.expose();
            if text.len() != SEED_CHARS
                || !text.starts_with("SU")
                || !text.bytes().all(|byte| byte.is_ascii_alphanumeric())
            {
                return Err(settings::refused(KIND, "nkey_seed", "is not the seed of a user's nkey (SU…)"));
            }
            return Ok(Self::NkeySeed(seed));
        }
        let Some(credentials) = credentials else { return Ok(Self::Nobody) };
        // The library asks for an end of line behind the last one, and secrets come without.
        let credentials = Secret::new(format!("{}\n", credentials.expose().trim_end()));
        // The library's error may quote what it read.
        ConnectOptions::new()
            .credentials(credentials.expose())
            .map_err(|_| settings::refused(KIND, "credentials", "holds no user JWT and nkey seed"))?;
        Ok(Self::Credentials(credentials))
    }

    /// What the library is to say at a connection's beginning.
    pub(super) fn options(&self) -> Result<ConnectOptions, String> {
        let options = ConnectOptions::new();
        Ok(match self {
            Self::Nobody => options,
            Self::Password { user, password } => {
                options.user_and_password(user.clone(), password.expose().to_owned())
            }
            Self::Token(token) => options.token(token.expose().to_owned()),
            Self::NkeySeed(seed) => options.nkey(seed.expose().to_owned()),
            Self::Credentials(text) => options
                .credentials(text.expose())
                .map_err(|_| "the credentials hold no user JWT and nkey seed".to_owned())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn login(extra: &Value, trusted_settings: bool) -> Result<Login, String> {
        let mut value = json!({"servers": ["nats://a"], "subject": "s"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(value).unwrap();
        let environment = Environment { trusted_settings, ..Environment::default() };
        Login::of(&settings, &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn secrets_come_from_values_and_files_and_are_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "canary\n").unwrap();
        let password = login(&json!({"user": "relay", "password_file": file.path()}), true).unwrap();
        assert!(
            matches!(&password, Login::Password { user, password } if user == "relay" && password.expose() == "canary")
        );
        assert!(!format!("{password:?}").contains("canary"));
        assert!(matches!(login(&json!({"token": "t"}), false), Ok(Login::Token(_))));
        assert!(matches!(login(&json!({}), false), Ok(Login::Nobody)));
        assert!(login(&json!({"token_file": file.path()}), false).unwrap_err().contains("`token_file`"));
    }

    #[test]
    fn what_is_no_secret_of_its_kind_is_refused_and_not_quoted() {
        for field in ["nkey_seed", "credentials"] {
            let error = login(&json!({field: "canary"}), false).unwrap_err();
            assert!(error.contains(&format!("`{field}`")) && !error.contains("canary"), "{error}");
        }
        assert!(login(&json!({"token": ""}), false).unwrap_err().contains("is empty"));
    }
}
