//! The process's own doings: compiles, reloads, overrides.

use std::{collections::BTreeMap, fmt, time::SystemTime};

use super::{
    super::Sight,
    families::{Families, Labels},
};
use crate::model::{Action, Origin};

pub(super) fn tell(sight: &Sight, to: &mut Families<'_>) -> fmt::Result {
    to.gauges(
        "alternator_dns_build_info",
        "1; the labels tell what runs",
        [(vec![("version", env!("CARGO_PKG_VERSION"))], 1.0)],
    )?;
    let compiles = &sight.compiles;
    to.histograms(
        "alternator_dns_compile_duration_seconds",
        "Time that compiles of a zone took which led to other answers",
        [(Labels::new(), compiles.durations())],
    )?;
    to.counter("alternator_dns_table_swaps", "Tables of answers that replaced another", compiles.swaps() as f64)?;
    let octets: usize = sight.table.load().zones().map(|zone| zone.octets()).sum();
    to.gauge("alternator_dns_table_bytes", "Memory of the answers that are served, octets", octets as f64)?;
    reloads(sight, to)?;
    let mut overrides: BTreeMap<(String, String), f64> = BTreeMap::new();
    for known in [Action::Drain, Action::ForceUp] {
        overrides.extend([Origin::Api, Origin::File].map(|from| ((known.to_string(), from.to_string()), 0.0)));
    }
    for known in sight.overrides.borrow().iter() {
        *overrides.entry((known.action.to_string(), known.origin.to_string())).or_default() += 1.0;
    }
    to.gauges(
        "alternator_dns_overrides",
        "What operators forced, begun or not, by action and how it came here",
        overrides
            .iter()
            .map(|((action, origin), count)| (vec![("action", action.as_str()), ("origin", origin.as_str())], *count)),
    )
}

fn reloads(sight: &Sight, to: &mut Families<'_>) -> fmt::Result {
    let reloads = &sight.reloads;
    to.counters(
        "alternator_dns_reloads",
        "Reloads, by result; those that failed changed nothing",
        [("success", reloads.succeeded()), ("failure", reloads.failed())]
            .map(|(result, count)| (vec![("result", result)], count as f64)),
    )?;
    let (at, is_good) = reloads.last().map_or((sight.started, true), |(at, result)| (at, result.is_ok()));
    to.gauge(
        "alternator_dns_last_reload_successful",
        "Whether the last reload succeeded; 1 before the first",
        f64::from(u8::from(is_good)),
    )?;
    to.gauge(
        "alternator_dns_last_reload_timestamp_seconds",
        "When the last reload ended, or else the server started, seconds since 1970",
        at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
    )
}
