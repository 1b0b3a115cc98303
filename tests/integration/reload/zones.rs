//! Zones that come, change and go while others are served; in this process.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use alternator_dns::{
    app::StartError,
    config::{Answers, Config, ScopeRule, Seed, ZoneConfig},
    model::{Access, Denied, Scope},
    reload::Applied,
    table::CompiledZone,
};
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};

use crate::support::{Dig, Load, Reply, Sample, TestServer, ZONE, cluster, eventually, ip, set};

/// A zone of a file with one address at `www`.
fn of_file(folder: &Path, apex: &str, address: &str) -> ZoneConfig {
    let mut zone = ZoneConfig::new(Name::from_ascii(format!("{apex}.")).unwrap());
    zone.file = Some(write(folder, apex, &format!("$TTL 60\nwww A {address}\n")));
    zone
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// The configuration of a server with these zones instead.
fn with(server: &TestServer, zones: &[ZoneConfig]) -> Config {
    Config { zones: zones.to_vec(), ..server.app.config().clone() }
}

async fn www(server: &TestServer, apex: &str) -> Reply {
    Dig::new(server.address, &format!("www.{apex}"), RecordType::A).ask().await
}

fn compiled(server: &TestServer, apex: &str) -> Arc<CompiledZone> {
    let table = server.app.table();
    table.zones().find(|zone| zone.source.config.name() == apex).unwrap().clone()
}

fn changed(changes: &[&str]) -> Applied {
    Applied { changes: changes.iter().map(|text| (*text).to_owned()).collect(), at_restart: Vec::new() }
}

#[tokio::test]
async fn a_zone_is_added_changed_deleted_and_added_again_and_the_others_are_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let first = of_file(folder.path(), "first.test", "192.0.2.1");
    let mut server = TestServer::start(TestServer::config(&first)).await;
    let kept = compiled(&server, "first.test");
    assert_eq!(www(&server, "second.test").await.rcode(), ResponseCode::Refused);

    let second = of_file(folder.path(), "second.test", "192.0.2.2");
    let both = with(&server, &[second.clone(), first.clone()]);
    assert_eq!(server.app.reload(&both).await.unwrap(), changed(&["zone second.test added"]));
    assert_eq!(www(&server, "second.test").await.set(), set(&["192.0.2.2"]), "served once the reload is over");
    let serial = compiled(&server, "second.test").epoch;

    // Another record.
    of_file(folder.path(), "second.test", "192.0.2.3");
    assert_eq!(server.app.reload(&both).await.unwrap(), changed(&["zone second.test: records"]));
    assert_eq!(www(&server, "second.test").await.set(), set(&["192.0.2.3"]));
    assert!(compiled(&server, "second.test").epoch > serial, "the serial grows");

    let alone = with(&server, std::slice::from_ref(&first));
    assert_eq!(server.app.reload(&alone).await.unwrap(), changed(&["zone second.test removed"]));
    assert_eq!(www(&server, "second.test").await.rcode(), ResponseCode::Refused);
    assert_eq!(server.app.sight().zones.load().len(), 1);

    let serial = compiled(&server, "first.test").epoch;
    assert_eq!(server.app.reload(&both).await.unwrap(), changed(&["zone second.test added"]));
    assert_eq!(www(&server, "second.test").await.set(), set(&["192.0.2.3"]));
    assert_eq!(www(&server, "first.test").await.set(), set(&["192.0.2.1"]));
    assert!(Arc::ptr_eq(&compiled(&server, "first.test"), &kept), "never touched, serial {serial}");
}

#[tokio::test]
async fn a_reload_without_effect_swaps_nothing_and_says_so() {
    let nodes = cluster(&["dc1/rack1 127.31.1.1", "dc1/rack1 127.31.1.2"]).await;
    let mut server = TestServer::over(&nodes, |_| {}).await;
    server.answers("", &["127.31.1.1", "127.31.1.2"]).await;
    let same = server.app.config().clone();
    let (table, swaps) = (server.app.table(), server.app.sight().compiles.swaps());
    for _ in 0..20 {
        let applied = server.app.reload(&same).await.unwrap();
        assert_eq!((applied.to_string().as_str(), applied), ("nothing changed", Applied::default()));
    }
    assert!(Arc::ptr_eq(&table, &server.app.table()));
    assert_eq!(server.app.sight().compiles.swaps(), swaps);
    // What takes a restart is said each time, as long as it differs.
    let mut other = same.clone();
    other.server.workers = 3;
    for _ in 0..2 {
        let told = server.app.reload(&other).await.unwrap().to_string();
        assert_eq!(told, "nothing changed; takes effect at the next restart: server.workers");
    }
}

#[tokio::test]
async fn where_anything_is_wrong_nothing_changes_and_everything_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let first = of_file(folder.path(), "first.test", "192.0.2.1");
    let mut server = TestServer::start(TestServer::config(&first)).await;
    let table = server.app.table();
    let mut second = of_file(folder.path(), "second.test", "192.0.2.2");
    second.file = Some(write(folder.path(), "second.test", "$TTL 60\nwww A 192.0.2.2\nwww A 192.0.2\n"));
    let mut third = of_file(folder.path(), "third.test", "192.0.2.3");
    third.file = Some(folder.path().join("nowhere"));
    of_file(folder.path(), "first.test", "192.0.2.9");
    let mut config = with(&server, &[first, second, third]);
    config.server.tls.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.server.tls.certificate = Some(folder.path().join("no-chain.pem"));
    config.server.tls.key = Some(folder.path().join("no-key.pem"));
    let Err(error @ StartError::Zones(_)) = server.app.reload(&config).await else { panic!("it is taken") };
    let told = error.to_string();
    for expected in ["second.test:3: ", "nowhere: ", "no-chain.pem"] {
        assert!(told.contains(expected), "{expected} in {told}");
    }
    assert!(Arc::ptr_eq(&table, &server.app.table()));
    assert_eq!(www(&server, "first.test").await.set(), set(&["192.0.2.1"]));
    assert_eq!(www(&server, "second.test").await.rcode(), ResponseCode::Refused);
}

/// All sets answered meanwhile, without a pause.
async fn meanwhile(server: &mut TestServer, work: impl AsyncFnOnce(&mut TestServer)) -> Vec<Sample> {
    let load = Load::start(server.address, &[ZONE], 500);
    work(server).await;
    load.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_intervals_cost_no_node_its_place_and_revive_none() {
    let nodes =
        cluster(&["dc1/rack1 127.31.2.1", "dc1/rack1 127.31.2.2", "dc1/rack2 127.31.2.3", "dc1/rack2 127.31.2.4"])
            .await;
    nodes.list_without_serving(ip("127.31.2.4")).await.unwrap();
    // No probe times out because the machine is busy.
    let mut server = TestServer::over(&nodes, |zone| zone.health.timeout = Duration::from_secs(5)).await;
    server.answers("", &["127.31.2.1", "127.31.2.2", "127.31.2.3"]).await;
    let since = |server: &TestServer| server.app.sight().zones.load()[0].health.borrow().of(ip("127.31.2.1")).since;
    let up_since = since(&server);
    let base = server.app.config().clone();
    let samples = meanwhile(&mut server, async |server| {
        for round in 1..=20 {
            let mut config = base.clone();
            let zone = &mut config.zones[0];
            zone.health.interval = Duration::from_millis(100 + round);
            zone.cluster.active_interval = Duration::from_millis(100 + round);
            let applied = server.app.reload(&config).await.unwrap();
            assert_eq!(applied, changed(&[&format!("zone {ZONE}: cluster, health")]));
        }
    })
    .await;
    let alive: BTreeSet<IpAddr> = [1, 2, 3].map(|last| IpAddr::from([127, 31, 2, last])).into();
    assert!(samples.iter().all(|sample| sample.set == alive), "{:?}", samples.iter().find(|one| one.set != alive));
    assert_eq!(since(&server), up_since, "up since the start, not since the reload");
    // The new tasks work: a node that dies is noticed, one that comes is found.
    nodes.stop(ip("127.31.2.3")).await.unwrap();
    nodes.start_node(ip("127.31.2.4")).await.unwrap();
    server.answers("", &["127.31.2.1", "127.31.2.2", "127.31.2.4"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probing_can_be_switched_on_and_off_without_an_empty_answer() {
    let nodes = cluster(&["dc1/rack1 127.31.3.1", "dc1/rack1 127.31.3.2"]).await;
    nodes.list_without_serving(ip("127.31.3.2")).await.unwrap();
    let mut server = TestServer::over(&nodes, |zone| {
        zone.health.enabled = false;
        zone.health.timeout = Duration::from_secs(5);
    })
    .await;
    server.answers("", &["127.31.3.1", "127.31.3.2"]).await;
    let mut probing = server.app.config().clone();
    let listing = probing.clone();
    probing.zones[0].health.enabled = true;
    let samples = meanwhile(&mut server, async |server| {
        server.app.reload(&probing).await.unwrap();
        server.answers("", &["127.31.3.1"]).await;
        server.app.reload(&listing).await.unwrap();
        server.answers("", &["127.31.3.1", "127.31.3.2"]).await;
    })
    .await;
    assert!(samples.iter().all(|sample| sample.set.contains(&ip("127.31.3.1"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_moves_to_another_cluster_without_a_pause() {
    let old = cluster(&["dc1/rack1 127.31.4.1", "dc1/rack1 127.31.4.2"]).await;
    let new = cluster(&["dc1/rack1 127.31.5.1", "dc1/rack1 127.31.5.2"]).await;
    let mut server = TestServer::over(&old, |zone| zone.health.timeout = Duration::from_secs(5)).await;
    server.answers("", &["127.31.4.1", "127.31.4.2"]).await;
    let moved = TestServer::zone(&new, |_| {});
    let config = with(&server, &[moved]);
    let samples = meanwhile(&mut server, async |server| {
        server.app.reload(&config).await.unwrap();
        server.answers("", &["127.31.5.1", "127.31.5.2"]).await;
    })
    .await;
    // A load generator that sees an error or an empty answer fails; and clusters are never mixed.
    let of_old = |address: &IpAddr| address.to_string().starts_with("127.31.4.");
    for Sample { set, .. } in &samples {
        assert!(set.iter().all(of_old) || !set.iter().any(of_old), "{set:?}");
    }
    // Back, by a seed that is known: the others of its cluster are found again.
    let mut back = TestServer::zone(&old, |_| {});
    back.cluster.seeds = vec![Seed::Address(ip("127.31.4.2"))];
    let config = with(&server, &[back]);
    server.app.reload(&config).await.unwrap();
    server.answers("", &["127.31.4.1", "127.31.4.2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_answers_need_no_other_tasks() {
    let nodes = cluster(&["dc1/rack1 127.31.6.1", "dc1/rack2 127.31.6.2"]).await;
    let mut server = TestServer::over(&nodes, |_| {}).await;
    server.answers("", &["127.31.6.1", "127.31.6.2"]).await;
    let topology = server.app.sight().zones.load()[0].topology.clone();
    let mut config = server.app.config().clone();
    let zone = &mut config.zones[0];
    zone.ttl = Duration::from_secs(17);
    zone.answers = Answers::Count(1.try_into().unwrap());
    zone.scopes
        .push(ScopeRule { label: Some("second".into()), chain: vec![Scope::Rack("dc1".into(), "rack2".into())] });
    let applied = server.app.reload(&config).await.unwrap();
    assert_eq!(applied, changed(&[&format!("zone {ZONE}: ttl, answers, scopes")]));
    let reply = server.ask("", RecordType::A).await;
    assert_eq!((reply.ttl(), reply.answers().len()), (17, 1));
    assert_eq!(server.set("second").await, set(&["127.31.6.2"]));
    assert!(server.app.sight().zones.load()[0].topology.same_channel(&topology), "the same poller");
    // And who may ask.
    config.zones[0].access = Access::new(&["10.0.0.0/8".parse().unwrap()], &[], Denied::Refuse).unwrap();
    server.app.reload(&config).await.unwrap();
    assert_eq!(server.ask("", RecordType::A).await.rcode(), ResponseCode::Refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_comes_back_goes_on_from_its_state_file() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = cluster(&["dc1/rack1 127.31.7.1", "dc1/rack1 127.31.7.2"]).await;
    let mut config = TestServer::config(&TestServer::zone(&nodes, |_| {}));
    config.server.state_dir = Some(dir.path().to_owned());
    let other = of_file(dir.path(), "other.test", "192.0.2.1");
    config.zones.push(other.clone());
    let mut server = TestServer::start(config).await;
    server.answers("", &["127.31.7.1", "127.31.7.2"]).await;
    let file = dir.path().join(format!("{ZONE}.json"));
    eventually(async || file.exists(), |exists| *exists).await;
    let (all, epoch) = (server.app.config().clone(), compiled(&server, ZONE).epoch);
    for node in nodes.nodes() {
        nodes.stop(node.address).await.unwrap();
    }
    let without = with(&server, &[other]);
    server.app.reload(&without).await.unwrap();
    // What its writer was about to write it still writes.
    server.app.reload(&all).await.unwrap();
    eventually(async || server.ask("", RecordType::A).await.answers().len(), |answers| *answers == 2).await;
    assert!(compiled(&server, ZONE).epoch > epoch);
    // Another folder takes a restart: all that is in it moves together.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut moved = all.clone();
    moved.server.state_dir = Some(elsewhere.path().to_owned());
    let applied = server.app.reload(&moved).await.unwrap();
    assert_eq!((applied.changes.as_slice(), applied.at_restart.as_slice()), (&[][..], &["server.state_dir"][..]));
    assert_eq!(server.app.config().server.state_dir.as_deref(), Some(dir.path()));
}
