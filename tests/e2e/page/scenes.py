"""Clusters in every state, as the status page gets them: it is fed by this instead of a server.

The page itself still comes from a real server, with the headers that one sends (PAGE_URL), or from its folder while it
is being worked on.
"""

import datetime
import http.server
import json
import math
import pathlib
import sys
import threading
import time
import urllib.request

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "src/admin/page"
TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
         "svg": "image/svg+xml"}
OUTCOMES = ["answered", "nodata", "nxdomain", "refused", "servfail", "formerr", "notimp", "badvers", "badcookie", "denied",
            "truncated", "dropped"]
BEGAN = time.time()
# A name of a rack is free text; this one would say so if anybody took it for markup.
MARKUP = "<img src=x onerror=window.injected=1>"


def when(seconds_ago=0.0):
    at = datetime.datetime.fromtimestamp(time.time() - seconds_ago, datetime.timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def override(target, action="drain", reason="kernel update", minutes=75.0, by="mara"):
    until = when(-60 * minutes) if minutes else None
    return {"target": target, "action": action, "zone": None, "from": when(900), "until": until, "set_at": when(900), "by": by,
            "reason": reason, "origin": "api"}


class Scene:
    """A cluster of so many datacenters, racks in each, nodes in each rack; `change(node)` makes it what it shows."""

    def __init__(self, name, dcs, racks, nodes, change=lambda node: None, **zone):
        self.name, self.change, self.zone = name, change, zone
        self.places = [(d, r, n) for d in range(1, dcs + 1) for r in range(1, racks + 1) for n in range(1, nodes + 1)]
        self.rack_names = {}
        self.overrides, self.reload = [], None

    def nodes(self):
        uptime = time.time() - BEGAN
        all_nodes = []
        for d, r, n in self.places:
            address = f"10.{d}.{r}.{n}"
            node = {"address": address, "datacenter": f"dc{d}", "rack": self.rack_names.get((d, r), f"rack{r}"), "verdict": "up",
                    "in": True, "reason": "up", "state": "up", "since": when(7300 + uptime),
                    "probe_seconds": 0.0004 + 0.0003 * ((d * 7 + r * 5 + n * 3) % 11), "led": 0, "weight": 1, "override": None}
            self.change(node)
            weight = (node["weight"] or 0) if node["in"] else 0
            node["led"] = int(500 + weight * uptime * (9 + 0.4 * ((n * 13 + r * 7) % 5)) * (2 if d == 1 else 1))
            all_nodes.append(node)
        return all_nodes

    def status(self):
        uptime = time.time() - BEGAN
        nodes = self.nodes()
        served = [node for node in nodes if node["in"]]
        busy = 220 * uptime + 540 * (1 - math.cos(uptime / 9)) if served else 0
        by_outcome = dict.fromkeys(OUTCOMES, 0)
        by_outcome |= {"answered": int(50_000 + busy), "nxdomain": int(900 + uptime * 1.5), "nodata": 310,
                       "servfail": 0 if served else int(uptime * 40)}
        zone = {"name": "alternator.example.com", "epoch": 41, "ready": True, "stale": False, "remembered": False, "flat": False,
                "panic": False, "source": "discovery", "ttl": 5, "nodes": nodes, "scopes": self.scopes(nodes)} | self.zone
        reload = {"succeeded": 3, "failed": 0, "last": {"at": when(4000), "error": None}} | (self.reload or {})
        listen = [{"transport": transport, "address": "192.0.2.53:53"} for transport in ("udp", "tcp")]
        server = {"version": "0.1.0", "identity": "ns1.example.com", "started": when(uptime + 190_000), "uptime": uptime + 190_000,
                  "pid": 4711, "listen": listen, "reload": reload}
        return {"server": server, "queries": {"by_outcome": by_outcome, "total": sum(by_outcome.values())}, "zones": [zone],
                "overrides": self.overrides, "events": {"latest": len(self.events())}}

    def pulse(self):
        """What moves; as a server sends it every second."""
        status = self.status()
        led = {node["address"]: node["led"] for node in status["zones"][0]["nodes"]}
        probes = {node["address"]: node["probe_seconds"] for node in status["zones"][0]["nodes"] if node["probe_seconds"]}
        zone = {"name": status["zones"][0]["name"], "epoch": status["zones"][0]["epoch"], "led": led, "probe_seconds": probes}
        return {"at": when(), "queries": status["queries"], "zones": [zone], "events": status["events"]}

    def scopes(self, nodes):
        def family(chain, members):
            for level, (name, inside) in enumerate(zip(chain, members)):
                if eligible := [node["address"] for node in inside if node["in"]]:
                    return {"level": level, "from": name, "nodes": eligible, "serving": "live", "ttl": 5}
            serving = "last_known" if members[0] else "unready"
            return {"level": 0, "from": chain[0], "nodes": [node["address"] for node in members[0]], "serving": serving, "ttl": 1}

        absent = {"level": 0, "from": "cluster", "nodes": [], "serving": "absent", "ttl": 5}
        found = [{"name": "cluster", "names": ["alternator.example.com"], "chain": ["cluster"], "a": family(["cluster"], [nodes]),
                  "aaaa": absent}]
        for dc in sorted({node["datacenter"] for node in nodes}):
            of_dc = [node for node in nodes if node["datacenter"] == dc]
            found.append({"name": dc, "names": [f"{dc}.alternator.example.com"], "chain": [dc], "a": family([dc], [of_dc]), "aaaa": absent})
            for rack in sorted({node["rack"] for node in of_dc}):
                chain = [f"{dc}/{rack}", dc]
                of_rack = [node for node in of_dc if node["rack"] == rack]
                found.append({"name": chain[0], "names": [f"{dc}.{rack}.alternator.example.com"], "chain": chain,
                              "a": family(chain, [of_rack, of_dc]), "aaaa": absent})
        return found

    def events(self):
        changes = [(5400, "server", "server", "started, version 0.1.0"), (4000, "reload", "reload", "succeeded: nothing changed")]
        for node in self.nodes():
            if not node["in"]:
                changes.append((130, "node", node["address"], f"is {node['verdict']}: {node['reason'].split(': ')[-1]}"))
        changes = changes[:60]
        return [{"number": number, "at": when(ago), "zone": "alternator.example.com" if kind == "node" else None, "kind": kind,
                 "subject": subject, "text": text} for number, (ago, kind, subject, text) in enumerate(changes, 1)]


def bad(node, verdict="down", reason="down: connection refused", ago=130.0, answered=False, **more):
    node.update({"verdict": verdict, "in": answered, "reason": reason, "since": when(ago), "probe_seconds": None} | more)


def rack_down(node):
    if (node["datacenter"], node["rack"]) == ("dc1", "rack2"):
        bad(node)


def everything(node):
    """One of each."""
    place = node["address"]
    drain = override("dc2/rack1", reason="new disks, ticket 4411")
    if place == "10.1.1.1":
        bad(node)
    elif place == "10.1.1.2":
        bad(node, "distrusted", "timed out, but the prober is distrusted", answered=True)
    elif place == "10.1.1.3":
        bad(node, "joining", "joining: status 503", 4)
    elif place == "10.1.2.1":
        bad(node, "left", "no longer listed by the cluster", 4000)
    elif place == "10.1.2.2":
        bad(node, "up", "up", 12, answered=True, weight=0.4, probe_seconds=0.0021)
    elif place == "10.1.2.3":
        bad(node, "remembered", "remembered from the state file", 90_000)
    elif node["datacenter"] == "dc2" and node["rack"].startswith(("rack1", "<")):
        bad(node, "drained", "drained", 900, override=drain, probe_seconds=0.0008)
    elif place == "10.2.2.1":
        bad(node, "forced", "forced up", 900, answered=True, override=override("10.2.2.1", "force-up", "probe is blocked by the firewall", 0))
    elif place == "10.2.2.2":
        bad(node, "listed", "listed, not probed", 70, answered=True)


def scenes():
    healthy = Scene("healthy", 2, 2, 3)
    down = Scene("rack-down", 2, 2, 3, rack_down)
    gone = Scene("all-down", 2, 2, 3, lambda node: bad(node, reason="down: timed out"), stale=True)
    unready = Scene("unready", 0, 0, 0, ready=False, source="nothing", epoch=1)
    every = Scene("everything", 2, 2, 3, everything, panic=True, remembered=True)
    every.rack_names = {(2, 1): MARKUP}
    every.overrides = [override("dc2/rack1", reason="new disks, ticket 4411"),
                       override("10.2.2.1", "force-up", "probe is blocked by the firewall", 0, "jon")]
    every.reload = {"last": {"at": when(190), "error": "alternator-dns.toml:14: unknown key \"listne\"; did you mean \"listen\"?"}}
    many = Scene("large", 3, 8, 42, lambda node: bad(node) if node["address"] in ("10.1.3.7", "10.2.5.30", "10.2.5.31") else None)
    many_down = Scene("large-down", 3, 4, 30, lambda node: bad(node, reason="down: timed out") if node["datacenter"] == "dc2" else None)
    return {scene.name: scene for scene in (healthy, down, gone, unready, every, many, many_down)}


class Stage(http.server.ThreadingHTTPServer):
    """Serves `scene`, which may be changed while it is served."""

    daemon_threads = True

    def __init__(self, scene, page_url=None, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.scene, self.page_url = scene, page_url
        # Requests are taken and never answered, streams say nothing more; or only streams are refused.
        self.silent, self.only_polls = threading.Event(), threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):  # A page that was left does not wait for its replies.
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.path.split("?")[0]
        while self.server.silent.is_set():
            time.sleep(0.1)
        if path == "/status.json":
            self.reply(json.dumps(self.server.scene.status()).encode(), [("Content-Type", "application/json")])
        elif path == "/events.json":
            changes = self.server.scene.events()
            self.reply(json.dumps({"latest": len(changes), "changes": changes}).encode(), [("Content-Type", "application/json")])
        elif path == "/events":
            self.stream()
        elif self.server.page_url:
            with urllib.request.urlopen(self.server.page_url + path.lstrip("/")) as got:
                # Of a demo's page that of a server: there are no nodes to stop here.
                body = got.read().replace(b'name="demo" content="true"', b'name="demo" content="false"')
                self.reply(body, [(name, value) for name, value in got.getheaders() if name.lower() not in ("date", "content-length")])
        else:
            self.from_folder(path.rsplit("/", 1)[-1] or "index.html")

    def from_folder(self, name):
        body = (FOLDER / name).read_text().replace('"VERSION"', '"0.1.0"').replace('"DEMO"', '"false"').encode()
        policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " \
            "require-trusted-types-for 'script'"
        self.reply(body, [("Content-Type", TYPES[name.rsplit(".", 1)[-1]]), ("Content-Security-Policy", policy)])

    def reply(self, body, headers):
        self.send_response(200)
        for name, value in [*headers, ("Content-Length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def stream(self):
        if self.server.only_polls.is_set():
            return self.send_error(503)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            while not self.server.only_polls.is_set():
                while self.server.silent.is_set():
                    time.sleep(0.1)
                self.wfile.write(f"event: status\ndata: {json.dumps(self.server.scene.pulse())}\n\n".encode())
                self.wfile.flush()
                time.sleep(1)
        except OSError:
            pass
        self.close_connection = True
