//! Searching, retrying, dead letters, replays, redrives and seeks.

use serde_json::{Value, json};

use crate::harness::poll;
use crate::world::{Client, Hook, start};

/// All items of a list, page by page.
fn pages(client: &Client, path: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let joint = if path.contains('?') { '&' } else { '?' };
        let page = client.get(&format!("{path}{joint}limit=2{cursor}"));
        all.extend(page["data"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn ids(items: &[Value], member: &str) -> Vec<String> {
    items.iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

#[test]
fn events_are_found_by_type_time_key_and_what_became_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path());
    let client = Client::of(&relay);
    let hook = Hook::start();
    client.subscribe("billing", &hook, &json!({"filter": {"types": ["order.*"]}}));
    let orders = client.publish("order.created", 0..5);
    client.publish("invoice.made", 0..5);
    hook.wait_for(&orders);
    let newest_first: Vec<String> = orders.iter().rev().cloned().collect();
    let found = pages(&client, "/v1/events?type=order.*");
    let found: Vec<Value> = found.into_iter().map(|found| found["event"].clone()).collect();
    assert_eq!(ids(&found, "id"), newest_first);
    poll::until("the deliveries to be saved", || {
        (pages(&client, "/v1/subscriptions/billing/deliveries?state=delivered").len() == 5).then_some(())
    });
    let delivered = pages(&client, "/v1/subscriptions/billing/deliveries?state=delivered&order=asc");
    assert_eq!(ids(&delivered, "event_id"), orders, "only what is for it");
    let of_event = client.get(&format!("/v1/events/{}/deliveries", orders[0]));
    assert_eq!(of_event["data"][0]["state"], "delivered");
    assert!(pages(&client, "/v1/events?to=2020-01-01T00:00:00Z").is_empty());
    assert_eq!(pages(&client, "/v1/events?from=2020-01-01T00:00:00Z&order=asc").len(), 10);
    assert_eq!(client.refusal(400, "GET", "/v1/events?state=dead", None), "invalid_query");
    assert_eq!(client.refusal(400, "GET", "/v1/events?status=dead", None), "invalid_query");
    assert_eq!(client.refusal(404, "GET", "/v1/events?subscription=none", None), "subscription_not_found");
}

#[test]
fn a_dead_letter_shows_its_attempts_and_is_redriven_or_discarded() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path());
    let client = Client::of(&relay);
    let hook = Hook::start();
    hook.answer(400);
    let headers = json!({"kind": "webhook", "url": hook.url(), "headers": {"x-token": "canary"}});
    client.subscribe("billing", &hook, &json!({"sink": headers}));
    let dead = client.publish("order.created", 0..4);
    let letters = poll::until("the dead letters", || {
        let letters = pages(&client, "/v1/subscriptions/billing/dead-letters");
        (letters.len() == 4).then_some(letters)
    });
    assert_eq!(ids(&letters, "event_id"), dead.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(letters[3]["event"]["data"], json!({"number": 0}));
    let of_event = client.get(&format!("/v1/events/{}/attempts", dead[0]));
    let attempt = &of_event["data"][0];
    assert_eq!((&attempt["outcome"], &attempt["response_status"]), (&json!("retry"), &json!(400)));
    let shown = client.get(&format!("/v1/subscriptions/billing/attempts/{}", attempt["id"]));
    let text = shown.to_string();
    assert!(text.contains("webhook-signature") && text.contains("order.created"), "{text}");
    assert!(!text.contains("canary") && !text.contains("/hook"), "{text}");

    hook.answer(200);
    let one = format!("/v1/subscriptions/billing/dead-letters/{}", dead[0]);
    let redrive = client.expect(202, "POST", &format!("{one}/redrive"), None);
    hook.wait_for(&dead[..1]);
    let done = poll::until("the redrive's end", || {
        let shown = client.get(&format!("/v1/subscriptions/billing/replays/{}", redrive["id"]));
        (shown["state"] == "done").then_some(shown)
    });
    assert_eq!((&done["kind"], &done["delivered"]), (&json!("redrive"), &json!(1)));
    assert_eq!(client.refusal(404, "GET", &one, None), "dead_letter_not_found");
    // What is gone cannot be redriven; it is no error to look for nothing.
    assert_eq!(client.refusal(404, "POST", &format!("{one}/redrive"), None), "dead_letter_not_found");
    client.expect(204, "DELETE", &format!("/v1/subscriptions/billing/dead-letters/{}", dead[1]), None);
    let none = json!({"filter": {"types": ["invoice.*"]}});
    assert_eq!(client.post(200, "/v1/subscriptions/billing/dead-letters/discard", &none)["discarded"], 0);
    let all = client.post(200, "/v1/subscriptions/billing/dead-letters/discard", &json!({"filter": {}}));
    assert_eq!(all["discarded"], 2);
    let empty = client.post(202, "/v1/subscriptions/billing/dead-letters/redrive", &json!({}));
    poll::until("the end of a redrive of nothing", || {
        let shown = client.get(&format!("/v1/subscriptions/billing/replays/{}", empty["id"]));
        (shown["state"] == "done").then_some(())
    });
}

#[test]
fn replays_seeks_and_retries_deliver_again_and_ranges_without_events_end_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path());
    let client = Client::of(&relay);
    let hook = Hook::start();
    client.subscribe("billing", &hook, &json!({}));
    let events = client.publish("order.created", 0..6);
    hook.wait_for(&events);
    let settled = |path: &str, body: &Value| {
        let begun = client.post(202, path, body);
        poll::until("the end", || {
            let shown = client.get(&format!("/v1/subscriptions/billing/replays/{}", begun["id"]));
            (shown["state"] == "done").then_some(shown)
        })
    };
    poll::until("the cursor", || {
        (client.get("/v1/subscriptions/billing/stats")["cursor"] == 6).then_some(())
    });
    hook.forget();
    let part = json!({"from": {"offset": 1}, "to": {"offset": 3}});
    assert_eq!(settled("/v1/subscriptions/billing/replays", &part)["delivered"], 2);
    assert_eq!(hook.wait_for(&events[1..3]).len(), 2);
    assert_eq!(settled("/v1/subscriptions/billing/replays", &json!({"from": "latest"}))["delivered"], 0);
    let beyond = [
        ("replays", json!({"from": {"offset": 100}}), "from"),
        ("replays", json!({"from": {"offset": 1}, "to": {"offset": 100}}), "to"),
        ("seek", json!({"to": {"offset": 7}}), "to"),
    ];
    for (what, body, field) in beyond {
        let refusal = client.post(400, &format!("/v1/subscriptions/billing/{what}"), &body);
        assert_eq!((&refusal["code"], &refusal["field"]), (&json!("beyond_end"), &json!(field)), "{body}");
    }

    hook.forget();
    assert_eq!(
        client.post(200, "/v1/subscriptions/billing/seek", &json!({"to": {"offset": 4}}))["cursor"],
        4
    );
    assert_eq!(hook.wait_for(&events[4..]).len(), 2);
    hook.forget();
    let retry = format!("/v1/subscriptions/billing/deliveries/{}/retry", events[0]);
    assert_eq!(client.expect(202, "POST", &retry, None)["outcome"], "replay");
    hook.wait_for(&events[..1]);
    let ended = client.expect(200, "POST", "/v1/subscriptions/billing/replays/1/cancel", None);
    assert_eq!(ended["state"], "done", "one that has ended stays as it is");
    assert_eq!(client.refusal(404, "GET", "/v1/subscriptions/billing/replays/99", None), "replay_not_found");
}

#[test]
fn a_sample_shows_the_whole_exchange_and_moves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path());
    let client = Client::of(&relay);
    let hook = Hook::start();
    hook.answer(418);
    client.subscribe("billing", &hook, &json!({}));
    client.expect(200, "POST", "/v1/subscriptions/billing/pause", None);
    let event = json!({"event": {"type": "order.created", "source": "/test", "data": {"a": 1}}});
    let sampled = client.post(200, "/v1/subscriptions/billing/test", &event);
    assert_eq!(
        (&sampled["outcome"], &sampled["exchange"]["response"]["status"]),
        (&json!("retry"), &json!(418))
    );
    assert!(sampled["exchange"]["request"]["body"].as_str().unwrap().contains("\"a\":1"), "{sampled}");
    assert_eq!(hook.seen().len(), 1);
    assert_eq!(client.get("/v1/subscriptions/billing/stats")["dead_letters"], 0);
    client.post(201, "/v1/subscriptions", &json!({"name": "jobs"}));
    assert_eq!(client.post(200, "/v1/subscriptions/jobs/test", &json!({}))["outcome"], "no_target");
}
