//! A load generator for DNS servers: asks, checks every reply, and reads what the server's processes used meanwhile.
//!
//! One thread, fixed memory, one line of JSON on standard output. Part of `benches/peers`, whose README says how to
//! read it.

mod clocks;
mod histogram;
mod question;
mod run;
mod slots;
mod tally;
mod tcp;
mod udp;

use std::{io, net::SocketAddr, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use crate::{
    clocks::CpuClocks,
    question::Question,
    run::{Load, Script, Span, measure},
    slots::MAX_SLOTS,
    tcp::Tcp,
    udp::{Bursts, Pace, Udp},
};

/// Sockets or connections: all within the descriptors that a process usually may have.
const MAX_SOCKETS: u64 = 1000;

/// A load generator for DNS servers
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    mode: Mode,
    /// Address and port of the server
    #[arg(long, global = true, default_value = "127.0.0.1:5300")]
    server: SocketAddr,
    /// A process of the server, whose CPU time is measured; may be given several times
    #[arg(long = "pid", global = true)]
    pids: Vec<i32>,
    /// What to ask and what must come back, as NAME:TYPE:RCODE:ANSWERS[:NETWORK] with numbers; may be given
    /// several times. All addresses of an answer must lie in the network, such as 127.1.0.0/16
    #[arg(long = "ask", global = true, default_value = "alternator.local:1:0:6")]
    questions: Vec<Question>,
    /// Ask with EDNS
    #[arg(long, global = true)]
    edns: bool,
    /// How long to measure
    #[arg(long, global = true, default_value = "1500ms", value_parser = humantime::parse_duration)]
    measure: Duration,
    /// How long to ask before that
    #[arg(long, global = true, default_value = "200ms", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// End after so many answers
    #[arg(long, global = true)]
    answers: Option<u64>,
    /// A query without a reply for so long is lost
    #[arg(long, global = true, default_value = "250ms", value_parser = humantime::parse_duration)]
    give_up: Duration,
    /// Send queries one by one instead of having the kernel cut up bursts
    #[arg(long, global = true)]
    no_gso: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Mode {
    /// UDP, the next query after a reply: as many as the server can answer
    Flood {
        /// Sockets
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=MAX_SOCKETS))]
        sockets: u64,
        /// Queries under way on each
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=MAX_SLOTS as u64))]
        outstanding: u64,
    },
    /// UDP, so many queries a second; latencies count from when a query was due
    Rate {
        /// Queries a second
        #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
        rate: u64,
        /// Sockets
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=MAX_SOCKETS))]
        sockets: u64,
    },
    /// TCP, the next query after a reply
    Tcp {
        /// Connections
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=MAX_SOCKETS))]
        connections: u64,
        /// Queries under way on each
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MAX_SLOTS as u64))]
        outstanding: u64,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("dns_load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> io::Result<String> {
    let edns = |question: Question| if args.edns { question.with_edns() } else { question };
    let script = Script::new(args.questions.into_iter().map(edns).collect());
    let bursts = if args.no_gso { Bursts::Single } else { Bursts::Segmented };
    let span = Span { warm_up: args.warm_up, measured: args.measure, answers: args.answers, give_up: args.give_up };
    let udp = |sockets: u64, outstanding: usize, script, pace| {
        Udp::connect(args.server, sockets as usize, outstanding, script, bursts, pace)
    };
    let mut load: Box<dyn Load> = match args.mode {
        Mode::Flood { sockets, outstanding } => Box::new(udp(sockets, outstanding as usize, script, Pace::Flood)?),
        Mode::Rate { rate, sockets } => Box::new(udp(sockets, MAX_SLOTS, script, Pace::Steady(rate as f64))?),
        Mode::Tcp { connections, outstanding } => {
            Box::new(Tcp::connect(args.server, connections as usize, outstanding as usize, script)?)
        }
    };
    let clocks = CpuClocks::of(&args.pids)?;
    Ok(measure(&mut *load, span, &clocks)?.to_string())
}
