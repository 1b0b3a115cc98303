#!/usr/bin/env bash
# Address families: clusters of IPv4 nodes, of IPv6 nodes and of both, asked by clients that have one family only.
source "$(dirname "$0")/lib.sh"
begin families
Z=alternator.internal

namespace srv
namespace four
namespace six
link srv v4 four c4
link srv v6 six c6
V4=(10.99.1.{1..4})
V6=(fd00:99:1::{1..4})
address srv v4 10.99.0.53/24
address srv v6 fd00:99::53/64
address srv lo "${V4[@]/%//32}" "${V6[@]/%//128}"
address four c4 10.99.0.10/24
address six c6 fd00:99::10/64
ip -n "${NS[four]}" route add 10.99.1.0/24 via 10.99.0.53
ip -n "${NS[six]}" route add fd00:99:1::/64 via fd00:99::53
resolves_at four 10.99.0.53
resolves_at six fd00:99::53

# start SEED NODE...: a cluster and a server that has to find it by one seed, and answers both families' clients.
start() {
    local seed=$1
    shift
    rm -f "$WORK/commands"
    cluster srv "$@"
    CLUSTER_PID=${PIDS[-1]}
    server srv serve --zone $Z --seed "$seed" --listen 10.99.0.53:53 --listen '[fd00:99::53]:53'
    within 30 grep -q 'address=\[fd00:99::53\]' "$WORK/server.log" || fail "the server does not start"
}

stop() {
    end "$SERVER_PID"
    end "$CLUSTER_PID"
}

# from NAMESPACE ARGUMENT...: dig as a client of that family.
from() {
    DIG_NS=$1
    shift
    if [ "$DIG_NS" = four ]; then DIG_ARGS=(-4 @10.99.0.53); else DIG_ARGS=(-6 @fd00:99::53); fi
    ask "$@"
}

# lists NAME TYPE COUNT: asked over either family, in one answer after another, that many different addresses come back.
lists() {
    local namespace
    for namespace in four six; do
        within 60 all_of "$namespace" "$@" || fail "over $namespace: not $3 different records for $1 $2"
        ok "over $namespace: $3 different records for $1 $2"
    done
}

all_of() {
    local namespace=$1 name=$2 type=$3 count=$4
    [ "$(for _ in $(seq $((8 * count))); do from "$namespace" +short "$name" "$type"; done | sort -u | wc -l)" = "$count" ]
}

named() {
    [ "$(from "$1" +short dc1.rack2.$Z A)" = 10.99.1.2 ]
}

# connects NAMESPACE NAME: a client's own resolver and connect(), as an SDK would.
connects() {
    local reply
    reply=$(in_ns "$1" timeout 20 python3 -c '
import sys, urllib.request
print(urllib.request.urlopen(f"http://{sys.argv[1]}:8000/", timeout=5).read().decode())' "$2") ||
        fail "$1: no connection to $2"
    equal "$reply" "healthy: $2:8000" "$1 connects to $2"
}

for transport in +notcp +tcp; do
    echo "-- IPv4 nodes only, $transport"
    start 10.99.1.1 dc1/rack1=10.99.1.1 dc1/rack2=10.99.1.2 dc2/rack1=10.99.1.3 dc2/rack1=10.99.1.4
    lists $Z A 4
    for namespace in four six; do
        reply=$(from $namespace $transport $Z AAAA)
        expect "$reply" 'status: NOERROR' "over $namespace: AAAA is no error"
        expect "$reply" 'ANSWER: 0, AUTHORITY: 1,' "over $namespace: but NODATA"
    done
    connects four $Z
    stop

    echo "-- IPv6 nodes only, $transport"
    start fd00:99:1::1 dc1/rack1=fd00:99:1::1 dc1/rack2=fd00:99:1::2 dc2/rack1=fd00:99:1::3 dc2/rack1=fd00:99:1::4
    lists $Z AAAA 4
    for namespace in four six; do
        reply=$(from $namespace $transport $Z A)
        expect "$reply" 'status: NOERROR' "over $namespace: A is no error"
        expect "$reply" 'ANSWER: 0, AUTHORITY: 1,' "over $namespace: but NODATA"
    done
    connects six $Z
    expect "$(from six $transport n-fd00-99-1--1.$Z AAAA)" 'AAAA[[:space:]]+fd00:99:1::1$' "a node's name"
    stop
done

echo "-- nodes of both families, found by a seed of the other one's"
start fd00:99:1::1 dc1/rack1=10.99.1.1 dc1/rack1=fd00:99:1::1 dc1/rack2=10.99.1.2 dc2/rack1=fd00:99:1::3
lists $Z A 2
lists $Z AAAA 2
connects four $Z
connects six $Z
equal "$(from six +short _alternator._tcp.$Z SRV | wc -l)" 4 "SRV names the nodes of both"

echo "-- the names of datacenters and racks, which nobody configured"
for namespace in four six; do
    within 30 named $namespace || fail "dc1.rack2.$Z does not appear"
    equal "$(from $namespace +short dc1.rack2.$Z A)" 10.99.1.2 "over $namespace: a rack of IPv4"
    expect "$(from $namespace dc1.rack2.$Z AAAA)" 'ANSWER: 0, AUTHORITY: 1,' "over $namespace: which has no IPv6, whatever its datacenter has"
    equal "$(from $namespace +short dc2.$Z AAAA)" fd00:99:1::3 "over $namespace: a datacenter of IPv6"
done

echo "-- the only IPv6 node of a rack dies: AAAA falls back to its datacenter, and is never empty"
tell stop fd00:99:1::1 >/dev/null
# The last one of the family in dc1 is kept as the last known good; A goes on with the node that lives.
for _ in $(seq 60); do
    equal "$(from six +short dc1.rack1.$Z AAAA)" fd00:99:1::1 "AAAA: the last known" >/dev/null
    equal "$(from four +short dc1.rack1.$Z A)" 10.99.1.1 "A: the node that lives" >/dev/null
done
ok "AAAA keeps the last known, A the node that lives, 60 times each"
tell start fd00:99:1::1 >/dev/null
stop
finish
