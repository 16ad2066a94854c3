//! Who we are to a server.
//!
//! A password in a file is read again for every connection, so that one that was wrong or has changed is put right
//! without a restart.

use std::path::{Path, PathBuf};

use redis::{ProtocolVersion, RedisConnectionInfo};

use super::settings::{KIND, Settings};
use crate::setting_files::SecretSource;
use crate::{Environment, Secret, SinkError, settings};

/// A user and its password, or nobody.
#[derive(Debug)]
pub(super) struct Login {
    user: Option<String>,
    password: Option<Secret>,
    file: Option<PathBuf>,
    field: &'static str,
    environment: Environment,
}

impl Login {
    /// Who we are to Redis itself. Reads the file or variable that the settings name.
    pub(super) fn of(settings: &Settings, environment: &Environment) -> Result<Self, SinkError> {
        let source = SecretSource {
            field: "password",
            value: settings.password.as_ref(),
            file: settings.password_file.as_deref(),
            env: settings.password_env.as_deref(),
        };
        Self::read(settings.user.clone(), &source, environment)
    }

    /// Who we are to the sentinels.
    pub(super) fn of_sentinel(settings: &Settings, environment: &Environment) -> Result<Self, SinkError> {
        let source = SecretSource {
            field: "sentinel_password",
            value: settings.sentinel_password.as_ref(),
            file: settings.sentinel_password_file.as_deref(),
            env: settings.sentinel_password_env.as_deref(),
        };
        Self::read(settings.sentinel_user.clone(), &source, environment)
    }

    fn read(
        user: Option<String>,
        source: &SecretSource<'_>,
        environment: &Environment,
    ) -> Result<Self, SinkError> {
        let password = source.read(KIND, environment)?;
        if password.as_ref().is_some_and(|password| password.expose().is_empty()) {
            return Err(settings::refused(KIND, source.field, "is empty"));
        }
        let file = source.file.map(Path::to_owned);
        Ok(Self { user, password, file, field: source.field, environment: environment.clone() })
    }

    /// The name of the user, for people.
    pub(super) fn user(&self) -> &str {
        self.user.as_deref().unwrap_or("default")
    }

    /// What the client library says at a connection's beginning. The error shows no secret.
    pub(super) async fn connection_info(&self, database: u16) -> Result<RedisConnectionInfo, String> {
        let info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP2)
            .set_lib_name("eventrelay", env!("CARGO_PKG_VERSION"))
            .set_db(i64::from(database));
        let info = match &self.user {
            Some(user) => info.set_username(user),
            None => info,
        };
        let read_again = self.read_again().await?;
        Ok(match read_again.as_ref().or(self.password.as_ref()) {
            Some(password) => info.set_password(password.expose()),
            None => info,
        })
    }

    /// The password that the file has now; none where there is no file.
    async fn read_again(&self) -> Result<Option<Secret>, String> {
        let Some(path) = self.file.clone() else { return Ok(None) };
        let (field, environment) = (self.field, self.environment.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let source = SecretSource { field, value: None, file: Some(&path), env: None };
            source.read(KIND, &environment).map_err(|error| error.to_string())
        });
        reading.await.map_err(|_| format!("`{field}_file` could not be read"))?
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn login(extra: &Value, trusted_settings: bool) -> Result<Login, String> {
        let mut value = json!({"servers": ["redis://a"], "stream": "s"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(value).unwrap();
        let environment = Environment { trusted_settings, ..Environment::default() };
        Login::of(&settings, &environment).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_password_in_a_file_is_read_for_every_connection_and_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "canary\n").unwrap();
        let login = login(&json!({"user": "relay", "password_file": file.path()}), true).unwrap();
        assert!(!format!("{login:?}").contains("canary"));
        let info = login.connection_info(3).await.unwrap();
        assert_eq!((info.username(), info.password(), info.db()), (Some("relay"), Some("canary"), 3));
        std::fs::write(file.path(), "changed").unwrap();
        assert_eq!(login.connection_info(0).await.unwrap().password(), Some("changed"));
        file.close().unwrap();
        let error = login.connection_info(0).await.unwrap_err();
        assert!(error.contains("`password`") && !error.contains("changed"), "{error}");
    }

    #[tokio::test]
    async fn a_password_needs_no_user_and_nobody_needs_neither() {
        let by_value = login(&json!({"password": "canary"}), false).unwrap();
        let info = by_value.connection_info(0).await.unwrap();
        assert_eq!((info.username(), info.password()), (None, Some("canary")));
        assert!(login(&json!({}), false).unwrap().connection_info(0).await.unwrap().password().is_none());
        assert!(login(&json!({"password": ""}), false).unwrap_err().contains("is empty"));
        assert!(login(&json!({"password_file": "x"}), false).unwrap_err().contains("`password_file`"));
    }
}
