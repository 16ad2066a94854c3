//! An issuer apart from the server under test: a few lines of HTTP/1.1 over threads, and tokens signed by hand.
//!
//! It keeps to the rules that a relay relies on: a code is good once, for the client that knows its secret, with the redirect URL and the
//! verifier of the login that it was given for.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::harness::connection::{content_length, header};

pub(crate) const CLIENT_SECRET: &str = "canary of the client: a+b/c";
/// As a form has it.
const ENCODED_SECRET: &str = "canary+of+the+client%3A+a%2Bb%2Fc";

/// Listens until it is dropped.
pub(crate) struct Issuer {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    stopped: AtomicBool,
    is_down: AtomicBool,
    tls: Option<Arc<ServerConfig>>,
    state: Mutex<State>,
}

struct State {
    url: String,
    key: EcdsaKeyPair,
    key_number: u32,
    keys_read: u32,
    codes: HashMap<String, Grant>,
    codes_given: u32,
    userinfo: Value,
}

/// What a code is good for.
struct Grant {
    challenge: String,
    redirect_uri: String,
    nonce: String,
    claims: Value,
}

fn new_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

impl Issuer {
    pub(crate) fn start() -> Self {
        Self::start_with("http", None)
    }

    /// Speaks TLS.
    pub(crate) fn start_with_tls(tls: Arc<ServerConfig>) -> Self {
        Self::start_with("https", Some(tls))
    }

    fn start_with(scheme: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            url: format!("{scheme}://{address}"),
            key: new_key(),
            key_number: 1,
            keys_read: 0,
            codes: HashMap::new(),
            codes_given: 0,
            userinfo: Value::Null,
        };
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            is_down: AtomicBool::new(false),
            tls,
            state: Mutex::new(state),
        });
        let of_acceptor = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_acceptor.stopped.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(stream) = stream
                    && !of_acceptor.is_down.load(Ordering::SeqCst)
                {
                    // An error is the server's death, or that it does not believe the certificate: both are expected.
                    let _ = match &of_acceptor.tls {
                        None => serve(stream, &of_acceptor.state),
                        Some(tls) => ServerConnection::new(Arc::clone(tls))
                            .map_err(std::io::Error::other)
                            .and_then(|it| serve(StreamOwned::new(it, stream), &of_acceptor.state)),
                    };
                }
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn url(&self) -> String {
        self.shared.state.lock().unwrap().url.clone()
    }

    /// From now on every connection is closed at once, or none is any more.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::SeqCst);
    }

    /// Signs with another key from now on, and publishes that alone.
    pub(crate) fn rotate_key(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.key = new_key();
        state.key_number += 1;
    }

    /// How often the keys were read.
    pub(crate) fn keys_read(&self) -> u32 {
        self.shared.state.lock().unwrap().keys_read
    }

    /// What the userinfo endpoint says.
    pub(crate) fn set_userinfo(&self, userinfo: Value) {
        self.shared.state.lock().unwrap().userinfo = userinfo;
    }

    /// Logs somebody in, of whom the claims are, and gives what the browser goes back with. What stands in the claims goes
    /// before what would be right.
    pub(crate) fn log_in(&self, location: &str, claims: Value) -> String {
        let (endpoint, query) = location.split_once('?').unwrap();
        assert_eq!(endpoint, format!("{}/authorize", self.url()));
        let query = pairs(query.as_bytes());
        for (name, value) in [
            ("tenant", "x y"),
            ("response_type", "code"),
            ("client_id", "relay"),
            ("scope", "openid email profile"),
            ("code_challenge_method", "S256"),
        ] {
            assert_eq!(query[name], value, "{location}");
        }
        let url = self.url();
        let mut state = self.shared.state.lock().unwrap();
        state.codes_given += 1;
        let code = format!("code-{}", state.codes_given);
        let grant = Grant {
            challenge: query["code_challenge"].clone(),
            redirect_uri: query["redirect_uri"].clone(),
            nonce: query["nonce"].clone(),
            claims,
        };
        state.codes.insert(code.clone(), grant);
        // Providers add what nobody asked for.
        format!("code={code}&state={}&session_state=abc&iss={url}", query["state"])
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn pairs(form: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(form).into_owned().collect()
}

fn serve(stream: impl Read + Write, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let mut body = vec![0; content_length(&head).unwrap_or_default()];
    reader.read_exact(&mut body)?;
    let (status, answer) = state.lock().unwrap().answer(&head, &body);
    let answer = answer.to_string();
    let head =
        format!("HTTP/1.1 {status} -\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    let stream = reader.get_mut();
    stream.write_all(format!("{head}{answer}").as_bytes())?;
    stream.flush()
}

impl State {
    fn answer(&mut self, head: &str, body: &[u8]) -> (u16, Value) {
        match head.split(' ').nth(1).unwrap() {
            "/.well-known/openid-configuration" => (200, self.metadata()),
            "/keys" => {
                self.keys_read += 1;
                (200, json!({"keys": [self.published_key()]}))
            }
            "/token" => self.token(head, &pairs(body)),
            "/userinfo" => {
                assert_eq!(header(head, "authorization"), Some("Bearer canary-access-token"));
                (200, self.userinfo.clone())
            }
            path => panic!("{path} was asked for"),
        }
    }

    fn metadata(&self) -> Value {
        let url = &self.url;
        json!({
            "issuer": url, "authorization_endpoint": format!("{url}/authorize?tenant=x+y"),
            "token_endpoint": format!("{url}/token"), "userinfo_endpoint": format!("{url}/userinfo"),
            "jwks_uri": format!("{url}/keys"), "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    fn key_id(&self) -> String {
        format!("key-{}", self.key_number)
    }

    fn published_key(&self) -> Value {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.key_id(), "x": encoded(x), "y": encoded(y)})
    }

    fn token(&mut self, head: &str, form: &HashMap<String, String>) -> (u16, Value) {
        let credentials = STANDARD.encode(format!("relay:{ENCODED_SECRET}"));
        if header(head, "authorization") != Some(&format!("Basic {credentials}")) {
            return (401, json!({"error": "invalid_client"}));
        }
        assert_eq!(form["grant_type"], "authorization_code");
        let grant = self.codes.remove(&form["code"]).filter(|grant| {
            let challenge = encoded(digest(&SHA256, form["code_verifier"].as_bytes()).as_ref());
            grant.challenge == challenge && grant.redirect_uri == form["redirect_uri"]
        });
        let Some(grant) = grant else { return (400, json!({"error": "invalid_grant"})) };
        let token = self.signed(&grant);
        (200, json!({"id_token": token, "access_token": "canary-access-token", "token_type": "Bearer"}))
    }

    fn signed(&self, grant: &Grant) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.url, "aud": "relay", "iat": now, "exp": now + 60, "nonce": grant.nonce,
        });
        claims.as_object_mut().unwrap().extend(grant.claims.as_object().unwrap().clone());
        let header = json!({"alg": "ES256", "kid": self.key_id()});
        let message = [header, claims].map(|part| encoded(part.to_string().as_bytes())).join(".");
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", encoded(signature.as_ref()))
    }
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
