//! Logs in to a broker by SASL, on a connection that has just been made.
//!
//! `SaslHandshake` names the mechanism, then each message of the mechanism travels in a `SaslAuthenticate`. Afterwards the
//! connection is as one that needed no log-in. librdkafka can do this only with OpenSSL, which is why it is done here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::scram::{First, Hash, ScramError};
use super::wire::{ApiKey, ExchangeError, Malformed, Reader, exchange, put_string};
use crate::Secret;

const UNSUPPORTED_MECHANISM: i16 = 33;
const ILLEGAL_STATE: i16 = 34;
const AUTHENTICATION_FAILED: i16 = 58;

/// What a nonce is made of.
const NONCE_BYTES: usize = 24;

/// How a password is shown to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum Mechanism {
    /// As it is: only for connections by TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// By SCRAM with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// By SCRAM with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Who we are to the brokers.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) mechanism: Mechanism,
    pub(super) user: String,
    pub(super) password: Secret,
}

/// Why a broker did not let us in.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginError {
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("the broker does not take {mechanism}, only {offered}")]
    Mechanism { mechanism: &'static str, offered: String },
    #[error("the broker asks for no log-in here")]
    NotAskedFor,
    #[error("the broker refuses the user or the password: {0}")]
    Refused(String),
    #[error("the broker answered the log-in with error {0}")]
    Other(i16),
    #[error(transparent)]
    Scram(#[from] ScramError),
    #[error("the log-in was cut short")]
    CutShort,
}

impl From<Malformed> for LoginError {
    fn from(error: Malformed) -> Self {
        Self::Exchange(error.into())
    }
}

impl Credentials {
    /// Logs in. Safe to drop at any await; the connection is of no use then.
    pub(super) async fn login<S>(&self, stream: &mut S, client_id: &str) -> Result<(), LoginError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut body = Vec::new();
        put_string(&mut body, Some(self.mechanism.name()), false);
        let answer = exchange(stream, ApiKey::SaslHandshake, 1, client_id, &body).await?;
        self.check_handshake(&answer)?;
        let hash = match self.mechanism {
            Mechanism::Plain => {
                let message =
                    Zeroizing::new(format!("\0{}\0{}", self.user, self.password.expose()).into_bytes());
                authenticate(stream, client_id, &message).await?;
                return Ok(());
            }
            Mechanism::ScramSha256 => Hash::Sha256,
            Mechanism::ScramSha512 => Hash::Sha512,
        };
        let first = First::new(&self.user, STANDARD.encode(rand::random::<[u8; NONCE_BYTES]>()));
        let challenge = authenticate(stream, client_id, first.message().as_bytes()).await?;
        let password = Secret::new(self.password.expose().to_owned());
        // Thousands of hashes, which others must not wait for.
        let computing =
            tokio::task::spawn_blocking(move || first.answer(hash, password.expose(), &text(&challenge)?));
        let last = computing.await.map_err(|_| LoginError::CutShort)??;
        let verdict = authenticate(stream, client_id, last.message.as_bytes()).await?;
        Ok(last.check(&text(&verdict)?)?)
    }

    fn check_handshake(&self, answer: &[u8]) -> Result<(), LoginError> {
        let mut reader = Reader::new(answer, false);
        match reader.i16()? {
            0 => Ok(()),
            UNSUPPORTED_MECHANISM => {
                let mut offered = Vec::new();
                for _ in 0..reader.count()?.min(16) {
                    offered.push(reader.string()?.unwrap_or_default());
                }
                let offered =
                    offered.join(", ").chars().filter(|shown| !shown.is_control()).take(200).collect();
                Err(LoginError::Mechanism { mechanism: self.mechanism.name(), offered })
            }
            ILLEGAL_STATE => Err(LoginError::NotAskedFor),
            code => Err(LoginError::Other(code)),
        }
    }
}

/// Sends one message of the mechanism; the broker's answer to it.
async fn authenticate<S>(stream: &mut S, client_id: &str, message: &[u8]) -> Result<Vec<u8>, LoginError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let length = i32::try_from(message.len()).unwrap_or(i32::MAX);
    let body = Zeroizing::new([&length.to_be_bytes(), message].concat());
    let answer = exchange(stream, ApiKey::SaslAuthenticate, 0, client_id, &body).await?;
    let mut reader = Reader::new(&answer, false);
    let code = reader.i16()?;
    let why = reader.string()?.unwrap_or("it says no more");
    match code {
        0 => Ok(reader.bytes()?.unwrap_or_default().to_vec()),
        AUTHENTICATION_FAILED => {
            Err(LoginError::Refused(why.chars().filter(|shown| !shown.is_control()).take(200).collect()))
        }
        ILLEGAL_STATE => Err(LoginError::NotAskedFor),
        code => Err(LoginError::Other(code)),
    }
}

fn text(message: &[u8]) -> Result<String, ScramError> {
    String::from_utf8(message.to_vec()).map_err(|_| ScramError::Malformed)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    fn credentials(mechanism: Mechanism) -> Credentials {
        Credentials { mechanism, user: "user".to_owned(), password: Secret::new("canary".to_owned()) }
    }

    /// Answers each request with the next of `answers`, and gives the bodies that came.
    async fn broker(mut stream: DuplexStream, answers: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        for answer in answers {
            let length = stream.read_i32().await.unwrap();
            let mut request = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut request).await.unwrap();
            bodies.push(request.split_off(2 + 2 + 4 + 2 + "us".len()));
            stream.write_i32(i32::try_from(answer.len() + 4).unwrap()).await.unwrap();
            stream.write_all(&request[4..8]).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
        bodies
    }

    async fn login(mechanism: Mechanism, answers: &[&[u8]]) -> (Result<(), String>, Vec<Vec<u8>>) {
        let (mut ours, theirs) = tokio::io::duplex(4096);
        let answers = answers.iter().map(|answer| answer.to_vec()).collect();
        let broker = tokio::spawn(broker(theirs, answers));
        let result = credentials(mechanism).login(&mut ours, "us").await.map_err(|error| error.to_string());
        drop(ours);
        (result, broker.await.unwrap())
    }

    const TAKEN: &[u8] = b"\0\0\0\0\0\0";

    #[tokio::test]
    async fn plain_sends_user_and_password_once() {
        let (result, bodies) = login(Mechanism::Plain, &[TAKEN, b"\0\0\xff\xff\0\0\0\0"]).await;
        assert_eq!(result, Ok(()));
        assert_eq!(bodies, [&b"\0\x05PLAIN"[..], b"\0\0\0\x0c\0user\0canary"]);
    }

    #[tokio::test]
    async fn what_the_broker_says_is_told_without_the_password() {
        let (result, _) = login(Mechanism::Plain, &[TAKEN, b"\0\x3a\0\x05wrong\0\0\0\0"]).await;
        assert_eq!(result.unwrap_err(), "the broker refuses the user or the password: wrong");
        let (result, bodies) = login(Mechanism::Plain, &[b"\0\x21\0\0\0\x01\0\x0dSCRAM-SHA-256"]).await;
        assert_eq!(result.unwrap_err(), "the broker does not take PLAIN, only SCRAM-SHA-256");
        assert_eq!(bodies.len(), 1, "the password stays here");
        let (result, _) = login(Mechanism::Plain, &[b"\0\x22\0\0\0\0"]).await;
        assert_eq!(result.unwrap_err(), "the broker asks for no log-in here");
    }

    #[tokio::test]
    async fn a_broker_that_skips_its_own_proof_is_not_believed() {
        let (result, bodies) = login(Mechanism::ScramSha256, &[TAKEN, b"\0\0\xff\xff\0\0\0\0"]).await;
        assert_eq!(result.unwrap_err(), "the broker's SCRAM message is not one");
        assert!(bodies[1].starts_with(b"\0\0\0\x2cn,,n=user,r="), "{:?}", bodies[1]);
    }
}
