//! Prefixes of addresses (RFC 4632 section 3.1, RFC 4291 section 2.3), and what they cover.
//!
//! An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`, RFC 4291 section 2.5.5.2) counts as the IPv4 address in it, in a
//! prefix as well as in what is looked up. So `::/0` covers IPv6 alone, whatever kind of socket a client came to.

use std::{fmt, net::IpAddr, str::FromStr};

/// Most characters that are repeated of a text that is no prefix; the longest prefix there is has fewer.
const SHOWN: usize = 60;

/// Addresses that begin with the same bits. Written `10.0.0.0/8`, or as one whole address: `2001:db8::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The first of the addresses.
    pub address: IpAddr,
    /// How many bits they have in common: at most 32 of an IPv4 address, 128 of an IPv6 address.
    pub len: u8,
}

impl Prefix {
    /// The prefix, if nothing but zeros stands behind its length.
    pub fn new(address: IpAddr, len: u8) -> Result<Self, PrefixError> {
        let prefix = Prefix { address, len };
        if len > width(address) {
            return Err(PrefixError::Length { text: prefix.to_string(), width: width(address) });
        }
        let right = prefix.cut();
        if right != prefix {
            return Err(PrefixError::HostBits { written: prefix, right });
        }
        Ok(prefix.canonical())
    }

    /// The prefix of this length that an address lies in; the whole address where it has no more bits.
    pub fn around(address: IpAddr, len: u8) -> Self {
        let address = address.to_canonical();
        Prefix { address, len: len.min(width(address)) }.cut()
    }

    /// Without the bits beyond its length.
    fn cut(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => IpAddr::V4((address.to_bits() & (mask(self.len) >> 96) as u32).into()),
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() & mask(self.len)).into()),
        };
        Prefix { address, len: self.len }
    }

    /// As IPv4, if it is one in IPv6's form: such a prefix has its first 96 bits set, or bits beyond its length.
    fn canonical(self) -> Self {
        match (self.address, self.address.to_canonical()) {
            (IpAddr::V6(_), address @ IpAddr::V4(_)) => Prefix { address, len: self.len.saturating_sub(96) },
            _ => self,
        }
    }

    /// Whether it covers the address.
    pub fn contains(self, address: IpAddr) -> bool {
        let ((is_v4, first, last), (same_as, bits)) = (self.range(), bits(address));
        is_v4 == same_as && (first..=last).contains(&bits)
    }

    /// The address here that has the same place as this one has in its own prefix of the same length: the bits of the
    /// prefix, and behind them the address's. `None` where the families differ.
    pub fn place_of(self, address: IpAddr) -> Option<IpAddr> {
        let ((is_v4, first, last), (same_as, bits)) = (self.range(), bits(address));
        let moved = first | bits & (first ^ last);
        let place = if is_v4 { IpAddr::V4(((moved >> 96) as u32).into()) } else { IpAddr::V6(moved.into()) };
        (is_v4 == same_as).then_some(place)
    }

    /// Whether it is one whole address.
    pub fn is_one(self) -> bool {
        let Prefix { address, len } = self.canonical();
        len >= width(address)
    }

    /// Its first and its last address, as [`bits`] has them.
    fn range(self) -> (bool, u128, u128) {
        let Prefix { address, len } = self.canonical();
        let mask = mask(len.min(width(address)));
        let (is_v4, bits) = bits(address);
        (is_v4, bits & mask, bits | !mask)
    }
}

/// Bits of an address of this family.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// This many ones, then zeros.
fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0)
}

/// Whether an address counts as IPv4, and its bits from the highest down.
#[inline]
fn bits(address: IpAddr) -> (bool, u128) {
    match address.to_canonical() {
        IpAddr::V4(address) => (true, u128::from(address.to_bits()) << 96),
        IpAddr::V6(address) => (false, address.to_bits()),
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
        let shown = || text.chars().take(SHOWN).collect();
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Address(shown()))?;
        let width = width(address);
        let Some(len) = len else { return Prefix::new(address, width) };
        let digits = !len.is_empty() && len.bytes().all(|octet| octet.is_ascii_digit());
        match len.parse() {
            Ok(len) if digits => Prefix::new(address, len),
            _ => Err(PrefixError::Length { text: shown(), width }),
        }
    }
}

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// It does not begin with an address. As it was written, cut where it is long.
    #[error("{0:?} is no prefix: write an address (\"192.0.2.1\") or a prefix (\"10.0.0.0/8\", \"2001:db8::/32\")")]
    Address(String),
    /// What follows the slash is no number of bits that such an address has.
    #[error("{text:?} is no prefix: write a number from 0 to {width} behind the slash")]
    Length {
        /// As it was written, cut where it is long.
        text: String,
        /// Bits of an address of its family.
        width: u8,
    },
    /// An address in a prefix instead of the prefix: one of its two parts is wrong, so it could mean either.
    #[error("{written} has bits set beyond its length; write {right}")]
    HostBits {
        /// As it was written.
        written: Prefix,
        /// The prefix of that length.
        right: Prefix,
    },
}

/// A set of prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes(PrefixMap<()>);

impl Prefixes {
    /// Whether one of the prefixes covers the address.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.get(address).is_some()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Prefix> for Prefixes {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        Prefixes(prefixes.into_iter().map(|prefix| (prefix, ())).collect())
    }
}

/// Values by prefix, the longest that covers an address winning. Prefixes nest or lie apart, so they cut the addresses
/// into ranges with one winner each: looking up is one binary search, however many lengths there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixMap<T> {
    v4: Ranges<T>,
    v6: Ranges<T>,
}

/// Where each range begins, in order, and its value; before the first and where it is `None` no prefix covers.
type Ranges<T> = Vec<(u128, Option<T>)>;

impl<T: Copy + PartialEq> PrefixMap<T> {
    /// The value of the longest prefix that covers the address. Takes no memory.
    #[inline]
    pub fn get(&self, address: IpAddr) -> Option<T> {
        let (is_v4, bits) = bits(address);
        let ranges = if is_v4 { &self.v4 } else { &self.v6 };
        let next = ranges.partition_point(|(start, _)| *start <= bits);
        ranges.get(next.checked_sub(1)?)?.1
    }

    /// Whether it covers no address at all.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// Of prefixes that are equal the last one counts.
impl<T: Copy + PartialEq> FromIterator<(Prefix, T)> for PrefixMap<T> {
    fn from_iter<I: IntoIterator<Item = (Prefix, T)>>(prefixes: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, value) in prefixes {
            let (is_v4, start, end) = prefix.range();
            if is_v4 { &mut v4 } else { &mut v6 }.push((start, end, value));
        }
        PrefixMap { v4: ranges(v4), v6: ranges(v6) }
    }
}

/// Ranges from prefixes, given as first address, last address, value.
fn ranges<T: Copy + PartialEq>(mut prefixes: Vec<(u128, u128, T)>) -> Ranges<T> {
    // Outer prefixes before those inside them.
    prefixes.sort_by_key(|(start, end, _)| (*start, !*end));
    let mut ranges = Ranges::new();
    // The prefixes that cover the current place, from the outermost in: where each ends.
    let mut open: Vec<(u128, T)> = Vec::new();
    for (start, end, value) in prefixes {
        close(&mut open, &mut ranges, Some(start));
        begin(&mut ranges, start, Some(value));
        open.push((end, value));
    }
    close(&mut open, &mut ranges, None);
    ranges
}

/// Ends the prefixes that lie before this place, or all.
fn close<T: Copy + PartialEq>(open: &mut Vec<(u128, T)>, ranges: &mut Ranges<T>, before: Option<u128>) {
    while let Some((end, _)) = open.pop_if(|(end, _)| before.is_none_or(|before| *end < before)) {
        // What ends with the last address is followed by nothing.
        if let Some(next) = end.checked_add(1) {
            begin(ranges, next, open.last().map(|(_, value)| *value));
        }
    }
}

/// From this place on the value is another.
fn begin<T: PartialEq>(ranges: &mut Ranges<T>, start: u128, value: Option<T>) {
    ranges.pop_if(|(same, _)| *same == start);
    let before = ranges.last().and_then(|(_, value)| value.as_ref());
    if before != value.as_ref() {
        ranges.push((start, value));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn why(text: &str) -> String {
        text.parse::<Prefix>().unwrap_err().to_string()
    }

    #[test]
    fn prefixes_read_back_as_written() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.128/25", "::/0", "2001:db8::/32", "fe80::/10", "::1/128"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert_eq!(prefix("192.0.2.1").to_string(), "192.0.2.1/32");
        assert_eq!(prefix("2001:DB8::1").to_string(), "2001:db8::1/128");
    }

    #[test]
    fn ipv4_in_ipv6_form_is_ipv4() {
        assert_eq!(prefix("::ffff:10.0.0.0/104"), prefix("10.0.0.0/8"));
        assert_eq!(prefix("::ffff:192.0.2.1"), prefix("192.0.2.1"));
        assert_eq!(prefix("::ffff:0:0/96"), prefix("0.0.0.0/0"));
        let all_v4: Prefixes = [prefix("0.0.0.0/0")].into_iter().collect();
        assert!(all_v4.contains("::ffff:10.0.0.1".parse().unwrap()) && !all_v4.contains("::1".parse().unwrap()));
        let all_v6: Prefixes = [prefix("::/0")].into_iter().collect();
        assert!(all_v6.contains("::1".parse().unwrap()) && !all_v6.contains("::ffff:10.0.0.1".parse().unwrap()));
        // Even one that was not read.
        let mapped = Prefix { address: "::ffff:10.0.0.0".parse().unwrap(), len: 104 };
        let mapped: Prefixes = [mapped].into_iter().collect();
        assert!(mapped.contains("10.1.2.3".parse().unwrap()) && !mapped.contains("11.1.2.3".parse().unwrap()));
    }

    #[test]
    fn what_is_no_prefix_says_what_would_be_right() {
        assert_eq!(why("10.0.0.1/8"), "10.0.0.1/8 has bits set beyond its length; write 10.0.0.0/8");
        assert_eq!(why("2001:db8::1/64"), "2001:db8::1/64 has bits set beyond its length; write 2001:db8::/64");
        assert_eq!(why("::ffff:0:0/80"), "::ffff:0.0.0.0/80 has bits set beyond its length; write ::/80");
        for text in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/255.0.0.0", "10.0.0.0/8/8"] {
            assert!(why(text).ends_with("write a number from 0 to 32 behind the slash"), "{}", why(text));
        }
        assert_eq!(why("::/129"), "\"::/129\" is no prefix: write a number from 0 to 128 behind the slash");
        assert!(why("::/999").contains("0 to 128"));
        for text in ["", "/8", "10/8", "10.0.0/24", "010.0.0.0/8", "example.com", "[::1]", "fe80::1%eth0", " ::1"] {
            assert!(why(text).starts_with(&format!("\"{text}\" is no prefix: write an address")), "{}", why(text));
        }
    }

    #[test]
    fn what_is_no_prefix_is_shown_on_one_line() {
        assert!(why("\u{1b}[31m").starts_with("\"\\u{1b}[31m\" is no prefix"));
        assert!(why("::/\n").starts_with("\"::/\\n\" is no prefix"));
        assert!(why(&"x".repeat(5000)).len() < 200 && why(&format!("::/{}", "9".repeat(5000))).len() < 200);
    }

    #[test]
    fn an_address_lies_in_one_prefix_of_each_length() {
        let around = |address: &str, len| Prefix::around(address.parse().unwrap(), len).to_string();
        assert_eq!(around("192.0.2.77", 24), "192.0.2.0/24");
        assert_eq!(around("192.0.2.77", 0), "0.0.0.0/0");
        assert_eq!(around("192.0.2.77", 56), "192.0.2.77/32");
        assert_eq!(around("::ffff:192.0.2.77", 24), "192.0.2.0/24");
        assert_eq!(around("2001:db8:1:2:3::4", 56), "2001:db8:1::/56");
        assert_eq!(around("2001:db8::4", 255), "2001:db8::4/128");
    }

    #[test]
    fn an_empty_set_contains_nothing() {
        let none = Prefixes::default();
        assert!(none.is_empty() && !none.contains([0, 0, 0, 0].into()) && !none.contains("::".parse().unwrap()));
    }

    #[test]
    fn sets_that_cover_the_same_are_equal() {
        let set = |texts: &[&str]| texts.iter().copied().map(prefix).collect::<Prefixes>();
        assert_eq!(set(&["10.0.0.0/9", "10.128.0.0/9"]), set(&["10.0.0.0/8", "10.1.0.0/16"]));
        assert_ne!(set(&["10.0.0.0/9"]), set(&["10.0.0.0/8"]));
    }

    #[test]
    fn one_address_at_either_end_of_a_prefix_is_told_apart() {
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let texts = ["2001:db8::/32", "2001:db8::/120", "2001:db8::", "2001:db8::ff", "2001:db8::100", last, "::/0"];
        let map: PrefixMap<&str> = texts.into_iter().map(|text| (prefix(text), text)).collect();
        for (asked, expected) in [
            ("::", "::/0"),
            ("2001:db8::", "2001:db8::"),
            ("2001:db8::1", "2001:db8::/120"),
            ("2001:db8::fe", "2001:db8::/120"),
            ("2001:db8::ff", "2001:db8::ff"),
            ("2001:db8::100", "2001:db8::100"),
            ("2001:db8::101", "2001:db8::/32"),
            ("2001:db9::", "::/0"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "::/0"),
            (last, last),
        ] {
            assert_eq!(map.get(asked.parse().unwrap()), Some(expected), "{asked}");
        }
        assert!(map.v6.is_sorted_by(|(one, _), (next, _)| one < next), "each range begins once, in order");
    }

    #[test]
    fn an_address_keeps_its_place_in_another_prefix() {
        let place =
            |to: &str, address: &str| prefix(to).place_of(address.parse().unwrap()).map(|found| found.to_string());
        for (to, address, found) in [
            ("203.0.113.0/24", "10.0.0.77", Some("203.0.113.77")),
            ("203.0.113.64/26", "10.0.0.255", Some("203.0.113.127")),
            ("203.0.113.5", "10.0.0.77", Some("203.0.113.5")),
            ("0.0.0.0/0", "10.0.0.77", Some("10.0.0.77")),
            ("203.0.113.0/24", "::ffff:10.0.0.77", Some("203.0.113.77")),
            ("2001:db8:1::/48", "fd00::7:0:0:1", Some("2001:db8:1:0:7::1")),
            ("2001:db8::/32", "10.0.0.77", None),
            ("10.0.0.0/8", "fd00::1", None),
        ] {
            assert_eq!(place(to, address).as_deref(), found, "{address} in {to}");
        }
        assert!(prefix("10.0.0.1").is_one() && prefix("::1").is_one());
        assert!(!prefix("10.0.0.0/31").is_one() && !prefix("::/32").is_one());
    }

    /// Whether a prefix covers an address, bit by bit.
    fn covers(prefix: Prefix, address: IpAddr) -> bool {
        let octets = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let (one, other) = (octets(prefix.address), octets(address));
        let bit = |octets: &[u8], at: usize| octets[at / 8] >> (7 - at % 8) & 1;
        one.len() == other.len() && (0..usize::from(prefix.len)).all(|at| bit(&one, at) == bit(&other, at))
    }

    /// Addresses of few shapes, so that many lie in each other's prefixes, IPv4 in both forms.
    fn addresses() -> impl Strategy<Value = IpAddr> {
        let octets = || proptest::sample::select(vec![0, 0, 0, 1, 127, 128, 255]);
        prop_oneof![
            proptest::array::uniform4(octets()).prop_map(IpAddr::from),
            proptest::array::uniform4(octets())
                .prop_map(|octets| std::net::Ipv4Addr::from(octets).to_ipv6_mapped().into()),
            proptest::array::uniform16(octets()).prop_map(IpAddr::from),
            any::<u128>().prop_map(|bits| std::net::Ipv6Addr::from(bits).into()),
        ]
    }

    fn prefixes() -> impl Strategy<Value = Vec<Prefix>> {
        proptest::collection::vec(
            (addresses(), 0_u8..=128).prop_map(|(address, len)| Prefix::around(address, len)),
            0..12,
        )
    }

    proptest! {
        #[test]
        fn the_longest_prefix_wins(prefixes in prefixes(), asked in addresses()) {
            let map: PrefixMap<Prefix> = prefixes.iter().map(|prefix| (*prefix, *prefix)).collect();
            // Where prefixes begin and end is where looking up goes wrong.
            let edges = prefixes.iter().flat_map(|prefix| {
                let (is_v4, first, last) = prefix.range();
                let step = if is_v4 { 1 << 96 } else { 1 };
                let places = [first, last, first.wrapping_sub(step), last.wrapping_add(step)];
                places.map(|bits| if is_v4 { IpAddr::V4(((bits >> 96) as u32).into()) } else { IpAddr::V6(bits.into()) })
            });
            for address in edges.chain([asked]) {
                let naive = prefixes.iter().copied().filter(|prefix| covers(*prefix, address)).max_by_key(|prefix| prefix.len);
                prop_assert_eq!(map.get(address), naive, "{}", address);
            }
        }

        #[test]
        fn a_prefix_around_an_address_reads_back(address in addresses(), len in 0_u8..=128) {
            let around = Prefix::around(address, len);
            prop_assert_eq!(around.to_string().parse::<Prefix>(), Ok(around));
            prop_assert!(covers(around, address));
        }
    }
}
