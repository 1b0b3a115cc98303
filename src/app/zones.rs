//! The zones served, and how they come, change and go while others are served.

use std::{collections::BTreeMap, sync::Arc};

use hickory_proto::rr::Name;
use tokio_util::sync::CancellationToken;

use super::{
    beginning::Known,
    cluster::{Asked, Cluster, Counts, Sharers},
    error::StartError,
    files::Proofs,
    zone::{Ground, Zone},
};
use crate::{
    admin::{Sight, ZoneSight},
    config::{Config, ZoneConfig},
    controller::Inputs,
    handover::Knowledge,
    http::NodeClient,
    reload::of_zone,
    table::Table,
    zone::file::StaticZone,
};

/// All zones, and the clusters behind them.
#[derive(Default)]
pub(super) struct Zones {
    served: Vec<Zone>,
    /// Each asked in another way than all others.
    clusters: Vec<Arc<Cluster>>,
    /// Writers of state files of zones that are gone, until they have written for the last time.
    ending: BTreeMap<String, CancellationToken>,
}

/// What becomes of all zones; nothing can fail at it any more.
pub(super) struct Steps {
    zones: Vec<Step>,
    /// Clusters that are not asked yet, and who will.
    clients: Vec<(Asked, Option<NodeClient>)>,
}

/// What becomes of one zone.
struct Step {
    config: ZoneConfig,
    statics: StaticZone,
    asked: Asked,
    way: Way,
}

enum Way {
    /// Nothing about it changes.
    Stays,
    /// It is answered by another configuration or another zone file.
    Answers,
    /// Its nodes are found or probed in another way.
    Asks,
    /// It is new; what is known of it from an earlier run.
    Comes(Known),
}

/// A cluster in the making: who shares it, and what they know of it.
struct Party {
    asked: Asked,
    client: Option<NodeClient>,
    /// Where it is at work already.
    at_work: Option<Arc<Cluster>>,
    sharers: Sharers,
    known: Option<Known>,
    /// Where its first zone's nodes were found until now.
    before: Option<Arc<Cluster>>,
}

impl Zones {
    /// What becomes of the zones, one step for each that is served then. Changes nothing, but that a state file which
    /// cannot be read is set aside: so this is asked last. Blocks.
    pub(super) fn prepare(
        &self,
        config: &Config,
        statics: Vec<StaticZone>,
        proofs: Vec<Proofs>,
    ) -> Result<Steps, StartError> {
        self.prepare_with(config, statics, proofs, &[])
    }

    /// The same with what a process told that served some of the zones until now.
    pub(super) fn prepare_with(
        &self,
        config: &Config,
        statics: Vec<StaticZone>,
        proofs: Vec<Proofs>,
        told: &[Knowledge],
    ) -> Result<Steps, StartError> {
        let served: BTreeMap<&Name, &Zone> = self.served.iter().map(|zone| (&zone.source.config.apex, zone)).collect();
        let step = |((config, statics), mut proofs): ((&ZoneConfig, StaticZone), Proofs)| {
            // The same as before, so that TLS sessions are resumed by whoever asks from now on.
            let same = self.clusters.iter().map(|cluster| &cluster.asked.proofs.identity);
            if let Some(same) = same.into_iter().find(|known| **known == proofs.identity) {
                proofs.identity = same.clone();
            }
            let asked = Asked::of(config, proofs);
            let way = match served.get(&config.apex) {
                Some(zone) if zone.cluster.asked != asked => Way::Asks,
                Some(zone) if zone.source.config == *config && zone.source.statics == statics => Way::Stays,
                Some(_) => Way::Answers,
                None => Way::Comes(Known::default()),
            };
            Step { config: config.clone(), statics, asked, way }
        };
        let mut zones: Vec<Step> = config.zones.iter().zip(statics).zip(proofs).map(step).collect();
        let mut clients: Vec<(Asked, Option<NodeClient>)> = Vec::new();
        for Step { config, asked, .. } in &zones {
            let is_asked = self.clusters.iter().any(|cluster| cluster.asked == *asked);
            if !is_asked && clients.iter().all(|(known, _)| known != asked) {
                clients.push((asked.clone(), asked.client(config)?));
            }
        }
        for Step { config: zone, way, .. } in &mut zones {
            if let Way::Comes(known) = way {
                let at_start = || Known::at_start(zone, config.server.state_dir.as_deref());
                *known = Known::handed_over(zone, told).unwrap_or_else(at_start);
            }
        }
        Ok(Steps { zones, clients })
    }

    /// Makes these the zones that are served. Returns what changed, a part each.
    pub(super) fn apply(&mut self, steps: Steps, ground: &mut Ground<'_>) -> Vec<String> {
        self.ending.retain(|_, ended| !ended.is_cancelled());
        let before = std::mem::take(&mut self.served);
        let mut before: BTreeMap<Name, Zone> =
            before.into_iter().map(|zone| (zone.source.config.apex.clone(), zone)).collect();
        let Steps { zones: steps, clients } = steps;
        let clusters = self.gather(&steps, clients, &before, ground);
        let mut told = Vec::new();
        for (Step { config, statics, way, asked }, cluster) in steps.into_iter().zip(clusters) {
            let name = config.name();
            let zone = match (way, before.remove(&config.apex)) {
                (Way::Stays, Some(mut zone)) => {
                    // The addresses served are part of the answers of a zone without name servers of its own.
                    if zone.source.listen != ground.listen || zone.writes_elsewhere(ground) {
                        zone.answer_by(&config, statics, ground);
                    }
                    zone
                }
                (Way::Answers, Some(mut zone)) => {
                    told.push(difference(&zone, &config, &statics, &asked));
                    zone.answer_by(&config, statics, ground);
                    zone
                }
                (Way::Asks, Some(mut zone)) => {
                    told.push(difference(&zone, &config, &statics, &asked));
                    zone.turn_to(cluster, &config, statics, ground);
                    zone
                }
                (Way::Comes(known), _) => {
                    told.push(format!("zone {name} added"));
                    Zone::start(&config, statics, cluster, known.epoch, self.ending.remove(&name), ground)
                }
                // A zone that stays was there when the steps were made, and only this takes any away.
                (Way::Stays | Way::Answers | Way::Asks, None) => continue,
            };
            self.served.push(zone);
        }
        for zone in before.into_values() {
            let name = zone.source.config.name();
            told.push(format!("zone {name} removed"));
            if let Some(ended) = zone.stop() {
                self.ending.insert(name, ended);
            }
        }
        told
    }

    /// Starts the clusters that the zones need, tells those at work whose they are from now on, and ends those that
    /// nobody needs. Returns that of each step.
    fn gather(
        &mut self,
        steps: &[Step],
        clients: Vec<(Asked, Option<NodeClient>)>,
        before: &BTreeMap<Name, Zone>,
        ground: &mut Ground<'_>,
    ) -> Vec<Arc<Cluster>> {
        let at_work = std::mem::take(&mut self.clusters);
        let running = at_work.iter().map(|cluster| Party::new(cluster.asked.clone(), None, Some(cluster.clone())));
        let starting = clients.into_iter().map(|(asked, client)| Party::new(asked, client, None));
        let mut parties: Vec<Party> = running.chain(starting).collect();
        let mut seats = Vec::new();
        for step in steps {
            // Each is at work or was given a client when the steps were made.
            let seat = parties.iter().position(|party| party.asked == step.asked).unwrap_or_default();
            parties[seat].join(step, before.get(&step.config.apex));
            seats.push(seat);
        }
        let is_needed = |cluster: &Arc<Cluster>| {
            let mut needed = parties.iter().filter(|party| !party.sharers.zones.is_empty());
            needed.any(|party| party.at_work.as_ref().is_some_and(|at_work| Arc::ptr_eq(at_work, cluster)))
        };
        let mut ended: Vec<Arc<Cluster>> = at_work.into_iter().filter(|cluster| !is_needed(cluster)).collect();
        ended.iter().for_each(|cluster| cluster.stop());
        let clusters: Vec<Option<Arc<Cluster>>> =
            parties.into_iter().map(|party| party.begin(&mut ended, ground)).collect();
        self.clusters = clusters.iter().flatten().cloned().collect();
        seats.into_iter().filter_map(|seat| clusters[seat].clone()).collect()
    }

    /// Leaves their state files to another process: what this one knows is old by now.
    pub(super) fn write_no_more(&self) {
        self.served.iter().for_each(Zone::write_no_more);
    }

    /// What is known of them.
    pub(super) fn knowledge(&self) -> Vec<Knowledge> {
        self.served.iter().map(Zone::knowledge).collect()
    }

    /// The zones of which it is not known yet who answers.
    pub(super) fn unsettled(&self) -> Vec<String> {
        let unsettled = self.served.iter().filter(|zone| !zone.is_settled());
        unsettled.map(|zone| zone.source.config.name()).collect()
    }

    /// A zone that this table has no answer for its cluster of, although the process that told of it had nodes to answer
    /// with, and why.
    pub(super) fn worse_off(&self, told: &[Knowledge], table: &Table) -> Option<(String, String)> {
        let had_answers = |zone: &Zone| {
            let name = zone.source.config.name();
            told.iter().any(|told| told.zone == name && told.has_serving())
        };
        // What another zone lends hides wrong seeds.
        let has_own = |zone: &Zone| {
            let apex = &zone.source.config.apex;
            table.zones().any(|served| served.source.config.apex == *apex && served.plan.has_own())
        };
        // Without seeds it is meant to have none.
        let has_cluster = |zone: &&Zone| !zone.source.config.cluster.seeds.is_empty();
        let mut clusters = self.served.iter().filter(has_cluster);
        let zone = clusters.find(|zone| had_answers(zone) && !has_own(zone))?;
        Some((zone.source.config.name(), zone.without_answers()))
    }

    /// What the controller follows.
    pub(super) fn inputs(&self, sight: &Sight) -> Vec<Inputs> {
        self.served.iter().map(|zone| zone.inputs(sight)).collect()
    }

    /// What can be looked at.
    pub(super) fn sights(&self) -> Vec<ZoneSight> {
        self.served.iter().map(Zone::sight).collect()
    }
}

impl Party {
    fn new(asked: Asked, client: Option<NodeClient>, at_work: Option<Arc<Cluster>>) -> Self {
        Party { asked, client, at_work, sharers: Sharers::default(), known: None, before: None }
    }

    /// A zone more, and what it knows; `zone` as it was until now.
    fn join(&mut self, step: &Step, zone: Option<&Zone>) {
        self.sharers.add(&step.config);
        let known = match (&step.way, zone) {
            (Way::Comes(known), _) => known.clone(),
            (Way::Asks, Some(zone)) => {
                self.before.get_or_insert_with(|| zone.cluster.clone());
                zone.so_far(&step.config)
            }
            _ => return,
        };
        self.sharers.remember(&known.topology);
        self.known = Some(match self.known.take() {
            Some(others) => others.and(known),
            None => known,
        });
    }

    /// The cluster at work, where any zone needs it. It goes on counting where the one before it `ended`.
    fn begin(self, ended: &mut Vec<Arc<Cluster>>, ground: &mut Ground<'_>) -> Option<Arc<Cluster>> {
        let Party { asked, client, at_work, sharers, known, before } = self;
        if sharers.zones.is_empty() {
            return None;
        }
        if let Some(cluster) = at_work {
            cluster.share(sharers);
            return Some(cluster);
        }
        let heir = ended.iter().position(|cluster| before.as_ref().is_some_and(|before| Arc::ptr_eq(before, cluster)));
        let counts = heir.map_or_else(Counts::default, |at| ended.remove(at).counts.clone());
        Some(Arc::new(Cluster::start(asked, client, sharers, known.unwrap_or_default(), counts, ground)))
    }
}

/// What is about to change in a zone, by the names of its keys; `records` are those of its file, `certificates` and
/// `credentials` what is in the files of its cluster.
fn difference(zone: &Zone, config: &ZoneConfig, statics: &StaticZone, asked: &Asked) -> String {
    let mut keys = of_zone(&zone.source.config, config);
    if zone.cluster.asked.proofs.identity != asked.proofs.identity {
        keys.push("certificates");
    }
    if zone.cluster.asked.proofs.keys != asked.proofs.keys {
        keys.push("credentials");
    }
    if zone.source.statics != *statics {
        keys.push("records");
    }
    format!("zone {}: {}", config.name(), keys.join(", "))
}
