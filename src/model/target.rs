//! Which nodes an operator means.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use wildmatch::WildMatch;

use super::{Node, Prefix, PrefixError, is_usable_address};

/// Longest target, octets: names of datacenters and racks are free text, but nobody types more than this.
pub const MAX_TARGET: usize = 255;

/// The nodes of an override, as an operator names them.
///
/// | written | means |
/// |---|---|
/// | `10.0.0.1`, `fd00::1` | one node |
/// | `10.0.0.0/24` | the nodes of a network |
/// | `dc1/rack1` | a rack, in ScyllaDB's spelling |
/// | `dc1` | a datacenter |
/// | `dc1/rack*`, `dc*`, `*/10.0.0.*`, `10.0.0.*`, `*` | whatever matches: `*` any text, `?` one character |
///
/// A glob has up to three parts, `datacenter/rack/address`, and a wildcard stays within its part, so that `dc1/r*1` is
/// never about an address that ends in 1. A part with a dot or colon and nothing but an address's characters is about
/// addresses, so that rack and datacenter may be left out before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One node.
    Node(IpAddr),
    /// The nodes of a network; never a whole address, which is a node.
    Network(Prefix),
    /// The nodes of a rack: datacenter, rack.
    Rack(Arc<str>, Arc<str>),
    /// The nodes of a datacenter.
    Datacenter(Arc<str>),
    /// The nodes that a pattern with wildcards matches.
    Glob(String),
}

impl Target {
    /// Whether the node is meant.
    pub fn matches(&self, node: &Node) -> bool {
        Matcher::new(self).matches(node)
    }

    /// The more specific, the larger: a node before a network (the longer the prefix, the more specific) before a rack
    /// before a datacenter before a glob.
    pub fn specificity(&self) -> Specificity {
        let (kind, len) = match self {
            Target::Node(_) => (4, 0),
            Target::Network(network) => (3, network.len),
            Target::Rack(..) => (2, 0),
            Target::Datacenter(_) => (1, 0),
            Target::Glob(_) => (0, 0),
        };
        Specificity(kind, len)
    }
}

/// How specific a target is; the larger, the more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity(u8, u8);

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

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing is written.
    #[error(
        "no target: write a node (\"10.0.0.1\"), a rack (\"dc1/rack1\"), a datacenter (\"dc1\"), a network \
         (\"10.0.0.0/24\") or a glob (\"dc1/rack*\")"
    )]
    Empty,
    /// It would not fit a line.
    #[error("a target has at most {MAX_TARGET} octets, this has {0}")]
    Long(usize),
    /// Line breaks and the like, which would end up in logs.
    #[error("{0:?} has control characters")]
    Control(String),
    /// The word for all nodes is another one.
    #[error("write \"*\" for every node of the cluster")]
    Cluster,
    /// An address followed by a slash and something else, or bits beyond the length.
    #[error("{0}")]
    Network(#[from] PrefixError),
    /// It looks like an address.
    #[error("{0:?} is no address: write it whole and without a port (\"10.0.0.1\"), or a glob (\"10.0.0.*\")")]
    Address(String),
    /// No node has it.
    #[error("{0} is no address a node can have")]
    Unusable(IpAddr),
    /// Too many parts, or too few in one of them.
    #[error(
        "{0:?} has {1}: a rack is \"datacenter/rack\", a node its address alone, and only a glob has up to three \
         parts (\"dc1/*/10.0.0.*\")"
    )]
    Parts(String, &'static str),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        if text.len() > MAX_TARGET {
            return Err(TargetError::Long(text.len()));
        }
        if text.contains(char::is_control) {
            return Err(TargetError::Control(text.to_owned()));
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return node(address);
        }
        let parts: Vec<&str> = text.split('/').collect();
        let wrong = |what| Err(TargetError::Parts(text.to_owned(), what));
        if parts.iter().any(|part| part.trim().is_empty()) {
            return wrong("an empty part");
        }
        if text.contains(['*', '?']) {
            return match parts.len() {
                1..=3 => Ok(Target::Glob(text.to_owned())),
                _ => wrong("more than three parts"),
            };
        }
        match parts[..] {
            ["cluster"] => Err(TargetError::Cluster),
            [first, ..] if first.parse::<IpAddr>().is_ok() => network(text.parse()?),
            [part] | [_, part] if is_about_addresses(part) => Err(TargetError::Address(part.to_owned())),
            [dc] => Ok(Target::Datacenter(dc.into())),
            [dc, rack] => Ok(Target::Rack(dc.into(), rack.into())),
            _ => wrong("more than two parts"),
        }
    }
}

fn node(address: IpAddr) -> Result<Target, TargetError> {
    let address = address.to_canonical();
    if is_usable_address(address) { Ok(Target::Node(address)) } else { Err(TargetError::Unusable(address)) }
}

/// A network of one address is a node: the same nodes under two names would be two targets.
fn network(network: Prefix) -> Result<Target, TargetError> {
    let whole = if network.address.is_ipv4() { 32 } else { 128 };
    if network.len == whole { node(network.address) } else { Ok(Target::Network(network)) }
}

/// Whether a part is about addresses and not a place's name: it has a dot or a colon, and beside wildcards only what
/// addresses are written with. A place with such a name is meant by a glob of three parts.
fn is_about_addresses(part: &str) -> bool {
    let fits = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '*' | '?');
    let marks = part.contains(':') || (part.contains('.') && !part.contains(|c: char| c.is_ascii_alphabetic()));
    marks && part.chars().all(fits)
}

/// A target, prepared for many nodes.
#[derive(Clone, Debug)]
pub(super) enum Matcher {
    Node(IpAddr),
    Network(Prefix),
    Rack(Arc<str>, Arc<str>),
    Datacenter(Arc<str>),
    /// Datacenter, rack, address; `None` = whatever.
    Glob([Option<WildMatch>; 3]),
}

impl Matcher {
    pub(super) fn new(target: &Target) -> Self {
        match target {
            Target::Node(address) => Matcher::Node(*address),
            Target::Network(network) => Matcher::Network(*network),
            Target::Rack(dc, rack) => Matcher::Rack(dc.clone(), rack.clone()),
            Target::Datacenter(dc) => Matcher::Datacenter(dc.clone()),
            Target::Glob(pattern) => {
                let parts: Vec<&str> = pattern.split('/').collect();
                let some = |part: &str| (part != "*").then(|| WildMatch::new(part));
                Matcher::Glob(match parts[..] {
                    [address] if is_about_addresses(address) => [None, None, some(address)],
                    [dc, address] if is_about_addresses(address) => [some(dc), None, some(address)],
                    [dc, rack, address] => [some(dc), some(rack), some(address)],
                    [dc, rack] => [some(dc), some(rack), None],
                    _ => [some(pattern), None, None],
                })
            }
        }
    }

    /// Whether the node is meant. One whose place is not known is in no rack and no datacenter, but in every glob that
    /// does not ask for one.
    pub(super) fn matches(&self, node: &Node) -> bool {
        match self {
            Matcher::Node(address) => node.address == *address,
            Matcher::Network(network) => network.contains(node.address),
            Matcher::Rack(dc, rack) => node.datacenter.as_ref() == Some(dc) && node.rack.as_ref() == Some(rack),
            Matcher::Datacenter(dc) => node.datacenter.as_ref() == Some(dc),
            Matcher::Glob([dc, rack, address]) => {
                let place = |glob: &Option<WildMatch>, name: &Option<Arc<str>>| {
                    glob.as_ref().is_none_or(|glob| name.as_ref().is_some_and(|name| glob.matches(name)))
                };
                let is_there = place(dc, &node.datacenter) && place(rack, &node.rack);
                is_there && address.as_ref().is_none_or(|glob| glob.matches(&node.address.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
