//! A server that asks for keys, and browsers that users log in with.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::http::{Answer, send};
use crate::harness::{RelayProcess, SMALL_LOG, eventrelay, run, stdout};

pub(crate) const PASSWORD: &str = "canary correct horse";

/// A server, and the key that may do everything.
pub(crate) struct World {
    pub(crate) relay: RelayProcess,
    pub(crate) bootstrap: String,
    pub(crate) directory: tempfile::TempDir,
    configuration: String,
}

impl World {
    /// Starts a server with more lines in `[auth.login]`.
    pub(crate) fn start(login: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bootstrap = stdout(&run(directory.path(), ["keys", "generate"])).trim().to_owned();
        std::fs::write(directory.path().join("bootstrap.key"), &bootstrap).unwrap();
        let configuration = format!(
            "{SMALL_LOG}\n[auth]\nrequired = true\nbootstrap_key_file = \"bootstrap.key\"\n[auth.login]\n{login}\n"
        );
        let relay = RelayProcess::start(directory.path(), &configuration);
        Self { relay, bootstrap, directory, configuration }
    }

    /// Ends the server as a power cut would, and starts another one.
    pub(crate) fn kill_and_restart(self) -> Self {
        self.relay.kill();
        let relay = RelayProcess::start(self.directory.path(), &self.configuration);
        Self { relay, ..self }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.relay.http()
    }

    /// Asks with the bootstrap key.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        ask_with_key(self.address(), &self.bootstrap, method, path, body)
    }

    /// Makes a user and gives the id.
    pub(crate) fn user(&self, tenant: &str, email: &str, role: &str) -> String {
        let wanted = json!({"tenant": tenant, "email": email, "role": role, "password": PASSWORD});
        let answer = self.ask("POST", "/v1/users", &wanted);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Runs a command with the bootstrap key and a password on stdin.
    pub(crate) fn command(&self, arguments: &[&str], stdin: &str) -> std::process::Output {
        let mut command = eventrelay(self.directory.path());
        command.env("EVENTRELAY_API_KEY", &self.bootstrap).args(arguments).args(["--url", &self.relay.url()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Tries to log in.
    pub(crate) fn try_log_in(&self, tenant: &str, email: &str, password: &str) -> Answer {
        let login = json!({"tenant": tenant, "email": email, "password": password}).to_string();
        let headers = [("content-type", "application/json"), ("user-agent", "a browser")];
        send(self.address(), "POST", "/v1/session", &headers, &login)
    }

    /// Logs in.
    pub(crate) fn log_in(&self, tenant: &str, email: &str) -> Browser {
        let answer = self.try_log_in(tenant, email, PASSWORD);
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let csrf_token = answer.json()["csrf_token"].as_str().unwrap().to_owned();
        Browser { server: self.address(), cookie, csrf_token }
    }
}

/// Asks with a key.
pub(crate) fn ask_with_key(server: SocketAddr, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let authorization = format!("Bearer {key}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    send(server, method, path, &headers, &body)
}

/// Somebody who is logged in.
pub(crate) struct Browser {
    pub(crate) server: SocketAddr,
    pub(crate) cookie: String,
    pub(crate) csrf_token: String,
}

impl Browser {
    /// Asks as a page of the server does.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_with(method, path, &[("x-csrf-token", &self.csrf_token)], body)
    }

    /// Asks with the cookie and these headers.
    pub(crate) fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut all = vec![("cookie", self.cookie.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        send(self.server, method, path, &all, &body)
    }
}

/// The problem's code.
#[track_caller]
pub(crate) fn code(answer: &Answer) -> String {
    answer.json()["code"].as_str().unwrap_or_else(|| panic!("no problem: {answer:?}")).to_owned()
}
