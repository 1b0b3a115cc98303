//! Addresses as the configuration spells them: where to listen, and where discovery may start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Seed, place::quoted};
use crate::model::is_usable_address;

/// Longest host name, without the trailing dot.
const MAX_HOST: usize = 253;

/// An address to listen on, or what is wrong with it. `usual_port` is what a message suggests.
pub(super) fn listen(text: &str, usual_port: u16) -> Result<SocketAddr, String> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let shown = quoted(text);
    if let Some(address) = bare(text) {
        return Err(format!("{shown} has no port; write \"{}\"", SocketAddr::new(address, usual_port)));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let port = port.parse::<u16>().ok();
    match (host, port) {
        ("" | "*", Some(port)) => Err(format!(
            "{shown} names no address; write \"{}\" or \"{}\" for all of them",
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
        )),
        ("localhost", port) => {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(usual_port)));
            Err(format!("{shown} is a name; write the address: \"{address}\""))
        }
        (host, None) if host.parse::<u16>().is_ok() => {
            Err(format!("{shown} names no address; write \"127.0.0.1:{host}\""))
        }
        (host, Some(_)) if bare(host).is_none() && host_name(host) => {
            Err(format!("{shown} is a name; write an address of this host with its port"))
        }
        _ => Err(format!("{shown} is no address with a port; write one such as \"127.0.0.1:5300\" or \"[::]:53\"")),
    }
}

/// A seed, or what is wrong with it.
pub(super) fn seed(text: &str) -> Result<Seed, String> {
    let text = text.trim();
    let shown = quoted(text);
    if text.is_empty() {
        return Err("a seed is an address or a host name, not nothing".to_owned());
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let host = without_port(host).unwrap_or(host);
        let rest = if host.is_empty() { String::new() } else { format!(": {}", quoted(host)) };
        return Err(format!("{shown} is a URL; write only the host{rest} (\"scheme\" and \"port\" are keys)"));
    }
    if let Some(address) = bare(text) {
        // A node behind an IPv4-mapped address is the same node.
        let address = address.to_canonical();
        return match is_usable_address(address) {
            true => Ok(Seed::Address(address)),
            false => Err(format!("{shown} is an address that nobody can connect to")),
        };
    }
    if let Some(host) = without_port(text) {
        return Err(format!(
            "{shown} has a port; write {} and set the one port of all nodes as \"port\"",
            quoted(host)
        ));
    }
    if text.contains('%') {
        return Err(format!("{shown} has an interface; link-local addresses cannot be seeds"));
    }
    match host_name(text) {
        true => Ok(Seed::Host(text.to_ascii_lowercase())),
        false => Err(format!("{shown} is neither an address nor a host name")),
    }
}

/// A name or address that a certificate may carry, or what is wrong with it.
pub(super) fn server_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if let Some(address) = bare(text) {
        return Ok(address.to_string());
    }
    match host_name(text) {
        true => Ok(text.trim_end_matches('.').to_ascii_lowercase()),
        false => Err(format!("{} is neither a host name nor an address; certificates carry these", quoted(text))),
    }
}

/// An address without a port, IPv6 with or without brackets.
fn bare(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// The host of `HOST:PORT`.
fn without_port(text: &str) -> Option<&str> {
    let (host, port) = text.rsplit_once(':')?;
    let host_alone = bare(host).is_some_and(|address| address.is_ipv4() || host.starts_with('[')) || host_name(host);
    (host_alone && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(host)
}

/// Whether a resolver can be asked for it. A last label of digits only is a mistyped address (RFC 1123 section 2.1).
fn host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= MAX_HOST && text.split('.').all(label) && !numeric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_addresses_or_host_names() {
        let cases = [
            ("10.0.0.1", Ok("10.0.0.1")),
            (" [fd00::1] ", Ok("fd00::1")),
            ("fd00::1", Ok("fd00::1")),
            ("::ffff:10.0.0.1", Ok("10.0.0.1")),
            ("Scylla.Example.com", Ok("scylla.example.com")),
            ("scylla_1", Ok("scylla_1")),
            ("", Err("a seed is an address or a host name, not nothing")),
            (
                "10.0.0.1:8000",
                Err("\"10.0.0.1:8000\" has a port; write \"10.0.0.1\" and set the one port of all nodes as \"port\""),
            ),
            (
                "[fd00::1]:8000",
                Err("\"[fd00::1]:8000\" has a port; write \"[fd00::1]\" and set the one port of all nodes as \"port\""),
            ),
            (
                "db.example:8000",
                Err(
                    "\"db.example:8000\" has a port; write \"db.example\" and set the one port of all nodes as \"port\"",
                ),
            ),
            (
                "http://db:8000/x",
                Err("\"http://db:8000/x\" is a URL; write only the host: \"db\" (\"scheme\" and \"port\" are keys)"),
            ),
            ("0.0.0.0", Err("\"0.0.0.0\" is an address that nobody can connect to")),
            ("10.0.0.256", Err("\"10.0.0.256\" is neither an address nor a host name")),
            ("a b", Err("\"a b\" is neither an address nor a host name")),
            ("fe80::1%eth0", Err("\"fe80::1%eth0\" has an interface; link-local addresses cannot be seeds")),
        ];
        for (text, expected) in cases {
            let got = seed(text).map(|seed| seed.to_string());
            assert_eq!(got.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }

    #[test]
    fn listen_addresses_have_an_address_and_a_port() {
        for good in ["127.0.0.1:5300", "[::]:53", "0.0.0.0:0"] {
            assert_eq!(listen(good, 53).unwrap().to_string(), good);
        }
        let cases = [
            ("127.0.0.1", "\"127.0.0.1\" has no port; write \"127.0.0.1:53\""),
            ("::", "\"::\" has no port; write \"[::]:53\""),
            ("[::1]", "\"[::1]\" has no port; write \"[::1]:53\""),
            (":53", "\":53\" names no address; write \"0.0.0.0:53\" or \"[::]:53\" for all of them"),
            ("5300", "\"5300\" names no address; write \"127.0.0.1:5300\""),
            ("localhost:53", "\"localhost:53\" is a name; write the address: \"127.0.0.1:53\""),
            ("eth0:53", "\"eth0:53\" is a name; write an address of this host with its port"),
            (
                "127.0.0.1:99999",
                "\"127.0.0.1:99999\" is no address with a port; write one such as \"127.0.0.1:5300\" or \"[::]:53\"",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(listen(text, 53).unwrap_err(), expected);
        }
    }
}
