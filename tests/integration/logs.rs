//! The log of the real program, as text and as JSON.

use std::{fs, process::Command};

use serde_json::Value;

use crate::support::{PROGRAM, Program, free_port, ip};

/// The log of a server whose only seed, where nobody listens, is this address; up to its end.
async fn log_of(seed: &str, format: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let zone = format!("[zones.\"logs.test\".cluster]\nseeds = [\"{seed}\"]\nport = 1\n");
    fs::write(&config, format!("[log]\nformat = \"{format}\"\n{zone}")).unwrap();
    let mut command = Command::new(PROGRAM);
    let listen = format!("127.0.0.1:{}", free_port(ip("127.0.0.1")));
    command.args(["serve", "--listen", &listen, "--config"]).arg(&config).env("NO_COLOR", "1").env_remove("RUST_LOG");
    let (program, _) = Program::start(command, "a node fails to tell its list of nodes");
    program.signal("TERM");
    let (status, _, log, _) = program.end().await;
    assert!(status.success(), "{log}");
    log
}

#[tokio::test]
async fn every_line_of_json_is_an_object_that_says_what_of_whom() {
    let log = log_of("127.22.9.1", "json").await;
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    for line in &lines {
        for key in ["time", "level", "message"] {
            assert!(line[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {line}");
        }
        assert!(["info", "warn", "error"].contains(&line["level"].as_str().unwrap()), "{line}");
        humantime::parse_rfc3339(line["time"].as_str().unwrap()).unwrap();
    }
    let fails = lines.iter().find(|line| line["message"] == "a node fails to tell its list of nodes").unwrap();
    let told = ["level", "part", "zone", "node"].map(|key| fails[key].as_str().unwrap_or_default());
    assert_eq!(told, ["info", "discovery", "logs.test", "127.22.9.1"], "{fails}");
    assert!(fails["failure"].as_str().unwrap().contains("refused"), "{fails}");
    assert!(lines.last().unwrap()["message"].as_str().unwrap().contains("stopping"), "numbers stay numbers");
    assert_eq!(lines.last().unwrap()["queries"], 0, "{log}");
}

#[tokio::test]
async fn text_is_for_people() {
    let log = log_of("127.22.9.2", "text").await;
    let fails = log.lines().find(|line| line.contains("a node fails to tell its list of nodes")).unwrap();
    for part in ["INFO", "discovery{zone=logs.test}", "node=127.22.9.2", "failure="] {
        assert!(fails.contains(part), "{part} in {fails}");
    }
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_err()), "{log}");
}
