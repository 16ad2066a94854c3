//! S3's key. What files hold of it is read anew for each request: a key that is lent for a while is replaced in its file
//! before it ends, and a wrong one is repaired there.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use object_store::{CredentialProvider, StaticCredentialProvider};

use super::failure::{FailureKind, StoreFailure};
use super::settings::{KIND, S3};
use super::target::required;
use crate::setting_files::SecretSource;
use crate::{Environment, Secret, SinkError};

/// Where the key's parts are.
pub(super) struct S3Keys {
    id: Source,
    key: Source,
    token: Source,
    environment: Environment,
}

/// Where one part is.
struct Source {
    field: &'static str,
    value: Option<Secret>,
    file: Option<PathBuf>,
    env: Option<String>,
}

impl S3Keys {
    pub(super) fn of(s3: &S3, environment: &Environment) -> Self {
        let source = |field, value: &Option<Secret>, file: &Option<PathBuf>, env: &Option<String>| Source {
            field,
            value: value.as_ref().map(|secret| Secret::new(secret.expose().to_owned())),
            file: file.clone(),
            env: env.clone(),
        };
        Self {
            id: source("access_key_id", &s3.access_key_id, &s3.access_key_id_file, &s3.access_key_id_env),
            key: source(
                "secret_access_key",
                &s3.secret_access_key,
                &s3.secret_access_key_file,
                &s3.secret_access_key_env,
            ),
            token: source("session_token", &s3.session_token, &s3.session_token_file, &s3.session_token_env),
            environment: environment.clone(),
        }
    }

    /// What gives the library the key. Reads it once, so that what is wrong with it is said now.
    pub(super) fn provider(self) -> Result<AwsCredentialProvider, SinkError> {
        let now = self.read()?;
        let in_files = [&self.id, &self.key, &self.token].iter().any(|source| source.file.is_some());
        if in_files {
            return Ok(Arc::new(KeyFiles(Arc::new(self))));
        }
        Ok(Arc::new(StaticCredentialProvider::new(now)))
    }

    /// Reads files: not for async tasks.
    fn read(&self) -> Result<AwsCredential, SinkError> {
        let id = required("s3.access_key_id", self.id.read(&self.environment)?)?;
        let key = required("s3.secret_access_key", self.key.read(&self.environment)?)?;
        let token = self.token.read(&self.environment)?;
        Ok(AwsCredential {
            key_id: id.expose().to_owned(),
            secret_key: key.expose().to_owned(),
            token: token.map(|token| token.expose().to_owned()),
        })
    }
}

impl Source {
    fn read(&self, environment: &Environment) -> Result<Option<Secret>, SinkError> {
        let source = SecretSource {
            field: self.field,
            value: self.value.as_ref(),
            file: self.file.as_deref(),
            env: self.env.as_deref(),
        };
        source.read(KIND, environment)
    }
}

/// A key that is in files.
struct KeyFiles(Arc<S3Keys>);

#[async_trait]
impl CredentialProvider for KeyFiles {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let keys = Arc::clone(&self.0);
        let failed = |why: String| {
            let source = Box::new(StoreFailure::new(FailureKind::Forbidden, why));
            object_store::Error::Generic { store: "S3", source }
        };
        let read = tokio::task::spawn_blocking(move || keys.read()).await;
        let key = read.map_err(|stopped| failed(stopped.to_string()))?;
        key.map(Arc::new).map_err(|error| failed(error.to_string()))
    }
}

impl fmt::Debug for KeyFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFiles")
    }
}
