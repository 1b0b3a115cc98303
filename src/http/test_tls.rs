//! A node for tests that speaks TLS, and certificates for it.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs::{Ticketer, default_provider},
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// Who issues certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
}

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) key: KeyPair,
}

/// What a certificate for these names says, before it is signed.
pub(crate) fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a node");
    params
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    pub(crate) fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let (certificate, pem) = (made.der().clone(), made.pem());
        Authority { issuer: Issuer::new(params, key), certificate, pem }
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: made.der().clone(), pem: made.pem(), key }
    }

    /// A certificate for these names.
    pub(crate) fn names(&self, names: &[&str]) -> Issued {
        self.issue(&params(names))
    }
}

impl Issued {
    pub(crate) fn self_signed(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Issued { certificate: made.der().clone(), pem: made.pem(), key }
    }

    /// What a node does with it.
    pub(crate) fn server(&self) -> ServerConfig {
        self.server_with(&[&TLS13, &TLS12], None)
    }

    /// The same in some versions of TLS; it demands a certificate from an authority.
    pub(crate) fn server_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        demands: Option<&Authority>,
    ) -> ServerConfig {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
        let builder = match demands {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate.clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(vec![self.certificate.clone()], key).unwrap();
        config.ticketer = Ticketer::new().unwrap();
        config
    }
}

/// What a node saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    full: AtomicUsize,
    resumed: AtomicUsize,
    names: Mutex<Vec<Option<String>>>,
    protocols: Mutex<Vec<Option<Vec<u8>>>>,
}

/// A listening port that answers every request over TLS with 200.
pub(crate) struct TlsNode {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl TlsNode {
    pub(crate) async fn start(address: IpAddr, port: u16, config: ServerConfig) -> Self {
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (config, seen) = (Arc::new(config), Arc::new(Seen::default()));
        let counted = seen.clone();
        let task = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(serve(stream, config.clone(), counted.clone()));
                while serving.try_join_next().is_some() {}
            }
        });
        TlsNode { address, port, seen, task }
    }

    /// Handshakes so far: full ones and resumed ones.
    pub(crate) fn handshakes(&self) -> (usize, usize) {
        (self.seen.full.load(Relaxed), self.seen.resumed.load(Relaxed))
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Relaxed)
    }

    /// What was agreed on (ALPN).
    pub(crate) fn protocols(&self) -> Vec<Option<Vec<u8>>> {
        self.seen.protocols.lock().unwrap().clone()
    }

    /// What clients called it (SNI).
    pub(crate) fn names(&self) -> Vec<Option<String>> {
        self.seen.names.lock().unwrap().clone()
    }
}

impl Drop for TlsNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, config: Arc<ServerConfig>, seen: Arc<Seen>) {
    seen.connections.fetch_add(1, Relaxed);
    let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await else { return };
    let session = stream.get_ref().1;
    let counter = match session.handshake_kind() {
        Some(HandshakeKind::Resumed) => &seen.resumed,
        _ => &seen.full,
    };
    counter.fetch_add(1, Relaxed);
    seen.names.lock().unwrap().push(session.server_name().map(str::to_owned));
    seen.protocols.lock().unwrap().push(session.alpn_protocol().map(<[u8]>::to_vec));
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(octet) => request.push(octet),
                Err(_) => return,
            }
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.is_err() {
            return;
        }
    }
}
