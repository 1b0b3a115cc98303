//! What a supervisor is told: sd_notify(3), with a supervisor's socket of the test's own.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use hickory_proto::rr::RecordType;
use tokio::{net::UnixDatagram, time::timeout};

use super::{NAME, configuration, serve};
use crate::support::{Dig, PATIENCE, Program, free_port, ip};

/// The supervisor's end.
struct Supervisor {
    socket: UnixDatagram,
    dir: tempfile::TempDir,
}

impl Supervisor {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        Supervisor { socket, dir }
    }

    /// The variable that tells of it.
    fn variable(&self) -> String {
        format!("NOTIFY_SOCKET={}", self.dir.path().join("notify").display())
    }

    /// The next message: its lines, by what stands before `=`.
    async fn message(&self) -> BTreeMap<String, String> {
        self.message_within(PATIENCE).await.expect("a message")
    }

    async fn message_within(&self, wait: Duration) -> Option<BTreeMap<String, String>> {
        let mut buffer = [0; 4096];
        let len = timeout(wait, self.socket.recv(&mut buffer)).await.ok()?.unwrap();
        let text = std::str::from_utf8(&buffer[..len]).unwrap().to_owned();
        let line = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).unwrap();
        Some(text.lines().map(line).collect())
    }

    /// Everything that was sent before now.
    async fn rest(&self) -> Vec<BTreeMap<String, String>> {
        let mut rest = Vec::new();
        while let Some(message) = self.message_within(Duration::ZERO).await {
            rest.push(message);
        }
        rest
    }
}

/// A configuration with two addresses, of which the first is told.
fn two_addresses() -> (tempfile::TempDir, String, [SocketAddr; 2]) {
    let addresses = ["127.61.0.1", "127.61.0.2"].map(|text| SocketAddr::new(ip(text), free_port(ip(text))));
    let (dir, config) = configuration(&format!("listen = [\"{}\", \"{}\"]", addresses[0], addresses[1]));
    (dir, config, addresses)
}

#[tokio::test]
async fn ready_is_told_once_every_listener_answers_and_the_end_before_it_comes() {
    let (_dir, config, addresses) = two_addresses();
    let supervisor = Supervisor::new();
    let (program, _) = Program::start(serve(&supervisor.variable(), &config), "answering over UDP and TCP");
    let ready = supervisor.message().await;
    assert_eq!(ready.get("READY").map(String::as_str), Some("1"), "{ready:?}");
    assert!(ready["STATUS"].starts_with("serving 1 zone on 2 addresses: z.example static records"), "{ready:?}");
    assert!(!ready.contains_key("MAINPID"), "the supervisor started it: {ready:?}");
    for address in addresses {
        let dig = Dig::new(address, NAME, RecordType::A);
        assert_eq!(dig.ask().await.addresses().len(), 1);
        assert_eq!(dig.tcp().ask().await.addresses().len(), 1);
    }
    assert!(supervisor.rest().await.is_empty(), "no watchdog was asked for, and nothing changed");

    program.signal("TERM");
    let stopping = supervisor.message().await;
    assert_eq!(stopping.get("STOPPING").map(String::as_str), Some("1"), "{stopping:?}");
    assert!(stopping["EXTEND_TIMEOUT_USEC"].parse::<u64>().unwrap() >= 1_500_000, "{stopping:?}");
    let (status, _, log, _) = program.end().await;
    assert!(status.success(), "{log}");
    assert!(supervisor.rest().await.is_empty(), "the last word");
}

#[tokio::test]
async fn a_reload_is_told_however_it_goes() {
    let (_dir, config, _) = two_addresses();
    let supervisor = Supervisor::new();
    let (program, _) = Program::start(serve(&supervisor.variable(), &config), "answering over UDP and TCP");
    assert!(supervisor.message().await.contains_key("READY"));
    let good = std::fs::read_to_string(&config).unwrap();
    let bad = good.replace("[server]", "[server]\ncolour = 1");
    for (text, status) in
        [(&good, "serving 1 zone"), (&bad, "reload failed, all is served as before: "), (&good, "serving")]
    {
        std::fs::write(&config, text).unwrap();
        program.signal("HUP");
        let reloading = supervisor.message().await;
        assert_eq!(reloading.get("RELOADING").map(String::as_str), Some("1"), "{reloading:?}");
        assert!(reloading.contains_key("MONOTONIC_USEC"), "{reloading:?}");
        let ready = supervisor.message().await;
        assert_eq!(ready.get("READY").map(String::as_str), Some("1"), "{ready:?}");
        assert!(ready["STATUS"].starts_with(status), "{ready:?}");
    }
}

#[tokio::test]
async fn the_watchdog_hears_that_it_lives_for_as_long_as_it_does() {
    let (_dir, config, _) = two_addresses();
    let supervisor = Supervisor::new();
    let variables = format!("{} WATCHDOG_USEC=200000 WATCHDOG_PID=$$", supervisor.variable());
    let (program, _) = Program::start(serve(&variables, &config), "answering over UDP and TCP");
    assert!(supervisor.message().await.contains_key("READY"));
    for _ in 0..5 {
        let beat = supervisor.message().await;
        assert_eq!(beat, BTreeMap::from([("WATCHDOG".to_owned(), "1".to_owned())]));
    }
    program.signal("STOP");
    // One may be on its way; then there is silence for much longer than the watchdog's time.
    supervisor.message_within(Duration::from_millis(200)).await;
    assert_eq!(supervisor.message_within(Duration::from_secs(1)).await, None);
    program.signal("CONT");
    assert!(supervisor.message().await.contains_key("WATCHDOG"), "it goes on");
}

#[tokio::test]
async fn a_watchdog_of_another_process_hears_nothing() {
    let (_dir, config, _) = two_addresses();
    let supervisor = Supervisor::new();
    let variables = format!("{} WATCHDOG_USEC=20000 WATCHDOG_PID=1", supervisor.variable());
    let (program, _) = Program::start(serve(&variables, &config), "answering over UDP and TCP");
    assert!(supervisor.message().await.contains_key("READY"));
    program.signal("TERM");
    // The first beat would come at once.
    assert!(supervisor.message().await.contains_key("STOPPING"));
    program.end().await;
}

#[tokio::test]
async fn a_supervisor_that_reads_nothing_holds_nothing_up() {
    let (_dir, config, addresses) = two_addresses();
    let supervisor = Supervisor::new();
    // A few hundred messages fill the queue of such a socket, which then lets nobody go on.
    let variables = format!("{} WATCHDOG_USEC=1000 WATCHDOG_PID=$$", supervisor.variable());
    let (program, _) = Program::start(serve(&variables, &config), "answering over UDP and TCP");
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(Dig::new(addresses[0], NAME, RecordType::A).ask().await.addresses().len(), 1);
    }
    let threads = std::fs::read_dir(format!("/proc/{}/task", program.id())).unwrap().count();
    assert!(threads < 40, "{threads} threads: one for each message that waits");
    program.signal("TERM");
    let (status, took, log, _) = program.end().await;
    assert!(status.success() && took < PATIENCE / 2, "{took:?} {log}");
}

#[tokio::test]
async fn a_supervisor_that_is_not_there_holds_nothing_up() {
    let (_dir, config, addresses) = two_addresses();
    let (program, _) =
        Program::start(serve("NOTIFY_SOCKET=/nonexistent/socket", &config), "answering over UDP and TCP");
    assert_eq!(Dig::new(addresses[1], NAME, RecordType::A).ask().await.addresses().len(), 1);
    program.signal("TERM");
    let (status, _, log, _) = program.end().await;
    assert!(status.success() && !log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn who_replaces_a_process_becomes_the_main_one_and_the_other_falls_silent() {
    let listen = SocketAddr::new(ip("127.61.0.6"), free_port(ip("127.61.0.6")));
    let (_dir, config) = configuration(&format!("listen = [\"{listen}\"]\ncontrol = \"control.sock\""));
    let supervisor = Supervisor::new();
    let watched = |pid: &str| format!("{} WATCHDOG_USEC=200000 WATCHDOG_PID={pid}", supervisor.variable());
    let (old, _) = Program::start(serve(&watched("$$"), &config), "answering over UDP and TCP");
    assert!(supervisor.message().await.contains_key("READY"));
    // As the unit's environment has it: the watchdog's process is the old one.
    let replacing = serve(&watched(&old.id().to_string()), &format!("{config} --replace"));
    let (new, _) = Program::start(replacing, "answering over UDP and TCP");
    let is_beat = |message: &BTreeMap<String, String>| message.keys().eq(["WATCHDOG"]);
    let main = loop {
        let message = supervisor.message().await;
        if !is_beat(&message) {
            break message;
        }
    };
    assert_eq!(
        (main.get("MAINPID"), main.get("READY")),
        (Some(&new.id().to_string()), Some(&"1".to_owned())),
        "{main:?}"
    );
    let (status, _, log, _) = old.end().await;
    assert!(status.success(), "{log}");
    // What the old one says now would be taken for the service's.
    for message in supervisor.rest().await {
        assert!(is_beat(&message), "{message:?}");
    }
    for _ in 0..3 {
        let message = supervisor.message().await;
        assert!(is_beat(&message), "the new one lives: {message:?}");
    }
    assert_eq!(Dig::new(listen, NAME, RecordType::A).ask().await.addresses().len(), 1);
    new.signal("TERM");
    while is_beat(&supervisor.message().await) {}
    let (status, _, log, _) = new.end().await;
    assert!(status.success(), "{log}");
}
