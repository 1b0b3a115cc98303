//! Who can ask for a reload, and what is told of it.

use std::{net::SocketAddr, process::Command};

use hickory_proto::{op::ResponseCode, rr::RecordType};

use super::daemon::Daemon;
use crate::support::{Dig, Load, PROGRAM, address_in, eventually, free_port, ip};

/// One zone of a file.
const ONE: &str = "[server]\nlisten = [\"LISTEN\"]\nwatch_files = false\n[admin]\nlisten = []\n\
                   [zones.\"one.test\"]\nfile = \"one.zone\"\n";

/// The same, and another.
const TWO: &str = "[server]\nlisten = [\"LISTEN\"]\nwatch_files = false\n[admin]\nlisten = []\n\
                   [zones.\"one.test\"]\nfile = \"one.zone\"\n[zones.\"two.test\"]\nfile = \"two.zone\"\n";

fn zone(address: &str) -> String {
    format!("$TTL 60\nwww A {address}\n")
}

async fn one() -> Daemon {
    Daemon::start(ONE, &[("one.zone", &zone("192.0.2.1"))]).await
}

#[tokio::test]
async fn a_hang_up_picks_up_a_new_zone() {
    let daemon = one().await;
    assert_eq!(daemon.ask("www.two.test").await.rcode(), ResponseCode::Refused);
    daemon.write("two.zone", &zone("192.0.2.2"));
    daemon.configure(TWO);
    let log = daemon.reload_by(Daemon::hang_up).await;
    assert!(log.contains("asked for by SIGHUP") && log.contains("reload: changed: zone two.test added"), "{log}");
    daemon.answers("www.two.test", "192.0.2.2").await;
    daemon.answers("www.one.test", "192.0.2.1").await;
    // And an include of it that goes.
    daemon.configure(ONE);
    daemon.reload_by(Daemon::hang_up).await;
    assert_eq!(daemon.ask("www.two.test").await.rcode(), ResponseCode::Refused);
    daemon.signal("TERM");
    assert_eq!(daemon.end().await, Some(0));
}

#[tokio::test]
async fn whatever_is_wrong_is_told_with_file_and_line_and_changes_nothing() {
    let daemon = one().await;
    daemon.write("bad.zone", "$TTL 60\nwww A 192.0.2.2\nwww A 300.0.2.2\n");
    let bad = TWO.replace("two.zone", "bad.zone");
    let cases: &[(&str, &[&str])] = &[
        // A syntax error, an unknown key and a bad value beside a bad zone file, a bad zone file alone, no file, nothing.
        ("[server\n", &["alternator-dns.toml:1: "]),
        (
            &bad.replace("[zones.\"two", "colour = 1\nttl = \"x\"\n[zones.\"two"),
            &[
                "alternator-dns.toml:8: zones.\"one.test\".colour: ",
                "alternator-dns.toml:9: zones.\"one.test\".ttl: ",
                "bad.zone:3: ",
            ],
        ),
        (&bad, &["bad.zone:3: "]),
        (&TWO.replace("two.zone", "nowhere.zone"), &["nowhere.zone"]),
        ("", &["there is no zone to serve any more"]),
    ];
    for (index, (config, expected)) in cases.iter().enumerate() {
        daemon.configure(config);
        let log = daemon.reload_by(Daemon::hang_up).await;
        assert!(log.contains("reload failed: nothing is changed"), "{index}: {log}");
        for expected in *expected {
            let told = |line: &str| line.contains(" ERROR ") && line.contains("reload: ") && line.contains(expected);
            assert!(log.lines().any(told), "{index}: {expected} in {log}");
        }
        assert_eq!(daemon.ask("www.two.test").await.rcode(), ResponseCode::Refused);
        daemon.answers("www.one.test", "192.0.2.1").await;
    }
    std::fs::remove_file(daemon.path("alternator-dns.toml")).unwrap();
    let log = daemon.reload_by(Daemon::hang_up).await;
    assert!(log.contains("alternator-dns.toml: cannot be read"), "{log}");
    // Mended, everything is taken that was missed.
    daemon.write("two.zone", &zone("192.0.2.2"));
    daemon.configure(TWO);
    daemon.reload_by(Daemon::hang_up).await;
    daemon.answers("www.two.test", "192.0.2.2").await;
}

#[tokio::test]
async fn what_takes_a_restart_is_named() {
    let daemon = one().await;
    daemon.configure(&ONE.replace("watch_files = false", "watch_files = false\nworkers = 5\nstate_dir = \"state\""));
    let log = daemon.reload_by(Daemon::hang_up).await;
    let told = "reload: nothing changed; takes effect at the next restart: server.workers, server.state_dir";
    assert!(log.contains(told), "{log}");
}

#[tokio::test]
async fn a_warning_is_told_once() {
    let daemon = one().await;
    let warnings = || daemon.count("no seeds: the zone serves only its static records") - daemon.count("INFO no seeds");
    assert_eq!(warnings(), 1);
    daemon.write("two.zone", &zone("192.0.2.2"));
    // The same in another line, and a new one.
    daemon.configure(&format!("# Moved.\n{TWO}"));
    daemon.reload_by(Daemon::hang_up).await;
    daemon.reload_by(Daemon::hang_up).await;
    assert_eq!(warnings(), 2, "{}", daemon.log());
}

#[tokio::test]
async fn a_hundred_hang_ups_at_once_are_few_reloads() {
    let daemon = one().await;
    let kill = format!("i=0; while [ $i -lt 100 ]; do kill -HUP {}; i=$((i+1)); done", daemon.id());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    daemon.write("one.zone", &zone("192.0.2.9"));
    daemon.hang_up();
    // The last one is not lost, whatever the others came to.
    daemon.answers("www.one.test", "192.0.2.9").await;
    let asked = || daemon.count("asked for by SIGHUP");
    let ended = || daemon.count(" reload: ") - asked();
    eventually(async || (asked(), ended()), |(asked, ended)| asked == ended).await;
    assert!((1..90).contains(&asked()), "{} reloads", asked());
}

/// Runs `reload` against the server: exit code, standard output, standard error.
async fn command(server: SocketAddr) -> (i32, String, String) {
    let run = move || Command::new(PROGRAM).args(["reload", "--server", &server.to_string()]).output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

async fn get(server: SocketAddr, path: &str) -> String {
    reqwest::get(format!("http://{server}{path}")).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn the_command_and_the_http_side_tell_what_came_of_it() {
    let with_admin = |config: &str| config.replace("listen = []", "listen = [\"127.0.0.1:0\"]");
    let daemon = Daemon::start(&with_admin(ONE), &[("one.zone", &zone("192.0.2.1"))]).await;
    let admin = daemon.logs("admin: metrics and status over HTTP").await;
    let admin = admin.lines().find(|line| line.contains("over HTTP")).and_then(address_in).unwrap();
    assert_eq!(command(admin).await, (0, "nothing changed\n".to_owned(), String::new()));
    daemon.write("two.zone", "$TTL 60\nwww A 192.0.2\nftp A nonsense\n");
    daemon.configure(&with_admin(TWO));
    let (code, output, error) = command(admin).await;
    assert_eq!((code, output.as_str()), (1, ""));
    let places: Vec<bool> = error.lines().map(|line| line.contains("two.zone:")).collect();
    assert_eq!(places, [true, true], "every problem, a line each: {error}");
    daemon.write("two.zone", &zone("192.0.2.2"));
    assert_eq!(command(admin).await, (0, "changed: zone two.test added\n".to_owned(), String::new()));
    daemon.answers("www.two.test", "192.0.2.2").await;

    let status: serde_json::Value = serde_json::from_str(&get(admin, "/status.json").await).unwrap();
    let reload = &status["server"]["reload"];
    assert_eq!((&reload["succeeded"], &reload["failed"], &reload["last"]["error"]), (&2.into(), &1.into(), &().into()));
    let events: serde_json::Value = serde_json::from_str(&get(admin, "/events.json").await).unwrap();
    let texts = events["changes"].as_array().unwrap().iter().filter(|change| change["kind"] == "reload");
    let texts: Vec<&str> = texts.map(|change| change["text"].as_str().unwrap()).collect();
    assert_eq!((texts.len(), texts[0], texts[2]), (3, "nothing changed", "changed: zone two.test added"));
    assert!(texts[1].starts_with("failed: ") && texts[1].contains("two.zone:2: "), "{texts:?}");
    let metrics = get(admin, "/metrics").await;
    assert!(metrics.contains("alternator_dns_reloads_total{result=\"failure\"} 1"), "{metrics}");

    // The HTTP side itself moves, and says so before it leaves.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = listener.local_addr().unwrap();
    daemon.configure(&TWO.replace("listen = []", &format!("listen = [\"{other}\"]")));
    let (code, _, error) = command(admin).await;
    assert!(code == 1 && error.contains("another program has the port"), "{error}");
    drop(listener);
    assert_eq!(command(admin).await, (0, "changed: admin\n".to_owned(), String::new()));
    assert_eq!(command(other).await.0, 0);
    eventually(async || command(admin).await.0, |code| *code == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hang_ups_under_queries_lose_none() {
    let daemon = one().await;
    daemon.write("two.zone", &zone("192.0.2.2"));
    let load = Load::start(daemon.address, &["www.one.test"], 1000);
    for round in 0..30 {
        let config = if round % 2 == 0 { TWO } else { ONE };
        let other = free_port(ip("127.0.0.1"));
        let listen = format!("listen = [\"LISTEN\", \"127.0.0.1:{other}\"]\nidentity = \"{round}\"");
        daemon.configure(&config.replace("listen = [\"LISTEN\"]", &listen));
        let log = daemon.reload_by(Daemon::hang_up).await;
        assert!(log.contains("server.listen, server.identity"), "{log}");
        let other = Dig::new((ip("127.0.0.1"), other).into(), "www.one.test", RecordType::A);
        assert_eq!(other.tcp().ask().await.addresses(), [ip("192.0.2.1")]);
    }
    assert!(load.stop().await.len() > 500);
}
