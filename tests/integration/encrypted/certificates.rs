//! Certificates: checked at the start, followed while the server runs.

use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    process::Command,
    time::Duration,
};

use alternator_dns::{
    app::{self, StartError},
    config::Config,
    server::Transport,
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

use super::clients::{Encrypted, HOST, assert_host, client, connect_tls, host, receive, send, write_certificate};
use crate::support::{PROGRAM, Program, ZONE, eventually, free_port};

#[tokio::test]
async fn a_new_certificate_is_presented_without_a_restart() {
    let encrypted = Encrypted::start(|_| {}).await;
    let folder = encrypted.folder.path();
    let mut before = encrypted.tls().await;
    let quic_before = encrypted.quic().await;

    // Half of a pair, then no certificate at all: the old one stays. Clients who know only the old one are served.
    let old = folder.join("old.pem");
    fs::copy(folder.join("chain.pem"), &old).unwrap();
    let aside = tempfile::tempdir().unwrap();
    write_certificate(aside.path());
    fs::copy(aside.path().join("chain.pem"), folder.join("chain.pem")).unwrap();
    let presented = async || {
        // Whoever trusts both sees which it is.
        let stream = TcpStream::connect(encrypted.address(Transport::Tls)).await.unwrap();
        let is_old = connect_tls(stream, client(&old, &[b"dot"])).await.is_ok();
        let stream = TcpStream::connect(encrypted.address(Transport::Tls)).await.unwrap();
        let new = client(&aside.path().join("chain.pem"), &[b"dot"]);
        (is_old, connect_tls(stream, new).await.is_ok())
    };
    for bad in ["", "no certificate\n"] {
        // Longer than it takes to look at the files twice.
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            assert_eq!(presented().await, (true, false));
            sleep(Duration::from_millis(200)).await;
        }
        fs::write(folder.join("chain.pem"), bad).unwrap();
    }

    fs::copy(aside.path().join("chain.pem"), folder.join("chain.pem")).unwrap();
    fs::copy(aside.path().join("key.pem"), folder.join("key.pem")).unwrap();
    eventually(presented, |presented| *presented == (false, true)).await;
    // By all transports: their clients trust what is in the folder now.
    assert_host(encrypted.https(true).await.get(&host(1, [0, 1])).await.body(), 1, [0, 1]);
    assert_host(&encrypted.quic().await.ask(&host(2, [0, 0])).await, 2, [0, 0]);
    // Connections of before go on.
    send(&mut before, &[host(3, [0, 3])]).await;
    assert_host(&receive(&mut before).await, 3, [0, 3]);
    assert_host(&quic_before.ask(&host(4, [0, 0])).await, 4, [0, 0]);
}

#[tokio::test]
async fn what_cannot_be_served_is_an_error_that_names_it_and_nothing_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let refused = async |change: &dyn Fn(&mut Config)| {
        let mut config = Encrypted::config(folder.path());
        let plain = SocketAddr::from(([127, 0, 0, 1], free_port([127, 0, 0, 1].into())));
        config.server.listen = vec![plain];
        change(&mut config);
        let error = match app::start(&config).await {
            Err(error @ StartError::Encrypted(_)) => error.to_string(),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it started"),
        };
        assert!(TcpStream::connect(plain).await.is_err(), "nothing is served after: {error}");
        error.replace(folder.path().to_str().unwrap(), ".")
    };
    let taken = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let (tcp, udp) = (taken.0.local_addr().unwrap(), taken.1.local_addr().unwrap());
    for (expected, change) in [
        (
            format!("cannot listen on {tcp} (TLS): Address already in use"),
            &(|config: &mut Config| config.server.tls.listen = vec![tcp]) as &dyn Fn(&mut Config),
        ),
        (format!("cannot listen on {tcp} (HTTPS): Address already in use"), &|config| {
            config.server.tls.https = vec![tcp];
        }),
        (format!("cannot listen on {udp} (QUIC): Address already in use"), &|config| {
            config.server.tls.quic = vec![udp];
        }),
        ("[server.tls] has addresses, but no \"key\"".to_owned(), &|config| config.server.tls.key = None),
        ("there is no private key in ./chain.pem".to_owned(), &|config| {
            config.server.tls.key = config.server.tls.certificate.clone();
        }),
        ("cannot read ./nowhere.pem: No such file".to_owned(), &|config| {
            config.server.tls.certificate = Some(folder.path().join("nowhere.pem"));
        }),
    ] {
        let error = refused(change).await;
        assert!(error.starts_with(&expected), "{error:?} instead of {expected:?}");
    }
    drop(taken);
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_told_before_anybody_connects() {
    let folder = tempfile::tempdir().unwrap();
    let mut params = rcgen::CertificateParams::new([HOST.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2024, 2, 29);
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(folder.path().join("chain.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    let (plain, tls) = (free_port([127, 0, 0, 1].into()), free_port([127, 0, 0, 1].into()));
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:{plain}\"]\n[server.tls]\nlisten = [\"127.0.0.1:{tls}\"]\n\
         certificate = \"chain.pem\"\nkey = \"key.pem\"\n[zones.\"{ZONE}\".cluster]\nseeds = [\"192.0.2.1\"]\n"
    );
    fs::write(folder.path().join("config.toml"), config).unwrap();
    let command = |name: &str| {
        let mut command = Command::new(PROGRAM);
        command.args([name, "--config"]).arg(folder.path().join("config.toml")).env("NO_COLOR", "1");
        command
    };
    let checked = command("check").output().unwrap();
    let said = String::from_utf8(checked.stderr).unwrap();
    assert!(checked.status.success(), "{said}");
    assert!(said.contains("warning: the certificate in ") && said.contains("2024-02-29T00:00:00Z"), "{said}");
    // It is served all the same: some clients do not look.
    let (program, _) = Program::start(command("serve"), "answering over");
    program.signal("TERM");
    let (_, _, log, output) = program.end().await;
    assert!(format!("{log}{output}").contains("the certificate has expired"), "{log}{output}");
}

/// The names of a process' threads.
#[cfg(target_os = "linux")]
fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap().trim().to_owned()).collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_is_spent_where_nothing_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let encrypted = async |tls: &str, last: &str, needed: usize| {
        let port = free_port([127, 0, 0, 1].into());
        let server = format!("[server]\nlisten = [\"127.0.0.1:{port}\"]\nworkers = 2\n{tls}\n");
        let zone = format!("[zones.\"{ZONE}\"]\n[zones.\"{ZONE}\".cluster]\nseeds = []\n");
        fs::write(folder.path().join("config.toml"), server + &zone).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--config"]).arg(folder.path().join("config.toml")).env("NO_COLOR", "1");
        let (program, _) = Program::start(command, "answering over");
        // A thread has its name once it runs.
        let named = || std::future::ready(threads(program.id()));
        let is_needed = |name: &&String| name.starts_with("tls") || name.as_str() == "certificate";
        let of = |names: &Vec<String>| names.iter().filter(is_needed).count();
        eventually(named, |names| names.iter().any(|name| name == last) && of(names) == needed).await;
    };
    encrypted("", "tcp-1", 0).await;
    let port = free_port([127, 0, 0, 1].into());
    let tls = format!("[server.tls]\nlisten = [\"127.0.0.1:{port}\"]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"");
    encrypted(&tls, "tls-1", 3).await;
}
