#!/usr/bin/env bash
# A million malformed datagrams and ten thousand broken TCP streams against the server, with good queries in between
# that must all be answered; then a quarter of that with every protection configured, half of it through proxies. Its
# memory and its descriptors are the same before and after, its log stays short, and it ends as it should. HOSTILE_SEED
# repeats a run; HOSTILE_DATAGRAMS and HOSTILE_STREAMS say how much is sent.
source "$(dirname "$0")/lib.sh"
begin hostile

# Lines that a server may log in all of this: those of its start, and some for nodes that a busy machine is late to
# probe; of each worker, one in ten seconds that it would limit the rate, and one a minute that it has no place left.
MOST_LINES=$((60 + 10 * $(nproc)))

namespace srv
NODES=(127.0.9.{1..12})
places=()
for node in "${NODES[@]}"; do places+=("dc1/rack$((${#places[@]} % 3 + 1))=$node"); done
cluster srv "${places[@]}"
DIG_NS=srv
DIG_ARGS=(-p 53 @127.0.0.1)
all_in() { [ "$(ask +short +tcp TXT _explain.alternator.local 2>/dev/null | grep -c '^"in ')" = ${#NODES[@]} ]; }
# The sender holds more connections than many systems allow a process at first.
ulimit -n 4096

# survives DATAGRAMS STREAMS SENDER-OPTION... -- SERVE-OPTION...: a server with these options, from its start to its end.
survives() {
    local datagrams=$1 streams=$2 options=() lines status=0
    shift 2
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    server srv serve "$@"
    within 60 all_in || fail "not all nodes come in: $(ask +tcp TXT _explain.alternator.local)"
    in_ns srv "$HOSTILE" --server 127.0.0.1:53 --pid "$SERVER_PID" ${HOSTILE_SEED:+--seed "$HOSTILE_SEED"} \
        --datagrams "$datagrams" --streams "$streams" "${options[@]}" "${NODES[@]}" ||
        fail "see above; HOSTILE_SEED repeats it"
    ok "every good query was answered, and nothing has grown"

    alive
    equal "$(ask +short n-127-0-9-3.alternator.local)" 127.0.9.3 "the server answers over UDP"
    equal "$(ask +short +tcp n-127-0-9-4.alternator.local)" 127.0.9.4 "and over TCP"
    refuse "$(cat "$WORK/server.log")" 'panic|RUST_BACKTRACE| ERROR ' "no panic and no error in its log"
    lines=$(wc -l <"$WORK/server.log")
    [ "$lines" -le $MOST_LINES ] || fail "$lines lines of log"
    ok "$lines lines of log"

    kill -TERM "$SERVER_PID"
    within 3 sh -c "! kill -0 $SERVER_PID 2>/dev/null" || fail "SIGTERM does not end it"
    wait "$SERVER_PID" || status=$?
    equal $status 0 "SIGTERM ends it with status 0"
    end "$SERVER_PID"
}

echo "-- as it is by default"
survives "${HOSTILE_DATAGRAMS:-1000000}" "${HOSTILE_STREAMS:-10000}" -- \
    --zone alternator.local --seed "${NODES[0]}" --listen 127.0.0.1:53

echo "-- with every protection, behind proxies"
cat >"$WORK/all.toml" <<TOML
[server]
listen = ["127.0.0.1:53"]
identity = "hostile"
version = "hostile"
proxy_from = ["127.0.5.0/24"]
[[server.access]]
deny = ["127.0.4.0/28"]
denied = "drop"
[server.cookies]
policy = "required"
[server.tcp]
connections = 200
connections_per_client = 20
queries = 2000
idle = "10s"
lifetime = "10m"
[server.rate_limit]
responses_per_second = 10
dry_run = true
[zones."alternator.local"]
access = { deny = ["127.0.4.16/28"] }
cluster = { seeds = ["${NODES[0]}"] }
TOML
survives $((${HOSTILE_DATAGRAMS:-1000000} / 4)) $((${HOSTILE_STREAMS:-10000} / 4)) --proxies -- --config "$WORK/all.toml"
finish
