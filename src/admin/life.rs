//! Whether this process gets on.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::service::Pulse;

/// How often the controller is asked whether it gets on, and how long it may take to say so.
const FEEL_EVERY: Duration = Duration::from_secs(3);

/// Without a sign of the controller for this long it hangs. Compiling the largest clusters takes a second; whoever ends
/// a process that is not live should not do so because the machine was busy.
const HANGS_AFTER: Duration = Duration::from_secs(30);

/// The signs of life. A part that ends unexpectedly ends the process, so that only one that hangs is left to be told.
pub(super) struct Life {
    /// `None` = nobody can be asked.
    pulse: Option<Pulse>,
    /// When the controller last got on.
    felt: Mutex<Instant>,
}

impl Life {
    pub(super) fn new(pulse: Option<Pulse>) -> Self {
        Life { pulse, felt: Mutex::new(Instant::now()) }
    }

    /// For how long there was no sign, where that is too long.
    pub(super) fn hangs(&self) -> Option<Duration> {
        let silent = self.felt.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        (self.pulse.is_some() && silent >= HANGS_AFTER).then_some(silent)
    }

    /// Asks every now and then, until told to stop.
    pub(super) async fn follow(&self, stop: &CancellationToken) {
        let Some(pulse) = &self.pulse else { return };
        let ask = async {
            loop {
                if pulse.is_felt(FEEL_EVERY).await {
                    *self.felt.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                }
                sleep(FEEL_EVERY).await;
            }
        };
        tokio::select! {
            () = ask => {}
            () = stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_hangs_is_told_until_it_gets_on() {
        let (pulse, mut pulsed) = Pulse::new();
        let (life, stop) = (Life::new(Some(pulse)), CancellationToken::new());
        let story = async {
            tokio::select! {
                () = pulsed.beat() => {}
                () = sleep(HANGS_AFTER * 2) => {}
            }
            assert_eq!(life.hangs(), None, "it gets on");
            sleep(HANGS_AFTER / 2).await;
            assert_eq!(life.hangs(), None, "a machine may be busy");
            sleep(HANGS_AFTER).await;
            assert!(life.hangs().is_some());
            tokio::select! {
                () = pulsed.beat() => {}
                () = sleep(FEEL_EVERY * 3) => {}
            }
            assert_eq!(life.hangs(), None, "it gets on again");
            stop.cancel();
        };
        tokio::join!(story, life.follow(&stop));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_can_be_asked_nobody_hangs() {
        let life = Life::new(None);
        life.follow(&CancellationToken::new()).await;
        sleep(HANGS_AFTER * 2).await;
        assert_eq!(life.hangs(), None);
    }
}
