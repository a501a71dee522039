"""What peers cost: bytes, and milliseconds a refresh, over the embedded nameserver and in the core alone.

The nameserver runs in a process of its own: it works as long as the client does, and is no part of it.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter, process_time

from peerdiscover import DNS, Answer, Discovery, Endpoint, Identity, PeerSet, Policy, ServiceName
from peerdiscover.membership import Membership

SIZES = (10, 100, 1000)
PATIENT = Policy(min_refresh=600, max_refresh=600)  # nothing is asked but what is timed


def figures() -> Iterator[tuple[str, str, str]]:
    for size in SIZES:
        named, bare = _refresh(size, hostnames=True), _refresh(size, hostnames=False)
        yield (
            f"{size:,} unchanged peers: a refresh over the embedded nameserver, with hostnames (without)",
            f"{named[0]:.1f} ms ({bare[0]:.1f} ms)",
            "" if named[2] == size else f"only {named[2]} seen",
        )
        yield (
            f"{size:,} peers: of that, processor time of the client",
            f"{named[1]:.1f} ms ({bare[1]:.1f} ms)",
            "",
        )
    for size in SIZES:
        yield f"{size:,} peers: of that, in the core", f"{_judging(size) * 1e3:.2f} ms", ""
    for size in SIZES:
        yield f"{size:,} peers: memory", f"{_bytes(size):,.0f} bytes a peer", ""


_NAMESERVER = """
import sys
from peerdiscover.testing import HeadlessService
with HeadlessService("web-headless.prod", replicas={size}, pods=False, hostnames={hostnames}) as service:
    print(service.nameserver, flush=True)
    sys.stdin.read()
"""


@contextmanager
def _nameserver(size: int, hostnames: bool) -> Iterator[str]:
    program = [sys.executable, "-c", _NAMESERVER.format(size=size, hostnames=hostnames)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()  # the end of its input ends it


def _refresh(size: int, *, hostnames: bool) -> tuple[float, float, int]:
    """Milliseconds until the answer is judged, and of the processor for that; and how many were seen."""
    with (
        _nameserver(size, hostnames) as nameserver,
        Discovery("web-headless.prod:8080", source=DNS([nameserver]), policy=PATIENT) as web,
    ):
        for _ in range(3):
            web.refresh()
        before, times, busy = web.peers, list[float](), list[float]()
        for _ in range(15):
            began, worked = perf_counter(), process_time()
            web.refresh()
            times.append(perf_counter() - began)
            busy.append(process_time() - worked)
        assert web.peers.generation == before.generation or size > 700  # cut short past that: sets may grow
        return median(times) * 1e3, median(busy) * 1e3, len(web.peers)


def _endpoints(size: int) -> list[Endpoint]:
    suffix = "web-headless.prod.svc.cluster.local."
    return [
        Endpoint((f"10.0.{i // 256}.{i % 256}",), 8080, f"web-{i}", f"web-{i}.{suffix}") for i in range(size)
    ]


def _core() -> Membership:
    core = Membership(ServiceName.parse("web-headless.prod:8080"), Policy(), Identity(), lambda: 0.5)
    core.start(0)
    return core


def _judging(size: int) -> float:
    core, times = _core(), []
    for second in range(21):
        answer = Answer.of(_endpoints(size), ttl=5, kind="headless")
        core.begin()
        began = perf_counter()
        core.apply(answer, second)
        times.append(perf_counter() - began)
    return median(times[1:])


def _bytes(size: int) -> float:
    """What stays allocated for a set, its texts and its objects, once its answer is gone."""
    _filled(3)  # what is made once in a process is made now
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = _filled(size)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        assert len(kept[1]) == size
    finally:
        tracemalloc.stop()
    return (after - before) / size


def _filled(size: int) -> tuple[Membership, PeerSet]:
    core = _core()
    for second in range(2):
        core.begin()
        core.apply(Answer.of(_endpoints(size), ttl=5, kind="headless"), second)
    return core, core.peers
