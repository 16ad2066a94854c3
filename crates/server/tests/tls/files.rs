//! What is said of files that cannot be used.

use eventrelay_server::tls::{ClientCertificates, TlsOptions};

use crate::support::{Authority, Files};

/// What is said of the files that a change has spoilt.
fn said_of(change: impl FnOnce(&Files, &mut TlsOptions)) -> String {
    let files = Files::of(&Authority::new().pair());
    let mut options = files.options();
    change(&files, &mut options);
    let said = options.check_files("http.tls").unwrap_err().to_string();
    said.replace(&format!("{}/", files.directory().display()), "")
}

#[test]
fn a_good_pair_is_good() {
    let authority = Authority::new();
    let files = Files::of(&authority.pair());
    files.options().check_files("http.tls").unwrap();
    // Expired, it is only warned of: whoever renews it may want the server to run meanwhile.
    files.write(&authority.pair_with(|params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    }));
    files.options().check_files("http.tls").unwrap();
    TlsOptions::default().check_files("http.tls").unwrap();
}

#[test]
fn each_mistake_is_named_with_key_and_file() {
    let another = || Authority::new().pair();
    let not_there = said_of(|files, _| std::fs::remove_file(files.path("tls.crt")).unwrap());
    assert!(
        not_there.starts_with("http.tls.certificate_file: tls.crt: cannot be read: No such file"),
        "{not_there}"
    );
    let swapped = said_of(|files, options| options.private_key_file = Some(files.path("tls.crt")));
    assert!(swapped.starts_with("http.tls.private_key_file: tls.crt: holds no private key"), "{swapped}");
    let swapped = said_of(|files, options| options.certificate_file = Some(files.path("tls.key")));
    assert!(swapped.starts_with("http.tls.certificate_file: tls.key: holds no certificate"), "{swapped}");
    let mismatch = said_of(|files, _| std::fs::write(files.path("tls.key"), another().key).unwrap());
    assert_eq!(
        mismatch,
        "http.tls.private_key_file: tls.key: the key in it does not belong to the certificate in tls.crt"
    );
    let no_x509 = "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n";
    let broken = said_of(|files, _| std::fs::write(files.path("tls.crt"), no_x509).unwrap());
    assert!(
        broken.starts_with("http.tls.certificate_file: tls.crt: certificate 1 in it is not valid X.509"),
        "{broken}"
    );
    let authorities = said_of(|files, options| {
        options.client_certificates = ClientCertificates::Required;
        options.client_ca_file = Some(files.path("tls.key"));
    });
    assert!(
        authorities.starts_with("http.tls.client_ca_file: tls.key: holds no certificate"),
        "{authorities}"
    );
    let huge = said_of(|files, _| std::fs::write(files.path("tls.key"), vec![b'x'; 2 << 20]).unwrap());
    assert_eq!(huge, "http.tls.private_key_file: tls.key: is larger than 1048576 bytes");
}
