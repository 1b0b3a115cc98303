//! Listeners that come, go and change while queries arrive.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    sync::Arc,
};

use alternator_dns::{
    config::{ListenerAccess, ServerConfig, TlsConfig},
    model::{Access, Denied},
    server::{Closed, Counters, Inherited, Running, Transport, bind, encrypted::SetupError},
};
use arc_swap::ArcSwap;
use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, RecordType},
};
use socket2::{Domain, Socket, Type};

use crate::{
    encrypted::clients::{assert_host, client, connect_tls, host, receive, send, write_certificate},
    support::{Ceaseless, Dig, PATIENCE, TestServer, ZONE, eventually, framed, free_port, read_frame},
};

/// The addresses that tests here listen on.
const HERE: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(127, 31, 1, 1)), IpAddr::V4(Ipv4Addr::new(127, 31, 1, 2))];

const ZONE_FILE: &str = "$TTL 60\nhost A 192.0.2.1\nh7 A 10.0.0.7\n";

/// A free address.
fn free(at: usize) -> SocketAddr {
    SocketAddr::new(HERE[at], free_port(HERE[at]))
}

/// Listeners at work, over a Table that does not change.
struct Listeners {
    running: Running,
    counters: Counters,
    config: ServerConfig,
    /// Where the Table comes from.
    _server: TestServer,
}

impl Listeners {
    async fn start(listen: &[SocketAddr], change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::inheriting(listen, Inherited::default(), change).await
    }

    async fn inheriting(listen: &[SocketAddr], inherited: Inherited, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let server = TestServer::of_file(ZONE_FILE, |_| {}).await;
        let mut config = ServerConfig { listen: listen.to_vec(), workers: 2, ..ServerConfig::default() };
        change(&mut config);
        let (table, counters) = (Arc::new(ArcSwap::new(server.app.table())), Counters::default());
        let bound = bind(&config, inherited).unwrap().with_encrypted().unwrap();
        let running = bound.run(&table, &counters, 1).unwrap();
        Listeners { running, counters, config, _server: server }
    }

    /// Changes the configuration while all goes on; tells what is left for a restart.
    fn change(&mut self, change: impl FnOnce(&mut ServerConfig)) -> Vec<String> {
        change(&mut self.config);
        let prepared = self.running.prepare(&self.config).unwrap();
        let (addresses, encrypted) = (prepared.addresses().to_vec(), prepared.encrypted().to_vec());
        let notes = prepared.notes().to_vec();
        prepared.commit(&mut self.running);
        assert_eq!((self.running.addresses(), self.running.encrypted()), (&addresses[..], &encrypted[..]));
        notes
    }

    /// Why the configuration cannot be changed so.
    fn refused(&self, change: impl FnOnce(&mut ServerConfig)) -> SetupError {
        let mut config = self.config.clone();
        change(&mut config);
        self.running.prepare(&config).err().expect("a change that fails")
    }
}

fn dig(server: SocketAddr) -> Dig {
    Dig::new(server, &format!("host.{ZONE}"), RecordType::A)
}

fn query() -> Vec<u8> {
    dig(free(0)).bytes()
}

/// An address answers over UDP and TCP.
async fn answers(address: SocketAddr) {
    for dig in [dig(address), dig(address).tcp()] {
        assert_eq!(dig.ask().await.first(), IpAddr::from([192, 0, 2, 1]));
    }
}

/// Nobody listens there any more.
async fn is_gone(address: SocketAddr) {
    let is_free = || {
        let free = TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok();
        std::future::ready(free)
    };
    eventually(is_free, |free| *free).await;
}

/// What `version.bind` and `id.server` say.
async fn told(server: SocketAddr, name: &str) -> Vec<String> {
    Dig::new(server, name, RecordType::TXT).class(DNSClass::CH).ask().await.texts()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_lose_no_query() {
    let (stays, comes) = (free(0), free(1));
    let mut listeners = Listeners::start(&[stays], |_| {}).await;
    let asking = Ceaseless::start(stays, &query());
    asking.more(20).await;
    for round in 0..10 {
        listeners.change(|config| {
            config.listen.insert(0, comes);
            config.identity = Some(format!("round {round}"));
            config.rate_limit.responses_per_second = 1_000_000 + round;
            config.tcp.connections = 100 + round as usize;
        });
        assert_eq!(listeners.running.addresses(), [comes, stays]);
        answers(comes).await;
        assert_eq!(told(stays, "id.server").await, [format!("round {round}")]);
        let there = Ceaseless::start(comes, &query());
        there.more(5).await;
        asking.more(5).await;
        // Who asks there does so until the address is gone, and has an answer to all until then.
        there.stop();
        listeners.change(|config| {
            config.listen.remove(0);
        });
        assert_eq!(listeners.running.addresses(), [stays]);
        is_gone(comes).await;
        asking.more(5).await;
    }
    println!("answered {:?}", asking.stop());
    assert_eq!(listeners.counters.unsent(), 0);
    assert!(listeners.running.stop());
    is_gone(stays).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_goes_answers_what_it_has_received() {
    let (stays, goes) = (free(0), free(1));
    let mut listeners = Listeners::start(&[stays, goes], |_| {}).await;
    answers(goes).await;
    let query = query();
    let (mut sockets, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&query, goes).unwrap();
        let mut stream = TcpStream::connect(goes).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&framed(&query)).unwrap();
        sockets.push(socket);
        streams.push(stream);
    }
    listeners.change(|config| config.listen.truncate(1));
    for (socket, mut stream) in sockets.into_iter().zip(streams) {
        assert!(socket.recv(&mut [0; 512]).unwrap() > query.len());
        stream.read_exact(&mut [0; 40]).unwrap();
    }
    is_gone(goes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_that_stay_go_by_what_is_chosen_now() {
    let address = free(0);
    let begin = |config: &mut ServerConfig| (config.workers, config.version) = (1, Some("first".to_owned()));
    let mut listeners = Listeners::start(&[address], begin).await;
    assert_eq!(told(address, "version.bind").await, ["first"]);
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut ask = async |times: usize| {
        use tokio::io::AsyncWriteExt;
        stream.write_all(&framed(&query()).repeat(times)).await.unwrap();
        let mut replies = 0;
        while replies < times && read_frame(&mut stream).await.is_some() {
            replies += 1;
        }
        replies
    };
    assert_eq!(ask(3).await, 3);

    listeners.change(|config| (config.version, config.identity) = (Some("other".to_owned()), None));
    assert_eq!(told(address, "version.bind").await, ["other"]);
    // A connection that was open before goes on, and is bound as all are now.
    assert_eq!(ask(2).await, 2);
    listeners.change(|config| config.tcp.queries = 7);
    assert_eq!(ask(5).await, 2);
    let closed = || std::future::ready(listeners.counters.tcp(Closed::Queries));
    eventually(closed, |closed| *closed == 1).await;

    let nobody = Access::new(&[], &["0.0.0.0/0".parse().unwrap()], Denied::Refuse).unwrap();
    listeners.change(|config| config.access = vec![ListenerAccess { listeners: vec![], access: nobody }]);
    assert_eq!(dig(address).ask().await.message.metadata.response_code, ResponseCode::Refused);
    listeners.change(|config| {
        config.access.clear();
        config.rate_limit.responses_per_second = 2;
        config.rate_limit.slip = 1;
    });
    let replies = dig(address).repeat(20).await;
    let truncated = replies.iter().filter(|reply| reply.message.metadata.truncation).count();
    assert!(truncated >= 10, "{truncated} of 20");
    listeners.change(|config| config.rate_limit.responses_per_second = 0);
    assert!(dig(address).repeat(20).await.iter().all(|reply| !reply.message.metadata.truncation));

    // Behind proxies from now on.
    listeners.change(|config| config.proxy_from = ["127.0.0.1/32".parse().unwrap()].into_iter().collect());
    let client = "192.0.2.99:4242".parse().unwrap();
    let proxied = [crate::support::packet::proxied(client), query()].concat();
    assert!(Dig::to(address).send(&proxied, PATIENCE).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_made_before_a_change_are_good_after_it() {
    let address = free(0);
    let mut listeners = Listeners::start(&[address], |_| {}).await;
    let asked = |cookie: &[u8]| {
        use crate::support::packet::{opt, option, query, question};
        query(&question(&format!("host.{ZONE}"), 1), &[&opt(1232, 0, 0, &option(10, cookie))])
    };
    let cookie = async |cookie: &[u8]| {
        let reply = Dig::to(address).send(&asked(cookie), PATIENCE).await.unwrap();
        let at = reply.bytes.windows(4).position(|octets| octets == [0, 10, 0, 24]).expect("a cookie");
        reply.bytes[at + 4..at + 28].to_vec()
    };
    let first = cookie(&[7; 8]).await;
    // The same is handed back as long as it is good and young.
    listeners.change(|config| config.identity = Some("other".to_owned()));
    assert_eq!(cookie(&first).await, first);
    listeners.change(|config| config.cookies.secrets = vec![[3; 16]]);
    assert_ne!(cookie(&first).await, first);
    listeners.change(|config| config.cookies.secrets.clear());
    assert_eq!(cookie(&first).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_bound_changes_nothing() {
    let (stays, taken) = (free(0), free(1));
    let other = free(1);
    let listeners = Listeners::start(&[stays], |_| {}).await;
    let asking = Ceaseless::start(stays, &query());
    let tcp = TcpListener::bind(taken).unwrap();
    for _ in 0..3 {
        let error = listeners.refused(|config| {
            config.listen = vec![other, taken];
            config.identity = Some("never".to_owned());
        });
        let SetupError::Bind(error) = error else { panic!("{error}") };
        assert!(error.is_in_use() && error.to_string().contains(&taken.to_string()), "{error}");
        assert_ne!(told(stays, "id.server").await, ["never"]);
        // What was bound before the failure is let go.
        is_gone(other).await;
    }
    drop(tcp);
    // The same where only UDP is taken.
    let _udp = UdpSocket::bind(taken).unwrap();
    assert!(
        matches!(listeners.refused(|config| config.listen.push(taken)), SetupError::Bind(error) if error.is_in_use())
    );
    // A change that is prepared and not made.
    let mut config = listeners.config.clone();
    config.listen = vec![other];
    drop(listeners.running.prepare(&config).unwrap());
    is_gone(other).await;
    asking.more(5).await;
    asking.stop();
    assert!(listeners.running.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_grow_to_all_addresses_and_back() {
    let one = free(0);
    let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, one.port()));
    let mut listeners = Listeners::start(&[one], |_| {}).await;
    let asking = Dig::new(one, &format!("host.{ZONE}"), RecordType::A);
    for wanted in [all, one, all] {
        listeners.change(|config| config.listen = vec![wanted]);
        assert_eq!(listeners.running.addresses(), [wanted]);
        let elsewhere = dig(SocketAddr::new(HERE[1], one.port()));
        if wanted == all {
            eventually(|| elsewhere.try_ask(), Option::is_some).await;
        }
        eventually(|| asking.try_ask(), Option::is_some).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_restart_is_told() {
    let (stays, comes) = (free(0), free(1));
    let mut listeners = Listeners::start(&[stays], |_| {}).await;
    assert!(listeners.change(|config| config.listen.push(comes)).is_empty());
    let notes = listeners.change(|config| (config.workers, config.pin_workers) = (3, true));
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("2 workers, not 3") && notes[1].contains("pin_workers = true"), "{notes:?}");
    assert!(listeners.change(|config| (config.workers, config.pin_workers) = (2, false)).is_empty());
    answers(stays).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_listeners_come_go_and_change_their_certificate() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    folders.iter().for_each(|folder| write_certificate(folder.path()));
    let tls = |folder: usize, listen: &[SocketAddr]| {
        let file = |name: &str| Some(folders[folder].path().join(name));
        TlsConfig {
            listen: listen.to_vec(),
            certificate: file("chain.pem"),
            key: file("key.pem"),
            ..TlsConfig::default()
        }
    };
    let connect = async |at: SocketAddr, folder: usize| {
        let stream = tokio::net::TcpStream::connect(at).await?;
        connect_tls(stream, client(&folders[folder].path().join("chain.pem"), &[b"dot"])).await
    };
    let (plain, one, two) = (free(0), free(0), free(1));
    let mut listeners = Listeners::start(&[plain], |_| {}).await;

    let nowhere = TlsConfig { certificate: Some(PathBuf::from("/nowhere")), ..tls(0, &[one]) };
    assert!(matches!(listeners.refused(|config| config.tls = nowhere), SetupError::Certificate(_)));
    is_gone(one).await;
    listeners.change(|config| config.tls = tls(0, &[one]));
    assert_eq!(listeners.running.encrypted(), [(Transport::Tls, one)]);
    let mut kept = connect(one, 0).await.unwrap();
    let mut asks = async |id: u8| {
        send(&mut kept, &[host(7, [0, id])]).await;
        assert_host(&receive(&mut kept).await, 7, [0, id]);
    };
    asks(1).await;

    listeners.change(|config| config.tls = tls(1, &[two, one]));
    assert!(connect(one, 0).await.is_err(), "the old certificate is presented no more");
    for at in [one, two] {
        drop(connect(at, 1).await.unwrap());
    }
    asks(2).await;
    // A new file in the new place is followed, one in the old place is not.
    folders.iter().for_each(|folder| write_certificate(folder.path()));
    drop(eventually(|| connect(two, 1), Result::is_ok).await);

    listeners.change(|config| config.tls = tls(1, &[two]));
    is_gone(one).await;
    drop(connect(two, 1).await.unwrap());
    listeners.change(|config| config.tls = TlsConfig::default());
    is_gone(two).await;
    answers(plain).await;
    assert!(listeners.running.stop());
}

/// Open sockets on an address: UDP, listening TCP.
fn sockets(address: SocketAddr, change: impl Fn(&Socket)) -> [Socket; 2] {
    [Type::DGRAM, Type::STREAM].map(|of| {
        let socket = Socket::new(Domain::for_address(address), of, None).unwrap();
        change(&socket);
        if of == Type::STREAM {
            socket.set_reuse_address(true).unwrap();
        }
        socket.bind(&address.into()).unwrap();
        if of == Type::STREAM {
            socket.listen(100).unwrap();
        }
        socket
    })
}

fn inherited(sockets: impl IntoIterator<Item = Socket>) -> Inherited {
    Inherited::new(sockets.into_iter().map(Into::into))
}

#[tokio::test(flavor = "multi_thread")]
async fn inherited_sockets_are_served_with_what_waits_in_them() {
    let address = free(0);
    let bound = sockets(address, |_| {});
    let query = query();
    let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
    asker.set_read_timeout(Some(PATIENCE)).unwrap();
    asker.send_to(&query, address).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&framed(&query)).unwrap();
    // More workers than sockets: they share them.
    let listeners = Listeners::inheriting(&[address], inherited(bound), |config| config.workers = 3).await;
    assert!(asker.recv(&mut [0; 512]).unwrap() > query.len());
    stream.read_exact(&mut [0; 40]).unwrap();
    let asking = Ceaseless::start(address, &query);
    asking.more(50).await;
    asking.stop();
    assert!(listeners.running.stop());
    is_gone(address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_more_sockets_than_workers_all_are_served() {
    let address = free(0);
    let shared = |socket: &Socket| socket.set_reuse_port(true).unwrap();
    let bound: Vec<Socket> = (0..4).flat_map(|_| sockets(address, shared)).collect();
    let listeners = Listeners::inheriting(&[address], inherited(bound), |config| config.workers = 1).await;
    // The kernel spreads source ports over all four.
    for _ in 0..64 {
        answers(address).await;
    }
    assert!(listeners.running.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_fits_is_inherited() {
    let (address, other) = (free(0), free(1));
    let strange = sockets(other, |_| {});
    let (path, _unix) = io::pipe().unwrap();
    let descriptors = strange.into_iter().map(Into::into).chain([path.into()]);
    let bound = bind(&ServerConfig { listen: vec![address], ..ServerConfig::default() }, Inherited::new(descriptors));
    let bound = bound.unwrap();
    assert_eq!(bound.inherited().claimed(), [false; 3]);
    assert_eq!(bound.inherited().unclaimed().collect::<Vec<_>>(), [Some(other), Some(other), None]);
    drop(bound);
    is_gone(other).await;

    // One that takes IPv4, too: the rules would know those who come by it by other addresses.
    let any: SocketAddr = format!("[::]:{}", free_port(Ipv4Addr::LOCALHOST.into())).parse().unwrap();
    let Ok(probe) = UdpSocket::bind("[::1]:0") else { return };
    drop(probe);
    let bound = sockets(any, |socket| socket.set_only_v6(false).unwrap());
    let error = bind(&ServerConfig { listen: vec![any], ..ServerConfig::default() }, inherited(bound)).err().unwrap();
    assert!(error.to_string().contains("BindIPv6Only=ipv6-only"), "{error}");
    let bound = sockets(any, |socket| socket.set_only_v6(true).unwrap());
    let bound = bind(&ServerConfig { listen: vec![any], ..ServerConfig::default() }, inherited(bound)).unwrap();
    assert_eq!(bound.inherited().claimed(), [true; 2]);
}
