//! What our own probes believe of each node: the prober's output.

use std::{collections::BTreeMap, fmt, net::IpAddr, time::SystemTime};

/// What the prober believes. Immutable once published; a change is a new value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Health by address. A node without an entry was never probed.
    pub nodes: BTreeMap<IpAddr, NodeHealth>,
    /// More than the panic threshold of the zone's members are silent to us while the cluster lists them: the
    /// prober is distrusted, and silent nodes are dealt as if they were up.
    pub panic: bool,
    /// `health.enabled = false`: nobody is probed and listing alone decides.
    pub disabled: bool,
}

impl Health {
    /// Health of a node, if it was ever probed.
    pub fn get(&self, address: IpAddr) -> Option<&NodeHealth> {
        self.nodes.get(&address)
    }

    /// Health of a node; one never probed is `Joining`.
    pub fn of(&self, address: IpAddr) -> NodeHealth {
        self.nodes.get(&address).cloned().unwrap_or_default()
    }
}

/// What the prober believes of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeHealth {
    /// Joining, Up or Down.
    pub state: NodeState,
    /// When `state` was entered.
    pub since: Option<SystemTime>,
    /// Why the latest failed probe failed. `None` once the node is Up and answers: a node on its way to Up keeps it, so
    /// that under panic it counts as silent until it is Up by its own answers.
    pub failure: Option<Failure>,
    /// When the node last answered before it left Up; set when it leaves. The Unix epoch where only the state file
    /// says that it served. The nodes with the latest times are the "last known good" set once nothing is left.
    pub served_until: Option<SystemTime>,
}

/// Whether our probes say that a node serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// Has not answered `rise` probes yet, ever.
    #[default]
    Joining,
    /// Answers.
    Up,
    /// Failed `fall` probes in a row after it was up.
    Down,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NodeState::Joining => "joining",
            NodeState::Up => "up",
            NodeState::Down => "down",
        })
    }
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection was refused: nobody listens on the port.
    Refused,
    /// The connection was closed or reset before a reply.
    Closed,
    /// The port answered with a status other than 200.
    Status(u16),
    /// The port answered with something that is no HTTP, or TLS failed. Holds a short text.
    Protocol(String),
    /// No answer within the time-out.
    TimedOut,
    /// The network says there is no way to the address.
    Unreachable,
}

impl Failure {
    /// Silence may be our own network's fault; anything else is evidence that somebody is there and does not serve.
    /// Only silence counts for the panic threshold.
    pub fn is_silence(&self) -> bool {
        matches!(self, Failure::TimedOut | Failure::Unreachable)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused => f.write_str("connection refused"),
            Failure::Closed => f.write_str("connection closed"),
            Failure::Status(status) => write!(f, "status {status}"),
            Failure::Protocol(text) => f.write_str(text),
            Failure::TimedOut => f.write_str("timed out"),
            Failure::Unreachable => f.write_str("unreachable"),
        }
    }
}
