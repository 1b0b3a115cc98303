//! What `/localnodes` may hold beside the addresses of nodes that serve.

use alternator_dns::{
    config::{DiscoveryMode, ZoneConfig},
    sim::{BadReply, Endpoint, Fault},
};

use super::{ALL, PLACES, Setting};
use crate::support::eventually;

/// Without tables; places are configured.
fn by_lists(zone: &mut ZoneConfig) {
    zone.cluster.discovery = DiscoveryMode::Localnodes;
    for (_, dc, rack) in PLACES {
        let racks = zone.cluster.datacenters.entry(dc.into()).or_default();
        if !racks.iter().any(|known| **known == *rack) {
            racks.push(rack.into());
        }
    }
}

#[tokio::test]
async fn host_ids_host_names_and_scopes_in_lists_are_no_answer() {
    let play = Setting::of(41).zone(by_lists).node(|node| match node.address.to_string().rsplit('.').next() {
        Some("12") => node.listed_as("n12.example"),
        Some("13") => {
            let scoped = format!("{}%lo", node.address);
            node.listed_as(scoped)
        }
        Some("22") => node.without_rpc_address(),
        _ => node,
    });
    play.each_way(async |site| {
        site.cluster.inject_everywhere(Fault::OddEntries).await.unwrap();
        let known = async || site.server.set("dc2").await;
        let texts = site.texts(&[21, 23]);
        eventually(known, |set| set.iter().eq(texts.iter())).await;
        site.answers("dc2.rack1", &[21]).await;
        site.keeps("dc2", &[21, 23], site.told(&[11, 21])).await;
        site.answers("dc1.rack1", &[11]).await;
        let apex = site.server.set("").await;
        assert!(!apex.contains(&site.node(12).to_string()) && !apex.contains(&site.node(22).to_string()), "{apex:?}");
    })
    .await;
}

#[tokio::test]
async fn in_tables_a_node_without_an_address_for_clients_is_no_answer() {
    let play = Setting::of(42).node(|node| match node.address.to_string().rsplit('.').next() {
        Some("22") => node.without_rpc_address(),
        _ => node,
    });
    play.each_way(async |site| {
        site.cluster.inject_everywhere(Fault::OddEntries).await.unwrap();
        site.answers("", &[11, 12, 13, 21, 23]).await;
        site.answers("dc2.rack1", &[21]).await;
        site.keeps("", &[11, 12, 13, 21, 23], site.told(&[11, 21])).await;
    })
    .await;
}

#[tokio::test]
async fn two_nodes_with_one_address_are_answered_once() {
    let play = Setting::of(43).zone(by_lists).node(|node| match node.address.to_string().rsplit_once('.') {
        Some((net, "12")) => node.listed_as(format!("{net}.11")),
        _ => node,
    });
    play.each_way(async |site| {
        site.answers("dc1.rack1", &[11]).await;
        site.answers("", &[11, 13, 21, 22, 23]).await;
        let load = site.load(&["", "dc1", "dc1.rack1"]);
        site.keeps("dc1.rack1", &[11], site.told(&[11, 21])).await;
        // It fails where an address is there twice.
        assert!(!load.stop().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn empty_lists_and_failing_tables_everywhere_change_nothing() {
    Setting::of(44)
        .each_way(async |site| {
            site.settled().await;
            let load = site.load(&["", "dc1", "dc1.rack1", "dc2", "dc2.rack2"]);
            site.cluster.inject_everywhere(Fault::Reply(Endpoint::Localnodes, BadReply::EmptyList)).await.unwrap();
            site.cluster.inject_everywhere(Fault::Reply(Endpoint::Api, BadReply::Status(503))).await.unwrap();
            site.keeps("", &ALL, site.told(&[11, 21])).await;
            for last in ALL {
                site.cluster.heal(site.node(last)).await.unwrap();
            }
            site.keeps("", &ALL, site.told(&[11, 21])).await;
            load.stop().await;
            site.cluster.add_node(&site.new_node(24, "dc2", "rack2")).await.unwrap();
            site.answers("dc2.rack2", &[23, 24]).await;
        })
        .await;
}
