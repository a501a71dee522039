"""The cluster's network: one namespace with a bridge, and one more for each pod that runs a command.

    main namespace                                     a pod's namespace
      br0  10.244.0.1/16   the nodes, the tests          eth0  10.244.x.y/16
           10.96.0.1/32    the API server                default route by 10.244.0.1
           10.96.0.10/32   CoreDNS
           10.244.x.y/32   each served pod

Whoever is in the main namespace stands where a node stands. The address of a served pod is local there, so
that a thousand of them need neither a thousand interfaces nor a neighbour table of that size.

A pod in a *black hole* gets no packet and is not heard any more, and nobody is told: no RST, no ICMP. For a
served pod, rules send packets to and from its address by a next hop whose hardware address nobody has, and
drop what comes in by the bridge. In the namespace of a commanded pod, rules drop all that comes in. ARP goes
on being answered in both cases: an unanswered one would become EHOSTUNREACH. The rules must be looked at
before the table of local addresses, so that one is moved behind them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path

API, DNS, GATEWAY = "10.96.0.1", "10.96.0.10", "10.244.0.1"
SERVICE_NETWORK, SERVICE_NETWORK_6 = "10.96.0.0/16", "fd00:10:96::/112"
GATEWAY_6 = "fd00:10:244::1"
BRIDGE = "br0"

_NOBODY, _NOBODY_6, _NOBODYS_HARDWARE = "10.244.255.254", "fd00:10:244::ffff:fffe", "02:00:00:00:de:ad"
_VOID = 100  # the routing table that leads to nobody
_CLONE_NEWNET = 0x40000000
_RUN = Path("/run/netns")


class NetworkError(Exception):
    """A network command failed; the text is its own."""


def create_namespace(name: str, search: str) -> None:
    """The main namespace of a cluster. `search` is the search line of its resolv.conf."""
    run(["netns", "add", name])
    configuration = Path("/etc/netns", name)
    configuration.mkdir(parents=True, exist_ok=True)
    configuration.joinpath("resolv.conf").write_text(resolv_conf(search))
    batch(
        [
            "link set lo up",
            f"link add {BRIDGE} address 02:00:0a:f4:00:01 type bridge",
            # A bridge without a port that is up has no carrier and sends nothing.
            "link add port0 type veth peer name port1",
            f"link set port0 master {BRIDGE} up",
            "link set port1 up",
            f"addr add {GATEWAY}/16 dev {BRIDGE}",
            f"addr add {API}/32 dev {BRIDGE}",
            f"addr add {DNS}/32 dev {BRIDGE}",
            f"addr add {GATEWAY_6}/64 dev {BRIDGE} nodad",
            f"link set {BRIDGE} up",
            *_local_table_after_the_rules(),
            f"neigh add {_NOBODY} lladdr {_NOBODYS_HARDWARE} dev {BRIDGE} nud permanent",
            f"neigh add {_NOBODY_6} lladdr {_NOBODYS_HARDWARE} dev {BRIDGE} nud permanent",
            f"route add default via {_NOBODY} dev {BRIDGE} onlink table {_VOID}",
            f"-6 route add default via {_NOBODY_6} dev {BRIDGE} onlink table {_VOID}",
        ],
        name,
    )


def create_pod_namespace(cluster: str, name: str, interface: str, addresses: list[str]) -> None:
    """A namespace for one pod, on the bridge of `cluster`, by a pair whose outer end is `interface`."""
    run(["netns", "add", name])
    batch([f"link add {interface} type veth peer name eth0 netns {name}"], cluster)
    batch([f"link set {interface} master {BRIDGE} up"], cluster)
    own = [
        f"addr add {address}/16 dev eth0" if "." in address else f"addr add {address}/64 dev eth0 nodad"
        for address in addresses
    ]
    batch(
        [
            "link set lo up",
            *own,
            "link set eth0 up",
            f"route add default via {GATEWAY}",
            *(f"-6 route add default via {GATEWAY_6} dev eth0" for address in addresses if ":" in address),
            *_local_table_after_the_rules(),
        ],
        name,
    )


def delete_namespace(name: str) -> None:
    """Removes a namespace and what `create_namespace` wrote for it; nothing, if there is none."""
    if name in namespaces():
        run(["netns", "del", name])
    shutil.rmtree(Path("/etc/netns", name), ignore_errors=True)


def namespaces() -> list[str]:
    """The names of all network namespaces that have one."""
    return sorted(entry.name for entry in _RUN.iterdir()) if _RUN.is_dir() else []


def processes_in(name: str) -> list[int]:
    """The processes whose network is that namespace."""
    return [int(word) for word in run(["netns", "pids", name]).split()]


def blackhole_served(cluster: str, addresses: Iterable[str], *, heal: bool = False) -> None:
    """Packets to and from a served pod vanish, or no longer do."""
    verb = "del" if heal else "add"
    lines: list[str] = []
    for address in addresses:
        family = "-6 " if ":" in address else ""
        lines += [
            f"{family}rule {verb} pref 1 {way} {address} iif lo lookup {_VOID}" for way in ("to", "from")
        ]
        lines += _drops(family, verb, f"iif {BRIDGE} to {address}")
    batch(lines, cluster)


def blackhole_namespace(name: str, *, heal: bool = False) -> None:
    """Packets to a pod in a namespace of its own vanish, answers to its own included; or no longer do."""
    verb = "del" if heal else "add"
    batch([line for family in ("", "-6 ") for line in _drops(family, verb, "iif eth0")], name)


def _drops(family: str, verb: str, what: str) -> list[str]:
    # One rule a protocol: a rule for all of IP would have the kernel answer no ARP for the address either.
    echo = "ipv6-icmp" if family else "icmp"
    if family:
        # Neighbour discovery is ICMP: of ICMPv6 nothing is dropped.
        return [f"{family}rule {verb} pref 2 {what} ipproto {name} blackhole" for name in ("tcp", "udp")]
    return [f"rule {verb} pref 2 {what} ipproto {name} blackhole" for name in ("tcp", "udp", echo)]


def _local_table_after_the_rules() -> list[str]:
    return [
        line
        for family in ("", "-6 ")
        for line in (f"{family}rule add pref 9 lookup local", f"{family}rule del pref 0")
    ]


def resolv_conf(search: str, server: str = DNS) -> str:
    """What the kubelet writes for a pod: by default, with the policy ClusterFirst."""
    return f"search {search}\n" * bool(search) + f"nameserver {server}\noptions ndots:5\n"


def run(arguments: list[str]) -> str:
    """`ip` with these arguments; what it printed."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def batch(lines: Iterable[str], namespace: str) -> None:
    """Many `ip` commands in one namespace: one process for each run of lines of one family."""
    groups: list[tuple[bool, list[str]]] = []
    for line in lines:
        six = line.startswith("-6 ")
        if not groups or groups[-1][0] != six:
            groups.append((six, []))
        groups[-1][1].append(line.removeprefix("-6 "))
    for six, group in groups:
        command = ["ip", *(["-6"] if six else []), "-n", namespace, "-batch", "-"]
        done = subprocess.run(command, input="\n".join(group), capture_output=True, text=True, check=False)
        if done.returncode:
            raise NetworkError(f"{' '.join(command)}: {done.stderr.strip()}\n" + "\n".join(group))


_libc = ctypes.CDLL(None, use_errno=True)


def set_namespace(descriptor: int) -> None:
    """The calling thread's new sockets belong to that namespace. os.setns came with Python 3.12."""
    if _libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def enter_for_good(name: str) -> None:
    """This thread, and the threads and processes that it starts, are in the namespace from now on."""
    descriptor = os.open(_RUN / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        set_namespace(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """The calling thread, and threads that start meanwhile, are in that namespace; then back where it was."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter_for_good(name)
        try:
            yield
        finally:
            set_namespace(before)
    finally:
        os.close(before)


def sixth(address: str) -> str:
    """The IPv6 address of the pod that has this IPv4 address."""
    return str(ip_address(f"fd00:10:244::{int(ip_address(address)) & 0xFFFF:x}"))
