//! The tasks of one worker, all on its own thread.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    panic::AssertUnwindSafe,
    rc::Rc,
    time::Instant,
};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::server::tcp::Seldom;

/// Starts a worker's tasks, and notices when one fails: nothing may end here without a word, since a listener that is
/// gone looks like one that nobody asks.
///
/// A connection that panics ends alone. What it may have met with is one client's doing, and whoever finds such a fault
/// in a library must not have a switch that turns everything off.
#[derive(Clone, Debug, Default)]
pub(super) struct Crew(Rc<Tasks>);

#[derive(Debug, Default)]
struct Tasks {
    stopping: CancellationToken,
    failed: CancellationToken,
    /// Connections, and what they started.
    open: Cell<usize>,
    panics: RefCell<Seldom>,
}

impl Crew {
    /// Cancelled once the worker is to stop.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Waits until a task ended that should not have.
    pub(super) async fn failed(&self) {
        self.0.failed.cancelled().await;
    }

    /// Tasks of connections that are not done.
    pub(super) fn open(&self) -> usize {
        self.0.open.get()
    }

    /// A task of a connection: it may end whenever it likes.
    pub(super) fn connection(&self, task: impl Future<Output = ()> + 'static) {
        self.0.open.set(self.0.open.get() + 1);
        let open = Open(self.0.clone());
        tokio::task::spawn_local(async move {
            // What it shares with others is borrowed for single calls, and let go of when one panics.
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if ended.is_err() && open.0.panics.borrow_mut().is_due(Instant::now()) {
                tracing::error!("a connection's task panicked; please report it. The other connections go on");
            }
        });
    }

    /// A task that is not to end before the worker stops.
    pub(super) fn lasting(&self, task: impl Future<Output = ()> + 'static) {
        let lasting = Lasting(self.0.clone());
        tokio::task::spawn_local(async move {
            let _lasting = lasting;
            task.await;
        });
    }
}

/// HTTP/2 answers each request in a task of its own.
impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Crew {
    fn execute(&self, task: F) {
        self.connection(task);
    }
}

struct Open(Rc<Tasks>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
    }
}

struct Lasting(Rc<Tasks>);

impl Drop for Lasting {
    fn drop(&mut self) {
        if !self.0.stopping.is_cancelled() {
            self.0.failed.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::task::{LocalSet, yield_now};

    use super::*;
    use crate::server::{
        Transport,
        encrypted::{counters::Ending, desk::tests::desk},
    };

    #[tokio::test]
    async fn a_task_that_fails_is_noticed() {
        LocalSet::new()
            .run_until(async {
                let crew = Crew::default();
                crew.connection(async {});
                crew.lasting(std::future::pending());
                yield_now().await;
                assert!(crew.failed().now_or_never().is_none() && crew.open() == 0);
                let crew = Crew::default();
                crew.lasting(async {});
                crew.failed().await;

                let crew = Crew::default();
                crew.stopping().cancel();
                crew.lasting(async {});
                yield_now().await;
                assert!(crew.failed().now_or_never().is_none());
            })
            .await;
    }

    #[tokio::test]
    async fn a_connection_that_panics_ends_alone() {
        LocalSet::new()
            .run_until(async {
                let (crew, desk) = (Crew::default(), desk());
                let visit = desk.admit("192.0.2.1:53".parse().unwrap());
                crew.connection(async move {
                    let _visit = visit;
                    yield_now().await;
                    panic!("on purpose");
                });
                let (done, other) = (Rc::new(Cell::new(false)), crew.open());
                let set = done.clone();
                crew.connection(async move { set.set(true) });
                while crew.open() > 0 {
                    yield_now().await;
                }
                assert!(done.get() && other == 1);
                assert!(crew.failed().now_or_never().is_none());
                assert_eq!((desk.held(), desk.connections().open(Transport::Tls)), (0, 0));
                assert_eq!(desk.connections().ended(Transport::Tls, Ending::Failed), 1);
            })
            .await;
    }

    #[tokio::test]
    async fn a_lasting_task_that_panics_is_noticed() {
        LocalSet::new()
            .run_until(async {
                let crew = Crew::default();
                crew.lasting(async { panic!("on purpose") });
                crew.failed().await;
            })
            .await;
    }
}
