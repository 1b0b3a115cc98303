//! The heartbeat: a supervisor is told that we live, as long as we do.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};

/// Questions that may wait: whoever asks more than one at a time is told that there is no answer.
const ASKERS: usize = 2;

/// Asks a task whether it still gets on.
#[derive(Clone, Debug)]
pub struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

/// What the task that is asked has to do: [`Pulsed::beat`] where it waits for work.
#[derive(Debug)]
pub struct Pulsed(mpsc::Receiver<oneshot::Sender<()>>);

impl Pulse {
    /// Who asks, and who is asked.
    pub fn new() -> (Self, Pulsed) {
        let (ask, asked) = mpsc::channel(ASKERS);
        (Pulse(ask), Pulsed(asked))
    }

    /// Whether there is an answer in time.
    pub async fn is_felt(&self, within: Duration) -> bool {
        let (answer, answered) = oneshot::channel();
        // A question that still waits was not answered either.
        self.0.try_send(answer).is_ok() && matches!(timeout(within, answered).await, Ok(Ok(())))
    }
}

impl Pulsed {
    /// Answers questions, for as long as it is polled. Never completes; may be dropped at any time.
    pub async fn beat(&mut self) {
        while let Some(answer) = self.0.recv().await {
            // Who asked may have given up.
            let _ = answer.send(());
        }
        // Nobody is left who would ask.
        std::future::pending().await
    }
}

/// Beats twice in each `period` of a watchdog, but only after a pulse was felt: neither a runtime that hangs nor a task
/// that does is ever said to live. Tells in the log when beats are left out and when they go on. Runs until dropped.
pub async fn heartbeat<F: Future<Output = ()>>(period: Duration, pulse: Pulse, beat: impl Fn() -> F) {
    // An interval of zero would panic.
    let half = (period / 2).max(Duration::from_millis(1));
    let mut ticks = interval(half);
    // After a pause of the machine one beat says as much as many.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_missed = false;
    loop {
        ticks.tick().await;
        // The rest of the half is for the beat itself.
        if pulse.is_felt(half * 3 / 4).await {
            beat().await;
            if std::mem::take(&mut is_missed) {
                tracing::warn!("the controller gets on again: the watchdog is told so");
            }
        } else if !std::mem::replace(&mut is_missed, true) {
            tracing::error!("the controller does not get on: the watchdog is not told that we live");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use tokio::time::sleep;

    use super::*;

    /// A heartbeat with a period of two seconds, and how often it has beaten.
    fn beating(pulse: Pulse) -> Arc<AtomicU32> {
        let beats = Arc::new(AtomicU32::new(0));
        let count = beats.clone();
        tokio::spawn(heartbeat(Duration::from_secs(2), pulse, move || {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(())
        }));
        beats
    }

    #[tokio::test(start_paused = true)]
    async fn beats_twice_per_period_while_the_task_gets_on() {
        let (pulse, mut pulsed) = Pulse::new();
        let beats = beating(pulse);
        tokio::select! {
            () = pulsed.beat() => unreachable!("it never completes"),
            () = sleep(Duration::from_millis(9_500)) => {}
        }
        assert_eq!(beats.load(Ordering::Relaxed), 10, "one at once, one for each second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_is_not_said_to_live_until_it_gets_on() {
        let (pulse, mut pulsed) = Pulse::new();
        let beats = beating(pulse);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(beats.load(Ordering::Relaxed), 0, "nobody answered");
        tokio::select! {
            () = pulsed.beat() => unreachable!("it never completes"),
            () = sleep(Duration::from_millis(2_500)) => {}
        }
        assert!(beats.load(Ordering::Relaxed) >= 2, "it gets on");
        let before = beats.load(Ordering::Relaxed);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(beats.load(Ordering::Relaxed), before, "it hangs again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ended_is_not_said_to_live() {
        let (pulse, pulsed) = Pulse::new();
        drop(pulsed);
        let beats = beating(pulse);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(beats.load(Ordering::Relaxed), 0);
    }
}
