//! The data of SVCB and HTTPS records (RFC 9460).

use std::str::FromStr;

use hickory_proto::{
    rr::{
        Name, RData, RecordType,
        rdata::{
            HTTPS,
            svcb::{SVCB, SvcParamKey, SvcParamValue, Unknown},
        },
    },
    serialize::binary::BinEncodable,
};

use super::{
    data::{from_wire, number},
    entries::Word,
    text::{name, octets, shown},
};

/// One service parameter.
type Param = (SvcParamKey, SvcParamValue);

/// `PRIORITY TARGET KEY=VALUE...`, in the order of keys that the wire form demands.
pub(super) fn parse(kind: RecordType, words: &[Word<'_>], origin: &Name) -> Result<RData, String> {
    let [priority, target, params @ ..] = words else {
        return Err("wants PRIORITY TARGET and parameters, found 1 field".to_owned());
    };
    let (priority, target) = (number(*priority, "priority")?, name(*target, origin)?);
    let mut params = params.iter().map(|word| param(*word)).collect::<Result<Vec<_>, _>>()?;
    // RFC 9460 section 2.2: "SvcParamKeys SHALL appear in increasing numeric order."
    params.sort_by_key(|(key, _)| u16::from(*key));
    if let Some(pair) = params.windows(2).find(|pair| u16::from(pair[0].0) == u16::from(pair[1].0)) {
        return Err(format!("{} is given twice", pair[0].0));
    }
    // There and back, so that the keyNNNNN of a known key becomes that key, and its value is checked.
    let wire = SVCB::new(priority, target, params).to_bytes().map_err(|error| error.to_string())?;
    let mut data = from_wire(kind, &wire)?;
    if let RData::SVCB(service) | RData::HTTPS(HTTPS(service)) = &mut data {
        consistent(&mut service.svc_params)?;
    }
    Ok(data)
}

/// `KEY=VALUE`, `KEY="VALUE"` or `KEY`.
fn param(word: Word<'_>) -> Result<Param, String> {
    let (key, value) = match word.text.split_once('=') {
        Some((key, value)) => (key, Some(unquoted(value))),
        None => (word.text, None),
    };
    if let Some(number) = key.strip_prefix("key") {
        let number: u16 =
            number
                .parse()
                .ok()
                .filter(|value: &u16| value.to_string() == number && *value != u16::MAX)
                .ok_or_else(|| format!("{} is no key: write key0 to key65534, without leading zeros", shown(key)))?;
        let value = octets(Word { text: value.unwrap_or_default(), quoted: true })?;
        return Ok((SvcParamKey::from(number), SvcParamValue::Unknown(Unknown(value))));
    }
    if SvcParamKey::from_str(key).is_err() {
        return Err(format!("unknown key {}: write it as keyNNNNN, by its number", shown(key)));
    }
    // hickory's reader trips over blanks, quotes and empty list items; none of the known keys needs them.
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b",.:/+-_=".contains(&octet);
    let well_formed = |value: &str| value.bytes().all(plain) && value.split(',').all(|item| !item.is_empty());
    let text = format!("1 . {}", [key, value.unwrap_or_default()].join(if value.is_some() { "=" } else { "" }));
    let parsed = value.is_none_or(well_formed).then(|| RData::try_from_str(RecordType::SVCB, &text));
    match parsed {
        Some(Ok(RData::SVCB(service))) => service.svc_params.into_iter().next(),
        _ => None,
    }
    .ok_or_else(|| format!("{} is not how {key} is written (RFC 9460)", shown(word.text)))
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// RFC 9460 section 2.4.3: a record that is not self-consistent makes clients reject the whole RRset.
fn consistent(params: &mut [Param]) -> Result<(), String> {
    let keys: Vec<u16> = params.iter().map(|(key, _)| u16::from(*key)).collect();
    let has = |key: SvcParamKey| keys.contains(&u16::from(key));
    for (_, value) in params {
        match value {
            SvcParamValue::Mandatory(mandatory) => {
                // Section 8: "in strictly increasing numeric order", and "mandatory" itself is never listed.
                mandatory.0.sort_by_key(|key| u16::from(*key));
                mandatory.0.dedup_by_key(|key| u16::from(*key));
                let foreign = |key: &&SvcParamKey| !has(**key) || u16::from(**key) == 0;
                if let Some(key) = mandatory.0.iter().find(foreign) {
                    return Err(format!("mandatory lists {key}, which is not among the other parameters"));
                }
            }
            SvcParamValue::NoDefaultAlpn if !has(SvcParamKey::Alpn) => {
                return Err("no-default-alpn wants an alpn beside it (RFC 9460 section 7.1.1)".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}
