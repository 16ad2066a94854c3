//! Users, logins and sessions on a real store.

use std::net::IpAddr;
use std::time::Duration;

use eventrelay_event::Tenant;
use eventrelay_state::{AuditQuery, LogIdentity, OpenMode, Role};

use super::*;
use crate::auth::{
    Access, ApiKeys, Author, Credentials, LoginError, LoginSource, NewUser, Password, Scope, SessionToken,
    UserEdit, UserError,
};

const PASSWORD: &str = "correct horse battery";

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn state(&self) -> State {
        let log = LogIdentity { log_id: [7; 16], oldest_offset: 0, end_offset: 0 };
        State::open(&self.0.path().join("state.db"), log, OpenMode::Normal).unwrap()
    }
}

fn options() -> LoginOptions {
    LoginOptions { failures_before_lockout: 3, first_lockout_ms: 600_000, ..LoginOptions::default() }
}

fn accounts(state: &State) -> Accounts {
    Accounts::open(state.clone(), options(), Quotas::none()).unwrap()
}

/// The access of whoever needs no key.
fn everything(state: &State) -> Access {
    ApiKeys::open(state.clone(), false, None, Quotas::none()).unwrap().authenticate(None).unwrap()
}

fn new(tenant: &str, email: &str, role: Role) -> NewUser {
    let password = Password::choose(PASSWORD.to_owned()).unwrap();
    let (tenant, email) = (Tenant::parse(tenant).unwrap(), email.to_owned());
    NewUser { tenant, email, name: "Somebody".to_owned(), role, password: Some(password) }
}

fn source() -> LoginSource {
    let address: IpAddr = "127.0.0.1".parse().unwrap();
    LoginSource { address, user_agent: "a browser".to_owned(), request_id: Some("r-1".to_owned()) }
}

async fn log_in(accounts: &Accounts, email: &str, password: &str) -> Result<SessionToken, LoginError> {
    let credentials = Credentials {
        tenant: Tenant::parse("acme").unwrap(),
        email: email.to_owned(),
        password: Password::typed(password.to_owned()),
    };
    accounts.logins.log_in(credentials, &source()).await.map(|(token, _)| token)
}

#[tokio::test]
async fn a_login_gives_the_access_of_the_role_until_the_user_is_changed() {
    let home = Home::new();
    let state = home.state();
    let accounts = accounts(&state);
    let (all, author) = (everything(&state), Author::system());
    let ann = new("acme", "Ann@Example.com", Role::Operator);
    let ann = accounts.users.create(&all, ann, &author).await.unwrap();
    assert_eq!(ann.email, "ann@example.com");
    let again = accounts.users.create(&all, new("acme", "ANN@example.com", Role::Viewer), &author).await;
    assert_eq!(again.unwrap_err(), UserError::Taken);

    let token = log_in(&accounts, "ANN@example.com ", PASSWORD).await.unwrap();
    let other = log_in(&accounts, "ann@example.com", PASSWORD).await.unwrap();
    assert_ne!(token.expose(), other.expose());
    let access = accounts.sessions.authenticate(&token).unwrap();
    assert_eq!((access.tenant().as_str(), access.actor().name.as_str()), ("acme", "ann@example.com"));
    assert!(access.allows(Scope::Manage) && !access.allows(Scope::TenantAdmin));
    accounts.sessions.end(access.session().unwrap(), &author).await.unwrap();
    assert!(accounts.sessions.authenticate(&token).is_none() && !access.is_valid(super::super::now_micros()));
    assert!(accounts.sessions.authenticate(&other).is_some(), "only the one that was ended");

    // A restart forgets no session; a change ends them all, in memory and in the store.
    let accounts = self::accounts(&state);
    let access = accounts.sessions.authenticate(&other).unwrap();
    let demoted = UserEdit { role: Some(Role::Viewer), ..UserEdit::default() };
    let changed = accounts.users.change(&all, ann.clone(), demoted, &author).await.unwrap();
    assert_eq!((changed.role, changed.revision), (Role::Viewer, 2));
    assert!(accounts.sessions.authenticate(&other).is_none() && !access.is_valid(super::super::now_micros()));
    assert!(self::accounts(&state).sessions.authenticate(&other).is_none());
    let stale = accounts.users.delete(&all, ann, &author).await;
    assert_eq!(stale.unwrap_err(), UserError::Stale);

    let query = AuditQuery { limit: 100, ..AuditQuery::default() };
    let told = format!("{:?}", state.audit_log(&query).unwrap());
    for secret in [PASSWORD, "argon2", token.expose(), other.expose()] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    assert!(told.contains(r#"\"role\":\"operator\""#) && told.contains(r#"\"role\":\"viewer\""#), "{told}");
}

#[tokio::test]
async fn failures_lock_a_name_whether_or_not_somebody_has_it_and_a_restart_does_not_help() {
    let home = Home::new();
    let state = home.state();
    let accounts = accounts(&state);
    let (all, author) = (everything(&state), Author::system());
    accounts.users.create(&all, new("acme", "ann@example.com", Role::Viewer), &author).await.unwrap();
    for email in ["ann@example.com", "nobody@example.com"] {
        for _ in 0..3 {
            assert_eq!(log_in(&accounts, email, "wrong").await.unwrap_err(), LoginError::Refused, "{email}");
        }
        let locked = log_in(&accounts, email, PASSWORD).await.unwrap_err();
        let LoginError::Locked { retry_after } = locked else { panic!("{email}: {locked}") };
        assert!(retry_after > Duration::from_secs(500), "{retry_after:?}");
    }
    let restarted = self::accounts(&state);
    let locked = log_in(&restarted, "ann@example.com", PASSWORD).await.unwrap_err();
    assert!(matches!(locked, LoginError::Locked { .. }), "{locked}");

    // Its admin can end the lock with a new password, for whoever has forgotten the one before.
    let ann = state.users(None, None, 1).unwrap().remove(0);
    let password = Some(Password::choose("another horse battery".to_owned()).unwrap());
    let edit = UserEdit { password, ..UserEdit::default() };
    restarted.users.change(&all, ann, edit, &author).await.unwrap();
    assert!(log_in(&restarted, "ann@example.com", "another horse battery").await.is_ok());
}

#[tokio::test]
async fn nobody_gives_or_touches_more_than_he_may_do_himself() {
    let home = Home::new();
    let state = home.state();
    let accounts = accounts(&state);
    let (all, author) = (everything(&state), Author::system());
    let users = &accounts.users;
    users.create(&all, new("acme", "boss@example.com", Role::Admin), &author).await.unwrap();
    let relay_admin =
        users.create(&all, new("default", "root@example.com", Role::Admin), &author).await.unwrap();
    let token = log_in(&accounts, "boss@example.com", PASSWORD).await.unwrap();
    let boss = accounts.sessions.authenticate(&token).unwrap();
    assert!(boss.allows(Scope::TenantAdmin) && !boss.allows(Scope::Admin));

    let made = users.create(&boss, new("acme", "ann@example.com", Role::Admin), &author).await.unwrap();
    for beyond in
        [new("default", "eve@example.com", Role::Viewer), new("other", "eve@example.com", Role::Viewer)]
    {
        let refused = users.create(&boss, beyond, &author).await;
        assert_eq!(refused.unwrap_err(), UserError::BeyondOwnScopes);
    }
    assert_eq!(users.find(&boss, &relay_admin.id).await.unwrap_err(), UserError::NotFound);
    assert_eq!(users.find(&boss, &made.id).await.unwrap().email, "ann@example.com");
    let seen = users.list(&boss, None, None, 10).await.unwrap();
    assert!(seen.len() == 2 && seen.iter().all(|user| user.tenant.as_str() == "acme"), "{seen:?}");
    assert_eq!(users.list(&boss, Some(Tenant::default()), None, 10).await.unwrap(), []);
    assert_eq!(users.list(&all, None, None, 10).await.unwrap().len(), 3);

    // A viewer sees himself alone, and cannot change even that.
    let viewer = users.create(&boss, new("acme", "vic@example.com", Role::Viewer), &author).await.unwrap();
    let token = log_in(&accounts, "vic@example.com", PASSWORD).await.unwrap();
    let vic = accounts.sessions.authenticate(&token).unwrap();
    assert_eq!(users.find(&vic, &made.id).await.unwrap_err(), UserError::NotFound);
    assert_eq!(users.find(&vic, &viewer.id).await.unwrap(), state.user(&viewer.id).unwrap().unwrap());
    let promoted = UserEdit { role: Some(Role::Admin), ..UserEdit::default() };
    let refused = users.change(&vic, viewer.clone(), promoted, &author).await;
    assert_eq!(refused.unwrap_err(), UserError::BeyondOwnScopes);
    assert_eq!(users.delete(&vic, made, &author).await.unwrap_err(), UserError::BeyondOwnScopes);

    let typed = |text: &str| Password::typed(text.to_owned());
    let wrong = (typed("wrong"), typed("new horse battery"));
    let found = state.user(&viewer.id).unwrap().unwrap();
    let refused =
        users.change_own_password(&accounts.logins, found.clone(), wrong, (&author, &source())).await;
    assert_eq!(refused.unwrap_err(), UserError::Unproven(LoginError::Refused));
    let right = (typed(PASSWORD), typed("new horse battery"));
    users.change_own_password(&accounts.logins, found, right, (&author, &source())).await.unwrap();
    assert!(accounts.sessions.authenticate(&token).is_none(), "it has to be shown that the new one is known");
    assert!(log_in(&accounts, "vic@example.com", "new horse battery").await.is_ok());
}

#[tokio::test]
async fn a_user_without_a_password_and_one_who_is_disabled_are_refused_like_one_who_is_not_there() {
    let home = Home::new();
    let state = home.state();
    let accounts = accounts(&state);
    let (all, author) = (everything(&state), Author::system());
    let without = NewUser { password: None, ..new("acme", "bob@example.com", Role::Viewer) };
    accounts.users.create(&all, without, &author).await.unwrap();
    let ann =
        accounts.users.create(&all, new("acme", "ann@example.com", Role::Viewer), &author).await.unwrap();
    let disabled = UserEdit { disabled: Some(true), ..UserEdit::default() };
    accounts.users.change(&all, ann, disabled, &author).await.unwrap();
    for email in ["ann@example.com", "bob@example.com", "nobody@example.com"] {
        assert_eq!(log_in(&accounts, email, PASSWORD).await.unwrap_err(), LoginError::Refused, "{email}");
    }
}
