//! UDP and TCP as such: framing, pipelines, many connections, addresses, ports.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use alternator_dns::{
    app::{self, StartError},
    config::{Config, ZoneConfig},
    server::Outcome,
    sim::ClusterSpec,
};
use hickory_proto::{
    op::Message,
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    time::timeout,
};

use crate::support::{
    Dig, PATIENCE, TestServer, ZONE, cluster, framed,
    packet::{opt, packet, query, question},
    read_frame, remembering, steady,
};

const A: u16 = 1;

/// A server of a zone file alone: `hN` has the address 10.0.0.N.
async fn server() -> (tempfile::TempDir, TestServer) {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &["127.0.0.1:0"]);
    (folder, TestServer::start(config).await)
}

fn config(folder: &std::path::Path, listen: &[&str]) -> Config {
    let hosts: String = (0..=255).map(|host| format!("h{host} A 10.0.0.{host}\n")).collect();
    let many: String =
        (0..=4095).map(|host| format!("many A 10.1.{}.{}\n", host / 256, host % 256)).take(4000).collect();
    std::fs::write(folder.join("zone"), format!("$TTL 60\n{hosts}{many}")).unwrap();
    let mut zone = ZoneConfig::new(Name::from_ascii(format!("{ZONE}.")).unwrap());
    zone.file = Some(folder.join("zone"));
    let mut config = TestServer::config(&zone);
    config.server.listen = listen.iter().map(|address| address.parse().unwrap()).collect();
    config
}

/// A framed query for `hN`, with N as its id.
fn host(number: u8) -> Vec<u8> {
    let mut packet = query(&question(&format!("h{number}.{ZONE}"), A), &[]);
    packet[..2].copy_from_slice(&[0x77, number]);
    framed(&packet)
}

/// Reads the reply to [`host`].
async fn assert_host(stream: &mut TcpStream, number: u8) {
    let reply = timeout(PATIENCE, read_frame(stream)).await.expect("in time").expect("a reply");
    assert_eq!(reply[..2], [0x77, number], "replies come in the order of the queries");
    assert_eq!(reply[reply.len() - 4..], [10, 0, 0, number]);
}

/// The connection is closed by the server, without a further octet.
async fn assert_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server closes");
    // A reset is a close too, where octets were left unread.
    assert!(read.is_err() || rest.is_empty(), "{rest:02x?}");
}

#[tokio::test]
async fn pipelined_queries_are_answered_in_their_order() {
    let (_folder, server) = server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let all: Vec<u8> = (0..=255).flat_map(host).collect();
    stream.write_all(&all).await.unwrap();
    for number in 0..=255 {
        assert_host(&mut stream, number).await;
    }
    // What is unusual, malformed or dropped keeps its place.
    let parts = [
        framed(&query(&question(ZONE, 255), &[])),
        framed(&packet(0x8000, [1, 0, 0, 0], &[&question(ZONE, A)])),
        framed(&query(&question(ZONE, 252), &[&opt(1232, 0, 0, &[])])),
        framed(&packet(0, [0, 0, 0, 0], &[])),
        host(9),
    ];
    stream.write_all(&parts.concat()).await.unwrap();
    for rcode in [0, 5, 1] {
        assert_eq!(read_frame(&mut stream).await.unwrap()[3] & 15, rcode);
    }
    assert_host(&mut stream, 9).await;
    assert_eq!(server.count(Outcome::Answered), 256 + 2);
    assert_eq!(server.count(Outcome::Dropped), 1);
}

#[tokio::test]
async fn a_query_may_come_octet_by_octet_and_across_reads() {
    let (_folder, server) = server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for octet in host(1) {
        stream.write_all(&[octet]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_host(&mut stream, 1).await;
    // One and a half, then the other half and one more.
    let two = host(3);
    let (half, rest) = two.split_at(two.len() / 2);
    stream.write_all(&[&host(2), half].concat()).await.unwrap();
    assert_host(&mut stream, 2).await;
    stream.write_all(&[rest, &host(4)].concat()).await.unwrap();
    assert_host(&mut stream, 3).await;
    assert_host(&mut stream, 4).await;
}

#[tokio::test]
async fn a_client_that_closes_its_half_still_gets_every_answer() {
    let (_folder, server) = server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The last query is cut off: it is nobody's.
    let sent: Vec<u8> = (0..100).flat_map(host).chain(host(100).into_iter().take(10)).collect();
    stream.write_all(&sent).await.unwrap();
    stream.shutdown().await.unwrap();
    for number in 0..100 {
        assert_host(&mut stream, number).await;
    }
    assert_closed(&mut stream).await;
}

#[tokio::test]
async fn broken_framing_closes_the_connection_and_only_that() {
    let (_folder, server) = server().await;
    let mut other = TcpStream::connect(server.address).await.unwrap();
    for (about, bytes) in [
        ("a length of zero", vec![0, 0]),
        ("below a header", vec![0, 11]),
        ("4097", vec![0x10, 1]),
        ("65535", vec![0xFF, 0xFF]),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&host(1)).await.unwrap();
        assert_host(&mut stream, 1).await;
        stream.write_all(&bytes).await.unwrap();
        assert_closed(&mut stream).await;
        other.write_all(&host(2)).await.unwrap();
        timeout(PATIENCE, assert_host(&mut other, 2)).await.expect(about);
    }
}

#[tokio::test]
async fn answers_owed_before_broken_framing_are_not_lost() {
    let (_folder, server) = server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&[host(1), host(2), vec![0, 0]].concat()).await.unwrap();
    assert_host(&mut stream, 1).await;
    assert_host(&mut stream, 2).await;
    assert_closed(&mut stream).await;
}

#[tokio::test]
async fn an_idle_connection_serves_its_next_query_and_delays_nobody() {
    let (_folder, server) = server().await;
    // Some send nothing, some half a query.
    let mut idle = Vec::new();
    for number in 0..20 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&host(7)[..number % 3 * 5]).await.unwrap();
        idle.push(stream);
    }
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    for number in 0..100 {
        busy.write_all(&host(number)).await.unwrap();
        assert_host(&mut busy, number).await;
    }
    for (number, stream) in idle.iter_mut().enumerate() {
        stream.write_all(&host(7)[number % 3 * 5..]).await.unwrap();
        assert_host(stream, 7).await;
    }
}

#[tokio::test]
async fn hundreds_of_connections_at_once_are_all_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), &["127.0.0.1:0"]);
    config.server.tcp.connections_per_client = 256;
    let server = TestServer::start(config).await;
    let address = server.address;
    let clients: Vec<_> = (0..=255)
        .map(|number| {
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                for _ in 0..4 {
                    stream.write_all(&[host(number), host(number)].concat()).await.unwrap();
                    assert_host(&mut stream, number).await;
                    assert_host(&mut stream, number).await;
                }
                // Held open until all are done.
                stream
            })
        })
        .collect();
    let mut held = Vec::new();
    for client in clients {
        held.push(client.await.unwrap());
    }
    assert_eq!(server.count(Outcome::Answered), 256 * 8);
}

#[tokio::test]
async fn a_client_that_asks_much_and_reads_late_gets_all_of_it() {
    let (_folder, server) = server().await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    // 200 replies of 64 kB each: far more than any buffer between us holds.
    let asked = framed(&query(&question(&format!("many.{ZONE}"), A), &[]));
    let expected = asked.len() - 2 + 4000 * 16;
    let writer = tokio::spawn(async move {
        for _ in 0..200 {
            write.write_all(&asked).await.unwrap();
        }
        write
    });
    for _ in 0..200 {
        let len = timeout(PATIENCE, read.read_u16()).await.unwrap().unwrap();
        let mut reply = vec![0; usize::from(len)];
        read.read_exact(&mut reply).await.unwrap();
        assert_eq!((usize::from(len), &reply[6..8]), (expected, &4000_u16.to_be_bytes()[..]));
    }
    drop(writer.await.unwrap());
    // Meanwhile and after: everybody else is served.
    assert_eq!(server.ask("h1", RecordType::A).await.set(), BTreeSet::from(["10.0.0.1".to_owned()]));
}

#[tokio::test]
async fn a_large_reply_is_whole_over_tcp_and_empty_with_tc_over_udp() {
    let (_folder, server) = server().await;
    let dig = server.dig("many", RecordType::A).edns(4096);
    let whole = dig.clone().tcp().ask().await;
    assert!(whole.bytes.len() > 16_384 && !whole.is_truncated(), "{}", whole.bytes.len());
    assert_eq!((whole.answers().len(), whole.set().len()), (4000, 4000));
    assert!(whole.message.edns.is_some());
    let cut = dig.ask().await;
    assert_eq!((cut.is_truncated(), cut.counts()), (true, [1, 0, 0, 1]));
}

#[tokio::test]
async fn a_clusters_answer_beyond_16_kib_is_whole_over_tcp() {
    // The most nodes that a deck deals whole.
    let nodes: BTreeSet<IpAddr> =
        (0..1024u16).map(|node| [10, 13, (node / 250) as u8, (node % 250) as u8].into()).collect();
    let state = tempfile::tempdir().unwrap();
    let mut config = TestServer::config(&remembering(ZONE, state.path(), nodes.iter().copied()));
    config.server.state_dir = Some(state.path().to_owned());
    let server = TestServer::start(config).await;
    let reply = server.dig("dc1", RecordType::A).tcp().ask().await;
    assert!(reply.bytes.len() > 16_384 && !reply.is_truncated(), "{}", reply.bytes.len());
    assert_eq!((reply.answers().len(), reply.addresses().into_iter().collect()), (1024, nodes));
    assert!(server.dig("dc1", RecordType::A).edns(1232).ask().await.is_truncated());
}

#[tokio::test]
async fn every_address_of_both_families_is_served_over_both_transports() {
    let folder = tempfile::tempdir().unwrap();
    let mut listen = vec!["127.13.60.1:0", "127.13.60.2:0"];
    if ClusterSpec::has_ipv6() {
        listen.push("[::1]:0");
    }
    let server = TestServer::start(config(folder.path(), &listen)).await;
    let addresses = server.app.addresses().to_vec();
    assert_eq!(addresses.len(), listen.len());
    for (number, address) in (0..).zip(&addresses) {
        assert_ne!(address.port(), 0);
        assert_eq!(address.ip(), listen[number].parse::<SocketAddr>().unwrap().ip());
        let name = format!("h{number}.{ZONE}");
        for dig in [Dig::new(*address, &name, RecordType::A), Dig::new(*address, &name, RecordType::A).tcp()] {
            assert_eq!(dig.ask().await.first(), IpAddr::from([10, 0, 0, number as u8]));
        }
    }
    assert_eq!(server.count(Outcome::Answered), 2 * addresses.len() as u64);
    // Every address is a name server's glue.
    let glue = Dig::new(addresses[0], ZONE, RecordType::NS).ask().await.message.additionals.len();
    assert_eq!(glue, addresses.len());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_wildcard_replies_from_the_address_that_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut listen = vec!["0.0.0.0:0"];
    let mut asked: Vec<IpAddr> = ["127.0.0.1", "127.13.63.1", "127.200.3.4"].map(|text| text.parse().unwrap()).into();
    if ClusterSpec::has_ipv6() {
        listen.push("[::]:0");
        asked.push("::1".parse().unwrap());
    }
    let server = TestServer::start(config(folder.path(), &listen)).await;
    for address in asked {
        let bound = server.app.addresses().iter().find(|bound| bound.is_ipv4() == address.is_ipv4()).unwrap();
        let dig = Dig::new(SocketAddr::new(address, bound.port()), &format!("h7.{ZONE}"), RecordType::A);
        // A reply from elsewhere would not reach the asker.
        for dig in [dig.clone(), dig.tcp()] {
            assert_eq!(dig.ask().await.first(), IpAddr::from([10, 0, 0, 7]), "{address}");
        }
    }
}

#[tokio::test]
async fn udp_and_tcp_deal_the_same_answers() {
    let cluster = cluster(&["dc1/r1 127.13.61.1", "dc1/r2 127.13.61.2", "dc2/r1 127.13.61.3"]).await;
    let server = TestServer::over(&cluster, steady).await;
    server.answers("", &["127.13.61.1", "127.13.61.2", "127.13.61.3"]).await;
    for (name, rtype) in [
        ("", RecordType::A),
        ("dc1", RecordType::A),
        ("dc1.r1", RecordType::A),
        ("", RecordType::AAAA),
        ("", RecordType::NS),
        ("", RecordType::SOA),
        ("_alternator._tcp", RecordType::SRV),
        ("nope", RecordType::A),
        ("r1", RecordType::A),
    ] {
        let dig = server.dig(name, rtype).edns(1232);
        let told = |message: &Message| {
            let mut lines: Vec<String> = message.all_sections().map(ToString::to_string).collect();
            lines.sort();
            (message.metadata.response_code, message.metadata.authoritative, lines)
        };
        assert_eq!(told(&dig.ask().await.message), told(&dig.clone().tcp().ask().await.message), "{name} {rtype}");
    }
    // Each transport has its own cursor, and each deals every node as often as any other.
    for tcp in [false, true] {
        let mut first = BTreeSet::new();
        for _ in 0..3 {
            let dig = server.dig("", RecordType::A);
            first.insert(if tcp { dig.tcp() } else { dig }.ask().await.first());
        }
        assert_eq!(first.len(), 3, "three nodes lead three answers");
    }
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it_and_nothing_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let (_other, first) = server().await;
    // A second server, a foreign TCP listener, a foreign UDP socket: none is shared silently.
    let tcp = TcpListener::bind("127.13.62.1:0").await.unwrap();
    let udp = UdpSocket::bind("127.13.62.2:0").await.unwrap();
    for (taken, protocol) in
        [(first.address, "TCP"), (tcp.local_addr().unwrap(), "TCP"), (udp.local_addr().unwrap(), "UDP")]
    {
        // The free address is given first: it must not be served either.
        let config = config(folder.path(), &["127.13.62.3:0", &taken.to_string()]);
        let error = match app::start(&config).await {
            Err(StartError::Bind(error)) => error,
            other => panic!("{:?}", other.err()),
        };
        assert!(error.is_in_use());
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot listen on {taken} ({protocol}): Address already in use")), "{text}");
        assert!(text.contains("choose another with --listen"), "{text}");
    }
    assert_eq!(first.ask("h1", RecordType::A).await.first(), IpAddr::from([10, 0, 0, 1]));
}

#[tokio::test]
async fn an_address_this_machine_has_not_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let Err(error) = app::start(&config(folder.path(), &["192.0.2.1:5300"])).await else { panic!("it started") };
    let text = error.to_string();
    assert!(text.starts_with("cannot listen on 192.0.2.1:5300 (TCP): "), "{text}");
    assert!(text.ends_with("this machine does not have that address"), "{text}");
}

#[tokio::test]
async fn stopping_answers_what_was_received_and_frees_the_port() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(config(folder.path(), &["127.13.63.1:0"])).await;
    let address = server.address;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&host(1)).await.unwrap();
    assert_host(&mut stream, 1).await;
    stream.write_all(&(0..50).flat_map(host).collect::<Vec<u8>>()).await.unwrap();
    let udp = UdpSocket::bind("127.13.63.2:0").await.unwrap();
    udp.send_to(&host(3)[2..], address).await.unwrap();
    server.app.stop().await;
    for number in 0..50 {
        assert_host(&mut stream, number).await;
    }
    assert_closed(&mut stream).await;
    let mut buffer = [0; 512];
    timeout(PATIENCE, udp.recv(&mut buffer)).await.expect("the datagram is answered").unwrap();
    let again = TestServer::start(config(folder.path(), &[&address.to_string()])).await;
    assert_eq!(again.ask("h5", RecordType::A).await.first(), IpAddr::from([10, 0, 0, 5]));
}

#[tokio::test]
async fn a_query_received_just_before_the_stop_is_answered() {
    let zone = ZoneConfig::new(Name::from_ascii(format!("{ZONE}.")).unwrap());
    let asked = framed(&query(&question(ZONE, 6), &[]));
    for _ in 0..30 {
        let server = TestServer::start(TestServer::config(&zone)).await;
        let mut streams = Vec::new();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            stream.write_all(&asked).await.unwrap();
            read_frame(&mut stream).await.unwrap();
            streams.push(stream);
        }
        for stream in &mut streams {
            stream.write_all(&asked).await.unwrap();
        }
        server.app.stop().await;
        for (number, stream) in streams.iter_mut().enumerate() {
            let reply = timeout(PATIENCE, read_frame(stream)).await.expect("in time");
            assert!(reply.is_some(), "connection {number} got no reply");
        }
    }
}
