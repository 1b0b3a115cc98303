//! Reading system tables over real sockets from a simulated cluster that checks signatures by its own reckoning.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv6Addr},
};

use alternator_dns::{
    config::{ClusterConfig, Credentials, NodeTls, Scheme, Secret},
    discovery::{
        LIMITS,
        tables::{Reader, TableFailure, TableView, Unauthorized, look_at},
    },
    http::{NodeClient, NodeIdentity},
    model::{Failure, Leaving},
    sim::{
        BadReply, ClientRoute, Cluster, ClusterSpec, Endpoint, Fault, Identity, NodeSpec, Role, State, Tls, Version,
    },
};

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 46, 1, 1));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 46, 1, 2));
const C: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 46, 1, 3));

/// What the reader needs; the last three only where they are there.
const TABLES: [&str; 6] = ["local", "peers", "cluster_status", "topology", "client_routes", "versions"];

/// Two racks in one datacenter, one in another.
fn spec() -> ClusterSpec {
    ClusterSpec::new(vec![
        NodeSpec::new(A, "dc1", "rack1"),
        NodeSpec::new(B, "dc1", "rack2").shards(14),
        NodeSpec::new(C, "AWS_EU", "rack1"),
    ])
}

/// The role that reads; its secret is as long and as odd as a salted hash.
fn role() -> Role {
    TABLES.iter().fold(Role::new("dns", "$6$rounds=1$a/b+c="), |role, table| role.granted(format!("system.{table}")))
}

fn keys(role: &str, secret: &str) -> Reader {
    let secret_access_key = Secret::new(secret);
    Reader::new(Some(&Credentials::Pair { access_key_id: role.to_owned(), secret_access_key }))
}

fn good() -> Reader {
    keys("dns", "$6$rounds=1$a/b+c=")
}

fn client(cluster: &Cluster) -> NodeClient {
    let config = ClusterConfig { scheme: Scheme::Http, port: cluster.port(), ..ClusterConfig::default() };
    NodeClient::new(&config, &NodeIdentity::default(), LIMITS).unwrap()
}

async fn read(cluster: &Cluster, node: IpAddr, reader: &Reader) -> Result<TableView, TableFailure> {
    look_at(&client(cluster), node, reader).await
}

/// What it says of one node: place, listed, why it leaves.
fn fate(view: &TableView, node: IpAddr) -> Option<(String, bool, Option<Leaving>)> {
    let node = view.nodes.iter().find(|seen| seen.address == node)?;
    let place = format!("{}/{}", node.datacenter, node.rack.as_deref().unwrap_or("-"));
    Some((place, node.listed, node.told.leaving))
}

#[tokio::test]
async fn every_node_tells_of_every_datacenter() {
    let cluster = Cluster::start(spec()).await.unwrap();
    for node in [A, B, C] {
        let view = read(&cluster, node, &Reader::new(None)).await.unwrap();
        let places: Vec<_> = [A, B, C].map(|node| fate(&view, node).unwrap()).into();
        let expected = ["dc1/rack1", "dc1/rack2", "AWS_EU/rack1"].map(|place| (place.to_owned(), true, None));
        assert_eq!(places, expected, "as {node} has it");
        assert_eq!(view.own_datacenter.as_deref(), Some(if node == C { "AWS_EU" } else { "dc1" }));
        assert_eq!((view.skipped, view.unread), (0, vec![]));
        let versions: BTreeMap<_, _> =
            view.nodes.iter().map(|seen| (seen.address, seen.told.version.as_deref())).collect();
        assert_eq!(versions[&node], Some("2026.1.1"), "its own");
        assert_eq!(versions.values().flatten().count(), 1, "and nobody else's");
        let b = view.nodes.iter().find(|seen| seen.address == B).unwrap();
        assert_eq!((b.told.shards, b.tokens, b.told.state.as_deref()), (Some(14), Some(256), Some("NORMAL")));
    }
}

#[tokio::test]
async fn one_connection_serves_all_reads() {
    let cluster = Cluster::start(spec()).await.unwrap();
    let (client, reader) = (client(&cluster), Reader::new(None));
    for _ in 0..3 {
        look_at(&client, A, &reader).await.unwrap();
    }
    let counters = cluster.counters(A);
    assert_eq!((counters.accepted, counters.api), (1, 6 + 5 + 5), "the release is asked once");
}

#[tokio::test]
async fn signed_requests_are_taken_and_others_are_told_why_not() {
    let cluster = Cluster::start(spec().authorization([role(), Role::new("mute", "x")])).await.unwrap();
    assert_eq!(read(&cluster, A, &good()).await.unwrap().nodes.len(), 3);
    assert_eq!(read(&cluster, A, &Reader::new(None)).await, Err(TableFailure::NoCredentials));
    let unauthorized = async |reader| match read(&cluster, A, &reader).await {
        Err(TableFailure::Unauthorized(what)) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(unauthorized(keys("dns", "wrong")).await, Unauthorized::Secret { role: "dns".into() });
    let reason = "User not found: nobody".to_owned();
    assert_eq!(unauthorized(keys("nobody", "x")).await, Unauthorized::Role { role: "nobody".into(), reason });
    let denied = read(&cluster, A, &keys("mute", "x")).await.unwrap_err();
    assert_eq!(denied.to_string(), "role mute may not read system.local; run: GRANT SELECT ON system.local TO mute");
}

#[tokio::test]
async fn each_missing_grant_is_named_and_only_the_needed_ones_fail() {
    let cluster = Cluster::start(spec().authorization([role()])).await.unwrap();
    for table in &TABLES {
        let name = format!("system.{table}");
        cluster.revoke("dns", &name).unwrap();
        let denied =
            |failure: &TableFailure| failure.to_string().ends_with(&format!("run: GRANT SELECT ON {name} TO dns"));
        match read(&cluster, A, &good()).await {
            Err(failure) => assert!(denied(&failure) && TABLES[..3].contains(table), "{failure}"),
            Ok(view) => {
                assert!(view.unread.len() == 1 && denied(&view.unread[0]), "{:?}", view.unread);
                assert_eq!(view.nodes.len(), 3);
            }
        }
        cluster.grant("dns", &name).unwrap();
    }
}

#[tokio::test]
async fn clocks_may_be_a_quarter_of_an_hour_apart() {
    let cluster = Cluster::start(spec().authorization([role()])).await.unwrap();
    for minutes in [14, -14] {
        cluster.set_clock(A, minutes * 60).unwrap();
        assert!(read(&cluster, A, &good()).await.is_ok(), "{minutes}");
    }
    for minutes in [20, -20] {
        cluster.set_clock(A, minutes * 60).unwrap();
        let Err(TableFailure::Skew { ours, theirs: Some(theirs) }) = read(&cluster, A, &good()).await else {
            panic!("{minutes} minutes are too many");
        };
        let (early, late) = if minutes > 0 { (ours, theirs) } else { (theirs, ours) };
        let apart = late.duration_since(early).unwrap().as_secs();
        assert!((20 * 60 - 5..=20 * 60 + 30).contains(&apart), "{minutes}: {apart} s");
    }
}

#[tokio::test]
async fn authorization_may_be_switched_on_and_the_secret_changed() {
    let cluster = Cluster::start(spec().authorization([role()])).await.unwrap();
    cluster.enforce_authorization(false);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    let write = |secret: &str| {
        fs::write(&path, format!("[default]\naws_access_key_id = dns\naws_secret_access_key = {secret}\n")).unwrap();
    };
    write("$6$rounds=1$a/b+c=");
    let reader = Reader::new(Some(&Credentials::File(path.clone())));
    for enforced in [false, true] {
        cluster.enforce_authorization(enforced);
        assert!(read(&cluster, A, &reader).await.is_ok(), "{enforced}");
    }
    cluster.set_role(Role::new("dns", "other").granted("system"));
    let secret = TableFailure::Unauthorized(Unauthorized::Secret { role: "dns".into() });
    assert_eq!(read(&cluster, A, &reader).await, Err(secret.clone()));
    assert_eq!(read(&cluster, A, &reader).await, Err(secret), "the file has the old one");
    write("other");
    assert!(read(&cluster, A, &reader).await.is_ok(), "read again by itself");
}

#[tokio::test]
async fn large_tables_come_in_pages() {
    let nodes = (1..=40).map(|last| NodeSpec::new([127, 46, 2, last], format!("dc{}", last % 4), "r"));
    let cluster = Cluster::start(ClusterSpec::new(nodes.collect()).authorization([role()])).await.unwrap();
    let node = IpAddr::from([127, 46, 2, 7]);
    let whole = read(&cluster, node, &good()).await.unwrap();
    assert_eq!(whole.nodes.len(), 40);
    for rows in [1, 7, 39, 40] {
        cluster.set_page_rows(Some(rows));
        assert_eq!(read(&cluster, node, &good()).await.unwrap(), whole, "{rows} rows a page");
    }
}

#[tokio::test]
async fn states_decide_who_is_listed_and_who_leaves() {
    let cluster = Cluster::start(spec()).await.unwrap();
    for state in State::ALL {
        cluster.set_state(B, state).await.unwrap();
        let view = read(&cluster, A, &Reader::new(None)).await.unwrap();
        let (listed, leaving) = match state {
            State::Normal | State::Rebuilding | State::Restarting | State::Draining => (true, None),
            State::Leaving => (true, Some(Leaving::Draining)),
            State::Decommissioning => (true, Some(Leaving::Decommissioning)),
            State::Shutdown | State::Maintenance => (false, None),
            State::Removing => (false, Some(Leaving::Removing)),
            State::Excluded => (false, Some(Leaving::Excluded)),
            State::Bootstrapping | State::Replacing | State::DecommissionDone => {
                assert_eq!((fate(&view, B), view.skipped), (None, 0), "{state}");
                continue;
            }
        };
        assert_eq!(fate(&view, B), Some(("dc1/rack2".into(), listed, leaving)), "{state}");
        assert_eq!(fate(&view, C), Some(("AWS_EU/rack1".into(), true, None)), "{state}");
    }
}

#[tokio::test]
async fn a_node_without_tokens_is_marked_and_a_cluster_without_any_is_not() {
    let cluster = Cluster::start(spec()).await.unwrap();
    cluster.set_tokens(B, 0).unwrap();
    let leaving = async || {
        let view = read(&cluster, A, &Reader::new(None)).await.unwrap();
        [A, B, C].map(|node| fate(&view, node).unwrap().2)
    };
    assert_eq!(leaving().await, [None, Some(Leaving::NoTokens), None]);
    cluster.set_tokens(A, 0).unwrap();
    cluster.set_tokens(C, 0).unwrap();
    assert_eq!(leaving().await, [None; 3]);
}

#[tokio::test]
async fn old_and_new_versions_tell_the_same_of_who_serves() {
    let cluster = Cluster::start(spec()).await.unwrap();
    cluster.set_state(B, State::Leaving).await.unwrap();
    for version in Version::ALL {
        for node in [A, B, C] {
            cluster.set_version(node, version).unwrap();
        }
        let view = read(&cluster, A, &Reader::new(None)).await.unwrap();
        assert_eq!(view.unread, [], "{version}: a table that is not there is no failure");
        assert_eq!([A, B, C].map(|node| fate(&view, node).unwrap().1), [true; 3], "{version}");
        assert_eq!(fate(&view, C).unwrap().0, "AWS_EU/rack1", "{version}");
        // Before there was a topology table nobody told of a decommission before it began.
        let expected = (version > Version::V5_4).then_some(Leaving::Draining);
        assert_eq!(fate(&view, B).unwrap().2, expected, "{version}");
        let own = view.nodes.iter().find(|seen| seen.address == A).unwrap();
        assert!(
            own.told.version.as_deref().is_some_and(|own| own.starts_with(&version.to_string())),
            "{version} {own:?}"
        );
        assert_eq!(own.told.shards.is_some(), version > Version::V5_4);
    }
}

#[tokio::test]
async fn internal_addresses_join_and_are_not_served() {
    let nodes = vec![
        NodeSpec::new(A, "dc1", "rack1").internal([10, 9, 9, 1]),
        NodeSpec::new(B, "dc1", "rack2").internal([10, 9, 9, 2]),
        NodeSpec::new(C, "dc1", "rack3").without_rpc_address(),
    ];
    let cluster = Cluster::start(ClusterSpec::new(nodes)).await.unwrap();
    let view = read(&cluster, A, &Reader::new(None)).await.unwrap();
    assert_eq!(view.nodes.iter().map(|node| node.address).collect::<Vec<_>>(), [A, B]);
    assert!(view.nodes.iter().all(|node| node.listed));
    assert_eq!(view.skipped, 1);
}

#[tokio::test]
async fn odd_rows_and_real_booleans_change_nothing() {
    let cluster = Cluster::start(spec()).await.unwrap();
    let plain = read(&cluster, A, &Reader::new(None)).await.unwrap();
    cluster.inject(A, Fault::OddEntries).await.unwrap();
    cluster.inject(A, Fault::JsonBooleans).await.unwrap();
    let odd = read(&cluster, A, &Reader::new(None)).await.unwrap();
    assert_eq!(odd.nodes, plain.nodes);
    assert_eq!(odd.named_routes, 0);
}

#[tokio::test]
async fn routes_belong_to_their_nodes() {
    let a = NodeSpec::new(A, "dc1", "rack1").host_id;
    let route = |connection: &str, address: &str| ClientRoute {
        connection_id: connection.to_owned(),
        host_id: a.clone(),
        address: address.to_owned(),
        alternator_port: Some(18001),
        ..ClientRoute::default()
    };
    let routes = [route("link", "198.51.100.7"), route("named", "nlb.example.com")];
    let cluster = Cluster::start(spec().client_routes(routes)).await.unwrap();
    let view = read(&cluster, B, &Reader::new(None)).await.unwrap();
    assert_eq!(view.named_routes, 1);
    let [own, ..] = &view.nodes[..] else { panic!("{view:?}") };
    let told: Vec<_> =
        own.told.routes.iter().map(|(id, route)| (&**id, route.address.to_string(), route.port)).collect();
    assert_eq!(told, [("link", "198.51.100.7".to_owned(), Some(18001))]);
    assert!(view.nodes[1..].iter().all(|node| node.told.routes.is_empty()));
}

#[tokio::test]
async fn wrong_answers_are_failures_of_the_node() {
    let cluster = Cluster::start(spec()).await.unwrap();
    use BadReply::{EmptyList, Garbage, Html, Huge, Redirect, Status, Truncated};
    let elsewhere = Redirect("http://127.0.0.1/".to_owned());
    for bad in [Garbage, Html, EmptyList, Huge, Truncated, Status(404), Status(503), elsewhere] {
        cluster.inject(A, Fault::Reply(Endpoint::Api, bad.clone())).await.unwrap();
        let failure = read(&cluster, A, &Reader::new(None)).await.unwrap_err();
        assert!(matches!(failure, TableFailure::Node(_) | TableFailure::Unreadable(_)), "{bad:?}: {failure:?}");
        cluster.heal(A).await.unwrap();
    }
    cluster.stop(A).await.unwrap();
    assert_eq!(read(&cluster, A, &Reader::new(None)).await, Err(Failure::Refused.into()));
}

#[tokio::test]
async fn the_signature_holds_over_tls_by_address_and_by_name() {
    let made = rcgen::generate_simple_self_signed(vec![A.to_string(), "nodes.example".to_owned()]).unwrap();
    let identity = Identity::from_pem(made.cert.pem(), made.signing_key.serialize_pem()).unwrap();
    let cluster = Cluster::start(spec().authorization([role()]).tls(&Tls::new(identity))).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs::write(&ca_file, made.cert.pem()).unwrap();
    for server_name in [None, Some("nodes.example".to_owned())] {
        let tls = NodeTls { ca_file: Some(ca_file.clone()), server_name, ..NodeTls::default() };
        let config = ClusterConfig { scheme: Scheme::Https, port: cluster.port(), tls, ..ClusterConfig::default() };
        let client = NodeClient::new(&config, &NodeIdentity::read(&config).unwrap(), LIMITS).unwrap();
        let view = look_at(&client, A, &good()).await.unwrap();
        assert_eq!(view.nodes.len(), 3, "{:?}", config.tls.server_name);
    }
}

#[tokio::test]
async fn the_signature_holds_for_ipv6_hosts() {
    if !ClusterSpec::has_ipv6() {
        return;
    }
    let node = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let spec = ClusterSpec::new(vec![NodeSpec::new(node, "dc1", "rack1")]).authorization([role()]);
    let cluster = Cluster::start(spec).await.unwrap();
    assert_eq!(read(&cluster, node, &good()).await.unwrap().nodes.len(), 1);
}
