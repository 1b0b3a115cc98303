//! Nodes in every state of a ScyllaDB node's life.

use alternator_dns::{
    server::Outcome,
    sim::{NodeSpec, State},
};
use hickory_proto::rr::RecordType;

use super::{PLACES, Site};
use crate::support::{asked, set};

#[tokio::test]
async fn each_state_is_answered_or_not_as_it_should_be() {
    let site = Site::start(11).await;
    site.settled().await;
    let others = [11, 12, 13, 21, 22, 23];
    let all = [11, 12, 13, 14, 21, 22, 23];
    for state in State::ALL {
        let is_answered = matches!(state, State::Normal | State::Rebuilding);
        site.cluster.set_state(site.node(14), state).await.unwrap();
        site.answers("", if is_answered { &all } else { &others }).await;
        site.answers("dc1.rack2", if is_answered { &[13, 14] } else { &[13] }).await;
        site.cluster.set_state(site.node(14), State::Normal).await.unwrap();
        site.cluster.start_node(site.node(14)).await.unwrap();
        site.settled().await;
    }
}

#[tokio::test]
async fn a_decommissioned_node_leaves_at_once_while_it_serves_and_returns_when_that_is_given_up() {
    let site = Site::start(12).await;
    site.settled().await;
    for (state, reason) in [(State::Decommissioning, "leaving: decommissioning"), (State::Leaving, "leaving: draining")]
    {
        site.cluster.set_state(site.node(12), state).await.unwrap();
        site.answers("dc1.rack1", &[11]).await;
        site.verdict(12, "leaving", reason).await;
        let told = site.server.explain("dc1.rack1").await.join("\n");
        assert!(told.contains(reason), "{told}");
        // It serves all the while.
        let health = site.cluster.counters(site.node(12)).health;
        let (node, cluster) = (site.node(12), &site.cluster);
        let first = site.node(11).to_string();
        site.server.keeps_answering("dc1.rack1", &[&first], || cluster.counters(node).health > health + 5).await;
        site.cluster.set_state(site.node(12), State::Normal).await.unwrap();
        site.settled().await;
    }
    site.cluster.set_state(site.node(12), State::Decommissioning).await.unwrap();
    site.answers("dc1.rack1", &[11]).await;
    site.cluster.set_state(site.node(12), State::DecommissionDone).await.unwrap();
    site.server
        .keeps_answering(
            "dc1.rack1",
            &[&site.node(11).to_string()],
            asked(&site.cluster, &[&site.node(11).to_string()], 3),
        )
        .await;
}

#[tokio::test]
async fn a_node_without_tokens_is_not_answered_while_others_have_some() {
    let site = Site::start(13).await;
    site.settled().await;
    site.cluster.set_tokens(site.node(23), 0).unwrap();
    site.answers("dc2", &[21, 22]).await;
    site.verdict(23, "leaving", "leaving: owns no tokens").await;
    site.cluster.set_tokens(site.node(23), 256).unwrap();
    site.settled().await;
}

#[tokio::test]
async fn when_all_nodes_are_leaving_they_are_answered_as_long_as_they_serve() {
    let site = Site::start(14).await;
    site.settled().await;
    let before = [Outcome::ServFail, Outcome::NxDomain].map(|outcome| site.server.count(outcome));
    let all: Vec<String> = PLACES.iter().map(|(last, ..)| site.node(*last).to_string()).collect();
    let all = set(&all.iter().map(String::as_str).collect::<Vec<_>>());
    for (last, ..) in PLACES {
        site.cluster.set_state(site.node(last), State::Decommissioning).await.unwrap();
        assert!(!site.server.set("").await.is_empty());
    }
    for (last, ..) in PLACES {
        site.verdict(last, "leaving", "leaving: decommissioning").await;
    }
    assert_eq!(site.server.set("").await, all);
    let after = [Outcome::ServFail, Outcome::NxDomain].map(|outcome| site.server.count(outcome));
    assert_eq!(before, after);
    for (last, ..) in PLACES {
        site.cluster.set_state(site.node(last), State::Normal).await.unwrap();
    }
    site.settled().await;
}

#[tokio::test]
async fn a_node_that_joins_is_answered_once_it_has() {
    let site = Site::start(15).await;
    site.settled().await;
    let new = NodeSpec::new(site.node(24), "dc2", "rack3");
    site.cluster.add_node(&new).await.unwrap();
    site.cluster.set_state(site.node(24), State::Bootstrapping).await.unwrap();
    site.settled().await;
    site.cluster.set_state(site.node(24), State::Restarting).await.unwrap();
    site.verdict(24, "joining", "joining: connection refused").await;
    site.cluster.set_state(site.node(24), State::Normal).await.unwrap();
    site.answers("dc2.rack3", &[24]).await;
    assert!(site.server.ask("dc2.rack4", RecordType::A).await.is_nxdomain());
}
