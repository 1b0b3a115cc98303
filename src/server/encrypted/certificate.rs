//! The certificate that all encrypted listeners present.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::certificate::{FileError, read_pair};

/// Where a certificate and its key are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The chain, the server's own certificate first.
    pub(super) certificate: PathBuf,
    /// Its private key.
    pub(super) key: PathBuf,
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// An address of `[server.tls]` is given, but no file.
    #[error("[server.tls] has addresses, but no \"{0}\": name a PEM file")]
    Missing(&'static str),
    /// What is in the files.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Files {
    /// Reads the certificate chain and its key, and checks that they belong together.
    pub(super) fn read(&self) -> Result<CertifiedKey, CertificateError> {
        Ok(read_pair(&self.certificate, &self.key, "server's")?)
    }
}

/// The certificate presented to whoever connects. All listeners share it, so that a new one is everybody's at once;
/// connections that are open go on with what they have.
#[derive(Debug)]
pub(super) struct Certificate(ArcSwap<CertifiedKey>);

impl Certificate {
    pub(super) fn new(certified: CertifiedKey) -> Self {
        Certificate(ArcSwap::from_pointee(certified))
    }

    pub(super) fn replace(&self, certified: CertifiedKey) {
        self.0.store(Arc::new(certified));
    }

    /// Presents what another one does.
    pub(super) fn replace_by(&self, other: &Certificate) {
        self.0.store(other.0.load_full());
    }

    /// The server's own certificate, DER.
    pub(super) fn own(&self) -> Option<CertificateDer<'static>> {
        self.0.load().cert.first().cloned()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
