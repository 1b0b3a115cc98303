//! Chains written out, labels of one's own, and the datacenters that cannot be learnt.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    ScopeRule, limits, name,
    place::{KeyPath, quoted},
    raw::RawScope,
    validate::Judge,
};
use crate::model::Scope;

/// A chain that would be right.
const EXAMPLE: &str = "[\"dc1/rack1\", \"dc1\", \"cluster\"]";

/// Judges `[[zones.X.scopes]]`.
pub(super) fn judge(judge: &mut Judge<'_>, at: &KeyPath, written: &[RawScope]) -> Vec<ScopeRule> {
    judge.at_most(at, written.len(), limits::MAX_SCOPES, "scopes");
    let mut rules = Vec::new();
    let mut labels = BTreeMap::new();
    let mut heads = BTreeMap::new();
    for (index, raw) in written.iter().enumerate().take(limits::MAX_SCOPES) {
        let at = at.item(index);
        let label_at = at.key("label");
        let label = raw.label.as_ref().map(|text| judge.checked(&label_at, name::label(text)));
        let chain = chain(judge, &at, raw);
        if let Some(Some(label)) = &label {
            match labels.get(label) {
                Some(first) => {
                    let line = judge.line(first);
                    judge.wrong(&label_at, format!("{} is taken already{line}", quoted(label)));
                }
                None => {
                    labels.insert(label.clone(), label_at);
                }
            }
        }
        if let (None, Some(head)) = (&label, chain.first()) {
            match heads.get(head) {
                Some(first) => {
                    let line = judge.line(first);
                    let head = quoted(&head.to_string());
                    judge.wrong(&at.key("chain"), format!("{head} has a chain already{line}; give this one a label"));
                }
                None => {
                    heads.insert(head.clone(), at.key("chain"));
                }
            }
        }
        rules.push(ScopeRule { label: label.flatten(), chain });
    }
    rules
}

fn chain(judge: &mut Judge<'_>, at: &KeyPath, raw: &RawScope) -> Vec<Scope> {
    let chain_at = at.key("chain");
    let Some(written) = &raw.chain else {
        let what =
            if raw.label.is_some() { "a chain" } else { "a chain, and a label if it is to be a name of its own" };
        judge.wrong(&chain_at, format!("is missing; write {what}: chain = {EXAMPLE}"));
        return Vec::new();
    };
    if written.is_empty() {
        judge.wrong(&chain_at, format!("is empty; name the scopes to try in order: chain = {EXAMPLE}"));
    }
    judge.at_most(&chain_at, written.len(), limits::MAX_CHAIN, "scopes in one chain");
    let mut chain = Vec::new();
    for (index, text) in written.iter().enumerate().take(limits::MAX_CHAIN) {
        let item = chain_at.item(index);
        let parsed = text.trim().parse::<Scope>().map_err(|_| {
            format!(
                "{} is no scope; write \"cluster\", a datacenter (\"dc1\") or its rack (\"dc1/rack1\")",
                quoted(text)
            )
        });
        match judge.checked(&item, parsed) {
            Some(scope) if chain.contains(&scope) => {
                judge.warn(&item, format!("{} comes twice in this chain; the second is never tried", quoted(text)));
            }
            Some(scope) => chain.push(scope),
            None => {}
        }
    }
    chain
}

/// Judges `datacenters`.
pub(super) fn datacenters(
    judge: &mut Judge<'_>,
    at: &KeyPath,
    written: Option<&BTreeMap<String, Vec<String>>>,
) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
    let mut all = BTreeMap::new();
    let Some(written) = written else { return all };
    judge.at_most(at, written.len(), limits::MAX_PLACES, "datacenters");
    for (dc, racks) in written.iter().take(limits::MAX_PLACES) {
        let at = at.key(dc);
        if dc.is_empty() {
            judge.wrong(&at, "a datacenter has a name");
        }
        if let Some((dc, rack)) = dc.split_once('/') {
            judge.wrong(&at, format!("is a rack; write {} = [{}]", quoted(dc), quoted(rack)));
        }
        judge.at_most(&at, racks.len(), limits::MAX_PLACES, "racks");
        let mut seen = BTreeSet::new();
        for (index, rack) in racks.iter().enumerate().take(limits::MAX_PLACES) {
            let item = at.item(index);
            if rack.is_empty() {
                judge.wrong(&item, "a rack has a name");
            } else if !seen.insert(Arc::<str>::from(rack.as_str())) {
                judge.warn(&item, format!("{} is listed twice; once is enough", quoted(rack)));
            }
        }
        all.insert(Arc::from(dc.as_str()), seen.into_iter().collect());
    }
    all
}
