//! `alternator-dns compare`: whether several servers tell the same.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Output},
    time::Duration,
};

use alternator_dns::{config::ZoneConfig, sim::Cluster};
use serde_json::Value;

use crate::support::{PROGRAM, TestServer, cluster, ip, steady};

/// A server that is told who it is.
async fn server(cluster: &Cluster, identity: &str, change: impl FnOnce(&mut ZoneConfig)) -> TestServer {
    let mut config = TestServer::config(&TestServer::zone(cluster, change));
    config.server.identity = Some(identity.to_owned());
    TestServer::start(config).await
}

/// Runs it in an empty folder: its exit status, what it printed, and what it said besides.
async fn compare(arguments: &[&str]) -> (i32, String, String) {
    compare_beside("zones.toml", arguments).await
}

/// In a folder with a configuration of this name.
async fn compare_beside(file: &str, arguments: &[&str]) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let config = "[zones.\"alternator.local\".cluster]\nseeds = [\"192.0.2.1\"]\n\
                  [zones.\"alternator.local\".cluster.datacenters]\ndc1 = [\"rack1\", \"rack2\"]\n";
    fs::write(dir.path().join(file), config).unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("compare").args(arguments).current_dir(dir.path()).env("NO_COLOR", "1");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let Output { status, stdout, stderr } = output;
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The same of two servers.
async fn compare_two(servers: [SocketAddr; 2], more: &[&str]) -> (i32, String) {
    let hosts = servers.map(|address| address.to_string());
    let (code, out, err) = compare(&[&[hosts[0].as_str(), hosts[1].as_str()], more].concat()).await;
    if more.contains(&"--config") {
        assert!(err.is_empty(), "{err}");
    } else {
        assert!(err.ends_with("only the zone's own name is compared\n") && err.lines().count() == 1, "{err}");
    }
    (code, out)
}

#[tokio::test]
async fn servers_over_one_cluster_agree_though_their_epochs_do_not() {
    let nodes = ["dc1/rack1 127.62.1.1", "dc1/rack2 127.62.1.2"];
    let cluster = cluster(&nodes).await;
    let (first, second) = (server(&cluster, "one", steady).await, server(&cluster, "two", steady).await);
    for server in [&first, &second] {
        server.answers("", &["127.62.1.1", "127.62.1.2"]).await;
        server.answers("dc1.rack2", &["127.62.1.2"]).await;
    }
    let servers = [first.address, second.address];
    let (code, text) = compare_two(servers, &["--config", "zones.toml"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("identity one; epoch ") && text.contains("identity two; epoch "), "{text}");
    assert!(text.contains("2 instances agree on ") && !text.contains("differs"), "{text}");

    // One that is found is as good, also for a zone that is named.
    let hosts = servers.map(|address| address.to_string());
    let beside = compare_beside("alternator-dns.toml", &[&hosts[0], &hosts[1], "--zone", "alternator.local"]).await;
    assert_eq!((beside.0, beside.1.lines().last(), beside.2.as_str()), (0, text.lines().last(), ""), "{}", beside.1);

    let (code, text) = compare_two(servers, &["--config", "zones.toml", "--json"]).await;
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["agree"]), (0, &Value::Bool(true)), "{text}");
    let zone = &json["zones"][0];
    assert_eq!(
        (zone["name"].as_str(), zone["instances"][1]["state"]["identity"].as_str()),
        (Some("alternator.local"), Some("two"))
    );
    for instance in zone["instances"].as_array().unwrap() {
        let state = &instance["state"];
        assert_eq!(state["epoch"], state["zone_version"], "{text}");
        // The clock of epochs is the one ages are told by.
        assert!(state["age_seconds"].as_f64().unwrap() < 120.0, "{text}");
    }
    // Every spelling of every scope of the configuration, and each with its own nodes.
    let names = zone["names"].as_array().unwrap();
    let nodes = |name: &str| {
        let of = names.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("{name} in {text}"));
        of["views"][0]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let port = cluster.port();
    assert_eq!(nodes("alternator.local"), [format!("127.62.1.1:{port}"), format!("127.62.1.2:{port}")]);
    assert_eq!(nodes("dc1.rack2.alternator.local"), [format!("127.62.1.2:{port}")]);
    assert_eq!(nodes("dc1--rack1.alternator.local"), [format!("127.62.1.1:{port}")]);
}

#[tokio::test]
async fn what_differs_is_told_with_the_nodes_that_are_missing() {
    let whole = cluster(&["dc1/rack1 127.62.2.1", "dc1/rack2 127.62.2.2"]).await;
    let part = cluster(&["dc1/rack1 127.62.2.3"]).await;
    let (first, second) = (server(&whole, "one", steady).await, server(&part, "two", steady).await);
    first.answers("", &["127.62.2.1", "127.62.2.2"]).await;
    second.answers("", &["127.62.2.3"]).await;
    let (code, text) = compare_two([first.address, second.address], &["--zone", "alternator.local"]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("alternator.local differs") && text.contains("they differ in 1 of 1 name"), "{text}");
    let second_line = text.lines().find(|line| line.contains(" without ") && line.contains("127.62.2.2:")).unwrap();
    assert!(second_line.contains(&second.address.to_string()) && second_line.contains("1 node without"), "{text}");
}

#[tokio::test]
async fn who_falls_back_and_who_is_silent_is_told() {
    let cluster = cluster(&["dc1/rack1 127.62.3.1", "dc1/rack2 127.62.3.2"]).await;
    let (first, second) = (server(&cluster, "one", |_| {}).await, server(&cluster, "two", |_| {}).await);
    cluster.stop(ip("127.62.3.2")).await.unwrap();
    for server in [&first, &second] {
        server.answers("dc1.rack2", &["127.62.3.1"]).await;
    }
    let servers = [first.address, second.address];
    let (code, text) = compare_two(servers, &["--config", "zones.toml", "--zone", "alternator.local"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("names falling back"), "{text}");

    // Nobody is at this address.
    let (code, text) =
        compare_two([first.address, "127.62.3.9:5353".parse().unwrap()], &["--zone", "alternator.local"]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("127.62.3.9:5353  silent: connection refused"), "{text}");
    assert!(text.contains("1 of 2 instances silent"), "{text}");
}

#[tokio::test]
async fn a_change_that_is_on_its_way_is_no_difference() {
    let cluster = cluster(&["dc1/rack1 127.62.4.1", "dc1/rack1 127.62.4.2"]).await;
    let slow = |zone: &mut ZoneConfig| zone.health.interval = Duration::from_millis(400);
    let (first, second) = (server(&cluster, "one", |_| {}).await, server(&cluster, "two", slow).await);
    for server in [&first, &second] {
        server.answers("", &["127.62.4.1", "127.62.4.2"]).await;
    }
    cluster.stop(ip("127.62.4.2")).await.unwrap();
    first.answers("", &["127.62.4.1"]).await;
    let (code, text) = compare_two([first.address, second.address], &["--zone", "alternator.local"]).await;
    assert_eq!(code, 0, "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_have_the_zone_is_told() {
    let cluster = cluster(&["dc1/rack1 127.62.5.1"]).await;
    let (first, other) = (server(&cluster, "one", steady).await, TestServer::of_file(OTHER, |_| {}).await);
    first.answers("", &["127.62.5.1"]).await;
    let (code, text) = compare_two([first.address, other.address], &["--zone", "elsewhere.test"]).await;
    assert_eq!(code, 1, "both refuse it: {text}");
    assert!(text.contains("answers REFUSED") && text.ends_with("no instance serves elsewhere.test\n"), "{text}");
    let (code, text) = compare_two([first.address, other.address], &["--zone", "alternator.local"]).await;
    assert_eq!(code, 1, "{text}");
}

/// `alternator.local` without a cluster.
const OTHER: &str = "@ 60 IN SOA ns1 hostmaster 1 3600 600 604800 5\n@ 60 IN NS ns1\nns1 60 IN A 127.0.0.1\n";

#[tokio::test]
async fn wrong_usage_is_told() {
    for (arguments, told) in [
        (&["192.0.2.1", "--zone", "z.test"][..], "name two or more"),
        (&["192.0.2.1", "192.0.2.2"], "no zone"),
        (&["192.0.2.1", "192.0.2.2:dns", "--zone", "z.test"], "dns is no port"),
        (&["192.0.2.1", "192.0.2.2", "--zone", "a..b"], "--zone a..b"),
        (&["192.0.2.1", "192.0.2.2", "--config", "missing.toml"], "missing.toml"),
    ] {
        let (code, out, err) = compare(arguments).await;
        assert_eq!(code, 2, "{arguments:?}: {out}{err}");
        assert!(err.contains(told) && out.is_empty(), "{arguments:?}: {out}{err}");
    }
}
