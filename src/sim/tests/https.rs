//! Nodes that serve https.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::*;

/// Who issues certificates here.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for this name, and its key.
    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap(), key)
    }

    fn identity(&self, name: &str) -> Identity {
        let (certificate, key) = self.issue(name);
        Identity::from_pem(certificate.pem(), key.serialize_pem()).unwrap()
    }

    fn builder(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions).unwrap();
        builder.with_root_certificates(roots)
    }

    /// A client that trusts this authority.
    fn client(&self) -> Arc<ClientConfig> {
        Arc::new(self.builder(&[&TLS12, &TLS13]).with_no_client_auth())
    }
}

/// One request over a connection of its own, to a node by the name `node.test`.
async fn ask(cluster: &Cluster, node: IpAddr, config: &Arc<ClientConfig>, path: &str) -> std::io::Result<Answer> {
    let stream = TcpStream::connect(cluster.at(node)).await?;
    let name = ServerName::try_from("node.test").unwrap();
    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
    Client::over(stream, cluster.at(node)).get(path).await
}

async fn start_with(tls: &Tls) -> Cluster {
    Cluster::start(spec().tls(tls)).await.unwrap()
}

/// Full, resumed and failed handshakes of a node.
fn handshakes(cluster: &Cluster, node: IpAddr) -> (u64, u64, u64) {
    let counters = cluster.counters(node);
    (counters.handshakes_full, counters.handshakes_resumed, counters.handshakes_failed)
}

#[tokio::test]
async fn a_node_serves_https_and_gives_no_answer_to_http() {
    let authority = Authority::new("ca");
    let cluster = start_with(&Tls::new(authority.identity("node.test"))).await;
    assert_eq!(ask(&cluster, A, &authority.client(), "/localnodes").await.unwrap().list().len(), 3);
    assert_eq!(handshakes(&cluster, A), (1, 0, 0));
    let mut plain = TcpStream::connect(cluster.at(A)).await.unwrap();
    plain.write_all(b"GET /localnodes HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Cut off with the request unread: an end or a reset.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{answer:?}");
    assert_eq!(handshakes(&cluster, A), (1, 0, 1));
    assert_eq!(cluster.counters(A).localnodes, 1);
    let stranger = ask(&cluster, A, &Authority::new("other").client(), "/").await.unwrap_err();
    assert!(stranger.to_string().contains("UnknownIssuer"), "{stranger}");
}

#[tokio::test]
async fn each_node_has_its_own_certificate_and_can_change_it() {
    let authority = Authority::new("ca");
    let mut spec = spec();
    spec.nodes[1] = spec.nodes[1].clone().tls(Tls::new(authority.identity("wrong.test")));
    let cluster = Cluster::start(spec.tls(&Tls::new(authority.identity("node.test")))).await.unwrap();
    let client = authority.client();
    assert_eq!(ask(&cluster, A, &client, "/").await.unwrap().status, 200);
    let wrong = ask(&cluster, B, &client, "/").await.unwrap_err();
    assert!(wrong.to_string().contains("wrong.test"), "{wrong}");
    let (certificate, key) = authority.issue("node.test");
    let der = Identity::from_der(vec![certificate.der().to_vec()], key.serialize_der());
    cluster.set_tls(B, Some(Tls::new(der))).unwrap();
    assert_eq!(ask(&cluster, B, &client, "/").await.unwrap().status, 200);
    cluster.set_tls(B, None).unwrap();
    assert_eq!(get(&cluster, B, "/").await.unwrap().status, 200, "http");
    cluster.stop(A).await.unwrap();
    cluster.start_node(A).await.unwrap();
    assert_eq!(ask(&cluster, A, &client, "/").await.unwrap().status, 200, "https after a restart");
}

#[tokio::test]
async fn sessions_are_resumed_by_ticket_until_the_node_restarts_or_has_none() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new("ca");
        let tls = Tls::new(authority.identity("node.test"));
        let cluster = start_with(&tls).await;
        let client = Arc::new(authority.builder(&[version]).with_no_client_auth());
        for _ in 0..3 {
            ask(&cluster, A, &client, "/").await.unwrap();
        }
        assert_eq!(handshakes(&cluster, A), (1, 2, 0), "{version:?}");
        cluster.stop(A).await.unwrap();
        cluster.start_node(A).await.unwrap();
        ask(&cluster, A, &client, "/").await.unwrap();
        assert_eq!(handshakes(&cluster, A), (2, 2, 0), "{version:?}: its keys are new");
        cluster.set_tls(A, Some(tls.tickets(false))).unwrap();
        for _ in 0..3 {
            ask(&cluster, A, &client, "/").await.unwrap();
        }
        assert_eq!(handshakes(&cluster, A), (5, 2, 0), "{version:?}");
    }
}

#[tokio::test]
async fn a_node_may_speak_one_version_only() {
    let authority = Authority::new("ca");
    let tls = Tls::new(authority.identity("node.test"));
    let cluster = start_with(&tls).await;
    let clients = [&TLS12, &TLS13].map(|version| Arc::new(authority.builder(&[version]).with_no_client_auth()));
    for (versions, want) in
        [(TlsVersions::Both, [true, true]), (TlsVersions::Only12, [true, false]), (TlsVersions::Only13, [false, true])]
    {
        cluster.set_tls(A, Some(tls.clone().versions(versions))).unwrap();
        let old = ask(&cluster, A, &clients[0], "/").await.is_ok();
        let new = ask(&cluster, A, &clients[1], "/").await.is_ok();
        assert_eq!([old, new], want, "{versions:?}");
    }
}

#[tokio::test]
async fn clients_show_a_certificate_where_they_have_to() {
    let (authority, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let tls = Tls::new(authority.identity("node.test"));
    let with = |issuer: &Authority| {
        let (certificate, key) = issuer.issue("client.test");
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Arc::new(authority.builder(&[&TLS12, &TLS13]).with_client_auth_cert(chain, key).unwrap())
    };
    let (without, known, unknown) = (authority.client(), with(&authority), with(&stranger));
    let cluster = start_with(&tls).await;
    for (asked, want) in [
        (ClientCertificates::NotAsked, [true, true, true]),
        (ClientCertificates::Optional, [true, true, false]),
        (ClientCertificates::Required, [false, true, false]),
    ] {
        let tls = tls.clone().client_certificates(asked, authority.0.pem()).unwrap();
        cluster.set_tls(A, Some(tls)).unwrap();
        let mut got = Vec::new();
        for client in [&without, &known, &unknown] {
            got.push(ask(&cluster, A, client, "/localnodes").await.is_ok());
        }
        assert_eq!(got, want, "{asked:?}");
    }
}

#[tokio::test]
async fn what_is_no_certificate_is_refused_at_the_start() {
    let authority = Authority::new("ca");
    let (certificate, key) = authority.issue("node.test");
    for (chain, key) in
        [("", key.serialize_pem()), ("nothing", key.serialize_pem()), (&certificate.pem(), String::new())]
    {
        assert_eq!(Identity::from_pem(chain, key).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    }
    let another = KeyPair::generate().unwrap();
    let mixed = Identity::from_pem(certificate.pem(), another.serialize_pem()).unwrap();
    let error = Cluster::start(spec().tls(&Tls::new(mixed.clone()))).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    assert!(!format!("{mixed:?}").contains("key"), "{mixed:?}");
}
