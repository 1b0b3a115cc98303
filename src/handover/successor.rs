//! The process that replaces this one.

use std::{os::fd::AsFd, time::Duration};

use super::{
    Knowledge, Offer,
    channel::{Channel, ChannelError, DESCRIPTORS},
    control::Turn,
    knowledge::Told,
    message::{Details, Message},
};
use crate::server::Passed;

/// How long it may take to accept a message. It does nothing else with this connection.
const SEND_WITHIN: Duration = Duration::from_secs(2);

/// The process that replaces this one, and serves already.
#[derive(Debug)]
pub struct Successor {
    channel: Channel,
    pid: u32,
    claimed: Vec<bool>,
    /// Nobody else replaces this process any more.
    _turn: Turn,
}

impl Successor {
    pub(super) fn new(channel: Channel, pid: u32, claimed: Vec<bool>, turn: Turn) -> Self {
        Successor { channel, pid, claimed, _turn: turn }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Which of the sockets that were offered it serves.
    pub fn claimed(&self) -> &[bool] {
        &self.claimed
    }

    /// Connections that it is to go on with: at most [`Successor::MOST`].
    pub async fn pass(&self, passed: &[Passed]) -> Result<(), ChannelError> {
        let connections = passed.iter().map(Details::of).collect();
        let descriptors: Vec<_> = passed.iter().map(|passed| passed.socket.as_fd()).collect();
        self.channel.send(&Message::Connections { connections }, &descriptors, SEND_WITHIN).await
    }

    /// Connections passed at once.
    pub const MOST: usize = DESCRIPTORS;

    /// Says that this process ends, having answered so many queries.
    pub async fn done(self, queries: u64) -> Result<(), ChannelError> {
        self.channel.send(&Message::Done { queries }, &[], SEND_WITHIN).await
    }
}

impl Offer {
    pub(super) async fn send(self, channel: &Channel, within: Duration) -> Result<(), ChannelError> {
        let offer = Message::Offer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            cookie_secret: self.cookie_secret,
            zones: self.zones.into_iter().map(|zone: Knowledge| Told::from(zone)).collect(),
            sockets: self.sockets.len(),
            admin: self.admin.len(),
        };
        channel.send(&offer, &[], within).await?;
        let descriptors: Vec<_> = self.sockets.iter().chain(&self.admin).map(AsFd::as_fd).collect();
        for some in descriptors.chunks(DESCRIPTORS) {
            channel.send(&Message::Sockets, some, within).await?;
        }
        Ok(())
    }
}
