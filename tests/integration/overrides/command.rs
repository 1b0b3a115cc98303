//! The commands, against the real server.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Output},
    time::{Duration, Instant},
};

use hickory_proto::rr::RecordType;

use super::Steered;
use crate::support::{
    ADMIN_LISTEN, Dig, PROGRAM, Program, TestServer, ZONE, address_in, cluster, eventually, free_port, ip, steady,
};

/// Runs a command against a server; its exit code, output and errors.
async fn run(admin: SocketAddr, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).args(["--server", &admin.to_string()]).env("LOGNAME", "ops").env_remove("SUDO_USER");
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_drained_waited_for_and_brought_back() {
    const TTL: Duration = Duration::from_secs(1);
    let cluster = cluster(&["dc1/rack1 127.15.30.1", "dc1/rack1 127.15.30.2", "dc1/rack2 127.15.30.3"]).await;
    let dir = tempfile::tempdir().unwrap();
    let zone = TestServer::zone(&cluster, |zone| {
        steady(zone);
        zone.ttl = TTL;
    });
    let mut config = TestServer::config(&zone);
    config.server.state_dir = Some(dir.path().to_owned());
    let steered = Steered::start(config).await;
    let all = ["127.15.30.1", "127.15.30.2", "127.15.30.3"];
    steered.server.answers("", &all).await;
    steered.server.answers("dc1.rack1", &all[..2]).await;
    let admin = steered.admin;

    let start = Instant::now();
    let (code, out, errors) =
        run(admin, &["drain", "dc1/rack1", "--for", "2h", "--reason", "kernel upgrade", "--wait"]).await;
    assert_eq!((code, errors.as_str()), (0, ""), "{out}");
    assert!(start.elapsed() >= TTL);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("set: drain dc1/rack1 from ") && lines[0].contains(" by ops@"), "{out}");
    assert!(lines[0].ends_with(": kernel upgrade"), "{out}");
    assert_eq!(lines[1], "nodes: 127.15.30.1, 127.15.30.2 (2)");
    assert!(lines.last().unwrap().starts_with("safe to stop now: the last answer with dc1/rack1 has expired"), "{out}");
    assert_eq!(steered.server.set("").await, ["127.15.30.3".to_owned()].into());

    // The last rack: it stays answered, and nobody waits for ever.
    let (code, _, errors) = run(admin, &["drain", "dc1/rack2", "--wait"]).await;
    assert_eq!(code, 1);
    assert!(errors.contains("not safe to stop: 127.15.30.3 stays answered though it is drained"), "{errors}");
    let (code, out, _) = run(admin, &["undrain", "dc1/rack2"]).await;
    assert_eq!(code, 0);
    assert!(out.starts_with("taken back: drain dc1/rack2 from "), "{out}");

    let (code, out, _) = run(admin, &["force-up", "127.15.30.1", "--for", "10m"]).await;
    assert_eq!(code, 0, "{out}");
    steered.server.answers("", &["127.15.30.1", "127.15.30.3"]).await;
    let (_, out, _) = run(admin, &["overrides"]).await;
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("TARGET ") && lines[1].starts_with("127.15.30.1 ") && lines.len() == 3, "{out}");
    assert!(lines[2].starts_with("dc1/rack1 ") && lines[2].ends_with("kernel upgrade"), "{out}");
    for target in ["127.15.30.1", "dc1/rack1"] {
        assert_eq!(run(admin, &["undrain", target]).await.0, 0);
    }
    steered.server.answers("", &all).await;
    assert_eq!(run(admin, &["overrides"]).await.1, "nobody is drained or forced up\n");

    // What is refused is told with the reason: 2 for what could never be right, as --help says, 1 for the rest.
    for (arguments, status, told) in [
        (&["undrain", "dc1"][..], 1, "nothing is set for \"dc1\""),
        (&["drain", "10.0.0.300"], 2, "is no address"),
        (&["drain", "dc1", "--for", "soon"], 2, "for: write a duration"),
    ] {
        let (code, _, errors) = run(admin, arguments).await;
        assert_eq!(code, status, "{arguments:?}: {errors}");
        assert!(errors.contains(told), "{arguments:?}: {errors}");
    }
    let (code, out, errors) = run(admin, &["drain", "dc1/rack9", "--wait"]).await;
    assert_eq!(code, 1, "a typing error must not stop another node: {out}");
    assert!(errors.contains("warning: \"dc1/rack9\" means no node known now"), "{errors}");
    assert!(errors.contains("not safe to say: no node is known that \"dc1/rack9\" means"), "{errors}");
    assert!(!out.contains("safe to stop"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_begins_later_is_waited_for_from_then_on() {
    let cluster = cluster(&["dc1/rack1 127.15.31.1", "dc1/rack1 127.15.31.2"]).await;
    let zone = TestServer::zone(&cluster, |zone| {
        steady(zone);
        zone.ttl = Duration::from_secs(1);
    });
    let steered = Steered::start(TestServer::config(&zone)).await;
    steered.server.answers("", &["127.15.31.1", "127.15.31.2"]).await;
    let start = Instant::now();
    let (code, out, errors) = run(steered.admin, &["drain", "127.15.31.1", "--in", "1s", "--wait"]).await;
    assert_eq!(code, 0, "{out}{errors}");
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(out.contains("waiting: 1 of 1 nodes still answered"), "{out}");
    assert!(errors.contains("not over a restart"), "{errors}");
    // Stopped now, as the operator would.
    cluster.stop(ip("127.15.31.1")).await.unwrap();
    eventually(|| steered.server.set(""), |set| set.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_outlives_the_process_that_took_it() {
    let cluster = cluster(&["dc1/rack1 127.15.32.1", "dc1/rack1 127.15.32.2", "dc1/rack1 127.15.32.3"]).await;
    let folder = tempfile::tempdir().unwrap();
    let (config, file) = (folder.path().join("alternator-dns.toml"), folder.path().join("overrides.toml"));
    let localhost = Ipv4Addr::LOCALHOST.into();
    let (listen, admin) = (free_port(localhost), SocketAddr::new(localhost, free_port(localhost)).to_string());
    fs::write(&file, "[[override]]\ntarget = \"127.15.32.3\"\naction = \"drain\"\n").unwrap();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:{listen}\"]\nstate_dir = \"state\"\noverrides = \"overrides.toml\"\n\
         [zones.\"{ZONE}\".cluster]\nseeds = [\"127.15.32.1\"]\nport = {}\n",
        cluster.port()
    );
    fs::write(&config, text).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).arg("--config").arg(&config).env(ADMIN_LISTEN, &admin).env("NO_COLOR", "1");
        command
    };
    let answered = async |address, wanted: &[&str]| {
        let dig = Dig::new(address, ZONE, RecordType::A);
        eventually(|| dig.ask(), |reply| reply.set() == wanted.iter().map(|text| (*text).to_owned()).collect()).await;
    };
    let (program, line) = Program::start(command(&["serve"]), "answering over UDP and TCP");
    let address = address_in(&line).unwrap();
    answered(address, &["127.15.32.1", "127.15.32.2"]).await;
    // The server is found by its configuration.
    let drained = command(&["drain", "127.15.32.1", "--reason", "disk"]).output().unwrap();
    assert!(drained.status.success(), "{drained:?}");
    answered(address, &["127.15.32.2"]).await;
    program.signal("KILL");
    program.end().await;

    let (program, _) = Program::start(command(&["serve"]), "answering over UDP and TCP");
    answered(address, &["127.15.32.2"]).await;
    let listed = command(&["overrides"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 3, "{listed}");
    assert!(lines.iter().any(|line| line.starts_with("127.15.32.1 ") && line.ends_with("api     disk")), "{listed}");
    assert!(lines.iter().any(|line| line.starts_with("127.15.32.3 ") && line.contains(" file")), "{listed}");
    let undrained = command(&["undrain", "127.15.32.3"]).output().unwrap();
    let errors = String::from_utf8(undrained.stderr).unwrap();
    assert!(undrained.status.code() == Some(1) && errors.contains("overrides.toml: take it out there"), "{errors}");
    assert!(command(&["undrain", "127.15.32.1"]).output().unwrap().status.success());
    answered(address, &["127.15.32.1", "127.15.32.2"]).await;

    // A mistake in the file is found by check and reload; a server that starts answers all the same, without the file.
    fs::write(&file, "[[override]]\ntarget = \"10.0.0.300\"\naction = \"drain\"\n").unwrap();
    let checked = command(&["check"]).output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.code() == Some(2) && told.contains("overrides.toml:2: override[1].target:"), "{told}");
    let reloaded = command(&["reload"]).output().unwrap();
    let told = String::from_utf8(reloaded.stderr).unwrap();
    assert!(reloaded.status.code() == Some(1) && told.contains("overrides.toml:2: override[1].target:"), "{told}");
    program.signal("TERM");
    let (_, _, log, _) = program.end().await;
    for line in ["drained by ", "taken back by "] {
        assert!(log.contains(line), "{line} in {log}");
    }
    let (program, _) = Program::start(command(&["serve"]), "answering over UDP and TCP");
    answered(address, &["127.15.32.1", "127.15.32.2", "127.15.32.3"]).await;
    fs::write(&file, "[[override]]\ntarget = \"127.15.32.3\"\naction = \"drain\"\n").unwrap();
    answered(address, &["127.15.32.1", "127.15.32.2"]).await;
    program.signal("TERM");
    let (_, _, log, _) = program.end().await;
    assert!(log.contains("the file of overrides has mistakes, starting without its overrides"), "{log}");
}
