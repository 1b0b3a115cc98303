//! What a zone may borrow from another.

use super::Node;

/// The nodes of another zone's cluster that serve, for a zone that has none. Immutable; a change is a new value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loan {
    /// The zone that lends, without trailing dot.
    pub zone: String,
    /// The one port of its nodes.
    pub port: u16,
    /// Its nodes that serve, by address: its own, never ones that it borrows itself.
    pub nodes: Vec<Node>,
    /// Nothing is known of their places: each counts for every scope.
    pub flat: bool,
}
