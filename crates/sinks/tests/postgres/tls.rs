//! Encrypted connections.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use crate::database::{Database, all_delivered, all_retried, deliver, live};

#[tokio::test]
async fn the_certificate_is_checked_and_everything_encrypted() {
    let Some(database) = Database::start().await else { return };
    let data = database.component.directory().join("data");
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let server_owner = std::fs::metadata(&data).unwrap();
    for (name, text) in [("server.crt", &certificate), ("server.key", &key.serialize_pem())] {
        let path = data.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, Some(server_owner.uid()), Some(server_owner.gid())).unwrap();
    }
    for sql in ["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"] {
        database.execute(sql).await;
    }
    let on = async {
        while database.texts("SELECT setting FROM pg_settings WHERE name = 'ssl'").await != ["on"] {}
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), on).await.expect("TLS is on");

    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), &certificate).unwrap();
    let sink = database.sink(&json!({"plaintext": false, "tls": {"ca_file": authority.path()}}));
    all_delivered(&deliver(&sink, &live(0..10)).await);
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'eventrelay'";
    assert_eq!(database.count(encrypted).await, 1);

    // The public authorities do not know it.
    let stranger = database.sink(&json!({"plaintext": false}));
    let outcomes = deliver(&stranger, &live(10..11)).await;
    assert!(all_retried(&outcomes).contains("certificate"), "{outcomes:?}");
}
