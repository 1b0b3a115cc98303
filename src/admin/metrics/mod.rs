//! `/metrics`: everything that can be counted or measured, read from where it is counted when somebody asks.
//!
//! Names begin with `alternator_dns_` (those of the process with `process_`, as everywhere), units are base units. No
//! label has more values than there are zones, scopes, nodes, listeners, or words in this program.

mod cluster;
mod families;
mod process;
mod queries;
mod server;

use std::{fmt, time::SystemTime};

use axum::http::{HeaderMap, header::ACCEPT};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, encoding::text, registry::Registry};

use self::families::Families;
use super::Sight;

/// OpenMetrics 1.0, as whoever understands it says in `Accept`.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text format that everybody reads.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One of the formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    Text,
}

impl Format {
    /// The format a client asks for. Prometheus names all it reads, the best first; others name none of them.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
        let is_open = accepts.flat_map(|accept| accept.split(',')).any(|media_type| {
            let mut parts = media_type.split(';').map(str::trim);
            let is_open = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
            is_open && parts.all(|parameter| !matches!(parameter, "q=0" | "q=0.0" | "version=0.0.1"))
        });
        if is_open { Format::OpenMetrics } else { Format::Text }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => OPEN_METRICS,
            Format::Text => TEXT,
        }
    }
}

/// All metrics as they are now.
pub(super) fn scrape(sight: &Sight, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Everything { sight: sight.clone(), now: SystemTime::now() }));
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = text::encode(&mut text, &registry);
    match format {
        Format::OpenMetrics => text,
        Format::Text => plain(&text),
    }
}

struct Everything {
    sight: Sight,
    now: SystemTime,
}

impl fmt::Debug for Everything {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Everything")
    }
}

impl Collector for Everything {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::new(encoder);
        server::tell(&self.sight, &mut families)?;
        queries::tell(&self.sight, &mut families)?;
        cluster::tell(&self.sight, self.now, &mut families)?;
        process::tell(self.sight.started, &mut families)
    }
}

/// OpenMetrics as the older text format: there a counter's name is that of its samples, and the text has no end mark.
fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        if line.starts_with("# HELP ") {
            help = Some(line);
            continue;
        }
        if let Some(what) = line.strip_prefix("# TYPE ") {
            let (name, kind) = what.split_once(' ').unwrap_or((what, "untyped"));
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, about)) = help.take().and_then(|help| help.strip_prefix("# HELP ")?.split_once(' ')) {
                text.push_str(&format!("# HELP {name}{total} {about}\n"));
            }
            text.push_str(&format!("# TYPE {name}{total} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_the_client_reads_best() {
        let of = |accept: &str| Format::of(&[(ACCEPT, accept.parse().unwrap())].into_iter().collect());
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        assert_eq!(of(prometheus), Format::OpenMetrics);
        for other in ["*/*", "text/plain", "text/html,application/xhtml+xml", "application/openmetrics-text;q=0"] {
            assert_eq!(of(other), Format::Text, "{other}");
        }
        assert_eq!(Format::of(&HeaderMap::new()), Format::Text);
    }

    #[test]
    fn the_older_format_names_counters_as_their_samples() {
        let open =
            "# HELP a_b About it.\n# TYPE a_b counter\na_b_total{x=\"1\"} 2\n# HELP g G.\n# TYPE g gauge\ng 1\n# EOF\n";
        let text = "# HELP a_b_total About it.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n# HELP g G.\n# TYPE g gauge\ng 1\n";
        assert_eq!(plain(open), text);
    }
}
