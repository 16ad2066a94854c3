//! Tenants, users, their sessions, and the log of what was changed.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use eventrelay_event::Tenant;
use eventrelay_state::{
    ActorKind, AuditEntry, AuditQuery, OidcIdentity, Role, SessionRecord, SessionStart, State, TenantRecord,
    TenantRemoval, UserChange, UserRecord,
};
use support::{EMPTY_LOG, Home, audit, audited};

fn user(id: &str, tenant: &str, email: &str) -> UserRecord {
    UserRecord {
        id: id.to_owned(),
        tenant: Tenant::parse(tenant).unwrap(),
        email: email.to_owned(),
        name: "Somebody".to_owned(),
        role: Role::Viewer,
        password_hash: Some("$argon2id$canary".to_owned()),
        oidc: None,
        disabled: false,
        failed_logins: 0,
        locked_until_micros: None,
        last_login_at_micros: None,
        created_at_micros: 5,
        updated_at_micros: 5,
        revision: 1,
    }
}

fn session(hash: u8, user_id: &str, created_at_micros: u64) -> SessionStart {
    let session = SessionRecord {
        token_hash: [hash; 32],
        user_id: user_id.to_owned(),
        created_at_micros,
        last_seen_at_micros: created_at_micros,
        expires_at_micros: created_at_micros + 1_000,
        client_address: "127.0.0.1".to_owned(),
        user_agent: "a browser".to_owned(),
    };
    SessionStart { session, user_revision: 1, audit: audit("session.create") }
}

fn open_hashes(state: &State, now_micros: u64) -> Vec<u8> {
    let mut hashes: Vec<u8> =
        state.sessions(now_micros).unwrap().iter().map(|(session, _)| session.token_hash[0]).collect();
    hashes.sort_unstable();
    hashes
}

#[tokio::test]
async fn a_user_is_found_by_what_is_unique_and_changed_only_from_the_newest_revision() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let mut ann = user("user_a", "acme", "ann@example.com");
    ann.oidc = Some(OidcIdentity { issuer: "https://id".to_owned(), subject: "s-1".to_owned() });
    let created = state.create_user(ann.clone(), audit("user.create")).await.unwrap();
    assert_eq!(created, UserChange::Done);
    for taken in [
        user("user_b", "acme", "ann@example.com"),
        UserRecord { oidc: ann.oidc.clone(), ..user("user_b", "other", "bob@example.com") },
    ] {
        assert_eq!(state.create_user(taken, audit("user.create")).await.unwrap(), UserChange::Taken);
    }
    let elsewhere = user("user_c", "other", "ann@example.com");
    assert_eq!(state.create_user(elsewhere.clone(), audit("user.create")).await.unwrap(), UserChange::Done);

    let changed = UserRecord { role: Role::Admin, updated_at_micros: 9, ..ann.clone() };
    assert_eq!(state.update_user(changed.clone(), audit("user.update")).await.unwrap(), UserChange::Done);
    let again = state.update_user(changed.clone(), audit("user.update")).await.unwrap();
    assert_eq!(again, UserChange::Stale, "it was decided on what is no longer so");
    drop(state); // as a killed process leaves it

    let state = home.open(EMPTY_LOG).unwrap();
    let newest = UserRecord { revision: 2, ..changed };
    assert_eq!(state.user("user_a").unwrap().as_ref(), Some(&newest));
    assert_eq!(state.user_by_email(&ann.tenant, "ann@example.com").unwrap().as_ref(), Some(&newest));
    assert_eq!(state.user_by_oidc(ann.oidc.as_ref().unwrap()).unwrap().as_ref(), Some(&newest));
    assert_eq!(state.users(None, None, 10).unwrap(), [newest.clone(), elsewhere.clone()]);
    assert_eq!(state.users(Some(&ann.tenant), None, 10).unwrap(), std::slice::from_ref(&newest));
    let behind = state.users(None, Some(("acme", "ann@example.com")), 10).unwrap();
    assert_eq!(behind, [elsewhere]);
    let shown = format!("{newest:?}");
    assert!(!shown.contains("canary"), "{shown}");

    let stale = state.delete_user("user_a".to_owned(), 1, audit("user.delete")).await.unwrap();
    assert_eq!(stale, UserChange::Stale);
    let gone = state.delete_user("user_a".to_owned(), 2, audit("user.delete")).await.unwrap();
    assert_eq!((gone, state.user("user_a").unwrap()), (UserChange::Done, None));
    assert_eq!(audited(&state), ["user.delete", "user.update", "user.create", "user.create"]);
}

#[tokio::test]
async fn a_session_begins_only_for_the_user_that_was_looked_at_and_ends_with_any_change() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    state.create_user(user("user_a", "acme", "ann@example.com"), audit("user.create")).await.unwrap();
    state.lock_user("user_a".to_owned(), 5, 90, audit("user.lock")).await.unwrap();
    let locked = state.user("user_a").unwrap().unwrap();
    assert_eq!((locked.failed_logins, locked.locked_until_micros, locked.revision), (5, Some(90), 1));

    assert!(state.begin_session(session(1, "user_a", 100)).await.unwrap());
    let ann = state.user("user_a").unwrap().unwrap();
    assert_eq!((ann.failed_logins, ann.locked_until_micros), (0, None), "a login forgets what failed");
    assert_eq!((ann.last_login_at_micros, ann.revision), (Some(100), 1));
    let other = SessionStart { user_revision: 2, ..session(2, "user_a", 100) };
    assert!(!state.begin_session(other).await.unwrap(), "that user has changed meanwhile");
    assert!(!state.begin_session(session(2, "user_x", 100)).await.unwrap(), "that user is gone");
    assert!(state.begin_session(session(3, "user_a", 101)).await.unwrap());
    assert!(state.has_session([3; 32]).unwrap() && !state.has_session([2; 32]).unwrap());
    state.note_sessions_seen(vec![([3; 32], 150)]).await.unwrap();
    assert!(state.end_session([1; 32], audit("session.delete")).await.unwrap());
    assert!(!state.end_session([1; 32], audit("session.delete")).await.unwrap());
    drop(state);

    let state = home.open(EMPTY_LOG).unwrap();
    let open = state.sessions(200).unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].0.token_hash, open[0].0.last_seen_at_micros), ([3; 32], 150));
    assert_eq!(open[0].1.email, "ann@example.com");
    assert_eq!(open_hashes(&state, 1_101), [0_u8; 0], "it has expired");

    let disabled = UserRecord { disabled: true, ..ann };
    assert_eq!(state.update_user(disabled, audit("user.update")).await.unwrap(), UserChange::Done);
    assert!(!state.has_session([3; 32]).unwrap());
    let after = SessionStart { user_revision: 2, ..session(4, "user_a", 200) };
    assert!(!state.begin_session(after).await.unwrap(), "who is disabled does not log in");
}

#[tokio::test]
async fn the_oldest_sessions_beyond_the_most_and_expired_ones_go_with_a_login() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    for (id, email) in [("user_a", "ann@example.com"), ("user_b", "bob@example.com")] {
        state.create_user(user(id, "acme", email), audit("user.create")).await.unwrap();
    }
    assert!(state.begin_session(session(100, "user_b", 100)).await.unwrap());
    for n in 1..=12 {
        assert!(state.begin_session(session(n, "user_a", 100 + u64::from(n))).await.unwrap());
    }
    assert_eq!(open_hashes(&state, 200), [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 100]);
    assert!(state.begin_session(session(13, "user_a", 5_000)).await.unwrap());
    assert_eq!(open_hashes(&state, 0), [13]);
}

#[tokio::test]
async fn a_tenant_goes_only_when_it_has_nothing_left() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let names = |state: &State| {
        let tenants = state.tenants(None, 10).unwrap();
        tenants.iter().map(|tenant| tenant.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&state), ["default"]);
    state.create_user(user("user_a", "acme", "ann@example.com"), audit("user.create")).await.unwrap();
    assert_eq!(names(&state), ["acme", "default"], "a tenant that is named is there");
    let acme = state.tenant("acme").unwrap().unwrap();
    let metadata = BTreeMap::from([("team".to_owned(), "shop".to_owned())]);
    let changed = TenantRecord { metadata, display_name: "Acme".to_owned(), ..acme.clone() };
    assert!(!state.create_tenant(changed.clone(), audit("tenant.create")).await.unwrap());
    assert!(state.update_tenant(changed.clone(), audit("tenant.update")).await.unwrap());
    assert!(!state.update_tenant(changed.clone(), audit("tenant.update")).await.unwrap(), "it is stale");
    assert_eq!(state.tenant("acme").unwrap(), Some(TenantRecord { revision: 2, ..changed }));

    let delete = async |revision| {
        state.delete_tenant(acme.name.clone(), revision, audit("tenant.delete")).await.unwrap()
    };
    let one_user = TenantRemoval::NotEmpty { subscriptions: 0, api_keys: 0, users: 1 };
    assert_eq!(delete(2).await, one_user);
    state.delete_user("user_a".to_owned(), 1, audit("user.delete")).await.unwrap();
    assert_eq!(delete(1).await, TenantRemoval::Stale);
    assert_eq!(delete(2).await, TenantRemoval::Removed);
    assert_eq!(names(&state), ["default"]);
    assert_eq!(audited(&state), ["tenant.delete", "user.delete", "tenant.update", "user.create"]);
}

#[tokio::test]
async fn the_audit_log_is_searched_by_what_is_asked_for_newest_first() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let entries = [
        audit("tenant.create"),
        AuditEntry { at_micros: 5, tenant: Tenant::parse("acme").unwrap(), ..audit("user.create") },
        AuditEntry {
            at_micros: 9,
            actor_kind: ActorKind::System,
            actor_id: String::new(),
            ..audit("user.lock")
        },
        AuditEntry { at_micros: 12, resource_name: "other".to_owned(), ..audit("user.create") },
    ];
    for entry in &entries {
        state.append_audit_entry(entry.clone()).await.unwrap();
    }
    let find = |query: AuditQuery| {
        let found = state.audit_log(&AuditQuery { limit: query.limit.max(1), ..query }).unwrap();
        found.into_iter().map(|record| (record.id, record.entry)).collect::<Vec<_>>()
    };
    let numbered = |numbers: &[u64]| {
        let entry = |id: u64| (id, entries[usize::try_from(id).unwrap() - 1].clone());
        numbers.iter().map(|id| entry(*id)).collect::<Vec<_>>()
    };
    let all = AuditQuery { limit: 10, ..AuditQuery::default() };
    assert_eq!(find(all.clone()), numbered(&[4, 3, 2, 1]));
    assert_eq!(find(AuditQuery { limit: 2, before_id: Some(4), ..all.clone() }), numbered(&[3, 2]));
    let some = |text: &str| Some(text.to_owned());
    for (query, expected) in [
        (AuditQuery { tenant: Tenant::parse("acme").ok(), ..all.clone() }, vec![2]),
        (AuditQuery { from_micros: Some(5), to_micros: Some(12), ..all.clone() }, vec![3, 2]),
        (AuditQuery { actor: some("key_1"), ..all.clone() }, vec![4, 2, 1]),
        (AuditQuery { actor: some("the operator"), ..all.clone() }, vec![4, 3, 2, 1]),
        (AuditQuery { actor_kind: Some(ActorKind::System), ..all.clone() }, vec![3]),
        (AuditQuery { action: some("user.create"), ..all.clone() }, vec![4, 2]),
        (AuditQuery { resource_kind: some("user"), resource_name: some("it"), ..all.clone() }, vec![3, 2]),
    ] {
        assert_eq!(find(query.clone()), numbered(&expected), "{query:?}");
    }
}
