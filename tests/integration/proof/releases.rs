//! Old servers, and clusters in the middle of an upgrade.

use std::{collections::BTreeSet, net::IpAddr};

use alternator_dns::sim::{State, Version};

use super::{ALL, PLACES, Setting};

async fn old_alone(net: u8, version: Version) {
    let play = Setting::of(net).node(move |node| {
        // Before 6.1 clients are told the internal address in lists: these have one for both.
        let internal = node.internal.filter(|_| version >= Version::V6_1);
        alternator_dns::sim::NodeSpec { version, internal, ..node }
    });
    play.each_way(async |site| {
        site.settled().await;
        let failures = site.failures();
        site.cluster.stop(site.node(12)).await.unwrap();
        site.answers("dc1.rack1", &[11]).await;
        site.cluster.start_node(site.node(12)).await.unwrap();
        site.settled().await;
        site.state(22, State::Decommissioning).await;
        site.answers("dc2.rack1", &[21]).await;
        site.keeps("", &[11, 12, 13, 21, 23], site.told(&[11, 21])).await;
        site.state(22, State::Normal).await;
        site.settled().await;
        assert_eq!(site.failures(), failures);
    })
    .await;
}

#[tokio::test]
async fn servers_of_release_5_4_alone() {
    old_alone(21, Version::V5_4).await;
}

#[tokio::test]
async fn servers_of_release_6_1_alone() {
    old_alone(22, Version::V6_1).await;
}

#[tokio::test]
async fn servers_of_release_2025_1_alone() {
    old_alone(23, Version::V2025_1).await;
}

#[tokio::test]
async fn a_rolling_upgrade_loses_no_name_and_no_answer() {
    let play = Setting::of(24).node(|node| node.version(Version::V6_1));
    play.each_way(async |site| {
        site.settled().await;
        let names = ["", "dc1", "dc1.rack1", "dc1.rack2", "dc2", "dc2.rack1", "dc2.rack2"];
        let load = site.load(&names);
        for (last, dc, _) in PLACES {
            let others = |of: &[u8]| of.iter().copied().filter(|other| *other != last).collect::<Vec<_>>();
            site.state(last, State::Draining).await;
            site.state(last, State::Shutdown).await;
            site.answers("", &others(&ALL)).await;
            site.cluster.set_version(site.node(last), Version::V2026_1).unwrap();
            site.state(last, State::Restarting).await;
            let of_dc: &[u8] = if dc == "dc1" { &[11, 12, 13] } else { &[21, 22, 23] };
            site.answers(dc, &others(of_dc)).await;
            site.state(last, State::Normal).await;
            site.answers(dc, of_dc).await;
            site.answers("", &ALL).await;
        }
        site.settled().await;
        let samples = load.stop().await;
        let of = |lasts: &[u8]| -> BTreeSet<IpAddr> { lasts.iter().map(|last| site.node(*last)).collect() };
        let (dc1, dc2) = (of(&[11, 12, 13]), of(&[21, 22, 23]));
        let within = [&of(&ALL), &dc1, &dc1, &dc1, &dc2, &dc2, &dc2];
        assert!(samples.len() > 100, "{}", samples.len());
        for sample in &samples {
            assert!(sample.set.is_subset(within[sample.question]), "{} {sample:?}", names[sample.question]);
        }
        // What only new servers tell is heeded.
        site.state(12, State::Leaving).await;
        site.answers("dc1.rack1", &[11]).await;
    })
    .await;
}

#[tokio::test]
async fn a_cluster_of_two_releases_follows_its_nodes() {
    let play = Setting::of(25).node(|node| {
        let version = if node.rack == "rack1" { Version::V6_1 } else { Version::V2026_1 };
        node.version(version)
    });
    play.each_way(async |site| {
        site.settled().await;
        for last in [11, 13, 22] {
            let dc = if last < 20 { [11, 12, 13] } else { [21, 22, 23] };
            let others: Vec<u8> = dc.into_iter().filter(|other| *other != last).collect();
            site.state(last, State::Decommissioning).await;
            site.answers(if last < 20 { "dc1" } else { "dc2" }, &others).await;
            site.state(last, State::Normal).await;
            site.settled().await;
        }
    })
    .await;
}
