//! Who may read the tables, and what happens when that changes.

use std::net::IpAddr;

use alternator_dns::{
    config::{Credentials, DiscoveryMode, Secret, ZoneConfig},
    server::Outcome,
    sim::{BadReply, Endpoint, Fault, Role, SeenByOthers, State, Version},
};

use super::{PLACES, Site, spec};
use crate::support::asked;

const TABLES: [&str; 6] = [
    "system.local",
    "system.peers",
    "system.cluster_status",
    "system.topology",
    "system.versions",
    "system.client_routes",
];

fn reader() -> Role {
    TABLES.iter().fold(Role::new("reader", "$6$secret"), |role, table| role.granted(*table))
}

fn credentials(secret: &str) -> impl FnOnce(&mut ZoneConfig) {
    let secret_access_key = Secret::new(secret);
    move |zone| {
        zone.cluster.credentials = Some(Credentials::Pair { access_key_id: "reader".into(), secret_access_key });
    }
}

#[tokio::test]
async fn with_authorization_enforced_the_tables_are_read_by_a_role_with_these_grants() {
    let site = Site::over(21, spec(21).authorization([reader()]), credentials("$6$secret")).await;
    site.settled().await;
    site.goes_by("tables", str::is_empty).await;
    assert!(site.status().await.zones[0].discovery.unread.is_empty());
    site.cluster.set_state(site.node(12), State::Decommissioning).await.unwrap();
    site.answers("dc1.rack1", &[11]).await;
}

#[tokio::test]
async fn a_revoked_grant_leaves_the_names_and_tells_the_reason_until_it_is_given_again() {
    let site = Site::over(22, spec(22).authorization([reader()]), credentials("$6$secret")).await;
    site.settled().await;
    let before = [Outcome::ServFail, Outcome::NxDomain].map(|outcome| site.server.count(outcome));
    site.cluster.revoke("reader", "system.peers").unwrap();
    site.goes_by("localnodes", |reason| reason.contains("GRANT SELECT ON system.peers TO reader")).await;
    site.settled().await;
    // By /localnodes with the names learnt.
    site.cluster.stop_gracefully(site.node(13)).await.unwrap();
    site.answers("dc1.rack2", &[14]).await;
    site.cluster.start_node(site.node(13)).await.unwrap();
    site.settled().await;
    site.cluster.grant("reader", "system.peers").unwrap();
    site.goes_by("tables", str::is_empty).await;
    site.settled().await;
    let after = [Outcome::ServFail, Outcome::NxDomain].map(|outcome| site.server.count(outcome));
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_grant_missing_on_an_optional_table_is_told_and_nothing_else() {
    let role = TABLES[..5].iter().fold(Role::new("reader", "$6$secret"), |role, table| role.granted(*table));
    let site = Site::over(23, spec(23).authorization([role]), credentials("$6$secret")).await;
    site.settled().await;
    site.goes_by("tables", str::is_empty).await;
    let unread = site.status().await.zones[0].discovery.unread.join("; ");
    assert!(unread.contains("GRANT SELECT ON system.client_routes TO reader"), "{unread}");
}

#[tokio::test]
async fn without_credentials_or_with_wrong_ones_the_seeds_datacenter_is_answered_and_the_reason_told() {
    let refused = spec(24).authorization([reader()]);
    let site = Site::over(24, refused.clone(), |_| {}).await;
    site.answers("", &[11, 12, 13, 14]).await;
    site.goes_by("localnodes", |reason| reason.contains("no credentials are configured")).await;
    drop(site);
    let site = Site::over(25, spec(25).authorization([reader()]), credentials("$6$other")).await;
    site.answers("", &[11, 12, 13, 14]).await;
    site.goes_by("localnodes", |reason| reason.contains("secret_access_key is not that of role reader")).await;
    drop(site);
    let site = Site::over(26, spec(26).authorization([reader()]), credentials("$6$secret")).await;
    site.settled().await;
    for (last, ..) in PLACES {
        site.cluster.set_clock(site.node(last), 20 * 60).unwrap();
    }
    site.goes_by("localnodes", |reason| reason.contains("more than 15 minutes")).await;
    site.settled().await;
}

#[tokio::test]
async fn a_reader_that_is_cut_off_or_errs_changes_nothing() {
    let site = Site::start(27).await;
    site.settled().await;
    let observer = site.node(12);
    let stays = async || {
        let name = observer.to_string();
        let all: Vec<String> = PLACES.iter().map(|(last, ..)| site.node(*last).to_string()).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        site.server.keeps_answering("", &all, asked(&site.cluster, &[&name], 8)).await;
    };
    site.cluster.partition(&[observer], SeenByOthers::Listed).unwrap();
    stays().await;
    site.cluster.heal(observer).await.unwrap();
    for fault in [
        Fault::Adds(IpAddr::from([127, 72, 27, 99])),
        Fault::Omits(site.node(11)),
        Fault::JsonBooleans,
        Fault::OddEntries,
        Fault::Reply(Endpoint::Api, BadReply::Garbage),
    ] {
        site.cluster.inject(observer, fault).await.unwrap();
        stays().await;
        site.cluster.heal(observer).await.unwrap();
    }
}

#[tokio::test]
async fn small_pages_are_read_to_the_last() {
    let site = Site::over(28, spec(28).page_rows(2), |_| {}).await;
    site.settled().await;
    site.goes_by("tables", str::is_empty).await;
}

#[tokio::test]
async fn with_system_tables_alone_no_list_is_ever_asked_for() {
    let site = Site::over(29, spec(29), |zone| zone.cluster.discovery = DiscoveryMode::SystemTables).await;
    site.settled().await;
    site.cluster.inject_everywhere(Fault::Reply(Endpoint::Api, BadReply::Status(503))).await.unwrap();
    let stale = async || site.status().await.zones[0].stale;
    crate::support::eventually(stale, |stale| *stale).await;
    site.settled().await;
    for (last, ..) in PLACES {
        site.cluster.heal(site.node(last)).await.unwrap();
    }
    crate::support::eventually(stale, |stale| !*stale).await;
    let lists: u64 = PLACES.iter().map(|(last, ..)| site.cluster.counters(site.node(*last)).localnodes).sum();
    assert_eq!(lists, 0);
}

#[tokio::test]
async fn an_upgrade_from_old_to_new_leaves_no_name_without_an_answer() {
    let site = Site::start(30).await;
    for (last, ..) in PLACES {
        site.cluster.set_version(site.node(last), Version::V2025_1).unwrap();
    }
    site.settled().await;
    let before = [Outcome::ServFail, Outcome::NxDomain].map(|outcome| site.server.count(outcome));
    for (version, (last, dc, rack)) in
        [Version::V2025_4, Version::V2026_1].into_iter().flat_map(|version| PLACES.map(|place| (version, place)))
    {
        let node = site.node(last);
        site.cluster.stop_gracefully(node).await.unwrap();
        let rest: Vec<u8> = PLACES.iter().map(|(last, ..)| *last).filter(|other| *other != last).collect();
        site.answers("", &rest).await;
        site.cluster.set_version(node, version).unwrap();
        site.cluster.start_node(node).await.unwrap();
        site.answers("", &PLACES.map(|(last, ..)| last)).await;
        for name in [dc.to_owned(), format!("{dc}.{rack}")] {
            assert!(!site.server.set(&name).await.is_empty(), "{name}");
        }
    }
    site.settled().await;
    let after = [Outcome::ServFail, Outcome::NxDomain].map(|outcome| site.server.count(outcome));
    assert_eq!(before, after);
}
