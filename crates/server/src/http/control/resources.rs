//! What handlers work on: cheap to clone, as every request does.

use std::sync::Arc;

use eventrelay_delivery::Engine;
use eventrelay_ingest::Publisher;
use eventrelay_log::Log;

use super::document::Document;
use crate::Configuration;
use crate::auth::{Accounts, ApiKeys};
use crate::http::service::Services;

/// The state of the control plane's router.
#[derive(Debug, Clone)]
pub(crate) struct Resources {
    pub(crate) api_keys: Arc<ApiKeys>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) log: Log,
    pub(crate) engine: Arc<Engine>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) configuration: Arc<dyn Configuration>,
    /// What there is to be done, for programs and for people.
    pub(crate) document: Arc<Document>,
}

impl Resources {
    /// The document is still empty: it is made of the handlers that these are for.
    pub(crate) fn of(services: &Services) -> Self {
        Self {
            api_keys: Arc::clone(&services.api_keys),
            publisher: Arc::clone(&services.publisher),
            log: services.log.clone(),
            engine: Arc::clone(&services.engine),
            accounts: Arc::clone(&services.accounts),
            configuration: Arc::clone(&services.configuration),
            document: Arc::default(),
        }
    }
}
