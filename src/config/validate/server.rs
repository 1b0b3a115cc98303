//! `[server]` and the tables in it, `[admin]`, `[log]` and `[query_log]`.

use std::net::SocketAddr;

use super::{
    super::{
        AdminConfig, CookieConfig, CookiePolicy, ListenerAccess, LogConfig, LogFormat, QueryLogConfig, RateLimitConfig,
        ServerConfig, TcpConfig, TlsConfig, address, limits,
        place::{KeyPath, quoted},
        raw::{Raw, RawAccess, RawAdmin, RawCookies, RawLog, RawQueryLog, RawRateLimit, RawTcp, RawTls},
        server::CookieSecret,
    },
    Judge,
};
use crate::model::{Access, Denied, Prefix, Prefixes};

/// Ports in examples of what would be right.
const DNS_PORT: u16 = 53;
const TLS_PORT: u16 = 853;
const HTTPS_PORT: u16 = 443;
const ADMIN_PORT: u16 = 8053;

impl Judge<'_> {
    pub(super) fn server(&mut self, root: &Raw) -> ServerConfig {
        let (raw, root_at) = (&root.server, KeyPath::root());
        let at = root_at.key("server");
        let default = ServerConfig::default();
        let listen_at = at.key("listen");
        let listen = match &raw.listen {
            None => default.listen,
            Some(written) => {
                if written.is_empty() {
                    self.wrong(&listen_at, "is empty; name at least one address, such as [\"127.0.0.1:5300\"]");
                }
                self.addresses(&listen_at, written, DNS_PORT)
            }
        };
        let tls = self.tls(&at.key("tls"), &raw.tls, &listen);
        let known: Vec<SocketAddr> =
            [&listen, &tls.listen, &tls.https, &tls.quic].into_iter().flatten().copied().collect();
        ServerConfig {
            workers: self.number(&at.key("workers"), raw.workers, &limits::WORKERS, default.workers),
            pin_workers: raw.pin_workers.unwrap_or(default.pin_workers),
            state_dir: self.path(&at.key("state_dir"), raw.state_dir.as_ref()),
            user: self.told(&at.key("user"), raw.user.as_ref()),
            control: self.path(&at.key("control"), raw.control.as_ref()),
            overrides: self.path(&at.key("overrides"), raw.overrides.as_ref()),
            watch_files: raw.watch_files.unwrap_or(default.watch_files),
            identity: self.told(&at.key("identity"), raw.identity.as_ref()),
            version: self.told(&at.key("version"), raw.version.as_ref()),
            proxy_from: self.prefixes(&at.key("proxy_from"), raw.proxy_from.as_deref()),
            access: self.listener_access(&at.key("access"), raw.access.as_deref().unwrap_or_default(), &known),
            cookies: self.cookies(&at.key("cookies"), &raw.cookies),
            tcp: self.tcp(&at.key("tcp"), &raw.tcp),
            rate_limit: self.rate_limit(&at.key("rate_limit"), &raw.rate_limit),
            tls,
            listen,
            admin: self.admin(&root_at.key("admin"), &root.admin),
            log: self.log(&root_at.key("log"), &root.log),
            query_log: self.query_log(&root_at.key("query_log"), &root.query_log),
        }
    }

    fn admin(&mut self, at: &KeyPath, raw: &RawAdmin) -> AdminConfig {
        let default = AdminConfig::default();
        let (listen_at, token_at) = (at.key("listen"), at.key("token_file"));
        let listen = raw.listen.as_ref().map(|written| self.addresses(&listen_at, written, ADMIN_PORT));
        let token_file = self.path(&token_at, raw.token_file.as_ref());
        let is_open = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
        if token_file.is_none()
            && let Some(address) = listen.iter().flatten().find(is_open)
        {
            self.wrong(
                &listen_at,
                format!("\"{address}\" can be reached from other machines: name a token_file, or listen on 127.0.0.1"),
            );
        }
        AdminConfig { is_default: listen.is_none(), listen: listen.unwrap_or(default.listen), token_file }
    }

    fn log(&mut self, at: &KeyPath, raw: &RawLog) -> LogConfig {
        let format = raw.format.as_ref().and_then(|text| self.checked(&at.key("format"), log_format(text)));
        LogConfig { format: format.unwrap_or_default() }
    }

    fn query_log(&mut self, at: &KeyPath, raw: &RawQueryLog) -> QueryLogConfig {
        let default = QueryLogConfig::default();
        QueryLogConfig {
            file: self.path(&at.key("file"), raw.file.as_ref()),
            sample: self.share(&at.key("sample"), raw.sample, default.sample),
            dnstap: self.path(&at.key("dnstap"), raw.dnstap.as_ref()),
        }
    }

    /// Addresses to listen on; `port` is the usual one.
    fn addresses(&mut self, at: &KeyPath, written: &[String], port: u16) -> Vec<SocketAddr> {
        self.at_most(at, written.len(), limits::MAX_LISTEN, "addresses");
        let mut addresses = Vec::new();
        for (index, text) in written.iter().enumerate().take(limits::MAX_LISTEN) {
            let item = at.item(index);
            match self.checked(&item, address::listen(text, port)) {
                // Port 0 takes another free port each time.
                Some(address) if address.port() != 0 && addresses.contains(&address) => {
                    self.wrong(&item, format!("\"{address}\" is listed twice"));
                }
                Some(address) => addresses.push(address),
                None => {}
            }
        }
        addresses
    }

    /// A text that askers are told; empty = none.
    fn told(&mut self, at: &KeyPath, text: Option<&String>) -> Option<String> {
        let text = text.filter(|text| !text.is_empty())?;
        if text.len() > limits::MAX_TOLD {
            self.wrong(at, format!("has {} octets; the most is {}", text.len(), limits::MAX_TOLD));
        }
        if text.chars().any(char::is_control) {
            self.wrong(at, format!("{} holds a control character", quoted(text)));
        }
        Some(text.clone())
    }

    fn cookies(&mut self, at: &KeyPath, raw: &RawCookies) -> CookieConfig {
        let policy = raw.policy.as_ref().and_then(|text| self.checked(&at.key("policy"), cookie_policy(text)));
        let secrets_at = at.key("secrets");
        let written = raw.secrets.as_deref().unwrap_or_default();
        self.at_most(&secrets_at, written.len(), limits::MAX_SECRETS, "secrets");
        let mut secrets = Vec::new();
        for (index, text) in written.iter().enumerate().take(limits::MAX_SECRETS) {
            secrets.extend(self.checked(&secrets_at.item(index), cookie_secret(text)));
        }
        if policy == Some(CookiePolicy::Off) && !secrets.is_empty() {
            self.warn(&secrets_at, "are not used: policy is \"off\"");
        }
        CookieConfig { policy: policy.unwrap_or_default(), secrets }
    }

    fn tcp(&mut self, at: &KeyPath, raw: &RawTcp) -> TcpConfig {
        let default = TcpConfig::default();
        let connections_at = at.key("connections");
        let per_client_at = at.key("connections_per_client");
        let connections = self.number(&connections_at, raw.connections, &limits::CONNECTIONS, default.connections);
        let per_client = self.number(
            &per_client_at,
            raw.connections_per_client,
            &limits::CONNECTIONS,
            default.connections_per_client.min(connections),
        );
        if per_client > connections {
            self.warn(&per_client_at, "is more than connections: one client may take them all");
        }
        TcpConfig {
            connections,
            connections_per_client: per_client,
            queries: self.number(&at.key("queries"), raw.queries, &limits::QUERIES, default.queries),
            idle: self.duration(&at.key("idle"), raw.idle.as_ref(), &limits::IDLE, default.idle),
            lifetime: self.duration(&at.key("lifetime"), raw.lifetime.as_ref(), &limits::LIFETIME, default.lifetime),
        }
    }

    fn rate_limit(&mut self, at: &KeyPath, raw: &RawRateLimit) -> RateLimitConfig {
        let default = RateLimitConfig::default();
        let rate_at = at.key("responses_per_second");
        RateLimitConfig {
            responses_per_second: self.number(
                &rate_at,
                raw.responses_per_second,
                &limits::RATE,
                default.responses_per_second,
            ),
            slip: self.number(&at.key("slip"), raw.slip, &limits::SLIP, default.slip),
            dry_run: raw.dry_run.unwrap_or(default.dry_run),
            prefix_v4: self.number(&at.key("prefix_v4"), raw.prefix_v4, &limits::CLIENT_V4, default.prefix_v4),
            prefix_v6: self.number(&at.key("prefix_v6"), raw.prefix_v6, &limits::CLIENT_V6, default.prefix_v6),
            exempt: self.prefixes(&at.key("exempt"), raw.exempt.as_deref()),
        }
    }

    fn tls(&mut self, at: &KeyPath, raw: &RawTls, plain: &[SocketAddr]) -> TlsConfig {
        let mut of = |name: &str, written: &Option<Vec<String>>, port| {
            let at = at.key(name);
            (self.addresses(&at, written.as_deref().unwrap_or_default(), port), at)
        };
        let listen = of("listen", &raw.listen, TLS_PORT);
        let https = of("https", &raw.https, HTTPS_PORT);
        let quic = of("quic", &raw.quic, TLS_PORT);
        // TLS and HTTPS have TCP ports, as plain DNS does; QUIC has UDP ports, as plain DNS does.
        for ((here, at), others) in [(&listen, [plain, &[]]), (&https, [plain, &listen.0]), (&quic, [plain, &[]])] {
            let taken =
                |address: &&SocketAddr| address.port() != 0 && others.iter().any(|other| other.contains(address));
            if let Some(address) = here.iter().find(taken) {
                self.wrong(at, format!("\"{address}\" is taken by another transport; give this one a port of its own"));
            }
        }
        let (certificate_at, key_at) = (at.key("certificate"), at.key("key"));
        let certificate = self.path(&certificate_at, raw.certificate.as_ref());
        let key = self.path(&key_at, raw.key.as_ref());
        let is_used = [&listen, &https, &quic].iter().any(|(addresses, _)| !addresses.is_empty());
        for (file, at, what) in [(&certificate, &certificate_at, "certificate chain"), (&key, &key_at, "private key")] {
            match (is_used, file.is_some()) {
                (true, false) => self.wrong(at, format!("is missing; name the PEM file of the {what}")),
                (false, true) => self.warn(at, "is not used: listen, https and quic of this table are empty"),
                _ => {}
            }
        }
        TlsConfig { listen: listen.0, https: https.0, quic: quic.0, certificate, key }
    }

    fn listener_access(&mut self, at: &KeyPath, written: &[RawAccess], known: &[SocketAddr]) -> Vec<ListenerAccess> {
        self.at_most(at, written.len(), limits::MAX_LISTEN, "rules");
        let mut rules: Vec<ListenerAccess> = Vec::new();
        for (index, raw) in written.iter().enumerate().take(limits::MAX_LISTEN) {
            let at = at.item(index);
            let listeners_at = at.key("listeners");
            let named = raw.listeners.as_deref().unwrap_or_default();
            let listeners = self.addresses(&listeners_at, named, DNS_PORT);
            for listener in &listeners {
                if !known.contains(listener) {
                    self.wrong(&listeners_at, format!("\"{listener}\" is not listened on; name it as under listen"));
                }
                if rules.iter().any(|rule| rule.listeners.contains(listener)) {
                    self.wrong(&listeners_at, format!("\"{listener}\" has a rule already"));
                }
            }
            if named.is_empty() && rules.iter().any(|rule| rule.listeners.is_empty()) {
                self.wrong(&at, "there is a rule for all listeners already; name the listeners of this one");
            }
            rules.push(ListenerAccess { listeners, access: self.access(&at, raw) });
        }
        rules
    }

    /// The rules of one `access` table.
    pub(super) fn access(&mut self, at: &KeyPath, raw: &RawAccess) -> Access {
        let (allow_at, deny_at) = (at.key("allow"), at.key("deny"));
        let allow = self.prefix_list(&allow_at, raw.allow.as_deref());
        let deny = self.prefix_list(&deny_at, raw.deny.as_deref());
        let denied = raw.denied.as_ref().and_then(|text| self.checked(&at.key("denied"), denied(text)));
        match Access::new(&allow, &deny, denied.unwrap_or_default()) {
            Ok(access) => access,
            Err(contradiction) => {
                self.wrong(&deny_at, contradiction);
                Access::default()
            }
        }
    }

    fn prefixes(&mut self, at: &KeyPath, written: Option<&[String]>) -> Prefixes {
        self.prefix_list(at, written).into_iter().collect()
    }

    pub(in crate::config) fn prefix_list(&mut self, at: &KeyPath, written: Option<&[String]>) -> Vec<Prefix> {
        let written = written.unwrap_or_default();
        self.at_most(at, written.len(), limits::MAX_PREFIXES, "prefixes");
        let mut prefixes = Vec::new();
        for (index, text) in written.iter().enumerate().take(limits::MAX_PREFIXES) {
            let parsed = text.trim().parse::<Prefix>().map_err(|error| error.to_string());
            prefixes.extend(self.checked(&at.item(index), parsed));
        }
        prefixes
    }
}

fn cookie_policy(text: &str) -> Result<CookiePolicy, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "off" => Ok(CookiePolicy::Off),
        "optional" => Ok(CookiePolicy::Optional),
        "required" => Ok(CookiePolicy::Required),
        _ => Err(format!("{} is no policy; write \"off\", \"optional\" or \"required\"", quoted(text))),
    }
}

/// A secret is never repeated in a message: logs are read by many.
fn cookie_secret(text: &str) -> Result<CookieSecret, String> {
    let text = text.trim();
    let mut secret = CookieSecret::default();
    if text.len() != 2 * secret.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let count = text.chars().count();
        return Err(format!(
            "a secret of {count} characters; it must be {} hexadecimal digits, such as \"openssl rand -hex {}\" prints",
            2 * secret.len(),
            secret.len()
        ));
    }
    for (octet, digits) in secret.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default() as u8;
        *octet = digit(digits[0]) << 4 | digit(digits[1]);
    }
    Ok(secret)
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{} is no format; write \"text\" or \"json\"", quoted(text))),
    }
}

fn denied(text: &str) -> Result<Denied, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "refuse" => Ok(Denied::Refuse),
        "drop" => Ok(Denied::Drop),
        _ => Err(format!("{} is neither \"refuse\" (they are told) nor \"drop\" (no reply)", quoted(text))),
    }
}
