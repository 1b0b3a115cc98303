# The network and cluster of the scripts that count clients; sourced after lib.sh and `begin`.
#
#   inside   10.99.1.10, fd00:99:1::10   in the nodes' own subnets
#   outside  10.99.0.10, fd00:99::10     behind a router, the server's machine
#   srv      10.99.0.53, fd00:99::53     the server, port 53, and all nodes: 10.99.1.1 to .8, fd00:99:1::1 to ::4
#
# glibc sorts IPv4 answers where a node is in the client's subnet, and IPv6 answers always (RFC 6724 rule 9).

namespace srv
namespace inside
namespace outside
link srv nodes inside eth0
link srv front outside eth0
address srv nodes 10.99.1.{1..8}/24 fd00:99:1::{1..4}/64
address srv front 10.99.0.53/24 fd00:99::53/64
address inside eth0 10.99.1.10/24 fd00:99:1::10/64
address outside eth0 10.99.0.10/24 fd00:99::10/64
for family in -4 -6; do
    via=$([ $family = -4 ] && echo 10.99 || echo fd00:99)
    ip $family -n "${NS[inside]}" route add default via "$via$([ $family = -4 ] && echo .1.1 || echo :1::1)"
    ip $family -n "${NS[outside]}" route add default via "$via$([ $family = -4 ] && echo .0.53 || echo ::53)"
done
for client in inside outside; do resolves_at $client 10.99.0.53; done

# start_cluster NODE...: the simulated cluster over these addresses of datacenter dc1, and the server with its defaults.
start_cluster() {
    local node places=() rack=0
    for node; do
        places+=("dc1/rack$((rack % 2 + 1))=$node")
        rack=$((rack + 1))
    done
    cluster srv "${places[@]}"
    server srv serve --zone alternator.local --seed "$1" --listen 10.99.0.53:53
    DIG_NS=srv
    DIG_ARGS=(-p 53 @10.99.0.53)
    all_in() { [ "$(in_ns srv dig +short +time=1 +tries=1 @10.99.0.53 TXT _explain.alternator.local 2>/dev/null | grep -c '^"in ')" = "$1" ]; }
    within 60 all_in $# || fail "not all $# nodes come in: $(ask TXT _explain.alternator.local)"
}
