#!/usr/bin/env bash
# Debian's dig against the demo: every kind of question over UDP and TCP, with the options dig offers.
source "$(dirname "$0")/lib.sh"
begin dig

namespace demo
spawn "${NS[demo]}" demo "$SERVER" demo
within 60 grep -q 'Try, in another terminal' "$WORK/demo.log" || fail "the demo does not start"
DIG_NS=demo
DIG_ARGS=(-p 5300 @127.0.0.1)
Z=alternator.local
within 60 answered $Z A 8 || fail "the demo does not answer eight addresses"

echo "-- what the demo prints can be pasted"
grep -E '^  dig ' "$WORK/demo.log" | sed 's/ *#.*//' >"$WORK/lines"
equal "$(wc -l <"$WORK/lines")" 4 "four dig lines are printed"
# All twelve IPv4 nodes are in: the racks' lines then hold both of theirs.
within 60 sh -c "ip netns exec ${NS[demo]} dig +short -p 5300 @127.0.0.1 TXT _explain.$Z | grep -c '^\"in ' | grep -qx 13" ||
    fail "not all 13 nodes come in: $(ask +short TXT _explain.$Z)"
ok "all 13 nodes are in"
# The sums of lines: eight nodes; six of dc1; two of its rack1; the explanation.
while read -r line; do
    in_ns demo sh -c "$line" >"$WORK/pasted" || fail "$line"
    echo "  $line: $(wc -l <"$WORK/pasted") lines"
    [ -s "$WORK/pasted" ] || fail "no answer to: $line"
done <"$WORK/lines"

for transport in +notcp +tcp; do
    echo "-- $transport"
    reply=$(ask $transport $Z A)
    expect "$reply" 'status: NOERROR' "$Z A"
    expect "$reply" 'flags: qr aa rd; QUERY: 1, ANSWER: 8, AUTHORITY: 0, ADDITIONAL: 1' "authoritative, eight records, OPT"
    expect "$reply" 'EDNS: version: 0, flags:; udp: 1232' "EDNS with our size"
    expect "$reply" "^alternator\.local\.[[:space:]]+5[[:space:]]+IN[[:space:]]+A[[:space:]]+127\.0\.1\." "TTL 5"
    equal "$(ask $transport +short dc1.$Z A | sort)" "$(printf '127.0.1.1%s\n' 11 12 21 22 31 32)" "dc1: its six nodes"
    for name in dc2.rack3 rack3.dc2 dc2--rack3; do
        equal "$(ask $transport +short $name.$Z A | sort)" "$(printf '127.0.1.23%s\n' 1 2)" "$name: its two nodes"
    done
    equal "$(ask $transport +short $Z AAAA)" ::1 "AAAA at the apex"
    equal "$(ask $transport +short dc1.rack1.$Z AAAA)" ::1 "AAAA of the rack that has one"
    reply=$(ask $transport dc2.$Z AAAA)
    expect "$reply" 'status: NOERROR' "AAAA of a datacenter without IPv6: no error"
    expect "$reply" 'ANSWER: 0, AUTHORITY: 1,' "and no data"
    expect "$reply" '^alternator\.local\..*[[:space:]]5[[:space:]]+IN[[:space:]]+SOA' "with the SOA, TTL 5"
    reply=$(ask $transport nothing.$Z A)
    expect "$reply" 'status: NXDOMAIN' "an unknown name"
    expect "$reply" 'flags: qr aa .*ANSWER: 0, AUTHORITY: 1,' "with the SOA"
    reply=$(ask $transport rack1.$Z A)
    expect "$reply" 'status: NOERROR' "an empty non-terminal is no NXDOMAIN"
    expect "$reply" 'ANSWER: 0, AUTHORITY: 1,' "but NODATA"
    reply=$(ask $transport _tcp.dc1.$Z A)
    expect "$reply" 'status: NOERROR.*' "_tcp.dc1 is an empty non-terminal, too"
    reply=$(ask $transport example.com A)
    expect "$reply" 'status: REFUSED' "a foreign name"
    expect "$reply" 'flags: qr rd; QUERY: 1, ANSWER: 0, AUTHORITY: 0,' "without AA and without referral"
    refuse "$reply" 'flags:[^;]* ra' "no recursion offered"
    reply=$(ask $transport _alternator._tcp.dc2.rack3.$Z SRV)
    expect "$reply" "SRV[[:space:]]+0 [0-9]+ [0-9]+ n-127-0-1-231\.alternator\.local\." "SRV names the nodes"
    equal "$(ask $transport +short n-127-0-1-231.$Z A)" 127.0.1.231 "a node's name"
    ipv6=$(ask $transport +short _alternator._tcp.dc1.rack1.$Z SRV | grep -Eo 'n-[^ ]*' | grep -v '^n-127-')
    equal "$(ask $transport +short "$ipv6" AAAA)" ::1 "$ipv6 is the node at ::1"
    reply=$(ask $transport _explain.dc1.rack1.$Z TXT)
    expect "$reply" 'scope=dc1/rack1 chain=dc1/rack1>dc1 epoch=[0-9]+' "the explanation names scope, chain and epoch"
    expect "$reply" '"in 127\.0\.1\.111 dc1/rack1: up' "and the nodes"
    reply=$(ask $transport $Z NS)
    expect "$reply" 'NS[[:space:]]+ns1\.alternator\.local\.' "NS"
    expect "$reply" '^ns1\.alternator\.local\..*[[:space:]]A[[:space:]]+127\.0\.0\.1' "with glue"
    reply=$(ask $transport +short $Z SOA)
    expect "$reply" '^ns1\.alternator\.local\. hostmaster\.alternator\.local\. [0-9]+ ' "SOA"
    expect "$(ask $transport $Z ANY)" 'HINFO[[:space:]]+"RFC8482" ""' "ANY gets one HINFO"
    expect "$(ask $transport $Z TYPE65280)" 'status: NOERROR.*' "an unknown type: NODATA"
    expect "$(ask $transport $Z MX)" 'ANSWER: 0, AUTHORITY: 1,' "MX: NODATA"
    expect "$(ask $transport DC1.rAcK1.aLtErNaToR.LoCaL A)" '^;DC1\.rAcK1\.aLtErNaToR\.LoCaL\.' "the question's case comes back"
    expect "$(ask $transport +qr DC1.rAcK1.aLtErNaToR.LoCaL A)" '^DC1\.rAcK1\.aLtErNaToR\.LoCaL\.[[:space:]]+5' "and leads to an answer"
    expect "$(ask $transport version.bind CH TXT)" 'status: REFUSED' "class CHAOS"
    expect "$(ask $transport +opcode=NOTIFY $Z SOA)" 'opcode: NOTIFY, status: NOTIMP' "NOTIFY"
    expect "$(ask $transport +opcode=UPDATE $Z SOA)" 'opcode: UPDATE, status: (NOTIMP|FORMERR)' "UPDATE"
done

echo "-- EDNS"
reply=$(ask +noedns $Z A)
expect "$reply" 'ANSWER: 8, AUTHORITY: 0, ADDITIONAL: 0' "no OPT where none was sent"
expect "$(ask +bufsize=512 $Z A)" 'flags: qr aa rd; QUERY: 1, ANSWER: 8' "eight addresses fit 512 octets"
expect "$(ask +bufsize=4096 $Z A)" 'udp: 1232' "our size, whatever the client's"
reply=$(ask +noedns +ignore $Z TXT _explain.$Z TXT)
expect "$reply" 'flags: qr aa tc rd; QUERY: 1, ANSWER: 0' "an explanation of 13 nodes does not fit 512 octets: TC, empty"
expect "$(ask +noedns _explain.$Z TXT)" 'Truncated, retrying in TCP mode' "and dig comes back over TCP"
for option in +cookie +nsid +subnet=0/0 +subnet=10.1.2.0/24 +expire +keepalive +ednsopt=65001:c0ffee +padding=128 +ednsflags=0x40; do
    reply=$(ask +qr "$option" $Z A)
    expect "$reply" 'flags: qr aa rd; QUERY: 1, ANSWER: 8, AUTHORITY: 0, ADDITIONAL: 1' "$option changes nothing"
done
reply=$(ask +edns=1 +noednsnegotiation $Z A)
expect "$reply" 'status: BADVERS' "EDNS version 1"
expect "$reply" 'EDNS: version: 0' "is told that we speak 0"
expect "$(ask +dnssec $Z A)" 'flags: do' "DO is echoed" 
expect "$(ask +norecurse $Z A)" 'flags: qr aa; QUERY' "RD is echoed, cleared as well"

echo "-- zone transfer, several questions on one connection"
expect "$(in_ns demo dig "${DIG_ARGS[@]}" $Z AXFR 2>&1 || true)" 'Transfer failed' "AXFR is refused"
reply=$(ask +tcp +keepopen $Z A dc1.$Z A nothing.$Z A)
equal "$(grep -c 'status: N' <<<"$reply")" 3 "three questions, three replies"

echo "-- asked from the nodes' own subnet"
DIG_ARGS=(-b 127.0.1.1 -p 5300 @127.0.0.1)
equal "$(ask +short $Z A | wc -l)" 1 "one address"
equal "$(for _ in $(seq 96); do ask +short dc2.rack3.$Z A; done | sort | uniq -c | awk '$1 >= 24' | wc -l)" 2 "each node of a rack leads in its turn"

echo "-- the end"
pid=$SPAWNED
kill -INT "$pid"
within 2 sh -c "! kill -0 $pid 2>/dev/null" || fail "Ctrl-C does not end the demo within 2 s"
status=0
wait "$pid" || status=$?
equal $status 0 "Ctrl-C ends the demo with status 0"
end "$pid"
finish
