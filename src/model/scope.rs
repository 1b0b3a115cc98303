//! The sets of nodes that names stand for.

use std::{fmt, str::FromStr, sync::Arc};

use super::Node;

/// The set of nodes a name stands for. A rack is always a rack *of a datacenter*.
///
/// Written in the configuration as `cluster`, `dc1` or `dc1/rack1`, in ScyllaDB's spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// All nodes.
    Cluster,
    /// All nodes of one datacenter.
    Datacenter(Arc<str>),
    /// All nodes of one rack: datacenter, rack.
    Rack(Arc<str>, Arc<str>),
}

impl Scope {
    /// Whether the node belongs to this scope, by what is known of its place.
    pub fn contains(&self, node: &Node) -> bool {
        match self {
            Scope::Cluster => true,
            Scope::Datacenter(dc) => node.datacenter.as_ref() == Some(dc),
            Scope::Rack(dc, rack) => node.datacenter.as_ref() == Some(dc) && node.rack.as_ref() == Some(rack),
        }
    }

    /// The datacenter this scope lies in, if it is not the whole cluster.
    pub fn datacenter(&self) -> Option<&Arc<str>> {
        match self {
            Scope::Cluster => None,
            Scope::Datacenter(dc) | Scope::Rack(dc, _) => Some(dc),
        }
    }

    /// `cluster`, `datacenter` or `rack`: the kind, for texts and counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Scope::Cluster => "cluster",
            Scope::Datacenter(_) => "datacenter",
            Scope::Rack(..) => "rack",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Cluster => f.write_str("cluster"),
            Scope::Datacenter(dc) => f.write_str(dc),
            Scope::Rack(dc, rack) => write!(f, "{dc}/{rack}"),
        }
    }
}

/// Why a text is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no scope: write \"cluster\", a datacenter (\"dc1\") or a rack of a datacenter (\"dc1/rack1\")")]
pub struct ScopeError(String);

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        match text.split_once('/') {
            None if text.is_empty() => Err(ScopeError(text.to_owned())),
            None if text == "cluster" => Ok(Scope::Cluster),
            None => Ok(Scope::Datacenter(text.into())),
            Some((dc, rack)) if dc.is_empty() || rack.is_empty() => Err(ScopeError(text.to_owned())),
            Some((dc, rack)) => Ok(Scope::Rack(dc.into(), rack.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_back_as_written() {
        for text in ["cluster", "dc1", "dc1/rack1", "AWS_US_EAST_1/r a c k"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for bad in ["", "/rack1", "dc1/"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rack_holds_only_nodes_of_its_own_datacenter() {
        let node = Node { address: [10, 0, 0, 1].into(), datacenter: Some("dc1".into()), rack: Some("r1".into()) };
        assert!(Scope::Rack("dc1".into(), "r1".into()).contains(&node));
        assert!(!Scope::Rack("dc2".into(), "r1".into()).contains(&node));
        assert!(Scope::Datacenter("dc1".into()).contains(&node) && Scope::Cluster.contains(&node));
    }
}
