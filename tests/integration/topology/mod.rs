//! Nodes, places and states by the cluster's own tables, as answers tell of them.

mod names;
mod readers;
mod states;

use std::time::Duration;

use alternator_dns::{
    admin::Status,
    config::{Config, DiscoveryMode, Seed, ZoneConfig},
    sim::{Cluster, ClusterSpec, NodeSpec},
};

use crate::support::{Http, TestServer, eventually, ip, steady};

/// dc1 {rack1: .11 .12, rack2: .13 .14}, dc2 {rack1: .21 .22, rack2: .23}, at 127.72.`net`.
const PLACES: [(u8, &str, &str); 7] = [
    (11, "dc1", "rack1"),
    (12, "dc1", "rack1"),
    (13, "dc1", "rack2"),
    (14, "dc1", "rack2"),
    (21, "dc2", "rack1"),
    (22, "dc2", "rack1"),
    (23, "dc2", "rack2"),
];

/// A cluster, and a server that was told of one of its nodes and nothing else.
struct Site {
    net: u8,
    cluster: Cluster,
    server: TestServer,
    http: Http,
}

fn spec(net: u8) -> ClusterSpec {
    let node = |(last, dc, rack)| NodeSpec::new([127, 72, net, last], dc, rack);
    ClusterSpec::new(PLACES.map(node).to_vec()).failure_detector(Some(Duration::from_millis(500)))
}

/// Told of nothing but the first node.
fn unnamed(cluster: &Cluster, change: impl FnOnce(&mut ZoneConfig)) -> Config {
    let mut config = TestServer::config(&TestServer::zone(cluster, |zone| {
        steady(zone);
        zone.cluster.datacenters.clear();
        zone.cluster.discovery = DiscoveryMode::Auto;
        zone.cluster.seeds = vec![Seed::Address(cluster.nodes()[0].address)];
        change(zone);
    }));
    config.server.admin.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config
}

impl Site {
    async fn start(net: u8) -> Self {
        Self::over(net, spec(net), |_| {}).await
    }

    async fn over(net: u8, spec: ClusterSpec, change: impl FnOnce(&mut ZoneConfig)) -> Self {
        let cluster = Cluster::start(spec).await.unwrap();
        let server = TestServer::start(unnamed(&cluster, change)).await;
        let http = Http::to(server.app.admin()[0]);
        Site { net, cluster, server, http }
    }

    fn node(&self, last: u8) -> std::net::IpAddr {
        ip(&format!("127.72.{}.{last}", self.net))
    }

    /// Waits until a name is answered with these nodes.
    async fn answers(&self, name: &str, lasts: &[u8]) {
        let texts: Vec<String> = lasts.iter().map(|last| self.node(*last).to_string()).collect();
        self.server.answers(name, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    /// Waits until every name is answered with all its nodes.
    async fn settled(&self) {
        self.answers("", &[11, 12, 13, 14, 21, 22, 23]).await;
        self.answers("dc1", &[11, 12, 13, 14]).await;
        self.answers("dc1.rack1", &[11, 12]).await;
        self.answers("rack2.dc1", &[13, 14]).await;
        self.answers("dc2--rack1", &[21, 22]).await;
        self.answers("dc2.rack2", &[23]).await;
    }

    async fn status(&self) -> Status {
        serde_json::from_value(self.http.get("/status.json").await.json()).unwrap()
    }

    /// Waits until discovery goes by `source`; the reason, empty for none.
    async fn goes_by(&self, source: &str, pleases: impl Fn(&str) -> bool) -> String {
        let look = async || {
            let told = self.status().await.zones[0].discovery.clone();
            (told.source, told.reason.unwrap_or_default())
        };
        eventually(look, |(told, reason)| told == source && pleases(reason)).await.1
    }

    /// Waits until a node has this verdict and reason.
    async fn verdict(&self, last: u8, verdict: &str, reason: &str) {
        let address = self.node(last).to_string();
        let look = async || {
            let status = self.status().await;
            let node = status.zones[0].nodes.iter().find(|node| node.address == address).cloned();
            node.map(|node| (node.verdict, node.reason)).unwrap_or_default()
        };
        eventually(look, |told| *told == (verdict.to_owned(), reason.to_owned())).await;
    }
}
