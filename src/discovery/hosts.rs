//! Host names in lists of nodes: what they stand for, where they are to be resolved.
//!
//! A node lists another by a name where `broadcast_rpc_address` is one. An answer with a name that was never looked up is
//! held back until that is done, or the round is over: a part of a list would be a vote against the rest of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    localnodes::{List, Question},
    network::Network,
    poller::Poller,
    round::LATE_ANSWER,
    seeds::usable,
    stats::add,
    visit::Event,
};

/// Names known at once: more than a cluster has nodes whose names anybody would look up every half minute.
const MAX_HOSTS: usize = 1_000;

/// Look-ups under way at once, so that a cluster of names is no storm for the resolver.
const MAX_LOOK_UPS: usize = 16;

/// Addresses taken of one name: that of the node, in both families, and a few that it had before.
const MAX_ADDRESSES: usize = 8;

/// How long an address is believed. The system's resolver does not tell TTLs.
const BELIEVED: Duration = Duration::from_secs(30);

/// Names that no list has had for this long are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// The names in lists.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    known: BTreeMap<String, Host>,
    /// Answers with names never looked up.
    held: BTreeMap<(Question, IpAddr), (List, Instant)>,
    /// It was told that names are skipped.
    hinted: bool,
}

/// One name.
#[derive(Debug)]
struct Host {
    /// What it stood for last.
    addresses: Vec<IpAddr>,
    /// When it was looked up last, well or not.
    looked_up: Option<Instant>,
    under_way: bool,
    /// A list had it last.
    wanted: Instant,
    /// Answers are not held back for it any more.
    waited_for: bool,
    failing: bool,
}

/// A list with the addresses of its names.
struct Known {
    addresses: BTreeSet<IpAddr>,
    /// Names that stand for nothing.
    without: usize,
}

impl Hosts {
    /// Whether answers are held back.
    pub(super) fn holds_answers(&self) -> bool {
        !self.held.is_empty()
    }

    /// What is known of a list's names; `None` while one of them is looked up for the first time.
    fn of(&mut self, list: &List) -> Option<Known> {
        let now = Instant::now();
        let mut known = Known { addresses: list.addresses.clone(), without: 0 };
        let mut is_first = false;
        for name in &list.hosts {
            if !self.known.contains_key(name) && self.known.len() >= MAX_HOSTS {
                self.known.retain(|_, host| host.under_way || now.duration_since(host.wanted) < FORGOTTEN);
                if self.known.len() >= MAX_HOSTS {
                    known.without += 1;
                    continue;
                }
            }
            let host = self.known.entry(name.clone()).or_insert_with(|| Host {
                addresses: Vec::new(),
                looked_up: None,
                under_way: false,
                wanted: now,
                waited_for: false,
                failing: false,
            });
            host.wanted = now;
            is_first |= host.looked_up.is_none() && !host.waited_for;
            known.without += usize::from(host.addresses.is_empty());
            known.addresses.extend(&host.addresses);
        }
        (!is_first).then_some(known)
    }

    /// The names to look up now; they count as being looked up from here on.
    fn begin_look_ups(&mut self) -> Vec<String> {
        let now = Instant::now();
        let under_way = self.known.values().filter(|host| host.under_way).count();
        let is_due = |host: &Host| {
            let stale = host.looked_up.is_none_or(|at| now.duration_since(at) >= BELIEVED);
            stale && !host.under_way && now.duration_since(host.wanted) < BELIEVED
        };
        let due = self.known.iter_mut().filter(|(_, host)| is_due(host)).take(MAX_LOOK_UPS.saturating_sub(under_way));
        due.map(|(name, host)| {
            host.under_way = true;
            name.clone()
        })
        .collect()
    }

    /// Notes a look-up's outcome. After a failure a name stands for what it stood for before.
    fn resolved(&mut self, name: &str, result: io::Result<Vec<IpAddr>>) -> bool {
        let Some(host) = self.known.get_mut(name) else { return true };
        host.under_way = false;
        host.looked_up = Some(Instant::now());
        let problem = match usable(result, MAX_ADDRESSES) {
            Ok(addresses) => {
                host.addresses = addresses;
                None
            }
            Err(problem) => Some(problem),
        };
        match &problem {
            Some(problem) if !host.failing => warn!(host = name, %problem, "a node's host name does not resolve"),
            None if host.failing => info!(host = name, "a node's host name resolves again"),
            _ => {}
        }
        host.failing = problem.is_some();
        problem.is_none()
    }

    /// The answers held back of which every name was looked up; all of them, when nothing is waited for any more.
    fn release(&mut self, all: bool) -> Vec<((Question, IpAddr), (List, Instant))> {
        let mut released = Vec::new();
        for (key, (list, at)) in std::mem::take(&mut self.held) {
            let is_first = |name: &String| self.known.get(name).is_some_and(|host| host.looked_up.is_none());
            if all || !list.hosts.iter().any(is_first) {
                released.push((key, (list, at)));
            } else {
                self.held.insert(key, (list, at));
            }
        }
        if all {
            let names = released.iter().flat_map(|(_, (list, _))| &list.hosts);
            for name in names {
                if let Some(host) = self.known.get_mut(name) {
                    host.waited_for = true;
                }
            }
        }
        released
    }
}

impl<N: Network> Poller<N> {
    /// A list of nodes, in time.
    pub(super) fn take_list(&mut self, observer: IpAddr, question: Question, list: List, at: Instant) {
        if !self.cluster.resolve_hostnames {
            add(&self.stats.skipped_entries, list.skipped);
            if let Some(host) = list.hosts.first()
                && !std::mem::replace(&mut self.hosts.hinted, true)
            {
                warn!(%observer, host, "a list has nodes by host name: they are skipped (resolve_hostnames = true has them resolved)");
            }
            return self.note_answer(observer, question, list.addresses);
        }
        match self.hosts.of(&list) {
            Some(known) => {
                add(&self.stats.skipped_entries, list.skipped.saturating_sub(list.hosts.len()) + known.without);
                self.note_answer(observer, question, known.addresses);
            }
            None => _ = self.hosts.held.insert((question, observer), (list, at)),
        }
        for name in self.hosts.begin_look_ups() {
            self.look_up_host(name);
        }
    }

    fn look_up_host(&mut self, name: String) {
        let (network, events) = (self.network.clone(), self.sender.clone());
        self.tasks.spawn(async move {
            let result = network.look_up(&name).await;
            let _ = events.send(Event::Host { name, result }).await;
        });
    }

    /// A host name was looked up.
    pub(super) fn take_host(&mut self, name: &str, result: io::Result<Vec<IpAddr>>) {
        if !self.hosts.resolved(name, result) {
            add(&self.stats.unresolved_hosts, 1);
        }
        self.release_answers(false);
        for name in self.hosts.begin_look_ups() {
            self.look_up_host(name);
        }
    }

    /// Counts answers that were held back; `all`: also those whose names are still unknown, for what else is in them.
    pub(super) fn release_answers(&mut self, all: bool) {
        for ((question, observer), (list, at)) in self.hosts.release(all) {
            if at.elapsed() <= LATE_ANSWER {
                self.take_list(observer, question, list, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> List {
        List { hosts: names.iter().map(|&name| name.to_owned()).collect(), ..List::default() }
    }

    fn addresses(hosts: &mut Hosts, names: &[&str]) -> Option<Vec<String>> {
        hosts.of(&list(names)).map(|known| known.addresses.iter().map(ToString::to_string).collect())
    }

    fn found(texts: &[&str]) -> io::Result<Vec<IpAddr>> {
        Ok(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_looked_up_once_at_a_time_and_again_after_a_while() {
        let mut hosts = Hosts::default();
        assert_eq!(addresses(&mut hosts, &["a"]), None);
        assert_eq!(hosts.begin_look_ups(), ["a"]);
        assert_eq!(addresses(&mut hosts, &["a"]), None);
        assert!(hosts.begin_look_ups().is_empty(), "one at a time");
        assert!(hosts.resolved("a", found(&["10.0.0.1", "0.0.0.0", "::ffff:10.0.0.1", "fd00::1"])));
        assert_eq!(addresses(&mut hosts, &["a"]).unwrap(), ["10.0.0.1", "fd00::1"]);
        assert!(hosts.begin_look_ups().is_empty());
        tokio::time::advance(BELIEVED).await;
        assert_eq!(addresses(&mut hosts, &["a"]).unwrap().len(), 2, "as before, meanwhile");
        assert_eq!(hosts.begin_look_ups(), ["a"]);
        assert!(!hosts.resolved("a", Err(io::Error::other("no such name"))));
        assert_eq!(addresses(&mut hosts, &["a"]).unwrap().len(), 2, "the last known");
        tokio::time::advance(BELIEVED).await;
        assert!(hosts.begin_look_ups().is_empty(), "no list has it any more");
    }

    #[tokio::test(start_paused = true)]
    async fn neither_names_nor_look_ups_grow_without_bound() {
        let mut hosts = Hosts::default();
        let many: Vec<String> = (0..2 * MAX_HOSTS).map(|number| format!("n{number}")).collect();
        assert!(hosts.of(&list(&many.iter().map(String::as_str).collect::<Vec<_>>())).is_none());
        assert_eq!((hosts.known.len(), hosts.begin_look_ups().len()), (MAX_HOSTS, MAX_LOOK_UPS));
        assert!(hosts.begin_look_ups().is_empty());
        tokio::time::advance(FORGOTTEN).await;
        assert_eq!(addresses(&mut hosts, &["new"]), None);
        assert_eq!(hosts.known.len(), MAX_LOOK_UPS + 1, "but for those still looked up");
        let all = (0..200).flat_map(|last| found(&[&format!("10.0.0.{last}")]).unwrap()).collect();
        hosts.resolved("new", Ok(all));
        assert_eq!(addresses(&mut hosts, &["new"]).unwrap().len(), MAX_ADDRESSES);
    }
}
