//! Nodes over TLS, good and bad, as the poller and the prober ask them.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rcgen::{ExtendedKeyUsagePurpose, IsCa, date_time_ymd};
use rustls::version::{TLS12, TLS13};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    test_node::{Manner, TestNode},
    test_tls::{Authority, Issued, TlsNode, params},
    verify::OwnCertificate,
    *,
};
use crate::config::{ClientIdentity, NodeTls};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Longer than any answer on loopback takes, even on a busy machine.
const PATIENT: Duration = Duration::from_secs(20);

/// Files to name in a configuration.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Nodes come from this authority.
    fn believing(&self, authority: &Authority) -> NodeTls {
        NodeTls { ca_file: Some(self.put("ca.pem", &authority.pem)), ..NodeTls::default() }
    }

    /// We show this.
    fn showing(&self, own: &Issued) -> ClientIdentity {
        let (certificate, key) = (self.put("own.pem", &own.pem), self.put("own.key", &own.key.serialize_pem()));
        ClientIdentity { certificate, key }
    }

    /// A message without what differs from run to run.
    fn plain(&self, text: impl ToString) -> String {
        text.to_string().replace(self.0.path().to_str().unwrap(), ".")
    }
}

fn cluster(port: u16, tls: NodeTls) -> ClusterConfig {
    ClusterConfig { scheme: Scheme::Https, port, tls, ..ClusterConfig::default() }
}

fn limits(keep_alive: bool) -> Limits {
    Limits { connect: PATIENT, total: PATIENT, keep_alive }
}

/// A prober's client: a connection for each request.
fn prober(port: u16, tls: &NodeTls) -> NodeClient {
    let cluster = cluster(port, tls.clone());
    NodeClient::new(&cluster, &NodeIdentity::read(&cluster).unwrap(), limits(false)).unwrap()
}

async fn ask(client: &NodeClient, node: IpAddr) -> Result<u16, String> {
    client.get(node, "/", 100).await.map(|reply| reply.status).map_err(|failure| {
        assert!(!failure.is_silence(), "{failure:?} is evidence");
        failure.to_string()
    })
}

/// What comes of asking a node of this kind.
async fn asked(server: rustls::ServerConfig, tls: &NodeTls) -> Result<u16, String> {
    let node = TlsNode::start(LOCAL, 0, server).await;
    ask(&prober(node.port, tls), LOCAL).await
}

#[tokio::test]
async fn a_node_is_believed_by_its_authority_and_its_address_or_name() {
    let (folder, authority) = (Folder::new(), Authority::new("ours"));
    let tls = folder.believing(&authority);
    assert_eq!(asked(authority.names(&["127.0.0.1"]).server(), &tls).await, Ok(200));
    let named = NodeTls { server_name: Some("nodes.test".to_owned()), ..tls.clone() };
    let mut server = authority.names(&["*.other.test", "nodes.test"]).server();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let node = TlsNode::start(LOCAL, 0, server).await;
    let client = prober(node.port, &named);
    assert_eq!(ask(&client, LOCAL).await, Ok(200));
    assert_eq!(node.protocols(), [Some(b"http/1.1".to_vec())]);
    assert_eq!(node.names(), [Some("nodes.test".to_owned())], "it is called so");
    assert_eq!(client.host(LOCAL), format!("nodes.test:{}", node.port));
    // An address may be named as well: that of a node behind another one.
    let elsewhere = NodeTls { server_name: Some("10.9.8.7".to_owned()), ..tls };
    let node = TlsNode::start(LOCAL, 0, authority.names(&["10.9.8.7"]).server()).await;
    assert_eq!(ask(&prober(node.port, &elsewhere), LOCAL).await, Ok(200));
    assert_eq!(node.names(), [None]);
}

#[tokio::test]
async fn a_node_on_ipv6_is_believed_by_its_address_and_its_sessions_are_resumed() {
    let (folder, authority) = (Folder::new(), Authority::new("ours"));
    let local = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let node = TlsNode::start(local, 0, authority.names(&["::1"]).server()).await;
    let client = prober(node.port, &folder.believing(&authority));
    for _ in 0..3 {
        assert_eq!(ask(&client, local).await, Ok(200));
    }
    assert_eq!((node.handshakes(), node.names()), ((1, 2), vec![None; 3]));
    let other = TlsNode::start(local, 0, authority.names(&["::2"]).server()).await;
    let told = ask(&prober(other.port, &folder.believing(&authority)), local).await.unwrap_err();
    assert!(told.starts_with("the certificate is not for ::1 but for "), "{told}");
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told() {
    let (folder, authority) = (Folder::new(), Authority::new("ours"));
    let (tls, other) = (folder.believing(&authority), Authority::new("another"));
    let named = NodeTls { server_name: Some("nodes.test".to_owned()), ..tls.clone() };
    let local = ["127.0.0.1"];
    let changed = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let mut params = params(&local);
        change(&mut params);
        authority.issue(&params).server()
    };
    for (server, tls, expected) in [
        (
            authority.names(&["n1.test", "10.0.0.1"]).server(),
            &tls,
            "the certificate is not for 127.0.0.1 but for n1.test, 10.0.0.1 (server_name sets the name)",
        ),
        (
            authority.names(&["a.test", "b.test", "c.test", "d.test", "e.test"]).server(),
            &named,
            "the certificate is not for nodes.test but for a.test, b.test, c.test and 2 more",
        ),
        (authority.names(&[]).server(), &named, "the certificate is not for nodes.test but for no name at all"),
        (
            changed(&|params| params.not_after = date_time_ymd(2020, 2, 29)),
            &tls,
            "the certificate has expired at 2020-02-29T00:00:00Z",
        ),
        (
            changed(&|params| params.not_before = date_time_ymd(2090, 1, 1)),
            &tls,
            "the certificate is not valid before 2090-01-01T00:00:00Z: is this machine's clock right?",
        ),
        (other.names(&local).server(), &tls, "the certificate comes from no authority in ca_file (./ca.pem)"),
        (
            Authority::new("ours").names(&local).server(),
            &tls,
            "the certificate comes from an authority of the same name but another key than in ca_file (./ca.pem)",
        ),
        (
            changed(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            &tls,
            "the certificate is not meant for servers (its extended key usage lacks serverAuth)",
        ),
        (
            changed(&|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
            &tls,
            "the certificate is an authority's, used as a node's own: if it signed itself, add it to ca_file",
        ),
    ] {
        let told = asked(server, tls).await.unwrap_err();
        assert!(folder.plain(&told).starts_with(expected), "{told:?} instead of {expected:?}");
        assert!(told.chars().count() <= 200, "{told}");
    }
}

#[tokio::test]
async fn a_node_that_signed_for_itself_is_believed_by_its_own_certificate_alone() {
    let folder = Folder::new();
    for is_ca in [IsCa::NoCa, IsCa::Ca(rcgen::BasicConstraints::Unconstrained)] {
        let mut params = params(&["127.0.0.1"]);
        params.is_ca = is_ca;
        let (own, other) = (Issued::self_signed(&params), Issued::self_signed(&params));
        let tls = NodeTls { ca_file: Some(folder.put("own.pem", &own.pem)), ..NodeTls::default() };
        assert_eq!(asked(own.server(), &tls).await, Ok(200));
        let told = asked(other.server(), &tls).await.unwrap_err();
        assert!(told.starts_with("the certificate "), "{told}");
        // Neither its name nor its end is forgiven for it.
        let named = NodeTls { server_name: Some("nodes.test".to_owned()), ..tls };
        let told = asked(own.server(), &named).await.unwrap_err();
        assert!(told.starts_with("the certificate is not for nodes.test but for 127.0.0.1"), "{told}");
        params.not_after = date_time_ymd(2020, 1, 1);
        let over = Issued::self_signed(&params);
        let tls = NodeTls { ca_file: Some(folder.put("own.pem", &over.pem)), ..NodeTls::default() };
        let told = asked(over.server(), &tls).await.unwrap_err();
        assert_eq!(told, "the certificate has expired at 2020-01-01T00:00:00Z");
    }
}

#[tokio::test]
async fn anybody_is_believed_where_nothing_is_verified() {
    let mut params = params(&["elsewhere.test"]);
    params.not_after = date_time_ymd(2020, 1, 1);
    let tls = NodeTls { insecure_skip_verify: true, ..NodeTls::default() };
    for versions in [&TLS12, &TLS13] {
        let server = Issued::self_signed(&params).server_with(&[versions], None);
        assert_eq!(asked(server, &tls).await, Ok(200));
    }
    let identity = NodeIdentity::read(&cluster(1, tls)).unwrap();
    assert!(identity.is_unverified());
    assert_eq!(identity.told().unwrap(), "not verified (insecure_skip_verify)");
}

#[tokio::test]
async fn a_node_that_demands_a_certificate_gets_ours_or_tells_why_not() {
    let (folder, authority, clients) = (Folder::new(), Authority::new("ours"), Authority::new("clients"));
    let tls = folder.believing(&authority);
    let with = |own: &Issued| NodeTls { client: Some(folder.showing(own)), ..tls.clone() };
    let node = authority.names(&["127.0.0.1"]);
    for version in [&TLS12, &TLS13] {
        let server = || node.server_with(&[version], Some(&clients));
        assert_eq!(asked(server(), &with(&clients.names(&["us"]))).await, Ok(200));
        let told = asked(server(), &tls).await.unwrap_err();
        assert!(told.contains("client certificate") && told.contains("set client_cert and client_key"), "{told}");
        let told = asked(server(), &with(&authority.names(&["us"]))).await.unwrap_err();
        // The alert may be lost where the node closes at once.
        assert!(
            told.starts_with("the node refuses the certificate in client_cert (") || told == "connection closed",
            "{told}"
        );
    }
}

#[tokio::test]
async fn what_one_node_demands_explains_no_failure_of_another() {
    let (folder, authority) = (Folder::new(), Authority::new("ours"));
    let server = authority.names(&["127.0.0.1"]).server_with(&[&TLS12, &TLS13], Some(&Authority::new("clients")));
    let node = TlsNode::start(LOCAL, 0, server).await;
    let client = prober(node.port, &folder.believing(&authority));
    let told = ask(&client, LOCAL).await.unwrap_err();
    assert!(told.contains("set client_cert and client_key"), "{told}");
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let listener = TcpListener::bind((other, node.port)).await.unwrap();
    let reset = async {
        let mut stream = listener.accept().await.unwrap().0;
        // What was sent and not read makes a reset of its end.
        stream.read_u8().await.unwrap();
    };
    let (told, ()) = tokio::join!(ask(&client, other), reset);
    assert_eq!(told.unwrap_err(), "connection closed");
    // Alike for a node that asked, and served without.
    let own = OwnCertificate::new(None);
    assert!(own.is_missed(LOCAL, true) && !own.is_missed(LOCAL, false));
    own.served(LOCAL);
    assert!(!own.is_missed(LOCAL, true) && own.is_missed(other, true));
}

#[tokio::test]
async fn the_wrong_scheme_is_told_in_both_directions() {
    let (folder, authority) = (Folder::new(), Authority::new("ours"));
    let tls = folder.believing(&authority);
    let reply = Manner::Reply(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    let plain = TcpListener::bind((LOCAL, 0)).await.unwrap();
    let port = plain.local_addr().unwrap().port();
    let serve = async {
        let Manner::Reply(reply) = reply else { unreachable!() };
        let (mut stream, _) = plain.accept().await.unwrap();
        let mut hello = [0; 4096];
        let _ = stream.read(&mut hello).await.unwrap();
        stream.write_all(&reply).await.unwrap();
        // Until the client gives up.
        while stream.read(&mut hello).await.is_ok_and(|count| count > 0) {}
    };
    let client = prober(port, &tls);
    let (told, ()) = tokio::join!(ask(&client, LOCAL), serve);
    assert_eq!(told.unwrap_err(), "the port answers without TLS: if this is the http port, set scheme = \"http\"");

    let node = TlsNode::start(LOCAL, 0, authority.names(&["127.0.0.1"]).server()).await;
    let http = ClusterConfig { scheme: Scheme::Http, ..cluster(node.port, NodeTls::default()) };
    let client = NodeClient::new(&http, &NodeIdentity::default(), limits(false)).unwrap();
    let told = ask(&client, LOCAL).await.unwrap_err();
    assert_eq!(told, "the reply is no HTTP: if this is the https port, set scheme = \"https\"");

    let closing = TestNode::start(LOCAL, 0, Manner::Reset).await.unwrap();
    assert_eq!(ask(&prober(closing.address.port(), &tls), LOCAL).await.unwrap_err(), "connection closed");
    let port = TcpListener::bind((LOCAL, 0)).await.unwrap().local_addr().unwrap().port();
    assert_eq!(ask(&prober(port, &tls), LOCAL).await.unwrap_err(), "connection refused");
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_silence() {
    let (folder, authority) = (Folder::new(), Authority::new("ours"));
    let hanging = TcpListener::bind((LOCAL, 0)).await.unwrap();
    let cluster = cluster(hanging.local_addr().unwrap().port(), folder.believing(&authority));
    let short = Duration::from_millis(100);
    let limits = Limits { connect: short, total: short, keep_alive: false };
    let client = NodeClient::new(&cluster, &NodeIdentity::read(&cluster).unwrap(), limits).unwrap();
    assert_eq!(client.get(LOCAL, "/", 100).await, Err(Failure::TimedOut));
}

/// Probes and polls of two nodes in turn, all of them answered.
async fn ask_all(poller: &NodeClient, prober: &NodeClient, nodes: &[&TlsNode]) {
    for client in [prober, poller, prober, prober, poller] {
        for node in nodes {
            assert_eq!(ask(client, node.address).await, Ok(200));
        }
    }
}

#[tokio::test]
async fn sessions_are_resumed_by_poller_and_prober_for_each_node() {
    let (folder, authority) = (Folder::new(), Authority::new("ours"));
    let believing = folder.believing(&authority);
    let addresses: [IpAddr; 2] = [LOCAL, [127, 0, 0, 2].into()];
    for version in [&TLS12, &TLS13] {
        for name in [None, Some("nodes.test".to_owned())] {
            let server = || authority.names(&["127.0.0.1", "127.0.0.2", "nodes.test"]).server_with(&[version], None);
            let first = TlsNode::start(addresses[0], 0, server()).await;
            let second = TlsNode::start(addresses[1], first.port, server()).await;
            let cluster = cluster(first.port, NodeTls { server_name: name.clone(), ..believing.clone() });
            let identity = NodeIdentity::read(&cluster).unwrap();
            let client = |keep_alive| NodeClient::new(&cluster, &identity, limits(keep_alive)).unwrap();
            let (poller, prober) = (client(true), client(false));
            ask_all(&poller, &prober, &[&first, &second]).await;
            for node in [&first, &second] {
                let case = format!("{name:?} {:?}", version.version);
                // The poller's connection and three of the prober's.
                assert_eq!(node.connections(), 4, "{case}");
                assert_eq!(node.handshakes(), (1, 3), "{case}");
            }
            // Whoever reads the same files again begins anew.
            let again = NodeIdentity::read(&cluster).unwrap();
            assert_eq!(again, identity);
            let other = NodeClient::new(&cluster, &again, limits(false)).unwrap();
            assert_eq!(ask(&other, LOCAL).await, Ok(200));
            assert_eq!(first.handshakes(), (2, 3));
        }
    }
}

#[tokio::test]
async fn a_certificate_is_looked_at_again_after_a_while() {
    let (folder, authority) = (Folder::new(), Authority::new("ours"));
    for version in [&TLS12, &TLS13] {
        for (verify_every, resumed) in [(Duration::ZERO, 0), (Duration::from_millis(400), 1)] {
            let node = TlsNode::start(LOCAL, 0, authority.names(&["127.0.0.1"]).server_with(&[version], None)).await;
            let cluster = cluster(node.port, folder.believing(&authority));
            let identity = NodeIdentity::read_with(&cluster, verify_every).unwrap();
            let client = NodeClient::new(&cluster, &identity, limits(false)).unwrap();
            let start = Instant::now();
            // However long they are resumed, it is not longer than that.
            while node.handshakes().0 < 4 {
                assert_eq!(ask(&client, LOCAL).await, Ok(200));
            }
            assert!(start.elapsed() >= 3 * verify_every);
            assert!(node.handshakes().1 >= resumed, "{:?}", node.handshakes());
        }
    }
}

#[tokio::test]
async fn a_node_at_which_anything_is_wrong_is_verified_again() {
    let (folder, authority) = (Folder::new(), Authority::new("ours"));
    let node = TlsNode::start(LOCAL, 0, authority.names(&["127.0.0.1"]).server()).await;
    let client = prober(node.port, &folder.believing(&authority));
    for _ in 0..3 {
        assert_eq!(ask(&client, LOCAL).await, Ok(200));
    }
    assert_eq!(node.handshakes(), (1, 2));
    assert!(matches!(client.get(LOCAL, "/", 1).await, Err(Failure::Protocol(_))), "its reply is too long");
    assert_eq!(ask(&client, LOCAL).await, Ok(200));
    assert_eq!(node.handshakes(), (2, 3));
}

fn problems(tls: NodeTls) -> Vec<(String, String)> {
    let errors = NodeIdentity::read(&cluster(1, tls)).unwrap_err();
    errors.iter().map(|error| (error.key().to_owned(), error.to_string())).collect()
}

#[test]
fn files_that_cannot_be_used_are_named_all_at_once() {
    let (folder, authority) = (Folder::new(), Authority::new("ours"));
    let own = authority.names(&["us"]);
    let other = authority.names(&["them"]);
    let client = ClientIdentity { key: folder.put("other.key", &other.key.serialize_pem()), ..folder.showing(&own) };
    let told = problems(NodeTls {
        ca_file: Some(folder.put("ca.pem", &own.key.serialize_pem())),
        client: Some(client),
        server_name: Some("not a name".to_owned()),
        insecure_skip_verify: false,
    });
    let told: Vec<_> = told.into_iter().map(|(key, text)| (key, folder.plain(text))).collect();
    assert_eq!(told[0].0, "ca_file");
    assert!(told[0].1.starts_with("there is no certificate in ./ca.pem: it should hold the certificates of the auth"));
    assert_eq!(told[1].0, "client_cert");
    assert!(told[1].1.starts_with("the private key in ./other.key does not belong to the first certificate in ./own"));
    assert!(told[1].1.contains("the client's own must come first"), "{}", told[1].1);
    assert_eq!(told[2].0, "server_name");
    assert_eq!(told.len(), 3);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let ca_file = Some(folder.put("ca.pem", &(authority.pem.clone() + garbage)));
    let told = problems(NodeTls { ca_file, ..NodeTls::default() });
    assert!(folder.plain(&told[0].1).starts_with("the 2. certificate in ./ca.pem cannot be used"), "{told:?}");
    let told = problems(NodeTls { ca_file: Some("/nowhere/ca.pem".into()), ..NodeTls::default() });
    assert_eq!(told[0].1, "cannot read /nowhere/ca.pem: No such file or directory (os error 2)");
}

#[test]
fn nothing_is_read_for_http() {
    let missing = NodeTls { ca_file: Some(Path::new("/nowhere/ca.pem").into()), ..NodeTls::default() };
    let http = ClusterConfig { scheme: Scheme::Http, ..cluster(1, missing) };
    assert_eq!(NodeIdentity::read(&http).unwrap(), NodeIdentity::default());
    assert_eq!(NodeIdentity::default().told(), None);
    let https = cluster(1, NodeTls::default());
    assert!(matches!(NodeClient::new(&https, &NodeIdentity::default(), limits(true)), Err(SetupError::NoIdentity)));
}

#[test]
fn identities_are_told_apart_by_what_is_in_the_files() {
    let folder = Folder::new();
    let (authority, other) = (Authority::new("ours"), Authority::new("ours"));
    let own = [authority.names(&["us"]), authority.names(&["us"])];
    let read = |authority: &Authority, own: &Issued| {
        let tls = NodeTls { client: Some(folder.showing(own)), ..folder.believing(authority) };
        NodeIdentity::read(&cluster(1, tls)).unwrap()
    };
    let first = read(&authority, &own[0]);
    assert_eq!(read(&authority, &own[0]), first);
    assert_ne!(read(&other, &own[0]), first);
    assert_ne!(read(&authority, &own[1]), first);
    assert_ne!(NodeIdentity::default(), first);
    let told = folder.plain(first.told().unwrap());
    assert_eq!(told, "verified by ./ca.pem for their addresses, shown ./own.pem");
    assert!(!format!("{first:?}").contains("PRIVATE"));
}

#[test]
fn certificates_that_are_over_are_warned_of() {
    let folder = Folder::new();
    let authority = Authority::with("ours", |params| params.not_after = date_time_ymd(2024, 1, 1));
    let mut params = params(&["us"]);
    params.not_before = date_time_ymd(2080, 1, 1);
    let own = authority.issue(&params);
    let tls = NodeTls { client: Some(folder.showing(&own)), ..folder.believing(&authority) };
    let identity = NodeIdentity::read(&cluster(1, tls)).unwrap();
    let doubts: Vec<_> = identity.doubts(SystemTime::now()).iter().map(|doubt| folder.plain(doubt)).collect();
    assert_eq!(
        doubts,
        [
            "certificate 1 in ./ca.pem has expired at 2024-01-01T00:00:00Z: most clients refuse what it has signed",
            "the client certificate in ./own.pem is not valid before 2080-01-01T00:00:00Z: nodes that demand one refuse it",
        ]
    );
    let fresh = Authority::new("ours");
    let identity = NodeIdentity::read(&cluster(1, folder.believing(&fresh))).unwrap();
    assert_eq!(identity.doubts(SystemTime::now()), Vec::<String>::new());
}
