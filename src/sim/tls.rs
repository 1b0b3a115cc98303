//! TLS of nodes: whose certificate they show, and whose they want to see.

use std::{fmt, io, sync::Arc};

use rustls::{
    HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs::{Ticketer, default_provider},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::counters::{Handshake, Tally};

/// The first octet of a TLS handshake (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// Tickets that a TLS 1.3 session begins with: GnuTLS and most others give two.
const TICKETS: usize = 2;

/// How a node serves https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    identity: Identity,
    client_certificates: ClientCertificates,
    client_roots: Vec<Vec<u8>>,
    versions: TlsVersions,
    tickets: bool,
}

/// A certificate chain and the key of its first certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
}

/// Whether clients have to show a certificate (`require_client_auth`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    NotAsked,
    /// They are asked; one that is shown has to be valid.
    Optional,
    /// No handshake without one.
    Required,
}

/// The versions of TLS a node speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 and 1.3, as ScyllaDB does.
    #[default]
    Both,
    /// 1.2 only.
    Only12,
    /// 1.3 only.
    Only13,
}

impl Identity {
    /// From the text of PEM files: the chain, the node's own certificate first, and its key.
    pub fn from_pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> io::Result<Self> {
        let key = PrivateKeyDer::from_pem_slice(key.as_ref()).map_err(unusable)?;
        Ok(Identity { chain: certificates(chain.as_ref())?, key: key.secret_der().to_vec() })
    }

    /// From DER: the chain, the node's own certificate first, and its key (PKCS #8, PKCS #1 or SEC 1).
    pub fn from_der(chain: Vec<Vec<u8>>, key: Vec<u8>) -> Self {
        Identity { chain, key }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Tls {
    /// https with this certificate: both versions, tickets, and no question for the client's.
    pub fn new(identity: Identity) -> Self {
        Tls {
            identity,
            client_certificates: ClientCertificates::default(),
            client_roots: Vec::new(),
            versions: TlsVersions::default(),
            tickets: true,
        }
    }

    /// The same, with clients asked for a certificate that one of these has issued, in PEM.
    pub fn client_certificates(self, asked: ClientCertificates, roots: impl AsRef<[u8]>) -> io::Result<Self> {
        Ok(Tls { client_certificates: asked, client_roots: certificates(roots.as_ref())?, ..self })
    }

    /// The same, with these versions only.
    #[must_use]
    pub fn versions(self, versions: TlsVersions) -> Self {
        Tls { versions, ..self }
    }

    /// The same, with session tickets or without any resumption (`enable_session_tickets`).
    #[must_use]
    pub fn tickets(self, tickets: bool) -> Self {
        Tls { tickets, ..self }
    }

    /// What serves it; with keys of tickets of its own, so that no other resumes its sessions.
    pub(super) fn handshaking(&self) -> io::Result<Handshaking> {
        let provider = Arc::new(default_provider());
        let versions: &[&SupportedProtocolVersion] = match self.versions {
            TlsVersions::Both => &[&TLS13, &TLS12],
            TlsVersions::Only12 => &[&TLS12],
            TlsVersions::Only13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(versions).map_err(unusable)?;
        let builder = if self.client_certificates == ClientCertificates::NotAsked {
            builder.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for root in &self.client_roots {
                roots.add(CertificateDer::from(root.as_slice())).map_err(unusable)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match self.client_certificates {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(unusable)?)
        };
        let chain = self.identity.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let key = PrivateKeyDer::try_from(self.identity.key.clone()).map_err(unusable)?;
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        // Sessions are kept by the client in tickets, or by nobody.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = if self.tickets { TICKETS } else { 0 };
        if self.tickets {
            config.ticketer = Ticketer::new().map_err(unusable)?;
        }
        Ok(Handshaking(Arc::new(config)))
    }
}

/// TLS of a running node.
#[derive(Clone, Debug)]
pub(super) struct Handshaking(Arc<ServerConfig>);

/// Shakes hands; `None` where that fails. A client that speaks anything but TLS is left without a word.
pub(super) async fn accept(tls: Handshaking, stream: TcpStream, tally: &Tally) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    let read = stream.peek(&mut first).await;
    let stream = match read {
        Ok(1) if first[0] == HANDSHAKE_RECORD => TlsAcceptor::from(tls.0).accept(stream).await.ok(),
        _ => None,
    };
    let kind = stream.as_ref().and_then(|stream| stream.get_ref().1.handshake_kind());
    tally.count_handshake(match kind {
        None => Handshake::Failed,
        Some(HandshakeKind::Resumed) => Handshake::Resumed,
        Some(_) => Handshake::Full,
    });
    stream
}

/// All certificates in the text of a PEM file; at least one.
fn certificates(pem: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).map(|der| der.map(|der| der.to_vec())).collect();
    let found = found.map_err(unusable)?;
    if found.is_empty() { Err(unusable("there is no certificate")) } else { Ok(found) }
}

fn unusable(reason: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {reason}"))
}
