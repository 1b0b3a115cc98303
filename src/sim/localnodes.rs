//! What `GET /localnodes` lists: the query read, the list made. No I/O.

use std::net::IpAddr;

use tokio::time::Instant;

use super::{
    Version,
    fault::{Faults, UNUSABLE_ENTRIES},
    gossip::{Gossip, Member, Seen},
    spec::KnownAs,
};

/// The filters of a request. Bytes, because ScyllaDB compares names byte for byte and asks for no encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    datacenter: Option<Vec<u8>>,
    rack: Option<Vec<u8>>,
}

impl Filter {
    /// Reads the part of a URL behind the `?`. An empty value is none; the last of several wins; a parameter with a
    /// escape cut short, and every other parameter, is ignored. That is what seastar does.
    pub(super) fn parse(query: &str) -> Self {
        let mut filter = Filter::default();
        for parameter in query.split('&') {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (Some(key), Some(value)) = (url_decode(key), url_decode(value)) else { continue };
            let value = Some(value).filter(|value| !value.is_empty());
            match key.as_slice() {
                b"dc" => filter.datacenter = value,
                b"rack" => filter.rack = value,
                _ => {}
            }
        }
        filter
    }
}

/// What `observer` lists, in the order of addresses; the caller shuffles. The observer's own datacenter is listed
/// where none is asked for, and nothing for names nobody has. Faults that falsify the list are applied here; lists
/// which are empty without them stay empty, so that a node which lies is not taken for one that ignores filters.
pub(super) fn entries(
    gossip: &Gossip,
    observer: IpAddr,
    filter: &Filter,
    faults: &Faults,
    now: Instant,
) -> Vec<String> {
    let Some(Member { spec: own, .. }) = gossip.member(observer) else { return Vec::new() };
    let version = own.version;
    let asked = if version.has_filters() && !faults.old_version { filter } else { &Filter::default() };
    let datacenter = asked.datacenter.as_deref().unwrap_or(own.datacenter.as_bytes());
    let in_scope = gossip.seen_by(observer, now).filter(|seen| {
        let spec = &seen.member.spec;
        is_listed(seen, version)
            && spec.datacenter.as_bytes() == datacenter
            && asked.rack.as_deref().is_none_or(|rack| spec.rack.as_bytes() == rack)
    });
    let members: Vec<&Member> = in_scope.map(|seen| seen.member).collect();
    let Some(first) = members.first().map(|member| member.spec.address) else { return Vec::new() };
    let told = members.iter().filter(|member| !faults.omits.contains(&member.spec.address));
    let mut entries: Vec<String> = told.map(|member| entry(member, version)).collect();
    if faults.odd_entries && !faults.omits.contains(&first) {
        entries.extend([first.to_string(), format!("\t{first} ")]);
        if first.is_ipv6() {
            entries.push(format!("{first}%lo"));
        }
    }
    if faults.odd_entries {
        entries.extend(UNUSABLE_ENTRIES.iter().map(|&entry| entry.to_owned()));
    }
    entries.extend(faults.entries.iter().cloned());
    entries.extend(faults.adds.iter().map(IpAddr::to_string));
    entries
}

/// Whether a node of this version lists a member it sees so.
fn is_listed(seen: &Seen<'_>, version: Version) -> bool {
    (seen.up || !version.leaves_out_down()) && (seen.member.is_normal() || !version.leaves_out_joining())
}

/// What a node of this version lists a member by.
fn entry(member: &Member, version: Version) -> String {
    let spec = &member.spec;
    match &spec.known_as {
        _ if !version.lists_rpc_addresses() => spec.peer().to_string(),
        KnownAs::Address => spec.address.to_string(),
        KnownAs::Text(text) => text.clone(),
        KnownAs::Nothing => spec.host_id.clone(),
    }
}

/// `+` is a space, `%XX` a byte; `None` where an escape is cut short.
fn url_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(bytes.next()?).wrapping_mul(16).wrapping_add(hex_digit(bytes.next()?)),
            other => other,
        });
    }
    Some(decoded)
}

/// A digit's value. What is no digit has a value too, as in seastar: such a name is then nobody's.
fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'a'..=b'z' => digit - b'a' + 10,
        b'A'..=b'Z' => digit - b'A' + 10,
        _ => digit.wrapping_sub(b'0'),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Fault, NodeSpec},
        *,
    };

    fn gossip() -> Gossip {
        let mut gossip = Gossip::new(None);
        for (last, dc, rack) in
            [(1, "dc1", "r1"), (2, "dc1", "r2"), (3, "dc2", "r1"), (4, "DC1", "r1"), (5, "d c+é", "r&1")]
        {
            gossip.join(&NodeSpec::new([10, 0, 0, last], dc, rack));
        }
        gossip
    }

    fn listed(query: &str, faults: &Faults) -> Vec<String> {
        entries(&gossip(), [10, 0, 0, 1].into(), &Filter::parse(query), faults, Instant::now())
    }

    fn with(fault: Fault) -> Faults {
        let mut faults = Faults::default();
        faults.add(fault);
        faults
    }

    #[test]
    fn filters_mean_what_they_mean_to_scylladb() {
        for (query, want) in [
            ("", &["10.0.0.1", "10.0.0.2"][..]),
            ("dc=dc1", &["10.0.0.1", "10.0.0.2"]),
            ("dc=dc2", &["10.0.0.3"]),
            ("dc=DC1", &["10.0.0.4"]),
            ("dc=dc1&rack=r1", &["10.0.0.1"]),
            ("rack=r2", &["10.0.0.2"]),
            ("rack=r2&dc=", &["10.0.0.2"]),
            ("dc=dc1&rack=", &["10.0.0.1", "10.0.0.2"]),
            ("dc=nowhere", &[]),
            ("dc=dc2&rack=r2", &[]),
            ("dc=dc1&rack=R1", &[]),
            ("dc=d+c%2B%c3%A9&rack=r%261", &["10.0.0.5"]),
            ("dc=d%20c%2Bé", &["10.0.0.5"]),
            ("dc=nowhere&dc=dc2&other=x&&=", &["10.0.0.3"]),
            ("dc=%2&rack=%", &["10.0.0.1", "10.0.0.2"]),
            ("dc=%zz", &[]),
            ("dc", &["10.0.0.1", "10.0.0.2"]),
        ] {
            assert_eq!(listed(query, &Faults::default()), want, "{query}");
        }
    }

    #[test]
    fn an_old_server_lists_its_datacenter_whatever_is_asked() {
        for query in ["", "dc=dc2", "dc=nowhere&rack=r1", "rack=r2"] {
            assert_eq!(listed(query, &with(Fault::OldVersion)), ["10.0.0.1", "10.0.0.2"], "{query}");
        }
    }

    #[test]
    fn lies_add_to_lists_that_are_not_empty() {
        let liar = with(Fault::Adds([10, 9, 9, 9].into()));
        assert_eq!(listed("dc=dc2", &liar), ["10.0.0.3", "10.9.9.9"]);
        assert!(listed("dc=nowhere", &liar).is_empty());
        let secretive = with(Fault::Omits([10, 0, 0, 2].into()));
        assert_eq!(listed("", &secretive), ["10.0.0.1"]);
        assert_eq!(listed("", &with(Fault::Entries(vec!["x y".into()]))), ["10.0.0.1", "10.0.0.2", "x y"]);
    }

    #[test]
    fn odd_entries_mean_the_same_list_to_a_careful_reader() {
        let odd = listed("dc=dc1", &with(Fault::OddEntries));
        assert!(odd.len() > 10);
        let mut read: Vec<IpAddr> = odd
            .iter()
            .filter_map(|entry| {
                // With a port, too: readers differ in whether they take such an entry, so there must be none.
                let text = entry.trim().split('%').next()?;
                text.parse().ok().or_else(|| Some(text.parse::<std::net::SocketAddr>().ok()?.ip()))
            })
            .filter(|address| crate::model::is_usable_address(*address))
            .collect();
        read.sort();
        read.dedup();
        assert_eq!(read, [IpAddr::from([10, 0, 0, 1]), [10, 0, 0, 2].into()]);
    }
}
