"""What peers cost: bytes, and milliseconds a refresh, over the embedded nameserver and in the core alone."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from statistics import median
from time import perf_counter

from peerdiscover import Answer, Discovery, Endpoint, Identity, PeerSet, Policy, ServiceName
from peerdiscover.membership import Membership
from peerdiscover.testing import HeadlessService

SIZES = (10, 100, 1000)
PATIENT = Policy(min_refresh=600, max_refresh=600)  # nothing is asked but what is timed


def figures() -> Iterator[tuple[str, str, str]]:
    ms, _ = _refresh(100, hostnames=True)
    yield "refresh of 100 unchanged pods over the embedded nameserver", f"{ms:.1f} ms", ""
    for size in SIZES:
        named, kept = _refresh(size, hostnames=True)
        bare, _ = _refresh(size, hostnames=False)
        yield (
            f"{size:,} peers: a refresh, with hostnames (without)",
            f"{named:.1f} ms ({bare:.1f} ms)",
            "" if kept == size else f"only {kept} seen",
        )
    for size in SIZES:
        yield f"{size:,} peers: of that, in the core", f"{_judging(size) * 1e3:.2f} ms", ""
    for size in SIZES:
        yield f"{size:,} peers: memory", f"{_bytes(size):,.0f} bytes a peer", ""


def _refresh(size: int, *, hostnames: bool) -> tuple[float, int]:
    """Milliseconds, the nameserver's own work in the same process included; and how many were seen."""
    with (
        HeadlessService("web-headless.prod", replicas=size, pods=False, hostnames=hostnames) as service,
        Discovery("web-headless.prod:8080", source=service.source, policy=PATIENT) as web,
    ):
        for _ in range(3):
            web.refresh()
        before, times = web.peers, []
        for _ in range(15):
            began = perf_counter()
            web.refresh()
            times.append(perf_counter() - began)
        assert web.peers.generation == before.generation or size > 700  # cut short past that: sets may grow
        return median(times) * 1e3, len(web.peers)


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
        core.take(answer, second)
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
        core.take(Answer.of(_endpoints(size), ttl=5, kind="headless"), second)
    return core, core.peers
