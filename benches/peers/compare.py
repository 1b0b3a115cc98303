"""Measurements of all servers side by side."""

import collections
import json
import re
import subprocess
import time

import install
from report import spread
from servers import A, AAAA, LOAD_CPU, NODES, NOERROR, NXDOMAIN, RACK, ZONE, described, spawn

BUSY, LOSS = 0.95, 0.01
# Below this the generator did not have its processor to itself, and the measurement is made again.
OWN_BUSY, TRIES = 0.95, 2
# The machine is at rest when no processor is busy for more than this share of the time that is looked at, in seconds.
REST, LOOK = 0.2, 0.1
STARTS = 5
# Time that every measurement may take beyond what it measures: warm-up, connections, last replies.
SLACK = 60

APEX = f"{ZONE}:{A}:{NOERROR}:{len(NODES)}"
MIX = [
    APEX, f"{RACK}:{A}:{NOERROR}:{len(NODES)}", f"{ZONE}:{AAAA}:{NOERROR}:0", f"no-such-name.{ZONE}:{A}:{NXDOMAIN}:0",
]
FLOODS = {
    "udp": ("UDP", ["flood"], [APEX]),
    "edns": ("UDP with EDNS", ["flood", "--edns"], [APEX]),
    "mix": ("UDP, mix: two names, NODATA, NXDOMAIN, a quarter each", ["flood"], MIX),
    "tcp": ("TCP, 100 connections × 1 outstanding", ["tcp", "--connections", "100", "--outstanding", "1"], [APEX]),
    "pipelined": ("TCP, 20 connections × 16 outstanding", ["tcp", "--connections", "20", "--outstanding", "16"],
                  [APEX]),
}
LATENCY_RATE = 20_000


def load(server, arguments, asked, seconds, **more):
    """One run of the generator; what it found, or None where it failed."""
    command = [install.target() / "examples" / "dns_load", *arguments, "--server", f"127.0.0.1:{server.port}"]
    command += ["--measure", f"{int(seconds * 1000)}ms"]
    command += [f"--pid={pid}" for pid in server.pids()]
    command += [f"--ask={question}" for question in asked]
    command += [part for name, value in more.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    process = spawn(command, LOAD_CPU, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, error = process.communicate(timeout=seconds + more.pop("slack", SLACK))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    if process.returncode != 0:
        print(f"  {server.name}: {error.strip()}", flush=True)
        return None
    return json.loads(out)


def busy_times():
    """Clock ticks that each processor has been busy and idle so far."""
    times = []
    for line in open("/proc/stat"):
        if re.match(r"cpu\d", line):
            ticks = [int(field) for field in line.split()[1:9]]
            idle = ticks[3] + ticks[4]
            times.append((sum(ticks) - idle, idle))
    return times


def wait_for_rest(patience):
    """Waits until nothing else runs on the machine, so long and no longer; returns the seconds spent."""
    began = time.monotonic()
    while (spent := time.monotonic() - began) < patience:
        before = busy_times()
        time.sleep(LOOK)
        shares = [(b1 - b0) / max(b1 - b0 + i1 - i0, 1) for (b0, i0), (b1, i1) in zip(before, busy_times())]
        if max(shares) <= REST:
            break
    return spent


def careful(server, arguments, asked, seconds, patience):
    """The same on a machine at rest, made again when the generator lost its processor."""
    found = None
    for attempt in range(TRIES):
        wait_for_rest(patience)
        found = load(server, arguments, asked, seconds)
        if found is None or found["own_utilisation"] >= OWN_BUSY:
            break
    if found:
        found["repeats"] = attempt
    return found


def faults(found, busy=True):
    """Why a measurement does not count."""
    if found is None:
        return {"failed"}
    reasons = set()
    if busy and found["utilisation"] <= BUSY:
        reasons.add("idle")
    if found["lost"] >= LOSS * max(found["answers"], 1):
        reasons.add("loss")
    if found["wrong"]:
        reasons.add(f"wrong ({found['first_wrong']})")
    if found["own_utilisation"] < OWN_BUSY:
        reasons.add("generator disturbed")
    return reasons


def order(names, turn):
    """Who comes when: in rotation, every other round backwards."""
    turned = names[turn % len(names):] + names[:turn % len(names)]
    return turned[::-1] if turn % 2 else turned


def rounds(servers, workloads, count, seconds, patience):
    """found[workload][server] = one entry for each round."""
    names = list(servers)
    found = {workload: {name: [] for name in names} for workload in workloads}
    for turn in range(count):
        for workload in workloads:
            for name in order(names, turn):
                if workload == "rate":
                    arguments, asked = ["rate", "--rate", str(LATENCY_RATE)], [APEX]
                else:
                    _, arguments, asked = FLOODS[workload]
                found[workload][name].append(careful(servers[name], arguments, asked, seconds, patience))
        print(f"  round {turn + 1} of {count}", flush=True)
    return found


def column(entries, key, scale=1.0):
    """A figure of every round; None where it does not count, so that rounds stay in step."""
    return [entry[key] * scale if entry and entry[key] is not None else None for entry in entries]


def ratios(ours, theirs, key):
    pairs = zip(column(ours, key), column(theirs, key))
    return [mine / other for mine, other in pairs if mine is not None and other]


def marks(entries, busy=True):
    """Reasons that hold in at least half of the rounds."""
    reasons = [faults(entry, busy) for entry in entries]
    counts = collections.Counter(reason for some in reasons for reason in some)
    often = [reason for reason, count in counts.items() if count * 2 >= len(entries)]
    return "does not count: " + ", ".join(sorted(often)) if often else ""


def tell_floods(report, found):
    for workload, by_server in found.items():
        if workload == "rate":
            continue
        rows = []
        ours = by_server.get("ours", [])
        for name, entries in by_server.items():
            lost = sum(entry["lost"] for entry in entries if entry)
            answers = sum(entry["answers"] for entry in entries if entry) or 1
            rows.append([
                name, spread(column(entries, "per_second", 1e-3), 0), spread(column(entries, "cpu_us")),
                spread(column(entries, "utilisation")), f"{100 * lost / (answers + lost):.2f} %",
                spread(ratios(ours, entries, "per_second")), spread(ratios(ours, entries, "cpu_us")), marks(entries),
            ])
        header = ["server", "k answers/s", "CPU µs/query", "utilisation", "lost", "answers/s, ours ÷ it",
                  "CPU, ours ÷ it", ""]
        repeats = sum(entry.get("repeats", 0) for entries in by_server.values() for entry in entries if entry)
        report.section(FLOODS[workload][0], header, rows, f"{repeats} measurements were made again." if repeats else "")


def tell_latency(report, by_server):
    ours = by_server.get("ours", [])
    rows = [[
        name, spread(column(entries, "p50_us"), 1), spread(column(entries, "p99_us"), 0),
        spread(column(entries, "cpu_us"), 1), sum(entry["lost"] for entry in entries if entry),
        spread(ratios(ours, entries, "p50_us")), spread(ratios(ours, entries, "p99_us")), marks(entries, busy=False),
    ] for name, entries in by_server.items()]
    header = ["server", "p50 µs", "p99 µs", "CPU µs/query", "lost", "p50, ours ÷ it", "p99, ours ÷ it", ""]
    report.section(f"Latency at {LATENCY_RATE:,} queries/s over UDP", header, rows)


def start_up(servers, starts=STARTS):
    """Milliseconds from start to first answer. All of them are stopped afterwards."""
    found = {name: [] for name in servers}
    for turn in range(starts):
        for name in order(list(servers), turn):
            server = servers[name]
            began = server.start()
            found[name].append((server.wait() - began) * 1000)
            server.stop()
    return found


def prepare(servers):
    """Has ours write its state file, so that every later start finds one."""
    for name in ("ours", "previous"):
        if name not in servers:
            continue
        server = servers[name]
        server.start()
        server.wait()
        deadline = time.monotonic() + 30
        while not list((server.dir / "state").glob("*.json")):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} writes no state file")
            time.sleep(0.1)
        server.stop()


def describe(report, servers):
    rows = []
    for name, server in servers.items():
        octets, leading = described(server)
        rows.append([name, octets, f"{leading} of {len(NODES)}"])
    report.section("Answers", ["server", "octets", "addresses that lead in 60 answers"], rows)


def witness(report, servers, count, seconds):
    """dnsperf, a generator that is not ours."""
    names = next(iter(servers.values())).dir / "names"
    names.write_text(f"{ZONE} A\n")
    kinds = {"UDP": ["-c", "16", "-q", "200"], "TCP": ["-m", "tcp", "-c", "100", "-q", "100"]}
    found = {kind: {name: [] for name in servers} for kind in kinds}
    for turn in range(count):
        for kind, arguments in kinds.items():
            for name in order(list(servers), turn):
                server = servers[name]
                before = server.cpu()
                command = ["dnsperf", "-s", "127.0.0.1", "-p", str(server.port), "-T", "1", "-l", str(seconds),
                           "-d", names, *arguments]
                process = spawn(command, LOAD_CPU, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, text=True)
                try:
                    out = process.communicate(timeout=seconds + SLACK)[0]
                except subprocess.TimeoutExpired:
                    process.kill()
                    out = process.communicate()[0]
                used = server.cpu() - before
                took = re.search(r"Run time \(s\): +([\d.]+)", out)
                rate = re.search(r"Queries per second: +([\d.]+)", out)
                done = re.search(r"Queries completed: +(\d+)", out)
                done = int(done[1]) if done else 0
                found[kind][name].append({
                    "per_second": float(rate[1]) if rate else None,
                    "cpu_us": used * 1e6 / done if done else None,
                    "utilisation": used / float(took[1]) if took else None,
                })
    rows = []
    for name in servers:
        row = [name]
        for kind in kinds:
            entries = found[kind][name]
            row += [spread(column(entries, "per_second", 1e-3), 0), spread(column(entries, "cpu_us")),
                    spread(column(entries, "utilisation"))]
        rows.append(row)
    header = ["server"] + [f"{kind} {what}" for kind in kinds
                           for what in ("k answers/s", "CPU µs/query", "utilisation")]
    report.section("dnsperf as witness", header, rows,
                   "Its one thread is slower than the faster servers: where utilisation is below 0.95 the first "
                   "figure is dnsperf's own limit.")
    return found
