"""Callers of both kinds, with one interface for tests: of threads, and of asyncio with a loop in a thread.

Calls have a long timeout unless a test gives another, so that none hangs for ever.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc

from peerdiscover import AsyncDiscovery, Discovery, Peer, PeerSet, Policy
from peerdiscover.grpc import AsyncPodChannel, PodChannel
from tests.waiting import LONG

from ._pods import NAME

KINDS = ("threads", "asyncio")
_POLICY = Policy(on_empty="accept", mass_removal=1)  # a source that a test made is believed


class Caller:
    """What both have in common."""

    def __init__(self, discovery: Any, channel: Any) -> None:
        self.discovery = discovery
        self.channel = channel
        self.stub = {
            "Say": channel.unary_unary("/pod.Pod/Say"),
            "Count": channel.unary_stream("/pod.Pod/Count"),
            "Join": channel.stream_unary("/pod.Pod/Join"),
            "Echo": channel.stream_stream("/pod.Pod/Echo"),
        }
        self.failures: list[str] = []
        """The keys of the pods that were reported."""
        report = discovery.report_failure

        def noted(peer: Peer, error: BaseException | None = None) -> None:
            assert isinstance(error, grpc.RpcError)
            self.failures.append(peer.key)
            report(peer, error)

        discovery.report_failure = noted

    def say(self, request: bytes = b"", **options: Any) -> bytes:
        result: bytes = self.call("Say", request, **options)
        return result

    def count(self, request: bytes = b"", **options: Any) -> list[bytes]:
        return list(self.call("Count", request, **options))

    def join(self, requests: Sequence[bytes] = (), **options: Any) -> bytes:
        result: bytes = self.call("Join", requests, **options)
        return result

    def echo(self, requests: Sequence[bytes] = (), **options: Any) -> list[bytes]:
        return list(self.call("Echo", requests, **options))

    def call(self, method: str, request: Any, **options: Any) -> Any:
        """The response, or all responses, of one call; these are also put `into` a list as they come."""
        raise NotImplementedError

    def refresh(self) -> None:
        """The source is asked."""
        raise NotImplementedError

    def settle(self, shown: Callable[[PeerSet], object]) -> None:
        """Ask the source until the set is as expected."""
        for _ in range(100):
            self.refresh()
            if shown(self.discovery.peers):
                return
        raise AssertionError(self.discovery.explain())

    def each_kind(self, **options: Any) -> list[Callable[[], bytes]]:
        """A call of each kind, which returns the name of the pod that answered."""
        return [
            lambda: self.say(**options),
            lambda: self.count(**options)[0],
            lambda: self.join([b"1", b"2"], **options).split()[0],
            lambda: self.echo([b"1", b"2"], **options)[-1].split()[0],
        ]


class ThreadsCaller(Caller):
    def call(self, method: str, request: Any, **options: Any) -> Any:
        request = request if isinstance(request, bytes) else iter(request)
        into = options.pop("into", [])
        responses = self.stub[method](request, **{"timeout": LONG, **options})
        if isinstance(responses, bytes):
            return responses
        into.extend(responses)
        return into

    def refresh(self) -> None:
        self.discovery.refresh()


class AsyncCaller(Caller):
    loop: asyncio.AbstractEventLoop

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Await it in the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(LONG)

    def call(self, method: str, request: Any, **options: Any) -> Any:
        into = options.pop("into", [])

        async def awaited() -> Any:
            call = self.stub[method](request, **{"timeout": LONG, **options})
            if not hasattr(call, "__aiter__"):
                return await call
            async for response in call:
                into.append(response)
            return into

        return self.run(awaited())

    def refresh(self) -> None:
        self.run(self.discovery.refresh())


@contextmanager
def caller(
    kind: str, source: Callable[[], Iterable[Peer]], name: str = NAME, **options: Any
) -> Iterator[Caller]:
    """A caller of pods that the source shows; `options` are those of the channel.

    `picker` may be a function of the discovery.
    """

    def given(web: object) -> dict[str, Any]:
        picker = options.get("picker")
        return {**options, "picker": picker(web) if callable(picker) else picker}

    if kind == "threads":
        with Discovery(name, source=source, policy=_POLICY) as web, PodChannel(web, **given(web)) as channel:
            yield ThreadsCaller(web, channel)
        return
    ready: list[AsyncCaller] = []
    began, ended = threading.Event(), threading.Event()

    async def main() -> None:
        async with (
            AsyncDiscovery(name, source=source, policy=_POLICY) as web,
            AsyncPodChannel(web, **given(web)) as channel,
        ):
            made = AsyncCaller(web, channel)
            made.loop = asyncio.get_running_loop()
            ready.append(made)
            began.set()
            await asyncio.to_thread(ended.wait)

    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)
            began.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert began.wait(LONG)
        if failed:
            raise failed[0]
        yield ready[0]
    finally:
        ended.set()
        thread.join(LONG)
