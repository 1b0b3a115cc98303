//! Datacenters and racks by name, from one seed.

use std::time::Duration;

use hickory_proto::rr::RecordType;

use super::Setting;
use crate::support::eventually;

#[tokio::test]
async fn one_seed_finds_every_place_and_names_come_and_go_with_the_cluster() {
    let play = Setting::of(11).zone(|zone| zone.cluster.scope_retention = Duration::from_secs(1));
    play.each_way(async |site| {
        site.settled().await;
        let is_unknown = async |name| site.server.ask(name, RecordType::A).await.is_nxdomain();
        for name in ["dc3", "dc3.rack7", "dc1.rack7"] {
            assert!(is_unknown(name).await, "{name}");
        }
        site.cluster.add_node(&site.new_node(31, "dc3", "rack7")).await.unwrap();
        site.answers("dc3", &[31]).await;
        site.answers("rack7.dc3", &[31]).await;
        site.cluster.remove_node(site.node(31)).await.unwrap();
        for name in ["dc3.rack7", "dc3"] {
            eventually(|| is_unknown(name), |gone| *gone).await;
        }
        site.settled().await;
    })
    .await;
}

#[tokio::test]
async fn a_datacenter_is_followed_while_that_of_the_only_seed_is_gone() {
    Setting::of(12)
        .each_way(async |site| {
            site.settled().await;
            for last in [11, 12, 13] {
                site.cluster.stop(site.node(last)).await.unwrap();
            }
            site.answers("", &[21, 22, 23]).await;
            site.cluster.add_node(&site.new_node(24, "dc2", "rack3")).await.unwrap();
            site.answers("dc2", &[21, 22, 23, 24]).await;
            site.answers("dc2.rack3", &[24]).await;
            site.cluster.remove_node(site.node(24)).await.unwrap();
            site.answers("dc2", &[21, 22, 23]).await;
            for last in [11, 12, 13] {
                site.cluster.start_node(site.node(last)).await.unwrap();
            }
            site.settled().await;
        })
        .await;
}

#[tokio::test]
async fn places_whose_names_are_no_host_names_have_labels() {
    let play = Setting::of(13).node(|mut node| {
        if node.datacenter == "dc2" {
            node.datacenter = "AWS_US_EAST_1".into();
            node.rack = node.rack.replace("rack", "rack ");
        }
        node
    });
    play.each_way(async |site| {
        for name in ["aws-us-east-1", "AWS_US_EAST_1", "aws_us_east_1"] {
            site.answers(name, &[21, 22, 23]).await;
        }
        for name in ["aws-us-east-1.rack-1", "rack-1.aws-us-east-1", "aws-us-east-1--rack-1"] {
            site.answers(name, &[21, 22]).await;
        }
        site.answers("aws-us-east-1.rack-2", &[23]).await;
    })
    .await;
}
