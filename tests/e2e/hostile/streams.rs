//! TCP connections that break in every way.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::{
    good::Good,
    packets::{self, Packets},
    process::Process,
};

/// Streams held open at once, most of them idle, some stuck. Of half of them the server is rid at once; the others are more
/// than it allows an address (1,024), so that good queries must be given the places of bad ones.
const HELD: usize = 2500;

/// Addresses they come from, so that no client has more than the server allows one.
const SOURCES: u8 = 200;

/// Streams between good queries.
const STREAMS: usize = 5;

/// Queries that somebody sends who never reads, octets: replies to them fill every buffer between us.
const UNREAD: usize = 128 * 1024;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// What a stream does before it is left alone or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Behaviour {
    /// Nothing at all.
    Silent,
    /// A query, cut anywhere.
    Cut,
    /// A whole query whose reply nobody waits for.
    Hasty,
    /// A whole query or a part of one, then no more from this side.
    HalfClosed,
    /// A length that no query has, and something behind it.
    Length,
    /// A length only, again and again.
    Lengths,
    /// Right lengths, malformed queries.
    Malformed,
    /// Octets without any framing.
    Noise,
    /// Many queries, no reply taken.
    Unread,
    /// An octet now and then.
    Trickle,
    /// The header of a proxy that is none of the server's.
    Proxy,
}

use Behaviour::{Cut, HalfClosed, Hasty, Length, Lengths, Malformed, Noise, Proxy, Silent, Trickle, Unread};

const BEHAVIOURS: [Behaviour; 11] =
    [Silent, Cut, Hasty, HalfClosed, Length, Lengths, Malformed, Noise, Unread, Trickle, Proxy];

struct Held {
    stream: TcpStream,
    /// Still to be sent, an octet at a time.
    rest: VecDeque<u8>,
}

/// Opens streams and breaks them.
pub(crate) struct Streams<'g> {
    good: &'g Good,
    process: Process,
    packets: Packets,
    dice: fastrand::Rng,
    held: VecDeque<Held>,
    bystander: UdpSocket,
    behaved: BTreeMap<Behaviour, usize>,
    resets: usize,
    /// Reset by the server before anything was sent.
    denied: usize,
    asked: usize,
    retries: usize,
}

impl<'g> Streams<'g> {
    pub(crate) fn new(good: &'g Good, process: Process, seed: u64) -> Self {
        Streams {
            good,
            process,
            packets: Packets::random(seed),
            dice: fastrand::Rng::with_seed(seed),
            held: VecDeque::new(),
            bystander: good.socket([127, 0, 0, 1]),
            behaved: BTreeMap::new(),
            resets: 0,
            denied: 0,
            asked: 0,
            retries: 0,
        }
    }

    /// Opens so many, and ends all of them.
    pub(crate) fn breaks(&mut self, count: usize) {
        let mut connection = self.good.connect();
        for number in 0..count {
            self.open();
            while self.held.len() > HELD {
                self.end();
            }
            self.trickle();
            if number % STREAMS == 0 {
                self.good.ask_tcp(&mut connection, self.asked);
                self.good.ask_tcp(&mut self.good.connect(), self.asked + 1);
                let nothing_else = |reply: &[u8]| panic!("nobody asked for this: {reply:02x?}");
                self.retries += self.good.ask_udp(&self.bystander, self.asked + 2, self.process, nothing_else);
                self.asked += 3;
            }
        }
        while !self.held.is_empty() {
            self.end();
        }
    }

    pub(crate) fn report(&self) -> String {
        format!(
            "{} broken streams ({} reset, {} by the server at once): {:?}; {} good queries in between all answered, {} asked again",
            self.behaved.values().sum::<usize>() + self.denied,
            self.resets,
            self.denied,
            self.behaved,
            self.asked,
            self.retries
        )
    }

    fn open(&mut self) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let source = IpAddr::from(self.good.source(self.dice.u8(1..=SOURCES), [127, 0, 4]));
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        if let Err(error) = socket.connect_timeout(&self.good.server.into(), CONNECT_WITHIN) {
            // Who may not ask is reset as soon as it is there.
            assert!(self.good.has_proxies && error.kind() == ErrorKind::ConnectionReset, "no connection: {error}");
            self.denied += 1;
            return;
        }
        // Fails where it was reset meanwhile.
        let _ = socket.set_tcp_nodelay(true);
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(true).unwrap();
        let behaviour = BEHAVIOURS[self.dice.usize(..BEHAVIOURS.len())];
        *self.behaved.entry(behaviour).or_default() += 1;
        if self.dice.u8(..4) > 0 {
            self.write(&stream, &self.good.header(source));
        }
        let rest = self.behave(behaviour, &stream);
        self.held.push_back(Held { stream, rest });
        // Some end at once, most are held.
        if self.dice.u8(..4) == 0 {
            self.held.rotate_right(1);
            self.end();
        }
    }

    /// What it sends now; returns what it sends later.
    fn behave(&mut self, behaviour: Behaviour, stream: &TcpStream) -> VecDeque<u8> {
        let number = self.dice.usize(..1000);
        let query = packets::framed(&self.good.query(number));
        let cut = self.dice.usize(..query.len());
        match behaviour {
            Silent => {}
            Cut => self.write(stream, &query[..cut]),
            Hasty => self.write(stream, &query),
            HalfClosed => {
                let part = if self.dice.bool() { &query[..] } else { &query[..cut] };
                self.write(stream, part);
                // Fails where the server was faster.
                let _ = stream.shutdown(Shutdown::Write);
            }
            Length => {
                let len = [0, 1, 11, 4097, 0x1603, 0x4745, u16::MAX][self.dice.usize(..7)];
                let noise = self.noise(200);
                self.write(stream, &[&len.to_be_bytes()[..], &noise].concat());
            }
            Lengths => self.write(stream, &[0, 12].repeat(cut + 1)),
            Malformed => {
                for _ in 0..20 {
                    let packet = self.packets.next();
                    let packet = &packet[..packet.len().min(4096)];
                    self.write(stream, &packets::framed(packet));
                }
            }
            Noise => {
                let noise = self.noise(3000);
                self.write(stream, &noise);
            }
            Unread => {
                let query = packets::framed(&packets::explain());
                self.write(stream, &query.repeat(UNREAD / query.len()));
            }
            Trickle => return query.into(),
            Proxy => {
                let header = self.packets.proxied();
                self.write(stream, &header);
            }
        }
        VecDeque::new()
    }

    fn noise(&mut self, most: usize) -> Vec<u8> {
        let len = self.dice.usize(..most);
        std::iter::repeat_with(|| self.dice.u8(..)).take(len).collect()
    }

    /// Writes as much as goes without waiting. The server may have closed the connection by now.
    fn write(&self, mut stream: &TcpStream, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) => {
                    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, WouldBlock};
                    let expected = [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, WouldBlock];
                    assert!(expected.contains(&error.kind()), "{error}");
                    return;
                }
            }
        }
    }

    /// One octet of one stream that has some left.
    fn trickle(&mut self) {
        let at = self.dice.usize(..self.held.len().max(1));
        let Some(held) = self.held.iter_mut().skip(at).find(|held| !held.rest.is_empty()) else { return };
        let octet = held.rest.pop_front().into_iter().collect::<Vec<u8>>();
        let stream = held.stream.try_clone().unwrap();
        self.write(&stream, &octet);
    }

    /// Ends the oldest stream: in good order, by a reset, or after reading what is there.
    fn end(&mut self) {
        let Some(Held { mut stream, .. }) = self.held.pop_front() else { return };
        match self.dice.u8(..3) {
            0 => {
                // Closing with nothing lingering resets.
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                self.resets += 1;
            }
            1 => _ = stream.read(&mut [0; 4096]),
            _ => {}
        }
    }
}
