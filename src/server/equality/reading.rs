//! What a packet is, by the rules read one after another, without any shortcut. Fuzzing compiles this too: it names
//! nothing of the server.

use std::ops::Range;

/// What a packet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Drop,
    Opcode,
    Malformed(Fault),
    /// No question, and no record but an OPT of a later version: BADVERS comes first.
    LaterVersion,
    Query,
}

/// Why a packet is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// It ends too early, has a label of no known kind or a name too long.
    Unreadable,
    Questions,
    Compressed,
    OptMisplaced,
    OptTwice,
    Options,
    /// An option whose data cannot be what its RFC says.
    OptionData,
}

impl Fault {
    pub(super) const ALL: [Fault; 7] = [
        Fault::Unreadable,
        Fault::Questions,
        Fault::Compressed,
        Fault::OptMisplaced,
        Fault::OptTwice,
        Fault::Options,
        Fault::OptionData,
    ];
}

/// A packet, read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) verdict: Verdict,
    /// Where the question is, if there is exactly one that can be read.
    pub(super) question: Option<Range<usize>>,
    /// The size in the first OPT that stands where one may.
    pub(super) opt: Option<u16>,
    opt_version: Option<u8>,
}

impl Read {
    /// Packets that libraries take and we do not.
    pub(super) fn is_refused_on_purpose(&self, packet: &[u8]) -> bool {
        match self.verdict {
            // Nothing stands before a question that a pointer could sensibly mean.
            Verdict::Malformed(Fault::Compressed) => true,
            // RFC 6891 section 6.1.1: more than one OPT "MUST" be FORMERR; ours is as strict about where it stands, and
            // about options (section 7; RFC 7871 section 7.1.2, RFC 7828 section 3.1).
            Verdict::Malformed(Fault::OptMisplaced | Fault::OptTwice | Fault::Options | Fault::OptionData) => true,
            // OPT is no type that anybody could ask for.
            Verdict::Query => self.question.clone().is_some_and(|at| packet[at.end - 4..at.end - 2] == [0, 41]),
            _ => false,
        }
    }
}

pub(super) fn read(packet: &[u8], over_tcp: bool) -> Read {
    let mut read = Read { verdict: Verdict::Drop, question: None, opt: None, opt_version: None };
    if packet.len() < 12 || packet[2] >= 0x80 {
        return read;
    }
    let body = body(packet, over_tcp, &mut read);
    read.verdict = match body {
        _ if packet[2] & 0x78 != 0 => Verdict::Opcode,
        Ok(()) => Verdict::Query,
        Err(Fault::Questions) if is_later_version(packet, &read) => Verdict::LaterVersion,
        Err(fault) => Verdict::Malformed(fault),
    };
    read
}

/// Whether a well-formed packet without a question has nothing but additional records, an OPT of a later version among
/// them.
fn is_later_version(packet: &[u8], read: &Read) -> bool {
    packet[4..10] == [0; 6] && read.opt_version.is_some_and(|version| version > 0)
}

/// The sections, as far as they can be read.
fn body(packet: &[u8], over_tcp: bool, read: &mut Read) -> Result<(), Fault> {
    let mut data_is_sound = true;
    let counts: Vec<u16> = packet[4..12].chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let mut at = 12;
    for _ in 0..counts[0] {
        let (end, compressed) = name(packet, at).ok_or(Fault::Unreadable)?;
        if compressed {
            return Err(Fault::Compressed);
        }
        packet.get(end..end + 4).ok_or(Fault::Unreadable)?;
        read.question = (counts[0] == 1).then_some(at..end + 4);
        at = end + 4;
    }
    for (section, count) in counts.iter().enumerate().skip(1) {
        for _ in 0..*count {
            let (end, _) = name(packet, at).ok_or(Fault::Unreadable)?;
            let head = packet.get(end..end + 10).ok_or(Fault::Unreadable)?;
            let len = usize::from(u16::from_be_bytes([head[8], head[9]]));
            let data = packet.get(end + 10..end + 10 + len).ok_or(Fault::Unreadable)?;
            if head[..2] == [0, 41] {
                match read.opt {
                    Some(_) => return Err(Fault::OptTwice),
                    None if section != 3 || packet[at] != 0 => return Err(Fault::OptMisplaced),
                    None => {
                        read.opt = Some(u16::from_be_bytes([head[2], head[3]]));
                        read.opt_version = Some(head[5]);
                    }
                }
                // Another version's options may look like anything; it gets BADVERS.
                if head[5] == 0 && !options(data) {
                    return Err(Fault::Options);
                }
                data_is_sound = head[5] != 0 || sound(data, over_tcp);
            }
            at = end + 10 + len;
        }
    }
    match (counts[0], data_is_sound) {
        (1, true) => Ok(()),
        (1, false) => Err(Fault::OptionData),
        _ => Err(Fault::Questions),
    }
}

/// Where the name at this place ends, and whether in a pointer.
fn name(packet: &[u8], start: usize) -> Option<(usize, bool)> {
    let mut at = start;
    loop {
        match usize::from(*packet.get(at)?) {
            0 => return (at + 1 - start <= 255).then_some((at + 1, false)),
            len @ 1..=63 => at += 1 + len,
            0xC0.. => return (at - start <= 255 && at + 2 <= packet.len()).then_some((at + 2, true)),
            _ => return None,
        }
    }
}

fn options(data: &[u8]) -> bool {
    match data {
        [] => true,
        [_, _, high, low, rest @ ..] => rest.get(usize::from(u16::from_be_bytes([*high, *low]))..).is_some_and(options),
        _ => false,
    }
}

/// Whether the data of every option is what its RFC says it must be.
fn sound(options: &[u8], over_tcp: bool) -> bool {
    let [high, low, len_high, len_low, rest @ ..] = options else { return true };
    let (data, rest) = rest.split_at(usize::from(u16::from_be_bytes([*len_high, *len_low])));
    let is_sound = match (u16::from_be_bytes([*high, *low]), data) {
        (8, [family @ .., 0]) if family.len() == 3 => matches!(family, [0, 0, 0] | [0, 1 | 2, 0]),
        (8, [0, family @ (1 | 2), bits, 0, address @ ..]) => {
            let most = if *family == 1 { 32 } else { 128 };
            let bit = |bit: usize| address[bit / 8] & (0x80 >> (bit % 8)) != 0;
            let bits = usize::from(*bits);
            bits <= most && address.len() == bits.div_ceil(8) && !(bits..8 * address.len()).any(bit)
        }
        (8, _) => false,
        (11, data) if over_tcp => data.is_empty(),
        _ => true,
    };
    is_sound && sound(rest, over_tcp)
}
