//! Giving root up. These tests need root, as everything that merges does.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use hickory_proto::rr::RecordType;

use super::{NAME, configuration, serve};
use crate::support::{Dig, PROGRAM, Program, cluster, eventually, ip};

/// Whether this can be tried here.
fn is_root() -> bool {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        println!("not tried: needs root");
    }
    is_root
}

/// The number of `nobody` and of its group.
fn nobody() -> (u32, u32) {
    let text = fs::read_to_string("/etc/passwd").unwrap();
    let line = text.lines().find(|line| line.starts_with("nobody:")).unwrap();
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

/// Lets everybody into a folder.
fn open(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A line of a thread's status, without its name.
fn line<'t>(status: &'t str, name: &str) -> Vec<&'t str> {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().split_whitespace().collect()
}

/// How long one try may take while nobody listens yet.
const REPLY_WITHIN: Duration = Duration::from_secs(1);

/// No capability.
const NONE: &str = "0000000000000000";

/// Runs to the end.
fn run(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn every_thread_becomes_the_user_once_a_port_of_roots_is_bound() {
    if !is_root() {
        return;
    }
    let ((uid, gid), cluster) = (nobody(), cluster(&["dc1/rack1 127.61.1.1", "dc1/rack1 127.61.1.2"]).await);
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    let state = dir.path().join("state");
    let config = dir.path().join("alternator-dns.toml");
    let text = format!(
        "[server]\nuser = \"nobody\"\nlisten = [\"127.61.0.53:53\"]\nstate_dir = \"state\"\n[admin]\nlisten = []\n\
         [zones.\"z.example\"]\nanswers = 0\n\
         [zones.\"z.example\".cluster]\nseeds = [\"127.61.1.1\"]\nport = {}\n",
        cluster.port()
    );
    fs::write(&config, &text).unwrap();
    let (program, _) = Program::start(serve("", config.to_str().unwrap()), "answering over UDP and TCP");
    let address: SocketAddr = "127.61.0.53:53".parse().unwrap();
    let dig = Dig::new(address, "z.example", RecordType::A);
    let answered = async |both: usize| {
        eventually(|| async { dig.ask().await.answers().len() }, |count| *count == both).await;
        assert_eq!(dig.clone().tcp().ask().await.answers().len(), both);
    };
    answered(2).await;
    let threads = fs::read_dir(format!("/proc/{}/task", program.id())).unwrap();
    let mut count = 0;
    for thread in threads {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let (uid, gid) = (uid.to_string(), gid.to_string());
        assert_eq!(line(&status, "Uid:"), [uid.as_str(); 4], "{status}");
        assert_eq!(line(&status, "Gid:"), [gid.as_str(); 4], "{status}");
        assert_eq!(line(&status, "Groups:"), [gid.as_str()], "{status}");
        // CAP_NET_BIND_SERVICE, of the one thread that reloads.
        let is_main = line(&status, "Pid:") == [program.id().to_string()];
        let kept = if is_main { "0000000000000400" } else { "0000000000000000" };
        for (set, kept) in [("CapPrm:", kept), ("CapEff:", kept), ("CapInh:", NONE), ("CapAmb:", NONE)] {
            assert_eq!(line(&status, set), [kept], "{set} {status}");
        }
        count += 1;
    }
    assert!(count > 3, "workers and the runtime: {count} threads");

    // The folder was made for the user, who goes on writing there.
    assert_eq!((fs::metadata(&state).unwrap().uid(), fs::metadata(&state).unwrap().gid()), (uid, gid));
    cluster.stop(ip("127.61.1.2")).await.unwrap();
    answered(1).await;
    let owner = || async { fs::metadata(state.join("z.example.json")).map(|file| file.uid()).unwrap_or(0) };
    eventually(owner, |owner| *owner == uid).await;

    // A reload can still bind ports below 1024.
    let more = text.replace("\"127.61.0.53:53\"", "\"127.61.0.53:53\", \"127.61.0.54:53\"");
    fs::write(&config, more).unwrap();
    program.signal("HUP");
    let other = Dig::new("127.61.0.54:53".parse().unwrap(), "z.example", RecordType::A);
    let count = || async { other.send(&other.bytes(), REPLY_WITHIN).await.map_or(0, |reply| reply.answers().len()) };
    eventually(count, |count| *count == 1).await;
    assert_eq!(other.tcp().ask().await.answers().len(), 1);
    program.signal("TERM");
    let (status, _, log, _) = program.end().await;
    assert!(status.success() && !log.contains("ERROR") && !log.contains("as root"), "{log}");
}

#[tokio::test]
async fn a_folder_that_the_user_cannot_write_is_told_before_anything_is_served() {
    if !is_root() {
        return;
    }
    let (dir, config) = configuration("user = \"nobody\"\nstate_dir = \"state\"\nlisten = [\"127.61.0.3:0\"]");
    open(dir.path());
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let (code, said) = run(&mut serve("", &config));
    assert_eq!(code, Some(2), "{said}");
    let (path, owner) = (state.display().to_string(), "belongs to user 0, group 0, mode 755");
    assert!(said.contains(&path) && said.contains(owner) && said.contains("nobody"), "{said}");
    assert!(!said.contains("answering"), "{said}");
    // The same for the folder of the socket where a successor finds us.
    let (dir, config) = configuration("user = \"nobody\"\ncontrol = \"run/control.sock\"\nlisten = [\"127.61.0.3:0\"]");
    open(dir.path());
    fs::create_dir(dir.path().join("run")).unwrap();
    let (code, said) = run(&mut serve("", &config));
    assert!(code == Some(2) && said.contains("run cannot be written by nobody"), "{code:?} {said}");
}

#[tokio::test]
async fn a_user_that_does_not_exist_is_told() {
    if !is_root() {
        return;
    }
    let (_dir, config) = configuration("user = \"nobody-at-all\"\nlisten = [\"127.61.0.3:0\"]");
    let (code, said) = run(&mut serve("", &config));
    assert!(code == Some(2) && said.contains("there is no user \"nobody-at-all\""), "{code:?} {said}");
}

#[tokio::test]
async fn root_without_a_user_is_warned_of() {
    if !is_root() {
        return;
    }
    let (_dir, config) = configuration("listen = [\"127.61.0.4:0\"]");
    let (program, _) = Program::start(serve("", &config), "answering over UDP and TCP");
    program.signal("TERM");
    let (_, _, log, _) = program.end().await;
    assert!(log.contains("WARN") && log.contains("running as root"), "{log}");
}

#[tokio::test]
async fn who_is_not_root_stays_who_it_is() {
    if !is_root() {
        return;
    }
    // The program where everybody can reach it.
    let bin = tempfile::tempdir().unwrap();
    open(bin.path());
    let program = bin.path().join("alternator-dns");
    fs::copy(PROGRAM, &program).unwrap();
    let (uid, gid) = nobody();
    for (user, warned) in [("daemon", true), ("nobody", false)] {
        let (dir, config) = configuration(&format!("user = \"{user}\"\nlisten = [\"127.61.0.5:0\"]"));
        open(dir.path());
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()]);
        command.arg(&program).args(["serve", "--config", &config]).env("NO_COLOR", "1");
        let (program, line) = Program::start(command, "answering over UDP and TCP");
        let address = crate::support::address_in(&line).unwrap();
        assert_eq!(Dig::new(address, NAME, RecordType::A).ask().await.addresses().len(), 1);
        program.signal("TERM");
        let (_, _, log, _) = program.end().await;
        assert_eq!(log.contains("user: daemon is ignored"), warned, "{log}");
        assert!(!log.contains("running as root"), "{log}");
    }
}
