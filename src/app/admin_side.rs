//! The HTTP side, and how it goes on to another configuration.

use std::{io, net::SocketAddr, os::fd::OwnedFd};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::zone::{Tasks, spawn};
use crate::{
    admin::{BindError, Bound, Hands, Listeners, Reload, Sight, bind_with},
    config::AdminConfig,
    reload::{Outcome, Trigger},
};

/// The HTTP side at work.
pub(super) struct AdminSide {
    addresses: Vec<SocketAddr>,
    /// The sockets once more, so that addresses that stay never refuse anybody.
    listeners: Listeners,
    hands: Hands,
    stop: CancellationToken,
}

impl AdminSide {
    /// Serves.
    pub(super) fn serve(
        bound: Bound,
        sight: &Sight,
        hands: Hands,
        tasks: &mut Tasks,
        stop: &CancellationToken,
    ) -> Self {
        // Without descriptors left, the next change of an address that stays fails, and says so.
        let listeners = bound.listeners().unwrap_or_default();
        let (addresses, stop) = (bound.addresses(), stop.child_token());
        let serving = bound.serve(sight.clone(), hands.clone(), stop.clone());
        spawn(tasks, "the HTTP side", &stop, serving);
        AdminSide { addresses, listeners, hands, stop }
    }

    /// The addresses, with the real ports.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Its sockets once more, for another process.
    pub(super) fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.listeners.sockets().map(|socket| Ok(socket.try_clone()?.into())).collect()
    }

    /// Binds what another configuration has beyond this one, and changes nothing.
    pub(super) fn prepare(&self, config: &AdminConfig) -> Result<Bound, BindError> {
        bind_with(config, &self.listeners)
    }

    /// Goes on with what was prepared; requests under way are answered.
    pub(super) fn change(&mut self, bound: Bound, sight: &Sight, tasks: &mut Tasks, stop: &CancellationToken) {
        let next = Self::serve(bound, sight, self.hands.clone(), tasks, stop);
        std::mem::replace(self, next).stop.cancel();
    }
}

#[async_trait]
impl Reload for Trigger {
    async fn reload(&self) -> Outcome {
        Trigger::reload(self).await
    }
}
