//! What is known of ScyllaDB's servers and of what their users run into, and which tests hold what we make of it.

use std::{collections::BTreeSet, fs, path::Path};

/// A fact, and the tests that hold it, each as `file::name` (files of [`HERE`] by their bare name).
type Fact = (&'static str, &'static [&'static str]);

const HERE: &str = "tests/integration/proof";

/// The table of node states: who is listed, whose port is open, and what `cluster_status` says.
const STATES: &[Fact] = &[
    (
        "the simulated cluster shows each state as a real one does",
        &["src/sim/tests/states.rs::each_state_is_seen_as_in_a_real_cluster"],
    ),
    (
        "bootstrapping, joining, replacing: not listed, closed",
        &[
            "states.rs::each_state_decides_whether_a_node_is_answered",
            "states.rs::a_node_that_joins_is_answered_no_earlier_than_its_port_is_open",
        ],
    ),
    (
        "just became NORMAL, or restarted: listed, refused for seconds",
        &[
            "states.rs::each_state_decides_whether_a_node_is_answered",
            "states.rs::a_node_that_joins_is_answered_no_earlier_than_its_port_is_open",
            "tests/integration/scenarios.rs::a_node_down_at_the_start_is_answered_once_it_starts",
        ],
    ),
    ("normal: listed, open", &["states.rs::each_state_decides_whether_a_node_is_answered"]),
    ("rebuilding: listed, open", &["states.rs::each_state_decides_whether_a_node_is_answered"]),
    (
        "decommissioning: listed and open for hours, draining",
        &[
            "states.rs::a_node_that_leaves_is_out_at_once_while_it_serves_and_back_when_that_is_given_up",
            "states.rs::a_cluster_that_is_decommissioned_as_a_whole_is_answered_while_it_serves",
            "src/discovery/round_tables_tests.rs::who_is_decommissioned_is_told_at_once_and_whoever_gives_it_up_is_back",
        ],
    ),
    (
        "decommission done: forced out of gossip, LEFT",
        &[
            "states.rs::each_state_decides_whether_a_node_is_answered",
            "states.rs::a_node_that_leaves_is_out_at_once_while_it_serves_and_back_when_that_is_given_up",
        ],
    ),
    (
        "drain and stop: refused while still listed, then shutdown",
        &[
            "states.rs::each_state_decides_whether_a_node_is_answered",
            "releases.rs::a_rolling_upgrade_loses_no_name_and_no_answer",
        ],
    ),
    ("maintenance mode: not listed, not started", &["states.rs::each_state_decides_whether_a_node_is_answered"]),
    (
        "crashed: listed up to 20 s more",
        &[
            "states.rs::a_crashed_node_leaves_although_it_is_listed_and_returns_when_it_serves",
            "tests/integration/incidents.rs::a_node_that_refuses_is_answered_for_three_seconds_at_most",
            "tests/integration/incidents.rs::a_silent_node_is_answered_for_three_seconds_at_most",
            "tests/integration/incidents.rs::a_node_that_hangs_is_answered_for_three_seconds_at_most",
        ],
    ),
    (
        "removenode and excluded: not listed",
        &[
            "states.rs::each_state_decides_whether_a_node_is_answered",
            "tests/integration/tables.rs::states_decide_who_is_listed_and_who_leaves",
        ],
    ),
    (
        "a partitioned node answers with its own side",
        &[
            "readers.rs::a_node_that_is_cut_off_takes_nobody_else_away",
            "tests/integration/discovery.rs::an_observer_that_sees_only_itself_changes_nothing",
            "tests/integration/discovery.rs::a_node_the_others_lost_sight_of_leaves_alone_and_returns",
        ],
    ),
    (
        "zero-token nodes are listed",
        &[
            "states.rs::nodes_without_tokens_are_answered_only_where_no_node_has_any",
            "src/discovery/tables/join_tests.rs::tokens_matter_only_beside_others_that_have_some",
        ],
    ),
    (
        "a node with Alternator disabled or on another port is listed",
        &["states.rs::a_node_that_joins_is_answered_no_earlier_than_its_port_is_open"],
    ),
];

/// The topology through the DynamoDB API.
const TABLES: &[Fact] = &[
    (
        "peers, local and cluster_status of one node, joined by host id, tell of all datacenters",
        &[
            "places.rs::one_seed_finds_every_place_and_names_come_and_go_with_the_cluster",
            "tests/integration/tables.rs::every_node_tells_of_every_datacenter",
            "src/discovery/tables/join_tests.rs::version_5_4_joins_by_host_id_or_gossip_address",
        ],
    ),
    (
        "peer is the gossip address, not the one for clients",
        &[
            // The nodes of all settings here have both.
            "places.rs::one_seed_finds_every_place_and_names_come_and_go_with_the_cluster",
            "tests/integration/tables.rs::internal_addresses_join_and_are_not_served",
            "src/discovery/tables/join_tests.rs::a_gossip_address_joins_only_where_no_host_id_says_otherwise",
        ],
    ),
    (
        "rack, draining and excluded are newer columns, topology and client_routes newer tables",
        &[
            "releases.rs::servers_of_release_5_4_alone",
            "releases.rs::servers_of_release_6_1_alone",
            "releases.rs::servers_of_release_2025_1_alone",
            "releases.rs::a_cluster_of_two_releases_follows_its_nodes",
            "releases.rs::a_rolling_upgrade_loses_no_name_and_no_answer",
            "tests/integration/tables.rs::old_and_new_versions_tell_the_same_of_who_serves",
            "src/discovery/tables/join_tests.rs::columns_that_are_not_there_change_little",
        ],
    ),
    (
        "booleans are text or real; other values are text",
        &[
            "readers.rs::one_node_whose_tables_lie_or_fail_changes_nothing",
            "tests/integration/tables.rs::odd_rows_and_real_booleans_change_nothing",
            "src/discovery/tables/row.rs::values_come_as_text_whatever_their_type",
        ],
    ),
    (
        "Scan in pages, no GetItem",
        &[
            "tests/integration/tables.rs::large_tables_come_in_pages",
            "src/discovery/tables/scan_tests.rs::a_table_without_end_is_given_up",
            "src/sim/tests/tables.rs::other_tables_and_operations_are_refused",
        ],
    ),
    (
        "draining is set while a leave is pending, before data moves",
        &["states.rs::a_node_that_leaves_is_out_at_once_while_it_serves_and_back_when_that_is_given_up"],
    ),
    (
        "with authorization each table needs its grant; keys change, clocks differ",
        &[
            "readers.rs::tables_forbidden_in_the_middle_cost_no_name_and_are_read_again_when_allowed",
            "tests/integration/tables.rs::each_missing_grant_is_named_and_only_the_needed_ones_fail",
            "tests/integration/tables.rs::signed_requests_are_taken_and_others_are_told_why_not",
            "tests/integration/tables.rs::clocks_may_be_a_quarter_of_an_hour_apart",
            "tests/integration/tables.rs::authorization_may_be_switched_on_and_the_secret_changed",
            "tests/integration/discover.rs::what_a_role_lacks_is_told_and_lists_take_the_place",
        ],
    ),
    (
        "shard counts and releases are told where there are any",
        &[
            "src/discovery/tables/join_tests.rs::version_6_1_tells_states_tokens_and_shards",
            "src/discovery/tables/join_tests.rs::a_node_tells_its_own_release",
        ],
    ),
    (
        "a table is one node's word",
        &[
            "readers.rs::one_node_whose_tables_lie_or_fail_changes_nothing",
            "src/discovery/round_tables_tests.rs::one_reader_that_errs_changes_nothing",
        ],
    ),
    ("client_routes are by connection and host id", &["tests/integration/tables.rs::routes_belong_to_their_nodes"]),
];

/// What users reported, in the order of the numbers that the reports have with us.
const REPORTED: &[Fact] = &[
    (
        "1 one NXDOMAIN or empty answer outlives the incident in resolvers",
        &[
            "lists.rs::empty_lists_and_failing_tables_everywhere_change_nothing",
            "releases.rs::a_rolling_upgrade_loses_no_name_and_no_answer",
            "tests/integration/incidents.rs::when_all_nodes_are_killed_the_ones_of_the_incident_are_answered_as_stale",
        ],
    ),
    (
        "2, 3 clients stick to the first address",
        &["tests/integration/distribution.rs::every_node_leads_equally_often_in_every_pass"],
    ),
    (
        "4 getaddrinfo sorts again: one address for the nodes' own subnet",
        &["tests/integration/distribution.rs::auto_gives_one_address_inside_the_nodes_subnet_and_eight_outside"],
    ),
    (
        "5 listed but not serving",
        &[
            "states.rs::a_node_that_joins_is_answered_no_earlier_than_its_port_is_open",
            "states.rs::a_crashed_node_leaves_although_it_is_listed_and_returns_when_it_serves",
            "releases.rs::servers_of_release_6_1_alone",
        ],
    ),
    (
        "5 taken out of DNS a TTL before its end",
        &[
            "states.rs::a_node_that_leaves_is_out_at_once_while_it_serves_and_back_when_that_is_given_up",
            "tests/integration/overrides/departures.rs::safe_is_a_ttl_after_the_last_answer_and_not_much_later",
        ],
    ),
    (
        "6 private and public addresses",
        &[
            "places.rs::one_seed_finds_every_place_and_names_come_and_go_with_the_cluster",
            "tests/integration/address_map.rs::each_network_of_clients_has_its_own_addresses_of_the_same_nodes",
        ],
    ),
    (
        "7 addresses change at restarts: nodes come and go by their addresses",
        &["tests/integration/discovery.rs::nodes_are_added_and_removed_while_the_cluster_runs"],
    ),
    (
        "8 certificates must hold the names",
        &[
            "tests/integration/discover.rs::a_list_for_a_certificate_is_nothing_else",
            "tests/integration/node_tls/verifying.rs::a_node_with_another_name_is_out_and_says_why",
        ],
    ),
    (
        "9 names that are no host names, and their case",
        &[
            "places.rs::places_whose_names_are_no_host_names_have_labels",
            "tests/integration/names.rs::free_text_becomes_labels_and_underscores_stay_as_aliases",
            "tests/integration/names.rs::two_scopes_of_one_label_have_no_name_until_one_is_labelled",
            "tests/integration/scenarios.rs::names_of_free_text_are_asked_for_as_spelt_and_answered_by_their_labels",
        ],
    ),
    (
        "10 an empty list",
        &[
            "lists.rs::empty_lists_and_failing_tables_everywhere_change_nothing",
            "tests/integration/discovery.rs::an_observer_that_tells_an_empty_list_changes_nothing",
        ],
    ),
    (
        "10 lists of host ids, names, scopes, duplicates",
        &[
            "lists.rs::host_ids_host_names_and_scopes_in_lists_are_no_answer",
            "lists.rs::in_tables_a_node_without_an_address_for_clients_is_no_answer",
            "lists.rs::two_nodes_with_one_address_are_answered_once",
            "src/discovery/tables/join_tests.rs::addresses_shared_by_two_nodes_are_one",
        ],
    ),
    (
        "11 nothing is forwarded",
        &["tests/integration/protocol.rs::names_outside_all_zones_are_refused_without_referral"],
    ),
    (
        "12 a seed in every datacenter is forgotten",
        &[
            "places.rs::one_seed_finds_every_place_and_names_come_and_go_with_the_cluster",
            "places.rs::a_datacenter_is_followed_while_that_of_the_only_seed_is_gone",
        ],
    ),
];

/// File and name of a test of the table.
fn split(test: &str) -> (String, &str) {
    let (file, name) = test.rsplit_once("::").unwrap();
    let file = if file.contains('/') { file.to_owned() } else { format!("{HERE}/{file}") };
    (file, name)
}

/// The names of a file's tests.
fn tests_of(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let attributes = text.split("#[tokio::test").chain(text.split("#[test]"));
    let name = |rest: &str| Some(rest.split_once("fn ")?.1.split_once('(')?.0.to_owned());
    // What stands before the first attribute of either kind is no test.
    let before = [text.split("#[tokio::test").next(), text.split("#[test]").next()];
    attributes.filter(|rest| !before.contains(&Some(rest))).filter_map(name).collect()
}

#[test]
fn every_fact_is_held_by_tests_that_exist_and_every_test_here_holds_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = BTreeSet::new();
    for (fact, tests) in [STATES, TABLES, REPORTED].into_iter().flatten() {
        assert!(!tests.is_empty(), "{fact}");
        for test in *tests {
            let (file, name) = split(test);
            assert!(tests_of(&root.join(&file)).contains(name), "{fact}: there is no {file}::{name}");
            named.insert(format!("{file}::{name}"));
        }
    }
    for entry in fs::read_dir(root.join(HERE)).unwrap() {
        let file = format!("{HERE}/{}", entry.unwrap().file_name().into_string().unwrap());
        for name in tests_of(&root.join(&file)).iter().filter(|_| !file.ends_with("/facts.rs")) {
            assert!(named.contains(&format!("{file}::{name}")), "{file}::{name} holds no fact");
        }
    }
}
