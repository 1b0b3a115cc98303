//! Messages with descriptors over a Unix socket.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::{io::Interest, net::UnixStream, time::timeout};

use super::message::Message;

/// Begins every message, so that whoever connected by mistake is noticed.
const MAGIC: [u8; 4] = *b"ADHO";

/// Octets in front of a message: the mark and the length.
const HEAD: usize = 8;

/// Longest message: what is known of a hundred thousand nodes.
const MAX_MESSAGE: usize = 32 << 20;

/// Descriptors with one message; Linux takes 253.
pub(super) const DESCRIPTORS: usize = 64;

/// Why the other process is not understood.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The socket.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The other side ended, or was ended.
    #[error("the other process closed the connection")]
    Closed,
    /// It went on saying nothing.
    #[error("the other process said nothing for {0:?}")]
    Silent(Duration),
    /// It is another program, or another version of this one.
    #[error("the other process says what is not understood: {0}")]
    Foreign(String),
}

/// One end of a connection between two processes.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    /// Received, and not told yet.
    received: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Channel { stream, received: Vec::new(), descriptors: Vec::new() }
    }

    /// Sends a message with these descriptors, [`DESCRIPTORS`] at most, within this time.
    pub(super) async fn send(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
        within: Duration,
    ) -> Result<(), ChannelError> {
        let body = serde_json::to_vec(message).map_err(io::Error::from)?;
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let octets = [&MAGIC[..], &len.to_be_bytes(), &body].concat();
        let sending = async {
            let mut sent = 0;
            while sent < octets.len() {
                // The descriptors go with the first octets.
                let with = if sent == 0 { descriptors } else { &[] };
                let some = || Ok(send_some(&self.stream, &octets[sent..], with)?);
                sent += self.stream.async_io(Interest::WRITABLE, some).await?;
            }
            Ok::<_, io::Error>(())
        };
        Ok(timeout(within, sending).await.map_err(|_| ChannelError::Silent(within))??)
    }

    /// The next message and its descriptors, within this time.
    pub(super) async fn receive(&mut self, within: Duration) -> Result<(Message, Vec<OwnedFd>), ChannelError> {
        timeout(within, self.receive_whole()).await.map_err(|_| ChannelError::Silent(within))?
    }

    async fn receive_whole(&mut self) -> Result<(Message, Vec<OwnedFd>), ChannelError> {
        loop {
            if let Some(len) = self.length()?
                && let Some(body) = self.received.get(HEAD..HEAD + len)
            {
                let message = serde_json::from_slice(body).map_err(|error| ChannelError::Foreign(error.to_string()))?;
                self.received.drain(..HEAD + len);
                return Ok((message, std::mem::take(&mut self.descriptors)));
            }
            // Never beyond this message, so that the descriptors of the next are not taken for its own.
            let missing = match self.length()? {
                Some(len) => HEAD + len - self.received.len(),
                None => HEAD - self.received.len(),
            };
            let (received, descriptors) = (&mut self.received, &mut self.descriptors);
            let some = || receive_some(&self.stream, missing, received, descriptors);
            if self.stream.async_io(Interest::READABLE, some).await? == 0 {
                return Err(ChannelError::Closed);
            }
            if descriptors.len() > DESCRIPTORS {
                return Err(ChannelError::Foreign("too many descriptors".to_owned()));
            }
        }
    }

    /// The length of the message that is being received.
    fn length(&self) -> Result<Option<usize>, ChannelError> {
        let Some(head) = self.received.first_chunk::<HEAD>() else { return Ok(None) };
        let [a, b, c, d, len @ ..] = *head;
        let len = u32::from_be_bytes(len) as usize;
        if [a, b, c, d] != MAGIC || len > MAX_MESSAGE {
            return Err(ChannelError::Foreign("this is no other process of ours".to_owned()));
        }
        Ok(Some(len))
    }
}

fn send_some(stream: &UnixStream, octets: &[u8], descriptors: &[BorrowedFd<'_>]) -> rustix::io::Result<usize> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(rustix::io::Errno::INVAL);
    }
    sendmsg(stream.as_fd(), &[IoSlice::new(octets)], &mut control, SendFlags::NOSIGNAL)
}

/// Receives up to `most` octets, and the descriptors that come with them; 0 at the end.
fn receive_some(
    stream: &UnixStream,
    most: usize,
    received: &mut Vec<u8>,
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    /// Octets taken at once.
    const PART: usize = 64 << 10;
    let mut part = vec![0; most.min(PART)];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let done = recvmsg(stream.as_fd(), &mut [IoSliceMut::new(&mut part)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            descriptors.extend(some);
        }
    }
    received.extend_from_slice(&part[..done.bytes]);
    Ok(done.bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read};

    use tokio::io::AsyncWriteExt;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn pair() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().unwrap();
        (Channel::new(one), Channel::new(other))
    }

    #[tokio::test]
    async fn messages_come_with_their_descriptors() {
        let (one, mut other) = pair();
        let (mut read, write) = io::pipe().unwrap();
        let descriptors = [write.as_fd(); DESCRIPTORS];
        let reason = "r".repeat(1 << 20);
        let sending = async {
            one.send(&Message::Ready, &[], SOON).await.unwrap();
            one.send(&Message::Refused { reason: reason.clone() }, &descriptors, SOON).await.unwrap();
            one.send(&Message::Sockets, &descriptors[..1], SOON).await.unwrap();
            one.send(&Message::Go, &[], SOON).await.unwrap();
        };
        let receiving = async {
            let mut all = Vec::new();
            for _ in 0..4 {
                all.push(other.receive(SOON).await.unwrap());
            }
            all
        };
        let ((), all) = tokio::join!(sending, receiving);
        let counts: Vec<usize> = all.iter().map(|(_, descriptors)| descriptors.len()).collect();
        assert_eq!(counts, [0, DESCRIPTORS, 1, 0]);
        assert!(matches!(&all[1].0, Message::Refused { reason: told } if *told == reason));
        // They are the same pipe.
        let mut back = File::from(all.into_iter().nth(2).unwrap().1.remove(0));
        io::Write::write_all(&mut back, b"!").unwrap();
        let mut octet = [0];
        read.read_exact(&mut octet).unwrap();
        assert_eq!(&octet, b"!");
    }

    #[tokio::test]
    async fn what_is_no_message_is_told() {
        for (octets, reason) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "no other process of ours"),
            (b"ADHO\xff\xff\xff\xff", "no other process of ours"),
            (b"ADHO\0\0\0\x02{}", "not understood"),
        ] {
            let (mut stream, other) = UnixStream::pair().unwrap();
            stream.write_all(octets).await.unwrap();
            let error = Channel::new(other).receive(SOON).await.unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        let (mut stream, other) = UnixStream::pair().unwrap();
        stream.write_all(b"ADHO\0\0").await.unwrap();
        drop(stream);
        assert!(matches!(Channel::new(other).receive(SOON).await, Err(ChannelError::Closed)));
        let (_stream, other) = UnixStream::pair().unwrap();
        let silent = Channel::new(other).receive(Duration::from_millis(20)).await;
        assert!(matches!(silent, Err(ChannelError::Silent(_))));
    }
}
