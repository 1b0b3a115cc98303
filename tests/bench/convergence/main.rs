//! How long answers stay wrong after something happens to the cluster: the real program at default settings, over a
//! simulated cluster, asked for the same name every millisecond.
//!
//! ```text
//! tests/bench/convergence/run                            # every event, 50 times
//! tests/bench/convergence/run --runs 10 --at-once 4 drain
//! ```
//!
//! Prints a Markdown table: time from the event to the last wrong answer. What is wrong is said in [`Event`]; an answer
//! that is an error or empty always is. Never a test: a machine that is busy makes times longer.
//!
//! Each run has a server and a cluster of its own: six nodes, two in each of three racks of one datacenter, which notice
//! a crash after ScyllaDB's default of 20 s. `--at-once` runs at the same time save time where the machine has cores to
//! spare: everything but the queries is waiting.
#![allow(clippy::unwrap_used, reason = "what fails here ends the measurement")]
#![allow(unreachable_pub, reason = "nobody uses this crate: pub means for the other modules, as in a library")]

mod asking;
mod events;
mod server;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use self::events::{Event, Measured};

/// Runs of each event unless `--runs` says otherwise.
const RUNS: usize = 50;

struct Arguments {
    events: Vec<Event>,
    runs: usize,
    at_once: usize,
}

fn arguments() -> Result<Option<Arguments>, String> {
    let (mut events, mut runs, mut at_once, mut is_bench) = (Vec::new(), RUNS, 1, false);
    let mut given = std::env::args().skip(1);
    let number = |given: &mut dyn Iterator<Item = String>, what: &str| {
        let number = given.next().and_then(|number| number.parse().ok()).filter(|number| *number > 0);
        number.ok_or_else(|| format!("{what} takes a number"))
    };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            // Cargo's own.
            "--bench" => is_bench = true,
            "--runs" => runs = number(&mut given, "--runs")?,
            "--at-once" => at_once = number(&mut given, "--at-once")?,
            name => events.push(Event::ALL.into_iter().find(|event| event.name() == name).ok_or_else(|| {
                let known = Event::ALL.map(Event::name).join(", ");
                format!("unknown: {name}; events: {known}; options: --runs N, --at-once N")
            })?),
        }
    }
    if events.is_empty() {
        events = Event::ALL.to_vec();
    }
    Ok(is_bench.then_some(Arguments { events, runs, at_once }))
}

fn main() {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        // `cargo test --all-targets` starts benchmarks, too.
        Ok(None) => return,
        Err(problem) => {
            eprintln!("{problem}");
            std::process::exit(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let results = runtime.block_on(measure(&arguments));
    println!("{}", table(&arguments, &results));
}

/// Every run of every event; runs of the same event are spread over the lanes' whole time.
async fn measure(arguments: &Arguments) -> BTreeMap<Event, Vec<Measured>> {
    let plan: Vec<Event> = (0..arguments.runs).flat_map(|_| arguments.events.iter().copied()).collect();
    let (plan, next) = (Arc::new(plan), Arc::new(AtomicUsize::new(0)));
    let lanes: Vec<_> = (0..arguments.at_once)
        .map(|lane| {
            let (plan, next) = (plan.clone(), next.clone());
            tokio::spawn(async move {
                let mut measured = Vec::new();
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    let Some(event) = plan.get(run) else { return measured };
                    let result = events::run(*event, lane, run).await;
                    eprintln!("{}/{} {}: {result}", run + 1, plan.len(), event.name());
                    measured.push((*event, result));
                }
            })
        })
        .collect();
    let mut results: BTreeMap<Event, Vec<Measured>> = BTreeMap::new();
    for lane in lanes {
        for (event, result) in lane.await.unwrap() {
            results.entry(event).or_default().push(result);
        }
    }
    results
}

fn table(arguments: &Arguments, results: &BTreeMap<Event, Vec<Measured>>) -> String {
    let mut text = String::from(
        "| event | an answer is wrong when | runs | wrong, of all | p50 | p99 | max | goal, p99 |\n\
         |---|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for (event, measured) in results {
        let mut times: Vec<Duration> = measured.iter().filter_map(|measured| measured.took).collect();
        times.sort();
        let missing = measured.len() - times.len();
        let at = |share: f64| match (times.len() as f64 * share).ceil() as usize {
            0 => "-".to_owned(),
            rank => seconds(times[rank - 1]),
        };
        let (asked, wrong): (u64, u64) =
            measured.iter().fold((0, 0), |(asked, wrong), run| (asked + run.asked, wrong + run.wrong));
        let goal = event.goal().map_or_else(|| "-".to_owned(), seconds);
        let runs = if missing > 0 {
            format!("{} ({missing} without result)", measured.len())
        } else {
            measured.len().to_string()
        };
        text += &format!(
            "| {} | {} | {runs} | {wrong} of {asked} | {} | {} | {} | {goal} |\n",
            event.told(),
            event.wrong(),
            at(0.5),
            at(0.99),
            at(1.0),
        );
    }
    let at_once = match arguments.at_once {
        1 => "one run after another".to_owned(),
        lanes => format!("{lanes} runs at once"),
    };
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    text + &format!("\n{at_once}, {cpus} CPUs; `tests/bench/convergence/run`\n")
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
