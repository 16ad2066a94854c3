//! `eventrelay config`: what it accepts, and how precisely it says what it does not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::fs;
use std::path::Path;

use harness::{eventrelay, run, stderr, stdout};

/// Checks a file with this text, and gives what was said of it.
fn refusal_of(text: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("relay.toml"), text).unwrap();
    let output = run(directory.path(), ["config", "check", "relay.toml"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(stdout(&output), "");
    stderr(&output).to_owned()
}

fn check_with_environment(directory: &Path, name: &str, value: &str) -> std::process::Output {
    eventrelay(directory).args(["config", "check"]).env(name, value).output().unwrap()
}

#[test]
fn the_printed_default_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    let printed = run(directory.path(), ["config", "default"]);
    assert_eq!(printed.status.code(), Some(0));
    fs::write(directory.path().join("relay.toml"), &printed.stdout).unwrap();
    let checked = run(directory.path(), ["config", "check", "relay.toml"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert!(stdout(&checked).contains("127.0.0.1:8080"), "{checked:?}");
}

#[test]
fn no_configuration_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(run(directory.path(), ["config", "check"]).status.code(), Some(0));
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_what_was_meant() {
    let said = refusal_of("[log]\nsegment_byte = 4096\n");
    assert!(
        said.contains(
            "log.segment_byte: there is no such key; did you mean `log.segment_bytes`? (in relay.toml)"
        ),
        "{said}"
    );
}

#[test]
fn every_unknown_key_is_named_at_once() {
    let said = refusal_of("colour = 1\n[egress]\nallow = true\n");
    assert!(said.contains("colour:") && said.contains("egress.allow:"), "{said}");
}

#[test]
fn an_unknown_variable_is_named_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let output = check_with_environment(directory.path(), "EVENTRELAY_LOG__SEGMENT_BYTE", "4096");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("environment variable EVENTRELAY_LOG__SEGMENT_BYTE"), "{output:?}");
}

#[test]
fn a_wrong_type_is_named_with_key_and_file() {
    let said = refusal_of("[log]\nsegment_bytes = \"128 MiB\"\n");
    assert!(said.contains("log.segment_bytes: ") && said.contains("\"128 MiB\""), "{said}");
    assert!(said.contains("(in relay.toml)"), "{said}");
}

#[test]
fn a_value_out_of_range_is_named_with_what_would_be_right() {
    let said = refusal_of("[log]\nsegment_bytes = 1000\n");
    assert!(said.contains("log.segment_bytes: 1000 is out of range: 65536 to "), "{said}");
    assert!(said.contains("(in relay.toml)"), "{said}");
}

#[test]
fn text_that_is_not_toml_is_shown_with_its_place() {
    let said = refusal_of("[log]\nsync = \n");
    assert!(said.contains("line 2") && said.contains("relay.toml"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_an_error_and_not_the_defaults() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), ["config", "check", "missing.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("missing.toml"), "{output:?}");
}

#[test]
fn the_environment_is_stronger_than_the_file() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("eventrelay.toml"), "[http]\nlisten = \"127.0.0.1:1111\"\n").unwrap();
    let output = check_with_environment(directory.path(), "EVENTRELAY_HTTP__LISTEN", "127.0.0.1:2222");
    assert!(stdout(&output).contains("127.0.0.1:2222"), "{output:?}");
}

#[test]
fn a_wrong_value_of_the_environment_is_named_as_the_variable() {
    let directory = tempfile::tempdir().unwrap();
    let output = check_with_environment(directory.path(), "EVENTRELAY_LOG__SYNC", "sometimes");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("environment variable EVENTRELAY_LOG__SYNC"), "{output:?}");
    assert!(stderr(&output).contains("commit"), "{output:?}");
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    let said = refusal_of("[http]\nlisten = \"0.0.0.0:8080\"\n");
    assert!(said.contains("http.listen: 0.0.0.0:8080 can be reached from other machines"), "{said}");
}

#[test]
fn a_mistake_in_a_subscription_is_named() {
    let said = refusal_of(
        "[[subscriptions]]\nname = \"billing\"\nordr = \"strict\"\nsink = { kind = \"stdout\" }\n",
    );
    assert!(said.contains("ordr") && said.contains("relay.toml"), "{said}");
    let said = refusal_of("[[subscriptions]]\nname = \"billing\"\nsink = { kind = \"pigeon\" }\n");
    assert!(said.contains("billing") && said.contains("pigeon") && said.contains("webhook"), "{said}");
    let one = "[[subscriptions]]\nname = \"billing\"\nsink = { kind = \"stdout\" }\n";
    let said = refusal_of(&format!("{one}{one}"));
    assert!(said.contains("billing") && said.contains("twice"), "{said}");
}

#[test]
fn a_tcp_listener_is_an_address_or_off() {
    let directory = tempfile::tempdir().unwrap();
    let check = |value| check_with_environment(directory.path(), "EVENTRELAY_TCP__LINES_LISTEN", value);
    assert!(stdout(&check("127.0.0.1:9001")).contains("TCP lines on 127.0.0.1:9001"));
    assert!(!stdout(&check("off")).contains("TCP"));
    let refused = check("localhost:9001");
    assert_eq!(refused.status.code(), Some(2));
    let said = stderr(&refused);
    assert!(said.contains("EVENTRELAY_TCP__LINES_LISTEN") && said.contains("off"), "{said}");
    let refused = check("0.0.0.0:9001");
    assert!(stderr(&refused).contains("tcp.lines_listen: 0.0.0.0:9001 can be reached"), "{refused:?}");
}

#[test]
fn tables_with_names_of_ones_own_are_taken_and_their_keys_checked() {
    let directory = tempfile::tempdir().unwrap();
    let tables =
        "[quotas.tenants.acme]\nevents_per_second = 5\n[telemetry.otlp_headers]\nx-api-key = \"canary\"\n";
    fs::write(directory.path().join("relay.toml"), tables).unwrap();
    let checked = run(directory.path(), ["config", "check", "relay.toml"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let said = refusal_of("[quotas.tenants.acme]\nevents_a_second = 5\n");
    assert!(said.contains("events_a_second"), "{said}");
}

#[test]
fn a_wrong_way_to_the_collector_is_refused_without_showing_secrets() {
    let said = refusal_of(
        "[telemetry]\notlp_endpoint = \"http://user:canary@collector\"\nexport_interval_ms = 0\nmax_batch_spans = 0\n",
    );
    assert!(said.contains("telemetry.otlp_endpoint: must have no user and password"), "{said}");
    assert!(!said.contains("canary"), "{said}");
    for header in ["host = \"canary\"", "x-a = \"canary\\r\\n\"", "x-a = [\"canary\"]"] {
        let said = refusal_of(&format!("[telemetry.otlp_headers]\n{header}\n"));
        assert!(said.contains("telemetry.otlp_headers") && !said.contains("canary"), "{said}");
    }
}

#[test]
fn the_standard_variables_of_tracing_are_weaker_than_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let name = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let wrong = check_with_environment(directory.path(), name, "collector:4317");
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    assert!(stderr(&wrong).contains(&format!("(in environment variable {name})")), "{wrong:?}");
    fs::write(
        directory.path().join("eventrelay.toml"),
        "[telemetry]\notlp_endpoint = \"http://collector:4318\"\n",
    )
    .unwrap();
    let overridden = check_with_environment(directory.path(), name, "collector:4317");
    assert_eq!(overridden.status.code(), Some(0), "{overridden:?}");
}

#[test]
fn targets_are_looked_at_when_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    // A port that was free a moment ago, and a folder that can be written.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = "[[subscriptions]]\nname = 'archive'\nsink = { kind = 'file', directory = 'archive' }\n";
    let nats = format!(
        "[egress]\nallow_private_addresses = true\n[[subscriptions]]\nname = 'orders'\n\
         sink = {{ kind = 'nats', servers = ['nats://127.0.0.1:{port}'], subject = 'orders' }}\n"
    );
    fs::write(directory.path().join("good.toml"), file).unwrap();
    fs::write(directory.path().join("bad.toml"), format!("{nats}{file}")).unwrap();

    let good = run(directory.path(), ["config", "check", "--targets", "good.toml"]);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert!(stdout(&good).contains("archive (tenant default, file, at_least_once): ready"), "{good:?}");

    assert_eq!(run(directory.path(), ["config", "check", "bad.toml"]).status.code(), Some(0));
    let bad = run(directory.path(), ["config", "check", "--targets", "bad.toml"]);
    assert_eq!(bad.status.code(), Some(5), "{bad:?}");
    let said = stdout(&bad);
    assert!(
        said.contains("orders (tenant default, nats, at_least_once): the target cannot be reached"),
        "{said}"
    );
    assert!(said.contains("archive (tenant default, file, at_least_once): ready"), "{said}");
    assert!(stderr(&bad).contains("1 of 2 targets are not ready"), "{bad:?}");
}
