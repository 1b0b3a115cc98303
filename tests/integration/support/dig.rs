//! A small resolver's half: one question, one reply, decoded.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UdpSocket},
    time::timeout,
};

use super::packet::{Opt, opt_of};

/// How long one reply may take.
const REPLY_WITHIN: Duration = Duration::from_secs(5);

/// Where questions come from unless a test says otherwise: what the system chooses anyway.
const DEFAULT_SOURCES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// One question, to be sent.
#[derive(Clone, Debug)]
pub struct Dig {
    server: SocketAddr,
    message: Message,
    tcp: bool,
    from: IpAddr,
}

/// One reply.
#[derive(Clone, Debug)]
pub struct Reply {
    pub message: Message,
    /// As received.
    pub bytes: Vec<u8>,
}

impl Dig {
    /// A question for a fully qualified or relative name, class IN, over UDP, without EDNS.
    pub fn new(server: SocketAddr, name: &str, rtype: RecordType) -> Self {
        let mut message = Message::new(fastrand::u16(..), MessageType::Query, OpCode::Query);
        let mut name = Name::from_ascii(name).unwrap();
        name.set_fqdn(true);
        message.add_query(Query::query(name, rtype));
        let from = DEFAULT_SOURCES[usize::from(server.is_ipv6())];
        Dig { server, message, tcp: false, from }
    }

    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Asks from another loopback address: askers outside the nodes' /24 get several addresses.
    pub fn from(mut self, address: &str) -> Self {
        self.from = address.parse().unwrap();
        self
    }

    pub fn class(mut self, class: DNSClass) -> Self {
        self.message.queries[0].set_query_class(class);
        self
    }

    pub fn edns(mut self, size: u16) -> Self {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        self.message.set_edns(edns);
        self
    }

    /// The query, changed at will.
    pub fn with(mut self, change: impl FnOnce(&mut Message)) -> Self {
        change(&mut self.message);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.message.to_vec().unwrap()
    }

    /// Sends and waits; panics where there is no reply.
    pub async fn ask(&self) -> Reply {
        let start = Instant::now();
        let reply = self.try_ask().await;
        let transport = if self.tcp { "TCP" } else { "UDP" };
        reply.unwrap_or_else(|| panic!("no reply to {} over {transport} after {:?}", self.message, start.elapsed()))
    }

    /// Sends and waits; `None` where there is no reply in time.
    pub async fn try_ask(&self) -> Option<Reply> {
        let reply = self.send(&self.bytes(), REPLY_WITHIN).await?;
        assert_eq!(reply.message.metadata.id, self.message.metadata.id, "the id is echoed");
        assert_eq!(reply.message.metadata.message_type, MessageType::Response);
        Some(reply)
    }

    /// A way to send packets made octet by octet.
    pub fn to(server: SocketAddr) -> Self {
        Dig::new(server, ".", RecordType::A)
    }

    /// Sends the question this many times, each after the reply to the one before, over one socket or connection.
    pub async fn repeat(&self, times: usize) -> Vec<Reply> {
        let (bytes, mut replies) = (self.bytes(), Vec::new());
        if self.tcp {
            let mut stream = self.connect().await;
            for _ in 0..times {
                stream.write_all(&framed(&bytes)).await.unwrap();
                replies.push(timeout(REPLY_WITHIN, read_frame(&mut stream)).await.unwrap().expect("a reply"));
            }
        } else {
            let socket = UdpSocket::bind((self.from, 0)).await.unwrap();
            socket.connect(self.server).await.unwrap();
            for _ in 0..times {
                let mut reply = vec![0; 65_535];
                socket.send(&bytes).await.unwrap();
                let len = timeout(REPLY_WITHIN, socket.recv(&mut reply)).await.expect("a reply").unwrap();
                reply.truncate(len);
                replies.push(reply);
            }
        }
        replies.into_iter().map(|bytes| Reply { message: Message::from_vec(&bytes).unwrap(), bytes }).collect()
    }

    /// A TCP connection that leaves nothing behind: tests make so many that the kernel's ports would run out if each
    /// were kept for a minute after its end, as is usual.
    async fn connect(&self) -> TcpStream {
        let socket = if self.server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        socket.set_zero_linger().unwrap();
        if !DEFAULT_SOURCES.contains(&self.from) {
            socket.bind((self.from, 0).into()).unwrap();
        }
        socket.connect(self.server).await.unwrap()
    }

    /// Sends these bytes instead of the question's.
    pub async fn send(&self, bytes: &[u8], wait: Duration) -> Option<Reply> {
        let bytes = self.exchange(bytes, wait).await?;
        Some(Reply { message: Message::from_vec(&bytes).expect("a reply that decodes"), bytes })
    }

    /// Sends these bytes, and gets what comes back, whatever it is.
    pub async fn exchange(&self, bytes: &[u8], wait: Duration) -> Option<Vec<u8>> {
        if self.tcp {
            let mut stream = self.connect().await;
            stream.write_all(&framed(bytes)).await.unwrap();
            timeout(wait, read_frame(&mut stream)).await.ok()?
        } else {
            let socket = UdpSocket::bind((self.from, 0)).await.unwrap();
            socket.connect(self.server).await.unwrap();
            socket.send(bytes).await.unwrap();
            let mut buffer = vec![0; 65_535];
            let len = timeout(wait, socket.recv(&mut buffer)).await.ok()?.ok()?;
            buffer.truncate(len);
            Some(buffer)
        }
    }
}

/// A message behind its length, as TCP carries it.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = (bytes.len() as u16).to_be_bytes().to_vec();
    frame.extend_from_slice(bytes);
    frame
}

/// The next message of a TCP connection; `None` when it is closed.
pub async fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let len = stream.read_u16().await.ok()?;
    let mut bytes = vec![0; usize::from(len)];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

impl Reply {
    pub fn rcode(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    pub fn is_authoritative(&self) -> bool {
        self.message.metadata.authoritative
    }

    pub fn is_truncated(&self) -> bool {
        self.message.metadata.truncation
    }

    pub fn answers(&self) -> &[Record] {
        &self.message.answers
    }

    /// The addresses answered, in order.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.message
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::A(a) => Some(IpAddr::V4(a.0)),
                RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
                _ => None,
            })
            .collect()
    }

    /// The addresses answered, as a set of texts.
    pub fn set(&self) -> BTreeSet<String> {
        self.addresses().iter().map(ToString::to_string).collect()
    }

    /// The first address.
    pub fn first(&self) -> IpAddr {
        self.addresses()[0]
    }

    /// The texts of TXT records, one line each.
    pub fn texts(&self) -> Vec<String> {
        self.message
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::TXT(txt) => {
                    Some(txt.txt_data.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect())
                }
                _ => None,
            })
            .collect()
    }

    /// The sixteen bits behind the id.
    pub fn flags(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// Questions, answers, authorities, additionals: what the header says.
    pub fn counts(&self) -> [u16; 4] {
        [4, 6, 8, 10].map(|at| u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]))
    }

    /// The OPT record, as sent.
    pub fn opt(&self) -> Option<Opt> {
        opt_of(&self.bytes)
    }

    /// The options of an OPT that must be there.
    pub fn options(&self) -> Vec<(u16, Vec<u8>)> {
        self.opt().expect("an OPT").options
    }

    /// The return code, all twelve bits of it.
    pub fn rcode_number(&self) -> u16 {
        u16::from(self.opt().map_or(0, |opt| opt.extended_rcode)) << 4 | self.flags() & 15
    }

    pub fn ttl(&self) -> u32 {
        self.message.answers[0].ttl
    }

    /// NODATA: no error, no answer, the SOA in the authority section.
    pub fn is_nodata(&self) -> bool {
        self.rcode() == ResponseCode::NoError && self.answers().is_empty() && self.has_soa() && self.is_authoritative()
    }

    pub fn is_nxdomain(&self) -> bool {
        self.rcode() == ResponseCode::NXDomain && self.answers().is_empty() && self.has_soa() && self.is_authoritative()
    }

    pub fn has_soa(&self) -> bool {
        self.message.authorities.len() == 1 && self.message.authorities[0].record_type() == RecordType::SOA
    }
}
