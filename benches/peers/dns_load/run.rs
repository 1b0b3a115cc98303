//! One measurement: warm up, measure, wait for the last replies.

use std::{io, time::Duration};

use serde_json::{Value, json};

use crate::{
    clocks::{Clock, CpuClocks},
    question::Question,
    tally::Tally,
};

/// How often queries are looked through for ones to give up.
const LOOK: u64 = 50_000_000;

/// The questions, asked equally often.
#[derive(Debug)]
pub(crate) struct Script {
    questions: Vec<Question>,
    asked: Vec<u64>,
}

impl Script {
    /// At least one question.
    pub(crate) fn new(questions: Vec<Question>) -> Self {
        Script { asked: vec![0; questions.len()], questions }
    }

    /// The question asked least often so far.
    pub(crate) fn next(&self) -> usize {
        let least = self.asked.iter().enumerate().min_by_key(|(_, asked)| **asked);
        least.map_or(0, |(question, _)| question)
    }

    /// So many queries were made of a question.
    pub(crate) fn sent(&mut self, question: usize, count: u64) {
        self.asked[question] += count;
    }

    pub(crate) fn question(&self, question: usize) -> &Question {
        &self.questions[question]
    }
}

/// A way to ask.
pub(crate) trait Load {
    /// Sends what is due and takes the replies that are there; never waits.
    fn turn(&mut self, clock: Clock, sending: bool, tally: &mut Tally) -> io::Result<()>;

    /// Gives up queries sent before a moment; returns how many.
    fn expire(&mut self, before: u64) -> u64;

    /// Queries without a reply so far.
    fn under_way(&self) -> usize;
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Load before anything is counted.
    pub(crate) warm_up: Duration,
    /// What is measured.
    pub(crate) measured: Duration,
    /// Right replies after which it ends early.
    pub(crate) answers: Option<u64>,
    /// A query without a reply for so long is lost.
    pub(crate) give_up: Duration,
}

/// Runs a load; `server` are the clocks of its processes.
pub(crate) fn measure(load: &mut dyn Load, span: Span, server: &CpuClocks) -> io::Result<Value> {
    let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut run = Run {
        load,
        clock: Clock::start(),
        tally: Tally::new(),
        give_up: nanoseconds(span.give_up),
        looked: 0,
        answers: span.answers.unwrap_or(u64::MAX),
    };
    let own = CpuClocks::own();
    run.until(nanoseconds(span.warm_up))?;
    let warm_up_answers = run.tally.answers;
    run.tally.clear();
    let (cpu, own_cpu, began) = (server.read()?, own.read()?, run.clock.now());
    run.until(began.saturating_add(nanoseconds(span.measured)))?;
    let (cpu, own_cpu) = (server.read()? - cpu, own.read()? - own_cpu);
    let elapsed = run.clock.now() - began;
    let answers = run.tally.answers;
    run.drain()?;
    let tally = &run.tally;
    let seconds = elapsed as f64 / 1e9;
    let latency = |share| tally.latencies.quantile(share).map(|value| value as f64 / 1e3);
    Ok(json!({
        "seconds": seconds,
        "answers": answers,
        "answers_in_all": warm_up_answers + tally.answers,
        "per_second": answers as f64 / seconds,
        "lost": tally.lost,
        "wrong": tally.wrong,
        "first_wrong": tally.first_wrong.map(|wrong| format!("{wrong:?}")),
        "strays": tally.strays,
        "closed": tally.closed,
        "cpu_us": (answers > 0).then(|| cpu as f64 / 1e3 / answers as f64),
        "utilisation": cpu as f64 / elapsed as f64,
        "own_utilisation": own_cpu as f64 / elapsed as f64,
        "p50_us": latency(0.5),
        "p99_us": latency(0.99),
        "p999_us": latency(0.999),
        "max_us": latency(1.0),
        "late_p99_us": tally.late.quantile(0.99).map(|value| value as f64 / 1e3),
    }))
}

struct Run<'a> {
    load: &'a mut dyn Load,
    clock: Clock,
    tally: Tally,
    give_up: u64,
    looked: u64,
    answers: u64,
}

impl Run<'_> {
    fn until(&mut self, end: u64) -> io::Result<()> {
        while self.tally.answers < self.answers {
            self.load.turn(self.clock, true, &mut self.tally)?;
            let now = self.clock.now();
            if now >= end {
                break;
            }
            self.look(now);
        }
        Ok(())
    }

    /// Takes what is still coming; what does not come is lost.
    fn drain(&mut self) -> io::Result<()> {
        let end = self.clock.now() + self.give_up;
        while self.load.under_way() > 0 && self.clock.now() < end {
            self.load.turn(self.clock, false, &mut self.tally)?;
        }
        self.tally.lost += self.load.expire(u64::MAX);
        Ok(())
    }

    fn look(&mut self, now: u64) {
        if now - self.looked > LOOK {
            self.looked = now;
            self.tally.lost += self.load.expire(now.saturating_sub(self.give_up));
        }
    }
}
