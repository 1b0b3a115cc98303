"""docker/compose.yaml: valid by the schema of Compose, and such that its parts find each other.

    compose.py
"""

import ipaddress, pathlib, subprocess, sys

import yaml

FILE = pathlib.Path(__file__).resolve().parents[2] / "docker/compose.yaml"


def need(condition, what):
    if not condition:
        sys.exit(f"compose: FAILED: {what}")


def valid(text):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    command += ["--default-filetype", "yaml", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True)


text = FILE.read_text()
said = valid(text)
need(said.returncode == 0, said.stdout + said.stderr)
need(valid(text.replace("cap_drop", "cap_dropped")).returncode != 0, "the schema takes what does not exist")
print("  ok: valid by the schema of Compose")

# Merge keys are resolved by the loader.
content = yaml.safe_load(text)
services = content["services"]
nodes = {name: one for name, one in services.items() if one["image"].startswith("scylladb/scylla:")}
servers = {name: one for name, one in services.items() if one["image"] == "alternator-dns"}
need((len(nodes), len(servers)) == (3, 2), "three nodes and two servers")
subnet = ipaddress.ip_network(content["networks"]["cluster"]["ipam"]["config"][0]["subnet"])
addresses = {name: one["networks"]["cluster"]["ipv4_address"] for name, one in {**nodes, **servers}.items()}
need(len(set(addresses.values())) == 5, "addresses of their own")
# The first is the gateway's.
free = list(subnet.hosts())[1:]
need(all(ipaddress.ip_address(one) in free for one in addresses.values()), "addresses of the network")
for name, one in services.items():
    for other, how in one.get("depends_on", {}).items():
        need(how == {"condition": "service_healthy"} and "healthcheck" in services[other], f"{name} waits for {other}")
for one in nodes.values():
    flags = dict(flag.removeprefix("--").split("=") for flag in one["command"])
    need(flags["seeds"] in nodes and flags["alternator-port"] == "8000", f"flags: {flags}")
    need({"alternator-write-isolation", "smp", "memory", "overprovisioned"} <= set(flags), f"flags: {flags}")
# One after another: each but the first waits for one, and no two for the same.
waited = [other for one in nodes.values() for other in one.get("depends_on", {})]
need(len(waited) == 2 == len(set(waited)), "nodes join one after another")
for name, one in servers.items():
    need(one["read_only"] and one["cap_drop"] == ["ALL"] and one["security_opt"] == ["no-new-privileges:true"], name)
    need(one["environment"]["ALTERNATOR_DNS_SERVER__LISTEN"].endswith(":53"), f"{name}: resolvers have port 53")
    need(one["sysctls"]["net.ipv4.ip_unprivileged_port_start"] <= 53, f"{name}: who may bind it")
    mounts = [volume.split(":") for volume in one["volumes"]]
    need(["/etc/alternator-dns/alternator-dns.toml", "ro"] in [mount[1:] for mount in mounts], f"{name}: configuration")
    need(any(mount[0] in content["volumes"] for mount in mounts), f"{name}: state")
    need((FILE.parent / one["build"]["context"] / one["build"]["dockerfile"]).exists(), f"{name}: what it is built from")
states = [volume for one in servers.values() for volume in one["volumes"] if volume.split(":")[0] in content["volumes"]]
need(len(set(states)) == 2, "a state of their own each")
need(services["client"]["dns"] == [addresses[name] for name in servers], "the client's resolvers are the servers")
print("  ok: its parts find each other")
