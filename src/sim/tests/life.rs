//! Nodes that start, stop, join, leave and move.

use std::io::ErrorKind;

use super::*;

#[tokio::test]
async fn a_crashed_node_refuses_at_once_and_is_listed_until_it_is_noticed() {
    let timeout = Duration::from_millis(500);
    let cluster = Cluster::start(spec().failure_detector(Some(timeout))).await.unwrap();
    let mut kept = Client::connect(cluster.at(B)).await.unwrap();
    kept.get("/").await.unwrap();
    let stopped = Instant::now();
    cluster.stop(B).await.unwrap();
    assert_eq!(cluster.counters(B).open, 0);
    assert!(kept.get("/").await.is_err(), "the connection is cut");
    assert_eq!(get(&cluster, B, "/").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let first = list(&cluster, A).await;
    assert!(first.len() == 3 || stopped.elapsed() > timeout, "{first:?}");
    eventually("the crash is noticed", async || list(&cluster, A).await == ["127.0.3.1", "127.0.3.3"]).await;
    assert!(stopped.elapsed() >= timeout);

    cluster.start_node(B).await.unwrap();
    assert_eq!(list(&cluster, A).await.len(), 3);
    assert_eq!(list(&cluster, B).await.len(), 3);
    assert_eq!(cluster.counters(B).health, 1, "counters outlive a restart");
}

#[tokio::test]
async fn a_node_that_says_goodbye_leaves_the_lists_at_once() {
    let cluster = start().await;
    cluster.stop_gracefully(B).await.unwrap();
    assert_eq!(list(&cluster, A).await, ["127.0.3.1", "127.0.3.3"]);
    assert_eq!(get(&cluster, B, "/").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_starting_node_is_listed_before_it_serves() {
    let cluster = start().await;
    cluster.stop_gracefully(B).await.unwrap();
    cluster.list_without_serving(B).await.unwrap();
    assert_eq!(list(&cluster, A).await.len(), 3);
    assert_eq!(get(&cluster, B, "/").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    cluster.start_node(B).await.unwrap();
    assert_eq!(get(&cluster, B, "/").await.unwrap().status, 200);
    cluster.start_node(B).await.unwrap();
    assert_eq!(get(&cluster, B, "/").await.unwrap().status, 200, "to start a running node changes nothing");
    cluster.list_without_serving(C).await.unwrap();
    assert_eq!(list(&cluster, A).await.len(), 3);
    assert_eq!(get(&cluster, C, "/").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn nodes_join_move_and_leave() {
    let cluster = start().await;
    let new = NodeSpec::new([127, 0, 3, 9], "dc1", "rack1");
    cluster.add_node(&new).await.unwrap();
    assert_eq!(cluster.add_node(&new).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(list(&cluster, A).await.len(), 4);
    assert_eq!(list(&cluster, new.address).await.len(), 4);
    cluster.move_to_rack(new.address, "rack9").unwrap();
    let rack9 = get(&cluster, A, "/localnodes?rack=rack9").await.unwrap().list();
    assert_eq!(rack9, ["127.0.3.9"]);
    assert!(cluster.nodes().contains(&NodeSpec { rack: "rack9".into(), ..new.clone() }));
    cluster.remove_node(new.address).await.unwrap();
    assert_eq!(list(&cluster, A).await.len(), 3);
    assert_eq!(get(&cluster, new.address, "/").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    for error in [
        cluster.remove_node(new.address).await,
        cluster.stop(new.address).await,
        cluster.start_node(new.address).await,
        cluster.heal(new.address).await,
        cluster.move_to_rack(new.address, "r"),
        cluster.partition(&[A, new.address], SeenByOthers::Listed),
    ] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn a_dropped_cluster_is_gone() {
    let cluster = start().await;
    let at = cluster.at(A);
    let mut kept = Client::connect(at).await.unwrap();
    kept.get("/").await.unwrap();
    drop(cluster);
    eventually("the connection is cut", async || kept.get("/").await.is_err()).await;
    eventually("the port is closed", async || Client::connect(at).await.is_err()).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let cluster = start().await;
    let error = Cluster::start(spec().port(cluster.port())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&cluster.at(A).to_string()), "{error}");
    cluster.stop(A).await.unwrap();
    let only_a = ClusterSpec::new(vec![NodeSpec::new(A, "dc1", "rack1")]);
    let error = Cluster::start(only_a.port(cluster.port())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse, "a stopped node keeps its port: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_with_the_same_addresses_run_side_by_side() {
    let spec = Cluster::demo_spec(ClusterSpec::has_ipv6());
    let starting: Vec<_> = (0..4).map(|_| tokio::spawn(Cluster::start(spec.clone()))).collect();
    for cluster in starting {
        let cluster = cluster.await.unwrap().unwrap();
        for node in cluster.nodes() {
            let same = spec.nodes.iter().filter(|other| other.datacenter == node.datacenter).count();
            assert_eq!(list(&cluster, node.address).await.len(), same);
        }
    }
}
