//! TLS.

use std::net::TcpListener;

use eventrelay_sinks::{CheckError, build};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

use crate::broker_events::{loopback, owner, within_patience};
use crate::components::Component;

/// Sees to it that the broker listens with TLS too, once it is started again: its certificate is for `localhost`. Answers the
/// port.
pub(crate) fn prepare(component: &Component) -> u16 {
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (issuer, key) = (authority(), KeyPair::generate().unwrap());
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let write = |name: &str, text: String| std::fs::write(component.directory().join(name), text).unwrap();
    write("ca.pem", issuer.pem());
    write("other.pem", authority().pem());
    write("server.pem", certificate.pem());
    write("server.key", key.serialize_pem());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let path = component.directory().display();
    write(
        "extra.conf",
        format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.certfile = {path}/server.pem\n\
             ssl_options.keyfile = {path}/server.key\n"
        ),
    );
    port
}

pub(crate) async fn a_certificate_must_be_the_brokers(component: &Component, port: u16) {
    let check = async |host: &str, ca: &str| {
        let settings = json!({
            "servers": [format!("amqps://{host}:{port}")], "routing_key": "{type}", "password": "guest",
            "tls": {"ca_file": component.directory().join(ca)},
        });
        let sink = build("rabbitmq", &settings, &owner(), &loopback()).unwrap();
        let checked = within_patience(sink.check()).await;
        sink.close().await;
        checked
    };
    assert_eq!(check("localhost", "ca.pem").await, Ok(()));
    for (host, ca) in [("localhost", "other.pem"), ("127.0.0.1", "ca.pem")] {
        let error = check(host, ca).await.unwrap_err();
        assert!(
            matches!(&error, CheckError::Unreachable(why) if why.contains("certificate")),
            "{host} {ca}: {error}"
        );
    }
}
