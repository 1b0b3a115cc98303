//! Clusters, address maps, fallback zones.

use super::*;

/// A zone `a.test` with a seed, what else its cluster says, and what else the file says.
fn zone(cluster: &str, more: &str) -> String {
    format!("[zones.\"a.test\".cluster]\nseeds = [\"10.0.0.1\"]\n{cluster}\n{more}")
}

#[test]
fn a_pair_of_keys_is_whole_and_its_secret_is_never_printed() {
    let pair = "access_key_id = \"dns\"\nsecret_access_key = \"$6$x$hush\"";
    let case = Case::new(&zone(pair, ""));
    let loaded = case.load(Flags::default(), &[]).unwrap();
    let credentials = loaded.config.zones[0].cluster.credentials.clone();
    let secret_access_key = Secret::new("$6$x$hush");
    assert_eq!(credentials, Some(Credentials::Pair { access_key_id: "dns".to_owned(), secret_access_key }));
    assert!(!format!("{loaded:?}").contains("hush"));
    assert_eq!(
        case.texts(&loaded.warnings),
        [
            "a.toml:4: zones.\"a.test\".cluster.secret_access_key: whoever may read this file has it; credentials_file may \
          have other owners"
        ]
    );
    for (written, expected) in [
        ("access_key_id = \"dns\"", "access_key_id: needs secret_access_key too: the salted_hash of the role"),
        ("secret_access_key = \"hush\"", "secret_access_key: needs access_key_id too: the name of the role"),
        (
            "access_key_id = \"a/b\"\nsecret_access_key = \"hush\"",
            "access_key_id: \"a/b\" is no name of a role that a signature can hold",
        ),
        (
            "access_key_id = \"a\"\nsecret_access_key = \"hush\"\ncredentials_file = \"f\"",
            "credentials_file: holds both keys: leave out access_key_id and secret_access_key",
        ),
        (
            "discovery = \"guess\"",
            "discovery: \"guess\" is no way; write \"auto\", \"localnodes\" or \"system_tables\"",
        ),
    ] {
        let problems = bad(&zone(written, ""));
        assert!(problems.len() == 1 && problems[0].ends_with(expected), "{written}: {problems:?}");
        assert!(!problems[0].contains("hush"), "{problems:?}");
    }
}

#[test]
fn the_environment_may_hold_the_keys() {
    let case = Case::new(&zone("", ""));
    let variables =
        [("ALTERNATOR_DNS_CLUSTER__ACCESS_KEY_ID", "dns"), ("ALTERNATOR_DNS_CLUSTER__SECRET_ACCESS_KEY", "hush")];
    let loaded = case.load(Flags::default(), &variables).unwrap();
    assert_eq!(loaded.warnings, []);
    let secret_access_key = Secret::new("hush");
    let pair = Credentials::Pair { access_key_id: "dns".to_owned(), secret_access_key };
    assert_eq!(loaded.config.zones[0].cluster.credentials, Some(pair));
}

#[test]
fn certificates_come_with_keys_and_serve_https_only() {
    for (written, expected) in [
        ("scheme = \"https\"\nclient_cert = \"c.pem\"", "client_cert: needs client_key too: the file of its key"),
        (
            "scheme = \"https\"\nclient_key = \"c.key\"",
            "client_key: needs client_cert too: the file of its certificate",
        ),
        (
            "scheme = \"https\"\nserver_name = \"a b\"",
            "server_name: \"a b\" is neither a host name nor an address; certificates carry these",
        ),
    ] {
        let problems = bad(&zone(written, ""));
        assert!(problems.len() == 1 && problems[0].ends_with(expected), "{written}: {problems:?}");
    }
    let told = warnings(&zone("ca_file = \"ca.pem\"", ""));
    assert!(told.len() == 1 && told[0].ends_with("ca_file: does nothing: scheme is \"http\""), "{told:?}");
    let told = warnings(&zone("scheme = \"https\"\ninsecure_skip_verify = true", ""));
    assert!(told.len() == 1 && told[0].ends_with("is taken for the node: for tries only"), "{told:?}");
}

#[test]
fn a_rule_maps_networks_of_one_size_or_follows_routes() {
    for (rule, expected) in [
        ("from = \"10.0.0.1\"", "a rule has either from and to, or client_routes"),
        ("from = \"10.0.0.1\"\nto = \"192.0.2.1\"\nclient_routes = \"x\"", "a rule has either from and to"),
        ("client_routes = \"\"", "a rule has either from and to"),
        ("from = \"10.0.0.0/24\"\nto = \"192.0.2.0/25\"", "it must be of its size"),
        ("from = \"10.0.0.1\"\nto = \"fd00::1\"", "it must be of its size"),
        ("from = \"10.0.0.1/24\"\nto = \"192.0.2.0/24\"", "10.0.0.0/24"),
        ("from = \"10.0.0.1\"\nto = \"0.0.0.0\"", "begins with an address that nobody can connect to"),
        ("clients = []\nclient_routes = \"x\"", "clients: is empty: name the clients, or leave it out for all of them"),
    ] {
        let problems = bad(&zone("", &format!("[[zones.\"a.test\".address_map]]\n{rule}")));
        assert!(problems.len() == 1 && problems[0].contains(expected), "{rule}: {problems:?}");
    }
}

#[test]
fn rules_that_never_count_are_told_and_views_are_bounded() {
    let rule = |clients: &str, to: &str| {
        format!("[[zones.\"a.test\".address_map]]\n{clients}\nfrom = \"10.0.0.0/24\"\nto = \"{to}\"\n")
    };
    let one = "clients = [\"203.0.113.0/24\"]";
    let told =
        warnings(&zone("", &(rule(one, "192.0.2.0/24") + &rule("", "192.0.2.0/24") + &rule(one, "198.18.0.0/24"))));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].ends_with("from: 10.0.0.0/24 is mapped for these clients already in line 6; the first rule counts"),
        "{told:?}"
    );
    let rules = |count: usize| {
        let clients = |number: usize| format!("clients = [\"203.0.{number}.0/24\"]");
        (0..count).map(|number| rule(&clients(number), "192.0.2.0/24")).collect::<String>()
    };
    good(&zone("", &rules(64)));
    let problems = bad(&zone("", &rules(65)));
    assert!(
        problems[0].ends_with("65 sets of rules for networks of clients are too many; the most is 64"),
        "{problems:?}"
    );
    // As many networks as one likes may have the same rules.
    let many: Vec<String> = (0..200).map(|number| format!("\"203.0.{number}.0/24\"")).collect();
    good(&zone("", &rule(&format!("clients = [{}]", many.join(", ")), "192.0.2.0/24")));
}

#[test]
fn routes_take_tables() {
    let routes = "[[zones.\"a.test\".address_map]]\nclient_routes = \"link\"";
    assert_eq!(warnings(&zone("", routes)), [""; 0]);
    let told = warnings(&zone("discovery = \"localnodes\"", routes));
    assert!(told.len() == 1 && told[0].ends_with("so client_routes in address_map maps nothing"), "{told:?}");
}

#[test]
fn a_fallback_zone_is_another_one_with_nodes() {
    let with =
        |fallback: &str, more: &str| zone("", &format!("[zones.\"a.test\"]\nfallback_zone = \"{fallback}\"\n{more}"));
    let other = "[zones.\"b.test\".cluster]\nseeds = [\"10.0.1.1\"]";
    let loaded = good(&with("B.Test.", other));
    assert_eq!(loaded.config.zones[0].fallback_zone, Some(Name::from_ascii("b.test.").unwrap()));
    for (fallback, more, expected) in [
        ("a.test", "", "fallback_zone: is the zone itself: name another one"),
        ("c.test", "", "fallback_zone: \"c.test.\" is no zone here"),
        ("b.test", "[zones.\"b.test\"]", "fallback_zone: \"b.test\" has no seeds, so no nodes"),
        ("b..test", "", "fallback_zone: \"b..test\" has a dot too many"),
    ] {
        let problems = bad(&with(fallback, more));
        assert!(problems.len() == 1 && problems[0].ends_with(expected), "{fallback}: {problems:?}");
    }
}
