//! Whole files: what is accepted, what is refused with which words, and that nothing breaks the reader.

use std::fmt::Write as _;

use hickory_proto::{
    rr::rdata::{A, AAAA, CNAME, MX, PTR, SRV, TXT},
    serialize::{
        binary::{BinDecoder, BinEncodable, Restrict},
        txt::Parser,
    },
};
use proptest::{collection::vec, prelude::*};

use super::*;

fn apex() -> Name {
    name("example.test.")
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn read(text: &str) -> Result<StaticZone, Vec<String>> {
    let printed = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
    parse(text, Path::new("z"), &apex()).map_err(printed)
}

/// The problems of a text, each without its file: `LINE: MESSAGE`.
fn problems(text: &str) -> Vec<String> {
    let problems = read(text).err().unwrap_or_default();
    problems.iter().map(|problem| problem.strip_prefix("z:").unwrap_or(problem).trim_start().to_owned()).collect()
}

/// The data of one type at one owner.
fn data(zone: &StaticZone, owner: &str, kind: RecordType) -> Vec<RData> {
    zone.records.get(&name(owner)).and_then(|sets| sets.get(&kind)).map(|set| set.data.clone()).unwrap_or_default()
}

#[test]
fn one_bad_entry_one_problem() {
    let long = "x".repeat(256);
    for (entry, expected) in [
        // Heads.
        ("foo 5 IN", "a record without type and data: write OWNER TTL TYPE DATA"),
        ("foo", "a record without type and data: write OWNER TTL TYPE DATA"),
        ("foo A", "A without data"),
        ("foo FOO x", "unknown type \"FOO\""),
        ("foo \"TXT\" x", "unknown type \"TXT\": types stand without quotes"),
        ("TXT hello", "unknown type \"hello\" (a line without an owner starts with a blank)"),
        ("foo LOC 51 30 N", "type LOC has no text form here: write TYPE29 \\# LENGTH HEX (RFC 3597)"),
        ("foo CH TXT x", "class CH is not served: write IN, or no class"),
        ("foo CLASS3 TXT x", "class CLASS3 is not served: write IN, or no class"),
        ("foo IN IN A 1.2.3.4", "a second class, \"IN\""),
        ("foo 5 6 A 1.2.3.4", "a second TTL, \"6\""),
        ("foo 5x A 1.2.3.4", "\"5x\" is no TTL: write seconds, or such as 1h30m"),
        ("foo 2147483648 A 1.2.3.4", "TTL \"2147483648\" is too long: at most 2147483647 seconds (RFC 2181 section 8)"),
        ("foo 9999999999 A 1.2.3.4", "TTL \"9999999999\" is too long: at most 2147483647 seconds (RFC 2181 section 8)"),
        // Directives.
        ("$INCLUDE other.zone", "$INCLUDE is not supported: one zone is one file, so put the records here"),
        ("$GENERATE 1-9 a$ A 10.0.0.$", "$GENERATE is not supported: write the records out"),
        ("$ORIGIN", "$ORIGIN wants one name"),
        ("$ORIGIN a..b", "\"a..b\" is no name: a label between dots is empty"),
        ("$TTL", "$TTL wants one time: seconds, or such as 1h30m"),
        ("$TTL soon", "\"soon\" is no TTL: write seconds, or such as 1h30m"),
        ("$FOO", "unknown directive \"$FOO\": there are $ORIGIN and $TTL"),
        // Owners.
        ("www.other. A 1.2.3.4", "www.other. is outside the zone example.test."),
        ("test. A 1.2.3.4", "test. is outside the zone example.test."),
        ("_explain A 1.2.3.4", "_explain.example.test.: the label _explain is the server's own"),
        ("a._Alternator A 1.2.3.4", "a._alternator.example.test.: the label _alternator is the server's own"),
        ("a.*.b A 1.2.3.4", "a.*.b.example.test.: \"*\" is a wildcard as the first label only"),
        ("*.* A 1.2.3.4", "*.*.example.test.: \"*\" is a wildcard as the first label only"),
        // Types and places.
        ("foo SOA a b 1 2 3 4 5", "SOA stands at the apex only, example.test."),
        (
            "sub NS ns.other.",
            "NS below the apex is a delegation, and this server answers the whole zone itself: remove it",
        ),
        ("@ CNAME foo", "CNAME cannot stand at the apex, which has SOA and NS"),
        ("foo DNAME bar", "DNAME is not supported: write a CNAME for each name, or a wildcard CNAME"),
        ("foo ANAME bar", "ANAME is no DNS type: the server itself answers the cluster's addresses"),
        ("foo DS 1 8 2 aa", "DS belongs into the parent zone, at the delegation (RFC 4034 section 5)"),
        ("@ DNSKEY 256 3 8 aa", "DNSKEY is refused: the zone is not signed, so remove all DNSSEC records"),
        ("@ TYPE46 \\# 0", "RRSIG is refused: the zone is not signed, so remove all DNSSEC records"),
        ("@ NSEC foo A", "NSEC is refused: the zone is not signed, so remove all DNSSEC records"),
        ("foo NULL \\# 1 00", "NULL may not stand in a zone file (RFC 1035 section 3.3.10)"),
        ("foo ANY x", "ANY exists in messages only, it is no type of records"),
        ("foo TYPE249 \\# 0", "TYPE249 exists in messages only, it is no type of records"),
        // Data.
        ("foo A 10.0.0.300", "A: \"10.0.0.300\" is no IPv4 address"),
        ("foo A 1.2.3.4 5.6.7.8", "A: wants one ADDRESS, found 2 fields"),
        ("foo AAAA 1.2.3.4", "AAAA: \"1.2.3.4\" is no IPv6 address"),
        (
            "foo CNAME bücher",
            "CNAME: \"bücher\" is no name: it is not ASCII; an international name is written in its xn-- form",
        ),
        ("foo MX mail", "MX: wants PREFERENCE EXCHANGE, found 1 field"),
        ("foo MX 65536 mail", "MX: preference \"65536\" is no whole number of 16 bits"),
        ("foo MX +1 mail", "MX: preference \"+1\" is no whole number of 16 bits"),
        ("foo SRV 1 2 3", "SRV: wants PRIORITY WEIGHT PORT TARGET, found 3 fields"),
        ("@ SOA a b 1 2 3 4 x", "SOA: minimum \"x\" is no time: write seconds, or such as 1h30m"),
        ("@ SOA a b 1h 2 3 4 5", "SOA: serial \"1h\" is no whole number of 32 bits"),
        ("foo NAPTR 1 2 ! \"\" \"\" .", "NAPTR: flags are letters and digits (RFC 3403 section 4.1)"),
        ("foo CAA 0 is-sue x", "CAA: a tag is 1 to 15 letters and digits, such as issue"),
        ("foo TXT k=\"a b\"", "TXT: quotes begin inside: put the whole of it in quotes"),
        ("foo TXT \\300", "TXT: a backslash and a digit start an octet as three decimal digits, \\000 to \\255"),
        (&format!("foo TXT {long}"), "TXT: a string of 256 octets: at most 255 fit, so split it into several"),
        ("foo TLSA 3 1 1", "TLSA: TLSA data field missing"),
        ("foo TLSA 3 1 1 a;b", "TLSA: data encoding error: invalid length at 0"),
        ("foo SSHFP 1 2 a,b", "SSHFP: \"a,b\" is no number, hex or base64"),
        ("foo HTTPS 1", "HTTPS: wants PRIORITY TARGET and parameters, found 1 field"),
        ("foo HTTPS 1 . alpn=h2,,h3", "HTTPS: \"alpn=h2,,h3\" is not how alpn is written (RFC 9460)"),
        ("foo HTTPS 1 . port=x", "HTTPS: \"port=x\" is not how port is written (RFC 9460)"),
        ("foo HTTPS 1 . dohpath=/q", "HTTPS: unknown key \"dohpath\": write it as keyNNNNN, by its number"),
        ("foo HTTPS 1 . key07=x", "HTTPS: \"key07\" is no key: write key0 to key65534, without leading zeros"),
        ("foo HTTPS 1 . alpn=h2 key1=x", "HTTPS: alpn is given twice"),
        (
            "foo HTTPS 1 . mandatory=port alpn=h2",
            "HTTPS: mandatory lists port, which is not among the other parameters",
        ),
        ("foo HTTPS 1 . mandatory=key0", "HTTPS: mandatory lists mandatory, which is not among the other parameters"),
        ("foo SVCB 1 . no-default-alpn", "SVCB: no-default-alpn wants an alpn beside it (RFC 9460 section 7.1.1)"),
        ("foo TYPE65280 abc", "TYPE65280: its text form is not known here; write it as \\# LENGTH HEX (RFC 3597)"),
        ("foo TYPE65280 \\# 2 00", "TYPE65280: \\# says 2 octets, but 1 follow"),
        ("foo TYPE65280 \\# 1 0", "TYPE65280: \\# wants its data as pairs of hex digits"),
        ("foo TYPE65280 \\# 1 é0", "TYPE65280: \\# wants its data as pairs of hex digits"),
        ("foo A \\# 3 0a0000", "A: \\# data does not fit the type: unexpected end of input reached"),
        ("foo A \\# 5 0a00000102", "A: \\# data does not fit the type: incorrect rdata length read: 4 expected: 5"),
        // Words.
        ("foo TXT \"a", "a quoted string does not end on its line: close it with '\"'"),
        ("foo TXT a\"b\"", "a quote inside a word: put the whole word in quotes, or write \\\""),
        ("foo TXT )", "')' without a '(' before it"),
        ("foo TXT ( a", "'(' is never closed"),
        ("foo TXT \x07", "control character 0x07: write it as \\007"),
        // The zone as a whole.
        ("@ NS ns1", "NS: ns1.example.test. lies in this zone without an address: add \"ns1.example.test. A ADDRESS\""),
        ("@ NS @", "NS: example.test. answers with the cluster's nodes: name the DNS server itself, such as ns1"),
        ("a CNAME a", "CNAME loop: a.example.test. -> a.example.test."),
    ] {
        assert_eq!(problems(&format!("$TTL 5m\n{entry}")), [format!("2: {expected}")], "{entry}");
    }
}

#[test]
fn problems_of_the_whole_zone_name_both_places() {
    for (text, expected) in [
        (
            "$TTL 5\na A 1.2.3.4\na 6 A 1.2.3.5",
            "3: a.example.test. A: TTL 6, but 5 on line 2: one TTL for all (RFC 2181 section 5.2)",
        ),
        (
            "$TTL 5\na TYPE300 \\# 0\na 6 TYPE300 \\# 0",
            "3: a.example.test. TYPE300: TTL 6, but 5 on line 2: one TTL for all (RFC 2181 section 5.2)",
        ),
        ("$TTL 5\na CNAME b\na CNAME c", "3: a.example.test. has a second CNAME: the first is on line 2"),
        (
            "$TTL 5\n@ SOA a b 1 2 3 4 5\n@ SOA a b 2 2 3 4 5",
            "3: example.test. has a second SOA: the first is on line 2",
        ),
        (
            "$TTL 5\na CNAME b\n\na A 1.2.3.4",
            "4: a.example.test. has a CNAME on line 2 and A on line 4: a CNAME stands alone",
        ),
        (
            "$TTL 5\na TXT x\nA CNAME b",
            "3: a.example.test. has a CNAME on line 3 and TXT on line 2: a CNAME stands alone",
        ),
        ("$TTL 5\n@ NS a\na CNAME b.other.", "2: NS: a.example.test. is a CNAME: name a host with addresses itself"),
        ("$TTL 5\n@ MX 1 a\na CNAME b.other.", "2: MX: a.example.test. is a CNAME: name a host with addresses itself"),
        (
            "$TTL 5\n@ SRV 1 1 1 a\na CNAME b.other.",
            "2: SRV: a.example.test. is a CNAME: name a host with addresses itself",
        ),
        (
            "$TTL 5\nd CNAME c\nc CNAME a\nb CNAME c\na CNAME b",
            "3: CNAME loop: c.example.test. -> a.example.test. -> b.example.test. -> c.example.test.",
        ),
        // Whose the TXT is cannot be known, so it is not held against www.
        (
            "$TTL 5\nwww CNAME b\nftp TXT \"open\n    TXT x",
            "3: a quoted string does not end on its line: close it with '\"'",
        ),
        ("a A 1.2.3.4", "1: no TTL: write one before the type, or a line such as \"$TTL 5m\" at the top of the file"),
        (" 5 A 1.2.3.4", "1: no owner: a line that starts with a blank continues the owner above, but there is none"),
    ] {
        assert_eq!(problems(text), [expected], "{text}");
    }
}

#[test]
fn every_problem_of_a_file_is_reported_in_order_and_none_follows_from_another() {
    let text = "\
$TTL 1h
@       SOA ns1 hostmaster 1 1h 10m 7d 5s
        NS  ns1                  ; its address is wrong, but not missing
ns1     A   10.0.0.300
www     5   IN
www     CNAME dc1
        TXT \"beside a CNAME\"
elsewhere.org. A 10.0.0.1
        A   10.0.0.2             ; the same outside
ftp     TXT ( \"open
          \"more\" )
        TXT whose
_tcp.x  SRV 0 0 80 (
          www
        )
$INCLUDE more.zone
last    A   10.0.0.9
last 60 A   10.0.0.10";
    assert_eq!(
        problems(text),
        [
            "4: A: \"10.0.0.300\" is no IPv4 address",
            "5: a record without type and data: write OWNER TTL TYPE DATA",
            "7: www.example.test. has a CNAME on line 6 and TXT on line 7: a CNAME stands alone",
            "8: elsewhere.org. is outside the zone example.test.",
            "10: a quoted string does not end on its line: close it with '\"'",
            "13: SRV: www.example.test. is a CNAME: name a host with addresses itself",
            "16: $INCLUDE is not supported: one zone is one file, so put the records here",
            "18: last.example.test. A: TTL 60, but 3600 on line 17: one TTL for all (RFC 2181 section 5.2)",
        ]
    );
}

/// Every type with a text form, in a form that hickory's reader takes rightly too.
const ALL_TYPES: &str = "\
$TTL 1h
@ IN SOA ns1.example.test. hostmaster.example.test. 7 1h 600 7d 5
@ NS ns1.example.test.
@ NS ns.other.test.
ns1 A 10.0.0.1
ns1 AAAA fd00::1
ns1 60 IN HINFO \"ARM 64\" Linux
www 1h30m IN CNAME ns1.example.test.
*.wild 5 A 10.0.0.2
mail MX 10 ns1.example.test.
mail MX 20 mx.other.test.
_dyn._tcp SRV 0 5 8000 ns1.example.test.
1.0.0.10 PTR ns1.example.test.
txt TXT \"v=spf1 -all\" plain \"\"
naptr NAPTR 100 10 \"S\" \"SIP+D2U\" \"\" _sip._udp.example.test.
caa CAA 0 issue \"ca.example.net\"
caa CAA 0 tag1 \"\"
caa CAA 128 iodef \"mailto:security@example.com\"
_443._tcp TLSA 3 1 1 d2abde240d7cd3ee6b4b28c54df034b9 7983a1d16e8a410e4561cb106618e971
mime SMIMEA 3 0 0 aabb
host SSHFP 2 1 123456789abcdef67890123456789abcdef67890
cert CERT 1 12 8 bWFpbA==
key OPENPGPKEY bWFpbA==
sync CSYNC 66 3 A NS AAAA
web HTTPS 1 . alpn=h2,h3 port=8443 ipv4hint=10.0.0.1,10.0.0.2 ipv6hint=fd00::1
svc SVCB 0 web.example.test.
";

#[test]
fn hickory_reads_the_same() {
    let zone = read(ALL_TYPES).unwrap();
    let (_, theirs) = Parser::new(ALL_TYPES, None, Some(apex())).parse().unwrap();
    let mut sets = 0;
    for (key, set) in theirs {
        let ours = &zone.records[&Name::from(key.name)][&key.record_type];
        let data: Vec<_> = set.records_without_rrsigs().map(|record| record.data.clone()).collect();
        assert_eq!((ours.ttl, &ours.data), (set.ttl(), &data), "{}", key.record_type);
        sets += 1;
    }
    assert_eq!(zone.records.values().map(BTreeMap::len).sum::<usize>(), sets);
}

#[test]
fn what_hickory_reads_otherwise_is_read_as_the_rfcs_say() {
    let text = "\
$TTL 60
a TXT ( \"two words\" \"a;b\" ; comment )
  \"c)\" )
  TXT \\065\\;x \"\\200\\\"\"
b MX ( 10
   @ )
c CNAME a_b\\.c.D\\065
d TYPE65280 \\# 3 ab CdeF
d TYPE65281 \\# 0
d TYPE1 \\# 4 0a000001
d type257 \\# 7 00 05 69737375 65
e HTTPS 1 svc key65400=\"a b\" mandatory=port,alpn port=443 key1=\\002h2
f SVCB 1 . key65333=a\\;b key65334
$ORIGIN sub
@ A 10.0.0.7
$ORIGIN deep
@ A 10.0.0.8
G.EXAMPLE.TEST. a 10.0.0.9
";
    let zone = read(text).unwrap();
    let texts = |strings: [&[&[u8]]; 2]| strings.map(|strings| RData::TXT(TXT::from_bytes(strings.to_vec())));
    assert_eq!(
        data(&zone, "a.example.test.", RecordType::TXT),
        texts([&[b"two words", b"a;b", b"c)"], &[b"A;x", b"\xc8\""]])
    );
    assert_eq!(data(&zone, "b.example.test.", RecordType::MX), [RData::MX(MX::new(10, apex()))]);
    let target = Name::from_labels([&b"a_b.c"[..], b"da", b"example", b"test"]).unwrap();
    assert_eq!(data(&zone, "c.example.test.", RecordType::CNAME), [RData::CNAME(CNAME(target))]);
    let wire = |owner, kind: u16| {
        data(&zone, owner, RecordType::from(kind)).iter().map(|data| data.to_bytes().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(wire("d.example.test.", 65280), [b"\xab\xcd\xef"]);
    assert_eq!(wire("d.example.test.", 65281), [b""]);
    assert_eq!(data(&zone, "d.example.test.", RecordType::A), [RData::A(A::new(10, 0, 0, 1))]);
    assert_eq!(wire("d.example.test.", 257), [b"\0\x05issue"]);
    let https = b"\0\x01\x03svc\x07example\x04test\0\0\0\0\x04\0\x01\0\x03\0\x01\0\x03\x02h2\0\x03\0\x02\x01\xbb\xff\x78\0\x03a b";
    assert_eq!(wire("e.example.test.", 65), [https]);
    assert_eq!(wire("f.example.test.", 64), [b"\0\x01\0\xff\x35\0\x03a;b\xff\x36\0\0"]);
    assert_eq!(data(&zone, "sub.example.test.", RecordType::A), [RData::A(A::new(10, 0, 0, 7))]);
    assert_eq!(data(&zone, "deep.sub.example.test.", RecordType::A), [RData::A(A::new(10, 0, 0, 8))]);
    assert_eq!(data(&zone, "g.example.test.", RecordType::A), [RData::A(A::new(10, 0, 0, 9))]);
}

#[test]
fn odd_but_good_files_are_accepted() {
    for text in ["", "\n", "; only a comment", "\u{feff}$TTL 5\na A 1.2.3.4", "$TTL 5\r\na A 1.2.3.4\r\n\tTXT x\r\n"] {
        assert_eq!(problems(text), Vec::<String>::new(), "{text:?}");
    }
    // No last line break, in every state a file may end in.
    for end in ["a A 1.2.3.4", "a A 1.2.3.4 ; c", "a TXT \"x\"", "a A ( 1.2.3.4 )", "\t", "$TTL 6"] {
        assert_eq!(problems(&format!("$TTL 5\n{end}")), Vec::<String>::new(), "{end}");
    }
    // Duplicates vanish, names differ by case only; the wildcard and labels with an underscore stand.
    let zone =
        read("$TTL 5\na A 1.2.3.4\nA.Example.TEST. A 1.2.3.4\n*.a TXT x\n_acme-challenge TXT y\n_tcp TXT z").unwrap();
    assert_eq!(data(&zone, "a.example.test.", RecordType::A), [RData::A(A::new(1, 2, 3, 4))]);
    assert_eq!(
        zone.records.keys().map(Name::to_ascii).collect::<Vec<_>>(),
        ["_acme-challenge.example.test.", "_tcp.example.test.", "a.example.test.", "*.a.example.test.",]
    );
    assert_eq!(zone.records[&name("a.example.test.")][&RecordType::A].line, 2);
    assert!(read("a 5 CSYNC 66 3 a ns").is_ok());
    // TTLs: stated, $TTL, or the last stated.
    let zone = read("a 7 A 1.2.3.4\nb A 1.2.3.4\n$TTL 9\nc A 1.2.3.4\nd 1w2d3h4m5s A 1.2.3.4").unwrap();
    let ttls: Vec<u32> = zone.records.values().map(|sets| sets[&RecordType::A].ttl).collect();
    assert_eq!(ttls, [7, 7, 9, 788_645]);
    // An apex in capitals is the same zone; a glue name may be covered by AAAA alone.
    assert!(parse("$TTL 5\n@ NS n\nn AAAA ::1", Path::new("z"), &name("EXAMPLE.test")).is_ok());
}

#[test]
fn files_are_loaded_or_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let load_octets = |octets: &[u8]| {
        let path = folder.path().join("z");
        std::fs::write(&path, octets).unwrap();
        load(&path, &apex()).map_err(|problems| {
            let prefix = format!("{}:", path.display());
            problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect::<Vec<_>>()
        })
    };
    assert_eq!(load_octets(b"$TTL 5\na A 1.2.3.4").unwrap().records.len(), 1);
    let latin1 = "2: octet 0xfc is not UTF-8 text: save the file as UTF-8, or write \\252";
    assert_eq!(load_octets(b"$TTL 5\na TXT b\xfccher"), Err(vec![latin1.to_owned()]));
    assert_eq!(load_octets(&vec![b'\n'; MAX_FILE + 1]), Err(vec![" the zone file is larger than 4 MiB".to_owned()]));
    assert!(load_octets(&vec![b'\n'; MAX_FILE]).is_ok());
    let message = |path: &Path| load(path, &apex()).unwrap_err()[0].message.clone();
    assert_eq!(message(&folder.path().join("none")), "no such zone file");
    assert_eq!(message(folder.path()), "is no regular file: a zone file is wanted");
}

#[test]
fn what_is_read_and_reported_is_bounded() {
    let many: String = (0..=MAX_ENTRIES).map(|_| "$TTL 5\n").collect();
    assert_eq!(
        problems(&many),
        [format!("{}: more than {MAX_ENTRIES} entries: the rest is not read", MAX_ENTRIES + 1)]
    );
    let wrong = "a\n".repeat(MAX_PROBLEMS + 5);
    let told = problems(&wrong);
    assert_eq!((told.len(), told[MAX_PROBLEMS].as_str()), (MAX_PROBLEMS + 1, "and 5 more problems"));
    // An RRset that no message holds.
    let mut text = "$TTL 5\n".to_owned();
    for host in 0..5000 {
        writeln!(text, "a A 10.0.{}.{}", host / 250, host % 250).unwrap();
    }
    let expected = "4072: a.example.test. A: more records than fit into a DNS message: at most 65125 octets";
    assert_eq!(problems(&text), [expected]);
    // A loop longer than anybody reads.
    let long: String = (0..3000).map(|host| format!("h{host} 5 CNAME h{}\n", (host + 1) % 3000)).collect();
    let told = problems(&long);
    assert!(told.len() == 1 && told[0].starts_with("1: CNAME loop: h0.") && told[0].ends_with(" -> ..."), "{told:?}");
}

/// Large files of one repeated text that make careless readers quadratic.
#[test]
fn hostile_repetition_is_read_in_linear_time() {
    for text in ["(", "(\n", "a (\n", "\"\n", ")", "\\", "a ", "\\\n", "(\n\"", "a TXT (\n;", "a=\"", "\n (", "a.", "$"]
    {
        let started = std::time::Instant::now();
        let _ = read(&text.repeat((1 << 20) / text.len()));
        assert!(started.elapsed().as_secs() < 20, "{text:?} took {:?}", started.elapsed());
    }
    let one_set: String = (0..40_000).map(|count| format!("a 5 TXT {count}\n")).collect();
    assert!(read(&one_set).is_err());
}

#[test]
fn the_example_zone_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones");
    let config: toml::Table = std::fs::read_to_string(folder.join("alternator-dns.toml")).unwrap().parse().unwrap();
    let zones = config["zones"].as_table().unwrap();
    assert_eq!(zones.keys().collect::<Vec<_>>(), ["alternator.local"]);
    for (zone, options) in zones {
        let apex = name(&format!("{zone}."));
        let zone = load(&folder.join(options["file"].as_str().unwrap()), &apex).unwrap();
        let types: Vec<_> = zone.records[&apex].keys().copied().collect();
        assert_eq!(types, [RecordType::NS, RecordType::SOA, RecordType::TXT]);
        assert_eq!(data(&zone, "ns1.alternator.local.", RecordType::A), [RData::A(A::new(127, 0, 0, 1))]);
    }
}

/// Labels of any octets, lower case; none that the rules refuse.
fn labels() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof!["[a-z0-9_-]{1,12}".prop_map(String::into_bytes), vec(any::<u8>(), 1..6)]
        .prop_map(|label| label.to_ascii_lowercase())
        .prop_filter("refused labels", |label| label != b"*" && label != b"_explain" && label != b"_alternator")
}

fn names() -> impl Strategy<Value = Name> {
    vec(labels(), 0..4).prop_map(|labels| Name::from_labels(labels).unwrap().append_domain(&apex()).unwrap())
}

fn generic(kind: u16, wire: &[u8]) -> RData {
    let length = Restrict::new(u16::try_from(wire.len()).unwrap());
    RData::read(&mut BinDecoder::new(wire), RecordType::from(kind), length).unwrap()
}

fn any_data() -> impl Strategy<Value = RData> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| RData::A(A(octets.into()))),
        any::<[u8; 16]>().prop_map(|octets| RData::AAAA(AAAA(octets.into()))),
        names().prop_map(|target| RData::PTR(PTR(target))),
        (any::<u16>(), names()).prop_map(|(preference, host)| RData::MX(MX::new(preference, host))),
        (any::<[u16; 3]>(), names()).prop_map(|([a, b, c], host)| RData::SRV(SRV::new(a, b, c, host))),
        vec(vec(any::<u8>(), 0..40), 1..4)
            .prop_map(|strings| RData::TXT(TXT::from_bytes(strings.iter().map(Vec::as_slice).collect()))),
        (65310u16..65534, vec(any::<u8>(), 0..20)).prop_map(|(kind, wire)| generic(kind, &wire)),
    ]
}

/// How to write one record: bits choose among equal forms.
struct Style(u32);

impl Style {
    fn pick<T, const N: usize>(&mut self, forms: [T; N]) -> T {
        let at = self.0 as usize % N;
        self.0 = self.0.rotate_right(3).wrapping_mul(2_654_435_761);
        forms.into_iter().nth(at).unwrap()
    }

    /// Octets, escaped where they must be; `special` ones must.
    fn octets(&mut self, octets: &[u8], special: &[u8]) -> String {
        octets.iter().fold(String::new(), |text, octet| {
            let must = !octet.is_ascii_graphic() || special.contains(octet);
            let decimal = format!("\\{octet:03}");
            let short = char::from(*octet);
            let escaped = if octet.is_ascii_graphic() && !octet.is_ascii_digit() {
                format!("\\{short}")
            } else {
                decimal.clone()
            };
            text + &if must {
                self.pick([decimal, escaped.clone(), escaped])
            } else {
                self.pick([decimal, short.to_string(), short.to_string()])
            }
        })
    }

    fn name(&mut self, name: &Name) -> String {
        let labels: Vec<String> = name.iter().map(|label| self.octets(label, b".\\\"();@$ ")).collect();
        let relative = labels[..labels.len() - 2].join(".");
        let relative = if relative.is_empty() { "@".to_owned() } else { relative };
        self.pick([labels.join(".") + ".", relative.clone(), relative])
    }

    fn string(&mut self, octets: &[u8]) -> String {
        let quoted = format!("\"{}\"", self.octets(octets, b"\"\\"));
        let plain = self.octets(octets, b"\"\\();");
        if plain.is_empty() || plain == "\\#" { quoted } else { self.pick([quoted, plain]) }
    }

    fn data(&mut self, data: &RData) -> Vec<String> {
        match data {
            RData::PTR(target) => vec![self.name(&target.0)],
            RData::MX(mx) => vec![mx.preference.to_string(), self.name(&mx.exchange)],
            RData::SRV(srv) => {
                let numbers = [srv.priority, srv.weight, srv.port].map(|number| number.to_string());
                numbers.into_iter().chain([self.name(&srv.target)]).collect()
            }
            RData::TXT(txt) => txt.txt_data.iter().map(|string| self.string(string)).collect(),
            RData::A(a) if self.pick([true, false]) => vec![a.to_string()],
            RData::AAAA(aaaa) => vec![aaaa.to_string()],
            data => {
                let wire = data.to_bytes().unwrap();
                let hex = wire.iter().map(|octet| format!("{octet:02x}"));
                ["\\#".to_owned(), wire.len().to_string()].into_iter().chain(hex).collect()
            }
        }
    }

    fn record(&mut self, owner: &Name, ttl: u32, data: &RData) -> String {
        let kind = text::type_name(data.record_type());
        let numbered = format!("TYPE{}", u16::from(data.record_type()));
        let kind = self.pick([kind.clone(), kind.to_lowercase(), numbered]);
        let head = self.pick([format!("{ttl} IN"), format!("in {ttl}"), format!("{ttl}s")]);
        let between = self.pick([" ", "\t \t", " \r "]);
        let data = self.data(data).join(between);
        let data = self.pick([data.clone(), format!("( {data} )"), format!("(\n\n {data} ; x )\n)"), data + " ; \"x"]);
        format!(
            "{}{between}{head}{between}{kind}{between}{data}{}",
            self.name(owner),
            self.pick(["\n", "\r\n", "\n\n;\n"])
        )
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(records in vec((names(), any_data(), any::<u32>()), 0..12), ttl in 0u32..=i32::MAX as u32) {
        let mut expected: BTreeMap<Name, BTreeMap<RecordType, Vec<RData>>> = BTreeMap::new();
        let mut text = String::new();
        for (owner, data, style) in records {
            text += &Style(style).record(&owner, ttl, &data);
            let set = expected.entry(owner).or_default().entry(data.record_type()).or_default();
            if !set.contains(&data) {
                set.push(data);
            }
        }
        let zone = read(&text).map_err(|problems| TestCaseError::fail(format!("{problems:#?}\n{text}")))?;
        prop_assert!(zone.records.values().flat_map(BTreeMap::values).all(|set| set.ttl == ttl));
        let data = |sets: BTreeMap<RecordType, RrSet>| sets.into_iter().map(|(kind, set)| (kind, set.data)).collect();
        let found: BTreeMap<Name, BTreeMap<_, _>> = zone.records.into_iter().map(|(owner, sets)| (owner, data(sets))).collect();
        prop_assert_eq!(found, expected, "{}", text);
    }

    #[test]
    fn any_text_is_read_without_panic(text in any::<String>(), soup in "[a-z0-9 .;()\"\\\\\n\t$@*_=#,é-]{0,200}") {
        let _ = read(&text);
        let _ = read(&soup);
        let _ = read(&format!("$TTL 5\n{soup}\n{text}"));
    }

    /// Every type's data made of arbitrary words: hickory's readers are behind this too.
    #[test]
    fn any_data_is_read_without_panic(
        kind in "(A|AAAA|CAA|CERT|CNAME|CSYNC|HINFO|HTTPS|MX|NAPTR|OPENPGPKEY|PTR|SMIMEA|SRV|SSHFP|SVCB|TLSA|TXT|TYPE[0-9]{1,5})",
        words in vec("([0-9]{1,3}|[a-z.]{0,9}|(alpn|port|ech|mandatory|ipv4hint|ipv6hint|key[0-9]{1,5}|no-default-alpn)(=[a-z0-9,.:]{0,9})?|[A-F0-9]{2,8}|\\\\#|\"[ -~]{0,9}\"|[!-~]{0,6})", 0..7),
    ) {
        let _ = read(&format!("$TTL 5\na {kind} {}", words.join(" ")));
    }

    #[test]
    fn damaged_files_are_read_without_panic(
        damage in vec((any::<prop::sample::Index>(), 0usize..12, "[ -~\n]{0,6}"), 1..6),
    ) {
        let mut text = ALL_TYPES.to_owned();
        for (at, gone, put) in damage {
            let from = at.index(text.len() + 1);
            let to = (from + gone).min(text.len());
            text.replace_range(from..to, &put);
        }
        let lines = text.lines().count().max(1);
        if let Err(problems) = parse(&text, Path::new("z"), &apex()) {
            prop_assert!(problems.iter().all(|problem| problem.line.is_some_and(|line| (1..=lines).contains(&line))));
            prop_assert!(problems.is_sorted_by_key(|problem| problem.line));
        }
    }
}
