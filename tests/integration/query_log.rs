//! The query log: lines in a file, dnstap to a reader, and what neither may do to answers.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use alternator_dns::{
    config::QueryLogConfig,
    server::{LogOutput, Outcome},
};
use hickory_proto::rr::RecordType;
use serde_json::Value;

use crate::support::{Dig, PATIENCE, TestServer, eventually};

/// What frame streams carry here.
const DNSTAP: &[u8] = b"protobuf:dnstap.Dnstap";

/// A server of a static zone that logs its queries so.
async fn logging(query_log: QueryLogConfig) -> TestServer {
    TestServer::of_file("www 60 IN A 192.0.2.7\n", |config| config.server.query_log = query_log).await
}

fn to_file(path: &Path) -> QueryLogConfig {
    QueryLogConfig { file: Some(path.to_owned()), ..QueryLogConfig::default() }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

async fn until_lines(path: &Path, count: usize) -> Vec<Value> {
    eventually(async || lines(path), |lines| lines.len() >= count).await
}

/// The lines of the log tell of each query what was asked, by whom, and what it became.
#[tokio::test]
async fn each_query_has_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queries");
    let server = logging(to_file(&path)).await;
    let www = server.dig("www", RecordType::A);
    let reply = www.ask().await;
    www.clone().tcp().edns(1400).ask().await;
    server.ask("none", RecordType::AAAA).await;
    Dig::new(server.address, "www.example.com", RecordType::A).ask().await;
    Dig::to(server.address).send(&[7; 5], Duration::from_millis(50)).await;
    let lines = until_lines(&path, 5).await;
    let find = |key: &str, value: &str| {
        let found: Vec<_> = lines.iter().filter(|line| line[key] == value).collect();
        assert_eq!(found.len(), 1, "{key} {value}: {lines:#?}");
        found[0].clone()
    };
    let tcp = find("transport", "tcp");
    assert_eq!((&tcp["edns_size"], &tcp["name"]), (&1400.into(), &"www.alternator.local.".into()));
    let udp: Vec<_> = lines.iter().filter(|line| line["first"] == "192.0.2.7" && line["transport"] == "udp").collect();
    let [udp] = udp[..] else { panic!("{lines:#?}") };
    assert!(udp["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{udp}");
    for (key, value) in [
        ("zone", "alternator.local"),
        ("name", "www.alternator.local."),
        ("type", "A"),
        ("class", "IN"),
        ("outcome", "answered"),
        ("rcode", "NOERROR"),
    ] {
        assert_eq!(udp[key], value, "{udp}");
    }
    assert_eq!(udp["size"], reply.bytes.len());
    assert_eq!((find("outcome", "nxdomain")["rcode"]).as_str(), Some("NXDOMAIN"));
    assert!(find("outcome", "refused").get("zone").is_none(), "none of ours");
    assert_eq!(find("outcome", "dropped")["size"], 0);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640 & !umask());
    assert_eq!(server.app.counters().query_log(LogOutput::File), (5, 0));
    assert_eq!(server.app.counters().query_log(LogOutput::Dnstap), (0, 0));
}

/// What this process keeps new files from being: a file made just so tells.
fn umask() -> u32 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, "").unwrap();
    0o666 & !(fs::metadata(&path).unwrap().permissions().mode() & 0o777)
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_made_anew_at_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("queries"), folder.path().join("queries.1"));
    let mut server = logging(to_file(&path)).await;
    server.ask("www", RecordType::A).await;
    until_lines(&path, 1).await;
    fs::rename(&path, &moved).unwrap();
    server.ask("www", RecordType::A).await;
    until_lines(&moved, 2).await;
    let config = server.app.config().clone();
    let outcome = server.app.reload(&config).await.map(|did| did.to_string()).map_err(|error| error.to_string());
    server.app.tell_reload(&outcome);
    let asked = async || {
        server.ask("www", RecordType::A).await;
        lines(&path).len()
    };
    eventually(asked, |lines| *lines > 0).await;
}

#[tokio::test]
async fn a_share_of_the_queries_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queries");
    let server = logging(QueryLogConfig { sample: 0.2, ..to_file(&path) }).await;
    server.dig("www", RecordType::A).repeat(1000).await;
    let server_counts = || server.app.counters().query_log(LogOutput::File);
    let written = eventually(
        async || (lines(&path).len(), server_counts()),
        |(lines, (written, _))| *lines > 0 && *lines as u64 == *written,
    )
    .await;
    assert!((100..320).contains(&written.0), "{written:?} of 1000");
}

/// Asks so often that no buffer holds it all: every query is answered, and what could not be logged is counted.
async fn answers_and_counts_drops(server: TestServer, output: LogOutput) {
    let (mut asked, start) = (0, Instant::now());
    let counts = || server.app.counters().query_log(output);
    while counts().1 < 1000 {
        assert!(start.elapsed() < 3 * PATIENCE, "{:?} of {asked}", counts());
        let replies = server.dig("www", RecordType::A).repeat(500).await;
        assert!(replies.iter().all(|reply| reply.addresses().len() == 1));
        asked += 500;
    }
    let (written, dropped) = counts();
    assert!(written + dropped <= asked, "{written} and {dropped} of {asked}");
    assert_eq!(server.count(Outcome::Answered), asked);
    server.app.stop().await;
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_no_answers() {
    answers_and_counts_drops(logging(to_file("/dev/full".as_ref())).await, LogOutput::File).await;
}

fn pipe(folder: &Path) -> PathBuf {
    let path = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_costs_lines_and_no_answers() {
    let folder = tempfile::tempdir().unwrap();
    answers_and_counts_drops(logging(to_file(&pipe(folder.path()))).await, LogOutput::File).await;
}

#[tokio::test]
async fn a_pipe_whose_reader_sleeps_costs_lines_and_no_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = pipe(folder.path());
    // Both ends, so that opening it waits for nobody.
    let reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    answers_and_counts_drops(logging(to_file(&path)).await, LogOutput::File).await;
    drop(reader);
}

#[tokio::test]
async fn a_file_that_cannot_be_made_keeps_no_server_from_starting() {
    answers_and_counts_drops(logging(to_file("/proc/none/queries".as_ref())).await, LogOutput::File).await;
}

/// A control frame of this kind.
fn control(kind: u32) -> Vec<u8> {
    let fields = [&1u32.to_be_bytes()[..], &(DNSTAP.len() as u32).to_be_bytes(), DNSTAP].concat();
    let body = [&kind.to_be_bytes()[..], &fields].concat();
    [&[0; 4], &(body.len() as u32).to_be_bytes()[..], &body].concat()
}

fn read_frame(stream: &mut UnixStream) -> Vec<u8> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut frame).unwrap();
    frame
}

/// A reader of dnstap: greets the next writer, and reads this many frames.
fn read_dnstap(listener: &UnixListener, frames: usize) -> Vec<Vec<u8>> {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let frame = |stream: &mut UnixStream| {
        assert!(read_frame(stream).is_empty(), "an escape");
        read_frame(stream)
    };
    let ready = frame(&mut stream);
    assert_eq!(ready[..4], 4u32.to_be_bytes());
    assert!(ready.ends_with(DNSTAP));
    stream.write_all(&control(1)).unwrap();
    assert_eq!(frame(&mut stream)[..4], 2u32.to_be_bytes());
    (0..frames).map(|_| read_frame(&mut stream)).collect()
}

fn has(frame: &[u8], octets: &[u8]) -> bool {
    frame.windows(octets.len()).any(|window| window == octets)
}

#[tokio::test]
async fn queries_and_replies_reach_a_dnstap_reader_and_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("dnstap");
    let server = logging(QueryLogConfig { dnstap: Some(socket.clone()), ..QueryLogConfig::default() }).await;
    // Nobody is there yet: the query waits.
    let dig = server.dig("www", RecordType::A);
    let reply = dig.ask().await;
    let listener = UnixListener::bind(&socket).unwrap();
    let (listener, frames) =
        tokio::task::spawn_blocking(move || (read_dnstap(&listener, 2), listener)).await.map(|(a, b)| (b, a)).unwrap();
    assert!(has(&frames[0], &dig.bytes()) && has(&frames[0], b"alternator-dns "), "the query, and who tells");
    assert!(has(&frames[1], &reply.bytes), "the reply");
    assert_eq!(server.app.counters().query_log(LogOutput::Dnstap), (1, 0));
    // That reader is gone; another one comes, and hears of later queries.
    let reading = tokio::task::spawn_blocking(move || read_dnstap(&listener, 2));
    while !reading.is_finished() {
        server.ask("www", RecordType::A).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(reading.await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_dnstap_reader_that_reads_nothing_costs_records_and_no_answers() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("dnstap");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = logging(QueryLogConfig { dnstap: Some(socket), ..QueryLogConfig::default() }).await;
    answers_and_counts_drops(server, LogOutput::Dnstap).await;
    drop(listener);
}
