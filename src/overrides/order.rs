//! Overrides as operators write them: judged, and told again.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::{Action, Origin, Override, Target, has_text, rfc3339};

/// How long a node is forced up when nobody says until when: it overrules what probes see, so it must not be forgotten.
const FORCE_UP_FOR: Duration = Duration::from_secs(60 * 60);

/// Longest time from now that a beginning or an end may lie ahead; what is to last longer has no end.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// Longest reason, octets. It stands in log lines, explanations and a column of the status page.
const MAX_REASON: usize = 200;

/// Longest name of who did it, octets: a login and a host name.
const MAX_BY: usize = 100;

/// Longest name of a zone, octets (RFC 1035 section 2.3.4, as text).
const MAX_ZONE: usize = 253;

/// What an operator wants, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// A node, network, rack, datacenter or glob.
    pub target: String,
    /// `drain` or `force-up`.
    pub action: String,
    /// The one zone meant.
    #[serde(default)]
    pub zone: Option<String>,
    /// How long after its beginning it ends.
    #[serde(default, rename = "for")]
    pub lasts: Option<Span>,
    /// How long from now it begins.
    #[serde(default, rename = "in")]
    pub begins_in: Option<Span>,
    /// When it begins (RFC 3339).
    #[serde(default)]
    pub from: Option<String>,
    /// When it ends (RFC 3339).
    #[serde(default)]
    pub until: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who.
    #[serde(default)]
    pub by: Option<String>,
}

/// A time span: a number of seconds, or a text such as `2h` or `1h 30m`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Span {
    /// Seconds.
    Seconds(f64),
    /// A number and its unit, as often as needed.
    Text(String),
}

impl Span {
    fn duration(&self) -> Result<Duration, String> {
        let example = "write a duration such as \"2h\" or \"90m\"";
        let duration = match self {
            Span::Seconds(seconds) => Duration::try_from_secs_f64(*seconds).map_err(|_| example.to_owned())?,
            Span::Text(text) => humantime::parse_duration(text.trim()).map_err(|_| example.to_owned())?,
        };
        match duration {
            Duration::ZERO => Err("a duration is longer than nothing".to_owned()),
            duration if duration > LONGEST => {
                Err("more than ten years: leave it out for \"until undrained\"".to_owned())
            }
            duration => Ok(duration),
        }
    }
}

/// What is wrong with an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key concerned.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Collects what is wrong, so that all of it is told at once.
struct Judge(Vec<Fault>);

impl Judge {
    fn fault(&mut self, key: &'static str, message: impl ToString) {
        self.0.push(Fault { key, message: message.to_string() });
    }

    fn ok<T>(&mut self, key: &'static str, result: Result<T, impl ToString>) -> Option<T> {
        result.map_err(|error| self.fault(key, error)).ok()
    }

    fn text(&mut self, key: &'static str, text: Option<&str>, most: usize) -> Option<String> {
        let text = text.map(str::trim).filter(|text| !text.is_empty())?;
        if text.len() > most {
            self.fault(key, format_args!("at most {most} octets; this has {}", text.len()));
        } else if text.contains(char::is_control) {
            self.fault(key, "one line of text, without control characters");
        }
        Some(text.to_owned())
    }

    fn duration(&mut self, key: &'static str, span: &Option<Span>) -> Option<Duration> {
        let span = span.as_ref()?;
        self.ok(key, span.duration())
    }

    fn moment(&mut self, key: &'static str, text: &Option<String>) -> Option<SystemTime> {
        let text = text.as_ref()?;
        self.ok(key, moment(text))
    }
}

impl Order {
    /// The override, or everything that is wrong. `by`: who it is when the order does not say.
    pub fn judge(&self, origin: Origin, now: SystemTime, by: &str) -> Result<Override, Vec<Fault>> {
        let mut judge = Judge(Vec::new());
        let target = judge.ok("target", self.target.parse::<Target>());
        let action = judge.ok("action", self.action.trim().parse::<Action>());
        let zone = judge.text("zone", self.zone.as_deref(), MAX_ZONE);
        let zone = zone.map(|zone| zone.strip_suffix('.').unwrap_or(&zone).to_ascii_lowercase());
        let reason = judge.text("reason", self.reason.as_deref(), MAX_REASON).unwrap_or_default();
        let by = judge.text("by", self.by.as_deref(), MAX_BY).unwrap_or_else(|| by.to_owned());
        let (from, until) = self.times(&mut judge, origin, now, action);
        match (judge.0, target, action) {
            (faults, Some(target), Some(action)) if faults.is_empty() => {
                Ok(Override { target, action, zone, from, until, set_at: now, by, reason, origin })
            }
            (faults, ..) => Err(faults),
        }
    }

    /// When it begins and ends.
    fn times(
        &self,
        judge: &mut Judge,
        origin: Origin,
        now: SystemTime,
        action: Option<Action>,
    ) -> (SystemTime, Option<SystemTime>) {
        let faults = judge.0.len();
        let (begins_in, lasts) = (judge.duration("in", &self.begins_in), judge.duration("for", &self.lasts));
        let (from, until) = (judge.moment("from", &self.from), judge.moment("until", &self.until));
        if self.begins_in.is_some() && self.from.is_some() {
            judge.fault("from", "write \"in\" or \"from\", not both");
        }
        if self.lasts.is_some() && self.until.is_some() {
            judge.fault("until", "write \"for\" or \"until\", not both");
        }
        // A file is read again after every restart: what it says must not depend on when.
        if origin == Origin::File && self.lasts.is_some() && self.from.is_none() {
            judge.fault("for", "a file says \"for\" only together with \"from\"; or write \"until\"");
        }
        let begins = from.unwrap_or_else(|| now + begins_in.unwrap_or_default());
        let mut ends = until.or_else(|| begins.checked_add(lasts?));
        if action == Some(Action::ForceUp) && self.lasts.is_none() && self.until.is_none() {
            match origin {
                Origin::Api => ends = begins.checked_add(FORCE_UP_FOR),
                Origin::File => judge.fault("until", "force-up overrules what probes see: write until when"),
            }
        }
        if judge.0.len() == faults {
            let farthest = now + LONGEST + LONGEST;
            // What stands in a file may have ended before it was read.
            let begins_somewhen = origin == Origin::Api || from.is_some();
            if begins_somewhen && ends.is_some_and(|ends| ends <= begins) {
                judge.fault("until", "it ends before it begins");
            } else if origin == Origin::Api && ends.is_some_and(|ends| ends <= now) {
                judge.fault("until", "that is over already");
            } else if begins > farthest || ends.is_some_and(|ends| ends > farthest) {
                judge.fault("until", "more than twenty years ahead");
            }
        }
        (begins, ends)
    }
}

/// A moment, as RFC 3339 has it: with its offset, of which a file's or a person's own may be any.
pub(super) fn moment(text: &str) -> Result<SystemTime, String> {
    let wrong =
        || "write a time with its offset, such as \"2026-11-21T22:00:00Z\" or \"2026-11-21 22:00+01:00\"".to_owned();
    let text = text.trim();
    let (local, minutes) = match text.strip_suffix(['Z', 'z']) {
        Some(local) => (local, 0),
        None => {
            let (local, offset) =
                text.len().checked_sub(6).and_then(|at| text.split_at_checked(at)).ok_or_else(wrong)?;
            (local, offset_minutes(offset).ok_or_else(wrong)?)
        }
    };
    // People leave out the seconds.
    let seconds = if local.matches(':').count() == 1 { ":00" } else { "" };
    let local = humantime::parse_rfc3339_weak(&format!("{local}{seconds}")).map_err(|_| wrong())?;
    let offset = Duration::from_secs(minutes.unsigned_abs() * 60);
    // What lies east of Greenwich has its noon before it.
    let utc = if minutes >= 0 { local.checked_sub(offset) } else { local.checked_add(offset) };
    utc.filter(|utc| has_text(*utc)).ok_or_else(|| "a time is in the years 1970 to 9999, in UTC".to_owned())
}

/// `+01:30` in minutes.
fn offset_minutes(text: &str) -> Option<i64> {
    let (sign, text) = match text.split_at_checked(1)? {
        ("+", text) => (1, text),
        ("-", text) => (-1, text),
        _ => return None,
    };
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, most: i64| -> Option<i64> {
        let digits = text.len() == 2 && text.bytes().all(|octet| octet.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number <= most)
    };
    Some(sign * (number(hours, 23)? * 60 + number(minutes, 59)?))
}

/// An override as JSON, on disk and over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// As [`Target`] prints it.
    pub target: String,
    /// `drain` or `force-up`.
    pub action: String,
    /// The one zone meant; `None` = all.
    pub zone: Option<String>,
    /// RFC 3339, as the other times.
    pub from: String,
    /// `None` = until undrained.
    pub until: Option<String>,
    /// When it was decided.
    pub set_at: String,
    /// Who.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
    /// `api` or `file`.
    pub origin: String,
}

impl From<&Override> for Told {
    fn from(known: &Override) -> Self {
        Told {
            target: known.target.to_string(),
            action: known.action.to_string(),
            zone: known.zone.clone(),
            from: rfc3339(known.from),
            until: known.until.map(rfc3339),
            set_at: rfc3339(known.set_at),
            by: known.by.clone(),
            reason: known.reason.clone(),
            origin: known.origin.to_string(),
        }
    }
}

impl Told {
    /// The override of the API that was told so, or what is wrong with it.
    pub(super) fn read(&self) -> Result<Override, String> {
        Ok(Override {
            target: self.target.parse().map_err(|error: crate::model::TargetError| error.to_string())?,
            action: self.action.parse().map_err(|error: crate::model::ActionError| error.to_string())?,
            zone: self.zone.clone(),
            from: moment(&self.from)?,
            until: self.until.as_deref().map(moment).transpose()?,
            set_at: moment(&self.set_at)?,
            by: self.by.clone(),
            reason: self.reason.clone(),
            origin: Origin::Api,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_262_400)
    }

    fn order(json: &str) -> Order {
        serde_json::from_str(json).unwrap()
    }

    /// Beginning and end in seconds after noon, or the faults.
    fn judged(json: &str, origin: Origin) -> Result<(u64, Option<u64>), Vec<String>> {
        let after = |at: SystemTime| at.duration_since(noon()).unwrap().as_secs();
        match order(json).judge(origin, noon(), "somebody") {
            Ok(known) => Ok((after(known.from), known.until.map(after))),
            Err(faults) => Err(faults.iter().map(|fault| format!("{}: {}", fault.key, fault.message)).collect()),
        }
    }

    #[test]
    fn times_are_what_the_order_says() {
        let of = |rest: &str| judged(&format!(r#"{{"target":"dc1","action":"drain"{rest}}}"#), Origin::Api).unwrap();
        assert_eq!(of(""), (0, None));
        assert_eq!(of(r#","for":"2h""#), (0, Some(7200)));
        assert_eq!(of(r#","for":90.0"#), (0, Some(90)));
        assert_eq!(of(r#","in":"5m","for":"1h 30m""#), (300, Some(5700)));
        assert_eq!(of(r#","until":"2026-11-21T13:00:00Z""#), (0, Some(3600)));
        assert_eq!(of(r#","until":"2026-11-21 14:00+01:00""#), (0, Some(3600)));
        assert_eq!(of(r#","from":"2026-11-21T06:30:01.000-05:30""#), (1, None));
        let forced = judged(r#"{"target":"10.0.0.1","action":"force-up"}"#, Origin::Api);
        assert_eq!(forced, Ok((0, Some(3600))), "bounded though nobody said so");
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let faults = |json: &str, origin| judged(json, origin).unwrap_err();
        let api =
            |rest: &str| faults(&format!(r#"{{"target":"dc1","action":"drain",{rest}}}"#), Origin::Api).join("; ");
        assert_eq!(faults(r#"{"target":"","action":"stop","for":"soon"}"#, Origin::Api).len(), 3);
        for (rest, told) in [
            (r#""for":"5""#, "for: write a duration"),
            (r#""for":-1"#, "for: write a duration"),
            (r#""for":1e300"#, "for: write a duration"),
            (r#""for":"0s""#, "for: a duration is longer"),
            (r#""in":"100years""#, "in: more than ten years"),
            (r#""for":"1h","until":"2026-11-21T13:00:00Z""#, "not both"),
            (r#""in":"1h","from":"2026-11-21T13:00:00Z""#, "not both"),
            (r#""until":"2026-11-21T13:00:00""#, "until: write a time with its offset"),
            (r#""until":"2026-11-21T13:00:00+1:00""#, "until: write a time with its offset"),
            (r#""until":"21.11.2026é""#, "until: write a time with its offset"),
            (r#""until":"2026-11-21T11:00:00Z""#, "it ends before it begins"),
            (r#""from":"2026-11-20T11:00:00Z","until":"2026-11-21T11:00:00Z""#, "over already"),
            (r#""until":"9999-11-21T11:00:00Z""#, "twenty years"),
            (r#""until":"9999-12-31T23:59:59-01:00""#, "1970 to 9999"),
            (r#""from":"1970-01-01T00:00:00+00:01""#, "1970 to 9999"),
            (r#""reason":"a\nb""#, "reason: one line"),
        ] {
            assert!(api(rest).contains(told), "{rest}: {}", api(rest));
        }
        let long = "x".repeat(201);
        assert!(api(&format!(r#""reason":"{long}""#)).contains("at most 200 octets; this has 201"));
        let file = |json: &str| faults(json, Origin::File).join("; ");
        assert!(file(r#"{"target":"dc1","action":"drain","for":"1h"}"#).contains("only together with \"from\""));
        assert!(file(r#"{"target":"dc1","action":"force-up"}"#).contains("until when"));
    }

    #[test]
    fn what_is_told_is_read_back() {
        let json = r#"{"target":"dc1/rack1","action":"force_up","zone":"Z.Test.","in":"5m","reason":"why","by":"me"}"#;
        let known = order(json).judge(Origin::Api, noon(), "").unwrap();
        let told = Told::from(&known);
        assert_eq!((told.zone.as_deref(), &*told.action), (Some("z.test"), "force-up"));
        assert_eq!(told.from, "2026-11-21T12:05:00.000Z");
        assert_eq!(told.read(), Ok(known));
    }
}
