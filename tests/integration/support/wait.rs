//! Waiting for states, with a deadline.

use std::{
    fmt::Debug,
    future::Future,
    time::{Duration, Instant},
};

/// How long a state may take where nothing else is promised: generous, since it is only used up by a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until the answer pleases; panics with the last answer once the time is up.
pub async fn within<T: Debug, F: Future<Output = T>>(
    limit: Duration,
    mut ask: impl FnMut() -> F,
    pleases: impl Fn(&T) -> bool,
) -> T {
    let start = Instant::now();
    loop {
        let answer = ask().await;
        if pleases(&answer) {
            return answer;
        }
        assert!(start.elapsed() < limit, "after {limit:?} still {answer:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// [`within`] the usual patience.
pub async fn eventually<T: Debug, F: Future<Output = T>>(ask: impl FnMut() -> F, pleases: impl Fn(&T) -> bool) -> T {
    within(PATIENCE, ask, pleases).await
}

/// [`within`], where only time counts in which this process had its turn: a promise about times is not broken by a
/// machine that is busy with something else.
pub async fn within_own_time<T: Debug, F: Future<Output = T>>(
    limit: Duration,
    mut ask: impl FnMut() -> F,
    pleases: impl Fn(&T) -> bool,
) -> T {
    /// Twice what a turn takes where nobody else wants the CPU.
    const TURN: Duration = Duration::from_millis(25);
    let mut spent = Duration::ZERO;
    loop {
        let start = Instant::now();
        let answer = ask().await;
        if pleases(&answer) {
            return answer;
        }
        assert!(spent < limit, "after {limit:?} still {answer:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
        spent += start.elapsed().min(TURN);
    }
}
