//! Where a name is, and what it has.

use std::net::IpAddr;

use hickory_proto::rr::{Name, RecordType};
use serde::Serialize;

use super::{Question, permission};
use crate::{
    plan::{Family, TtlReason},
    table::{Answer, ChainStory, Dealer, Entry, Found, Shape, Table, ZoneInTable, story as chain_story, wire_name},
    zone::label::node_label,
};

/// Rows told: enough to see that the leaders change.
const ROWS_TOLD: usize = 5;

/// Addresses told of a row: all that `answers = "auto"` gives, and enough of more.
const ADDRESSES_TOLD: usize = 16;

/// Labels in front of a scope's name that ask for its services.
const SERVICES: [&[u8]; 2] = [b"_alternator", b"_tcp"];

/// One name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NameStory {
    /// The name.
    pub name: String,
    /// The zone it is in; `None` for none of ours.
    pub zone: Option<String>,
    /// Who may ask, by the zone's own rules.
    pub access: Option<&'static str>,
    /// `outside`, `missing`, `empty`, `alias`, `static`, `scope`, `services`, `explanation`, `node`, `own` (SOA, name
    /// servers), or `nodata`: there is something by that name, but not of that type.
    pub kind: &'static str,
    /// The same in words.
    pub what: String,
    /// The types it has.
    pub types: Vec<String>,
    /// Where an alias leads.
    pub target: Option<String>,
    /// How its scope is answered.
    pub scope: Option<ChainStory>,
    /// How its addresses are dealt.
    pub deal: Option<DealStory>,
}

/// The deck that an answer is dealt from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DealStory {
    /// TTL of its records, seconds.
    pub ttl: u32,
    /// Why it is that.
    pub ttl_reason: String,
    /// `several` or `single`.
    pub shape: &'static str,
    /// Addresses in an answer of that shape.
    pub records: u16,
    /// Why this client gets that shape.
    pub why: String,
    /// The nodes that it deals.
    pub nodes: usize,
    /// Rows in it; the next query is answered with the next row.
    pub rows: usize,
    /// Whether some nodes lead more often than others.
    pub is_weighed: bool,
    /// Rows that follow one another, from a random one on, as each worker begins, that of the reply first: the first
    /// addresses of each.
    pub next: Vec<Vec<IpAddr>>,
}

/// What the table has for a name, and where an alias leads.
pub(super) fn story(table: &Table, name: Name, question: &Question, seed: u64) -> (NameStory, Option<Name>) {
    let lower = name.to_lowercase();
    let mut story = NameStory {
        name: name.to_string(),
        zone: None,
        access: None,
        kind: "outside",
        what: "in no zone of this server".to_owned(),
        types: Vec::new(),
        target: None,
        scope: None,
        deal: None,
    };
    let (zone, entry) = match table.find(&wire_name(&lower)) {
        Found::Outside => return (story, None),
        Found::Missing(zone) => (zone, None),
        Found::Name(zone, entry) => (zone, Some(entry)),
    };
    let config = &zone.zone.source.config;
    story.zone = Some(config.name());
    story.access = Some(permission(config.access.verdict(question.client)));
    let Some(entry) = entry else {
        (story.kind, story.what) = ("missing", "neither it nor anything below it exists".to_owned());
        return (story, None);
    };
    let told = Told { zone, name: &lower, entry, question };
    story.types = told.types();
    (story.kind, story.what) = told.what();
    story.scope = told.chain().and_then(|chain| chain_story(&zone.zone, chain, question.client));
    story.deal = told.deal(seed);
    let follows = told.answer().is_none() && question.rtype != RecordType::ANY;
    let target = entry.alias.clone().filter(|_| follows);
    story.target = target.as_ref().map(Name::to_string);
    (story, target)
}

/// A name that exists.
struct Told<'a> {
    zone: &'a ZoneInTable,
    name: &'a Name,
    entry: &'a Entry,
    question: &'a Question,
}

impl Told<'_> {
    /// The answer that the client gets.
    fn answer(&self) -> Option<&Answer> {
        self.zone.zone.answer(self.entry, self.question.rtype.into(), self.question.client)
    }

    /// The types it has for the client.
    fn types(&self) -> Vec<String> {
        let types = self.entry.answers.iter().map(|(rtype, _)| *rtype);
        let has = |rtype: &u16| self.zone.zone.answer(self.entry, *rtype, self.question.client).is_some();
        types.filter(has).map(|rtype| RecordType::from(rtype).to_string()).collect()
    }

    /// What it is, in a word and in words.
    fn what(&self) -> (&'static str, String) {
        let rtype = self.question.rtype;
        let has = || self.types().join(", ");
        match (self.answer(), &self.entry.alias) {
            (_, Some(target)) => ("alias", format!("an alias of {target} by the zone file")),
            (None, None) if self.entry.answers.is_empty() => {
                ("empty", "an empty non-terminal: names below it exist, it has nothing itself".to_owned())
            }
            (None, None) if rtype == RecordType::ANY => ("nodata", format!("has {}", has())),
            (None, None) => ("nodata", format!("has {}, no {rtype}", has())),
            (Some(Answer::Dealt(_) | Answer::Unready(_)), _) if rtype != RecordType::SRV => {
                ("scope", "stands for a scope of the cluster".to_owned())
            }
            (Some(Answer::Explain(_)), _) => ("explanation", "tells how a scope is answered".to_owned()),
            (Some(Answer::Fixed(_) | Answer::Dealt(_) | Answer::Unready(_) | Answer::ByView(_)), _) => self.fixed(),
        }
    }

    /// What an answer is that is always the same.
    fn fixed(&self) -> (&'static str, String) {
        let source = &self.zone.zone.source;
        let of_file =
            |name: &Name| source.statics.records.get(name).is_some_and(|sets| sets.contains_key(&self.question.rtype));
        if self.chain().is_some() && self.question.rtype == RecordType::SRV {
            return ("services", "the services of a scope of the cluster".to_owned());
        }
        if of_file(self.name) {
            return ("static", "a record of the zone file".to_owned());
        }
        let plan = &self.zone.zone.plan;
        let node = plan.nodes().find(|node| {
            let own = self.name.iter().next().is_some_and(|label| label == node_label(node.address).as_bytes());
            own && self.name.base_name() == source.config.apex.to_lowercase()
        });
        if let Some(node) = node {
            let seen = plan.seen(plan.views.of(self.question.client), node.address);
            let seen = if seen.is_mapped { format!(", seen at {}", seen.address) } else { String::new() };
            let what = format!("the own name of node {} ({}){seen}, whatever its health", node.address, node.place());
            return ("node", what);
        }
        // A wildcard answers for names that have nothing themselves.
        let mut above = self.name.base_name();
        while above.num_labels() >= source.config.apex.num_labels() && !above.is_root() {
            if above.prepend_label("*").is_ok_and(|wildcard| of_file(&wildcard)) {
                return ("static", format!("a record of the zone file, of the wildcard *.{above}"));
            }
            above = above.base_name();
        }
        ("own", "made by this server: its SOA, or its own name as name server".to_owned())
    }

    /// The chain behind the name, directly or by the labels in front of a scope's name.
    fn chain(&self) -> Option<usize> {
        if let Some(Answer::Explain(chain)) = self.answer() {
            return Some(*chain);
        }
        let names = &self.zone.zone.plan.names.names;
        let below_services = || {
            let labels: Vec<&[u8]> = self.name.iter().take(SERVICES.len()).collect();
            (labels == SERVICES).then(|| self.name.base_name().base_name())
        };
        names.get(self.name).or_else(|| names.get(&below_services()?)).copied()
    }

    /// How its addresses are dealt.
    fn deal(&self, seed: u64) -> Option<DealStory> {
        let Some(Answer::Dealt(index)) = self.answer() else { return None };
        let dealt = self.zone.zone.dealt.get(*index)?;
        let deck = &dealt.deck;
        let shape = deck.shape_for(self.question.client);
        let family = if self.question.rtype == RecordType::A { Family::V4 } else { Family::V6 };
        let plan = &self.zone.zone.plan;
        let scopes = plan.scopes_in(plan.views.of(self.question.client));
        let scope = self.chain().and_then(|chain| scopes.get(chain));
        let ttl = scope.and_then(|scope| scope.family(family).ttl());
        // The cursor that the reply is dealt by: its row is the first one told.
        let (mut dealer, slot) = (Dealer::new(seed), self.zone.first_slot + dealt.slot + shape as usize);
        let mut row = || {
            let mut addresses = deck.addresses(dealer.next(slot, deck.rows()), shape);
            addresses.truncate(ADDRESSES_TOLD);
            addresses
        };
        let rows = (0..ROWS_TOLD.min(deck.rows())).map(|_| row());
        Some(DealStory {
            ttl: deck.ttl(),
            ttl_reason: ttl.map_or(TtlReason::Base.to_string(), |ttl| ttl.reason.to_string()),
            shape: if shape == Shape::Single { "single" } else { "several" },
            records: deck.row(0, shape).records,
            why: deck.why_shape(self.question.client),
            nodes: deck.nodes().len(),
            rows: deck.rows(),
            is_weighed: deck.weights().is_some(),
            next: rows.collect(),
        })
    }
}
