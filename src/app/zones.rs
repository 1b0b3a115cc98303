//! The zones served, and how they come, change and go while others are served.

use std::collections::BTreeMap;

use hickory_proto::rr::Name;
use tokio_util::sync::CancellationToken;

use super::{
    beginning::Known,
    error::StartError,
    zone::{Ground, Zone, client, is_asked_alike},
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

/// All zones.
#[derive(Default)]
pub(super) struct Zones {
    served: Vec<Zone>,
    /// Writers of state files of zones that are gone, until they have written for the last time.
    ending: BTreeMap<String, CancellationToken>,
}

/// What becomes of one zone; nothing can fail at it any more.
pub(super) struct Step {
    config: ZoneConfig,
    statics: StaticZone,
    way: Way,
}

enum Way {
    /// Nothing about it changes.
    Stays,
    /// It is answered by another configuration or another zone file.
    Answers,
    /// Its nodes are found or probed in another way.
    Asks(Option<NodeClient>),
    /// It is new; what is known of it from an earlier run.
    Comes(Option<NodeClient>, Known),
}

impl Zones {
    /// What becomes of the zones, one step for each that is served then. Changes nothing, but that a state file which
    /// cannot be read is set aside: so this is asked last. Blocks.
    pub(super) fn prepare(&self, config: &Config, statics: Vec<StaticZone>) -> Result<Vec<Step>, StartError> {
        self.prepare_with(config, statics, &[])
    }

    /// The same with what a process told that served some of the zones until now.
    pub(super) fn prepare_with(
        &self,
        config: &Config,
        statics: Vec<StaticZone>,
        told: &[Knowledge],
    ) -> Result<Vec<Step>, StartError> {
        let served: BTreeMap<&Name, &Zone> = self.served.iter().map(|zone| (&zone.source.config.apex, zone)).collect();
        let step = |(config, statics): (&ZoneConfig, StaticZone)| {
            let way = match served.get(&config.apex) {
                Some(zone) if zone.source.config == *config && zone.source.statics == statics => Way::Stays,
                Some(zone) if is_asked_alike(&zone.source.config, config) => Way::Answers,
                Some(_) => Way::Asks(client(config)?),
                None => Way::Comes(client(config)?, Known::default()),
            };
            Ok(Step { config: config.clone(), statics, way })
        };
        let mut steps: Vec<Step> = config.zones.iter().zip(statics).map(step).collect::<Result<_, StartError>>()?;
        for Step { config: zone, way, .. } in &mut steps {
            if let Way::Comes(_, known) = way {
                let at_start = || Known::at_start(zone, config.server.state_dir.as_deref());
                *known = Known::handed_over(zone, told).unwrap_or_else(at_start);
            }
        }
        Ok(steps)
    }

    /// Makes these the zones that are served. Returns what changed, a part each.
    pub(super) fn apply(&mut self, steps: Vec<Step>, ground: &mut Ground<'_>) -> Vec<String> {
        self.ending.retain(|_, ended| !ended.is_cancelled());
        let before = std::mem::take(&mut self.served);
        let mut before: BTreeMap<Name, Zone> =
            before.into_iter().map(|zone| (zone.source.config.apex.clone(), zone)).collect();
        let mut told = Vec::new();
        for Step { config, statics, way } in steps {
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
                    told.push(difference(&zone, &config, &statics));
                    zone.answer_by(&config, statics, ground);
                    zone
                }
                (Way::Asks(client), Some(mut zone)) => {
                    told.push(difference(&zone, &config, &statics));
                    zone.restart(&config, statics, client, ground);
                    zone
                }
                (Way::Comes(client, known), _) => {
                    told.push(format!("zone {name} added"));
                    Zone::start(&config, statics, client, known, self.ending.remove(&name), ground)
                }
                // A zone that stays was there when the steps were made, and only this takes any away.
                (Way::Stays | Way::Answers | Way::Asks(_), None) => continue,
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
        let is_ready = |zone: &Zone| {
            let apex = &zone.source.config.apex;
            table.zones().any(|served| served.source.config.apex == *apex && served.plan.is_ready())
        };
        // Without seeds it is meant to have none.
        let has_cluster = |zone: &&Zone| !zone.source.config.cluster.seeds.is_empty();
        let mut clusters = self.served.iter().filter(has_cluster);
        let zone = clusters.find(|zone| had_answers(zone) && !is_ready(zone))?;
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

/// What is about to change in a zone, by the names of its keys; `records` are those of its file.
fn difference(zone: &Zone, config: &ZoneConfig, statics: &StaticZone) -> String {
    let mut keys = of_zone(&zone.source.config, config);
    if zone.source.statics != *statics {
        keys.push("records");
    }
    format!("zone {}: {}", config.name(), keys.join(", "))
}
