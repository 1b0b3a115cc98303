#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    alternator_dns_fuzz::tables::check(octets);
});
