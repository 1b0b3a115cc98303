//! `/metrics`: which there are, and that each moves with what it tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use alternator_dns::{
    admin::Status,
    model::{Action, Origin, Override, Target},
};
use hickory_proto::rr::RecordType;

use super::{Site, serve};
use crate::support::{Dig, Http, cluster, eventually, ip};

/// Every metric there is, with its type and labels. Boards and alerts of operators are written by these: what is here
/// stays.
const LIST: &str = include_str!("metrics.txt");

/// Metrics as they are told.
#[derive(Clone, Debug, Default)]
struct Metrics {
    /// Name, and what kind of metric it is.
    types: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    /// Name, labels as written, value.
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Metrics {
    async fn of(http: &Http) -> Self {
        let reply = http.get("/metrics").await;
        assert_eq!((reply.status, &*reply.headers["content-type"]), (200, "text/plain; version=0.0.4; charset=utf-8"));
        Self::read(&reply.body)
    }

    fn read(text: &str) -> Self {
        let mut metrics = Metrics::default();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(metrics.helps.insert(name.to_owned(), help.to_owned()).is_none(), "{name} twice");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(metrics.types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
                let labels = labels.strip_suffix('}').unwrap();
                let labels = labels.split_terminator("\",").map(|label| {
                    let (key, value) = label.split_once("=\"").unwrap();
                    (key.to_owned(), value.trim_end_matches('"').to_owned())
                });
                metrics.samples.push((name.to_owned(), labels.collect(), value.parse().unwrap()));
            }
        }
        metrics
    }

    /// The value of a sample; these labels are all it has.
    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |own: &BTreeMap<String, String>| {
            own.len() == labels.len() && labels.iter().all(|(key, value)| own.get(*key).is_some_and(|own| own == value))
        };
        let sample = self.samples.iter().find(|(own, own_labels, _)| own == name && has(own_labels));
        sample.map(|(_, _, value)| *value)
    }

    /// All samples of a name with this label, together.
    fn sum(&self, name: &str, label: (&str, &str)) -> f64 {
        let has = |labels: &BTreeMap<String, String>| labels.get(label.0).is_some_and(|value| value == label.1);
        self.samples.iter().filter(|(own, labels, _)| own == name && has(labels)).map(|(_, _, value)| value).sum()
    }

    /// `name type label label`, a line for each.
    fn list(&self) -> Vec<String> {
        let mut list = Vec::new();
        for (name, kind) in &self.types {
            let samples = self.samples.iter().filter(|(own, ..)| match kind.as_str() {
                "histogram" => own.strip_prefix(name).is_some_and(|end| ["_bucket", "_sum", "_count"].contains(&end)),
                _ => own == name,
            });
            let labels: BTreeSet<&str> = samples
                .flat_map(|(_, labels, _)| labels.keys())
                .map(String::as_str)
                .filter(|key| *key != "le")
                .collect();
            let mut line = format!("{name} {kind}");
            labels.iter().for_each(|label| line.push_str(&format!(" {label}")));
            list.push(line);
        }
        list
    }
}

#[tokio::test]
async fn names_types_and_labels_are_those_of_the_list() {
    let cluster = cluster(&["dc1/rack1 127.41.10.1", "dc1/rack2 127.41.10.2"]).await;
    let (server, http) = serve(&cluster, |_| {}).await;
    server.answers("", &["127.41.10.1", "127.41.10.2"]).await;
    let has_leads = |metrics: &Metrics| metrics.sum("alternator_dns_leads_total", ("zone", "alternator.local")) > 0.0;
    let metrics = eventually(|| Metrics::of(&http), has_leads).await;
    let list = metrics.list();
    let expected: Vec<&str> = LIST.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(list, expected, "what is told now:\n{}\n", list.join("\n"));
    for (name, kind) in &metrics.types {
        assert!(name.starts_with("alternator_dns_") || name.starts_with("process_"), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(metrics.helps[name].len() > 5, "{name} is not explained");
    }
    let known: BTreeSet<_> = metrics.samples.iter().map(|(name, labels, _)| (name, labels)).collect();
    assert_eq!(known.len(), metrics.samples.len(), "no sample comes twice");
}

#[tokio::test]
async fn outcomes_are_the_queries_sent() {
    let site = Site::start(|_| {}).await;
    let before = Metrics::of(&site.http()).await;
    let (server, outside) = (&site.server, Dig::new(site.server.address, "elsewhere.test", RecordType::A));
    for _ in 0..7 {
        server.dig("", RecordType::A).ask().await;
    }
    for _ in 0..3 {
        server.dig("", RecordType::A).tcp().ask().await;
        server.dig("nobody", RecordType::A).ask().await;
        outside.ask().await;
    }
    let queries = |metrics: &Metrics, zone: &str, transport: &str, outcome: &str| {
        let labels = [("zone", zone), ("transport", transport), ("outcome", outcome)];
        let count = |metrics: &Metrics| metrics.get("alternator_dns_queries_total", &labels).unwrap();
        count(metrics) - count(&before)
    };
    let told = |metrics: &Metrics| {
        [
            queries(metrics, "alternator.local", "udp", "answered"),
            queries(metrics, "alternator.local", "tcp", "answered"),
            queries(metrics, "alternator.local", "udp", "nxdomain"),
            queries(metrics, "", "udp", "refused"),
        ]
    };
    let look = async || Metrics::of(&site.http()).await;
    let metrics = eventually(&look, |metrics| told(metrics) == [7.0, 3.0, 3.0, 3.0]).await;
    let all = |metrics: &Metrics| -> f64 {
        let samples = metrics.samples.iter().filter(|(name, ..)| name == "alternator_dns_queries_total");
        samples.map(|(_, _, value)| value).sum()
    };
    assert_eq!(all(&metrics) - all(&before), 16.0, "and nothing else was counted");
    assert_eq!(metrics.get("alternator_dns_tcp_accepted_total", &[]), Some(3.0));
}

#[tokio::test]
async fn metrics_move_with_the_cluster() {
    let cluster = cluster(&["dc1/rack1 127.41.11.1", "dc1/rack1 127.41.11.2", "dc1/rack2 127.41.11.3"]).await;
    let (server, http) = serve(&cluster, |_| {}).await;
    server.answers("", &["127.41.11.1", "127.41.11.2", "127.41.11.3"]).await;
    let zone = ("zone", "alternator.local");
    let nodes = |metrics: &Metrics, rack: &str, state: &str| {
        let labels = [zone, ("datacenter", "dc1"), ("rack", rack), ("state", state)];
        metrics.get("alternator_dns_nodes", &labels)
    };
    let level = |metrics: &Metrics| {
        metrics.get("alternator_dns_fallback_level", &[zone, ("scope", "dc1/rack1"), ("family", "a")])
    };
    let before = eventually(|| Metrics::of(&http), |metrics| nodes(metrics, "rack1", "up") == Some(2.0)).await;
    assert_eq!((level(&before), nodes(&before, "rack1", "down")), (Some(0.0), Some(0.0)));
    assert_eq!(before.get("alternator_dns_scope_nodes", &[zone, ("scope", "cluster"), ("family", "a")]), Some(3.0));
    assert_eq!(before.get("alternator_dns_zone_ready", &[zone]), Some(1.0));

    for node in ["127.41.11.1", "127.41.11.2"] {
        cluster.stop(ip(node)).await.unwrap();
    }
    let after = eventually(|| Metrics::of(&http), |metrics| level(metrics) == Some(1.0)).await;
    assert_eq!((nodes(&after, "rack1", "up"), nodes(&after, "rack2", "up")), (Some(0.0), Some(1.0)));
    for (name, labels) in [
        ("alternator_dns_node_transitions_total", vec![zone]),
        ("alternator_dns_probes_total", vec![zone, ("result", "refused")]),
        ("alternator_dns_probes_total", vec![zone, ("result", "success")]),
        ("alternator_dns_probe_duration_seconds_count", vec![zone]),
        ("alternator_dns_polls_total", vec![zone, ("result", "answered")]),
        ("alternator_dns_poll_rounds_total", vec![zone, ("result", "answered")]),
        ("alternator_dns_poll_duration_seconds_count", vec![zone]),
        ("alternator_dns_zone_epoch", vec![zone]),
        ("alternator_dns_compile_duration_seconds_count", vec![]),
        ("alternator_dns_table_swaps_total", vec![]),
        ("process_cpu_seconds_total", vec![]),
    ] {
        let moved = |metrics: &Metrics| metrics.get(name, &labels) > before.get(name, &labels);
        eventually(|| Metrics::of(&http), moved).await;
    }
    assert_eq!(after.get("alternator_dns_node_joins_total", &[zone]), Some(3.0));
    assert!(after.get("alternator_dns_topology_age_seconds", &[zone]).unwrap() < 20.0);

    // Everything is gone: discovery grows old, and what was known last is answered.
    cluster.stop(ip("127.41.11.3")).await.unwrap();
    let stale = |metrics: &Metrics| {
        metrics.get("alternator_dns_scope_stale", &[zone, ("scope", "cluster"), ("family", "a")]) == Some(1.0)
            && metrics.get("alternator_dns_zone_stale", &[zone]) == Some(1.0)
            && metrics.get("alternator_dns_topology_age_seconds", &[zone]) > Some(0.3)
            && metrics.get("alternator_dns_poll_rounds_total", &[zone, ("result", "unanswered")]) > Some(0.0)
    };
    let last = eventually(|| Metrics::of(&http), stale).await;
    assert_eq!(last.get("alternator_dns_zone_ready", &[zone]), Some(1.0), "staleness is no unreadiness");
}

#[tokio::test]
async fn metrics_and_status_tell_what_operators_forced() {
    let cluster = cluster(&["dc1/rack1 127.41.13.1", "dc1/rack1 127.41.13.2"]).await;
    let (server, http) = serve(&cluster, |_| {}).await;
    server.answers("", &["127.41.13.1", "127.41.13.2"]).await;
    let now = SystemTime::now();
    let drain = Override {
        target: Target::Node(ip("127.41.13.2")),
        action: Action::Drain,
        zone: None,
        from: now,
        until: Some(now + Duration::from_secs(3600)),
        set_at: now,
        by: "ops".to_owned(),
        reason: "kernel".to_owned(),
        origin: Origin::Api,
    };
    let state = |metrics: &Metrics, state: &str| {
        let labels = [("zone", "alternator.local"), ("datacenter", "dc1"), ("rack", "rack1"), ("state", state)];
        metrics.get("alternator_dns_nodes", &labels).unwrap()
    };
    let overrides = |metrics: &Metrics, action: &str| {
        metrics.get("alternator_dns_overrides", &[("action", action), ("origin", "api")]).unwrap()
    };
    let told = |metrics: &Metrics| (state(metrics, "up"), state(metrics, "drained"), overrides(metrics, "drain"));
    eventually(|| Metrics::of(&http), |metrics| told(metrics) == (2.0, 0.0, 0.0)).await;
    server.app.overrides().set(drain).await.unwrap();
    let metrics = eventually(|| Metrics::of(&http), |metrics| told(metrics) == (1.0, 1.0, 1.0)).await;
    assert_eq!(overrides(&metrics, "force-up"), 0.0);

    let status: Status = serde_json::from_value(http.get("/status.json").await.json()).unwrap();
    let node = status.zones[0].nodes.iter().find(|node| node.address == "127.41.13.2").unwrap();
    assert_eq!((node.verdict.as_str(), node.is_in, node.state.as_str()), ("drained", false, "up"));
    assert!(node.reason.contains("kernel") && node.reason.contains("ops"), "{}", node.reason);
    let forced = node.forced.as_ref().unwrap();
    assert_eq!(*forced, status.overrides[0]);
    assert_eq!(
        (forced.target.as_str(), forced.action.as_str(), forced.origin.as_str()),
        ("127.41.13.2", "drain", "api")
    );
    assert_eq!((forced.by.as_str(), forced.reason.as_str(), forced.zone.as_deref()), ("ops", "kernel", None));
    assert!(forced.until > Some(forced.from.clone()));
}

#[tokio::test]
async fn metrics_move_with_reloads_and_connections() {
    let site = Site::start(|_| {}).await;
    let reloads = |metrics: &Metrics| {
        let of = |result| metrics.get("alternator_dns_reloads_total", &[("result", result)]).unwrap();
        (of("success"), of("failure"), metrics.get("alternator_dns_last_reload_successful", &[]).unwrap())
    };
    let before = Metrics::of(&site.http()).await;
    assert_eq!(reloads(&before), (0.0, 0.0, 1.0));
    let (sight, later) = (site.server.app.sight(), std::time::SystemTime::now() + std::time::Duration::from_secs(60));
    sight.reloads.note(later, Ok(()));
    sight.reloads.note(later, Err("a.toml:1: no".to_owned()));
    let after = Metrics::of(&site.http()).await;
    assert_eq!(reloads(&after), (1.0, 1.0, 0.0));
    let at = |metrics: &Metrics| metrics.get("alternator_dns_last_reload_timestamp_seconds", &[]).unwrap();
    assert!(at(&after) > at(&before) + 30.0);

    let connection = tokio::net::TcpStream::connect(site.server.address).await.unwrap();
    let open = |metrics: &Metrics| metrics.get("alternator_dns_tcp_connections", &[]) == Some(1.0);
    let look = async || Metrics::of(&site.http()).await;
    eventually(&look, open).await;
    drop(connection);
    let finished = |metrics: &Metrics| {
        metrics.get("alternator_dns_tcp_closed_total", &[("reason", "finished")]) == Some(1.0)
            && metrics.get("alternator_dns_tcp_connections", &[]) == Some(0.0)
    };
    eventually(&look, finished).await;
}

#[tokio::test]
async fn both_formats_tell_the_same() {
    let cluster = cluster(&["dc 1/ra\"ck\\ 127.41.12.1"]).await;
    let (server, http) = serve(&cluster, |_| {}).await;
    server.answers("", &["127.41.12.1"]).await;
    let open = http.clone().header("Accept: application/openmetrics-text; version=1.0.0, text/plain;q=0.5");
    let reply = open.get("/metrics").await;
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((reply.status, &*reply.headers["content-type"]), (200, media_type));
    assert!(reply.body.ends_with("# EOF\n"));
    let text = http.get("/metrics").await.body;
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
    let names = |text: &str| {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&reply.body), names(&text));
    // Names of racks are free text.
    assert!(text.contains(r#"datacenter="dc 1",rack="ra\"ck\\","#), "{text}");
    assert!(text.lines().all(|line| !line.is_empty()));
}

#[tokio::test]
async fn datagrams_that_did_not_fit_are_told_by_address() {
    let site = Site::start(|_| {}).await;
    let metrics = Metrics::of(&site.http()).await;
    for address in site.server.app.addresses() {
        let drops = metrics.get("alternator_dns_udp_receive_drops_total", &[("address", &address.to_string())]);
        assert_eq!(drops, Some(0.0), "{address}");
    }
}
