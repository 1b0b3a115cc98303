#!/usr/bin/env bash
# DNS cookies across servers: what BIND and Knot make with our secret we accept, and they accept ours (RFC 9018).
source "$(dirname "$0")/lib.sh"
begin cookies

SECRET=000102030405060708090a0b0c0d0e0f
OTHER=ffeeddccbbaa99887766554433221100
CLIENT=0011223344556677

namespace srv
DIG_NS=srv
in_ns srv ip addr add 127.0.0.2/8 dev lo

zone() { printf '$TTL 60\n@ SOA ns1 hostmaster 1 2 3 4 5\n@ NS ns1\nns1 A 127.0.0.1\nwww A 192.0.2.1\n' >"$1"; }
zone "$WORK/zone"
cat >"$WORK/ours.toml" <<TOML
[server]
listen = ["127.0.0.1:5301"]
[server.cookies]
policy = "required"
secrets = ["$SECRET"]
[zones."cookie.test"]
file = "zone"
TOML
sed "s/5301/5302/; s/\"$SECRET\"/\"$OTHER\", \"$SECRET\"/" "$WORK/ours.toml" >"$WORK/rolled.toml"
cat >"$WORK/named.conf" <<NAMED
options {
    directory "$WORK";
    listen-on port 5311 { 127.0.0.1; };
    listen-on-v6 { none; };
    pid-file none;
    session-keyfile none;
    recursion no;
    dnssec-validation no;
    cookie-secret "$SECRET";
    cookie-algorithm siphash24;
    require-server-cookie yes;
};
controls { };
zone "cookie.test" { type primary; file "$WORK/zone"; };
NAMED
cat >"$WORK/knot.conf" <<KNOT
server:
    listen: 127.0.0.1@5312
    rundir: $WORK/knot
database:
    storage: $WORK/knot
mod-cookies:
  - id: shared
    secret: 0x$SECRET
    badcookie-slip: 1
template:
  - id: default
    global-module: mod-cookies/shared
zone:
  - domain: cookie.test
    file: $WORK/zone
    zonefile-sync: -1
KNOT
mkdir "$WORK/knot"
spawn "${NS[srv]}" ours "$SERVER" serve --config "$WORK/ours.toml"
spawn "${NS[srv]}" rolled "$SERVER" serve --config "$WORK/rolled.toml"
spawn "${NS[srv]}" named named -g -u root -c "$WORK/named.conf"
spawn "${NS[srv]}" knot knotd -c "$WORK/knot.conf"

# at PORT COOKIE [OPTION...]: one question over UDP, no second try with a better cookie.
at() {
    local port=$1 cookie=$2
    shift 2
    ask -p "$port" @127.0.0.1 +cookie="$cookie" +nobadcookie "$@" www.cookie.test A
}
# made PORT: the cookie that this server gives us.
made() { at "$1" $CLIENT | grep -Eo 'COOKIE: [0-9a-f]+' | cut -d' ' -f2; }
serving() { in_ns srv dig +time=1 +tries=1 +nobadcookie +nocookie -p "$1" @127.0.0.1 www.cookie.test A 2>/dev/null | grep -q 'status: NOERROR'; }
for port in 5301 5302 5311 5312; do
    within 30 serving $port || fail "the server at port $port does not answer"
done

WRONG=${CLIENT}0100000000000000deadbeefdeadbeef
declare -A WHO=([5301]="alternator-dns" [5302]="alternator-dns after a rollover" [5311]=BIND [5312]=Knot)
for port in 5301 5302 5311 5312; do
    expect "$(at $port $CLIENT)" 'status: BADCOOKIE' "${WHO[$port]} wants a cookie first"
    expect "$(at $port $WRONG)" 'status: BADCOOKIE' "${WHO[$port]} takes no forged one"
    expect "$(ask -p $port @127.0.0.1 +cookie www.cookie.test A)" 'status: NOERROR' "${WHO[$port]}: dig comes back with it"
done
for maker in 5301 5311 5312; do
    cookie=$(made $maker)
    [ ${#cookie} = 48 ] || fail "${WHO[$maker]} makes no cookie: $cookie"
    for taker in 5301 5302 5311 5312; do
        expect "$(at $taker "$cookie")" 'status: NOERROR' "${WHO[$taker]} takes the cookie of ${WHO[$maker]}"
        expect "$(at $taker "$cookie" -b 127.0.0.2)" 'status: BADCOOKIE' "but from nobody else"
    done
done
rolled=$(made 5302)
expect "$(at 5301 "$rolled")" 'status: BADCOOKIE' "what a new secret makes, a server without it does not take"
expect "$(at 5301 $WRONG +tcp)" 'status: NOERROR' "over TCP nobody needs one"
finish
