"""Calls ListTables at http://alternator.local:8000 with boto3's defaults (retries among them), and counts.

  boto3_load.py clients CALLS CALLS_PER_CLIENT     one after the other, a new client every so many calls
  boto3_load.py threads CALLS THREADS              one client shared by threads
  boto3_load.py death SECONDS NODE COMMANDS ALLOWED   20 threads, each a new client every few calls, while one more
        shares a client; after a third of the time NODE is stopped, by a line written into the pipe COMMANDS. Nobody
        may try to connect to it later than ALLOWED seconds after that.

Status 1 where a call failed, or the dead node was tried for too long.
"""

import collections
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import boto3

connects = collections.defaultdict(list)


def hook(event, arguments):
    # Every attempt to connect, whether or not it succeeds: what the nodes cannot count themselves.
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][1] == 8000:
        connects[arguments[1][0]].append(time.monotonic())


def new_client(session_lock=threading.Lock()):
    with session_lock:  # making clients of one session is not thread-safe
        return boto3.client(
            "dynamodb",
            endpoint_url="http://alternator.local:8000",
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )


class Tally:
    def __init__(self):
        self.lock = threading.Lock()
        self.calls, self.failures, self.slowest = 0, [], 0.0

    def call(self, client):
        start = time.monotonic()
        try:
            client.list_tables()
            error = None
        except Exception as caught:  # whatever a user would see
            error = caught
        with self.lock:
            self.calls += 1
            self.slowest = max(self.slowest, time.monotonic() - start)
            if error is not None:
                self.failures.append(error)


def calls_of_clients(tally, calls, per_client):
    for _ in range(calls // per_client):
        client = new_client()
        for _ in range(per_client):
            tally.call(client)
        client.close()


def calls_of_threads(tally, calls, threads):
    client = new_client()
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(threads):
            pool.submit(lambda: [tally.call(client) for _ in range(calls // threads)])


def calls_over_a_death(tally, seconds, node, commands, allowed):
    end = time.monotonic() + seconds

    def renewing():
        while time.monotonic() < end:
            client = new_client()
            for _ in range(5):
                tally.call(client)
                time.sleep(0.02)
            client.close()

    def shared(client):
        while time.monotonic() < end:
            tally.call(client)
            time.sleep(0.05)

    kept = new_client()
    threads = [threading.Thread(target=renewing) for _ in range(4)]
    threads += [threading.Thread(target=shared, args=(kept,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 3)
    calls_before = tally.calls
    with open(commands, "w") as pipe:
        pipe.write(f"stop {node}\n")
    stopped = time.monotonic()
    for thread in threads:
        thread.join()
    before = [at for at in connects[node] if at < stopped]
    after = [at - stopped for at in connects[node] if at >= stopped]
    others = sum(1 for other, times in connects.items() for at in times if other != node and at >= stopped)
    last = max(after, default=0.0)
    print(f"    {node} stopped after {calls_before} calls; tried {len(before)} times before")
    print(f"    afterwards tried {len(after)} times, last {last:.1f} s after its death (allowed {allowed:.0f} s);")
    print(f"    meanwhile {others} connections to other nodes, {tally.calls - calls_before} calls")
    return bool(before) and last <= allowed and others > 0


def main():
    sys.addaudithook(hook)
    tally, kind, arguments, fine = Tally(), sys.argv[1], sys.argv[2:], True
    start = time.monotonic()
    if kind == "clients":
        calls_of_clients(tally, int(arguments[0]), int(arguments[1]))
    elif kind == "threads":
        calls_of_threads(tally, int(arguments[0]), int(arguments[1]))
    else:
        fine = calls_over_a_death(tally, float(arguments[0]), arguments[1], arguments[2], float(arguments[3]))
    print(
        f"    {tally.calls} calls in {time.monotonic() - start:.1f} s over {sum(map(len, connects.values()))} "
        f"connections, {len(tally.failures)} failed, slowest {1000 * tally.slowest:.0f} ms"
    )
    for error in tally.failures[:5]:
        print(f"    failed: {type(error).__name__}: {error}")
    sys.stdout.flush()
    os._exit(0 if fine and not tally.failures else 1)


main()
