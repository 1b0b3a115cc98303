//! The command line: `serve`, `demo`, `check`, `discover`, `reload`, `status`, `health`, `compare`, `config`.
//!
//! Exit codes: 0 fine; 1 the server could not run (an address, a part that ended); 2 wrong usage or configuration.

/// As std's `print!`, but a reader that leaves early (`| head`) is no failure.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::tell(format_args!($($text)*)) };
}

/// As std's `println!`, with the same difference.
macro_rules! println {
    ($($text:tt)*) => { $crate::cli::tell(format_args!("{}\n", format_args!($($text)*))) };
}

mod check;
mod client;
mod compare;
mod demo;
mod discover;
mod dns;
mod drain;
mod explain;
mod health;
mod reload;
mod replace;
mod serve;
mod status;

use std::{
    fmt,
    future::Future,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Flags, Loaded, Problem};

/// The server could not run.
const FAILED: u8 = 1;

/// Wrong usage or configuration.
const MISCONFIGURED: u8 = 2;

/// Authoritative DNS server that balances clients over the live nodes of a ScyllaDB Alternator cluster.
#[derive(Debug, Parser)]
#[command(
    name = "alternator-dns",
    version,
    arg_required_else_help = true,
    after_help = "Start with \"alternator-dns demo\".\n\n\
                  Exit status: 0 fine; 1 the server cannot run, or a part of it ended; 2 wrong usage or configuration"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve DNS for one or more zones, each over an Alternator cluster
    Serve(ServeArgs),
    /// Try it: a simulated cluster on loopback addresses, served as alternator.local on 127.0.0.1:5300
    Demo(DemoArgs),
    /// Load configuration and zone files as serve does; print every problem, or the resulting names
    Check(CheckArgs),
    /// Tell what a cluster is made of, as a node of it knows: nodes, names, and what a certificate needs
    Discover(discover::DiscoverArgs),
    /// Have a running server load configuration, zone files and certificates again
    Reload(reload::ReloadArgs),
    /// Tell what a running server believes, why, and since when
    Status(status::StatusArgs),
    /// Tell whether the server of this machine lives, or is ready: the health check of a container
    Health(health::HealthArgs),
    /// Ask several servers over DNS, and say whether they tell the same
    Compare(compare::CompareArgs),
    /// Tell how the answer to a question comes about, step by step
    Explain(explain::ExplainArgs),
    /// Take nodes out of the answers, and tell when they may be stopped
    Drain(drain::DrainArgs),
    /// Take back what drain or force-up set
    Undrain(drain::UndrainArgs),
    /// Answer nodes whatever their probes say
    ForceUp(drain::ForceUpArgs),
    /// List who is drained or forced up, by whom, until when and why
    Overrides(drain::OverridesArgs),
    /// Print the reference configuration: every option, commented, with its default
    Config,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Almost every option of the file is an environment variable too (ALTERNATOR_DNS_TTL=5s): see \"alternator-dns config\".
What holds: defaults < file < environment < options given here.

Example: alternator-dns serve --zone alternator.example.com --seed 10.0.0.1 --seed 10.0.0.2 --listen 192.0.2.53:53")]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Zone to serve, such as alternator.example.com
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Node where discovery may start: an address or a host name; may be given several times
    #[arg(long = "seed", value_name = "HOST")]
    seeds: Vec<String>,
    /// Alternator port of all nodes [default: 8000]
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Scheme the nodes speak: http or https [default: http]
    #[arg(long, value_name = "SCHEME")]
    scheme: Option<String>,
    /// Address to answer on, UDP and TCP; may be given several times [default: 127.0.0.1:5300]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<String>,
    /// Addresses per response: auto, a number, or 0 for all [default: auto]
    #[arg(long, value_name = "N|auto")]
    answers: Option<String>,
    /// TTL of address records [default: 5s]
    #[arg(long, value_name = "DUR")]
    ttl: Option<String>,
    /// Take the place of the running process without losing a query; start as usual where there is none
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Stop and restart a random node every few seconds
    #[arg(long)]
    chaos: bool,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Also ask every seed for /localnodes and tell what it says
    #[arg(long)]
    probe: bool,
}

#[derive(Debug, Default, Args)]
struct ConfigArg {
    /// Configuration file [default: ./alternator-dns.toml, then /etc/alternator-dns/alternator-dns.toml]
    #[arg(long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs the command the process was started with.
pub fn run() -> ExitCode {
    let code = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(args),
        Command::Discover(args) => discover::run(args),
        Command::Reload(args) => reload::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Compare(args) => compare::run(args),
        Command::Explain(args) => explain::run(&args),
        Command::Drain(args) => drain::drain(&args),
        Command::Undrain(args) => drain::undrain(&args),
        Command::ForceUp(args) => drain::force_up(&args),
        Command::Overrides(args) => drain::list(&args),
        Command::Config => {
            print!("{}", config::reference());
            0
        }
    };
    ExitCode::from(code)
}

/// Writes to standard output. Only a reader that has left is overlooked; on a full disk the command ends.
fn tell(text: fmt::Arguments<'_>) {
    match io::stdout().write_fmt(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("alternator-dns: cannot write to standard output: {error}");
            std::process::exit(FAILED.into());
        }
        _ => {}
    }
}

/// Whether whoever read standard output has left, as `head` does.
fn is_unread() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let out = io::stdout();
    let mut seen = [PollFd::new(&out, PollFlags::empty())];
    let is_seen = poll(&mut seen, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok();
    is_seen && seen[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// What others tell is free text, names of racks to begin with: none of it may speak to the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A time of a server, in RFC 3339, to the second.
fn second(time: &str) -> String {
    time.get(..19).map_or_else(|| time.to_owned(), |time| format!("{}Z", time.replacen('T', " ", 1)))
}

/// Loads the configuration from file, environment and flags.
fn load(flags: &Flags) -> Result<Loaded, Vec<Problem>> {
    config::load(flags, config::environment(), &config::SEARCH)
}

/// SIGINT and SIGTERM, caught from when this is made, so that one during the start is not lost.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Must be called within the runtime.
    fn catch() -> std::io::Result<Self> {
        Ok(StopSignals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Completes when either arrives.
    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Niceness of the threads that discover, probe and compile. Under more queries than the cores can answer they keep
/// about a tenth of a core each, which is what several hundred nodes' probes need; at any other time a query that
/// arrives is answered before they go on.
#[cfg(target_os = "linux")]
const BACKGROUND: i32 = 10;

/// Lets the threads that answer queries go first. Those are started from the main thread, so they do not inherit it.
fn step_back() {
    // Of this thread alone, as Linux has it; elsewhere it would be of the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(BACKGROUND) {
        tracing::debug!(%error, "the threads in the background have the priority of all");
    }
}

/// Takes as many descriptors as the system allows. The common default of 1,024 is for programs that use select(2); here
/// a crowd of TCP clients must not leave the probes without any.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of descriptors stays as it is");
    }
}

/// Runs a command to its end within a runtime, with the signals caught.
fn run_async<F: Future<Output = u8>>(command: impl FnOnce(StopSignals) -> F) -> u8 {
    let failed = |error: std::io::Error| {
        eprintln!("alternator-dns: cannot start: {error}");
        FAILED
    };
    raise_descriptors();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_start(step_back).build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(error),
    };
    let code = runtime.block_on(async {
        match StopSignals::catch() {
            Ok(signals) => command(signals).await,
            Err(error) => failed(error),
        }
    });
    // Looking up a seed's name blocks a thread for as long as the system's resolver likes; the end need not wait.
    runtime.shutdown_background();
    code
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_look_up_that_hangs_does_not_keep_the_process() {
        let hangs = Duration::from_secs(3);
        let began = Instant::now();
        let code = run_async(|_| async move {
            tokio::task::spawn_blocking(move || std::thread::sleep(hangs));
            tokio::time::sleep(Duration::from_millis(50)).await;
            7
        });
        assert_eq!(code, 7);
        assert!(began.elapsed() < hangs, "waited for it");
    }
}
