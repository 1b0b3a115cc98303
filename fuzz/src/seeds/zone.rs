//! Zone files of `example.test.`

use super::texts;

pub(super) fn all() -> Vec<(String, Vec<u8>)> {
    let mut all = texts([
        ("nothing", ""),
        ("comments", "; a\n\n \t; b\r\n;c"),
        (
            "types",
            "$TTL 1h\n@ IN SOA ns1 hostmaster 7 1h 600 7d 5\n@ NS ns1\n@ NS ns.other.test.\nns1 A 10.0.0.1\n\
             ns1 AAAA fd00::1\nns1 60 IN HINFO \"ARM 64\" Linux\nwww 1h30m IN CNAME ns1\n*.wild 5 A 10.0.0.2\n\
             mail MX 10 ns1\nmail MX 20 mx.other.test.\n_dyn._tcp SRV 0 5 8000 ns1\n1.0.0.10 PTR ns1\n\
             txt TXT \"v=spf1 -all\" plain \"\"\nnaptr NAPTR 100 10 \"S\" \"SIP+D2U\" \"\" _sip._udp\n\
             caa CAA 0 issue \"ca.example.net\"\ncaa CAA 128 iodef \"mailto:security@example.com\"\n",
        ),
        (
            "certificates",
            "$TTL 5\n_443._tcp TLSA 3 1 1 d2abde240d7cd3ee6b4b28c54df034b9 7983a1d16e8a410e4561cb106618e971\n\
             mime SMIMEA 3 0 0 aabb\nhost SSHFP 2 1 123456789abcdef67890123456789abcdef67890\n\
             cert CERT 1 12 8 bWFpbA==\nkey OPENPGPKEY bWFp bA==\nsync CSYNC 66 3 A NS AAAA\n",
        ),
        (
            "services",
            "$TTL 5\nweb HTTPS 1 . alpn=h2,h3 port=8443 ipv4hint=10.0.0.1,10.0.0.2 ipv6hint=fd00::1\n\
             svc SVCB 0 web\nall SVCB 1 svc key65400=\"a b\" mandatory=port,alpn port=443 key1=\\002h2 \
             no-default-alpn ech=AAAA\nx HTTPS 1 . key65333=a\\;b key65334\n",
        ),
        (
            "words",
            "$TTL 60\na TXT ( \"two words\" \"a;b\" ; comment )\n  \"c)\" )\n  TXT \\065\\;x \"\\200\\\"\"\n\
             b MX ( 10\n   @ )\n\
             c CNAME a_b\\.c.D\\065\n$ORIGIN sub\n@ A 10.0.0.7\n$ORIGIN deep\n@ A 10.0.0.8\n\
             G.EXAMPLE.TEST. a 10.0.0.9\n",
        ),
        (
            "generic",
            "$TTL 5\nd TYPE65280 \\# 3 ab CdeF\nd TYPE65281 \\# 0\nd TYPE1 \\# 4 0a000001\n\
             d type257 \\# 7 00 05 69737375 65\n\
             d MX \\# 4 0001 0161 00\nd TYPE65 \\# 10 0001 00 0003 0002 01bb 00\n",
        ),
        ("no-data", "$TTL 5\na CNAME b\nb TYPE65281 \\# 0\n"),
        ("heads", "a 5 IN A 1.2.3.4\na IN 5 A 1.2.3.5\na CLASS1 A 1.2.3.6\n A 1.2.3.7\nb 1w2d3h4m5s TXT x\n"),
        ("wildcards", "$TTL 5\n* TXT a\n*.b TXT b\nc.b TXT c\n*.c.b CNAME d.b\nd.c.b A 1.2.3.4\n\\*.e TXT x\n"),
        ("aliases", "$TTL 5\na CNAME b\nb CNAME c\nc A 1.2.3.4\nx CNAME *.x\n*.y CNAME z.y\nout CNAME www.other.\n"),
        ("loops", "$TTL 5\na CNAME b\nb CNAME c\nc CNAME a\nd CNAME d\n"),
        (
            "conflicts",
            "$TTL 5\na CNAME b\na A 1.2.3.4\na 6 A 1.2.3.5\na CNAME c\n@ SOA a b 1 2 3 4 5\n@ SOA a b 2 2 3 4 5\n",
        ),
        ("targets", "$TTL 5\n@ NS ns1\n@ NS @\n@ MX 1 a\n@ SRV 1 1 1 a\na CNAME b.other.\n"),
        (
            "refused-owners",
            "$TTL 5\nwww.other. A 1.2.3.4\n_explain A 1.2.3.4\na._Alternator A 1.2.3.4\na.*.b A 1.2.3.4\n\
             b\u{fc}cher A 1.2.3.4\n\
             a..b A 1.2.3.4\n.a A 1.2.3.4\n\\256 A 1.2.3.4\n",
        ),
        (
            "refused-types",
            "$TTL 5\nsub NS a.\n@ CNAME a\na DNAME b\na ANAME b\na DS 1 8 2 aa\n@ DNSKEY 256 3 8 aa\n@ TYPE46 \\# 0\n\
             a NULL \\# 1 00\n\
             a ANY x\na TYPE249 \\# 0\na LOC 1\nFOO x\na \"TXT\" x\n",
        ),
        (
            "refused-data",
            "$TTL 5\na A 10.0.0.300\na A 1.2.3.4 5.6.7.8\na MX +1 m\na SRV 1 2 3\na NAPTR 1 2 ! \"\" \"\" .\n\
             a CAA 0 is-sue x\n\
             a TXT k=\"a b\"\na TLSA 3 1 1\na HTTPS 1 . alpn=h2,,h3\na HTTPS 1 . mandatory=key0\na A \\# 3 0a0000\n\
             a TYPE65280 \\# 2 00\na TYPE65280 \\# 1 0\n@ SOA a b 1h 2 3 4 5\n",
        ),
        (
            "directives",
            "$INCLUDE a\n$GENERATE 1-9 a$ A 10.0.0.$\n$ORIGIN\n$ORIGIN a..b\n$TTL soon\n$TTL\n$FOO\n$ttl 1\n",
        ),
        (
            "ttls",
            "a A 1.2.3.4\n$TTL 2147483648\n$TTL 9999999999\nb 5x A 1.2.3.4\nb 5 6 A 1.2.3.4\nb CH A 1.2.3.4\n\
             b IN IN A 1\n",
        ),
        ("quotes", "$TTL 5\na TXT \"x\nb\n\"y\nc x\"y\" z\nd \\\ne \\"),
        ("parentheses", "$TTL 5\na ) b\nc (\n x\n; y\nb ( y\n z )\n(d\nA\n1.2.3.4)\n((\n)) )\ne ("),
        ("control", "$TTL 5\na \u{1}b\nc \"\u{7f}\"\nd TXT \u{80}\n\u{feff}\n"),
        ("byte-order-mark", "\u{feff}$TTL 5\na A 1.2.3.4\n"),
        ("blank-start", " 5 A 1.2.3.4\n$TTL 5\n TXT x\n"),
    ]);
    let long = ["x".repeat(63), "y".repeat(63), "z".repeat(63), "w".repeat(48)].join(".");
    all.push((
        "longest-name".into(),
        format!("$TTL 5\n{long} A 1.2.3.4\na CNAME {long}\n{long}w A 1.2.3.4\n").into_bytes(),
    ));
    let labels = "a.".repeat(120);
    all.push(("most-labels".into(), format!("$TTL 5\n{labels}example.test. TXT x\n*.{labels} TXT x\n").into_bytes()));
    all.push(("long-string".into(), format!("$TTL 5\na TXT {0}\nb TXT x{0}\n", "x".repeat(255)).into_bytes()));
    all.push(("no-utf-8".into(), b"$TTL 5\na TXT \"\xff\"\n".to_vec()));
    all.push(("many-problems".into(), "a\n".repeat(250).into_bytes()));
    all
}
