//! Nodes in every state of their life.

use alternator_dns::sim::State;

use super::{ALL, Setting};

const OTHERS: [u8; 5] = [11, 13, 21, 22, 23];

#[tokio::test]
async fn each_state_decides_whether_a_node_is_answered() {
    let play = Setting::of(1);
    play.each_way(async |site| {
        site.settled().await;
        let failures = site.failures();
        for state in State::ALL {
            site.state(12, state).await;
            if matches!(state, State::Normal | State::Rebuilding) {
                site.keeps("", &ALL, site.told(&[11, 21])).await;
            } else {
                site.answers("", &OTHERS).await;
                site.answers("dc1.rack1", &[11]).await;
                site.state(12, State::Normal).await;
                site.answers("", &ALL).await;
                site.answers("dc1.rack1", &[11, 12]).await;
            }
        }
        site.settled().await;
        assert_eq!(site.failures(), failures);
    })
    .await;
}

#[tokio::test]
async fn a_crashed_node_leaves_although_it_is_listed_and_returns_when_it_serves() {
    let play = Setting::of(2).cluster(|spec| spec.failure_detector(None));
    play.each_way(async |site| {
        site.settled().await;
        site.cluster.stop(site.node(12)).await.unwrap();
        site.answers("dc1.rack1", &[11]).await;
        site.keeps("", &OTHERS, site.told(&[11, 21])).await;
        site.cluster.start_node(site.node(12)).await.unwrap();
        site.settled().await;
    })
    .await;
}

#[tokio::test]
async fn a_node_that_joins_is_answered_no_earlier_than_its_port_is_open() {
    Setting::of(3)
        .each_way(async |site| {
            site.settled().await;
            let new = site.node(24);
            let load = site.load(&["", "dc2"]);
            let joining = site.new_node(24, "dc2", "rack3").state(State::Bootstrapping);
            site.cluster.add_node(&joining).await.unwrap();
            site.read(&[11, 21]).await;
            site.state(24, State::Replacing).await;
            site.read(&[11, 21]).await;
            // Listed from now on, and its port refuses.
            site.state(24, State::Restarting).await;
            site.read(&[11, 21]).await;
            let samples = load.stop().await;
            assert!(samples.len() > 10 && samples.iter().all(|sample| !sample.set.contains(&new)), "{samples:?}");
            site.state(24, State::Normal).await;
            site.answers("dc2.rack3", &[24]).await;
            site.answers("dc2", &[21, 22, 23, 24]).await;
        })
        .await;
}

#[tokio::test]
async fn a_node_that_leaves_is_out_at_once_while_it_serves_and_back_when_that_is_given_up() {
    Setting::of(4)
        .each_way(async |site| {
            site.settled().await;
            let failures = site.failures();
            for state in [State::Leaving, State::Decommissioning] {
                site.state(12, state).await;
                site.answers("dc1.rack1", &[11]).await;
                let probes = || site.cluster.counters(site.node(12)).health;
                let before = probes();
                site.keeps("dc1.rack1", &[11], || probes() > before + 5).await;
                site.state(12, State::Normal).await;
                site.settled().await;
            }
            site.state(12, State::Decommissioning).await;
            site.answers("", &OTHERS).await;
            site.state(12, State::DecommissionDone).await;
            site.keeps("", &OTHERS, site.told(&[11, 21])).await;
            site.cluster.remove_node(site.node(12)).await.unwrap();
            site.keeps("", &OTHERS, site.told(&[11, 21])).await;
            assert_eq!(site.failures(), failures);
        })
        .await;
}

#[tokio::test]
async fn a_cluster_that_is_decommissioned_as_a_whole_is_answered_while_it_serves() {
    Setting::of(5)
        .each_way(async |site| {
            site.settled().await;
            let load = site.load(&["", "dc1", "dc1.rack1", "dc2", "dc2.rack2"]);
            for last in ALL {
                site.state(last, State::Decommissioning).await;
            }
            site.read(&[11, 21]).await;
            site.answers("", &ALL).await;
            site.keeps("", &ALL, site.told(&[11, 21])).await;
            load.stop().await;
            for last in ALL {
                site.state(last, State::Normal).await;
            }
            site.settled().await;
        })
        .await;
}

#[tokio::test]
async fn nodes_without_tokens_are_answered_only_where_no_node_has_any() {
    Setting::of(6)
        .each_way(async |site| {
            site.settled().await;
            let tokens = |lasts: &[u8], tokens| {
                lasts.iter().for_each(|last| site.cluster.set_tokens(site.node(*last), tokens).unwrap());
            };
            tokens(&[12], 0);
            site.answers("dc1.rack1", &[11]).await;
            site.keeps("", &OTHERS, site.told(&[11, 21])).await;
            tokens(&[12], 256);
            site.settled().await;
            let load = site.load(&["", "dc1", "dc1.rack1", "dc2", "dc2.rack2"]);
            tokens(&ALL, 0);
            site.read(&[11, 21]).await;
            site.settled().await;
            site.keeps("", &ALL, site.told(&[11, 21])).await;
            load.stop().await;
        })
        .await;
}
