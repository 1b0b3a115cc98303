//! The certificate that all encrypted listeners present.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    Error as TlsError, InconsistentKeys,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{Error as PemError, PemObject},
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Octets of a file read at most. A chain of a dozen certificates is 30 KiB; this keeps a path that names something
/// else from filling the memory.
const MAX_FILE: u64 = 1024 * 1024;

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
    /// A file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is far longer than what it should be.
    #[error("{} is longer than 1 MiB: it is not a PEM file of a certificate or key", .0.display())]
    TooLong(PathBuf),
    /// A file is damaged.
    #[error("{} is not a valid PEM file: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// No certificate where one should be.
    #[error(
        "there is no certificate in {}: it should hold the chain, the server's own first, each between -----BEGIN \
         CERTIFICATE----- and -----END CERTIFICATE-----", .0.display()
    )]
    NoCertificate(PathBuf),
    /// No key where one should be.
    #[error(
        "there is no private key in {}: it should hold one after -----BEGIN PRIVATE KEY----- (or RSA PRIVATE KEY, EC \
         PRIVATE KEY), not encrypted", .0.display()
    )]
    NoKey(PathBuf),
    /// A key of an unknown kind.
    #[error("the private key in {} cannot be used: {reason}; use RSA, ECDSA (P-256, P-384, P-521) or Ed25519", .path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The library's reason.
        reason: TlsError,
    },
    /// The first certificate cannot be read, or is another's.
    #[error("the first certificate in {} cannot be used: {reason}", .path.display())]
    UnknownCertificate {
        /// The file.
        path: PathBuf,
        /// The library's reason.
        reason: TlsError,
    },
    /// The key belongs to another certificate.
    #[error(
        "the private key in {} does not belong to the first certificate in {}: the server's own must come first, and \
         both files must be of the same issue", .key.display(), .certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

impl Files {
    /// Reads the certificate chain and its key, and checks that they belong together.
    pub(super) fn read(&self) -> Result<CertifiedKey, CertificateError> {
        let chain = read_chain(&self.certificate)?;
        let der = read_key(&self.key)?;
        let key = any_supported_type(&der)
            .map_err(|reason| CertificateError::UnknownKey { path: self.key.clone(), reason })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // A key that does not tell its public half may still be the right one.
            Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
            Err(TlsError::InconsistentKeys(_)) => {
                Err(CertificateError::Mismatch { certificate: self.certificate.clone(), key: self.key.clone() })
            }
            Err(reason) => Err(CertificateError::UnknownCertificate { path: self.certificate.clone(), reason }),
        }
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(CertificateError::NoCertificate(path.to_owned())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(damaged(path, &error)),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    match PrivateKeyDer::pem_slice_iter(&read(path)?).next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(error)) => Err(damaged(path, &error)),
        None => Err(CertificateError::NoKey(path.to_owned())),
    }
}

/// The library's own words quote octets as numbers.
fn damaged(path: &Path, error: &PemError) -> CertificateError {
    let reason = match error {
        PemError::MissingSectionEnd { .. } => "a -----BEGIN line has no -----END line",
        PemError::IllegalSectionStart { .. } => "a -----BEGIN line is damaged",
        PemError::Base64Decode(_) => "what stands between -----BEGIN and -----END is not base64",
        _ => "it cannot be read",
    };
    CertificateError::Damaged { path: path.to_owned(), reason }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut octets = Vec::new();
    let unreadable = |source| CertificateError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE + 1).read_to_end(&mut octets).map_err(unreadable)?;
    if octets.len() as u64 > MAX_FILE {
        return Err(CertificateError::TooLong(path.to_owned()));
    }
    Ok(octets)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A fresh certificate and its key, as PEM.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["dns.test".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    /// What comes of files with these contents.
    fn read(certificate: &str, key: &str) -> Result<CertifiedKey, String> {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { certificate: folder.path().join("chain.pem"), key: folder.path().join("key.pem") };
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        files.read().map_err(|error| error.to_string().replace(folder.path().to_str().unwrap(), "."))
    }

    #[test]
    fn a_chain_and_its_key_are_read() {
        let ((own, key), (issuer, _)) = (pair(), pair());
        // Comments and the key in the same file are common.
        let certified = read(&format!("subject=x\n{own}\n{issuer}"), &format!("{own}{key}")).unwrap();
        assert_eq!(certified.cert.len(), 2);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let ((own, key), (other, _)) = (pair(), pair());
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (expected, certificate, private) in [
            ("there is no certificate in ./chain.pem: it should hold the chain", "", &*key),
            ("there is no certificate in ./chain.pem", &key, &key),
            ("there is no private key in ./key.pem: it should hold one", &own, &own),
            ("the private key in ./key.pem does not belong to the first certificate in ./chain.pem", &other, &key),
            ("./chain.pem is not a valid PEM file: what stands", &own.replace("MII", "!!!"), &key),
            ("./key.pem is not a valid PEM file: a -----BEGIN line has no", &own, &key.replace("-----END", "")),
            ("the first certificate in ./chain.pem cannot be used", garbage, &key),
            ("the private key in ./key.pem cannot be used", &own, &garbage.replace("CERTIFICATE", "PRIVATE KEY")),
            ("./chain.pem is longer than 1 MiB", &"#".repeat(1024 * 1024 + 1), &key),
        ] {
            let error = read(certificate, private).unwrap_err();
            assert!(error.starts_with(expected), "{error:?} instead of {expected:?}");
        }
        let files = Files { certificate: "/nowhere/chain.pem".into(), key: "/nowhere/key.pem".into() };
        assert_eq!(
            files.read().unwrap_err().to_string(),
            "cannot read /nowhere/chain.pem: No such file or directory (os error 2)"
        );
    }
}
