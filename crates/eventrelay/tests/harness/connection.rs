//! A keep-alive HTTP/1.1 connection whose two halves of an exchange are apart, so that a test can have requests on the
//! way when it kills the server, and can tell "never sent" from "outcome unknown".

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::DEADLINE;
use super::http::Answer;

/// A connection to the server. After an error it is of no more use.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    host: SocketAddr,
    /// What was received and is not used up.
    received: Vec<u8>,
}

impl Connection {
    /// Connects; nothing is sent.
    pub(crate) fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: server, received: Vec::new() })
    }

    /// Sends a `POST` in one write.
    pub(crate) fn send_post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
        let length = body.len().to_string();
        let mut request = self.head("POST", path, &[headers, &[("Content-Length", &length)]].concat());
        request.extend_from_slice(body);
        self.send(&request)
    }

    /// Sends a `GET`.
    pub(crate) fn send_get(&mut self, path: &str) -> io::Result<()> {
        let request = self.head("GET", path, &[]);
        self.send(&request)
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    fn head(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Waits for the next answer, whole.
    pub(crate) fn receive(&mut self) -> io::Result<Answer> {
        let head_end = loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            self.read_more()?;
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(io::Error::other);
        let head = text(&self.received[..head_end])?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("not an answer: {head:?}")))?;
        let length = content_length(&head).ok_or_else(|| io::Error::other(format!("no length: {head:?}")))?;
        let end = head_end + 4 + length;
        while self.received.len() < end {
            self.read_more()?;
        }
        let body = text(&self.received[head_end + 4..end])?;
        self.received.drain(..end);
        Ok(Answer { status, head, body })
    }

    /// A `GET` and its answer.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send_get(path)?;
        self.receive()
    }

    /// A `POST` and its answer.
    pub(crate) fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
        self.send_post(path, headers, body)?;
        self.receive()
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        let read = self.stream.read(&mut chunk)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.received.extend_from_slice(&chunk[..read]);
        Ok(())
    }
}

/// `Content-Length` of a message's head.
pub(crate) fn content_length(head: &str) -> Option<usize> {
    header(head, "content-length")?.parse().ok()
}

/// A header of a message's head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then(|| value.trim()))
}
