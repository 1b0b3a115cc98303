//! A running process is replaced by a new one, and nobody notices.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::support::{
    ADMIN_LISTEN, Ceaseless, Dig, PATIENCE, PROGRAM, Program, address_in, cluster, eventually, framed, free_port,
    packet::{opt, option, proxied, query, question},
};

const HERE: Ipv4Addr = Ipv4Addr::new(127, 31, 3, 1);

const ZONE: &str = "z.example";

const ZONE_FILE: &str = "$TTL 60\nhost A 192.0.2.1\n";

/// A line of the new process once it serves.
const SERVES: &str = "serving in the place of the other process";

/// A configuration, and the addresses it names.
struct Setup {
    folder: tempfile::TempDir,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Setup {
    fn new(server: &str, zones: &str) -> Self {
        let free = || SocketAddr::from((HERE, free_port(HERE.into())));
        let setup = Setup { folder: tempfile::tempdir().unwrap(), address: free(), admin: free() };
        setup.write(server, zones);
        setup
    }

    /// One zone without a cluster.
    fn plain(server: &str) -> Self {
        Self::new(server, &format!("[zones.\"{ZONE}\"]\nfile = \"zone\"\n"))
    }

    fn write(&self, server: &str, zones: &str) {
        fs::write(self.folder.path().join("zone"), ZONE_FILE).unwrap();
        let head = format!(
            "[server]\nlisten = [\"{}\"]\nstate_dir = \"state\"\nworkers = 2\nwatch_files = false\n{server}\n",
            self.address
        );
        fs::write(self.folder.path().join("config.toml"), head + zones).unwrap();
    }

    fn control(&self) -> PathBuf {
        self.folder.path().join("state/control.sock")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("serve").args(arguments).arg("--config").arg(self.folder.path().join("config.toml"));
        command.current_dir(self.folder.path()).env("NO_COLOR", "1").env_remove("RUNTIME_DIRECTORY");
        command.env(ADMIN_LISTEN, self.admin.to_string());
        command
    }

    /// Serves, and can be replaced.
    async fn serve(&self) -> Program {
        let (program, line) = Program::start(self.command(&[]), "answering over UDP and TCP");
        assert_eq!(address_in(&line), Some(self.address));
        eventually(|| std::future::ready(self.control().exists()), |exists| *exists).await;
        program
    }

    /// The process that takes the place of the one before, once it serves, and that one has ended well. Returns the log
    /// of that one, too.
    async fn replace(&self, before: Program) -> (Program, String) {
        let (program, _) = Program::start(self.command(&["--replace"]), SERVES);
        let (status, took, log, _) = before.end().await;
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(took < Duration::from_secs(6), "{took:?}\n{log}");
        let since = log.rsplit("about to replace").next().unwrap();
        assert!(since.contains("handed over; this process ends") && !since.contains("ERROR"), "{log}");
        (program, log)
    }

    /// What a process says that does not come to serve.
    fn fails(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let Output { status, stderr, .. } = self.command(arguments).output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    }

    fn query(&self) -> Vec<u8> {
        Dig::new(self.address, &format!("host.{ZONE}"), RecordType::A).bytes()
    }

    fn connected(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

/// Reads one reply with an answer; whether there is one.
fn is_answered(stream: &mut TcpStream) -> bool {
    let mut len = [0; 2];
    if stream.read_exact(&mut len).is_err() {
        return false;
    }
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply).is_ok() && reply[3] & 15 == 0 && reply[6..8] != [0, 0]
}

async fn serial(setup: &Setup) -> u32 {
    let reply = Dig::new(setup.address, ZONE, RecordType::SOA).ask().await;
    let data = &reply.message.answers[0].data;
    let hickory_proto::rr::RData::SOA(soa) = data else { panic!("{data:?}") };
    soa.serial
}

#[tokio::test(flavor = "multi_thread")]
async fn replacements_lose_no_query() {
    let setup = Setup::plain("");
    let mut program = setup.serve().await;
    let mode = fs::metadata(setup.control()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let asking = Ceaseless::start(setup.address, &setup.query());
    asking.more(20).await;
    let mut before = serial(&setup).await;
    for _ in 0..5 {
        (program, _) = setup.replace(program).await;
        asking.more(20).await;
        // Somebody is always there over HTTP, too.
        drop(TcpStream::connect(setup.admin).unwrap());
        let now = serial(&setup).await;
        assert!(now.wrapping_sub(before) < 1 << 31, "{before} then {now}");
        before = now;
    }
    println!("answered {:?}", asking.stop());
    program.signal("TERM");
    let (status, _, log, _) = program.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!setup.control().exists(), "the last one takes its socket with it");
    // There is nobody now.
    let (program, _) = Program::start(setup.command(&["--replace"]), "answering over UDP and TCP");
    program.signal("TERM");
    let (_, _, log, _) = program.end().await;
    assert!(log.contains("there is nobody to replace: starting as usual"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_cluster_goes_on() {
    let nodes = cluster(&["dc1/rack1 127.31.4.1", "dc1/rack1 127.31.4.2", "dc1/rack2 127.31.4.3"]).await;
    // Seldom enough that no node is found dead before all is asked, however busy this machine is.
    let zones = format!(
        "[zones.\"{ZONE}\"]\nanswers = 0\n[zones.\"{ZONE}\".health]\ninterval = \"30s\"\n\
         [zones.\"{ZONE}\".cluster]\nseeds = [\"127.31.4.1\"]\nport = {}\n",
        nodes.port()
    );
    let setup = Setup::new("", &zones);
    let program = setup.serve().await;
    let dig = Dig::new(setup.address, ZONE, RecordType::A);
    let all = async || dig.ask().await.set();
    eventually(all, |set| set.len() == 3).await;
    let before = serial(&setup).await;
    // A process that would find nobody to answer with leaves it to the one that does.
    setup.write("", &zones.replace("127.31.4.1", "127.31.4.254"));
    let (code, log) = setup.fails(&["--replace"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("none of its seeds tells which nodes there are"), "{log}");
    assert_eq!(all().await.len(), 3);
    setup.write("", &zones);
    // No node answers any more: what the new process knows it has from the old one.
    drop(nodes);
    let (program, _) = setup.replace(program).await;
    assert_eq!(all().await.len(), 3);
    let after = serial(&setup).await;
    assert!(after != before && after.wrapping_sub(before) < 1 << 31, "{before} then {after}");
    program.signal("TERM");
    let (_, _, log, _) = program.end().await;
    assert!(!log.contains("has not settled"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_go_on_in_the_new_process() {
    let setup = Setup::plain("");
    let program = setup.serve().await;
    let query = framed(&setup.query());
    let (mut idle, mut begun, mut new, mut silent) =
        (setup.connected(), setup.connected(), setup.connected(), setup.connected());
    for stream in [&mut idle, &mut begun] {
        stream.write_all(&query).unwrap();
        assert!(is_answered(stream));
    }
    begun.write_all(&query[..9]).unwrap();
    silent.write_all(&query[..1]).unwrap();
    // The old process has read that.
    new.write_all(&query).unwrap();
    assert!(is_answered(&mut new));
    let (next, _) = Program::start(setup.command(&["--replace"]), SERVES);
    // What began before is still the old one's, and what follows the new one's.
    begun.write_all(&query[9..]).unwrap();
    assert!(is_answered(&mut begun));
    let (status, took, log, _) = program.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(log.contains("connections=3 lost=0"), "{log}");
    for stream in [&mut idle, &mut begun, &mut new] {
        for _ in 0..3 {
            stream.write_all(&query).unwrap();
            assert!(is_answered(stream));
        }
    }
    // Who never finishes its query is not waited for.
    assert!(!is_answered(&mut silent));
    drop(next);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_keeps_its_bounds_through_replacements_one_after_the_other() {
    let setup = Setup::plain("[server.tcp]\nqueries = 6\n");
    let first = setup.serve().await;
    let query = framed(&setup.query());
    let (mut kept, mut slow) = (setup.connected(), setup.connected());
    for _ in 0..3 {
        kept.write_all(&query).unwrap();
        assert!(is_answered(&mut kept));
    }
    // The first process cannot give this one away, and ends late because of it.
    slow.write_all(&query[..5]).unwrap();
    kept.write_all(&query).unwrap();
    assert!(is_answered(&mut kept));
    let (second, _) = Program::start(setup.command(&["--replace"]), SERVES);
    // The second one is not replaced before it has all there is.
    let asks = setup.command(&["--replace"]);
    let third = tokio::task::spawn_blocking(move || Program::start(asks, SERVES).0);
    kept.write_all(&query).unwrap();
    assert!(is_answered(&mut kept));
    slow.write_all(&query[5..]).unwrap();
    assert!(is_answered(&mut slow));
    let third = third.await.unwrap();
    for (number, program) in [first, second].into_iter().enumerate() {
        let (status, _, log, _) = program.end().await;
        assert!(status.code() == Some(0) && log.contains("connections=2 lost=0"), "{number}: {log}");
    }
    for stream in [&mut kept, &mut slow] {
        stream.write_all(&query).unwrap();
        assert!(is_answered(stream));
    }
    // The sixth was the last.
    assert_eq!(kept.read(&mut [0]).unwrap(), 0);
    drop(third);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_named_by_proxies_and_cookies_stay_who_they_are() {
    let access = "proxy_from = [\"127.0.0.1\"]\n[[server.access]]\nallow = [\"192.0.2.7\"]\ndenied = \"drop\"\n";
    let setup = Setup::plain(access);
    let program = setup.serve().await;
    let ask = framed(&setup.query());
    let header = proxied("192.0.2.7:4000".parse().unwrap());
    // Version 2 of the header for TCP differs in one octet.
    let header = [&header[..13], &[header[13] & 0xf0 | 1], &header[14..]].concat();
    let (mut named, mut unnamed) = (setup.connected(), setup.connected());
    named.write_all(&[&header[..], &ask].concat()).unwrap();
    assert!(is_answered(&mut named));
    let cookie = async |cookie: &[u8]| {
        let asked = query(&question(&format!("host.{ZONE}"), 1), &[&opt(1232, 0, 0, &option(10, cookie))]);
        let packet = [proxied("192.0.2.7:4000".parse().unwrap()), asked].concat();
        let reply = Dig::to(setup.address).send(&packet, PATIENCE).await.unwrap();
        let at = reply.bytes.windows(4).position(|octets| octets == [0, 10, 0, 24]).expect("a cookie");
        reply.bytes[at + 4..at + 28].to_vec()
    };
    let first = cookie(&[7; 8]).await;
    let (program, _) = setup.replace(program).await;
    // Without the header again.
    named.write_all(&ask).unwrap();
    assert!(is_answered(&mut named));
    unnamed.write_all(&[&header[..], &ask].concat()).unwrap();
    assert!(is_answered(&mut unnamed));
    assert_eq!(cookie(&first).await, first, "made by the same secret");
    drop(program);
}

/// What a new process and the running one say to each other, a message at a time.
#[derive(Debug)]
struct Talk(UnixStream);

impl Talk {
    fn begin(control: &Path) -> Self {
        let stream = UnixStream::connect(control).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Talk(stream)
    }

    fn say(&mut self, message: &Value) {
        let body = message.to_string();
        let len = (body.len() as u32).to_be_bytes();
        self.0.write_all(&[b"ADHO", &len[..], body.as_bytes()].concat()).unwrap();
    }

    /// Descriptors that come along are closed by the kernel.
    fn hear(&mut self) -> Value {
        let mut head = [0; 8];
        self.0.read_exact(&mut head).unwrap();
        assert_eq!(&head[..4], b"ADHO");
        let mut body = vec![0; u32::from_be_bytes(head[4..].try_into().unwrap()) as usize];
        self.0.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    fn hello(&mut self) {
        self.say(&json!({"message": "hello", "protocol": 1, "version": "0.0.0", "pid": 4242}));
    }

    /// The offer, with all its sockets; asked for until the running process knows that nobody else is there any more.
    async fn offered(control: &Path) -> (Self, Value) {
        let ask = async || {
            let mut talk = Talk::begin(control);
            talk.hello();
            let offer = talk.hear();
            (offer["message"] == "offer").then_some((talk, offer))
        };
        let (mut talk, offer) = eventually(ask, Option::is_some).await.unwrap();
        assert_eq!(talk.hear()["message"], "sockets");
        (talk, offer)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_fails_at_any_point_changes_nothing() {
    let setup = Setup::plain("");
    let program = setup.serve().await;
    let asking = Ceaseless::start(setup.address, &setup.query());
    asking.more(5).await;
    drop(Talk::begin(&setup.control()));
    for stage in 0..5 {
        let (mut talk, offer) = Talk::offered(&setup.control()).await;
        // UDP and TCP of two workers, and the HTTP side.
        assert_eq!((&offer["sockets"], &offer["admin"]), (&json!(4), &json!(1)), "{offer}");
        match stage {
            1 => talk.say(&json!({"message": "what?"})),
            2.. => talk.say(&json!({"message": "ready"})),
            _ => {}
        }
        if stage >= 3 {
            assert_eq!(talk.hear(), json!({"message": "go"}));
        }
        if stage == 4 {
            talk.say(&json!({"message": "ready"}));
        }
        asking.more(5).await;
        drop(talk);
        asking.more(5).await;
    }
    // Configurations and zone files that are wrong, a process that is killed while it waits for a zone to settle.
    let good = fs::read_to_string(setup.folder.path().join("config.toml")).unwrap();
    setup.write("nonsense = 1", "");
    let (code, log) = setup.fails(&["--replace"]);
    assert_eq!(code, Some(2), "{log}");
    fs::write(setup.folder.path().join("config.toml"), format!("{good}[zones.\"other.example\"]\nfile = \"none\"\n"))
        .unwrap();
    let (code, log) = setup.fails(&["--replace"]);
    assert_eq!(code, Some(2), "{log}");
    let unreachable = "[zones.\"other.example\".cluster]\nseeds = [\"127.31.4.254\"]\nport = 1\n";
    fs::write(setup.folder.path().join("config.toml"), format!("{good}{unreachable}")).unwrap();
    let (killed, _) = Program::start(setup.command(&["--replace"]), "taking the place of the running process");
    asking.more(5).await;
    drop(killed);
    asking.more(5).await;
    fs::write(setup.folder.path().join("config.toml"), &good).unwrap();
    // And one that does not fail.
    let (last, log) = setup.replace(program).await;
    assert!(log.matches("does not replace this one, which goes on").count() >= 6, "{log}");
    asking.more(20).await;
    asking.stop();
    drop(last);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_offered_before_a_reload_is_meant_after_it() {
    let setup = Setup::plain("");
    let goes = SocketAddr::from((HERE, free_port(HERE.into())));
    let config = setup.folder.path().join("config.toml");
    let one = fs::read_to_string(&config).unwrap();
    let listen = format!("\"{}\"", setup.address);
    fs::write(&config, one.replace(&listen, &format!("\"{goes}\", {listen}"))).unwrap();
    let (program, _) = Program::start(setup.command(&[]), "answering over UDP and TCP");
    eventually(|| std::future::ready(setup.control().exists()), |exists| *exists).await;
    let (mut talk, offer) = Talk::offered(&setup.control()).await;
    assert_eq!(offer["sockets"], 8);
    let mut connection = setup.connected();
    connection.write_all(&framed(&setup.query())).unwrap();
    assert!(is_answered(&mut connection));
    fs::write(&config, one).unwrap();
    program.signal("HUP");
    eventually(|| std::future::ready(TcpStream::connect(goes).is_err()), |gone| *gone).await;
    talk.say(&json!({"message": "ready"}));
    assert_eq!(talk.hear(), json!({"message": "go"}));
    // The sockets of the listener that has stayed: they were the last four.
    let claimed = [false, false, false, false, true, true, true, true];
    talk.say(&json!({"message": "serving", "claimed": claimed}));
    let passed = talk.hear();
    assert_eq!(passed["message"], "connections", "{passed}");
    assert_eq!(talk.hear()["message"], "done");
    let (status, _, log, _) = program.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

/// Lets the real process replace one that this plays, which stops talking once `go` is said, or before; it lives on or
/// dies with that.
fn played(setup: &Setup, says_go: bool, lives: bool, line: &str) -> (Program, Option<UnixListener>) {
    fs::create_dir_all(setup.control().parent().unwrap()).unwrap();
    let _ = fs::remove_file(setup.control());
    let listener = UnixListener::bind(setup.control()).unwrap();
    let playing = std::thread::spawn(move || {
        let mut talk = Talk(listener.accept().unwrap().0);
        assert_eq!(talk.hear()["message"], "hello");
        talk.say(
            &json!({"message": "offer", "version": "0.0.0", "pid": 4242, "cookie_secret": vec![0; 16], "zones": [],
            "sockets": 0, "admin": 0}),
        );
        assert_eq!(talk.hear()["message"], "ready");
        let listener = lives.then_some(listener);
        if says_go {
            talk.say(&json!({"message": "go"}));
        }
        listener
    });
    let (program, _) = Program::start(setup.command(&["--replace"]), line);
    (program, playing.join().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_replaces_a_process_that_dies_serves_and_one_that_was_given_up_ends() {
    for says_go in [false, true] {
        let setup = Setup::plain("");
        let (program, _) = played(&setup, says_go, false, SERVES);
        assert_eq!(Dig::new(setup.address, &format!("host.{ZONE}"), RecordType::A).ask().await.addresses().len(), 1);
        drop(program);
        // Two processes would serve for ever, and one of them would never be found.
        let setup = Setup::plain("");
        let (program, _listener) = played(&setup, says_go, true, "cannot replace the running process");
        let (status, _, log, _) = program.end().await;
        assert_eq!(status.code(), Some(1), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replacement_at_a_time() {
    let setup = Setup::plain("");
    let program = setup.serve().await;
    let (first, _) = Talk::offered(&setup.control()).await;
    let (code, log) = setup.fails(&["--replace"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&format!("process 4242 is replacing process {} already", program.id())), "{log}");
    // Another version that hands over in another way.
    let mut other = Talk::begin(&setup.control());
    other.say(&json!({"message": "hello", "protocol": 7, "version": "9.0.0", "pid": 1}));
    let refused = other.hear();
    assert_eq!(refused["message"], "refused");
    drop(first);
    drop(Talk::offered(&setup.control()).await);
    let (last, _) = setup.replace(program).await;
    drop(last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_names_the_way_to_take_it_over() {
    let setup = Setup::plain("");
    let program = setup.serve().await;
    let (code, log) = setup.fails(&[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("cannot listen on") && log.contains("serve --replace"), "{log}");
    assert!(setup.control().exists(), "the running one's socket is left alone");
    let (last, _) = setup.replace(program).await;
    drop(last);
    // A socket that nobody listens at any more is in nobody's way.
    let _ = fs::remove_file(setup.control());
    drop(UnixListener::bind(setup.control()).unwrap());
    let (program, _) = Program::start(setup.command(&[]), "answering over UDP and TCP");
    let control = setup.control();
    let is_alive = || std::future::ready(UnixStream::connect(&control).is_ok());
    eventually(is_alive, |alive| *alive).await;
    let (last, _) = setup.replace(program).await;
    drop(last);
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_that_the_new_process_does_not_have_answer_to_the_end() {
    let setup = Setup::plain("");
    let goes = SocketAddr::from((HERE, free_port(HERE.into())));
    let config = setup.folder.path().join("config.toml");
    let one = fs::read_to_string(&config).unwrap();
    let listen = format!("\"{}\"", setup.address);
    fs::write(&config, one.replace(&listen, &format!("{listen}, \"{goes}\""))).unwrap();
    let program = setup.serve().await;
    let asking = Ceaseless::start(setup.address, &setup.query());
    asking.more(5).await;
    assert!(Dig::new(goes, &format!("host.{ZONE}"), RecordType::A).ask().await.addresses().len() == 1);
    fs::write(&config, one).unwrap();
    let (last, _) = setup.replace(program).await;
    eventually(|| std::future::ready(TcpStream::connect(goes).is_err()), |gone| *gone).await;
    asking.more(5).await;
    asking.stop();
    drop(last);
}
