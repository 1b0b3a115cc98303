//! A simulated Alternator cluster at addresses of one's own choice, for end-to-end tests with real clients.
//!
//! ```text
//! simulated_cluster --port 8000 dc1/rack1=10.99.1.1 dc1/rack2=10.99.1.2,version=6.1 dc2/rack1=fd00::1
//! simulated_cluster --port 8043 --tls-cert node.pem --tls-key node.key --role dns:secret:system.peers,system.local \
//!     dc1/rack1=10.99.1.1 dc1/rack1=10.99.1.2,internal=192.168.0.2,state=decommissioning
//! ```
//!
//! Every address must be one of this machine's (of this network namespace's). Behind it may stand, after commas, what
//! sets a node apart:
//!
//! | | |
//! |---|---|
//! | `state=STATE` | `normal` (default), `bootstrapping`, `replacing`, `rebuilding`, `restarting`, `leaving`, `decommissioning`, `decommission-done`, `draining`, `shutdown`, `removing`, `excluded`, `maintenance` |
//! | `version=VERSION` | the release: `5.4`, `6.1`, `2025.1`, `2025.4`, `2026.1` (default) |
//! | `host-id=UUID` | otherwise one that follows from the address |
//! | `shards=N`, `tokens=N` | 8 and 256 by default; 0 tokens: a node without data |
//! | `internal=ADDRESS` | what nodes call it among themselves, and `cluster_status` and `peers` have as `peer` |
//! | `listed=TEXT` | what `/localnodes` has in place of its address: a host name, an address with `%scope` |
//! | `unlisted-address` | it has no address for clients: `/localnodes` has its host id |
//! | `cert=FILE`, `key=FILE` | https by a certificate of its own (PEM, the chain and the key) |
//!
//! Prints `ready PORT`, then obeys the lines of its standard input, each answered by `ok` or `error: ...`, and ends
//! when its input ends:
//!
//! | command | what happens |
//! |---|---|
//! | `stop ADDRESS` | the node crashes: its port refuses, and it stays listed until the others notice (20 s) |
//! | `silent ADDRESS` | as if the network dropped the node's packets |
//! | `start ADDRESS` | a stopped node starts, a silent one answers again |
//! | `state ADDRESS STATE` | the node is in this state, with all that follows from it |
//! | `version ADDRESS VERSION` | the node runs this release from its next answer on |
//! | `tokens ADDRESS N` | the node owns so many tokens |
//! | `rack ADDRESS RACK` | the node moves to another rack |
//! | `join DC/RACK=ADDRESS,...` | a new node joins |
//! | `leave ADDRESS` | the node is gone, and forgotten |
//! | `clock ADDRESS SECONDS` | the node's clock is ahead by so much, behind where negative |
//! | `tls ADDRESS CERT KEY` | the node shows another certificate from the next connection on |
//! | `authorization on`, `authorization off` | whether requests to the API have to be signed |
//! | `role NAME:SECRET[:GRANT,...]` | there is this role; a grant is `system.peers`, `system`, `ALL KEYSPACES`, or `superuser` |
//! | `grant ROLE RESOURCE`, `revoke ROLE RESOURCE` | `SELECT` on a table or keyspace |
//! | `route CONNECTION ADDRESS TO [PORT [HTTPS_PORT]]` | a row of `client_routes` for the node at ADDRESS |
//! | `unroute CONNECTION ADDRESS` | there is no such row any more |
//! | `page ROWS` | pages of the API have so many rows at most; 0: as many as fit |
//! | `flap N` | so many changes a second from now on: nodes crash, stop in good order, leave, and come back |
//! | `calm` | the changes end, all nodes come back; tells `changes=N`, then `ok` |
//! | `nodes` | `ADDRESS DC/RACK state=STATE version=VERSION host_id=UUID` for each node, then `ok` |
//! | `counters` | `ADDRESS DC/RACK api=N health=N localnodes=N accepted=N open_peak=N full=N resumed=N failed=N` for each node (the last three are TLS handshakes), then `ok` |

mod commands;
mod flapping;
mod spec;

use std::{
    io::{self, BufRead, Write},
    process::ExitCode,
};

use alternator_dns::sim::{Cluster, ClusterSpec};
use clap::Parser;
use tokio::sync::mpsc;

use crate::{flapping::Flapping, spec::Args};

/// Commands that may wait; their writer then waits, too.
const QUEUE: usize = 16;

#[tokio::main]
async fn main() -> ExitCode {
    let run = async { run(Args::parse().spec()?).await };
    match run.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulated_cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(spec: ClusterSpec) -> io::Result<()> {
    let mut flapping = Flapping::new(&spec);
    let cluster = Cluster::start(spec).await?;
    let (send, mut commands) = mpsc::channel(QUEUE);
    // Standard input cannot be waited for without a thread. It ends with the process.
    std::thread::spawn(move || {
        let lines = io::stdin().lock().lines().map_while(Result::ok);
        lines.map(|line| send.blocking_send(line)).take_while(Result::is_ok).for_each(drop);
    });
    say(&format!("ready {}", cluster.port()))?;
    loop {
        let line = tokio::select! {
            line = commands.recv() => line,
            () = flapping.due() => {
                flapping.change(&cluster).await?;
                continue;
            }
        };
        let Some(line) = line else { return Ok(()) };
        let words: Vec<&str> = line.split_whitespace().collect();
        match commands::obey(&cluster, &mut flapping, &words).await {
            Ok(text) => say(&format!("{text}ok"))?,
            Err(error) => say(&format!("error: {line}: {error}"))?,
        }
    }
}

/// One answer, at once: standard output may be a file.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
