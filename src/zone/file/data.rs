//! The data of a record, by type.
//!
//! Data made of names and character strings is read here, the rest by hickory's text reader (see [`super::text`] for
//! why); both become hickory's [`RData`].

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use hickory_proto::{
    rr::{
        Name, RData, RecordType,
        rdata::{A, AAAA, CNAME, HINFO, MX, NAPTR, NS, PTR, SOA, SRV, TXT},
    },
    serialize::{
        binary::{BinDecoder, Restrict},
        txt::parse_ttl,
    },
};

use super::{
    entries::Word,
    service,
    text::{name, octets, shown, string, type_name},
};

/// Reads the data of one record; names in it are relative to `origin`.
pub(super) fn parse(kind: RecordType, words: &[Word<'_>], origin: &Name) -> Result<RData, String> {
    let data = match words {
        [] => return Err(format!("{} without data", type_name(kind))),
        // RFC 3597 section 5: "\# ... may also be used for known types".
        [Word { text: "\\#", quoted: false }, words @ ..] => generic(kind, words),
        _ => by_type(kind, words, origin),
    };
    data.map_err(|message| format!("{}: {message}", type_name(kind)))
}

fn by_type(kind: RecordType, words: &[Word<'_>], origin: &Name) -> Result<RData, String> {
    Ok(match kind {
        RecordType::A => RData::A(A(address::<Ipv4Addr>(words, "IPv4")?)),
        RecordType::AAAA => RData::AAAA(AAAA(address::<Ipv6Addr>(words, "IPv6")?)),
        RecordType::CNAME => RData::CNAME(CNAME(one_name(words, origin)?)),
        RecordType::NS => RData::NS(NS(one_name(words, origin)?)),
        RecordType::PTR => RData::PTR(PTR(one_name(words, origin)?)),
        RecordType::MX => {
            let [preference, exchange] = fields(words, "PREFERENCE EXCHANGE")?;
            RData::MX(MX::new(number(preference, "preference")?, name(exchange, origin)?))
        }
        RecordType::SRV => {
            let [priority, weight, port, target] = fields(words, "PRIORITY WEIGHT PORT TARGET")?;
            let (priority, weight) = (number(priority, "priority")?, number(weight, "weight")?);
            RData::SRV(SRV::new(priority, weight, number(port, "port")?, name(target, origin)?))
        }
        RecordType::SOA => soa(words, origin)?,
        RecordType::NAPTR => naptr(words, origin)?,
        RecordType::CAA => caa(words)?,
        RecordType::HINFO => {
            let [cpu, os] = fields(words, "CPU OS")?;
            RData::HINFO(HINFO::from_bytes(string(cpu)?.into(), string(os)?.into()))
        }
        RecordType::TXT => {
            let strings = words.iter().map(|word| string(*word)).collect::<Result<Vec<_>, _>>()?;
            RData::TXT(TXT::from_bytes(strings.iter().map(Vec::as_slice).collect()))
        }
        RecordType::HTTPS | RecordType::SVCB => service::parse(kind, words, origin)?,
        _ => by_hickory(kind, words)?,
    })
}

/// A type whose data is numbers, hex and base64, read by hickory.
fn by_hickory(kind: RecordType, words: &[Word<'_>]) -> Result<RData, String> {
    // Hex and base64 may be split by blanks; hickory takes them in one piece.
    let before_joined = match kind {
        RecordType::CERT => 3,
        RecordType::SSHFP => 2,
        RecordType::OPENPGPKEY => 0,
        RecordType::CSYNC | RecordType::SMIMEA | RecordType::TLSA => words.len(),
        _ => return Err("its text form is not known here; write it as \\# LENGTH HEX (RFC 3597)".to_owned()),
    };
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"+/=".contains(&octet);
    if let Some(word) = words.iter().find(|word| word.text.is_empty() || !word.text.bytes().all(plain)) {
        return Err(format!("{} is no number, hex or base64", shown(word.text)));
    }
    let (fixed, joined) = words.split_at(before_joined.min(words.len()));
    let mut text: String = fixed.iter().flat_map(|word| [word.text, " "]).collect();
    text.extend(joined.iter().map(|word| word.text));
    if kind == RecordType::CSYNC {
        text.make_ascii_uppercase(); // hickory knows type names in capitals only
    }
    RData::try_from_str(kind, &text).map_err(|error| error.to_string())
}

/// The generic form of RFC 3597 section 5, behind the `\#`: the length in octets, then hex in any number of words.
fn generic(kind: RecordType, words: &[Word<'_>]) -> Result<RData, String> {
    let [length, hex @ ..] = words else { return Err("\\# wants LENGTH HEX".to_owned()) };
    let length: u16 = number(*length, "length")?;
    let digits: Option<Vec<u8>> =
        hex.iter().flat_map(|word| word.text.chars()).map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let Some(digits) = digits.filter(|digits| digits.len().is_multiple_of(2)) else {
        return Err("\\# wants its data as pairs of hex digits".to_owned());
    };
    let wire: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if wire.len() != usize::from(length) {
        return Err(format!("\\# says {length} octets, but {} follow", wire.len()));
    }
    from_wire(kind, &wire).map_err(|reason| format!("\\# data does not fit the type: {reason}"))
}

/// Data from its wire form, validated by hickory's reader.
pub(super) fn from_wire(kind: RecordType, wire: &[u8]) -> Result<RData, String> {
    let length = u16::try_from(wire.len()).map_err(|_| too_long(wire.len()))?;
    RData::read(&mut BinDecoder::new(wire), kind, Restrict::new(length)).map_err(|error| error.to_string())
}

/// Data that its 16-bit length field cannot describe.
pub(super) fn too_long(octets: usize) -> String {
    format!("{octets} octets of data: at most {} fit into a record", u16::MAX)
}

fn soa(words: &[Word<'_>], origin: &Name) -> Result<RData, String> {
    let [mname, rname, serial, refresh, retry, expire, minimum] =
        fields(words, "MNAME RNAME SERIAL REFRESH RETRY EXPIRE MINIMUM")?;
    let [refresh, retry, expire, minimum] =
        [(refresh, "refresh"), (retry, "retry"), (expire, "expire"), (minimum, "minimum")]
            .map(|(word, field)| seconds(word, field));
    Ok(RData::SOA(SOA::new(
        name(mname, origin)?,
        name(rname, origin)?,
        number(serial, "serial")?,
        refresh?,
        retry?,
        expire?,
        minimum?.cast_unsigned(),
    )))
}

fn naptr(words: &[Word<'_>], origin: &Name) -> Result<RData, String> {
    let [order, preference, flags, service, regexp, replacement] =
        fields(words, "ORDER PREFERENCE FLAGS SERVICE REGEXP REPLACEMENT")?;
    let flags = string(flags)?;
    if !flags.iter().all(u8::is_ascii_alphanumeric) {
        return Err("flags are letters and digits (RFC 3403 section 4.1)".to_owned());
    }
    Ok(RData::NAPTR(NAPTR::new(
        number(order, "order")?,
        number(preference, "preference")?,
        flags.into(),
        string(service)?.into(),
        string(regexp)?.into(),
        name(replacement, origin)?,
    )))
}

/// Through the wire form, because hickory has no constructor that takes an arbitrary tag.
fn caa(words: &[Word<'_>]) -> Result<RData, String> {
    let [flags, tag, value] = fields(words, "FLAGS TAG VALUE")?;
    let (flags, tag): (u8, _) = (number(flags, "flags")?, string(tag)?);
    let tag_length = u8::try_from(tag.len()).ok().filter(|length| (1..=15).contains(length));
    let Some(tag_length) = tag_length.filter(|_| tag.iter().all(u8::is_ascii_alphanumeric)) else {
        return Err("a tag is 1 to 15 letters and digits, such as issue".to_owned());
    };
    from_wire(RecordType::CAA, &[vec![flags, tag_length], tag, octets(value)?].concat())
}

/// Exactly these fields; `shape` names them.
fn fields<'a, const N: usize>(words: &[Word<'a>], shape: &str) -> Result<[Word<'a>; N], String> {
    <[Word<'a>; N]>::try_from(words).map_err(|_| {
        let found = words.len();
        format!("wants {shape}, found {found} field{}", if found == 1 { "" } else { "s" })
    })
}

fn one_name(words: &[Word<'_>], origin: &Name) -> Result<Name, String> {
    let [word] = fields(words, "one NAME")?;
    name(word, origin)
}

fn address<T: FromStr>(words: &[Word<'_>], family: &str) -> Result<T, String> {
    let [word] = fields(words, "one ADDRESS")?;
    word.text.parse().map_err(|_| format!("{} is no {family} address", shown(word.text)))
}

/// A number in decimal digits.
pub(super) fn number<T: FromStr>(word: Word<'_>, field: &str) -> Result<T, String> {
    let digits = word.text.bytes().all(|octet| octet.is_ascii_digit());
    let value = word.text.parse().ok().filter(|_| digits);
    let bits = size_of::<T>() * 8;
    value.ok_or_else(|| format!("{field} {} is no whole number of {bits} bits", shown(word.text)))
}

/// A time in the SOA: seconds, or with units.
fn seconds(word: Word<'_>, field: &str) -> Result<i32, String> {
    let value = parse_ttl(word.text).ok().and_then(|seconds| i32::try_from(seconds).ok());
    value.ok_or_else(|| format!("{field} {} is no time: write seconds, or such as 1h30m", shown(word.text)))
}
