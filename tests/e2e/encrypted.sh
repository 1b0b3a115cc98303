#!/usr/bin/env bash
# Debian's kdig over TLS, HTTPS and QUIC: the same answers as over UDP, one certificate for all, replaced under way.
source "$(dirname "$0")/lib.sh"
begin encrypted

namespace srv
address srv lo 10.99.6.{1,2,3}/32
cluster srv dc1/rack1=10.99.6.{1,2} dc2/rack1=10.99.6.3

cat >"$WORK/alternator.local.zone" <<'ZONE'
$TTL 5
@      SOA   ns1 hostmaster 1 1h 10m 7d 5s
@      NS    ns1
ns1    A     127.0.0.1
static A     192.0.2.1
ZONE
cat >"$WORK/server.toml" <<TOML
[server]
listen = ["127.0.0.1:5300"]
[server.tls]
listen = ["127.0.0.1:8530"]
https = ["127.0.0.1:4430"]
quic = ["127.0.0.1:8530"]
certificate = "chain.pem"
key = "key.pem"
[zones."alternator.local"]
file = "alternator.local.zone"
[zones."alternator.local".cluster]
seeds = ["10.99.6.1"]
datacenters = { dc1 = ["rack1"], dc2 = ["rack1"] }
TOML

# issue CA: an authority of that name, and a certificate of its for dns.test: $WORK/CA.{ca,chain,key}.pem.
issue() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$1" \
        -keyout "$WORK/$1.ca-key.pem" -out "$WORK/$1.ca.pem" 2>>"$WORK/openssl.said"
    openssl req -newkey rsa:2048 -nodes -subj /CN=dns.test -keyout "$WORK/$1.key.pem" -out "$WORK/$1.csr" 2>>"$WORK/openssl.said"
    openssl x509 -req -in "$WORK/$1.csr" -CA "$WORK/$1.ca.pem" -CAkey "$WORK/$1.ca-key.pem" -CAcreateserial -days 30 \
        -extfile <(echo subjectAltName=DNS:dns.test) -out "$WORK/$1.chain.pem" 2>>"$WORK/openssl.said"
}
install_pair() {
    cp "$WORK/$1.chain.pem" "$WORK/chain.pem"
    cp "$WORK/$1.key.pem" "$WORK/key.pem"
}
issue first
issue second
install_pair first

echo "-- the certificate is checked before anything is served"
cp "$WORK/second.key.pem" "$WORK/key.pem"
for command in check serve; do
    status=0
    reply=$(in_ns srv "$SERVER" $command --config "$WORK/server.toml" 2>&1) || status=$?
    expect "$reply" "private key in .*/key.pem does not belong to the first certificate in .*/chain.pem" "$command names both files"
    refuse "$status" '^0$' "and fails"
done
install_pair first
in_ns srv "$SERVER" check --config "$WORK/server.toml" >"$WORK/check.log" 2>&1 || fail "check"

server srv serve --config "$WORK/server.toml"
DIG_NS=srv
DIG_ARGS=(-p 5300 @127.0.0.1)
Z=alternator.local
within 60 answered $Z A 3 || fail "the server does not answer three addresses"
for line in 'over TLS.*8530' 'over HTTPS.*4430' 'over QUIC.*8530'; do
    expect "$(cat "$WORK/server.log")" "answering $line" "the log names it"
done

# kdig CA TRANSPORT QUESTION...: fails where the certificate is not that authority's.
secure() {
    local ca=$1 transport=$2 port=8530
    shift 2
    case $transport in *https*) port=4430 ;; esac
    # The transport last: kdig 3.2 ends by a segmentation fault where an option of TLS comes after +quic.
    in_ns srv kdig @127.0.0.1 -p $port +tls-ca="$WORK/$ca.ca.pem" +tls-hostname=dns.test "$transport" +time=3 +retry=1 "$@" 2>&1
}

for transport in +tls +https +https-get +quic; do
    case $transport in +tls) name=TLS ;; +quic) name=QUIC ;; *) name=HTTP ;; esac
    echo "-- $transport"
    reply=$(secure first $transport $Z A) || fail "kdig $transport: $reply"
    expect "$reply" "^;; $name session" "really $name"
    expect "$reply" 'status: NOERROR' "$Z A"
    expect "$reply" 'Flags: qr aa' "authoritative"
    expect "$reply" '^;; EDNS PSEUDOSECTION' "with EDNS"
    equal "$(secure first $transport +short $Z A | sort)" "$(ask +short $Z A | sort)" "the addresses that UDP gives"
    equal "$(secure first $transport +short dc2.$Z A)" 10.99.6.3 "a datacenter"
    equal "$(secure first $transport +short static.$Z A)" 192.0.2.1 "a static record"
    expect "$(secure first $transport nothing.$Z A)" 'status: NXDOMAIN' "an unknown name"
    expect "$(secure first $transport example.com A)" 'status: REFUSED' "a foreign name"
    expect "$(secure first $transport $Z AXFR)" 'REFUSED|failed' "zone transfer is refused"
    equal "$(secure first $transport +keepopen +short static.$Z A static.$Z A static.$Z A | wc -l)" 3 "three questions"
    secure first $transport +keepopen +short $Z A $Z A $Z A | awk 'NR % 3 == 1' >"$WORK/first"
    equal "$(sort -u "$WORK/first" | wc -l)" 3 "three nodes lead three answers"
    refuse "$(secure second $transport +short static.$Z A || true)" '^192' "another authority's certificate is not accepted"
done

echo "-- a new certificate"
cp "$WORK/second.chain.pem" "$WORK/chain.pem"
within 15 grep -q 'the new certificate cannot be used' "$WORK/server.log" || fail "a half of a pair is not noticed"
for transport in +tls +https +quic; do
    equal "$(secure first $transport +short static.$Z A)" 192.0.2.1 "$transport: half of a pair leaves the old one"
done
install_pair second
within 15 grep -q 'a new certificate is presented' "$WORK/server.log" || fail "the new certificate is not taken"
expect "$(grep 'a new certificate' "$WORK/server.log")" 'not_after="?20' "the log says until when it is valid"
for transport in +tls +https +https-get +quic; do
    equal "$(secure second $transport +short static.$Z A)" 192.0.2.1 "$transport: the new one is presented"
    refuse "$(secure first $transport +short static.$Z A || true)" '^192' "$transport: the old one is not"
done
equal "$(grep -c 'the new certificate cannot be used' "$WORK/server.log")" 1 "and it was complained of once"

echo "-- without descriptors"
end "$SERVER_PID"
spawn "${NS[srv]}" server prlimit --nofile=90:90 "$SERVER" serve --config "$WORK/server.toml"
within 60 answered static.$Z A 1 || fail "the server does not start with 90 descriptors"
# Sixty who connect and say nothing, and sixty who finish their handshakes, ask once, and stay.
spawn "${NS[srv]}" crowd python3 -c '
import socket, ssl, time
held = [socket.create_connection(("127.0.0.1", 8530)) for _ in range(60)]
print("silent", flush=True)
context = ssl._create_unverified_context()
query = bytes.fromhex("0001 0000 0001 0000 0000 0000") + b"\6static\nalternator\5local\0\0\1\0\1"
for _ in range(60):
    session = context.wrap_socket(socket.create_connection(("127.0.0.1", 8530), timeout=20))
    session.sendall(len(query).to_bytes(2, "big") + query)
    assert session.recv(2) and session.recv(512)[-4:] == bytes([192, 0, 2, 1])
    held.append(session)
print("held", flush=True)
time.sleep(600)'
within 30 grep -q silent "$WORK/crowd.log" || fail "the crowd does not connect"
within 30 grep -q 'no descriptors left' "$WORK/server.log" || fail "descriptors do not run out"
equal "$(ask +short static.$Z A)" 192.0.2.1 "UDP goes on"
served() { [ "$(secure second +tls +short static.$Z A)" = 192.0.2.1 ]; }
within 30 served || fail "TLS does not come back"
within 30 grep -q held "$WORK/crowd.log" || fail "not all who ask once are served: $(cat "$WORK/crowd.log")"
served || fail "TLS does not come back while all descriptors are held"
ok "TLS comes back, whoever holds the descriptors"
expect "$(grep -c 'no descriptors left' "$WORK/server.log")" '^[1-4]$' "and said so once a minute for each worker at most"

finish
