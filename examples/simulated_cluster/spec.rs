//! What is said on the command line.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use alternator_dns::sim::{ClientCertificates, ClusterSpec, Identity, NodeSpec, Role, Tls, Version};
use clap::Parser;

/// A simulated Alternator cluster, switched by commands on standard input.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Port of every node; 0 picks a free one
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Seed of the order of lists and of what flaps; two runs with one seed change the same nodes in the same order
    #[arg(long)]
    seed: Option<u64>,
    /// Seconds after which a crashed node is known to be down
    #[arg(long, value_name = "SECONDS")]
    failure_detector: Option<u64>,
    /// The release of nodes that name none
    #[arg(long = "release")]
    version: Option<Version>,
    /// Certificate of all nodes that have none of their own (PEM, the chain)
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Clients have to show a certificate that one of these has issued (PEM)
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Clients need not show one
    #[arg(long, requires = "client_ca")]
    client_cert_optional: bool,
    /// No session tickets: every handshake is a full one
    #[arg(long, requires = "tls_cert")]
    no_tickets: bool,
    /// Who may sign requests, as NAME:SECRET[:GRANT,...]; with one of them, all requests to the API have to be signed
    #[arg(long = "role", value_name = "NAME:SECRET[:GRANT,...]", value_parser = role)]
    roles: Vec<Role>,
    /// Rows in a page of the API
    #[arg(long, value_name = "ROWS")]
    page_rows: Option<usize>,
    /// The nodes, as DC/RACK=ADDRESS[,WHAT=VALUE...]
    #[arg(required = true, value_name = "DC/RACK=ADDRESS[,...]")]
    nodes: Vec<String>,
}

impl Args {
    /// The cluster to start.
    pub(crate) fn spec(self) -> io::Result<ClusterSpec> {
        let version = self.version.unwrap_or_default();
        let nodes = self.nodes.iter().map(|text| {
            let started = |error| io::Error::other(format!("{text}: {error}"));
            node_of(text, version).map_err(started)
        });
        let mut spec = ClusterSpec::new(nodes.collect::<io::Result<_>>()?).port(self.port);
        spec.seed = self.seed.unwrap_or(spec.seed);
        if let Some(seconds) = self.failure_detector {
            spec.failure_detector = Some(Duration::from_secs(seconds));
        }
        if !self.roles.is_empty() {
            spec = spec.authorization(self.roles);
        }
        spec.page_rows = self.page_rows;
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let mut tls = tls(certificate, key)?.tickets(!self.no_tickets);
            if let Some(roots) = &self.client_ca {
                let asked = match self.client_cert_optional {
                    true => ClientCertificates::Optional,
                    false => ClientCertificates::Required,
                };
                tls = tls.client_certificates(asked, read(roots)?)?;
            }
            spec = spec.tls(&tls);
        }
        Ok(spec)
    }
}

/// `DC/RACK=ADDRESS,WHAT=VALUE,...`
pub(crate) fn node(text: &str) -> Result<NodeSpec, String> {
    node_of(text, Version::default())
}

fn node_of(text: &str, version: Version) -> Result<NodeSpec, String> {
    let (place, rest) = text.split_once('=').ok_or("no \"=\"")?;
    let (dc, rack) = place.split_once('/').ok_or("no \"/\" between datacenter and rack")?;
    let mut parts = rest.split(',');
    let address: IpAddr = number(parts.next().unwrap_or_default())?;
    let mut node = NodeSpec::new(address, dc, rack).version(version);
    let (mut certificate, mut key) = (None, None);
    for part in parts {
        node = match part.split_once('=').unwrap_or((part, "")) {
            ("state", value) => node.state(value.parse()?),
            ("version", value) => node.version(value.parse()?),
            ("host-id", value) => node.host_id(value),
            ("shards", value) => node.shards(number(value)?),
            ("tokens", value) => node.tokens(number(value)?),
            ("internal", value) => node.internal(number::<IpAddr>(value)?),
            ("listed", value) => node.listed_as(value),
            ("unlisted-address", "") => node.without_rpc_address(),
            ("cert", value) => {
                certificate = Some(value);
                node
            }
            ("key", value) => {
                key = Some(value);
                node
            }
            _ => return Err(format!("{part}: nothing that a node has")),
        };
    }
    match (certificate, key) {
        (None, None) => Ok(node),
        (Some(certificate), Some(key)) => {
            Ok(node.tls(tls(certificate.as_ref(), key.as_ref()).map_err(|error| error.to_string())?))
        }
        _ => Err("cert= and key= go together".to_owned()),
    }
}

fn number<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// `NAME:SECRET[:GRANT,...]`
pub(crate) fn role(text: &str) -> Result<Role, String> {
    let mut parts = text.splitn(3, ':');
    let (Some(name), Some(secret)) = (parts.next(), parts.next()) else {
        return Err("no \":\" between name and secret".to_owned());
    };
    let grants = parts.next().unwrap_or_default().split(',').filter(|grant| !grant.is_empty());
    Ok(grants.fold(Role::new(name, secret), |role, grant| match grant {
        "superuser" => role.superuser(),
        resource => role.granted(resource),
    }))
}

/// https by these files.
pub(crate) fn tls(certificate: &Path, key: &Path) -> io::Result<Tls> {
    Ok(Tls::new(Identity::from_pem(read(certificate)?, read(key)?)?))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
