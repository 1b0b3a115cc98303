//! One instance, asked over DNS.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, ResponseCode},
    rr::{
        Name, RData, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};
use tokio::time::timeout;

use crate::cli::dns::{self, Failure};

/// How long one try may take, and how many there are over UDP: a datagram may be lost.
const TRY_WITHIN: Duration = Duration::from_secs(1);

/// See [`TRY_WITHIN`].
const TRIES: usize = 3;

/// How long a connection with its question and reply may take.
const TCP_WITHIN: Duration = Duration::from_secs(3);

/// The size of datagrams that pass everywhere (RFC 9715).
const PAYLOAD: u16 = 1232;

/// Option NSID (RFC 5001).
const NSID: u16 = 3;

/// Option ZONEVERSION (RFC 9660).
const ZONEVERSION: u16 = 19;

/// Lines of an explanation that are read at most; the nodes' own lines follow them.
const LINES: usize = 12;

/// One server.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    /// As the operator wrote it.
    pub(super) host: String,
    /// Where it is asked.
    pub(super) address: SocketAddr,
}

/// What an instance tells of a zone as a whole.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Which server it is (RFC 5001), where it tells.
    pub(super) identity: Option<String>,
    /// The SOA's serial: the zone's epoch.
    pub(super) serial: Option<u32>,
    /// The serial by ZONEVERSION (RFC 9660).
    pub(super) version: Option<u32>,
    /// `NOERROR` where it serves the zone.
    pub(super) rcode: ResponseCode,
}

/// What an instance tells of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Of the list of nodes.
    pub(super) rcode: ResponseCode,
    /// Every node answered, with its port.
    pub(super) nodes: BTreeSet<String>,
    /// How the answer comes about: the explanation's lines before its nodes, without epoch and TTLs.
    pub(super) told: Vec<String>,
}

impl View {
    /// Whether what is answered is believed to be stale.
    pub(super) fn is_stale(&self) -> bool {
        self.told.iter().any(|line| line.contains("last known good") || line.starts_with("remembered:"))
    }

    /// Whether another scope's nodes are answered.
    pub(super) fn falls_back(&self) -> bool {
        self.told.iter().any(|line| line.contains(", fallback"))
    }
}

impl Instance {
    /// What it tells of a zone.
    pub(super) async fn state(&self, apex: &Name) -> Result<State, Failure> {
        let reply = self.ask(apex.clone(), RecordType::SOA).await?;
        let serial = reply.answers.iter().chain(&reply.authorities).find_map(|record| match &record.data {
            RData::SOA(soa) => Some(soa.serial),
            _ => None,
        });
        let option = |code: u16| reply.edns.as_ref().and_then(|edns| edns.option(EdnsCode::from(code)));
        let identity = match option(NSID) {
            Some(EdnsOption::NSID(identity)) => Some(String::from_utf8_lossy(identity.as_ref()).into_owned()),
            _ => None,
        };
        let version = match option(ZONEVERSION) {
            // The number of labels, type 0 (the serial), the serial.
            Some(EdnsOption::Unknown(_, data)) => match data[..] {
                [_, 0, a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
                _ => None,
            },
            _ => None,
        };
        Ok(State { identity, serial, version, rcode: reply.metadata.response_code })
    }

    /// What it tells of a name.
    pub(super) async fn view(&self, name: &Name) -> Result<View, Failure> {
        let below = |labels: &str| Name::from_ascii(labels).and_then(|labels| labels.append_domain(name));
        // A name too long to have another below it has neither list nor explanation.
        let list = match below("_alternator._tcp") {
            Ok(list) => self.ask(list, RecordType::SRV).await?,
            Err(_) => self.ask(name.clone(), RecordType::A).await?,
        };
        let node = |data: &RData| match data {
            RData::SRV(srv) => Some(format!("{}:{}", told_node(&srv.target), srv.port)),
            _ => None,
        };
        let nodes = list.answers.iter().filter_map(|record| node(&record.data)).collect();
        let explanation = match below("_explain") {
            Ok(explanation) => self.over_tcp(&question(explanation, RecordType::TXT)).await?,
            Err(_) => list.clone(),
        };
        let text = |data: &RData| match data {
            RData::TXT(txt) => {
                Some(txt.txt_data.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect::<String>())
            }
            _ => None,
        };
        let lines = explanation.answers.iter().filter_map(|record| text(&record.data));
        let is_head = |line: &String| !["in ", "out ", "... "].iter().any(|start| line.starts_with(start));
        let told = lines.take_while(is_head).take(LINES).filter_map(|line| shared(&line)).collect();
        Ok(View { rcode: list.metadata.response_code, nodes, told })
    }

    /// Asks over UDP, and over TCP what does not fit.
    async fn ask(&self, name: Name, rtype: RecordType) -> Result<Message, Failure> {
        let question = question(name, rtype);
        let mut failure = Failure::Silent;
        for _ in 0..TRIES {
            match timeout(TRY_WITHIN, dns::over_udp(self.address, &question)).await {
                Ok(Ok(reply)) if reply.metadata.truncation => return self.over_tcp(&question).await,
                Ok(Ok(reply)) => return Ok(reply),
                // Somebody who starts just now may be there at the next try.
                Ok(Err(found)) => failure = found,
                Err(_) => failure = Failure::Silent,
            }
        }
        Err(failure)
    }

    async fn over_tcp(&self, question: &Message) -> Result<Message, Failure> {
        timeout(TCP_WITHIN, dns::over_tcp(self.address, question)).await.unwrap_or(Err(Failure::Silent))
    }
}

fn question(name: Name, rtype: RecordType) -> Message {
    let mut message = dns::question(name, rtype);
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    edns.options_mut().insert(EdnsOption::Unknown(NSID, Vec::new()));
    edns.options_mut().insert(EdnsOption::Unknown(ZONEVERSION, Vec::new()));
    message.set_edns(edns);
    message
}

/// The address that a node's name stands for, `n-10-0-0-1` for 10.0.0.1; the name itself where it is another one.
fn told_node(target: &Name) -> String {
    let label = target.iter().next().map(|label| String::from_utf8_lossy(label).into_owned()).unwrap_or_default();
    let spelt = label.strip_prefix("n-").unwrap_or_default();
    let v4 = spelt.replace('-', ".").parse::<Ipv4Addr>().map(|address| address.to_string());
    let v6 = || spelt.replace('-', ":").parse::<Ipv6Addr>().map(|address| format!("[{address}]"));
    v4.or_else(|_| v6()).unwrap_or_else(|_| target.to_string())
}

/// What is to be the same in all instances; `None` for a line that has nothing of it. Each has an epoch of its own, TTLs
/// are shorter where it alone sees a node fail, and it may be asked from another address, hence see another client.
fn shared(line: &str) -> Option<String> {
    let is_own = |word: &&str| word.starts_with("epoch=") || word.starts_with("ttl=");
    let is_of_one = ["A: ttl=", "AAAA: ttl=", "view: "].iter().any(|start| line.starts_with(start));
    (!is_of_one).then(|| line.split(' ').filter(|word| !is_own(word)).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_name_is_told_as_its_address() {
        let told = |name: &str| told_node(&Name::from_ascii(name).unwrap());
        assert_eq!(told("n-10-0-0-1.z."), "10.0.0.1");
        assert_eq!(told("n-2001-db8-0-0-0-0-0-1.z."), "[2001:db8::1]");
        assert_eq!(told("other.z."), "other.z.");
        assert_eq!(told("."), ".");
    }

    #[test]
    fn epochs_and_ttls_are_left_out() {
        assert_eq!(shared("scope=dc1 chain=dc1 epoch=12 ttl=5s").as_deref(), Some("scope=dc1 chain=dc1"));
        assert_eq!(shared("AAAA: ttl=1s: probes of 10.0.0.1 fail"), None);
        assert_eq!(shared("view: no rule for clients of 10.0.0.1: nodes' own addresses"), None);
        assert_eq!(shared("A: none in this scope").as_deref(), Some("A: none in this scope"));
    }
}
