"""Connecting to pods, and looking at this pod. Nothing is decided here.

Invariants:

* One connection a pod, 32 at once, at most `MAX_PODS`; if it failed, a second one a second later. Pods that
  refuse are tried at other ports of the Service, with one connection a port.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from peerdiscover._host_ports import host_port
from peerdiscover.names import ServiceName
from peerdiscover.sources.environment import Environment

from ._world import Own

MAX_PODS = 100
AT_ONCE = 32
SECONDS = 1.0
MAX_OTHER_PORTS = 3
ACCEPTS, REFUSES, IS_SILENT = "accepts", "refuses", "is silent"

Place = tuple[str, int]


def connect(places: Sequence[Place], other_ports: Iterable[int], seconds: float) -> dict[str, str]:
    """What came of connections to these addresses and ports, by `address:port`."""
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(AT_ONCE) as threads:
        places = places[:MAX_PODS]
        first = dict(zip(places, threads.map(_try, places), strict=True))
        failed = [place for place, found in first.items() if found != ACCEPTS]
        if failed and time.monotonic() + 2 * SECONDS < end:
            time.sleep(SECONDS)
            second = dict(zip(failed, threads.map(_try, failed), strict=True))
            # What failed once and worked then is no failure; what failed differently is the later one.
            first |= second
            others = [
                (address, port)
                for address, port in failed
                if second[address, port] == REFUSES
                for port in sorted(set(other_ports) - {port})[:MAX_OTHER_PORTS]
            ]
            first |= dict(zip(others, threads.map(_try, others), strict=True))
        else:
            first |= dict.fromkeys(failed, "failed once, and there was no time to try again")
    return {host_port(*place): found for place, found in first.items()}


def _try(place: Place) -> str:
    try:
        socket.create_connection(place, SECONDS).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return REFUSES
    except OSError:  # no answer in time, or no route
        return IS_SILENT
    return ACCEPTS


def this_pod(environment: Environment, service: ServiceName, proc: Path = Path("/proc/net")) -> Own | None:
    """This pod; None outside of one."""
    if not environment.environ.get("KUBERNETES_SERVICE_HOST"):
        return None
    identity = environment.identity(service)
    environ = environment.environ
    return Own(
        identity.name or environ.get("POD_NAME") or environ.get("HOSTNAME"),
        frozenset(identity.addresses),
        environment.namespace(),
        environment.resolv_conf.read().search,
        _loopback_ports(proc),
    )


_ROW = re.compile(r"^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ 0A ", re.MULTILINE)
"""A listening socket (0A): address and port, in hexadecimal."""


def _loopback_ports(proc: Path) -> frozenset[int]:
    """The ports with a listener on 127/8 or ::1, and on nothing else."""
    on_loopback: dict[int, bool] = {}
    for name in "tcp", "tcp6":
        try:
            text = (proc / name).read_text()
        except OSError:
            continue
        for address, port in _ROW.findall(text):
            number = int(port, 16)
            is_loopback = address.endswith("7F") if len(address) == 8 else _is_loopback6(address)
            on_loopback[number] = on_loopback.get(number, True) and is_loopback
    return frozenset(number for number, only in on_loopback.items() if only)


def _is_loopback6(address: str) -> bool:
    """::1, or 127/8 mapped into IPv6; each four bytes are in the machine's order, which is little-endian."""
    return address == "0" * 24 + "01000000" or (address[16:24] == "FFFF0000" and address.endswith("7F"))
