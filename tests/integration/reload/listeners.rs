//! Everything that a reload changes at once, under queries without a pause.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    time::Duration,
};

use alternator_dns::{
    config::{AdminConfig, Config, ZoneConfig},
    model::Source,
};
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};

use crate::support::{Dig, Load, TestServer, ZONE, cluster, eventually, free_port, ip, set};

fn of_file(folder: &Path, apex: &str) -> ZoneConfig {
    let path = folder.join(apex);
    std::fs::write(&path, "$TTL 60\nwww A 192.0.2.1\n").unwrap();
    let mut zone = ZoneConfig::new(Name::from_ascii(format!("{apex}.")).unwrap());
    zone.file = Some(path);
    zone
}

type Change<'c> = &'c dyn Fn(&mut Config);

fn another() -> SocketAddr {
    (ip("127.0.0.1"), free_port(ip("127.0.0.1"))).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_reloads_lose_no_query() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = cluster(&["dc1/rack1 127.31.8.1", "dc1/rack1 127.31.8.2", "dc1/rack2 127.31.8.3"]).await;
    let mut config = TestServer::config(&TestServer::zone(&nodes, |zone| zone.health.timeout = Duration::from_secs(5)));
    config.zones.push(of_file(folder.path(), "stays.test"));
    let mut server = TestServer::start(config).await;
    server.answers("", &["127.31.8.1", "127.31.8.2", "127.31.8.3"]).await;
    let base = server.app.config().clone();
    let (listener, extra) = (another(), of_file(folder.path(), "flips.test"));
    let load = Load::start(server.address, &[ZONE, "dc1.alternator.local", "www.stays.test"], 1000);
    for round in 0..50u8 {
        let flip = round % 2 == 0;
        let mut config = base.clone();
        config.zones[0].health.interval += Duration::from_millis(1 + u64::from(round));
        config.server.cookies.secrets = vec![[round; 16]];
        config.server.tcp.connections -= usize::from(round);
        if flip {
            config.zones.push(extra.clone());
            config.server.listen.push(listener);
        }
        let told = server.app.reload(&config).await.unwrap().to_string();
        for part in ["zone alternator.local: health", "server.cookies"] {
            assert!(told.contains(part), "{told}");
        }
        // What came with it works at once, and what went with it is gone.
        let reply = server.dig("", RecordType::A);
        assert_eq!(reply.tcp().ask().await.answers().len(), 3);
        let flipped = Dig::new(if flip { listener } else { server.address }, "www.flips.test", RecordType::A);
        assert_eq!(flipped.ask().await.rcode() == ResponseCode::NoError, flip, "round {round}");
        let is_taken = async || UdpSocket::bind(listener).is_err() || TcpListener::bind(listener).is_err();
        // A listener that is gone still answers what it has received.
        eventually(is_taken, |is_taken| *is_taken == flip).await;
    }
    // The load fails by itself for a query without a reply, an error and an empty answer.
    let samples = load.stop().await;
    let all = [1, 2, 3].map(|last| ip(&format!("127.31.8.{last}"))).into();
    assert!(samples.iter().all(|sample| sample.question == 2 || sample.set == all));
    assert!(samples.len() > 1000, "{} queries", samples.len());
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_certificate_that_does_not_fit_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = TestServer::start(TestServer::config(&of_file(folder.path(), "one.test"))).await;
    let base = server.app.config().clone();
    let (table, listen) = (server.app.table(), server.app.addresses().to_vec());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let changed = |change: Change<'_>| {
        let mut config = base.clone();
        config.zones.push(of_file(folder.path(), "two.test"));
        config.server.listen.push(another());
        config.server.identity = Some("other".into());
        change(&mut config);
        config
    };
    let [one, other] = ["one", "other"].map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap());
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, one.cert.pem()).unwrap();
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    let encrypted = |config: &mut Config| {
        config.server.tls.listen = vec![another()];
        config.server.tls.certificate = Some(chain.clone());
        config.server.tls.key = Some(key.clone());
    };
    let admin = |address| AdminConfig { listen: vec![address], is_default: false, token_file: None };
    let cases: [(Change<'_>, &str); 3] = [
        (&|config| config.server.listen.push(taken.local_addr().unwrap()), "another program has the port"),
        (&|config| config.server.admin = admin(taken.local_addr().unwrap()), "another program has the port"),
        (&encrypted, "does not belong to the first certificate"),
    ];
    for (change, expected) in cases {
        let config = changed(change);
        let error = server.app.reload(&config).await.map(|applied| applied.to_string()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(std::sync::Arc::ptr_eq(&table, &server.app.table()), "{expected}");
        assert_eq!((server.app.addresses(), server.app.config()), (&listen[..], &base), "{expected}");
        let new = config.server.listen[1];
        // Workers that waited for nothing take a moment to end.
        eventually(async || UdpSocket::bind(new).is_ok() && TcpListener::bind(new).is_ok(), |free| *free).await;
        let reply = Dig::new(server.address, "www.one.test", RecordType::A).ask().await;
        assert_eq!(reply.set(), set(&["192.0.2.1"]));
    }
    // Mended, all of it comes.
    std::fs::write(&key, one.signing_key.serialize_pem()).unwrap();
    let config = changed(&encrypted);
    let told = server.app.reload(&config).await.unwrap().to_string();
    assert_eq!(told, "changed: zone two.test added; server.listen, server.identity, server.tls; certificate");
    assert_eq!(server.app.sight().identity.load().as_deref().map(String::as_str), Some("other"));
    assert_eq!(server.app.reload(&config).await.unwrap().to_string(), "nothing changed");
    // The next issue of the certificate.
    std::fs::write(&chain, other.cert.pem()).unwrap();
    assert!(server.app.reload(&config).await.is_err(), "half of it");
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    assert_eq!(server.app.reload(&config).await.unwrap().to_string(), "changed: certificate");
    assert_eq!((server.app.addresses().len(), server.app.encrypted().len()), (2, 1));
    let seen = server.app.sight().listen.load();
    assert_eq!(seen.len(), 3);
    assert_eq!(server.app.sight().zones.load()[1].topology.borrow().source, Source::Nothing);
}
