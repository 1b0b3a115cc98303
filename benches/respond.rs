//! Nanoseconds of one `Responder::respond`, by kind of query and EDNS: `cargo bench --bench respond [FILTER]`.
#![allow(clippy::unwrap_used, reason = "a benchmark: what fails here fails the run")]

use std::sync::LazyLock;

use alternator_dns::{
    server::{Asker, Counters, Responder, Transport},
    table::Table,
};
use divan::Bencher;

#[path = "../tests/kinds/mod.rs"]
mod kinds;

use kinds::{Edns, kinds, settings, table};

static COUNTERS: LazyLock<Counters> = LazyLock::new(Counters::default);

static TABLE: LazyLock<Table> = LazyLock::new(|| table(&COUNTERS));

/// Queries per sample: below a microsecond each, a clock's own resolution must not be in the result.
const SAMPLE: u32 = 1000;

fn main() {
    divan::main();
}

fn names() -> Vec<&'static str> {
    kinds(Edns::No).iter().map(|kind| kind.name).collect()
}

#[divan::bench(args = names(), sample_size = SAMPLE)]
fn udp(bencher: Bencher<'_, '_>, name: &str) {
    respond(bencher, name, Edns::No, Transport::Udp);
}

#[divan::bench(args = names(), sample_size = SAMPLE)]
fn udp_edns(bencher: Bencher<'_, '_>, name: &str) {
    respond(bencher, name, Edns::Plain, Transport::Udp);
}

#[divan::bench(args = names(), sample_size = SAMPLE)]
fn udp_edns_options(bencher: Bencher<'_, '_>, name: &str) {
    respond(bencher, name, Edns::Options, Transport::Udp);
}

/// Different from UDP only where a reply is long.
#[divan::bench(args = ["A, several", "Truncated"], sample_size = SAMPLE)]
fn tcp(bencher: Bencher<'_, '_>, name: &str) {
    respond(bencher, name, Edns::No, Transport::Tcp);
}

fn respond(bencher: Bencher<'_, '_>, name: &str, edns: Edns, transport: Transport) {
    let kind = kinds(edns).into_iter().find(|kind| kind.name == name).unwrap();
    let mut responder = Responder::new(&COUNTERS, &settings(), 1);
    let mut out = Vec::with_capacity(usize::from(u16::MAX));
    let table = &*TABLE;
    let asker = Asker { source: kind.source, transport, keepalive: 0 };
    bencher.bench_local(|| {
        out.clear();
        responder.respond(table, divan::black_box(&kind.packet), &asker, &mut out)
    });
}
