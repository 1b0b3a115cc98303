//! Tables that may not be read any more, that lie, or that see one side of a cluster only.

use alternator_dns::sim::{BadReply, Endpoint, Fault, SeenByOthers, State};

use super::{ALL, Setting};

#[tokio::test]
async fn tables_forbidden_in_the_middle_cost_no_name_and_are_read_again_when_allowed() {
    Setting::of(31)
        .each_way(async |site| {
            site.settled().await;
            let load = site.load(&["", "dc1", "dc1.rack2", "dc2", "dc2.rack1", "dc2.rack2"]);
            site.forbid();
            site.keeps("", &ALL, site.told(&[11, 21])).await;
            // By lists, in every place that the tables told of.
            site.cluster.stop_gracefully(site.node(22)).await.unwrap();
            site.answers("dc2.rack1", &[21]).await;
            site.cluster.start_node(site.node(22)).await.unwrap();
            site.settled().await;
            site.cluster.add_node(&site.new_node(24, "dc2", "rack2")).await.unwrap();
            site.answers("dc2.rack2", &[23, 24]).await;
            site.allow();
            // Lists do not tell of this.
            site.state(24, State::Decommissioning).await;
            site.answers("dc2.rack2", &[23]).await;
            site.cluster.remove_node(site.node(24)).await.unwrap();
            site.settled().await;
            load.stop().await;
        })
        .await;
}

#[tokio::test]
async fn one_node_whose_tables_lie_or_fail_changes_nothing() {
    Setting::of(32)
        .each_way(async |site| {
            site.settled().await;
            for fault in [
                Fault::Adds(site.node(39)),
                Fault::Omits(site.node(13)),
                Fault::OddEntries,
                Fault::JsonBooleans,
                Fault::Reply(Endpoint::Api, BadReply::Garbage),
                Fault::Reply(Endpoint::Api, BadReply::Status(500)),
            ] {
                site.cluster.inject(site.node(12), fault).await.unwrap();
                site.keeps("", &ALL, site.told(&[12])).await;
                site.cluster.heal(site.node(12)).await.unwrap();
            }
        })
        .await;
}

#[tokio::test]
async fn a_node_that_is_cut_off_takes_nobody_else_away() {
    Setting::of(33)
        .each_way(async |site| {
            site.settled().await;
            let cut = [site.node(12)];
            site.cluster.partition(&cut, SeenByOthers::Listed).unwrap();
            site.keeps("", &ALL, site.told(&[11, 21])).await;
            site.cluster.heal(cut[0]).await.unwrap();
            site.cluster.partition(&cut, SeenByOthers::Unlisted).unwrap();
            site.answers("dc1.rack1", &[11]).await;
            site.keeps("", &[11, 13, 21, 22, 23], site.told(&[11, 21])).await;
            site.cluster.heal(cut[0]).await.unwrap();
            site.settled().await;
        })
        .await;
}
