//! How nodes prove who they are, and we to them: what is read from the files of `[cluster]`, ready for use.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName},
    sign::CertifiedKey,
};

use super::{
    sessions::{Resumable, Sessions, VERIFY_EVERY},
    verify::{OwnCertificate, Trust, Verifier},
};
use crate::{
    certificate::{FileError, Validity, is_over, read_chain, read_pair, validity},
    config::{ClusterConfig, NodeTls, Scheme},
    model::rfc3339_seconds,
};

/// What belongs into `ca_file`.
const AUTHORITIES: &str = "the certificates of the authorities that the nodes' come from, or the nodes' own";

/// Certificates of one file that are warned of; a file with more of them is a list of public authorities.
const MOST_DOUBTS: usize = 4;

/// How the nodes of a cluster are verified, and who we are to them; nothing of it with `http`. Clones are the same one,
/// and resume each other's TLS sessions.
///
/// Two are equal when they were made from the same settings and files of the same content.
#[derive(Clone, Default)]
pub struct NodeIdentity(Option<Arc<Tls>>);

/// What one is made of.
pub(super) struct Tls {
    settings: NodeTls,
    /// Stands for the certificates read, of both sides.
    content: u64,
    verifier: Arc<Verifier>,
    own: Arc<OwnCertificate>,
    /// What nodes are called instead of by their addresses; told to them in the clear (SNI, RFC 6066 section 3).
    called: Option<String>,
    sessions: Arc<Sessions>,
}

/// Why nodes cannot be asked over TLS.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// One of the files.
    #[error("{error}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// What is wrong with it.
        error: Box<FileError>,
    },
    /// There is nobody to believe.
    #[error(
        "this machine has no certificates of authorities{}: name a file with those of the nodes' authorities as ca_file, \
         or install the system's (the package is mostly called ca-certificates)", .0.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
    )]
    NoAuthorities(Option<String>),
    /// The name is none.
    #[error("{0:?} is no name that a certificate can carry")]
    Name(String),
}

impl IdentityError {
    fn of(key: &'static str, error: FileError) -> Self {
        IdentityError::File { key, error: Box::new(error) }
    }

    /// The key of `[cluster]` that would mend it.
    pub fn key(&self) -> &'static str {
        match self {
            IdentityError::File { key, .. } => key,
            IdentityError::NoAuthorities(_) => "ca_file",
            IdentityError::Name(_) => "server_name",
        }
    }
}

impl NodeIdentity {
    /// Reads the files that a cluster's nodes are verified with; every problem at once. Blocks.
    pub fn read(cluster: &ClusterConfig) -> Result<Self, Vec<IdentityError>> {
        Self::read_with(cluster, VERIFY_EVERY)
    }

    pub(super) fn read_with(cluster: &ClusterConfig, verify_every: Duration) -> Result<Self, Vec<IdentityError>> {
        if cluster.scheme == Scheme::Http {
            return Ok(NodeIdentity(None));
        }
        let settings = cluster.tls.clone();
        let mut problems = Vec::new();
        let trust = read_trust(&settings).map_err(|error| problems.push(error));
        let own = settings.client.as_ref().and_then(|client| {
            let read = read_pair(&client.certificate, &client.key, "client's");
            read.map_err(|error| problems.push(IdentityError::of("client_cert", error))).ok()
        });
        let name = settings.server_name.clone().and_then(|name| {
            let parsed = ServerName::try_from(name.clone());
            parsed.map_err(|_| problems.push(IdentityError::Name(name))).ok()
        });
        let (Ok(trust), true) = (trust, problems.is_empty()) else { return Err(problems) };
        let called = name.as_ref().filter(|name| matches!(name, ServerName::DnsName(_)));
        let algorithms = default_provider().signature_verification_algorithms;
        Ok(NodeIdentity(Some(Arc::new(Tls {
            content: digest(&trust, own.as_ref()),
            called: called.map(|name| name.to_str().into_owned()),
            verifier: Arc::new(Verifier { trust, name, algorithms }),
            own: Arc::new(OwnCertificate::new(own)),
            sessions: Arc::new(Sessions::new(verify_every)),
            settings,
        }))))
    }

    /// Whether whoever answers at a node's address is taken for the node.
    pub fn is_unverified(&self) -> bool {
        self.0.as_ref().is_some_and(|tls| matches!(tls.verifier.trust, Trust::Anybody))
    }

    /// What is doubtful about the files, though they can be used.
    pub fn doubts(&self, now: SystemTime) -> Vec<String> {
        let Some(tls) = &self.0 else { return Vec::new() };
        let mut doubts = Vec::new();
        if let (Some(path), Trust::Authorities { named, .. }) = (&tls.settings.ca_file, &tls.verifier.trust) {
            let of = |(index, certificate): (usize, &CertificateDer<'_>)| {
                let (number, path, why) = (index + 1, path.display(), doubt(&validity(certificate)?, now)?);
                Some(format!("certificate {number} in {path} {why}: most clients refuse what it has signed"))
            };
            doubts.extend(named.iter().enumerate().filter_map(of).take(MOST_DOUBTS));
        }
        if let (Some(client), Some(own)) = (&tls.settings.client, &tls.own.certified) {
            let why = own.cert.first().and_then(|der| validity(der)).and_then(|validity| doubt(&validity, now));
            let path = client.certificate.display();
            doubts.extend(
                why.map(|why| format!("the client certificate in {path} {why}: nodes that demand one refuse it")),
            );
        }
        doubts
    }

    /// How nodes are verified, in a line for people; `None` with `http`.
    pub fn told(&self) -> Option<String> {
        let tls = self.0.as_ref()?;
        let by = match (&tls.verifier.trust, &tls.settings.ca_file) {
            (Trust::Anybody, _) => return Some("not verified (insecure_skip_verify)".to_owned()),
            (_, Some(path)) => format!("verified by {}", path.display()),
            (_, None) => "verified by this machine's authorities".to_owned(),
        };
        let name = tls.settings.server_name.as_deref().map_or("their addresses".to_owned(), |name| format!("{name:?}"));
        let own = tls.settings.client.as_ref();
        let own = own.map_or(String::new(), |own| format!(", shown {}", own.certificate.display()));
        Some(format!("{by} for {name}{own}"))
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.0.as_deref()
    }
}

impl PartialEq for NodeIdentity {
    fn eq(&self, other: &Self) -> bool {
        let of = |identity: &Self| identity.0.as_ref().map(|tls| (tls.settings.clone(), tls.content));
        of(self) == of(other)
    }
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeIdentity").field(&self.told()).finish()
    }
}

impl Tls {
    /// The settings of connections: to any node, or to one that goes by a name that others have too.
    pub(super) fn config(&self, node: Option<IpAddr>) -> Result<ClientConfig, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.dangerous();
        let verified = builder.with_custom_certificate_verifier(self.verifier.clone());
        let mut config = verified.with_client_cert_resolver(self.own.clone());
        config.resumption = Resumption::store(Arc::new(Resumable { sessions: self.sessions.clone(), node }));
        // RFC 7301: what stands before a node need not guess.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// What all nodes are called, instead of each by its address.
    pub(super) fn called(&self) -> Option<&str> {
        self.called.as_deref()
    }

    /// The next handshake with a node is a full one.
    pub(super) fn forget(&self, node: IpAddr) {
        self.sessions.forget(node);
    }

    pub(super) fn own(&self) -> &OwnCertificate {
        &self.own
    }

    pub(super) fn settings(&self) -> &NodeTls {
        &self.settings
    }
}

/// What stands for the certificates of both sides. The key belongs to our first one: another key shows there.
fn digest(trust: &Trust, own: Option<&CertifiedKey>) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Trust::Authorities { roots, named } = trust {
        // The system's come in any order.
        let mut system: Vec<&[u8]> = roots.roots.iter().map(|root| root.subject_public_key_info.as_ref()).collect();
        system.sort_unstable();
        system.hash(&mut hasher);
        named.hash(&mut hasher);
    }
    own.map(|own| &own.cert).hash(&mut hasher);
    hasher.finish()
}

/// Why a certificate is not valid now.
fn doubt(validity: &Validity, now: SystemTime) -> Option<String> {
    let Validity { not_before, not_after } = validity;
    if is_over(not_after, now) {
        Some(format!("has expired at {not_after}"))
    } else if **not_before > *rfc3339_seconds(now) {
        Some(format!("is not valid before {not_before}"))
    } else {
        None
    }
}

fn read_trust(settings: &NodeTls) -> Result<Trust, IdentityError> {
    if settings.insecure_skip_verify {
        return Ok(Trust::Anybody);
    }
    match &settings.ca_file {
        Some(path) => read_named(path).map_err(|error| IdentityError::of("ca_file", error)),
        None => read_system(),
    }
}

fn read_named(path: &Path) -> Result<Trust, FileError> {
    let named = read_chain(path, AUTHORITIES)?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in named.iter().enumerate() {
        roots.add(certificate.clone()).map_err(|reason| FileError::UnknownCertificate {
            path: PathBuf::from(path),
            which: format!("{}.", index + 1),
            reason,
        })?;
    }
    Ok(Trust::Authorities { roots, named })
}

/// The system's authorities: where OpenSSL has them, or where `SSL_CERT_FILE` and `SSL_CERT_DIR` say. Those that cannot
/// be read are left out, as everywhere.
fn read_system() -> Result<Trust, IdentityError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let certificates: Vec<CertificateDer<'static>> = found.certs;
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(IdentityError::NoAuthorities(found.errors.first().map(ToString::to_string)));
    }
    Ok(Trust::Authorities { roots, named: Vec::new() })
}
