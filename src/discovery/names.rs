//! The datacenters and racks whose names are known, in ScyllaDB's spelling: those that nodes are asked about.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tracing::warn;

use super::tables::TableView;
use crate::{
    config::DiscoveryMode,
    model::{Scope, Topology},
};

/// Datacenters learnt, and racks learnt of one of them: as many as a configuration may name. Each costs requests in every
/// round, and whoever lies in a table must not be able to multiply them.
const MAX_PLACES: usize = 64;

/// Octets of a name learnt. ScyllaDB sets no bound; two of these fit no DNS name any more.
const MAX_OCTETS: usize = 255;

/// Racks by datacenter.
pub(super) type Places = BTreeMap<Arc<str>, BTreeSet<Arc<str>>>;

/// The names known: configured, of members, and of whatever the last round's tables told.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    configured: Places,
    learns: bool,
    all: Places,
    /// Names were refused, and that was told.
    complained: bool,
}

impl Names {
    /// What the configuration names, and what an earlier run learnt.
    pub(super) fn new(configured: BTreeMap<Arc<str>, Vec<Arc<str>>>, mode: DiscoveryMode, initial: &Topology) -> Self {
        let configured: Places = configured.into_iter().map(|(dc, racks)| (dc, racks.into_iter().collect())).collect();
        let learns = mode != DiscoveryMode::Localnodes;
        let mut names = Names { all: configured.clone(), configured, learns, complained: false };
        for member in initial.members.values().filter(|_| learns) {
            if let Some(dc) = &member.node.datacenter {
                names.add(dc, member.node.rack.as_ref());
            }
        }
        names
    }

    /// Whether others than the configured ones are learnt.
    pub(super) fn learns(&self) -> bool {
        self.learns
    }

    /// Every datacenter.
    pub(super) fn datacenters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.all.keys()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether the datacenter has a known name.
    pub(super) fn has(&self, dc: &str) -> bool {
        self.all.contains_key(dc)
    }

    /// The racks of a datacenter.
    pub(super) fn racks(&self, dc: &str) -> impl Iterator<Item = &Arc<str>> {
        self.all.get(dc).into_iter().flatten()
    }

    /// Whether the configuration names the scope. The whole cluster needs no name.
    pub(super) fn is_configured(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Cluster => true,
            Scope::Datacenter(dc) => self.configured.contains_key(dc),
            Scope::Rack(dc, rack) => self.configured.get(dc).is_some_and(|racks| racks.contains(rack)),
        }
    }

    /// Learns the places of a view.
    pub(super) fn learn(&mut self, view: &TableView) {
        for node in &view.nodes {
            self.add(&node.datacenter, node.rack.as_ref());
        }
    }

    /// Forgets what neither the configuration nor a member nor a view of the round names any more.
    pub(super) fn renew<'a>(
        &mut self,
        members: impl Iterator<Item = (&'a Arc<str>, Option<&'a Arc<str>>)>,
        views: impl Iterator<Item = &'a TableView>,
    ) {
        if !self.learns {
            return;
        }
        self.all = self.configured.clone();
        for (dc, rack) in members {
            self.add(dc, rack);
        }
        for view in views {
            self.learn(view);
        }
    }

    fn add(&mut self, dc: &Arc<str>, rack: Option<&Arc<str>>) {
        let fits = |known: usize, name: &str| known < MAX_PLACES && (1..=MAX_OCTETS).contains(&name.len());
        let mut added = self.has(dc);
        if !added && fits(self.all.len(), dc) && is_written_as_scope(dc) {
            self.all.insert(dc.clone(), BTreeSet::new());
            added = true;
        }
        if let Some(rack) = rack
            && let Some(racks) = self.all.get_mut(dc)
            && !racks.contains(rack)
        {
            added = fits(racks.len(), rack);
            if added {
                racks.insert(rack.clone());
            }
        }
        if !added && !self.complained {
            self.complained = true;
            warn!(datacenter = %dc, "a datacenter or rack that the tables tell of is too many, or has a name that cannot be used: it gets no name of its own");
        }
    }
}

/// Whether a datacenter's name reads back as it was written wherever scopes are written.
fn is_written_as_scope(dc: &Arc<str>) -> bool {
    let scope = Scope::Datacenter(dc.clone());
    scope.to_string().parse() == Ok(scope)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::discovery::tables::TableNode;

    /// A view of nodes (last octet, datacenter, rack), all of them listed, by a node of the first's datacenter.
    pub(in crate::discovery) fn view(nodes: &[(u8, &str, &str)]) -> TableView {
        let node = |&(last, dc, rack): &(u8, &str, &str)| TableNode {
            address: [10, 0, 0, last].into(),
            datacenter: dc.into(),
            rack: Some(rack.into()),
            up: true,
            listed: true,
            tokens: None,
            told: Default::default(),
        };
        let own_datacenter = nodes.first().map(|(_, dc, _)| (*dc).into());
        TableView { nodes: nodes.iter().map(node).collect(), own_datacenter, ..TableView::default() }
    }

    fn told(names: &Names) -> Vec<String> {
        let racks = |dc: &Arc<str>| names.racks(dc).map(|rack| format!("{dc}/{rack}")).collect::<Vec<_>>();
        names.datacenters().flat_map(|dc| std::iter::once(dc.to_string()).chain(racks(dc))).collect()
    }

    #[test]
    fn names_are_learnt_and_forgotten_but_for_the_configured() {
        let configured: BTreeMap<Arc<str>, Vec<Arc<str>>> = [("dc1".into(), vec!["r1".into()])].into();
        let mut names = Names::new(configured.clone(), DiscoveryMode::Auto, &Topology::default());
        names.learn(&view(&[(1, "dc1", "r2"), (2, "dc2", "r1")]));
        assert_eq!(told(&names), ["dc1", "dc1/r1", "dc1/r2", "dc2", "dc2/r1"]);
        let (dc3, r3) = ("dc3".into(), "r3".into());
        names.renew([(&dc3, Some(&r3))].into_iter(), std::iter::once(&view(&[(4, "dc4", "r4")])));
        assert_eq!(told(&names), ["dc1", "dc1/r1", "dc3", "dc3/r3", "dc4", "dc4/r4"]);
        names.renew(std::iter::empty(), std::iter::empty());
        assert_eq!(told(&names), ["dc1", "dc1/r1"]);
        assert!(names.is_configured(&"dc1/r1".parse().unwrap()) && !names.is_configured(&"dc1/r2".parse().unwrap()));
    }

    #[test]
    fn names_that_cannot_be_written_or_are_too_many_are_not_learnt() {
        let mut names = Names::new(BTreeMap::new(), DiscoveryMode::Auto, &Topology::default());
        let long = "x".repeat(MAX_OCTETS + 1);
        names.learn(&view(&[(1, "cluster", "r"), (2, "a/b", "r"), (3, "", "r"), (4, &long, "r"), (5, "dc", &long)]));
        assert_eq!(told(&names), ["dc"]);
        for number in 0..2 * MAX_PLACES {
            names.learn(&view(&[(1, &format!("dc{number}"), "r"), (2, "dc", &format!("r{number}"))]));
        }
        assert_eq!((names.datacenters().count(), names.racks("dc").count()), (MAX_PLACES, MAX_PLACES));
    }
}
