//! The status page as the demo serves it, over HTTP; in a browser it is used by `tests/e2e/page.sh`.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::support::{Dig, PATIENCE, PROGRAM, Program, address_in, within};

/// A demo, where it answers, and where its page is.
fn demo() -> (Program, SocketAddr, SocketAddr) {
    let mut command = Command::new(PROGRAM);
    command.arg("demo");
    let (program, line) = Program::start(command, "http://127.0.0.1:");
    let page: SocketAddr = line.split("http://").nth(1).unwrap().trim().parse().unwrap();
    let dns = status(page)["server"]["listen"][0]["address"].as_str().unwrap().parse().unwrap();
    (program, dns, page)
}

fn status(page: SocketAddr) -> Value {
    serde_json::from_str(&request(page, "GET", "/status.json", None).1).unwrap()
}

/// One request; the head and the body of the reply.
fn request(server: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> (String, String) {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn the_page_brings_all_it_needs_and_forbids_the_rest() {
    let (program, _, page) = demo();
    let (head, index) = request(page, "GET", "/", None);
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/html; charset=utf-8"), "{head}");
    for rule in
        ["default-src 'none'", "script-src 'self'", "require-trusted-types-for 'script'", "frame-ancestors 'none'"]
    {
        assert!(head.contains(rule), "{rule} in {head}");
    }
    assert!(!head.contains("unsafe"), "{head}");
    let mut wanted: Vec<String> =
        index.split("\"page/").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    let mut seen = Vec::new();
    while let Some(name) = wanted.pop() {
        let (head, text) = request(page, "GET", &format!("/page/{name}"), None);
        assert!(head.starts_with("http/1.1 200"), "{name}: {head}");
        let media_type = match name.rsplit('.').next() {
            Some("js") => "text/javascript",
            Some("css") => "text/css",
            _ => "image/svg+xml",
        };
        assert!(head.contains(&format!("content-type: {media_type}")), "{name}: {head}");
        seen.push(name);
        let imported = text.split("from \"./").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
        wanted.extend(imported.filter(|name| !seen.contains(name)).collect::<Vec<_>>());
    }
    assert!(seen.len() > 10, "{seen:?}");
    let (head, _) = request(page, "GET", "/page/../status.json", None);
    assert!(head.starts_with("http/1.1 404"), "{head}");
    drop(program);
}

#[tokio::test]
async fn the_buttons_of_the_demo_stop_and_start_a_node() {
    let (program, dns, page) = demo();
    let node = "127.0.1.112";
    let rack = Dig::new(dns, "dc1.rack1.alternator.local", RecordType::A);
    within(PATIENCE, || rack.ask(), |reply| reply.set().contains(node)).await;
    for run in [false, true] {
        let (head, body) = request(page, "POST", "/demo/nodes", Some(&json!({ "address": node, "run": run })));
        assert!(head.starts_with("http/1.1 200"), "{head}\n{body}");
        let state: Value = serde_json::from_str(&body).unwrap();
        assert!(state["nodes"].as_array().unwrap().contains(&json!({ "address": node, "run": run })), "{state}");
        within(PATIENCE, || rack.ask(), |reply| reply.set().contains(node) == run).await;
    }
    for (path, body, status, why) in [
        ("/demo/nodes", json!({ "address": "10.0.0.1", "run": false }), 404, "has no node 10.0.0.1"),
        ("/demo/nodes", json!({ "address": node }), 422, "missing field `run`"),
        ("/demo/nodes", json!({ "address": "rack1", "run": true }), 422, "such as"),
        ("/demo/traffic", json!({ "per_second": 1_000_000 }), 422, "at most 1000"),
    ] {
        let (head, said) = request(page, "POST", path, Some(&body));
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{body}: {head}");
        assert!(said.contains(why), "{body}: {said}");
    }
    drop(program);
}

#[tokio::test]
async fn the_demo_asks_itself_only_when_told_to() {
    let (program, _, page) = demo();
    let total = || status(page)["queries"]["total"].as_u64().unwrap();
    assert_eq!(total(), 0);
    let ask = |per_second: u32| request(page, "POST", "/demo/traffic", Some(&json!({ "per_second": per_second })));
    assert!(ask(200).0.starts_with("http/1.1 200"));
    within(PATIENCE, async || total(), |total| *total > 50).await;
    assert!(ask(0).0.starts_with("http/1.1 200"));
    // Told to stop, it does: two looks in a row see the same.
    let twice = async || {
        let before = total();
        tokio::time::sleep(Duration::from_millis(100)).await;
        (before, total())
    };
    within(PATIENCE, twice, |(before, after)| before == after).await;
    drop(program);
}

#[tokio::test]
async fn a_server_has_no_buttons() {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--zone", "a.test", "--seed", "127.9.9.9", "--listen", "127.0.0.1:0"]).env("NO_COLOR", "1");
    let (program, line) = Program::start(command, "admin: ");
    let page = address_in(&line).unwrap();
    let (head, index) = request(page, "GET", "/", None);
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(index.contains("name=\"demo\" content=\"false\""), "{index}");
    let switch = json!({ "address": "127.9.9.9", "run": false });
    let (head, _) = request(page, "POST", "/demo/nodes", Some(&switch));
    assert!(head.starts_with("http/1.1 404"), "{head}");
    drop(program);
}
