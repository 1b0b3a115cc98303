//! Whom the server believes.

use std::time::SystemTime;

use alternator_dns::{
    admin::Status,
    config::ClientIdentity,
    sim::{ClientCertificates, TlsVersions},
};
use rcgen::date_time_ymd;

use super::{cluster, told_of, zone};
use crate::support::{Authority, TestServer, eventually, ip};

const NODES: [&str; 3] = ["127.23.1.1", "127.23.1.2", "127.23.1.3"];

#[tokio::test]
async fn nodes_of_a_private_authority_are_answered_and_their_sessions_resumed() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    for versions in [TlsVersions::Only12, TlsVersions::Only13] {
        let nodes = NODES.map(|node| (node, authority.issue(&[node]).tls().versions(versions)));
        let cluster = cluster(&nodes).await;
        let zone = zone(&cluster, |zone| zone.cluster.tls.ca_file = Some(authority.write(folder.path())));
        let server = TestServer::start(TestServer::config(&zone)).await;
        server.answers("", &NODES).await;
        let counters = || async { NODES.map(|node| cluster.counters(ip(node))) };
        let counted = eventually(counters, |nodes| nodes.iter().all(|node| node.handshakes_resumed > 20)).await;
        for node in counted {
            // The poller's first and the prober's first, which may run side by side; a busy machine has more of these.
            assert!(node.handshakes_full <= 4 && node.handshakes_failed == 0, "{node:?}");
        }
        let status = Status::of(server.app.sight(), SystemTime::now());
        let tls = status.zones[0].tls.clone().unwrap();
        assert!(tls.starts_with("verified by ") && tls.ends_with("ca.pem for their addresses"), "{tls}");
        assert!(!status.zones[0].unverified);
    }
}

#[tokio::test]
async fn a_node_with_another_name_is_out_and_says_why() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let nodes = ["127.23.2.1", "127.23.2.2", "127.23.2.3"];
    let named = authority.issue(&["other.test", "nodes.test"]).tls();
    let odd = authority.issue(&["n3.internal"]).tls();
    let cluster = cluster(&[(nodes[0], named.clone()), (nodes[1], named.clone()), (nodes[2], odd)]).await;
    let zone = zone(&cluster, |zone| {
        zone.cluster.tls.ca_file = Some(authority.write(folder.path()));
        zone.cluster.tls.server_name = Some("nodes.test".to_owned());
    });
    let server = TestServer::start(TestServer::config(&zone)).await;
    server.answers("", &nodes[..2]).await;
    told_of(&server, nodes[2], "the certificate is not for nodes.test but for n3.internal").await;
    server.answers("", &nodes[..2]).await;
    cluster.set_tls(ip(nodes[2]), Some(named)).unwrap();
    server.answers("", &nodes).await;
}

#[tokio::test]
async fn a_node_whose_certificate_has_ended_is_out_until_it_has_a_new_one() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let nodes = ["127.23.3.1", "127.23.3.2", "127.23.3.3"];
    let good = authority.issue(&nodes).tls();
    let ended = authority.issue_with(&nodes, |params| params.not_after = date_time_ymd(2024, 2, 29)).tls();
    let cluster = cluster(&nodes.map(|node| (node, good.clone()))).await;
    let zone = zone(&cluster, |zone| zone.cluster.tls.ca_file = Some(authority.write(folder.path())));
    let server = TestServer::start(TestServer::config(&zone)).await;
    server.answers("", &nodes).await;
    cluster.set_tls(ip(nodes[1]), Some(ended)).unwrap();
    server.answers("", &[nodes[0], nodes[2]]).await;
    told_of(&server, nodes[1], "the certificate has expired at 2024-02-29T00:00:00Z").await;
    cluster.set_tls(ip(nodes[1]), Some(good)).unwrap();
    server.answers("", &nodes).await;
}

#[tokio::test]
async fn a_node_that_demands_a_certificate_is_out_until_we_have_one() {
    let (folder, authority, clients) =
        (tempfile::tempdir().unwrap(), Authority::new("ours"), Authority::new("clients"));
    let nodes = ["127.23.4.1", "127.23.4.2", "127.23.4.3"];
    let own = authority.issue(&nodes);
    let asking = |asked, versions| own.tls().versions(versions).client_certificates(asked, &clients.pem).unwrap();
    let cluster = cluster(&[
        (nodes[0], asking(ClientCertificates::Optional, TlsVersions::Both)),
        (nodes[1], asking(ClientCertificates::Required, TlsVersions::Only12)),
        (nodes[2], asking(ClientCertificates::Required, TlsVersions::Only13)),
    ])
    .await;
    let zone = zone(&cluster, |zone| zone.cluster.tls.ca_file = Some(authority.write(folder.path())));
    let mut server = TestServer::start(TestServer::config(&zone)).await;
    server.answers("", &nodes[..1]).await;
    for node in &nodes[1..] {
        told_of(&server, node, "client certificate").await;
        told_of(&server, node, "set client_cert and client_key").await;
    }
    let (certificate, key) = clients.issue(&["alternator-dns"]).write(folder.path());
    let mut config = server.app.config().clone();
    config.zones[0].cluster.tls.client = Some(ClientIdentity { certificate, key });
    server.app.reload(&config).await.unwrap();
    server.answers("", &nodes).await;
}

#[tokio::test]
async fn anybody_is_taken_for_a_node_where_nothing_is_verified_and_that_is_told() {
    let nodes = ["127.23.5.1", "127.23.5.2"];
    let odd = Authority::new("nobody's")
        .issue_with(&["elsewhere.test"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    let cluster = cluster(&nodes.map(|node| (node, odd.tls()))).await;
    let zone = zone(&cluster, |zone| zone.cluster.tls.insecure_skip_verify = true);
    let server = TestServer::start(TestServer::config(&zone)).await;
    server.answers("", &nodes).await;
    let status = Status::of(server.app.sight(), SystemTime::now());
    assert!(status.zones[0].unverified);
}
