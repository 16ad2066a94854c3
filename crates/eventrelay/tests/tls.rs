//! TLS of the built binary, from files to a reload by SIGHUP, with its own commands for clients.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use harness::authority::Authority;
use harness::{DEADLINE, RelayProcess, SMALL_LOG, eventrelay, run, stderr, stdout};
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const EVENT: &str = r#"{"type":"t","source":"/s"}"#;

/// `name.crt` and `name.key` on all doors; read again at a SIGHUP only.
fn on_all_doors(name: &str, more: &str) -> String {
    let section = |door: &str| {
        format!(
            "[{door}.tls]\ncertificate_file = \"{name}.crt\"\nprivate_key_file = \"{name}.key\"\n\
             reload_interval_ms = 0\n{more}\n"
        )
    };
    [SMALL_LOG.to_owned(), section("http"), section("grpc"), section("tcp")].join("\n")
}

/// Runs a command against the server, believing the authority of this file.
fn ask<'a>(
    relay: &RelayProcess,
    directory: &Path,
    ca_file: &'a str,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Output {
    let mut command = eventrelay(directory);
    command.args(arguments).args(["--url", &relay.url(), "--ca-file", ca_file]);
    command.output().unwrap()
}

fn accepts(relay: &RelayProcess, directory: &Path, ca_file: &str) -> bool {
    let output = ask(relay, directory, ca_file, ["publish", EVENT]);
    match output.status.code() {
        Some(0) => true,
        Some(5) => false,
        _ => panic!("{output:?}"),
    }
}

#[test]
fn every_door_speaks_tls_and_a_signal_has_a_new_certificate_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (old, new) = (Authority::new(), Authority::new());
    old.write(&path.join("old-ca.crt"));
    new.write(&path.join("new-ca.crt"));
    old.write_pair(path, "server", |_| {});
    fs::write(path.join("eventrelay.toml"), on_all_doors("server", "")).unwrap();
    let mut command = eventrelay(path);
    command.args(["serve", "--http-listen", "127.0.0.1:0", "--tcp-frames-listen", "127.0.0.1:0"]);
    let mut relay = RelayProcess::spawn(command).unwrap_or_else(|failure| panic!("{failure:?}"));
    assert!(relay.url().starts_with("https://"), "{}", relay.url());
    assert!(accepts(&relay, path, "old-ca.crt"));
    assert!(!accepts(&relay, path, "new-ca.crt"));
    let frames = relay.wait_for_line(|line| line.contains("tls://") && line.ends_with("for frames")).unwrap();
    let frames = frames.split("tls://").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(publish_frame(frames, &old), 0);
    assert!(relay.wait_for_line(|line| line.contains("Listening on grpcs://")).is_some());

    // It could not make its connection again: it believes the old authority only.
    let url = relay.url();
    let mut tail = eventrelay(path);
    tail.args(["tail", "--url", &url, "--ca-file", "old-ca.crt", "--from", "earliest", "--count", "3"]);
    let mut tail = tail.stdout(Stdio::piped()).spawn().unwrap();
    let mut tailed = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut offset = || -> u64 {
        let line = tailed.next().unwrap().unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["offset"].as_u64().unwrap()
    };
    assert_eq!((offset(), offset()), (0, 1));

    new.write_pair(path, "server", |_| {});
    assert!(accepts(&relay, path, "old-ca.crt") && !accepts(&relay, path, "new-ca.crt"), "nobody has asked");
    relay.signal(Signal::HUP);
    for door in ["http.tls", "grpc.tls", "tcp.tls"] {
        let reloaded =
            |line: &str| line.contains("new connections get the certificate") && line.contains(door);
        assert!(relay.wait_for_line(reloaded).is_some(), "{door}");
    }
    assert!(accepts(&relay, path, "new-ca.crt") && !accepts(&relay, path, "old-ca.crt"));
    assert_eq!(publish_frame(frames, &new), 0);
    assert_eq!(offset(), 2, "the connection that was there goes on");
    assert!(tail.wait().unwrap().success());

    fs::write(path.join("server.key"), "nothing").unwrap();
    relay.signal(Signal::HUP);
    let failed = relay.wait_for_line(|line| line.contains("cannot be used") && line.contains("tcp.tls"));
    assert!(failed.unwrap().contains("server.key"));
    assert!(accepts(&relay, path, "new-ca.crt"));
    assert_eq!(relay.terminate().code(), Some(0));
}

/// Connects over TLS, believing the authority.
fn connected(server: SocketAddr, authority: &Authority) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(server).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    StreamOwned::new(connection, socket)
}

/// Sends one frame over TLS, and gives its answer.
fn publish_frame(server: SocketAddr, authority: &Authority) -> u8 {
    let mut stream = connected(server, authority);
    stream.write_all(b"\x05\0\0\0hello").unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), 1, "{answer:?}");
    answer[0]
}

#[test]
fn a_login_over_tls_has_a_cookie_that_needs_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let authority = Authority::new();
    authority.write(&path.join("ca.crt"));
    authority.write_pair(path, "server", |_| {});
    let key = stdout(&run(path, ["keys", "generate"])).trim().to_owned();
    fs::write(path.join("bootstrap.key"), &key).unwrap();
    let auth = "[auth]\nrequired = true\nbootstrap_key_file = \"bootstrap.key\"";
    let relay = RelayProcess::start(path, &format!("{}\n{auth}", on_all_doors("server", "")));
    let ask = |method: &str, headers: &str, body: &str| {
        let request = format!(
            "{method} /v1/session HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             {headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (mut stream, mut answer) = (connected(relay.http(), &authority), String::new());
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let mut create = eventrelay(path);
    create.args(["users", "create", "--email", "ann@example.com", "--role", "admin", "--ca-file", "ca.crt"]);
    create.args(["--url", &relay.url()]).env("EVENTRELAY_API_KEY", &key).stdin(Stdio::piped());
    let mut create = create.stdout(Stdio::null()).spawn().unwrap();
    create.stdin.take().unwrap().write_all(b"canary correct horse\n").unwrap();
    assert!(create.wait().unwrap().success());

    let login = ask("POST", "", r#"{"email":"ann@example.com","password":"canary correct horse"}"#);
    let cookie =
        login.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap_or_else(|| panic!("{login}"));
    assert!(cookie.contains("; Secure") && !cookie.contains("Domain"), "{cookie}");
    let (name, token) = cookie.split(';').next().unwrap().split_once('=').unwrap();
    assert_eq!(name, "__Host-eventrelay_session");
    let shown = |name: &str| ask("GET", &format!("cookie: {name}={token}\r\n"), "");
    assert!(shown(name).starts_with("HTTP/1.1 200"), "{}", shown(name));
    let planted = shown("eventrelay_session");
    assert!(planted.starts_with("HTTP/1.1 401"), "anybody on the way could have set it: {planted}");
}

#[test]
fn what_is_wrong_with_the_files_is_named_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let authority = Authority::new();
    authority.write_pair(path, "server", |_| {});
    authority.write_pair(path, "another", |_| {});
    fs::copy(path.join("another.key"), path.join("server.key")).unwrap();
    let failure = RelayProcess::try_start(path, &on_all_doors("server", "")).err().unwrap();
    assert_eq!(failure.code, Some(2), "{failure:?}");
    let why = "http.tls.private_key_file: server.key: the key in it does not belong to the certificate in server.crt";
    assert!(failure.said.contains(why), "{failure:?}");
    let checked = run(path, ["config", "check"]);
    assert!(checked.status.code() == Some(2) && stderr(&checked).contains(why), "{checked:?}");

    let half = format!("{SMALL_LOG}\n[tcp.tls]\ncertificate_file = \"server.crt\"\n");
    let failure = RelayProcess::try_start(path, &half).err().unwrap();
    assert_eq!(failure.code, Some(2));
    assert!(failure.said.contains("tcp.tls.private_key_file: not set must be the key of certificate_file"));
}

#[test]
fn an_expired_certificate_and_an_open_key_are_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    Authority::new().write_pair(path, "server", |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    fs::set_permissions(path.join("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut relay = RelayProcess::start(path, &on_all_doors("server", ""));
    let expired = |line: &str| line.contains("has expired") && line.contains("http.tls");
    assert!(relay.wait_for_line(expired).is_some());
    let open = |line: &str| line.contains("may read the private key") && line.contains("server.key");
    assert!(relay.wait_for_line(open).is_some());
}

#[test]
fn a_client_certificate_lets_the_commands_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (servers, clients) = (Authority::new(), Authority::new());
    servers.write(&path.join("ca.crt"));
    clients.write(&path.join("clients.crt"));
    servers.write_pair(path, "server", |_| {});
    clients.write_pair(path, "client", |_| {});
    let more = "client_certificates = \"required\"\nclient_ca_file = \"clients.crt\"";
    let relay = RelayProcess::start(path, &on_all_doors("server", more));

    let without = ask(&relay, path, "ca.crt", ["publish", EVENT]);
    assert_eq!(without.status.code(), Some(5), "{without:?}");
    assert!(stderr(&without).contains("does not let this client in"), "{without:?}");
    let own = ["--client-certificate-file", "client.crt", "--client-key-file", "client.key"];
    let with = ask(&relay, path, "ca.crt", ["publish", EVENT].into_iter().chain(own));
    assert_eq!(with.status.code(), Some(0), "{with:?}");
    let mut from_environment = eventrelay(path);
    from_environment.args(["publish", EVENT]).env("EVENTRELAY_URL", relay.url());
    for (name, file) in
        [("CA_FILE", "ca.crt"), ("CLIENT_CERTIFICATE_FILE", "client.crt"), ("CLIENT_KEY_FILE", "client.key")]
    {
        from_environment.env(format!("EVENTRELAY_{name}"), file);
    }
    let output = from_environment.output().unwrap();
    assert!(output.status.success() && stdout(&output).contains("\"offset\":1"), "{output:?}");

    let half = ask(&relay, path, "ca.crt", ["publish", EVENT, "--client-key-file", "client.key"]);
    assert_eq!(half.status.code(), Some(2), "{half:?}");
    let strange = run(path, ["publish", EVENT, "--url", &relay.url()]);
    assert_eq!(strange.status.code(), Some(5));
    assert!(
        stderr(&strange).contains("is not believed") && stderr(&strange).contains("--ca-file"),
        "{strange:?}"
    );
    let plain = run(path, ["publish", EVENT, "--url", "http://127.0.0.1:1", "--ca-file", "ca.crt"]);
    assert_eq!(plain.status.code(), Some(2), "{plain:?}");
}
