//! Which owner names stand for which chain of scopes.
//!
//! A datacenter has one label, a rack two: `DC.RACK.zone` is the order users asked for. Every other spelling is an
//! alias that steps back where it would be ambiguous: `RACK.DC.zone`, `DC--RACK.zone` (one label, so that one
//! `*.zone` certificate covers it), and forms that keep underscores.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use hickory_proto::rr::{Name, RecordType};

use super::wire::{MAX_NAME, wire_name};
use crate::{
    config::{Problem, ScopeRule, ZoneConfig},
    model::Scope,
    plan::default_chain,
    zone::{
        file::StaticZone,
        label::{slug, underscore_form},
    },
};

/// Which owner names stand for which chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeNames {
    /// Fully qualified, lower-case owner name → index into `chains`. The apex is among them.
    pub names: BTreeMap<Name, usize>,
    /// The chains, each once.
    pub chains: Vec<Vec<Scope>>,
    /// Names that nothing got, and why.
    pub refused: Vec<Refusal>,
    /// Index of each chain in `chains`.
    index: BTreeMap<Vec<Scope>, usize>,
}

/// A scope name that was not given, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Several scopes have the name; it could mean either.
    Shared {
        /// The name.
        name: Name,
        /// The scopes.
        scopes: Vec<Scope>,
    },
    /// A static record of the zone file has the name.
    Static {
        /// The name.
        name: Name,
        /// The scopes that would have it.
        scopes: Vec<Scope>,
    },
    /// No name can be made of the scope's own: nothing of it may stand in a label, or it is too long for the zone.
    Nameless {
        /// The scope.
        scope: Scope,
    },
    /// Names of nodes with long addresses do not fit beneath the zone's.
    Long {
        /// The zone.
        apex: Name,
    },
}

/// Octets of a node's label at most: `n-`, an IPv6 address in full, and the length in front.
const NODE_LABEL: usize = 1 + 2 + 39;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |scopes: &[Scope]| scopes.iter().map(Scope::to_string).collect::<Vec<_>>().join(" and ");
        let cure = |scope: Option<&Scope>| {
            let scope = scope.map_or_else(String::new, Scope::to_string);
            format!("[[zones.\"...\".scopes]] label = \"...\", chain = [\"{scope}\"]")
        };
        match self {
            Refusal::Shared { name, scopes } => write!(
                f,
                "{name}: {} would share this name, so none has it; give one a label of its own: {}",
                joined(scopes),
                cure(scopes.first())
            ),
            Refusal::Static { name, scopes } => {
                write!(f, "{name}: the zone file's record is served, not the scope {}", joined(scopes))
            }
            Refusal::Long { apex } => {
                write!(f, "{apex}: nodes with long addresses have no names in so long a zone; SRV answers lack them")
            }
            Refusal::Nameless { scope } => {
                write!(f, "{scope}: no DNS name can be made of it; give it a label: {}", cure(Some(scope)))
            }
        }
    }
}

/// How good a claim to a name is; the better one wins, equals exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// `label = "..."` in the configuration.
    Label,
    /// `DC` or `DC.RACK`, by slug.
    Primary,
    /// The same, with underscores kept.
    Underscore,
    /// `DC--RACK`.
    Joined,
    /// `RACK.DC`.
    Reversed,
}

/// One scope's claim to one name.
struct Claimant {
    claim: Claim,
    chain: usize,
    scope: Scope,
    /// The scope has a label of its own, so it steps back where its slug is claimed by another.
    has_label: bool,
    /// The operator wrote the scope down; others were learnt.
    is_configured: bool,
}

/// The same, after names were given before: of several learnt scopes that would share a name, the one that had it keeps
/// it. A node that comes with a misspelt place must not take a served name away.
pub(super) fn scope_names_after(
    zone: &ZoneConfig,
    seen: &BTreeSet<Scope>,
    statics: &StaticZone,
    before: Option<&ScopeNames>,
) -> ScopeNames {
    name_all(zone, seen, statics, before)
}

/// Names every scope that is configured or was ever seen. Scopes of the same name step back as the module says;
/// static records win over learnt scopes (configured ones clash already at load, see [`conflicts`]), and configured scopes
/// over learnt ones.
pub fn scope_names(zone: &ZoneConfig, seen: &BTreeSet<Scope>, statics: &StaticZone) -> ScopeNames {
    name_all(zone, seen, statics, None)
}

fn name_all(
    zone: &ZoneConfig,
    seen: &BTreeSet<Scope>,
    statics: &StaticZone,
    before: Option<&ScopeNames>,
) -> ScopeNames {
    let places = zone.datacenters();
    let is_configured = |scope: &Scope| match scope {
        Scope::Cluster => true,
        Scope::Datacenter(dc) => places.contains_key(dc),
        Scope::Rack(dc, rack) => places.get(dc).is_some_and(|racks| racks.contains(rack)),
    };
    let mut all = ScopeNames::default();
    let mut claims: BTreeMap<Name, Vec<Claimant>> = BTreeMap::new();
    let chain_of = |scope: &Scope| {
        let written = zone.scopes.iter().find(|rule| rule.label.is_none() && rule.chain.first() == Some(scope));
        written.map_or_else(|| default_chain(zone, scope), |rule| rule.chain.clone())
    };
    let apex_chain = all.chain(chain_of(&Scope::Cluster));
    all.names.insert(zone.apex.clone(), apex_chain);
    if wire_name(&zone.apex).len() + NODE_LABEL > MAX_NAME {
        all.refused.push(Refusal::Long { apex: zone.apex.clone() });
    }

    for rule in &zone.scopes {
        if let (Some(label), Some(scope)) = (&rule.label, rule.chain.first()) {
            let chain = all.chain(rule.chain.clone());
            let claimant =
                Claimant { claim: Claim::Label, chain, scope: scope.clone(), has_label: false, is_configured: true };
            claim(&mut claims, &zone.apex, &[label], claimant);
        }
    }
    for scope in scopes(zone, seen) {
        let chain = all.chain(chain_of(&scope));
        let mut has_name = label_of(&zone.scopes, &scope).is_some();
        for (claim_kind, labels) in spellings(zone, &scope) {
            let has_label = label_of(&zone.scopes, &scope).is_some()
                || scope
                    .datacenter()
                    .is_some_and(|dc| dc_label(&zone.scopes, dc).is_some_and(|own| !labels.contains(own)));
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let is_configured = is_configured(&scope);
            let claimant = Claimant { claim: claim_kind, chain, scope: scope.clone(), has_label, is_configured };
            has_name |= claim(&mut claims, &zone.apex, &labels, claimant);
        }
        if !has_name {
            all.refused.push(Refusal::Nameless { scope });
        }
    }
    for (name, claimants) in claims {
        all.settle(name, claimants, statics, before);
    }
    all
}

impl ScopeNames {
    /// The index of a chain in `chains`.
    pub fn index_of(&self, chain: &[Scope]) -> Option<usize> {
        self.index.get(chain).copied()
    }

    fn chain(&mut self, chain: Vec<Scope>) -> usize {
        let next = self.chains.len();
        *self.index.entry(chain).or_insert_with_key(|chain| {
            self.chains.push(chain.clone());
            next
        })
    }

    /// Gives the name to the best claimant, or to nobody.
    fn settle(&mut self, name: Name, mut claimants: Vec<Claimant>, statics: &StaticZone, before: Option<&ScopeNames>) {
        let best = claimants.iter().map(|claimant| claimant.claim).min();
        claimants.retain(|claimant| Some(claimant.claim) == best);
        let chains: BTreeSet<usize> = claimants.iter().map(|claimant| claimant.chain).collect();
        if chains.len() > 1 {
            claimants.retain(|claimant| !claimant.has_label);
            if claimants.iter().any(|claimant| claimant.is_configured) {
                claimants.retain(|claimant| claimant.is_configured);
            } else if let Some(holder) = before.and_then(|before| before.chains.get(*before.names.get(&name)?))
                && claimants.iter().any(|claimant| self.chains.get(claimant.chain) == Some(holder))
            {
                claimants.retain(|claimant| self.chains.get(claimant.chain) == Some(holder));
            }
        }
        let mut scopes: Vec<Scope> = claimants.iter().map(|claimant| claimant.scope.clone()).collect();
        scopes.sort();
        scopes.dedup();
        let chains: BTreeSet<usize> = claimants.iter().map(|claimant| claimant.chain).collect();
        if statics.records.contains_key(&name) {
            self.refused.push(Refusal::Static { name, scopes });
            return;
        }
        match chains.into_iter().collect::<Vec<_>>()[..] {
            [chain] => {
                self.names.insert(name, chain);
            }
            [] => {}
            // Two aliases of one spelling: each scope has better names, so nobody misses this one.
            _ if best > Some(Claim::Primary) => {}
            _ => self.refused.push(Refusal::Shared { name, scopes }),
        }
    }
}

/// Static records that have the name of a configured scope: each is an error. (Of a scope only learnt from the
/// cluster nothing can be known at load; there the static record wins.)
pub fn conflicts(zone: &ZoneConfig, statics: &StaticZone) -> Vec<Problem> {
    let Some(file) = zone.file.as_ref().filter(|_| !zone.cluster.seeds.is_empty()) else { return Vec::new() };
    let configured = scope_names(zone, &BTreeSet::new(), &StaticZone::default());
    let clash = |(name, chain): (&Name, &usize)| {
        // The apex holds SOA, NS and whatever else; only its addresses are the cluster's.
        let (rtype, records) = statics.records.get(name)?.iter().find(|(rtype, _)| {
            *name != zone.apex || matches!(rtype, RecordType::A | RecordType::AAAA | RecordType::CNAME)
        })?;
        let scope = configured.chains[*chain].first()?;
        let message = format!(
            "{name} {rtype} has the name of the scope {scope}, whose addresses come from the cluster; remove the \
             record or rename it"
        );
        Some(Problem::new(message).in_file(file).at_line(records.line))
    };
    let mut problems: Vec<Problem> = configured.names.iter().filter_map(clash).collect();
    problems.sort();
    problems
}

/// Notes a claim; `false` where the labels make no name, because they are too long. The scope keeps its shorter ones.
fn claim(claims: &mut BTreeMap<Name, Vec<Claimant>>, apex: &Name, labels: &[&str], claimant: Claimant) -> bool {
    let name = Name::from_labels(labels.iter().map(|label| label.as_bytes())).and_then(|name| name.append_domain(apex));
    let Ok(name) = name else { return false };
    claims.entry(name.to_lowercase()).or_default().push(claimant);
    true
}

/// Every datacenter and rack that is configured or was seen.
fn scopes(zone: &ZoneConfig, seen: &BTreeSet<Scope>) -> BTreeSet<Scope> {
    let mut all: BTreeSet<Scope> = seen.iter().filter(|scope| **scope != Scope::Cluster).cloned().collect();
    for (dc, racks) in zone.datacenters() {
        all.extend(racks.iter().map(|rack| Scope::Rack(dc.clone(), rack.clone())));
        all.insert(Scope::Datacenter(dc));
    }
    all
}

/// The label the configuration gives exactly this scope.
fn label_of<'a>(rules: &'a [ScopeRule], scope: &Scope) -> Option<&'a String> {
    rules.iter().filter(|rule| rule.chain.first() == Some(scope)).find_map(|rule| rule.label.as_ref())
}

fn dc_label<'a>(rules: &'a [ScopeRule], dc: &Arc<str>) -> Option<&'a String> {
    label_of(rules, &Scope::Datacenter(dc.clone()))
}

/// Every spelling of a scope's name below the zone, leftmost label first.
fn spellings(zone: &ZoneConfig, scope: &Scope) -> Vec<(Claim, Vec<String>)> {
    let forms = |name: &str, own: Option<&String>| {
        let mut forms: Vec<(Claim, String)> = slug(name).map(|slug| (Claim::Primary, slug)).into_iter().collect();
        forms.extend(underscore_form(name).map(|form| (Claim::Underscore, form)));
        forms.extend(own.map(|own| (Claim::Primary, own.clone())));
        forms
    };
    match scope {
        Scope::Cluster => Vec::new(),
        Scope::Datacenter(dc) => forms(dc, None).into_iter().map(|(claim, label)| (claim, vec![label])).collect(),
        Scope::Rack(dc, rack) => {
            let mut all = Vec::new();
            for (dc_claim, dc) in forms(dc, dc_label(&zone.scopes, dc)) {
                for (rack_claim, rack) in forms(rack, None) {
                    let claim = dc_claim.max(rack_claim);
                    all.push((claim, vec![dc.clone(), rack.clone()]));
                    all.push((Claim::Joined, vec![format!("{dc}--{rack}")]));
                    all.push((Claim::Reversed, vec![rack, dc.clone()]));
                }
            }
            all
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::ZoneConfig;

    /// A zone `alternator.local` with the given datacenters and rules (label or "", chain).
    pub(in crate::table) fn zone(datacenters: &[(&str, &[&str])], rules: &[(&str, &[&str])]) -> ZoneConfig {
        let mut zone = ZoneConfig::new(Name::from_ascii("alternator.local.").unwrap());
        zone.cluster.seeds = vec![crate::config::Seed::Address([10, 0, 0, 1].into())];
        zone.cluster.datacenters = datacenters
            .iter()
            .map(|(dc, racks)| ((*dc).into(), racks.iter().map(|rack| (*rack).into()).collect()))
            .collect();
        zone.scopes = rules
            .iter()
            .map(|(label, chain)| ScopeRule {
                label: (!label.is_empty()).then(|| (*label).to_owned()),
                chain: chain.iter().map(|scope| scope.parse().unwrap()).collect(),
            })
            .collect();
        zone
    }

    fn told(zone: &ZoneConfig) -> Vec<String> {
        let all = scope_names(zone, &BTreeSet::new(), &StaticZone::default());
        let chain = |index: &usize| all.chains[*index].iter().map(Scope::to_string).collect::<Vec<_>>().join(">");
        let relative =
            |name: &Name| name.to_ascii().replace(".alternator.local.", "").replace("alternator.local.", "@");
        let mut lines: Vec<String> =
            all.names.iter().map(|(name, index)| format!("{} = {}", relative(name), chain(index))).collect();
        lines.extend(all.refused.iter().map(|refusal| match refusal {
            Refusal::Shared { name, .. } | Refusal::Static { name, .. } => format!("{} refused", relative(name)),
            Refusal::Nameless { scope } => format!("{scope} nameless"),
            Refusal::Long { .. } => "long".to_owned(),
        }));
        lines.sort();
        lines
    }

    #[test]
    fn a_place_that_turns_up_takes_no_name_away() {
        let seen = |scopes: &[&str]| scopes.iter().map(|scope| scope.parse().unwrap()).collect::<BTreeSet<Scope>>();
        let statics = StaticZone::default();
        let name = Name::from_ascii("dc1.alternator.local.").unwrap();
        let holder = |all: &ScopeNames| all.names.get(&name).map(|chain| all.chains[*chain][0].to_string());
        let learnt = zone(&[], &[]);
        let before = scope_names(&learnt, &seen(&["DC1", "DC1/r1"]), &statics);
        assert_eq!(holder(&before).as_deref(), Some("DC1"));
        let both = seen(&["DC1", "DC1/r1", "dc1", "dc1/r1"]);
        assert_eq!(holder(&scope_names(&learnt, &both, &statics)), None, "nobody knows which is meant");
        let after = scope_names_after(&learnt, &both, &statics, Some(&before));
        assert_eq!(holder(&after).as_deref(), Some("DC1"), "the one that had it");
        let configured = zone(&[("dc1", &["r1"])], &[]);
        assert_eq!(holder(&scope_names(&configured, &both, &statics)).as_deref(), Some("dc1"), "the one written down");
    }

    #[test]
    fn every_spelling_of_a_rack_is_one_chain() {
        assert_eq!(
            told(&zone(&[("dc1", &["rack1"])], &[])),
            [
                "@ = cluster",
                "dc1 = dc1",
                "dc1--rack1 = dc1/rack1>dc1",
                "dc1.rack1 = dc1/rack1>dc1",
                "rack1.dc1 = dc1/rack1>dc1"
            ]
        );
    }

    #[test]
    fn free_text_names_get_slugs_and_keep_underscores_as_aliases() {
        let names = told(&zone(&[("AWS_US_EAST_1", &["1 a"])], &[]));
        for name in ["aws-us-east-1 = AWS_US_EAST_1", "aws_us_east_1 = AWS_US_EAST_1"] {
            assert!(names.contains(&name.to_owned()), "{names:?}");
        }
        assert!(names.contains(&"aws-us-east-1.1-a = AWS_US_EAST_1/1 a>AWS_US_EAST_1".to_owned()), "{names:?}");
    }

    #[test]
    fn two_names_with_one_label_are_both_refused_until_one_is_labelled() {
        let names = told(&zone(&[("DC1", &[]), ("dc1", &[])], &[]));
        assert_eq!(names, ["@ = cluster", "dc1 refused"]);
        let names = told(&zone(&[("DC1", &["r"]), ("dc1", &["r"])], &[("old", &["DC1"])]));
        assert_eq!(
            names,
            [
                "@ = cluster",
                "dc1 = dc1",
                "dc1--r = dc1/r>dc1",
                "dc1.r = dc1/r>dc1",
                "old = DC1",
                "old--r = DC1/r>DC1",
                "old.r = DC1/r>DC1",
                "r.dc1 = dc1/r>dc1",
                "r.old = DC1/r>DC1"
            ]
        );
    }

    #[test]
    fn a_scope_no_label_can_be_made_of_is_told_until_it_has_one() {
        assert_eq!(told(&zone(&[("日本", &[])], &[])), ["@ = cluster", "日本 nameless"]);
        assert_eq!(told(&zone(&[("日本", &[])], &[("jp", &["日本"])])), ["@ = cluster", "jp = 日本"]);
    }

    #[test]
    fn a_zone_too_long_for_names_of_nodes_is_told() {
        let label = "x".repeat(62);
        // Three labels of 63 octets with their lengths, a last one, and the root: 213 octets and 214.
        for (last, refused) in [(22, 0), (23, 1)] {
            let mut zone = zone(&[], &[]);
            zone.apex = Name::from_ascii(format!("{label}.{label}.{label}.{}.", "x".repeat(last))).unwrap();
            let all = scope_names(&zone, &BTreeSet::new(), &StaticZone::default());
            assert_eq!(all.refused.len(), refused, "{} octets", wire_name(&zone.apex).len());
        }
    }

    #[test]
    fn the_reversed_order_steps_back_where_it_reads_both_ways() {
        // a.b is datacenter a, rack b, never the reversed b/a.
        let names = told(&zone(&[("a", &["b"]), ("b", &["a"])], &[]));
        assert!(names.contains(&"a.b = a/b>a".to_owned()), "{names:?}");
        assert!(names.contains(&"b.a = b/a>b".to_owned()), "{names:?}");
    }

    #[test]
    fn chains_can_be_written_out_and_labelled() {
        let mut zone = zone(&[("dc1", &["r1"])], &[("web", &["dc1/r1", "cluster"]), ("", &["dc1", "cluster"])]);
        let names = told(&zone);
        assert!(names.contains(&"web = dc1/r1>cluster".to_owned()), "{names:?}");
        assert!(names.contains(&"dc1 = dc1>cluster".to_owned()), "{names:?}");
        zone.datacenter_failover = true;
        assert!(told(&zone).contains(&"dc1.r1 = dc1/r1>dc1>cluster".to_owned()));
        zone.preferred_datacenter = Some("dc1".into());
        zone.preferred_rack = Some("r1".into());
        assert!(told(&zone).contains(&"@ = dc1/r1>dc1>cluster".to_owned()));
    }

    #[test]
    fn a_label_counts_though_the_scope_has_a_chain_written_out_before_it() {
        let rules: &[(&str, &[&str])] = &[("", &["DC1", "cluster"]), ("old", &["DC1"])];
        let names = told(&zone(&[("DC1", &["r"]), ("dc1", &["r"])], rules));
        assert!(names.contains(&"dc1 = dc1".to_owned()), "{names:?}");
        assert!(names.contains(&"old.r = DC1/r>DC1".to_owned()), "{names:?}");
    }
}
