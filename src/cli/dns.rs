//! Asking over DNS: the DNS client of every command that asks as clients do.
//!
//! Nothing here has a time limit of its own: how long a reply may take depends on who asks.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing came in time.
    Silent,
    /// Nobody listens there, or it cannot be reached.
    Unreachable(String),
    /// It came, but is no reply to the question.
    Garbled,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Silent => f.write_str("no reply"),
            Failure::Unreachable(reason) => f.write_str(reason),
            Failure::Garbled => f.write_str("its reply cannot be read"),
        }
    }
}

/// A question, with an ID of its own.
pub(super) fn question(name: Name, rtype: RecordType) -> Message {
    let mut message = Message::new(fastrand::u16(..), MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name, rtype));
    message
}

/// One datagram, and the reply to it.
pub(super) async fn over_udp(address: SocketAddr, question: &Message) -> Result<Message, Failure> {
    let any = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(unreachable)?;
    socket.connect(address).await.map_err(unreachable)?;
    socket.send(&encoded(question)?).await.map_err(unreachable)?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let len = socket.recv(&mut buffer).await.map_err(unreachable)?;
        // A late reply to another question, or somebody's guess: the right one may still come.
        if let Ok(reply) = decoded(&buffer[..len], question) {
            return Ok(reply);
        }
    }
}

/// A connection with one question and its reply.
pub(super) async fn over_tcp(address: SocketAddr, question: &Message) -> Result<Message, Failure> {
    let mut stream = TcpStream::connect(address).await.map_err(unreachable)?;
    let packet = encoded(question)?;
    let len = u16::try_from(packet.len()).map_err(|_| Failure::Garbled)?;
    let framed = [&len.to_be_bytes()[..], &packet].concat();
    stream.write_all(&framed).await.map_err(unreachable)?;
    let len = stream.read_u16().await.map_err(unreachable)?;
    let mut reply = vec![0; usize::from(len)];
    stream.read_exact(&mut reply).await.map_err(unreachable)?;
    decoded(&reply, question)
}

fn unreachable(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Unreachable("connection refused".to_owned()),
        _ => Failure::Unreachable(error.to_string()),
    }
}

fn encoded(message: &Message) -> Result<Vec<u8>, Failure> {
    message.to_vec().map_err(|_| Failure::Garbled)
}

fn decoded(bytes: &[u8], question: &Message) -> Result<Message, Failure> {
    let reply = Message::from_vec(bytes).map_err(|_| Failure::Garbled)?;
    let is_reply = reply.metadata.message_type == MessageType::Response && reply.metadata.id == question.metadata.id;
    // Errors may come without the question.
    let is_for_it = reply.queries.is_empty() || reply.queries == question.queries;
    if is_reply && is_for_it { Ok(reply) } else { Err(Failure::Garbled) }
}
