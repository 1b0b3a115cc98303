//! No query that the Table answers allocates, once the worker is warm. A binary of its own: it counts what its global
//! allocator is asked for.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test's unwrap is an assertion, its name its documentation")]

use std::sync::Arc;

use allocation_counter::measure;
use alternator_dns::{
    server::{Asker, Counters, Outcome, Responder, Transport},
    table::Table,
};

mod kinds;

use kinds::{Edns, Kind, kinds, settings, table};

/// Queries of a kind that are counted: several rows of a deck, and what a worker does only now and then.
const REPEATED: usize = 50;

struct Worker {
    responder: Responder,
    counters: Counters,
    out: Vec<u8>,
}

impl Worker {
    fn new() -> Self {
        let counters = Counters::default();
        let out = Vec::with_capacity(usize::from(u16::MAX));
        Worker { responder: Responder::new(&counters, &settings(), 1), counters, out }
    }

    fn respond(&mut self, table: &Table, kind: &Kind, transport: Transport) {
        self.out.clear();
        let asker = Asker { source: kind.source, transport, keepalive: 0 };
        let outcome = self.responder.respond(table, &kind.packet, &asker, &mut self.out);
        let expected = if transport == Transport::Udp { kind.outcome } else { kind.over_tcp };
        assert_eq!(outcome, expected, "{} over {transport:?}", kind.name);
    }

    /// How many allocations this kind costs.
    fn allocations(&mut self, table: &Table, kind: &Kind, transport: Transport) -> u64 {
        measure(|| (0..REPEATED).for_each(|_| self.respond(table, kind, transport))).count_total
    }
}

/// Every kind with every EDNS over both transports.
fn all() -> Vec<(Edns, Transport, Kind)> {
    let shapes = Edns::ALL.into_iter().flat_map(|edns| [(edns, Transport::Udp), (edns, Transport::Tcp)]);
    shapes.flat_map(|(edns, transport)| kinds(edns).into_iter().map(move |kind| (edns, transport, kind))).collect()
}

#[test]
fn the_kinds_have_every_outcome() {
    for outcome in Outcome::ALL {
        assert!(all().iter().any(|(_, _, kind)| kind.outcome == outcome), "{outcome}");
    }
}

#[test]
fn the_count_sees_an_allocation() {
    assert_eq!(measure(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(10)))).count_total, 1);
}

#[test]
fn no_kind_of_query_allocates() {
    let mut worker = Worker::new();
    let table = table(&worker.counters);
    for (edns, transport, kind) in all() {
        worker.respond(&table, &kind, transport);
        let count = worker.allocations(&table, &kind, transport);
        assert_eq!(count, 0, "{} with EDNS {edns:?} over {transport:?}: {REPEATED} queries", kind.name);
    }
}

/// What a worker keeps per deck grows with the largest Table it saw; no later one costs anything.
#[test]
fn no_query_allocates_after_the_table_was_swapped() {
    let mut worker = Worker::new();
    let large = table(&worker.counters);
    // Fewer zones, the same zone again, nothing at all.
    let small = Table::new([Arc::new(kinds::zone(&worker.counters))]);
    let others = [small, table(&worker.counters), Table::default()];
    for kind in kinds(Edns::No) {
        worker.respond(&large, &kind, Transport::Udp);
    }
    for other in &others {
        let apex = kinds(Edns::No).swap_remove(0);
        let mut ask = |table: &Table| {
            let Worker { responder, out, .. } = &mut worker;
            out.clear();
            let respond = || _ = responder.respond(table, &apex.packet, &Asker::udp(apex.source), out);
            measure(respond).count_total
        };
        assert_eq!(ask(other), 0, "the first query after a swap");
        assert_eq!(ask(&large), 0, "the first query after swapping back");
    }
}

/// Counting is part of answering, and reading the counters is not.
#[test]
fn every_query_was_counted() {
    let mut worker = Worker::new();
    let table = table(&worker.counters);
    for (_, transport, kind) in all() {
        worker.respond(&table, &kind, transport);
    }
    assert_eq!(worker.counters.total(), all().len() as u64);
    let led: u64 = worker.counters.leads().iter().map(|(_, _, led)| led).sum();
    let is_dealt = |kind: &Kind| kind.name.starts_with("A") && kind.outcome == Outcome::Answered;
    assert_eq!(led, all().iter().filter(|(_, _, kind)| is_dealt(kind)).count() as u64);
}
