//! `[server]` and the tables in it.

use super::*;

const FULL: &str = r#"
[server]
listen = ["127.0.0.1:5300", "[::1]:5300"]
identity = "ns1"
version = "x"
proxy_from = ["10.0.0.0/8"]
[[server.access]]
listeners = ["127.0.0.1:5300", "127.0.0.1:853"]
allow = ["10.0.0.0/8"]
deny = ["10.1.0.0/16"]
denied = "drop"
[[server.access]]
deny = ["192.0.2.1"]
[server.cookies]
policy = "required"
secrets = ["00112233445566778899aabbccddeeff", "FFEEDDCCBBAA99887766554433221100"]
[server.tcp]
connections = 100
connections_per_client = 10
queries = 1000
idle = "5s"
lifetime = "1m"
[server.rate_limit]
responses_per_second = 20
slip = 3
dry_run = true
prefix_v4 = 32
prefix_v6 = 64
exempt = ["127.0.0.1"]
[server.tls]
listen = ["127.0.0.1:853"]
https = ["127.0.0.1:443"]
quic = ["127.0.0.1:853"]
certificate = "certificate.pem"
key = "/etc/key.pem"
[zones."a.b".access]
allow = ["fd00::/8"]
"#;

fn prefixes(texts: &[&str]) -> Vec<Prefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn every_table_of_the_server_is_read() {
    let case = Case::new(FULL);
    let loaded = case.load(Flags::default(), &[]).unwrap();
    let server = &loaded.config.server;
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let rule = |allow, deny, denied| Access::new(&prefixes(allow), &prefixes(deny), denied).unwrap();
    let strict = rule(&["10.0.0.0/8"], &["10.1.0.0/16"], Denied::Drop);
    assert_eq!((server.identity.as_deref(), server.version.as_deref()), (Some("ns1"), Some("x")));
    assert_eq!(server.proxy_from, prefixes(&["10.0.0.0/8"]).into_iter().collect());
    assert_eq!(server.access_at(address("127.0.0.1:5300")), strict);
    assert_eq!(server.access_at(address("127.0.0.1:853")), strict);
    assert_eq!(server.access_at(address("127.0.0.1:443")), rule(&[], &["192.0.2.1"], Denied::Refuse));
    assert_eq!(loaded.config.zones[0].access, rule(&["fd00::/8"], &[], Denied::Refuse));
    let secret: CookieSecret = std::array::from_fn(|at| at as u8 * 0x11);
    let reversed: CookieSecret = std::array::from_fn(|at| 0xFF - at as u8 * 0x11);
    assert_eq!(server.cookies, CookieConfig { policy: CookiePolicy::Required, secrets: vec![secret, reversed] });
    let tcp = TcpConfig {
        connections: 100,
        connections_per_client: 10,
        queries: 1000,
        idle: Duration::from_secs(5),
        lifetime: Duration::from_secs(60),
    };
    assert_eq!(server.tcp, tcp);
    let exempt = prefixes(&["127.0.0.1"]).into_iter().collect();
    let (responses_per_second, prefix_v4, prefix_v6) = (20, 32, 64);
    let limit = RateLimitConfig { responses_per_second, slip: 3, dry_run: true, prefix_v4, prefix_v6, exempt };
    assert_eq!(server.rate_limit, limit);
    let tls = TlsConfig {
        listen: vec![address("127.0.0.1:853")],
        https: vec![address("127.0.0.1:443")],
        quic: vec![address("127.0.0.1:853")],
        certificate: Some(case.folder.path().join("certificate.pem")),
        key: Some("/etc/key.pem".into()),
    };
    assert_eq!(server.tls, tls);
}

#[test]
fn tables_of_operation_are_read() {
    let case = Case::new(
        "[server]\nuser = \"dns\"\ncontrol = \"c.sock\"\noverrides = \"o.toml\"\nwatch_files = false\n\
         [admin]\nlisten = [\"127.0.0.1:8054\", \"[::]:8053\"]\ntoken_file = \"token\"\n[log]\nformat = \"JSON\"\n\
         [query_log]\nfile = \"q.log\"\nsample = 0.5\ndnstap = \"/run/tap\"\n[zones.\"a.b\"]",
    );
    let server = case.load(Flags::default(), &[]).unwrap().config.server;
    let file = |name: &str| Some(case.folder.path().join(name));
    assert_eq!((server.user.as_deref(), server.watch_files), (Some("dns"), false));
    assert_eq!((server.overrides.clone(), server.control_path()), (file("o.toml"), file("c.sock")));
    let listen = ["127.0.0.1:8054", "[::]:8053"].map(|text| text.parse().unwrap()).to_vec();
    assert_eq!(server.admin, AdminConfig { listen, is_default: false, token_file: file("token") });
    assert_eq!(server.log, LogConfig { format: LogFormat::Json });
    let query_log = QueryLogConfig { file: file("q.log"), sample: 0.5, dnstap: Some("/run/tap".into()) };
    assert_eq!(server.query_log, query_log);
    let variables = [("ALTERNATOR_DNS_ADMIN__LISTEN", "127.0.0.1:1"), ("ALTERNATOR_DNS_QUERY_LOG__SAMPLE", "0.25")];
    let server = case.load(Flags::default(), &variables).unwrap().config.server;
    assert_eq!((server.admin.listen, server.query_log.sample), (vec!["127.0.0.1:1".parse().unwrap()], 0.25));
}

#[test]
fn tables_of_the_server_have_variables() {
    let variables = [
        ("ALTERNATOR_DNS_SERVER__TCP__IDLE", "5s"),
        ("ALTERNATOR_DNS_SERVER__COOKIES__POLICY", "off"),
        ("ALTERNATOR_DNS_SERVER__PROXY_FROM", "10.0.0.0/8,fd00::/8"),
        ("ALTERNATOR_DNS_ACCESS__DENY", "10.0.0.0/8"),
    ];
    let config = Case::new("[zones.\"a.b\"]").load(Flags::default(), &variables).unwrap().config;
    assert_eq!(config.server.tcp.idle, Duration::from_secs(5));
    assert_eq!(config.server.cookies.policy, CookiePolicy::Off);
    assert_eq!(config.server.proxy_from, prefixes(&["10.0.0.0/8", "fd00::/8"]).into_iter().collect());
    assert!(!config.zones[0].access.is_open());
}

#[test]
fn each_mistake_is_told_with_what_would_be_right() {
    let cases = [
        ("[server]\nidentity = \"a\\nb\"", "a.toml:2: server.identity: \"a\\nb\" holds a control character"),
        (
            "[server]\nproxy_from = [\"10.0.0.1/8\"]",
            "a.toml:2: server.proxy_from: 10.0.0.1/8 has bits set beyond its length; write 10.0.0.0/8",
        ),
        (
            "[server.cookies]\npolicy = \"on\"",
            "a.toml:2: server.cookies.policy: \"on\" is no policy; write \"off\", \"optional\" or \"required\"",
        ),
        (
            "[server.cookies]\nsecrets = [\"00112233445566778899aabbccddeef\"]",
            "a.toml:2: server.cookies.secrets: a secret of 31 characters; it must be 32 hexadecimal digits, such as \"openssl rand -hex 16\" prints",
        ),
        ("[server.tcp]\nidle = \"10ms\"", "a.toml:2: server.tcp.idle: \"10ms\" is too short; the least is \"100ms\""),
        (
            "[server.rate_limit]\nprefix_v4 = 0",
            "a.toml:2: server.rate_limit.prefix_v4: 0 is out of range; it must be 8 to 32",
        ),
        (
            "[server.tls]\nquic = [\"127.0.0.1\"]\ncertificate = \"c\"\nkey = \"k\"",
            "a.toml:2: server.tls.quic: \"127.0.0.1\" has no port; write \"127.0.0.1:853\"",
        ),
        (
            "[server.tls]\nhttps = [\"127.0.0.1:443\"]\ncertificate = \"c\"",
            "a.toml:1: server.tls.key: is missing; name the PEM file of the private key",
        ),
        (
            "[server.tls]\nlisten = [\"127.0.0.1:5300\"]\ncertificate = \"c\"\nkey = \"k\"",
            "a.toml:2: server.tls.listen: \"127.0.0.1:5300\" is taken by another transport; give this one a port of its own",
        ),
        (
            "[[server.access]]\nlisteners = [\"127.0.0.1:53\"]",
            "a.toml:2: server.access.listeners: \"127.0.0.1:53\" is not listened on; name it as under listen",
        ),
        (
            "[[server.access]]\n[[server.access]]",
            "a.toml:2: server.access: there is a rule for all listeners already; name the listeners of this one",
        ),
        (
            "[[server.access]]\ndenied = \"reject\"",
            "a.toml:2: server.access.denied: \"reject\" is neither \"refuse\" (they are told) nor \"drop\" (no reply)",
        ),
        (
            "[zones.a.access]\nallow = [\"10.0.0.0/8\"]\ndeny = [\"10.0.0.0/8\"]",
            "a.toml:3: zones.a.access.deny: 10.0.0.0/8 is both allowed and denied; take it out of one list",
        ),
        (
            "[admin]\nlisten = [\"127.0.0.1:8053\", \"10.0.0.1:8053\"]",
            "a.toml:2: admin.listen: \"10.0.0.1:8053\" can be reached from other machines: name a token_file, or listen on 127.0.0.1",
        ),
        ("[log]\nformat = \"xml\"", "a.toml:2: log.format: \"xml\" is no format; write \"text\" or \"json\""),
        ("[query_log]\nsample = 2", "a.toml:2: query_log.sample: 2 is no share; it must be 0.0 to 1.0"),
        ("server.access = [ 5 ]", "a.toml:1: server.access: must be a table, such as { allow = [\"10.0.0.0/8\"] }"),
    ];
    for (text, expected) in cases {
        assert_eq!(bad(text), [expected], "{text}");
    }
}

#[test]
fn no_secret_is_repeated() {
    for problem in bad("[server.cookies]\nsecrets = [\"0011223344556677zz99aabbccddeeff\"]") {
        assert!(!problem.contains("0011"), "{problem}");
    }
}
