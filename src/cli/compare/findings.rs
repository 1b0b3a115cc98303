//! What instances told, held against each other.

use std::{
    collections::BTreeSet,
    fmt::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hickory_proto::{op::ResponseCode, rr::Name};
use serde_json::{Value, json};

use super::{Instance, Sight, View, Zone};
use crate::cli::{clean, dns::Failure};
use crate::explain::rcode;

/// One tick of the epochs' clock, which counts since 1970 (the controller has it).
const EPOCH_TICK: Duration = Duration::from_millis(40);

/// Differing names that are told in full as text; a configuration may have thousands, all wrong for one reason.
const NAMES_TOLD: usize = 20;

/// Everything one look found.
pub(super) struct Findings<'a> {
    instances: &'a [Instance],
    zones: &'a [Zone],
    /// Of each instance, in each zone.
    sights: &'a [Vec<Sight>],
    now: SystemTime,
    /// Zones and names, by position, that the instances tell different things of.
    differing: BTreeSet<(usize, usize)>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(instances: &'a [Instance], zones: &'a [Zone], sights: &'a [Vec<Sight>], now: SystemTime) -> Self {
        let mut findings = Findings { instances, zones, sights, now, differing: BTreeSet::new() };
        for (at, zone) in zones.iter().enumerate() {
            for name in 0..zone.names.len() {
                let told: Vec<&View> = findings.views(at, name).filter_map(|view| view.as_ref().ok()).collect();
                if told.windows(2).any(|pair| pair[0] != pair[1]) {
                    findings.differing.insert((at, name));
                }
            }
        }
        findings
    }

    /// What differs.
    pub(super) fn differing(&self) -> BTreeSet<(usize, usize)> {
        self.differing.clone()
    }

    /// Counts only these as different: what differed in every look.
    pub(super) fn only(mut self, lasting: &BTreeSet<(usize, usize)>) -> Self {
        self.differing.retain(|place| lasting.contains(place));
        self
    }

    /// Whether an instance tells nothing of a zone or a name.
    pub(super) fn is_any_silent(&self) -> bool {
        let mut sights = self.sights.iter().flatten();
        sights.any(|sight| sight.state.is_err() || sight.views.iter().any(Result::is_err))
    }

    /// Whether all instances tell the same of everything.
    pub(super) fn agree(&self) -> bool {
        self.differing.is_empty() && !self.is_any_silent() && self.unserved().is_empty()
    }

    /// The zones that no instance serves, though all reply: a name that is mistyped, most likely.
    fn unserved(&self) -> Vec<String> {
        let refuses = |sight: &Sight| sight.state.as_ref().is_ok_and(|state| state.rcode != ResponseCode::NoError);
        let zones = self.zones.iter().enumerate();
        let unserved = zones.filter(|(at, _)| self.sights.iter().all(|sights| refuses(&sights[*at])));
        unserved.map(|(_, zone)| told(&zone.apex)).collect()
    }

    /// What each instance tells of a name.
    fn views(&self, zone: usize, name: usize) -> impl Iterator<Item = &Result<View, Failure>> {
        self.sights.iter().map(move |sights| &sights[zone].views[name])
    }

    /// How long ago an epoch was made, by our clock; `None` where that cannot be: a clock differs, or it was counted up.
    fn age(&self, epoch: u32) -> Option<Duration> {
        let since = self.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ticks = ((since.as_millis() / EPOCH_TICK.as_millis()) as u32).wrapping_sub(epoch);
        // Serials are compared in a circle (RFC 1982): the other half of it is the future.
        (ticks <= u32::MAX / 2).then(|| EPOCH_TICK * ticks)
    }

    /// The verdict of one line.
    fn verdict(&self) -> String {
        let names: usize = self.zones.iter().map(|zone| zone.names.len()).sum();
        let silent = self.sights.iter().filter(|sights| sights.iter().any(|sight| sight.state.is_err())).count();
        let mut parts = Vec::new();
        if !self.differing.is_empty() {
            parts.push(format!("they differ in {} of {names} name{}", self.differing.len(), plural(names)));
        }
        if silent > 0 {
            parts.push(format!("{silent} of {} instances silent", self.instances.len()));
        } else if self.is_any_silent() {
            parts.push("some names without a reply".to_owned());
        }
        match self.unserved().as_slice() {
            [] => {}
            [zone] => parts.push(format!("no instance serves {zone}")),
            zones => parts.push(format!("no instance serves any of {}", zones.join(", "))),
        }
        match parts.is_empty() {
            true => format!("{} instances agree on {names} name{}", self.instances.len(), plural(names)),
            false => parts.join("; "),
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let width = self.instances.iter().map(|instance| instance.host.len()).max().unwrap_or(0);
        // Writing to a String cannot fail.
        for (at, zone) in self.zones.iter().enumerate() {
            let _ = writeln!(text, "{}", told(&zone.apex));
            for (instance, sights) in self.instances.iter().zip(self.sights) {
                let _ = writeln!(text, "  {:<width$}  {}", instance.host, clean(&self.line(&sights[at])));
            }
            let differing = self.differing.iter().filter(|(zone, _)| *zone == at).map(|(_, name)| *name);
            for name in differing.clone().take(NAMES_TOLD) {
                let _ = writeln!(text, "  {} differs", told(&zone.names[name]));
                let of_all: BTreeSet<&String> = self.views(at, name).flatten().flat_map(|view| &view.nodes).collect();
                for (instance, view) in self.instances.iter().zip(self.views(at, name)) {
                    let line = view.as_ref().map_or_else(ToString::to_string, |view| told_view(view, &of_all));
                    let _ = writeln!(text, "    {:<width$}  {}", instance.host, clean(&line));
                }
            }
            let more = differing.count().saturating_sub(NAMES_TOLD);
            if more > 0 {
                let _ = writeln!(text, "  ... and {more} more name{} differ", plural(more));
            }
        }
        let _ = writeln!(text, "{}", self.verdict());
        text
    }

    /// One instance's state in one zone.
    fn line(&self, sight: &Sight) -> String {
        let state = match &sight.state {
            Ok(state) => state,
            Err(failure) => return format!("silent: {failure}"),
        };
        let mut parts = Vec::new();
        parts.extend(state.identity.as_ref().map(|identity| format!("identity {identity}")));
        if state.rcode != ResponseCode::NoError {
            parts.push(format!("answers {}", rcode(state.rcode)));
        }
        if let Some(serial) = state.serial {
            let age = self.age(serial).map(|age| format!(", changed {} ago", told_age(age))).unwrap_or_default();
            parts.push(format!("epoch {serial}{age}"));
        }
        if let (Some(serial), Some(version)) = (state.serial, state.version)
            && serial != version
        {
            parts.push(format!("ZONEVERSION {version}"));
        }
        let count = |applies: fn(&View) -> bool| sight.views.iter().flatten().filter(|view| applies(view)).count();
        for (count, what) in [(count(View::is_stale), "stale"), (count(View::falls_back), "falling back")] {
            if count > 0 {
                parts.push(format!("{count} name{} {what}", plural(count)));
            }
        }
        let missing = sight.views.iter().filter(|view| view.is_err()).count();
        if missing > 0 {
            parts.push(format!("{missing} name{} without a reply", plural(missing)));
        }
        parts.join("; ")
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let zones: Vec<Value> = self.zones.iter().enumerate().map(|(at, zone)| self.zone(at, zone)).collect();
        json!({ "agree": self.agree(), "verdict": self.verdict(), "zones": zones })
    }

    fn zone(&self, at: usize, zone: &Zone) -> Value {
        let instances = self.instances.iter().zip(self.sights).map(|(instance, sights)| {
            let sight = &sights[at];
            let state = sight.state.as_ref();
            let state = state.map(|state| {
                json!({
                    "rcode": rcode(state.rcode), "identity": state.identity, "epoch": state.serial,
                    "zone_version": state.version,
                    "age_seconds": state.serial.and_then(|serial| self.age(serial)).map(|age| age.as_secs_f64()),
                })
            });
            json!({
                "host": instance.host, "address": instance.address.to_string(),
                "error": sight.state.as_ref().err().map(ToString::to_string), "state": state.ok(),
            })
        });
        let names = zone.names.iter().enumerate().map(|(name, spelt)| {
            let views = self.views(at, name).zip(self.instances).map(|(view, instance)| match view {
                Ok(view) => json!({
                    "host": instance.host, "rcode": rcode(view.rcode), "nodes": view.nodes, "told": view.told,
                    "stale": view.is_stale(), "fallback": view.falls_back(),
                }),
                Err(failure) => json!({ "host": instance.host, "error": failure.to_string() }),
            });
            let views: Vec<Value> = views.collect();
            json!({ "name": told(spelt), "agree": !self.differing.contains(&(at, name)), "views": views })
        });
        let (instances, names): (Vec<Value>, Vec<Value>) = (instances.collect(), names.collect());
        json!({ "name": told(&zone.apex), "instances": instances, "names": names })
    }
}

/// One instance's answer to a name that others answer differently.
fn told_view(view: &View, of_all: &BTreeSet<&String>) -> String {
    let mut parts = Vec::new();
    if view.rcode != ResponseCode::NoError {
        parts.push(rcode(view.rcode));
    }
    let count = view.nodes.len();
    let missing: Vec<&str> =
        of_all.iter().filter(|node| !view.nodes.contains(**node)).map(|node| node.as_str()).collect();
    let without = if missing.is_empty() { String::new() } else { format!(" without {}", missing.join(", ")) };
    parts.push(format!("{count} node{}{without}", plural(count)));
    parts.extend(view.told.iter().cloned());
    parts.join("; ")
}

fn told(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn told_age(age: Duration) -> String {
    humantime::format_duration(Duration::from_secs(age.as_secs())).to_string()
}
