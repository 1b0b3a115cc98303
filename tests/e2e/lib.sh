# Common part of the end-to-end scripts; sourced, not run.
#
# A script: `source lib.sh; begin NAME`, then checks, then `finish`. Everything started by `spawn` is ended and every
# namespace removed when the script ends, however it ends; after a failure the logs of all that was spawned are shown.
# Nothing here asks anything outside this machine: all of it runs in network namespaces that have no way out.
#
# Needs root, iproute2, dig. E2E_BIN_DIR names the folder of the built programs (without it: a debug build, made now),
# E2E_CLUSTER and E2E_HOSTILE the simulated cluster and the sender of bad input where these are elsewhere.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
E2E=$ROOT/tests/e2e
NAME= WORK= DIG_ARGS=()
PIDS=() NAMESPACES=()
export LC_ALL=C

begin() {
    NAME=$1
    [ "$(id -u)" = 0 ] || { echo "$NAME: needs root, for network namespaces" >&2; exit 1; }
    if [ -z "${E2E_BIN_DIR:-}" ]; then
        (cd "$ROOT" && cargo build --quiet --bin alternator-dns --example simulated_cluster --example hostile)
        E2E_BIN_DIR=$(cd "$ROOT" && cargo metadata --no-deps --format-version 1 |
            python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/debug
    fi
    SERVER=$E2E_BIN_DIR/alternator-dns
    CLUSTER=${E2E_CLUSTER:-$E2E_BIN_DIR/examples/simulated_cluster}
    HOSTILE=${E2E_HOSTILE:-$E2E_BIN_DIR/examples/hostile}
    WORK=$(mktemp -d "/tmp/e2e-$NAME.XXXXXX")
    # Resolvers that give up root must still read their configuration here.
    chmod 755 "$WORK"
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    echo "== $NAME"
}

finish() {
    # A program that ended by itself may have been needed for what was checked.
    alive
    echo "$NAME: ok"
}

# Says what went wrong, and ends the script.
fail() {
    echo "$NAME: FAILED: $*" >&2
    exit 1
}

ok() {
    echo "  ok: $*"
}

cleanup() {
    local status=$? pid namespace log
    trap - EXIT INT TERM
    set +e
    if [ $status != 0 ]; then
        # What is gone now ended by itself, or somebody else ended it: most likely the cause of all.
        for pid in "${PIDS[@]}"; do
            kill -0 "$pid" 2>/dev/null || echo "---- no longer running: $(cat "$WORK/$pid.what")" >&2
        done
        for log in "$WORK"/*.log; do
            [ -s "$log" ] && { echo "---- ${log##*/}, last lines"; tail -n 40 "$log"; } >&2
        done
        echo "$NAME: FAILED (exit $status)" >&2
    fi
    for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null; done
    for _ in $(seq 30); do
        [ -z "$(still_alive)" ] && break
        sleep 0.1
    done
    for pid in $(still_alive); do kill -9 "$pid" 2>/dev/null; done
    for namespace in "${NAMESPACES[@]}"; do
        ip netns del "$namespace" 2>/dev/null
        rm -rf "/etc/netns/${namespace:?}"
    done
    # An own /etc/netns only: rmdir leaves it where somebody else's namespaces have files in it.
    rmdir /etc/netns 2>/dev/null
    rm -rf "${WORK:?}"
    exit $status
}

still_alive() {
    local pid
    for pid in "${PIDS[@]}"; do kill -0 "$pid" 2>/dev/null && echo "$pid"; done
    return 0
}

# Fails when a spawned program is gone.
alive() {
    local pid
    for pid in "${PIDS[@]}"; do
        kill -0 "$pid" 2>/dev/null || fail "process $pid ended by itself: $(cat "$WORK/$pid.what")"
    done
}

# spawn NAMESPACE LOG COMMAND...: in the background, output into $WORK/LOG.log. `ip netns exec` execs, so that the
# process number is the program's own.
spawn() {
    local namespace=$1 log=$2
    shift 2
    ip netns exec "$namespace" "$@" >"$WORK/$log.log" 2>&1 </dev/null 9>&- &
    SPAWNED=$!
    PIDS+=("$SPAWNED")
    echo "$*" >"$WORK/$SPAWNED.what"
}

# Ends one spawned program and waits for it.
end() {
    local pid=$1 other rest=()
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    for other in "${PIDS[@]}"; do [ "$other" = "$pid" ] || rest+=("$other"); done
    PIDS=("${rest[@]}")
}

# within SECONDS COMMAND...: repeats the command until it succeeds.
within() {
    # SECONDS counts whole ones.
    local deadline=$((SECONDS + $1 + 1))
    shift
    until "$@"; do
        [ $SECONDS -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

# What comes from PyPI, in a virtual environment that is kept: $VENV.
VENV=$ROOT/.venv
venv() {
    cmp -s "$E2E/requirements.txt" "$VENV/installed" && return
    rm -rf "$VENV"
    python3 -m venv "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check -r "$E2E/requirements.txt"
    cp "$E2E/requirements.txt" "$VENV/installed"
}

# A namespace of our own, its loopback up. The name in $1 becomes unique to this process: ${NS[$1]}.
declare -A NS
namespace() {
    local full="e2e$$-$1"
    ip netns add "$full"
    NAMESPACES+=("$full")
    NS[$1]=$full
    ip -n "$full" link set lo up
    # An address is usable at once, without duplicate address detection.
    in_ns "$1" sh -c 'for all in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 >"$all"; done'
}

in_ns() {
    local namespace=${NS[$1]}
    shift
    ip netns exec "$namespace" "$@"
}

# address NAMESPACE DEVICE ADDRESS/LENGTH...
address() {
    local namespace=${NS[$1]} device=$2 one
    shift 2
    for one; do
        case $one in
            *:*) ip -n "$namespace" addr add "$one" dev "$device" nodad ;;
            *) ip -n "$namespace" addr add "$one" dev "$device" ;;
        esac
    done
}

# link NAMESPACE DEVICE NAMESPACE DEVICE: a cable between two namespaces.
link() {
    ip link add name "$2" netns "${NS[$1]}" type veth peer name "$4" netns "${NS[$3]}"
    ip -n "${NS[$1]}" link set "$2" up
    ip -n "${NS[$3]}" link set "$4" up
}

# resolves_at NAMESPACE ADDRESS: what runs in the namespace asks there, as in /etc/resolv.conf, port 53.
resolves_at() {
    local etc=/etc/netns/${NS[$1]}
    mkdir -p "$etc"
    printf 'nameserver %s\n' "$2" >"$etc/resolv.conf"
    printf 'hosts: files dns\n' >"$etc/nsswitch.conf"
}

# cluster NAMESPACE DC/RACK=ADDRESS...: a simulated cluster on port 8000; `tell` commands it.
cluster() {
    local namespace=${NS[$1]}
    shift
    mkfifo "$WORK/commands"
    # Held open for reading and writing: nobody waits for the other end, and the cluster's input ends with this script.
    exec 9<>"$WORK/commands"
    ip netns exec "$namespace" "$CLUSTER" --port 8000 "$@" <"$WORK/commands" >"$WORK/cluster.log" 2>&1 9>&- &
    PIDS+=($!)
    echo "$CLUSTER $*" >"$WORK/$!.what"
    within 30 grep -qs '^ready ' "$WORK/cluster.log" || fail "the simulated cluster does not start"
}

# tell COMMAND...: one command to the simulated cluster; prints what it answers.
tell() {
    local before
    before=$(wc -l <"$WORK/cluster.log")
    echo "$*" >&9
    within 30 told "$before" || fail "the simulated cluster does not answer: $*"
    tail -n +$((before + 1)) "$WORK/cluster.log" | grep -v '^ok$' || true
}

told() {
    local answer
    answer=$(tail -n +$(($1 + 1)) "$WORK/cluster.log" | grep -E '^(ok$|error)') || return 1
    [ "$answer" = ok ] || fail "$answer"
}

# server NAMESPACE ARGUMENT...: alternator-dns; its log at level info.
server() {
    local namespace=${NS[$1]}
    shift
    spawn "$namespace" server "$SERVER" "$@"
    SERVER_PID=$SPAWNED
}

# dig with short patience; DIG_ARGS go first, so that a script says once whom it asks.
ask() {
    in_ns "$DIG_NS" dig +time=2 +tries=2 "${DIG_ARGS[@]}" "$@" || fail "dig $*: exit $?"
}

# expect TEXT PATTERN WHAT...: the text must match the extended regular expression, line by line.
expect() {
    grep -Eq -- "$2" <<<"$1" || fail "${*:3}: no line matches $2 in:
$1"
    ok "${*:3}"
}

# refuse TEXT PATTERN WHAT...: no line may match.
refuse() {
    ! grep -Eq -- "$2" <<<"$1" || fail "${*:3}: a line matches $2 in:
$1"
    ok "${*:3}"
}

# equal GOT WANTED WHAT...
equal() {
    [ "$1" = "$2" ] || fail "${*:3}: got
$1
instead of
$2"
    ok "${*:3}"
}

# answered NAME TYPE COUNT: that many records of the type come back.
answered() {
    [ "$(in_ns "$DIG_NS" dig +short +time=1 +tries=1 "${DIG_ARGS[@]}" "$1" "$2" 2>/dev/null | grep -c '^[0-9a-f]')" = "$3" ]
}
