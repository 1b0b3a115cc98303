//! Sockets that were bound before the program was started: sd_listen_fds(3), with a supervisor of the test's own.

use std::{net::SocketAddr, process::Command};

use hickory_proto::rr::RecordType;

use super::{NAME, configuration};
use crate::support::{Dig, Load, PROGRAM, Program, free_port, ip};

/// `serve` on sockets written as in the launcher, told to the process `pid`, so many times.
fn launch(sockets: &str, pid: &str, runs: u32, config: &str) -> Command {
    let launcher = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/service/passed.py");
    let mut command = Command::new("python3");
    command
        .args([launcher, sockets, pid, &runs.to_string(), PROGRAM, "serve", "--config", config])
        .env("NO_COLOR", "1");
    command
}

fn address(text: &str) -> SocketAddr {
    SocketAddr::new(ip(text), free_port(ip(text)))
}

/// Ends what the launcher runs.
fn end_child(line: &str) {
    let pid = line.split(' ').nth(1).unwrap();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
}

async fn answers(address: SocketAddr) {
    let dig = Dig::new(address, NAME, RecordType::A);
    assert_eq!(dig.ask().await.addresses().len(), 1, "{address} over UDP");
    assert_eq!(dig.tcp().ask().await.addresses().len(), 1, "{address} over TCP");
}

#[tokio::test]
async fn passed_sockets_are_served_and_other_listeners_bound_as_ever() {
    let [both, half, own] = ["127.61.3.1", "127.61.3.2", "127.61.3.3"].map(address);
    let (_dir, config) = configuration(&format!("listen = [\"{both}\", \"{half}\", \"{own}\"]"));
    let sockets = format!("dns=udp:{both},dns=tcp:{both},half=udp:{half}");
    let (program, child) = Program::start(launch(&sockets, "self", 1, &config), "child ");
    // The launcher's own sockets answer a query once the program has read it from them.
    for address in [both, half] {
        Dig::new(address, NAME, RecordType::A).ask().await;
    }
    for address in [both, half, own] {
        answers(address).await;
    }
    end_child(&child);
    let (_, _, log, output) = program.end().await;
    assert!(output.contains("ended 0"), "{output} {log}");
    assert!(!log.contains("was passed to us"), "{log}");
}

#[tokio::test]
async fn what_no_listener_wants_is_told_by_name_and_closed() {
    let [wanted, other] = ["127.61.3.4", "127.61.3.5"].map(address);
    let connection = address("127.61.3.6");
    let (_dir, config) = configuration(&format!("listen = [\"{wanted}\"]"));
    let sockets = format!(
        "dns=udp:{wanted},dns=tcp:{wanted},stray=udp:{other},stray=tcp:{other},odd=unix:,taken=connection:{connection}"
    );
    let (program, child) = Program::start(launch(&sockets, "self", 1, &config), "child ");
    answers(wanted).await;
    let pid = child.split(' ').nth(1).unwrap();
    // Descriptors of the launcher's numbers: those not wanted are closed (the numbers may have been used again, but not
    // for what was there).
    let open = |kind: &str, address: SocketAddr| {
        let sockets = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok().map(|link| link.display().to_string()));
        let held: Vec<String> = sockets.collect();
        let table = std::fs::read_to_string(format!("/proc/net/{kind}")).unwrap();
        let wanted = format!("{:08X}:{:04X}", u32::from_le_bytes(octets(address)), address.port());
        table.lines().filter(|line| line.contains(&wanted)).any(|line| {
            let inode = line.split_whitespace().nth(9).unwrap();
            held.contains(&format!("socket:[{inode}]"))
        })
    };
    assert!(open("udp", wanted) && open("tcp", wanted), "this is how sockets are found");
    assert!(!open("udp", other) && !open("tcp", other), "they are closed");
    end_child(&child);
    let (_, _, log, _) = program.end().await;
    for told in [
        format!("stray (UDP {other}) was passed to us, but there is no listener for it"),
        format!("stray (TCP {other}) was passed to us, but there is no listener for it"),
        "(odd) was passed to us and is closed: it is neither".to_owned(),
        "(taken) was passed to us and is closed: it is a connection".to_owned(),
    ] {
        assert_eq!(log.matches(&told).count(), 1, "{told:?} in {log}");
    }
}

fn octets(address: SocketAddr) -> [u8; 4] {
    match address.ip() {
        std::net::IpAddr::V4(v4) => v4.octets(),
        std::net::IpAddr::V6(_) => unreachable!("IPv4 only"),
    }
}

#[tokio::test]
async fn sockets_passed_to_another_process_are_not_ours() {
    let (passed, own) = (address("127.61.3.7"), address("127.61.3.8"));
    let (_dir, config) = configuration(&format!("listen = [\"{own}\"]"));
    let (program, child) = {
        let sockets = format!("dns=udp:{passed},dns=tcp:{passed}");
        Program::start(launch(&sockets, "1", 1, &config), "answering over UDP and TCP")
    };
    assert!(child.contains(&own.to_string()), "{child}");
    answers(own).await;
    drop(program);
}

#[tokio::test]
async fn a_restart_on_passed_sockets_loses_no_query() {
    let listen = address("127.61.3.9");
    let (_dir, config) = configuration(&format!("listen = [\"{listen}\"]"));
    let sockets = format!("dns=udp:{listen},dns=tcp:{listen}");
    let (program, child) = Program::start(launch(&sockets, "self", 2, &config), "child ");
    answers(listen).await;
    let load = Load::start(listen, &[NAME], 500);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    end_child(&child);
    // Nobody but the launcher has the sockets for a moment; connections are made all the same, and answered later.
    answers(listen).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let samples = load.stop().await;
    assert!(samples.len() > 100, "{} queries", samples.len());
    drop(program);
}
