//! The API that the SDKs of Svix speak, under `/api/v1`: changing their server's address is the whole migration.
//!
//! | Svix | here |
//! |---|---|
//! | application | a tenant |
//! | endpoint | a webhook subscription of that tenant, whose body is the event's data |
//! | message | an event of that tenant; its id is the event's, written otherwise |
//! | attempt | a kept attempt; its id is made of its subscription's number and its own |
//! | background task | a replay or redrive |
//!
//! So nothing is stored for a message, and what is made here shows in the rest of the API, and the other way round. Only names of
//! the client's own have tables: `eventrelay_state`'s `Svix…`.
//!
//! | file | |
//! |---|---|
//! | [`door`], [`routes`] | the way of a request to its handler |
//! | [`caller`], [`token`] | who may do what |
//! | [`idempotency`] | a repeat is not done again |
//! | [`json`], [`parameters`], [`list`], [`ids`], [`refusal`] | what handlers take and give |
//! | [`resources`] | what handlers work on, and how they find things |
//! | [`schema_check`], [`schema_cache`], [`schema`], [`schema_graph`] | whether a message fits the schema of its type |
//! | [`endpoint`], [`message`], [`attempt`] | how subscriptions, events and kept attempts are shown |
//! | all others | a kind of resource each: handlers, and `routes()` |

mod application_routes;
mod attempt;
mod attempt_routes;
mod authentication_routes;
mod caller;
mod door;
mod endpoint;
mod endpoint_routes;
mod event_type_routes;
mod example_routes;
mod header_routes;
mod idempotency;
mod ids;
mod json;
mod list;
mod message;
mod message_routes;
mod parameters;
mod recovery_routes;
mod refusal;
mod resources;
mod routes;
mod schema;
mod schema_cache;
mod schema_check;
mod schema_graph;
mod secret_routes;
mod statistics_routes;
mod token;

use http::request::Parts;
use http::{Response, StatusCode};

pub(crate) use door::{Operation, SvixApi, answer};
pub use token::{OrganizationToken, organization_token};

use self::refusal::Refusal;
use self::resources::Resources;
use self::routes::Routes;
use super::options::{CompatOptions, JwtSecret};
use crate::auth::{Access, Scope};
use crate::http::body::Body;
use crate::http::control::idempotency::Idempotency;
use crate::http::problem::Problem;
use crate::http::public_url::PublicUrl;
use crate::http::service::{Services, Shared};

/// How SDKs are let in, and told what is wrong.
#[derive(Debug)]
struct Svix {
    secret: Option<JwtSecret>,
    state: eventrelay_state::State,
}

fn client(
    options: &CompatOptions,
    services: &Services,
    public_url: Option<PublicUrl>,
    idempotency: Idempotency,
) -> (Svix, Routes) {
    // It was looked at when the configuration was checked; what has changed since is told, and only API keys are good.
    let secret = options.jwt_secret().unwrap_or_else(|error| {
        tracing::error!(%error, "tokens are not taken");
        None
    });
    let resources = Resources::new(services, secret.clone(), options, public_url);
    let state = resources.state().clone();
    (Svix { secret, state }, routes(idempotency).with_state(resources))
}

/// All resources: a line for each file.
fn routes(idempotency: Idempotency) -> Routes<Resources> {
    Routes::new()
        .get("/api/v1/health", None, health)
        .merge(application_routes::routes())
        .merge(endpoint_routes::routes())
        .merge(header_routes::routes())
        .merge(secret_routes::routes())
        .merge(recovery_routes::routes())
        .merge(example_routes::routes())
        .merge(statistics_routes::routes())
        .merge(attempt_routes::routes())
        .merge(event_type_routes::routes())
        .merge(authentication_routes::routes())
        .once(idempotency)
        // Events have an idempotency of their own.
        .merge(message_routes::routes())
}

impl Svix {
    /// What the caller may do, if that includes `scope`. What handlers want to know of the caller goes into the extensions.
    async fn admit(&self, shared: &Shared, parts: &mut Parts, scope: Scope) -> Result<Access, Problem> {
        caller::admit(&shared.api_keys, &self.state, self.secret.as_ref(), parts, scope).await
    }

    /// A problem in the form of Svix.
    fn refuse(problem: Problem) -> Response<Body> {
        Refusal::from(problem).into_answer()
    }
}

async fn health() -> StatusCode {
    std::future::ready(StatusCode::NO_CONTENT).await
}
