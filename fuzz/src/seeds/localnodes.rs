//! Replies of `/localnodes`.

use super::texts;

pub(super) fn all() -> Vec<(String, Vec<u8>)> {
    let mut all = texts([
        ("empty-list", "[]"),
        ("one", r#"["127.0.0.1"]"#),
        ("several", r#"["10.0.0.1","10.0.0.2","10.0.1.1","fd00::1","fd00::2"]"#),
        ("spaces", " [ \"10.0.0.1\" ,\t\"10.0.0.2\"\r\n] \n"),
        ("twice", r#"["10.0.0.1","10.0.0.1"," 10.0.0.1 ","::ffff:10.0.0.1"]"#),
        ("ports", r#"["10.0.0.1:9042","[fd00::1]:9042","[fd00::2]","[fd00::3]:","[fd00::4]:99999","[::1]x"]"#),
        ("scopes", r#"["fe80::1%eth0","[fe80::2%3]:80","%","fe80::1%"]"#),
        ("unusable", r#"["0.0.0.0","::","224.0.0.1","ff02::1","255.255.255.255","::ffff:0.0.0.0"]"#),
        ("names", r#"["node.example.com","node:9000","","10.0.0","7fb6a1d6-5f0e-4a83-a2a2-0c3d4b4f2f5c"]"#),
        ("escapes", r#"["\u0031\u0030.0.0.4","\n10.0.0.1\t","\ud83d\ude00","\\","\"\/\b\f"]"#),
        ("lone-surrogate", r#"["\ud800"]"#),
        ("nothing", ""),
        ("null", "null"),
        ("object", r#"{"10.0.0.1":"up"}"#),
        ("text", r#""10.0.0.1""#),
        ("number", "1e400"),
        ("numbers", "[1,2]"),
        ("mixed", r#"["10.0.0.1", 3.25]"#),
        ("nested", "[[\"10.0.0.1\"]]"),
        ("more-behind", r#"["10.0.0.1"] ["10.0.0.2"]"#),
        ("comma-at-end", r#"["10.0.0.1",]"#),
        ("not-closed", r#"["10.0.0.1""#),
        ("page", "<html><body>502 Bad Gateway</body></html>"),
    ]);
    all.push(("no-utf-8".into(), b"[\"\xff\"]".to_vec()));
    all.push(("deep".into(), "[".repeat(300).into_bytes()));
    all.push(("long-entry".into(), format!("[\"{}\"]", "é".repeat(100)).into_bytes()));
    all.push(("long-text".into(), format!("\"{}\"", "x".repeat(1000)).into_bytes()));
    all.push(("too-many".into(), format!("[{}\"\"]", "\"\",".repeat(10_000)).into_bytes()));
    all
}
