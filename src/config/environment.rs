//! Environment variables and flags as settings.
//!
//! A variable's name cannot hold a zone's dots, so no variable spells one: `ALTERNATOR_DNS_ZONE` names the zone, and
//! the other variables set that zone's keys.
//!
//! | variable | key |
//! |---|---|
//! | `ALTERNATOR_DNS_CONFIG` | the configuration file, as `--config` |
//! | `ALTERNATOR_DNS_ZONE` | the zone meant, as `--zone` |
//! | `ALTERNATOR_DNS_SERVER__LISTEN` | `server.listen`; so for every key of `[server]` but `access` |
//! | `ALTERNATOR_DNS_SERVER__TCP__IDLE` | `server.tcp.idle`; so for every key of the tables of `[server]` |
//! | `ALTERNATOR_DNS_TTL` | the zone's `ttl`; so for every plain key of the zone |
//! | `ALTERNATOR_DNS_CLUSTER__SEEDS` | the zone's `cluster.seeds`; so for all but `datacenters` |
//! | `ALTERNATOR_DNS_ACCESS__ALLOW` | the zone's `access.allow`; so for every key of `access` |
//! | `ALTERNATOR_DNS_HEALTH__INTERVAL` | the zone's `health.interval`; so for every key of `health` |
//!
//! Lists are separated by commas. An empty variable counts as not set: that is what `${TTL:-}` in a compose file
//! means. Unknown variables with our prefix are problems, except those that Kubernetes puts into every container when
//! a service is called `alternator-dns` (`ALTERNATOR_DNS_SERVICE_HOST`, `ALTERNATOR_DNS_PORT=udp://...`).

use std::path::PathBuf;

use toml::Value;

use super::{
    Problem,
    keys::{self, KEYS, Key, Kind, PREFIX, Section},
    place::{Place, quoted},
};

/// What the command line said; every field as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config FILE`
    pub config: Option<PathBuf>,
    /// `--zone NAME`: the zone that the flags below apply to; made when the file lacks it.
    pub zone: Option<String>,
    /// `--seed HOST`, any number of times; replaces the seeds of the file.
    pub seeds: Vec<String>,
    /// `--port N`
    pub port: Option<u16>,
    /// `--scheme http|https`
    pub scheme: Option<String>,
    /// `--listen ADDR:PORT`, any number of times; replaces the addresses of the file.
    pub listen: Vec<String>,
    /// `--answers N|auto`
    pub answers: Option<String>,
    /// `--ttl DUR`
    pub ttl: Option<String>,
}

/// One value set outside the file.
#[derive(Debug)]
pub(super) struct Setting {
    /// The key it sets, in the zone meant where it is a zone's.
    pub(super) key: &'static Key,
    /// The value, of the key's kind.
    pub(super) value: Value,
    /// The variable or flag.
    pub(super) place: Place,
}

impl Setting {
    /// Whether it needs a zone.
    pub(super) fn is_of_zone(&self) -> bool {
        !self.key.section.is_of_server()
    }
}

/// What the environment said.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// `ALTERNATOR_DNS_CONFIG`
    pub(super) config: Option<PathBuf>,
    /// `ALTERNATOR_DNS_ZONE`
    pub(super) zone: Option<String>,
    /// All other variables, by name.
    pub(super) settings: Vec<Setting>,
    /// Unknown variables, and values that are not of their key's kind.
    pub(super) problems: Vec<Problem>,
}

/// The variables of this process that are meant for this program. Text that is no UTF-8 is kept with replacement
/// characters, so that it is reported and not lost.
pub fn environment() -> Vec<(String, String)> {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    let all = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    all.filter(|(name, _)| name.starts_with(PREFIX)).collect()
}

impl Environment {
    /// Sorts out the variables; those without our prefix are not ours.
    pub(super) fn read(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut ours: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        ours.sort();
        let mut environment = Environment::default();
        for (name, value) in ours {
            environment.take(&name, value.trim());
        }
        environment
    }

    fn take(&mut self, name: &str, value: &str) {
        let rest = &name[PREFIX.len()..];
        let set = !value.is_empty();
        match rest {
            "CONFIG" => self.config = set.then(|| value.into()),
            "ZONE" => self.zone = set.then(|| value.to_owned()),
            _ => match KEYS.iter().find(|key| key.variable().as_deref() == Some(name)) {
                Some(key) if set => match parse(key.kind, value) {
                    Ok(value) => {
                        self.settings.push(Setting { key, value, place: Place::Variable(name.to_owned()) });
                    }
                    Err(message) => self.problems.push(Problem::new(format!("{name}: {message}"))),
                },
                Some(_) => {}
                None if is_service_link(rest, value) => {}
                None => {
                    let message = match only_in_file(rest) {
                        Some(key) => format!("{} can only be written in the file", quoted(key.name)),
                        None => keys::unknown_variable(rest),
                    };
                    self.problems.push(Problem::new(format!("{name}: {message}")));
                }
            },
        }
    }
}

/// A key that no variable can hold, asked for by one.
fn only_in_file(rest: &str) -> Option<&'static Key> {
    let last = rest.rsplit("__").next()?.to_ascii_lowercase();
    KEYS.iter().find(|key| matches!(key.kind, Kind::Tables(_) | Kind::Datacenters) && key.name == last)
}

/// Whether Kubernetes made this variable, for a service whose name begins with ours: such variables appear in every
/// container of the namespace, and nobody wrote them.
fn is_service_link(rest: &str, value: &str) -> bool {
    let port_of_protocol = rest.split_once("PORT_").is_some_and(|(_, rest)| {
        let (port, protocol) = rest.split_once('_').unwrap_or((rest, ""));
        let protocol = protocol.split('_').next().unwrap_or(protocol);
        port.parse::<u16>().is_ok() && matches!(protocol, "TCP" | "UDP" | "SCTP")
    });
    rest.ends_with("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || port_of_protocol
        || (rest.ends_with("PORT") && value.contains("://"))
}

/// A variable's text as a value of the kind.
fn parse(kind: Kind, text: &str) -> Result<Value, String> {
    let wrong = || format!("must be {}, not {}", kind.noun(), quoted(text));
    Ok(match kind {
        Kind::Integer => Value::Integer(text.parse().map_err(|_| wrong())?),
        Kind::Fraction => Value::Float(text.parse().map_err(|_| wrong())?),
        Kind::Switch => Value::Boolean(text.parse().map_err(|_| wrong())?),
        Kind::List => Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect()),
        _ => Value::String(text.to_owned()),
    })
}

impl Flags {
    /// The values the flags set.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let text = |text: &String| Value::String(text.clone());
        let list = |items: &[String]| (!items.is_empty()).then(|| Value::Array(items.iter().map(text).collect()));
        let flags = [
            ("--listen", Section::Server, "listen", list(&self.listen)),
            ("--seed", Section::Cluster, "seeds", list(&self.seeds)),
            ("--port", Section::Cluster, "port", self.port.map(|port| Value::Integer(port.into()))),
            ("--scheme", Section::Cluster, "scheme", self.scheme.as_ref().map(text)),
            ("--answers", Section::Zone, "answers", self.answers.as_ref().map(text)),
            ("--ttl", Section::Zone, "ttl", self.ttl.as_ref().map(text)),
        ];
        let set = flags.into_iter().filter_map(|(flag, section, name, value)| {
            Some(Setting { key: keys::find(section, name)?, value: value?, place: Place::Flag(flag) })
        });
        set.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        Environment::read(variables.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    }

    #[test]
    fn lists_are_separated_by_commas_and_empty_means_not_set() {
        let environment = read(&[
            ("ALTERNATOR_DNS_CLUSTER__SEEDS", "10.0.0.1, 10.0.0.2"),
            ("ALTERNATOR_DNS_TTL", ""),
            ("ALTERNATOR_DNS_ZONE", " "),
            ("HOME", "/root"),
        ]);
        assert!(environment.problems.is_empty() && environment.zone.is_none());
        let [seeds] = &environment.settings[..] else { panic!("{environment:?}") };
        assert_eq!(seeds.value, Value::Array(vec!["10.0.0.1".into(), "10.0.0.2".into()]));
    }

    #[test]
    fn what_kubernetes_writes_is_not_ours() {
        let environment = read(&[
            ("ALTERNATOR_DNS_SERVICE_HOST", "10.96.0.7"),
            ("ALTERNATOR_DNS_SERVICE_PORT", "53"),
            ("ALTERNATOR_DNS_SERVICE_PORT_DNS_TCP", "53"),
            ("ALTERNATOR_DNS_PORT", "udp://10.96.0.7:53"),
            ("ALTERNATOR_DNS_PORT_53_UDP", "udp://10.96.0.7:53"),
            ("ALTERNATOR_DNS_PORT_53_UDP_ADDR", "10.96.0.7"),
            ("ALTERNATOR_DNS_ADMIN_SERVICE_HOST", "10.96.0.8"),
            ("ALTERNATOR_DNS_ADMIN_PORT_8080_TCP_PROTO", "tcp"),
        ]);
        assert!(environment.problems.is_empty() && environment.settings.is_empty(), "{environment:?}");
    }

    #[test]
    fn variables_that_are_wrong_are_named() {
        let cases = [
            ("PORT", "9000", "unknown variable; did you mean ALTERNATOR_DNS_CLUSTER__PORT?"),
            ("CLUSTER__PORT", "http", "must be a whole number, not \"http\""),
            ("HEALTH__ENABLED", "yes", "must be true or false, not \"yes\""),
            ("HEALTH__PANIC_THRESHOLD", "half", "must be a number, not \"half\""),
            ("CLUSTER__DATACENTERS", "dc1", "\"datacenters\" can only be written in the file"),
            ("SCOPES", "x", "\"scopes\" can only be written in the file"),
        ];
        for (name, value, expected) in cases {
            let name = format!("ALTERNATOR_DNS_{name}");
            let environment = read(&[(&name, value)]);
            let texts: Vec<_> = environment.problems.iter().map(Problem::to_string).collect();
            assert_eq!(texts, [format!("{name}: {expected}")]);
        }
    }
}
