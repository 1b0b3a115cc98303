//! DNS labels for ScyllaDB's names and for nodes. Pure, deterministic.

use std::net::IpAddr;

/// Longest label, octets (RFC 1035 section 2.3.4: "labels: 63 octets or less").
pub const MAX_LABEL: usize = 63;

/// The DNS label of a datacenter's or rack's name: lower case, anything outside `a-z0-9-` becomes one `-`, hyphens at
/// the ends are trimmed, at most [`MAX_LABEL`] octets. `None` when nothing is left.
///
/// ScyllaDB's names are case-sensitive free text, so two names may share a label; whoever deals out names compares.
///
/// ```
/// # use alternator_dns::zone::label::slug;
/// assert_eq!(slug("AWS_US_EAST_1").as_deref(), Some("aws-us-east-1"));
/// assert_eq!(slug("---"), None);
/// ```
pub fn slug(name: &str) -> Option<String> {
    to_label(name, |c| c.is_ascii_alphanumeric() || c == '-')
}

/// The alias that keeps underscores (`AWS_US_EAST_1` → `aws_us_east_1`), as people who copy the name will type it.
///
/// `None` when it equals the slug, or starts with `_`: such labels are the server's own.
pub fn underscore_form(name: &str) -> Option<String> {
    let label = to_label(name, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_')?;
    let differs = slug(name).as_ref() != Some(&label);
    (differs && !label.starts_with('_')).then_some(label)
}

/// Lower-cases, replaces what is not `kept` by `-`, trims hyphens and cuts to a label's length.
fn to_label(name: &str, kept: impl Fn(char) -> bool) -> Option<String> {
    let text: String = name.chars().map(|c| if kept(c) { c.to_ascii_lowercase() } else { '-' }).collect();
    let text = text.trim_matches('-');
    // All ASCII by now, so octets are characters; the cut may lay a hyphen bare.
    let text = text[..text.len().min(MAX_LABEL)].trim_end_matches('-');
    (!text.is_empty()).then(|| text.to_owned())
}

/// The label of a node's own name: `n-10-0-0-1`, `n-fd00--1`.
///
/// It is the address's text (RFC 5952 for IPv6) with `-` for `.` and `:`. Where that text begins or ends in `::`, a `0`
/// is put before or after (`::1` → `n-0--1`, `fd00::` → `n-fd00--0`): a label never ends in a hyphen, and one with
/// hyphens in its third and fourth place is reserved (RFC 5891 section 4.2.3.1).
///
/// Unique per address, where an IPv4-mapped IPv6 address counts as the IPv4 address it stands for, as everywhere here:
/// an IPv4 label has three hyphens after the prefix, an IPv6 label has a double one or seven.
pub fn node_label(address: IpAddr) -> String {
    let text = address.to_canonical().to_string();
    let before = if text.starts_with("::") { "0" } else { "" };
    let after = if text.ends_with("::") { "0" } else { "" };
    format!("n-{before}{}{after}", text.replace(['.', ':'], "-"))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_labels() {
        let long = "x".repeat(62);
        for (name, expected) in [
            ("dc1", Some("dc1")),
            ("AWS_US_EAST_1", Some("aws-us-east-1")),
            ("Rack 1.b", Some("rack-1-b")),
            ("_dc_", Some("dc")),
            ("Zürich", Some("z-rich")),
            ("a🦀b", Some("a-b")),
            ("a__b", Some("a--b")),
            ("", None),
            ("-_- ", None),
            ("日本", None),
            (&format!("{long}__y"), Some(long.as_str())),
            (&format!("{long}yz"), Some(&format!("{long}y"))),
        ] {
            assert_eq!(slug(name).as_deref(), expected, "{name:?}");
        }
    }

    #[test]
    fn the_underscore_alias_exists_only_where_it_differs() {
        for (name, expected) in [
            ("AWS_US_EAST_1", Some("aws_us_east_1")),
            ("us_east_", Some("us_east_")),
            ("dc1", None),
            ("dc 1", None),
            ("_dc", None),
            ("-_dc", None),
            ("", None),
            ("___", None),
        ] {
            assert_eq!(underscore_form(name).as_deref(), expected, "{name:?}");
        }
    }

    #[test]
    fn nodes_are_named_by_their_address() {
        for (address, expected) in [
            ("10.0.0.1", "n-10-0-0-1"),
            ("fd00::1", "n-fd00--1"),
            ("fd00::", "n-fd00--0"),
            ("::1", "n-0--1"),
            ("::", "n-0--0"),
            ("FD00:1:2:3:4:5:6:7", "n-fd00-1-2-3-4-5-6-7"),
            ("::ffff:1:2:3:4", "n-0--ffff-1-2-3-4"),
            ("::ffff:1.2.3.4", "n-1-2-3-4"),
        ] {
            assert_eq!(node_label(address.parse().unwrap()), expected, "{address}");
        }
    }

    fn is_label(text: &str, kept: &str) -> bool {
        (1..=MAX_LABEL).contains(&text.len())
            && !text.starts_with('-')
            && !text.ends_with('-')
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || kept.contains(c))
    }

    /// Names as operators write them, and arbitrary text.
    fn names() -> impl Strategy<Value = String> {
        prop_oneof!["[A-Za-z0-9_. -]{0,80}", any::<String>()]
    }

    /// Addresses with long runs of zeros, where RFC 5952 text is interesting, and IPv4 ones hidden in IPv6.
    fn addresses() -> impl Strategy<Value = IpAddr> {
        let few = || prop_oneof![Just(0u16), Just(1), Just(0xffff), any::<u16>()];
        prop_oneof![
            any::<u32>().prop_map(|v4| IpAddr::V4(Ipv4Addr::from(v4))),
            proptest::array::uniform8(few()).prop_map(|parts| IpAddr::V6(Ipv6Addr::from(parts))),
            any::<u32>().prop_map(|v4| IpAddr::V6(Ipv4Addr::from(v4).to_ipv6_mapped())),
            proptest::array::uniform4(1u16..300)
                .prop_map(|[a, b, c, d]| IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0xffff, a, b, c, d))),
        ]
    }

    proptest! {
        #[test]
        fn a_slug_is_a_label_and_its_own_slug(name in names()) {
            if let Some(label) = slug(&name) {
                prop_assert!(is_label(&label, "-"), "{label}");
                prop_assert_eq!(slug(&label), Some(label.clone()));
                prop_assert_eq!(underscore_form(&label), None);
            }
        }

        #[test]
        fn an_underscore_form_is_its_own_and_no_slug(name in names()) {
            if let Some(label) = underscore_form(&name) {
                prop_assert!(is_label(&label, "-_") && !label.starts_with('_'), "{label}");
                prop_assert!(label.contains('_'));
                prop_assert_eq!(underscore_form(&label), Some(label.clone()));
            }
        }

        #[test]
        fn node_labels_tell_addresses_apart(a in addresses(), b in addresses()) {
            prop_assert!(is_label(&node_label(a), "-") && !node_label(a)[2..].starts_with("--"), "{a}");
            prop_assert_eq!(node_label(a) == node_label(b), a.to_canonical() == b.to_canonical());
        }

        #[test]
        fn a_node_label_reads_back(a in addresses()) {
            let text = node_label(a)["n-".len()..].to_owned();
            let back = text.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
            let back = back.or_else(|_| text.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6));
            prop_assert_eq!(back, Ok(a.to_canonical()));
        }
    }
}
