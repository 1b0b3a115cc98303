#!/usr/bin/env bash
# dnstap: what the server tells is captured by fstrm_capture and read by dnstap-ldns, also after the reader was away.
#
# Needs Debian's fstrm-bin and dnstap-ldns; where they are only unpacked, DNSTAP_DIR names that folder.
source "$(dirname "$0")/lib.sh"
if [ -n "${DNSTAP_DIR:-}" ]; then
    export PATH=$DNSTAP_DIR/usr/bin:$PATH LD_LIBRARY_PATH=$(echo "$DNSTAP_DIR"/usr/lib/*-linux-gnu)
fi
for program in fstrm_capture dnstap-ldns; do
    command -v $program >/dev/null || { echo "dnstap: no $program (Debian: fstrm-bin, dnstap-ldns)" >&2; exit 1; }
done
begin dnstap

namespace srv
DIG_NS=srv
printf 'www 60 A 192.0.2.1\n' >"$WORK/zone"
cat >"$WORK/config.toml" <<TOML
[server]
listen = ["127.0.0.1:5353"]
identity = "ns1.test"
[query_log]
dnstap = "$WORK/dnstap.sock"
[zones."tap.test"]
file = "zone"
TOML
DIG_ARGS=(-p 5353 @127.0.0.1)

# capture FILE: a reader of what is told from now on.
capture() {
    rm -f "$WORK/dnstap.sock"
    spawn "${NS[srv]}" capture fstrm_capture -t protobuf:dnstap.Dnstap -u "$WORK/dnstap.sock" -w "$1"
    CAPTURE_PID=$SPAWNED
    within 10 test -S "$WORK/dnstap.sock" || fail "fstrm_capture does not listen"
}

# Waits for the server to find the reader.
found() { [ "$(grep -c 'a dnstap reader is there' "$WORK/server.log")" = "$1" ]; }

capture "$WORK/first.fstrm"
server srv serve --config "$WORK/config.toml"
within 20 answered www.tap.test A 1 || fail "the server does not answer"
within 20 found 1 || fail "the server does not find the reader"
ask +tcp www.tap.test AAAA >/dev/null
ask nobody.tap.test A >/dev/null
# A reader writes its file when it ends; the server has handed over by then what was asked before.
sleep 0.5
end "$CAPTURE_PID"
first=$(dnstap-ldns -y -r "$WORK/first.fstrm")
expect "$first" 'identity: "?ns1.test' "the server's identity"
expect "$first" 'version: "?alternator-dns' "its version"
expect "$first" 'type: AUTH_QUERY' "queries"
expect "$first" 'type: AUTH_RESPONSE' "replies"
expect "$first" 'socket_protocol: UDP' "over UDP"
expect "$first" 'socket_protocol: TCP' "over TCP"
expect "$first" 'query_address: "?127.0.0.1' "the client"
expect "$first" 'www.tap.test.*IN.*A.*192.0.2.1' "the answer, read by another's library"
expect "$first" 'rcode: NXDOMAIN' "what is not there"

# Away, and back: nothing but records is lost.
answered www.tap.test A 1 || fail "not answered without a reader"
ok "answers without a reader"
capture "$WORK/second.fstrm"
again() {
    ask back.tap.test A >/dev/null
    found 2
}
within 30 again || fail "the server does not find the second reader"
ask later.tap.test A >/dev/null
sleep 0.5
end "$CAPTURE_PID"
expect "$(dnstap-ldns -y -r "$WORK/second.fstrm")" 'later.tap.test' "the second reader hears of later queries"
finish
