//! A server, its issuer, and what a browser does between the two.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::harness::http::{Answer, send};
use crate::harness::{RelayProcess, SMALL_LOG, run, stdout};
use crate::issuer::{CLIENT_SECRET, Issuer};

pub(crate) const PASSWORD: &str = "canary correct horse";

/// A server that has a provider, and the key that may do everything.
pub(crate) struct World {
    pub(crate) issuer: Issuer,
    pub(crate) relay: RelayProcess,
    bootstrap: String,
    _directory: tempfile::TempDir,
}

/// A login that is under way: where the browser was sent, and the cookie that it was given.
pub(crate) struct UnderWay {
    pub(crate) location: String,
    pub(crate) cookie: String,
}

impl World {
    /// Starts a server with more lines in `[auth.oidc]`, or behind it.
    pub(crate) fn start(more: &str) -> Self {
        Self::start_with(Issuer::start(), more)
    }

    /// The same with a provider that there is.
    pub(crate) fn start_with(issuer: Issuer, more: &str) -> Self {
        let section = format!(
            "[auth.oidc]\nissuer = \"{}\"\nclient_id = \"relay\"\nclient_secret_file = \"oidc.secret\"\n\
             redirect_url = \"http://127.0.0.1:1/v1/oidc/callback\"\nname = \"Example\"\n{more}\n",
            issuer.url()
        );
        Self::with(issuer, &section)
    }

    /// Starts a server with these sections.
    pub(crate) fn with(issuer: Issuer, sections: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bootstrap = stdout(&run(directory.path(), ["keys", "generate"])).trim().to_owned();
        std::fs::write(directory.path().join("bootstrap.key"), &bootstrap).unwrap();
        std::fs::write(directory.path().join("oidc.secret"), format!("{CLIENT_SECRET}\n")).unwrap();
        let configuration = format!(
            "{SMALL_LOG}\n[auth]\nrequired = true\nbootstrap_key_file = \"bootstrap.key\"\n{sections}"
        );
        let relay = RelayProcess::start(directory.path(), &configuration);
        Self { issuer, relay, bootstrap, _directory: directory }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.relay.http()
    }

    /// Asks with the bootstrap key.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let authorization = format!("Bearer {}", self.bootstrap);
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        send(self.address(), method, path, &headers, &body)
    }

    /// Makes a user with a password, and gives the id.
    pub(crate) fn user(&self, tenant: &str, email: &str, role: &str) -> String {
        let wanted = json!({"tenant": tenant, "email": email, "role": role, "password": PASSWORD});
        let answer = self.ask("POST", "/v1/users", &wanted);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// The changes of a kind, newest first.
    pub(crate) fn told(&self, action: &str) -> Vec<Value> {
        let answer = self.ask("GET", &format!("/v1/audit-log?action={action}"), &Value::Null);
        answer.json()["data"].as_array().unwrap().clone()
    }

    /// `GET`s without a key.
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        send(self.address(), "GET", path, headers, "")
    }

    /// Begins a login.
    pub(crate) fn begin(&self) -> UnderWay {
        let answer = self.get("/v1/oidc/login?return_to=/subscriptions", &[]);
        assert_eq!(answer.status, 303, "{answer:?}");
        UnderWay {
            location: answer.header("location").unwrap().to_owned(),
            cookie: cookie(&answer, "eventrelay_login"),
        }
    }

    /// Comes back from the provider.
    pub(crate) fn come_back(&self, query: &str, cookie: &str) -> Answer {
        self.get(&format!("/v1/oidc/callback?{query}"), &[("cookie", cookie)])
    }

    /// The whole way of somebody of whom the provider says this.
    pub(crate) fn log_in(&self, claims: Value) -> Answer {
        let under_way = self.begin();
        let query = self.issuer.log_in(&under_way.location, claims);
        self.come_back(&query, &under_way.cookie)
    }

    /// Who somebody is after that.
    #[track_caller]
    pub(crate) fn logged_in(&self, claims: Value) -> Value {
        let answer = self.log_in(claims);
        assert_eq!(answer.status, 200, "{answer:?}");
        let session = self.get("/v1/session", &[("cookie", &cookie(&answer, "eventrelay_session"))]);
        assert_eq!(session.status, 200, "{session:?}");
        session.json()
    }
}

/// Whom the provider knows by an address that it has verified.
pub(crate) fn verified(subject: &str, email: &str) -> Value {
    json!({"sub": subject, "email": email, "email_verified": true, "name": "Ann Example"})
}

/// All `Set-Cookie` headers.
pub(crate) fn set_cookies(answer: &Answer) -> Vec<&str> {
    let named = |line: &'_ str| line.to_ascii_lowercase().starts_with("set-cookie:");
    answer
        .head
        .lines()
        .filter(|line| named(line))
        .map(|line| line.split_once(':').unwrap().1.trim())
        .collect()
}

/// What a browser sends back of a cookie.
#[track_caller]
pub(crate) fn cookie(answer: &Answer, name: &str) -> String {
    let found = set_cookies(answer).into_iter().find(|cookie| cookie.starts_with(&format!("{name}=")));
    found.unwrap_or_else(|| panic!("no cookie {name}: {answer:?}")).split(';').next().unwrap().to_owned()
}

/// Status and code of a problem.
#[track_caller]
pub(crate) fn refusal(answer: &Answer) -> (u16, String) {
    let json = answer.json();
    (answer.status, json["code"].as_str().unwrap_or_else(|| panic!("no problem: {answer:?}")).to_owned())
}
