//! What the names of scopes answer: addresses, services, explanations; in each view.

use std::{net::IpAddr, sync::Arc};

use hickory_proto::rr::RecordType;

use super::{
    super::{
        Answer, Body, CompiledZone, Dealt, Deck, Remark, ZonePlan,
        records::{by_view, lower_wire, wire_below},
        wire::BodyWriter,
    },
    Compiler,
};
use crate::{
    model::{Node, Scope},
    plan::{Family, FamilyPlan, Nodes, ScopePlan, Weights},
};

/// The label of SRV records, in front of every scope name: `_alternator._tcp` (RFC 2782).
const SRV_LABELS: [&str; 2] = ["_alternator", "_tcp"];

/// All services are alike.
const SRV_PRIORITY: u16 = 0;
const SRV_WEIGHT: u16 = 1;

/// The label of explanations, in front of every scope name.
const EXPLAIN_LABEL: &str = "_explain";

/// The address answers of a chain, by family: NODATA where there is none.
type Addresses = [Option<Answer>; 2];

impl Compiler<'_> {
    /// Every name of every scope: addresses, SRV, explanation.
    pub(super) fn scopes(&mut self) {
        let plan = self.plan;
        let mut addresses: Vec<Vec<Addresses>> = Vec::new();
        // One view after the other, so that no view moves the cursors of those before it.
        for view in 0..plan.views.count() {
            let chains = plan.scopes_in(view).iter().enumerate();
            let of_view = chains.map(|(chain, scope)| self.addresses(view, chain, scope, &addresses)).collect();
            addresses.push(of_view);
            let services =
                plan.scopes_in(view).iter().enumerate().map(|(chain, scope)| self.services(view, chain, scope));
            let services = services.collect();
            self.parts.services.push(services);
        }
        for (name, &chain) in &plan.names.names {
            let name = lower_wire(name);
            if let Some(services_name) =
                wire_below(SRV_LABELS[1], &name).and_then(|name| wire_below(SRV_LABELS[0], &name))
            {
                let services = by_view(self.parts.services.iter().map(|of_view| of_view.get(chain).cloned()).collect());
                self.add(services_name, services.map(|services| (u16::from(RecordType::SRV), services)));
            }
            if let Some(explain_name) = wire_below(EXPLAIN_LABEL, &name) {
                self.add(explain_name, [(u16::from(RecordType::TXT), Answer::Explain(chain))]);
            }
            for (family, rtype) in [(Family::V4, RecordType::A), (Family::V6, RecordType::AAAA)] {
                let in_view = |of_view: &Vec<Addresses>| of_view.get(chain)?[family as usize].clone();
                let answer = by_view(addresses.iter().map(in_view).collect());
                self.add(name.clone(), answer.map(|answer| (u16::from(rtype), answer)));
            }
        }
    }

    /// The address answers of a chain in a view; those that an earlier view has where they are the same.
    fn addresses(&mut self, view: usize, chain: usize, scope: &ScopePlan, earlier: &[Vec<Addresses>]) -> Addresses {
        [Family::V4, Family::V6].map(|family| match scope.family(family) {
            FamilyPlan::Absent => None,
            FamilyPlan::Unready => Some(Answer::Unready(self.remark(scope, family))),
            plan @ FamilyPlan::Serve { nodes, weights, ttl, .. } => {
                let from = scope.source(plan).unwrap_or(&Scope::Cluster);
                let deck = self.deck((view, from, family), nodes, weights, ttl.seconds);
                let remark = self.remark(scope, family);
                let is_same = |answer: &&Answer| {
                    let Answer::Dealt(index) = answer else { return false };
                    let known = self.dealt.get(*index);
                    known.is_some_and(|known| Arc::ptr_eq(&known.deck, &deck) && known.remark == remark)
                };
                let earlier = earlier.iter().filter_map(|of_view| of_view.get(chain)?[family as usize].as_ref());
                if let Some(same) = earlier.clone().find(is_same) {
                    return Some(same.clone());
                }
                let index = self.dealt.len();
                self.dealt.push(Dealt { deck, slot: index * 2, remark });
                Some(Answer::Dealt(index))
            }
        })
    }

    /// What is to be said of a chain's answers of one family.
    fn remark(&self, scope: &ScopePlan, family: Family) -> Option<Arc<Remark>> {
        let plan = scope.family(family);
        let lender = self.plan.lender(plan).map(|loan| &*loan.zone);
        Remark::of(&scope.chain, plan, self.plan.remembered, lender).map(Arc::new)
    }

    /// Where these nodes are seen in a view; `None` where all are at their own addresses.
    fn seen(&self, view: usize, nodes: &Nodes) -> Option<Arc<[IpAddr]>> {
        let seen = nodes.iter().map(|node| self.plan.seen(view, node.address));
        let is_mapped = seen.clone().any(|seen| seen.is_mapped);
        is_mapped.then(|| seen.map(|seen| seen.address).collect())
    }

    /// The deck of a scope in a view: the one that another chain or another view has in this compile, or had in the
    /// previous one if it is still right, or its rows with another TTL or other weights, or a new deal.
    fn deck(
        &mut self,
        (view, scope, family): (usize, &Scope, Family),
        nodes: &Nodes,
        weights: &Weights,
        ttl: u32,
    ) -> Arc<Deck> {
        // In a flat topology every scope has the nodes of the cluster.
        let scope = if self.plan.flat { Scope::Cluster } else { scope.clone() };
        let seen = self.seen(view, nodes);
        let key = |view| (scope.clone(), family, view);
        let seed = self.rng.u64(..);
        let decks = &self.parts.decks;
        let known = decks.get(&key(view)).into_iter();
        let known = known.chain(decks.range(key(0)..key(view)).map(|(_, deck)| deck));
        let known = known.chain(self.previous.and_then(|previous| previous.parts.decks.get(&key(view))));
        let deck = match known.into_iter().find(|deck| deck.deals(nodes, seen.as_ref())) {
            Some(known) if known.is_for(weights, ttl) => known.clone(),
            Some(known) => Arc::new(Deck::clone(known).with_ttl(ttl).with_weights(weights)),
            None => {
                let (config, meter) = (&self.source.config, &self.source.meter);
                let dealt = Deck::new(nodes.clone(), seen, (family, ttl), config, meter, seed);
                Arc::new(dealt.with_weights(weights))
            }
        };
        self.parts.decks.insert(key(view), deck.clone());
        deck
    }

    /// SRV of every served node (RFC 2782): the form for clients that want the whole list. That of the previous compile,
    /// or of the view for everybody, where it is the same.
    fn services(&self, view: usize, chain: usize, scope: &ScopePlan) -> Answer {
        let ttl = self.plan.ttl(self.source, scope);
        let ports = self.ports(self.plan, view, scope);
        let of_everybody = || {
            let everybody = self.plan.scopes_in(0).get(chain).filter(|_| view > 0)?;
            let is_same = everybody.is_served_as(scope)
                && self.plan.ttl(self.source, everybody) == ttl
                && self.ports(self.plan, 0, everybody) == ports;
            self.parts.services.first()?.get(chain).filter(|_| is_same).cloned()
        };
        let known = self.previous.and_then(|previous| self.known_services(previous, view, scope, (ttl, &ports)));
        of_everybody().or(known).unwrap_or_else(|| {
            debug_assert_eq!(self.plan.names.chains[chain], scope.chain);
            if scope.nodes().next().is_none() {
                return Answer::Unready(self.remark(scope, Family::V4));
            }
            // What most nodes have is what is told of all of them.
            let remark = self.remark(scope, Family::V4).or_else(|| self.remark(scope, Family::V6));
            Answer::Fixed(Arc::new(self.services_body(scope, ttl, &ports).with_remark(remark)))
        })
    }

    /// What the previous compile had for a chain in a view, if it is still right.
    fn known_services(
        &self,
        previous: &CompiledZone,
        view: usize,
        scope: &ScopePlan,
        (ttl, ports): (u32, &[u16]),
    ) -> Option<Answer> {
        let index = previous.plan.names.index_of(&scope.chain)?;
        let plan = &previous.plan;
        let before = plan.scopes_in(view).get(index)?;
        let same = before.is_served_as(scope)
            && plan.ttl(self.source, before) == ttl
            && plan.remembered == self.plan.remembered
            && self.ports(plan, view, before) == ports;
        previous.parts.services.get(view)?.get(index).filter(|_| same).cloned()
    }

    /// The ports of the nodes of a list of services, in its order.
    fn ports(&self, plan: &ZonePlan, view: usize, scope: &ScopePlan) -> Vec<u16> {
        let port = |node: &Node| plan.seen(view, node.address).port.unwrap_or(self.source.config.cluster.port);
        scope.best_nodes().map(port).collect()
    }

    fn services_body(&self, scope: &ScopePlan, ttl: u32, ports: &[u16]) -> Body {
        let mut body = BodyWriter::new(&self.apex);
        let mut data = Vec::new();
        for (node, port) in scope.best_nodes().zip(ports) {
            let Some(target) = self.parts.nodes.get(&node.address) else { continue };
            data.clear();
            for field in [SRV_PRIORITY, SRV_WEIGHT, *port] {
                data.extend_from_slice(&field.to_be_bytes());
            }
            data.extend_from_slice(&target.name);
            body.answer_wire(ttl, RecordType::SRV, &data);
        }
        body.finish()
    }
}
