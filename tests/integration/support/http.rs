//! A small HTTP client's half, octet by octet: what is sent is exactly what a test says.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::PATIENCE;

/// Requests to one server, all alike but for path and method.
#[derive(Clone, Debug)]
pub struct Http {
    server: SocketAddr,
    from: Option<IpAddr>,
    host: Option<String>,
    headers: Vec<String>,
}

/// A reply, read to its end.
#[derive(Clone, Debug)]
pub struct HttpReply {
    pub status: u16,
    /// Lower-case names; values of those that come twice are joined.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Http {
    pub fn to(server: SocketAddr) -> Self {
        Http { server, from: None, host: Some(server.to_string()), headers: Vec::new() }
    }

    /// Asks from another address.
    pub fn from(mut self, address: &str) -> Self {
        self.from = Some(address.parse().unwrap());
        self
    }

    /// Another `Host`, or none.
    pub fn host(mut self, host: Option<&str>) -> Self {
        self.host = host.map(str::to_owned);
        self
    }

    /// One header more.
    pub fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    /// With a token, as programs bring it.
    pub fn bearer(self, token: &str) -> Self {
        self.header(&format!("Authorization: Bearer {token}"))
    }

    /// With a token, as browsers bring it.
    pub fn password(self, token: &str) -> Self {
        self.header(&format!("Authorization: Basic {}", BASE64_STANDARD.encode(format!("anybody:{token}"))))
    }

    pub async fn get(&self, path: &str) -> HttpReply {
        self.request("GET", path, "").await
    }

    /// With a body of JSON.
    pub async fn post(&self, path: &str, body: &str) -> HttpReply {
        self.clone().header("Content-Type: application/json").request("POST", path, body).await
    }

    pub async fn request(&self, method: &str, path: &str, body: &str) -> HttpReply {
        let mut stream = self.connect().await;
        stream.write_all(self.head(method, path, Some(body.len())).as_bytes()).await.unwrap();
        // A server that refuses what it reads may close before it read all.
        let _ = stream.write_all(body.as_bytes()).await;
        let mut reply = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut reply)).await;
        read.unwrap_or_else(|_| panic!("no end of the reply to {method} {path}")).ok();
        HttpReply::of(&String::from_utf8(reply).unwrap())
    }

    /// Follows a stream of events.
    pub async fn follow(&self, path: &str) -> EventStream {
        let mut stream = self.connect().await;
        stream.write_all(self.head("GET", path, None).as_bytes()).await.unwrap();
        EventStream(BufReader::new(stream))
    }

    pub async fn connect(&self) -> TcpStream {
        let socket = if self.server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        if let Some(from) = self.from {
            socket.bind((from, 0).into()).unwrap();
        }
        socket.connect(self.server).await.unwrap()
    }

    pub fn head(&self, method: &str, path: &str, len: Option<usize>) -> String {
        let mut lines = vec![format!("{method} {path} HTTP/1.1")];
        lines.extend(self.host.iter().map(|host| format!("Host: {host}")));
        lines.extend(self.headers.iter().cloned());
        lines.extend(len.map(|len| format!("Content-Length: {len}\r\nConnection: close")));
        lines.join("\r\n") + "\r\n\r\n"
    }
}

impl HttpReply {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply but {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
            let known = headers.entry(name.to_lowercase()).or_default();
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(value);
        }
        HttpReply { status, headers, body: body.to_owned() }
    }

    /// The body, where the request was done.
    pub fn json(&self) -> Value {
        assert_eq!((self.status, &*self.headers["content-type"]), (200, "application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    /// What is wrong, where it was not done.
    pub fn error(&self) -> String {
        assert_eq!((self.status >= 400, &*self.headers["content-type"]), (true, "application/json"), "{self:?}");
        let value: Value = serde_json::from_str(&self.body).unwrap();
        value["error"].as_str().unwrap().to_owned()
    }
}

/// A stream of server-sent events.
pub struct EventStream(BufReader<TcpStream>);

/// One event.
#[derive(Clone, Debug)]
pub struct ServerEvent {
    pub event: String,
    pub id: Option<u64>,
    pub data: Value,
}

impl EventStream {
    /// The next event of this kind; `None` where the stream ended.
    pub async fn next(&mut self, kind: &str) -> Option<ServerEvent> {
        timeout(PATIENCE, async {
            loop {
                let event = self.any().await?;
                if event.event == kind {
                    return Some(event);
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no event of kind {kind}"))
    }

    async fn any(&mut self) -> Option<ServerEvent> {
        let (mut event, mut id, mut data) = (None, None, None);
        loop {
            let mut line = String::new();
            // The lengths of chunks stand between and mean nothing here.
            if self.0.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", value)) => event = Some(value.to_owned()),
                Some(("id", value)) => id = value.parse().ok(),
                Some(("data", value)) => data = serde_json::from_str(value).ok(),
                Some((_, _)) => {}
                None => {
                    if let (Some(event), Some(data)) = (event.take(), data.take()) {
                        return Some(ServerEvent { event, id, data });
                    }
                }
            }
        }
    }

    /// Whether the server ends the stream within this time, whatever it sends until then.
    pub async fn ends_within(&mut self, limit: Duration) -> bool {
        timeout(limit, async { while self.any().await.is_some() {} }).await.is_ok()
    }
}
