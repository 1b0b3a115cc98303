//! Who a node is believed to be, and what it is told of us.

use std::{
    cell::Cell,
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
    sign::CertifiedKey,
};

use crate::certificate::validity;

/// Looks at the certificates of nodes.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) trust: Trust,
    /// The name that they must carry; `None` = the address that is dialled.
    pub(super) name: Option<ServerName<'static>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// Whose certificates are believed.
#[derive(Debug)]
pub(super) enum Trust {
    /// Anybody's.
    Anybody,
    /// Those that come from these authorities.
    Authorities {
        /// The authorities.
        roots: RootCertStore,
        /// Certificates that an operator named himself. One of them is believed as a node's own as well, which is how a
        /// node with a certificate signed by itself is verified: such a one usually says that it is an authority's, and
        /// that alone would make it no node's.
        named: Vec<CertificateDer<'static>>,
    },
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        dialled: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Authorities { roots, named } = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        let certificate = ParsedCertificate::try_from(own)?;
        if named.iter().any(|named| named == own) {
            is_valid_at(own, now)?;
        } else {
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        verify_server_name(&certificate, self.name.as_ref().unwrap_or(dialled))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.trust {
            Trust::Anybody => Ok(HandshakeSignatureValid::assertion()),
            Trust::Authorities { .. } => verify_tls12_signature(message, own, signature, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.trust {
            Trust::Anybody => Ok(HandshakeSignatureValid::assertion()),
            Trust::Authorities { .. } => verify_tls13_signature(message, own, signature, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a certificate that is believed without an issuer is valid now.
fn is_valid_at(certificate: &[u8], now: UnixTime) -> Result<(), CertificateError> {
    let validity = validity(certificate).ok_or(CertificateError::BadEncoding)?;
    let moment = |text: &str| {
        let at = humantime::parse_rfc3339(text).map_err(|_| CertificateError::BadEncoding)?;
        // What is older than the epoch is over, and has begun, all the same.
        Ok(UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO)))
    };
    let (not_before, not_after) = (moment(&validity.not_before)?, moment(&validity.not_after)?);
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after });
    }
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before });
    }
    Ok(())
}

/// Nodes remembered at most that take none: more than a cluster has. Of others a failure may be told as that of one that
/// wants a certificate.
const MOST_CONTENT: usize = 4096;

tokio::task_local! {
    /// Whether the node that is being asked has asked who we are, over a connection made for this request.
    static ASKED: Cell<bool>;
}

/// Carries out a request. Whether its node asked who we are meanwhile.
pub(super) async fn noting<T>(request: impl Future<Output = T>) -> (T, bool) {
    let noted = async {
        let done = request.await;
        (done, ASKED.with(Cell::get))
    };
    ASKED.scope(Cell::new(false), noted).await
}

/// What is shown to nodes that ask who we are.
#[derive(Debug)]
pub(super) struct OwnCertificate {
    pub(super) certified: Option<Arc<CertifiedKey>>,
    /// Nodes that asked, got none, and served all the same.
    content: Mutex<BTreeSet<IpAddr>>,
}

impl OwnCertificate {
    pub(super) fn new(certified: Option<CertifiedKey>) -> Self {
        OwnCertificate { certified: certified.map(Arc::new), content: Mutex::default() }
    }

    /// A node `asked` during a request, there is no certificate, and nothing shows that it serves without one.
    pub(super) fn is_missed(&self, node: IpAddr, asked: bool) -> bool {
        asked && self.certified.is_none() && !self.content().contains(&node)
    }

    /// A node that asked has served.
    pub(super) fn served(&self, node: IpAddr) {
        let mut content = self.content();
        if self.certified.is_none() && content.len() < MOST_CONTENT {
            content.insert(node);
        }
    }

    fn content(&self) -> MutexGuard<'_, BTreeSet<IpAddr>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // A connection whose request found another meanwhile is made for none.
        let _ = ASKED.try_with(|asked| asked.set(true));
        self.certified.clone()
    }

    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}
