//! A provider that is down, changes its keys, or refuses the relay; and none at all.

use serde_json::{Value, json};

use crate::harness::authority::Authority;
use crate::harness::{poll, run, stderr};
use crate::issuer::Issuer;
use crate::world::{World, refusal, set_cookies, verified};

const DOWN: (u16, &str) = (503, "oidc_provider_unavailable");

#[test]
fn while_the_provider_is_down_logins_say_so_and_all_else_goes_on() {
    let world = World::start("");
    world.user("default", "ann@example.com", "viewer");
    world.issuer.set_down(true);
    let refused = world.get("/v1/oidc/login", &[("accept", "*/*")]);
    assert_eq!(refusal(&refused), (DOWN.0, DOWN.1.to_owned()));
    assert!(refused.header("retry-after").is_some() && set_cookies(&refused).is_empty(), "{refused:?}");
    let browser = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    let page = world.get("/v1/oidc/login", &browser);
    assert_eq!(
        (page.status, page.header("content-type")),
        (503, Some("text/html; charset=utf-8")),
        "{page:?}"
    );
    assert!(page.body.contains(DOWN.1) && page.header("retry-after").is_some(), "{page:?}");
    assert_eq!(world.ask("GET", "/v1/users", &Value::Null).status, 200);

    world.issuer.set_down(false);
    poll::until("the provider is asked again", || {
        (world.get("/v1/oidc/login", &[]).status == 303).then_some(())
    });
    // Down in between: where to go is known, but not who comes back.
    let login = world.begin();
    let query = world.issuer.log_in(&login.location, verified("s-1", "ann@example.com"));
    world.issuer.set_down(true);
    assert_eq!(refusal(&world.come_back(&query, &login.cookie)), (DOWN.0, DOWN.1.to_owned()));
    world.issuer.set_down(false);
    poll::until("the login succeeds", || {
        (world.log_in(verified("s-1", "ann@example.com")).status == 200).then_some(())
    });
}

#[test]
fn over_tls_the_provider_is_believed_by_the_authorities_of_ca_file_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (own, other) = (Authority::new(), Authority::new());
    let ca_file = |name: &str, authority: &Authority| {
        let file = directory.path().join(name);
        authority.write(&file);
        format!("ca_file = \"{}\"", file.display())
    };
    let world = World::start_with(Issuer::start_with_tls(own.server()), &ca_file("own.pem", &own));
    world.user("default", "ann@example.com", "viewer");
    assert_eq!(world.logged_in(verified("s-1", "ann@example.com"))["user"]["email"], "ann@example.com");

    for more in [ca_file("other.pem", &other), String::new()] {
        let world = World::start_with(Issuer::start_with_tls(own.server()), &more);
        let refused = world.get("/v1/oidc/login", &[("accept", "*/*")]);
        assert_eq!(refusal(&refused), (DOWN.0, DOWN.1.to_owned()), "with {more:?}");
    }
}

#[test]
fn a_provider_may_change_its_keys_and_is_not_asked_for_them_without_end() {
    let world = World::start("");
    world.user("default", "ann@example.com", "viewer");
    let ann = || verified("s-1", "ann@example.com");
    world.logged_in(ann());
    world.logged_in(ann());
    assert_eq!(world.issuer.keys_read(), 1, "they are kept");
    world.issuer.rotate_key();
    world.logged_in(ann());
    assert_eq!(world.issuer.keys_read(), 2);
    // A second time within a minute has to wait: keys that nobody has are anybody's to name.
    world.issuer.rotate_key();
    for _ in 0..3 {
        assert_eq!(refusal(&world.log_in(ann())), (401, "oidc_login_failed".to_owned()));
    }
    assert_eq!(world.issuer.keys_read(), 2);
}

#[test]
fn without_a_provider_there_is_nothing_to_log_in_with() {
    let world = World::with(Issuer::start(), "");
    assert_eq!(world.get("/v1/login-methods", &[]).json(), json!({"password": true, "oidc": null}));
    for path in ["/v1/oidc/login", "/v1/oidc/callback?code=x&state=y"] {
        assert_eq!(refusal(&world.get(path, &[])), (404, "oidc_not_configured".to_owned()), "{path}");
    }
}

#[test]
fn a_server_that_is_not_the_issuer_it_says_is_not_believed() {
    let issuer = Issuer::start();
    let url = issuer.url().replace("127.0.0.1", "localhost");
    let section = format!(
        "[auth.oidc]\nissuer = \"{url}\"\nclient_id = \"relay\"\nredirect_url = \"http://127.0.0.1:1/v1/oidc/callback\"\n"
    );
    let mut world = World::with(issuer, &section);
    assert_eq!(refusal(&world.get("/v1/oidc/login", &[])), (DOWN.0, DOWN.1.to_owned()));
    let line = world.relay.wait_for_line(|line| line.contains("another issuer"));
    assert!(line.is_some(), "the log says what to look at");
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let good = "issuer = \"https://login.example.com\"\nclient_id = \"relay\"\n\
                redirect_url = \"https://relay.example.com/v1/oidc/callback\"\n";
    let check = |more: &str| {
        std::fs::write(directory.path().join("relay.toml"), format!("[auth.oidc]\n{more}")).unwrap();
        run(directory.path(), ["config", "check", "relay.toml"])
    };
    assert_eq!(check(good).status.code(), Some(0));
    let roles = "role_claim = \"groups\"\n[auth.oidc.roles]\n\"my group\" = \"operator\"\n";
    assert_eq!(check(&format!("{good}{roles}")).status.code(), Some(0));
    for (more, said) in [
        ("client_id = \"relay\"\n".to_owned(), "auth.oidc.issuer: is not set"),
        (good.replace("https://relay", "http://relay"), "auth.oidc.redirect_url: must be an https URL"),
        (
            format!("{good}client_secret_file = \"missing\"\n"),
            "auth.oidc.client_secret_file: missing: cannot be read",
        ),
        (format!("{good}create_users = true\n"), "auth.oidc.default_role: must be set"),
        (format!("{good}{}", roles.replace("operator", "owner")), "auth.oidc.roles"),
        (format!("{good}isuer = \"x\"\n"), "did you mean `auth.oidc.issuer`"),
    ] {
        let refused = check(&more);
        assert_eq!(refused.status.code(), Some(2), "{more}: {refused:?}");
        assert!(stderr(&refused).contains(said), "{refused:?}");
    }
}
