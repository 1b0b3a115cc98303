"""Counts which node glibc's getaddrinfo puts first. Arguments: family (4, 6 or any), look-ups, then all nodes.

Prints one line per node; status 3 where a node is first less often than 60 % or more often than 150 % of its share.
"""

import collections
import socket
import sys

FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6, "any": socket.AF_UNSPEC}
LOWEST, HIGHEST = 60, 150
UNEVEN = 3  # not 1, the status of a program that broke


def main():
    family, lookups, nodes = FAMILIES[sys.argv[1]], int(sys.argv[2]), sys.argv[3:]
    first, lengths = collections.Counter(), collections.Counter()
    for _ in range(lookups):
        found = socket.getaddrinfo("alternator.local", 8000, family, socket.SOCK_STREAM)
        first[found[0][4][0]] += 1
        lengths[len(found)] += 1
    share = lookups / len(nodes)
    fine = set(first) <= set(nodes)
    for node in nodes:
        percent = 100 * first[node] / share
        fine &= LOWEST <= percent <= HIGHEST
        print(f"    {node:<14} {first[node]:>4}  {percent:>4.0f} % of its share")
    sizes = ", ".join(f"{size} ({count} times)" for size, count in sorted(lengths.items()))
    print(f"    addresses per answer: {sizes}")
    sys.exit(0 if fine else UNEVEN)


main()
