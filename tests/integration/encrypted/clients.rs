//! Clients of the encrypted transports, and a server for them.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use alternator_dns::{
    config::{Config, TlsConfig, ZoneConfig},
    server::{
        Transport,
        encrypted::{ConnectionCounters, Ending},
    },
};
use bytes::Bytes;
use hickory_proto::rr::Name;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quinn::{ConnectionError, VarInt};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{
    PATIENCE, TestServer, ZONE, eventually, framed, free_port,
    packet::{query, question},
};

/// The name in every certificate made here.
pub const HOST: &str = "dns.test";

/// The transports, in the order in which they are configured.
pub const TRANSPORTS: [Transport; 3] = [Transport::Tls, Transport::Https, Transport::Quic];

/// A server of a zone file with all encrypted transports: `hN` has the address 10.0.0.N, `many` has 4000.
pub struct Encrypted {
    pub folder: tempfile::TempDir,
    pub server: TestServer,
}

/// A fresh certificate for [`HOST`] in a folder.
pub fn write_certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    fs::write(folder.join("chain.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

impl Encrypted {
    pub async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Self::config(folder.path());
        change(&mut config);
        let server = TestServer::start(config).await;
        Encrypted { folder, server }
    }

    /// All transports on one address, with a certificate in the folder.
    pub fn config(folder: &Path) -> Config {
        write_certificate(folder);
        let hosts: String = (0..=255).map(|host| format!("h{host} A 10.0.0.{host}\n")).collect();
        let many: String = (0..4000).map(|host| format!("many A 10.1.{}.{}\n", host / 256, host % 256)).collect();
        fs::write(folder.join("zone"), format!("$TTL 60\n{hosts}{many}short 7 A 10.0.0.1\n")).unwrap();
        let mut zone = ZoneConfig::new(Name::from_ascii(format!("{ZONE}.")).unwrap());
        zone.file = Some(folder.join("zone"));
        let mut config = TestServer::config(&zone);
        let free = || vec![SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST.into())))];
        config.server.tls = TlsConfig {
            listen: free(),
            https: free(),
            quic: free(),
            certificate: Some(folder.join("chain.pem")),
            key: Some(folder.join("key.pem")),
        };
        config
    }

    pub fn address(&self, transport: Transport) -> SocketAddr {
        self.server.app.encrypted().iter().find(|(of, _)| *of == transport).unwrap().1
    }

    pub fn connections(&self) -> &ConnectionCounters {
        self.server.app.connections()
    }

    /// Waits until so many connections ended so.
    pub async fn ended(&self, transport: Transport, ending: Ending, times: u64) {
        let ended = || std::future::ready(self.connections().ended(transport, ending));
        eventually(ended, |ended| *ended == times).await;
    }

    /// What a client trusts and offers.
    pub fn client(&self, protocols: &[&[u8]]) -> ClientConfig {
        client(&self.folder.path().join("chain.pem"), protocols)
    }

    pub async fn tls(&self) -> TlsStream<TcpStream> {
        self.tls_with(self.client(&[b"dot"])).await.unwrap()
    }

    pub async fn tls_with(&self, client: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address(Transport::Tls)).await.unwrap();
        connect_tls(stream, client).await
    }

    /// A connection of HTTP/2 or HTTP/1.1.
    pub async fn https(&self, http2: bool) -> Http {
        let stream = TcpStream::connect(self.address(Transport::Https)).await.unwrap();
        let protocols: &[&[u8]] = if http2 { &[b"h2"] } else { &[b"http/1.1"] };
        let stream = TokioIo::new(connect_tls(stream, self.client(protocols)).await.unwrap());
        if http2 {
            let (sender, connection) = conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            Http::Two(sender)
        } else {
            let (sender, connection) = conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            Http::One(sender)
        }
    }

    pub async fn quic(&self) -> Quic {
        self.quic_with(&[b"doq"]).await.unwrap()
    }

    pub async fn quic_with(&self, protocols: &[&[u8]]) -> Result<Quic, ConnectionError> {
        self.quic_as(protocols, quinn::TransportConfig::default()).await
    }

    pub async fn quic_as(
        &self,
        protocols: &[&[u8]],
        transport: quinn::TransportConfig,
    ) -> Result<Quic, ConnectionError> {
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(self.client(protocols)).unwrap();
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = self.address(Transport::Quic);
        let connecting = endpoint.connect_with(config, address, HOST).unwrap();
        let connection = timeout(PATIENCE, connecting).await.expect("in time")?;
        Ok(Quic { endpoint, connection })
    }
}

pub fn client(trusted: &PathBuf, protocols: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config
}

pub async fn connect_tls(stream: TcpStream, client: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true).unwrap();
    let connecting = TlsConnector::from(Arc::new(client)).connect(ServerName::try_from(HOST).unwrap(), stream);
    timeout(PATIENCE, connecting).await.expect("in time")
}

/// A query for `hN` with this id.
pub fn host(number: u8, id: [u8; 2]) -> Vec<u8> {
    let mut packet = query(&question(&format!("h{number}.{ZONE}"), 1), &[]);
    packet[..2].copy_from_slice(&id);
    packet
}

/// The reply is the one to [`host`].
pub fn assert_host(reply: &[u8], number: u8, id: [u8; 2]) {
    assert_eq!(reply[..2], id);
    assert_eq!(reply[reply.len() - 4..], [10, 0, 0, number]);
}

pub async fn send(stream: &mut TlsStream<TcpStream>, packets: &[Vec<u8>]) {
    let frames: Vec<u8> = packets.iter().flat_map(|packet| framed(packet)).collect();
    stream.write_all(&frames).await.unwrap();
    stream.flush().await.unwrap();
}

pub async fn receive(stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    timeout(PATIENCE, async {
        let len = stream.read_u16().await.unwrap();
        let mut reply = vec![0; usize::from(len)];
        stream.read_exact(&mut reply).await.unwrap();
        reply
    })
    .await
    .expect("a reply")
}

/// The connection is closed by the server, without a further octet.
pub async fn assert_closed(stream: &mut TlsStream<TcpStream>) {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server closes");
    assert!(read.is_err() || rest.is_empty(), "{rest:02x?}");
}

/// A connection of either version.
pub enum Http {
    One(conn::http1::SendRequest<Full<Bytes>>),
    Two(conn::http2::SendRequest<Full<Bytes>>),
}

impl Http {
    pub async fn request(&mut self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        self.try_request(request).await.unwrap()
    }

    pub async fn try_request(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Bytes>> {
        let response = async {
            let response = match self {
                Http::One(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
                Http::Two(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
            };
            let (head, body) = response.into_parts();
            Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
        };
        timeout(PATIENCE, response).await.expect("in time")
    }

    pub async fn post(&mut self, packet: &[u8]) -> Response<Bytes> {
        self.request(post(packet)).await
    }

    pub async fn get(&mut self, packet: &[u8]) -> Response<Bytes> {
        self.request(get(&format!("/dns-query?dns={}", base64_of(packet)))).await
    }
}

pub fn base64_of(packet: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, packet)
}

pub fn request(method: Method, path: &str) -> Request<Full<Bytes>> {
    // HTTP/2 takes its pseudo-headers from an absolute URL; HTTP/1.1 sends one as it is.
    Request::builder()
        .method(method)
        .uri(format!("https://{HOST}{path}"))
        .header("host", HOST)
        .body(Full::default())
        .unwrap()
}

pub fn get(path: &str) -> Request<Full<Bytes>> {
    request(Method::GET, path)
}

pub fn post(packet: &[u8]) -> Request<Full<Bytes>> {
    let mut request = request(Method::POST, "/dns-query");
    request.headers_mut().insert("content-type", "application/dns-message".parse().unwrap());
    *request.body_mut() = Full::new(Bytes::copy_from_slice(packet));
    request
}

/// A QUIC connection.
pub struct Quic {
    pub endpoint: quinn::Endpoint,
    pub connection: quinn::Connection,
}

impl Quic {
    pub async fn ask(&self, packet: &[u8]) -> Vec<u8> {
        let reply = self.exchange(&framed(packet)).await.unwrap();
        let (len, reply) = reply.split_first_chunk::<2>().unwrap();
        assert_eq!(usize::from(u16::from_be_bytes(*len)), reply.len(), "one message, then the end");
        reply.to_vec()
    }

    /// Sends a stream as it is, and reads the other half to its end.
    pub async fn exchange(&self, octets: &[u8]) -> Result<Vec<u8>, quinn::ReadToEndError> {
        let (mut send, mut receive) = self.connection.open_bi().await.unwrap();
        // The server may close before all is sent.
        let _ = send.write_all(octets).await;
        let _ = send.finish();
        timeout(PATIENCE, receive.read_to_end(70_000)).await.expect("in time")
    }

    /// The server closes the connection with this code.
    pub async fn assert_closed(&self, code: u32) {
        match timeout(PATIENCE, self.connection.closed()).await.expect("the server closes") {
            ConnectionError::ApplicationClosed(close) => assert_eq!(close.error_code, VarInt::from_u32(code)),
            other => panic!("{other}"),
        }
    }
}
