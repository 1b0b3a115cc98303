//! The status as text, for one screen of a terminal.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::{
    super::{clean, second},
    Change,
    rates::Rates,
};
use crate::{
    admin::{DiscoveryStatus, FamilyStatus, NodeStatus, ScopeStatus, ServerStatus, Status, ViewStatus, ZoneStatus},
    overrides,
};

/// Racks with more nodes than this show only those that are not simply up.
const NODES_TOLD: usize = 12;

/// Views of a zone that have a line.
const VIEWS_TOLD: usize = 8;

/// Whether there are colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// On a terminal, unless the environment says no (no-color.org).
    pub(super) fn new(is_terminal: bool) -> Self {
        Paint(is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    /// Attributes of ECMA-48's SGR.
    fn with(self, attributes: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{attributes}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    fn alarm(self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn verdict(self, word: &str) -> String {
        let attributes = match word.trim_end() {
            "up" | "listed" | "forced" => "32",
            "down" => "31",
            "drained" | "leaving" => "36",
            _ => "33",
        };
        self.with(attributes, word)
    }
}

/// The whole screen.
pub(super) fn screen(server: &str, status: &Status, changes: &[Change], rates: &Rates, paint: Paint) -> String {
    let clock = Clock::of(&status.server);
    let mut lines = head(server, status, rates, &clock, paint);
    for zone in &status.zones {
        lines.push(String::new());
        lines.extend(about_zone(zone, rates, &clock, paint));
    }
    if !status.overrides.is_empty() {
        lines.push(String::new());
        lines.push(paint.strong("Overrides"));
        lines.extend(status.overrides.iter().map(|known| format!("  {}", about_override(known))));
    }
    if !changes.is_empty() {
        lines.push(String::new());
        lines.push(paint.strong("Last changes"));
        lines.extend(changes.iter().rev().map(about_change));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn head(server: &str, status: &Status, rates: &Rates, clock: &Clock, paint: Paint) -> Vec<String> {
    let ServerStatus { version, identity, uptime, pid, listen, reload, .. } = &status.server;
    let name = identity.as_deref().map(|identity| format!(" ({})", clean(identity))).unwrap_or_default();
    let up = duration(Duration::try_from_secs_f64(*uptime).unwrap_or_default());
    let mut lines = vec![format!(
        "{} {}{name} at {server}, up {up}, process {pid}",
        paint.strong("alternator-dns"),
        clean(version)
    )];
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for listening in listen {
        places.entry(&listening.address).or_default().push(&listening.transport);
    }
    let places: Vec<String> = places
        .iter()
        .map(|(address, transports)| format!("{} ({})", clean(address), clean(&transports.join(", "))))
        .collect();
    if !places.is_empty() {
        lines.push(format!("Answers on {}", places.join(", ")));
    }
    let queries = &status.queries;
    let rate = rates.queries_per_second().map(|rate| format!(", {rate:.0}/s")).unwrap_or_default();
    let mut outcomes: Vec<(&String, &u64)> = queries.by_outcome.iter().filter(|(_, count)| **count > 0).collect();
    outcomes.sort_by(|a, b| b.1.cmp(a.1));
    let outcomes: Vec<String> = outcomes.iter().map(|(outcome, count)| format!("{count} {}", clean(outcome))).collect();
    let outcomes = if outcomes.is_empty() { String::new() } else { format!(": {}", outcomes.join(", ")) };
    let noun = if queries.total == 1 { "query" } else { "queries" };
    lines.push(format!("{} {noun}{rate}{outcomes}", queries.total));
    if let Some(last) = &reload.last {
        let ago = clock.ago(&last.at);
        lines.push(match &last.error {
            None => format!("Last reload {ago}: done"),
            Some(error) => paint.alarm(&format!("LAST RELOAD FAILED {ago}, nothing changed: {}", clean(error))),
        });
    }
    lines
}

fn about_zone(zone: &ZoneStatus, rates: &Rates, clock: &Clock, paint: Paint) -> Vec<String> {
    let mut lines = vec![format!("{} epoch {}, ttl {} s", paint.strong(&clean(&zone.name)), zone.epoch, zone.ttl)];
    for (applies, alarm) in [
        (!zone.ready, "NOT READY: nothing to answer yet; queries get SERVFAIL"),
        (zone.panic, "PANIC: most nodes are silent to us while the cluster lists them; our own network is distrusted"),
        (zone.stale, "STALE: no node answers discovery; the nodes are the last known"),
        (zone.remembered, "REMEMBERED: no node answered discovery since the start; the nodes are from the state file"),
        (
            zone.unverified,
            "UNVERIFIED: whoever answers at a node's address is taken for the node (insecure_skip_verify)",
        ),
        (zone.flat, "FLAT: the servers ignore datacenters and racks; each name is the whole cluster"),
    ] {
        if applies {
            lines.push(format!("  {}", paint.alarm(alarm)));
        }
    }
    if let Some(lender) = &zone.lent_by {
        let text = format!("LENT: no node of this zone serves; those of {} are answered", clean(lender));
        lines.push(format!("  {}", paint.alarm(&text)));
    }
    if !zone.shares_with.is_empty() {
        lines.push(format!("  one cluster with {}", clean(&zone.shares_with.join(", "))));
    }
    lines.extend(about_views(zone));
    lines.extend(about_discovery(&zone.discovery));
    let mut racks: BTreeMap<(&str, &str), Vec<&NodeStatus>> = BTreeMap::new();
    for node in &zone.nodes {
        let place = (node.datacenter.as_deref().unwrap_or("-"), node.rack.as_deref().unwrap_or("-"));
        racks.entry(place).or_default().push(node);
    }
    let led = |node: &NodeStatus| rates.led(&zone.name, &node.address, node.led);
    let all: u64 = zone.nodes.iter().map(led).sum();
    let width = zone.nodes.iter().map(|node| clean(&node.address).chars().count()).max().unwrap_or_default();
    for ((dc, rack), nodes) in racks {
        let inside = nodes.iter().filter(|node| node.is_in).count();
        lines.push(format!("  {} {inside} of {} answered", paint.strong(&clean(&format!("{dc}/{rack}"))), nodes.len()));
        let is_plain = |node: &NodeStatus| {
            let is_whole = node.weight.is_none_or(|weight| weight >= 1.0);
            matches!(&*node.verdict, "up" | "listed") && is_whole && node.forced.is_none()
        };
        let (mut more, mut word) = (0, "");
        for node in &nodes {
            if nodes.len() > NODES_TOLD && is_plain(node) {
                (more, word) = (more + 1, &node.verdict);
                continue;
            }
            let share = if all > 0 { led(node) as f64 / all as f64 } else { 0.0 };
            lines.push(about_node(node, share, width, clock, paint));
        }
        if more > 0 {
            lines.push(format!("    ... and {more} more, {}", paint.verdict(word)));
        }
    }
    lines.extend(zone.scopes.iter().flat_map(|scope| about_scope(scope, paint)));
    lines
}

/// Which clients are given other addresses of the nodes.
fn about_views(zone: &ZoneStatus) -> Vec<String> {
    let about = |view: &ViewStatus| {
        let clients = match &view.clients[..] {
            [] => "others".to_owned(),
            [one] => clean(one),
            [first, more @ ..] => format!("{} and {} more", clean(first), more.len()),
        };
        let (mapped, all) = (view.mapped, view.mapped + view.unmapped);
        let what = if all == 0 { "nodes' own addresses".to_owned() } else { format!("{mapped} of {all} nodes mapped") };
        format!("  seen by {clients}: {what}")
    };
    let mut lines: Vec<String> = zone.views.iter().take(VIEWS_TOLD).map(about).collect();
    let more = zone.views.len().saturating_sub(VIEWS_TOLD);
    if more > 0 {
        lines.push(format!("  ... and {more} more views"));
    }
    lines
}

/// Why tables are not read, or not all of them.
fn about_discovery(discovery: &DiscoveryStatus) -> Vec<String> {
    let reason = discovery.reason.iter().map(|reason| match discovery.source.as_str() {
        "localnodes" => format!("  nodes from /localnodes: {}", clean(reason)),
        _ => format!("  system tables cannot be read: {}", clean(reason)),
    });
    reason.chain(discovery.unread.iter().map(|unread| format!("  done without: {}", clean(unread)))).collect()
}

fn about_node(node: &NodeStatus, share: f64, width: usize, clock: &Clock, paint: Paint) -> String {
    let since = node.since.as_deref().map(|since| clock.ago(since)).unwrap_or_default();
    let probe = node.probe_seconds.map(|took| format!("{:.1} ms", took * 1e3)).unwrap_or_default();
    // The cause, where the word alone does not say it: `down: refused`, `listed, not probed`.
    let rest = node.reason.strip_prefix(&node.verdict).filter(|rest| rest.is_empty() || rest.starts_with([':', ',']));
    let cause = rest.map_or(&*node.reason, |rest| rest.trim_start_matches([':', ',', ' ']));
    let weight = node.weight.filter(|weight| *weight < 1.0).map(|weight| format!(" weight {:.0} %", weight * 100.0));
    // The verdict of an override names it already.
    let is_told = matches!(node.verdict.as_str(), "drained" | "forced");
    let forced = node.forced.as_ref().filter(|_| !is_told).map(|forced| format!(" [{}]", about_override(forced)));
    let line = format!(
        "    {:<width$}  {}  {since:>14}  {probe:>9}  {:>5.1} % of leads{}  {}{}",
        clean(&node.address),
        paint.verdict(&format!("{:<10}", clean(&node.verdict))),
        share * 100.0,
        weight.unwrap_or_default(),
        clean(cause),
        forced.unwrap_or_default(),
    );
    line.trim_end().to_owned()
}

/// What is not as it should be of a scope.
fn about_scope(scope: &ScopeStatus, paint: Paint) -> Vec<String> {
    let about = |rtype: &str, family: &FamilyStatus| {
        let from = clean(family.from.as_deref().unwrap_or_default());
        let what = match (family.serving.as_str(), family.level) {
            ("last_known", _) => format!("answered with the last known of {from}, {}: stale", count(family)),
            ("unready", _) => "not ready: no node was ever known to serve".to_owned(),
            ("live", Some(level)) if level > 0 => format!("falls back to {from}, {}", count(family)),
            _ => return None,
        };
        Some(format!("  {} {rtype} {what}", paint.with("33", &clean(&scope.name))))
    };
    let (a, aaaa) = (about("A", &scope.a), about("AAAA", &scope.aaaa));
    a.into_iter().chain(aaaa).collect()
}

fn count(family: &FamilyStatus) -> String {
    let plural = if family.nodes.len() == 1 { "" } else { "s" };
    format!("{} node{plural}", family.nodes.len())
}

fn about_override(known: &overrides::Told) -> String {
    let zone = known.zone.as_deref().map(|zone| format!(" in {zone}")).unwrap_or_default();
    let until = known.until.as_deref().map_or(String::new(), |until| format!(" until {}", second(until)));
    let reason = if known.reason.is_empty() { String::new() } else { format!(": {}", known.reason) };
    let from = second(&known.from);
    clean(&format!(
        "{} {}{zone} from {from}{until}, by {} ({}){reason}",
        known.action, known.target, known.by, known.origin
    ))
}

fn about_change(change: &Change) -> String {
    let zone = change.zone.as_deref().map(|zone| format!("{zone} ")).unwrap_or_default();
    clean(&format!("  {}  {zone}{} {} {}", second(&change.at), change.kind, change.subject, change.text))
}

/// The server's clock, which may not be this machine's.
struct Clock(Option<SystemTime>);

impl Clock {
    fn of(server: &ServerStatus) -> Self {
        let started = humantime::parse_rfc3339(&server.started).ok();
        let uptime = Duration::try_from_secs_f64(server.uptime).unwrap_or_default();
        Clock(started.and_then(|started| started.checked_add(uptime)))
    }

    /// How long ago a time was.
    fn ago(&self, rfc3339: &str) -> String {
        let then = humantime::parse_rfc3339(rfc3339).ok();
        let passed = self.0.zip(then).map(|(now, then)| now.duration_since(then).unwrap_or_default());
        passed.map_or_else(|| clean(rfc3339), |passed| format!("{} ago", duration(passed)))
    }
}

/// A duration by its two largest units.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} m {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} m"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        serde_json::from_str(include_str!("example.json")).unwrap()
    }

    fn changes() -> Vec<Change> {
        let text = "is down: connection refused".to_owned();
        let (at, subject) = ("2026-11-21T10:00:59.250Z".to_owned(), "10.0.0.2".to_owned());
        vec![Change { at, zone: Some("alternator.local".to_owned()), kind: "node".to_owned(), subject, text }]
    }

    #[test]
    fn one_look_tells_what_is_believed_and_why_and_since_when() {
        let text = screen("http://127.0.0.1:8053", &status(), &changes(), &Rates::default(), Paint(false));
        println!("{text}");
        for line in [
            "alternator-dns 0.1.0 (dns1) at http://127.0.0.1:8053, up 1 m 5 s, process 7",
            "Answers on 127.0.0.1:5300 (udp, tcp)",
            "1003 queries: 1000 answered, 3 nxdomain",
            "LAST RELOAD FAILED 5 s ago, nothing changed: a.toml:1: no",
            "alternator.local epoch 42, ttl 5 s",
            "  STALE: no node answers discovery; the nodes are the last known",
            "  seen by others: nodes' own addresses",
            "  seen by 203.0.113.0/24 and 1 more: 2 of 3 nodes mapped",
            "  dc1/rack1 1 of 2 answered",
            "    10.0.0.1   up             1 m 0 s ago     0.4 ms   60.0 % of leads",
            "    10.0.0.2   down               6 s ago               0.0 % of leads  connection refused",
            "    10.0.0.13  drained        1 m 0 s ago     0.5 ms   40.0 % of leads weight 50 %  drained by ops: kernel",
            "  dc1/rack1 A falls back to dc1, 1 node",
            "  drain dc1/rack2 from 2026-11-21 10:00:00Z until 2026-11-21 12:00:00Z, by ops (api): kernel",
            "  2026-11-21 10:00:59Z  alternator.local node 10.0.0.2 is down: connection refused",
        ] {
            assert!(text.lines().any(|told| told == line), "{line:?} is not in\n{text}");
        }
        assert!(!text.contains('\x1b') && !text.contains("PANIC") && !text.contains("AAAA"), "{text}");
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        let text = screen("s", &status(), &[], &Rates::default(), Paint(true));
        assert!(text.contains("\x1b[31mdown") && text.contains("\x1b[32mup"), "{text}");
    }

    #[test]
    fn no_name_speaks_to_the_terminal() {
        let mut status = status();
        status.zones[0].nodes[0].rack = Some("\x1b]0;evil\x07".to_owned());
        status.zones[0].nodes[0].reason = "\x1b[2J".to_owned();
        status.server.version = "\x1b[31m".to_owned();
        let mut changes = changes();
        changes[0].subject = "\r\n\x1b[1A".to_owned();
        let text = screen("s", &status, &changes, &Rates::default(), Paint(false));
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }

    #[test]
    fn large_racks_are_summed_up() {
        let mut status = status();
        let node = status.zones[0].nodes[0].clone();
        let many = (0..100).map(|number| NodeStatus { address: format!("10.1.0.{number}"), ..node.clone() });
        status.zones[0].nodes.extend(many);
        let text = screen("s", &status, &[], &Rates::default(), Paint(false));
        assert!(text.contains("    ... and 101 more, up\n") && text.contains("10.0.0.2 "), "{text}");
        assert!(text.lines().count() < 25);
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (61, "1 m 1 s"), (3_700, "1 h 1 m"), (90_000, "1 d 1 h")] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
