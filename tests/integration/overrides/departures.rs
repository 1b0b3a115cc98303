//! When a drained node may be stopped, measured against a client that asks all the time.

use std::time::{Duration, Instant};

use alternator_dns::overrides::Answered;
use serde_json::Value;

use super::Steered;
use crate::support::{Load, TestServer, ZONE, cluster, eventually, ip, steady};

impl Steered {
    async fn standing(&self, target: &str) -> Value {
        self.get(&format!("/drain-state?target={}", target.replace('/', "%2F").replace('*', "%2A"))).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safe_is_a_ttl_after_the_last_answer_and_not_much_later() {
    const TTL: Duration = Duration::from_secs(2);
    let cluster = cluster(&["dc1/rack1 127.15.20.1", "dc1/rack1 127.15.20.2", "dc1/rack2 127.15.20.3"]).await;
    let zone = TestServer::zone(&cluster, |zone| {
        steady(zone);
        zone.ttl = TTL;
    });
    let steered = Steered::start(TestServer::config(&zone)).await;
    steered.server.answers("", &["127.15.20.1", "127.15.20.2", "127.15.20.3"]).await;
    steered.server.answers("dc1.rack1", &["127.15.20.1", "127.15.20.2"]).await;
    // What an earlier process may have answered is over then.
    let departures = steered.server.app.departures();
    eventually(|| async { departures.last_answered(ZONE, ip("127.15.20.9")) }, |last| *last == Answered::Gone).await;

    let rack = format!("dc1.rack1.{ZONE}");
    for target in ["127.15.20.1", "dc1/rack1"] {
        let load = Load::start(steered.server.address, &[ZONE, &rack], 2000);
        let before = steered.standing(target).await;
        assert_eq!((&before["safe"], &before["nodes"][0]["state"]), (&false.into(), &"stays".into()), "{before}");
        assert!(before["stays"].as_str().unwrap().contains("it is not drained"), "{before}");
        let drained = Instant::now();
        steered.set(&format!("drain {target}")).await;
        let mut states = Vec::new();
        let safe = loop {
            let now = steered.standing(target).await;
            assert_eq!(now["stays"], Value::Null, "{now}");
            let state = now["nodes"][0]["state"].as_str().unwrap().to_owned();
            if states.last() != Some(&state) {
                states.push(state);
            }
            if now["safe"] == true {
                break Instant::now();
            }
            assert!(drained.elapsed() < Duration::from_secs(20), "{now}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(states.ends_with(&["leaving".to_owned(), "gone".to_owned()]), "{states:?}");
        assert!(safe - drained >= TTL);
        println!("{target}: safe {:?} after the drain, of which the TTL is {TTL:?}", safe - drained);
        // Its last query is answered before anything changes again.
        let samples = load.stop().await;
        let meant =
            if target == "dc1/rack1" { ["127.15.20.1", "127.15.20.2"].map(ip).to_vec() } else { vec![ip(target)] };
        let of_then = samples.iter().rev().filter(|sample| sample.sent < safe);
        let last = of_then.clone().find(|sample| meant.iter().any(|node| sample.set.contains(node))).unwrap();
        assert!(of_then.count() > 100, "somebody asked all the time");
        // A query is answered at once, or is lost: no answer is younger than its query by more than that.
        assert!(last.sent + TTL <= safe, "{target}: safe {:?} too early", last.sent + TTL - safe);
        println!("{target}: safe {:?} after the last answer had expired", safe - (last.sent + TTL));
        steered.unset(target).await;
        steered.server.answers("dc1.rack1", &["127.15.20.1", "127.15.20.2"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_answered_says_why() {
    let cluster = cluster(&["dc1/rack1 127.15.21.1", "dc1/rack2 127.15.21.2"]).await;
    let steered = Steered::start(TestServer::config(&TestServer::zone(&cluster, steady))).await;
    steered.server.answers("dc1.rack2", &["127.15.21.2"]).await;
    let stays = async |target: &str| {
        let settled =
            |standing: &Value| standing["nodes"].as_array().unwrap().iter().all(|node| node["state"] != "pending");
        let standing = eventually(|| steered.standing(target), settled).await;
        (standing["safe"].clone(), standing["stays"].as_str().unwrap_or_default().to_owned())
    };
    // Nothing else is left.
    steered.set("drain dc1").await;
    let (safe, why) = stays("dc1").await;
    assert_eq!(safe, false);
    assert!(why.contains("stays answered though it is drained: nothing else is left for"), "{why}");
    assert!(why.ends_with("(and 1 more)"), "{why}");
    // An exception.
    steered.set("force-up 127.15.21.1").await;
    let (_, why) = stays("127.15.21.1").await;
    assert!(why.starts_with("127.15.21.1 stays answered: it is forced up by ops since"), "{why}");
    let gone = |standing: &Value| standing["safe"] == true;
    eventually(|| steered.standing("127.15.21.2"), gone).await;
    assert_eq!(stays("127.15.21.2").await.0, true, "the other one has taken over");
    // What nobody is.
    let nobody = steered.standing("dc9").await;
    assert_eq!((&nobody["nodes"], &nobody["safe"]), (&Value::Array(Vec::new()), &false.into()), "{nobody}");
}
