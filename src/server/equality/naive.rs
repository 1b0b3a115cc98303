//! Where names are, by the rules read one after another, without any index.

use std::collections::BTreeSet;

use hickory_proto::op::ResponseCode;

use super::Places;
use crate::model::{Node, Scope};

/// The rcode and the addresses of a name.
pub(super) fn addresses(places: &Places, statics: &[&str], labels: &[String]) -> (ResponseCode, BTreeSet<String>) {
    let scope = |labels: &[String]| -> Option<Scope> {
        let text = labels.join(".");
        if statics.contains(&text.as_str()) {
            return None;
        }
        if labels.is_empty() {
            return Some(Scope::Cluster);
        }
        let mut found = None;
        for (dc, racks) in places {
            if text == *dc {
                return Some(Scope::Datacenter(dc.as_str().into()));
            }
            for (rack, _) in racks {
                let scope = Scope::Rack(dc.as_str().into(), rack.as_str().into());
                if text == format!("{dc}.{rack}") {
                    return Some(scope);
                }
                if text == format!("{rack}.{dc}") || text == format!("{dc}--{rack}") {
                    found = Some(scope);
                }
            }
        }
        found
    };
    let nodes = |scope: &Scope| -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for (dc, racks) in places {
            for (rack, addresses) in racks {
                let place = Node {
                    address: addresses[0],
                    datacenter: Some(dc.as_str().into()),
                    rack: Some(rack.as_str().into()),
                };
                if scope.contains(&place) {
                    all.extend(addresses.iter().map(ToString::to_string));
                }
            }
        }
        all
    };
    if let Some(scope) = scope(labels) {
        let found = nodes(&scope);
        // A configured datacenter without racks has no nodes here: nothing was ever known of it.
        let code = if found.is_empty() { ResponseCode::ServFail } else { ResponseCode::NoError };
        return (code, found);
    }
    // Everything that exists, to see whether the name or something below it does.
    let mut existing: Vec<String> = statics.iter().map(|name| (*name).to_owned()).collect();
    let mut scopes = vec![String::new()];
    for (dc, racks) in places {
        scopes.push(dc.clone());
        for (rack, _) in racks {
            scopes.extend([format!("{dc}.{rack}"), format!("{rack}.{dc}"), format!("{dc}--{rack}")]);
        }
    }
    for name in scopes.iter().filter(|name| !statics.contains(&name.as_str())) {
        let dot = if name.is_empty() { "" } else { "." };
        existing.extend([format!("_explain{dot}{name}"), format!("_alternator._tcp{dot}{name}"), name.clone()]);
    }
    let text = labels.join(".");
    let exists = existing.iter().any(|name| *name == text || name.ends_with(&format!(".{text}")));
    (if exists { ResponseCode::NoError } else { ResponseCode::NXDomain }, BTreeSet::new())
}
