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
