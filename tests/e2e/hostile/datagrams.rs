//! Malformed datagrams, a good query behind each batch of them.

use std::{collections::BTreeMap, net::UdpSocket};

use domain::base::{Message, message::RecordSection, opt::UnknownOptData};

use crate::{
    good::{GOOD, Good},
    packets::{self, Packets},
    process::Process,
};

/// Bad datagrams in front of a good one: with their replies, less than either side's kernel holds.
const BATCH: usize = 48;

/// Sockets that send at once, so that every worker has something to do.
const SOCKETS: u8 = 4;

/// Rounds between good queries over TCP, and from a socket that sends nothing bad.
const ROUNDS: usize = 20;

/// One reply in so many is decoded by another implementation.
const DECODED: usize = 8;

/// Longest reply over UDP.
const MAX_REPLY: usize = 1232;

/// Sends datagrams and reads what comes back.
pub(crate) struct Datagrams<'g> {
    good: &'g Good,
    process: Process,
    packets: Packets,
    sockets: Vec<UdpSocket>,
    bystander: UdpSocket,
    seen: Seen,
    sent: usize,
    sent_octets: usize,
    asked: usize,
    retries: usize,
}

/// Replies to bad datagrams.
#[derive(Default)]
struct Seen {
    replies: usize,
    octets: usize,
    rcodes: BTreeMap<u8, usize>,
}

impl<'g> Datagrams<'g> {
    pub(crate) fn new(good: &'g Good, process: Process, packets: Packets) -> Self {
        let sockets = (1..=SOCKETS).map(|last| good.socket(good.source(last, [127, 0, 3]))).collect();
        let (seen, bystander) = (Seen::default(), good.socket([127, 0, 0, 1]));
        let (sent, sent_octets, asked, retries) = (0, 0, 0, 0);
        Datagrams { good, process, packets, sockets, bystander, seen, sent, sent_octets, asked, retries }
    }

    /// Sends so many of them.
    pub(crate) fn send(&mut self, count: usize) {
        let mut connection = self.good.connect();
        let mut rounds = 0;
        while self.sent < count {
            for socket in &self.sockets {
                let header = self.good.header(socket.local_addr().unwrap().ip());
                for number in 0..BATCH {
                    let mut packet = self.packets.next();
                    // A proxy's header is good in front of half of them: the rest is bad from its first octet on.
                    if number % 2 == 0 && packet.len() + header.len() <= packets::LONGEST {
                        packet.splice(0..0, header.iter().copied());
                    }
                    self.sent_octets += packet.len();
                    // The kernel may tell of nothing here but a datagram longer than there can be.
                    socket.send(&packet).unwrap();
                }
                self.sent += BATCH;
            }
            for socket in &self.sockets {
                self.retries += self.good.ask_udp(socket, self.asked, self.process, |reply| self.seen.reply(reply));
                self.asked += 1;
            }
            rounds += 1;
            if rounds % ROUNDS == 0 {
                let nothing_else = |reply: &[u8]| panic!("nobody asked for this: {reply:02x?}");
                self.retries += self.good.ask_udp(&self.bystander, self.asked, self.process, nothing_else);
                self.good.ask_tcp(&mut connection, self.asked + 1);
                self.good.ask_tcp(&mut self.good.connect(), self.asked + 2);
                self.asked += 3;
            }
        }
    }

    pub(crate) fn report(&self) -> String {
        let Seen { replies, octets, rcodes } = &self.seen;
        let factor = *octets as f64 / self.sent_octets as f64;
        format!(
            "{} bad datagrams ({} octets) got {replies} replies ({octets} octets, factor {factor:.2}), by rcode {rcodes:?}; \
             {} good queries in between all answered, {} asked again",
            self.sent, self.sent_octets, self.asked, self.retries
        )
    }
}

impl Seen {
    /// What every reply is, whatever the query was.
    fn reply(&mut self, reply: &[u8]) {
        assert!((12..=MAX_REPLY).contains(&reply.len()), "{} octets: {reply:02x?}", reply.len());
        assert!(u16::from_be_bytes([reply[0], reply[1]]) & GOOD == 0, "an id that no bad query had: {reply:02x?}");
        assert!(reply[2] & 0x80 != 0, "no response: {reply:02x?}");
        if self.replies.is_multiple_of(DECODED) {
            decoded(reply).unwrap_or_else(|error| panic!("{error}: {reply:02x?}"));
        }
        self.replies += 1;
        self.octets += reply.len();
        *self.rcodes.entry(reply[3] & 15).or_default() += 1;
    }
}

/// Whether every section, record and option of a reply can be read; by a library that the server does not use.
fn decoded(reply: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let message = Message::from_octets(reply)?;
    message.question().try_for_each(|question| question.map(drop))?;
    let sections: [RecordSection<'_, _>; 3] = [message.answer()?, message.authority()?, message.additional()?];
    for mut section in sections {
        section.try_for_each(|record| record.map(drop))?;
    }
    if let Some(opt) = message.opt() {
        opt.opt().iter::<UnknownOptData<_>>().try_for_each(|option| option.map(drop))?;
    }
    Ok(())
}
