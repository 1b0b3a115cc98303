//! The Table, and finding a name in it.

use std::{cmp::Reverse, net::IpAddr, sync::Arc};

use hickory_proto::rr::Name;

use super::{Body, CompiledZone, NameIndex, Remark, wire::MAX_NAME};

/// Everything all zones can answer. Immutable: a change is a new Table behind the one pointer a query reads.
#[derive(Debug, Default)]
pub struct Table {
    /// Ordered as [`order`] says, for a binary search.
    zones: Vec<ZoneInTable>,
}

/// Zones up to this number are compared with a name one after another; with more of them a search pays.
const FEW_ZONES: usize = 4;

/// One zone of a Table.
#[derive(Debug)]
pub struct ZoneInTable {
    /// The zone.
    pub zone: Arc<CompiledZone>,
    /// Added to the zone's deck slots for a number that is unique in the Table.
    pub first_slot: usize,
    /// The number under which queries for it are counted.
    pub meter: u32,
    /// The names between this zone's apex and that of a zone below it, both left out: empty non-terminals of this
    /// zone, which knows nothing of the lower one.
    between: NameIndex,
}

/// What one owner name has.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Answers by record type. Empty for an empty non-terminal; a type that is missing is NODATA.
    pub answers: Vec<(u16, Answer)>,
    /// The target, when the name is an alias; its `answers` then hold the CNAME alone.
    pub alias: Option<Name>,
}

/// The answer for one type of a name.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Dealt from the zone's deck of this index.
    Dealt(usize),
    /// Always the same.
    Fixed(Arc<Body>),
    /// The scope never had a node: SERVFAIL.
    Unready(Option<Arc<Remark>>),
    /// The text of how the chain of this index is answered.
    Explain(usize),
    /// Another one for each view of the zone's clients, by number; `None` is NODATA there. Never one of these inside.
    ByView(Arc<[Option<Answer>]>),
}

/// Where a name is.
#[derive(Clone, Copy, Debug)]
pub enum Found<'t> {
    /// In no zone of ours.
    Outside,
    /// In a zone, and neither it nor anything below it exists.
    Missing(&'t ZoneInTable),
    /// In a zone, with these answers (perhaps none: an empty non-terminal; perhaps a wildcard's).
    Name(&'t ZoneInTable, &'t Entry),
}

impl Answer {
    /// Whether it is the same for certain, without looking into it.
    pub(super) fn is_same(&self, other: &Answer) -> bool {
        match (self, other) {
            (Answer::Dealt(one), Answer::Dealt(other)) | (Answer::Explain(one), Answer::Explain(other)) => one == other,
            (Answer::Fixed(one), Answer::Fixed(other)) => Arc::ptr_eq(one, other),
            (Answer::Unready(one), Answer::Unready(other)) => one == other,
            _ => false,
        }
    }
}

impl Entry {
    /// The answer for a record type, whoever asks: [`CompiledZone::answer`] is the one for an asker.
    #[inline]
    pub(super) fn answer(&self, rtype: u16) -> Option<&Answer> {
        self.answers.iter().find(|(known, _)| *known == rtype).map(|(_, answer)| answer)
    }
}

impl CompiledZone {
    /// The answer for a record type, for an asker of this address.
    #[inline(always)]
    pub fn answer<'e>(&self, entry: &'e Entry, rtype: u16, asker: IpAddr) -> Option<&'e Answer> {
        match entry.answer(rtype) {
            Some(Answer::ByView(answers)) => self.in_view(answers, asker),
            answer => answer,
        }
    }

    /// The one that the asker's view has. Apart from [`CompiledZone::answer`], so that zones without views pay for a
    /// branch only.
    #[inline(never)]
    fn in_view<'e>(&self, answers: &'e [Option<Answer>], asker: IpAddr) -> Option<&'e Answer> {
        answers.get(self.plan.views.of(asker))?.as_ref()
    }
}

impl Table {
    /// A table of these zones.
    pub fn new(zones: impl IntoIterator<Item = Arc<CompiledZone>>) -> Self {
        let mut next_slot = 0;
        let place = |zone: Arc<CompiledZone>| {
            let first_slot = next_slot;
            next_slot += zone.slots;
            let meter = zone.source.meter.zone();
            ZoneInTable { zone, first_slot, meter, between: NameIndex::default() }
        };
        let mut zones: Vec<_> = zones.into_iter().map(place).collect();
        zones.sort_by(|a, b| order(&a.zone.apex_wire).cmp(&order(&b.zone.apex_wire)));
        let mut table = Table { zones };
        for lower in 0..table.zones.len() {
            let (upper, names) = table.above(lower);
            if let Some(upper) = upper {
                table.zones[upper].between.add(names);
            }
        }
        table
    }

    /// The zone above a zone, and the names between their apexes.
    fn above(&self, lower: usize) -> (Option<usize>, Vec<Box<[u8]>>) {
        let mut names = Vec::new();
        for name in suffixes(&self.zones[lower].zone.apex_wire).skip(1) {
            if let Ok(upper) = self.position(name) {
                return (Some(upper), names);
            }
            names.push(name.into());
        }
        // With no zone above, the walk ends at the root, and none of the names is ours.
        (None, Vec::new())
    }

    /// The zones, the longest apex first.
    pub fn zones(&self) -> impl Iterator<Item = &Arc<CompiledZone>> {
        self.zones.iter().map(|placed| &placed.zone)
    }

    /// The zone nearest to a name.
    #[inline]
    fn zone_of(&self, name: &[u8]) -> Option<&ZoneInTable> {
        if self.zones.len() > FEW_ZONES {
            return suffixes(name).find_map(|suffix| self.zone_at(suffix));
        }
        // The longest apex comes first, so the first that fits is the nearest.
        self.zones.iter().find(|placed| {
            let apex = &*placed.zone.apex_wire;
            name.ends_with(apex) && suffixes(name).any(|suffix| suffix.len() == apex.len())
        })
    }

    /// The zone with this apex.
    fn zone_at(&self, apex: &[u8]) -> Option<&ZoneInTable> {
        self.zones.get(self.position(apex).ok()?)
    }

    fn position(&self, apex: &[u8]) -> Result<usize, usize> {
        self.zones.binary_search_by(|placed| order(&placed.zone.apex_wire).cmp(&order(apex)))
    }

    /// Finds a name. `name` is uncompressed wire format, lower case, ending in the root's zero octet.
    ///
    /// RFC 1034 section 4.3.2: the zone is the nearest ancestor to the name; a name without data of its own takes the
    /// data of the wildcard below its closest encloser (RFC 4592 section 3.3.1).
    #[inline]
    pub fn find(&self, name: &[u8]) -> Found<'_> {
        // With one zone, as most servers have, whatever is found is in it.
        if let [only] = &*self.zones
            && let Some(entry) = only.zone.names.get(name)
        {
            return Found::Name(only, entry);
        }
        self.find_zone_first(name)
    }

    fn find_zone_first(&self, name: &[u8]) -> Found<'_> {
        let Some(placed) = self.zone_of(name) else { return Found::Outside };
        match placed.zone.names.get(name) {
            Some(entry) => Found::Name(placed, entry),
            None => placed.missing(name),
        }
    }
}

impl ZoneInTable {
    /// What a name that is not among the zone's own comes to.
    fn missing(&self, name: &[u8]) -> Found<'_> {
        if let Some(entry) = self.between.get(name) {
            return Found::Name(self, entry);
        }
        if self.zone.has_wildcards {
            let exists = |name: &&[u8]| self.zone.names.contains(name) || self.between.contains(name);
            let encloser = suffixes(name).skip(1).find(exists);
            if let Some(entry) = encloser.and_then(|encloser| self.wildcard(encloser)) {
                return Found::Name(self, entry);
            }
        }
        Found::Missing(self)
    }

    /// The wildcard right below a name.
    fn wildcard(&self, encloser: &[u8]) -> Option<&Entry> {
        let mut name = [0; MAX_NAME];
        let name = name.get_mut(..2 + encloser.len())?;
        name[..2].copy_from_slice(b"\x01*");
        name[2..].copy_from_slice(encloser);
        self.zone.names.get(name)
    }
}

/// How zones are ordered: by their length first, which mostly decides a comparison without looking at the octets.
#[inline]
fn order(apex: &[u8]) -> (Reverse<usize>, &[u8]) {
    (Reverse(apex.len()), apex)
}

/// The name and its ancestors up to the root, as slices of wire format. Stops at a malformed label.
#[inline]
fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(name);
    std::iter::from_fn(move || {
        let here = rest?;
        rest = match here.first() {
            None | Some(0) => None,
            Some(&len) => here.get(1 + usize::from(len)..),
        };
        (!here.is_empty()).then_some(here)
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{ZonePlan, ZoneSource, compile_zone, wire_name},
        *,
    };
    use crate::{
        config::ZoneConfig,
        model::ClusterView,
        zone::file::{self, StaticZone},
    };

    fn zone(apex: &str, statics: StaticZone) -> Arc<CompiledZone> {
        let config = ZoneConfig::new(Name::from_ascii(apex).unwrap());
        let source =
            Arc::new(ZoneSource { config, statics, listen: Vec::new(), demand: Arc::default(), meter: Arc::default() });
        let plan = ZonePlan::new(&source, &ClusterView::default());
        Arc::new(compile_zone(source, plan, 1, None, 1))
    }

    /// The apex of the zone that answers, and whether the name exists there; `None` outside all zones.
    fn told(table: &Table, name: &str) -> Option<(String, bool)> {
        let apex = |placed: &ZoneInTable| placed.zone.source.config.name();
        match table.find(&wire_name(&Name::from_ascii(name).unwrap())) {
            Found::Outside => None,
            Found::Missing(placed) => Some((apex(placed), false)),
            Found::Name(placed, _) => Some((apex(placed), true)),
        }
    }

    #[test]
    fn names_between_a_zone_and_a_zone_below_it_exist() {
        let apex = Name::from_ascii("outer.test.").unwrap();
        let wild = file::parse("*.outer.test. 60 IN TXT wild\n", "f".as_ref(), &apex).unwrap();
        let table = Table::new([zone("outer.test.", wild), zone("in.b.a.outer.test.", StaticZone::default())]);
        let outer = |exists| Some(("outer.test".to_owned(), exists));
        for between in ["a.outer.test.", "b.a.outer.test."] {
            assert_eq!(told(&table, between), outer(true), "{between}");
            let Found::Name(_, entry) = table.find(&wire_name(&Name::from_ascii(between).unwrap())) else { panic!() };
            assert!(entry.answers.is_empty(), "{between} has no data");
        }
        // Nothing below them but the inner zone, not even the wildcard's (RFC 4592 section 3.3.1).
        assert_eq!(told(&table, "x.b.a.outer.test."), outer(false));
        assert_eq!(told(&table, "x.outer.test."), outer(true), "the wildcard");
        assert_eq!(told(&table, "in.b.a.outer.test."), Some(("in.b.a.outer.test".to_owned(), true)));
        assert_eq!(told(&table, "x.in.b.a.outer.test."), Some(("in.b.a.outer.test".to_owned(), false)));
        // Above the outermost zone nothing is ours.
        assert_eq!(told(&table, "test."), None);
    }
}
