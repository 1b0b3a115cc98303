//! How the real program ends.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use hickory_proto::{op::Message, rr::RecordType};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    Dig, Load, PATIENCE, PROGRAM, Program, address_in, collect, framed, free_port, read_frame, within,
};

/// A name that needs no cluster, so that a test of the end need not wait for a beginning.
const ZONE_FILE: &str = "\
$TTL 60
@      IN SOA ns1 hostmaster 1 3600 600 604800 5
@      IN NS  ns1
ns1    IN A   127.0.0.1
static IN A   192.0.2.1
";

/// A folder with a zone file and a configuration that serves it without a cluster.
fn configuration(server: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("z.zone"), ZONE_FILE).unwrap();
    let config = dir.path().join("alternator-dns.toml");
    fs::write(&config, format!("[server]\n{server}\n[zones.\"z.example\"]\nfile = \"z.zone\"\n")).unwrap();
    let config = config.to_str().unwrap().to_owned();
    (dir, config)
}

/// Queries over UDP all the time, over a TCP connection that is kept and over new ones, and then the signal.
async fn ends_in_order(signal: &str) {
    let (_dir, config) = configuration("workers = 2");
    let (program, address) = Program::serve(&["--config", &config]);
    let query = Dig::new(address, "static.z.example", RecordType::A).bytes();
    let load = Load::start(address, &["static.z.example"], 1000);
    let mut kept = TcpStream::connect(address).await.unwrap();
    kept.write_all(&framed(&query)).await.unwrap();
    read_frame(&mut kept).await.unwrap();
    // The program has answered for a while.
    tokio::time::sleep(Duration::from_millis(300)).await;

    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(&[0]).await.unwrap();
    kept.write_all(&framed(&query).repeat(50)).await.unwrap();
    let mut new = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&framed(&query)).await.unwrap();
        new.push(stream);
    }
    let told = program.signal(signal);
    let answered = async |stream: &mut TcpStream| {
        let reply = read_frame(stream).await.expect("a reply to a query received before the end");
        assert_eq!(Message::from_vec(&reply).unwrap().answers.len(), 1);
    };
    for _ in 0..50 {
        answered(&mut kept).await;
    }
    for stream in &mut new {
        answered(stream).await;
    }
    let (status, _, log, _) = program.end().await;
    let took = told.elapsed();
    assert!(read_frame(&mut kept).await.is_none(), "the connection is closed");
    load.stop_after(told).await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(took < Duration::from_secs(2), "{took:?}\n{log}");
    println!("ended {took:?} after SIG{signal}");
    assert!(log.contains("stopping"), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn sigterm_ends_the_program_and_what_was_received_is_answered() {
    ends_in_order("TERM").await;
}

#[tokio::test]
async fn sigint_ends_the_program_and_what_was_received_is_answered() {
    ends_in_order("INT").await;
}

#[tokio::test]
async fn what_waits_in_the_kernel_when_the_signal_comes_is_answered() {
    let (_dir, config) = configuration("workers = 2");
    let (program, address) = Program::serve(&["--config", &config]);
    let dig = Dig::new(address, "static.z.example", RecordType::A);
    let query = dig.bytes();
    let mut kept = TcpStream::connect(address).await.unwrap();
    kept.write_all(&framed(&query)).await.unwrap();
    read_frame(&mut kept).await.unwrap();

    // While the program is stopped, the kernel takes connections and queries for it.
    program.signal("STOP");
    kept.write_all(&framed(&query)).await.unwrap();
    let (mut streams, mut sockets) = (vec![kept], Vec::new());
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&framed(&query)).await.unwrap();
        streams.push(stream);
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(address).await.unwrap();
        socket.send(&query).await.unwrap();
        sockets.push(socket);
    }
    program.signal("TERM");
    program.signal("CONT");
    for (number, stream) in streams.iter_mut().enumerate() {
        let reply = read_frame(stream).await;
        assert!(reply.is_some(), "connection {number} was closed without a reply");
    }
    for (number, socket) in sockets.iter().enumerate() {
        let reply = tokio::time::timeout(PATIENCE, socket.recv(&mut [0; 512])).await;
        assert!(matches!(reply, Ok(Ok(_))), "UDP query {number}: {reply:?}");
    }
    let (status, took, log, _) = program.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_signal_right_after_the_start_ends_the_program_in_order() {
    let (_dir, config) = configuration("");
    for _ in 0..10 {
        let (program, _) = Program::serve(&["--config", &config]);
        program.signal("TERM");
        let (status, _, log, _) = program.end().await;
        assert_eq!(status.code(), Some(0), "{status} {log}");
    }
}

#[tokio::test]
async fn unreachable_nodes_and_hanging_seeds_do_not_delay_the_end() {
    // TEST-NET addresses, from which nothing returns, and a name that no resolver knows or answers.
    let (program, _) = Program::serve(&[
        "--zone",
        "z.example",
        "--seed",
        "192.0.2.1",
        "--seed",
        "seed.invalid",
        "--seed",
        "127.12.50.1",
    ]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let told = program.signal("TERM");
    let (status, _, log, _) = program.end().await;
    let took = told.elapsed();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(took < Duration::from_secs(2), "{took:?}\n{log}");
}

#[tokio::test]
async fn ctrl_c_ends_the_demo_within_a_second() {
    for arguments in [&["demo"][..], &["demo", "--chaos"]] {
        let mut command = Command::new(PROGRAM);
        command.args(arguments);
        let (program, line) = Program::start(command, "as alternator.local on 127.0.0.1:");
        let port = line.split("127.0.0.1:").nth(1).unwrap().split('.').next().unwrap();
        let address: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
        let dig = Dig::new(address, "alternator.local", RecordType::A);
        within(PATIENCE, || dig.ask(), |reply| reply.set().len() == 8).await;
        let told = program.signal("INT");
        let (status, _, log, output) = program.end().await;
        let took = told.elapsed();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        println!("{arguments:?} ended after {took:?}");
        assert!(output.contains("dig +short"), "{output}");
        // On a busy machine the start may have had something to say.
        assert!(!log.contains("ended unexpectedly") && !log.contains("panicked"), "{log}");
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_one_clear_line_and_exit_code_1() {
    let free = || (Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST.into()));
    let (tcp, udp) = (TcpListener::bind(free()).unwrap(), UdpSocket::bind(free()).unwrap());
    for (address, protocol, reason) in [
        (tcp.local_addr().unwrap().to_string(), "TCP", "another program has the port"),
        (udp.local_addr().unwrap().to_string(), "UDP", "another program has the port"),
        ("192.0.2.1:5353".to_owned(), "TCP", "this machine does not have that address"),
    ] {
        let arguments = ["serve", "--zone", "z.example", "--seed", "127.12.51.1", "--listen", &address];
        let run = Command::new(PROGRAM).args(arguments).output().unwrap();
        let log = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(1), "{log}");
        // Root is warned of being it, which is another matter.
        let told: Vec<&str> = log.lines().filter(|line| !line.contains("running as root")).collect();
        assert_eq!(told.len(), 1, "{log}");
        assert!(told[0].starts_with(&format!("alternator-dns: cannot listen on {address} ({protocol}): ")), "{log}");
        assert!(log.contains(reason), "{log}");
        assert!(run.stdout.is_empty());
    }
}

/// Whether a program answers over both transports.
async fn serves(address: SocketAddr) -> (bool, bool) {
    let dig = Dig::new(address, "static.z.example", RecordType::A);
    let udp = dig.send(&dig.bytes(), Duration::from_secs(1)).await.is_some();
    let over_tcp = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(&framed(&dig.bytes())).await.ok()?;
        read_frame(&mut stream).await
    };
    let tcp = tokio::time::timeout(Duration::from_secs(1), over_tcp).await;
    (udp, matches!(tcp, Ok(Some(_))))
}

#[tokio::test]
async fn with_few_descriptors_the_program_serves_or_says_what_it_lacks() {
    // With few descriptors one part or another cannot start or work. Whichever it is: the program serves, or it ends
    // and says why, or it says what it cannot do at present. Never is it without a part and silent about that.
    let (_dir, config) = configuration("workers = 1");
    let (mut refused, mut served) = (0, 0);
    for descriptors in 10..=24 {
        let script = format!("ulimit -n {descriptors} && exec \"$@\"");
        let mut command = Command::new("sh");
        let listen = format!("127.0.0.1:{}", free_port(Ipv4Addr::LOCALHOST.into()));
        command.args(["-c", &script, "sh", PROGRAM, "serve", "--config", &config, "--listen", &listen]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (found, serving) = mpsc::channel();
        let log = collect(child.stderr.take().unwrap(), "answering over UDP and TCP".to_owned(), found);
        // The channel closes when the program does not come so far.
        let answers = match serving.recv_timeout(PATIENCE).ok().as_deref().and_then(address_in) {
            Some(address) => serves(address).await,
            None => (false, false),
        };
        // A program that ends takes two seconds at most, and answers what it can meanwhile.
        let (patience, poll) = (Duration::from_secs(3), || std::future::ready(child.try_wait().unwrap()));
        let status = match answers {
            (true, true) => None,
            _ => tokio::time::timeout(patience, within(PATIENCE, poll, Option::is_some)).await.ok().flatten(),
        };
        let _ = child.kill();
        child.wait().unwrap();
        let log = log.join().unwrap();
        assert!(!log.contains("panicked"), "{descriptors}: {log}");
        match status {
            Some(status) => assert_eq!(status.code(), Some(1), "{descriptors}: {log}"),
            None => {
                let told = log.contains("cannot accept TCP connections");
                assert!(answers == (true, true) || (answers == (true, false) && told), "{descriptors}: {log}");
            }
        }
        served += u32::from(answers == (true, true));
        refused += u32::from(log.contains("cannot start the workers: Too many open files"));
    }
    assert!(refused > 0, "with some number of descriptors all addresses can be bound, and not be served");
    assert!(served > 0, "with enough of them it serves");
}
