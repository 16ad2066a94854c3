//! Stores of the test's own, sinks into them, and what is in them, read without any of the sink's code.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use eventrelay_sinks::{Environment, Owner, Sink, build};
use serde_json::{Value, json};

use crate::broker_events::{PATIENCE, loopback, owner, until};
use crate::components::Component;

/// A store with nothing in it.
pub(crate) enum Store {
    /// s3s-fs, which checks signatures: the bucket `events` is a folder.
    S3(Component),
    /// moto, which is another implementation: the bucket is in its memory.
    Moto(Component),
    /// Azurite, which speaks Azure's protocol and checks signatures: the container `events`.
    Azure(Component),
    /// A directory.
    Local(tempfile::TempDir),
}

/// What all of Azurite's accounts have, as its documentation says.
const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const AZURITE_ACCOUNT: &str = "devstoreaccount1";

/// An object's key and what is in it.
pub(crate) type Objects = BTreeMap<String, Vec<u8>>;

impl Store {
    /// Starts s3s-fs; none where it is not installed.
    pub(crate) fn s3() -> Option<Self> {
        Component::start("s3").map(Self::S3)
    }

    pub(crate) fn local() -> Self {
        Self::Local(tempfile::tempdir().unwrap())
    }

    /// Starts Azurite; none where it is not installed.
    pub(crate) fn azure() -> Option<Self> {
        let component = Component::start("azure")?;
        // Its container is made as soon as it listens.
        let deadline = Instant::now() + PATIENCE;
        while try_get(component.address(), &container_page(), None).is_none() {
            assert!(Instant::now() < deadline, "there is no container");
            std::thread::yield_now();
        }
        Some(Self::Azure(component))
    }

    /// All that are installed.
    pub(crate) fn all() -> Vec<Self> {
        let moto = Component::start("s3-moto").map(Self::Moto);
        [Some(Self::local()), Self::s3(), moto, Self::azure()].into_iter().flatten().collect()
    }

    pub(crate) fn component(&mut self) -> &mut Component {
        match self {
            Self::S3(component) | Self::Moto(component) | Self::Azure(component) => component,
            Self::Local(_) => panic!("a directory is no component"),
        }
    }

    /// What was sent to it and is not read: see the component.
    pub(crate) fn unread_bytes(&self) -> u64 {
        match self {
            Self::S3(component) | Self::Moto(component) | Self::Azure(component) => component.unread_bytes(),
            Self::Local(_) => 0,
        }
    }

    /// The settings that lead to it.
    pub(crate) fn settings(&self) -> Value {
        match self {
            Self::S3(component) | Self::Moto(component) => json!({"s3": s3_settings(component.address())}),
            Self::Azure(component) => json!({"azure": {
                "account": AZURITE_ACCOUNT, "container": "events", "access_key": AZURITE_KEY,
                "endpoint": format!("http://{}/{AZURITE_ACCOUNT}", component.address()),
            }}),
            Self::Local(directory) => json!({"local": {"directory": directory.path().join("archive")}}),
        }
    }

    /// A sink into it, with more settings.
    pub(crate) fn sink(&self, extra: &Value) -> Arc<dyn Sink> {
        self.sink_of(&owner(), extra)
    }

    pub(crate) fn sink_of(&self, owner: &Owner, extra: &Value) -> Arc<dyn Sink> {
        sink_in(&loopback(), owner, &merged(self.settings(), extra))
    }

    /// All that is there.
    pub(crate) fn objects(&self) -> Objects {
        match self {
            Self::S3(component) => files(&component.directory().join("data/events")),
            Self::Local(directory) => files(&directory.path().join("archive")),
            Self::Moto(component) => bucket(component.address()),
            Self::Azure(component) => container(component.address()),
        }
    }

    /// Waits until nothing is left of a request that was dropped. The test's bucket is no match for two that overlap: it looks
    /// whether an object is there, and then writes it.
    pub(crate) async fn settle(&self) {
        if let Self::S3(component) = self {
            let is_written = |entry: std::io::Result<std::fs::DirEntry>| {
                entry.unwrap().file_name().to_str().unwrap().starts_with(".tmp.")
            };
            let data = component.directory().join("data");
            until(async || {
                component.unread_bytes() == 0 && !std::fs::read_dir(&data).unwrap().any(is_written)
            })
            .await;
        }
    }

    /// The offsets of all events in all objects, with those that are there twice twice.
    pub(crate) fn offsets(&self) -> Vec<u64> {
        let lines = self.objects().into_iter().flat_map(|(key, bytes)| lines(&key, &bytes));
        let mut offsets: Vec<_> = lines.map(|line| line["offset"].as_u64().unwrap()).collect();
        offsets.sort_unstable();
        offsets
    }
}

/// What the `s3` table of the settings is for a store at an address.
pub(crate) fn s3_settings(address: SocketAddr) -> Value {
    json!({
        "bucket": "events",
        "endpoint": format!("http://{address}"),
        "access_key_id": "test",
        "secret_access_key": "testtest",
    })
}

pub(crate) fn sink_in(environment: &Environment, owner: &Owner, settings: &Value) -> Arc<dyn Sink> {
    build("object_store", settings, owner, environment).unwrap()
}

/// One object of settings with another's laid over it.
pub(crate) fn merged(mut settings: Value, extra: &Value) -> Value {
    for (field, value) in extra.as_object().unwrap() {
        match (settings.get_mut(field).and_then(Value::as_object_mut), value.as_object()) {
            (Some(table), Some(extra)) => table.extend(extra.clone()),
            _ => settings[field] = value.clone(),
        }
    }
    settings
}

/// What an object holds, as text.
pub(crate) fn text(key: &str, bytes: &[u8]) -> String {
    let decompressed = match key.rsplit('.').next().unwrap() {
        "ndjson" => bytes.to_vec(),
        "gz" => {
            let mut out = Vec::new();
            flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out).unwrap();
            out
        }
        "zst" => zstd::decode_all(bytes).unwrap(),
        other => panic!("{other} is no ending of ours"),
    };
    String::from_utf8(decompressed).unwrap()
}

/// The events that an object holds.
pub(crate) fn lines(key: &str, bytes: &[u8]) -> Vec<Value> {
    text(key, bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All files below a folder. What begins with a dot is s3s-fs's own; what ends with `#1` is no object.
fn files(directory: &Path) -> Objects {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(directory, &mut found);
    let objects = found.into_iter().filter_map(|path| {
        let key = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_ours = !name.starts_with('.') && !name.contains('#');
        is_ours.then(|| (key, std::fs::read(&path).unwrap()))
    });
    objects.collect()
}

/// All objects of the bucket of a store that asks for no signature.
pub(crate) fn bucket(address: SocketAddr) -> Objects {
    let mut objects = Objects::new();
    let mut after = String::new();
    loop {
        let page =
            get(address, &format!("/events?list-type=2&start-after={}", quoted(&after)), Some(S3_SIGNATURE));
        let keys = texts(page, "Key");
        let Some(last) = keys.last() else { return objects };
        after.clone_from(last);
        for key in keys {
            let bytes = get(address, &format!("/events/{}", quoted(&key)), Some(S3_SIGNATURE));
            objects.insert(key, bytes);
        }
    }
}

/// All objects of Azurite's container, which has one page of them and asks readers for no signature.
fn container(address: SocketAddr) -> Objects {
    let keys = texts(get(address, &container_page(), None), "Name");
    let object = |key: String| {
        let bytes = get(address, &format!("/{AZURITE_ACCOUNT}/events/{}", quoted(&key)), None);
        (key, bytes)
    };
    keys.into_iter().map(object).collect()
}

fn container_page() -> String {
    format!("/{AZURITE_ACCOUNT}/events?restype=container&comp=list")
}

/// The texts of all elements with that name.
fn texts(xml: Vec<u8>, name: &str) -> Vec<String> {
    let xml = String::from_utf8(xml).unwrap();
    let begin = format!("<{name}>");
    let elements = xml.split(&begin).skip(1);
    let text = |rest: &str| rest.split_once("</").unwrap().0.replace("&amp;", "&");
    elements.map(text).collect()
}

fn quoted(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let quote = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    key.bytes().map(quote).collect()
}

/// moto looks whether there is a signature, not which.
const S3_SIGNATURE: &str =
    "AWS4-HMAC-SHA256 Credential=test/20260131/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

fn get(address: SocketAddr, path: &str, signature: Option<&str>) -> Vec<u8> {
    try_get(address, path, signature).unwrap_or_else(|| panic!("{path} is not there"))
}

/// None where the answer is not 200.
fn try_get(address: SocketAddr, path: &str, signature: Option<&str>) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).unwrap();
    let signature = signature.map(|it| format!("authorization: {it}\r\n")).unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n{signature}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let is_there = answer.starts_with(b"HTTP/1.1 200 ") || answer.starts_with(b"HTTP/1.0 200 ");
    is_there.then(|| answer.split_off(head + 4))
}
