#!/usr/bin/env bash
# A replacement each second for a minute (REPLACEMENTS sets another number) under dnsperf, over UDP and over TCP at once:
# not one query may be lost, and no connection.
#
# Needs dnsperf, besides what lib.sh needs. RATE: queries a second, over each of both.
source "$(dirname "$0")/lib.sh"
begin replace

REPLACEMENTS=${REPLACEMENTS:-60}
RATE=${RATE:-2000}
Z=alternator.test
command -v dnsperf >/dev/null || fail "needs dnsperf (Debian package dnsperf)"

namespace dns
address dns lo 10.98.0.{1..6}/32 10.98.0.53/32
cluster dns dc1/rack1=10.98.0.1 dc1/rack1=10.98.0.2 dc1/rack2=10.98.0.3 dc1/rack2=10.98.0.4 dc2/rack1=10.98.0.5 \
    dc2/rack1=10.98.0.6
DIG_NS=dns
DIG_ARGS=(-p 53 @10.98.0.53)
cat >"$WORK/config.toml" <<CONFIG
[server]
listen = ["10.98.0.53:53"]
state_dir = "$WORK/state"
workers = 2
[admin]
listen = []
[zones."$Z"]
answers = 0
[zones."$Z".cluster]
seeds = ["10.98.0.1"]
port = 8000
[zones."$Z".cluster.datacenters]
dc1 = ["rack1", "rack2"]
dc2 = ["rack1"]
CONFIG
printf '%s A\n' $Z dc1.$Z dc1.rack1.$Z dc1.rack2.$Z dc2.$Z >"$WORK/queries"

# One process after the other, each in the place of the one before.
serve_next() {
    spawn "${NS[dns]}" "server-$1" "$SERVER" serve --config "$WORK/config.toml" "${@:3}"
    NEXT=$SPAWNED
    within 20 grep -q "$2" "$WORK/server-$1.log" || fail "process $1 does not serve"
}

# Waits for a process that ends by itself.
gone() {
    local other rest=()
    wait "$1" || fail "process $1 ended with $?"
    for other in "${PIDS[@]}"; do [ "$other" = "$1" ] || rest+=("$other"); done
    PIDS=("${rest[@]}")
}

# load NAME SECONDS OPTION...: dnsperf, in the background.
load() {
    local name=$1 seconds=$2
    shift 2
    ip netns exec "${NS[dns]}" dnsperf -s 10.98.0.53 -p 53 -d "$WORK/queries" -l "$seconds" -Q "$RATE" -t 5 "$@" \
        >"$WORK/$name.dnsperf" 2>&1 9>&- &
    LOADS+=($!)
}

number() {
    sed -n "s/^ *$2: *\([0-9]*\).*/\1/p" "$WORK/$1.dnsperf"
}

told() {
    echo "  $1: $(number "$1" 'Queries sent') sent, $(number "$1" 'Queries completed') answered," \
        "$(number "$1" 'Queries lost') lost; $(grep -E 'Average Latency' "$WORK/$1.dnsperf" | tr -s ' ')"
}

echo "-- $REPLACEMENTS replacements, one each second"
serve_next 0 'answering over UDP and TCP'
CURRENT=$NEXT
within 30 answered $Z A 6 || fail "not all nodes are in"
LOADS=()
load udp $((REPLACEMENTS + 4)) -c 8 -q 200
load tcp $((REPLACEMENTS + 4)) -m tcp -c 20 -q 200
sleep 1
ENDED=()
for round in $(seq "$REPLACEMENTS"); do
    started=$(date +%s%N)
    serve_next "$round" 'serving in the place of the other process' --replace
    ENDED+=("$CURRENT")
    CURRENT=$NEXT
    rest=$((1000000000 - $(date +%s%N) + started))
    [ $rest -le 0 ] || sleep "0.$(printf '%09d' $rest)"
done
# The name in cleanup's list goes before the process does.
for pid in "${ENDED[@]}"; do gone "$pid"; done
for pid in "${LOADS[@]}"; do wait "$pid" || fail "dnsperf: $(cat "$WORK"/*.dnsperf)"; done
told udp
told tcp
equal "$(number udp 'Queries lost')" 0 "UDP: no query lost"
equal "$(number tcp 'Queries lost')" 0 "TCP: no query lost"
for name in udp tcp; do
    equal "$(number $name 'Queries sent')" "$(number $name 'Queries completed')" "$name: each query has its answer"
    refuse "$(cat "$WORK/$name.dnsperf")" '[Ww]arning|[Ee]rror|SERVFAIL|REFUSED' "$name: nothing else happened"
done
refuse "$(cat "$WORK"/server-*.log)" 'ERROR|lost=[1-9]|panicked|in the middle of something' "the logs are quiet"
equal "$(grep -l 'this process ends' "$WORK"/server-*.log | wc -l)" "$REPLACEMENTS" "all but the last have ended"
answered $Z A 6 || fail "six nodes are no longer answered"
ok "six nodes are still answered"
end "$CURRENT"
finish
