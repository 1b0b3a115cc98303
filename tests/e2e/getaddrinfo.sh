#!/usr/bin/env bash
# Spread at real clients: 400 look-ups by glibc's getaddrinfo from inside the nodes' subnet and from outside it, the
# server in its default configuration. Each node must be first in 60 to 150 % of its share.
source "$(dirname "$0")/lib.sh"
begin getaddrinfo
source "$E2E/spread.sh"

V4=(10.99.1.{1..8})
V6=(fd00:99:1::{1..4})
start_cluster "${V4[@]}" "${V6[@]}"

counted() { # NAMESPACE FAMILY NODE...
    local namespace=$1 family=$2
    shift 2
    echo "-- $namespace, 400 look-ups, family $family: first address"
    in_ns "$namespace" timeout 120 python3 "$E2E/getaddrinfo.py" "$family" 400 "$@" || fail "$namespace, family $family: uneven, or no answer"
    ok "$namespace, family $family: each node within 60-150 % of its share"
}
for round in 1 2; do
    for namespace in inside outside; do
        counted $namespace 4 "${V4[@]}"
        counted $namespace 6 "${V6[@]}"
        # Both families at once: glibc prefers IPv6, so the IPv6 nodes share all of it.
        counted $namespace any "${V6[@]}"
    done
    echo "-- round $round done"
done

echo "-- the other way round: with all addresses in every answer, glibc's sorting must show, or this test is blind"
end "$SERVER_PID"
server srv serve --zone alternator.local --seed 10.99.1.1 --listen 10.99.0.53:53 --answers 0
within 60 all_in 12 || fail "not all nodes come in"
status=0
in_ns inside timeout 120 python3 "$E2E/getaddrinfo.py" 4 400 "${V4[@]}" || status=$?
equal $status 3 "inside, answers = 0: uneven"
finish
