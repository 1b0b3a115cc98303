//! `[server]`: what belongs to the process.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::model::{Access, Prefixes};

/// `[server]`: what belongs to the process.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Addresses to answer on, UDP and TCP each. Port 0 takes a free one (the same for both).
    pub listen: Vec<SocketAddr>,
    /// Workers per address, for UDP and for TCP each; 0 = one per CPU.
    pub workers: usize,
    /// Whether each worker stays on one CPU.
    pub pin_workers: bool,
    /// Where the last topology of each zone is kept for the next start; `None` = nowhere.
    pub state_dir: Option<PathBuf>,
    /// Whom the process becomes once everything is bound, when it was started as root; `None` = it stays who it is.
    pub user: Option<String>,
    /// The Unix socket where a new process finds this one, to take over from it; `None` = see
    /// [`ServerConfig::control_path`].
    pub control: Option<PathBuf>,
    /// A file of overrides (drains and the like), watched; `None` = there is none.
    pub overrides: Option<PathBuf>,
    /// Whether everything is loaded again when a file changes.
    pub watch_files: bool,
    /// Which server this is, told to whoever asks (RFC 5001, RFC 4892); `None` = nobody is told.
    pub identity: Option<String>,
    /// What `version.bind` and `version.server` answer (RFC 4892); `None` = they are refused.
    pub version: Option<String>,
    /// Proxies, which must send a PROXY header before each query or connection; nobody else may.
    pub proxy_from: Prefixes,
    /// Who may ask, by listener.
    pub access: Vec<ListenerAccess>,
    /// DNS cookies.
    pub cookies: CookieConfig,
    /// Bounds of TCP connections.
    pub tcp: TcpConfig,
    /// Response rate limiting.
    pub rate_limit: RateLimitConfig,
    /// Encrypted transports.
    pub tls: TlsConfig,
    /// The HTTP side: metrics, status, steering.
    pub admin: AdminConfig,
    /// The log.
    pub log: LogConfig,
    /// The log of queries.
    pub query_log: QueryLogConfig,
}

/// `[admin]`: the HTTP side.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminConfig {
    /// Addresses; empty = there is no HTTP side.
    pub listen: Vec<SocketAddr>,
    /// Nobody wrote `listen`: that its address is taken is no reason not to serve DNS.
    pub is_default: bool,
    /// File of the token that every request must bring, but those for liveness and readiness; `None` = reading is free.
    /// Where an address is not a loopback one, there is a file.
    pub token_file: Option<PathBuf>,
}

/// `[log]`: the log, on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines are written.
    pub format: LogFormat,
}

/// How the lines of the log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object per line.
    Json,
}

/// `[query_log]`: queries and what they became.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryLogConfig {
    /// File of lines, an object each; `None` = no such file.
    pub file: Option<PathBuf>,
    /// Share of the queries that are logged, 0..=1.
    pub sample: f64,
    /// Unix socket of a dnstap reader; `None` = nobody is told.
    pub dnstap: Option<PathBuf>,
}

impl QueryLogConfig {
    /// Whether any query is logged anywhere.
    pub fn is_used(&self) -> bool {
        self.sample > 0.0 && (self.file.is_some() || self.dnstap.is_some())
    }
}

/// `[[server.access]]`: who may ask at some listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerAccess {
    /// The listeners meant, as they are written under `listen`; empty = all that no other rule names.
    pub listeners: Vec<SocketAddr>,
    /// Who may ask there.
    pub access: Access,
}

impl ServerConfig {
    /// The socket where a new process finds this one: the one configured, or else `control.sock` in the folder that the
    /// service's supervisor gives (`RUNTIME_DIRECTORY`, systemd.exec(5)), or else in `state_dir`.
    pub fn control_path(&self) -> Option<PathBuf> {
        let given = std::env::var_os("RUNTIME_DIRECTORY").filter(|given| !given.is_empty());
        // Several are separated by colons; the first is the service's own.
        let runtime = given.as_ref().and_then(|given| std::env::split_paths(given).next());
        let folder = runtime.as_ref().or(self.state_dir.as_ref());
        self.control.clone().or_else(|| folder.map(|folder| folder.join("control.sock")))
    }

    /// Who may ask at a listener, by the address that is configured for it.
    pub fn access_at(&self, listener: SocketAddr) -> Access {
        let named = self.access.iter().find(|rule| rule.listeners.contains(&listener));
        let rule = named.or_else(|| self.access.iter().find(|rule| rule.listeners.is_empty()));
        rule.map(|rule| rule.access.clone()).unwrap_or_default()
    }
}

/// A server's secret for DNS cookies: the key of SipHash-2-4.
pub type CookieSecret = [u8; 16];

/// `[server.cookies]`: DNS cookies (RFC 7873, RFC 9018).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CookieConfig {
    /// What they are used for.
    pub policy: CookiePolicy,
    /// The first makes cookies, all are accepted; empty = one made up at the start.
    pub secrets: Vec<CookieSecret>,
}

/// What cookies are used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CookiePolicy {
    /// Nothing: the option is ignored.
    Off,
    /// Given to those who ask for one; those who bring one back are known not to be forged.
    #[default]
    Optional,
    /// Over UDP, those who know cookies have to bring one back before they are answered: BADCOOKIE. Those who send none
    /// at all are answered.
    Required,
}

/// `[server.tcp]`: bounds of connections; those of encrypted transports too, each kind by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpConfig {
    /// Connections open at once on one address, over all its workers.
    pub connections: usize,
    /// Connections open at once from one client: an IPv4 address, or an IPv6 /56.
    pub connections_per_client: usize,
    /// Queries of one connection; 0 = no bound.
    pub queries: u64,
    /// How long a connection may go without a whole query.
    pub idle: Duration,
    /// How long a connection may live.
    pub lifetime: Duration,
}

/// `[server.rate_limit]`: response rate limiting.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimitConfig {
    /// Responses of one kind to one prefix in a second, over all workers of an address; 0 = no limit.
    pub responses_per_second: u32,
    /// Every how-manieth limited response is sent truncated instead of dropped; 0 = none.
    pub slip: u32,
    /// Count what would be limited, and limit nothing.
    pub dry_run: bool,
    /// Bits of an IPv4 prefix.
    pub prefix_v4: u8,
    /// Bits of an IPv6 prefix.
    pub prefix_v6: u8,
    /// Never limited.
    pub exempt: Prefixes,
}

/// `[server.tls]`: encrypted transports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsConfig {
    /// Addresses for DNS over TLS (RFC 7858).
    pub listen: Vec<SocketAddr>,
    /// Addresses for DNS over HTTPS (RFC 8484).
    pub https: Vec<SocketAddr>,
    /// Addresses for DNS over QUIC (RFC 9250).
    pub quic: Vec<SocketAddr>,
    /// Certificate chain, PEM. There whenever an address is.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM. There whenever an address is.
    pub key: Option<PathBuf>,
}
