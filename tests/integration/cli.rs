//! The real binary, as an operator meets it: commands, exit codes, texts, signals.

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use alternator_dns::{
    config::{self, Flags, ServerConfig},
    sim::{Cluster, Fault},
};
use hickory_proto::rr::RecordType;

use crate::support::{Dig, PATIENCE, cluster, eventually};

/// The program in a folder without a configuration, with no variable of ours.
fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alternator-dns"));
    let ours =
        std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("ALTERNATOR_DNS_"));
    ours.for_each(|name| {
        command.env_remove(name);
    });
    command.env_remove("RUST_LOG").current_dir(folder).args(args).stdin(Stdio::null());
    command
}

/// Runs to the end: exit code, standard output, standard error.
fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    told(&program(folder, args).output().unwrap())
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The program at work, all it prints collected. Killed when dropped.
struct Running {
    child: Child,
    printed: Arc<Mutex<String>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let printed = Arc::<Mutex<String>>::default();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let printed = printed.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    printed.lock().unwrap().push_str(&(line + "\n"));
                }
            });
        }
        Running { child, printed }
    }

    fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    /// Waits until this was printed.
    async fn prints(&self, text: &str) -> String {
        eventually(async || self.printed(), |printed| printed.contains(text)).await
    }

    /// Waits until it says where it answers.
    async fn address(&self) -> SocketAddr {
        let printed = self.prints("answering over UDP and TCP address=").await;
        // Other addresses may have been told before, such as the HTTP side's where it is taken.
        let rest = printed.split("answering over UDP and TCP address=").nth(1).unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Sends a signal and waits for the end: exit code, and how long it took.
    async fn signal(mut self, signal: &str) -> (Option<i32>, Duration) {
        let began = Instant::now();
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), began.elapsed());
            }
            assert!(began.elapsed() < PATIENCE, "still running: {}", self.printed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn serve_without_anything_shows_the_shortest_command_and_the_demo() {
    let folder = folder(&[]);
    let (code, out, err) = run(folder.path(), &["serve"]);
    assert_eq!((code, &*out), (2, ""));
    for expected in ["no zone to serve", "alternator-dns serve --seed 10.0.0.1", "alternator-dns demo"] {
        assert!(err.contains(expected), "{err}");
    }
    assert!(err.lines().count() < 10, "short: {err}");
    let (code, _, err) = run(folder.path(), &["check"]);
    assert!(code == 2 && err.contains("no zone to serve"), "{err}");
}

#[test]
fn every_command_has_a_help_that_names_its_options() {
    let folder = folder(&[]);
    let (code, out, err) = run(folder.path(), &["--help"]);
    assert_eq!((code, &*err), (0, ""));
    for expected in ["serve", "demo", "check", "config", "Exit status"] {
        assert!(out.contains(expected), "{expected} in {out}");
    }
    for (command, options) in [
        (
            "serve",
            &[
                "--config",
                "--zone",
                "--seed",
                "--port",
                "--scheme",
                "--listen",
                "--answers",
                "--ttl",
                "ALTERNATOR_DNS_",
            ][..],
        ),
        ("demo", &["--chaos"]),
        ("check", &["--config", "--probe"]),
        ("drain", &["--for", "--in", "--reason", "--zone", "--wait", "--by", "TARGET", "Exit status"]),
        ("undrain", &["--action", "--zone", "--by"]),
        ("force-up", &["--for", "--reason", "--zone"]),
        ("overrides", &["--server"]),
        ("config", &[]),
    ] {
        let (code, out, _) = run(folder.path(), &[command, "--help"]);
        assert_eq!(code, 0, "{command}");
        for option in options {
            assert!(out.contains(option), "{option} in {out}");
        }
        assert!(out.lines().all(|line| line.chars().count() <= 130), "{out}");
    }
    let (code, out, _) = run(folder.path(), &["--version"]);
    assert_eq!((code, out), (0, format!("alternator-dns {}\n", env!("CARGO_PKG_VERSION"))));
    for wrong in [&["frob"][..], &[], &["serve", "--frob"], &["serve", "--port", "70000"], &["demo", "x"]] {
        let (code, out, err) = run(folder.path(), wrong);
        assert!(code == 2 && out.is_empty() && !err.is_empty(), "{wrong:?}: {err}");
    }
}

#[tokio::test]
async fn serve_needs_nothing_but_flags() {
    let cluster = cluster(&["dc1/rack1 127.13.70.1", "dc1/rack2 127.13.70.2"]).await;
    let folder = folder(&[]);
    let port = cluster.port().to_string();
    let flags = [
        "serve",
        "--zone",
        "DB.Example.",
        "--seed",
        "127.13.70.1",
        "--seed",
        "127.13.70.2",
        "--port",
        &port,
        "--scheme",
        "http:",
        "--listen",
        "127.13.70.9:0",
        "--answers",
        "0",
        "--ttl",
        "7s",
    ];
    let server = Running::start(program(folder.path(), &flags));
    let at = server.address().await;
    assert_eq!(at.ip(), address("127.13.70.9"));
    let ask = async || Dig::new(at, "db.example", RecordType::A).ask().await;
    let reply = eventually(ask, |reply| reply.set().len() == 2).await;
    assert_eq!(reply.ttl(), 7);
    assert_eq!(Dig::new(at, "db.example", RecordType::A).tcp().ask().await.set(), reply.set());
    assert_eq!(server.signal("TERM").await.0, Some(0));
}

/// One zone over the cluster, `ttl = "10s"`.
fn config_of(cluster: &Cluster, listen: &str) -> String {
    let nodes = cluster.nodes();
    let seed = nodes[0].address;
    format!(
        "[server]\nlisten = [\"{listen}\"]\nworkers = 1\n[zones.\"db.example\"]\nttl = \"10s\"\nanswers = 1\n\
         [zones.\"db.example\".cluster]\nseeds = [\"{seed}\"]\nport = {}\n",
        cluster.port()
    )
}

#[tokio::test]
async fn flags_beat_variables_beat_the_file_beat_the_defaults() {
    let cluster = cluster(&["dc1/rack1 127.13.71.1"]).await;
    let text = config_of(&cluster, "127.13.71.9:0");
    let (file, other) = (folder(&[("alternator-dns.toml", &text)]), folder(&[("x.toml", &text)]));
    let other_file = other.path().join("x.toml");
    let other_file = other_file.to_str().unwrap();
    let without = text.replace("ttl = \"10s\"\n", "");
    let without = folder(&[("alternator-dns.toml", &without)]);
    for (folder, args, variables, ttl) in [
        (without.path(), vec!["serve"], vec![], 5),
        (file.path(), vec!["serve"], vec![], 10),
        (file.path(), vec!["serve"], vec![("ALTERNATOR_DNS_TTL", "")], 10),
        (file.path(), vec!["serve"], vec![("ALTERNATOR_DNS_TTL", "20s")], 20),
        (file.path(), vec!["serve", "--ttl", "30s"], vec![("ALTERNATOR_DNS_TTL", "20s")], 30),
        (without.path(), vec!["serve", "--config", other_file], vec![("ALTERNATOR_DNS_CONFIG", "/nonexistent")], 10),
        (without.path(), vec!["serve"], vec![("ALTERNATOR_DNS_CONFIG", other_file)], 10),
        (
            other.path(),
            vec!["serve", "--config", "x.toml"],
            vec![("ALTERNATOR_DNS_SERVER__LISTEN", "127.13.71.8:0")],
            10,
        ),
    ] {
        let mut command = program(folder, &args);
        command.envs(variables.iter().copied());
        let server = Running::start(command);
        let at = server.address().await;
        let own = variables.iter().any(|(name, _)| name.ends_with("LISTEN"));
        assert_eq!(at.ip(), address(if own { "127.13.71.8" } else { "127.13.71.9" }));
        let ask = async || Dig::new(at, "db.example", RecordType::A).ask().await;
        // Found, and no longer the one second of a stale answer.
        let ttls = async || ask().await.answers().iter().map(|record| record.ttl).collect::<Vec<_>>();
        eventually(ttls, |ttls| *ttls == [ttl]).await;
    }
}

#[test]
fn config_prints_the_reference_which_loads_and_is_the_defaults() {
    let (code, out, err) = run(Path::new("/"), &["config"]);
    assert_eq!((code, &*err), (0, ""));
    assert_eq!(out, config::reference());
    let uncommented: String = out
        .lines()
        .map(|line| {
            line.strip_prefix('#').filter(|option| !option.is_empty() && !option.starts_with(' ')).unwrap_or(line)
        })
        .fold(String::new(), |text, line| text + line + "\n");
    let folder = folder(&[("as-printed.toml", &out), ("uncommented.toml", &uncommented)]);
    let load = |name: &str| {
        let flags = Flags { config: Some(folder.path().join(name)), ..Flags::default() };
        config::load(&flags, [], &[] as &[&Path]).unwrap().config
    };
    let printed = load("as-printed.toml");
    assert_eq!((printed.server, printed.zones.len()), (ServerConfig::default(), 0));
    let mut uncommented = load("uncommented.toml").server;
    // The one difference between an address that is the default and one that somebody wrote.
    assert!(!std::mem::replace(&mut uncommented.admin.is_default, true));
    assert_eq!(uncommented, ServerConfig::default());
    let (code, out, _) = run(folder.path(), &["check", "--config", "uncommented.toml"]);
    assert_eq!(code, 0);
    assert_eq!(out, "uncommented.toml: fine\n\nzone alternator.local\n  no seeds: only static records\n");
}

#[test]
fn check_prints_the_names_that_would_be_served() {
    let zones = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones");
    let (code, out, err) = run(&zones, &["check"]);
    assert_eq!(code, 0, "{err}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = out.lines().map(words).collect();
    for expected in [
        "alternator-dns.toml: fine",
        "zone alternator.local",
        "alternator.local cluster",
        "web.alternator.local dc1/rack1 > dc1 > cluster",
        "dc1.alternator.local dc1",
        "dc1.rack1.alternator.local dc1/rack1 > dc1 also rack1.dc1.alternator.local, dc1--rack1.alternator.local",
    ] {
        assert!(lines.contains(&expected.to_owned()), "{expected} in {out}");
    }
    assert!(err.starts_with("warning: ") && err.contains("mDNS") && err.lines().count() == 1, "{err}");
}

#[test]
fn check_tells_every_problem_at_once_and_what_would_be_right() {
    let folder = folder(&[(
        "alternator-dns.toml",
        "[server]\nlisten = [\"127.0.0.1\"]\n[zones.\"db.example\"]\ntll = \"5s\"\nanswers = \"some\"\n\
         [zones.\"db.example\".cluster]\nseeds = [\"http://10.0.0.1\"]\nport = 0\n[zones.\"db.example\".health]\ninterval = 5\n",
    )]);
    let (code, out, err) = run(folder.path(), &["check"]);
    assert_eq!((code, &*out), (2, ""));
    let lines: Vec<&str> = err.lines().collect();
    for (number, line) in [2, 4, 5, 7, 8, 10].into_iter().enumerate() {
        assert!(lines[number].starts_with(&format!("alternator-dns.toml:{line}: ")), "{err}");
    }
    assert!(lines[1].contains("zones.\"db.example\".tll") && lines[1].contains("ttl"), "the nearest key: {err}");
    assert!(lines[5].contains("interval = \"5s\""), "{err}");
    assert_eq!(lines[6..], ["6 problems"]);
    // What check refuses serve refuses, with the same words.
    let (code, out, serve) = run(folder.path(), &["serve"]);
    assert_eq!((code, &*out), (2, ""));
    for line in &lines[..6] {
        assert!(serve.contains(&format!("alternator-dns: {line}\n")), "{line} in {serve}");
    }
}

#[test]
fn check_reads_zone_files_as_serve_does() {
    let config = "[zones.\"db.example\"]\nfile = \"a.zone\"\n[zones.\"db.example\".cluster]\nseeds = [\"10.0.0.1\"]\ndatacenters = { dc1 = [\"r1\"] }\n";
    let folder = folder(&[("alternator-dns.toml", config), ("a.zone", "$TTL 60\nwww A 10.0.0.300\nwww FOO x\n")]);
    let (code, _, err) = run(folder.path(), &["check"]);
    assert_eq!(code, 2);
    assert_eq!(err, "a.zone:2: A: \"10.0.0.300\" is no IPv4 address\na.zone:3: unknown type \"FOO\"\n2 problems\n");
    // A configuration that is not fine either does not hide them.
    std::fs::write(folder.path().join("both.toml"), config.replace("seeds", "sseds")).unwrap();
    let (code, _, err) = run(folder.path(), &["check", "--config", "both.toml"]);
    assert!(code == 2 && err.starts_with("both.toml:4: ") && err.ends_with("\"FOO\"\n3 problems\n"), "{err}");
    std::fs::write(folder.path().join("a.zone"), "$TTL 60\nr1.dc1 A 10.0.0.3\n").unwrap();
    let (code, _, err) = run(folder.path(), &["serve"]);
    assert!(code == 2 && err.contains("a.zone:2: r1.dc1.db.example. A has the name of the scope dc1/r1"), "{err}");
    let (code, _, err) = run(folder.path(), &["check", "--config", "missing.toml"]);
    assert!(code == 2 && err.starts_with("missing.toml: cannot be read: "), "{err}");
}

#[tokio::test]
async fn check_probe_tells_what_each_seed_says() {
    let cluster = cluster(&["dc1/rack1 127.13.72.1", "dc1/rack2 127.13.72.2", "dc1/rack2 127.13.72.3"]).await;
    cluster.inject(address("127.13.72.2"), Fault::OldVersion).await.unwrap();
    cluster.list_without_serving(address("127.13.72.3")).await.unwrap();
    let text = config_of(&cluster, "127.0.0.1:5300");
    let seeds = "seeds = [\"127.13.72.1\", \"127.13.72.2\", \"127.13.72.3\", \"no-such-host.invalid\"]";
    let all = text.replace("seeds = [\"127.13.72.1\"]", seeds);
    let dead = text.replace("seeds = [\"127.13.72.1\"]", "seeds = [\"127.13.72.3\"]");
    let folder = folder(&[("all.toml", &all), ("dead.toml", &dead)]);
    let check = async |file: &str| {
        let mut command = program(folder.path(), &["check", "--probe", "--config", file]);
        told(&tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
    };
    let (code, out, err) = check("all.toml").await;
    assert_eq!(code, 0, "{out}{err}");
    let port = cluster.port();
    let line = |start: &str| {
        out.lines().find(|line| line.trim().starts_with(start)).unwrap_or_else(|| panic!("{start} in {out}"))
    };
    assert!(line(&format!("127.13.72.1 port {port}: lists 3: ")).ends_with("; serves"), "{out}");
    assert!(line(&format!("127.13.72.2 port {port}: lists 3: ")).ends_with("; serves"), "{out}");
    assert!(line(&format!("127.13.72.3 port {port}: ")).contains("connection refused"), "{out}");
    line("no-such-host.invalid: cannot be resolved: ");
    assert_eq!(out.matches("this node ignores dc/rack").count(), 1, "{out}");
    let old = out.find("127.13.72.2 port").unwrap();
    assert!(out[old..].lines().nth(1).unwrap().contains("this node ignores dc/rack"), "{out}");

    let (code, out, _) = check("dead.toml").await;
    assert_eq!(code, 2);
    assert!(out.contains("no seed answers"), "{out}");
}

#[test]
fn an_address_in_use_is_one_clear_line_and_exit_1() {
    let taken = TcpListener::bind("127.13.73.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let folder = folder(&[]);
    let (code, out, err) =
        run(folder.path(), &["serve", "--zone", "db.example", "--seed", "127.13.73.2", "--listen", &at]);
    assert_eq!((code, &*out), (1, ""));
    let last = err.lines().last().unwrap();
    assert!(last.starts_with(&format!("alternator-dns: cannot listen on {at} (TCP): Address already in use")), "{err}");
}

#[tokio::test]
async fn sigint_and_sigterm_end_a_serving_process_within_two_seconds() {
    let cluster = cluster(&["dc1/rack1 127.13.74.1"]).await;
    let folder = folder(&[("alternator-dns.toml", &config_of(&cluster, "127.13.74.9:0"))]);
    for signal in ["INT", "TERM"] {
        let mut took = Vec::new();
        while took.len() < TRIES && took.last().is_none_or(|took| *took > Duration::from_secs(2)) {
            let server = Running::start(program(folder.path(), &["serve"]));
            let at = server.address().await;
            // A connection at rest does not keep it.
            let _idle = tokio::net::TcpStream::connect(at).await.unwrap();
            let ask = async || Dig::new(at, "db.example", RecordType::A).ask().await;
            eventually(ask, |reply| !reply.answers().is_empty()).await;
            let (code, this_time) = server.signal(signal).await;
            assert_eq!(code, Some(0), "{signal}");
            took.push(this_time);
        }
        assert!(took.last() < Some(&Duration::from_secs(2)), "{signal}: {took:?}");
    }
}

#[tokio::test]
async fn the_demo_shows_its_cluster_answers_and_takes_the_next_port_when_its_own_is_taken() {
    // Free or not: afterwards somebody has it.
    let _tcp = TcpListener::bind("127.0.0.1:5300");
    let _udp = UdpSocket::bind("127.0.0.1:5300");
    let folder = folder(&[]);
    let demo = Running::start(program(folder.path(), &["demo", "--chaos"]));
    let printed = demo.prints("Ctrl-C").await;
    assert!(printed.starts_with("Port 5300 is taken by another program; using 53"), "{printed}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    for place in 0..6 {
        let (dc, rack) = (place / 3 + 1, place % 3 + 1);
        let nodes = format!("dc{dc} rack{rack} 127.0.1.{dc}{rack}1 127.0.1.{dc}{rack}2");
        assert!(printed.lines().any(|line| words(line).starts_with(&nodes)), "{nodes} in {printed}");
    }
    let digs: Vec<&str> = printed.lines().filter(|line| line.trim().starts_with("dig ")).collect();
    assert!((3..=4).contains(&digs.len()), "{printed}");
    let at: SocketAddr = printed
        .split("127.0.0.1:")
        .nth(1)
        .unwrap()
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .map(|port| format!("127.0.0.1:{port}").parse().unwrap())
        .unwrap();
    assert_ne!(at.port(), 5300);

    // Every line to paste works, and each names the right port.
    for line in digs {
        let words: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
        assert_eq!(words[..5], ["dig", "+short", "-p", &at.port().to_string(), "@127.0.0.1"]);
        let (rtype, name) = match words[5..] {
            [name] => (RecordType::A, name),
            ["TXT", name] => (RecordType::TXT, name),
            _ => panic!("{line}"),
        };
        let ask = async || {
            let dig = Dig::new(at, name, rtype).edns(1232);
            let reply = dig.ask().await;
            // As dig does.
            if reply.is_truncated() { dig.tcp().ask().await } else { reply }
        };
        let reply = eventually(ask, |reply| !reply.answers().is_empty()).await;
        assert!(reply.set().iter().all(|address| address.starts_with("127.0.1.")), "{line}: {:?}", reply.set());
    }
    let eight = async || Dig::new(at, "alternator.local", RecordType::A).ask().await.answers().len();
    eventually(eight, |answers| *answers == 8).await;

    // Chaos tells what it does, and does it.
    let printed = demo.prints("stopped ").await;
    let line = printed.lines().find(|line| line.contains("stopped ")).unwrap();
    let node = line.split_whitespace().last().unwrap();
    assert!(line.contains("/rack") && node.parse::<std::net::IpAddr>().is_ok(), "{line}");

    assert_eq!(demo.signal("INT").await.0, Some(0));
}

/// Promises of time are the program's, not of a machine that is busy with something else: one of these tries has to
/// keep them.
const TRIES: usize = 5;

#[tokio::test]
async fn ctrl_c_ends_the_demo_within_a_second() {
    let folder = folder(&[]);
    let mut took = Vec::new();
    while took.len() < TRIES && took.last().is_none_or(|took| *took > Duration::from_secs(1)) {
        let demo = Running::start(program(folder.path(), &["demo", "--chaos"]));
        demo.prints("Chaos").await;
        let (code, this_time) = demo.signal("INT").await;
        assert_eq!(code, Some(0));
        took.push(this_time);
    }
    assert!(took.last() < Some(&Duration::from_secs(1)), "{took:?}");
}

#[tokio::test]
async fn a_demo_without_chaos_changes_nothing_and_runs_beside_another() {
    let folder = folder(&[]);
    let first = Running::start(program(folder.path(), &["demo"]));
    first.prints("Ctrl-C").await;
    let second = Running::start(program(folder.path(), &["demo"]));
    let printed = second.prints("Ctrl-C").await;
    assert!(printed.contains("dig +short"), "{printed}");
    assert!(!printed.contains("Chaos"), "{printed}");
    assert_eq!(second.signal("INT").await.0, Some(0));
    assert_eq!(first.signal("TERM").await.0, Some(0));
}
