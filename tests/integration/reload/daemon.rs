//! The real program with a configuration file, its log read while it runs.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use hickory_proto::rr::RecordType;
use tempfile::TempDir;

use crate::support::{Dig, PROGRAM, Reply, address_in, eventually, free_port, ip};

/// `serve --config` in a folder of its own; killed when dropped.
pub struct Daemon {
    folder: TempDir,
    child: Child,
    log: Arc<Mutex<String>>,
    pub address: SocketAddr,
}

impl Daemon {
    /// Starts it with this configuration, in which `LISTEN` stands for an address that is free, and these other files.
    /// It has no HTTP side unless the configuration says otherwise.
    pub async fn start(config: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self::start_in(folder, config).await
    }

    /// The same, in a folder that is made already.
    pub async fn start_in(folder: TempDir, config: &str) -> Self {
        let listen = SocketAddr::from((ip("127.0.0.1"), free_port(ip("127.0.0.1"))));
        let path = folder.path().join("alternator-dns.toml");
        if !path.exists() {
            fs::write(&path, config.replace("LISTEN", &listen.to_string())).unwrap();
        }
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg("--config").arg(&path).env("NO_COLOR", "1").env_remove("RUST_LOG");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::<Mutex<String>>::default();
        let (lines, stderr) = (log.clone(), child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let mut daemon = Daemon { folder, child, log, address: listen };
        let log = daemon.logs("answering over UDP and TCP").await;
        daemon.address = log.lines().find_map(address_in).unwrap();
        daemon
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes the configuration anew; `LISTEN` is the address it answers on.
    pub fn configure(&self, config: &str) {
        self.write("alternator-dns.toml", &config.replace("LISTEN", &self.address.to_string()));
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until this was logged; the whole log.
    pub async fn logs(&self, text: &str) -> String {
        eventually(async || self.log(), |log| log.contains(text)).await
    }

    /// How many lines of the log have this text.
    pub fn count(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Does something that leads to a reload, and waits for its end; what is logged meanwhile.
    pub async fn reload_by(&self, ask: impl FnOnce(&Self)) -> String {
        let ends = || ENDS.iter().map(|end| self.count(end)).sum::<usize>();
        let (length, before) = (self.log().len(), ends());
        ask(self);
        eventually(async || ends(), |ends| *ends > before).await;
        self.log()[length..].to_owned()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for its end; the exit code.
    pub async fn end(mut self) -> Option<i32> {
        let ended = eventually(|| std::future::ready(self.child.try_wait().unwrap()), Option::is_some).await;
        ended.unwrap().code()
    }

    pub async fn ask(&self, name: &str) -> Reply {
        Dig::new(self.address, name, RecordType::A).ask().await
    }

    /// Waits until a name has this address.
    pub async fn answers(&self, name: &str, address: &str) {
        let told = async || self.ask(name).await.addresses();
        eventually(told, |answered| *answered == [ip(address)]).await;
    }
}

/// The lines that end a reload.
const ENDS: [&str; 3] = [" reload: changed: ", " reload: nothing changed", " reload failed: "];

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
