//! System tables of a node: any five bodies are a bounded view of usable addresses and printable names, or a failure
//! told in a short line.

use std::collections::BTreeSet;

use alternator_dns::{
    discovery::tables::{TableFailure, TableNode, TableView, read_bodies},
    model::{Leaving, is_usable_address},
};

/// What became of the bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Became {
    /// One of them is no page, or the tables are not those of a cluster.
    Unreadable,
    /// Nodes without an address or a place, and no other.
    Nobody,
    /// Nodes, and some without an address or a place.
    Skipping,
    /// Nodes of which one is on its way out.
    Leaving,
    /// Nodes of which one is not listed.
    Unlisted,
    /// Nodes with other ways to them.
    Routed,
    /// Nodes, all listed.
    Clean,
}

/// Most characters of a failure's text; it goes to logs and to status.
const LONGEST_FAILURE: usize = 250;

/// Most octets of a name, and most other ways to a node.
const LONGEST_NAME: usize = 255;
const MOST_ROUTES: usize = 64;

/// Checks the bodies of `local`, `peers`, `cluster_status`, `topology` and `client_routes`, one line each.
pub fn check(octets: &[u8]) -> Became {
    let mut lines = octets.splitn(5, |octet| *octet == b'\n');
    let bodies: [&[u8]; 5] = std::array::from_fn(|_| lines.next().unwrap_or(br#"{"Items":[]}"#));
    let view = match read_bodies(bodies) {
        Err(TableFailure::Unreadable(text)) => {
            assert!(!text.is_empty() && text.chars().count() <= LONGEST_FAILURE, "{text:.300}");
            assert!(!text.contains(char::is_control), "{text:?}");
            return Became::Unreadable;
        }
        Err(other) => panic!("{other:?}"),
        Ok(view) => view,
    };
    // Another reading of the same; it does not take numbers that are too large, even where nobody wants them.
    let rows = bodies.map(|body| {
        let body: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        body.map_or(usize::MAX - 1, |body| body["Items"].as_array().map_or(0, Vec::len))
    });
    assert!(view.nodes.len() + view.skipped <= 1 + rows[1], "{rows:?} {view:?}");
    assert!(view.named_routes <= rows[4]);
    assert!(view.unread.is_empty());
    let addresses: BTreeSet<_> = view.nodes.iter().map(|node| node.address).collect();
    assert!(addresses.len() == view.nodes.len() && view.nodes.is_sorted_by_key(|node| node.address), "each once");
    view.nodes.iter().for_each(check_node);
    assert_eq!(read_bodies(bodies).as_ref(), Ok(&view), "the same again");
    became(&view)
}

fn check_node(node: &TableNode) {
    assert!(is_usable_address(node.address) && node.address == node.address.to_canonical(), "{}", node.address);
    assert!(node.up || !node.listed, "{node:?}");
    let told = &node.told;
    for name in
        [Some(&node.datacenter), node.rack.as_ref(), told.host_id.as_ref(), told.state.as_ref(), told.version.as_ref()]
            .into_iter()
            .flatten()
            .chain(told.routes.keys())
    {
        assert!(!name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(char::is_control), "{name:?}");
    }
    assert!(told.state.as_ref().is_none_or(|state| !state.contains(|c: char| c.is_ascii_lowercase())), "{told:?}");
    assert!(told.shards != Some(0) && told.routes.len() <= MOST_ROUTES);
    for route in told.routes.values() {
        assert!(is_usable_address(route.address) && route.port != Some(0) && route.https_port != Some(0), "{route:?}");
    }
    assert!(told.leaving != Some(Leaving::NoTokens) || node.tokens == Some(0), "{node:?}");
}

fn became(view: &TableView) -> Became {
    if view.nodes.is_empty() {
        Became::Nobody
    } else if view.skipped > 0 {
        Became::Skipping
    } else if view.nodes.iter().any(|node| node.told.leaving.is_some()) {
        Became::Leaving
    } else if view.nodes.iter().any(|node| !node.listed) {
        Became::Unlisted
    } else if view.nodes.iter().any(|node| !node.told.routes.is_empty()) {
        Became::Routed
    } else {
        Became::Clean
    }
}
