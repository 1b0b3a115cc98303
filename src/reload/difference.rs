//! What differs between two configurations, by the names operators know.
//!
//! Every field stands here by its name, so that one that is added cannot be forgotten.

use std::fmt;

use crate::config::{ServerConfig, ZoneConfig};

/// What a reload came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// What is in force now and was not before, a part each: `zone a.example: ttl`, `server.listen`.
    pub changes: Vec<String>,
    /// Keys whose new values take effect at the next restart.
    pub at_restart: Vec<&'static str>,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changes.as_slice() {
            [] => f.write_str("nothing changed")?,
            changes => write!(f, "changed: {}", changes.join("; "))?,
        }
        if self.at_restart.is_empty() {
            return Ok(());
        }
        write!(f, "; takes effect at the next restart: {}", self.at_restart.join(", "))
    }
}

/// The keys of a zone whose values differ.
pub fn of_zone(old: &ZoneConfig, new: &ZoneConfig) -> Vec<&'static str> {
    let ZoneConfig {
        apex: _,
        file,
        ttl,
        min_ttl,
        answers,
        subnet_prefix_v4,
        datacenter_failover,
        access,
        preferred_datacenter,
        preferred_rack,
        cluster,
        health,
        scopes,
        address_map,
        fallback_zone,
    } = new;
    names([
        ("file", *file != old.file),
        ("ttl", *ttl != old.ttl),
        ("min_ttl", *min_ttl != old.min_ttl),
        ("answers", *answers != old.answers),
        ("subnet_prefix_v4", *subnet_prefix_v4 != old.subnet_prefix_v4),
        ("datacenter_failover", *datacenter_failover != old.datacenter_failover),
        ("access", *access != old.access),
        ("preferred_datacenter", *preferred_datacenter != old.preferred_datacenter),
        ("preferred_rack", *preferred_rack != old.preferred_rack),
        ("cluster", *cluster != old.cluster),
        ("health", *health != old.health),
        ("scopes", *scopes != old.scopes),
        ("address_map", *address_map != old.address_map),
        ("fallback_zone", *fallback_zone != old.fallback_zone),
    ])
}

/// The keys of `[server]` and of what belongs to the process besides whose values differ: those that can change while it
/// serves, and those that cannot.
pub fn of_server(old: &ServerConfig, new: &ServerConfig) -> (Vec<&'static str>, Vec<&'static str>) {
    let ServerConfig {
        listen,
        workers,
        pin_workers,
        state_dir,
        user,
        control,
        overrides,
        watch_files,
        identity,
        version,
        proxy_from,
        access,
        cookies,
        tcp,
        rate_limit,
        tls,
        admin,
        log,
        query_log,
    } = new;
    let now = names([
        ("server.listen", *listen != old.listen),
        ("server.watch_files", *watch_files != old.watch_files),
        ("server.identity", *identity != old.identity),
        ("server.version", *version != old.version),
        ("server.proxy_from", *proxy_from != old.proxy_from),
        ("server.access", *access != old.access),
        ("server.cookies", *cookies != old.cookies),
        ("server.tcp", *tcp != old.tcp),
        ("server.rate_limit", *rate_limit != old.rate_limit),
        ("server.tls", *tls != old.tls),
        ("admin", *admin != old.admin),
    ]);
    let at_restart = names([
        ("server.workers", *workers != old.workers),
        ("server.pin_workers", *pin_workers != old.pin_workers),
        ("server.state_dir", *state_dir != old.state_dir),
        ("server.user", *user != old.user),
        ("server.control", *control != old.control),
        ("server.overrides", *overrides != old.overrides),
        ("log", *log != old.log),
        ("query_log", *query_log != old.query_log),
    ]);
    (now, at_restart)
}

/// The new configuration of the process, but with the old values of what takes effect at the next restart.
pub fn in_force(old: &ServerConfig, new: &ServerConfig) -> ServerConfig {
    ServerConfig {
        workers: old.workers,
        pin_workers: old.pin_workers,
        state_dir: old.state_dir.clone(),
        user: old.user.clone(),
        control: old.control.clone(),
        overrides: old.overrides.clone(),
        log: old.log,
        query_log: old.query_log.clone(),
        ..new.clone()
    }
}

fn names<const N: usize>(keys: [(&'static str, bool); N]) -> Vec<&'static str> {
    keys.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hickory_proto::rr::Name;

    use super::*;

    #[test]
    fn what_differs_is_named_and_what_cannot_change_stays() {
        let old = ServerConfig::default();
        let mut new = ServerConfig { workers: 7, identity: Some("b".into()), ..ServerConfig::default() };
        new.state_dir = Some("elsewhere".into());
        new.cookies.secrets = vec![[1; 16]];
        new.log.format = crate::config::LogFormat::Json;
        assert_eq!(
            of_server(&old, &new),
            (vec!["server.identity", "server.cookies"], vec!["server.workers", "server.state_dir", "log"])
        );
        let in_force = in_force(&old, &new);
        assert_eq!(of_server(&old, &in_force), (vec!["server.identity", "server.cookies"], vec![]));
        assert_eq!(
            of_server(&in_force, &new),
            (vec![], vec!["server.workers", "server.state_dir", "log"]),
            "still to come"
        );
        let zone = ZoneConfig::new(Name::from_ascii("z.test.").unwrap());
        let mut other = zone.clone();
        other.ttl += Duration::from_secs(1);
        other.health.rise += 1;
        assert_eq!((of_zone(&zone, &zone), of_zone(&zone, &other)), (vec![], vec!["ttl", "health"]));
    }

    #[test]
    fn a_reload_says_what_it_did() {
        let told = |changes: &[&str], at_restart: &[&'static str]| {
            let changes = changes.iter().map(|text| (*text).to_owned()).collect();
            Applied { changes, at_restart: at_restart.to_vec() }.to_string()
        };
        assert_eq!(told(&[], &[]), "nothing changed");
        assert_eq!(told(&["a", "b"], &[]), "changed: a; b");
        let restart = "takes effect at the next restart: log, admin";
        assert_eq!(told(&[], &["log", "admin"]), format!("nothing changed; {restart}"));
        assert_eq!(told(&["a"], &["log", "admin"]), format!("changed: a; {restart}"));
    }
}
