//! A connection string of other programs (`postgres://user:password@host/database?sslmode=disable`, or `host=… user=…`) as the
//! settings that a subscription has.
//!
//! | `sslmode` | here |
//! |---|---|
//! | `disable` | in the clear |
//! | none, `allow`, `prefer` | in the clear to this machine, else as `require`: we do not fall back to the clear over a network |
//! | `require` | TLS, with any certificate, as everywhere else |
//! | `verify-ca`, `verify-full` | TLS, with a certificate that carries the host and is believed |

use serde_json::{Map, Value, json};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// Why a connection string cannot be one of ours; shows nothing of it, for it holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DsnError(&'static str);

/// What the string says, in the words of [`super::Settings`]; without a table.
///
/// # Errors
/// When it is none, or names no host, user and database.
pub fn settings_of_dsn(text: &str) -> Result<Map<String, Value>, DsnError> {
    let verifies = ["sslmode=verify-ca", "sslmode=verify-full"].iter().any(|mode| text.contains(mode));
    // The client library knows no others.
    let known = text
        .replace("sslmode=verify-full", "sslmode=require")
        .replace("sslmode=verify-ca", "sslmode=require")
        .replace("sslmode=allow", "sslmode=prefer");
    let parsed: Config = known.parse().map_err(|_| DsnError("is no connection string of PostgreSQL"))?;
    let host = match parsed.get_hosts() {
        [Host::Tcp(host)] => host.clone(),
        _ => return Err(DsnError("must name one host, and no socket")),
    };
    let user = parsed.get_user().ok_or(DsnError("must name a user"))?;
    let mut settings = Map::new();
    let mut set = |name: &str, value: Value| settings.insert(name.to_owned(), value);
    set("port", json!(parsed.get_ports().first().copied().unwrap_or(5432)));
    set("database", json!(parsed.get_dbname().unwrap_or(user)));
    set("user", json!(user));
    if let Some(password) = parsed.get_password() {
        let password =
            std::str::from_utf8(password).map_err(|_| DsnError("has a password that is no text"))?;
        set("password", json!(password));
    }
    let is_here = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1");
    let in_the_clear = match parsed.get_ssl_mode() {
        SslMode::Disable => true,
        SslMode::Require => false,
        _ => is_here,
    };
    if in_the_clear {
        set("plaintext", json!(true));
    } else if !verifies {
        set("tls", json!({"insecure_skip_verify": true}));
    }
    set("host", json!(host));
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Value {
        Value::Object(settings_of_dsn(text).unwrap())
    }

    #[test]
    fn both_forms_say_the_same() {
        let wanted = json!({"host": "db.example", "port": 6543, "database": "d", "user": "u", "password": "p@ss",
            "plaintext": true});
        assert_eq!(settings("postgres://u:p%40ss@db.example:6543/d?sslmode=disable"), wanted);
        assert_eq!(
            settings("host=db.example port=6543 user=u password=p@ss dbname=d sslmode=disable"),
            wanted
        );
        let least =
            json!({"host": "localhost", "port": 5432, "database": "u", "user": "u", "plaintext": true});
        assert_eq!(settings("postgresql://u@localhost"), least);
    }

    #[test]
    fn nothing_goes_over_a_network_in_the_clear_that_was_not_told_to() {
        let tls = |mode: &str| {
            let settings = settings(&format!("postgres://u:p@db.example/d{mode}"));
            (settings["plaintext"].clone(), settings["tls"]["insecure_skip_verify"].clone())
        };
        for mode in ["", "?sslmode=prefer", "?sslmode=allow", "?sslmode=require"] {
            assert_eq!(tls(mode), (Value::Null, json!(true)), "{mode}");
        }
        for mode in ["?sslmode=verify-full", "?sslmode=verify-ca"] {
            assert_eq!(tls(mode), (Value::Null, Value::Null), "{mode}");
        }
    }

    #[test]
    fn what_is_no_connection_string_is_refused_and_not_quoted() {
        for wrong in ["canary", "postgres://canary:canary@a,b/d", "host=/var/run/canary user=u", "host=h"] {
            let error = settings_of_dsn(wrong).unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
