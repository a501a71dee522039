"""One way to write a test for all clients: threads, asyncio and trio, of httpx and of httpx2.

A `Web` sends requests from the test's thread, whatever client is behind it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import anyio.from_thread
import pytest

from peerdiscover import AsyncDiscovery, Discovery, Policy
from peerdiscover.http import AsyncPodTransport, PodTransport
from tests.waiting import LONG

FLAVORS = [f"{kind}-{library}" for kind in ("threads", "asyncio", "trio") for library in ("httpx", "httpx2")]
SLOW = Policy(min_refresh=600, max_refresh=600, jitter=0)
"""Asks when it is told to, or when something failed."""
HOST = "http://web.prod"


class Web:
    """A client over a discovery."""

    def __init__(
        self,
        api: Any,
        call: Callable[..., Any],
        client: Any,
        discovery: Any,
        transport: Any,
        close_discovery: Callable[[], object],
    ) -> None:
        self.api = api
        self.close_discovery: Callable[[], object] = close_discovery
        self._call = call
        self.client = client
        self.discovery: Any = discovery
        self.transport: Any = transport

    def request(self, method: str, path: str = "/", *, host: str = HOST, **options: Any) -> Any:
        return self._call(self.client.request, method, host + path, **options)

    def get(self, path: str = "/", **options: Any) -> Any:
        return self.request("GET", path, **options)

    def post(self, path: str = "/", **options: Any) -> Any:
        return self.request("POST", path, **options)

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call, and await the result of an asynchronous client."""
        return self._call(function, *args, **options)

    def refresh(self) -> Any:
        return self._call(self.discovery.refresh)


@contextmanager
def web(
    flavor: str,
    source: Any,
    *,
    policy: Policy = SLOW,
    name: str = "web.prod",
    client: Any = None,
    **options: Any,
) -> Iterator[Web]:
    """An entered discovery, a transport with these options, and a client over it."""
    kind, _, library = flavor.partition("-")
    if find_spec(library) is None:
        text = f"{library} is not installed: pip install {library}"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    api = import_module(library)
    client_options: dict[str, Any] = {"timeout": LONG, **(client or {})}
    if kind == "threads":
        with ExitStack() as stack:
            discovery = stack.enter_context(Discovery(name, source=source, policy=policy))
            transport = PodTransport(discovery, **options)
            http = stack.enter_context(api.Client(transport=transport, **client_options))
            yield Web(
                api, lambda function, *a, **k: function(*a, **k), http, discovery, transport, discovery.close
            )
        return

    class Held:
        """Entered and left in one task, as event loops want it."""

        def __init__(self) -> None:
            self.end, self.ended, self.leave = anyio.Event(), anyio.Event(), anyio.Event()

        async def hold(self, *, task_status: Any) -> None:
            async with AsyncExitStack() as stack:
                discovery = AsyncDiscovery(name, source=source, policy=policy)
                await discovery.__aenter__()
                try:
                    self.discovery = discovery
                    self.transport = AsyncPodTransport(discovery, **options)
                    self.client = await stack.enter_async_context(
                        api.AsyncClient(transport=self.transport, **client_options)
                    )
                    task_status.started()
                    await self.end.wait()
                finally:
                    await discovery.__aexit__(None, None, None)
                    self.ended.set()
                await self.leave.wait()

    def caller(portal: Any) -> Callable[..., Any]:
        def call(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
            async def run() -> Any:
                result = function(*args, **options)
                return await result if hasattr(result, "__await__") else result

            return portal.call(run)

        return call

    with anyio.from_thread.start_blocking_portal(kind) as portal:
        call = caller(portal)
        held = call(Held)
        future, _ = portal.start_task(held.hold)

        def close_discovery() -> None:
            portal.call(held.end.set)
            portal.call(held.ended.wait)

        try:
            yield Web(api, call, held.client, held.discovery, held.transport, close_discovery)
        finally:
            portal.call(held.end.set)
            portal.call(held.leave.set)
            future.result(LONG)
