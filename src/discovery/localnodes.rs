//! One `/localnodes` request: question, URL, strictly parsed answer.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt::{self, Write},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, SeqAccess, Visitor},
};

use crate::{
    http::{Limits, Reply},
    model::{Failure, is_usable_address},
};

/// How long a request may take, and that its connection is kept: a node is asked again and again, and a connection
/// for each request would cost it more than the answer.
pub const LIMITS: Limits = Limits { connect: Duration::from_secs(2), total: Duration::from_secs(5), keep_alive: true };

/// A longer body is no list of nodes: the largest list taken ([`MAX_ENTRIES`]) fits in half of it.
pub(super) const BODY_LIMIT: usize = 1 << 20;

/// More entries than any cluster has nodes. A longer list fails as a whole, because a part of a list would count as
/// a vote against everybody in the other part.
const MAX_ENTRIES: usize = 10_000;

/// As much of an odd entry as goes to the log.
const EXAMPLE_CHARS: usize = 60;

/// As much as is told of a body that is no list: what is wrong with it may be told by quoting all of it.
const FAILURE_CHARS: usize = 200;

/// A datacenter that cannot exist. A server that answers with a list of nodes does not look at `dc`.
const NO_SUCH_DATACENTER: &str = "__alternator_dns_no_such_datacenter__";

/// What a node is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    /// The live nodes of the answering node's own datacenter.
    Plain,
    /// The live nodes of a datacenter.
    Datacenter(Arc<str>),
    /// The live nodes of a rack: datacenter, rack.
    Rack(Arc<str>, Arc<str>),
    /// The live nodes of a datacenter that cannot exist, to see whether the node looks at `dc` at all.
    Impossible,
}

impl Question {
    /// Path and query of the request, names percent-encoded in their original spelling.
    pub(super) fn path(&self) -> String {
        let mut path = String::from("/localnodes");
        match self {
            Question::Plain => {}
            Question::Datacenter(dc) => push_parameter(&mut path, "?dc=", dc),
            Question::Rack(dc, rack) => {
                push_parameter(&mut path, "?dc=", dc);
                push_parameter(&mut path, "&rack=", rack);
            }
            Question::Impossible => push_parameter(&mut path, "?dc=", NO_SUCH_DATACENTER),
        }
        path
    }
}

/// Everything outside RFC 3986's unreserved characters is encoded; a `+` would be read as a space.
fn push_parameter(path: &mut String, name: &str, value: &str) {
    path.push_str(name);
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
}

/// A node's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// The usable addresses, each once.
    pub addresses: BTreeSet<IpAddr>,
    /// Entries that are no usable address.
    pub skipped: usize,
    /// The first of them, shortened.
    pub example: Option<String>,
    /// Those of them that are host names, in lower case, without port.
    pub hosts: BTreeSet<String>,
}

impl List {
    /// Whether the array held nothing at all, not even an odd entry.
    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.skipped == 0
    }
}

/// The list in a reply. Any status but 200, and anything but a JSON array of strings, is a failure of the node.
pub fn read(reply: &Reply) -> Result<List, Failure> {
    if reply.status != 200 {
        return Err(Failure::Status(reply.status));
    }
    let mut json = serde_json::Deserializer::from_slice(&reply.body);
    json.deserialize_seq(ListVisitor)
        .and_then(|list| json.end().map(|()| list))
        .map_err(|error| Failure::Protocol(format!("no list of nodes: {error}").chars().take(FAILURE_CHARS).collect()))
}

/// Reads the array entry by entry, so that a hostile one is given up at the bound and not after it.
struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = List;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<List, A::Error> {
        let mut list = List::default();
        let mut count = 0;
        while let Some(entry) = entries.next_element_seed(Text)? {
            count += 1;
            if count > MAX_ENTRIES {
                return Err(A::Error::custom(format_args!("more than {MAX_ENTRIES} entries")));
            }
            match address_of(&entry) {
                Some(address) => {
                    list.addresses.insert(address);
                }
                None => {
                    list.skipped += 1;
                    list.hosts.extend(host_of(&entry));
                    list.example.get_or_insert_with(|| entry.chars().take(EXAMPLE_CHARS).collect());
                }
            }
        }
        Ok(list)
    }
}

/// One string, borrowed from the body where it has no escapes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The address an entry names, if a client can connect to it. A port is dropped, because all nodes of a cluster share
/// the configured one; a `%scope` means nothing outside the node that wrote it.
fn address_of(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let text = match entry.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']')?;
            match after.strip_prefix(':') {
                Some(port) => drop(port.parse::<u16>().ok()?),
                None if after.is_empty() => {}
                None => return None,
            }
            inside
        }
        None => entry,
    };
    let unscoped = text.split_once('%').map_or(text, |(address, _)| address);
    let address = match unscoped.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => unscoped.parse::<SocketAddr>().ok()?.ip(),
    };
    let address = address.to_canonical();
    is_usable_address(address).then_some(address)
}

/// Octets of a host name, and of one of its labels (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;

/// The host name an entry is, if it is one. A port is dropped. A node without an address for clients is listed by its
/// host id, which is no name of a host.
fn host_of(entry: &str) -> Option<String> {
    let entry = entry.trim();
    let name = match entry.split_once(':') {
        Some((name, port)) => port.parse::<u16>().ok().map(|_| name)?,
        None => entry,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // The last label of an address is a number, and of no name (RFC 1123, section 2.1).
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_name =
        name.len() <= MAX_HOST && name.split('.').all(is_label) && !name.rsplit('.').next().is_none_or(is_number);
    (is_name && !is_uuid(name)).then(|| name.to_ascii_lowercase())
}

/// Whether a text is a UUID.
fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(body: &str) -> Result<List, Failure> {
        read(&Reply { status: 200, body: body.into() })
    }

    fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn questions_become_percent_encoded_urls() {
        assert_eq!(Question::Plain.path(), "/localnodes");
        assert_eq!(Question::Datacenter("dc 1".into()).path(), "/localnodes?dc=dc%201");
        assert_eq!(Question::Rack("DC1".into(), "rack&1".into()).path(), "/localnodes?dc=DC1&rack=rack%261");
        assert_eq!(Question::Rack("a+b=c#%".into(), "é".into()).path(), "/localnodes?dc=a%2Bb%3Dc%23%25&rack=%C3%A9");
        assert_eq!(Question::Impossible.path(), "/localnodes?dc=__alternator_dns_no_such_datacenter__");
    }

    #[test]
    fn odd_entries_are_read_or_skipped_and_counted() {
        let list = ok(r#"[" 10.0.0.1 ", "10.0.0.1", "10.0.0.2:9000", "[::1]:9000", "[::2]", "fe80::1%eth0",
            "[fe80::2%3]:80", "::ffff:10.0.0.3", "\u0031\u0030.0.0.4", "", "node.example.com", "node:9000",
            "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:0.0.0.0", "[::1", "[::1]x",
            "[::1]:99999", "10.0.0.5:", "10.0.0", "7fb6a1d6-5f0e-4a83-a2a2-0c3d4b4f2f5c"]"#)
        .unwrap();
        let expected = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "::1", "::2", "fe80::1", "fe80::2"];
        assert_eq!(list.addresses, addresses(&expected));
        assert_eq!(list.skipped, 15);
        assert_eq!(list.example.as_deref(), Some(""));
        assert!(!list.is_empty() && ok("[]").unwrap().is_empty());
    }

    #[test]
    fn host_names_are_told_from_what_is_none() {
        let list = ok(
            r#"["node1.example.com", "Node2.Example.COM.", "node3:9000", "node_4", "10.0.0.1", "10.0.0", "1234",
            "7fb6a1d6-5f0e-4a83-a2a2-0c3d4b4f2f5c", "", "a..b", "-a", "a b", "node5:99999", "[node6]", "n\u00e9", "10.0.0.5:"]"#,
        );
        let list = list.unwrap();
        assert_eq!(list.hosts, ["node1.example.com", "node2.example.com", "node3", "node_4"].map(String::from).into());
        assert_eq!((list.addresses.len(), list.skipped), (1, 15));
        assert!(ok(&format!(r#"["{}"]"#, "a".repeat(64))).unwrap().hosts.is_empty());
        assert!(ok(&format!(r#"["{}"]"#, "a.".repeat(200))).unwrap().hosts.is_empty());
    }

    #[test]
    fn an_entry_is_never_logged_in_full() {
        let list = ok(&format!(r#"["{}"]"#, "é".repeat(5000))).unwrap();
        assert_eq!(list.example.unwrap().chars().count(), EXAMPLE_CHARS);
    }

    #[test]
    fn a_body_is_never_told_in_full() {
        let Err(Failure::Protocol(text)) = ok(&format!("\"{}\"", "é".repeat(5000))) else {
            panic!("a text is no list")
        };
        assert!(text.starts_with("no list of nodes: invalid type: string \"éé"), "{text}");
        assert_eq!(text.chars().count(), FAILURE_CHARS);
    }

    #[test]
    fn anything_but_an_array_of_strings_fails() {
        for body in [
            "",
            "null",
            "{}",
            "\"10.0.0.1\"",
            "[1]",
            "[null]",
            "[\"10.0.0.1\",]",
            "[\"10.0.0.1\"",
            "[[]]",
            "[\"10.0.0.1\"] x",
            "[\"10.0.0.1\", 3]",
            "<html>",
            "[\"\\ud800\"]",
        ] {
            assert!(matches!(ok(body), Err(Failure::Protocol(_))), "{body}");
        }
        assert!(matches!(
            read(&Reply { status: 200, body: vec![b'[', b'"', 0xff, b'"', b']'] }),
            Err(Failure::Protocol(_))
        ));
        assert_eq!(read(&Reply { status: 404, body: b"[]".to_vec() }), Err(Failure::Status(404)));
        assert_eq!(read(&Reply { status: 204, body: b"[]".to_vec() }), Err(Failure::Status(204)));
    }

    #[test]
    fn a_list_longer_than_any_cluster_fails() {
        let entries = |count: usize| format!("[{}]", vec!["\"10.0.0.1\""; count].join(","));
        assert_eq!(ok(&entries(MAX_ENTRIES)).unwrap().addresses.len(), 1);
        assert!(matches!(ok(&entries(MAX_ENTRIES + 1)), Err(Failure::Protocol(_))));
    }
}
