//! What an operator forced: nodes drained, nodes held up, and until when.

use std::{fmt, net::IpAddr, sync::Arc, time::SystemTime};

use super::{Node, Prefix};

/// One decision of an operator about some nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The nodes meant.
    pub target: Target,
    /// What becomes of them.
    pub action: Action,
    /// The zone meant, without trailing dot; `None` = every zone.
    pub zone: Option<String>,
    /// When it begins.
    pub from: SystemTime,
    /// When it ends; `None` = when somebody ends it.
    pub until: Option<SystemTime>,
    /// When it was decided.
    pub set_at: SystemTime,
    /// Who decided.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
    /// How it came here.
    pub origin: Origin,
}

/// What becomes of the nodes of an override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Not answered, however well they serve.
    Drain,
    /// Answered, whatever our probes say; not where the cluster lists them no longer.
    ForceUp,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Drain => "drain",
            Action::ForceUp => "force-up",
        })
    }
}

/// How an override came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// By command or over HTTP; kept over restarts.
    Api,
    /// From the file of overrides; gone when the file no longer has it.
    File,
}

/// The nodes of an override.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One node.
    Node(IpAddr),
    /// The nodes of a network.
    Network(Prefix),
    /// The nodes of a rack: datacenter, rack.
    Rack(Arc<str>, Arc<str>),
    /// The nodes of a datacenter.
    Datacenter(Arc<str>),
    /// The nodes whose `datacenter/rack/address` matches, with `*` for any text and `?` for one character.
    Glob(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(address) => write!(f, "{address}"),
            Target::Network(network) => write!(f, "{network}"),
            Target::Rack(dc, rack) => write!(f, "{dc}/{rack}"),
            Target::Datacenter(dc) => f.write_str(dc),
            Target::Glob(pattern) => f.write_str(pattern),
        }
    }
}

/// Every override there is, of all zones. Immutable once published; a change is a new value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(Vec<Arc<Override>>);

impl Overrides {
    /// These overrides.
    pub fn new(overrides: Vec<Override>) -> Self {
        Overrides(overrides.into_iter().map(Arc::new).collect())
    }

    /// All of them, in force or not.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Override>> {
        self.0.iter()
    }

    /// The override that decides about a node now.
    pub fn in_force(&self, _zone: &str, _node: &Node, _now: SystemTime) -> Option<&Arc<Override>> {
        None
    }

    /// The drain of a node that begins next.
    pub fn pending_drain(&self, _zone: &str, _node: &Node, _now: SystemTime) -> Option<&Arc<Override>> {
        None
    }

    /// When the next of them begins or ends.
    pub fn next_change(&self, now: SystemTime) -> Option<SystemTime> {
        let moments = self.iter().flat_map(|known| [Some(known.from), known.until]).flatten();
        moments.filter(|moment| *moment > now).min()
    }
}
