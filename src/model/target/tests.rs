use proptest::prelude::*;

use super::*;

fn node(text: &str) -> Node {
    let parts: Vec<&str> = text.rsplitn(2, ' ').collect();
    let place = parts.get(1).copied().unwrap_or_default();
    let mut names = place.split('/').filter(|name| !name.is_empty()).map(Arc::from);
    Node { address: parts[0].parse().unwrap(), datacenter: names.next(), rack: names.next() }
}

fn target(text: &str) -> Target {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_target_means_the_nodes_it_names() {
    let nodes = ["dc1/rack1 10.0.0.1", "dc1/rack11 10.0.0.11", "dc10/rack1 10.0.1.1", "dc1/r.1 fd00::1", "10.0.0.7"];
    let meant = |text: &str| -> Vec<&str> {
        let target = target(text);
        let meant = nodes.iter().filter(|text| target.matches(&node(text)));
        meant.map(|text| text.rsplit(' ').next().unwrap()).collect()
    };
    for (text, wanted) in [
        ("10.0.0.1", &["10.0.0.1"][..]),
        ("::ffff:10.0.0.1", &["10.0.0.1"]),
        ("[fd00::1]", &["fd00::1"]),
        ("10.0.0.0/24", &["10.0.0.1", "10.0.0.11", "10.0.0.7"]),
        ("10.0.0.1/32", &["10.0.0.1"]),
        ("fd00::/16", &["fd00::1"]),
        ("dc1", &["10.0.0.1", "10.0.0.11", "fd00::1"]),
        ("DC1", &[]),
        ("dc1/rack1", &["10.0.0.1"]),
        ("dc1/r.1", &["fd00::1"]),
        ("dc?", &["10.0.0.1", "10.0.0.11", "fd00::1"]),
        ("dc*", &["10.0.0.1", "10.0.0.11", "10.0.1.1", "fd00::1"]),
        ("dc1/rack?", &["10.0.0.1"]),
        ("dc1/rack*", &["10.0.0.1", "10.0.0.11"]),
        ("dc1/r*1", &["10.0.0.1", "10.0.0.11", "fd00::1"]),
        ("dc1/r*1/10.*", &["10.0.0.1", "10.0.0.11"]),
        ("*/rack1", &["10.0.0.1", "10.0.1.1"]),
        ("*/10.0.0.*", &["10.0.0.1", "10.0.0.11", "10.0.0.7"]),
        ("dc*/10.0.0.*", &["10.0.0.1", "10.0.0.11"]),
        ("10.0.0.1*", &["10.0.0.1", "10.0.0.11"]),
        ("fd00:*", &["fd00::1"]),
        ("*", &["10.0.0.1", "10.0.0.11", "10.0.1.1", "fd00::1", "10.0.0.7"]),
        ("*/*", &["10.0.0.1", "10.0.0.11", "10.0.1.1", "fd00::1", "10.0.0.7"]),
    ] {
        assert_eq!(meant(text), wanted, "{text}");
    }
}

#[test]
fn what_is_no_target_says_what_would_be() {
    for (text, told) in [
        ("", "no target: write a node"),
        ("  ", "no target"),
        ("cluster", "write \"*\""),
        ("10.0.0.300", "is no address"),
        ("10.0.0", "is no address"),
        ("10.0.0.1:8000", "is no address"),
        ("dc1/10.0.0.300", "is no address"),
        ("10.0.0.1/33", "from 0 to 32"),
        ("10.0.0.1/24", "write 10.0.0.0/24"),
        ("10.0.0.1/rack1", "from 0 to 32"),
        ("0.0.0.0", "no address a node can have"),
        ("dc1/", "an empty part"),
        ("/rack1", "an empty part"),
        ("dc1/rack1/10.0.0.1", "more than two parts"),
        ("a/b/c/*", "more than three parts"),
        ("dc1\nrack", "control characters"),
        (&"x".repeat(256), "at most 255"),
    ] {
        let error = text.parse::<Target>().unwrap_err().to_string();
        assert!(error.contains(told), "{text:?}: {error}");
    }
}

#[test]
fn the_narrower_is_the_more_specific() {
    let order = ["*", "dc1", "dc1/rack1", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.1"];
    let order: Vec<Specificity> = order.iter().map(|text| target(text).specificity()).collect();
    assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
}

proptest! {
    #[test]
    fn targets_read_back_as_written(text in "[a-z0-9.:*?/ \\[\\]é]{0,24}") {
        if let Ok(target) = text.parse::<Target>() {
            prop_assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
        }
    }

    #[test]
    fn a_network_means_the_addresses_that_begin_with_its_bits(address: u32, other: u32, len in 0u8..=32) {
        let network = Prefix::around(IpAddr::V4(address.into()), len);
        let node = |bits: u32| Node { address: IpAddr::V4(bits.into()), datacenter: None, rack: None };
        let shift = 32 - u32::from(len);
        let same = u64::from(address) >> shift == u64::from(other) >> shift;
        prop_assert_eq!(Target::Network(network).matches(&node(other)), same);
        prop_assert!(Target::Network(network).matches(&node(address)));
    }
}
