//! TLS: the names of the settings are what certificates are checked against, though addresses are dialled.

use eventrelay_sinks::{CheckError, build};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::broker_events::{loopback, owner, within_patience};
use crate::components::Component;
use crate::server;

/// A certificate authority of the test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a certificate for a name, and its key.
    fn write_certificate(&self, directory: &std::path::Path, file: &str, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(directory.join(format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(directory.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

/// A server with a certificate for `name`, and the folder with what its clients need.
fn start(name: &str, more: &str) -> Option<(Component, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    std::fs::write(folder.path().join("ca.pem"), authority.0.pem()).unwrap();
    authority.write_certificate(folder.path(), "server", name);
    authority.write_certificate(folder.path(), "client", "relay");
    std::fs::write(folder.path().join("other.pem"), Authority::new().0.pem()).unwrap();
    let path = folder.path().display();
    let tls = format!("tls {{ cert_file: \"{path}/server.pem\", key_file: \"{path}/server.key\", {more} }}");
    Some((server::start_with(&tls.replace("FOLDER", &path.to_string()))?, folder))
}

async fn check(server: &Component, url: &str, extra: Value) -> Result<(), CheckError> {
    let url = url.replace("PORT", &server.port().to_string());
    let mut settings = json!({"servers": [url], "subject": "events.{type}"});
    settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let sink = build("nats", &settings, &owner(), &loopback()).unwrap();
    let checked = within_patience(sink.check()).await;
    sink.close().await;
    checked
}

fn unreachable(result: Result<(), CheckError>) -> String {
    match result {
        Err(CheckError::Unreachable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_name_is_checked_though_an_address_is_dialled() {
    let Some((server, folder)) = start("localhost", "") else { return };
    let trusting = |file: &str| json!({"tls": {"ca_file": folder.path().join(file)}});
    assert_eq!(check(&server, "tls://localhost:PORT", trusting("ca.pem")).await, Ok(()));
    for (url, file) in [("tls://localhost:PORT", "other.pem"), ("tls://127.0.0.1:PORT", "ca.pem")] {
        let why = unreachable(check(&server, url, trusting(file)).await);
        assert!(why.contains("certificate"), "{url}: {why}");
    }
    // A server may ask for TLS where the settings do not; it is then checked too.
    let why = unreachable(check(&server, "nats://localhost:PORT", json!({})).await);
    assert!(why.contains("certificate"), "{why}");
    let insecure = json!({"tls": {"insecure_skip_verify": true}});
    assert_eq!(check(&server, "tls://127.0.0.1:PORT", insecure).await, Ok(()));
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_shown_ours() {
    let Some((server, folder)) = start("127.0.0.1", "ca_file: \"FOLDER/ca.pem\", verify: true") else {
        return;
    };
    let file = |name: &str| folder.path().join(name);
    let anonymous = json!({"tls": {"ca_file": file("ca.pem")}});
    unreachable(check(&server, "tls://127.0.0.1:PORT", anonymous).await);
    let known = json!({"tls": {
        "ca_file": file("ca.pem"), "client_certificate_file": file("client.pem"), "client_key_file": file("client.key"),
    }});
    assert_eq!(check(&server, "tls://127.0.0.1:PORT", known).await, Ok(()));
}

#[tokio::test]
async fn a_handshake_can_come_first() {
    let Some((server, folder)) = start("localhost", "handshake_first: true") else { return };
    let first = json!({"tls": {"ca_file": folder.path().join("ca.pem")}, "tls_first": true});
    assert_eq!(check(&server, "tls://localhost:PORT", first).await, Ok(()));
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_where_it_is_asked_for() {
    let Some(server) = server::start() else { return };
    unreachable(check(&server, "tls://localhost:PORT", json!({})).await);
}
