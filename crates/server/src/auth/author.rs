//! Who makes a change, as the audit log tells it.
//!
//! A handler gets its [`Author`] from the request and hands it down to whoever makes the change, which turns it into the
//! [`AuditEntry`] that is written in the same transaction. What goes into `before` and `after` is chosen there, field by field:
//! no secret is among them, and no hash of one.

use eventrelay_event::Tenant;
use eventrelay_state::{ActorKind, AuditEntry};
use serde_json::Value;

use super::api_keys::now_micros;

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// What kind.
    pub kind: ActorKind,
    /// The id of a key or user.
    pub id: String,
    /// The name of a key, the email address of a user.
    pub name: String,
}

/// An actor, and the request by which the actor does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// Who.
    pub actor: Actor,
    /// The request's name in logs.
    pub request_id: Option<String>,
    /// Where it came from.
    pub client_address: Option<String>,
}

/// What was done to what.
#[derive(Debug)]
pub struct Change<'a> {
    /// Such as `subscription.update`; what comes before the dot is the kind of resource.
    pub action: &'static str,
    /// Whose it is.
    pub tenant: &'a Tenant,
    /// What it is called.
    pub resource_name: &'a str,
    /// What it was; none: it was not there.
    pub before: Option<Value>,
    /// What it is now; none: it is gone.
    pub after: Option<Value>,
}

impl Author {
    /// The relay itself, without a request.
    #[must_use]
    pub fn system() -> Self {
        let actor = Actor { kind: ActorKind::System, id: String::new(), name: "eventrelay".to_owned() };
        Self { actor, request_id: None, client_address: None }
    }

    /// The entry for a change that is made now.
    #[must_use]
    pub fn entry(&self, change: Change<'_>) -> AuditEntry {
        let resource_kind = change.action.split_once('.').map_or(change.action, |(kind, _)| kind);
        AuditEntry {
            at_micros: now_micros(),
            tenant: change.tenant.clone(),
            actor_kind: self.actor.kind,
            actor_id: self.actor.id.clone(),
            actor_name: self.actor.name.clone(),
            action: change.action.to_owned(),
            resource_kind: resource_kind.to_owned(),
            resource_name: change.resource_name.to_owned(),
            before: change.before.map(|value| value.to_string()),
            after: change.after.map(|value| value.to_string()),
            request_id: self.request_id.clone(),
            client_address: self.client_address.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_who_did_what_to_what() {
        let tenant = Tenant::parse("acme").unwrap();
        let author = Author { request_id: Some("r-1".to_owned()), ..Author::system() };
        let entry = author.entry(Change {
            action: "user.create",
            tenant: &tenant,
            resource_name: "ann@example.com",
            before: None,
            after: Some(serde_json::json!({"role": "viewer"})),
        });
        assert_eq!((entry.resource_kind.as_str(), entry.actor_kind), ("user", ActorKind::System));
        assert_eq!((entry.before, entry.after.as_deref()), (None, Some(r#"{"role":"viewer"}"#)));
        assert_eq!((entry.tenant, entry.request_id.as_deref()), (tenant, Some("r-1")));
    }
}
