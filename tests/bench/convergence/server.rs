//! The real program at default settings.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hickory_proto::rr::Name;

use super::asking;

/// How long a start may take.
const START_WITHIN: Duration = Duration::from_secs(30);

/// Complete answers in a row after which the server knows the cluster.
const SETTLED: usize = 20;

/// The zone.
pub const ZONE: &str = "alternator.local";

/// A server at work; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    admin: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Server {
    /// Over the cluster of this seed, at an address of its own; `None` where it does not start.
    pub fn start(address: IpAddr, seed: IpAddr, port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (listen, admin) = (SocketAddr::new(address, 5300), SocketAddr::new(address, 8053));
        let config = dir.path().join("alternator-dns.toml");
        // Addresses, names: what has no default. All else is as delivered.
        let text = format!(
            "[server]\nlisten = [\"{listen}\"]\nstate_dir = \"state\"\n[admin]\nlisten = [\"{admin}\"]\n\
             [zones.\"{ZONE}\".cluster]\nseeds = [\"{seed}\"]\nport = {port}\n\
             datacenters = {{ dc1 = [\"rack1\", \"rack2\", \"rack3\"] }}\n"
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_alternator-dns"));
        command.arg("serve").arg("--config").arg(&config).stdout(Stdio::null()).stderr(log);
        Server { child: command.spawn().unwrap(), address: listen, admin, _dir: dir }
    }

    /// Waits until a name is answered with as many addresses, again and again.
    pub async fn settle(&self, name: &Name, count: usize) {
        let (start, mut complete) = (Instant::now(), 0);
        while complete < SETTLED {
            assert!(start.elapsed() < START_WITHIN, "the server does not know its cluster");
            let (server, name) = (self.address, name.clone());
            let answer = tokio::task::spawn_blocking(move || asking::ask(&asking::socket(server), &name, 1)).await;
            complete = if answer.unwrap().is_some_and(|addresses| addresses.len() == count) { complete + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Drains a node, as operators do over HTTP; `false` where this server cannot.
    pub fn drain(&self, node: IpAddr) -> bool {
        let body = format!("{{\"target\": \"{node}\", \"action\": \"drain\", \"reason\": \"convergence\"}}");
        let request = format!(
            "POST /overrides HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.admin,
            body.len()
        );
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let is_done = reply.starts_with("HTTP/1.1 2");
        if !is_done {
            eprintln!("POST /overrides: {}", reply.lines().next().unwrap_or_default());
        }
        is_done
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
