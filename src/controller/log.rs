//! What changed in the decisions, for the log and the journal: one line per transition.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    journal::Journal,
    model::Scope,
    plan::{Family, FamilyPlan, ScopePlan, Serving},
    table::{Refusal, ZonePlan},
};

/// Where the changes of a zone are told.
pub(super) struct Log<'a> {
    pub(super) zone: &'a str,
    pub(super) journal: &'a Journal,
}

/// How much a change matters.
enum Level {
    Info,
    Warning,
    Error,
}

impl Log<'_> {
    /// Tells that a scope's answers of one type changed.
    fn scope(&self, level: Level, scope: &str, rtype: &str, text: &str) {
        let zone = self.zone;
        match level {
            Level::Info => tracing::info!(zone, scope, rtype, "{text}"),
            Level::Warning => tracing::warn!(zone, scope, rtype, "{text}"),
            Level::Error => tracing::error!(zone, scope, rtype, "{text}"),
        }
        self.journal.note(Some(zone), "scope", scope, format_args!("{rtype}: {text}"));
    }
}

/// Tells what a person at 3 a.m. needs to know of the answers.
pub(super) fn changes(log: &Log<'_>, before: Option<&ZonePlan>, now: &ZonePlan) {
    let zone = log.zone;
    let known: BTreeSet<&Refusal> = before.map(|plan| plan.names.refused.iter().collect()).unwrap_or_default();
    for refusal in now.names.refused.iter().filter(|refusal| !known.contains(refusal)) {
        tracing::warn!(zone, "{refusal}");
        log.journal.note(Some(zone), "scope", "names", refusal);
    }
    if !now.scopes.is_empty() && !now.is_ready() {
        // One line for all scopes: what is missing is the cluster.
        if before.is_none_or(ZonePlan::is_ready) {
            let text = "no node was ever known to serve: every name of the cluster is SERVFAIL";
            tracing::error!(zone, "{text}");
            log.journal.note(Some(zone), "scope", "cluster", text);
        }
        return;
    }
    let earlier: BTreeMap<&Vec<Scope>, &ScopePlan> =
        before.iter().flat_map(|plan| &plan.scopes).map(|scope| (&scope.chain, scope)).collect();
    for scope in &now.scopes {
        let earlier = earlier.get(&scope.chain);
        let name = scope.chain.first().map_or_else(String::new, Scope::to_string);
        for (family, rtype) in [(Family::V4, "A"), (Family::V6, "AAAA")] {
            let was = earlier.and_then(|earlier| served(earlier.family(family)));
            let is = served(scope.family(family));
            if was == is {
                continue;
            }
            match is {
                None => {}
                Some(Served::Nothing) => {
                    log.scope(Level::Error, &name, rtype, "no node was ever known to serve: SERVFAIL");
                }
                Some(Served::From(_, Serving::LastKnown)) => {
                    log.scope(Level::Error, &name, rtype, "no eligible node: answering the last known good ones");
                }
                Some(Served::From(0, Serving::Live)) => {
                    log.scope(Level::Info, &name, rtype, "answering live nodes");
                }
                Some(Served::From(level, Serving::Live)) => {
                    let text = format!("falling back to {}", scope.chain[level]);
                    log.scope(Level::Warning, &name, rtype, &text);
                }
            }
        }
    }
}

/// What a scope serves, as far as it is told.
#[derive(PartialEq, Eq)]
enum Served {
    Nothing,
    From(usize, Serving),
}

fn served(plan: &FamilyPlan) -> Option<Served> {
    match plan {
        FamilyPlan::Absent => None,
        FamilyPlan::Unready => Some(Served::Nothing),
        FamilyPlan::Serve { level, serving, .. } => Some(Served::From(*level, *serving)),
    }
}
