//! The states of nodes, and what the others see of each.

use std::io::ErrorKind;

use super::{
    tables::{row, scan},
    *,
};

/// What a column says, or "-".
fn cell<'a>(row: &'a serde_json::Value, column: &str) -> &'a str {
    let cell = &row[column];
    cell["S"].as_str().or(cell["BOOL"].as_str()).unwrap_or("-")
}

#[tokio::test]
async fn each_state_is_seen_as_in_a_real_cluster() {
    let cluster = start().await;
    let b = NodeSpec::new(B, "dc1", "rack1").host_id;
    //                     listed  port  up       status            draining excluded   peers   node_state         request
    for (state, want) in [
        (State::Normal, "yes open true NORMAL false false whole normal -"),
        (State::Bootstrapping, "no closed true BOOTSTRAPPING false false id bootstrapping -"),
        (State::Replacing, "no closed true REPLACING false false id replacing -"),
        (State::Rebuilding, "yes open true REBUILDING false false whole rebuilding -"),
        (State::Restarting, "yes closed true NORMAL false false whole normal -"),
        (State::Leaving, "yes open true NORMAL true false whole normal leave"),
        (State::Decommissioning, "yes open true DECOMMISSIONING true false whole decommissioning -"),
        (State::DecommissionDone, "no closed false LEFT - - none left -"),
        (State::Draining, "yes closed true NORMAL false false whole normal -"),
        (State::Shutdown, "no closed false shutdown false false whole normal -"),
        (State::Removing, "no closed false REMOVING true true whole removing -"),
        (State::Excluded, "no closed false NORMAL false true whole normal -"),
        (State::Maintenance, "no closed false NORMAL false false whole normal -"),
        (State::Normal, "yes open true NORMAL false false whole normal -"),
    ] {
        cluster.set_state(B, state).await.unwrap();
        let listed = list(&cluster, A).await.contains(&B.to_string());
        let port = match get(&cluster, B, "/").await {
            Ok(answer) if answer.status == 200 => "open",
            Ok(answer) => panic!("{answer:?}"),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => "closed",
            Err(error) => panic!("{error}"),
        };
        let status = row(&scan(&cluster, A, "cluster_status").await, "host_id", &b);
        let topology = row(&scan(&cluster, A, "topology").await, "host_id", &b);
        let peers = scan(&cluster, A, "peers").await;
        let peer = peers.iter().find(|row| cell(row, "host_id") == b);
        let known = match peer {
            None => "none",
            Some(peer) if peer.get("rpc_address").is_some() && peer.get("data_center").is_some() => "whole",
            Some(peer) => {
                assert_eq!(peer.as_object().unwrap().len(), 2, "{peer}");
                "id"
            }
        };
        let seen = [
            if listed { "yes" } else { "no" },
            port,
            cell(&status, "up"),
            cell(&status, "status"),
            cell(&status, "draining"),
            cell(&status, "excluded"),
            known,
            cell(&topology, "node_state"),
            cell(&topology, "topology_request"),
        ];
        assert_eq!(seen.join(" "), want, "{state}");
        assert_eq!(cluster.nodes().iter().find(|node| node.address == B).unwrap().state, state);
    }
    assert_eq!(cluster.set_state([127, 0, 3, 9].into(), State::Normal).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_node_can_start_and_join_in_any_state() {
    let mut spec = spec();
    spec.nodes[1] = spec.nodes[1].clone().state(State::Bootstrapping);
    let cluster = Cluster::start(spec).await.unwrap();
    assert_eq!(list(&cluster, A).await, ["127.0.3.1", "127.0.3.3"]);
    assert_eq!(get(&cluster, B, "/").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    cluster.set_state(B, State::Normal).await.unwrap();
    assert_eq!(list(&cluster, B).await.len(), 3);
    let joining = NodeSpec::new([127, 0, 3, 9], "dc1", "rack1").state(State::Replacing);
    cluster.add_node(&joining).await.unwrap();
    assert_eq!(list(&cluster, A).await.len(), 3);
    cluster.start_node(joining.address).await.unwrap();
    assert_eq!(list(&cluster, A).await.len(), 4, "it has joined");
}

#[tokio::test]
async fn what_a_node_was_doing_goes_on_after_a_crash() {
    let cluster = Cluster::start(spec().failure_detector(Some(Duration::ZERO))).await.unwrap();
    cluster.set_state(B, State::Decommissioning).await.unwrap();
    cluster.stop(B).await.unwrap();
    let b = NodeSpec::new(B, "dc1", "rack1").host_id;
    let status = row(&scan(&cluster, A, "cluster_status").await, "host_id", &b);
    assert_eq!((cell(&status, "status"), cell(&status, "up")), ("DECOMMISSIONING", "false"));
    assert!(!list(&cluster, A).await.contains(&B.to_string()));
    cluster.start_node(B).await.unwrap();
    let status = row(&scan(&cluster, A, "cluster_status").await, "host_id", &b);
    assert_eq!((cell(&status, "status"), cell(&status, "up")), ("DECOMMISSIONING", "true"));
    cluster.stop_gracefully(B).await.unwrap();
    let status = row(&scan(&cluster, A, "cluster_status").await, "host_id", &b);
    assert_eq!((cell(&status, "status"), cell(&status, "up")), ("shutdown", "false"));
}

#[tokio::test]
async fn tables_are_the_view_of_the_node_that_is_asked() {
    let cluster = start().await;
    cluster.partition(&[A], SeenByOthers::Unlisted).unwrap();
    let up = async |node| {
        let rows = scan(&cluster, node, "cluster_status").await;
        let mut up: Vec<String> =
            rows.iter().filter(|row| cell(row, "up") == "true").map(|row| cell(row, "peer").to_owned()).collect();
        up.sort();
        assert_eq!(rows.len(), 4, "nobody is forgotten");
        up
    };
    assert_eq!(up(A).await, ["127.0.3.1"]);
    assert_eq!(up(B).await, ["127.0.3.2", "127.0.3.3", "127.0.3.4"]);
    cluster.heal(A).await.unwrap();
    assert_eq!(up(A).await.len(), 4);
    cluster.inject(A, Fault::Omits(B)).await.unwrap();
    cluster.inject(A, Fault::Adds([127, 0, 3, 77].into())).await.unwrap();
    assert_eq!(up(A).await, ["127.0.3.1", "127.0.3.3", "127.0.3.4", "127.0.3.77"]);
    assert_eq!(up(B).await.len(), 4);
}

#[tokio::test]
async fn old_releases_list_more_and_tell_less() {
    let mut spec = spec().failure_detector(Some(Duration::ZERO));
    spec.nodes[1] = spec.nodes[1].clone().internal([10, 0, 0, 2]);
    let cluster = Cluster::start(spec).await.unwrap();
    cluster.set_state(B, State::Bootstrapping).await.unwrap();
    cluster.stop(C).await.unwrap();
    let tables = ["cluster_status", "peers", "local", "versions", "load_per_node", "topology", "client_routes"];
    for (version, listed, filtered, rack, known) in [
        (Version::V5_4, &["10.0.0.2", "127.0.3.1"][..], 2, false, 4),
        (Version::V6_1, &["127.0.3.1", "127.0.3.3"], 2, false, 5),
        (Version::V2025_1, &["127.0.3.1"], 0, false, 6),
        (Version::V2025_4, &["127.0.3.1"], 0, true, 6),
        (Version::V2026_1, &["127.0.3.1"], 0, true, 7),
    ] {
        cluster.set_version(A, version).unwrap();
        assert_eq!(list(&cluster, A).await, listed, "{version}");
        assert_eq!(get(&cluster, A, "/localnodes?dc=nowhere").await.unwrap().list().len(), filtered, "{version}");
        let status = scan(&cluster, A, "cluster_status").await;
        for column in ["rack", "draining", "excluded"] {
            assert!(status.iter().all(|row| row.get(column).is_some() == rack), "{version} {column}");
        }
        let mut there = 0;
        for table in tables {
            there += usize::from(tables::ask(&cluster, A, "Scan", table).await.status == 200);
        }
        assert_eq!(there, known, "{version}");
        let versions = scan(&cluster, A, "versions").await;
        assert!(cell(&versions[0], "version").starts_with(&version.to_string()), "{versions:?}");
    }
    assert_eq!(list(&cluster, D).await, ["127.0.3.4"], "the others run what they ran");
}

#[tokio::test]
async fn an_old_server_by_fault_has_the_tables_of_one() {
    let cluster = start().await;
    cluster.inject(A, Fault::OldVersion).await.unwrap();
    let status = scan(&cluster, A, "cluster_status").await;
    assert!(status.iter().all(|row| row.get("rack").is_none() && row.get("dc").is_some()));
    assert_eq!(tables::ask(&cluster, A, "Scan", "client_routes").await.status, 400);
}

#[tokio::test]
async fn a_node_is_listed_by_what_clients_know_it_as() {
    let mut spec = spec();
    for (index, name) in ["n1.example", "fe80::1%eth0", "not an address"].into_iter().enumerate() {
        spec.nodes[index] = spec.nodes[index].clone().listed_as(name);
    }
    spec.nodes[3] = spec.nodes[3].clone().without_rpc_address();
    let cluster = Cluster::start(spec).await.unwrap();
    assert_eq!(list(&cluster, A).await, ["fe80::1%eth0", "n1.example", "not an address"]);
    assert_eq!(list(&cluster, D).await, [NodeSpec::new(D, "dc2", "rack1").host_id]);
    let peers = scan(&cluster, A, "peers").await;
    assert_eq!(cell(&row(&peers, "peer", &B.to_string()), "rpc_address"), B.to_string(), "a column of addresses");
    cluster.set_version(A, Version::V5_4).unwrap();
    assert_eq!(list(&cluster, A).await, ["127.0.3.1", "127.0.3.2", "127.0.3.3"], "what nodes call each other");
}

#[tokio::test]
async fn a_node_can_have_an_ipv6_address() {
    let v6 = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
    assert!(!ClusterSpec::has_address([192, 0, 2, 1]), "no machine has it");
    if !ClusterSpec::has_address(v6) {
        return;
    }
    let mut spec = spec();
    spec.nodes.push(NodeSpec::new(v6, "dc1", "rack1").internal([10, 0, 0, 9]));
    let cluster = Cluster::start(spec).await.unwrap();
    assert!(list(&cluster, v6).await.contains(&"::1".to_owned()));
    let peer = row(&scan(&cluster, A, "peers").await, "peer", "10.0.0.9");
    assert_eq!(cell(&peer, "rpc_address"), "::1");
}

#[tokio::test]
async fn a_rolling_upgrade_can_be_played() {
    let mut spec = spec();
    for node in &mut spec.nodes {
        node.version = Version::V6_1;
    }
    let cluster = Cluster::start(spec).await.unwrap();
    let mut filters = Vec::new();
    for node in [B, C, D, A] {
        for state in [State::Draining, State::Shutdown] {
            cluster.set_state(node, state).await.unwrap();
            assert_eq!(get(&cluster, node, "/").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        if node != A {
            let status = scan(&cluster, A, "cluster_status").await;
            let down: Vec<&str> =
                status.iter().filter(|row| cell(row, "up") == "false").map(|row| cell(row, "peer")).collect();
            assert_eq!(down, [node.to_string()]);
        }
        cluster.set_version(node, Version::V2025_4).unwrap();
        cluster.set_state(node, State::Restarting).await.unwrap();
        cluster.set_state(node, State::Normal).await.unwrap();
        let mut knowing = 0;
        for node in [A, B, C, D] {
            knowing += usize::from(get(&cluster, node, "/localnodes?dc=nowhere").await.unwrap().list().is_empty());
        }
        filters.push(knowing);
    }
    assert_eq!(filters, [1, 2, 3, 4], "one node after the other knows what a datacenter is");
}
