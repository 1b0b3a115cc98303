//! What an answer says of itself beyond its rcode: an extended DNS error (RFC 8914).

use std::borrow::Cow;

use crate::{
    model::Scope,
    plan::{FamilyPlan, Serving},
};

/// Longest text, octets: what askers are told must not make the answer much longer than the question.
const MAX_TEXT: usize = 64;

/// What an answer says of itself beyond its rcode.
///
/// As the data of an EDE option: two octets of code, the rest text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark(Cow<'static, [u8]>);

/// Codes of RFC 8914 section 4 for what a scope may be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RemarkCode {
    /// 0: the answer is good, but from a lower level of its chain than the name says.
    Other = 0,
    /// 3: nothing is known to serve; what served last is answered.
    Stale = 3,
    /// 14: nothing was ever known.
    NotReady = 14,
}

impl Remark {
    /// The asker may not ask this.
    pub const PROHIBITED: Remark = Remark(Cow::Borrowed(b"\0\x12not for your address"));

    /// No zone of ours.
    pub const NOT_AUTHORITATIVE: Remark = Remark(Cow::Borrowed(b"\0\x14no zone of this server"));

    /// An opcode, a class or a meta type that this server does not do.
    pub const NOT_SUPPORTED: Remark = Remark(Cow::Borrowed(b"\0\x15"));

    /// A remark; the text is cut where it is too long.
    pub fn new(code: RemarkCode, text: &str) -> Self {
        let mut end = text.len().min(MAX_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Remark([&(code as u16).to_be_bytes(), &text.as_bytes()[..end]].concat().into())
    }

    /// The option's data, the code and the text, or the code alone.
    pub fn data(&self, with_text: bool) -> &[u8] {
        if with_text { &self.0 } else { &self.0[..2] }
    }

    /// What is to be said of a chain's answers of one family; nothing where they are what the name says.
    ///
    /// | case | remark |
    /// |---|---|
    /// | a lower level of the chain | 0, `dc1/rack1: level 2 of 2 (dc1)` |
    /// | the last known good nodes | 3, `dc1/rack1: last known, level 1 of 2 (dc1/rack1)` |
    /// | nodes of an earlier run | 3, `dc1/rack1: remembered, level 1 of 2 (dc1/rack1)` |
    /// | another zone's nodes | 0, `lent by other.example, for dc1/rack1` |
    /// | nothing was ever known | 14, `dc1/rack1: no node known yet` |
    ///
    /// What is lent is not stale (3): these nodes serve. Nor is it forged (4) or synthesized (29): the operator's chain
    /// goes on in another zone, and as for its lower levels there is no code.
    pub(super) fn of(chain: &[Scope], plan: &FamilyPlan, is_remembered: bool, lender: Option<&str>) -> Option<Remark> {
        let scope = chain.first()?;
        let FamilyPlan::Serve { level, serving, .. } = plan else {
            let text = format!("{scope}: no node known yet");
            return (*plan == FamilyPlan::Unready).then(|| Remark::new(RemarkCode::NotReady, &text));
        };
        let (code, what) = match (serving, level) {
            (Serving::Lent, _) => {
                // The zone first: names of scopes may be long, and the text is cut.
                let text = format!("lent by {}, for {scope}", lender.unwrap_or_default());
                return Some(Remark::new(RemarkCode::Other, &text));
            }
            (Serving::LastKnown, _) => (RemarkCode::Stale, "last known, "),
            (Serving::Live, _) if is_remembered => (RemarkCode::Stale, "remembered, "),
            (Serving::Live, 0) => return None,
            (Serving::Live, _) => (RemarkCode::Other, ""),
        };
        let text = format!("{scope}: {what}level {} of {} ({})", level + 1, chain.len(), chain.get(*level)?);
        Some(Remark::new(code, &text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        let remark = Remark::new(RemarkCode::Stale, &"ä".repeat(40));
        assert_eq!(remark.data(true), ["\0\u{3}", &"ä".repeat(32)].concat().as_bytes());
        assert_eq!(Remark::new(RemarkCode::Other, &format!("x{}", "ä".repeat(40))).data(true).len(), 2 + 63);
        assert_eq!(remark.data(false), [0, 3]);
    }
}
