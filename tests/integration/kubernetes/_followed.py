"""Programs that follow a Service while its slices change and the API server is restarted.

They remember every set that they showed. Everybody is in the cluster's network: so is who calls.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from anyio.from_thread import start_blocking_portal

from peerdiscover import AsyncDiscovery, Discovery, PeerSet, Source
from peerdiscover.discovery._base import _BaseDiscovery
from tests.tools.cluster import Cluster
from tests.waiting import eventually

from ._history import Moment, State
from ._writing import PATIENCE, Write, Writer


class Recorded(_BaseDiscovery[Any]):
    """Mixed into a discovery: each set that it shows, and when."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.shown: list[Moment] = []
        self._last: PeerSet | None = None
        super().__init__(*arguments, **options)
        show = self._runtime._show

        def recording() -> None:
            show()
            if self.peers is not self._last and self.peers.generation:
                self._last = self.peers
                self.shown.append(Moment(time.monotonic(), addresses(self.peers)))

        self._runtime._show = recording


def addresses(peers: PeerSet) -> State:
    return frozenset(peer.address for peer in peers)


class InThreads(Recorded, Discovery):
    """A discovery for threads that remembers what it showed."""


class InTasks(Recorded, AsyncDiscovery):
    """The same for asyncio and trio."""


@dataclass(frozen=True)
class Run:
    """What was written, and what was shown of it."""

    writes: list[Write]
    """From the first slice on."""
    beginning: int
    """How many were written before anybody watched."""
    retries: int
    """Tries of writes that came to nothing: the API server was away."""
    seconds: float
    shown: dict[str, list[Moment]]
    """By "threads", and by the event loop's name."""

    @property
    def history(self) -> list[Moment]:
        return [write.moment for write in self.writes[self.beginning - 1 :]]

    @property
    def told(self) -> list[tuple[str, str]]:
        """As `revisions` gives it."""
        return [(write.slice, write.version) for write in self.writes]


def run(
    cluster: Cluster,
    namespace: str,
    source: Source,
    *,
    loops: Sequence[str],
    changes: int,
    a_second: float,
    stretch: int,
) -> Run:
    """At least so many changes at that rate, or as quickly as can be where it fell behind; meanwhile the API
    server is stopped and started again, and then killed and started again.

    Before the first restart, between the two and after the second everybody shows `stretch` sets. The caller
    is inside the cluster. Raises AssertionError where somebody does not come to the end.
    """
    writer = Writer(cluster.api, namespace, "web", seed=1)
    writer.begin()
    beginning = len(writer.writes)
    service = f"web.{namespace}:http"
    with ExitStack() as stack:
        shown: dict[str, InThreads | InTasks] = {}
        for loop in loops:
            portal = stack.enter_context(start_blocking_portal(loop))
            web = portal.wrap_async_context_manager(InTasks(service, source=source))
            shown[loop] = stack.enter_context(web)
        shown["threads"] = stack.enter_context(InThreads(service, source=source))

        def follow() -> None:
            marks = {name: len(web.shown) + stretch for name, web in shown.items()}
            eventually(lambda: all(len(web.shown) >= marks[name] for name, web in shown.items()), PATIENCE)

        def restart_twice() -> None:
            follow()
            for end in cluster.stop_part, cluster.kill_part:
                end("apiserver")
                cluster.start_part("apiserver")
                follow()

        restarts = stack.enter_context(ThreadPoolExecutor(1)).submit(restart_twice)
        began = time.monotonic()
        for number, _ in enumerate(writer.changes(), 1):
            if number >= changes and restarts.done():
                break
            time.sleep(max(0.0, began + number / a_second - time.monotonic()))
        seconds = time.monotonic() - began
        restarts.result()
        writer.end()
        last = writer.writes[-1].moment.state
        eventually(lambda: all(addresses(web.peers) == last for web in shown.values()), PATIENCE)
    sets = {name: web.shown for name, web in shown.items()}
    return Run(writer.writes, beginning, writer.retries, seconds, sets)
