//! How overrides come, stay, and end: restarts, dates, the file, and what is refused.

use std::{fs, path::Path, time::Duration};

use alternator_dns::{config::Config, sim::Cluster};
use serde_json::json;

use super::Steered;
use crate::support::{TestServer, cluster, eventually, steady};

fn config(cluster: &Cluster, dir: &Path) -> Config {
    let mut config = TestServer::config(&TestServer::zone(cluster, steady));
    config.server.state_dir = Some(dir.to_owned());
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overrides_survive_a_restart_and_end_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(&["dc1/rack1 127.15.10.1", "dc1/rack1 127.15.10.2"]).await;
    let (one, both) = (["127.15.10.2"], ["127.15.10.1", "127.15.10.2"]);
    let steered = Steered::start(config(&cluster, dir.path())).await;
    steered.server.answers("", &both).await;
    let reply = steered.set("drain 127.15.10.1").await;
    assert_eq!(reply["warnings"], json!([]), "saved");
    steered.server.answers("", &one).await;
    let (_, before) = (steered.server.app.stop().await, steered.admin);

    let steered = Steered::start(config(&cluster, dir.path())).await;
    assert_ne!(steered.admin, before);
    // Not once, not even before the first probe.
    for _ in 0..20 {
        let set = steered.server.set("").await;
        assert!(!set.contains("127.15.10.1"), "{set:?}");
    }
    steered.server.answers("", &one).await;
    let known = &steered.get("/overrides").await["overrides"][0];
    assert_eq!(
        (&known["target"], &known["by"], &known["reason"]),
        (&"127.15.10.1".into(), &"ops".into(), &"why".into())
    );

    // The same target again, now with an end.
    let (_, reply) = steered.post(json!({ "target": "127.15.10.1", "action": "drain", "for": 0.5, "by": "ops" })).await;
    assert_eq!(reply["replaced"]["reason"], "why", "{reply}");
    steered.server.answers("", &both).await;
    let told = eventually(|| async { steered.told("127.15.10.1") }, |told: &Vec<String>| told.len() > 1).await;
    assert!(told[1].starts_with("is over; was drained by ops"), "{told:?}");
    assert_eq!(steered.get("/overrides").await["overrides"], json!([]));

    // One with a beginning.
    let (_, reply) =
        steered.post(json!({ "target": "127.15.10.2", "action": "drain", "in": "700ms", "for": "1h" })).await;
    assert_eq!(steered.server.set("").await.len(), 2, "not yet: {reply}");
    assert_eq!(steered.get("/overrides").await["overrides"][0]["in_force"], false);
    steered.server.answers("", &both[..1]).await;
    let told = eventually(|| async { steered.told("127.15.10.2") }, |told: &Vec<String>| told.len() > 1).await;
    assert!(told[0].starts_with("will be drained by") && told[1].starts_with("begins: drained by"), "{told:?}");
    assert_eq!(steered.told("127.15.10.1").len(), 2, "told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_drains_and_only_the_file_takes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("overrides.toml");
    let cluster = cluster(&["dc1/rack1 127.15.11.1", "dc1/rack1 127.15.11.2", "dc1/rack2 127.15.11.3"]).await;
    let all = ["127.15.11.1", "127.15.11.2", "127.15.11.3"];
    let entry =
        |target: &str| format!("[[override]]\ntarget = \"{target}\"\naction = \"drain\"\nreason = \"by file\"\n");
    fs::write(&path, entry("127.15.11.1")).unwrap();
    let mut config = config(&cluster, dir.path());
    config.server.overrides = Some(path.clone());
    let steered = Steered::start(config).await;
    steered.server.answers("", &all[1..]).await;

    fs::write(&path, entry("dc1/rack2")).unwrap();
    steered.server.answers("", &all[..2]).await;
    assert!(steered.told("127.15.11.1")[0].starts_with("no longer in "), "{:?}", steered.told("127.15.11.1"));

    // A mistake changes nothing, and is told with its line.
    fs::write(&path, [entry("*"), entry("10.0.0.300")].concat()).unwrap();
    let file = path.display().to_string();
    let told = eventually(|| async { steered.told(&file) }, |told: &Vec<String>| !told.is_empty()).await;
    assert!(told[0].contains("overrides.toml:6: override[2].target: \"10.0.0.300\" is no address"), "{told:?}");
    assert_eq!(steered.server.set("").await.len(), 2);
    // As any other reload that failed.
    let reloads = || async { steered.get("/status.json").await["server"]["reload"].clone() };
    let failed = eventually(reloads, |reload| reload["failed"] == 1).await;
    assert!(failed["last"]["error"].as_str().unwrap().contains("overrides.toml:6:"), "{failed}");

    let (status, reply) = steered.delete("target=dc1%2Frack2").await;
    assert_eq!(status, 409);
    let error = reply["error"].as_str().unwrap();
    assert!(error.contains("is of the file") && error.ends_with("overrides.toml: take it out there"), "{error}");
    // Kubernetes swaps a folder.
    fs::write(dir.path().join("new.toml"), "").unwrap();
    fs::rename(dir.path().join("new.toml"), &path).unwrap();
    steered.server.answers("", &all).await;
    eventually(reloads, |reload| reload["last"]["error"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_with_a_sentence_and_typing_errors_are_told() {
    let cluster = cluster(&["dc1/rack1 127.15.12.1", "dc1/rack2 127.15.12.2"]).await;
    let steered = Steered::start(TestServer::config(&TestServer::zone(&cluster, steady))).await;
    steered.server.answers("dc1.rack2", &["127.15.12.2"]).await;
    let drain = |target: &str| json!({ "target": target, "action": "drain" });
    for (body, told) in [
        (json!([]), "the body is no override"),
        (json!({ "target": "dc1" }), "missing field `action`"),
        (json!({ "target": "dc1", "action": "drain", "fro": "2h" }), "unknown field `fro`"),
        (json!({ "target": "dc1/", "action": "stop" }), "target: \"dc1/\" has an empty part"),
        (json!({ "target": "dc1", "action": "drain", "for": "2x" }), "for: write a duration"),
        (
            json!({ "target": "dc1", "action": "drain", "from": "1970-01-01T00:00:00+00:01" }),
            "from: a time is in the years 1970 to 9999",
        ),
        (
            json!({ "target": "dc1", "action": "drain", "zone": "other.test" }),
            "no zone \"other.test\" here; the zones are alternator.local",
        ),
    ] {
        let (status, reply) = steered.post(body.clone()).await;
        assert_eq!(status, 400, "{body}: {reply}");
        assert!(reply["error"].as_str().unwrap().contains(told), "{body}: {reply}");
    }
    assert_eq!(steered.get("/status.json").await["overrides"], json!([]));
    for (query, status, told) in [
        ("", 400, "missing field"),
        ("target=", 400, "no target"),
        ("target=dc1&action=stop", 400, "is no action"),
        ("target=dc1&x=1", 400, "unknown field"),
        ("target=dc1", 404, "nothing is set for \"dc1\"; nothing is set at all"),
    ] {
        let (got, reply) = steered.delete(query).await;
        assert_eq!(got, status, "{query}: {reply}");
        assert!(reply["error"].as_str().unwrap().contains(told), "{query}: {reply}");
    }
    for (target, told) in [
        ("dc1/rakc1", "(did you mean \"dc1/rack1\"? there are dc1/rack1, dc1/rack2)"),
        ("DC1", "(did you mean \"dc1\"? there are dc1)"),
        ("rack2", "(did you mean \"dc1/rack2\"? there are dc1)"),
        ("127.15.12.3", "(did you mean \"127.15.12."),
        ("10.0.0.0/8", "(there are 127.15.12.1, 127.15.12.2)"),
        ("eu-*", "(there are dc1, dc1/rack1, dc1/rack2)"),
    ] {
        let (status, reply) = steered.post(drain(target)).await;
        assert_eq!((status, &reply["matches"]), (200, &json!(0)), "{reply}");
        let warning = reply["warnings"][0].as_str().unwrap();
        assert!(warning.contains(told) && warning.contains("means no node known now"), "{target}: {warning}");
        assert!(warning.ends_with("for nodes that may come"), "{warning}");
    }
    let (_, reply) = steered.post(json!({ "target": "dc1", "action": "drain" })).await;
    assert!(reply["warnings"][0].as_str().unwrap().contains("not over a restart"), "there is no state_dir: {reply}");
    let (_, reply) =
        steered.post(json!({ "target": "127.15.12.1", "action": "force-up", "zone": "Alternator.Local." })).await;
    assert_eq!(
        (&reply["override"]["zone"], &reply["override"]["by"]),
        (&json!("alternator.local"), &json!("somebody over HTTP"))
    );
    let (_, reply) = steered.post(drain("dc1")).await;
    let warning = reply["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("force-up 127.15.12.1 decides about 127.15.12.1"), "{warning}");
    tokio::time::timeout(Duration::from_secs(20), steered.server.answers("", &["127.15.12.1"])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_reads_the_file_and_fails_by_its_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("overrides.toml");
    let cluster = cluster(&["dc1/rack1 127.15.13.1", "dc1/rack1 127.15.13.2"]).await;
    let mut config = config(&cluster, dir.path());
    (config.server.overrides, config.server.watch_files) = (Some(path.clone()), false);
    let mut steered = Steered::start(config).await;
    steered.server.answers("", &["127.15.13.1", "127.15.13.2"]).await;
    let config = steered.server.app.config().clone();
    fs::write(&path, "[[override]]\ntarget = \"127.15.13.1\"\naction = \"drain\"\n").unwrap();
    steered.server.app.reload(&config).await.unwrap();
    steered.server.answers("", &["127.15.13.2"]).await;
    fs::write(&path, "[[override]]\ntarget = \"127.15.13.1\"\n").unwrap();
    let error = steered.server.app.reload(&config).await.unwrap_err().to_string();
    assert!(error.contains("overrides.toml:1: override[1].action: missing"), "{error}");
    assert_eq!(steered.get("/overrides").await["overrides"].as_array().map(Vec::len), Some(1), "nothing changed");
}
