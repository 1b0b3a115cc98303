#!/usr/bin/env bash
# The resolver recipes: each of Debian's resolvers with Debian's own configuration plus the file in recipes/, exactly
# as it is quoted to users, in front of a server on 127.0.0.1:5300.
source "$(dirname "$0")/lib.sh"
begin recipes

namespace srv
address srv lo 10.99.1.{1,2,3,4}/32
# systemd-resolved believes itself offline where there is only a loopback.
namespace other
link srv v0 other v1
address srv v0 10.99.0.1/24
address other v1 10.99.0.2/24
# Nobody is to be found there, and that is known at once instead of after a time-out.
ip -n "${NS[srv]}" route add unreachable default

cluster srv dc1/rack1=10.99.1.{1,2} dc1/rack2=10.99.1.{3,4}
cat >"$WORK/server.toml" <<'TOML'
[server]
listen = ["127.0.0.1:5300"]
[zones."alternator.internal".cluster]
seeds = ["10.99.1.1"]
datacenters = { dc1 = ["rack1", "rack2"] }
TOML
server srv serve --config "$WORK/server.toml"
DIG_NS=srv
DIG_ARGS=(-p 5300 @127.0.0.1)
Z=alternator.internal
within 60 answered $Z A 4 || fail "the server does not answer"

ETC=/etc/netns/${NS[srv]}
mkdir -p "$ETC"

# tried RESOLVER ADDRESS: the recipe's promise.
tried() {
    local name nodes
    DIG_ARGS=("@$2")
    within 15 answered $Z A 4 || fail "$1 does not resolve $Z: $(ask $Z A)"
    for name in $Z dc1.$Z; do
        equal "$(ask +short $name A | sort)" "$(printf '10.99.1.%s\n' 1 2 3 4)" "$1: $name"
    done
    for name in dc1.rack2 rack2.dc1 dc1--rack2; do
        equal "$(ask +short $name.$Z A | sort)" "$(printf '10.99.1.%s\n' 3 4)" "$1: $name.$Z"
    done
    nodes=$(for _ in $(seq 40); do ask +short $Z A | head -1; sleep 0.02; done | sort | uniq -c | sort -rn | awk '{ printf "%s %s, ", $2, $1 }')
    ok "$1: first of 40 answers out of its cache: ${nodes%, }"
    expect "$(ask nothing.$Z A)" 'status: NXDOMAIN' "$1: nothing.$Z"
    expect "$(ask dc1.$Z AAAA)" 'status: NOERROR.*' "$1: AAAA of an IPv4 cluster is no error"
    alive
}

echo "-- what is tried here is what README says"
if [ -e "$ROOT/README.md" ]; then
    sed 's/^ *//' "$ROOT/README.md" >"$WORK/readme"
    for recipe in "$E2E"/recipes/*; do
        while read -r line; do
            grep -Fqx -- "$line" "$WORK/readme" || fail "README lacks a line of ${recipe##*/}: $line"
        done < <(grep -vE '^ *(#|//|$)' "$recipe")
        ok "${recipe##*/}"
    done
else
    echo "  no README"
fi

echo "-- unbound $(unbound -V | sed -n '1s/Version //p')"
cp -r /etc/unbound "$ETC/unbound"
cp "$E2E/recipes/unbound.conf" "$ETC/unbound/unbound.conf.d/alternator.conf"
# Debian's service puts the trust anchor in place before unbound starts; here it is put where nobody else's is.
if [ -e /usr/share/dns/root.key ]; then cp /usr/share/dns/root.key "$WORK/root.key"; fi
chown -R unbound: "$WORK/root.key"
sed -i "s|/var/lib/unbound/root.key|$WORK/root.key|" "$ETC"/unbound/unbound.conf.d/*.conf
printf 'server:\n  pidfile: ""\n  use-syslog: no\n  logfile: ""\nremote-control:\n  control-enable: no\n' >"$ETC/unbound/unbound.conf.d/zz-here.conf"
rm -f "$ETC/unbound/unbound.conf.d/remote-control.conf"
spawn "${NS[srv]}" unbound unbound -d -p
tried unbound 127.0.0.1
end "$SPAWNED"

echo "-- $(dnsmasq --version | sed -n '1s/ *Copyright.*//p')"
spawn "${NS[srv]}" dnsmasq dnsmasq --keep-in-foreground --log-facility=- --pid-file= --no-resolv --listen-address=127.0.0.1 \
    --bind-interfaces --conf-file="$E2E/recipes/dnsmasq.conf"
tried dnsmasq 127.0.0.1
end "$SPAWNED"

echo "-- $(named -v)"
cp -r /etc/bind "$ETC/bind"
mkdir "$WORK/bind"
chown bind: "$WORK/bind"
cat "$E2E/recipes/bind.conf" >>"$ETC/bind/named.conf.local"
sed -i -e "s|directory \".*\";|directory \"$WORK/bind\"; pid-file none; session-keyfile none;|" \
    -e "/dnssec-validation/r $E2E/recipes/bind-options.conf" "$ETC/bind/named.conf.options"
grep -q validate-except "$ETC/bind/named.conf.options" || fail "Debian's options of BIND look different now"
in_ns srv named-checkconf || fail "named-checkconf"
spawn "${NS[srv]}" bind named -g -u bind
tried BIND 127.0.0.1
end "$SPAWNED"

# Never by apt-get install, which hands the machine's own /etc/resolv.conf over to it: unpacked is enough.
for RESOLVED in "${E2E_RESOLVED:-}" /lib/systemd/systemd-resolved none; do [ -x "$RESOLVED" ] && break; done
if [ "$RESOLVED" = none ]; then
    echo "-- systemd-resolved: SKIPPED, not here (E2E_RESOLVED names its program)"
else
    echo "-- systemd-resolved"
    mkdir -p "$ETC/systemd/resolved.conf.d"
    cp "$E2E/recipes/resolved.conf" "$ETC/systemd/resolved.conf.d/alternator.conf"
    # Its user, where the package is not installed; a /run of its own, without the machine's D-Bus.
    cp /etc/passwd /etc/group "$ETC/"
    getent passwd systemd-resolve >/dev/null || echo 'systemd-resolve:x:64999:64999::/:/usr/sbin/nologin' >>"$ETC/passwd"
    getent group systemd-resolve >/dev/null || echo 'systemd-resolve:x:64999:' >>"$ETC/group"
    spawn "${NS[srv]}" resolved unshare --mount sh -c \
        'mount -t tmpfs -o mode=755 none /run && mkdir -m 755 /run/systemd && exec "$0"' "$RESOLVED"
    tried systemd-resolved 127.0.0.53
    end "$SPAWNED"
fi
finish
