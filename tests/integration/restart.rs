//! What a server remembers over a restart, and what happens when its memory is damaged.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use alternator_dns::{config::Config, sim::Cluster};
use futures_util::future::join_all;
use hickory_proto::rr::{RData, RecordType};

use crate::support::{Dig, Load, PATIENCE, Program, TestServer, ZONE, cluster, eventually, within};

/// How long after a change the state file tells it: two seconds, and time for a slow disk.
const WRITTEN: Duration = Duration::from_secs(5);

fn remembering(cluster: &Cluster, dir: &Path) -> Config {
    let mut config = TestServer::config(&TestServer::zone(cluster, |zone| {
        zone.health.timeout = Duration::from_millis(500);
    }));
    config.server.state_dir = Some(dir.to_owned());
    config
}

async fn serial(server: &TestServer) -> u32 {
    let reply = server.ask("", RecordType::SOA).await;
    let RData::SOA(soa) = &reply.answers()[0].data else { panic!("{reply:?}") };
    soa.serial
}

/// RFC 1982 section 3.2: whether a serial comes after another.
fn is_after(later: u32, earlier: u32) -> bool {
    (1..0x8000_0000).contains(&later.wrapping_sub(earlier))
}

fn state(dir: &Path) -> Option<serde_json::Value> {
    let text = fs::read(dir.join(format!("{ZONE}.json"))).ok()?;
    Some(serde_json::from_slice(&text).expect("a whole state file"))
}

/// The addresses in a state file that are said to serve.
fn serving(dir: &Path) -> Vec<String> {
    let Some(state) = state(dir) else { return Vec::new() };
    let nodes = state["nodes"].as_array().unwrap();
    let serving = nodes.iter().filter(|node| node["serves"] == true);
    serving.map(|node| node["address"].as_str().unwrap().to_owned()).collect()
}

async fn stop_all(cluster: &Cluster) {
    join_all(cluster.nodes().iter().map(|node| cluster.stop(node.address))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_without_a_cluster_answers_the_nodes_that_served() {
    let dir = tempfile::tempdir().unwrap();
    let all = ["127.12.60.1", "127.12.60.2", "127.12.60.3", "127.12.60.4"];
    let cluster = cluster(&[
        "dc1/rack1 127.12.60.1",
        "dc1/rack1 127.12.60.2",
        "dc1/rack2 127.12.60.3",
        "dc2/rack1 127.12.60.4",
        "dc2/rack1 127.12.60.5",
    ])
    .await;
    let dead = "127.12.60.5".parse().unwrap();
    cluster.list_without_serving(dead).await.unwrap();
    let config = remembering(&cluster, dir.path());
    let server = TestServer::start(config.clone()).await;
    server.answers("", &all).await;
    server.answers("dc1.rack2", &all[2..3]).await;
    eventually(|| async { serving(dir.path()) }, |nodes| nodes == &all).await;
    let before = serial(&server).await;
    server.app.stop().await;
    stop_all(&cluster).await;

    let server = TestServer::start(config).await;
    let first = server.ask("", RecordType::A).await;
    assert_eq!((first.set(), first.ttl()), (all.map(str::to_owned).into(), 1), "from the first query on");
    assert_eq!(server.set("dc1.rack1").await, ["127.12.60.1", "127.12.60.2"].map(str::to_owned).into());
    assert_eq!(server.set("dc2").await, ["127.12.60.4".to_owned()].into());
    assert!(is_after(serial(&server).await, before));
    let told = |lines: &[String]| {
        lines.iter().any(|line| line.starts_with("remembered: "))
            && lines.iter().any(|line| line.starts_with("stale: "))
    };
    assert!(told(&server.explain("").await), "{:?}", server.explain("").await);
    // Probes that fail and a discovery that finds nobody change nothing.
    let load = Load::start(server.address, &[ZONE], 200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(told(&server.explain("").await), "{:?}", server.explain("").await);
    assert_eq!(server.ask("", RecordType::A).await.ttl(), 1);
    let samples = load.stop().await;
    assert!(samples.iter().all(|sample| sample.set.len() == 4), "{:?}", samples.last());

    let stale = serial(&server).await;
    for node in cluster.nodes() {
        cluster.start_node(node.address).await.unwrap();
    }
    server.answers("", &["127.12.60.1", "127.12.60.2", "127.12.60.3", "127.12.60.4", "127.12.60.5"]).await;
    let normal = |lines: &Vec<String>| !lines.iter().any(|line| line.contains("remembered") || line.contains("stale"));
    eventually(|| server.explain(""), normal).await;
    assert_eq!(server.ask("", RecordType::A).await.ttl(), 5);
    assert!(is_after(serial(&server).await, stale));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_file_follows_every_change_and_is_never_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["dc1/rack1 127.12.61.1", "dc1/rack1 127.12.61.2", "dc1/rack1 127.12.61.3"]).await;
    let server = TestServer::start(remembering(&cluster, dir.path())).await;
    server.answers("", &["127.12.61.1", "127.12.61.2", "127.12.61.3"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (stopping, path) = (stop.clone(), dir.path().to_owned());
    // `state` panics where the file is there and not whole.
    let reader = std::thread::spawn(move || {
        let mut reads = 0;
        while !stopping.load(Ordering::Relaxed) {
            reads += u32::from(state(&path).is_some());
        }
        reads
    });
    let moving = "127.12.61.3".parse().unwrap();
    let (two, three) = (&["127.12.61.1", "127.12.61.2"][..], &["127.12.61.1", "127.12.61.2", "127.12.61.3"][..]);
    for turn in 0..4 {
        let now = if turn % 2 == 0 { two } else { three };
        if turn % 2 == 0 {
            cluster.stop(moving).await.unwrap();
        } else {
            cluster.start_node(moving).await.unwrap();
        }
        server.answers("", now).await;
        let changed = Instant::now();
        within(WRITTEN, || async { serving(dir.path()) }, |nodes| nodes == now).await;
        println!("written {:?} after the change", changed.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
    assert!(is_after(
        serial(&server).await.wrapping_add(1),
        state(dir.path()).unwrap()["epoch"].as_u64().unwrap() as u32
    ));
    // What happened less than a second before the end is written at the end.
    cluster.stop(moving).await.unwrap();
    server.answers("", two).await;
    server.app.stop().await;
    assert_eq!(serving(dir.path()), two);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_file_that_could_not_be_written_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["dc1/rack1 127.12.62.1"]).await;
    // A file where the folder should be.
    let folder = dir.path().join("state");
    fs::write(&folder, "in the way").unwrap();
    let server = TestServer::start(remembering(&cluster, &folder)).await;
    server.answers("", &["127.12.62.1"]).await;
    // Longer than all changes of the start take: from now on nothing happens in the cluster.
    tokio::time::sleep(Duration::from_secs(2)).await;
    fs::remove_file(&folder).unwrap();
    within(PATIENCE, || async { serving(&folder) }, |nodes| nodes == &["127.12.62.1"]).await;
    server.answers("", &["127.12.62.1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_state_file_whatever_it_holds_keeps_the_program_from_starting() {
    let cluster = cluster(&["dc1/rack1 127.12.63.1"]).await;
    let port = cluster.port().to_string();
    let good = r#"{"format": "alternator-dns state", "version": 1, "zone": "alternator.local", "epoch": 7,
        "nodes": [{"address": "127.12.63.1", "datacenter": null, "rack": null, "serves": true}], "scopes": []}"#;
    let huge = vec![b' '; 9 << 20];
    let cases: [(&str, Option<&[u8]>); 10] = [
        ("empty", Some(b"")),
        ("binary", Some(b"\xff\x00\xfe")),
        ("cut off", Some(&good.as_bytes()[..100])),
        ("nonsense", Some(b"[1, 2, 3]")),
        ("another zone's", Some(&good.replace("alternator.local", "other.example").into_bytes().leak()[..])),
        ("a newer version's", Some(&good.replace("\"version\": 1", "\"version\": 2").into_bytes().leak()[..])),
        ("another format", Some(&good.replace("dns state", "dns zone").into_bytes().leak()[..])),
        ("no address", Some(&good.replace("127.12.63.1", "0.0.0.0").into_bytes().leak()[..])),
        ("too long", Some(&huge)),
        ("a folder", None),
    ];
    for (what, content) in cases {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("alternator.local.json");
        match content {
            Some(content) => fs::write(&file, content).unwrap(),
            None => {
                fs::create_dir(&file).unwrap();
                fs::write(file.join("inside"), "keep me").unwrap();
            }
        }
        let config = dir.path().join("alternator-dns.toml");
        fs::write(&config, format!("[server]\nstate_dir = \"{}\"\n", dir.path().display())).unwrap();
        let config = config.to_str().unwrap();
        let (program, address) =
            Program::serve(&["--config", config, "--zone", ZONE, "--seed", "127.12.63.1", "--port", &port]);
        let dig = Dig::new(address, ZONE, RecordType::A);
        within(PATIENCE, || dig.ask(), |reply| reply.set() == ["127.12.63.1".to_owned()].into()).await;
        within(WRITTEN, || async { file.is_file() && serving(dir.path()) == ["127.12.63.1"] }, |good| *good).await;
        let aside = dir.path().join("alternator.local.json.damaged");
        match content {
            Some(content) => assert!(fs::read(&aside).unwrap() == content, "{what}"),
            None => assert_eq!(fs::read_to_string(aside.join("inside")).unwrap(), "keep me"),
        }
        program.signal("TERM");
        let (status, _, log, _) = program.end().await;
        assert_eq!(status.code(), Some(0), "{what}: {log}");
        let reports: Vec<&str> = log.lines().filter(|line| line.contains("alternator.local.json")).collect();
        assert_eq!(reports.len(), 1, "{what}: {log}");
        assert!(reports[0].contains("set aside as") && reports[0].contains("ERROR"), "{what}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_serial_grows_with_every_change() {
    let cluster = cluster(&["dc1/rack1 127.12.64.1", "dc1/rack1 127.12.64.2"]).await;
    let server = TestServer::over(&cluster, |_| {}).await;
    server.answers("", &["127.12.64.1", "127.12.64.2"]).await;
    let moving = "127.12.64.2".parse().unwrap();
    for _ in 0..3 {
        let before = serial(&server).await;
        cluster.stop(moving).await.unwrap();
        server.answers("", &["127.12.64.1"]).await;
        let between = serial(&server).await;
        assert!(is_after(between, before), "{between} after {before}");
        let negative = server.ask("nobody", RecordType::A).await;
        let RData::SOA(soa) = &negative.message.authorities[0].data else { panic!("{negative:?}") };
        assert!(soa.serial == between || is_after(soa.serial, between), "one serial for all");
        cluster.start_node(moving).await.unwrap();
        server.answers("", &["127.12.64.1", "127.12.64.2"]).await;
        assert!(is_after(serial(&server).await, between));
    }
}

/// Many nodes that are found one after another make many changes within the first second.
async fn serials_over_restarts(net: u8, state_dir: Option<&Path>) {
    let nodes: Vec<String> = (1..=24).map(|last| format!("dc1/rack{} 127.12.{net}.{last}", last % 3)).collect();
    let cluster = cluster(&nodes.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut config = TestServer::config(&TestServer::zone(&cluster, |_| {}));
    config.server.state_dir = state_dir.map(Path::to_owned);
    let mut last = None;
    for run in 0..5 {
        let server = TestServer::start(config.clone()).await;
        let first = serial(&server).await;
        if let Some(last) = last {
            assert!(is_after(first, last), "run {run} starts with {first} after {last}");
        }
        // Nodes come and go for a moment, as at a rolling restart.
        eventually(|| server.set(""), |set| set.len() == 24).await;
        for node in &cluster.nodes()[1..=5] {
            cluster.stop(node.address).await.unwrap();
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        eventually(|| server.set(""), |set| set.len() == 19).await;
        for node in &cluster.nodes()[1..=5] {
            cluster.start_node(node.address).await.unwrap();
        }
        eventually(|| server.set(""), |set| set.len() == 24).await;
        last = Some(serial(&server).await);
        server.app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_serial_never_goes_back_over_restarts_with_a_state_file() {
    let dir = tempfile::tempdir().unwrap();
    serials_over_restarts(65, Some(dir.path())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_serial_never_goes_back_over_restarts_without_a_state_file() {
    serials_over_restarts(66, None).await;
}
