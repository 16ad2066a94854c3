//! TLS with an authority of one's own.

use eventrelay_sinks::{CheckError, Sink, build};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use serde_json::{Value, json};

use crate::broker_events::{batch, deliver_all, loopback, owner, within_patience};
use crate::components::Component;

/// A certificate authority of the test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // OpenSSL takes a certificate whose subject is its issuer's for one that has signed itself.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a certificate for a name, and its key.
    fn write_certificate(&self, directory: &std::path::Path, file: &str, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(directory.join(format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(directory.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

/// A server that asks for certificates and has one for `localhost`, and the folder with what its clients need.
fn start() -> Option<(Component, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    std::fs::write(folder.path().join("ca.pem"), authority.0.pem()).unwrap();
    authority.write_certificate(folder.path(), "server", "localhost");
    authority.write_certificate(folder.path(), "client", "relay");
    std::fs::write(folder.path().join("other.pem"), Authority::new().0.pem()).unwrap();
    let mut server = Component::start("redis")?;
    server.kill();
    let (path, port) = (folder.path().display(), server.port());
    let configuration = format!(
        "bind 127.0.0.1\nport 0\ntls-port {port}\nappendonly yes\nappendfsync always\ntls-auth-clients yes\n\
         tls-cert-file {path}/server.pem\ntls-key-file {path}/server.key\ntls-ca-cert-file {path}/ca.pem\n"
    );
    std::fs::write(server.directory().join("redis.conf"), configuration).unwrap();
    server.resume();
    Some((server, folder))
}

fn sink(server: &Component, host: &str, tls: &Value) -> std::sync::Arc<dyn Sink> {
    let url = format!("rediss://{host}:{}", server.port());
    let settings = json!({"servers": [url], "stream": "events", "tls": tls});
    build("redis", &settings, &owner(), &loopback()).unwrap()
}

#[tokio::test]
async fn a_private_authority_and_a_client_certificate_are_believed_and_others_are_not() {
    let Some((server, folder)) = start() else { return };
    let file = |name: &str| folder.path().join(name);
    let identity = |authority: &str| {
        json!({"ca_file": file(authority), "client_certificate_file": file("client.pem"),
            "client_key_file": file("client.key")})
    };
    let right = sink(&server, "localhost", &identity("ca.pem"));
    assert_eq!(within_patience(right.check()).await, Ok(()));
    deliver_all(&right, &batch("a", 0..100)).await;
    let without_certificate = json!({"ca_file": file("ca.pem")});
    for (host, tls) in [
        ("localhost", identity("other.pem")),
        ("127.0.0.1", identity("ca.pem")),
        ("localhost", without_certificate),
    ] {
        let error = within_patience(sink(&server, host, &tls).check()).await.unwrap_err();
        assert!(matches!(error, CheckError::Unreachable(_)), "{host}: {error}");
    }
}
