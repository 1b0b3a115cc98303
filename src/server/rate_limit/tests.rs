use std::collections::HashMap;

use proptest::prelude::*;

use super::{super::Counters, *};

fn config(responses_per_second: u32) -> RateLimitConfig {
    RateLimitConfig { responses_per_second, slip: 0, ..RateLimitConfig::default() }
}

/// The only worker, and what it counts.
fn limiter(config: &RateLimitConfig) -> (RateLimit, Counters) {
    let counters = Counters::default();
    (RateLimit::new(config, 1, counters.worker().block().clone()).unwrap(), counters)
}

/// With only this many sets, so that they fill up.
fn small(config: &RateLimitConfig, sets: usize) -> RateLimit {
    let mut limiter = limiter(config).0;
    limiter.sets = vec![[Bucket::default(); WAYS]; sets].into_boxed_slice();
    limiter
}

fn client(number: u32) -> IpAddr {
    // The last octet does not tell prefixes apart.
    IpAddr::V4((number << 8 | 7).into())
}

impl RateLimit {
    /// Whether one more answer about zone 1 passes.
    fn passes(&mut self, client: IpAddr, now: u64) -> bool {
        self.check(client, Class::Answered, 1, now) == Limited::Pass
    }

    /// How many of this many answers pass at once.
    fn burst(&mut self, client: IpAddr, count: u32, now: u64) -> u32 {
        (0..count).map(|_| u32::from(self.passes(client, now))).sum()
    }
}

#[test]
fn a_steady_rate_passes_forever() {
    let mut limiter = limiter(&config(20)).0;
    // The burst is gone: what passes from here on is the rate itself.
    assert_eq!(limiter.burst(client(1), 100, 0), 20);
    assert!((1..10_000).all(|tick| limiter.passes(client(1), tick * 50)));
    assert!(!limiter.passes(client(1), 10_000 * 50 - 1), "a millisecond early");
}

#[test]
fn a_second_of_the_rate_passes_at_once() {
    let mut limiter = limiter(&config(7)).0;
    for now in [0, 1_000, 60_000, 61_001] {
        assert_eq!(limiter.burst(client(1), 50, now), 7, "at {now}");
    }
    assert_eq!(limiter.burst(client(1), 50, 61_501), 3, "half a second gives half of it, rounded down");
}

#[test]
fn nothing_is_limited_unless_configured() {
    assert!(RateLimit::new(&config(0), 1, Counters::default().worker().block().clone()).is_none());
}

#[test]
fn each_worker_takes_its_share() {
    let burst = |rate, workers| {
        let counters = Counters::default();
        RateLimit::new(&config(rate), workers, counters.worker().block().clone()).unwrap().burst(client(1), 2_000, 0)
    };
    assert_eq!([burst(100, 1), burst(100, 4), burst(100, 3), burst(2, 8), burst(5, 0)], [100, 25, 33, 1, 5]);
}

#[test]
fn clients_share_the_bucket_of_their_prefix() {
    let mut limiter = limiter(&config(1)).0;
    let mut passes = |address: &str| limiter.passes(address.parse().unwrap(), 0);
    assert!(passes("192.0.2.1") && !passes("192.0.2.255") && !passes("::ffff:192.0.2.9"));
    assert!(passes("192.0.3.1"), "the next /24");
    assert!(passes("2001:db8:0:ff::1") && !passes("2001:db8:0:1::2"));
    assert!(passes("2001:db8:0:100::1"), "the next /56");
    assert!(passes("::c000:201"), "an IPv6 address with the octets of an IPv4 address");
    let whole = RateLimitConfig { prefix_v4: 32, prefix_v6: 128, ..config(1) };
    let mut limiter = super::tests::limiter(&whole).0;
    for address in ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"] {
        assert!(limiter.passes(address.parse().unwrap(), 0), "{address}");
    }
}

#[test]
fn classes_and_zones_are_limited_apart() {
    let mut limiter = limiter(&config(1)).0;
    let mut passes = |class, zone| limiter.check(client(1), class, zone, 0) == Limited::Pass;
    for class in [Class::Answered, Class::NoData, Class::NxDomain, Class::Other] {
        assert!(passes(class, 1) && passes(class, 2), "{class:?}");
        assert!(!passes(class, 1) && !passes(class, 2), "{class:?}");
    }
    assert!(passes(Class::Error, 1) && !passes(Class::Error, 2), "what is no zone's is one");
}

#[test]
fn every_reply_has_a_class() {
    for outcome in Outcome::ALL {
        assert_eq!(Class::of(outcome).is_none(), outcome == Outcome::Dropped, "{outcome}");
    }
    assert_eq!(Class::of(Outcome::NxDomain), Some(Class::NxDomain));
    assert_eq!(Class::of(Outcome::Refused), Class::of(Outcome::FormErr));
}

#[test]
fn every_so_manieth_limited_reply_slips() {
    use Limited::{Drop, Pass, Slip};
    for (slip, expected) in [
        (0, [Pass, Drop, Drop, Drop, Drop, Drop, Drop]),
        (1, [Pass, Slip, Slip, Slip, Slip, Slip, Slip]),
        (2, [Pass, Drop, Slip, Drop, Slip, Drop, Slip]),
        (3, [Pass, Drop, Drop, Slip, Drop, Drop, Slip]),
    ] {
        let (mut limiter, counters) = limiter(&RateLimitConfig { slip, ..config(1) });
        // Others in between do not shift it.
        let replies = [(); 7].map(|()| {
            limiter.check(client(2), Class::Answered, 1, 0);
            limiter.check(client(1), Class::Answered, 1, 0)
        });
        assert_eq!(replies, expected, "slip {slip}");
        let count = |what| 2 * expected.iter().filter(|limited| **limited == what).count() as u64;
        assert_eq!(counters.rate_limited(RateLimited::Passed), count(Pass));
        assert_eq!(counters.rate_limited(RateLimited::Slipped), count(Slip));
        assert_eq!(counters.rate_limited(RateLimited::Dropped), count(Drop));
    }
}

#[test]
fn a_dry_run_only_counts() {
    let (mut limiter, counters) = limiter(&RateLimitConfig { slip: 2, dry_run: true, ..config(3) });
    assert_eq!(limiter.burst(client(1), 8, 0), 8);
    let counted = RateLimited::ALL.map(|what| counters.rate_limited(what));
    assert_eq!(counted, [3, 0, 0, 2, 3], "of 5 limited ones every second would slip");
}

#[test]
fn the_exempt_are_not_looked_at() {
    let exempt = ["192.0.2.0/25", "2001:db8::/32"].map(|text| text.parse().unwrap()).into_iter().collect();
    let (mut limiter, counters) = limiter(&RateLimitConfig { exempt, ..config(1) });
    for address in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"] {
        assert_eq!(limiter.burst(address.parse().unwrap(), 10, 0), 10, "{address}");
    }
    assert_eq!(RateLimited::ALL.map(|what| counters.rate_limited(what)), [0; 5]);
    assert_eq!(limiter.burst("192.0.2.128".parse().unwrap(), 10, 0), 1, "of the same /24, not exempt");
}

#[test]
fn a_clock_that_goes_back_neither_fills_nor_stops() {
    let mut limiter = limiter(&config(10)).0;
    assert_eq!(limiter.burst(client(1), 20, 1_000_000), 10);
    assert_eq!(limiter.burst(client(1), 20, 5), 0, "nothing for going back");
    assert_eq!(limiter.burst(client(1), 20, 205), 2, "200 ms after that");
    assert_eq!(limiter.burst(client(2), 20, 5), 10, "and nobody else is limited for it");
}

#[test]
fn the_log_says_one_line_and_how_many_it_left_out() {
    let mut log = Log::default();
    assert_eq!(log.begins(50), Some(0), "the first at once");
    assert!((50..50 + LOG_EVERY).all(|now| log.begins(now).is_none()));
    assert_eq!(log.begins(50 + LOG_EVERY), Some(LOG_EVERY));
    assert_eq!(log.begins(60 + LOG_EVERY), None);
    assert_eq!(log.begins(50 + 3 * LOG_EVERY), Some(1));
    assert_eq!(log.begins(7), Some(0), "a clock that went back does not silence it");
}

#[test]
fn a_bucket_begins_to_be_limited_once_until_it_was_full_again() {
    let mut limiter = limiter(&config(10)).0;
    let begun = |limiter: &RateLimit| u64::from(limiter.log.written.is_some()) + limiter.log.untold;
    assert_eq!((limiter.burst(client(1), 10, 0), begun(&limiter)), (10, 0));
    limiter.burst(client(1), 100, 0);
    limiter.burst(client(1), 100, 500);
    assert_eq!(begun(&limiter), 1);
    limiter.burst(client(1), 10, 1_500);
    assert_eq!(begun(&limiter), 1, "full again, and not limited");
    limiter.burst(client(1), 10, 1_500);
    assert_eq!(begun(&limiter), 2);
}

#[test]
fn heavy_hitters_stay_limited_in_a_flood_of_ten_times_the_table() {
    const SECONDS: u64 = 10;
    let rate = 10;
    let mut limiter = limiter(&config(rate)).0;
    let (heavy, light) = (20, (SETS * WAYS * 10) as u32);
    let mut heavy_passed = vec![0; heavy];
    let mut light_passed = 0;
    for number in 0..light {
        let now = u64::from(number) * SECONDS * 1000 / u64::from(light);
        light_passed += u32::from(limiter.passes(client(1_000 + number), now));
        // Each of them about 3,200 a second.
        heavy_passed[number as usize % heavy] += u32::from(limiter.passes(client(number % heavy as u32), now));
    }
    let most = rate * (SECONDS as u32 + 1);
    assert!(heavy_passed.iter().all(|passed| (most - 2..=most).contains(passed)), "{heavy_passed:?}");
    // 65,536 prefixes a second, of which the table can give each 10 answers.
    assert_eq!(light_passed, light, "who asks once is not limited for it");
}

#[test]
fn more_heavy_hitters_than_buckets_get_no_refill() {
    let rate = 5;
    let mut limiter = small(&config(rate), 1);
    let mut passed = 0;
    for now in 0..10_000 {
        for number in 0..3 * WAYS as u32 {
            passed += u32::from(limiter.passes(client(number), now));
        }
    }
    let table = rate * WAYS as u32 * 11;
    assert!((table - WAYS as u32..=table).contains(&passed), "{passed} of at most {table}");
}

#[test]
fn those_who_are_thrown_out_still_slip() {
    let mut limiter = small(&RateLimitConfig { slip: 2, ..config(1) }, 1);
    for number in 0..WAYS as u32 {
        assert_eq!(limiter.burst(client(number), 50, 0), 1);
    }
    let slips = (100..200).filter(|number| limiter.check(client(*number), Class::Answered, 1, 0) == Limited::Slip);
    assert_eq!(slips.count(), 50, "every second one, each a client that is new");
}

/// Exact buckets without end.
#[derive(Default)]
struct Reference {
    /// Thousandths of a token, and when that was.
    buckets: HashMap<u32, (u128, u64)>,
}

impl Reference {
    /// What a client has by now.
    fn has(&mut self, client: u32, rate: u32, now: u64) -> &mut u128 {
        let full = u128::from(rate) * 1000;
        let (has, at) = self.buckets.entry(client).or_insert((full, now));
        *has = full.min(*has + u128::from(now - *at) * u128::from(rate));
        *at = now;
        has
    }
}

/// Who asks, and how many milliseconds after the one before.
fn queries(clients: u32) -> impl Strategy<Value = Vec<(u32, u64)>> {
    let pause = prop_oneof![10 => Just(0), 5 => 0_u64..20, 1 => 0_u64..3_000];
    proptest::collection::vec((0..clients, pause), 0..600)
}

proptest! {
    #[test]
    fn a_flood_gets_the_burst_and_the_rate_and_no_more(rate in 1_u32..5_000, start in any::<u32>(), millis in 1_u64..3_000) {
        let mut limiter = limiter(&config(rate)).0;
        let start = u64::from(start);
        let passed: u32 = (start..=start + millis).map(|now| {
            // As much at the first moment as a burst, then more than the rate.
            limiter.burst(client(1), if now == start { rate } else { rate / 1_000 + 1 }, now)
        }).sum();
        prop_assert_eq!(u64::from(passed), u64::from(rate) + millis * u64::from(rate) / 1_000);
    }

    #[test]
    fn as_long_as_all_have_room_limits_are_exact(rate in 1_u32..30, queries in queries(WAYS as u32)) {
        let (mut limiter, mut reference, mut now) = (small(&config(rate), 1), Reference::default(), 12_345);
        for (number, pause) in queries {
            now += pause;
            let has = reference.has(number, rate, now);
            prop_assert_eq!(limiter.passes(client(number), now), *has >= 1_000);
            *has = has.checked_sub(1_000).unwrap_or(*has);
        }
    }

    #[test]
    fn no_bucket_gives_more_than_in_a_table_without_end(rate in 1_u32..30, sets in 0_u32..2, queries in queries(60)) {
        let (mut limiter, mut reference, mut now) = (small(&config(rate), 1 << sets), Reference::default(), 0);
        for (number, pause) in queries {
            now += pause;
            let has = reference.has(number, rate, now);
            if limiter.passes(client(number), now) {
                prop_assert!(*has >= 1_000, "client {} at {}", number, now);
                *has -= 1_000;
            }
        }
    }

    #[test]
    fn no_time_and_no_rate_overflows(rate in 1_u32.., times in proptest::collection::vec(any::<u64>(), 1..50), zone in any::<u64>(), slip in any::<u32>()) {
        let mut limiter = small(&RateLimitConfig { slip, ..config(rate) }, 1);
        for now in times.into_iter().chain([0, u64::MAX, 0, u64::MAX - 1, u64::MAX]) {
            // Far less than the rate allows in a second, or the first after one.
            let limited = limiter.check(client(1), Class::NxDomain, zone, now);
            prop_assert!(limited == Limited::Pass || rate < 60);
        }
    }
}
