"""Ours under a steady load while the cluster changes, and while it is quiet."""

import atexit
import pathlib
import time

import install
from compare import load
from servers import A, NOERROR, ZONE, Cluster, Server, serial

NODES, DATACENTERS, RACKS = 1000, 3, 10
CHANGES_PER_SECOND, RATE, SEED = 10, 100_000, 1
# Addresses in an answer by default, of the far larger number there are.
ANSWERS = 8
# A thousand probes a second take the simulated cluster a good part of a processor, which the generator shares.
CLUSTER_NICE = -17
# One line of the log for every time that it replaces what it answers; nothing else is logged. It has no count of these.
LOG, SWAP = "error,alternator_dns::controller=debug", "compiled"
# The server has settled when no answer has changed for this long; it must have by then.
SETTLED, SETTLED_WITHIN = 5, 120


def places():
    return [(dc, rack) for dc in range(1, DATACENTERS + 1) for rack in range(1, RACKS + 1)]


def cluster_nodes():
    nodes = []
    for number in range(NODES):
        dc, rack = places()[number % len(places())]
        nodes.append(f"dc{dc}/rack{rack}=127.{dc}.{rack}.{number // len(places()) + 1}")
    return nodes


def questions():
    """Every name, each with the network that its nodes are in."""
    asked = [f"{ZONE}:{A}:{NOERROR}:{ANSWERS}:127.0.0.0/8"]
    asked += [f"dc{dc}.{ZONE}:{A}:{NOERROR}:{ANSWERS}:127.{dc}.0.0/16" for dc in range(1, DATACENTERS + 1)]
    asked += [f"dc{dc}.rack{rack}.{ZONE}:{A}:{NOERROR}:{ANSWERS}:127.{dc}.{rack}.0/24" for dc, rack in places()]
    return asked


def settle(server):
    """Waits until nothing has changed for a while; not for ever: a server that never settles is to be seen, too."""
    deadline = time.monotonic() + SETTLED_WITHIN
    last, since = serial(server.port), time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < SETTLED:
        time.sleep(0.2)
        now = serial(server.port)
        if now != last:
            last, since = now, time.monotonic()


def configured(name, program, port, work):
    racks = ", ".join(f'"rack{rack}"' for rack in range(1, RACKS + 1))
    return Server(
        name, [str(program), "serve", "--config", "DIR/alternator-dns.toml"], {"alternator-dns.toml": "flap.toml"},
        port, work, log=LOG,
        seeds=", ".join(f'"127.{dc}.{rack}.1"' for dc, rack in places() if rack <= 3),
        datacenters=", ".join(f"dc{dc} = [{racks}]" for dc in range(1, DATACENTERS + 1)),
    )


def swaps(server):
    """How often it has replaced what it answers so far."""
    return (server.dir / "log").read_text().count(SWAP)


def background(server):
    """Its utilisation without any query."""
    before, began = server.cpu(), time.monotonic()
    time.sleep(SETTLED)
    return (server.cpu() - before) / (time.monotonic() - began)


def phase(server, cluster, flapping, seconds):
    before, rss, dropped = swaps(server), server.rss(), server.dropped()
    idle = background(server)
    changes = 0
    if flapping:
        cluster.tell(f"flap {CHANGES_PER_SECOND}")
    found = load(server, ["rate", "--rate", str(RATE)], questions(), seconds)
    swapped = swaps(server) - before
    if flapping:
        changes = int(cluster.tell("calm")[-1].removeprefix("changes="))
    if found is None:
        return ["failed"]
    wrong = f"{found['wrong']}" + (f" ({found['first_wrong']})" if found["wrong"] else "")
    return [
        changes, swapped, found["answers"], found["lost"], server.dropped() - dropped, wrong,
        f"{found['p50_us']:.0f}", f"{found['p99_us']:.0f}",
        f"{found['p999_us']:.0f}", f"{found['max_us']:.0f}",
        f"{found['late_p99_us']:.0f}", f"{idle:.2f}", f"{found['utilisation']:.2f}",
        f"{rss:.1f}", f"{server.rss():.1f}",
    ]


def run(report, work, seconds, previous=None):
    report.add(
        f"# Changes under load\n\n{NODES:,} nodes in {DATACENTERS} datacenters × {RACKS} racks; {RATE:,} queries/s "
        f"over all {len(questions())} names for {seconds:g} s each; {CHANGES_PER_SECOND} changes a second, seed {SEED}."
    )
    cluster = Cluster(cluster_nodes(), SEED, CLUSTER_NICE)
    programs = [("ours", install.target() / "alternator-dns", 5301)]
    if previous:
        programs.append(("previous", pathlib.Path(previous).resolve(), 5302))
    rows = []
    for name, program, port in programs:
        server = configured(name, program, port, work)
        atexit.register(server.stop)
        server.start()
        server.wait(answers=ANSWERS)
        for flapping in (False, True):
            settle(server)
            rows.append([name, "flapping" if flapping else "quiet", *phase(server, cluster, flapping, seconds)])
            print(f"  {' '.join(map(str, rows[-1]))}", flush=True)
        server.stop()
    header = ["server", "cluster", "changes", "swaps", "right answers", "lost", "dropped", "wrong", "p50 µs", "p99 µs",
              "p99.9 µs", "max µs", "sent late, p99 µs", "utilisation without load",
              "with it", "MiB before", "MiB after"]
    report.section("Quiet and flapping", header, rows)
    cluster.stop()
