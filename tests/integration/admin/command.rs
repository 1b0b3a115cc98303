//! `alternator-dns status`, against a server in this process.

use std::{fs, net::SocketAddr, process::Command, sync::mpsc};

use super::{Site, serve};
use crate::support::{PROGRAM, cluster, collect, eventually, ip};

/// Runs it: exit code, output, errors.
async fn status(arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    // No configuration but the one that is named.
    command.arg("status").args(arguments).current_dir(folder.path());
    let run = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (run.status.code().unwrap(), text(&run.stdout), text(&run.stderr))
}

fn nobody_there() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.41.7.9:0").unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn status_tells_on_one_screen_what_is_believed() {
    let cluster = cluster(&["dc1/rack1 127.41.7.1", "dc1/rack2 127.41.7.2"]).await;
    let (server, http) = serve(&cluster, |_| {}).await;
    server.answers("", &["127.41.7.1", "127.41.7.2"]).await;
    cluster.stop(ip("127.41.7.1")).await.unwrap();
    server.answers("dc1.rack1", &["127.41.7.2"]).await;
    let at = server.app.admin()[0].to_string();
    let (code, text, errors) = status(&["--server", &at]).await;
    assert_eq!((code, errors.as_str()), (0, ""), "{text}");
    for part in
        ["alternator.local epoch ", "dc1/rack1 0 of 1 answered", "connection refused", "dc1/rack1 A falls back to dc1"]
    {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains('\x1b'), "no colours into a pipe");
    let (code, json, _) = status(&["--json", "--server", &format!("http://{at}/")]).await;
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    let names = |status: &serde_json::Value| status["zones"][0]["scopes"].clone();
    assert_eq!((code, names(&told)), (0, names(&http.get("/status.json").await.json())));
}

#[tokio::test]
async fn watched_into_a_pipe_it_tells_again_when_something_changed() {
    let cluster = cluster(&["dc1/rack1 127.41.8.1", "dc1/rack2 127.41.8.2"]).await;
    let (server, _) = serve(&cluster, |_| {}).await;
    server.answers("", &["127.41.8.1", "127.41.8.2"]).await;
    let mut command = Command::new(PROGRAM);
    command.args(["status", "--watch", "--server", &server.app.admin()[0].to_string()]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let (found, lines) = mpsc::channel();
    let output = child.stdout.take().unwrap();
    let first = collect(output, "dc1/rack2".to_owned(), found);
    let patience = crate::support::PATIENCE;
    let line = |lines: mpsc::Receiver<String>, part: &'static str| {
        tokio::task::spawn_blocking(move || {
            while !lines.recv_timeout(patience).unwrap().contains(part) {}
            lines
        })
    };
    let lines = line(lines, "1 of 1 answered").await.unwrap();
    cluster.stop(ip("127.41.8.2")).await.unwrap();
    line(lines, "0 of 1 answered").await.unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    first.join().unwrap();
}

#[tokio::test]
async fn watched_by_nobody_any_more_it_ends() {
    let cluster = cluster(&["dc1/rack1 127.41.8.11"]).await;
    let (server, _) = serve(&cluster, |_| {}).await;
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["status", "--watch", "--server", &server.app.admin()[0].to_string()]).stdout(writer);
    let mut child = command.spawn().unwrap();
    // Its own end of the pipe would keep it.
    drop(command);
    drop(reader);
    let ended = eventually(|| std::future::ready(child.try_wait().unwrap()), Option::is_some).await;
    assert_eq!(ended.unwrap().code(), Some(0));
}

#[tokio::test]
async fn what_is_in_the_way_is_told_plainly() {
    let address = nobody_there().to_string();
    let (code, output, errors) = status(&["--server", &address]).await;
    assert_eq!((code, output.as_str()), (1, ""));
    for part in [&*address, "refused", "admin.listen"] {
        assert!(errors.contains(part), "{part:?} is not in {errors}");
    }
    let (code, _, errors) = status(&["--server", "http://"]).await;
    assert_eq!(code, 2);
    assert!(errors.contains("HOST:PORT"), "{errors}");

    // A port of something else: DNS over TCP closes what it cannot read.
    let site = Site::start(|_| {}).await;
    let (code, _, errors) = status(&["--server", &site.server.address.to_string()]).await;
    assert_eq!(code, 1);
    assert!(errors.contains(&site.server.address.to_string()), "{errors}");
}

#[tokio::test]
async fn the_token_is_found_and_its_absence_told() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "0123456789abcdef").unwrap();
    let site = Site::start(|config| config.token_file = Some(token.clone())).await;
    let at = site.address.to_string();
    let (code, _, errors) = status(&["--server", &at]).await;
    assert!(code == 1 && errors.contains("--token-file"), "{errors}");
    let path = token.to_str().unwrap();
    let (code, output, errors) = status(&["--server", &at, "--token-file", path]).await;
    assert_eq!((code, errors.as_str()), (0, ""), "{output}");

    // Address and token of the configuration.
    let file = folder.path().join("a.toml");
    let text = format!("[admin]\nlisten = [\"{at}\"]\ntoken_file = \"token\"\n[zones.\"z.test\"]\n");
    fs::write(&file, text).unwrap();
    let (code, output, errors) = status(&["--config", file.to_str().unwrap()]).await;
    assert_eq!((code, errors.as_str()), (0, ""), "{output}");

    let wrong = folder.path().join("wrong");
    fs::write(&wrong, "another-0123456789").unwrap();
    let (code, _, errors) = status(&["--server", &at, "--token-file", wrong.to_str().unwrap()]).await;
    assert!(code == 1 && errors.contains("another token"), "{errors}");
    let (code, _, errors) = status(&["--server", &at, "--token-file", "/nowhere"]).await;
    assert!(code == 2 && errors.contains("/nowhere"), "{errors}");
}
