//! The query log: what was asked and what it became, as lines of JSON in a file, or as dnstap to a reader on this machine.
//!
//! ```text
//! workers ──records (bounded, never waits)──> one thread ──> file
//!                                                       └──> dnstap reader
//! ```
//!
//! Nothing here can hold up a query: a worker that finds no free record goes on without, and neither a full disk, a file
//! that takes nothing nor a reader that reads nothing does more than that records are dropped, and counted.
//!
//! | word | meaning |
//! |---|---|
//! | record | a copy of one query and its reply (`server::Record`) |
//! | output | the file, or the dnstap reader |
//! | outbox | octets of an output that wait to be written |
//! | dnstap | a format of DNS messages in protocol buffers, <https://dnstap.info>; carried by frame streams |

mod dnstap;
mod file;
mod frames;
mod line;
mod outbox;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use self::{dnstap::DnstapOutput, file::FileOutput};
use crate::{
    config::QueryLogConfig,
    server::{Counters, LogOutput, Tapped},
};

/// Pause when all that came is written. A worker's records last for longer than this and what is written meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Records taken from a worker before the next has its turn.
const ROUND: usize = 512;

/// How long stopping waits for what is still to be written; a stalled disk takes no longer.
const STOP_WITHIN: Duration = Duration::from_millis(200);

/// The query log at work.
#[derive(Debug)]
pub struct QueryLog {
    orders: Arc<Orders>,
    thread: JoinHandle<()>,
}

/// What the thread is told.
#[derive(Debug, Default)]
struct Orders {
    reopen: AtomicBool,
    stop: AtomicBool,
}

impl QueryLog {
    /// Logs queries as configured; `None` where nothing is. A file that cannot be opened and a reader that is not there
    /// are waited for.
    pub fn start(config: &QueryLogConfig, identity: Option<&str>, counters: &Counters) -> io::Result<Option<Self>> {
        if !config.is_used() {
            return Ok(None);
        }
        let file = config.file.clone().map(FileOutput::new);
        let dnstap = config.dnstap.clone().map(|path| DnstapOutput::new(path, identity));
        let mut outputs = Outputs { counters: counters.clone(), file, dnstap };
        let used = [(LogOutput::File, outputs.file.is_some()), (LogOutput::Dnstap, outputs.dnstap.is_some())];
        used.into_iter().filter(|(_, is_used)| *is_used).for_each(|(output, _)| counters.use_log(output));
        let orders = Arc::<Orders>::default();
        let told = orders.clone();
        let thread = thread::Builder::new().name("query-log".to_owned()).spawn(move || outputs.run(&told))?;
        Ok(Some(QueryLog { orders, thread }))
    }

    /// Has the file opened anew, after somebody moved it away. Returns at once.
    pub fn reopen(&self) {
        self.orders.reopen.store(true, Relaxed);
    }

    /// Writes what is left, as far as that takes no long time. Blocks for a moment.
    pub fn stop(&self) {
        self.orders.stop.store(true, Relaxed);
        let deadline = Instant::now() + STOP_WITHIN;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Without waiting for what is left.
impl Drop for QueryLog {
    fn drop(&mut self) {
        self.orders.stop.store(true, Relaxed);
    }
}

struct Outputs {
    counters: Counters,
    file: Option<FileOutput>,
    dnstap: Option<DnstapOutput>,
}

impl Outputs {
    fn run(&mut self, orders: &Orders) {
        let mut workers: Vec<Tapped> = Vec::new();
        loop {
            // Looked at before the records: what came until then is written yet.
            let stopping = orders.stop.load(Relaxed);
            if orders.reopen.swap(false, Relaxed)
                && let Some(file) = &mut self.file
            {
                file.reopen();
            }
            workers.extend(self.counters.taps().take());
            let is_busy = self.take(&mut workers);
            self.flush();
            if stopping && !is_busy {
                return self.dnstap.iter_mut().for_each(DnstapOutput::finish);
            }
            if !is_busy {
                thread::sleep(LOOK_AGAIN);
            }
        }
    }

    /// Takes what workers have; whether any may have more.
    fn take(&mut self, workers: &mut Vec<Tapped>) -> bool {
        let Outputs { counters, file, dnstap } = self;
        let mut is_busy = false;
        workers.retain(|worker| {
            let taken = worker.drain(ROUND, |record| {
                if let Some(file) = file
                    && !file.push(&line::of(record, counters.zone_name(record.zone).as_deref()))
                {
                    counters.count_log(LogOutput::File, 0, 1);
                }
                if let Some(dnstap) = dnstap
                    && !dnstap.push(record)
                {
                    counters.count_log(LogOutput::Dnstap, 0, 1);
                }
            });
            is_busy |= taken == Some(ROUND);
            taken.is_some()
        });
        is_busy
    }

    fn flush(&mut self) {
        if let Some(file) = &mut self.file {
            let (written, dropped) = file.flush();
            self.counters.count_log(LogOutput::File, written, dropped);
        }
        if let Some(dnstap) = &mut self.dnstap {
            let (written, dropped) = dnstap.flush();
            self.counters.count_log(LogOutput::Dnstap, written, dropped);
        }
    }
}
