//! Zone files through the server: static records beside a cluster's names, and instead of them.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use alternator_dns::{
    app::{self, StartError},
    config::{self, DiscoveryMode, Flags, ZoneConfig},
    server::Outcome,
};
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, RecordType},
};
use tempfile::TempDir;

use crate::support::{
    Dig, Reply, TestServer, ZONE, cluster, eventually,
    packet::{query, question},
    steady,
};

/// A zone file in a folder of its own.
struct ZoneFile {
    _folder: TempDir,
    path: PathBuf,
}

impl ZoneFile {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zone");
        std::fs::write(&path, text).unwrap();
        ZoneFile { _folder: folder, path }
    }

    /// A zone of this file, without a cluster.
    fn zone(&self, apex: &str) -> ZoneConfig {
        let mut zone = ZoneConfig::new(Name::from_ascii(format!("{apex}.")).unwrap());
        zone.file = Some(self.path.clone());
        zone
    }
}

/// A server of this zone file alone.
async fn of(text: &str) -> (ZoneFile, TestServer) {
    let file = ZoneFile::new(text);
    let server = TestServer::start(TestServer::config(&file.zone(ZONE))).await;
    (file, server)
}

/// Owner, type and data of every answer.
fn told(reply: &Reply) -> Vec<String> {
    reply.answers().iter().map(|record| format!("{} {} {}", record.name, record.record_type(), record.data)).collect()
}

/// The problems of a start, without the folder.
async fn refused(zone: &ZoneConfig) -> Vec<String> {
    let Err(StartError::Zones(problems)) = app::start(&TestServer::config(zone)).await else { panic!("it started") };
    let folder = zone.file.as_ref().unwrap().parent().unwrap().display().to_string() + "/";
    problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
}

#[tokio::test]
async fn static_records_of_any_type_are_served_as_written() {
    let (_file, server) = of("$TTL 1h
www     A       10.0.0.1
        A       10.0.0.2
        60 AAAA fd00::1
mail    MX      10 mx1
        MX      20 mx2.example.com.
mx1     A       10.0.0.3
text    TXT     \"one\" \"two; three\"
web     HTTPS   1 . alpn=h2 port=8443
_x._tcp SRV     1 2 8000 www
ca      CAA     0 issue \"ca.example\"
odd     TYPE65280 \\# 3 010203
ptr     PTR     www.example.com.
")
    .await;
    for (name, rtype, ttl, data) in [
        ("www", RecordType::A, 3600, &["10.0.0.1", "10.0.0.2"][..]),
        ("www", RecordType::AAAA, 60, &["fd00::1"]),
        ("mail", RecordType::MX, 3600, &["10 mx1.alternator.local.", "20 mx2.example.com."]),
        ("_x._tcp", RecordType::SRV, 3600, &["1 2 8000 www.alternator.local."]),
        ("ptr", RecordType::PTR, 3600, &["www.example.com."]),
        ("ca", RecordType::CAA, 3600, &["0 issue \"ca.example\""]),
    ] {
        for reply in server.both_of(name, rtype, Outcome::Answered).await {
            let expected: Vec<String> = data.iter().map(|data| format!("{name}.{ZONE}. {rtype} {data}")).collect();
            assert_eq!(told(&reply), expected);
            assert!(reply.is_authoritative() && reply.ttl() == ttl, "{name}");
            assert_eq!(reply.counts(), [1, data.len() as u16, 0, 0]);
        }
    }
    let [text, _] = server.both_of("text", RecordType::TXT, Outcome::Answered).await;
    let RData::TXT(txt) = &text.answers()[0].data else { panic!("{text:?}") };
    assert_eq!(
        txt.txt_data.iter().map(|part| part.to_vec()).collect::<Vec<_>>(),
        [b"one".to_vec(), b"two; three".to_vec()]
    );
    for reply in server.both_of("odd", RecordType::Unknown(65280), Outcome::Answered).await {
        assert!(reply.bytes.ends_with(&[0xFF, 0, 0, 1, 0, 0, 0x0E, 0x10, 0, 3, 1, 2, 3]), "{:02x?}", reply.bytes);
    }
    let [https, _] = server.both_of("web", RecordType::HTTPS, Outcome::Answered).await;
    assert_eq!(https.answers().len(), 1);
    for (name, rtype) in [("www", RecordType::MX), ("mail", RecordType::A), ("_tcp", RecordType::SRV)] {
        server.both_of(name, rtype, Outcome::NoData).await;
    }
    server.both_of("nope", RecordType::A, Outcome::NxDomain).await;
}

#[tokio::test]
async fn soa_ns_and_glue_come_from_the_file_and_the_serial_from_us() {
    let (_file, server) = of("$TTL 1h
@       SOA     ns1 hostmaster 1 1h 10m 7d 9
@       NS      ns1
@       NS      ns2.example.com.
@       NS      ns3
ns1     A       10.0.0.1
ns1     AAAA    fd00::1
ns3     A       10.0.0.3
")
    .await;
    let [soa, _] = server.both_of("", RecordType::SOA, Outcome::Answered).await;
    let RData::SOA(data) = &soa.answers()[0].data else { panic!("{soa:?}") };
    assert_eq!((data.mname.to_ascii(), data.rname.to_ascii()), (format!("ns1.{ZONE}."), format!("hostmaster.{ZONE}.")));
    assert_eq!((data.refresh, data.retry, data.expire, data.minimum), (3600, 600, 604_800, 9));
    assert_ne!(data.serial, 1, "not the file's");
    for reply in server.both_of("", RecordType::NS, Outcome::Answered).await {
        assert_eq!(reply.counts(), [1, 3, 0, 3]);
        let glue: BTreeSet<String> =
            reply.message.additionals.iter().map(|record| format!("{} {}", record.name, record.data)).collect();
        let expected =
            ["ns1.alternator.local. 10.0.0.1", "ns1.alternator.local. fd00::1", "ns3.alternator.local. 10.0.0.3"];
        assert_eq!(glue, expected.map(str::to_owned).into());
    }
}

#[tokio::test]
async fn glue_that_does_not_fit_is_left_out_and_never_worth_a_truncation() {
    let mut text = "$TTL 1h\n".to_owned();
    for server in 1..=9 {
        text.push_str(&format!("@ NS ns{server}\n"));
        (1..=4).for_each(|address| text.push_str(&format!("ns{server} AAAA fd00::{server}:{address}\n")));
    }
    let (_file, server) = of(&text).await;
    for size in [None, Some(512), Some(600), Some(1232)] {
        let dig = server.dig("", RecordType::NS);
        let dig = size.map_or(dig.clone(), |size| dig.edns(size));
        let reply = dig.ask().await;
        assert!(!reply.is_truncated() && reply.answers().len() == 9, "{size:?}");
        assert!(reply.bytes.len() <= usize::from(size.unwrap_or(512)));
        assert!(reply.message.additionals.is_empty(), "all glue or none, so that no RRset is cut");
        assert_eq!(reply.message.edns.is_some(), size.is_some());
        assert_eq!(dig.tcp().ask().await.message.additionals.len(), 36);
    }
    assert_eq!(server.count(Outcome::Truncated), 0);
}

#[tokio::test]
async fn a_wildcard_below_another_label_is_refused_at_load() {
    let file = ZoneFile::new("$TTL 60\n* TXT x\n\nsub.*.x TXT x\n");
    let problems = refused(&file.zone(ZONE)).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("a.zone:4: sub.*.x.alternator.local.: \"*\" is a wildcard"), "{problems:?}");
}

#[tokio::test]
async fn wildcards_answer_for_names_below_their_closest_encloser_only() {
    let (_file, server) = of("$TTL 60
*               TXT     \"this is a wildcard\"
*               MX      10 host1
host1           A       192.0.2.1
_ssh._tcp.host1 SRV     0 0 22 host1
_ssh._tcp.host2 SRV     0 0 22 host1
*.deep          A       192.0.2.9
*.alias         CNAME   host1
")
    .await;
    let text = |name: &str| vec![format!("{name}.{ZONE}. TXT this is a wildcard")];
    for (name, rtype, outcome) in [
        // RFC 4592 section 2.2.1: these are synthesised from the wildcard ...
        ("host3", RecordType::MX, Outcome::Answered),
        ("foo.bar", RecordType::TXT, Outcome::Answered),
        ("a.b.c.d", RecordType::TXT, Outcome::Answered),
        // ... this has the wildcard's name, but not the type,
        ("host3", RecordType::A, Outcome::NoData),
        // ... and these are not: the name exists,
        ("host1", RecordType::MX, Outcome::NoData),
        ("sub.deep", RecordType::TXT, Outcome::NoData),
        // ... or a name between it and the wildcard does, if only as an empty non-terminal.
        ("host2", RecordType::MX, Outcome::NoData),
        ("_tcp.host1", RecordType::TXT, Outcome::NoData),
        ("_telnet._tcp.host1", RecordType::SRV, Outcome::NxDomain),
        ("x.host1", RecordType::TXT, Outcome::NxDomain),
        ("x.host2", RecordType::TXT, Outcome::NxDomain),
        ("deep", RecordType::TXT, Outcome::NoData),
        ("a.b.deep", RecordType::A, Outcome::Answered),
        // The wildcard itself is a name like any other.
        ("*", RecordType::TXT, Outcome::Answered),
        ("*", RecordType::A, Outcome::NoData),
        ("x.*", RecordType::TXT, Outcome::NxDomain),
        ("host3", RecordType::ANY, Outcome::Answered),
        ("x.host1", RecordType::ANY, Outcome::NxDomain),
    ] {
        let replies = server.both_of(name, rtype, outcome).await;
        if rtype == RecordType::TXT && outcome == Outcome::Answered {
            assert_eq!(told(&replies[0]), text(name));
        }
    }
    // The owner is the name asked for, in its spelling.
    for reply in server.both_raw(&query(&question("HoSt3.alternator.local", 16), &[]), Outcome::Answered).await {
        assert_eq!(reply.answers()[0].name.to_ascii(), "HoSt3.alternator.local.");
    }
    for reply in server.both_of("x.y.alias", RecordType::A, Outcome::Answered).await {
        assert_eq!(
            told(&reply),
            ["x.y.alias.alternator.local. CNAME host1.alternator.local.", "host1.alternator.local. A 192.0.2.1"]
        );
    }
}

#[tokio::test]
async fn a_wildcard_never_covers_the_clusters_names() {
    let file = ZoneFile::new("$TTL 60\n* A 192.0.2.1\n*.dc1 A 192.0.2.2\n");
    let cluster = cluster(&["dc1/rack1 127.13.51.1", "dc2/rack1 127.13.51.2"]).await;
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        zone.file = Some(file.path.clone());
    })
    .await;
    server.answers("", &["127.13.51.1", "127.13.51.2"]).await;
    for (name, expected) in [
        ("dc1", "127.13.51.1"),
        ("dc1.rack1", "127.13.51.1"),
        ("rack1.dc1", "127.13.51.1"),
        ("n-127-13-51-2", "127.13.51.2"),
        ("dc3", "192.0.2.1"),
        ("x.y", "192.0.2.1"),
        ("rack2.dc1", "192.0.2.2"),
    ] {
        assert_eq!(server.set(name).await, BTreeSet::from([expected.to_owned()]), "{name}");
    }
    server.both_of("rack1", RecordType::A, Outcome::NoData).await;
    server.both_of("dc2.rack2", RecordType::A, Outcome::Answered).await;
    server.both_of("x.rack1", RecordType::A, Outcome::NxDomain).await;
    server.both_of("x.dc2", RecordType::A, Outcome::NxDomain).await;
    server.both_of("dc1", RecordType::AAAA, Outcome::NoData).await;
}

#[tokio::test]
async fn aliases_are_followed_as_far_as_they_are_ours() {
    let file = ZoneFile::new(
        "$TTL 60
db              CNAME   dc1
rackless        CNAME   dc1.rack1
all             CNAME   @
chain           CNAME   db
chain2          CNAME   chain
www             CNAME   www2
www2            CNAME   host
host            A       192.0.2.1
out             CNAME   www.example.com.
nothing         CNAME   nope
empty           CNAME   rack1
text            CNAME   host
service         CNAME   _alternator._tcp.dc1
",
    );
    let cluster = cluster(&["dc1/rack1 127.13.52.1", "dc2/rack1 127.13.52.2"]).await;
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        zone.file = Some(file.path.clone());
    })
    .await;
    server.answers("", &["127.13.52.1", "127.13.52.2"]).await;
    let cname = |owner: &str, target: &str| format!("{owner}.{ZONE}. CNAME {target}");
    let here = |name: &str| format!("{name}.{ZONE}.");
    for (name, rtype, outcome, expected) in [
        (
            "db",
            RecordType::A,
            Outcome::Answered,
            vec![cname("db", &here("dc1")), format!("{} A 127.13.52.1", here("dc1"))],
        ),
        (
            "rackless",
            RecordType::A,
            Outcome::Answered,
            vec![cname("rackless", &here("dc1.rack1")), format!("{} A 127.13.52.1", here("dc1.rack1"))],
        ),
        (
            "chain2",
            RecordType::A,
            Outcome::Answered,
            vec![
                cname("chain2", &here("chain")),
                cname("chain", &here("db")),
                cname("db", &here("dc1")),
                format!("{} A 127.13.52.1", here("dc1")),
            ],
        ),
        (
            "www",
            RecordType::A,
            Outcome::Answered,
            vec![cname("www", &here("www2")), cname("www2", &here("host")), format!("{} A 192.0.2.1", here("host"))],
        ),
        ("out", RecordType::A, Outcome::Answered, vec![cname("out", "www.example.com.")]),
        // Asked for itself, an alias is a record like any other.
        ("www", RecordType::CNAME, Outcome::Answered, vec![cname("www", &here("www2"))]),
        ("out", RecordType::CNAME, Outcome::Answered, vec![cname("out", "www.example.com.")]),
        // The alias exists, what it stands for has no such type.
        ("db", RecordType::AAAA, Outcome::Answered, vec![cname("db", &here("dc1"))]),
        ("text", RecordType::TXT, Outcome::Answered, vec![cname("text", &here("host"))]),
        ("empty", RecordType::A, Outcome::Answered, vec![cname("empty", &here("rack1"))]),
    ] {
        for reply in server.both_of(name, rtype, outcome).await {
            assert_eq!(told(&reply), expected, "{name} {rtype}");
            assert!(reply.is_authoritative() && reply.rcode() == ResponseCode::NoError, "{name} {rtype}");
            let nodata = told(&reply).last().unwrap().contains("CNAME")
                && rtype != RecordType::CNAME
                && !told(&reply).last().unwrap().ends_with("example.com.");
            assert_eq!(reply.has_soa(), nodata, "{name} {rtype}: the SOA says how long there is nothing");
        }
    }
    let [all, _] = server.both_of("all", RecordType::A, Outcome::Answered).await;
    assert_eq!(all.set(), ["127.13.52.1", "127.13.52.2"].map(str::to_owned).into());
    let [service, _] = server.both_of("service", RecordType::SRV, Outcome::Answered).await;
    assert_eq!(service.answers().len(), 2);
    // RFC 6604 section 3: the rcode is that of the last name.
    for reply in server.both_of("nothing", RecordType::A, Outcome::NxDomain).await {
        assert_eq!(told(&reply), [cname("nothing", &here("nope"))]);
        assert!(reply.has_soa() && reply.is_authoritative());
    }
}

#[tokio::test]
async fn alias_loops_end_soon_and_loops_within_a_file_are_refused_at_load() {
    let file = ZoneFile::new("$TTL 60\na CNAME b\nb CNAME c\nc CNAME a\n");
    assert_eq!(
        refused(&file.zone(ZONE)).await,
        [
            "a.zone:2: CNAME loop: a.alternator.local. -> b.alternator.local. -> c.alternator.local. -> a.alternator.local."
        ]
    );
    // Which names a wildcard covers is not known at load; neither is what another zone says.
    let (_file, server) = of("$TTL 60\n*.w CNAME x.w\n").await;
    let reply = server.dig("y.w", RecordType::A).tcp().ask().await;
    assert_eq!(reply.rcode(), ResponseCode::NoError);
    assert_eq!(
        told(&reply),
        ["y.w.alternator.local. CNAME x.w.alternator.local.", "x.w.alternator.local. CNAME x.w.alternator.local."]
    );

    let (one, two) =
        (ZoneFile::new("$TTL 60\na CNAME a.two.example.\n"), ZoneFile::new("$TTL 60\na CNAME a.one.example.\n"));
    let mut config = TestServer::config(&one.zone("one.example"));
    config.zones.push(two.zone("two.example"));
    let server = TestServer::start(config).await;
    let reply = Dig::new(server.address, "a.one.example", RecordType::A).tcp().ask().await;
    assert_eq!(told(&reply), ["a.one.example. CNAME a.two.example.", "a.two.example. CNAME a.one.example."]);
}

#[tokio::test]
async fn a_record_of_a_configured_scopes_name_stops_the_start() {
    let cluster = cluster(&["dc1/rack1 127.13.53.1"]).await;
    for (entry, scope) in [
        ("dc1 A 10.0.0.1", "dc1"),
        ("DC1 TXT text", "dc1"),
        ("dc1.rack1 A 10.0.0.1", "dc1/rack1"),
        ("rack1.dc1 CNAME x.example.", "dc1/rack1"),
        ("dc1--rack1 A 10.0.0.1", "dc1/rack1"),
        ("@ A 10.0.0.1", "cluster"),
        ("@ AAAA fd00::1", "cluster"),
    ] {
        let file = ZoneFile::new(&format!("$TTL 60\nwww A 10.0.0.9\n{entry}\n"));
        let zone = TestServer::zone(&cluster, |zone| zone.file = Some(file.path.clone()));
        let problems = refused(&zone).await;
        assert_eq!(problems.len(), 1, "{entry}: {problems:?}");
        assert!(problems[0].starts_with("a.zone:3: "), "{entry}: {problems:?}");
        assert!(problems[0].contains(&format!("has the name of the scope {scope}, ")), "{entry}: {problems:?}");
    }
    // All of them at once, and what else the apex holds is its own.
    let file = ZoneFile::new("$TTL 60\n@ TXT fine\n@ A 10.0.0.1\n@ MX 1 www\ndc1 A 10.0.0.1\nwww A 10.0.0.2\n");
    let zone = TestServer::zone(&cluster, |zone| zone.file = Some(file.path.clone()));
    assert_eq!(refused(&zone).await.len(), 2);
}

#[tokio::test]
async fn records_below_or_beside_scopes_are_served() {
    let file = ZoneFile::new("$TTL 60\nx.dc1 A 10.0.0.1\nrack1 TXT here\n@ TXT apex\nn-127-13-54-1 TXT node\n");
    let cluster = cluster(&["dc1/rack1 127.13.54.1"]).await;
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        zone.file = Some(file.path.clone());
    })
    .await;
    server.answers("", &["127.13.54.1"]).await;
    for (name, rtype) in
        [("x.dc1", RecordType::A), ("rack1", RecordType::TXT), ("", RecordType::TXT), ("dc1", RecordType::A)]
    {
        server.both_of(name, rtype, Outcome::Answered).await;
    }
    server.both_of("rack1", RecordType::A, Outcome::NoData).await;
}

#[tokio::test]
async fn a_zone_without_seeds_serves_its_static_records_and_nothing_else() {
    let (_file, server) = of("$TTL 60\n@ A 10.0.0.1\ndc1 A 10.0.0.2\n").await;
    for (name, expected) in [("", "10.0.0.1"), ("dc1", "10.0.0.2")] {
        for reply in server.both_of(name, RecordType::A, Outcome::Answered).await {
            assert_eq!(reply.set(), BTreeSet::from([expected.to_owned()]));
        }
    }
    for (name, rtype, outcome) in [
        ("", RecordType::SOA, Outcome::Answered),
        ("", RecordType::NS, Outcome::Answered),
        ("", RecordType::AAAA, Outcome::NoData),
        ("_explain", RecordType::TXT, Outcome::NxDomain),
        ("_alternator._tcp", RecordType::SRV, Outcome::NxDomain),
        ("dc2", RecordType::A, Outcome::NxDomain),
    ] {
        server.both_of(name, rtype, outcome).await;
    }
}

#[tokio::test]
async fn every_problem_of_every_zone_file_is_told_at_once() {
    let (bad, worse) =
        (ZoneFile::new("$TTL 60\nfoo A 1.2.3\nbar FOO x\n"), ZoneFile::new("www A 10.0.0.1\n\nx 5 IN\n"));
    let mut config = TestServer::config(&bad.zone("one.example"));
    config.zones.push(worse.zone("two.example"));
    let mut missing = bad.zone("three.example");
    missing.file = Some(PathBuf::from("/nonexistent/zone"));
    config.zones.push(missing);
    let Err(error @ StartError::Zones(_)) = app::start(&config).await else { panic!("it started") };
    let text = error.to_string();
    for expected in ["a.zone:2: ", "a.zone:3: ", "a.zone:1: ", "/nonexistent/zone: no such zone file"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn the_example_configuration_loads_and_its_zone_file_with_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones");
    let flags = Flags { config: Some(folder.join("alternator-dns.toml")), ..Flags::default() };
    let loaded = config::load(&flags, [], &[] as &[&Path]).unwrap();
    let [zone] = &loaded.config.zones[..] else { panic!("{:?}", loaded.config) };
    assert_eq!((zone.name(), zone.file.clone()), (ZONE.to_owned(), Some(folder.join("alternator.local.zone"))));
    let statics = app::load_zones(&loaded.config).unwrap();
    assert!(statics[0].records.len() >= 2, "{statics:?}");
}

#[tokio::test]
async fn the_example_zone_is_served_over_a_cluster() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones");
    let flags = Flags { config: Some(folder.join("alternator-dns.toml")), ..Flags::default() };
    let mut config = config::load(&flags, [], &[] as &[&Path]).unwrap().config;
    let cluster = cluster(&["dc1/rack1 127.13.55.1", "dc1/rack2 127.13.55.2", "dc2/r 127.13.55.3"]).await;
    let over = TestServer::zone(&cluster, steady);
    config.server.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.zones[0].cluster = alternator_dns::config::ClusterConfig {
        datacenters: config.zones[0].cluster.datacenters.clone(),
        ..over.cluster
    };
    config.zones[0].health = over.health;
    let server = TestServer::start(config).await;
    server.answers("web", &["127.13.55.1"]).await;
    server.answers("dc2", &["127.13.55.3"]).await;
    let [text, _] = server.both_of("", RecordType::TXT, Outcome::Answered).await;
    assert!(text.texts()[0].contains("Alternator"));
    let [ns, _] = server.both_of("", RecordType::NS, Outcome::Answered).await;
    assert_eq!(ns.message.additionals.len(), 1);
}

/// Collects what is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

#[tokio::test]
async fn a_record_of_a_learnt_scopes_name_wins_and_that_is_logged() {
    // A test of one thread: everything the server's tasks log passes here.
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let file = ZoneFile::new("$TTL 60\ndc1.rack2 A 10.0.0.1\n");
    let cluster = cluster(&["dc1/rack1 127.13.56.1", "dc1/rack2 127.13.56.2"]).await;
    let state = tempfile::tempdir().unwrap();
    // The rack is learnt: nothing but tables and an earlier run tells of it.
    let mut config = TestServer::config(&TestServer::zone(&cluster, steady));
    config.zones[0].cluster.discovery = DiscoveryMode::Auto;
    config.server.state_dir = Some(state.path().to_owned());
    let server = TestServer::start(config.clone()).await;
    server.answers("dc1.rack2", &["127.13.56.2"]).await;
    server.app.stop().await;

    config.zones[0].file = Some(file.path.clone());
    config.zones[0].cluster.datacenters.insert("dc1".into(), vec!["rack1".into()]);
    let server = TestServer::start(config).await;
    server.answers("dc1", &["127.13.56.1", "127.13.56.2"]).await;
    server.answers("dc1.rack2", &["10.0.0.1"]).await;
    // The scope keeps its other names.
    server.answers("rack2.dc1", &["127.13.56.2"]).await;
    let line = "dc1.rack2.alternator.local.: the zone file's record is served, not the scope dc1/rack2";
    eventually(async || log.text(), |text| text.contains(line)).await;
    assert_eq!(log.text().matches(line).count(), 1, "once, not at every compile");
}
