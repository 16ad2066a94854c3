//! Applications and endpoints are found by ids and uids, and go with what they stand for.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use eventrelay_event::Tenant;
use eventrelay_state::{
    Lifecycle, NewSvixApplication, State, Subscription, SvixChangeError, SvixEndpoint, SvixEventType,
    SvixPage, TenantRemoval,
};

use support::{EMPTY_LOG, Home, audit, spec};

fn application(id: &str, uid: Option<&str>, tenants: &[&str]) -> NewSvixApplication {
    NewSvixApplication {
        id: id.to_owned(),
        uid: uid.map(str::to_owned),
        tenants: tenants.iter().map(|name| Tenant::parse(name).unwrap()).collect(),
        name: "the shop".to_owned(),
        throttle_rate: None,
        metadata: [("plan".to_owned(), "free".to_owned())].into(),
        start_offset: 3,
    }
}

fn endpoint(id: &str, uid: Option<&str>) -> SvixEndpoint {
    SvixEndpoint {
        id: id.to_owned(),
        application_id: "app_1".to_owned(),
        uid: uid.map(str::to_owned),
        tenant: "shop".to_owned(),
        subscription: format!("sub_{id}"),
    }
}

async fn subscribe(state: &State, name: &str) {
    let spec = Subscription { tenant: Tenant::parse("shop").unwrap(), ..spec(name) };
    state.create_subscription(spec, 0, Lifecycle::Enabled, None).await.unwrap();
}

fn page(after: Option<&str>, descending: bool) -> SvixPage {
    SvixPage { after: after.map(str::to_owned), descending, limit: 10 }
}

#[tokio::test]
async fn applications_have_uids_and_tenants_of_their_own() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let first = state.create_svix_application(application("app_1", Some("shop"), &["shop"])).await.unwrap();
    let taken = state.create_svix_application(application("app_2", Some("shop"), &["other"])).await;
    assert_eq!(taken.unwrap_err(), SvixChangeError::Taken);
    let second = state.create_svix_application(application("app_2", None, &["shop", "other"])).await.unwrap();
    assert_eq!((first.tenant.as_str(), second.tenant.as_str()), ("shop", "other"));
    assert_eq!(state.svix_application("shop").unwrap(), state.svix_application("app_1").unwrap());

    let renamed = eventrelay_state::SvixApplication { uid: Some("shop".to_owned()), ..second.clone() };
    assert_eq!(state.update_svix_application(renamed).await.unwrap_err(), SvixChangeError::Taken);
    let ids = |page: SvixPage| -> Vec<String> {
        state.svix_applications(&page).unwrap().into_iter().map(|application| application.id).collect()
    };
    assert_eq!(ids(page(None, false)), ["app_1", "app_2"]);
    assert_eq!(ids(page(Some("app_1"), false)), ["app_2"]);
    assert_eq!(ids(page(Some("app_2"), true)), ["app_1"]);
    assert!(state.delete_svix_application("app_1".to_owned()).await.unwrap());
    assert!(!state.delete_svix_application("app_1".to_owned()).await.unwrap());
    assert_eq!(state.svix_application("shop").unwrap(), None);
}

#[tokio::test]
async fn an_endpoint_is_there_while_its_subscription_is() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let orphan = state.create_svix_endpoint(endpoint("ep_1", None)).await.unwrap_err();
    assert_eq!(orphan, SvixChangeError::NotFound, "its application is not there");
    state.create_svix_application(application("app_1", None, &["shop"])).await.unwrap();
    state.create_svix_endpoint(endpoint("ep_1", Some("main"))).await.unwrap();
    assert_eq!(state.svix_endpoint("app_1", "ep_1").unwrap(), None, "its subscription is not there yet");
    subscribe(&state, "sub_ep_1").await;
    let (found, subscription) = state.svix_endpoint("app_1", "main").unwrap().unwrap();
    assert_eq!((found, subscription.spec.name.as_str()), (endpoint("ep_1", Some("main")), "sub_ep_1"));
    assert_eq!(state.svix_endpoint("app_2", "ep_1").unwrap(), None, "it is another application's");

    let taken = state.create_svix_endpoint(endpoint("ep_2", Some("main"))).await.unwrap_err();
    assert_eq!(taken, SvixChangeError::Taken);
    state.create_svix_endpoint(endpoint("ep_2", None)).await.unwrap();
    state.create_svix_endpoint(endpoint("ep_3", None)).await.unwrap();
    subscribe(&state, "sub_ep_2").await;
    let ids = |page: SvixPage| -> Vec<String> {
        let found = state.svix_endpoints("app_1", &page).unwrap();
        found.into_iter().map(|(endpoint, _)| endpoint.id).collect()
    };
    assert_eq!(ids(page(None, true)), ["ep_2", "ep_1"], "and not the third, which has no subscription");
    state.forget_unmade_svix_endpoints().await.unwrap();
    subscribe(&state, "sub_ep_3").await;
    assert_eq!(ids(page(None, false)), ["ep_1", "ep_2"]);

    let record = state.subscription("shop", "sub_ep_1").unwrap().unwrap();
    state.delete_subscription(record.id, record.revision, None).await.unwrap();
    assert_eq!(ids(page(None, false)), ["ep_2"]);
    let renamed = state.name_svix_endpoint(endpoint("ep_1", None)).await.unwrap_err();
    assert_eq!(renamed, SvixChangeError::NotFound);
}

#[tokio::test]
async fn an_archived_type_can_be_made_again() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let event_type = SvixEventType {
        name: "order.created".to_owned(),
        description: "An order".to_owned(),
        feature_flags: Some(vec!["beta".to_owned()]),
        ..SvixEventType::default()
    };
    let made = state.save_svix_event_type(event_type.clone(), true).await.unwrap();
    assert_eq!(made.feature_flags, event_type.feature_flags);
    let again = state.save_svix_event_type(event_type.clone(), true).await.unwrap_err();
    assert_eq!(again, SvixChangeError::Taken);
    let archived = SvixEventType { archived: true, ..made };
    state.save_svix_event_type(archived, false).await.unwrap();
    assert_eq!(state.svix_event_types(false, &page(None, false)).unwrap(), []);
    assert_eq!(state.svix_event_types(true, &page(None, false)).unwrap().len(), 1);
    assert!(!state.save_svix_event_type(event_type, true).await.unwrap().archived);
    assert!(state.delete_svix_event_type("order.created".to_owned()).await.unwrap());
}

/// Else its tokens would be good for who is called like that later.
#[tokio::test]
async fn an_application_goes_with_its_tenant_and_no_other() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    for (id, tenant) in [("app_1", "shop"), ("app_2", "other")] {
        state.create_svix_application(application(id, None, &[tenant])).await.unwrap();
    }
    let shop = state.tenant("shop").unwrap().unwrap();
    let removed = state.delete_tenant(shop.name, shop.revision, audit("tenant.delete")).await.unwrap();
    assert_eq!(removed, TenantRemoval::Removed);
    assert!(state.svix_application("app_1").unwrap().is_none());
    assert!(state.svix_application("app_2").unwrap().is_some());
}
