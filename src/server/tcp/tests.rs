//! What only time or crowds bring about.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
};

use super::*;
use crate::server::Counters;

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

/// Serves no zones, so everything is refused.
fn served(limits: Limits) -> Served {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, counters) = (Stop::default(), Counters::default());
    let served = Served { address, stop: stop.clone(), counters: counters.clone() };
    thread::spawn(move || {
        let tables = Arc::new(ArcSwap::from_pointee(Table::default()));
        serve(listener, tables, Responder::new(&counters, &Arc::default(), 1), &stop, limits);
    });
    served
}

fn connected(served: &Served) -> TcpStream {
    let stream = TcpStream::connect(served.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// A query for the root's NS, framed.
const QUERY: [u8; 19] = [0, 17, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

/// Asks and hears the refusal.
fn assert_served(stream: &mut TcpStream) {
    stream.write_all(&QUERY).unwrap();
    let mut reply = [0; 19];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!((reply[1], reply[5] & 15), (17, 5));
}

/// Waits until the server closes the connection.
fn assert_closed(stream: &mut TcpStream) {
    // A reset is a close like any other, where something sent was not read any more.
    if let Ok(read) = stream.read(&mut [0; 64]) {
        assert_eq!(read, 0);
    }
}

#[test]
fn idle_connections_are_closed_also_those_that_trickle() {
    let served = served(Limits { idle: Duration::from_millis(300), ..Limits::of_each(1) });
    let (mut silent, mut trickling) = (connected(&served), connected(&served));
    assert_served(&mut silent);
    trickling.write_all(&QUERY[..5]).unwrap();
    assert_closed(&mut silent);
    assert_closed(&mut trickling);
    assert_served(&mut connected(&served));
}

#[test]
fn a_client_that_takes_no_replies_is_closed() {
    let served = served(Limits { stalled: Duration::from_millis(300), ..Limits::of_each(1) });
    let mut stream = connected(&served);
    let many = QUERY.repeat(10_000);
    // Ends when the server, unable to send, reads no more and then closes.
    while stream.write_all(&many).is_ok() {}
    assert_served(&mut connected(&served));
}

#[test]
fn a_full_worker_serves_who_waits_when_a_place_is_free() {
    let served = served(Limits { connections: 2, ..Limits::of_each(1) });
    let (mut one, mut two) = (connected(&served), connected(&served));
    assert_served(&mut one);
    assert_served(&mut two);
    // The kernel accepts it; the worker does not yet.
    let mut waiting = connected(&served);
    waiting.write_all(&QUERY).unwrap();
    assert_served(&mut one);
    assert_eq!(served.counters.total(), 3);
    drop(two);
    waiting.read_exact(&mut [0; 19]).unwrap();
    assert_served(&mut one);
}

#[test]
fn what_comes_with_the_end_of_a_connection_is_answered() {
    let served = served(Limits::of_each(1));
    for _ in 0..50 {
        let mut stream = connected(&served);
        stream.write_all(&QUERY.repeat(3)).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut replies = Vec::new();
        stream.read_to_end(&mut replies).unwrap();
        assert_eq!(replies.len(), 3 * 19);
    }
}

#[test]
fn replies_of_a_client_that_reset_its_connection_reach_nobody_else() {
    let served = served(Limits::of_each(1));
    for _ in 0..200 {
        let gone = connected(&served);
        (&gone).write_all(&QUERY).unwrap();
        // Reset instead of closed; the query may be read all the same, and its reply cannot be sent.
        socket2::SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
        drop(gone);
        let mut other = connected(&served);
        let mut query = QUERY;
        query[2] = 0xAB;
        other.write_all(&query).unwrap();
        let mut reply = [0; 19];
        other.read_exact(&mut reply).unwrap();
        assert_eq!(reply[2], 0xAB, "the reply to its own query");
    }
}

#[test]
fn much_asked_at_once_and_read_late_comes_whole() {
    const QUERIES: usize = 50_000;
    let served = served(Limits::of_each(1));
    let mut stream = connected(&served);
    let mut writing = stream.try_clone().unwrap();
    let writer = thread::spawn(move || {
        writing.write_all(&QUERY.repeat(QUERIES)).unwrap();
        writing.shutdown(std::net::Shutdown::Write).unwrap();
    });
    // Not before the client's and the server's buffers are full.
    let deadline = Instant::now() + Duration::from_secs(20);
    let (mut before, mut now) = (0, 1);
    while before != now && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
        (before, now) = (now, served.counters.total());
    }
    let mut replies = Vec::new();
    stream.read_to_end(&mut replies).unwrap();
    writer.join().unwrap();
    assert_eq!(replies.len(), QUERIES * 19);
}
