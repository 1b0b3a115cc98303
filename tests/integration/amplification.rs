//! How much longer replies over UDP are than their queries, where nothing limits their rate: what somebody gains who
//! forges the address that asks.

use std::{fs, net::UdpSocket, path::Path};

use alternator_dns::{
    config::{Answers, Config, ZoneConfig},
    sim::{Cluster, ClusterSpec},
};
use hickory_proto::rr::{Name, RecordType};

use crate::support::{
    Dig, PATIENCE, TestServer, ZONE, cluster, eventually,
    packet::{name, opt, option, packet, query, question, question_of},
    steady,
};

/// What no reply reaches with the default configuration and the name that all examples use.
const BOUND: f64 = 5.0;

const A: u16 = 1;
const NS: u16 = 2;
const SOA: u16 = 6;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const ANY: u16 = 255;
const CHAOS: u16 = 3;

const NSID: u16 = 3;
const COOKIE: u16 = 10;
const ZONE_VERSION: u16 = 19;

/// Thirteen nodes in two datacenters; `dc1/rack4` is configured and empty, so its name answers with its datacenter.
const NODES: [&str; 13] = [
    "dc1/rack1 127.13.71.1",
    "dc1/rack1 127.13.71.2",
    "dc1/rack2 127.13.71.3",
    "dc1/rack2 127.13.71.4",
    "dc1/rack3 127.13.71.5",
    "dc1/rack3 127.13.71.6",
    "dc2/rack1 127.13.72.1",
    "dc2/rack1 127.13.72.2",
    "dc2/rack2 127.13.72.3",
    "dc2/rack2 127.13.72.4",
    "dc2/rack3 127.13.72.5",
    "dc2/rack3 127.13.72.6",
    "dc1/rack1 ::1",
];

/// One kind of query, as it is told of in the documentation.
struct Kind {
    what: &'static str,
    query: Vec<u8>,
}

fn kind(what: &'static str, query: Vec<u8>) -> Kind {
    Kind { what, query }
}

fn plain(name: &str, qtype: u16) -> Vec<u8> {
    query(&question(name, qtype), &[])
}

fn with_opt(name: &str, qtype: u16, options: &[u8]) -> Vec<u8> {
    query(&question(name, qtype), &[&opt(1232, 0, 0, options)])
}

fn kinds() -> Vec<Kind> {
    let below = |label: &str| format!("{label}.{ZONE}");
    vec![
        kind("A, eight addresses", plain(ZONE, A)),
        kind("A, eight addresses, EDNS", with_opt(ZONE, A, &[])),
        kind("A of a datacenter, six addresses", plain(&below("dc1"), A)),
        kind("A of a rack, two addresses", plain(&below("dc1.rack1"), A)),
        kind("A of an empty rack: its datacenter's six, EDE", with_opt(&below("dc1.rack4"), A, &[])),
        kind("AAAA", plain(ZONE, AAAA)),
        kind("AAAA, EDNS", with_opt(ZONE, AAAA, &[])),
        kind("SRV of 13 nodes", plain(&below("_alternator._tcp"), SRV)),
        kind("SRV of 2 nodes", plain(&below("_alternator._tcp.dc2.rack1"), SRV)),
        kind("TXT `_explain` of 13 nodes", plain(&below("_explain"), TXT)),
        kind("TXT `_explain` of 2 nodes", plain(&below("_explain.dc2.rack1"), TXT)),
        kind("ANY", plain(ZONE, ANY)),
        kind("NS", plain(ZONE, NS)),
        kind("SOA", plain(ZONE, SOA)),
        kind("NXDOMAIN", plain(&below("x"), A)),
        kind("NODATA", plain(ZONE, MX)),
        kind("CHAOS `version.bind`", query(&question_of(&name("version.bind"), TXT, CHAOS), &[])),
        kind("CHAOS `version.bind`, EDNS: REFUSED, EDE", {
            query(&question_of(&name("version.bind"), TXT, CHAOS), &[&opt(1232, 0, 0, &[])])
        }),
        kind("no zone of ours: REFUSED", plain("example.com", A)),
        kind("no zone of ours, EDNS: REFUSED, EDE", with_opt("example.com", A, &[])),
        kind("two questions: FORMERR", packet(0, [2, 0, 0, 0], &[&question(ZONE, A), &question(ZONE, AAAA)])),
        kind("a header alone: FORMERR", packet(0, [1, 0, 0, 0], &[])),
        kind("NOTIFY: NOTIMP, EDE", packet(0x2000, [1, 0, 0, 1], &[&question(ZONE, SOA), &opt(1232, 0, 0, &[])])),
    ]
}

/// A zone with every default over a cluster, but for the name.
fn zone(cluster: &Cluster, apex: &str) -> ZoneConfig {
    let mut zone = TestServer::zone(cluster, steady);
    zone.apex = Name::from_ascii(format!("{apex}.")).unwrap();
    zone.answers = Answers::Auto;
    zone.cluster.datacenters.get_mut("dc1").unwrap().push("rack4".into());
    zone
}

/// The simulated cluster; without its last node where this machine has no IPv6.
async fn thirteen() -> Cluster {
    cluster(&NODES[..if ClusterSpec::has_ipv6() { 13 } else { 12 }]).await
}

/// A server that answers all of the cluster's nodes in each of its zones.
async fn started(config: Config, cluster: &Cluster) -> TestServer {
    let server = TestServer::start(config.clone()).await;
    for zone in &config.zones {
        let dig = Dig::new(server.address, &format!("_explain.{}", zone.apex), RecordType::TXT).tcp();
        let inside = async || dig.ask().await.texts().iter().filter(|line| line.starts_with("in ")).count();
        eventually(inside, |inside| *inside == cluster.nodes().len()).await;
    }
    server
}

/// Octets of the reply to a query in a datagram; 0 where there is none.
struct Asker(UdpSocket);

impl Asker {
    fn new(server: &TestServer) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Asker(socket)
    }

    fn ask(&self, query: &[u8]) -> Vec<u8> {
        let mut reply = [0; 2000];
        self.0.send(query).unwrap();
        let len = self.0.recv(&mut reply).unwrap_or_else(|error| panic!("{error}: {query:02x?}"));
        reply[..len].to_vec()
    }

    /// Octets sent for each octet received.
    fn factor(&self, query: &[u8]) -> f64 {
        self.ask(query).len() as f64 / query.len() as f64
    }
}

/// Whether the documentation has this line.
fn is_told(line: &str) -> bool {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/hostile.md");
    fs::read_to_string(page).unwrap().lines().any(|told| told == line)
}

#[tokio::test]
async fn no_kind_of_query_gets_five_times_its_length() {
    let cluster = thirteen().await;
    let server = started(TestServer::config(&zone(&cluster, ZONE)), &cluster).await;
    let asker = Asker::new(&server);
    let mut untold = Vec::new();
    for Kind { what, query } in kinds() {
        let reply = asker.ask(&query);
        let factor = reply.len() as f64 / query.len() as f64;
        assert!(factor < BOUND, "{what}: {} octets for {}", reply.len(), query.len());
        let cut = if reply[2] & 2 == 0 { "" } else { ", TC" };
        let line = format!("| {what}{cut} | {} | {} | {factor:.1} |", query.len(), reply.len());
        if ClusterSpec::has_ipv6() && !is_told(&line) {
            untold.push(line);
        }
    }
    assert!(untold.is_empty(), "docs/hostile.md does not tell\n{}", untold.join("\n"));
}

#[tokio::test]
async fn no_name_of_a_zone_has_an_answer_of_five_times_its_query() {
    let cluster = thirteen().await;
    let mut config = TestServer::config(&zone(&cluster, ZONE));
    // As much as can be asked for beside an answer.
    config.server.identity = Some("i".repeat(64));
    config.server.version = Some("v".repeat(64));
    let server = started(config, &cluster).await;
    let asker = Asker::new(&server);
    let options = [
        None,
        Some(Vec::new()),
        Some(option(NSID, &[])),
        Some([option(NSID, &[]), option(ZONE_VERSION, &[])].concat()),
        Some([option(COOKIE, b"a client"), option(NSID, &[]), option(ZONE_VERSION, &[])].concat()),
    ];
    let scopes = ["", "dc1.", "dc2.", "dc1.rack1.", "rack1.dc1.", "dc1--rack1.", "dc1.rack4.", "dc2.rack3."];
    let mut names: Vec<String> = ["", "_alternator._tcp.", "_explain."]
        .iter()
        .flat_map(|front| scopes.map(|scope| format!("{front}{scope}{ZONE}")))
        .collect();
    let others = ["ns1.", "rack1.", "_tcp.", "x.", "n-127-13-71-1.", "x.y.dc1."];
    names.extend(others.map(|label| format!("{label}{ZONE}")));
    let mut most = (0.0, String::new());
    for asked in &names {
        for qtype in (1..=70).chain(245..=262) {
            for options in &options {
                let query = match options {
                    None => plain(asked, qtype),
                    Some(options) => with_opt(asked, qtype, options),
                };
                let factor = asker.factor(&query);
                let what = || format!("{asked} type {qtype} options {options:?}");
                assert!(factor < BOUND, "{}: {factor}", what());
                if factor > most.0 {
                    most = (factor, what());
                }
            }
        }
    }
    for text in ["id.server", "hostname.bind", "version.bind", "version.server"] {
        let question = question_of(&name(text), TXT, CHAOS);
        let factor = asker.factor(&query(&question, &[]));
        assert!((3.0..BOUND).contains(&factor), "{text}: {factor}");
    }
    println!("the most is {} for {}", most.0, most.1);
    assert!(most.0 > 4.0, "eight addresses are more than four times their query: {}", most.0);
}

#[tokio::test]
async fn the_factor_depends_on_the_length_of_the_zones_name() {
    // A zone of each length at which the documentation tells of one, and those on both sides of the bound.
    let apexes = ["db.test", "db.example.com", "dbs.example.com", ZONE, "alternator.example.com"];
    let cluster = thirteen().await;
    let mut config = TestServer::config(&zone(&cluster, ZONE));
    config.zones = apexes.iter().map(|apex| zone(&cluster, apex)).collect();
    let server = started(config, &cluster).await;
    let asker = Asker::new(&server);
    let mut untold = Vec::new();
    for apex in apexes {
        let [bare, edns] = [plain(apex, A), with_opt(apex, A, &[])].map(|query| asker.factor(&query));
        let line = format!("| `{apex}` | {} | {bare:.1} | {edns:.1} |", apex.len());
        if !is_told(&line) {
            untold.push(line);
        }
        // Eight addresses are 128 octets more than their query.
        assert_eq!(bare < BOUND, apex.len() >= 15, "{apex}: {bare}");
        assert!(edns < bare, "an OPT is in both");
    }
    assert!(untold.is_empty(), "docs/hostile.md does not tell\n{}", untold.join("\n"));
}

#[tokio::test]
async fn lists_grow_with_the_cluster_up_to_five_times_the_query() {
    // Every size, so that one of them is as near to the bound as it gets.
    let nodes: Vec<String> = (1..=12).map(|node| format!("dc1/rack1 127.13.73.{node}")).collect();
    let mut cut = 0;
    for size in 1..=nodes.len() {
        let some: Vec<&str> = nodes[..size].iter().map(String::as_str).collect();
        let cluster = cluster(&some).await;
        let mut config = TestServer::config(&TestServer::zone(&cluster, steady));
        config.zones[0].answers = Answers::Auto;
        let server = started(config, &cluster).await;
        let asker = Asker::new(&server);
        for (front, qtype) in [("_alternator._tcp", SRV), ("_explain", TXT)] {
            for scope in ["", "dc1.", "dc1.rack1."] {
                let asked = format!("{front}.{scope}{ZONE}");
                for query in [plain(&asked, qtype), with_opt(&asked, qtype, &[])] {
                    let reply = asker.ask(&query);
                    assert!(reply.len() <= 5 * query.len(), "{asked} of {size}: {} for {}", reply.len(), query.len());
                    cut += usize::from(reply[2] & 2 != 0);
                }
            }
        }
    }
    assert!(cut > 0, "some are beyond the bound, and asked for again over TCP");
}
