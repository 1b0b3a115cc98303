//! What only time, crowds and malice bring about.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{worker::Worker, *};
use crate::{
    config::TcpConfig,
    model::{Access, Denied, Prefix},
    server::{Counters, Responder, Settings, listeners::Stop, proxy::tests::proxied, settings::Following},
    table::Table,
};

/// How long what must happen may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A query for the root's NS, framed.
const QUERY: [u8; 19] = [0, 17, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

/// A worker of its own, told to stop when dropped.
struct Served {
    address: SocketAddr,
    stop: Stop,
    counters: Counters,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.set();
    }
}

fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn listening(listener: TcpListener) -> Listening {
    Listening::new(listener).unwrap()
}

/// Serves no zones, so everything is refused.
fn desk(counters: &Counters, settings: Settings) -> Desk {
    let mut following = Following::of(Arc::new(ArcSwap::from_pointee(settings)));
    let responder = Responder::new(counters, following.settings(), 1);
    Desk::new(Arc::new(ArcSwap::from_pointee(Table::default())), responder, following)
}

fn limits() -> Limits {
    Limits::of_each(1, &TcpConfig::default())
}

fn served(limits: Limits) -> Served {
    served_to(Settings::default(), limits)
}

fn served_to(settings: Settings, limits: Limits) -> Served {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let (stop, counters) = (Stop::default(), Counters::default());
    let served = Served { address, stop: stop.clone(), counters: counters.clone() };
    let mut worker = Worker::new(listening(listener), desk(&counters, settings), limits, counters.tcp_worker());
    thread::spawn(move || worker.serve_until(&stop));
    served
}

impl Served {
    /// Waits until so many connections were closed for this reason; and every one accepted is accounted for.
    fn closed(&self, why: Closed, times: u64) {
        let start = Instant::now();
        while self.counters.tcp(why) < times {
            assert!(start.elapsed() < PATIENCE, "{:?}", counts(&self.counters));
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(self.counters.tcp(why), times, "{:?}", counts(&self.counters));
        self.assert_accounted();
    }

    /// Every connection accepted is open, or has one reason why it is not; once nothing changes between two looks.
    fn assert_accounted(&self) {
        let sum = || Closed::ALL.into_iter().map(|why| self.counters.tcp(why)).sum::<u64>() + self.counters.tcp_open();
        let start = Instant::now();
        while self.counters.tcp_accepted() != sum() {
            assert!(start.elapsed() < PATIENCE, "{:?}", counts(&self.counters));
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The reasons that occurred.
fn counts(counters: &Counters) -> Vec<(String, u64)> {
    let all = Closed::ALL.into_iter().map(|why| (why.to_string(), counters.tcp(why)));
    all.filter(|(_, number)| *number > 0).collect()
}

fn connected(served: &Served) -> TcpStream {
    connected_to(served.address)
}

fn connected_to(address: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(address).unwrap())
}

/// A connection from another loopback address, whose side receives as little at once as the kernel allows.
fn connected_from(source: &str, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    patient(socket.into())
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Ends a connection with a reset.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Asks and hears the refusal.
fn assert_served(stream: &mut TcpStream) {
    stream.write_all(&QUERY).unwrap();
    assert_answered(stream);
}

fn assert_answered(stream: &mut TcpStream) {
    let mut reply = [0; 19];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!((reply[1], reply[5] & 15), (17, 5));
}

/// Waits until the server closes the connection.
fn assert_closed(stream: &mut TcpStream) {
    // A reset is a close like any other, where something sent was not read any more.
    match stream.read(&mut [0; 64]) {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "not closed in time"),
    }
}

/// Reads until the server closes in order; how many replies came.
fn replies_until_the_end(stream: &mut TcpStream) -> usize {
    let mut replies = Vec::new();
    stream.read_to_end(&mut replies).expect("an end, not a reset");
    assert_eq!(replies.len() % QUERY.len(), 0);
    replies.len() / QUERY.len()
}

#[test]
fn idle_connections_are_closed_also_those_that_trickle() {
    let served = served(Limits { idle: Duration::from_millis(300), ..limits() });
    let (mut silent, mut trickling) = (connected(&served), connected(&served));
    assert_served(&mut silent);
    // It would take 80 s, and each octet comes long before the time is up.
    let long = [[15, 160].as_slice(), &[0; 4000]].concat();
    let start = Instant::now();
    for octet in &long {
        assert!(start.elapsed() < PATIENCE, "not closed in time");
        if trickling.write_all(&[*octet]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert_closed(&mut silent);
    assert_closed(&mut trickling);
    served.closed(Closed::Idle, 2);
    assert_served(&mut connected(&served));
}

#[test]
fn messages_that_are_no_queries_keep_no_connection_open() {
    let served = served(Limits { idle: Duration::from_millis(300), ..limits() });
    let mut stream = connected(&served);
    // A response, which is dropped.
    let mut response = QUERY;
    response[4] = 0x80;
    let start = Instant::now();
    while stream.write_all(&response).is_ok() {
        assert!(start.elapsed() < PATIENCE, "not closed in time");
        thread::sleep(Duration::from_millis(20));
    }
    served.closed(Closed::Idle, 1);
}

#[test]
fn a_client_that_takes_no_replies_is_closed() {
    let served = served(Limits { stalled: Duration::from_millis(300), ..limits() });
    let mut stream = connected(&served);
    let many = QUERY.repeat(10_000);
    // Ends when the server, unable to send, reads no more and then closes.
    let start = Instant::now();
    while stream.write_all(&many).is_ok() {
        assert!(start.elapsed() < PATIENCE, "not closed in time");
    }
    served.closed(Closed::Stalled, 1);
    assert_served(&mut connected(&served));
}

#[test]
fn an_old_connection_is_closed_in_order_when_it_has_its_answers() {
    let served = served(Limits { lifetime: Duration::from_millis(300), ..limits() });
    let mut silent = connected(&served);
    let mut busy = connected(&served);
    let (mut asked, mut answered, start) = (0, 0, Instant::now());
    let mut reply = [0; 19];
    // Asks without a pause; the server says when it is enough.
    loop {
        assert!(start.elapsed() < PATIENCE, "not closed in time");
        busy.write_all(&QUERY).unwrap();
        asked += 1;
        match busy.read(&mut reply).unwrap() {
            0 => break,
            first => busy.read_exact(&mut reply[first..]).unwrap(),
        }
        answered += 1;
    }
    assert_eq!(asked, answered + 1, "the one that came too late, and no other");
    drop(busy);
    assert_closed(&mut silent);
    served.closed(Closed::Lifetime, 2);
}

#[test]
fn a_connection_ends_in_order_after_as_many_queries_as_it_may_bring() {
    let served = served(Limits { queries: 3, ..limits() });
    let mut stream = connected(&served);
    assert_served(&mut stream);
    // More than one read takes: what is left over must not turn the end into a reset.
    stream.write_all(&QUERY.repeat(4000)).unwrap();
    assert_eq!(replies_until_the_end(&mut stream), 2);
    drop(stream);
    served.closed(Closed::Queries, 1);
    assert_eq!(served.counters.total(), 3);
}

#[test]
fn replies_reach_a_slow_client_although_garbage_follows_its_queries() {
    const QUERIES: usize = 1500;
    let served = served(limits());
    let mut stream = connected_from("127.0.0.1", served.address);
    stream.write_all(&QUERY.repeat(QUERIES)).unwrap();
    // No length of a query; and behind it more than one read takes.
    stream.write_all(&[0; 40_000]).unwrap();
    assert_eq!(replies_until_the_end(&mut stream), QUERIES);
    drop(stream);
    served.closed(Closed::Framing, 1);
}

#[test]
fn who_goes_on_sending_after_the_end_is_not_listened_to_for_ever() {
    let served = served(limits());
    let mut stream = connected(&served);
    assert_served(&mut stream);
    stream.write_all(&[0, 0]).unwrap();
    let start = Instant::now();
    while stream.write_all(&[0; 4096]).is_ok() {
        assert!(start.elapsed() < PATIENCE, "not closed in time");
    }
    served.closed(Closed::Framing, 1);
    // Nor waited for.
    let mut silent = connected(&served);
    assert_served(&mut silent);
    silent.write_all(&[0, 0]).unwrap();
    assert_closed(&mut silent);
    served.closed(Closed::Framing, 2);
}

#[test]
fn lengths_that_no_query_has_end_a_connection() {
    let served = served(limits());
    for (times, length) in [0, 1, 11, 4097, 65_535_u16].into_iter().enumerate() {
        let mut stream = connected(&served);
        stream.write_all(&length.to_be_bytes()).unwrap();
        assert_closed(&mut stream);
        served.closed(Closed::Framing, times as u64 + 1);
    }
}

#[test]
fn what_comes_with_the_end_of_a_connection_is_answered() {
    let served = served(limits());
    for _ in 0..50 {
        let mut stream = connected(&served);
        stream.write_all(&QUERY.repeat(3)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(replies_until_the_end(&mut stream), 3);
    }
    served.closed(Closed::Finished, 50);
}

#[test]
fn replies_of_a_client_that_reset_its_connection_reach_nobody_else() {
    let served = served(limits());
    for _ in 0..200 {
        let gone = connected(&served);
        (&gone).write_all(&QUERY).unwrap();
        // The query may be read all the same, and its reply cannot be sent.
        reset(gone);
        let mut other = connected(&served);
        let mut query = QUERY;
        query[2] = 0xAB;
        other.write_all(&query).unwrap();
        let mut reply = [0; 19];
        other.read_exact(&mut reply).unwrap();
        assert_eq!(reply[2], 0xAB, "the reply to its own query");
    }
    served.closed(Closed::Reset, 200);
}

#[test]
fn much_asked_at_once_and_read_late_comes_whole() {
    const QUERIES: usize = 50_000;
    let served = served(limits());
    let mut stream = connected(&served);
    let mut writing = stream.try_clone().unwrap();
    let writer = thread::spawn(move || {
        writing.write_all(&QUERY.repeat(QUERIES)).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    // Not before the client's and the server's buffers are full.
    let deadline = Instant::now() + PATIENCE;
    let (mut before, mut now) = (0, 1);
    while before != now && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
        (before, now) = (now, served.counters.total());
    }
    assert_eq!(replies_until_the_end(&mut stream), QUERIES);
    writer.join().unwrap();
}

#[test]
fn a_full_worker_takes_the_place_of_the_longest_idle() {
    let served = served(Limits { connections: 2, ..limits() });
    let (mut one, mut two) = (connected(&served), connected(&served));
    assert_served(&mut one);
    assert_served(&mut two);
    assert_served(&mut one);
    let mut new = connected(&served);
    assert_served(&mut new);
    assert_closed(&mut two);
    assert_served(&mut one);
    assert_served(&mut new);
    served.closed(Closed::Evicted, 1);
    assert_eq!(served.counters.tcp_open(), 2);
}

#[test]
fn a_client_with_all_its_places_takes_one_of_its_own() {
    let served = served(Limits { connections: 10, per_client: 2, ..limits() });
    let mut other = connected_from("127.0.0.9", served.address);
    assert_served(&mut other);
    let mut own = [(); 3].map(|()| {
        let mut stream = connected(&served);
        assert_served(&mut stream);
        stream
    });
    assert_closed(&mut own[0]);
    served.closed(Closed::Evicted, 1);
    // Who asks is served, and who was first and of another address still is.
    own[1..].iter_mut().for_each(assert_served);
    assert_served(&mut other);
}

#[test]
fn those_who_do_not_ask_hold_no_place_against_those_who_do() {
    let served = served(Limits { connections: 4, ..limits() });
    let mut held = Vec::new();
    for number in 0..40_usize {
        let mut holding = connected(&served);
        // Silence, a length, a part of a query.
        holding.write_all(&QUERY[..number % 3 * 5]).unwrap();
        held.push(holding);
        if number % 4 == 3 {
            assert_served(&mut connected(&served));
        }
    }
    let left = held.iter_mut().rev().take(4);
    left.for_each(|stream| stream.shutdown(Shutdown::Write).unwrap());
    assert!(served.counters.tcp(Closed::Evicted) >= 36, "{:?}", counts(&served.counters));
}

#[test]
fn connections_that_hold_much_are_closed_when_all_hold_too_much() {
    // Each holds up to 16 KiB of replies that it does not take.
    let served = served(Limits { held: 64 * 1024, stalled: PATIENCE, ..limits() });
    let enough = Arc::new(AtomicBool::new(false));
    let takers = [(); 30].map(|()| {
        let (mut stream, enough) = (connected_from("127.0.0.1", served.address), enough.clone());
        stream.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let many = QUERY.repeat(1000);
            while !enough.load(Relaxed) {
                match stream.write(&many) {
                    Err(error) if error.kind() != ErrorKind::WouldBlock => break,
                    _ => thread::sleep(Duration::from_millis(2)),
                }
            }
        })
    });
    let start = Instant::now();
    while served.counters.tcp(Closed::Crowded) < 10 {
        assert!(start.elapsed() < PATIENCE, "{:?}", counts(&served.counters));
        thread::sleep(Duration::from_millis(2));
    }
    assert_served(&mut connected(&served));
    enough.store(true, Relaxed);
    takers.into_iter().for_each(|taker| taker.join().unwrap());
    let start = Instant::now();
    while served.counters.tcp_open() > 0 {
        assert!(start.elapsed() < PATIENCE, "{:?}", counts(&served.counters));
        thread::sleep(Duration::from_millis(2));
    }
    served.assert_accounted();
}

#[test]
fn who_may_not_ask_is_closed_without_being_read() {
    let prefix: Prefix = "127.0.0.66".parse().unwrap();
    let access = Access::new(&[], &[prefix], Denied::Drop).unwrap();
    let served = served_to(Settings { access, ..Settings::default() }, limits());
    let mut denied = connected_from("127.0.0.66", served.address);
    // The reset may be here already.
    let _ = denied.write_all(&QUERY);
    assert_closed(&mut denied);
    served.closed(Closed::Denied, 1);
    assert_served(&mut connected(&served));
    assert_eq!(served.counters.total(), 1);
}

#[test]
fn who_is_no_proxy_and_says_so_is_closed_at_once() {
    let served = served(limits());
    for (times, first) in [12, 5, 1].into_iter().enumerate() {
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\x7F\0\0\x01\x7F\0\0\x01\0\x35\0\x35";
        let mut stream = connected(&served);
        stream.write_all(&header[..first]).unwrap();
        thread::yield_now();
        let _ = stream.write_all(&header[first..]);
        assert_closed(&mut stream);
        served.closed(Closed::Proxy, times as u64 + 1);
    }
    // Twelve octets that are not the signature are a query's beginning.
    let mut long = [[13, 10].as_slice(), &[0; 3338]].concat();
    long[4] = 0x78;
    let mut stream = connected(&served);
    stream.write_all(&long).unwrap();
    let mut reply = [0; 14];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[5] & 15, 4, "opcode 15 is not implemented");
}

/// Takes 127.0.0.7 and 127.0.0.8 for proxies.
fn behind_proxies(access: Access, limits: Limits) -> Served {
    let proxies = ["127.0.0.7", "127.0.0.8"].map(|address| address.parse::<Prefix>().unwrap());
    served_to(Settings { access, proxies: proxies.into_iter().collect(), ..Settings::default() }, limits)
}

/// What a proxy sends first.
fn header(client: &str) -> Vec<u8> {
    proxied(client.parse().unwrap(), &[])
}

#[test]
fn a_proxy_names_its_client_before_the_queries() {
    let served = behind_proxies(Access::default(), limits());
    // At once with the queries, or octet by octet.
    let mut stream = connected_from("127.0.0.7", served.address);
    stream.write_all(&[&header("192.0.2.1:4660")[..], &QUERY, &QUERY].concat()).unwrap();
    assert_answered(&mut stream);
    assert_answered(&mut stream);
    let mut slow = connected_from("127.0.0.8", served.address);
    for octet in header("[2001:db8::1]:4660") {
        slow.write_all(&[octet]).unwrap();
        thread::yield_now();
    }
    assert_served(&mut slow);
    // A second header is no query.
    stream.write_all(&header("192.0.2.2:4660")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(replies_until_the_end(&mut stream), 0);
    served.closed(Closed::Finished, 1);
    // From a proxy that does not know the client's port, and with the end of the connection right behind.
    let mut stream = connected_from("127.0.0.7", served.address);
    stream.write_all(&[&header("192.0.2.1:0")[..], &QUERY].concat()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(replies_until_the_end(&mut stream), 1);
}

#[test]
fn a_proxy_without_its_header_is_closed() {
    let served = behind_proxies(Access::default(), Limits { idle: Duration::from_millis(300), ..limits() });
    let whole = header("192.0.2.1:4660");
    let mut version = whole.clone();
    version[12] = 0x11;
    // None, broken, and not whole in time: that a client was named late gains nothing.
    for (times, octets) in [&QUERY[..], &version, &whole[..20], &[]].into_iter().enumerate() {
        let mut stream = connected_from("127.0.0.7", served.address);
        stream.write_all(octets).unwrap();
        assert_closed(&mut stream);
        served.closed(Closed::Proxy, times as u64 + 1);
    }
    // Who closes it first, such as a proxy that only looks whether we are alive, did nothing wrong.
    let mut stream = connected_from("127.0.0.7", served.address);
    stream.write_all(&whole[..20]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_closed(&mut stream);
    served.closed(Closed::Finished, 1);
    assert_eq!(served.counters.total(), 0);
}

#[test]
fn clients_behind_proxies_are_counted_each_for_itself() {
    let served = behind_proxies(Access::default(), Limits { connections: 20, per_client: 2, ..limits() });
    let connect = |proxy: &str, client: &str| {
        let mut stream = connected_from(proxy, served.address);
        stream.write_all(&header(client)).unwrap();
        assert_served(&mut stream);
        stream
    };
    // More than one client may have, of different clients.
    let mut others: Vec<TcpStream> = (1..=5).map(|n| connect("127.0.0.7", &format!("192.0.2.{n}:53"))).collect();
    // The same client through both proxies.
    let mut own = ["127.0.0.7", "127.0.0.8", "127.0.0.7"].map(|proxy| connect(proxy, "[2001:db8::1]:53"));
    assert_closed(&mut own[0]);
    served.closed(Closed::Evicted, 1);
    own[1..].iter_mut().for_each(assert_served);
    others.iter_mut().for_each(assert_served);
}

#[test]
fn the_client_whom_a_proxy_names_may_ask_or_not() {
    let deny: [Prefix; 2] = ["192.0.2.66", "127.0.0.0/8"].map(|prefix| prefix.parse().unwrap());
    let served = behind_proxies(Access::new(&[], &deny, Denied::Drop).unwrap(), limits());
    for (times, (client, is_denied)) in [("192.0.2.66:53", true), ("192.0.2.1:53", false)].into_iter().enumerate() {
        let mut stream = connected_from("127.0.0.7", served.address);
        stream.write_all(&[&header(client)[..], &QUERY].concat()).unwrap();
        if is_denied {
            assert_closed(&mut stream);
        } else {
            assert_answered(&mut stream);
        }
        assert_eq!((served.counters.tcp(Closed::Denied), served.counters.total()), (1, times as u64));
    }
    // A proxy that only looks whether we are alive finds us so.
    let mut proxy = connected_from("127.0.0.7", served.address);
    proxy.write_all(&crate::server::proxy::tests::header(0x20, 0, &[])).unwrap();
    proxy.shutdown(Shutdown::Write).unwrap();
    assert_eq!(replies_until_the_end(&mut proxy), 0);
    served.closed(Closed::Finished, 2);
}

#[test]
fn a_worker_that_stops_counts_what_it_closes() {
    let served = served(limits());
    let mut streams = [(); 3].map(|()| connected(&served));
    streams.iter_mut().for_each(assert_served);
    served.stop.set();
    streams.iter_mut().for_each(assert_closed);
    served.closed(Closed::Stopped, 3);
    assert_eq!(served.counters.tcp_open(), 0);
}

#[test]
fn a_connection_has_the_kernels_bounds_of_its_listener() {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let counters = Counters::default();
    let ours = listener.try_clone().unwrap();
    let _worker =
        Worker::new(listening(listener), desk(&counters, Settings::default()), limits(), counters.tcp_worker());
    let _client = connected_to(address);
    let (accepted, _) = ours.accept().unwrap();
    let socket = SockRef::from(&accepted);
    assert!(socket.tcp_nodelay().unwrap());
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
    // The kernel takes no more than its own maximum, and doubles it.
    assert!((65_536..=262_144).contains(&socket.send_buffer_size().unwrap()), "{:?}", socket.send_buffer_size());
}

/// Asks how long the connection may idle, in units of 100 ms.
fn ask_keepalive(stream: &mut TcpStream) {
    // An OPT with an empty keepalive option.
    let opt = [0, 0, 41, 4, 0xD0, 0, 0, 0, 0, 0, 4, 0, 11, 0, 0];
    let mut query = [&QUERY[..], &opt].concat();
    (query[1], query[13]) = (32, 1);
    stream.write_all(&query).unwrap();
}

fn told_keepalive(stream: &mut TcpStream) -> u16 {
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply).unwrap();
    let at = reply.windows(4).position(|octets| octets == [0, 11, 0, 2]).expect("the option");
    u16::from_be_bytes([reply[at + 4], reply[at + 5]])
}

#[test]
fn clients_are_told_how_long_they_may_idle() {
    let limits = Limits { connections: 4, idle: Duration::from_secs(20), ..limits() };
    let mut driven = Driven::new(limits);
    let mut streams = [(); 4].map(|()| connected_to(driven.address));
    driven.until(|counters| counters.tcp_open() == 4);
    ask_keepalive(&mut streams[0]);
    driven.until(|counters| counters.total() == 1);
    assert_eq!(told_keepalive(&mut streams[0]), 50, "a quarter where places are few");
    let [mut one, two, rest @ ..] = streams;
    drop((two, rest));
    driven.until(|counters| counters.tcp_open() == 1);
    ask_keepalive(&mut one);
    driven.until(|counters| counters.total() == 2);
    assert_eq!(told_keepalive(&mut one), 200);
    ask_keepalive(&mut one);
    driven.worker.stop();
    assert_eq!(told_keepalive(&mut one), 0, "and nothing while the server stops");
    assert_closed(&mut one);
    assert_eq!(driven.counters.tcp(Closed::Stopped), 1);
}

/// A worker whose turns are counted.
struct Driven {
    worker: Worker,
    address: SocketAddr,
    counters: Counters,
    inbox: Inbox,
}

impl Driven {
    fn new(limits: Limits) -> Self {
        Self::by(Settings::default(), limits)
    }

    fn by(settings: Settings, limits: Limits) -> Self {
        let listener = listener();
        let (address, counters) = (listener.local_addr().unwrap(), Counters::default());
        let listening = listening(listener);
        let inbox = listening.inbox().clone();
        let worker = Worker::new(listening, desk(&counters, settings), limits, counters.tcp_worker());
        Driven { worker, address, counters, inbox }
    }

    /// Turns until something is so; how many there were in which something happened.
    fn until(&mut self, is_so: impl Fn(&Counters) -> bool) -> usize {
        let (start, mut busy) = (Instant::now(), 0);
        while !is_so(&self.counters) {
            assert!(start.elapsed() < PATIENCE, "{:?}", counts(&self.counters));
            busy += usize::from(self.worker.turn(Duration::from_millis(10)));
        }
        busy
    }

    /// Nothing happens any more, and the worker sleeps meanwhile.
    fn assert_quiet(&mut self) {
        // What the kernel has under way.
        let settled = (0..100).any(|_| !self.worker.turn(Duration::from_millis(20)));
        assert!(settled, "still busy after a hundred turns");
        let busy = (0..5).filter(|_| self.worker.turn(Duration::from_millis(10))).count();
        assert_eq!(busy, 0, "of five turns in which nothing can happen");
    }
}

#[test]
fn a_part_of_a_query_and_a_reset_make_no_work() {
    let mut driven = Driven::new(limits());
    for times in 1..=20 {
        let stream = connected_to(driven.address);
        (&stream).write_all(&QUERY[..10]).unwrap();
        assert!(driven.until(|counters| counters.tcp_open() == 1) < 10);
        driven.assert_quiet();
        reset(stream);
        assert!(driven.until(|counters| counters.tcp(Closed::Reset) == times) < 10);
        driven.assert_quiet();
    }
}

#[test]
fn a_part_of_a_query_and_a_half_close_make_no_work() {
    let mut driven = Driven::new(limits());
    let stream = connected_to(driven.address);
    (&stream).write_all(&QUERY[..10]).unwrap();
    driven.until(|counters| counters.tcp_open() == 1);
    driven.assert_quiet();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(driven.until(|counters| counters.tcp(Closed::Finished) == 1) < 10);
    driven.assert_quiet();
}

#[test]
fn a_client_that_half_closes_and_takes_no_replies_makes_no_work() {
    let mut driven = Driven::new(limits());
    let mut stream = connected_from("127.0.0.1", driven.address);
    stream.set_nonblocking(true).unwrap();
    let many = QUERY.repeat(1000);
    let start = Instant::now();
    // Until both sides' buffers are full.
    let mut full = 0;
    while full < 20 {
        assert!(start.elapsed() < PATIENCE);
        full = if stream.write(&many).is_ok() { 0 } else { full + 1 };
        driven.worker.turn(Duration::from_millis(5));
    }
    stream.shutdown(Shutdown::Write).unwrap();
    driven.assert_quiet();
    // All that was sent whole is answered when it takes its replies again.
    stream.set_nonblocking(false).unwrap();
    let reader = thread::spawn(move || {
        let mut replies = Vec::new();
        stream.read_to_end(&mut replies).unwrap();
        replies.len()
    });
    driven.until(|counters| counters.tcp(Closed::Finished) == 1);
    assert_eq!(reader.join().unwrap() as u64, driven.counters.total() * QUERY.len() as u64);
}

#[test]
fn a_worker_full_of_fresh_connections_waits_without_work() {
    let mut driven = Driven::new(Limits { connections: 1, ..limits() });
    let fresh = connected_to(driven.address);
    driven.until(|counters| counters.tcp_open() == 1);
    let start = Instant::now();
    let mut next = connected_to(driven.address);
    next.write_all(&QUERY).unwrap();
    let busy = driven.until(|counters| counters.total() == 1);
    assert!(busy < 10, "{busy} turns in {:?}", start.elapsed());
    assert_answered(&mut next);
    assert_closed(&mut { fresh });
}

/// A connection that another process had, and its client's side.
fn passed() -> (Passed, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = connected_to(listener.local_addr().unwrap());
    let (socket, source) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    let (age, idle) = (Duration::ZERO, Duration::ZERO);
    (Passed { socket: socket.into(), source, expects_header: false, queries: 0, age, idle }, client)
}

#[test]
fn connections_passed_on_keep_to_the_bound_of_all() {
    let mut driven = Driven::new(Limits { connections: 1, ..limits() });
    let fresh = connected_to(driven.address);
    driven.until(|counters| counters.tcp_open() == 1);
    let (others, clients): (Vec<_>, Vec<_>) = (0..3).map(|_| passed()).unzip();
    others.into_iter().for_each(|other| driven.inbox.put(other).unwrap());
    driven.until(|counters| counters.tcp_accepted() == 4);
    assert_eq!((driven.counters.tcp_open(), driven.counters.tcp(Closed::Evicted)), (1, 3));
    clients.into_iter().for_each(|mut client| assert_closed(&mut client));
    drop(fresh);
}

#[test]
fn who_may_not_ask_any_more_is_closed_when_passed_on() {
    let prefix: Prefix = "127.0.0.1".parse().unwrap();
    let access = Access::new(&[], &[prefix], Denied::Drop).unwrap();
    let mut driven = Driven::by(Settings { access, ..Settings::default() }, limits());
    let (denied, mut client) = passed();
    driven.inbox.put(denied).unwrap();
    driven.until(|counters| counters.tcp(Closed::Denied) == 1);
    assert_closed(&mut client);
}

#[test]
fn connections_passed_to_a_worker_that_has_ended_are_closed() {
    let Driven { worker, inbox, .. } = Driven::new(limits());
    let ((before, mut one), (after, mut other)) = (passed(), passed());
    inbox.put(before).unwrap();
    drop(worker);
    assert_closed(&mut one);
    assert!(inbox.put(after).is_err());
    assert_closed(&mut other);
}
