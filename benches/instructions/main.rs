//! What `run` counts instructions of. Alone it only checks that every query becomes what it should.
//!
//! | arguments | |
//! |---|---|
//! | `respond` | answers a few queries of every kind and then many, each in a call of [`measured`] of its own |
//! | `serve` | serves UDP with one worker; prints its address, ends with its input |
//! | `ask ADDRESS COUNT` | asks that many queries for the apex' addresses, many at a time |
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark: what fails here fails the run")]

use std::{
    io::{self, Read},
    net::UdpSocket,
    sync::Arc,
    time::Duration,
};

use alternator_dns::{
    config::ServerConfig,
    server::{Asker, Counters, Inherited, Outcome, Responder, bind},
    table::Table,
};
use arc_swap::ArcSwap;

#[path = "../../tests/kinds/mod.rs"]
mod kinds;

use kinds::{Edns, Kind, kinds, settings, table, zone};

/// Queries of a kind in the two runs that are compared: what only the first queries cost is in both.
const RUNS: [usize; 2] = [100, 1100];

/// Queries that wait for their replies at any time. The server under valgrind is slower than who asks, so its batches
/// are always full; no socket's buffer is.
const OUTSTANDING: usize = 128;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["respond"] => respond(),
        ["serve"] => serve(),
        ["ask", address, count] => ask(address, count.parse().unwrap()),
        other => panic!("unknown arguments: {other:?}"),
    }
}

fn respond() {
    let counters = Counters::default();
    let table = table(&counters);
    let mut responder = Responder::new(&counters, &settings(), 1);
    let mut out = Vec::with_capacity(usize::from(u16::MAX));
    for edns in Edns::ALL {
        for kind in kinds(edns) {
            // Each call is one part of the profile, in this order.
            for count in RUNS {
                measured(&mut responder, &table, &kind, count, &mut out);
            }
            println!("{:?}\t{}\t{}", edns, kind.name, RUNS[1] - RUNS[0]);
            assert_eq!(out.is_empty(), kind.outcome == Outcome::Dropped, "{}", kind.name);
        }
    }
}

/// `run` names this function to callgrind.
#[inline(never)]
fn measured(responder: &mut Responder, table: &Table, kind: &Kind, count: usize, out: &mut Vec<u8>) {
    for _ in 0..count {
        out.clear();
        let outcome = responder.respond(table, &kind.packet, &Asker::udp(kind.source), out);
        assert!(outcome == kind.outcome, "{} became {outcome}", kind.name);
    }
}

fn serve() {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let config = ServerConfig { listen, workers: 1, ..ServerConfig::default() };
    let bound = bind(&config, Inherited::default()).unwrap();
    // One zone, as most servers have, and as the servers have that others are measured with.
    let counters = Counters::default();
    let table = Arc::new(ArcSwap::from_pointee(Table::new([Arc::new(zone(&counters))])));
    let running = bound.run(&table, &counters, 1).unwrap();
    println!("{}", running.addresses()[0]);
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    assert!(running.stop());
}

fn ask(address: &str, count: usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let kind = &kinds(Edns::No)[0];
    let mut reply = [0; 512];
    for number in 0..count + OUTSTANDING {
        if number >= OUTSTANDING {
            let len = socket.recv(&mut reply).unwrap();
            // Six addresses behind header and question.
            assert_eq!(len, kind.packet.len() + 6 * 16, "reply {number}");
        }
        if number < count {
            socket.send(&kind.packet).unwrap();
        }
    }
}
