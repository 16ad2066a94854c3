//! Reading the sources of the configuration, and saying of each mistake where it was made.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Serialize;

use super::{Config, ingester_environment, standard_environment, unknown, validate};

/// The prefix of the environment variables that are configuration.
const ENVIRONMENT_PREFIX: &str = "EVENTRELAY_";
/// What follows the prefix in the variables that are no configuration: what the commands show a server, and believe of it.
const NAMES_OF_CLIENTS: [&str; 5] =
    ["url", "api_key", "ca_file", "client_certificate_file", "client_key_file"];
/// The file that is read when none is named and it exists.
const DEFAULT_FILE: &str = "eventrelay.toml";
/// Tells values of the sources from the defaults.
const LAYER_NAME: &str = "configuration source";

/// Where to read the configuration from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A TOML file that must exist. None: `./eventrelay.toml` when there is one.
    pub file: Option<PathBuf>,
    /// What the command line sets.
    pub overrides: Overrides,
}

/// The values that the command line can set; absent ones are left as they are.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Overrides {
    /// `data_directory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_directory: Option<PathBuf>,
    /// `http`.
    pub http: HttpOverrides,
    /// `grpc`.
    pub grpc: GrpcOverrides,
    /// `tcp`.
    pub tcp: TcpOverrides,
    /// `logging`.
    pub logging: LoggingOverrides,
}

/// What the command line can set of `[http]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct HttpOverrides {
    /// `http.listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
}

/// What the command line can set of `[grpc]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct GrpcOverrides {
    /// `grpc.listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
}

/// What the command line can set of `[tcp]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TcpOverrides {
    /// `tcp.frames_listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_listen: Option<String>,
    /// `tcp.lines_listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines_listen: Option<String>,
}

/// What the command line can set of `[logging]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LoggingOverrides {
    /// `logging.level`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, e.g. `log.segment_bytes`; empty when the whole source is unreadable.
    pub key: String,
    /// The file, variable or flag that set it, when one did.
    pub source: Option<String>,
    /// What is wrong and what would be right.
    pub why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.why)?;
        match &self.source {
            Some(source) => write!(f, " (in {source})"),
            None => Ok(()),
        }
    }
}

/// A configuration that cannot be used, with everything that is wrong with it. Never empty.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not valid:{}", lines(.0))]
pub struct ConfigError(pub Vec<Problem>);

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

pub(super) fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let layers = layers(sources).map_err(|problem| ConfigError(vec![problem]))?;
    merged(layers, |name| std::env::var(name).ok())
}

pub(super) fn from_toml(text: &str) -> Result<Config, ConfigError> {
    let layer = layer(Origin::Text, Toml::from_str::<Dict>(text));
    merged(vec![layer.map_err(|problem| ConfigError(vec![problem]))?], |_| None)
}

fn merged(layers: Vec<Layer>, variable: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    let unknown: Vec<Problem> = layers.iter().flat_map(unknown::keys).collect();
    if !unknown.is_empty() {
        return Err(ConfigError(unknown));
    }
    let defaults = Figment::from(Serialized::defaults(Config::default()));
    let merged = layers.into_iter().fold(defaults, Figment::merge);
    let mut config: Config = merged
        .extract()
        .map_err(|errors| ConfigError(errors.into_iter().map(|error| problem_of(&error)).collect()))?;
    if config.compat.ingester && config.compat.ingester_presets {
        let mut made = ingester_environment::subscriptions(variable).map_err(ConfigError)?;
        made.retain(|made| config.subscriptions.iter().all(|declared| declared.name != made.name));
        config.environment_subscriptions = made;
    }
    let problems: Vec<Problem> = validate::problems(&config)
        .into_iter()
        .map(|(key, why)| Problem { source: source_of(&merged, &key), key, why })
        .collect();
    if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
}

/// What one source sets.
pub(super) struct Layer {
    pub(super) origin: Origin,
    pub(super) values: Dict,
}

/// What kind of source it is.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    File(PathBuf),
    Text,
    Environment,
    StandardEnvironment,
    CommandLine,
}

impl Origin {
    /// What to call the place where `key` was set.
    pub(super) fn of(&self, key: &str) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text => "the text".to_owned(),
            Self::Environment => {
                format!("environment variable {ENVIRONMENT_PREFIX}{}", key.replace('.', "__").to_uppercase())
            }
            Self::StandardEnvironment => {
                format!("environment variable {}", standard_environment::variable_of(key))
            }
            Self::CommandLine => "the command line".to_owned(),
        }
    }
}

/// Gives figment the name of the place with every value, so that its errors carry it.
impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        let origin = self.origin.clone();
        Metadata::named(LAYER_NAME).interpolater(move |_, keys| origin.of(&keys.join(".")))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// The sources that there are, the weakest first.
fn layers(sources: &Sources) -> Result<Vec<Layer>, Problem> {
    let environment = Env::prefixed(ENVIRONMENT_PREFIX).ignore(&NAMES_OF_CLIENTS).split("__");
    let mut layers = vec![
        layer(Origin::Environment, values_of(&environment))?,
        layer(Origin::CommandLine, values_of(&Serialized::defaults(&sources.overrides)))?,
    ];
    let file = match &sources.file {
        Some(path) => Some(path.clone()),
        None => Path::new(DEFAULT_FILE).exists().then(|| PathBuf::from(DEFAULT_FILE)),
    };
    if let Some(path) = file {
        // Read here and not by figment, which takes a file that cannot be read for an absent one.
        let text = std::fs::read_to_string(&path)
            .map_err(|error| whole_source(&Origin::File(path.clone()), &error))?;
        let values = Toml::from_str::<Dict>(&text);
        layers.insert(0, layer(Origin::File(path), values)?);
    }
    layers.insert(0, standard_environment::layer(|name| std::env::var(name).ok())?);
    Ok(layers)
}

/// Straight from the provider, so that the values do not carry the mark of another figment.
#[allow(clippy::result_large_err, reason = "the error is figment's own")]
fn values_of(provider: &impl Provider) -> Result<Dict, figment::Error> {
    provider.data().map(|mut profiles| profiles.remove(&Profile::Default).unwrap_or_default())
}

fn layer<E: fmt::Display>(origin: Origin, values: Result<Dict, E>) -> Result<Layer, Problem> {
    match values {
        Ok(values) => Ok(Layer { origin, values }),
        Err(error) => Err(whole_source(&origin, &error)),
    }
}

/// A source that cannot be read at all.
fn whole_source(origin: &Origin, error: &dyn fmt::Display) -> Problem {
    Problem { key: String::new(), source: Some(origin.of("")), why: error.to_string().trim_end().to_owned() }
}

/// A value of the wrong type.
fn problem_of(error: &figment::Error) -> Problem {
    let profile = error.profile.clone().unwrap_or(Profile::Default);
    let source = error.metadata.as_ref().map(|metadata| metadata.interpolate(&profile, &error.path));
    Problem { key: error.path.join("."), source, why: error.kind.to_string() }
}

/// Where `key` was set; none when it has its default.
fn source_of(merged: &Figment, key: &str) -> Option<String> {
    let metadata = merged.find_metadata(key)?;
    let parts: Vec<&str> = key.split('.').collect();
    // The defaults come with figment's own description of them, which says nothing to a reader.
    (metadata.name == LAYER_NAME).then(|| metadata.interpolate(&Profile::Default, &parts))
}
