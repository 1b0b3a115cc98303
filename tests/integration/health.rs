//! `alternator-dns health`: the real command beside the real server, and beside sockets that behave as badly as servers
//! that hang.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use tempfile::TempDir;

use crate::support::{ADMIN_LISTEN, PROGRAM, Program, cluster, eventually, free_port};

/// What one look says.
#[derive(Debug)]
struct Told {
    code: i32,
    text: String,
}

/// A server's folder, and where it listens.
struct Site {
    folder: TempDir,
    dns: SocketAddr,
    admin: SocketAddr,
}

impl Site {
    /// A folder with a configuration that has no zone yet.
    fn new() -> Self {
        let address = || {
            let ip = Ipv4Addr::new(127, 83, 0, 53);
            SocketAddr::from((ip, free_port(ip.into())))
        };
        Site { folder: tempfile::tempdir().unwrap(), dns: address(), admin: address() }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("alternator-dns.toml")
    }

    /// Writes the configuration: its `[server]` and `[admin]`, then `rest`.
    fn write(&self, listen: &str, admin: &str, rest: &str) {
        let text = format!("[server]\nlisten = [{listen}]\n[admin]\nlisten = [{admin}]\n{rest}");
        fs::write(self.config(), text).unwrap();
    }

    /// The usual one: both sides, and a zone with this seed.
    fn write_for(&self, seed: &str, port: u16) {
        self.write(&format!("{:?}", self.dns.to_string()), &format!("{:?}", self.admin.to_string()), &zone(seed, port));
    }

    fn serve(&self) -> Program {
        let mut command = command(self.folder.path());
        // The file says where.
        command.env(ADMIN_LISTEN, "");
        Program::start(arguments(command, &["serve"]), "answering over UDP and TCP").0
    }

    async fn health(&self, options: &[&str]) -> Told {
        told(arguments(command(self.folder.path()), &[&["health"], options].concat())).await
    }
}

fn zone(seed: &str, port: u16) -> String {
    format!("[zones.\"health.test\".cluster]\nseeds = [\"{seed}\"]\nport = {port}\n")
}

/// The program in this folder, with none of this process's own settings.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    let ours = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().contains("ALTERNATOR"));
    ours.for_each(|name| {
        command.env_remove(name);
    });
    command.current_dir(folder);
    command
}

fn arguments(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

async fn told(mut command: Command) -> Told {
    let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8([run.stdout, run.stderr].concat()).unwrap();
    assert_eq!(text.trim_end().lines().count(), 1, "one line: {text}");
    Told { code: run.status.code().unwrap(), text }
}

impl Told {
    /// The exit code, and what the line must have.
    fn expect(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.text);
        for part in parts {
            assert!(self.text.contains(part), "{part:?} is not in {:?}", self.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_nodes_is_live_and_ready_with_and_without_its_http_side() {
    let cluster = cluster(&["dc1/rack1 127.83.1.1"]).await;
    let site = Site::new();
    site.write_for("127.83.1.1", cluster.port());
    let server = site.serve();
    let (admin, dns) = (site.admin.to_string(), site.dns.to_string());
    eventually(|| async { site.health(&["--ready"]).await.code }, |code| *code == 0).await;
    site.health(&["--ready"]).await.expect(0, &["ready: ", &admin, &dns]);
    site.health(&[]).await.expect(0, &["live: ", &admin, "says live", &dns, "over UDP"]);
    let config = site.config();
    site.health(&["--config", config.to_str().unwrap()]).await.expect(0, &["live: "]);
    site.health(&["--server", &admin]).await.expect(0, &["live: ", "DNS is not asked"]);
    drop(server);

    site.write(&format!("{dns:?}"), "", &zone("127.83.1.1", cluster.port()));
    let _server = site.serve();
    eventually(|| async { site.health(&["--ready"]).await.code }, |code| *code == 0).await;
    site.health(&["--ready"]).await.expect(0, &["no HTTP side", &dns]);
    site.health(&[]).await.expect(0, &["live: ", "no HTTP side", &dns]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_node_it_is_live_and_not_ready() {
    let site = Site::new();
    site.write_for("127.83.2.1", 1);
    let server = site.serve();
    site.health(&[]).await.expect(0, &["live: "]);
    site.health(&["--ready"]).await.expect(1, &["not ready: ", "health.test"]);
    drop(server);
    site.write(&format!("{:?}", site.dns.to_string()), "", &zone("127.83.2.1", 1));
    let _server = site.serve();
    site.health(&[]).await.expect(0, &["live: "]);
    site.health(&["--ready"]).await.expect(1, &["not ready: ", "health.test"]);
}

#[tokio::test]
async fn nobody_is_neither() {
    let site = Site::new();
    site.write_for("127.83.3.1", 1);
    let (admin, dns) = (site.admin.to_string(), site.dns.to_string());
    site.health(&[]).await.expect(1, &["not live: ", &admin, &dns, "refused"]);
    site.health(&["--ready"]).await.expect(1, &["not ready: ", &admin, &dns]);
    site.write(&format!("{dns:?}"), "", &zone("127.83.3.1", 1));
    site.health(&[]).await.expect(1, &["no HTTP side", &dns]);
    site.write("", "", "[server.tls]\n");
    site.health(&[]).await.expect(1, &["not live: "]);
    for wrong in [["--timeout", "0s"], ["--timeout", "1h"], ["--timeout", "soon"]] {
        let run = arguments(command(site.folder.path()), &[&["health"], &wrong[..]].concat()).output().unwrap();
        assert_eq!(run.status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn the_token_is_not_needed() {
    let site = Site::new();
    fs::write(site.folder.path().join("token"), "0123456789abcdef").unwrap();
    let rest = format!("token_file = \"token\"\n{}", zone("127.83.4.1", 1));
    site.write(&format!("{:?}", site.dns.to_string()), &format!("{:?}", site.admin.to_string()), &rest);
    let _server = site.serve();
    // Whoever runs the check may not be able to read it.
    fs::remove_file(site.folder.path().join("token")).unwrap();
    site.health(&[]).await.expect(0, &["says live"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_server_refused_does_not_end_it() {
    let site = Site::new();
    site.write_for("127.83.5.1", 1);
    let _server = site.serve();
    let admin = site.admin.to_string();
    // Addresses where nobody is: as if a reload could not bind them.
    site.write("\"127.83.5.99:1\"", &format!("{admin:?}"), &zone("127.83.5.1", 1));
    site.health(&[]).await.expect(0, &["live: ", &admin, "127.83.5.99:1", "refused"]);
    fs::write(site.config(), "nonsense").unwrap();
    let mut at = arguments(command(site.folder.path()), &["health"]);
    at.env(ADMIN_LISTEN, &admin);
    told(at).await.expect(0, &["live: ", &admin, "mistakes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_file_leaves_the_addresses_in_it_known() {
    let site = Site::new();
    let (dns, admin) = (format!("{:?}", site.dns.to_string()), format!("{:?}", site.admin.to_string()));
    site.write_for("127.83.7.1", 1);
    let server = site.serve();
    // A wrong value, and no TOML at all from somewhere on.
    for mistake in ["nodes = 7\n", "seeds = [\"127.83.7.1\nx = = \n"] {
        site.write(&dns, &admin, &(zone("127.83.7.1", 1) + mistake));
        site.health(&[]).await.expect(0, &["live: ", &site.admin.to_string(), "says live", "mistakes"]);
        // The HTTP side is not where the new file has it; DNS is.
        site.write(&dns, "\"127.83.7.99:1\"", &(zone("127.83.7.1", 1) + mistake));
        site.health(&[]).await.expect(0, &["live: ", "refused", &site.dns.to_string(), "over UDP", "mistakes"]);
        site.write(&dns, "", &(zone("127.83.7.1", 1) + mistake));
        site.health(&[]).await.expect(0, &["live: ", "no HTTP side", &site.dns.to_string(), "over UDP"]);
    }
    // The environment has the last word.
    site.write("\"127.83.7.99:1\"", "", "nonsense");
    let mut at = arguments(command(site.folder.path()), &["health"]);
    at.env("ALTERNATOR_DNS_SERVER__LISTEN", site.dns.to_string());
    told(at).await.expect(0, &["live: ", &site.dns.to_string(), "over UDP"]);
    drop(server);
    site.write(&dns, &admin, "nonsense");
    site.health(&[]).await.expect(1, &["not live: ", "refused", "mistakes"]);
}

#[tokio::test]
async fn who_may_not_ask_over_dns_relies_on_the_http_side() {
    let site = Site::new();
    let (dns, admin) = (format!("{:?}", site.dns.to_string()), format!("{:?}", site.admin.to_string()));
    let rest = format!("{}[[server.access]]\nallow = [\"192.0.2.0/24\"]\ndenied = \"drop\"\n", zone("127.83.6.1", 1));
    site.write(&dns, &admin, &rest);
    let _server = site.serve();
    site.health(&[]).await.expect(0, &["says live", "does not answer this machine"]);
    site.write(&dns, "", &rest);
    site.health(&[]).await.expect(1, &["no HTTP side", "does not answer this machine"]);
}

/// Takes connections and says nothing, or `reply` to whatever comes first.
fn taker(address: SocketAddr, reply: Option<Vec<u8>>) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if let Some(reply) = &reply {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head);
                let _ = stream.write_all(reply);
            }
            held.push(stream);
        }
    });
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into()
}

#[tokio::test]
async fn an_http_side_that_is_silent_or_says_that_it_hangs_is_not_live() {
    let site = Site::new();
    site.write_for("127.83.7.1", 1);
    taker(site.admin, None);
    site.health(&["--timeout", "300ms"]).await.expect(1, &["not live: ", &site.admin.to_string(), "300ms"]);

    let site = Site::new();
    site.write_for("127.83.7.1", 1);
    let error = "the controller has not got on for 31 seconds";
    taker(site.admin, Some(http("503 Service Unavailable", &format!("{{\"error\": \"{error}\"}}"))));
    site.health(&[]).await.expect(1, &["not live: ", error]);
}

#[tokio::test]
async fn another_program_at_that_port_says_nothing() {
    let site = Site::new();
    site.write_for("127.83.8.1", 1);
    taker(site.admin, Some(http("200 OK", "live")));
    site.health(&[]).await.expect(1, &["not as alternator-dns does", "refused"]);
    site.health(&["--ready"]).await.expect(1, &["not as alternator-dns does"]);
    // DNS decides then.
    let (dns, admin) = (format!("{:?}", site.dns.to_string()), format!("{:?}", site.admin.to_string()));
    site.write(&dns, "", &zone("127.83.8.1", 1));
    let _server = site.serve();
    site.write(&dns, &admin, &zone("127.83.8.1", 1));
    site.health(&[]).await.expect(0, &["not as alternator-dns does", "over UDP"]);
}

#[tokio::test]
async fn dns_that_is_silent_over_both_transports_is_not_live_and_over_one_it_is() {
    let site = Site::new();
    site.write_for("127.83.9.1", 1);
    let live = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nlive\n";
    taker(site.admin, Some(live.into()));
    let _silent = UdpSocket::bind(site.dns).unwrap();
    // Datagrams are lost and connections refused: nobody said that it hangs, but nobody answers.
    site.health(&["--timeout", "600ms"]).await.expect(1, &["not live: ", "neither over UDP nor over TCP"]);
    taker(site.dns, None);
    site.health(&["--timeout", "600ms"]).await.expect(1, &["not live: ", "neither over UDP nor over TCP"]);

    let flooded = Site::new();
    flooded.write_for("127.83.9.1", 1);
    taker(flooded.admin, Some(live.into()));
    let _silent = UdpSocket::bind(flooded.dns).unwrap();
    let listener = TcpListener::bind(flooded.dns).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut len = [0; 2];
        stream.read_exact(&mut len).unwrap();
        let mut packet = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut packet).unwrap();
        // QR: the question comes back as its reply, which is all that is asked for.
        packet[2] |= 0x80;
        stream.write_all(&[&len[..], &packet].concat()).unwrap();
    });
    flooded.health(&[]).await.expect(0, &["live: ", "over TCP"]);
}
