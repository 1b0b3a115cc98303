#!/usr/bin/env bash
# boto3 with its defaults, at http://alternator.local:8000: how calls spread over the nodes, and that a node's death in
# the middle fails none of them.
source "$(dirname "$0")/lib.sh"
begin boto3
source "$E2E/spread.sh"

venv
load() { # NAMESPACE ARGUMENT...
    local namespace=$1
    shift
    # Without the user's own settings, and without looking for credentials elsewhere. The limit is for a
    # server that is gone: boto3 tries long and often.
    in_ns "$namespace" timeout 180 env -u AWS_PROFILE AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null \
        AWS_EC2_METADATA_DISABLED=true no_proxy='*' "$VENV/bin/python" "$E2E/boto3_load.py" "$@"
}

# per_node WHAT: prints the calls of each node since the last time, into $SHARES as well.
declare -A SEEN
per_node() {
    local address place api rest now
    SHARES=()
    while read -r address place api rest; do
        now=${api#api=}
        SHARES+=($((now - ${SEEN[$address]:-0})))
        SEEN[$address]=$now
    done < <(tell counters)
    echo "    calls per node: ${SHARES[*]}"
}
sum() { local total=0 one; for one; do total=$((total + one)); done; echo $total; }
used() { local nodes=0 one; for one; do [ "$one" = 0 ] || nodes=$((nodes + 1)); done; echo $nodes; }

NODES=(10.99.1.{1..8})
# Requests of SDKs are counted at the nodes; reads of their tables would be requests of the same kind.
export ALTERNATOR_DNS_CLUSTER__DISCOVERY=localnodes
start_cluster "${NODES[@]}"

for namespace in inside outside; do
    echo "-- $namespace: a client for each call, 200 calls"
    load $namespace clients 200 1 || fail "$namespace: a call failed"
    per_node
    equal "$(sum "${SHARES[@]}")" 200 "each call reached one node, once"
    for share in "${SHARES[@]}"; do
        [ "$share" -ge 15 ] && [ "$share" -le 37 ] || fail "a node got $share of 200 calls, its share is 25"
    done
    ok "each node within 60-150 % of its share"

    echo "-- $namespace: a client for each five calls, 400 calls"
    load $namespace clients 400 5 || fail "$namespace: a call failed"
    per_node
    equal "$(sum "${SHARES[@]}")" 400 "each call reached one node, once"
    for share in "${SHARES[@]}"; do
        [ "$share" -ge 30 ] && [ "$share" -le 75 ] || fail "a node got $share of 400 calls, its share is 50"
    done
    ok "each node within 60-150 % of its share"

    echo "-- $namespace: one client, 20 threads, 400 calls"
    load $namespace threads 400 20 || fail "$namespace: a call failed"
    per_node
    equal "$(sum "${SHARES[@]}")" 400 "each call reached one node, once"
    # As many nodes as connections, more or less: 20 connections over 8 nodes leave few of them out.
    [ "$(used "${SHARES[@]}")" -ge 6 ] || fail "only $(used "${SHARES[@]}") of 8 nodes were used"
    ok "$(used "${SHARES[@]}") of 8 nodes were used"
done

for namespace in inside outside; do
    echo "-- $namespace: a node dies in the middle"
    # The default TTL of 5 s, and 3 s to notice.
    load $namespace death 21 10.99.1.3 "$WORK/commands" 8 || fail "$namespace: failed calls, or the dead node was tried for too long"
    per_node
    tell start 10.99.1.3
    within 60 all_in 8 || fail "10.99.1.3 does not come back"
    ok "$namespace: no call failed, the dead node was left alone; it is back"
done
finish
