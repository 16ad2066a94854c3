//! A client that shares no code with the sink's: commands as arrays of texts over a socket of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Text(String),
    Number(i64),
    Error(String),
    Nothing,
    List(Vec<Reply>),
}

pub(crate) struct RawClient {
    stream: BufReader<TcpStream>,
}

impl RawClient {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Sends a command and gives the answer, which may be an error.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Reply {
        self.send(words);
        self.read()
    }

    /// Sends a command; none where the connection closes instead of an answer.
    pub(crate) fn try_ask(&mut self, words: &[&str]) -> Option<Reply> {
        self.send(words);
        let is_open = self.stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        is_open.then(|| self.read())
    }

    /// Sends a command after which nothing comes.
    pub(crate) fn ask_without_answer(&mut self, words: &[&str]) {
        self.send(words);
    }

    /// Sends a command that must succeed.
    pub(crate) fn run(&mut self, words: &[&str]) -> Reply {
        match self.ask(words) {
            Reply::Error(error) => panic!("{words:?}: {error}"),
            reply => reply,
        }
    }

    /// The entries of a stream: id, and fields with their values by turns.
    pub(crate) fn entries(&mut self, stream: &str) -> Vec<(String, Vec<String>)> {
        let entry = |reply: &Reply| {
            let [id, fields] = reply.list() else { panic!("not an entry: {reply:?}") };
            (id.text().to_owned(), fields.list().iter().map(|field| field.text().to_owned()).collect())
        };
        self.run(&["XRANGE", stream, "-", "+"]).list().iter().map(entry).collect()
    }

    /// The ids of a stream's entries.
    pub(crate) fn entry_ids(&mut self, stream: &str) -> Vec<String> {
        self.entries(stream).into_iter().map(|(id, _)| id).collect()
    }

    /// A field of each of a stream's entries.
    pub(crate) fn field(&mut self, stream: &str, name: &str) -> Vec<String> {
        let value = |fields: Vec<String>| {
            let at = fields.iter().step_by(2).position(|field| field == name).expect("the field is there");
            fields[at * 2 + 1].clone()
        };
        self.entries(stream).into_iter().map(|(_, fields)| value(fields)).collect()
    }

    fn send(&mut self, words: &[&str]) {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(command.as_bytes()).unwrap();
    }

    fn read(&mut self) -> Reply {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(rest.parse().unwrap()),
            "$" if rest == "-1" => Reply::Nothing,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.stream.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            "*" if rest == "-1" => Reply::Nothing,
            "*" => Reply::List((0..rest.parse().unwrap()).map(|_| self.read()).collect()),
            _ => panic!("not an answer: {line:?}"),
        }
    }
}

impl Reply {
    pub(crate) fn list(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            other => panic!("not a list: {other:?}"),
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            other => panic!("not a text: {other:?}"),
        }
    }

    pub(crate) fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            other => panic!("not a number: {other:?}"),
        }
    }
}
