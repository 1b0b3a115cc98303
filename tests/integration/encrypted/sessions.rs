//! TLS sessions: their versions, and their end.

use std::sync::Arc;

use alternator_dns::server::{Transport, encrypted::Ending};
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::clients::{Encrypted, assert_host, host, receive, send};
use crate::support::PATIENCE;

/// A client of one version only.
fn client(encrypted: &Encrypted, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(encrypted.folder.path().join("chain.pem")).unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A hello of a client whose newest version is this, with one suite and no extensions.
fn hello(version: [u8; 2]) -> Vec<u8> {
    let body = [&version[..], &[7; 32], &[0], &[0, 2, 0xC0, 0x13], &[1, 0]].concat();
    let handshake = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 1, 0, handshake.len() as u8][..], &handshake].concat()
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let encrypted = Encrypted::start(|_| {}).await;
    for (version, spoken) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let mut stream = encrypted.tls_with(client(&encrypted, version)).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(spoken));
        send(&mut stream, &[host(1, [0, 1])]).await;
        assert_host(&receive(&mut stream).await, 1, [0, 1]);
    }
    // SSL 3.0, TLS 1.0, TLS 1.1: a fatal alert and the end.
    for (number, version) in (1..).zip([[3, 0], [3, 1], [3, 2]]) {
        let mut stream = TcpStream::connect(encrypted.address(Transport::Tls)).await.unwrap();
        stream.write_all(&hello(version)).await.unwrap();
        let mut told = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut told)).await.expect("the server closes");
        assert!(matches!(told[..], [21, 3, _, 0, 2, 2, _]), "an alert, and nothing else: {told:02x?}");
        encrypted.ended(Transport::Tls, Ending::Handshake, number).await;
    }
}

/// RFC 8446 section 6.1: without a close_notify, what came could have been cut off by anybody.
#[tokio::test]
async fn sessions_end_with_a_word() {
    for queries in [0, 3] {
        let encrypted = Encrypted::start(|config| config.server.tcp.queries = queries).await;
        for version in [&TLS12, &TLS13] {
            let mut stream = encrypted.tls_with(client(&encrypted, version)).await.unwrap();
            send(&mut stream, &[host(1, [0, 1]), host(2, [0, 2]), host(3, [0, 3])]).await;
            for number in 1..=3 {
                assert_host(&receive(&mut stream).await, number, [0, number]);
            }
            // Where three queries are no bound, the client ends it.
            if queries == 0 {
                stream.shutdown().await.unwrap();
            }
            let mut rest = Vec::new();
            let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server closes");
            assert_eq!(read.expect("an end, and not only no more octets"), 0);
        }
    }
}
