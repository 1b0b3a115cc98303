//! What is read from PEM files.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustls::{
    Error as TlsError, InconsistentKeys,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{Error as PemError, PemObject},
    },
    sign::CertifiedKey,
};

/// Octets of a file read at most. A chain of a dozen certificates is 30 KiB, all public authorities together are 250 KiB;
/// this keeps a path that names something else from filling the memory.
const MAX_FILE: u64 = 1024 * 1024;

/// What says in a PEM file that a key cannot be read without a password: PKCS#8, and the older form of OpenSSL.
const ENCRYPTED: [&str; 2] = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];

/// Why a file of certificates or a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
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
        "there is no certificate in {}: it should hold {should}, each between -----BEGIN CERTIFICATE----- and -----END \
         CERTIFICATE-----", .path.display()
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// Which certificates belong there.
        should: &'static str,
    },
    /// No key where one should be.
    #[error(
        "there is no private key in {}: it should hold one after -----BEGIN PRIVATE KEY----- (or RSA PRIVATE KEY, EC \
         PRIVATE KEY), not encrypted", .0.display()
    )]
    NoKey(PathBuf),
    /// A key that only a password opens.
    #[error(
        "the private key in {} is encrypted, and nobody can be asked for its password: store it decrypted (openssl pkey \
         -in KEY -out PLAIN), readable by this service only", .0.display()
    )]
    EncryptedKey(PathBuf),
    /// A key of an unknown kind.
    #[error("the private key in {} cannot be used: {reason}; use RSA, ECDSA (P-256, P-384, P-521) or Ed25519", .path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The library's reason.
        reason: TlsError,
    },
    /// A certificate cannot be read, or is no certificate.
    #[error("the {which} certificate in {} cannot be used: {reason}", .path.display())]
    UnknownCertificate {
        /// The file.
        path: PathBuf,
        /// `first`, or its number.
        which: String,
        /// The library's reason.
        reason: TlsError,
    },
    /// The key belongs to another certificate.
    #[error(
        "the private key in {} does not belong to the first certificate in {}: the {owner} own must come first, and \
         both files must be of the same issue", .key.display(), .certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Whose they are: `server's` or `client's`.
        owner: &'static str,
    },
}

/// Reads the chain that an `owner` (`server's` or `client's`) presents and its key, and checks that they belong together.
pub fn read_pair(certificate: &Path, key: &Path, owner: &'static str) -> Result<CertifiedKey, FileError> {
    let should = match owner {
        "client's" => "the chain, the client's own first",
        _ => "the chain, the server's own first",
    };
    let chain = read_chain(certificate, should)?;
    let der = read_key(key)?;
    let signer = any_supported_type(&der).map_err(|reason| FileError::UnknownKey { path: key.to_owned(), reason })?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        // A key that does not tell its public half may still be the right one.
        Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(TlsError::InconsistentKeys(_)) => {
            Err(FileError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned(), owner })
        }
        Err(reason) => {
            let which = "first".to_owned();
            Err(FileError::UnknownCertificate { path: certificate.to_owned(), which, reason })
        }
    }
}

/// Reads all certificates of a file; `should` says which belong there.
pub fn read_chain(path: &Path, should: &'static str) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem = read_bounded(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(FileError::NoCertificate { path: path.to_owned(), should }),
        Ok(chain) => Ok(chain),
        Err(error) => Err(damaged(path, &error)),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let pem = read_bounded(path)?;
    match PrivateKeyDer::pem_slice_iter(&pem).next() {
        Some(Ok(key)) => Ok(key),
        found => {
            let text = String::from_utf8_lossy(&pem);
            if ENCRYPTED.iter().any(|sign| text.contains(sign)) {
                return Err(FileError::EncryptedKey(path.to_owned()));
            }
            match found {
                Some(Err(error)) => Err(damaged(path, &error)),
                _ => Err(FileError::NoKey(path.to_owned())),
            }
        }
    }
}

/// The library's own words quote octets as numbers.
fn damaged(path: &Path, error: &PemError) -> FileError {
    let reason = match error {
        PemError::MissingSectionEnd { .. } => "a -----BEGIN line has no -----END line",
        PemError::IllegalSectionStart { .. } => "a -----BEGIN line is damaged",
        PemError::Base64Decode(_) => "what stands between -----BEGIN and -----END is not base64",
        _ => "it cannot be read",
    };
    FileError::Damaged { path: path.to_owned(), reason }
}

/// The octets of a file that should hold certificates or a key.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut octets = Vec::new();
    let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE + 1).read_to_end(&mut octets).map_err(unreadable)?;
    if octets.len() as u64 > MAX_FILE {
        return Err(FileError::TooLong(path.to_owned()));
    }
    Ok(octets)
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
        let (chain, private) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        std::fs::write(&chain, certificate).unwrap();
        std::fs::write(&private, key).unwrap();
        let read = read_pair(&chain, &private, "server's");
        read.map_err(|error| error.to_string().replace(folder.path().to_str().unwrap(), "."))
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
        let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let old_locked = key.replace("PRIVATE KEY", "RSA PRIVATE KEY").replacen(
            "KEY-----\n",
            "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n",
            1,
        );
        for (expected, certificate, private) in [
            ("there is no certificate in ./chain.pem: it should hold the chain", "", &*key),
            ("there is no certificate in ./chain.pem", &key, &key),
            ("there is no private key in ./key.pem: it should hold one", &own, &own),
            ("the private key in ./key.pem is encrypted", &own, &locked),
            ("the private key in ./key.pem is encrypted", &own, &old_locked),
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
        let (chain, private) = (Path::new("/nowhere/chain.pem"), Path::new("/nowhere/key.pem"));
        assert_eq!(
            read_pair(chain, private, "server's").unwrap_err().to_string(),
            "cannot read /nowhere/chain.pem: No such file or directory (os error 2)"
        );
    }
}
