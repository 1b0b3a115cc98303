//! Files that change while everything is served.

use std::fs;

use super::{cluster, told_of, zone};
use crate::support::{Authority, TestServer, asked, eventually, ip};

/// What was noted of nodes that went down or left.
fn departures(server: &TestServer) -> Vec<String> {
    let changes = server.app.sight().journal.since(0);
    let texts = changes.iter().map(|change| format!("{} {}", change.subject, change.text));
    texts.filter(|text| text.contains(" is down") || text.contains(" left")).collect()
}

#[tokio::test]
async fn authority_and_certificates_are_exchanged_and_no_node_goes_down() {
    let (folder, nodes) = (tempfile::tempdir().unwrap(), ["127.23.10.1", "127.23.10.2", "127.23.10.3"]);
    let (old, new) = (Authority::new("the old one"), Authority::new("the new one"));
    let cluster = cluster(&nodes.map(|node| (node, old.issue(&[node]).tls()))).await;
    let zone = zone(&cluster, |zone| zone.cluster.tls.ca_file = Some(old.write(folder.path())));
    let mut server = TestServer::start(TestServer::config(&zone)).await;
    let config = server.app.config().clone();
    server.answers("", &nodes).await;
    let keeps = async |server: &TestServer| {
        server.keeps_answering("", &nodes, asked(&cluster, &nodes, 5)).await;
        assert_eq!(departures(server), Vec::<String>::new());
    };
    let certificates = ["zone alternator.local: certificates"];
    assert!(server.app.reload(&config).await.unwrap().changes.is_empty(), "the same files again");
    // First both are believed, then the nodes change, then the old one is believed no more.
    fs::write(folder.path().join("ca.pem"), old.pem.clone() + &new.pem).unwrap();
    assert_eq!(server.app.reload(&config).await.unwrap().changes, certificates);
    keeps(&server).await;
    for node in nodes {
        cluster.set_tls(ip(node), Some(new.issue(&[node]).tls())).unwrap();
        keeps(&server).await;
    }
    new.write(folder.path());
    assert_eq!(server.app.reload(&config).await.unwrap().changes, certificates);
    keeps(&server).await;
}

#[tokio::test]
async fn certificates_that_come_before_their_authority_cost_no_answer() {
    let (folder, nodes) = (tempfile::tempdir().unwrap(), ["127.23.11.1", "127.23.11.2"]);
    let (old, new) = (Authority::new("the old one"), Authority::new("the new one"));
    let cluster = cluster(&nodes.map(|node| (node, old.issue(&[node]).tls()))).await;
    let zone = zone(&cluster, |zone| zone.cluster.tls.ca_file = Some(old.write(folder.path())));
    let mut server = TestServer::start(TestServer::config(&zone)).await;
    let config = server.app.config().clone();
    server.answers("", &nodes).await;
    for node in nodes {
        cluster.set_tls(ip(node), Some(new.issue(&[node]).tls())).unwrap();
    }
    for node in nodes {
        told_of(&server, node, "the certificate comes from no authority in ca_file").await;
    }
    // Nobody is left, so the last that were known are answered.
    server.answers("", &nodes).await;
    // Files that are wrong change nothing.
    fs::write(folder.path().join("ca.pem"), "nonsense").unwrap();
    let error = server.app.reload(&config).await.unwrap_err().to_string();
    assert!(error.contains("zones.\"alternator.local\".cluster.ca_file: there is no certificate in "), "{error}");
    server.answers("", &nodes).await;
    new.write(folder.path());
    server.app.reload(&config).await.unwrap();
    let before = departures(&server);
    eventually(
        || server.explain(""),
        |lines| nodes.iter().all(|node| lines.iter().any(|line| line.contains(node) && line.contains(" up"))),
    )
    .await;
    server.keeps_answering("", &nodes, asked(&cluster, &nodes, 5)).await;
    assert_eq!(departures(&server), before);
}

#[tokio::test]
async fn what_a_file_holds_in_the_end_is_believed_at_once() {
    let (folder, nodes) = (tempfile::tempdir().unwrap(), ["127.23.12.1", "127.23.12.2"]);
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let cluster = cluster(&nodes.map(|node| (node, ours.issue(&[node]).tls()))).await;
    let zone = zone(&cluster, |zone| zone.cluster.tls.ca_file = Some(ours.write(folder.path())));
    let mut server = TestServer::start(TestServer::config(&zone)).await;
    let config = server.app.config().clone();
    server.answers("", &nodes).await;
    let resumed = || async { nodes.map(|node| cluster.counters(ip(node)).handshakes_resumed) };
    eventually(resumed, |nodes| nodes.iter().all(|node| *node > 3)).await;
    // No session outlives the authority it was begun by.
    others.write(folder.path());
    server.app.reload(&config).await.unwrap();
    for node in nodes {
        told_of(&server, node, "the certificate comes from no authority in ca_file").await;
    }
}
