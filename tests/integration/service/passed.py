"""Stands in for systemd: binds sockets, and runs a command on them, again each time it ends, until told to stop.

passed.py NAME=KIND:ADDRESS:PORT[,...] PID RUNS COMMAND...

KIND is udp, tcp, unix or connection (one that was accepted already). PID is self (as systemd would have it) or a number.
The command runs RUNS times, one after another.
"""
import ctypes
import os
import socket
import sys

wanted, pid, runs, command = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
names, sockets, kept = [], [], []
for entry in filter(None, wanted.split(",")):
    name, spec = entry.split("=", 1)
    kind, rest = spec.split(":", 1)
    if kind == "unix":
        one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    else:
        address, port = rest.rsplit(":", 1)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        one = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((address, int(port)))
        if kind != "udp":
            one.listen(1024)
        if kind == "connection":
            kept += [one, socket.create_connection(one.getsockname())]
            one = one.accept()[0]
    names.append(name)
    sockets.append(one)

# Out of the way first, so that none is overwritten on its way to its number.
high = [os.dup2(one.fileno(), 100 + number, inheritable=False) for number, one in enumerate(sockets)]
for _ in range(runs):
    child = os.fork()
    if child == 0:
        # PR_SET_PDEATHSIG: a test that kills this launcher kills the command too.
        ctypes.CDLL(None).prctl(1, 9)
        for number, descriptor in enumerate(high):
            os.dup2(descriptor, 3 + number, inheritable=True)
        os.environ["LISTEN_FDS"] = str(len(high))
        os.environ["LISTEN_FDNAMES"] = ":".join(names)
        os.environ["LISTEN_PID"] = str(os.getpid()) if pid == "self" else pid
        os.execvp(command[0], command)
    print("child", child, flush=True)
    _, status = os.waitpid(child, 0)
    print("ended", os.waitstatus_to_exitcode(status), flush=True)
