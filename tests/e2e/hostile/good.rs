//! Queries with one right answer.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RData,
};

use crate::{packets, process::Process};

pub(crate) const ZONE: &str = "alternator.local";

/// How long a reply may take: a busy machine's time, not the server's.
const REPLY_WITHIN: Duration = Duration::from_secs(5);

/// How often a good query is sent again where the kernel dropped datagrams; it would be the machine's doing.
const RETRIES: usize = 5;

/// Ids of good queries have this bit, those of bad ones have not.
pub(crate) const GOOD: u16 = 0x8000;

/// Addresses of an answer.
const ANSWERS: usize = 8;

const A: u16 = 1;

/// Where proxies are, if the server knows of any.
const PROXIES: [u8; 3] = [127, 0, 5];

/// Asks what it knows the answer to.
#[derive(Clone, Debug)]
pub(crate) struct Good {
    pub(crate) server: SocketAddr,
    pub(crate) nodes: Vec<Ipv4Addr>,
    pub(crate) has_proxies: bool,
}

impl Good {
    /// The good query of this number: a node's own name, the whole cluster, or a name that there is not; with and
    /// without EDNS.
    pub(crate) fn query(&self, number: usize) -> Vec<u8> {
        let node = self.nodes[number % self.nodes.len()].to_string().replace('.', "-");
        let name = match number % 3 {
            0 => format!("n-{node}.{ZONE}"),
            1 => ZONE.to_owned(),
            _ => format!("no-{number}.{ZONE}"),
        };
        let opt = packets::opt(1232, 0, &[]);
        let additionals: &[&[u8]] = if number.is_multiple_of(2) { &[] } else { &[&opt] };
        let mut query = packets::query(0x0100, &packets::question(&name, A, 1), additionals);
        query[..2].copy_from_slice(&(GOOD | number as u16).to_be_bytes());
        query
    }

    /// Panics where a reply is not right.
    pub(crate) fn check(&self, number: usize, reply: &[u8]) {
        let query = self.query(number);
        let message = Message::from_vec(reply).unwrap_or_else(|error| panic!("{error}: {reply:02x?}"));
        assert_eq!(reply[..2], query[..2], "the id");
        let question_end = query.len() - if number.is_multiple_of(2) { 0 } else { 11 };
        assert_eq!(reply[12..question_end], query[12..question_end], "the question");
        assert_eq!(message.edns.is_some(), number % 2 == 1, "an OPT where one was sent");
        assert!(message.metadata.authoritative && !message.metadata.truncation);
        let addresses: BTreeSet<Ipv4Addr> = message
            .answers
            .iter()
            .map(|record| match &record.data {
                RData::A(address) => address.0,
                other => panic!("not asked for: {other}"),
            })
            .collect();
        assert_eq!(addresses.len(), message.answers.len(), "each once");
        let (expected, rcode) = match number % 3 {
            0 => {
                assert_eq!(addresses, BTreeSet::from([self.nodes[number % self.nodes.len()]]));
                (1, ResponseCode::NoError)
            }
            1 => (ANSWERS.min(self.nodes.len()), ResponseCode::NoError),
            _ => (0, ResponseCode::NXDomain),
        };
        assert_eq!((addresses.len(), message.metadata.response_code), (expected, rcode));
        assert!(addresses.iter().all(|address| self.nodes.contains(address)), "{addresses:?}");
    }

    /// Asks over UDP from a socket, and hands every other reply that comes before the right one to `other`. Returns how
    /// often it had to be asked again.
    pub(crate) fn ask_udp(
        &self,
        socket: &UdpSocket,
        number: usize,
        process: Process,
        mut other: impl FnMut(&[u8]),
    ) -> usize {
        let (query, dropped) = (self.query(number), process.dropped());
        let sent = [self.header(socket.local_addr().unwrap().ip()), query.clone()].concat();
        socket.set_read_timeout(Some(REPLY_WITHIN)).unwrap();
        socket.send(&sent).unwrap();
        let mut retries = 0;
        let mut reply = [0; 65_535];
        loop {
            match socket.recv(&mut reply) {
                Ok(len) if reply[..len].starts_with(&query[..2]) => {
                    self.check(number, &reply[..len]);
                    return retries;
                }
                Ok(len) => other(&reply[..len]),
                Err(error) => {
                    // Asked again only where it was not the server that lost it.
                    assert!(retries < RETRIES && process.dropped() > dropped, "good query {number} over UDP: {error}");
                    retries += 1;
                    socket.send(&sent).unwrap();
                }
            }
        }
    }

    /// Asks over a connection.
    pub(crate) fn ask_tcp(&self, stream: &mut TcpStream, number: usize) {
        let query = self.query(number);
        stream.set_read_timeout(Some(REPLY_WITHIN)).unwrap();
        let failed = |error| panic!("good query {number} over TCP: {error}");
        stream.write_all(&packets::framed(&query)).unwrap_or_else(failed);
        let mut len = [0; 2];
        stream.read_exact(&mut len).unwrap_or_else(failed);
        let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut reply).unwrap_or_else(failed);
        self.check(number, &reply);
    }

    /// An address that bad input comes from: of these, but every second one of a proxy's, where there are any.
    pub(crate) fn source(&self, number: u8, [a, b, c]: [u8; 3]) -> [u8; 4] {
        let [a, b, c] = if self.has_proxies && number.is_multiple_of(2) { PROXIES } else { [a, b, c] };
        [a, b, c, number]
    }

    /// What a query from this address has in front of it, to be read at all.
    pub(crate) fn header(&self, from: IpAddr) -> Vec<u8> {
        let is_proxy = self.has_proxies && matches!(from, IpAddr::V4(from) if from.octets().starts_with(&PROXIES));
        if is_proxy { packets::proxy_header() } else { Vec::new() }
    }

    /// A socket of this address that hears the server alone.
    pub(crate) fn socket(&self, from: [u8; 4]) -> UdpSocket {
        let socket = UdpSocket::bind((IpAddr::from(from), 0)).unwrap();
        socket.connect(self.server).unwrap();
        socket
    }

    /// A connection.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.server, REPLY_WITHIN).expect("a connection for good queries");
        stream.set_nodelay(true).unwrap();
        stream
    }
}
