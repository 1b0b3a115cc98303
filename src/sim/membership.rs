//! What all nodes share.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::{ClientRoute, ClusterSpec, auth::Authorization, gossip::Gossip};

/// The one truth from which each node's view is derived, and the dice.
#[derive(Debug)]
pub(super) struct Membership {
    gossip: Mutex<Gossip>,
    authorization: Mutex<Authorization>,
    routes: Mutex<Vec<ClientRoute>>,
    /// Rows in a page; 0 for as many as fit.
    page_rows: AtomicUsize,
    dice: Mutex<fastrand::Rng>,
}

impl Membership {
    /// Without members.
    pub(super) fn new(spec: &ClusterSpec) -> Self {
        Membership {
            gossip: Mutex::new(Gossip::new(spec.failure_detector)),
            authorization: Mutex::new(Authorization::new(spec.enforce_authorization, spec.roles.iter().cloned())),
            routes: Mutex::new(spec.client_routes.clone()),
            page_rows: AtomicUsize::new(spec.page_rows.unwrap_or(0)),
            dice: Mutex::new(fastrand::Rng::with_seed(spec.seed)),
        }
    }

    /// The gossip. No caller keeps it across an await; one that panicked cannot have left it half changed.
    pub(super) fn gossip(&self) -> MutexGuard<'_, Gossip> {
        locked(&self.gossip)
    }

    /// Who may do what.
    pub(super) fn authorization(&self) -> MutexGuard<'_, Authorization> {
        locked(&self.authorization)
    }

    /// How clients of private connections reach nodes.
    pub(super) fn routes(&self) -> MutexGuard<'_, Vec<ClientRoute>> {
        locked(&self.routes)
    }

    /// Rows in a page of the API, at most.
    pub(super) fn page_rows(&self) -> Option<usize> {
        Some(self.page_rows.load(Relaxed)).filter(|rows| *rows > 0)
    }

    pub(super) fn set_page_rows(&self, rows: Option<usize>) {
        self.page_rows.store(rows.unwrap_or(0), Relaxed);
    }

    pub(super) fn shuffle<T>(&self, list: &mut [T]) {
        locked(&self.dice).shuffle(list);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
