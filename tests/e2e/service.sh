#!/usr/bin/env bash
# The units under deploy/: what systemd says of them, and the server under their restrictions as far as that goes without
# a running systemd. Needs systemd-analyze (Debian's package systemd; E2E_SYSTEMD names the folder of an unpacked one),
# setpriv (util-linux), python3.
source "$(dirname "$0")/lib.sh"
begin service

# Most that `systemd-analyze security` may find, in tenths. 2.0 is the end of "OK".
EXPOSURE=20

SYSTEMD=${E2E_SYSTEMD:-}
if [ -n "$SYSTEMD" ]; then
    export LD_LIBRARY_PATH=$SYSTEMD/usr/lib/$(uname -m)-linux-gnu/systemd:$SYSTEMD/lib/$(uname -m)-linux-gnu/systemd
fi
[ -x "$SYSTEMD/usr/bin/systemd-analyze" ] ||
    fail "no systemd-analyze here: install Debian's package systemd, or unpack it for E2E_SYSTEMD"
analyze() { "$SYSTEMD/usr/bin/systemd-analyze" "$@"; }

# As delivered, but for where the program is.
mkdir "$WORK/units"
sed "s#/usr/local/bin/alternator-dns#$SERVER#" "$ROOT/deploy/alternator-dns.service" >"$WORK/units/alternator-dns.service"
cp "$ROOT/deploy/alternator-dns.socket" "$WORK/units/"
said=$(analyze verify --man=no "$WORK"/units/alternator-dns.{service,socket} 2>&1) || fail "verify: $said"
equal "$said" "" "systemd-analyze verify finds nothing to say"
# The test can fail: a key that does not exist is told.
sed 's/^DynamicUser=.*/&\nDynamicUsers=yes/' "$WORK/units/alternator-dns.service" >"$WORK/units/wrong.service"
said=$(analyze verify --man=no "$WORK/units/wrong.service" 2>&1) || true
expect "$said" "DynamicUsers" "and tells of what it does not know"

said=$(analyze security --offline=true --threshold=$EXPOSURE "$WORK/units/alternator-dns.service") ||
    fail "more exposed than $EXPOSURE tenths: $(tail -n 1 <<<"$said")"
ok "$(tail -n 1 <<<"$said" | sed 's/^[^A-Za-z]*//; s/[^a-zA-Z0-9]*$//')"

# By hand: nobody, with the one capability of the unit and its umask, on port 53.
namespace srv
DIG_NS=srv
in_ns srv ip addr add 10.99.2.1/32 dev lo
in_ns srv ip addr add fd99::1/128 dev lo nodad
printf '$TTL 60\n@ SOA ns1 hostmaster 1 2 3 4 5\n@ NS ns1\nns1 A 10.99.2.1\nwww A 192.0.2.1\n' >"$WORK/zone"
cat >"$WORK/server.toml" <<TOML
[server]
listen = ["10.99.2.1:53", "[fd99::1]:53"]
[admin]
listen = []
[zones."service.test"]
file = "zone"
TOML
# Where everybody may read it.
install -m 755 "$SERVER" "$WORK/alternator-dns"
mkdir "$WORK/state" "$WORK/run"
chown nobody "$WORK/state" "$WORK/run"
export ALTERNATOR_DNS_SERVER__STATE_DIR=$WORK/state RUNTIME_DIRECTORY=$WORK/run
confined() { # COMMAND...: prints how to run it so
    printf '%s\n' setpriv --reuid nobody --regid nogroup --clear-groups --no-new-privs \
        --inh-caps "-all,+net_bind_service" --ambient-caps "-all,+net_bind_service" \
        --bounding-set "-all,+net_bind_service" "$@"
}
answers() { # WHAT
    local transport address
    for address in 10.99.2.1 fd99::1; do
        for transport in +notcp +tcp; do
            equal "$(ask "@$address" $transport +short www.service.test A)" 192.0.2.1 "$1: $address, $transport"
        done
    done
}
readarray -t COMMAND < <(confined sh -c 'umask 0077; exec "$@"' sh \
    "$WORK/alternator-dns" serve --config "$WORK/server.toml")
spawn "${NS[srv]}" server "${COMMAND[@]}"
within 20 grep -q "answering over UDP and TCP.*fd99" "$WORK/server.log" || fail "it does not start"
answers "nobody with CAP_NET_BIND_SERVICE"
expect "$(cat /proc/$SPAWNED/status)" "^CapEff:.*0000000400$" "it has that capability and no other"
expect "$(cat /proc/$SPAWNED/status)" "^NoNewPrivs:.*1$" "and gets no more"
refuse "$(grep -v "no seeds" "$WORK/server.log")" "ERROR|WARN" "without complaints"
end "$SPAWNED"

# Without any capability, on sockets that somebody else bound: those that alternator-dns.socket says.
cat >"$WORK/pass.py" <<'PYTHON'
"""Binds what the unit of sockets says, at the addresses given, and becomes the command, as systemd would."""
import os, re, socket, sys
unit, addresses, command = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
kinds = {"Datagram": socket.SOCK_DGRAM, "Stream": socket.SOCK_STREAM}
wildcards = {"0.0.0.0": addresses[0], "::": addresses[1]}
wanted = re.findall(r"^Listen(Datagram|Stream)=\[?([0-9a-f.:]+?)\]?:(\d+)$", open(unit).read(), re.M)
assert len(wanted) == 4, wanted
sockets = []
for kind, address, port in wanted:
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kinds[kind])
    if ":" in address:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind((wildcards[address], int(port)))
    if kind == "Stream":
        one.listen(1024)
    sockets.append(one)
high = [os.dup2(one.fileno(), 100 + number) for number, one in enumerate(sockets)]
for number, one in enumerate(high):
    os.dup2(one, 3 + number, inheritable=True)
os.environ |= {"LISTEN_FDS": str(len(high)), "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": ":".join(["dns"] * len(high))}
os.execvp(command[0], command)
PYTHON
spawn "${NS[srv]}" passed python3 "$WORK/pass.py" "$ROOT/deploy/alternator-dns.socket" 10.99.2.1,fd99::1 \
    setpriv --reuid nobody --regid nogroup --clear-groups --no-new-privs --bounding-set -all \
    "$WORK/alternator-dns" serve --config "$WORK/server.toml"
within 20 grep -q "answering over UDP and TCP.*fd99" "$WORK/passed.log" || fail "it does not start on passed sockets"
answers "nobody without any capability, on passed sockets"
expect "$(cat /proc/$SPAWNED/status)" "^CapPrm:.*0000000000000000$" "it has no capability"
refuse "$(grep -v "no seeds" "$WORK/passed.log")" "ERROR|WARN" "without complaints"
end "$SPAWNED"
finish
