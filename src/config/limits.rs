//! How small and how large a value may be, and why; and durations, which have units.

use std::{ops::RangeInclusive, time::Duration};

use super::place::quoted;

/// TTLs. Zero is allowed (every query asks again); a day is longer than any list of nodes stays true.
pub(super) const TTL: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 60 * 60);
/// Intervals of polls and probes. Twenty requests a second is the most that one node is asked to bear for this; more
/// than an hour between two looks is no watching.
pub(super) const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(60 * 60);
/// Time-outs of probes. Under 10 ms a busy node on the same switch already fails; after 30 s every client has given
/// up long ago.
pub(super) const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(30);
/// A time-out of more than this many intervals delays the detection of silent nodes beyond what the interval
/// promises; told as a warning.
pub(super) const TIMEOUT_INTERVALS: u32 = 5;
/// `rise` and `fall`. Zero would admit or drop a node unasked; more than 100 in a row is never.
pub(super) const STREAK: RangeInclusive<i64> = 1..=100;
/// Workers per address: far more than any machine has cores, few enough not to exhaust its descriptors.
pub(super) const WORKERS: RangeInclusive<i64> = 0..=1024;
/// Slow starts. Zero turns them off; after an hour a node is warm, whatever it does.
pub(super) const SLOW_START: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60 * 60);
/// How long names outlive their last node. Zero drops them at once; after a month nobody remembers them.
pub(super) const SCOPE_RETENTION: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(31 * 24 * 60 * 60);
/// Ports of nodes.
pub(super) const PORT: RangeInclusive<i64> = 1..=u16::MAX as i64;
/// Bits of an IPv4 address.
pub(super) const PREFIX_V4: RangeInclusive<i64> = 0..=32;
/// Records per response. A thousand AAAA records are 28 kB, which only TCP carries; more help no client, and 0
/// already means all.
pub(super) const ANSWERS: RangeInclusive<u16> = 0..=1000;
/// Octets of an identity or version. Host names and releases are shorter, and every octet makes replies longer than
/// queries.
pub(super) const MAX_TOLD: usize = 64;
/// Secrets of cookies: the one in use, and one before or after it.
pub(super) const MAX_SECRETS: usize = 2;
/// Prefixes in one list; address lists longer than this belong into a firewall.
pub(super) const MAX_PREFIXES: usize = 4096;
/// Connections. Each may hold some 150 KiB at the very worst, and takes a descriptor.
pub(super) const CONNECTIONS: RangeInclusive<i64> = 1..=1_000_000;
/// Queries of a connection.
pub(super) const QUERIES: RangeInclusive<i64> = 0..=i64::MAX;
/// Idle time-outs of connections. Under 100 ms a client across an ocean loses its connection while it asks; more than
/// an hour is not idling but forgotten.
pub(super) const IDLE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60 * 60);
/// Lifetimes of connections.
pub(super) const LIFETIME: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);
/// Responses per second: more than a million of one kind to one prefix is what a limit is to prevent.
pub(super) const RATE: RangeInclusive<i64> = 0..=1_000_000;
/// Every how-manieth limited response is sent truncated.
pub(super) const SLIP: RangeInclusive<i64> = 0..=100;
/// Bits of a client's prefix. Zero would take all the world for one client.
pub(super) const CLIENT_V4: RangeInclusive<i64> = 8..=32;
pub(super) const CLIENT_V6: RangeInclusive<i64> = 16..=128;
/// Zones: each has a poller and probers of its own.
pub(super) const MAX_ZONES: usize = 256;
/// Listen addresses: each has workers of its own.
pub(super) const MAX_LISTEN: usize = 64;
/// Seeds of a zone. A handful finds any cluster; all of a seed's addresses are kept in memory.
pub(super) const MAX_SEEDS: usize = 256;
/// `[[scopes]]` of a zone: each has decks of its own.
pub(super) const MAX_SCOPES: usize = 256;
/// Rules of an address map: one for each node of a large cluster, for a few networks of clients.
pub(super) const MAX_ADDRESS_RULES: usize = 4096;
/// Sets of such rules that networks of clients have: each has as many decks as the zone, of as much memory.
pub(super) const MAX_VIEWS: usize = 64;
/// Scopes in one chain: cluster, datacenters and racks of the largest clusters there are.
pub(super) const MAX_CHAIN: usize = 64;
/// Datacenters of a zone, and racks of a datacenter: each is asked for in every discovery round.
pub(super) const MAX_PLACES: usize = 64;

/// A duration within the bounds, or what is wrong with it.
pub(super) fn duration(text: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let text = text.trim();
    let shown = quoted(text);
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{shown} has no unit; write {}", quoted(&format!("{text}s"))));
    }
    let duration = humantime::parse_duration(text)
        .map_err(|_| format!("{shown} is no duration; write one such as \"5s\", \"800ms\" or \"1m30s\""))?;
    let plain = |bound: &Duration| humantime::format_duration(*bound).to_string().replace(' ', "");
    if duration < *bounds.start() {
        return Err(format!("{shown} is too short; the least is \"{}\"", plain(bounds.start())));
    }
    if duration > *bounds.end() {
        return Err(format!("{shown} is too long; the most is \"{}\"", plain(bounds.end())));
    }
    Ok(duration)
}

/// A duration of whole seconds within the bounds, which is how DNS counts TTLs.
pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration(text, &TTL)?;
    match ttl.subsec_nanos() {
        0 => Ok(ttl),
        _ => Err(format!("{} is no whole number of seconds, which is how DNS counts TTLs", quoted(text.trim()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_bounds() {
        let cases = [
            ("5s", Ok(5000)),
            ("800ms", Ok(800)),
            ("1m30s", Ok(90_000)),
            (" 1h ", Ok(3_600_000)),
            ("5", Err("\"5\" has no unit; write \"5s\"")),
            ("0", Err("\"0\" has no unit; write \"0s\"")),
            ("", Err("\"\" is no duration; write one such as \"5s\", \"800ms\" or \"1m30s\"")),
            ("soon", Err("\"soon\" is no duration; write one such as \"5s\", \"800ms\" or \"1m30s\"")),
            ("-1s", Err("\"-1s\" is no duration; write one such as \"5s\", \"800ms\" or \"1m30s\"")),
            ("49ms", Err("\"49ms\" is too short; the least is \"50ms\"")),
            ("0s", Err("\"0s\" is too short; the least is \"50ms\"")),
            ("61m", Err("\"61m\" is too long; the most is \"1h\"")),
            (
                "99999999999999999999s",
                Err("\"99999999999999999999s\" is no duration; write one such as \"5s\", \"800ms\" or \"1m30s\""),
            ),
        ];
        for (text, expected) in cases {
            let got = duration(text, &INTERVAL).map(|duration| duration.as_millis());
            assert_eq!(got.as_ref().copied().map_err(String::as_str), expected, "{text}");
        }
    }

    #[test]
    fn ttls_are_whole_seconds() {
        assert_eq!(ttl("0s"), Ok(Duration::ZERO));
        assert_eq!(ttl("1day"), Ok(*TTL.end()));
        assert_eq!(ttl("25h").unwrap_err(), "\"25h\" is too long; the most is \"1day\"");
        assert!(ttl("1500ms").unwrap_err().contains("no whole number of seconds"));
    }
}
