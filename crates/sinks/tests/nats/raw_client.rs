//! NATS by hand: what a stream holds is read over a plain socket, not by the library that wrote it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::broker_events::PATIENCE;

/// A connection.
pub(crate) struct RawClient {
    stream: BufReader<TcpStream>,
    requests: u64,
}

/// A message that a stream holds.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    headers: Vec<(String, String)>,
    pub(crate) data: Vec<u8>,
}

impl RawClient {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::log_in(address, &json!({}))
    }

    /// Connects with `user`, `pass` or `auth_token`.
    pub(crate) fn log_in(address: SocketAddr, login: &Value) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self { stream: BufReader::new(stream), requests: 0 };
        assert!(client.line().starts_with("INFO "));
        let mut options =
            json!({"verbose": false, "pedantic": false, "headers": true, "no_responders": true});
        options.as_object_mut().unwrap().extend(login.as_object().unwrap().clone());
        client.write(format!("CONNECT {options}\r\nSUB raw.answers 1\r\nPING\r\n").as_bytes());
        assert_eq!(client.line(), "PONG");
        client
    }

    /// Makes a stream; its name and subjects, and more of its configuration.
    pub(crate) fn create_stream(&mut self, name: &str, subjects: &[&str], extra: &Value) {
        let mut config =
            json!({"name": name, "subjects": subjects, "storage": "file", "retention": "limits"});
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let answer = self.api(&format!("STREAM.CREATE.{name}"), &config);
        assert_eq!(answer["error"], Value::Null, "{answer}");
    }

    /// Asks JetStream.
    pub(crate) fn api(&mut self, question: &str, body: &Value) -> Value {
        self.write(
            format!("PUB $JS.API.{question} raw.answers {}\r\n{body}\r\n", body.to_string().len()).as_bytes(),
        );
        self.requests += 1;
        serde_json::from_slice(&self.message()).unwrap()
    }

    /// All that a stream holds, in its order.
    pub(crate) fn messages(&mut self, stream: &str) -> Vec<Stored> {
        let state = self.api(&format!("STREAM.INFO.{stream}"), &json!({}))["state"].clone();
        let sequence = |name: &str| state[name].as_u64().unwrap();
        let (first, last) = (sequence("first_seq").max(1), sequence("last_seq"));
        (first..=last)
            .map(|sequence| {
                let answer = self.api(&format!("STREAM.MSG.GET.{stream}"), &json!({"seq": sequence}));
                Stored::of(&answer["message"])
            })
            .collect()
    }

    /// Waits for the next message to us.
    fn message(&mut self) -> Vec<u8> {
        loop {
            let line = self.line();
            let mut words = line.split(' ');
            match words.next().unwrap() {
                "MSG" | "HMSG" => {
                    let bytes: usize = words.next_back().unwrap().parse().unwrap();
                    let mut payload = vec![0; bytes + 2];
                    self.stream.read_exact(&mut payload).unwrap();
                    payload.truncate(bytes);
                    return payload;
                }
                "PING" => self.write(b"PONG\r\n"),
                "PONG" => {}
                _ => panic!("the server says {line}"),
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }
}

impl Stored {
    fn of(message: &Value) -> Self {
        let decoded = |name: &str| STANDARD.decode(message[name].as_str().unwrap_or_default()).unwrap();
        let headers = String::from_utf8(decoded("hdrs")).unwrap();
        let headers = headers.lines().filter_map(|line| line.split_once(": "));
        Self {
            subject: message["subject"].as_str().unwrap().to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            data: decoded("data"),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}
