//! UDP: one thread and one SO_REUSEPORT socket per worker, so that the kernel spreads askers over workers and nothing
//! is shared between them.
//!
//! | | |
//! |---|---|
//! | `batch` | Linux: many datagrams per system call, replies from the address that was asked |
//! | `plain` | everywhere: one datagram at a time |

#[cfg(target_os = "linux")]
mod batch;
#[cfg(any(test, not(target_os = "linux")))]
mod plain;

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use super::{Asker, Responder, Transport, listeners::Stop, proxy, settings::Following};
use crate::table::Table;

/// Longest query taken; real ones stay below 300 octets, EDNS options included. What is longer arrives cut off, and
/// is malformed unless all it counts came before the cut.
const MAX_QUERY: usize = 4096;

/// Octets of received datagrams that wait while a worker does not run. The
/// kernel's default of some 200 KiB is full after a few milliseconds at 100,000 queries a second, which other threads
/// on the same core can take; this (which Linux doubles, for its own share) is enough for more than 50, and answers
/// still come long before anybody asks again.
const RECEIVE_BUFFER: usize = 4 << 20;

/// How often an idle worker looks whether it should stop.
const LOOK_UP: Duration = Duration::from_millis(100);

/// How long a stopping worker goes on answering what keeps arriving.
const DRAIN_FOR: Duration = Duration::from_millis(500);

/// Pause after an unexpected error of the socket, so that one that persists costs no core.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// Prepares a socket, before it is bound to this address, for how it will be served.
pub(super) fn prepare(socket: &socket2::Socket, address: SocketAddr) -> io::Result<()> {
    // The kernel gives what it allows; less is no reason not to serve.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    #[cfg(target_os = "linux")]
    batch::prepare(socket, address)?;
    // Elsewhere replies from a socket on all addresses leave from whichever the system prefers.
    let _ = address;
    Ok(())
}

/// The addresses of this machine, as far as they can be known.
pub(super) fn interface_addresses() -> Vec<IpAddr> {
    #[cfg(target_os = "linux")]
    return batch::interface_addresses();
    #[cfg(not(target_os = "linux"))]
    Vec::new()
}

/// Serves until told to stop, then answers what is already in the socket.
pub(super) fn serve(
    socket: &UdpSocket,
    tables: Arc<ArcSwap<Table>>,
    responder: Responder,
    following: Following,
    stop: &Stop,
) {
    let worker = Worker { tables, responder: responder.limiting_rate(), following };
    let (Ok(address), Ok(())) = (socket.local_addr(), socket.set_read_timeout(Some(LOOK_UP))) else {
        return tracing::error!("a UDP worker cannot use its socket");
    };
    #[cfg(target_os = "linux")]
    match (address, address.ip().is_unspecified()) {
        (SocketAddr::V4(_), false) => run(batch::V4::new(socket), worker, address, stop),
        (SocketAddr::V4(_), true) => run(batch::AnyV4::new(socket), worker, address, stop),
        (SocketAddr::V6(_), false) => run(batch::V6::new(socket), worker, address, stop),
        (SocketAddr::V6(_), true) => run(batch::AnyV6::new(socket), worker, address, stop),
    }
    #[cfg(not(target_os = "linux"))]
    run(plain::Plain::new(socket), worker, address, stop);
}

/// What answers, whichever way datagrams come.
struct Worker {
    tables: Arc<ArcSwap<Table>>,
    responder: Responder,
    following: Following,
}

impl Worker {
    /// Goes by what the operator chose last; called once for each batch.
    fn look(&mut self) {
        self.following.look(&mut self.responder);
    }

    /// Whether some of those who send us datagrams are proxies.
    fn has_proxies(&self) -> bool {
        !self.responder.settings().proxies.is_empty()
    }

    /// Appends the reply to a datagram to `reply`; nothing, when there is none. It goes to the sender, whoever asks.
    #[inline(always)]
    fn respond<const HAS_PROXIES: bool>(
        &mut self,
        table: &Table,
        datagram: &[u8],
        sender: SocketAddr,
        reply: &mut Vec<u8>,
    ) {
        let opened = if HAS_PROXIES {
            proxy::open(&self.responder.settings().proxies, datagram, sender)
        } else {
            Some((datagram, sender))
        };
        match opened {
            Some((query, source)) => _ = self.responder.respond(table, query, &Asker::udp(source), reply),
            None => self.responder.drop_unread(Transport::Udp),
        }
    }
}

/// A socket, as one way of receiving and sending sees it.
trait Datagrams {
    /// Receives what is there and answers it. Waits for a datagram, up to the socket's time-out, if `wait`; where none
    /// comes the error is [`ErrorKind::WouldBlock`].
    fn turn(&mut self, worker: &mut Worker, wait: bool) -> io::Result<()>;
}

fn run(mut datagrams: impl Datagrams, mut worker: Worker, address: SocketAddr, stop: &Stop) {
    let mut failing = false;
    while !stop.is_set() {
        match datagrams.turn(&mut worker, true) {
            Ok(()) => failing = false,
            Err(error) if is_nothing(&error) => {}
            Err(error) => {
                if !failing {
                    tracing::warn!(%address, %error, "receiving UDP failed; trying on");
                }
                failing = true;
                thread::sleep(AFTER_ERROR);
            }
        }
    }
    if stop.heir().is_some() {
        // What waits in the socket is answered by whoever goes on with it.
        return;
    }
    let until = Instant::now() + DRAIN_FOR;
    while Instant::now() < until && datagrams.turn(&mut worker, false).is_ok() {}
}

/// Whether an error means only that nothing was received.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Counters, Outcome, Settings,
            proxy::tests::{header, proxied},
        },
        *,
    };
    use crate::model::Prefix;

    /// A worker without zones: it refuses everything.
    fn worker(counters: &Counters, settings: Settings) -> Worker {
        let tables = Arc::new(ArcSwap::from_pointee(Table::default()));
        let mut following = Following::of(Arc::new(ArcSwap::from_pointee(settings)));
        Worker { responder: Responder::new(counters, following.settings(), 1), tables, following }
    }

    /// A query for the root's NS with this id.
    fn query(id: u8) -> Vec<u8> {
        vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]
    }

    fn socket(address: &str) -> UdpSocket {
        let address: SocketAddr = address.parse().unwrap();
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None).unwrap();
        prepare(&socket, address).unwrap();
        socket.bind(&address.into()).unwrap();
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    /// Asks more than a batch holds and has `datagrams` answer until every reply is here.
    fn answers_all(mut datagrams: impl Datagrams, server: SocketAddr, asker: &UdpSocket) {
        let counters = Counters::default();
        let mut worker = worker(&counters, Settings::default());
        asker.connect(server).unwrap();
        for id in 0..100 {
            asker.send(&query(id)).unwrap();
        }
        // What is no query gets no reply, and holds up none.
        asker.send(b"short").unwrap();
        while counters.total() < 101 {
            datagrams.turn(&mut worker, true).unwrap();
        }
        for id in 0..100 {
            let mut reply = [0; 100];
            let len = asker.recv(&mut reply).unwrap();
            assert_eq!((reply[1], reply[3] & 15, len), (id, 5, 17), "in order, refused, with the question");
        }
        assert!(is_nothing(&datagrams.turn(&mut worker, false).unwrap_err()));
        assert_eq!(counters.unsent(), 0);
    }

    #[test]
    fn one_at_a_time_answers_every_query() {
        let server = socket("127.0.0.1:0");
        answers_all(plain::Plain::new(&server), server.local_addr().unwrap(), &socket("127.0.0.1:0"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn batches_answer_every_query() {
        let server = socket("127.0.0.1:0");
        let address = server.local_addr().unwrap();
        answers_all(batch::V4::new(&server), address, &socket("127.0.0.1:0"));
        let server = socket("[::1]:0");
        let address = server.local_addr().unwrap();
        answers_all(batch::V6::new(&server), address, &socket("[::1]:0"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn replies_leave_from_the_address_that_was_asked() {
        let server = socket("0.0.0.0:0");
        let address = server.local_addr().unwrap();
        // A connected asker hears only who it asked.
        for asked in ["127.0.0.1", "127.9.8.7"] {
            let asked = SocketAddr::new(asked.parse().unwrap(), address.port());
            answers_all(batch::AnyV4::new(&server), asked, &socket("127.0.0.1:0"));
        }
        let server = socket("[::]:0");
        let address = server.local_addr().unwrap();
        let asked = SocketAddr::new("::1".parse().unwrap(), address.port());
        answers_all(batch::AnyV6::new(&server), asked, &socket("[::1]:0"));
    }

    /// Asks from a proxy's address and from another, with and without headers.
    fn reads_headers_of_proxies(
        mut datagrams: impl Datagrams,
        server: SocketAddr,
        proxy: &UdpSocket,
        other: &UdpSocket,
    ) {
        let counters = Counters::default();
        let proxies = [Prefix::around(proxy.local_addr().unwrap().ip(), 128)].into_iter().collect();
        let mut worker = worker(&counters, Settings { proxies, ..Settings::default() });
        let behind = |header: &[u8], query: &[u8]| [header, query].concat();
        let v4 = proxied("192.0.2.77:4660".parse().unwrap(), &[]);
        let v6 = proxied("[2001:db8::77]:4660".parse().unwrap(), b"\xEA\0\x01x");
        proxy.connect(server).unwrap();
        other.connect(server).unwrap();
        for (from, datagram) in [
            (proxy, behind(&v4, &query(1))),
            (proxy, behind(&v6, &query(2))),
            (proxy, behind(&header(0x20, 0, &[]), &query(3))),
            (other, query(4)),
            // Dropped: no header, less than one, a wrong one, one too many, no query behind it, one from nobody's proxy.
            (proxy, query(5)),
            (proxy, v4[..27].to_vec()),
            (proxy, behind(&header(0x22, 0x12, &[7; 12]), &query(6))),
            (proxy, behind(&v4, &behind(&v4, &query(7)))),
            (proxy, v4.clone()),
            (other, behind(&v4, &query(8))),
            (proxy, behind(&v4, &query(9))),
            (other, query(10)),
        ] {
            from.send(&datagram).unwrap();
        }
        while counters.total() < 12 {
            datagrams.turn(&mut worker, true).unwrap();
        }
        for (asker, ids) in [(proxy, &[1, 2, 3, 9][..]), (other, &[4, 10])] {
            for id in ids {
                let mut reply = [0; 100];
                let len = asker.recv(&mut reply).unwrap();
                assert_eq!(
                    (reply[1], reply[3] & 15, len),
                    (*id, 5, 17),
                    "refused, with the question, without a header"
                );
            }
        }
        assert_eq!((counters.get(Outcome::Refused), counters.get(Outcome::Dropped)), (6, 6));
    }

    #[test]
    fn one_at_a_time_reads_headers_of_proxies() {
        let server = socket("127.0.0.1:0");
        let (proxy, other) = (socket("127.0.0.2:0"), socket("127.0.0.1:0"));
        reads_headers_of_proxies(plain::Plain::new(&server), server.local_addr().unwrap(), &proxy, &other);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn batches_read_headers_of_proxies() {
        let server = socket("127.0.0.1:0");
        let (proxy, other) = (socket("127.0.0.2:0"), socket("127.0.0.1:0"));
        reads_headers_of_proxies(batch::V4::new(&server), server.local_addr().unwrap(), &proxy, &other);
        let server = socket("0.0.0.0:0");
        let address = SocketAddr::new("127.0.0.3".parse().unwrap(), server.local_addr().unwrap().port());
        reads_headers_of_proxies(batch::AnyV4::new(&server), address, &socket("127.0.0.2:0"), &socket("127.0.0.1:0"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn nobody_makes_replies_come_in_fragments() {
        use rustix::net::sockopt;
        let (v4, v6) = (socket("127.0.0.1:0"), socket("[::1]:0"));
        assert_eq!(sockopt::ip_mtu_discover(&v4).unwrap(), sockopt::Ipv4PathMtuDiscovery::OMIT);
        assert_eq!(sockopt::ipv6_mtu_discover(&v6).unwrap(), sockopt::Ipv6PathMtuDiscovery::OMIT);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn one_reply_that_cannot_be_sent_holds_up_no_other() {
        // Nothing can be sent to port 0, which no program has; only a raw socket, or a forger, asks from there.
        let server = socket("0.0.0.0:0");
        let mut batch = batch::AnyV4::new(&server);
        let askers = [socket("127.0.0.1:0"), socket("127.0.0.1:0")];
        let targets: Vec<SocketAddr> = vec![
            askers[0].local_addr().unwrap(),
            "127.0.0.1:0".parse().unwrap(),
            "127.0.0.2:0".parse().unwrap(),
            askers[1].local_addr().unwrap(),
        ];
        assert_eq!(batch.send_to(&targets, b"reply"), 2, "refused");
        for asker in askers {
            let mut reply = [0; 100];
            assert_eq!(asker.recv(&mut reply).unwrap(), 5);
        }
    }
}
