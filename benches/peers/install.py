"""Packages and builds: all that needs a network, and is done before the private namespace."""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
POLICY = pathlib.Path("/usr/sbin/policy-rc.d")
PACKAGES = ["bind9", "dnsmasq-base", "dnsperf", "gdnsd", "iproute2", "knot", "nsd", "util-linux", "valgrind"]


def packages():
    """Installs what is missing; starts no service, and leaves the machine's own resolver alone."""
    query = ["dpkg-query", "-W", "-f", "${binary:Package} ${db:Status-Status}\n"]
    known = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    installed = {line.split()[0].split(":")[0] for line in known.splitlines() if line.endswith(" installed")}
    missing = [package for package in PACKAGES if package not in installed]
    if not missing:
        return
    resolver = pathlib.Path("/etc/resolv.conf")
    before = resolver.read_bytes()
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        apt = ["apt-get", "-q", "-y"]
        subprocess.run([*apt, "update"], check=True, env=environment)
        subprocess.run([*apt, "install", "--no-install-recommends", *missing], check=True, env=environment)
    finally:
        if ours:
            POLICY.unlink()
    if resolver.read_bytes() != before:
        sys.exit("an installation changed /etc/resolv.conf")


def build():
    """Ours, the simulated cluster and the load generator, optimized. The binary comes last: built with the examples it
    would have their dependencies' features."""
    cargo = shutil.which("cargo") or sys.exit("needs cargo, see https://rustup.rs")
    command = [cargo, "build", "--release", "--locked"]
    subprocess.run([*command, "--example", "dns_load", "--example", "simulated_cluster"], cwd=ROOT, check=True)
    subprocess.run(command, cwd=ROOT, check=True)


def target():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
