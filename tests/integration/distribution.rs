//! Who leads, who follows, and how many: over real sockets.

use std::{collections::BTreeMap, net::IpAddr};

use alternator_dns::{
    config::{Answers, ZoneConfig},
    sim::{Cluster, Fault},
};
use hickory_proto::rr::RecordType;

use crate::support::{TestServer, cluster, eventually};

/// dc1 with three racks of two, dc2 with one of three.
const NINE: [&str; 9] = [
    "dc1/rack1 127.12.NET.1",
    "dc1/rack1 127.12.NET.2",
    "dc1/rack2 127.12.NET.3",
    "dc1/rack2 127.12.NET.4",
    "dc1/rack3 127.12.NET.5",
    "dc1/rack3 127.12.NET.6",
    "dc2/rack1 127.12.NET.7",
    "dc2/rack1 127.12.NET.8",
    "dc2/rack1 127.12.NET.9",
];

/// A server with one worker over [`NINE`] nodes that nobody probes: what is listed is dealt, and no busy machine can
/// change it in the middle of a count.
async fn nine(net: u8, change: impl FnOnce(&mut ZoneConfig)) -> (Cluster, TestServer) {
    let nodes = NINE.map(|node| node.replace("NET", &net.to_string()));
    let cluster = cluster(&nodes.each_ref().map(String::as_str)).await;
    let server = TestServer::over(&cluster, |zone| {
        zone.health.enabled = false;
        change(zone);
    })
    .await;
    for (name, count) in [("", 9), ("dc1.rack1", 2), ("dc1.rack2", 2), ("dc1.rack3", 2), ("dc2.rack1", 3)] {
        let live = format!("A: level 1 of {} ", if name.is_empty() { 1 } else { 2 });
        let complete = format!("{count} nodes, live");
        let found = |lines: &Vec<String>| lines.iter().any(|line| line.starts_with(&live) && line.ends_with(&complete));
        eventually(|| server.explain(name), found).await;
    }
    (cluster, server)
}

/// How often each address leads in this many answers.
async fn leaders(server: &TestServer, name: &str, rtype: RecordType, answers: usize) -> BTreeMap<IpAddr, usize> {
    let mut leaders = BTreeMap::new();
    for _ in 0..answers {
        *leaders.entry(server.ask(name, rtype).await.first()).or_insert(0) += 1;
    }
    leaders
}

fn rack_of(address: IpAddr) -> u8 {
    let IpAddr::V4(v4) = address else { panic!("{address}") };
    [0, 1, 1, 2, 2, 3, 3, 4, 4, 4][usize::from(v4.octets()[3])]
}

#[tokio::test]
async fn every_node_leads_equally_often_in_every_pass() {
    let (_cluster, server) = nine(40, |_| {}).await;
    for passes in 1..=7 {
        for (name, nodes) in [("", 9), ("dc1", 6), ("dc1.rack2", 2)] {
            let led = leaders(&server, name, RecordType::A, nodes * passes).await;
            assert_eq!(led.len(), nodes, "{name}: {led:?}");
            assert!(led.values().all(|&count| count == passes), "{name}: {led:?}");
        }
    }
}

#[tokio::test]
async fn every_node_of_another_rack_comes_second_equally_often() {
    let (_cluster, server) = nine(41, |_| {}).await;
    let mut seconds: BTreeMap<(IpAddr, IpAddr), f64> = BTreeMap::new();
    let answers = 6 * 400;
    for _ in 0..answers {
        let addresses = server.ask("dc1", RecordType::A).await.addresses();
        assert_eq!(addresses.len(), 6);
        let racks: Vec<u8> = addresses.iter().map(|&address| rack_of(address)).collect();
        for three in [&racks[..3], &racks[3..]] {
            assert!(three[0] != three[1] && three[1] != three[2] && three[0] != three[2], "{racks:?}");
        }
        *seconds.entry((addresses[0], addresses[1])).or_insert(0.0) += 1.0;
    }
    // Each of six leaders has four nodes outside its rack.
    assert_eq!(seconds.len(), 24, "{seconds:?}");
    let expected = f64::from(answers) / 24.0;
    let chi_square: f64 = seconds.values().map(|seen| (seen - expected).powi(2) / expected).sum();
    // 6 x 3 degrees of freedom: 42.3 is exceeded by chance once in a thousand times.
    assert!(chi_square < 42.3, "{chi_square}: {seconds:?}");
}

#[tokio::test]
async fn a_and_aaaa_asked_in_pairs_still_lead_with_every_node() {
    let nodes = ["dc1/rack1 127.12.42.1", "dc1/rack1 127.12.42.2", "dc1/rack1 127.12.42.3", "dc1/rack1 127.12.42.4"];
    let cluster = cluster(&nodes).await;
    // A machine has one IPv6 loopback address; here four are only listed, and nobody asks whether they serve.
    let v6 = ["fd00::1", "fd00::2", "fd00::3", "fd00::4"].map(str::to_owned).to_vec();
    cluster.inject_everywhere(Fault::Entries(v6)).await.unwrap();
    let server = TestServer::over(&cluster, |zone| zone.health.enabled = false).await;
    server
        .answers(
            "",
            &["127.12.42.1", "127.12.42.2", "127.12.42.3", "127.12.42.4", "fd00::1", "fd00::2", "fd00::3", "fd00::4"],
        )
        .await;
    let mut led: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for _ in 0..4 * 25 {
        for rtype in [RecordType::A, RecordType::AAAA] {
            *led.entry(server.ask("", rtype).await.first()).or_insert(0) += 1;
        }
    }
    assert_eq!(led.len(), 8, "{led:?}");
    assert!(led.values().all(|&count| count == 25), "{led:?}");
}

#[tokio::test]
async fn auto_gives_one_address_inside_the_nodes_subnet_and_eight_outside() {
    let (_cluster, server) = nine(43, |zone| zone.answers = Answers::Auto).await;
    let (inside, outside) = ("127.12.43.200", "127.12.44.200");
    let mut led: BTreeMap<(bool, IpAddr), usize> = BTreeMap::new();
    for turn in 0..9 * 8 {
        for (from, count) in [(inside, 1), (outside, 8)] {
            let dig = server.dig("", RecordType::A).from(from);
            let reply = if turn % 9 == 0 { dig.tcp().ask().await } else { dig.ask().await };
            assert_eq!(reply.addresses().len(), count, "from {from}");
            *led.entry((count == 1, reply.first())).or_insert(0) += usize::from(turn % 9 != 0);
        }
    }
    // Both kinds of asker are dealt every node, each in its own turn: 64 answers over UDP are seven passes and one.
    assert_eq!(led.len(), 18, "{led:?}");
    assert!(led.values().all(|&count| (7..=8).contains(&count)), "{led:?}");
    let few = server.dig("dc1.rack2", RecordType::A).from(outside).ask().await;
    assert_eq!(few.addresses().len(), 2, "all there are");
}
