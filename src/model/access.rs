//! Who may ask.

use std::{fmt, net::IpAddr};

use super::{Prefix, prefix::PrefixMap};

/// Who may ask: prefixes that are allowed and prefixes that are denied, the longest that covers an address deciding.
/// Where none does, an address is allowed unless there is a list of those that are. The default allows everybody, and
/// costs a branch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    rules: Option<Box<Rules>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rules {
    /// Whether a prefix is allowed.
    allowed: PrefixMap<bool>,
    /// What others are.
    others_allowed: bool,
    denied: Denied,
}

/// What becomes of a query from somebody who may not ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denied {
    /// REFUSED, so that an honest asker learns why it gets nothing.
    #[default]
    Refuse,
    /// No reply: whoever asks learns nothing, not even that a server is here.
    Drop,
}

/// What to do with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer it.
    Allowed,
    /// Reply REFUSED.
    Refuse,
    /// Do not reply.
    Drop,
}

impl Access {
    /// Access by these prefixes.
    pub fn new(allow: &[Prefix], deny: &[Prefix], denied: Denied) -> Result<Self, Contradiction> {
        let mut both: Vec<Prefix> = allow.iter().filter(|prefix| deny.contains(prefix)).copied().collect();
        if !both.is_empty() {
            both.sort();
            both.dedup();
            return Err(Contradiction(both));
        }
        if allow.is_empty() && deny.is_empty() {
            return Ok(Access::default());
        }
        let allowed = allow.iter().map(|prefix| (*prefix, true)).chain(deny.iter().map(|prefix| (*prefix, false)));
        let rules = Rules { allowed: allowed.collect(), others_allowed: allow.is_empty(), denied };
        Ok(Access { rules: Some(Box::new(rules)) })
    }

    /// What to do with a query from this address.
    #[inline]
    pub fn verdict(&self, address: IpAddr) -> Verdict {
        self.rules.as_ref().map_or(Verdict::Allowed, |rules| rules.verdict(address))
    }

    /// Whether everybody is allowed because nothing else was said.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.rules.is_none()
    }
}

impl Rules {
    fn verdict(&self, address: IpAddr) -> Verdict {
        match (self.allowed.get(address).unwrap_or(self.others_allowed), self.denied) {
            (true, _) => Verdict::Allowed,
            (false, Denied::Refuse) => Verdict::Refuse,
            (false, Denied::Drop) => Verdict::Drop,
        }
    }
}

/// Prefixes that are both allowed and denied, in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Contradiction(pub Vec<Prefix>);

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, prefix) in self.0.iter().enumerate() {
            write!(f, "{}{prefix}", if index > 0 { ", " } else { "" })?;
        }
        let verb = if self.0.len() == 1 { "is" } else { "are" };
        write!(
            f,
            " {verb} both allowed and denied; take {} out of one list",
            if self.0.len() == 1 { "it" } else { "them" }
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Prefixes;

    fn list(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn verdicts(access: &Access, addresses: &[&str]) -> Vec<Verdict> {
        addresses.iter().map(|address| access.verdict(address.parse().unwrap())).collect()
    }

    use Verdict::{Allowed, Drop, Refuse};

    #[test]
    fn the_default_allows_everybody() {
        let nothing_said = Access::new(&[], &[], Denied::Drop).unwrap();
        assert_eq!(nothing_said, Access::default());
        assert!(nothing_said.is_open());
        assert_eq!(verdicts(&nothing_said, &["192.0.2.1", "::1", "::ffff:192.0.2.1"]), [Allowed; 3]);
    }

    #[test]
    fn a_list_of_the_allowed_denies_others() {
        let access = Access::new(&list(&["10.0.0.0/8", "2001:db8::/32"]), &[], Denied::Refuse).unwrap();
        let asked = ["10.255.0.1", "::ffff:10.255.0.1", "2001:db8::1", "11.0.0.1", "2001:db9::1", "::a00:1"];
        assert_eq!(verdicts(&access, &asked), [Allowed, Allowed, Allowed, Refuse, Refuse, Refuse]);
        assert!(!access.is_open());
    }

    #[test]
    fn a_list_of_the_denied_allows_others() {
        let access = Access::new(&[], &list(&["10.0.0.0/8"]), Denied::Drop).unwrap();
        assert_eq!(
            verdicts(&access, &["10.0.0.1", "::ffff:10.0.0.1", "11.0.0.1", "::1"]),
            [Drop, Drop, Allowed, Allowed]
        );
    }

    #[test]
    fn the_longest_prefix_decides() {
        let allow = list(&["10.0.0.0/8", "10.1.1.0/24"]);
        let access = Access::new(&allow, &list(&["10.1.0.0/16", "10.1.1.1"]), Denied::Refuse).unwrap();
        let asked = ["10.0.0.1", "10.1.0.1", "10.1.1.0", "10.1.1.1", "10.1.1.2", "10.2.0.0", "9.255.255.255"];
        assert_eq!(verdicts(&access, &asked), [Allowed, Refuse, Allowed, Refuse, Allowed, Allowed, Refuse]);
    }

    #[test]
    fn one_prefix_cannot_be_both() {
        let allow = list(&["::/0", "10.0.0.0/8", "192.0.2.0/24", "10.0.0.0/8"]);
        let error = Access::new(&allow, &list(&["10.0.0.0/8", "::/0", "192.0.2.0/25"]), Denied::Refuse).unwrap_err();
        assert_eq!(error, Contradiction(list(&["10.0.0.0/8", "::/0"])));
        assert_eq!(error.to_string(), "10.0.0.0/8, ::/0 are both allowed and denied; take them out of one list");
        let error = Access::new(&list(&["::ffff:10.0.0.0/104"]), &list(&["10.0.0.0/8"]), Denied::Refuse).unwrap_err();
        assert_eq!(error.to_string(), "10.0.0.0/8 is both allowed and denied; take it out of one list");
    }

    fn prefixes() -> impl Strategy<Value = Vec<Prefix>> {
        let prefix = (any::<[u8; 2]>(), any::<bool>(), 0_u8..=32).prop_map(|([a, b], is_v4, len)| {
            let address = if is_v4 {
                IpAddr::from([a & 3, b, 0, 0])
            } else {
                IpAddr::from([a & 3, b, 0, 0, 0, 0, 0, 0].map(u16::from))
            };
            Prefix::around(address, len)
        });
        proptest::collection::vec(prefix, 0..8)
    }

    proptest! {
        #[test]
        fn access_is_what_the_longest_of_both_lists_says(allow in prefixes(), deny in prefixes(), asked in any::<[u8; 2]>()) {
            let deny: Vec<Prefix> = deny.into_iter().filter(|prefix| !allow.contains(prefix)).collect();
            let access = Access::new(&allow, &deny, Denied::Refuse).unwrap();
            for address in [IpAddr::from([asked[0] & 3, asked[1], 0, 1]), IpAddr::from([u16::from(asked[0] & 3), 0, 0, 0, 0, 0, 0, 1])] {
                let covers = |prefix: &&Prefix| [**prefix].into_iter().collect::<Prefixes>().contains(address);
                let longest = |list: &[Prefix]| list.iter().filter(covers).map(|prefix| prefix.len).max();
                let allowed = match (longest(&allow), longest(&deny)) {
                    (None, None) => allow.is_empty(),
                    (by_allow, by_deny) => by_allow > by_deny,
                };
                prop_assert_eq!(access.verdict(address) == Allowed, allowed);
            }
        }
    }
}
