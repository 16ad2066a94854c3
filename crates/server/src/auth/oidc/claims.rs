//! What a provider says of a user.

use serde_json::{Map, Value};

use crate::auth::user_fields::{is_email, is_name};

/// The most values of a claim of roles that are looked at.
const MAX_VALUES: usize = 1000;

const EMAIL_CLAIMS: [&str; 2] = ["email", "email_verified"];

/// What a token or the userinfo endpoint says, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(pub(super) Map<String, Value>);

/// An email address, and whether the provider has seen to it that it is the user's: none, where it says neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClaimedEmail {
    /// In lower case.
    pub(super) address: String,
    pub(super) is_verified: Option<bool>,
}

impl Claims {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// The email address, where it can be one. That it is verified counts only where both are said in one place, so that the address of
    /// one answer is not believed for the word of another.
    pub(super) fn email(&self) -> Option<ClaimedEmail> {
        let address = self.text("email").map(str::trim).filter(|address| is_email(address))?;
        let is_verified = self.0.get("email_verified").map(|said| *said == Value::Bool(true));
        Some(ClaimedEmail { address: address.to_lowercase(), is_verified })
    }

    /// Adds what another answer says. What is here counts before it; but an email address comes with the word on it of the same answer.
    pub(super) fn complete_with(&mut self, mut said: Map<String, Value>) {
        let email = EMAIL_CLAIMS.map(|name| said.remove(name));
        if self.email().is_none() {
            for (name, value) in EMAIL_CLAIMS.into_iter().zip(email) {
                self.0.remove(name);
                self.0.extend(value.map(|value| (name.to_owned(), value)));
            }
        }
        for (name, value) in said {
            self.0.entry(name).or_insert(value);
        }
    }

    /// What people call the user; empty where that is not said or cannot be a name.
    pub(super) fn name(&self) -> String {
        self.text("name").map(str::trim).filter(|name| is_name(name)).unwrap_or_default().to_owned()
    }

    /// The values of a claim: one text, or a list of them. None: there is no such claim. A name with dots that is none itself leads
    /// into objects, as `realm_access.roles` does.
    pub(super) fn values(&self, name: &str) -> Option<Vec<&str>> {
        let inner = || {
            let mut parts = name.split('.');
            let first = self.0.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.get(part))
        };
        let values = match self.0.get(name).or_else(inner)? {
            Value::String(text) => vec![text.as_str()],
            Value::Array(values) => values.iter().take(MAX_VALUES).filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        let Value::Object(map) = value else { panic!("{value}") };
        Claims(map)
    }

    #[test]
    fn an_email_address_is_verified_only_where_that_is_said_and_true() {
        let verified = |value: Value| {
            let said = claims(json!({"email": " Ann@Example.com", "email_verified": value}));
            let email = said.email().unwrap();
            assert_eq!(email.address, "ann@example.com");
            email.is_verified
        };
        assert_eq!(verified(json!(true)), Some(true));
        for not in [json!(false), json!("true"), json!("false"), json!(1), json!(null), json!([true])] {
            assert_eq!(verified(not.clone()), Some(false), "{not}");
        }
        assert_eq!(claims(json!({"email": "ann@example.com"})).email().unwrap().is_verified, None);
        for none in
            [json!(""), json!("ann"), json!("a@b@c"), json!("a\n@b"), json!(["ann@example.com"]), json!(null)]
        {
            assert_eq!(claims(json!({"email": none, "email_verified": true})).email(), None);
        }
    }

    #[test]
    fn an_email_address_is_not_verified_by_the_word_on_another() {
        let complete = |own: Value, said: Value| {
            let (mut own, said) = (claims(own), claims(said));
            own.complete_with(said.0);
            own
        };
        let verified = json!({"email": "ann@example.com", "email_verified": true, "name": "Ann"});
        let said = complete(json!({"email_verified": false, "name": "Annie"}), verified.clone());
        assert_eq!((said.email().unwrap().is_verified, said.name().as_str()), (Some(true), "Annie"));
        let said = complete(json!({"email": "boss@example.com"}), verified);
        assert_eq!((said.email().unwrap().is_verified, said.name().as_str()), (None, "Ann"));
        let said = complete(json!({"email_verified": true}), json!({"email": "boss@example.com"}));
        assert_eq!(said.email().unwrap().is_verified, None);
    }

    #[test]
    fn the_values_of_a_claim_are_found_by_its_name_or_its_way() {
        let said = claims(json!({
            "role": "staff", "groups": ["a", 7, "b"], "realm_access": {"roles": ["c"]}, "https://example.com/roles": ["d"],
            "count": 3,
        }));
        assert_eq!(said.values("role"), Some(vec!["staff"]));
        assert_eq!(said.values("groups"), Some(vec!["a", "b"]));
        assert_eq!(said.values("realm_access.roles"), Some(vec!["c"]));
        assert_eq!(said.values("https://example.com/roles"), Some(vec!["d"]));
        assert_eq!(said.values("count"), Some(vec![]));
        assert_eq!(said.values("realm_access.groups"), None);
        assert_eq!(said.values("role.x"), None);
    }

    #[test]
    fn a_name_that_cannot_be_one_is_left_out() {
        assert_eq!(claims(json!({"name": " Ann "})).name(), "Ann");
        for odd in [json!("a\u{1b}[31m"), json!("x".repeat(200)), json!(7)] {
            assert_eq!(claims(json!({"name": odd})).name(), "");
        }
    }
}
