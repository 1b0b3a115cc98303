use proptest::prelude::*;

use std::time::Duration;

use super::{super::moment::LAST_SECOND, *};

/// This many seconds after noon of a day.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_262_400 + seconds)
}

fn node(address: [u8; 4], place: &str) -> Node {
    let mut names = place.split('/').filter(|name| !name.is_empty()).map(Arc::from);
    Node { address: address.into(), datacenter: names.next(), rack: names.next() }
}

/// `drain TARGET` or `force-up TARGET`, set `set_at` seconds after noon.
fn set(text: &str, set_at: u64) -> Override {
    let (action, target) = text.split_once(' ').unwrap();
    Override {
        target: target.parse().unwrap(),
        action: action.parse().unwrap(),
        zone: None,
        from: at(0),
        until: None,
        set_at: at(set_at),
        by: "ops".to_owned(),
        reason: String::new(),
        origin: Origin::Api,
    }
}

/// What decides about 10.0.0.1 of dc1/rack1.
fn decided(overrides: &[Override], now: SystemTime) -> Option<String> {
    let overrides = Overrides::new(overrides.to_vec());
    let known = overrides.in_force("z.test", &node([10, 0, 0, 1], "dc1/rack1"), now)?;
    Some(format!("{} {}", known.action, known.target))
}

#[test]
fn the_most_specific_target_decides_and_of_equals_the_one_set_last() {
    for (known, wanted) in [
        (&["drain dc1", "force-up 10.0.0.1"][..], "force-up 10.0.0.1"),
        (&["force-up 10.0.0.1", "drain dc1"], "force-up 10.0.0.1"),
        (&["force-up dc1/rack1", "drain dc1"], "force-up dc1/rack1"),
        (&["drain 10.0.0.0/24", "force-up 10.0.0.0/16"], "drain 10.0.0.0/24"),
        (&["drain 10.0.0.0/8", "force-up dc1/rack1"], "drain 10.0.0.0/8"),
        (&["drain dc1", "force-up *"], "drain dc1"),
        (&["drain *", "force-up dc*"], "force-up dc*"),
        (&["drain dc1", "force-up dc1"], "force-up dc1"),
        (&["force-up dc1", "drain dc1"], "drain dc1"),
        (&["drain dc2", "force-up dc1/rack2", "drain *"], "drain *"),
    ] {
        let known: Vec<Override> = known.iter().zip(0..).map(|(text, set_at)| set(text, set_at)).collect();
        assert_eq!(decided(&known, at(9)).as_deref(), Some(wanted), "{known:?}");
    }
    assert_eq!(decided(&[set("drain dc2", 0)], at(9)), None);
}

#[test]
fn an_override_holds_from_its_beginning_until_just_before_its_end() {
    let drain = Override { from: at(10), until: Some(at(20)), ..set("drain dc1", 0) };
    let overrides = Overrides::new(vec![drain]);
    let holds = |now| overrides.in_force("z.test", &node([10, 0, 0, 1], "dc1"), at(now)).is_some();
    assert_eq!([9, 10, 19, 20].map(holds), [false, true, true, false]);
    assert_eq!([0, 10, 20].map(|now| overrides.next_change(at(now))), [Some(at(10)), Some(at(20)), None]);
}

#[test]
fn an_override_of_one_zone_holds_there_alone_and_before_one_of_all() {
    let own = Override { zone: Some("a.test".to_owned()), ..set("force-up dc1", 0) };
    let overrides = Overrides::new(vec![own, set("drain dc1", 1)]);
    let action = |zone| overrides.in_force(zone, &node([10, 0, 0, 1], "dc1"), at(9)).map(|known| known.action);
    assert_eq!(["a.test", "A.Test", "b.test"].map(action), [Action::ForceUp, Action::ForceUp, Action::Drain].map(Some));
}

#[test]
fn a_drain_is_pending_until_it_begins_unless_an_exception_outlives_it() {
    let later = |text: &str, from: u64| Override { from: at(from), ..set(text, 0) };
    let pending = |known: &[Override], now: u64| {
        let overrides = Overrides::new(known.to_vec());
        let found = overrides.pending_drain("z.test", &node([10, 0, 0, 1], "dc1/rack1"), at(now));
        found.map(|known| known.target.to_string())
    };
    let drains = [later("drain dc1", 60), later("drain dc1/rack1", 30)];
    assert_eq!(pending(&drains, 0).as_deref(), Some("dc1/rack1"), "the next one");
    assert_eq!(pending(&drains, 30), None, "begun; the other then changes nothing");
    assert_eq!(pending(&[later("drain dc1", 60), set("force-up 10.0.0.1", 0)], 0), None);
    let ends = Override { until: Some(at(50)), ..set("force-up 10.0.0.1", 0) };
    assert_eq!(pending(&[later("drain dc1", 60), ends], 0).as_deref(), Some("dc1"));
    assert_eq!(pending(&[later("force-up dc1", 60)], 0), None);
}

#[test]
fn an_override_tells_who_when_and_why() {
    let mut drain = Override { reason: "kernel upgrade".to_owned(), ..set("drain dc1", 0) };
    drain.from = at(60);
    assert_eq!(drain.to_string(), "drained by ops since 2026-11-21 12:01Z: kernel upgrade");
    drain.until = Some(at(7260));
    assert_eq!(drain.to_string(), "drained by ops since 2026-11-21 12:01Z until 14:01Z: kernel upgrade");
    drain.until = Some(at(86_400));
    drain.reason.clear();
    assert_eq!(drain.to_string(), "drained by ops since 2026-11-21 12:01Z until 2026-11-22 12:00Z");
    let forced = Override { action: Action::ForceUp, from: SystemTime::UNIX_EPOCH - Duration::from_secs(9), ..drain };
    assert!(forced.to_string().starts_with("forced up by ops since 1970-01-01 00:00Z"), "{forced}");
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(LAST_SECOND + 1);
    assert_eq!(minute(far), "9999-12-31 23:59Z");
}

/// Any override about nodes of 10.0.0.0/30 in dc0..dc1, rack0..rack1.
fn any_override() -> impl Strategy<Value = Override> {
    let target = prop_oneof![
        (0u8..4).prop_map(|last| format!("10.0.0.{last}")),
        (28u8..32).prop_map(|len| format!("10.0.0.0/{len}")),
        (0u8..2, 0u8..2).prop_map(|(dc, rack)| format!("dc{dc}/rack{rack}")),
        (0u8..2).prop_map(|dc| format!("dc{dc}")),
        Just("dc*/rack0".to_owned()),
        Just("*".to_owned()),
    ];
    let times = (0u64..20, prop::option::of(1u64..20), 0u64..4);
    (target, any::<bool>(), prop::option::of(0u8..2), times).prop_map(|(target, drain, zone, (from, lasts, set_at))| {
        Override {
            zone: zone.map(|zone| format!("z{zone}.test")),
            from: at(from),
            until: lasts.map(|lasts| at(from + lasts)),
            ..set(&format!("{} {target}", if drain { Action::Drain } else { Action::ForceUp }), set_at)
        }
    })
}

proptest! {
    /// Against the rule read literally: of those that mean the node and hold, the largest by specificity, zone, time.
    #[test]
    fn what_decides_is_what_the_rule_says(
        all in prop::collection::vec(any_override(), 0..12),
        last in 0u8..4,
        place in (0u8..2, 0u8..2),
        now in 0u64..42,
    ) {
        let node = node([10, 0, 0, last], &format!("dc{}/rack{}", place.0, place.1));
        let now = at(now);
        let overrides = Overrides::new(all.clone());
        let rank = |known: &Override| (known.target.specificity(), known.zone.is_some(), known.set_at);
        let holding: Vec<&Override> = all
            .iter()
            .filter(|known| known.target.matches(&node) && known.zone.as_deref().is_none_or(|zone| zone == "z0.test"))
            .filter(|known| known.from <= now && known.until.is_none_or(|until| now < until))
            .collect();
        let best = holding.iter().map(|known| rank(known)).max();
        let found = overrides.in_force("z0.test", &node, now);
        prop_assert_eq!(found.map(|known| rank(known)), best);
        prop_assert!(found.is_none_or(|found| holding.contains(&&**found)));

        // The order they come in makes no difference.
        let mut turned = all;
        turned.reverse();
        prop_assert_eq!(&Overrides::new(turned), &overrides);

        // Nothing changes before the next change.
        let next = overrides.next_change(now).unwrap_or(at(100));
        let just_before = next - Duration::from_nanos(1);
        prop_assert_eq!(overrides.in_force("z0.test", &node, just_before), found);

        // What is pending decides once it begins.
        if let Some(pending) = overrides.pending_drain("z0.test", &node, now) {
            prop_assert!(pending.from > now);
            prop_assert_eq!(overrides.in_force("z0.test", &node, pending.from), Some(pending));
        }
    }
}
