//! What the supervisor is told: sd_notify(3). Without `NOTIFY_SOCKET` nobody is told anything.

use std::{
    env,
    fmt::Write,
    io, process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::sync::Semaphore;

use super::{Pulse, heartbeat};
use crate::{plan::Verdict, table::Table};

/// How long one message may take. A supervisor reads them at once; one that does not must not keep us from our work,
/// nor from ending within two seconds.
const TELL_WITHIN: Duration = Duration::from_millis(400);

/// How often the status is looked at: people read it.
const STATUS_EVERY: Duration = Duration::from_secs(2);

/// Longest status, octets: it is one line for people.
const LONGEST_STATUS: usize = 400;

/// Zones told of in a status by name.
const ZONES_TOLD: usize = 3;

/// Who started us and wants to know how we are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// Whether we speak: there is a socket, and no other process has taken our place.
    speaks: Arc<AtomicBool>,
    /// One message is under way at most: a supervisor that reads none ties up one thread, not ever more.
    turn: Arc<Semaphore>,
    /// We were not started by the supervisor but took over from its process.
    replaces: bool,
}

impl Supervisor {
    /// As the environment tells. `replaces`: this process is to take another's place as the main one of the service.
    pub fn from_environment(replaces: bool) -> Self {
        let is_there = env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        Supervisor { speaks: Arc::new(AtomicBool::new(is_there)), turn: Arc::new(Semaphore::new(1)), replaces }
    }

    /// How often the supervisor wants to hear that we live, if at all.
    pub fn watchdog(&self) -> Option<Duration> {
        let usual = sd_notify::watchdog_enabled();
        // The variable names the process that we replace.
        let inherited = || env::var("WATCHDOG_USEC").ok()?.parse().ok().map(Duration::from_micros);
        let period = if self.replaces { usual.or_else(inherited) } else { usual };
        period.filter(|period| !period.is_zero() && self.speaks.load(Ordering::Relaxed))
    }

    /// Every listener answers. Where we replace a process, the supervisor must know us as the main process before that
    /// one ends: so this comes first.
    pub async fn ready(&self, status: &str) {
        let main = self.replaces.then(|| NotifyState::MainPid(process::id()));
        self.tell(main.into_iter().chain([NotifyState::Ready, NotifyState::Status(&one_line(status))])).await;
    }

    /// The process that we were to replace goes on as the main one after all, and we end.
    pub async fn give_back(&self, process: u32) {
        if self.replaces {
            self.tell([NotifyState::MainPid(process)]).await;
            self.leave();
        }
    }

    /// The configuration is being loaded again; [`Supervisor::ready`] must follow, however that goes.
    pub async fn reloading(&self) {
        // The time is from the same clock for all processes: the supervisor pairs our answer with its request by it.
        let now = NotifyState::monotonic_usec_now().ok();
        let states = [NotifyState::Reloading].into_iter().chain(now);
        self.tell(states.chain([NotifyState::Status("loading the configuration again")])).await;
    }

    /// The end has begun, and may take this long.
    pub async fn stopping(&self, within: Duration) {
        let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
        let states = [NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(within), NotifyState::Status("stopping")];
        self.tell(states).await;
    }

    /// What we do now.
    pub async fn status(&self, status: &str) {
        self.tell([NotifyState::Status(&one_line(status))]).await;
    }

    /// We live.
    pub async fn beat(&self) {
        self.tell([NotifyState::Watchdog]).await;
    }

    /// Another process has become the service's: from now on only that one speaks, or its supervisor would take our end
    /// for the service's.
    pub fn leave(&self) {
        self.speaks.store(false, Ordering::Relaxed);
    }

    async fn tell(&self, states: impl IntoIterator<Item = NotifyState<'_>>) {
        if !self.speaks.load(Ordering::Relaxed) {
            return;
        }
        let mut message = String::new();
        for state in states {
            // Writing to a String cannot fail.
            let _ = writeln!(message, "{state}");
        }
        let turn = self.turn.clone();
        let send = async move {
            let turn = turn.acquire_owned().await.map_err(io::Error::other)?;
            // Sending waits where the supervisor's queue is full; a thread that may wait does it.
            let send = tokio::task::spawn_blocking(move || {
                let sent = sd_notify::notify(&[NotifyState::Custom(message.trim_end())]);
                drop(turn);
                sent
            });
            send.await.unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        let sent =
            tokio::time::timeout(TELL_WITHIN, send).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if let Err(error) = sent {
            tracing::debug!(%error, "the supervisor cannot be told");
        }
    }
}

/// Tells the supervisor what we do, when it changes, and as often as it wants that we live. Runs until dropped.
pub async fn attend(supervisor: Supervisor, pulse: Pulse, status: impl Fn() -> String) {
    if !supervisor.speaks.load(Ordering::Relaxed) {
        return std::future::pending().await;
    }
    let (period, speaker) = (supervisor.watchdog(), supervisor.clone());
    let beats = async {
        let Some(period) = period else { return std::future::pending().await };
        let beat = move || {
            let speaker = speaker.clone();
            async move { speaker.beat().await }
        };
        heartbeat(period, pulse, beat).await
    };
    let statuses = async {
        let mut told = status();
        loop {
            tokio::time::sleep(STATUS_EVERY).await;
            let now = status();
            if now != told {
                supervisor.status(&now).await;
                told = now;
            }
        }
    };
    tokio::join!(beats, statuses);
}

/// A status is one line: a line break would begin another message.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = line.len().min(LONGEST_STATUS);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

/// What a server that serves this table on so many addresses does: one line.
pub fn status(table: &Table, addresses: usize) -> String {
    let zones: Vec<_> = table.zones().collect();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let mut told: Vec<String> = Vec::new();
    for zone in zones.iter().take(ZONES_TOLD) {
        let plan = &zone.plan;
        let name = zone.source.config.name();
        let nodes = plan.nodes().count();
        let serving = plan.verdicts.iter().filter(|verdict| Verdict::is_eligible(verdict)).count();
        let state = match (plan.scopes.is_empty(), plan.is_ready()) {
            (true, _) => "static records".to_owned(),
            (_, false) => "no node known".to_owned(),
            _ => format!("{serving} of {nodes} node{}", plural(nodes)),
        };
        let stale = plan.scopes.iter().any(|scope| plan.is_stale(scope));
        let marks = [(plan.panic, ", panic"), (stale, ", stale"), (plan.lent.is_some(), ", lent")];
        let marks: String = marks.into_iter().filter_map(|(applies, mark)| applies.then_some(mark)).collect();
        told.push(format!("{name} {state}{marks}"));
    }
    if zones.len() > ZONES_TOLD {
        told.push(format!("{} more", zones.len() - ZONES_TOLD));
    }
    let (count, told) = (zones.len(), told.join("; "));
    format!(
        "serving {count} zone{} on {addresses} address{}: {told}",
        plural(count),
        if addresses == 1 { "" } else { "es" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(one_line("a\nREADY=0\r\0b"), "a READY=0  b");
        let long = one_line(&"ä".repeat(1000));
        assert!(long.len() <= LONGEST_STATUS && long.chars().all(|c| c == 'ä'), "{long}");
    }

    #[test]
    fn nothing_served_is_told_as_such() {
        assert_eq!(status(&Table::default(), 1), "serving 0 zones on 1 address: ");
    }
}
