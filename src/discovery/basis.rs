//! What discovery goes by at the moment, and why, for operators.

use std::collections::BTreeSet;

use super::{merge::Round, network::Network, observers::kind, poller::Poller, tables::TableFailure};
use crate::config::DiscoveryMode;

/// Where members and their places come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Means {
    /// Nobody has answered yet.
    #[default]
    Nothing,
    /// System tables.
    Tables,
    /// `/localnodes`.
    Localnodes,
}

impl Means {
    /// As in `status.json` and metrics; empty for nothing.
    pub fn word(self) -> &'static str {
        match self {
            Means::Nothing => "",
            Means::Tables => "tables",
            Means::Localnodes => "localnodes",
        }
    }
}

/// What discovery goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// What is configured.
    pub mode: DiscoveryMode,
    /// What is done.
    pub means: Means,
    /// Why tables are not read, where they should be.
    pub reason: Option<String>,
    /// Which of the tables that can be done without are there and cannot be read, and why.
    pub unread: Vec<String>,
}

impl<N: Network> Poller<N> {
    /// Tells what this round went by, where that has changed.
    pub(super) fn tell_basis(&mut self, round: &Round) {
        let (mode, before) = (self.cluster.discovery, self.stats.basis());
        let readable = self.observers.any_readable();
        let failure = self.observers.why_unread().filter(|_| !readable);
        let means = match mode {
            DiscoveryMode::SystemTables => Means::Tables,
            DiscoveryMode::Localnodes => Means::Localnodes,
            DiscoveryMode::Auto if readable => Means::Tables,
            DiscoveryMode::Auto if round.lists_anything() && failure.is_some() => Means::Localnodes,
            DiscoveryMode::Auto => before.means,
        };
        // A round by chance without views says nothing of what is in them.
        let unread: Vec<String> = match round.views.is_empty() {
            true if readable => before.unread.clone(),
            _ => round
                .views
                .values()
                .flat_map(|view| &view.unread)
                .map(kind)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
        };
        let told = (means, failure.map(kind));
        let is_new = self.basis.as_ref() != Some(&told);
        if !is_new && unread == before.unread {
            return;
        }
        for unread in unread.iter().filter(|unread| !before.unread.contains(unread)) {
            tracing::info!("a system table is done without: {unread}");
            self.journal.note("discovery", "tables", format_args!("done without one: {unread}"));
        }
        let reason = if is_new { failure.map(ToString::to_string) } else { before.reason };
        self.stats.set_basis(Basis { mode, means, reason, unread });
        if !is_new {
            return;
        }
        match (failure, mode) {
            (Some(failure), DiscoveryMode::Auto | DiscoveryMode::SystemTables) => self.tell_reason(mode, failure),
            (None, DiscoveryMode::Auto | DiscoveryMode::SystemTables) if readable => {
                let text = "nodes, their places and states are read from system tables";
                tracing::info!("{text}");
                self.journal.note("discovery", "tables", text);
            }
            _ => {}
        }
        self.basis = Some(told);
    }

    fn tell_reason(&self, mode: DiscoveryMode, failure: &TableFailure) {
        let then = match mode {
            DiscoveryMode::SystemTables => "and discovery = \"system_tables\" allows nothing else",
            DiscoveryMode::Auto | DiscoveryMode::Localnodes => "going by /localnodes",
        };
        match failure {
            // Older servers, and whatever happens to any request: nothing to be done about it.
            TableFailure::Missing { .. } | TableFailure::Node(_) if mode == DiscoveryMode::Auto => {
                tracing::info!("system tables cannot be read: {failure}; {then}");
            }
            failure => tracing::warn!("system tables cannot be read: {failure}; {then}"),
        }
        self.journal.note("discovery", "tables", format_args!("not readable: {failure}; {then}"));
    }
}
