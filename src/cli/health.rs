//! `alternator-dns health`: whether the server of this machine lives, for whoever watches over containers.
//!
//! | word | meaning |
//! |---|---|
//! | live | it runs and gets on: what a restart would mend is not the case |
//! | ready | live, and it had something to answer for every zone: clients can be sent to it |
//!
//! The HTTP side is asked, and DNS. Whoever watches ends a process that is not live, so only what shows that it hangs
//! counts against it: an HTTP side that says so or is silent, DNS that is silent at all its addresses over UDP and TCP
//! alike, or nobody at all there. What a flood brings about (datagrams are lost, but connections served) does not, nor
//! does a configuration that was changed on disk and that the server has refused: it goes on with the old one, and what
//! can still be read of the new one says where to look for it. There one side that is well is enough.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    pin::pin,
    time::Duration,
};

use clap::Args;
use futures_util::{
    StreamExt,
    future::{self, Either, join_all, select},
    stream,
};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RecordType},
};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    ConfigArg, FAILED, clean,
    client::{Client, ClientError, Unanswered, address_of, reached, run_client},
    dns::{self, Failure},
    load,
};
use crate::{
    config::{AdminConfig, Config, Flags, Loaded, Problem, SEARCH, ServerConfig, ZoneConfig, environment, listen_of},
    model::Verdict,
};

/// How long one datagram may take before it is taken for lost and sent again: loopback answers in microseconds.
const DATAGRAM_WITHIN: Duration = Duration::from_millis(500);

/// When TCP is tried as well: a server that is well has answered a datagram by then.
const TCP_AFTER: Duration = Duration::from_millis(250);

/// Addresses that are asked at once at most. One that answers is enough, and what is wrong shows at the first few.
const MOST_ADDRESSES: usize = 8;

/// Zones that are asked about at the same time.
const AT_ONCE: usize = 8;

/// Zones named in a message at most.
const ZONES_TOLD: usize = 5;

/// Where the environment names the configuration file, and where the sides listen.
const CONFIG: &str = "ALTERNATOR_DNS_CONFIG";
const ADMIN_LISTEN: &str = "ALTERNATOR_DNS_ADMIN__LISTEN";
const SERVER_LISTEN: &str = "ALTERNATOR_DNS_SERVER__LISTEN";

/// What is said where the configuration cannot be used.
const MISTAKES: &str = "the configuration found has mistakes (\"alternator-dns check\" tells them)";

/// The longest that a check may be told to take: whoever runs it waits for it.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
#[command(after_help = "\
Asks the HTTP side (admin.listen; it needs no token for this) and DNS (server.listen), as configuration and environment
say; either may be missing. Live: neither says that it hangs, or is silent. A health check for containers, without shell
or curl:

  HEALTHCHECK CMD [\"alternator-dns\", \"health\"]

Exit status: 0 it is; 1 it is not: the reason is printed; 2 wrong usage

Example: alternator-dns health --ready")]
pub(super) struct HealthArgs {
    /// Whether it had something to answer for every zone, too
    #[arg(long)]
    ready: bool,
    /// How long all of it may take
    #[arg(long, value_name = "DUR", default_value = "3s", value_parser = duration)]
    timeout: Duration,
    /// HTTP side to ask instead, and no DNS: HOST:PORT or URL
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
}

/// What one side says.
#[derive(Debug, PartialEq, Eq)]
enum Sign {
    /// It is well.
    Well(String),
    /// It lives, and has not had something to answer for every zone.
    NotYet(String),
    /// It hangs: it says so itself, or is silent.
    Hangs(String),
    /// Nothing: there is no such side, or not where it is looked for.
    Nothing(String),
}

/// Where to ask, or why nowhere.
struct Places {
    admin: Result<Client, String>,
    dns: Result<Vec<SocketAddr>, String>,
    /// Those that answer this machine.
    zones: Vec<Name>,
    /// By a configuration that the server refuses: it may listen elsewhere.
    is_guess: bool,
}

pub(super) fn run(args: &HealthArgs) -> u8 {
    run_client(async || {
        let places = Places::of(args)?;
        let what = if args.ready { "ready" } else { "live" };
        Ok(match check(&places, args).await {
            Ok(reasons) => {
                println!("{what}: {}", clean(&reasons));
                0
            }
            Err(reasons) => {
                eprintln!("alternator-dns: not {what}: {}", clean(&reasons));
                FAILED
            }
        })
    })
}

/// Asks both sides, and says why it is or is not.
async fn check(places: &Places, args: &HealthArgs) -> Result<String, String> {
    let by = Instant::now() + args.timeout;
    let http = match &places.admin {
        Ok(admin) => timeout_at(by, by_http(admin, args.ready))
            .await
            .unwrap_or_else(|_| Sign::Hangs(format!("{} does not answer within {:?}", admin.server(), args.timeout))),
        Err(reason) => Sign::Nothing(reason.clone()),
    };
    let http = match http {
        Sign::Hangs(reason) | Sign::NotYet(reason) => return Err(reason),
        Sign::Well(http) => Ok(http),
        Sign::Nothing(http) => Err(http),
    };
    // Whether every zone is ready the HTTP side knows best.
    let dns = match &places.dns {
        Ok(addresses) => by_dns(addresses, &places.zones, args.ready && http.is_err(), by).await,
        Err(reason) => Sign::Nothing(reason.clone()),
    };
    let dns = match dns {
        // Perhaps nobody was ever there.
        Sign::Hangs(reason) if places.is_guess && http.is_ok() => Sign::Nothing(reason),
        dns => dns,
    };
    let told = |text: String| if places.is_guess { format!("{text}; {MISTAKES}") } else { text };
    let verdict = match (http, dns) {
        (_, Sign::Hangs(reason) | Sign::NotYet(reason)) => Err(reason),
        (Err(http), Sign::Nothing(dns)) => Err(format!("{http}; {dns}")),
        (Ok(http) | Err(http), Sign::Well(dns)) | (Ok(http), Sign::Nothing(dns)) => Ok(format!("{http}; {dns}")),
    };
    verdict.map(told).map_err(told)
}

impl Places {
    fn of(args: &HealthArgs) -> Result<Self, ClientError> {
        if let Some(server) = &args.server {
            let dns = Err("DNS is not asked".to_owned());
            return Ok(Places { admin: Ok(Client::open(server)?), dns, zones: Vec::new(), is_guess: false });
        }
        let flags = Flags { config: args.config.file.clone(), ..Flags::default() };
        match load(&flags) {
            Ok(Loaded { config, .. }) => {
                let admin = match address_of(Some(&config.server.admin)) {
                    Ok(address) => Ok(Client::open(&address.to_string())?),
                    Err(_) => Err("no HTTP side is configured".to_owned()),
                };
                let dns = listeners(&config);
                let own = dns.as_ref().ok().and_then(|addresses| own_address(*addresses.first()?));
                let may_ask = |zone: &&ZoneConfig| own.is_some_and(|own| zone.access.verdict(own) == Verdict::Allowed);
                let zones = config.zones.iter().filter(may_ask).map(|zone| zone.apex.clone()).collect();
                Ok(Places { admin, dns, zones, is_guess: false })
            }
            // The server refuses such a file and goes on as it was; where its sides are can still be known.
            Err(problems) => Self::by_what_can_be_read(flags.config, &problems),
        }
    }

    /// The same although the configuration is refused.
    fn by_what_can_be_read(file: Option<PathBuf>, problems: &[Problem]) -> Result<Self, ClientError> {
        let variable =
            |wanted: &str| environment().into_iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        let found = || SEARCH.iter().map(PathBuf::from).find(|path| path.is_file());
        let named = file.or_else(|| variable(CONFIG).filter(|name| !name.is_empty()).map(PathBuf::from));
        let file = named.or_else(|| problems.iter().find_map(|problem| problem.file.clone())).or_else(found);
        let listen = |name: &str, section: &str| {
            let read =
                |text: String| text.split(',').flat_map(|text| text.trim().parse::<SocketAddr>()).collect::<Vec<_>>();
            variable(name)
                .map(read)
                .filter(|listen| !listen.is_empty())
                .or_else(|| listen_of(file.as_deref()?, section))
        };
        let ServerConfig { listen: usual, admin, .. } = ServerConfig::default();
        let admin =
            AdminConfig { listen: listen(ADMIN_LISTEN, "admin").unwrap_or_else(|| admin.listen.clone()), ..admin };
        let server =
            ServerConfig { listen: listen(SERVER_LISTEN, "server").unwrap_or(usual), ..ServerConfig::default() };
        let admin = match address_of(Some(&admin)) {
            Ok(address) => Ok(Client::open(&address.to_string())?),
            Err(_) => Err("no HTTP side is known".to_owned()),
        };
        let dns = listeners(&Config { server, zones: Vec::new() });
        Ok(Places { admin, dns, zones: Vec::new(), is_guess: true })
    }
}

/// The listeners that answer questions of this machine, by the addresses at which it reaches them.
fn listeners(config: &Config) -> Result<Vec<SocketAddr>, String> {
    let server = &config.server;
    let here = server.listen.iter().filter(|listener| listener.port() != 0);
    let (mut asked, mut is_shut) = (Vec::new(), false);
    for listener in here.take(MOST_ADDRESSES) {
        let address = reached(*listener);
        let Some(own) = own_address(address) else { continue };
        let is_dropped = server.access_at(*listener).verdict(own) == Verdict::Drop;
        match is_dropped || server.proxy_from.contains(own) {
            true => is_shut = true,
            false => asked.push(address),
        }
    }
    match (asked.is_empty(), is_shut) {
        (false, _) => Ok(asked),
        (true, true) => Err("DNS does not answer this machine (access, proxy_from)".to_owned()),
        (true, false) => Err("no address for DNS over UDP and TCP is configured".to_owned()),
    }
}

/// The address from which this machine asks there. Sends nothing.
fn own_address(address: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(address).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// What `/readyz` says.
#[derive(Deserialize)]
struct Readiness {
    ready: bool,
    zones_not_ready: Vec<String>,
}

/// Asks the HTTP side, for as long as it likes.
async fn by_http(admin: &Client, ready: bool) -> Sign {
    let server = admin.server();
    let (status, body) = match admin.probe(if ready { "/readyz" } else { "/livez" }).await {
        Ok(reply) => reply,
        Err(Unanswered::Silent) => return Sign::Hangs(format!("{server} does not answer")),
        Err(Unanswered::Nobody(reason)) => return Sign::Nothing(format!("{server}: {reason}")),
    };
    let foreign = || Sign::Nothing(format!("{server} answers (status {status}), but not as alternator-dns does"));
    if ready {
        return match serde_json::from_slice::<Readiness>(&body) {
            Ok(Readiness { ready: true, .. }) => Sign::Well(format!("{server} says ready")),
            Ok(told) => Sign::NotYet(nothing_to_answer(&told.zones_not_ready)),
            Err(_) => foreign(),
        };
    }
    #[derive(Deserialize)]
    struct Said {
        error: String,
    }
    match status {
        200 if body == b"live\n" => Sign::Well(format!("{server} says live")),
        503 => serde_json::from_slice(&body).map_or_else(|_| foreign(), |Said { error }| Sign::Hangs(error)),
        _ => foreign(),
    }
}

fn nothing_to_answer(zones: &[String]) -> String {
    let (first, more) = (&zones[..zones.len().min(ZONES_TOLD)], zones.len().saturating_sub(ZONES_TOLD));
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("nothing to answer yet for {}{more}", first.join(", "))
}

/// Asks over DNS. One address that answers is enough: others may have moved to another machine.
async fn by_dns(addresses: &[SocketAddr], zones: &[Name], ready: bool, by: Instant) -> Sign {
    let began = Instant::now();
    // Of the root this server says REFUSED, which is an answer as well.
    let question = dns::question(zones.first().cloned().unwrap_or_else(Name::root), RecordType::SOA);
    let ask = |address: SocketAddr| ask(address, &question, by);
    let replies = join_all(addresses.iter().map(|address| ask(*address))).await;
    let replies = || addresses.iter().zip(&replies);
    if let Some((address, transport)) = replies().find_map(|(address, reply)| Some((address, reply.as_ref().ok()?.0))) {
        let unready = if ready { unready(*address, zones, by).await } else { Vec::new() };
        return match unready.is_empty() {
            true => Sign::Well(format!("{address} answers over {transport}")),
            false => Sign::NotYet(nothing_to_answer(&unready)),
        };
    }
    if let Some((address, _)) = replies().find(|(_, reply)| **reply == Err(Failure::Silent)) {
        let waited = Duration::from_millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        return Sign::Hangs(format!("{address} answers neither over UDP nor over TCP within {waited:?}"));
    }
    let reason = |(address, reply): (&SocketAddr, &Result<_, Failure>)| match reply {
        Err(reason) => format!("{address}: {reason}"),
        Ok(_) => address.to_string(),
    };
    Sign::Nothing(replies().map(reason).collect::<Vec<_>>().join(", "))
}

/// The zones whose addresses nobody ever learnt: SERVFAIL.
async fn unready(address: SocketAddr, zones: &[Name], by: Instant) -> Vec<String> {
    let look = |zone: Name| async move {
        let reply = ask(address, &dns::question(zone.clone(), RecordType::A), by).await;
        let is_ready = reply.is_ok_and(|(_, reply)| reply.metadata.response_code != ResponseCode::ServFail);
        (!is_ready).then(|| zone.to_ascii().trim_end_matches('.').to_owned())
    };
    stream::iter(zones.iter().cloned()).map(look).buffered(AT_ONCE).filter_map(future::ready).collect().await
}

/// Asks over UDP, and soon over TCP as well: a reply, over whichever brought it.
async fn ask(address: SocketAddr, question: &Message, by: Instant) -> Result<(&'static str, Message), Failure> {
    let udp = async {
        loop {
            if let Ok(reply) = timeout(DATAGRAM_WITHIN, dns::over_udp(address, question)).await {
                return Ok(("UDP", reply?));
            }
        }
    };
    let tcp = async {
        sleep(TCP_AFTER).await;
        Ok(("TCP", dns::over_tcp(address, question).await?))
    };
    let either = async {
        match select(pin!(udp), pin!(tcp)).await {
            Either::Left((Err(_), other)) => other.await,
            Either::Right((Err(_), other)) => other.await,
            Either::Left((reply, _)) | Either::Right((reply, _)) => reply,
        }
    };
    timeout_at(by, either).await.unwrap_or(Err(Failure::Silent))
}

/// A duration that a check may be told to take.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() || duration > LONGEST {
        return Err(format!("write a duration up to {LONGEST:?}"));
    }
    Ok(duration)
}
