//! A thousand TCP connections that ask nothing, or not properly, and those that do.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use alternator_dns::{
    app::App,
    config::{Config, ListenerAccess, ZoneConfig},
    model::{Access, Denied},
    server::Closed,
};
use hickory_proto::rr::Name;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::support::{
    PATIENCE, PROGRAM, Program, TestServer, ZONE, address_in, eventually, framed, free_port,
    packet::{proxied, query, question},
    read_frame,
};

const A: u16 = 1;

/// What a client does instead of asking properly, and then holds its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    Silent,
    OneOctet,
    LengthOnly,
    PartOfAQuery,
    Trickling,
    TakingNoReplies,
    HalfClosing,
    Resetting,
    AbsurdLength,
    AskingOnce,
}

impl Bad {
    const ALL: [Bad; 10] = [
        Bad::Silent,
        Bad::OneOctet,
        Bad::LengthOnly,
        Bad::PartOfAQuery,
        Bad::Trickling,
        Bad::TakingNoReplies,
        Bad::HalfClosing,
        Bad::Resetting,
        Bad::AbsurdLength,
        Bad::AskingOnce,
    ];

    /// Why the server closes the connection in the end, where nobody else needs its place.
    fn end(self) -> Closed {
        match self {
            Bad::TakingNoReplies => Closed::Stalled,
            Bad::HalfClosing => Closed::Finished,
            Bad::Resetting => Closed::Reset,
            Bad::AbsurdLength => Closed::Framing,
            _ => Closed::Idle,
        }
    }

    /// Does it, until told to stop or the server has had enough.
    async fn act(self, mut stream: TcpStream, number: usize, stop: &AtomicBool) {
        let whole = host(number);
        let sent = match self {
            Bad::Silent | Bad::Trickling => Vec::new(),
            Bad::OneOctet => whole[..1].to_vec(),
            Bad::LengthOnly => whole[..2].to_vec(),
            Bad::PartOfAQuery | Bad::HalfClosing | Bad::Resetting => whole[..20].to_vec(),
            // 64 kB each, more than all buffers hold.
            Bad::TakingNoReplies => framed(&query(&question(&format!("many.{ZONE}"), A), &[])).repeat(40),
            Bad::AbsurdLength => [&[0, 0][..], &[0, 11], b"GET / HTTP/1.1\r\n\r\n", &[0xFF; 9000]][number % 4].to_vec(),
            Bad::AskingOnce => whole.clone(),
        };
        // Where the place is already another's, this fails.
        let _ = stream.write_all(&sent).await;
        match self {
            Bad::HalfClosing => drop(stream.shutdown().await),
            Bad::Resetting => {
                // Not before the server had it, or nothing would be cut off.
                sleep(Duration::from_millis(10)).await;
                return drop(stream.set_zero_linger());
            }
            Bad::Trickling => {
                let long = framed(&[0x55; 4000]);
                for octet in long {
                    if stop.load(Relaxed) || stream.write_all(&[octet]).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            }
            _ => {}
        }
        while !stop.load(Relaxed) {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A framed query for `hN`, with N as its id.
fn host(number: usize) -> Vec<u8> {
    let number = (number % 256) as u8;
    let mut packet = query(&question(&format!("h{number}.{ZONE}"), A), &[]);
    packet[..2].copy_from_slice(&[0x77, number]);
    framed(&packet)
}

/// Asks these one after the other, or all at once; every reply must come, in order.
async fn ask(mut stream: TcpStream, numbers: &[usize], pipelined: bool) -> Result<TcpStream, String> {
    let written = |error| format!("not written: {error}");
    if pipelined {
        let all: Vec<u8> = numbers.iter().flat_map(|number| host(*number)).collect();
        stream.write_all(&all).await.map_err(written)?;
    }
    for &number in numbers {
        if !pipelined {
            stream.write_all(&host(number)).await.map_err(written)?;
        }
        let reply = timeout(PATIENCE, read_frame(&mut stream)).await.map_err(|_| "no reply in time")?;
        let reply = reply.ok_or("closed without a reply")?;
        let number = (number % 256) as u8;
        assert_eq!((&reply[..2], &reply[reply.len() - 4..]), (&[0x77, number][..], &[10, 0, 0, number][..]));
    }
    Ok(stream)
}

/// A server of a zone file alone: `hN` has the address 10.0.0.N, `many` has 4,000.
async fn server(change: impl FnOnce(&mut Config)) -> (tempfile::TempDir, TestServer) {
    let folder = tempfile::tempdir().unwrap();
    let hosts: String = (0..=255).map(|host| format!("h{host} A 10.0.0.{host}\n")).collect();
    let many: String = (0..4000).map(|host| format!("many A 10.1.{}.{}\n", host / 256, host % 256)).collect();
    std::fs::write(folder.path().join("zone"), format!("$TTL 60\n{hosts}{many}")).unwrap();
    let mut zone = ZoneConfig::new(Name::from_ascii(format!("{ZONE}.")).unwrap());
    zone.file = Some(folder.path().join("zone"));
    let mut config = TestServer::config(&zone);
    change(&mut config);
    (folder, TestServer::start(config).await)
}

/// Makes connections, and counts them.
#[derive(Clone)]
struct Clients {
    server: SocketAddr,
    made: Arc<AtomicU64>,
}

impl Clients {
    fn of(server: &TestServer) -> Self {
        // Both ends of a thousand connections are ours, beside those of other tests.
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).unwrap();
        Clients { server: server.address, made: Arc::default() }
    }

    /// A connection from 127.14.SUBNET.HOST, whose end keeps no port.
    async fn connect(&self, subnet: u8, host: usize) -> TcpStream {
        self.try_connect(subnet, host).await.unwrap()
    }

    /// [`Clients::connect`], where the server may have reset the connection before its client knows that there was one.
    async fn try_connect(&self, subnet: u8, host: usize) -> io::Result<TcpStream> {
        let from = Ipv4Addr::new(127, 14, subnet, (host % 250) as u8 + 1);
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        // As little as the kernel allows, so that who takes no replies is seen to soon.
        socket.set_recv_buffer_size(4096).unwrap();
        let connected = timeout(PATIENCE, socket.connect(self.server)).await.expect("in time");
        if connected.as_ref().map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true) {
            self.made.fetch_add(1, Relaxed);
        }
        let stream = connected?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The reasons that occurred.
fn counts(app: &App) -> Vec<(Closed, u64)> {
    let all = Closed::ALL.into_iter().map(|why| (why, app.counters().tcp(why)));
    all.filter(|(_, number)| *number > 0).collect()
}

/// Waits until all connections that were made were accepted, and all are closed; then every one has its reason.
async fn assert_accounted(server: &TestServer, made: u64) {
    let counters = server.app.counters();
    let state = || std::future::ready((counters.tcp_accepted(), counters.tcp_open()));
    eventually(state, |state| *state == (made, 0)).await;
    assert_eq!(counts(&server.app).iter().map(|(_, number)| number).sum::<u64>(), made, "{:?}", counts(&server.app));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_behaviour_has_its_reason() {
    const EACH: usize = 5;
    let (_folder, server) = server(|config| config.server.tcp.idle = Duration::from_secs(1)).await;
    let (clients, stop) = (Clients::of(&server), Arc::new(AtomicBool::new(false)));
    let mut bad = JoinSet::new();
    for (number, behaviour) in Bad::ALL.into_iter().flat_map(|bad| [bad; EACH]).enumerate() {
        let (stream, stop) = (clients.connect(0, number).await, stop.clone());
        bad.spawn(async move { behaviour.act(stream, number, &stop).await });
    }
    assert_accounted(&server, (Bad::ALL.len() * EACH) as u64).await;
    for why in Closed::ALL {
        let expected = Bad::ALL.iter().filter(|bad| bad.end() == why).count() * EACH;
        assert_eq!(server.app.counters().tcp(why), expected as u64, "{why}: {:?}", counts(&server.app));
    }
    stop.store(true, Relaxed);
    bad.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_good_client_is_answered_while_a_thousand_bad_ones_hold_what_they_can() {
    const EACH: usize = 100;
    let (_folder, server) = server(|config| {
        config.server.workers = 2;
        config.server.tcp.connections = 32;
        config.server.tcp.connections_per_client = 16;
        config.server.tcp.idle = Duration::from_secs(2);
    })
    .await;
    let (clients, stop) = (Clients::of(&server), Arc::new(AtomicBool::new(false)));

    // They come from fifty addresses, all at once, and come to stay.
    let mut bad = JoinSet::new();
    for behaviour in Bad::ALL {
        let (clients, stop) = (clients.clone(), stop.clone());
        bad.spawn(async move {
            let mut held = JoinSet::new();
            for number in 0..EACH {
                let (stream, stop) = (clients.connect(1, number % 50).await, stop.clone());
                held.spawn(async move { behaviour.act(stream, number, &stop).await });
            }
            held.join_all().await;
        });
    }
    // Meanwhile others ask. Whoever is thrown out before it has asked, because this machine did not let it for a
    // while, asks again, as resolvers do (RFC 7766 section 6.2.4).
    let mut good = JoinSet::new();
    for client in 0..4 {
        let clients = clients.clone();
        good.spawn(async move {
            let mut again = 0;
            for number in 0..50 {
                let numbers: Vec<usize> = (number..number + 1 + 9 * (number % 2)).collect();
                let tries = async {
                    while let Err(error) = ask(clients.connect(2, client).await, &numbers, number % 2 == 1).await {
                        again += 1;
                        assert!(again < 20, "{error}");
                    }
                };
                timeout(PATIENCE, tries).await.expect("every good client is answered in time");
            }
            again
        });
    }
    let again: usize = good.join_all().await.into_iter().sum();
    // All have come.
    let total = (Bad::ALL.len() * EACH) as u64;
    let connected = || std::future::ready(clients.made.load(Relaxed) - 200 - again as u64);
    eventually(connected, |made| *made == total).await;
    println!("storm: {again} asked again; {:?}, {} open", counts(&server.app), server.app.counters().tcp_open());
    // Some more, until every place is taken; now nobody has to ask twice, also who shares an address with them.
    let mut silent = Vec::new();
    while server.app.counters().tcp_open() < 32 {
        silent.push(clients.connect(1, silent.len()).await);
        assert!(silent.len() < 1000, "{} open", server.app.counters().tcp_open());
        sleep(Duration::from_millis(1)).await;
    }
    let evicted = server.app.counters().tcp(Closed::Evicted);
    let mut good = JoinSet::new();
    for client in 0..4 {
        let clients = clients.clone();
        good.spawn(async move {
            // Kept, as resolvers do.
            let mut kept = Vec::new();
            for number in 0..50 {
                let stream = clients.connect(1 + (number % 2) as u8, client).await;
                let numbers: Vec<usize> = (number..number + 5).collect();
                kept.push(ask(stream, &numbers, number % 3 == 0).await.expect("every good client is answered"));
            }
        });
    }
    timeout(PATIENCE, good.join_all()).await.expect("in time");
    assert!(server.app.counters().tcp_open() <= 32);
    assert!(server.app.counters().tcp(Closed::Evicted) > evicted, "who asks takes the place of who does not");
    drop(silent);

    stop.store(true, Relaxed);
    bad.join_all().await;
    assert_accounted(&server, clients.made.load(Relaxed)).await;
    let counts = counts(&server.app);
    println!("end: {counts:?}");
    for why in [Closed::Evicted, Closed::Framing, Closed::Finished] {
        assert!(counts.iter().any(|(reason, _)| *reason == why), "{why}: {counts:?}");
    }
}

#[tokio::test]
async fn one_client_cannot_have_the_places_of_others() {
    let (_folder, server) = server(|config| {
        config.server.tcp.connections = 40;
        config.server.tcp.connections_per_client = 10;
    })
    .await;
    let clients = Clients::of(&server);
    let mut first = clients.connect(0, 0).await;
    first.write_all(&host(1)).await.unwrap();
    read_frame(&mut first).await.unwrap();
    let mut greedy = Vec::new();
    for _ in 0..100 {
        greedy.push(clients.connect(0, 1).await);
    }
    let evicted = || std::future::ready(server.app.counters().tcp(Closed::Evicted));
    eventually(evicted, |evicted| *evicted == 90).await;
    assert_eq!(server.app.counters().tcp_open(), 11);
    ask(first, &[1, 2, 3], false).await.unwrap();
}

#[tokio::test]
async fn a_proxy_names_the_client_who_may_ask_and_have_its_places() {
    let (_folder, server) = server(|config| {
        config.server.proxy_from = ["127.14.7.1".parse().unwrap()].into_iter().collect();
        let deny = ["192.0.2.66".parse().unwrap(), "127.14.8.0/24".parse().unwrap()];
        let access = Access::new(&[], &deny, Denied::Drop).unwrap();
        config.server.access = vec![ListenerAccess { listeners: Vec::new(), access }];
        config.server.tcp.connections_per_client = 5;
        config.server.tcp.idle = Duration::from_secs(1);
    })
    .await;
    let clients = Clients::of(&server);
    let asks = async |client: &str| {
        let mut stream = clients.connect(7, 0).await;
        stream.write_all(&proxied(client.parse().unwrap())).await.unwrap();
        ask(stream, &[1, 2], true).await
    };
    // Many clients come through one proxy; and one with more connections than it may have loses its oldest.
    let mut held = Vec::new();
    for client in 0..20 {
        held.push(asks(&format!("198.51.100.{client}:0")).await.unwrap());
    }
    for _ in 0..6 {
        held.push(asks("[2001:db8::1]:4660").await.unwrap());
    }
    assert_eq!(counts(&server.app), [(Closed::Evicted, 1)]);
    // Who may not ask is closed, behind a proxy or not; so are a proxy without a header, and a header from nobody's proxy.
    asks("192.0.2.66:4660").await.unwrap_err();
    if let Ok(stream) = clients.try_connect(8, 0).await {
        ask(stream, &[1], true).await.unwrap_err();
    }
    ask(clients.connect(7, 0).await, &[1], true).await.unwrap_err();
    let mut stranger = clients.connect(9, 0).await;
    stranger.write_all(&proxied("198.51.100.1:4660".parse().unwrap())).await.unwrap();
    ask(stranger, &[1], true).await.unwrap_err();
    // A header that never becomes whole.
    let mut slow = clients.connect(7, 0).await;
    slow.write_all(&proxied("198.51.100.1:4660".parse().unwrap())[..20]).await.unwrap();
    assert!(timeout(PATIENCE, read_frame(&mut slow)).await.expect("in time").is_none());
    drop(held);
    assert_accounted(&server, clients.made.load(Relaxed)).await;
    let closed = |why| server.app.counters().tcp(why);
    assert_eq!((closed(Closed::Denied), closed(Closed::Proxy), closed(Closed::Evicted)), (2, 3, 1));
}

/// User and system time of a process, in hundredths of a second.
fn cpu(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn a_process_without_descriptors_left_serves_whoever_asks() {
    let folder = tempfile::tempdir().unwrap();
    let hosts: String = (0..=255).map(|host| format!("h{host} A 10.0.0.{host}\n")).collect();
    std::fs::write(folder.path().join("zone"), format!("$TTL 60\n{hosts}")).unwrap();
    let config = folder.path().join("alternator-dns.toml");
    std::fs::write(&config, format!("[server]\nworkers = 1\n[zones.\"{ZONE}\"]\nfile = \"zone\"\n")).unwrap();
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(IpAddr::V4(Ipv4Addr::LOCALHOST))));
    let mut command = Command::new("sh");
    let script = "ulimit -n 64 && exec \"$0\" serve --config \"$1\" --listen \"$2\"";
    command.args(["-c", script, PROGRAM]).arg(&config).arg(listen.to_string()).env("NO_COLOR", "1");
    let (program, line) = Program::start(command, "answering over UDP and TCP");
    let clients = Clients { server: address_in(&line).unwrap(), made: Arc::default() };

    let mut held = Vec::new();
    for number in 0..100 {
        held.push(clients.connect(3, number).await);
    }
    for number in 0..50 {
        // Also those who hold are let go only for somebody else.
        ask(clients.connect(4, number).await, &[number, number + 1], number % 2 == 0).await.unwrap();
    }
    // Nothing happens: nothing is done.
    let before = cpu(program.id());
    sleep(Duration::from_millis(500)).await;
    let spent = cpu(program.id()) - before;
    assert!(spent < 25, "{spent} hundredths of a second in half a second");
    let mut open = 0;
    for stream in &mut held {
        let read = timeout(Duration::from_millis(1), stream.read(&mut [0])).await;
        open += usize::from(read.is_err());
    }
    assert!((1..64).contains(&open), "{open} of those that asked nothing are left");
    program.signal("TERM");
    let (status, _, log, _) = program.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(log.matches("no descriptors left").count(), 1, "{log}");
}
