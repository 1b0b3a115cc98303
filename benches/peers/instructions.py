"""User-space instructions per query, counted by valgrind: no noise, and the kernel is not in it."""

import re
import sys
import time

from compare import APEX, load
from report import table

READABLE = ["ours", "previous", "gdnsd", "nsd", "knot"]
# The difference of two runs, so that start and end cancel out.
FEW, MANY = 2_000, 42_000
# Discovery and probes go by the clock and not by queries, and under valgrind a query takes fifty times as long. They
# are on, but once at the start and then at intervals longer than a run.
SLOW = """active_interval = "1h"
idle_interval = "1h"

[zones."alternator.local".health]
interval = "1h"
rise = 1
"""
SECONDS = 120
# Until the start is over, discovery and first probes included.
SETTLE = 5


def counted(server, answers):
    """Instructions of all processes of a run with so many answers, and how many there were."""
    for old in server.dir.glob("callgrind.*"):
        old.unlink()
    server.start(["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={server.dir}/callgrind.%p"])
    try:
        server.wait()
        time.sleep(SETTLE)
        found = load(server, ["flood"], [APEX], SECONDS, answers=answers, warm_up="0s", give_up="10s")
    finally:
        server.stop()
    total = 0
    for file in server.dir.glob("callgrind.*"):
        for line in file.read_text(errors="replace").splitlines():
            if match := re.match(r"totals: (\d+)", line):
                total += int(match[1])
    if not found or not total or found["answers_in_all"] < answers:
        raise RuntimeError("no count")
    return total, found["answers_in_all"]


def run(report, servers):
    rows = []
    for name, server in servers.items():
        if name not in READABLE:
            continue
        try:
            (few, answers_few), (many, answers_many) = counted(server, FEW), counted(server, MANY)
            rows.append([name, f"{(many - few) / (answers_many - answers_few):.0f}"])
        except RuntimeError as error:
            rows.append([name, f"cannot be read: {str(error).strip().splitlines()[0]}"])
        print(f"  {name}: {rows[-1][1]}", file=sys.stderr, flush=True)
    report.add("\n## Instructions in user space per query over UDP\n\n" + table(["server", "instructions"], rows))
