//! Questions for the general path; see [`super::super`]'s `general` for what the octets mean.

/// Names below each zone, by the number that picks it: the cluster's, the one below it, the closed one, the root.
const NAMES: [&[&str]; 4] = [
    &[
        "",
        "static",
        "er.static",
        "a.b.wild",
        "x.deeper.wild",
        "deeper.wild",
        "*.wild",
        "alias",
        "tWice",
        "out",
        "to-scope",
        "to-rack",
        "to-unready",
        "to-service",
        "to-explain",
        "to-nothing",
        "to-empty",
        "to-below",
        "to-closed",
        "x.loop",
        "x.spiral",
        "one",
        "two",
        "dc1",
        "rack-3.dc1",
        "_explain",
        "_explain.dc1.rack2",
        "_alternator._tcp",
        "_tcp",
        "n-10-0-1-1",
        "n-fd00--1",
        "web",
        "any",
        "no.such.name",
    ],
    &["", "www", "again", "a.star", "b.c"],
    &["", "www", "a.www"],
    &["", "www.example.com", "id.server", "below"],
];

const TYPES: [u16; 9] = [1, 28, 16, 33, 5, 255, 6, 65_280, 252];

pub(super) fn all() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let names = NAMES.iter().enumerate().flat_map(|(zone, names)| names.iter().map(move |name| (zone as u8, name)));
    for (number, (zone, name)) in names.enumerate() {
        // Each name once with A, and once with another type, transport and setting.
        let [high, low] = TYPES[number % TYPES.len()].to_be_bytes();
        let told = name.to_lowercase().replace('*', "star");
        all.push((format!("a-{zone}-{told}"), [&[0, 0, 1, zone], name.as_bytes()].concat()));
        let choice = zone | [0x10, 0x04, 0x88][number % 3];
        let control = (number * 4 % 0x7C) as u8;
        all.push((format!("other-{zone}-{told}"), [&[control, high, low, choice], name.as_bytes()].concat()));
    }
    for (name, control, qtype, below) in
        [("services-all", 0x40, 33, "_alternator._tcp"), ("type-opt", 0, 41, ""), ("type-tkey", 0, 249, "")]
    {
        all.push((name.to_owned(), [&[control, 0, qtype, 0], below.as_bytes()].concat()));
    }
    all
}
