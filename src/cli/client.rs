//! Asking a running server: the HTTP client of every command that does.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{ConfigArg, load};
use crate::{
    admin::Token,
    config::{AdminConfig, Flags},
};

/// The port of `admin.listen` where nobody wrote it.
const PORT: u16 = 8053;

/// How long a server on the same machine or network may take to take a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// How long a reply may take. The server gives up its own work after 30 s.
const REPLY_WITHIN: Duration = Duration::from_secs(35);

/// Octets of a reply: the status of ten thousand nodes, several times over.
const MAX_REPLY: usize = 64 * 1024 * 1024;

/// Where the server is, and how to be let in.
#[derive(Debug, Default, Args)]
pub(super) struct ServerArgs {
    /// Server to ask: HOST:PORT or URL [default: admin.listen of the configuration found, else 127.0.0.1:8053]
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// File with the server's token [default: admin.token_file of the configuration found]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

/// A running server.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Token>,
}

/// Why a server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// What was given on the command line, or found in files.
    #[error("{0}")]
    Usage(String),
    /// Nobody there, no reply, or none of this program's.
    #[error("{0}")]
    Unreachable(String),
    /// It says so itself.
    #[error("{error}")]
    Refused {
        /// The reply's status.
        status: u16,
        /// The server's reason.
        error: String,
    },
}

/// Why a question for health has no reply.
pub(super) enum Unanswered {
    /// The connection is taken, and nothing comes; or not even that.
    Silent,
    /// Nobody listens there, or speaks HTTP.
    Nobody(String),
}

impl ClientError {
    /// The exit code of a command that fails for this.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            // 400: what was asked for cannot be right, whoever is asked.
            ClientError::Usage(_) | ClientError::Refused { status: 400, .. } => super::MISCONFIGURED,
            ClientError::Unreachable(_) | ClientError::Refused { .. } => super::FAILED,
        }
    }
}

impl ServerArgs {
    /// The configuration file that was named.
    pub(super) fn config_file(&self) -> Option<PathBuf> {
        self.config.file.clone()
    }

    /// Whether a server was named: then a command that can do without one must not.
    pub(super) fn is_named(&self) -> bool {
        self.server.is_some()
    }

    /// The server meant.
    pub(super) fn client(&self) -> Result<Client, ClientError> {
        // Nothing of the configuration is needed then, and one that is broken is no obstacle.
        let found = if self.server.is_some() { None } else { self.configured()? };
        let base = match &self.server {
            Some(server) => url_of(server).map_err(ClientError::Usage)?,
            None => Url::parse(&format!("http://{}", address_of(found.as_ref())?)).map_err(not_a_url)?,
        };
        // The token of the configuration is for its own server, and told to no other.
        let own = found.and_then(|admin| admin.token_file);
        let token_file = self.token_file.clone().or(own);
        let token = token_file.map(|path| Token::read(&path)).transpose();
        Client::new(base, token.map_err(|error| ClientError::Usage(error.to_string()))?)
    }

    /// What the configuration says of the HTTP side. One that nobody named and that is broken is none: this may be the
    /// command that is to tell what the server makes of it.
    fn configured(&self) -> Result<Option<AdminConfig>, ClientError> {
        let flags = Flags { config: self.config.file.clone(), ..Flags::default() };
        match load(&flags) {
            Ok(loaded) => Ok(Some(loaded.config.server.admin)),
            Err(problems) if self.config.file.is_some() => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Err(ClientError::Usage(lines.join("\n")))
            }
            Err(_) => {
                eprintln!("alternator-dns: the configuration found has mistakes (\"alternator-dns check\" tells them)");
                Ok(None)
            }
        }
    }
}

fn not_a_url(error: impl std::fmt::Display) -> ClientError {
    ClientError::Usage(error.to_string())
}

/// The address of a configuration at which this machine finds its own server.
pub(super) fn address_of(admin: Option<&AdminConfig>) -> Result<SocketAddr, ClientError> {
    let Some(admin) = admin else { return Ok((Ipv4Addr::LOCALHOST, PORT).into()) };
    let Some(address) = admin.listen.first() else {
        let error = "the configuration has admin.listen = []: the server cannot be asked; name another with --server";
        return Err(ClientError::Usage(error.to_owned()));
    };
    Ok(reached(*address))
}

/// Where a listener is found from its own machine.
pub(super) fn reached(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// `HOST`, `HOST:PORT` or a URL.
fn url_of(server: &str) -> Result<Url, String> {
    let server = server.trim();
    let is_url = server.starts_with("http://") || server.starts_with("https://");
    // An IPv6 address without brackets can only be an address.
    let text = match server.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("http://[{v6}]"),
        _ if is_url => server.to_owned(),
        _ => format!("http://{server}"),
    };
    let wrong = || format!("--server \"{server}\": write HOST:PORT, as 127.0.0.1:8053, or a URL");
    let mut url = Url::parse(&text).map_err(|_| wrong())?;
    if !url.has_host() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong());
    }
    // The port of HTTP is left out of a URL, even where it is written.
    let has_port = server.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|octet| octet.is_ascii_digit()));
    if !is_url && (!has_port || server.parse::<IpAddr>().is_ok()) {
        url.set_port(Some(PORT)).map_err(|()| wrong())?;
    }
    Ok(url)
}

impl Client {
    /// A server by its address or URL, to be asked what needs no token.
    pub(super) fn open(server: &str) -> Result<Self, ClientError> {
        Client::new(url_of(server).map_err(ClientError::Usage)?, None)
    }

    fn new(base: Url, token: Option<Token>) -> Result<Self, ClientError> {
        let mut http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(REPLY_WITHIN)
            .user_agent(concat!("alternator-dns/", env!("CARGO_PKG_VERSION")));
        if base.scheme() == "http" {
            // The system's certificates take longer to read than everything else.
            http = http.tls_certs_only([]);
        }
        let http = http.build().map_err(|error| ClientError::Usage(format!("cannot set up TLS: {error}")))?;
        Ok(Client { http, base, token })
    }

    /// The server, for people: its URL without the last slash.
    pub(super) fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// GET; `path` begins with `/` and is percent-encoded already.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None).await
    }

    /// GET with variables, which are encoded here.
    pub(super) async fn get_with<T: DeserializeOwned>(
        &self,
        path: &str,
        variables: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(variables);
        self.send(Method::GET, url, None).await
    }

    /// GET of what tells health: the status and body of whoever answers.
    pub(super) async fn probe(&self, path: &str) -> Result<(u16, Vec<u8>), Unanswered> {
        let nobody = |error: &dyn std::error::Error| Unanswered::Nobody(innermost(error));
        let url = self.url(path).map_err(|error| nobody(&error))?;
        let response = match self.http.get(url).send().await {
            Ok(response) => response,
            Err(error) if error.is_timeout() => return Err(Unanswered::Silent),
            Err(error) => return Err(nobody(&error)),
        };
        let status = response.status().as_u16();
        Ok((status, self.read(response).await.map_err(|error| nobody(&error))?))
    }

    /// POST with a body of JSON.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.ask(Method::POST, path, Some(json(body)?)).await
    }

    /// DELETE with a body of JSON.
    pub(super) async fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.ask(Method::DELETE, path, Some(json(body)?)).await
    }

    fn url(&self, path: &str) -> Result<Url, ClientError> {
        Url::parse(&format!("{}{path}", self.server())).map_err(not_a_url)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, ClientError> {
        self.send(method, self.url(path)?, body).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
    ) -> Result<T, ClientError> {
        let mut request = self.http.request(method, url).header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.secret())).map_err(not_a_url)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = self.read(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| self.foreign(status));
        }
        #[derive(Deserialize)]
        struct Said {
            error: String,
        }
        let Ok(Said { error }) = serde_json::from_slice(&body) else { return Err(self.foreign(status)) };
        let error = match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => {
                format!("{} wants its token: give the file that holds it with --token-file", self.server())
            }
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                format!("{} has another token than the one in the token file", self.server())
            }
            _ => error,
        };
        Err(ClientError::Refused { status: status.as_u16(), error })
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + chunk.len() > MAX_REPLY {
                let error = format!("{} sends more than {MAX_REPLY} octets", self.server());
                return Err(ClientError::Unreachable(error));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn foreign(&self, status: StatusCode) -> ClientError {
        let server = self.server();
        let error =
            format!("{server} answers (status {status}), but not as alternator-dns does: another program's port?");
        ClientError::Unreachable(error)
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let server = self.server();
        let text = if error.is_timeout() {
            format!("no answer from {server} in time: is the address right, and nothing in the way?")
        } else if error.is_connect() {
            let cause = innermost(error);
            format!(
                "cannot reach {server}: {cause}; is the server running, with this address under admin.listen? \
                 --server HOST:PORT asks another"
            )
        } else {
            format!("{server} gave no whole answer: {}", innermost(error))
        };
        ClientError::Unreachable(text)
    }
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(body).map_err(|error| ClientError::Usage(error.to_string()))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Runs a command that only asks: no signals to catch, and Ctrl-C ends it as it ends any other.
pub(super) fn run_client<F: Future<Output = Result<u8, ClientError>>>(command: impl FnOnce() -> F) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("alternator-dns: cannot start: {error}");
            return super::FAILED;
        }
    };
    let result = runtime.block_on(command());
    runtime.shutdown_background();
    result.unwrap_or_else(|error| {
        error.to_string().lines().for_each(|line| eprintln!("alternator-dns: {}", super::clean(line)));
        error.exit_code()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_hosts_or_urls() {
        for (given, url) in [
            ("127.0.0.1", "http://127.0.0.1:8053/"),
            ("127.0.0.1:80", "http://127.0.0.1/"),
            ("dns1.example:9000", "http://dns1.example:9000/"),
            ("localhost", "http://localhost:8053/"),
            ("::1", "http://[::1]:8053/"),
            ("[::1]:9", "http://[::1]:9/"),
            ("https://dns.example/admin/", "https://dns.example/admin/"),
            ("http://dns.example", "http://dns.example/"),
        ] {
            assert_eq!(url_of(given).map(String::from).as_deref(), Ok(url), "{given}");
        }
        for bad in ["", "a b", "host:port", "http://", "127.0.0.1:8053?x=1", "host:99999"] {
            assert!(url_of(bad).is_err(), "{bad}: {:?}", url_of(bad));
        }
    }

    #[test]
    fn the_servers_own_address_is_one_that_can_be_asked() {
        let admin = |listen: &[&str]| AdminConfig {
            listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
            is_default: false,
            token_file: None,
        };
        for (listen, asked) in
            [("0.0.0.0:99", "127.0.0.1:99"), ("[::]:99", "[::1]:99"), ("192.0.2.1:99", "192.0.2.1:99")]
        {
            assert_eq!(address_of(Some(&admin(&[listen]))).unwrap().to_string(), asked);
        }
        assert_eq!(address_of(None).unwrap().to_string(), "127.0.0.1:8053");
        assert!(address_of(Some(&admin(&[]))).unwrap_err().to_string().contains("--server"));
    }
}
