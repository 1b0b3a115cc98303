//! `alternator-dns discover`: what an operator is told of a cluster, by the real binary.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Command, Stdio},
};

use alternator_dns::sim::{ClientRoute, Cluster, ClusterSpec, Identity, NodeSpec, Role, State, Tls, Version};
use serde_json::{Value, json};

use crate::support::PROGRAM;

fn node(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 46, 3, last).into()
}

/// Two datacenters, one of them with a name that is no host name; one node of every fate.
async fn cluster(change: impl FnOnce(ClusterSpec) -> ClusterSpec) -> Cluster {
    let nodes = vec![
        NodeSpec::new(node(1), "dc1", "rack1"),
        NodeSpec::new(node(2), "dc1", "rack2").shards(14),
        NodeSpec::new(node(3), "dc1", "rack2"),
        NodeSpec::new(node(4), "AWS_EU", "1a").version(Version::V2025_4),
        NodeSpec::new(node(5), "AWS_EU", "1a").tokens(0),
        NodeSpec::new(node(6), "AWS_EU", "1b"),
        NodeSpec::new(node(7), "AWS_EU", "1b"),
        NodeSpec::new(node(8), "dc1", "rack1").without_rpc_address(),
    ];
    let cluster = Cluster::start(change(ClusterSpec::new(nodes))).await.unwrap();
    for (last, state) in [(3, State::Decommissioning), (6, State::Excluded), (7, State::Restarting)] {
        cluster.set_state(node(last), state).await.unwrap();
    }
    cluster
}

/// Exit code, standard output and standard error of `discover` with these arguments, in a folder of its own.
async fn discover(cluster: &Cluster, arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    discover_in(folder.path(), cluster, arguments).await
}

async fn discover_in(folder: &Path, cluster: &Cluster, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(PROGRAM);
    let ours = std::env::vars_os().map(|(name, _)| name);
    ours.filter(|name| name.to_string_lossy().starts_with("ALTERNATOR_DNS_")).for_each(|name| {
        command.env_remove(name);
    });
    command.current_dir(folder).stdin(Stdio::null()).arg("discover").args(arguments);
    command.env("ALTERNATOR_DNS_CLUSTER__PORT", cluster.port().to_string());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

const SEED: [&str; 2] = ["--seed", "127.46.3.1"];
const ZONED: [&str; 4] = ["--seed", "127.46.3.1", "--zone", "db.example.com"];

#[tokio::test]
async fn the_whole_cluster_is_told_from_one_seed() {
    let cluster = cluster(|spec| spec).await;
    let (code, told, errors) = discover(&cluster, &ZONED).await;
    let expected = "\
127.46.3.1 sees 2 datacenters, 4 racks, 7 nodes, by its system tables

DATACENTER  RACK   NODE        STATE            UP   SHARDS  VERSION   PORT
AWS_EU      1a     127.46.3.4  NORMAL           yes  8       2025.4.2  yes
AWS_EU      1a     127.46.3.5  NORMAL           yes  8       2026.1.1  yes                 no new clients: owns no tokens
AWS_EU      1b     127.46.3.6  NORMAL           no   8       -         connection refused  no new clients: excluded
AWS_EU      1b     127.46.3.7  NORMAL           yes  8       -         connection refused
dc1         rack1  127.46.3.1  NORMAL           yes  8       2026.1.1  yes
dc1         rack2  127.46.3.2  NORMAL           yes  14      2026.1.1  yes
dc1         rack2  127.46.3.3  DECOMMISSIONING  yes  8       2026.1.1  yes                 no new clients: decommissioning
note: 1 node is left out: no address that clients can connect to (rpc_address, broadcast_rpc_address), or no datacenter

names of zone db.example.com
  db.example.com                           cluster
  aws-eu.db.example.com                    AWS_EU   also aws_eu.db.example.com
  dc1.db.example.com                       dc1
  aws-eu.1a.db.example.com                 AWS_EU/1a > AWS_EU   also aws_eu.1a.db.example.com, 1a.aws-eu.db.example.com, \
1a.aws_eu.db.example.com, aws-eu--1a.db.example.com, aws_eu--1a.db.example.com
  aws-eu.1b.db.example.com                 AWS_EU/1b > AWS_EU   also aws_eu.1b.db.example.com, 1b.aws-eu.db.example.com, \
1b.aws_eu.db.example.com, aws-eu--1b.db.example.com, aws_eu--1b.db.example.com
  dc1.rack1.db.example.com                 dc1/rack1 > dc1   also rack1.dc1.db.example.com, dc1--rack1.db.example.com
  dc1.rack2.db.example.com                 dc1/rack2 > dc1   also rack2.dc1.db.example.com, dc1--rack2.db.example.com

a certificate needs (discover --sans)
  db.example.com
  *.db.example.com
  *.1a.db.example.com
  *.1b.db.example.com
  *.aws-eu.db.example.com
  *.dc1.db.example.com
  *.rack1.db.example.com
  *.rack2.db.example.com
  (not *.aws_eu.db.example.com: certificates hold no underscores)
";
    assert_eq!(told, expected);
    assert_eq!((code, errors.as_str()), (0, ""));
}

#[tokio::test]
async fn json_has_all_of_it() {
    let route = ClientRoute {
        connection_id: "l".into(),
        host_id: "x".into(),
        address: "nlb.example".into(),
        ..ClientRoute::default()
    };
    let cluster = cluster(|spec| spec.client_routes([route])).await;
    let arguments = [&ZONED[..], &["--json"]].concat();
    let (code, told, errors) = discover(&cluster, &arguments).await;
    assert_eq!((code, errors.as_str()), (0, ""));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["source"], "system_tables");
    assert_eq!(told["reason"], Value::Null);
    assert_eq!(told["datacenters"], json!({"AWS_EU": ["1a", "1b"], "dc1": ["rack1", "rack2"]}));
    assert_eq!(told["notes"].as_array().unwrap().len(), 2, "{}", told["notes"]);
    let leaving: Vec<&Value> =
        told["nodes"].as_array().unwrap().iter().filter(|node| !node["leaving"].is_null()).collect();
    assert_eq!(leaving.len(), 3);
    let decommissioning = leaving[2];
    assert_eq!(decommissioning["address"], "127.46.3.3");
    assert_eq!(
        [
            &decommissioning["state"],
            &decommissioning["up"],
            &decommissioning["listed"],
            &decommissioning["shards"],
            &decommissioning["version"]
        ],
        [&json!("DECOMMISSIONING"), &json!(true), &json!(true), &json!(8), &json!("2026.1.1")]
    );
    assert_eq!(told["names"][0], json!({"name": "db.example.com", "chain": ["cluster"], "also": []}));
    assert_eq!(told["sans"]["names"][1], "*.db.example.com");
}

#[tokio::test]
async fn a_list_for_a_certificate_is_nothing_else() {
    let cluster = cluster(|spec| spec).await;
    let (code, told, errors) = discover(&cluster, &[&ZONED[..], &["--sans"]].concat()).await;
    assert_eq!(code, 0);
    assert!(errors.starts_with("left out") && errors.lines().count() == 1, "told apart from the list: {errors}");
    let names: Vec<&str> = told.lines().collect();
    assert_eq!((names.len(), names[0], names[1]), (8, "db.example.com", "*.db.example.com"));
    let (_, told, errors) = discover(&cluster, &[&ZONED[..], &["--sans", "--no-wildcards"]].concat()).await;
    assert!(told.lines().all(|name| !name.contains(['*', '_'])), "{told}");
    for name in ["dc1.rack1.db.example.com", "aws-eu--1a.db.example.com", "n-127-46-3-7.db.example.com"] {
        assert!(told.lines().any(|line| line == name), "{name}: {told}");
    }
    assert!(errors.contains("underscores: aws_eu.db.example.com"), "{errors}");
}

#[tokio::test]
async fn what_a_role_lacks_is_told_and_lists_take_the_place() {
    let reader = ["local", "peers", "cluster_status"]
        .iter()
        .fold(Role::new("dns", "hash"), |role, table| role.granted(format!("system.{table}")));
    let cluster = cluster(|spec| spec.authorization([reader])).await;
    let (code, told, _) = discover(&cluster, &SEED).await;
    assert_eq!(code, 3, "{told}");
    assert!(told.starts_with("127.46.3.1 sees 0 datacenters, 0 racks, 3 nodes, by /localnodes\n"), "{told}");
    assert!(told.contains("cannot be read: the node wants signed requests"), "{told}");

    let folder = tempfile::tempdir().unwrap();
    let keys = |secret: &str| {
        let text = format!("[default]\naws_access_key_id = dns\naws_secret_access_key = {secret}\n");
        fs::write(folder.path().join("keys"), text).unwrap();
    };
    let signed = [&SEED[..], &["--credentials-file", "keys"]].concat();
    keys("wrong-one");
    let (code, told, errors) = discover_in(folder.path(), &cluster, &signed).await;
    assert!(code == 3 && told.contains("secret_access_key is not that of role dns"), "{told}");
    assert!(!told.contains("wrong-one") && !errors.contains("wrong-one"), "{told}{errors}");
    keys("hash");
    let (code, told, _) = discover_in(folder.path(), &cluster, &signed).await;
    assert_eq!(code, 0, "{told}");
    for table in ["topology", "client_routes", "versions"] {
        assert!(told.contains(&format!("run: GRANT SELECT ON system.{table} TO dns")), "{told}");
    }
    cluster.set_clock(node(1), 3600).unwrap();
    let (code, told, _) = discover_in(folder.path(), &cluster, &signed).await;
    assert!(code == 3 && told.contains("the clocks differ by more than 15 minutes"), "{told}");
}

#[tokio::test]
async fn the_configuration_decides_what_is_asked() {
    let cluster = cluster(|spec| spec.authorization([])).await;
    let folder = tempfile::tempdir().unwrap();
    let write = |mode: &str| {
        let text = format!(
            "[zones.\"db.example.com\".cluster]\nseeds = [\"127.46.3.1\"]\ndiscovery = \"{mode}\"\n\
             [zones.\"db.example.com\".cluster.datacenters]\nAWS_EU = [\"1a\"]\ndc1 = []\n"
        );
        fs::write(folder.path().join("alternator-dns.toml"), text).unwrap();
    };
    write("localnodes");
    let (code, told, errors) = discover_in(folder.path(), &cluster, &[]).await;
    assert_eq!((code, errors.as_str()), (0, ""), "{told}");
    assert!(told.starts_with("127.46.3.1 sees 2 datacenters, 1 rack, 6 nodes, by /localnodes\n\n"), "{told}");
    assert!(told.contains("\nAWS_EU      1a    127.46.3.4  -      yes  -       -        yes\n"), "{told}");
    assert!(told.contains("aws-eu.1a.db.example.com") && told.contains("dc1.db.example.com"), "{told}");
    assert!(told.contains("note: 1 entry"), "the node without an address: {told}");
    write("system_tables");
    let (code, told, errors) = discover_in(folder.path(), &cluster, &[]).await;
    assert_eq!((code, told.as_str()), (1, ""));
    assert!(errors.contains("the node wants signed requests") && errors.contains("credentials_file"), "{errors}");
}

#[tokio::test]
async fn old_nodes_are_told_by_their_tables() {
    let cluster = cluster(|spec| spec).await;
    for last in 1..=8 {
        cluster.set_version(node(last), Version::V5_4).unwrap();
    }
    let (code, told, _) = discover(&cluster, &SEED).await;
    assert_eq!(code, 0);
    assert!(told.contains("sees 2 datacenters, 4 racks, 7 nodes, by its system tables"), "{told}");
    assert!(told.contains("127.46.3.2  NORMAL           yes  -       5.4.10   yes"), "{told}");
}

#[tokio::test]
async fn a_seed_that_does_not_answer_leads_to_the_right_flags() {
    let cluster = cluster(|spec| spec).await;
    let (code, told, errors) = discover(&cluster, &[&SEED[..], &["--scheme", "https"]].concat()).await;
    assert_eq!((code, told.as_str()), (1, ""));
    assert!(errors.contains("http is spoken there: --scheme http\n"), "{errors}");
    cluster.stop(node(1)).await.unwrap();
    let (code, _, errors) = discover(&cluster, &SEED).await;
    assert_eq!(code, 1);
    let refused = format!("127.46.3.1 port {}: connection refused\n", cluster.port());
    assert!(errors.contains(&refused) && errors.contains("no seed tells what the cluster is made of"), "{errors}");
    let (code, told, _) = discover(&cluster, &[&SEED[..], &["--seed", "127.46.3.2"]].concat()).await;
    assert!(code == 0 && told.starts_with("127.46.3.2 sees 2 datacenters"), "the next seed: {told}");
}

#[tokio::test]
async fn nodes_that_speak_tls_are_verified_and_a_wrong_way_is_told() {
    let names: Vec<String> = (1..=7).map(|last| node(last).to_string()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let identity = Identity::from_pem(made.cert.pem(), made.signing_key.serialize_pem()).unwrap();
    let cluster = cluster(|spec| spec.tls(&Tls::new(identity))).await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).unwrap();
    fs::write(folder.path().join("other.pem"), other.cert.pem()).unwrap();

    let (code, _, errors) = discover_in(folder.path(), &cluster, &SEED).await;
    assert!(code == 1 && errors.contains("https is spoken there: --scheme https\n"), "{errors}");
    let secure = [&SEED[..], &["--scheme", "https"]].concat();
    let with = |more: &[&'static str]| [&secure[..], more].concat();
    for more in [&["--ca-file", "ca.pem"][..], &["--insecure-skip-verify"]] {
        let (code, told, errors) = discover_in(folder.path(), &cluster, &with(more)).await;
        assert!(code == 0 && told.starts_with("127.46.3.1 sees 2 datacenters"), "{more:?}: {told}{errors}");
        assert!(told.contains("127.46.3.2  NORMAL           yes  14      2026.1.1  yes\n"), "{told}");
    }
    let (code, _, errors) = discover_in(folder.path(), &cluster, &with(&["--ca-file", "other.pem"])).await;
    assert!(code == 1 && errors.contains("certificate") && !errors.contains("is spoken there"), "{errors}");
    let (code, _, errors) = discover_in(folder.path(), &cluster, &with(&["--ca-file", "none.pem"])).await;
    assert!(code == 2 && errors.contains("none.pem"), "{errors}");
}

#[tokio::test]
async fn wrong_usage_is_told() {
    let cluster = cluster(|spec| spec).await;
    for (arguments, wrong) in [
        (&[][..], "name a node to ask: --seed HOST"),
        (&["--seed", "127.46.3.1", "--scheme", "ftp"], "scheme"),
        (&["--seed", "127.46.3.1", "--json", "--sans"], "cannot be used with"),
        (&["--zone", "db.example.com"], "--seed HOST"),
    ] {
        let (code, told, errors) = discover(&cluster, arguments).await;
        assert!(code == 2 && told.is_empty() && errors.contains(wrong), "{arguments:?}: {code} {errors}");
    }
    let folder = tempfile::tempdir().unwrap();
    let zones = "[zones.\"a.example\".cluster]\nseeds = [\"127.46.3.1\"]\n[zones.\"b.example\".cluster]\nseeds = [\"127.46.3.1\"]\n";
    fs::write(folder.path().join("zones.toml"), zones).unwrap();
    let port = cluster.port().to_string();
    let arguments = ["--config", "zones.toml", "--zone", "b.example", "--port", &port];
    let (code, told, errors) = discover_in(folder.path(), &cluster, &arguments).await;
    assert!(code == 0 && told.contains("names of zone b.example\n"), "{told}{errors}");
}
