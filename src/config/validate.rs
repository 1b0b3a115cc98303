//! From what was written to what is meant: every value judged, every problem told.

use std::{
    fmt,
    num::NonZeroU16,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hickory_proto::rr::Name;

use super::{
    Answers, Config, HealthConfig, Problem, ZoneConfig, limits, name,
    place::{KeyPath, Place, Places, quoted},
    raw::{Raw, RawHealth, RawZone},
    scopes,
};

mod cluster;
mod server;

/// What came of judging a configuration.
#[derive(Debug)]
pub(super) struct Judged {
    /// Complete only when there are no problems.
    pub(super) config: Config,
    /// What must be mended.
    pub(super) problems: Vec<Problem>,
    /// What should be known.
    pub(super) warnings: Vec<Problem>,
}

/// Judges a merged configuration. `folder` is the file's: paths written in the file are relative to it.
pub(super) fn validate(raw: &Raw, places: &Places, folder: &Path) -> Judged {
    let mut judge = Judge { places, folder, problems: Vec::new(), warnings: Vec::new() };
    let server = judge.server(raw);
    judge.at_most(&KeyPath::root().key("zones"), raw.zones.len(), limits::MAX_ZONES, "zones");
    let zones: Vec<ZoneConfig> =
        raw.zones.iter().take(limits::MAX_ZONES).filter_map(|(name, zone)| judge.zone(name, zone)).collect();
    judge.fallback_zones(&zones);
    Judged { config: Config { server, zones }, problems: judge.problems, warnings: judge.warnings }
}

/// Collects what is wrong.
pub(super) struct Judge<'a> {
    places: &'a Places,
    folder: &'a Path,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Judge<'_> {
    /// The value must be mended. Silent where it was refused before.
    pub(super) fn wrong(&mut self, path: &KeyPath, message: impl fmt::Display) {
        if !self.places.is_refused(path) {
            self.problems.push(self.places.problem(path, message));
        }
    }

    /// The value works, but the operator should know.
    pub(super) fn warn(&mut self, path: &KeyPath, message: impl fmt::Display) {
        self.warnings.push(self.places.problem(path, message));
    }

    /// Where a value was written, for messages about another one; empty when not in the file.
    pub(super) fn line(&self, path: &KeyPath) -> String {
        match self.places.place(path) {
            Some(Place::Line(line)) => format!(" in line {line}"),
            _ => String::new(),
        }
    }

    /// Refuses more of something than the bound.
    pub(super) fn at_most(&mut self, path: &KeyPath, count: usize, most: usize, what: &str) {
        if count > most {
            self.wrong(path, format!("{count} {what} are too many; the most is {most}"));
        }
    }

    /// What a check says of the value; its complaint becomes a problem.
    pub(super) fn checked<T>(&mut self, path: &KeyPath, checked: Result<T, String>) -> Option<T> {
        checked.map_err(|message| self.wrong(path, message)).ok()
    }

    /// A whole number within bounds, as the type it is stored in.
    fn number<T: TryFrom<i64>>(
        &mut self,
        path: &KeyPath,
        number: Option<i64>,
        bounds: &RangeInclusive<i64>,
        default: T,
    ) -> T {
        let Some(number) = number else { return default };
        match T::try_from(number) {
            Ok(value) if bounds.contains(&number) => value,
            _ => {
                self.wrong(
                    path,
                    format!("{number} is out of range; it must be {} to {}", bounds.start(), bounds.end()),
                );
                default
            }
        }
    }

    fn duration(
        &mut self,
        path: &KeyPath,
        text: Option<&String>,
        bounds: &RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        text.and_then(|text| self.checked(path, limits::duration(text, bounds))).unwrap_or(default)
    }

    /// A path; relative to the file's folder when it was written in the file. Empty means none.
    fn path(&self, path: &KeyPath, text: Option<&String>) -> Option<PathBuf> {
        let text = text.filter(|text| !text.is_empty())?;
        match self.places.place(path) {
            Some(Place::Line(_)) => Some(self.folder.join(text)),
            _ => Some(text.into()),
        }
    }

    /// A zone; `None` when not even its name is right. Its values are judged all the same.
    fn zone(&mut self, name: &str, raw: &RawZone) -> Option<ZoneConfig> {
        let at = KeyPath::zone(name);
        let apex = self.checked(&at, name::apex(name));
        if apex.as_ref().is_some_and(name::is_mdns) {
            self.warn(
                &at,
                "many hosts look up names under .local by mDNS only (RFC 6762) and never ask a DNS server; a name \
                 such as \"alternator.internal\" works everywhere",
            );
        }
        let default = ZoneConfig::new(Name::root());
        let ttl_at = at.key("ttl");
        let ttl = raw.ttl.as_ref().and_then(|text| self.checked(&ttl_at, limits::ttl(text)));
        let answers = raw.answers.as_ref().and_then(|text| self.checked(&at.key("answers"), answers(text)));
        let prefix_at = at.key("subnet_prefix_v4");
        let (preferred_datacenter, preferred_rack) = self.preferred(&at, raw);
        let zone = ZoneConfig {
            file: self.path(&at.key("file"), raw.file.as_ref()),
            ttl: ttl.unwrap_or(default.ttl),
            min_ttl: self.min_ttl(&at.key("min_ttl"), raw.min_ttl.as_ref(), ttl.unwrap_or(default.ttl)),
            answers: answers.unwrap_or(default.answers),
            subnet_prefix_v4: self.number(
                &prefix_at,
                raw.subnet_prefix_v4,
                &limits::PREFIX_V4,
                default.subnet_prefix_v4,
            ),
            datacenter_failover: raw.datacenter_failover.unwrap_or(default.datacenter_failover),
            access: self.access(&at.key("access"), &raw.access),
            preferred_datacenter,
            preferred_rack,
            cluster: self.cluster(&at.key("cluster"), &raw.cluster),
            health: self.health(&at.key("health"), &raw.health),
            scopes: scopes::judge(self, &at.key("scopes"), raw.scopes.as_deref().unwrap_or_default()),
            address_map: self.address_map(&at.key("address_map"), raw.address_map.as_deref().unwrap_or_default()),
            fallback_zone: self.fallback_zone(&at.key("fallback_zone"), raw.fallback_zone.as_ref()),
            apex: default.apex,
        };
        apex.map(|apex| ZoneConfig { apex, ..zone })
    }

    /// The least TTL; never above the usual one.
    fn min_ttl(&mut self, at: &KeyPath, text: Option<&String>, ttl: Duration) -> Duration {
        let default = ZoneConfig::new(Name::root()).min_ttl.min(ttl);
        let least = text.and_then(|text| self.checked(at, limits::ttl(text))).unwrap_or(default);
        if least > ttl {
            self.warn(at, "is more than ttl: TTLs are never lowered");
        }
        least.min(ttl)
    }

    /// A share.
    pub(super) fn share(&mut self, at: &KeyPath, written: Option<f64>, default: f64) -> f64 {
        match written {
            Some(share) if !(0.0..=1.0).contains(&share) => {
                self.wrong(at, format!("{share} is no share; it must be 0.0 to 1.0"));
                default
            }
            share => share.unwrap_or(default),
        }
    }

    fn preferred(&mut self, at: &KeyPath, raw: &RawZone) -> (Option<Arc<str>>, Option<Arc<str>>) {
        let given = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(Arc::<str>::from);
        let (dc_at, rack_at) = (at.key("preferred_datacenter"), at.key("preferred_rack"));
        let (dc, rack) = (given(&raw.preferred_datacenter), given(&raw.preferred_rack));
        if let Some((dc, rack)) = dc.as_ref().and_then(|dc| dc.split_once('/')) {
            let (dc, rack) = (quoted(dc), quoted(rack));
            self.wrong(&dc_at, format!("holds a rack too; write {dc} here and preferred_rack = {rack}"));
        }
        if dc.is_none() && rack.is_some() && !self.places.is_refused(&dc_at) {
            self.wrong(&rack_at, "needs preferred_datacenter too: racks of two datacenters may share a name");
        }
        (dc, rack)
    }

    fn health(&mut self, at: &KeyPath, raw: &RawHealth) -> HealthConfig {
        let default = HealthConfig::default();
        let interval_at = at.key("interval");
        let timeout_at = at.key("timeout");
        let interval = self.duration(&interval_at, raw.interval.as_ref(), &limits::INTERVAL, default.interval);
        let timeout = self.duration(&timeout_at, raw.timeout.as_ref(), &limits::TIMEOUT, default.timeout);
        if timeout > interval.saturating_mul(limits::TIMEOUT_INTERVALS) {
            self.warn(&timeout_at, "is much longer than interval: a silent node stays in answers that much longer");
        }
        HealthConfig {
            enabled: raw.enabled.unwrap_or(default.enabled),
            interval,
            timeout,
            rise: self.number(&at.key("rise"), raw.rise, &limits::STREAK, default.rise),
            fall: self.number(&at.key("fall"), raw.fall, &limits::STREAK, default.fall),
            panic_threshold: self.share(&at.key("panic_threshold"), raw.panic_threshold, default.panic_threshold),
            slow_start: self.duration(
                &at.key("slow_start"),
                raw.slow_start.as_ref(),
                &limits::SLOW_START,
                default.slow_start,
            ),
        }
    }
}

/// `"auto"`, or how many; 0 is all.
fn answers(text: &str) -> Result<Answers, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("auto") {
        return Ok(Answers::Auto);
    }
    let number: i64 =
        text.parse().map_err(|_| format!("{} is neither \"auto\" nor a number (0 = all)", quoted(text)))?;
    match u16::try_from(number) {
        Ok(count) if limits::ANSWERS.contains(&count) => {
            Ok(NonZeroU16::new(count).map_or(Answers::All, Answers::Count))
        }
        _ => Err(format!("{number} is out of range; the most is {}, and 0 means all", limits::ANSWERS.end())),
    }
}
