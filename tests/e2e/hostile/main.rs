//! Bad input for a running server: malformed datagrams and broken TCP streams, with good queries in between that must
//! all be answered right, and a look at what the server's process holds before and after.
//!
//! Two threads send at once. Datagrams go in batches, a good query behind each: its reply says that the server has
//! taken all of them, so the kernel has dropped none. Part of `tests/e2e/hostile.sh`.
//!
//! | | |
//! |---|---|
//! | `packets` | what is malformed, and how |
//! | `datagrams` | sends them over UDP |
//! | `streams` | connections that break in every way |
//! | `good` | queries with one right answer |
//! | `process` | memory, descriptors and dropped datagrams of the server |
#![allow(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

mod datagrams;
mod good;
mod packets;
mod process;
mod streams;

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;

use self::{datagrams::Datagrams, good::Good, packets::Packets, process::Process, streams::Streams};

/// Parts of the whole that are sent before anything is measured: buffers have grown by then, and the server has held
/// as many connections at once as it ever will.
const WARM_UP_DATAGRAMS: usize = 16;
const WARM_UP_STREAMS: usize = 2;

/// KiB by which the server may have grown since: what an allocator needs for connections in another order. A leak of
/// four octets for each datagram, or of 400 for each connection, is more.
const MORE_RESIDENT: u64 = 4096;

/// Descriptors by which it may differ: its own connections to the nodes come and go. Those of clients must be gone.
const OTHER_DESCRIPTORS: usize = 16;

/// How long the server may take to notice that a connection has ended: it is told by the kernel.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

/// Sends malformed datagrams and broken TCP streams to a server
#[derive(Debug, Parser)]
struct Args {
    /// Address and port of the server
    #[arg(long)]
    server: SocketAddr,
    /// The server's process
    #[arg(long)]
    pid: u32,
    /// Seed of everything that is sent; a run with the same seed sends the same
    #[arg(long)]
    seed: Option<u64>,
    /// Malformed datagrams
    #[arg(long, default_value_t = 1_000_000)]
    datagrams: usize,
    /// Broken TCP streams
    #[arg(long, default_value_t = 10_000)]
    streams: usize,
    /// The server takes 127.0.5.0/24 for proxies; half of everything is then sent from there
    #[arg(long)]
    proxies: bool,
    /// The nodes of the cluster that the server answers for
    #[arg(required = true)]
    nodes: Vec<Ipv4Addr>,
}

fn main() {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let process = Process { pid: args.pid, port: args.server.port() };
    let good = Good { server: args.server, nodes: args.nodes.clone(), has_proxies: args.proxies };

    // The systematic ones all come in the run that is measured.
    let (datagrams, streams) = (args.datagrams / WARM_UP_DATAGRAMS, args.streams / WARM_UP_STREAMS);
    run("warm-up", &good, process, seed, Packets::random, datagrams, streams);
    settles(process);
    let (resident, descriptors) = (process.resident(), process.descriptors());
    run("run", &good, process, !seed, Packets::new, args.datagrams, args.streams);

    settles(process);
    let (resident_after, descriptors_after) = (process.resident(), process.descriptors());
    println!("resident: {resident} KiB before, {resident_after} KiB after, {} KiB at most", process.most_resident());
    println!("descriptors: {descriptors} before, {descriptors_after} after");
    println!("datagrams that the kernel dropped: {}", process.dropped());
    assert!(resident_after <= resident + MORE_RESIDENT, "the server has grown");
    assert!(descriptors_after.abs_diff(descriptors) <= OTHER_DESCRIPTORS, "the server holds other descriptors");
}

/// Waits until the server holds no connection of ours.
fn settles(process: Process) {
    let start = Instant::now();
    while process.connections() > 0 {
        assert!(
            start.elapsed() < SETTLES_WITHIN,
            "the server holds {} connections that are no more",
            process.connections()
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Sends so much of both at once.
fn run(
    what: &str,
    good: &Good,
    process: Process,
    seed: u64,
    packets: fn(u64) -> Packets,
    datagrams: usize,
    streams: usize,
) {
    let start = Instant::now();
    let (over_udp, over_tcp) = thread::scope(|scope| {
        let over_udp = scope.spawn(|| {
            let mut sender = Datagrams::new(good, process, packets(seed));
            sender.send(datagrams);
            sender.report()
        });
        let over_tcp = scope.spawn(|| {
            let mut breaker = Streams::new(good, process, seed.rotate_left(32));
            breaker.breaks(streams);
            breaker.report()
        });
        let join = |thread: thread::ScopedJoinHandle<'_, String>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        (join(over_udp), join(over_tcp))
    });
    println!("{what}: {:.1} s\n  {over_udp}\n  {over_tcp}", start.elapsed().as_secs_f64());
}
