//! Queries that the demo asks itself, so that charts and shares have something to show.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use tokio::{
    net::UdpSocket,
    sync::watch,
    time::{self, MissedTickBehavior},
};

use crate::sim::NodeSpec;

/// Of so many queries one is for a name that does not exist, and one for a type that the name does not have, as
/// everywhere.
const ODD_ONES: usize = 40;

/// One in so many asks for IPv6 addresses.
const IPV6_SHARE: usize = 4;

/// Octets of a reply that matter here: none, but the socket's buffer must be emptied.
const REPLY: usize = 512;

/// Asks as many queries a second as are wanted. Never ends.
pub(super) async fn ask(server: SocketAddr, zone: &str, nodes: &[NodeSpec], mut wanted: watch::Receiver<u32>) {
    let queries = queries(zone, nodes);
    // Without a socket there is no traffic, and everything else goes on.
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await else { return std::future::pending().await };
    loop {
        let per_second = *wanted.borrow_and_update();
        let Some(between) = Duration::from_secs(1).checked_div(per_second) else {
            if wanted.changed().await.is_err() {
                return std::future::pending().await;
            }
            continue;
        };
        let mut ticks = time::interval(between);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while wanted.has_changed().is_ok_and(|changed| !changed) {
            ticks.tick().await;
            if let Some(query) = fastrand::choice(&queries) {
                // Lost or refused, the next one is asked all the same.
                let _ = socket.send_to(query, server).await;
            }
            while socket.try_recv_from(&mut [0; REPLY]).is_ok() {}
        }
    }
}

/// Ready queries; any of them is as likely as another.
fn queries(zone: &str, nodes: &[NodeSpec]) -> Vec<Vec<u8>> {
    let mut names = vec![zone.to_owned()];
    for node in nodes {
        names.push(format!("{}.{zone}", node.datacenter));
        names.push(format!("{}.{}.{zone}", node.datacenter, node.rack));
    }
    let mut queries = Vec::new();
    for at in 0..names.len() * IPV6_SHARE {
        let rtype = if at % IPV6_SHARE == 0 { RecordType::AAAA } else { RecordType::A };
        queries.extend(query(&names[at % names.len()], rtype));
        if at % ODD_ONES == 0 {
            queries.extend(query(&format!("no-such-rack.{zone}"), RecordType::A));
            queries.extend(query(zone, RecordType::MX));
        }
    }
    queries
}

fn query(name: &str, rtype: RecordType) -> Option<Vec<u8>> {
    let mut message = Message::new(fastrand::u16(..), MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).ok()?, rtype));
    message.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_asks_what_is_wanted_and_stops() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = server.local_addr().unwrap();
        let (want, wanted) = watch::channel(0);
        let nodes = [NodeSpec::new([127, 0, 1, 111], "dc1", "rack1")];
        let asking = tokio::spawn(async move { ask(at, "alternator.local.", &nodes, wanted).await });
        let mut buffer = [0; 512];
        want.send_replace(1000);
        for _ in 0..20 {
            let got = time::timeout(Duration::from_secs(20), server.recv(&mut buffer)).await.unwrap().unwrap();
            let query = Message::from_vec(&buffer[..got]).unwrap();
            assert!(query.queries[0].name().to_ascii().ends_with("alternator.local."), "{query:?}");
        }
        want.send_replace(0);
        // What was sent before it heard of it.
        while time::timeout(Duration::from_millis(200), server.recv(&mut buffer)).await.is_ok() {}
        assert!(!asking.is_finished());
        asking.abort();
    }
}
