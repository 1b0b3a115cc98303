//! Who may ask for what. The themes of gdnsd's scripts 054 (a control socket that only tells), 055 (challenges) and 056
//! (who may control) are among these.

use std::{fs, net::TcpListener};

use alternator_dns::{admin, config::AdminConfig};

use super::Site;
use crate::support::{Http, eventually};

const TOKEN: &str = "0123456789abcdef-XYZ";

/// Everything that can be read.
const READ: [&str; 4] = ["/metrics", "/status.json", "/events.json", "/nothing"];

fn token_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

fn config(listen: &str, token_file: Option<&tempfile::NamedTempFile>) -> AdminConfig {
    AdminConfig {
        listen: vec![listen.parse().unwrap()],
        is_default: false,
        token_file: token_file.map(|file| file.path().to_owned()),
    }
}

#[tokio::test]
async fn t054_without_a_token_reading_is_free_and_only_this_machine_changes_anything() {
    let site = Site::start(|_| {}).await;
    let http = site.http();
    for path in READ {
        let status = http.clone().host(Some("localhost")).get(path).await.status;
        assert_eq!(status, if path == "/nothing" { 404 } else { 200 }, "{path}");
    }
    for host in [Some("rebound.test"), Some("rebound.test:8053"), Some("127.0.0.1.rebound.test"), Some(""), None] {
        for path in READ.into_iter().chain(["/"]) {
            assert_eq!(http.clone().host(host).get(path).await.status, 403, "{host:?} {path}");
        }
        // Who watches over processes may call them as he likes.
        assert_eq!(http.clone().host(host).get("/livez").await.status, 200, "{host:?}");
        let reply = http.clone().host(host).post("/reload", "").await;
        assert_eq!(reply.status, 403, "{host:?}: {reply:?}");
        assert!(reply.error().contains("localhost"));
    }
    // What the forms and scripts of any page can send.
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx"]
    {
        let reply =
            http.clone().header(&format!("Content-Type: {content_type}")).request("POST", "/reload", "{}").await;
        assert_eq!(reply.status, 415, "{content_type}");
        assert!(reply.error().contains("application/json"));
    }
    let twice = http.clone().header("Content-Type: text/plain").header("Content-Type: application/json");
    assert_eq!(twice.request("POST", "/reload", "{}").await.status, 415);
    assert_eq!(http.request("POST", "/reload", "").await.status, 415);
    assert_eq!(site.reloads(), 0, "nothing of that was done");

    assert_eq!(http.post("/reload", "").await.json()["result"], "nothing changed");
    let failed = http.clone().host(Some("localhost:1")).post("/reload", "{}").await;
    assert_eq!((failed.status, failed.error().as_str()), (422, "a.toml:1: no"));
    assert_eq!(site.reloads(), 2);
}

#[tokio::test]
async fn t056_with_a_token_nothing_is_told_or_done_without_it() {
    let file = token_file(TOKEN);
    let site = Site::start(|config| config.token_file = Some(file.path().to_owned())).await;
    let http = site.http();
    for open in ["/livez", "/readyz"] {
        assert_eq!(http.get(open).await.status, 200, "{open}");
    }
    let guess = TOKEN.replace('Z', "Y");
    let empty = http.clone().header("Authorization: Bearer");
    for asker in
        [http.clone(), http.clone().bearer(&guess), http.clone().password(&guess), http.clone().bearer(""), empty]
    {
        for path in READ {
            let reply = asker.get(path).await;
            assert_eq!(reply.status, 401, "{asker:?} {path}");
            assert!(reply.error().contains("token"), "{reply:?}");
            // Browsers ask for a password then.
            assert!(reply.headers["www-authenticate"].contains("Basic realm="), "{reply:?}");
        }
        assert_eq!(asker.post("/reload", "").await.status, 401);
        assert_eq!(asker.post("/livez/../reload", "").await.status, 401);
        assert_eq!(asker.post("//reload", "").await.status, 401);
        assert_eq!(asker.post("/len", "").await.status, 401, "what others add is guarded, too");
    }
    assert_eq!(site.reloads(), 0, "nothing of that was done");

    for asker in [http.clone().bearer(TOKEN), http.clone().password(TOKEN)] {
        for path in READ {
            let status = asker.get(path).await.status;
            assert_eq!(status, if path == "/nothing" { 404 } else { 200 }, "{path}");
        }
        // A browser sends the password along with whatever a foreign page makes it send.
        assert_eq!(asker.clone().header("Content-Type: text/plain").request("POST", "/reload", "").await.status, 415);
    }
    // By the name that other machines know this one by.
    let named = http.clone().host(Some("dns1.example:8053")).bearer(TOKEN);
    assert_eq!(named.post("/reload", "").await.status, 200);
    assert_eq!(site.reloads(), 1);
}

#[tokio::test]
async fn a_token_is_rolled_over_by_its_file() {
    let file = token_file(TOKEN);
    let site = Site::start(|config| config.token_file = Some(file.path().to_owned())).await;
    let (old, new) = (site.http().bearer(TOKEN), site.http().bearer("another-token-of-20c"));
    assert_eq!((old.get("/metrics").await.status, new.get("/metrics").await.status), (200, 401));
    fs::write(file.path(), "another-token-of-20c\n").unwrap();
    eventually(
        || async { (old.get("/metrics").await.status, new.get("/metrics").await.status) },
        |both| *both == (401, 200),
    )
    .await;
    // What cannot be one changes nothing; the next that can, does.
    fs::write(file.path(), "").unwrap();
    tokio::time::sleep(admin::TOKEN_LOOK_EVERY + admin::TOKEN_LOOK_EVERY / 4).await;
    assert_eq!((old.get("/metrics").await.status, new.get("/metrics").await.status), (401, 200));
    fs::write(file.path(), TOKEN).unwrap();
    eventually(|| async { old.get("/metrics").await.status }, |status| *status == 200).await;
}

#[tokio::test]
async fn what_cannot_be_safe_is_refused_with_what_would_be_right() {
    let refused = |config: &AdminConfig| admin::bind(config).unwrap_err().to_string();
    for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = refused(&config(open, None));
        assert!(error.contains("token_file") && error.contains("127.0.0.1"), "{error}");
    }
    for (text, reason) in [("", "empty"), ("secret", "16 characters"), ("two words of some length", "one line")] {
        let error = refused(&config("127.0.0.1:0", Some(&token_file(text))));
        assert!(error.contains("admin.token file") && error.contains(reason), "{error}");
    }
    let mut gone = config("127.0.0.1:0", None);
    gone.token_file = Some("/nowhere/token".into());
    assert!(refused(&gone).contains("/nowhere/token"));

    let open = admin::bind(&config("0.0.0.0:0", Some(&token_file(TOKEN)))).unwrap();
    assert_eq!(open.addresses().len(), 1);
}

#[tokio::test]
async fn a_taken_address_is_an_error_unless_nobody_asked_for_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let asked = config(&address.to_string(), None);
    let error = admin::bind(&asked).unwrap_err();
    assert!(error.is_in_use() && error.to_string().contains(&address.to_string()), "{error}");

    let mut site = Site::start(|_| {}).await;
    let bound = admin::bind(&AdminConfig { is_default: true, ..asked }).unwrap();
    assert!(bound.addresses().is_empty());
    let (sight, stop) = (site.server.app.sight().clone(), site.stop.clone());
    let task = tokio::spawn(bound.serve(sight, admin::Hands::default(), stop));
    drop(taken);
    // Served as soon as it is free.
    let connected = || async { tokio::net::TcpStream::connect(address).await.is_ok() };
    eventually(connected, |is_there| *is_there).await;
    assert_eq!(Http::to(address).get("/livez").await.status, 200);
    site.stop.cancel();
    task.await.unwrap();
    (&mut site.task).await.unwrap();
}

#[tokio::test]
async fn listeners_go_on_to_another_configuration_without_a_gap() {
    let first = admin::bind(&config("127.0.0.1:0", None)).unwrap();
    let address = first.addresses()[0];
    let known = first.listeners().unwrap();
    assert!(admin::bind(&config(&address.to_string(), None)).unwrap_err().is_in_use());
    let second = admin::bind_with(&config(&address.to_string(), Some(&token_file(TOKEN))), &known).unwrap();
    assert_eq!(second.addresses(), [address]);

    let site = Site::start(|_| {}).await;
    let serve = |bound: admin::Bound| {
        let stop = tokio_util::sync::CancellationToken::new();
        let task = tokio::spawn(bound.serve(site.server.app.sight().clone(), admin::Hands::default(), stop.clone()));
        (stop, task)
    };
    let (stop, task) = serve(first);
    assert_eq!(Http::to(address).get("/metrics").await.status, 200);
    stop.cancel();
    task.await.unwrap();
    // Who comes between the two waits.
    let waiting = tokio::spawn(async move { Http::to(address).get("/metrics").await.status });
    let (stop, task) = serve(second);
    assert_eq!(waiting.await.unwrap(), 401);
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn every_reply_is_for_nobody_elses_page_and_no_cache() {
    let site = Site::start(|_| {}).await;
    let mut replies = vec![site.http().post("/reload", "").await, site.http().request("DELETE", "/reload", "").await];
    for path in READ.into_iter().chain(["/livez", "/readyz", "/events.json?since=x", "/"]) {
        replies.push(site.http().header("Origin: http://evil.test").get(path).await);
    }
    for reply in replies {
        for (header, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(reply.headers.get(header).map(String::as_str), Some(value), "{reply:?}");
        }
        assert!(reply.headers["content-security-policy"].contains("default-src 'none'"), "{reply:?}");
        assert!(!reply.headers.keys().any(|name| name.starts_with("access-control")), "{reply:?}");
        if reply.status >= 400 {
            assert!(!reply.error().is_empty());
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_is() {
    let site = Site::start(|_| {}).await;
    let reply = site.http().get("/metric").await;
    assert_eq!(reply.status, 404);
    assert!(reply.error().contains("/metric ") && reply.error().contains("/metrics"), "{}", reply.error());
    let reply = site.http().get("/reload").await;
    assert_eq!((reply.status, reply.headers["allow"].as_str()), (405, "POST"));
    assert!(reply.error().contains("POST"));
    let reply = site.http().get("/events.json?since=-1").await;
    assert_eq!(reply.status, 400);
    assert!(reply.error().contains("since"), "{}", reply.error());
    assert_eq!(site.http().request("OPTIONS", "/status.json", "").await.status, 415, "no preflight is granted");
}
