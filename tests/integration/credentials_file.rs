//! `credentials_file`, by the real program.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use alternator_dns::sim::{Cluster, ClusterSpec, NodeSpec, Role};

use crate::{
    reload::daemon::Daemon,
    support::{PROGRAM, eventually, ip},
};

/// All tables that are read.
const TABLES: [&str; 6] = ["local", "peers", "cluster_status", "topology", "client_routes", "versions"];

/// The file for a role.
fn keys(role: &str) -> String {
    format!("[default]\naws_access_key_id = {role}\naws_secret_access_key = $6$secret\n")
}

fn configuration(seed: &str, port: u16) -> String {
    format!(
        "[server]\nlisten = [\"LISTEN\"]\n[admin]\nlisten = []\n[zones.\"one.test\".cluster]\nseeds = [\"{seed}\"]\n\
         port = {port}\ndiscovery = \"system_tables\"\ncredentials_file = \"keys\"\nactive_interval = \"100ms\"\n\
         idle_interval = \"100ms\"\n"
    )
}

#[tokio::test]
async fn another_role_in_the_file_is_taken_without_a_restart() {
    let node = "127.77.1.1";
    let poor = Role::new("poor", "$6$secret").granted("system.local");
    let rich =
        TABLES.iter().fold(Role::new("rich", "$6$secret"), |role, table| role.granted(format!("system.{table}")));
    let spec = ClusterSpec::new(vec![NodeSpec::new(ip(node), "dc1", "rack1")]).authorization([poor, rich]);
    let cluster = Cluster::start(spec).await.unwrap();
    let daemon = Daemon::start(&configuration(node, cluster.port()), &[("keys", &keys("poor"))]).await;
    eventually(async || daemon.log(), |log| log.contains("system tables cannot be read") && log.contains("GRANT"))
        .await;
    // The node took the name and the secret: only what is in the file now tells that there is another role.
    let log = daemon.reload_by(|daemon| daemon.write("keys", &keys("rich"))).await;
    assert!(log.contains("keys changed") && log.contains("zone one.test: credentials"), "{log}");
    daemon.answers("one.test", node).await;
    // Half a file is no reason to forget the whole one.
    let log = daemon.reload_by(|daemon| daemon.write("keys", "[default]\naws_access_key_id = rich\n")).await;
    assert!(log.contains("has no aws_secret_access_key under [default]") && log.contains("reload failed"), "{log}");
    daemon.answers("one.test", node).await;
    let log = daemon.reload_by(|daemon| daemon.write("keys", &keys("rich"))).await;
    assert!(log.contains("nothing changed"), "{log}");
    assert!(!daemon.log().contains("$6$secret"));
}

/// What a command in this folder says of mistakes, and its exit code.
fn run(folder: &Path, command: &str) -> (Option<i32>, String) {
    let mut program = Command::new(PROGRAM);
    let program = program.args([command, "--config", "alternator-dns.toml"]).current_dir(folder);
    let done = program.env("NO_COLOR", "1").stdin(Stdio::null()).output().unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

#[test]
fn check_and_serve_refuse_a_file_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration("127.77.2.254", 1).replace("LISTEN", "127.77.2.53:0");
    fs::write(folder.path().join("alternator-dns.toml"), &config).unwrap();
    for (text, wrong) in [
        (None, "keys: cannot be read: No such file"),
        (Some("aws_access_key_id = a"), "keys: has no aws_access_key_id under [default]: write the lines [default],"),
        (Some("[default]\naws_access_key_id = a b\naws_secret_access_key = c"), "keys: the access key id must be"),
    ] {
        if let Some(text) = text {
            fs::write(folder.path().join("keys"), text).unwrap();
        }
        let (code, check) = run(folder.path(), "check");
        assert_eq!(code, Some(2), "{check}");
        let first = check.lines().next().unwrap();
        assert!(first.starts_with("zones.\"one.test\".cluster.credentials_file: ") && first.contains(wrong), "{check}");
        assert!(check.ends_with("1 problem\n"), "{check}");
        let (code, serve) = run(folder.path(), "serve");
        assert_eq!(code, Some(2), "{serve}");
        assert!(serve.contains(first), "{serve}");
    }
    fs::write(folder.path().join("keys"), keys("reader")).unwrap();
    assert_eq!(run(folder.path(), "check").0, Some(0));
    // Where no table is read, nobody looks into it.
    fs::remove_file(folder.path().join("keys")).unwrap();
    fs::write(folder.path().join("alternator-dns.toml"), config.replace("system_tables", "localnodes")).unwrap();
    assert_eq!(run(folder.path(), "check").0, Some(0));
}
