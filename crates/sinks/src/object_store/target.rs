//! Which store the settings mean, and what opens it.
//!
//! Keys come from the settings, a file or the environment, and from nowhere else: the library would otherwise ask a cloud's
//! metadata service or this machine's own configuration, which are the operator's and not a subscription's. They are read
//! once; S3's, which may be lent for a while, anew for each request (`s3_keys.rs`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::RetryConfig;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use url::Url;

use super::guarded_http::GuardedHttp;
use super::s3_keys::S3Keys;
use super::settings::{Azure, Gcs, KIND, Local, S3, Settings};
use crate::egress::Protocols;
use crate::http_client::Target as HttpTarget;
use crate::setting_files::SecretSource;
use crate::{Environment, Secret, SinkError, settings};

/// A store, opened.
pub(super) struct Target {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// What all names of objects begin with.
    pub(super) base: Path,
    /// Its connections, where it has any.
    pub(super) http: Option<GuardedHttp>,
    /// The folder, where it is one of this machine's.
    pub(super) directory: Option<PathBuf>,
    /// What may be shown of it.
    pub(super) shown: String,
}

impl Target {
    /// Opens the store that the settings mean. Reads files that they name; connects to nothing.
    pub(super) fn open(settings: &Settings, environment: &Environment) -> Result<Self, SinkError> {
        if let Some(local) = &settings.local {
            return local_target(local, environment);
        }
        let endpoint = endpoint(settings);
        if let Some((field, url)) = endpoint {
            // What is wrong with it is said now, and not at the first delivery.
            let (_, endpoint) = HttpTarget::parse(KIND, field, url, environment)?;
            let files = &settings.tls;
            let given = files.ca_file.is_some()
                || files.client_certificate_file.is_some()
                || files.insecure_skip_verify;
            if endpoint.tls_name().is_none() && given {
                let why = "does nothing for an http:// endpoint, whose requests anyone on the way can read";
                return Err(settings::refused(KIND, "tls", why));
            }
        }
        let shown = endpoint.map_or("the cloud", |(_, url)| url);
        let tls = settings.tls.client_tls(KIND, Protocols::Http1, &shown, environment)?;
        let http = GuardedHttp::new(
            environment.clone(),
            tls,
            Duration::from_millis(settings.timeout_ms),
            Duration::from_millis(settings.connect_timeout_ms),
        );
        let (objects, shown) = if let Some(s3) = &settings.s3 {
            (open_s3(s3, &http, environment)?, format!("s3 {}", s3.bucket))
        } else if let Some(gcs) = &settings.gcs {
            (open_gcs(gcs, &http, environment)?, format!("gcs {}", gcs.bucket))
        } else if let Some(azure) = &settings.azure {
            (open_azure(azure, &http, environment)?, format!("azure {}", azure.container))
        } else {
            return Err(settings::refused(KIND, ".", "no store is set"));
        };
        Ok(Self { objects, base: Path::default(), http: Some(http), directory: None, shown })
    }
}

/// The field and the value of an endpoint that is not the cloud's own.
fn endpoint(settings: &Settings) -> Option<(&'static str, &str)> {
    let s3 = settings.s3.as_ref().and_then(|it| it.endpoint.as_deref());
    let gcs = settings.gcs.as_ref().and_then(|it| it.endpoint.as_deref());
    let azure = settings.azure.as_ref().and_then(|it| it.endpoint.as_deref());
    s3.map(|url| ("s3.endpoint", url))
        .or(gcs.map(|url| ("gcs.endpoint", url)))
        .or(azure.map(|url| ("azure.endpoint", url)))
}

fn open_s3(
    s3: &S3,
    http: &GuardedHttp,
    environment: &Environment,
) -> Result<Arc<dyn ObjectStore>, SinkError> {
    named("s3.bucket", &s3.bucket)?;
    let path_style = s3.path_style.unwrap_or(s3.endpoint.is_some());
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&s3.bucket)
        .with_region(&s3.region)
        .with_credentials(S3Keys::of(s3, environment).provider()?)
        .with_virtual_hosted_style_request(!path_style)
        .with_allow_http(true)
        .with_retry(never_again())
        .with_http_connector(http.clone());
    if let Some(endpoint) = &s3.endpoint {
        let endpoint = if path_style { endpoint.clone() } else { with_bucket(endpoint, &s3.bucket)? };
        builder = builder.with_endpoint(endpoint);
    }
    Ok(Arc::new(builder.build().map_err(|error| refused("s3", &error))?))
}

fn open_gcs(
    gcs: &Gcs,
    http: &GuardedHttp,
    environment: &Environment,
) -> Result<Arc<dyn ObjectStore>, SinkError> {
    named("gcs.bucket", &gcs.bucket)?;
    let key = SecretSource {
        field: "service_account_key",
        value: gcs.service_account_key.as_ref(),
        file: gcs.service_account_key_file.as_deref(),
        env: gcs.service_account_key_env.as_deref(),
    }
    .read(KIND, environment)?;
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&gcs.bucket)
        .with_service_account_key(required("gcs.service_account_key", key)?.expose())
        .with_retry(never_again())
        .with_http_connector(http.clone());
    if let Some(endpoint) = &gcs.endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    // The library's error may quote the key.
    let why = "the service account's key cannot be used";
    Ok(Arc::new(builder.build().map_err(|_| settings::refused(KIND, "gcs.service_account_key", why))?))
}

fn open_azure(
    azure: &Azure,
    http: &GuardedHttp,
    environment: &Environment,
) -> Result<Arc<dyn ObjectStore>, SinkError> {
    named("azure.account", &azure.account)?;
    named("azure.container", &azure.container)?;
    let secret = |field, value: &Option<Secret>, file: &Option<PathBuf>, env: &Option<String>| {
        let source =
            SecretSource { field, value: value.as_ref(), file: file.as_deref(), env: env.as_deref() };
        source.read(KIND, environment)
    };
    let key = secret("access_key", &azure.access_key, &azure.access_key_file, &azure.access_key_env)?;
    let sas = secret("sas_token", &azure.sas_token, &azure.sas_token_file, &azure.sas_token_env)?;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(&azure.account)
        .with_container_name(&azure.container)
        .with_allow_http(true)
        .with_retry(never_again())
        .with_http_connector(http.clone());
    builder = match (key, sas) {
        (Some(key), None) => builder.with_access_key(key.expose()),
        (None, Some(sas)) => {
            let text = sas.expose().trim_start_matches('?').as_bytes();
            let pairs: Vec<_> = url::form_urlencoded::parse(text).into_owned().collect();
            builder.with_sas_authorization(pairs)
        }
        _ => {
            let why = "exactly one of `access_key` and `sas_token` must be set";
            return Err(settings::refused(KIND, "azure", why));
        }
    };
    if let Some(endpoint) = &azure.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    // The library's error may quote the key.
    let why = "the account, its key or its endpoint cannot be used";
    Ok(Arc::new(builder.build().map_err(|_| settings::refused(KIND, "azure", why))?))
}

fn local_target(local: &Local, environment: &Environment) -> Result<Target, SinkError> {
    let directory = environment.files_directory.join(&local.directory);
    let directory = std::path::absolute(&directory).map_err(|source| SinkError::File {
        kind: KIND,
        field: "local.directory",
        path: directory,
        source,
    })?;
    let base = Path::from_absolute_path(&directory)
        .map_err(|error| settings::refused(KIND, "local.directory", error.to_string()))?;
    let objects: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new().with_fsync(true));
    let shown = format!("local {}", directory.display());
    Ok(Target { objects, base, http: None, directory: Some(directory), shown })
}

/// The dispatcher tries again; the library does not.
fn never_again() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// The endpoint with the bucket in its host's name.
fn with_bucket(endpoint: &str, bucket: &str) -> Result<String, SinkError> {
    let refused = |why: &str| settings::refused(KIND, "s3.endpoint", why);
    let mut url = Url::parse(endpoint).map_err(|_| refused("not a URL"))?;
    let host = match url.host() {
        Some(url::Host::Domain(name)) => format!("{bucket}.{name}"),
        _ => return Err(refused("an address has no room for the bucket's name: set `path_style`")),
    };
    url.set_host(Some(&host)).map_err(|_| refused("the bucket's name cannot be part of a host's"))?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Names of buckets and accounts stand in paths and hosts.
fn named(field: &str, name: &str) -> Result<(), SinkError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=255).contains(&name.len()) && name.bytes().all(legal) && !name.contains("..") && name != "." {
        return Ok(());
    }
    Err(settings::refused(KIND, field, "1 to 255 letters, digits, '-', '_' and '.'"))
}

pub(super) fn required(field: &str, secret: Option<Secret>) -> Result<Secret, SinkError> {
    secret.ok_or_else(|| settings::refused(KIND, field, "is missing"))
}

fn refused(field: &str, error: &object_store::Error) -> SinkError {
    settings::refused(KIND, field, crate::error::chain(error))
}
