//! Who may ask the API for what: roles, their secrets, what they were granted, and the check of a signature.
//!
//! Signatures are computed here by hand, not with the library that the server signs with: two sides that share a
//! mistake would agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use hmac::{Hmac, Mac};
use hyper::header::{AUTHORIZATION, HOST, HeaderMap};
use sha2::{Digest, Sha256};

use super::api::ApiError;

/// How far the date of a signature may be from the clock of the node, either way.
const TOLERANCE: Duration = Duration::from_secs(15 * 60);

/// What a signature of today is called.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A grant on everything.
const ALL_KEYSPACES: &str = "ALL KEYSPACES";

/// A role: what an access key id names. Its secret access key is what ScyllaDB keeps as `salted_hash`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub(super) name: String,
    pub(super) secret: String,
    superuser: bool,
    grants: BTreeSet<String>,
}

impl Role {
    /// A role that may log in and was granted nothing.
    pub fn new(name: impl Into<String>, secret: impl Into<String>) -> Self {
        Role { name: name.into(), secret: secret.into(), superuser: false, grants: BTreeSet::new() }
    }

    /// The same role with `SELECT` on one more resource: a table (`system.peers`), a keyspace (`system`), or
    /// `ALL KEYSPACES`.
    #[must_use]
    pub fn granted(mut self, resource: impl Into<String>) -> Self {
        self.grants.insert(resource.into());
        self
    }

    /// The same role, which may do everything.
    #[must_use]
    pub fn superuser(self) -> Self {
        Role { superuser: true, ..self }
    }

    fn may_select(&self, keyspace: &str, table: &str) -> bool {
        let table = format!("{keyspace}.{table}");
        self.superuser || [keyspace, &table, ALL_KEYSPACES].iter().any(|resource| self.grants.contains(*resource))
    }
}

/// The roles of a cluster, and whether anybody has to be one.
#[derive(Clone, Debug, Default)]
pub(super) struct Authorization {
    pub(super) enforced: bool,
    roles: BTreeMap<String, Role>,
}

impl Authorization {
    pub(super) fn new(enforced: bool, roles: impl IntoIterator<Item = Role>) -> Self {
        Authorization { enforced, roles: roles.into_iter().map(|role| (role.name.clone(), role)).collect() }
    }

    pub(super) fn set_role(&mut self, role: Role) {
        self.roles.insert(role.name.clone(), role);
    }

    pub(super) fn drop_role(&mut self, name: &str) -> Option<Role> {
        self.roles.remove(name)
    }

    /// Grants `SELECT`; whether there is such a role.
    pub(super) fn grant(&mut self, name: &str, resource: &str) -> bool {
        let role = self.roles.get_mut(name);
        role.is_some_and(|role| {
            role.grants.insert(resource.to_owned());
            true
        })
    }

    /// Takes a grant back; whether there is such a role.
    pub(super) fn revoke(&mut self, name: &str, resource: &str) -> bool {
        let role = self.roles.get_mut(name);
        role.is_some_and(|role| {
            role.grants.remove(resource);
            true
        })
    }

    /// Whose request this is: a POST to `/`. `None` where nobody asks.
    pub(super) fn authenticate(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> Result<Option<String>, ApiError> {
        if !self.enforced {
            return Ok(None);
        }
        if !headers.contains_key(HOST) {
            return Err(invalid("Host header is mandatory for signature verification"));
        }
        let Some(authorization) = headers.get(AUTHORIZATION) else {
            return Err(ApiError::new(
                "MissingAuthenticationTokenException",
                "Authorization header is mandatory for signature verification",
            ));
        };
        let claim = Claim::read(&String::from_utf8_lossy(authorization.as_bytes()))?;
        let role = self.roles.get(&claim.user);
        let role = role.ok_or_else(|| unrecognized(format!("User not found: {}", claim.user)))?;
        let wanted = claim.signature_by(&role.secret, headers, body, now);
        let wanted = wanted.map_err(|why| invalid(format!("invalid signature: {why}")))?;
        if wanted == claim.signature { Ok(Some(claim.user)) } else { Err(unrecognized("wrong signature")) }
    }

    /// Whether the one who asks may read a table. `client` is its address, for the message.
    pub(super) fn may_select(
        &self,
        user: Option<&str>,
        keyspace: &str,
        table: &str,
        client: &str,
    ) -> Result<(), ApiError> {
        let role = user.and_then(|user| self.roles.get(user));
        if !self.enforced || role.is_some_and(|role| role.may_select(keyspace, table)) {
            return Ok(());
        }
        let user = user.unwrap_or("<anonymous>");
        let message =
            format!("SELECT access on table {keyspace}.{table} is denied to role {user}, client address {client}");
        Err(ApiError::new("AccessDeniedException", message))
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidSignatureException", message)
}

fn unrecognized(message: impl Into<String>) -> ApiError {
    ApiError::new("UnrecognizedClientException", message)
}

/// What an `Authorization` header claims (AWS Signature Version 4).
#[derive(Debug, Default)]
struct Claim {
    user: String,
    date: String,
    region: String,
    service: String,
    signed_headers: String,
    signature: String,
}

impl Claim {
    fn read(header: &str) -> Result<Self, ApiError> {
        let Some((ALGORITHM, rest)) = header.split_once(' ') else {
            return Err(invalid(format!("Authorization header must use {ALGORITHM} algorithm: {header}")));
        };
        let (mut claim, mut credential) = (Claim::default(), String::new());
        for entry in rest.split([' ', ',']) {
            match entry.split_once('=') {
                Some(("Credential", value)) => credential = value.to_owned(),
                Some(("SignedHeaders", value)) => claim.signed_headers = value.to_owned(),
                Some(("Signature", value)) => claim.signature = value.to_owned(),
                _ => {}
            }
        }
        let parts: Vec<&str> = credential.split('/').collect();
        let [user, date, region, service, _] = parts[..] else {
            let message = format!("Incorrect credential information format: {credential}");
            return Err(ApiError::new("ValidationException", message));
        };
        [claim.user, claim.date, claim.region, claim.service] = [user, date, region, service].map(str::to_owned);
        Ok(claim)
    }

    /// The signature that the holder of the secret makes for this request, or why it cannot be right.
    fn signature_by(&self, secret: &str, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Result<String, String> {
        // Sorted, and each once, as they are signed.
        let names: BTreeSet<&str> = self.signed_headers.split(';').collect();
        let signed = |name: &str| {
            let value = headers.get(name).map_or(Default::default(), |value| String::from_utf8_lossy(value.as_bytes()));
            // Runs of spaces count as one.
            value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        };
        if !names.contains("x-amz-date") {
            return Err("X-Amz-Date header is mandatory for signature verification".to_owned());
        }
        let time = signed("x-amz-date");
        check_time(&time, now)?;
        let date = time.get(..8).unwrap_or_default();
        if date != self.date {
            return Err(format!(
                "X-Amz-Date date does not match the provided datestamp. Expected {}, got {date}",
                self.date
            ));
        }
        let canonical_headers: String = names.iter().map(|name| format!("{name}:{}\n", signed(name))).collect();
        let request =
            format!("POST\n/\n\n{canonical_headers}\n{}\n{}", self.signed_headers, hex(&Sha256::digest(body)));
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&Sha256::digest(request)));
        let key = [date, &self.region, &self.service, "aws4_request", &to_sign]
            .iter()
            .fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part));
        Ok(hex(&key))
    }
}

/// Dates of this form are ordered as their texts are.
fn check_time(time: &str, now: SystemTime) -> Result<(), String> {
    let (earliest, latest) = (amz_date(now - TOLERANCE), amz_date(now + TOLERANCE));
    if time < earliest.as_str() {
        return Err(format!("Signature expired: {time} is now earlier than {earliest} (current time - 15 min.)"));
    }
    if time > latest.as_str() {
        return Err(format!("Signature not yet current: {time} is still later than {latest} (current time + 15 min.)"));
    }
    Ok(())
}

/// A time as `X-Amz-Date` has it: `20150830T123600Z`.
pub(super) fn amz_date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace(['-', ':'], "")
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // Keys of every length are valid.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
