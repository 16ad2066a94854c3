//! What handlers work on, and how they find things. What is another's is not there.

use std::sync::Arc;

use eventrelay_delivery::Engine;
use eventrelay_event::{MessageId, StoredEvent, Tenant};
use eventrelay_ingest::Publisher;
use eventrelay_log::Log;
use eventrelay_state::{State, StateError, SubscriptionRecord, SvixApplication, SvixEndpoint, SvixPage};
use serde_json::Value;

use super::super::options::{CompatOptions, JwtSecret};
use super::caller::Caller;
use super::refusal::Refusal;
use super::schema_check::SchemaCheck;
use crate::auth::{ApiKeys, Author, Change};
use crate::http::public_url::PublicUrl;
use crate::http::service::Services;

/// The most endpoints of an application that are looked at together.
pub(super) const MAX_ENDPOINTS: u32 = 1000;

/// The state of the router: cheap to clone, as every request does.
#[derive(Debug, Clone)]
pub(super) struct Resources {
    pub(super) engine: Arc<Engine>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) log: Log,
    pub(super) api_keys: Arc<ApiKeys>,
    pub(super) secret: Option<JwtSecret>,
    /// How long failed deliveries of new endpoints wait.
    pub(super) retry_schedule_ms: Arc<[u64]>,
    /// What checks messages against the schemas of their types.
    pub(super) schema_check: SchemaCheck,
    /// What the server is called by others; none: what they call it.
    pub(super) public_url: Option<PublicUrl>,
}

/// An endpoint with its subscription.
pub(super) type Found = (SvixEndpoint, SubscriptionRecord);

impl Resources {
    pub(super) fn new(
        services: &Services,
        secret: Option<JwtSecret>,
        options: &CompatOptions,
        public_url: Option<PublicUrl>,
    ) -> Self {
        Self {
            engine: Arc::clone(&services.engine),
            publisher: Arc::clone(&services.publisher),
            log: services.log.clone(),
            api_keys: Arc::clone(&services.api_keys),
            secret,
            retry_schedule_ms: options.svix_retry_schedule_ms.as_slice().into(),
            schema_check: SchemaCheck::new(options.svix_schema_check),
            public_url,
        }
    }

    pub(super) fn state(&self) -> &State {
        self.engine.state()
    }

    /// Reads the state, which blocks.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&State) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.block(move |resources| Ok(work(resources.state())?)).await
    }

    /// Does what blocks.
    pub(super) async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let resources = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&resources)).await;
        done.map_err(|error| Refusal::internal(error.to_string()))?
    }

    /// Notes in the audit log what was done, or is about to be.
    pub(super) async fn note(
        &self,
        author: &Author,
        action: &'static str,
        tenant: &Tenant,
        resource_name: &str,
        after: Option<Value>,
    ) -> Result<(), Refusal> {
        let entry = author.entry(Change { action, tenant, resource_name, before: None, after });
        Ok(self.state().append_audit_entry(entry).await?)
    }

    /// The application of an id or uid.
    pub(super) async fn application(
        &self,
        caller: &Caller,
        name: String,
    ) -> Result<SvixApplication, Refusal> {
        let found = self.read(move |state| state.svix_application(&name)).await?;
        found.filter(|application| caller.reaches(application)).ok_or_else(Refusal::not_found)
    }

    /// An application's endpoint of an id or uid.
    pub(super) async fn endpoint(
        &self,
        application: &SvixApplication,
        name: String,
    ) -> Result<Found, Refusal> {
        let id = application.id.clone();
        let found = self.read(move |state| state.svix_endpoint(&id, &name)).await?;
        found.ok_or_else(Refusal::not_found)
    }

    /// An application's endpoints, as many as are looked at together.
    pub(super) async fn endpoints(&self, application: &SvixApplication) -> Result<Vec<Found>, Refusal> {
        let id = application.id.clone();
        let page = SvixPage { limit: MAX_ENDPOINTS, ..SvixPage::default() };
        self.read(move |state| state.svix_endpoints(&id, &page)).await
    }

    /// An application's message of an id, or of the id that the client gave it.
    pub(super) async fn message(
        &self,
        application: &SvixApplication,
        name: &str,
    ) -> Result<StoredEvent, Refusal> {
        let found = match name.parse::<MessageId>() {
            Ok(id) => self.publisher.find(id.0, &application.tenant).await?,
            Err(_) => super::message::of_client_id(self, application, name).await?,
        };
        found.filter(|event| event.offset() >= application.start_offset).ok_or_else(Refusal::not_found)
    }
}
