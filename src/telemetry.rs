//! Logs: one line per transition, on standard error, for people or as an object of JSON.

use std::{
    fmt,
    io::IsTerminal,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::SystemTime,
};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    field::RecordFields,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{DefaultFields, Format, JsonFields, Writer},
    },
    registry::LookupSpan,
};

use crate::config::LogFormat;

/// What is logged unless `RUST_LOG` says otherwise. hickory's server logs every response at info; ours are counted. HTTP/2
/// and QUIC warn of what any client can send as often as it likes.
const DEFAULT_FILTER: &str = "info,hickory_server=warn,h2=error,quinn_proto=error";

/// Whether lines are JSON. The log begins before the configuration is read, and is text until then.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Starts logging. Called once, by the binary.
pub fn start(default_filter: Option<&str>) {
    // An empty variable is one that is not set, as for the configuration.
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| !filter.trim().is_empty());
    let filter = asked.as_deref().or(default_filter).unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .fmt_fields(Lines)
        .event_format(Lines)
        .init();
}

/// Has all further lines written so.
pub fn set_format(format: LogFormat) {
    IS_JSON.store(format == LogFormat::Json, Relaxed);
}

/// Writes lines as asked for.
struct Lines;

impl<'w> FormatFields<'w> for Lines {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        match IS_JSON.load(Relaxed) {
            true => JsonFields::new().format_fields(writer, fields),
            false => DefaultFields::new().format_fields(writer, fields),
        }
    }
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> FormatEvent<S, Lines> for Lines {
    fn format_event(&self, context: &FmtContext<'_, S, Lines>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if !IS_JSON.load(Relaxed) {
            return Format::default().with_target(false).format_event(context, to, event);
        }
        let mut line = Map::new();
        line.insert("time".to_owned(), humantime::format_rfc3339_millis(SystemTime::now()).to_string().into());
        line.insert("level".to_owned(), event.metadata().level().as_str().to_ascii_lowercase().into());
        // What holds for all lines of a part, such as its zone; what the line says itself goes before it.
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            line.insert("part".to_owned(), span.name().into());
            if let Some(fields) = span.extensions().get::<FormattedFields<Lines>>()
                && let Ok(Value::Object(fields)) = serde_json::from_str(&fields.fields)
            {
                line.extend(fields);
            }
        }
        event.record(&mut Members(&mut line));
        writeln!(to, "{}", Value::Object(line))
    }
}

/// The fields of a line as members of an object.
struct Members<'l>(&'l mut Map<String, Value>);

impl Members<'_> {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }
}
