//! What packets are answered from: tables, settings and askers, each picked by bits of an input's first octet.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
};

use alternator_dns::{
    config::{Answers, CookieConfig, CookiePolicy, Seed, ServerConfig, ZoneConfig},
    model::{Access, ClusterView, Denied, Health, Member, Node, NodeHealth, NodeState, Source, Topology},
    server::{Asker, Cookies, Settings, Transport},
    table::{CompiledZone, Table, ZonePlan, ZoneSource, compile_zone},
    zone::file::{self, StaticZone},
};
use hickory_proto::rr::Name;

/// The zone with a cluster.
pub const CLUSTER: &str = "alternator.local.";

/// A zone below it, of static records alone.
pub const BELOW: &str = "below.alternator.local.";

/// A zone that some may not ask.
pub const CLOSED: &str = "closed.test.";

/// Static records of the zone with a cluster: aliases of every kind among them.
const RECORDS: &str = r#"$TTL 60
@ MX 10 mail
mail A 192.0.2.1
mail AAAA 2001:db8::1
static TXT hello
deep.er.static TXT below
*.wild TXT wild
*.wild A 192.0.2.2
deeper.wild A 192.0.2.3
*.deeper.wild CNAME static
alias CNAME static
twice CNAME alias
out CNAME www.example.com.
to-scope CNAME dc1
to-rack CNAME rack2.dc1
to-unready CNAME dc9
to-service CNAME _alternator._tcp.dc1.alternator.local.
to-explain CNAME _explain.dc1.alternator.local.
to-nothing CNAME no.such.name
to-empty CNAME er.static
to-below CNAME www.below.alternator.local.
to-closed CNAME www.closed.test.
*.loop CNAME a.loop
*.spiral CNAME again.below.alternator.local.
one CNAME two
two CNAME three
three CNAME four
four CNAME five
five CNAME six
six CNAME seven
seven CNAME eight
eight CNAME nine
nine A 192.0.2.9
_dyn._tcp SRV 0 5 8000 mail
caa CAA 0 issue "ca.example.net"
web HTTPS 1 . alpn=h2 port=8443
any TYPE65280 \# 3 abcdef
"#;

/// Those of the zone below it, which lead back.
const RECORDS_BELOW: &str = "$TTL 60\nwww A 192.0.2.4\nagain CNAME x.spiral.alternator.local.\n*.star CNAME www\n";

/// Those of the closed zone.
const RECORDS_CLOSED: &str = "$TTL 60\nwww A 192.0.2.5\n";

/// Who the closed zone answers, and who is refused at the listener with rules.
const FRIENDS: &str = "192.0.2.0/24";

/// A Table with answers of the usual size, and one with answers as long as they get.
pub fn table(all: bool) -> &'static Table {
    static TABLES: LazyLock<[Table; 2]> = LazyLock::new(|| [rich(Answers::Auto), rich(Answers::All)]);
    &TABLES[usize::from(all)]
}

/// What became of setting up a listener: nothing chosen, everything told, cookies required, or rules about who may ask.
pub fn settings(bits: u8) -> &'static Arc<Settings> {
    static SETTINGS: LazyLock<[Arc<Settings>; 4]> = LazyLock::new(|| {
        let listener = SocketAddr::from(([192, 0, 2, 53], 53));
        let of = |config: &ServerConfig, policy, access| {
            let secrets = vec![[7; 16], [8; 16]];
            let cookies = Cookies::new(&CookieConfig { policy, secrets }).unwrap();
            let mut settings = Settings::new(config, listener, cookies, &[listener], &[]);
            settings.access = access;
            Arc::new(settings)
        };
        let plain = ServerConfig::default();
        let told = ServerConfig { identity: Some("ns1".into()), version: Some("x".repeat(64)), ..plain.clone() };
        let rules = Access::new(&[FRIENDS.parse().unwrap()], &[], Denied::Refuse).unwrap();
        [
            of(&plain, CookiePolicy::Off, Access::default()),
            of(&told, CookiePolicy::Optional, Access::default()),
            of(&told, CookiePolicy::Required, Access::default()),
            of(&told, CookiePolicy::Off, rules),
        ]
    });
    &SETTINGS[usize::from(bits & 3)]
}

/// Who asks, by two bits: a stranger, one in a node's network, one with an IPv6 address, and one that cannot be.
pub fn asker(bits: u8, transport: Transport) -> Asker {
    let source = match bits & 3 {
        0 => "192.0.2.9:4000",
        1 => "10.0.1.77:53",
        2 => "[2001:db8::9]:65535",
        _ => "192.0.2.53:53",
    };
    Asker { source: source.parse().unwrap(), transport, keepalive: 300 }
}

/// How a packet comes, by two bits.
pub fn transport(bits: u8) -> Transport {
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Https][usize::from(bits & 3)]
}

fn rich(answers: Answers) -> Table {
    let open = |apex, records| zone(apex, records, answers, Access::default());
    let friends = Access::new(&[FRIENDS.parse().unwrap()], &[], Denied::Drop).unwrap();
    let closed = zone(CLOSED, RECORDS_CLOSED, answers, friends);
    Table::new([open(CLUSTER, RECORDS), open(BELOW, RECORDS_BELOW), closed].map(Arc::new))
}

/// A zone with these records; the first one with three racks, one of them down, and a datacenter without any node.
fn zone(apex: &str, records: &str, answers: Answers, access: Access) -> CompiledZone {
    let is_cluster = apex == CLUSTER;
    let apex = Name::from_ascii(apex).unwrap();
    let statics: StaticZone = file::parse(records, "zone".as_ref(), &apex).unwrap();
    let mut config = ZoneConfig { answers, access, ..ZoneConfig::new(apex) };
    let mut topology = Topology { source: Source::Discovery, ..Topology::default() };
    let mut health = Health::default();
    if is_cluster {
        config.cluster.seeds = vec![Seed::Address([10, 0, 1, 1].into())];
        config.cluster.datacenters.insert("dc9".into(), Vec::new());
        let racks = ["rack1", "rack2", "rack 3"].map(Into::into);
        config.cluster.datacenters.insert("dc1".into(), racks.into());
    }
    let places = [("10.0.1.", 40, "rack1"), ("10.0.2.", 3, "rack2"), ("fd00::", 9, "rack1"), ("10.0.3.", 2, "rack 3")];
    for (prefix, count, rack) in places.into_iter().filter(|_| is_cluster) {
        for number in 1..=count {
            let address: IpAddr = format!("{prefix}{number}").parse().unwrap();
            let node = Node { address, datacenter: Some("dc1".into()), rack: Some(rack.into()) };
            topology.members.insert(address, Member::new(node));
            let state = if rack == "rack 3" { NodeState::Down } else { NodeState::Up };
            health.nodes.insert(address, NodeHealth { state, ..NodeHealth::default() });
        }
    }
    let listen = vec!["192.0.2.53:53".parse().unwrap()];
    let source = Arc::new(ZoneSource { config, statics, listen, demand: Arc::default(), meter: Arc::default() });
    let plan = ZonePlan::new(
        &source,
        &ClusterView { topology: Arc::new(topology), health: Arc::new(health), ..ClusterView::default() },
    );
    compile_zone(source, plan, 7, None, 1)
}
