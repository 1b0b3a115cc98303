//! Why tables could not be read, in words that say what to do about it.

use std::{fmt, time::SystemTime};

use serde::Deserialize;

use super::{
    credentials::CredentialsError,
    page::short,
    request::{Sender, Table},
};
use crate::{
    http::Reply,
    model::{Failure, rfc3339_seconds},
};

/// Why the tables of a node could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableFailure {
    /// The node does not take the credentials.
    Unauthorized(Unauthorized),
    /// The node's clock and ours differ by more than 15 minutes.
    Skew {
        /// When the request was signed.
        ours: SystemTime,
        /// What the node's clock said, where its reply tells.
        theirs: Option<SystemTime>,
    },
    /// The role may not read a table.
    Denied {
        /// Such as `system.peers`.
        table: &'static str,
        /// The role, as the node calls it; `None` for a request without one.
        role: Option<String>,
    },
    /// The node has no such table.
    Missing {
        /// Such as `system.topology`.
        table: &'static str,
    },
    /// The node wants signed requests, and no credentials are configured.
    NoCredentials,
    /// The file with the credentials cannot be used.
    Credentials(CredentialsError),
    /// The request itself failed.
    Node(Failure),
    /// The reply says something that is not understood. Holds a short text.
    Unreadable(String),
}

/// Which part of the credentials is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unauthorized {
    /// There is no such role, or it has no password or may not log in.
    Role {
        /// `access_key_id`.
        role: String,
        /// What the node says about it.
        reason: String,
    },
    /// The secret is not the role's.
    Secret {
        /// `access_key_id`.
        role: String,
    },
    /// The node has something else against the signature.
    Signature {
        /// What it says.
        reason: String,
    },
}

impl fmt::Display for TableFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableFailure::Unauthorized(what) => what.fmt(f),
            TableFailure::Skew { ours, theirs } => {
                f.write_str("the clocks differ by more than 15 minutes, so signatures are refused: ")?;
                let ours = rfc3339_seconds(*ours);
                match theirs {
                    Some(theirs) => write!(f, "it is {ours} here and {} on the node", rfc3339_seconds(*theirs))?,
                    None => write!(f, "it is {ours} here")?,
                }
                f.write_str("; have both follow NTP")
            }
            TableFailure::Denied { table, role: Some(role) } => {
                write!(f, "role {role} may not read {table}; run: GRANT SELECT ON {table} TO {}", quoted(role))
            }
            TableFailure::Denied { table, role: None } => {
                write!(f, "requests without a role may not read {table}; configure the credentials of a role that may")
            }
            TableFailure::Missing { table } => write!(f, "the node has no table {table}"),
            TableFailure::NoCredentials => f.write_str(
                "the node wants signed requests, and no credentials are configured; set access_key_id and \
                 secret_access_key, or credentials_file",
            ),
            TableFailure::Credentials(error) => error.fmt(f),
            TableFailure::Node(failure) => failure.fmt(f),
            TableFailure::Unreadable(what) => write!(f, "the reply is not understood: {what}"),
        }
    }
}

impl fmt::Display for Unauthorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unauthorized::Role { role, reason } => {
                write!(
                    f,
                    "access_key_id {role} is no role that may log in (\"{reason}\"); it must name one with a password"
                )
            }
            Unauthorized::Secret { role } => {
                let literal = role.replace('\'', "''");
                write!(
                    f,
                    "secret_access_key is not that of role {role}; it is: SELECT salted_hash FROM system.roles WHERE \
                     role = '{literal}' (before ScyllaDB 6.0: system_auth.roles)"
                )
            }
            Unauthorized::Signature { reason } => {
                write!(f, "the node refuses the signature (\"{reason}\"); does a proxy change requests on the way?")
            }
        }
    }
}

impl From<Failure> for TableFailure {
    fn from(failure: Failure) -> Self {
        TableFailure::Node(failure)
    }
}

/// A role's name as CQL wants it.
fn quoted(role: &str) -> String {
    let plain = role.starts_with(|c: char| c.is_ascii_lowercase())
        && role.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if plain { role.to_owned() } else { format!("\"{}\"", role.replace('"', "\"\"")) }
}

/// A reply that is an error.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "__type")]
    kind: String,
    #[serde(alias = "Message", default)]
    message: String,
}

/// What a reply of any status but 200 says about a request for `table`.
pub(super) fn of(reply: &Reply, table: Table, sender: &Sender<'_>) -> TableFailure {
    // Whoever answers without a word of the API is no Alternator, or something before it.
    let Ok(Raw { kind, message }) = serde_json::from_slice(&reply.body) else {
        return TableFailure::Node(Failure::Status(reply.status));
    };
    let kind = kind.rsplit('#').next().unwrap_or_default();
    let role = sender.role.map(str::to_owned);
    match (kind, role) {
        ("MissingAuthenticationTokenException", None) => TableFailure::NoCredentials,
        ("AccessDeniedException", role) => {
            TableFailure::Denied { table: table.name(), role: denied_role(&message).or(role) }
        }
        ("ResourceNotFoundException", _) => TableFailure::Missing { table: table.name() },
        // The former in releases up to 5.0, the latter since.
        ("UnrecognizedClientException", Some(role))
            if message.contains("security token") || message.contains("wrong signature") =>
        {
            TableFailure::Unauthorized(Unauthorized::Secret { role })
        }
        ("UnrecognizedClientException", Some(role)) => {
            TableFailure::Unauthorized(Unauthorized::Role { role, reason: short(&message) })
        }
        ("InvalidSignatureException", _) => match skew(&message) {
            Some(theirs) => TableFailure::Skew { ours: sender.now, theirs },
            None => TableFailure::Unauthorized(Unauthorized::Signature { reason: short(&message) }),
        },
        _ if reply.status >= 500 => TableFailure::Node(Failure::Status(reply.status)),
        _ => TableFailure::Unreadable(short(&format!("status {}, {kind}: {message}", reply.status))),
    }
}

/// The role in `SELECT access on table system.peers is denied to role reader, client address 10.0.0.9`: with mutual TLS
/// it comes from the certificate, and not from the request.
fn denied_role(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("denied to role ")?;
    let role = rest.split_once(", client address").map_or(rest, |(role, _)| role);
    let printable = !role.is_empty() && !role.contains(char::is_control) && role != "<anonymous>";
    (printable && role.len() <= LONGEST_ROLE).then(|| role.to_owned())
}

/// A longer one is no role's name; it goes to logs.
const LONGEST_ROLE: usize = 128;

/// How far a signature may be from the node's clock.
const TOLERATED: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// The node's clock, by what it says of a signature that is too old or too new; the inner `None` where it says only
/// that: `Signature expired: T is now earlier than L (current time - 15 min.)`, `Signature not yet current: T is still
/// later than L (current time + 15 min.)`. Newer releases put `invalid signature: ` in front.
fn skew(message: &str) -> Option<Option<SystemTime>> {
    let limit = |marker: &str| {
        let (_, rest) = message.split_once(marker)?;
        time_of(rest.split_whitespace().next()?)
    };
    if message.contains("Signature expired") {
        Some(limit("earlier than ").and_then(|limit| limit.checked_add(TOLERATED)))
    } else if message.contains("Signature not yet current") {
        Some(limit("later than ").and_then(|limit| limit.checked_sub(TOLERATED)))
    } else {
        None
    }
}

/// A time as signatures have it: `20150830T123600Z`.
fn time_of(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers =
        date.len() == 8 && time.len() == 6 && [date, time].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
    if !numbers {
        return None;
    }
    let rfc3339 =
        format!("{}-{}-{}T{}:{}:{}Z", &date[..4], &date[4..6], &date[6..], &time[..2], &time[2..4], &time[4..]);
    humantime::parse_rfc3339(&rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// 2015-08-30 12:36:00.
    const THEN: u64 = 1_440_938_160;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn told(kind: &str, message: &str, role: Option<&str>) -> (TableFailure, String) {
        let body =
            serde_json::json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"), "message": message });
        let reply = Reply { status: 400, body: serde_json::to_vec(&body).unwrap() };
        let failure = of(&reply, Table::Peers, &Sender { role, now: at(THEN) });
        let text = failure.to_string();
        (failure, text)
    }

    #[test]
    fn each_cause_has_its_own_words_and_cure() {
        let client = "UnrecognizedClientException";
        let (failure, text) = told(client, "The security token included in the request is invalid.", Some("o'hara"));
        assert_eq!(failure, TableFailure::Unauthorized(Unauthorized::Secret { role: "o'hara".into() }));
        assert!(text.contains("WHERE role = 'o''hara'"), "{text}");
        let newer = told(client, "wrong signature", Some("o'hara")).0;
        assert_eq!(newer, failure);

        let (_, text) = told(client, "User not found: reader", Some("reader"));
        assert_eq!(
            text,
            "access_key_id reader is no role that may log in (\"User not found: reader\"); it must name one with a password"
        );

        let (failure, text) = told("MissingAuthenticationTokenException", "Authorization header is mandatory", None);
        assert_eq!(failure, TableFailure::NoCredentials);
        assert!(text.contains("credentials_file"), "{text}");

        let (failure, _) = told("ResourceNotFoundException", "Requested resource not found: Internal table", None);
        assert_eq!(failure, TableFailure::Missing { table: "system.peers" });

        let (_, text) = told("InvalidSignatureException", "Host header is mandatory", Some("reader"));
        assert!(text.contains("Host header is mandatory") && text.contains("proxy"), "{text}");

        let (_, text) = told("ValidationException", "Limit must be greater than 0\u{1b}", None);
        assert_eq!(text, "the reply is not understood: status 400, ValidationException: Limit must be greater than 0 ");
    }

    #[test]
    fn a_missing_grant_names_what_to_run() {
        let denied = |message: &str, role| told("AccessDeniedException", message, role).1;
        let message = "SELECT access on table system.peers is denied to role reader, client address 10.0.0.9:4711";
        assert_eq!(
            denied(message, Some("reader")),
            "role reader may not read system.peers; run: GRANT SELECT ON system.peers TO reader"
        );
        assert!(denied(message, None).ends_with("TO reader"), "the role of a certificate");
        assert!(denied("no", Some("Read-Er\"")).ends_with("GRANT SELECT ON system.peers TO \"Read-Er\"\"\""));
        let nobody =
            denied("SELECT access on table system.peers is denied to role <anonymous>, client address x", None);
        assert!(nobody.starts_with("requests without a role may not read system.peers"), "{nobody}");
    }

    #[test]
    fn a_skew_tells_both_clocks() {
        let invalid = "InvalidSignatureException";
        let expired =
            "Signature expired: 20150830T123600Z is now earlier than 20150830T124100Z (current time - 15 min.)";
        let (failure, text) = told(invalid, expired, Some("reader"));
        assert_eq!(failure, TableFailure::Skew { ours: at(THEN), theirs: Some(at(THEN + 20 * 60)) });
        assert!(text.contains("it is 2015-08-30T12:36:00Z here and 2015-08-30T12:56:00Z on the node"), "{text}");
        let (newer, _) = told(invalid, &format!("invalid signature: {expired}"), Some("reader"));
        assert_eq!(newer, failure);
        let early =
            "Signature not yet current: 20150830T123600Z is still later than 20150830T122000Z (current time + 15 min.)";
        let (failure, _) = told(invalid, early, Some("reader"));
        assert_eq!(failure, TableFailure::Skew { ours: at(THEN), theirs: Some(at(THEN - 31 * 60)) });
        for odd in
            ["Signature expired", "Signature expired: x is now earlier than", "Signature expired: earlier than 2015Z"]
        {
            assert_eq!(told(invalid, odd, None).0, TableFailure::Skew { ours: at(THEN), theirs: None }, "{odd}");
        }
    }

    #[test]
    fn who_speaks_another_language_is_no_alternator() {
        let of = |status, body: &[u8]| {
            of(&Reply { status, body: body.to_vec() }, Table::Local, &Sender { role: None, now: at(THEN) })
        };
        for body in ["", "<html>", "[]", "{}", r#"{"__type":1}"#, r#"{"message":"Not found","code":404}"#] {
            assert_eq!(of(404, body.as_bytes()), TableFailure::Node(Failure::Status(404)), "{body}");
        }
        let internal = br#"{"__type":"InternalServerError","message":"Internal server error: no"}"#;
        assert_eq!(of(500, internal), TableFailure::Node(Failure::Status(500)));
    }
}
