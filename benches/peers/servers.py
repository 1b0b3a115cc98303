"""The servers: their configurations, how they are started, and what is read from their processes."""

import os
import pathlib
import resource
import signal
import socket
import string
import struct
import subprocess
import time

import install

ZONE = "alternator.local"
RACK = f"dc1.rack1.{ZONE}"
CLUSTER_PORT = 8000
NODES = [f"127.0.1.{last}" for last in range(1, 7)]
SERVER_CPU, LOAD_CPU = 0, 1
A, SOA, AAAA = 1, 6, 28
NOERROR, NXDOMAIN = 0, 3
# Niceness: servers and generator go before whatever else runs on the machine, and before the simulated cluster, which
# needs little.
URGENT, CLUSTER_NICE = -20, -10
# Enough for a cluster of a thousand nodes with all its connections.
DESCRIPTORS = 65536
# Every server here answers within a second; under valgrind it may take some more.
READY_WITHIN = 60
# When nothing has changed for so many seconds, the start is over.
SETTLED = 2.5

TEMPLATES = pathlib.Path(__file__).parent / "templates"


def spawn(command, cpu, nice=URGENT, **rest):
    """Starts a program pinned to one processor, in a session of its own. Pinned by way of this process, so that no
    further program is executed in between, which would count as the server's start."""
    mine, niceness = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    os.sched_setaffinity(0, {cpu})
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    try:
        process = subprocess.Popen(command, start_new_session=True, **rest)
    finally:
        os.sched_setaffinity(0, mine)
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    # Where sessions are scheduled as groups (sched_autogroup), the niceness that counts is the group's.
    try:
        pathlib.Path(f"/proc/{process.pid}/autogroup").write_text(str(nice))
    except OSError:
        pass
    return process


def unlimited():
    """As many descriptors as may be had, for a program that is about to be executed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = hard != resource.RLIM_INFINITY and hard < DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if few else DESCRIPTORS, hard))


class Server:
    """One server. `sources` are its templates: file name within its folder to template."""

    def __init__(self, name, command, sources, port, work, log="error", **values):
        self.name, self.port = name, port
        self.dir = pathlib.Path(work) / name
        for folder in (self.dir, self.dir / "run", self.dir / "state", self.dir / "db"):
            folder.mkdir(parents=True, exist_ok=True)
        self.values = {"dir": self.dir, "port": port, "cluster_port": CLUSTER_PORT, "extra": "", **values}
        for file, template in sources.items():
            text = string.Template((TEMPLATES / template).read_text()).substitute(self.values)
            (self.dir / file).parent.mkdir(exist_ok=True)
            (self.dir / file).write_text(text)
        self.command = [part.replace("DIR", str(self.dir)) for part in command]
        self.log = log
        self.process = None

    def start(self, prefix=()):
        """Starts it, without waiting; returns the moment before."""
        log = open(self.dir / "log", "ab")
        began = time.monotonic()
        # Options of ours may also come from the environment.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ALTERNATOR_DNS_")}
        environment = {**clean, "RUST_LOG": self.log}
        self.process = spawn(
            [*prefix, *self.command], SERVER_CPU, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            cwd=self.dir,
        )
        log.close()
        return began

    def wait(self, within=READY_WITHIN, answers=len(NODES)):
        """Waits until it answers; returns the moment of the first right answer."""
        deadline = time.monotonic() + within
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.connect(("127.0.0.1", self.port))
            asker.settimeout(0.002)
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended: {(self.dir / 'log').read_text()[-2000:]}")
                try:
                    asker.send(query(ZONE, A))
                    reply = asker.recv(4096)
                    if reply[3] & 15 == NOERROR and struct.unpack("!H", reply[6:8])[0] == answers:
                        return time.monotonic()
                except (TimeoutError, ConnectionRefusedError):
                    pass
                time.sleep(0.0002)
        raise RuntimeError(f"{self.name} does not answer: {(self.dir / 'log').read_text()[-2000:]}")

    def stop(self):
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(number)
                try:
                    self.process.wait(60 if number == signal.SIGTERM else None)
                except subprocess.TimeoutExpired:
                    pass
        self.process = None

    def pids(self):
        """All processes of its session."""
        session = self.process.pid
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[3]) == session and fields[0] != "Z":
                    found.append(int(entry.name))
        return sorted(found)

    def rss(self):
        """MiB resident, summed over its processes."""
        kib = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    kib += int(line.split()[1])
        return kib / 1024

    def dropped(self):
        """Datagrams that did not fit into its sockets' buffers so far."""
        lines = pathlib.Path("/proc/net/udp").read_text().splitlines()[1:]
        return sum(int(line.split()[-1]) for line in lines if line.split()[1].endswith(f":{self.port:04X}"))

    def cpu(self):
        """Seconds of CPU used so far, all processes: their CPU clocks, see clock_getcpuclockid(3)."""
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.pids())


def all_servers(work, previous=None, extra=""):
    """Every server by name, ours first."""
    nodes = "\n".join(f"      n{number} => {node}," for number, node in enumerate(NODES))
    names = ("@", "dc1.rack1")
    records = "\n".join(f"{name} 5 A {node}" for name in names for node in NODES)
    ours = install.target() / "alternator-dns"
    serve = ["serve", "--config", "DIR/alternator-dns.toml"]
    zone = {"zone": "zone"}

    def server(name, port, command, sources, **values):
        return Server(name, command, sources, port, work, records=records, gdnsd_nodes=nodes, **values)

    own = {"alternator-dns.toml": "alternator-dns.toml"}
    servers = [server("ours", 5301, [str(ours), *serve], own, extra=extra)]
    if previous:
        servers.append(server("previous", 5302, [str(pathlib.Path(previous).resolve()), *serve], own, extra=extra))
    servers += [
        server("gdnsd", 5303, ["gdnsd", "-c", "DIR", "start"],
               {"config": "gdnsd.config", f"zones/{ZONE}": "gdnsd.zone", "nodes.state": "gdnsd.state"},
               states="\n".join(f"{node} => UP" for node in NODES)),
        server("nsd", 5304, ["nsd", "-d", "-c", "DIR/nsd.conf"], {"nsd.conf": "nsd.conf", **zone}),
        server("knot", 5305, ["knotd", "-c", "DIR/knot.conf"], {"knot.conf": "knot.conf", **zone}),
        server("bind", 5306, ["named", "-f", "-n", "1", "-c", "DIR/named.conf"], {"named.conf": "named.conf", **zone}),
        server("dnsmasq", 5307, ["dnsmasq", "-C", "DIR/dnsmasq.conf"],
               {"dnsmasq.conf": "dnsmasq.conf", "hosts": "hosts"},
               hosts="\n".join(f"{node} {ZONE} {RACK}" for node in NODES)),
    ]
    return {server.name: server for server in servers}


class Cluster:
    """The simulated cluster, on the load's processor."""

    def __init__(self, nodes, seed=1, nice=CLUSTER_NICE):
        program = install.target() / "examples" / "simulated_cluster"
        self.process = spawn(
            [program, "--port", str(CLUSTER_PORT), "--seed", str(seed), *nodes], LOAD_CPU, nice,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=unlimited,
        )
        first = self.process.stdout.readline()
        if not first.startswith("ready "):
            raise RuntimeError(f"the simulated cluster does not start: {first}")

    def tell(self, command):
        """Gives it a command; returns the lines before its ok."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.startswith("error"):
                raise RuntimeError(line.strip())
            if line.strip() == "ok":
                return lines
            lines.append(line.strip())
        raise RuntimeError("the simulated cluster has ended")

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


def small_cluster():
    return Cluster([f"dc1/rack1={node}" for node in NODES])


def query(name, qtype, number=0x1234):
    """One query without EDNS."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", number, 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", qtype, 1)


def ask(port, name, qtype, number=0x1234, tries=20):
    """A reply over UDP, as octets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.connect(("127.0.0.1", port))
        asker.settimeout(0.5)
        for _ in range(tries):
            try:
                asker.send(query(name, qtype, number))
                return asker.recv(4096)
            except (TimeoutError, ConnectionRefusedError):
                time.sleep(0.01)
    raise RuntimeError(f"no reply at port {port}")


def serial(port):
    """The zone's SOA serial."""
    reply = ask(port, ZONE, SOA)
    # No name of ours ends the answer but the five numbers of the SOA record, of which the serial is the first. An
    # authority or additional section is not there: responses are minimal.
    return struct.unpack("!I", reply[-20:-16])[0]


def settle(server):
    """Waits until it has given all addresses of both names for a while: those that watch their nodes begin with some
    of them."""
    deadline, since = time.monotonic() + READY_WITHIN, time.monotonic()
    while time.monotonic() - since < SETTLED:
        counts = [struct.unpack("!H", ask(server.port, name, A)[6:8])[0] for name in (ZONE, RACK)]
        if counts != [len(NODES)] * 2:
            since = time.monotonic()
        if time.monotonic() > deadline:
            raise RuntimeError(f"{server.name} answers {counts} addresses")
        time.sleep(0.05)


def described(server):
    """Octets of an answer, and how many addresses lead in sixty answers."""
    size, first = set(), set()
    for number in range(60):
        # Knot rotates by the query's id.
        reply = ask(server.port, ZONE, A, number)
        size.add(len(reply))
        # Each record ends in its address, and all records are of one length.
        start = 12 + len(ZONE) + 2 + 4
        record = (len(reply) - start) // len(NODES)
        first.add(reply[start + record - 4:start + record])
    others = ((RACK, A, NOERROR, len(NODES)), (ZONE, AAAA, NOERROR, 0), (f"no.{ZONE}", A, NXDOMAIN, 0))
    for name, qtype, code, answers in others:
        reply = ask(server.port, name, qtype)
        found = (reply[3] & 15, struct.unpack("!H", reply[6:8])[0])
        if found != (code, answers):
            raise RuntimeError(f"{server.name} answers {name} type {qtype} with {found}, not {(code, answers)}")
    return "/".join(map(str, sorted(size))), len(first)
