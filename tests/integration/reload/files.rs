//! Files that are reloaded because they changed.

use std::{fs, os::unix::fs::symlink, path::Path, time::SystemTime};

use super::daemon::Daemon;
use crate::support::eventually;

const CONFIG: &str = "[server]\nlisten = [\"LISTEN\"]\n[admin]\nlisten = []\n\
                      [zones.\"one.test\"]\nfile = \"one.zone\"\n";

fn zone(address: &str) -> String {
    format!("$TTL 60\nwww A {address}\n")
}

#[tokio::test]
async fn a_changed_file_is_reloaded_and_one_that_was_touched_is_not() {
    let daemon = Daemon::start(CONFIG, &[("one.zone", &zone("192.0.2.1"))]).await;
    let log = daemon.reload_by(|daemon| daemon.write("one.zone", &zone("192.0.2.2"))).await;
    assert!(log.contains("one.zone changed") && log.contains("reload: changed: zone one.test: records"), "{log}");
    daemon.answers("www.one.test", "192.0.2.2").await;
    // As editors save: another file under the same name.
    daemon.write("one.zone.new", &zone("192.0.2.3"));
    let rename = |daemon: &Daemon| fs::rename(daemon.path("one.zone.new"), daemon.path("one.zone")).unwrap();
    daemon.reload_by(rename).await;
    daemon.answers("www.one.test", "192.0.2.3").await;
    // The configuration; what it names from now on is watched too, and the file it does not name any more is not.
    daemon.write("two.zone", &zone("192.0.2.4"));
    let touched = fs::File::options().append(true).open(daemon.path("one.zone")).unwrap();
    touched.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    daemon.reload_by(|daemon| daemon.configure(&CONFIG.replace("one.zone", "two.zone"))).await;
    daemon.answers("www.one.test", "192.0.2.4").await;
    daemon.write("one.zone", "nonsense");
    daemon.reload_by(|daemon| daemon.write("two.zone", &zone("192.0.2.5"))).await;
    daemon.answers("www.one.test", "192.0.2.5").await;
    assert_eq!((daemon.count(" reload: changed: "), daemon.count(" reload: ")), (4, 8), "{}", daemon.log());
}

#[tokio::test]
async fn a_bad_file_changes_nothing_until_it_is_mended() {
    let daemon = Daemon::start(CONFIG, &[("one.zone", &zone("192.0.2.1"))]).await;
    let log = daemon.reload_by(|daemon| daemon.write("one.zone", "$TTL 60\nwww A 1.2.3\n")).await;
    assert!(log.contains("one.zone:2: ") && log.contains("reload failed"), "{log}");
    daemon.answers("www.one.test", "192.0.2.1").await;
    daemon.reload_by(|daemon| daemon.write("one.zone", &zone("192.0.2.2"))).await;
    daemon.answers("www.one.test", "192.0.2.2").await;
    // A configuration that names a file which is not there: that it comes is enough.
    daemon.reload_by(|daemon| daemon.configure(&CONFIG.replace("one.zone", "late.zone"))).await;
    daemon.reload_by(|daemon| daemon.write("late.zone", &zone("192.0.2.3"))).await;
    daemon.answers("www.one.test", "192.0.2.3").await;
    // A file that vanishes is no reason to forget what it held.
    let log = daemon.reload_by(|daemon| fs::remove_file(daemon.path("late.zone")).unwrap()).await;
    assert!(log.contains("late.zone"), "{log}");
    daemon.answers("www.one.test", "192.0.2.3").await;
    // Watching can be switched off, which is itself seen.
    daemon.write("late.zone", &zone("192.0.2.4"));
    daemon.answers("www.one.test", "192.0.2.4").await;
    let off = CONFIG.replace("one.zone", "late.zone").replace("[admin]", "watch_files = false\n[admin]");
    daemon.reload_by(|daemon| daemon.configure(&off)).await;
    daemon.write("late.zone", &zone("192.0.2.5"));
    daemon.reload_by(Daemon::hang_up).await;
    assert_eq!(daemon.count("late.zone changed"), 3, "{}", daemon.log());
}

/// A volume as Kubernetes fills it: each file is a link into `..data`, which is a link to a folder with a date.
fn fill(volume: &Path, version: u32, config: &str, zone: &str) {
    let folder = format!("..2026_{version}");
    fs::create_dir(volume.join(&folder)).unwrap();
    fs::write(volume.join(&folder).join("alternator-dns.toml"), config).unwrap();
    fs::write(volume.join(&folder).join("one.zone"), zone).unwrap();
    symlink(&folder, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if version == 1 {
        for name in ["alternator-dns.toml", "one.zone"] {
            symlink(format!("..data/{name}"), volume.join(name)).unwrap();
        }
    } else {
        fs::remove_dir_all(volume.join(format!("..2026_{}", version - 1))).unwrap();
    }
}

#[tokio::test]
async fn a_volume_of_kubernetes_is_swapped_whole() {
    let folder = tempfile::tempdir().unwrap();
    let port = crate::support::free_port(crate::support::ip("127.0.0.1"));
    let config = CONFIG.replace("LISTEN", &format!("127.0.0.1:{port}"));
    fill(folder.path(), 1, &config, &zone("192.0.2.1"));
    let daemon = Daemon::start_in(folder, &config).await;
    daemon.answers("www.one.test", "192.0.2.1").await;
    for version in 2..5 {
        // Both at once: one without the other is refused.
        let apex = format!("v{version}.test");
        let swap = |daemon: &Daemon| {
            let zone = format!("$TTL 60\n$ORIGIN {apex}.\nwww A 192.0.2.{version}\n");
            fill(daemon.folder(), version, &config.replace("one.test", &apex), &zone);
        };
        let log = daemon.reload_by(swap).await;
        assert!(log.contains(&format!("zone {apex} added")) && log.contains("removed"), "{log}");
        daemon.answers(&format!("www.{apex}"), &format!("192.0.2.{version}")).await;
    }
    // The same content in another folder is no change.
    let before = daemon.log();
    let text = fs::read_to_string(daemon.path("one.zone")).unwrap();
    fill(daemon.folder(), 5, &config.replace("one.test", "v4.test"), &text);
    daemon.configure(&config.replace("one.test", "v4.test"));
    tokio::time::sleep(3 * alternator_dns::reload::LOOK_EVERY).await;
    assert_eq!(daemon.log(), before);
    assert_eq!(daemon.count("reload failed"), 0, "{}", daemon.log());
    eventually(async || daemon.count("reload: changed"), |count| *count == 3).await;
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_told_and_one_that_does_is_taken() {
    let [old, new] = ["old", "new"].map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap());
    let tls = "[server.tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\n[admin]";
    let config = CONFIG.replace("[admin]", tls);
    let (chain, key) = (old.cert.pem(), old.signing_key.serialize_pem());
    let files = [("one.zone", &*zone("192.0.2.1")), ("chain.pem", &chain), ("key.pem", &key)];
    let daemon = Daemon::start(&config, &files).await;
    let log = daemon.reload_by(|daemon| daemon.write("key.pem", &new.signing_key.serialize_pem())).await;
    let told = "does not belong to the first certificate";
    assert!(log.contains("key.pem changed") && log.contains(told) && log.contains("reload failed"), "{log}");
    daemon.answers("www.one.test", "192.0.2.1").await;
    let log = daemon.reload_by(|daemon| daemon.write("chain.pem", &new.cert.pem())).await;
    assert!(log.contains("reload: changed: certificate"), "{log}");
}
