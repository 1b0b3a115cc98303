//! What a running node does wrong.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::Version;

/// What a running node does wrong. Faults of different kinds add up; one of the same kind replaces the earlier one
/// (the list faults, from [`Fault::Entries`] on, always add up).
///
/// That a node does not run, or sees a part of the cluster only, is no fault of its own: see [`Cluster::stop`] and
/// [`Cluster::partition`].
///
/// [`Cluster::stop`]: super::Cluster::stop
/// [`Cluster::partition`]: super::Cluster::partition
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Accepts connections, reads requests, and answers none until healed: a stuck or suspended process. Requests
    /// whose client is still there are answered then.
    Hang,
    /// As if the network dropped its packets: a new connection is not even established (on Linux, whose full accept
    /// queue ignores the first packet of a handshake; elsewhere it may be established, and nobody answers), and those
    /// that exist get no answer. A client sees time-outs, never a refusal. Once healed, a handshake in progress
    /// succeeds at the client's next retry, as after a real loss: 1, 3 or 7 seconds after its start.
    Silent,
    /// Answers everything this much later.
    Slow(Duration),
    /// Answers one endpoint wrongly.
    Reply(Endpoint, BadReply),
    /// A server from before `dc` and `rack` existed: it ignores both and lists its own whole datacenter. Its system
    /// tables are those of [`Version::V6_1`]; unlike that one, it leaves out nodes that are down.
    OldVersion,
    /// Booleans of the API are booleans, `{"BOOL": true}`, and not texts.
    JsonBooleans,
    /// Lists the first of its entries three times more, as duplicate, with white space around it and (IPv6) with a
    /// `%scope`, and adds entries that are no usable address; `peers` has rows of this kind, too. A careful reader sees
    /// an unchanged list.
    OddEntries,
    /// Appends these entries, as they are, to every list that is not empty.
    Entries(Vec<String>),
    /// Claims that this address is in every list that is not empty, and, in its tables, next to itself in its rack.
    Adds(IpAddr),
    /// Keeps this address secret, in lists and tables.
    Omits(IpAddr),
}

/// What can be asked of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `GET /localnodes`.
    Localnodes,
    /// `GET /`.
    Health,
    /// `POST /`, the DynamoDB API.
    Api,
}

/// A wrong answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadReply {
    /// 200 and `application/json`, with a body that is neither JSON nor UTF-8.
    Garbage,
    /// 200 and a page of HTML, as a captive proxy answers.
    Html,
    /// 200 and `[]`.
    EmptyList,
    /// 200 and the right list, as valid JSON blown up to more than 8 MiB, without a `Content-Length`.
    Huge,
    /// 200 and the first half of the body promised, then the connection is cut.
    Truncated,
    /// This status with a JSON body; the connection is kept. What is no status counts as 500.
    Status(u16),
    /// 302 to this location.
    Redirect(String),
}

/// Size of the white space in a huge body: well above the 1 MiB that a reader of lists should accept, and small
/// enough that a test which reads it all stays quick.
pub(super) const HUGE_BODY: usize = 8 << 20;

/// Entries no reader can use: a node without an RPC address is listed by its host id, and the rest is what wrong
/// configuration puts there.
pub(super) const UNUSABLE_ENTRIES: &[&str] = &[
    "c3a7e1f0-5c3c-4c52-9c35-0f4a8b2d7e11",
    "node.example.com",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "127.0.0.1:80000",
    "[::1]:",
    "",
    "  ",
    "127.0.0.1, 127.0.0.2",
];

/// Everything one node does wrong now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) hang: bool,
    pub(super) silent: bool,
    pub(super) delay: Duration,
    pub(super) replies: BTreeMap<Endpoint, BadReply>,
    pub(super) old_version: bool,
    pub(super) json_booleans: bool,
    pub(super) odd_entries: bool,
    pub(super) entries: Vec<String>,
    pub(super) adds: Vec<IpAddr>,
    pub(super) omits: Vec<IpAddr>,
}

impl Faults {
    /// Adds one.
    pub(super) fn add(&mut self, fault: Fault) {
        match fault {
            Fault::Hang => self.hang = true,
            Fault::Silent => self.silent = true,
            Fault::Slow(delay) => self.delay = delay,
            Fault::Reply(endpoint, reply) => {
                self.replies.insert(endpoint, reply);
            }
            Fault::OldVersion => self.old_version = true,
            Fault::JsonBooleans => self.json_booleans = true,
            Fault::OddEntries => self.odd_entries = true,
            Fault::Entries(entries) => self.entries.extend(entries),
            Fault::Adds(address) => self.adds.push(address),
            Fault::Omits(address) => self.omits.push(address),
        }
    }

    /// The release that tables are those of, on a node that runs this one.
    pub(super) fn version(&self, own: Version) -> Version {
        if self.old_version { own.min(Version::V6_1) } else { own }
    }

    /// Whether the node answers at all.
    pub(super) fn answers(&self) -> bool {
        !self.hang && !self.silent
    }
}
