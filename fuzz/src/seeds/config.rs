//! Configuration files.

use super::texts;

pub(super) fn all() -> Vec<(String, Vec<u8>)> {
    let mut all = texts([
        ("nothing", ""),
        ("server-only", "[server]\nlisten = [\"[::]:53\", \"0.0.0.0:0\", \"0.0.0.0:0\"]\nworkers = 1024\n"),
        ("zone-only", "[zones.db]\n"),
        ("inline", "zones={\"a.b\"={cluster={seeds=[\"::1\"]},health={rise=1}}}\n"),
        ("dotted", "zones.\"a.b\".ttl=\"1m30s\"\nzones.\"a.b\".cluster.port=65535\nserver.workers=0x10\n"),
        ("two-spellings", "[zones.\"A.b.\"]\nttl=\"0s\"\n[zones.\"a.B\"]\nttl=\"5s\"\n"),
        ("no-syntax", "[server\nlisten = \n\"x\" = [1,\n\u{7f}\n'''"),
        ("twice", "[server]\nworkers=1\nworkers=2\n[server]\n"),
        ("unknown", "[servers]\n[server]\nstate-dir=1\nttl=2\n[zones.a]\nseeds=[]\n[zones.a.cluster]\nprot=1\n"),
        (
            "wrong-kinds",
            "zones=1\n[server]\nlisten=\"127.0.0.1\"\nworkers=\"4\"\npin_workers=\"true\"\nstate_dir=1979-05-27\n",
        ),
        (
            "wrong-values",
            "[server]\nlisten=[\"localhost:53\",\"5300\",\":53\",\"::\",\"*:1\",\"1.2.3.4:99999\",\"\"]\nworkers=-1\n\
             [zones.\"*.x\"]\nttl=\"1500ms\"\nanswers=1001\nsubnet_prefix_v4=33\npreferred_rack=\"r\"\n\
             [zones.\"*.x\".cluster]\nseeds=[\"http://a:1/\",\"a:1\",\"[::1]:1\",\"0.0.0.0\",\"fe80::1%e\",\"1.2.3\"]\n\
             scheme=\"ftp\"\nport=0\nactive_interval=\"5\"\nidle_interval=\"99999999999999999999s\"\n\
             [zones.\"*.x\".health]\ninterval=\"49ms\"\ntimeout=\"31s\"\nrise=0\nfall=101\npanic_threshold=nan\n",
        ),
        (
            "warnings",
            "[zones.\"x.local\"]\n[zones.\"x.local\".cluster]\nseeds=[\"a\",\"A\",\"::ffff:1.2.3.4\",\"1.2.3.4\"]\n\
             active_interval=\"2s\"\nidle_interval=\"1s\"\n[zones.\"x.local\".health]\ninterval=\"50ms\"\n\
             timeout=\"30s\"\n",
        ),
        (
            "scopes",
            "[zones.x]\npreferred_datacenter=\"dc1\"\npreferred_rack=\"r 1\"\ndatacenter_failover=true\n\
             [zones.x.cluster]\ndatacenters={dc1=[\"r 1\",\"R_1\",\"r 1\"],\"日本\"=[],\"DC1\"=[\"---\"]}\n\
             [[zones.x.scopes]]\nlabel=\"Web-1\"\nchain=[\"dc1/r 1\",\"dc1\",\"cluster\",\"dc1\"]\n\
             [[zones.x.scopes]]\nchain=[\"dc1\",\"dc1/R_1\"]\n",
        ),
        (
            "wrong-scopes",
            "[zones.x]\npreferred_datacenter=\"a/b\"\nscopes=[1,{label=\"_a\"},{label=\"a\",chain=[]},\
             {chain=[\"\",\"a/\"]},\
             {label=\"a\",chain=[\"b\",1]},{chain=[\"b\"]},{chain=[\"b\"]}]\n[zones.x.cluster]\n\
             datacenters={\"\"=[],\"a/b\"=[\"\"],c=1,d=[1]}\n",
        ),
        (
            "protection",
            "[server]\nlisten=[\"127.0.0.1:53\"]\nidentity=\"ns1\"\nversion=\"1\"\n\
             proxy_from=[\"10.0.0.0/8\",\"::1\"]\n\
             [server.cookies]\npolicy=\"required\"\nsecrets=[\"000102030405060708090a0b0c0d0e0f\"]\n\
             [server.tcp]\nconnections=10\nconnections_per_client=2\nqueries=3\nidle=\"5s\"\nlifetime=\"1m\"\n\
             [server.rate_limit]\nresponses_per_second=5\nslip=1\ndry_run=true\nprefix_v4=24\nprefix_v6=48\n\
             exempt=[\"::/0\"]\n\
             [server.tls]\nlisten=[\"[::]:853\"]\nhttps=[\"[::]:443\"]\nquic=[\"[::]:853\"]\ncertificate=\"c\"\n\
             key=\"k\"\n\
             [[server.access]]\nlisteners=[\"127.0.0.1:53\"]\nallow=[\"10.0.0.0/8\",\"::ffff:10.1.0.0/112\"]\n\
             deny=[\"10.2.0.0/16\"]\ndenied=\"drop\"\n[[server.access]]\n[zones.x.access]\ndeny=[\"0.0.0.0/0\"]\n",
        ),
        (
            "wrong-protection",
            "[server]\nidentity=\"\\n\"\nproxy_from=[\"10.0.0.1/8\",\"x\",\"::/129\",\"1/\",\"::ffff:0:0/90\"]\n\
             [server.cookies]\n\
             policy=\"on\"\nsecrets=[\"00\",\"zz\",\"\"]\n[server.tcp]\nconnections=0\nidle=\"99ms\"\n\
             lifetime=\"25h\"\n\
             [server.rate_limit]\nresponses_per_second=-1\nslip=101\nprefix_v4=7\nprefix_v6=129\n[server.tls]\n\
             listen=[\"127.0.0.1:5300\",\"::\"]\n[[server.access]]\nlisteners=[\"1.2.3.4:5\"]\nallow=[\"::\"]\n\
             deny=[\"::\"]\n\
             denied=\"no\"\n[[server.access]]\n[[server.access]]\n",
        ),
        (
            "numbers",
            "[zones.x]\nanswers=0o17\nsubnet_prefix_v4=9223372036854775808\n[zones.x.health]\npanic_threshold=1\n",
        ),
        ("crlf", "# \u{e9}\r\n[zones.x]\r\nttl = \"5s\"\r\nanswers = \"AUTO\"\r\n"),
        ("byte-order-mark", "\u{feff}[zones.x]\nfile=\"a.zone\"\n"),
        ("control", "[zones.\"a\\u001b[31m\"]\n\"\\n\" = \"\\u0000\"\n"),
    ]);
    all.push(("no-utf-8".into(), b"[zones.x]\nfile = \"\xff\"\n".to_vec()));
    all.push(("too-many-zones".into(), (0..257).flat_map(|n| format!("[zones.z{n}]\n").into_bytes()).collect()));
    all.push(("too-many-seeds".into(), format!("[zones.x.cluster]\nseeds=[{}]\n", "\"a\",".repeat(257)).into_bytes()));
    all.push(("long-name".into(), format!("[zones.\"{}c\"]\n", "a.".repeat(126)).into_bytes()));
    all.push(("deep".into(), format!("x={}", "[".repeat(300)).into_bytes()));
    all.push(("deep-dotted".into(), format!("{}x=1", "a.".repeat(300)).into_bytes()));
    all
}
