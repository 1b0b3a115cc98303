//! How long the names of datacenters and racks outlive their last node.
//!
//! A name that is taken away is NXDOMAIN, which resolvers keep; so it goes only when the cluster has been without the place
//! for long, never by an incident. As long as tables tell of a node there, up or down, the place exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{membership::Membership, names::Names, told::Views};
use crate::model::Scope;

/// How long each scope without nodes has been so, as far as anything was known. Begins anew with the process.
#[derive(Clone, Debug, Default)]
pub(super) struct Retention {
    empty_for: BTreeMap<Scope, Duration>,
    /// When it was looked at last; `None` after a time in which nothing was known.
    looked: Option<Instant>,
}

impl Retention {
    /// Nothing is known at present: this time does not count.
    pub(super) fn pause(&mut self) {
        self.looked = None;
    }

    /// Takes away the scopes that have been empty for as long as `keep`, and says which.
    pub(super) fn renew(
        &mut self,
        membership: &mut Membership,
        names: &Names,
        views: &Views,
        keep: Duration,
    ) -> Vec<Scope> {
        let now = Instant::now();
        let populated = membership.populated();
        // Nobody is listed at all: that is an incident, whatever it is, and the last names are all that is left.
        if populated.is_empty() || membership.stale {
            self.pause();
            return Vec::new();
        }
        let since = self.looked.replace(now).map_or(Duration::ZERO, |looked| now.duration_since(looked));
        let told = told(views);
        let is_empty =
            |scope: &&Scope| !populated.contains(scope) && !names.is_configured(scope) && !told.contains(scope);
        let empty: BTreeSet<Scope> = membership.seen().iter().filter(is_empty).cloned().collect();
        self.empty_for.retain(|scope, _| empty.contains(scope));
        let mut gone = Vec::new();
        for scope in empty {
            // It was found empty just now, or has been since the last look.
            let empty_for =
                self.empty_for.entry(scope.clone()).and_modify(|empty_for| *empty_for += since).or_default();
            if *empty_for >= keep {
                self.empty_for.remove(&scope);
                membership.forget(&scope);
                gone.push(scope);
            }
        }
        gone
    }
}

/// The scopes of all nodes that tables tell of.
fn told(views: &Views) -> BTreeSet<Scope> {
    let nodes = views.values().flat_map(|view| &view.nodes);
    let scopes = nodes.flat_map(|node| {
        let rack = node.rack.as_ref().map(|rack| Scope::Rack(node.datacenter.clone(), rack.clone()));
        rack.into_iter().chain([Scope::Datacenter(node.datacenter.clone())])
    });
    scopes.collect()
}
