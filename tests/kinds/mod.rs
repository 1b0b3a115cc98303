//! One query of every kind that the compiled path answers, and the Table they are asked of. Shared by the test of
//! allocations, the benchmarks and the count of instructions, so that all three speak of the same queries.
#![allow(dead_code, reason = "each of the programs that share this uses a part")]
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "compiled into tests and benchmarks only")]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use alternator_dns::{
    config::{AddressRule, CookieConfig, CookiePolicy, Mapping, Seed, ServerConfig, ZoneConfig},
    model::{Access, ClusterView, Denied, Health, Member, Node, Source, Topology},
    server::{Cookies, Counters, Outcome, Settings},
    table::{CompiledZone, Table, ZonePlan, ZoneSource, compile_zone},
    zone::file::{self, StaticZone},
};
use hickory_proto::rr::Name;

/// The zone of most questions: six IPv4 and two IPv6 nodes in three racks, static records, no wildcard.
pub const ZONE: &str = "alternator.local.";

/// A zone of static records with a wildcard, and of two nodes that [`SEEN`] is given other addresses of.
const WILD_ZONE: &str = "wild.test.";

/// A zone that nobody may ask for.
const CLOSED_ZONE: &str = "closed.test.";

/// A zone with a thousand nodes.
const MANY_ZONE: &str = "many.test.";

/// Nodes of [`MANY_ZONE`].
const MANY: u32 = 1000;

/// An asker in no node's network, and one in that of 10.0.1.1.
const FAR: [u8; 4] = [192, 0, 2, 9];
const NEAR: [u8; 4] = [10, 0, 1, 77];

/// An asker who is given other addresses of the nodes of [`WILD_ZONE`].
const SEEN: [u8; 4] = [203, 0, 113, 9];

const A: u16 = 1;
const NS: u16 = 2;
const SOA: u16 = 6;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const CLASS_IN: u16 = 1;
const CLASS_CH: u16 = 3;

/// Which EDNS a query carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edns {
    No,
    /// An OPT without options.
    Plain,
    /// An OPT with NSID, cookie and client-subnet options.
    Options,
}

impl Edns {
    pub const ALL: [Edns; 3] = [Edns::No, Edns::Plain, Edns::Options];
}

/// One kind of query.
#[derive(Clone, Debug)]
pub struct Kind {
    pub name: &'static str,
    pub packet: Vec<u8>,
    pub source: SocketAddr,
    /// What it becomes over UDP.
    pub outcome: Outcome,
    /// What it becomes over TCP, where nothing is truncated.
    pub over_tcp: Outcome,
}

/// A query in the making.
struct Asked {
    name: &'static str,
    qtype: u16,
    qclass: u16,
    source: [u8; 4],
    /// The first two octets of flags.
    flags: [u8; 2],
    version: u8,
}

const ASKED: Asked = Asked { name: ZONE, qtype: A, qclass: CLASS_IN, source: FAR, flags: [1, 0], version: 0 };

impl Asked {
    fn packet(&self, edns: Edns) -> Vec<u8> {
        let mut packet =
            vec![0x12, 0x34, self.flags[0], self.flags[1], 0, 1, 0, 0, 0, 0, 0, u8::from(edns != Edns::No)];
        packet.extend(wire(self.name));
        packet.extend(self.qtype.to_be_bytes());
        packet.extend(self.qclass.to_be_bytes());
        let options: &[u8] = match edns {
            Edns::No => return packet,
            Edns::Plain => &[],
            // NSID, an empty one; a client's cookie; 192.0.2.0/24.
            Edns::Options => &[0, 3, 0, 0, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2],
        };
        packet.extend([0, 0, 41, 0x04, 0xD0, 0, self.version, 0, 0]);
        packet.extend((options.len() as u16).to_be_bytes());
        packet.extend(options);
        packet
    }
}

/// A name as written, case kept, in wire format.
fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// Every kind, with this EDNS. A query of version 1 has an OPT always.
pub fn kinds(edns: Edns) -> Vec<Kind> {
    let kind = |name, asked: Asked, outcome| Kind {
        name,
        packet: asked.packet(if asked.version > 0 && edns == Edns::No { Edns::Plain } else { edns }),
        source: SocketAddr::new(Ipv4Addr::from(asked.source).into(), 4000),
        outcome,
        over_tcp: outcome,
    };
    let name = |name, qtype| Asked { name, qtype, ..ASKED };
    let mut two_questions = kind("FormErr, two questions", ASKED, Outcome::FormErr);
    two_questions.packet[5] = 2;
    let mut wrong_cookie = kind("BadCookie, no question", ASKED, Outcome::BadCookie);
    wrong_cookie.packet = [
        &[0x12, 0x34, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1][..],
        &[0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0, 0, 28, 0, 10, 0, 24],
        &[7; 24],
    ]
    .concat();
    let mut short = kind("Dropped, too short", ASKED, Outcome::Dropped);
    short.packet.truncate(11);
    let mut truncated = kind("Truncated", name("_alternator._tcp.many.test.", SRV), Outcome::Truncated);
    truncated.over_tcp = Outcome::Answered;
    vec![
        kind("A, several", ASKED, Outcome::Answered),
        kind("A, one (asker near a node)", Asked { source: NEAR, ..ASKED }, Outcome::Answered),
        kind("A of a rack", name("dc1.rack1.alternator.local.", A), Outcome::Answered),
        kind("A, random case", name("AlTErNaTOR.lOcaL.", A), Outcome::Answered),
        kind("A of 1000 nodes", name(MANY_ZONE, A), Outcome::Answered),
        kind("A by view", Asked { name: WILD_ZONE, source: SEEN, ..ASKED }, Outcome::Answered),
        kind("AAAA", name(ZONE, AAAA), Outcome::Answered),
        kind("SRV", name("_alternator._tcp.dc1.rack1.alternator.local.", SRV), Outcome::Answered),
        kind("SOA", name(ZONE, SOA), Outcome::Answered),
        kind("NS with glue", name(ZONE, NS), Outcome::Answered),
        kind("static record", name("static.alternator.local.", TXT), Outcome::Answered),
        kind("wildcard record", name("any.thing.star.wild.test.", TXT), Outcome::Answered),
        kind("node's name", name("n-10-0-1-1.alternator.local.", A), Outcome::Answered),
        kind("NoData, type", name(ZONE, MX), Outcome::NoData),
        kind("NoData, empty non-terminal", name("_tcp.alternator.local.", A), Outcome::NoData),
        kind("NxDomain", name("no.such.name.alternator.local.", A), Outcome::NxDomain),
        kind("NxDomain beside wildcards", name("no.such.name.wild.test.", A), Outcome::NxDomain),
        kind("Refused, outside", name("www.example.com.", A), Outcome::Refused),
        kind("Refused, class", Asked { qclass: CLASS_CH, ..ASKED }, Outcome::Refused),
        kind("Denied", name(CLOSED_ZONE, A), Outcome::Denied),
        kind("ServFail", name("dc9.alternator.local.", A), Outcome::ServFail),
        two_questions,
        kind("NotImp, opcode", Asked { flags: [0x29, 0], ..ASKED }, Outcome::NotImp),
        kind("BadVers", Asked { version: 1, ..ASKED }, Outcome::BadVers),
        wrong_cookie,
        truncated,
        kind("Dropped, a response", Asked { flags: [0x81, 0], ..ASKED }, Outcome::Dropped),
        short,
    ]
}

/// What the operator of the server chose that [`kinds`] are asked of: the defaults, and a name for it.
pub fn settings() -> Arc<Settings> {
    let cookies = CookieConfig { policy: CookiePolicy::Optional, secrets: vec![[7; 16]] };
    let config = ServerConfig { identity: Some("ns1".to_owned()), cookies, ..ServerConfig::default() };
    let listener = config.listen[0];
    Arc::new(Settings::new(&config, listener, Cookies::new(&config.cookies).unwrap(), &[listener], &[]))
}

/// The Table that [`kinds`] are asked of, counted by these.
pub fn table(counters: &Counters) -> Table {
    Table::new([zone, wild_zone, many_zone, closed_zone].map(|zone| Arc::new(zone(counters))))
}

/// [`ZONE`].
pub fn zone(counters: &Counters) -> CompiledZone {
    let places = [
        ("10.0.1.1", "rack1"),
        ("10.0.1.2", "rack1"),
        ("10.0.2.1", "rack2"),
        ("10.0.2.2", "rack2"),
        ("10.0.3.1", "rack3"),
        ("10.0.3.2", "rack3"),
        ("fd00::1", "rack1"),
        ("fd00::2", "rack2"),
    ];
    let nodes = places.into_iter().map(|(address, rack)| (address.parse().unwrap(), rack.to_owned()));
    compiled(counters, ZONE, "static.alternator.local. 60 IN TXT hello\n", nodes)
}

fn wild_zone(counters: &Counters) -> CompiledZone {
    let text = "www.wild.test. 60 IN TXT hello\n*.star.wild.test. 60 IN TXT hello\n";
    let nodes = ["10.0.1.1", "10.0.1.2"].map(|address| (address.parse().unwrap(), "rack1".to_owned()));
    let own = compiled(counters, WILD_ZONE, text, nodes);
    let mut source = (*own.source).clone();
    let prefix = |text: &str| text.parse().unwrap();
    let to = Mapping::Network { from: prefix("10.0.1.0/24"), to: prefix("198.51.100.0/24") };
    source.config.address_map = vec![AddressRule { clients: Some(vec![prefix("203.0.113.0/24")]), to }];
    let health = Arc::new(Health { disabled: true, ..Health::default() });
    let view = ClusterView { topology: own.plan.topology.clone(), health, ..ClusterView::default() };
    let plan = ZonePlan::new(&source, &view);
    compile_zone(Arc::new(source), plan, 7, None, 1)
}

fn closed_zone(counters: &Counters) -> CompiledZone {
    let open = compiled(counters, CLOSED_ZONE, "", []);
    let mut source = (*open.source).clone();
    source.config.access = Access::new(&[], &["0.0.0.0/0".parse().unwrap()], Denied::Refuse).unwrap();
    compile_zone(Arc::new(source), (*open.plan).clone(), 7, None, 1)
}

fn many_zone(counters: &Counters) -> CompiledZone {
    let node = |number| (IpAddr::V4(Ipv4Addr::from(0x0A01_0000 + number)), format!("rack{}", number % 3));
    compiled(counters, MANY_ZONE, "", (1..=MANY).map(node))
}

/// A zone with these static records and nodes, all in `dc1`; `dc9` is configured and has none.
fn compiled(
    counters: &Counters,
    apex: &str,
    statics: &str,
    nodes: impl IntoIterator<Item = (IpAddr, String)>,
) -> CompiledZone {
    let meter = counters.meter(apex);
    let apex = Name::from_ascii(apex).unwrap();
    let statics: StaticZone = file::parse(statics, "zone".as_ref(), &apex).unwrap();
    let mut config = ZoneConfig::new(apex);
    config.cluster.datacenters.insert("dc9".into(), Vec::new());
    let mut topology = Topology { source: Source::Discovery, ..Topology::default() };
    for (address, rack) in nodes {
        config.cluster.seeds = vec![Seed::Address(address)];
        let racks = config.cluster.datacenters.entry("dc1".into()).or_default();
        if !racks.iter().any(|known| **known == *rack) {
            racks.push(rack.as_str().into());
        }
        let node = Node { address, datacenter: Some("dc1".into()), rack: Some(rack.into()) };
        topology.members.insert(address, Member::new(node));
    }
    // Nobody is probed: listing alone decides.
    let health = Health { disabled: true, ..Health::default() };
    let listen = vec!["192.0.2.53:53".parse().unwrap()];
    let source = Arc::new(ZoneSource { config, statics, listen, demand: Arc::default(), meter });
    let plan = ZonePlan::new(
        &source,
        &ClusterView { topology: Arc::new(topology), health: Arc::new(health), ..ClusterView::default() },
    );
    compile_zone(source, plan, 7, None, 1)
}
