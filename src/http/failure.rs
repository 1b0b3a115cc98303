//! What a failed request says about the node.

use std::{
    error::Error,
    io,
    time::{Duration, SystemTime},
};

use rustls::{AlertDescription, CertificateError, Error as TlsError, pki_types::UnixTime};

use super::identity::Tls;
use crate::{
    config::Scheme,
    model::{Failure, rfc3339_seconds},
};

/// A failure's text may quote what the node sent (a certificate's names, say); it ends up in logs and answers.
const LONGEST_TEXT: usize = 200;

/// Names of a certificate that are told, and as much of each: the rest is only counted.
const NAMES_TOLD: usize = 3;

/// Longest name told: those of nodes are mostly shorter, and three of them leave room for the rest of the text.
const LONGEST_NAME: usize = 48;

/// What a failed request says about the node: the innermost cause decides. `is_missed`: during the request the node asked
/// for a client certificate, there is none, and it has never served without.
pub(super) fn failure_of(error: &reqwest::Error, scheme: Scheme, tls: Option<&Tls>, is_missed: bool) -> Failure {
    if error.is_timeout() {
        return Failure::TimedOut;
    }
    let failure = cause_of(error, scheme, tls, is_missed);
    match failure {
        // TLS 1.3: we are through with the handshake before the node has looked at what we did not show it.
        Failure::Closed if is_missed => protocol(
            "the connection was closed after a client certificate was asked for, and none is configured: set \
             client_cert and client_key",
        ),
        failure => failure,
    }
}

fn cause_of(error: &reqwest::Error, scheme: Scheme, tls: Option<&Tls>, is_missed: bool) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut innermost = error.to_string();
    while let Some(current) = cause {
        if let Some(error) = tls_error(current) {
            return protocol(&of_tls(error, tls, is_missed));
        }
        if let Some(io) = current.downcast_ref::<io::Error>().map(innermost_io) {
            if io.kind() == io::ErrorKind::UnexpectedEof && scheme == Scheme::Https && error.is_connect() {
                return protocol("the connection was closed during the TLS handshake: is this the https port?");
            }
            if let Some(failure) = failure_of_io(io) {
                return failure;
            }
        }
        if let Some(http) = current.downcast_ref::<hyper::Error>() {
            if http.is_incomplete_message() || http.is_closed() || http.is_canceled() {
                return Failure::Closed;
            }
            if http.is_parse() && scheme == Scheme::Http {
                return protocol("the reply is no HTTP: if this is the https port, set scheme = \"https\"");
            }
        }
        innermost = current.to_string();
        cause = current.source();
    }
    protocol(&innermost)
}

/// The error of an error: `source()` of one that wraps another is what is below that other, which so is never seen.
fn innermost_io(mut error: &io::Error) -> &io::Error {
    while let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        error = inner;
    }
    error
}

fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e TlsError> {
    let within = |io: &'e io::Error| innermost_io(io).get_ref()?.downcast_ref::<TlsError>();
    error.downcast_ref::<TlsError>().or_else(|| error.downcast_ref::<io::Error>().and_then(within))
}

pub(super) fn failure_of_io(error: &io::Error) -> Option<Failure> {
    use io::ErrorKind::*;
    match error.kind() {
        ConnectionRefused => Some(Failure::Refused),
        ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof => Some(Failure::Closed),
        TimedOut => Some(Failure::TimedOut),
        // Whatever else the operating system says (no route, no free port or descriptor, forbidden by a local filter)
        // is about us or the way, never about the node: it must not count as evidence against it.
        _ if error.raw_os_error().is_some() => Some(Failure::Unreachable),
        HostUnreachable | NetworkUnreachable | NetworkDown | AddrNotAvailable => Some(Failure::Unreachable),
        _ => None,
    }
}

/// One line, however odd what was sent.
fn protocol(text: &str) -> Failure {
    Failure::Protocol(printable(text, LONGEST_TEXT))
}

/// As much of a text as is told, without what a terminal or a log would take for a command.
fn printable(text: &str, longest: usize) -> String {
    let shown = |c: char| if c.is_control() || !(c == ' ' || c.is_alphanumeric() || c.is_ascii()) { '?' } else { c };
    let mut told: String = text.chars().take(longest).map(shown).collect();
    if text.chars().nth(longest).is_some() {
        told.truncate(told.char_indices().nth(longest.saturating_sub(2)).map_or(told.len(), |(at, _)| at));
        told.push_str("..");
    }
    told
}

fn of_tls(error: &TlsError, tls: Option<&Tls>, is_missed: bool) -> String {
    match error {
        TlsError::InvalidCertificate(error) => of_certificate(error, tls),
        TlsError::AlertReceived(alert) => of_alert(*alert, tls, is_missed),
        TlsError::InvalidMessage(_) => {
            "the port answers without TLS: if this is the http port, set scheme = \"http\"".to_owned()
        }
        error => format!("TLS failed: {error}"),
    }
}

fn of_certificate(error: &CertificateError, tls: Option<&Tls>) -> String {
    let settings = tls.map(Tls::settings);
    let file = settings.and_then(|settings| settings.ca_file.as_ref());
    match error {
        CertificateError::NotValidForNameContext { expected, presented } => {
            let hint = match settings.is_some_and(|settings| settings.server_name.is_some()) {
                true => "",
                false => " (server_name sets the name)",
            };
            format!("the certificate is not for {} but for {}{hint}", expected.to_str(), offered(presented))
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate has expired at {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is not valid before {}: is this machine's clock right?", date(*not_before))
        }
        CertificateError::UnknownIssuer => match file {
            Some(path) => format!("the certificate comes from no authority in ca_file ({})", path.display()),
            None => "the certificate comes from no authority that this machine knows: set ca_file".to_owned(),
        },
        CertificateError::BadSignature => match file {
            Some(path) => format!(
                "the certificate comes from an authority of the same name but another key than in ca_file ({})",
                path.display()
            ),
            None => "the certificate is not signed by the authority that it names".to_owned(),
        },
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not meant for servers (its extended key usage lacks serverAuth)".to_owned()
        }
        // The library has no word of its own for this.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "the certificate is an authority's, used as a node's own: if it signed itself, add it to ca_file".to_owned()
        }
        error => format!("the certificate is not believed: {error}"),
    }
}

fn of_alert(alert: AlertDescription, tls: Option<&Tls>, is_missed: bool) -> String {
    use AlertDescription::*;
    let has_own = tls.is_some_and(|tls| tls.own().certified.is_some());
    match alert {
        CertificateRequired if !has_own => demands(),
        NoCertificate
        | BadCertificate
        | UnsupportedCertificate
        | CertificateRevoked
        | CertificateExpired
        | CertificateUnknown
        | UnknownCA
        | AccessDenied
        | HandshakeFailure
        | DecryptError
            if is_missed =>
        {
            demands()
        }
        CertificateRequired
        | NoCertificate
        | BadCertificate
        | UnsupportedCertificate
        | CertificateRevoked
        | CertificateExpired
        | CertificateUnknown
        | UnknownCA
        | AccessDenied
            if has_own =>
        {
            format!("the node refuses the certificate in client_cert ({alert:?})")
        }
        HandshakeFailure | ProtocolVersion | InsufficientSecurity => {
            format!("no TLS version or cipher in common with the node: it must speak TLS 1.2 or 1.3 ({alert:?})")
        }
        UnrecognisedName => "the node knows no such name as server_name (UnrecognisedName)".to_owned(),
        alert => format!("the node ends TLS with an alert ({alert:?})"),
    }
}

fn demands() -> String {
    "the node demands a client certificate: set client_cert and client_key".to_owned()
}

/// The names in a certificate, as the library prints them.
fn offered(presented: &[String]) -> String {
    let name = |text: &String| {
        let inner = ["DnsName(\"", "IpAddress("].iter().find_map(|kind| text.strip_prefix(kind))?;
        let name = inner.strip_suffix("\")").or_else(|| inner.strip_suffix(')'))?;
        Some(printable(name, LONGEST_NAME))
    };
    let names: Vec<String> = presented.iter().filter_map(name).take(NAMES_TOLD).collect();
    match (names.is_empty(), presented.len() - names.len()) {
        (true, _) => "no name at all (subjectAltName; a common name does not count)".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

fn date(at: UnixTime) -> String {
    let after = Duration::from_secs(at.as_secs());
    rfc3339_seconds(SystemTime::UNIX_EPOCH.checked_add(after).unwrap_or(SystemTime::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_of_our_own_are_no_evidence_against_a_node() {
        // EPERM, ENFILE, EMFILE, ENETDOWN, ENETUNREACH, ENOBUFS, EHOSTUNREACH
        for errno in [1, 23, 24, 100, 101, 105, 113] {
            let error = io::Error::from_raw_os_error(errno);
            assert!(failure_of_io(&error).is_some_and(|failure| failure.is_silence()), "{error}");
        }
        assert_eq!(failure_of_io(&io::Error::from_raw_os_error(111)), Some(Failure::Refused));
        assert_eq!(failure_of_io(&io::Error::from_raw_os_error(104)), Some(Failure::Closed));
        assert_eq!(failure_of_io(&io::Error::other("bad certificate")), None);
    }

    #[test]
    fn a_wrapped_error_is_seen() {
        let reset = io::Error::other(io::Error::other(io::Error::from_raw_os_error(104)));
        assert_eq!(failure_of_io(innermost_io(&reset)), Some(Failure::Closed));
        let alert = || TlsError::AlertReceived(AlertDescription::UnknownCA);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, alert()));
        assert_eq!(tls_error(&wrapped), Some(&alert()));
        assert_eq!(tls_error(&alert()), Some(&alert()));
    }

    #[test]
    fn texts_are_short_and_plain() {
        let odd = "\u{1b}[31mred\r\nevil\u{202e}\u{0}".to_owned() + &"x".repeat(1000);
        let told = printable(&odd, LONGEST_TEXT);
        assert_eq!(told.chars().count(), LONGEST_TEXT);
        assert!(told.starts_with("?[31mred??evil??xx") && told.ends_with("x.."), "{told}");
        assert_eq!(printable("short", 5), "short");
    }

    #[test]
    fn names_are_counted_beyond_some() {
        let dns = |name: &str| format!("DnsName(\"{name}\")");
        assert_eq!(offered(&[dns("a.test"), "IpAddress(10.0.0.1)".to_owned()]), "a.test, 10.0.0.1");
        let many: Vec<String> = (0..50).map(|n| dns(&format!("n{n}.{}", "x".repeat(200)))).collect();
        let told = offered(&many);
        assert!(told.ends_with(".. and 47 more") && told.chars().count() < 180, "{told}");
        assert!(offered(&[]).starts_with("no name at all"));
        assert!(offered(&["Unsupported(0x00)".to_owned()]).starts_with("no name at all"));
    }
}
