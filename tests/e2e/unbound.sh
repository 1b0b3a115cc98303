#!/usr/bin/env bash
# Debian's unbound at its strictest in front of the server: query name minimisation, 0x20, hardening. Resolves every
# kind of name, and follows a node's death.
source "$(dirname "$0")/lib.sh"
begin unbound

namespace srv
address srv lo 10.99.1.{1,2,3,4,5,6}/32 fd00:99:1::1/128 fd00:99:1::2/128
cluster srv dc1/rack1=10.99.1.{1,2} dc1/rack2=10.99.1.3 dc1/rack1=fd00:99:1::1 \
    dc2/rack1=10.99.1.{4,5} dc2/rack_two=10.99.1.6 dc2/rack1=fd00:99:1::2

cat >"$WORK/alternator.local.zone" <<'ZONE'
$TTL 5
@        SOA    ns1 hostmaster 1 1h 10m 7d 5s
@        NS     ns1
ns1      A      127.0.0.1
static   A      192.0.2.1
static   AAAA   2001:db8::1
alias    CNAME  dc1.rack2
away     CNAME  static
a.b.c    TXT    "deep"
*.wild   TXT    "anything"
*.walias CNAME  dc2
ZONE
cat >"$WORK/server.toml" <<TOML
[server]
listen = ["127.0.0.1:5300"]
[zones."alternator.local"]
file = "$WORK/alternator.local.zone"
[zones."alternator.local".cluster]
seeds = ["10.99.1.1", "10.99.1.4"]
datacenters = { dc1 = ["rack1", "rack2"], dc2 = ["rack1", "rack_two"] }
[[zones."alternator.local".scopes]]
label = "web"
chain = ["dc1/rack1", "dc1", "cluster"]
TOML
in_ns srv "$SERVER" check --config "$WORK/server.toml" >"$WORK/check.log" 2>&1 || fail "check"
server srv serve --config "$WORK/server.toml"

cat >"$WORK/unbound.conf" <<CONF
server:
    interface: 127.0.0.1
    chroot: ""
    directory: "$WORK"
    pidfile: ""
    username: ""
    use-syslog: no
    logfile: ""
    val-log-level: 2
    num-threads: 2
    do-not-query-localhost: no
    domain-insecure: "alternator.local"
    module-config: "validator iterator"
    qname-minimisation: yes
    qname-minimisation-strict: yes
    use-caps-for-id: yes
    harden-short-bufsize: yes
    harden-large-queries: yes
    harden-glue: yes
    harden-dnssec-stripped: yes
    harden-below-nxdomain: yes
    harden-referral-path: yes
    harden-algo-downgrade: yes
    hide-identity: yes
    aggressive-nsec: yes
    minimal-responses: no
stub-zone:
    name: "alternator.local"
    stub-addr: 127.0.0.1@5300
    stub-prime: no
remote-control:
    control-enable: no
CONF
unbound-checkconf "$WORK/unbound.conf" >/dev/null
spawn "${NS[srv]}" unbound unbound -d -c "$WORK/unbound.conf"

DIG_NS=srv
DIG_ARGS=(@127.0.0.1)
Z=alternator.local
within 60 answered $Z A 6 && within 60 answered $Z AAAA 1 || fail "unbound does not resolve the apex: $(ask $Z A)"
# The AAAA answer holds one address: both nodes must have come in before shares are counted.
within 60 sh -c "ip netns exec ${NS[srv]} dig +short -p 5300 @127.0.0.1 TXT _explain.$Z | grep -c '^\"in ' | grep -qx 8" ||
    fail "not all 8 nodes come in"

# The cache must not hide the server: what came before the last node did has left it after its TTL.
DIG_ARGS=(@127.0.0.1 +nocookie)
addresses() { ask +short "$1" "$2" | grep -E '^[0-9a-f.:]+$' | sort; }
V4=$(printf '10.99.1.%s\n' 1 2 3 4 5 6)
settled() { [ "$(ask +short "$1" "$2" | sort)" = "$3" ]; }

echo "-- every kind of name"
all() { # NAME ADDRESS...
    local name=$1
    shift
    within 30 settled "$name" A "$(printf '%s\n' "$@")" || fail "$name A: $(ask "$name" A)"
    ok "$name A: $*"
}
all $Z $V4
for name in dc1 DC1; do all $name.$Z 10.99.1.{1,2,3}; done
all dc2.$Z 10.99.1.{4,5,6}
for name in dc1.rack1 rack1.dc1 dc1--rack1; do all $name.$Z 10.99.1.{1,2}; done
for name in dc2.rack-two rack-two.dc2 dc2--rack-two dc2.rack_two rack_two.dc2 dc2--rack_two; do all $name.$Z 10.99.1.6; done
all web.$Z 10.99.1.{1,2}
all n-10-99-1-3.$Z 10.99.1.3
all ns1.$Z 127.0.0.1
all static.$Z 192.0.2.1
equal "$(addresses n-fd00-99-1--1.$Z AAAA)" fd00:99:1::1 "n-fd00-99-1--1 AAAA"
equal "$(addresses static.$Z AAAA)" 2001:db8::1 "static AAAA"
for name in dc1 dc1.rack1 rack1.dc1 dc1--rack1 web; do equal "$(addresses $name.$Z AAAA)" fd00:99:1::1 "$name AAAA"; done
expect "$(addresses $Z AAAA)" '^fd00:99:1::[12]$' "apex AAAA: one of two"
reply=$(ask +short alias.$Z A)
equal "$reply" "$(printf 'dc1.rack2.%s.\n10.99.1.3' $Z)" "a static CNAME to a rack"
equal "$(ask +short away.$Z A)" "$(printf 'static.%s.\n192.0.2.1' $Z)" "a static CNAME to a static name"
equal "$(ask +short x.walias.$Z A | head -1)" "dc2.$Z." "a wildcard CNAME to a datacenter"
equal "$(ask +short x.walias.$Z A | tail -n +2 | sort)" "$(printf '10.99.1.%s\n' 4 5 6)" "and its addresses"
equal "$(ask +short x.y.wild.$Z TXT)" '"anything"' "a wildcard, two labels deep"
equal "$(ask +short a.b.c.$Z TXT)" '"deep"' "a static record below two empty non-terminals"
expect "$(ask _alternator._tcp.$Z SRV)" "SRV[[:space:]]+0 1 8000 n-10-99-1-1\.$Z\." "SRV at the apex"
equal "$(ask +short _alternator._tcp.dc2.rack-two.$Z SRV)" "0 1 8000 n-10-99-1-6.$Z." "SRV of a rack"
expect "$(ask +short _explain.dc1.rack1.$Z TXT)" '"in 10\.99\.1\.1 dc1/rack1: up' "TXT _explain"
equal "$(ask +short $Z NS)" "ns1.$Z." "NS"
expect "$(ask +short $Z SOA)" "^ns1\.$Z\. hostmaster\.$Z\. " "SOA"

echo "-- what there is not"
status_of() { ask "$1" "$2" | sed -n 's/.*status: \([A-Z]*\),.*/\1/p'; }
for question in "dc2.rack-two.$Z AAAA" "static.$Z TXT" "$Z MX" "rack1.$Z A" "_tcp.$Z A" "b.c.$Z A" "c.$Z A" "wild.$Z A" \
    "n-10-99-1-3.$Z AAAA" "_explain.$Z A"; do
    reply=$(ask ${question})
    expect "$reply" 'status: NOERROR' "$question: no error"
    expect "$reply" 'ANSWER: 0, AUTHORITY: 1,' "$question: no data"
done
for question in "nothing.$Z A" "nothing.$Z AAAA" "rack9.dc1.$Z A" "dc1.rack9.$Z A" "a.b.c.d.e.$Z A" "n-10-99-1-99.$Z A" "dc1--.$Z A"; do
    equal "$(status_of ${question})" NXDOMAIN "$question: NXDOMAIN"
done

echo "-- a node dies: unbound's clients are rid of it within its TTL + 3 s"
tell stop 10.99.1.2
since=$(date +%s%N)
asked=0
rid=
while [ $(($(date +%s%N) - since)) -lt 12000000000 ]; do
    reply=$(ask $Z A dc1.rack1.$Z A)
    equal "$(grep -c 'status: NOERROR' <<<"$reply")" 2 "both answered" >/dev/null
    equal "$(awk '$4 == "A" { seen[$1] = 1 } END { print length(seen) }' <<<"$reply")" 2 "both with addresses" >/dev/null
    asked=$((asked + 2))
    if grep -q '10\.99\.1\.2$' <<<"$reply"; then rid=; elif [ -z "$rid" ]; then rid=$((($(date +%s%N) - since) / 1000000)); fi
    sleep 0.05
done
[ -n "$rid" ] || fail "12 s later 10.99.1.2 is still answered"
[ "$rid" -le 8000 ] || fail "10.99.1.2 was answered for $rid ms, more than TTL 5 s + 3 s"
ok "no longer answered after $rid ms (allowed: 8000), $asked answers, none failed, none empty"

echo "-- the whole rack dies: its name answers with its datacenter; it returns"
tell stop 10.99.1.1
within 30 settled dc1.rack1.$Z A 10.99.1.3 || fail "no fallback: $(ask dc1.rack1.$Z A)"
ok "dc1.rack1 falls back to dc1"
tell start 10.99.1.1
within 30 settled dc1.rack1.$Z A 10.99.1.1 || fail "no way back: $(ask dc1.rack1.$Z A)"
ok "and comes back"

refuse "$(cat "$WORK/unbound.log")" 'error|capsforid|lame' "unbound had nothing to complain about"
finish
