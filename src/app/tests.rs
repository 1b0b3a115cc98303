//! What a server begins with.

use std::net::IpAddr;

use hickory_proto::rr::Name;

use super::*;
use crate::{
    config::{DiscoveryMode, Seed, ServerConfig, ZoneConfig},
    model::{Health, Member, Node, Scope, Topology},
    state,
};

/// A zone with this seed; nobody listens there.
fn zone(seed: IpAddr) -> ZoneConfig {
    let mut zone = ZoneConfig::new(Name::from_ascii("z.test.").unwrap());
    zone.cluster.seeds = vec![Seed::Address(seed)];
    zone
}

#[tokio::test]
async fn what_is_remembered_of_another_cluster_is_not_served() {
    let (ours, other) = (IpAddr::from([127, 66, 0, 1]), IpAddr::from([127, 66, 0, 2]));
    let dir = tempfile::tempdir().unwrap();
    let mut topology = Topology::default();
    let node = Node { address: ours, datacenter: None, rack: None };
    topology.members.insert(ours, Member { served_before: true, ..Member::new(node) });
    for (seed, remembered) in [(ours, 1), (other, 0)] {
        state::save(dir.path(), "z.test", &[Seed::Address(ours)], 7, &topology, &Health::default()).unwrap();
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let server = ServerConfig { listen, workers: 1, state_dir: Some(dir.path().into()), ..ServerConfig::default() };
        let app = start(&Config { server, zones: vec![zone(seed)] }).await.unwrap();
        let known: Vec<usize> = app.table().zones().map(|zone| zone.plan.nodes().count()).collect();
        assert_eq!(known, [remembered], "with seed {seed}");
        app.stop().await;
    }
}

#[tokio::test]
async fn a_datacenter_gone_from_the_configuration_is_gone_from_the_names_unless_they_are_learnt() {
    let seed = IpAddr::from([127, 66, 0, 3]);
    let dir = tempfile::tempdir().unwrap();
    let mut topology = Topology::default();
    let node = Node { address: seed, datacenter: Some("old".into()), rack: None };
    topology.members.insert(seed, Member { served_before: true, ..Member::new(node) });
    topology.seen.extend(["old", "new"].map(|name| name.parse::<Scope>().unwrap()));
    for (discovery, expected) in [
        (DiscoveryMode::Localnodes, &["z.test.", "new.z.test."][..]),
        (DiscoveryMode::Auto, &["z.test.", "new.z.test.", "old.z.test."]),
    ] {
        state::save(dir.path(), "z.test", &[Seed::Address(seed)], 7, &topology, &Health::default()).unwrap();
        let mut zone = zone(seed);
        zone.cluster.discovery = discovery;
        zone.cluster.datacenters.insert("new".into(), Vec::new());
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let server = ServerConfig { listen, workers: 1, state_dir: Some(dir.path().into()), ..ServerConfig::default() };
        let app = start(&Config { server, zones: vec![zone] }).await.unwrap();
        let names: Vec<String> =
            app.table().zones().flat_map(|zone| zone.plan.names.names.keys()).map(ToString::to_string).collect();
        assert_eq!(names, expected);
        app.stop().await;
    }
}
