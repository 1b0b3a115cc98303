//! The files of `[cluster]`, by the real program.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use rcgen::date_time_ymd;

use super::cluster;
use crate::{
    reload::daemon::Daemon,
    support::{Authority, PROGRAM, eventually, ip},
};

/// What a command in this folder says, and its exit code.
fn run(folder: &Path, command: &[&str]) -> (i32, String, String) {
    let mut program = Command::new(PROGRAM);
    let program = program.args(command).args(["--config", "alternator-dns.toml"]).current_dir(folder);
    let done = program.env("NO_COLOR", "1").stdin(Stdio::null()).output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

fn configure(folder: &Path, keys: &str) {
    let config = "[zones.\"db.test\".cluster]\nseeds = [\"127.23.20.254\"]\nscheme = \"https\"\n".to_owned() + keys;
    fs::write(folder.join("alternator-dns.toml"), config).unwrap();
}

#[test]
fn check_tells_everything_that_is_wrong_and_serve_does_not_start_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, clients) = (Authority::new("ours"), Authority::new("clients"));
    authority.write(folder.path());
    clients.issue(&["us"]).write(folder.path());
    fs::write(folder.path().join("other.key"), clients.issue(&["us"]).key).unwrap();
    configure(folder.path(), "ca_file = \"own.key\"\nclient_cert = \"own.pem\"\nclient_key = \"other.key\"\n");
    let (code, out, err) = run(folder.path(), &["check"]);
    assert_eq!((code, &*out), (2, ""), "{err}");
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines[0].starts_with("zones.\"db.test\".cluster.ca_file: there is no certificate in "), "{err}");
    assert!(
        lines[1].starts_with("zones.\"db.test\".cluster.client_cert: the private key in ")
            && lines[1].contains("other.key does not belong to"),
        "{err}"
    );
    assert_eq!(lines[2..], ["2 problems"]);
    let (code, _, serve) = run(folder.path(), &["serve"]);
    assert_eq!(code, 2, "{serve}");
    assert!(serve.contains(lines[0]) && serve.contains(lines[1]), "{serve}");
    // Without https nothing of it is read.
    let http = fs::read_to_string(folder.path().join("alternator-dns.toml")).unwrap().replace("https", "http");
    fs::write(folder.path().join("alternator-dns.toml"), http).unwrap();
    assert_eq!(run(folder.path(), &["check"]).0, 0);
}

#[test]
fn check_warns_of_certificates_that_are_over_and_of_nodes_that_are_not_verified() {
    let folder = tempfile::tempdir().unwrap();
    let over = Authority::with("ours", |params| params.not_after = date_time_ymd(2024, 1, 1));
    over.write(folder.path());
    over.issue_with(&["us"], |params| params.not_after = date_time_ymd(2024, 2, 29)).write(folder.path());
    configure(folder.path(), "ca_file = \"ca.pem\"\nclient_cert = \"own.pem\"\nclient_key = \"own.key\"\n");
    let (code, out, err) = run(folder.path(), &["check"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("ca.pem has expired at 2024-01-01T00:00:00Z"), "{err}");
    assert!(err.contains("own.pem has expired at 2024-02-29T00:00:00Z"), "{err}");
    assert!(
        out.contains("nodes over https, verified by ") && out.contains("ca.pem for their addresses, shown "),
        "{out}"
    );
    configure(folder.path(), "insecure_skip_verify = true\n");
    let (code, out, err) = run(folder.path(), &["check"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("nodes over https, not verified (insecure_skip_verify)"), "{out}");
    assert!(err.contains("insecure_skip_verify"), "{err}");
}

#[test]
fn without_authorities_nothing_is_served() {
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), "");
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    let mut program = Command::new(PROGRAM);
    let program = program.args(["check", "--config", "alternator-dns.toml"]).current_dir(folder.path());
    let done = program.env("SSL_CERT_FILE", "empty.pem").env("SSL_CERT_DIR", folder.path()).output().unwrap();
    let err = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{err}");
    assert!(
        err.starts_with("zones.\"db.test\".cluster.ca_file: this machine has no certificates of authorities"),
        "{err}"
    );
}

#[tokio::test]
async fn changed_files_are_taken_without_being_told() {
    let (old, new) = (Authority::new("the old one"), Authority::new("the new one"));
    let node = "127.23.21.1";
    let cluster = cluster(&[(node, new.issue(&["nodes.test"]).tls())]).await;
    let config = format!(
        "[server]\nlisten = [\"LISTEN\"]\n[admin]\nlisten = []\n[zones.\"one.test\".cluster]\nseeds = [\"{node}\"]\n\
         port = {}\nscheme = \"https\"\nca_file = \"ca.pem\"\nserver_name = \"nodes.test\"\nactive_interval = \"100ms\"\n\
         idle_interval = \"100ms\"\n[zones.\"one.test\".health]\ninterval = \"100ms\"\ntimeout = \"5s\"\n",
        cluster.port()
    );
    let daemon = Daemon::start(&config, &[("ca.pem", &old.pem)]).await;
    eventually(async || daemon.log(), |log| log.contains("comes from no authority in ca_file")).await;
    let log = daemon.reload_by(|daemon| daemon.write("ca.pem", &new.pem)).await;
    assert!(log.contains("ca.pem changed") && log.contains("zone one.test: certificates"), "{log}");
    daemon.answers("one.test", node).await;
    // Half a file is no reason to forget the whole one.
    let log = daemon.reload_by(|daemon| daemon.write("ca.pem", &new.pem[..200])).await;
    assert!(log.contains("ca.pem is not a valid PEM file") && log.contains("reload failed"), "{log}");
    daemon.answers("one.test", node).await;
    assert!(cluster.counters(ip(node)).handshakes_resumed > 0);
    // Loud at each reload.
    let skip = config.replace("ca_file = \"ca.pem\"", "insecure_skip_verify = true");
    for times in 1..=2 {
        daemon.reload_by(|daemon| if times == 1 { daemon.configure(&skip) } else { daemon.hang_up() }).await;
        assert_eq!(daemon.count("nodes are not verified (insecure_skip_verify)"), times, "{}", daemon.log());
    }
}
