"""A program that discovers: what `_cluster_children` starts, so that nobody's work is counted as another's.

Run with one argument, JSON: `how` ("follow", "enter", "memory", "refresh"), `runtime` ("threads", "asyncio"),
`service`, `source` ("k8s", "dns") with its `options`, `least` (peers to wait for), `times`, `warm` (another
service, looked at first). It prints lines of JSON. Times are those of the machine's monotonic clock, which
all processes share.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import anyio

from peerdiscover import DNS, AsyncDiscovery, Change, Discovery, Kubernetes, Policy, Source


def main() -> None:
    told = json.loads(sys.argv[1])
    service, source = told["service"], _source(told["source"], told["options"])
    policy = Policy(min_peers=told["least"])
    if told["how"] == "follow" and told["runtime"] == "asyncio":
        anyio.run(_afollow, service, source, policy)
    elif told["how"] == "follow":
        _follow(Discovery(service, source=source, policy=policy))
    elif told["how"] == "enter":
        for _ in range(told["times"]):
            began = time.perf_counter()
            with Discovery(service, source=source, policy=policy) as web:
                _say(seconds=time.perf_counter() - began, peers=len(web.peers))
    elif told["how"] == "memory":
        with Discovery(told["warm"], source=source):
            pass  # what is made once in a process is made now
        _memory(lambda: Discovery(service, source=source, policy=policy))
    else:
        with Discovery(service, source=source, policy=policy) as web:
            for _ in range(told["times"]):
                began = time.process_time()
                web.refresh()
                _say(cpu=time.process_time() - began, peers=len(web.peers))


def _source(kind: str, options: dict[str, Any]) -> Source:
    return Kubernetes(**options) if kind == "k8s" else DNS(**options)


def _follow(web: Discovery) -> None:
    """Says each change; and how it is, for each line on stdin."""
    with web:
        threading.Thread(target=_answer, args=(web,), daemon=True).start()
        for change in web.changes():
            _changed(change)


def _answer(web: Discovery) -> None:
    for _ in sys.stdin:
        status = web.status
        _say(at=time.monotonic(), cpu=time.process_time(), age=status.age, stale=status.stale)


async def _afollow(service: str, source: Source, policy: Policy) -> None:
    async with AsyncDiscovery(service, source=source, policy=policy) as web:
        async for change in web.changes():
            _changed(change)


def _changed(change: Change) -> None:
    at = time.monotonic()
    added = [peer.address for peer in change.added]
    _say(at=at, added=added, removed=[peer.address for peer in change.removed])


def _memory(make: Callable[[], Discovery]) -> None:
    """What stays for a watch with its set, and the most there was on the way."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    with make() as web:
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
        _say(stays=after - before, peak=peak - before, peers=len(web.peers))


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")  # one call: two threads may speak
    sys.stdout.flush()


if __name__ == "__main__":
    main()
