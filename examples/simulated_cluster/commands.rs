//! What is said on standard input.

use std::{fmt::Display, io, net::IpAddr, str::FromStr};

use alternator_dns::sim::{ClientRoute, Cluster, Fault, NodeSpec};

use crate::{
    flapping::Flapping,
    spec::{node, role, tls},
};

/// Does what a line says; returns what there is to say before `ok`.
pub(crate) async fn obey(cluster: &Cluster, flapping: &mut Flapping, words: &[&str]) -> io::Result<String> {
    match words {
        ["stop", at] => cluster.stop(read(at)?).await?,
        ["silent", at] => cluster.inject(read(at)?, Fault::Silent).await?,
        ["start", at] => {
            let at = read(at)?;
            cluster.heal(at).await?;
            cluster.start_node(at).await?;
        }
        ["state", at, state] => cluster.set_state(read(at)?, read(state)?).await?,
        ["version", at, version] => cluster.set_version(read(at)?, read(version)?)?,
        ["tokens", at, count] => cluster.set_tokens(read(at)?, read(count)?)?,
        ["rack", at, rack] => cluster.move_to_rack(read(at)?, *rack)?,
        ["join", new] => cluster.add_node(&node(new).map_err(io::Error::other)?).await?,
        ["leave", at] => cluster.remove_node(read(at)?).await?,
        ["clock", at, seconds] => cluster.set_clock(read(at)?, read(seconds)?)?,
        ["tls", at, certificate, key] => {
            cluster.set_tls(read(at)?, Some(tls(certificate.as_ref(), key.as_ref())?))?;
        }
        ["authorization", "on"] => cluster.enforce_authorization(true),
        ["authorization", "off"] => cluster.enforce_authorization(false),
        ["role", text @ ..] => cluster.set_role(role(&text.join(" ")).map_err(io::Error::other)?),
        ["grant", role, resource @ ..] => cluster.grant(role, &resource.join(" "))?,
        ["revoke", role, resource @ ..] => cluster.revoke(role, &resource.join(" "))?,
        ["route", connection, at, to, ports @ ..] if ports.len() <= 2 => {
            let port = |index: usize| ports.get(index).map(|port| read(port)).transpose();
            cluster.set_client_route(ClientRoute {
                connection_id: (*connection).to_owned(),
                host_id: host_id(cluster, at)?,
                address: (*to).to_owned(),
                alternator_port: port(0)?,
                alternator_https_port: port(1)?,
                ..ClientRoute::default()
            });
        }
        ["unroute", connection, at] => cluster.remove_client_route(connection, &host_id(cluster, at)?),
        ["page", rows] => cluster.set_page_rows(Some(read(rows)?).filter(|rows| *rows > 0)),
        ["flap", rate] => flapping.begin(read(rate)?)?,
        ["calm"] => return flapping.end(cluster).await,
        ["nodes"] => return Ok(cluster.nodes().iter().map(described).collect()),
        ["counters"] => return Ok(cluster.nodes().iter().map(|node| counted(cluster, node)).collect()),
        _ => return Err(io::Error::other("no such command")),
    }
    Ok(String::new())
}

fn read<T: FromStr<Err: Display>>(text: &str) -> io::Result<T> {
    text.parse().map_err(|error| io::Error::other(format!("{text}: {error}")))
}

fn host_id(cluster: &Cluster, at: &str) -> io::Result<String> {
    let at: IpAddr = read(at)?;
    let node = cluster.nodes().into_iter().find(|node| node.address == at);
    node.map(|node| node.host_id).ok_or_else(|| io::Error::other(format!("{at} is no node of this cluster")))
}

fn described(node: &NodeSpec) -> String {
    format!(
        "{} {}/{} state={} version={} host_id={}\n",
        node.address, node.datacenter, node.rack, node.state, node.version, node.host_id
    )
}

fn counted(cluster: &Cluster, node: &NodeSpec) -> String {
    let counted = cluster.counters(node.address);
    format!(
        "{} {}/{} api={} health={} localnodes={} accepted={} open_peak={} full={} resumed={} failed={}\n",
        node.address,
        node.datacenter,
        node.rack,
        counted.api,
        counted.health,
        counted.localnodes,
        counted.accepted,
        counted.open_peak,
        counted.handshakes_full,
        counted.handshakes_resumed,
        counted.handshakes_failed
    )
}
