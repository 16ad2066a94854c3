//! The commands that need no server, and what all of them answer to a mistake.

use crate::harness::{run, stdout};

#[test]
fn version_is_printed_for_people_and_for_programs() {
    let directory = tempfile::tempdir().unwrap();
    let text = run(directory.path(), ["version"]);
    assert_eq!(stdout(&text), concat!("eventrelay ", env!("CARGO_PKG_VERSION"), "\n"));
    let json = run(directory.path(), ["version", "--json"]);
    let json: serde_json::Value = serde_json::from_str(stdout(&json)).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn help_lists_the_exit_codes_that_are_documented() {
    let directory = tempfile::tempdir().unwrap();
    let help = run(directory.path(), ["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let documented = include_str!("../../../../docs/exit-codes.md");
    let (_, listed) = stdout(&help).split_once("Exit codes:").unwrap();
    let codes: Vec<&str> = listed
        .split_whitespace()
        .filter(|word| word.len() <= 3 && word.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    assert!(codes.len() >= 10, "{codes:?}");
    for code in codes {
        assert!(documented.contains(&format!("| {code} |")), "docs/exit-codes.md lacks {code}");
    }
}

#[test]
fn a_mistake_on_the_command_line_exits_with_2() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [
        &["serv"][..],
        &["serve", "--colour"],
        &["tail", "--from", "yesterday"],
        &["seek", "billing", "--to", "noon"],
        &[],
    ] {
        assert_eq!(run(directory.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_url_that_cannot_be_spoken_to_exits_with_2() {
    let directory = tempfile::tempdir().unwrap();
    for url in ["example.com:80", "http://", "https://", "ftp://example.com"] {
        let output = run(directory.path(), ["publish", "{}", "--url", url]);
        assert_eq!(output.status.code(), Some(2), "{url}: {output:?}");
    }
}

#[test]
fn completions_know_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let commands = [
        "events",
        "subscriptions",
        "deliveries",
        "attempts",
        "dead-letters",
        "replay",
        "seek",
        "keys",
        "users",
        "tenants",
        "audit-log",
        "config",
        "apply",
        "completions",
        "publish",
        "tail",
    ];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(directory.path(), ["completions", shell]);
        assert!(script.status.success(), "{script:?}");
        for command in commands {
            assert!(stdout(&script).contains(command), "{shell} does not know {command}");
        }
    }
    let unknown = run(directory.path(), ["completions", "tcsh"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
}

#[test]
fn the_page_of_the_commands_has_each_of_them() {
    let page = include_str!("../../../../docs/command-line.md");
    let directory = tempfile::tempdir().unwrap();
    let commands_of = |arguments: &[&str]| -> Vec<String> {
        let help = run(directory.path(), arguments.iter().chain(&["--help"]));
        let (_, listed) = stdout(&help).split_once("Commands:\n").unwrap_or_default();
        let lines = listed.lines().take_while(|line| !line.is_empty());
        let names =
            lines.filter_map(|line| line.split_whitespace().next().filter(|_| !line.starts_with("   ")));
        names.filter(|name| *name != "help").map(str::to_owned).collect()
    };
    let groups = commands_of(&[]);
    assert!(groups.len() >= 18, "{groups:?}");
    for group in groups {
        assert!(page.contains(&format!("eventrelay {group}")), "docs/command-line.md lacks {group}");
        for command in commands_of(&[&group]) {
            let whole = format!("eventrelay {group} {command}");
            assert!(page.contains(&whole), "docs/command-line.md lacks `{whole}`");
        }
    }
}
