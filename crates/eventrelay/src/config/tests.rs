use super::*;

/// `default.toml` with the keys that have no default uncommented too.
fn every_key() -> String {
    DEFAULT_TOML
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest
                    .split(" = ")
                    .next()
                    .is_some_and(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
                    && rest.contains(" = ") =>
            {
                rest
            }
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn default_toml_says_what_the_types_say() {
    let parsed: Config = toml::from_str(DEFAULT_TOML).unwrap();
    assert_eq!(parsed, Config::default());
}

/// Every key that there is, with its default; sections of sections included.
fn every_default() -> Vec<(String, serde_json::Value)> {
    fn collect(prefix: &str, value: serde_json::Value, keys: &mut Vec<(String, serde_json::Value)>) {
        match value {
            serde_json::Value::Object(section) => {
                for (name, value) in section {
                    let prefix = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
                    collect(&prefix, value, keys);
                }
            }
            value => keys.push((prefix.to_owned(), value)),
        }
    }
    let mut keys = Vec::new();
    collect("", serde_json::to_value(Config::default()).unwrap(), &mut keys);
    keys.retain(|(key, _)| key != "subscriptions");
    assert!(keys.iter().any(|(key, _)| key == "http.tls.certificate_file"), "{keys:?}");
    keys
}

#[test]
fn default_toml_shows_every_key() {
    let shown = toml::Value::Table(toml::from_str(&every_key()).unwrap());
    for (key, _) in every_default() {
        let found = key.split('.').try_fold(&shown, |table, name| table.get(name));
        assert!(found.is_some(), "default.toml does not show {key}");
    }
}

#[test]
fn the_reference_lists_every_key_with_its_default() {
    let reference = include_str!("../../../../docs/configuration.md");
    for (key, value) in every_default() {
        let shown = if value.is_null() { "not set".to_owned() } else { format!("`{value}`") };
        let start = format!("| `{key}` | {shown} |");
        assert!(
            reference.lines().any(|line| line.starts_with(&start)),
            "docs/configuration.md lacks a row that starts {start}"
        );
    }
}

#[test]
fn the_defaults_are_in_range() {
    assert_eq!(validate::problems(&Config::default()), Vec::new());
}

#[test]
fn a_bind_that_others_can_reach_is_refused() {
    let mut config = Config::default();
    for address in ["0.0.0.0:8080", "192.168.1.5:80", "[::]:8080"] {
        config.http.listen = address.parse().unwrap();
        let problems = validate::problems(&config);
        assert_eq!(problems.len(), 1, "{address}");
        assert_eq!(problems[0].0, "http.listen");
        config.http.listen = Config::default().http.listen;
        config.grpc.listen = address.parse().unwrap();
        let problems = validate::problems(&config);
        assert_eq!(problems.iter().map(|problem| problem.0.as_str()).collect::<Vec<_>>(), ["grpc.listen"]);
        config.grpc.enabled = false;
        assert_eq!(validate::problems(&config), Vec::new(), "nobody listens there");
        config.grpc = Config::default().grpc;
    }
    for address in ["127.0.0.1:0", "127.8.9.1:80", "[::1]:8080"] {
        config.http.listen = address.parse().unwrap();
        assert_eq!(validate::problems(&config), Vec::new(), "{address}");
    }
    config.tcp.frames_listen = "0.0.0.0:9000".parse().unwrap();
    config.tcp.lines_listen = "[::]:9001".parse().unwrap();
    let keys: Vec<String> = validate::problems(&config).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["tcp.frames_listen", "tcp.lines_listen"]);
}

#[test]
fn a_limit_of_a_front_door_that_makes_no_sense_is_named() {
    let mut config = Config::default();
    config.http.max_connections = 0;
    config.tcp.event_source = "no uri".to_owned();
    let keys: Vec<String> = validate::problems(&config).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["http.max_connections", "tcp.event_source"]);
}
