//! Names that nobody configured.

use std::time::Duration;

use alternator_dns::{
    config::{DiscoveryMode, ZoneConfig},
    server::Outcome,
    sim::{Cluster, NodeSpec},
};
use hickory_proto::rr::RecordType;

use super::{Site, spec, unnamed};
use crate::support::{Http, TestServer, eventually};

#[tokio::test]
async fn from_one_seed_every_datacenter_and_rack_has_its_names() {
    let site = Site::start(1).await;
    site.settled().await;
    for unknown in ["dc3", "dc1.rack3", "rack9.dc1"] {
        assert!(site.server.ask(unknown, RecordType::A).await.is_nxdomain(), "{unknown}");
    }
    assert_eq!(site.goes_by("tables", str::is_empty).await, "");
    let status = site.status().await;
    let told = status.zones[0].nodes[0].told.clone().unwrap();
    assert_eq!((told.state.as_deref(), told.shards, told.host_id.is_some()), (Some("NORMAL"), Some(8), true));
    let metrics = site.http.get("/metrics").await.body;
    let is_told = |line: &str| {
        line.starts_with("alternator_dns_discovery_source{") && line.contains("\"tables\"") && line.ends_with(" 1.0")
    };
    assert!(metrics.lines().any(is_told), "{metrics}");
}

#[tokio::test]
async fn places_get_names_when_they_appear_and_lose_them_long_after_they_are_gone() {
    let site = Site::over(2, spec(2), |zone| zone.cluster.scope_retention = Duration::from_secs(2)).await;
    site.settled().await;
    let new = NodeSpec::new(site.node(31), "dc3", "rack7");
    site.cluster.add_node(&new).await.unwrap();
    site.answers("dc3", &[31]).await;
    site.answers("dc3.rack7", &[31]).await;
    // Dead, it is answered as the last one known: its place is still in the tables.
    site.cluster.stop(site.node(31)).await.unwrap();
    site.answers("", &[11, 12, 13, 14, 21, 22, 23]).await;
    let nxdomains = site.server.count(Outcome::NxDomain);
    tokio::time::sleep(Duration::from_secs(3)).await;
    site.answers("dc3", &[31]).await;
    assert_eq!(site.server.count(Outcome::NxDomain), nxdomains);
    site.cluster.remove_node(site.node(31)).await.unwrap();
    let gone = async || site.server.ask("dc3.rack7", RecordType::A).await.is_nxdomain();
    eventually(gone, |gone| *gone).await;
    eventually(async || site.server.ask("dc3", RecordType::A).await.is_nxdomain(), |gone| *gone).await;
    site.settled().await;
}

#[tokio::test]
async fn names_learnt_outlive_a_restart_while_the_cluster_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(spec(3)).await.unwrap();
    let mut config = unnamed(&cluster, |zone| zone.health.timeout = Duration::from_millis(500));
    config.server.state_dir = Some(dir.path().to_owned());
    let server = TestServer::start(config.clone()).await;
    let http = Http::to(server.app.admin()[0]);
    let site = Site { net: 3, cluster, server, http };
    site.settled().await;
    let written = async || std::fs::read_to_string(dir.path().join("alternator.local.json")).unwrap_or_default();
    let all_serve = |text: &String| text.matches("\"serves\": true").count() == 7 && text.contains("dc2/rack2");
    eventually(written, all_serve).await;
    let Site { cluster, server, .. } = site;
    server.app.stop().await;
    for node in cluster.nodes() {
        cluster.stop(node.address).await.unwrap();
    }
    let server = TestServer::start(config).await;
    let http = Http::to(server.app.admin()[0]);
    let site = Site { net: 3, cluster, server, http };
    site.settled().await;
    for node in site.cluster.nodes() {
        site.cluster.start_node(node.address).await.unwrap();
    }
    site.settled().await;
    site.goes_by("tables", str::is_empty).await;
}

#[tokio::test]
async fn a_node_listed_by_its_host_name_is_answered_where_names_are_resolved() {
    let mut spec = spec(4);
    spec.nodes.push(NodeSpec::new([127, 0, 0, 1], "dc1", "rack1").listed_as("localhost"));
    let by_lists = |zone: &mut ZoneConfig| {
        zone.cluster.discovery = DiscoveryMode::Localnodes;
        zone.cluster.datacenters.insert("dc1".into(), vec!["rack1".into(), "rack2".into()]);
    };
    let site = Site::over(4, spec, by_lists).await;
    site.answers("dc1", &[11, 12, 13, 14]).await;
    let skipped = async || {
        let metrics = site.http.get("/metrics").await.body;
        let line =
            metrics.lines().find(|line| line.starts_with("alternator_dns_skipped_entries_total{")).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok()))
    };
    eventually(skipped, |count| *count > Some(0.0)).await;
    let resolving = TestServer::start(unnamed(&site.cluster, |zone| {
        by_lists(zone);
        zone.cluster.resolve_hostnames = true;
    }))
    .await;
    let answered = || resolving.set("dc1.rack1");
    eventually(answered, |answered| answered.contains("127.0.0.1") && answered.contains("127.72.4.11")).await;
}
