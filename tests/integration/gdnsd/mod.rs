//! What gdnsd's own tests ask of a server, asked of this one: over UDP and TCP, IPv4 and IPv6, each reply with the counter
//! it moves. Tests are named after the script whose theme they have; nothing is taken from the scripts but the theme.
//!
//! | script | theme | here |
//! |---|---|---|
//! | 001 self | the smallest configuration answers | `cli::serve_needs_nothing_but_flags` |
//! | 002 noerr | names that are there | `gdnsd::simple::t002_noerr_what_is_there_is_answered_with_aa` |
//! | 003 simple_errs | NODATA, NXDOMAIN, REFUSED | `gdnsd::simple::t003_simple_errs_negatives_tell_which_names_there_are`, `protocol::empty_non_terminals_are_nodata_at_every_depth` |
//! | 004 delegations | referrals | none: zone files with delegations are refused, `zone_files::every_problem_of_every_zone_file_is_told_at_once`; glue of the apex: `zone_files::soa_ns_and_glue_come_from_the_file_and_the_serial_from_us` |
//! | 005 big | sets too large for a datagram | `gdnsd::simple::t005_big_sets_are_whole_or_not_there`, `protocol::every_length_of_an_answer_is_cut_exactly_where_it_stops_fitting` |
//! | 006 limits | names, labels, numbers at their bounds | `gdnsd::records::t006_limits_names_and_numbers_at_their_bounds`, `protocol::question_names_are_plain_and_at_most_255_octets` |
//! | 007 cname | below and behind aliases | `zone_files::aliases_are_followed_as_far_as_they_are_ours` |
//! | 008 compress | how long replies are | `gdnsd::records::t008_compress_replies_have_exactly_the_octets_they_need` |
//! | 009 broken | queries that are none | `gdnsd::bad::t009_broken_responses_and_stubs_are_met_with_silence`, `protocol::rd_and_cd_are_copied_and_no_other_flag_is`, `protocol::exactly_one_question_or_formerr`. There TC in a query and two questions get no reply; here TC is ignored and two questions are FORMERR (RFC 9619). There a payload of NSID is FORMERR; here it is ignored (RFC 5001 section 2.2) |
//! | 010 chars | case, and octets that are no letters | `gdnsd::simple::t010_chars_are_matched_by_case_and_given_back_as_they_were`, `protocol::labels_may_hold_any_octet` |
//! | 011 random | packets at random | `gdnsd::random::t011_random_packets_are_all_counted_and_spoil_nothing` |
//! | 012 aaaa | one family, the other, both | `gdnsd::simple::t012_aaaa_each_family_by_itself` |
//! | 013 wild | wildcards and what stops them | `zone_files::wildcards_answer_for_names_below_their_closest_encloser_only` |
//! | 014 naptr | a type with names and texts | `gdnsd::records::t014_naptr_and_other_types_with_names_in_them_are_served_as_written` |
//! | 015 rfc3597 | unknown types | `gdnsd::records::t015_rfc3597_unknown_types_are_octets`, `protocol::unknown_types_are_nodata_or_nxdomain_by_name` |
//! | 016 alimit | how many addresses | `gdnsd::records::t016_alimit_as_many_addresses_as_a_message_holds` |
//! | 017 chaos | class CH | `edns::chaos::a_server_tells_what_it_is_called_and_which_software_it_is_where_it_may`. There every name of the class has the text; here four names do |
//! | 018 misc | additional records, beyond 16 KiB, no question | `gdnsd::records::t018_misc_names_beyond_16_kib_can_be_read`, `protocol::what_stands_behind_the_question_is_read_over`, `edns::cookies::a_cookie_may_be_asked_for_without_a_question` |
//! | 019 bad | packets made by hand | `gdnsd::bad::t019_bad_every_packet_made_by_hand_gets_its_reply_and_spoils_nothing`, `gdnsd::bad::t019_bad_queries_keep_their_place_in_a_pipeline` |
//! | 020 tld | a zone of one label | `gdnsd::simple::t020_tld_a_zone_of_one_label_is_a_zone` |
//! | 021 root, caa | the root as a zone; CAA | `gdnsd::simple::t021_root_is_no_zone`, `zone_files::static_records_of_any_type_are_served_as_written` |
//! | 022 trivial | plug-ins: reflect, simplefo, multifo | `scenarios::a_rack_without_nodes_falls_back_to_its_datacenter_and_returns_with_its_first_node`; an asker's own address is told by nothing here |
//! | 023 weighted | weights, groups | no weights here; order and groups: `distribution::every_node_leads_equally_often_in_every_pass`, `distribution::every_node_of_another_rack_comes_second_equally_often` |
//! | 024 dync | answers made at run time | `scenarios::a_datacenters_name_is_answered_with_its_nodes_only` |
//! | 025 metafo | datacenters in order | `names::chains_can_be_written_out_and_named`, `scenarios::a_chain_written_out_is_walked_to_its_end_and_back` |
//! | 026 org_inc | reload of included files | `reload::triggers::a_hang_up_picks_up_a_new_zone`; `$INCLUDE` is refused |
//! | 027 to 035 monio | monitors: listening or not, HTTP or TCP, first or second | `incidents::a_node_that_refuses_is_answered_for_three_seconds_at_most`, `incidents::a_silent_node_is_answered_for_three_seconds_at_most`, `incidents::a_node_with_status_500_is_answered_for_three_seconds_at_most`, `incidents::a_rack_that_refuses_falls_back_and_one_node_brings_it_back` |
//! | 036 relax | sloppy data is served with a warning | none: it is refused with every problem told, `zone_files::every_problem_of_every_zone_file_is_told_at_once` |
//! | 037 up_thresh | too many down at once | `incidents::silence_of_most_nodes_changes_no_answer_and_raises_an_alarm`, `incidents::a_node_that_refuses_leaves_while_the_others_are_silent` |
//! | 038 cname | aliases to names of every kind | `zone_files::aliases_are_followed_as_far_as_they_are_ours`, `access::an_alias_leads_nobody_into_a_zone_that_is_closed_to_it` |
//! | 039 clientsub | client subnets | `edns::options::client_subnets_are_echoed_with_scope_0`, `edns::options::malformed_client_subnets_are_formerr`, `edns::options::a_subnet_of_nobody_is_echoed` |
//! | 040 geoip | answers by where askers are | none: no answer depends on a map |
//! | 041 zruntime | zones that come and go | `reload::zones::a_zone_is_added_changed_deleted_and_added_again_and_the_others_are_untouched` |
//! | 042 extmon, 043 extfile | monitors by program and by file | none: nodes are probed by this program itself |
//! | 044 admin | states forced by hand | `overrides::force::nodes_racks_and_globs_are_drained_with_exceptions_and_come_back`, `overrides::force::datacenters_are_drained_and_forced_where_others_may_take_over`, `overrides::force::a_node_the_cluster_forgot_is_not_forced_back` |
//! | 045 many zones | hundreds of zones | `gdnsd::simple::t045_many_zones_are_told_apart` |
//! | 046 any | ANY | `gdnsd::records::t046_any_is_one_record_over_every_transport`, `protocol::any_is_one_hinfo_at_names_with_data` |
//! | 048 gdnsdctl | stop and replace | `shutdown::sigterm_ends_the_program_and_what_was_received_is_answered`, `reload::triggers::the_command_and_the_http_side_tell_what_came_of_it`, `replace::replacements_lose_no_query`, `replace::a_replacement_that_fails_at_any_point_changes_nothing`, `replace::one_replacement_at_a_time` |
//! | 049 acme | challenges at run time | none: no records at run time |
//! | 050, 051, 052 cookies | cookies, their sizes, without them, off | `gdnsd::bad::t050_cookies_go_with_every_other_option_over_tcp`, `edns::cookies::lengths_that_no_cookie_has_are_formerr`, `edns::cookies::long_lists_go_over_udp_to_those_who_bring_a_cookie`, `edns::cookies::a_server_without_cookies_ignores_the_option_whatever_it_holds` |
//! | 053 tcp_states | hundreds of connections that misbehave | `tcp_states::every_good_client_is_answered_while_a_thousand_bad_ones_hold_what_they_can`, `tcp_states::every_bad_behaviour_has_its_reason` |
//! | 054, 055, 056 | who may look, and who may control | `admin::guard::t054_without_a_token_reading_is_free_and_only_this_machine_changes_anything`, `admin::guard::t056_with_a_token_nothing_is_told_or_done_without_it`; a token over HTTP, where there it is the owner of a socket |
//! | 058 dso | stateful operations | `gdnsd::bad::t058_dso_is_not_implemented_and_the_connection_goes_on` |
//!
//! Numbers that are missing are scripts that gdnsd does not have.

mod bad;
mod random;
mod records;
mod simple;

use alternator_dns::server::Outcome;
use hickory_proto::rr::RecordType;

use crate::support::{
    Reply, TestServer,
    packet::{query, question},
    set,
};

const A: u16 = 1;
const AAAA: u16 = 28;

/// A server of `alternator.local` from this zone file, on IPv4 and IPv6.
async fn serving(file: &str) -> TestServer {
    TestServer::of_file(file, |_| {}).await
}

/// A question without EDNS.
fn plain(text: &str, qtype: u16) -> Vec<u8> {
    query(&question(text, qtype), &[])
}

/// Asks everywhere for a name below the zone.
async fn ask(server: &TestServer, below: &str, qtype: u16, outcome: Outcome) -> Vec<Reply> {
    server.everywhere(&plain(&TestServer::name(below), qtype), outcome).await
}

/// The SOA of this zone, alone in the authority section.
fn assert_soa_of(reply: &Reply, apex: &str) {
    let [soa] = &reply.message.authorities[..] else { panic!("one SOA: {reply:?}") };
    assert_eq!((soa.record_type(), soa.name.to_ascii()), (RecordType::SOA, format!("{apex}.")));
}

/// The server still answers as it should.
async fn assert_answers(server: &TestServer) {
    for reply in ask(server, "www", A, Outcome::Answered).await {
        assert_eq!(reply.set(), set(&["10.0.0.1"]));
    }
}
