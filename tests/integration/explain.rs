//! How answers come about: what is told is what is answered, from the server, over HTTP, by command, and without any
//! server.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
};

use alternator_dns::{
    config::{Answers, Config, ListenerAccess, ServerConfig},
    explain::{Explanation, Question, explain},
    model::{Access, Denied},
    sim::Cluster,
};
use hickory_proto::rr::RecordType;
use serde_json::Value;

use crate::support::{PROGRAM, TestServer, cluster, eventually, ip, remembering, set, steady};

/// dc1 with two racks, dc2 with one; the HTTP side on any port.
async fn five(net: u8) -> (Cluster, TestServer) {
    let nodes = ["dc1/rack1", "dc1/rack1", "dc1/rack2", "dc1/rack2", "dc2/rack1"];
    let nodes: Vec<String> = nodes.iter().zip(1..).map(|(place, n)| format!("{place} 127.67.{net}.{n}")).collect();
    let cluster = cluster(&nodes.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let zone = TestServer::zone(&cluster, |zone| {
        steady(zone);
        zone.answers = Answers::Auto;
    });
    let mut config = TestServer::config(&zone);
    config.server.admin.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let server = TestServer::start(config).await;
    for (name, count) in [("", 5), ("dc1.rack1", 2), ("dc1.rack2", 2), ("dc2.rack1", 1)] {
        eventually(|| server.set(name), |set| set.len() == count).await;
    }
    (cluster, server)
}

fn question(name: &str, rtype: &str, client: &str) -> Question {
    Question::read(&TestServer::name(name), Some(rtype), Some(client)).unwrap()
}

fn told(server: &TestServer, name: &str, rtype: &str, client: &str) -> Explanation {
    explain(&server.app.table(), &ServerConfig::default(), &question(name, rtype, client), 7)
}

#[tokio::test]
async fn what_is_told_is_what_is_answered() {
    let (_cluster, server) = five(11).await;
    for (name, rtype, kind) in [
        ("", "A", "scope"),
        ("dc1", "A", "scope"),
        ("dc1.rack1", "A", "scope"),
        ("dc1.rack1", "AAAA", "nodata"),
        ("dc1.rack1", "TXT", "nodata"),
        ("_alternator._tcp.dc1", "SRV", "services"),
        ("_explain.dc1", "TXT", "explanation"),
        ("n-127-67-11-1", "A", "node"),
        ("", "SOA", "own"),
        ("", "NS", "own"),
        ("rack2", "A", "empty"),
        ("nope", "A", "missing"),
    ] {
        let explained = told(&server, name, rtype, "127.0.0.1");
        assert_eq!(explained.names[0].kind, kind, "{name} {rtype}: {explained}");
        let reply = server.dig(name, rtype.parse().unwrap()).edns(1232).ask().await;
        let tcp = server.dig(name, rtype.parse().unwrap()).edns(1232).tcp().ask().await;
        assert_eq!(explained.reply.truncated, reply.is_truncated(), "{name} {rtype}");
        let lines = |records: &[hickory_proto::rr::Record]| {
            let line = |record: &hickory_proto::rr::Record| format!("{} {}", record.record_type(), record.data);
            let mut lines: Vec<String> = records.iter().map(line).collect();
            lines.sort();
            lines
        };
        let told = |records: &[String]| {
            let mut lines: Vec<String> =
                records.iter().map(|line| line.split_once(" IN ").unwrap().1.to_owned()).collect();
            lines.sort();
            lines
        };
        assert_eq!(told(&explained.reply.answers), lines(tcp.answers()), "{name} {rtype}");
        assert_eq!(explained.reply.rcode, Some(if kind == "missing" { "NXDOMAIN" } else { "NOERROR" }.to_owned()));
    }
    let outside = Question::read("example.com", None, None).unwrap();
    let outside = explain(&server.app.table(), &ServerConfig::default(), &outside, 7);
    assert_eq!((outside.names[0].kind, outside.reply.rcode.as_deref()), ("outside", Some("REFUSED")));
}

#[tokio::test]
async fn the_client_decides_the_shape_and_nobodys_cursor_moves() {
    let (_cluster, server) = five(12).await;
    let near = told(&server, "", "A", "127.67.12.99");
    let deal = near.names[0].deal.as_ref().unwrap();
    assert_eq!((deal.shape, deal.records, near.reply.answers.len()), ("single", 1, 1));
    assert!(deal.why.contains("127.67.12.99 is in the /24 of a node"), "{}", deal.why);
    let far = told(&server, "", "A", "192.0.2.1");
    let deal = far.names[0].deal.as_ref().unwrap();
    assert_eq!((deal.shape, deal.records, far.reply.answers.len()), ("several", 5, 5));
    assert!(deal.next.iter().all(|row| row.len() == 5), "{:?}", deal.next);
    let replied: Vec<&str> = far.reply.answers.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(
        deal.next[0].iter().map(IpAddr::to_string).collect::<Vec<_>>(),
        replied,
        "the row of the reply comes first"
    );
    let leaders: Vec<IpAddr> = deal.next.iter().map(|row| row[0]).collect();
    assert_eq!(leaders.iter().collect::<std::collections::BTreeSet<_>>().len(), 5, "a period: {leaders:?}");
    // In any five answers in a row every node leads once, whatever is explained between them.
    let led = server.undisturbed(async || {
        let mut led = std::collections::BTreeSet::new();
        for _ in 0..5 {
            told(&server, "", "A", "192.0.2.1");
            led.insert(server.ask("", RecordType::A).await.first());
        }
        led
    });
    assert_eq!(led.await.len(), 5);
}

#[tokio::test]
async fn a_fallback_is_told_level_by_level() {
    let (cluster, server) = five(13).await;
    for node in ["127.67.13.1", "127.67.13.2"] {
        cluster.stop(ip(node)).await.unwrap();
    }
    server.answers("dc1.rack1", &["127.67.13.3", "127.67.13.4"]).await;
    let explained = told(&server, "dc1.rack1", "A", "192.0.2.1");
    let scope = explained.names[0].scope.as_ref().unwrap();
    let family = &scope.families[0];
    assert_eq!((family.answer, family.level, family.from.as_deref()), ("fallback", Some(2), Some("dc1")));
    let passed: Vec<(&str, &str)> = family.passed.iter().map(|level| (&*level.scope, &*level.why)).collect();
    assert_eq!(passed, [("dc1/rack1", "all 2 nodes are out")]);
    let out: Vec<String> = scope.nodes.iter().filter(|node| !node.is_in).map(|node| node.address.to_string()).collect();
    assert_eq!(out, ["127.67.13.1", "127.67.13.2"]);
    assert_eq!(explained.reply.extended_errors, ["0: dc1/rack1: level 2 of 2 (dc1)"]);
    let text = explained.to_string();
    for line in [
        "  scope     dc1/rack1, tried in order: dc1/rack1, dc1",
        "            A: level 2 of 2 (dc1), 2 nodes, fallback",
        "            A: not level 1 (dc1/rack1): all 2 nodes are out",
        "            out 127.67.13.1 dc1/rack1: down: connection refused",
        "  ttl       5 s, as configured",
    ] {
        assert!(text.lines().any(|own| own == line), "{line:?} in\n{text}");
    }
}

#[tokio::test]
async fn aliases_and_who_may_not_ask_are_told() {
    let file = "www 60 IN CNAME web\nweb 60 IN A 192.0.2.7\n*.any 60 IN TXT text\n";
    let access = |denied: &str, how| Access::new(&[], &[denied.parse().unwrap()], how).unwrap();
    let server = TestServer::of_file(file, |config: &mut Config| {
        config.zones[0].access = access("192.0.2.0/24", Denied::Refuse);
    })
    .await;
    let alias = told(&server, "www", "A", "127.0.0.1");
    let names: Vec<(&str, &str)> = alias.names.iter().map(|name| (&*name.name, name.kind)).collect();
    assert_eq!(names, [("www.alternator.local.", "alias"), ("web.alternator.local.", "static")]);
    assert_eq!(alias.reply.answers.len(), 2);
    let wildcard = told(&server, "x.any", "TXT", "127.0.0.1");
    assert_eq!(wildcard.names[0].kind, "static");
    assert!(wildcard.names[0].what.contains("*.any.alternator.local."), "{}", wildcard.names[0].what);

    // By the zone's rules, and by the listener's.
    let refused = told(&server, "web", "A", "192.0.2.9");
    assert_eq!((refused.access, refused.names[0].access), ("allowed", Some("refused")));
    assert_eq!((refused.reply.rcode.as_deref(), &*refused.reply.outcome), (Some("REFUSED"), "denied"));
    let rule = ListenerAccess { listeners: Vec::new(), access: access("198.51.100.0/24", Denied::Drop) };
    let mut config = ServerConfig { access: vec![rule], ..ServerConfig::default() };
    config.rate_limit.responses_per_second = 20;
    let dropped = explain(&server.app.table(), &config, &question("web", "A", "198.51.100.1"), 7);
    assert_eq!((dropped.access, dropped.reply.rcode.as_deref()), ("dropped", None));
    assert_eq!(dropped.rate_limit.as_deref(), Some("20 replies of a kind per second to 198.51.100.0/24 over UDP"));
    assert!(dropped.to_string().ends_with("\nno reply (denied)\n"), "{dropped}");
}

/// The program, in a folder without a configuration.
fn program(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ALTERNATOR_DNS_")) {
        command.env_remove(name);
    }
    let output = command.current_dir(folder).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A GET of the HTTP side: status and body.
async fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let reply = reqwest::get(format!("http://{admin}{path}")).await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_explains_over_http_and_by_command() {
    let (_cluster, server) = five(14).await;
    let admin = server.app.admin()[0];
    let (status, body) = get(admin, "/explain?name=dc1.alternator.local&client=192.0.2.1").await;
    let json: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &json["names"][0]["kind"], &json["reply"]["rcode"]), (200, &"scope".into(), &"NOERROR".into()));
    assert_eq!(json["reply"]["answers"].as_array().unwrap().len(), 4);
    let (status, text) = get(admin, "/explain?name=dc1.alternator.local&type=AAAA&format=text").await;
    assert!(status == 200 && text.contains("AAAA: none in this scope"), "{text}");
    for (path, wrong) in [
        ("/explain", "missing field `name`"),
        ("/explain?name=", "name is missing"),
        ("/explain?name=a&type=QQ", "type \"QQ\" is no record type"),
        ("/explain?name=a&client=b", "client \"b\" is no address"),
        ("/explain?name=a..b", "write a domain name"),
        ("/explain?name=a&colour=red", "colour"),
    ] {
        let (status, body) = get(admin, path).await;
        let json: Value = serde_json::from_str(&body).unwrap();
        assert!(status == 400 && json["error"].as_str().unwrap().contains(wrong), "{path}: {body}");
    }

    let folder = tempfile::tempdir().unwrap();
    let at = admin.to_string();
    let ask = |arguments: &[&str]| {
        let arguments = [&["explain", "dc1.rack1.alternator.local", "--server", &at], arguments].concat();
        program(folder.path(), &arguments)
    };
    let (code, text, errors) = ask(&["--client", "192.0.2.1"]);
    assert_eq!((code, &*errors), (0, ""));
    assert!(
        text.contains("A: level 1 of 2 (dc1/rack1), 2 nodes, live") && text.contains("reply over UDP: NOERROR"),
        "{text}"
    );
    let (code, json, _) = ask(&["--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["question"]["client"]), (0, &"127.0.0.1".into()));
    let (code, _, errors) = ask(&["--type", "nothing"]);
    assert!(code == 2 && errors.contains("no record type"), "{errors}");
    let (code, _, errors) = ask(&["--offline"]);
    assert!(code == 2 && errors.contains("--offline asks no server"), "{errors}");
}

#[tokio::test]
async fn without_a_server_configuration_and_state_file_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = ["127.67.15.1", "127.67.15.2"];
    let zone = remembering("alternator.local", folder.path(), nodes.map(ip));
    let config = format!(
        "[server]\nstate_dir = \"{}\"\n[zones.\"alternator.local\".cluster]\nseeds = [\"{}\"]\nport = 1\n\
         [zones.\"alternator.local\".cluster.datacenters]\ndc1 = [\"rack1\"]\n",
        folder.path().display(),
        zone.cluster.seeds[0],
    );
    std::fs::write(folder.path().join("alternator-dns.toml"), &config).unwrap();
    let arguments = ["explain", "dc1.rack1.alternator.local", "--offline", "--json", "--client", "192.0.2.1"];
    let (code, json, errors) = program(folder.path(), &arguments);
    assert_eq!((code, &*errors), (0, ""));
    let json: Value = serde_json::from_str(&json).unwrap();
    let family = &json["names"][0]["scope"]["families"][0];
    assert_eq!((&family["answer"], &family["ttl"]), (&"last known good".into(), &1.into()));
    let answers = json["reply"]["answers"].as_array().unwrap();
    let answered = answers.iter().map(|line| line.as_str().unwrap().rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(set(&nodes), answered);
    // So are overrides: somebody is at work on one of the nodes.
    let overrides = "[[override]]\ntarget = \"127.67.15.1\"\naction = \"drain\"\nreason = \"new disks\"\n";
    std::fs::write(folder.path().join("overrides.toml"), overrides).unwrap();
    let with_overrides = config.replace("[server]\n", "[server]\noverrides = \"overrides.toml\"\n");
    std::fs::write(folder.path().join("alternator-dns.toml"), with_overrides).unwrap();
    let (code, text, errors) = program(folder.path(), &arguments[..3]);
    assert_eq!((code, &*errors), (0, ""));
    let line = text.lines().find(|line| line.contains("127.67.15.1 dc1/rack1: ")).unwrap();
    assert!(line.trim_start().starts_with("out ") && line.contains("new disks"), "{text}");
    assert!(text.contains(" IN A 127.67.15.2") && !text.contains(" IN A 127.67.15.1"), "{text}");
    std::fs::write(folder.path().join("alternator-dns.toml"), &config).unwrap();
    // The server's file is left alone, whatever it is.
    let state = folder.path().join("alternator.local.json");
    std::fs::write(&state, "damaged").unwrap();
    let (code, text, errors) = program(folder.path(), &arguments[..3]);
    assert!(code == 0 && text.contains("SERVFAIL") && errors.contains("without the state file"), "{text}{errors}");
    assert_eq!(std::fs::read_to_string(&state).unwrap(), "damaged");
    // Without a configuration there is nothing to explain.
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(program(empty.path(), &arguments[..3]).0, 2);
}
