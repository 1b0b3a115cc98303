//! The real program, in a process of its own.

use std::{
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{PATIENCE, free_port, within};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_alternator-dns");

/// Where the HTTP side listens, as a variable.
pub const ADMIN_LISTEN: &str = "ALTERNATOR_DNS_ADMIN__LISTEN";

/// The program at work; killed when dropped.
pub struct Program {
    child: Child,
    /// What it writes to standard error.
    log: Option<JoinHandle<String>>,
    /// What it writes to standard output.
    output: Option<JoinHandle<String>>,
}

impl Program {
    /// Starts it, and waits for the first line of log or output that has this text. Returns the line.
    pub fn start(mut command: Command, wait_for: &str) -> (Self, String) {
        // Programs that run at once cannot all have the port that is the default.
        if !command.get_envs().any(|(name, _)| name == ADMIN_LISTEN) {
            command.env(ADMIN_LISTEN, "127.0.0.1:0");
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (found, line) = mpsc::channel();
        let log = collect(child.stderr.take().unwrap(), wait_for.to_owned(), found.clone());
        let output = collect(child.stdout.take().unwrap(), wait_for.to_owned(), found);
        let mut program = Program { child, log: Some(log), output: Some(output) };
        match line.recv_timeout(PATIENCE) {
            Ok(line) => (program, line),
            Err(_) => {
                let _ = program.child.kill();
                panic!("no line with {wait_for:?} but {:?}", program.read_all());
            }
        }
    }

    /// `serve` with these arguments on a free port.
    pub fn serve(arguments: &[&str]) -> (Self, SocketAddr) {
        let mut command = Command::new(PROGRAM);
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST.into())));
        command.arg("serve").args(arguments).args(["--listen", &listen.to_string()]).env("NO_COLOR", "1");
        let (program, line) = Self::start(command, "answering over UDP and TCP");
        (program, address_in(&line).unwrap())
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `TERM` or `INT`. Returns the moment before it is sent.
    pub fn signal(&self, name: &str) -> Instant {
        let before = Instant::now();
        let kill = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(kill.success());
        before
    }

    /// Waits for its end: how it ended, how long that took, and its log and output.
    pub async fn end(mut self) -> (ExitStatus, Duration, String, String) {
        let start = Instant::now();
        let status = within(PATIENCE, || std::future::ready(self.child.try_wait().unwrap()), Option::is_some).await;
        let took = start.elapsed();
        let (log, output) = self.read_all();
        (status.unwrap(), took, log, output)
    }

    fn read_all(&mut self) -> (String, String) {
        let read = |thread: &mut Option<JoinHandle<String>>| thread.take().unwrap().join().unwrap();
        (read(&mut self.log), read(&mut self.output))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a line of log.
pub fn address_in(line: &str) -> Option<SocketAddr> {
    line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
}

/// Reads to the end, and reports the first line with a text.
pub fn collect(from: impl Read + Send + 'static, wait_for: String, found: mpsc::Sender<String>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut all = String::new();
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if line.contains(&wait_for) {
                let _ = found.send(line.clone());
            }
            all.push_str(&line);
            all.push('\n');
        }
        all
    })
}
