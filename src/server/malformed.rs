//! Replies to what is no query.

use hickory_proto::op::ResponseCode;

use super::{
    Asker, Outcome, Settings, edns,
    query::{Bad, Why},
    reply::{Head, Limits, Options, append_opt_with, outcome_of},
    respond::told,
};
use crate::{model::Verdict, table::Remark};

/// Answers what is no query; tells whether it brought a valid cookie, too.
#[cold]
pub(super) fn refuse_bad(settings: &Settings, bad: &Bad<'_>, asker: &Asker, out: &mut Vec<u8>) -> (Outcome, bool) {
    let start = out.len();
    let is_denied = settings.access.verdict(asker.source.ip()) != Verdict::Allowed;
    let mut told_cookie = None;
    let (rcode, remark) = match (bad.why, &bad.edns) {
        _ if is_denied => (ResponseCode::Refused, Some(&Remark::PROHIBITED)),
        (Why::Opcode, _) => (ResponseCode::NotImp, Some(&Remark::NOT_SUPPORTED)),
        (Why::NoQuestion, Some(edns)) if edns.version > 0 => (ResponseCode::BADVERS, None),
        (Why::NoQuestion, Some(edns)) => {
            told_cookie = told(settings, edns, asker).ok().filter(|told| told.cookie.is_some());
            // RFC 7873 section 5.4: a server part that is not right is told by BADCOOKIE, here whatever the policy is.
            match told_cookie.as_ref().and_then(|told| told.cookie) {
                Some(cookie) if cookie.has_server_part && !cookie.is_valid => (ResponseCode::BADCOOKIE, None),
                Some(_) => (ResponseCode::NoError, None),
                None => (ResponseCode::FormErr, None),
            }
        }
        (Why::Malformed | Why::NoQuestion, _) => (ResponseCode::FormErr, None),
    };
    let head = Head { asked: bad.head, echo: bad.echo, edns: &bad.edns, rcode, flags: 0 };
    head.write([0; 3], out);
    if let Some(edns) = &bad.edns {
        let options = Options { told: told_cookie.as_ref(), remark, zone: None };
        let limit = edns::udp_limit(Some(edns));
        append_opt_with(out, edns, rcode, &options, start, Limits { all: limit, remark: limit });
    }
    let is_verified = told_cookie.is_some_and(|told| told.cookie.is_some_and(|cookie| cookie.is_valid));
    (if is_denied { Outcome::Denied } else { outcome_of(rcode, false) }, is_verified)
}
