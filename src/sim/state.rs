//! In which state a node is and which release it runs, and what follows from either.

use std::{fmt, str::FromStr};

/// The state of a node, in the life of a ScyllaDB cluster. What each means to others is one table, `State::facts`.
///
/// | state | others list it | its port | `cluster_status` says |
/// |---|---|---|---|
/// | `Normal`, `Rebuilding` | yes | open | `NORMAL`, `REBUILDING` |
/// | `Bootstrapping`, `Replacing` | no | closed | `BOOTSTRAPPING`, `REPLACING`, up |
/// | `Restarting` | yes | closed | `NORMAL`, up |
/// | `Leaving` | yes | open | `NORMAL`, up, draining |
/// | `Decommissioning` | yes | open | `DECOMMISSIONING`, up, draining |
/// | `DecommissionDone` | no | closed | `LEFT`, no datacenter |
/// | `Draining` | yes | closed | `NORMAL`, up |
/// | `Shutdown` | no | closed | `shutdown` |
/// | `Removing` | no | closed | `REMOVING`, draining, excluded |
/// | `Excluded` | no | closed | `NORMAL`, excluded |
/// | `Maintenance` | no | closed | `NORMAL`, not up |
///
/// A node without tokens is in one of these states, too: see [`NodeSpec::tokens`](super::NodeSpec::tokens).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Serves.
    #[default]
    Normal,
    /// Joins: gossips, but is no owner of anything yet.
    Bootstrapping,
    /// Joins in the place of a dead node.
    Replacing,
    /// Serves while it streams its data anew.
    Rebuilding,
    /// Started, known as normal, and its port is not open yet.
    Restarting,
    /// Told to leave, which has not begun: still normal, but drained already.
    Leaving,
    /// Leaves: streams its data away and serves meanwhile, for hours perhaps.
    Decommissioning,
    /// Has left. It is remembered for days as one that did.
    DecommissionDone,
    /// `nodetool drain` or a stop has begun: the port is closed, and the others have not been told yet.
    Draining,
    /// Drained or stopped, and the others have been told.
    Shutdown,
    /// Dead, and being removed by the others.
    Removing,
    /// Dead, and declared so for good by an operator.
    Excluded,
    /// Runs alone, for its operator: it neither gossips nor serves.
    Maintenance,
}

/// What a state means to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// `cluster_status.status`, as long as the node has not said that it stops.
    pub(super) status: &'static str,
    /// `topology.node_state`.
    pub(super) node_state: &'static str,
    /// `topology.topology_request`: what is to happen to it.
    pub(super) request: Option<&'static str>,
    /// Gossips as NORMAL, or as a member that is known as such.
    pub(super) normal: bool,
    pub(super) presence: Presence,
    /// Whether its port is open.
    pub(super) open: bool,
    pub(super) draining: bool,
    pub(super) excluded: bool,
}

/// Whether a node is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Alive,
    /// It said that it stops.
    Stopped,
    /// Nothing has been heard of it for long.
    Silent,
}

impl State {
    /// Every state.
    pub const ALL: [State; 13] = [
        State::Normal,
        State::Bootstrapping,
        State::Replacing,
        State::Rebuilding,
        State::Restarting,
        State::Leaving,
        State::Decommissioning,
        State::DecommissionDone,
        State::Draining,
        State::Shutdown,
        State::Removing,
        State::Excluded,
        State::Maintenance,
    ];

    /// The table of all states: each line says how it differs from a node that serves.
    pub(super) fn facts(self) -> Facts {
        let serving = Facts {
            status: "NORMAL",
            node_state: "normal",
            request: None,
            normal: true,
            presence: Presence::Alive,
            open: true,
            draining: false,
            excluded: false,
        };
        let closed = Facts { open: false, ..serving };
        let joining = Facts { normal: false, ..closed };
        let dead = Facts { presence: Presence::Silent, ..closed };
        match self {
            State::Normal => serving,
            State::Bootstrapping => Facts { status: "BOOTSTRAPPING", node_state: "bootstrapping", ..joining },
            State::Replacing => Facts { status: "REPLACING", node_state: "replacing", ..joining },
            State::Rebuilding => Facts { status: "REBUILDING", node_state: "rebuilding", ..serving },
            State::Leaving => Facts { request: Some("leave"), draining: true, ..serving },
            State::Decommissioning => {
                Facts { status: "DECOMMISSIONING", node_state: "decommissioning", draining: true, ..serving }
            }
            State::DecommissionDone => {
                Facts { status: "LEFT", node_state: "left", normal: false, presence: Presence::Stopped, ..closed }
            }
            State::Restarting | State::Draining => closed,
            State::Shutdown => Facts { presence: Presence::Stopped, ..closed },
            State::Removing => {
                Facts { status: "REMOVING", node_state: "removing", draining: true, excluded: true, ..dead }
            }
            State::Excluded => Facts { excluded: true, ..dead },
            State::Maintenance => dead,
        }
    }

    fn name(self) -> &'static str {
        match self {
            State::Normal => "normal",
            State::Bootstrapping => "bootstrapping",
            State::Replacing => "replacing",
            State::Rebuilding => "rebuilding",
            State::Restarting => "restarting",
            State::Leaving => "leaving",
            State::Decommissioning => "decommissioning",
            State::DecommissionDone => "decommission-done",
            State::Draining => "draining",
            State::Shutdown => "shutdown",
            State::Removing => "removing",
            State::Excluded => "excluded",
            State::Maintenance => "maintenance",
        }
    }
}

/// The release a node runs, as far as discovery can tell releases apart. A cluster in the middle of an upgrade runs
/// two at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Lists internal addresses, and joining nodes as well; `/localnodes` has no filters; no `topology` table.
    V5_4,
    /// Lists nodes that are down as well; `/localnodes` has no filters.
    V6_1,
    /// `cluster_status` has no `rack`, `draining`, `excluded`; there is no `client_routes` table.
    V2025_1,
    /// There is no `client_routes` table.
    V2025_4,
    /// Knows everything.
    #[default]
    V2026_1,
}

impl Version {
    /// Every version, from old to new.
    pub const ALL: [Version; 5] = [Version::V5_4, Version::V6_1, Version::V2025_1, Version::V2025_4, Version::V2026_1];

    /// Whether `/localnodes` knows `dc` and `rack`.
    pub(super) fn has_filters(self) -> bool {
        self >= Version::V2025_1
    }

    /// Whether `/localnodes` lists the address for clients, not the internal one.
    pub(super) fn lists_rpc_addresses(self) -> bool {
        self >= Version::V6_1
    }

    /// Whether `/localnodes` leaves out nodes that join.
    pub(super) fn leaves_out_joining(self) -> bool {
        self >= Version::V6_1
    }

    /// Whether `/localnodes` leaves out nodes that are down. Between two fixes it listed whatever was NORMAL.
    pub(super) fn leaves_out_down(self) -> bool {
        self != Version::V6_1
    }

    /// Whether `cluster_status` has `rack`, `draining` and `excluded`.
    pub(super) fn has_status_columns(self) -> bool {
        self >= Version::V2025_4
    }

    pub(super) fn has_topology(self) -> bool {
        self >= Version::V6_1
    }

    pub(super) fn has_load_per_node(self) -> bool {
        self >= Version::V2025_1
    }

    pub(super) fn has_client_routes(self) -> bool {
        self >= Version::V2026_1
    }

    /// `versions.version`. (The `release_version` of the other tables is that of Cassandra.)
    pub(super) fn release(self) -> &'static str {
        match self {
            Version::V5_4 => "5.4.10-0.20240820.5c1a3e1d5a1f",
            Version::V6_1 => "6.1.5-0.20241230.0bbb0a1e1c1d",
            Version::V2025_1 => "2025.1.5-0.20250712.3a4c5e6f7a8b",
            Version::V2025_4 => "2025.4.2-0.20260108.9c0d1e2f3a4b",
            Version::V2026_1 => "2026.1.1-0.20260321.5c6d7e8f9a0b",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        one_of(&State::ALL, text)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::V5_4 => "5.4",
            Version::V6_1 => "6.1",
            Version::V2025_1 => "2025.1",
            Version::V2025_4 => "2025.4",
            Version::V2026_1 => "2026.1",
        })
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        one_of(&Version::ALL, text)
    }
}

/// The value that is written so.
fn one_of<T: Copy + fmt::Display>(all: &[T], text: &str) -> Result<T, String> {
    let found = all.iter().find(|value| value.to_string() == text).copied();
    found.ok_or_else(|| format!("{text:?} is none of {}", all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_as_what_it_names() {
        for state in State::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        for version in Version::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert_eq!("up".parse::<State>().unwrap_err().split(", ").count(), State::ALL.len());
        assert!(Version::ALL.is_sorted());
    }

    #[test]
    fn only_states_that_serve_have_an_open_port_and_all_of_them_are_listed() {
        let open: Vec<State> = State::ALL.into_iter().filter(|state| state.facts().open).collect();
        assert_eq!(open, [State::Normal, State::Rebuilding, State::Leaving, State::Decommissioning]);
        assert!(open.iter().all(|state| state.facts().normal && state.facts().presence == Presence::Alive));
    }
}
