"""One way to write a test for sessions of requests and of aiohttp: both are called from the test's thread."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import anyio
import anyio.from_thread
import requests

from peerdiscover import AsyncDiscovery, Discovery, Policy
from peerdiscover.aiohttp import pods as aiohttp_pods
from peerdiscover.requests import PodAdapter
from tests.http._flavors import SLOW
from tests.waiting import LONG

LIBRARIES = ["requests", "aiohttp"]
HOST, SECURE = "http://web.prod", "https://web.prod"


@dataclass
class Answer:
    """What the tests read of a response."""

    status: int
    text: str
    url: str
    history: Any
    """Its attribute `peerdiscover`; None if it came from no pod."""

    @property
    def pods(self) -> list[str]:
        """The keys of the pods that were tried, in their order; the last one answered."""
        return [*(tried.peer.key for tried in self.history["failed"]), self.history["peer"].key]


@dataclass
class Opened:
    """A response whose body is not read yet."""

    read: Callable[[], bytes]
    close: Callable[[], object]


@dataclass
class Web:
    """A session over a discovery."""

    library: str
    session: Any
    discovery: Any
    call: Callable[..., Any]

    @property
    def error(self) -> type[Exception]:
        """The class of all errors of the library."""
        return requests.RequestException if self.library == "requests" else aiohttp.ClientError

    def request(self, method: str, path: str = "/", *, host: str = HOST, **options: Any) -> Answer:
        url = host + path
        if self.library == "requests":
            response = self.session.request(method, url, **options)
            history = getattr(response, "peerdiscover", None)
            return Answer(response.status_code, response.text, response.url, history)

        async def send() -> Answer:
            async with self.session.request(method, url, **options) as response:
                history = getattr(response, "peerdiscover", None)
                return Answer(response.status, await response.text(), str(response.url), history)

        answer: Answer = self.call(send)
        return answer

    def get(self, path: str = "/", **options: Any) -> Answer:
        return self.request("GET", path, **options)

    def post(self, path: str = "/", **options: Any) -> Answer:
        return self.request("POST", path, **options)

    def open(self, path: str = "/") -> Opened:
        if self.library == "requests":
            response = self.session.get(HOST + path, stream=True)
            return Opened(lambda: response.content, response.close)
        response = self.call(self.session.get, HOST + path)

        async def close() -> None:
            response.close()

        return Opened(lambda: self.call(response.read), lambda: self.call(close))

    def refresh(self) -> None:
        self.call(self.discovery.refresh)


@contextmanager
def web(
    library: str,
    source: Any,
    *,
    name: str = "web.prod",
    connector: dict[str, Any] | None = None,
    timeout: float | None = LONG,
    verify: Any = None,
    policy: Policy = SLOW,
    **options: Any,
) -> Iterator[Web]:
    """An entered discovery, and a session over it.

    `connector`: options of aiohttp's. `verify`: the file of a CA. `timeout`: for all attempts together.
    `picker`: the name of a method of the discovery.
    """
    options.setdefault("total_timeout", timeout)
    if library == "requests":
        with Discovery(name, source=source, policy=policy) as discovery, requests.Session() as http:
            http.trust_env = False
            http.verify = verify or True
            for scheme in "http://", "https://":
                http.mount(scheme, PodAdapter(discovery, **with_picker(discovery, options)))
            yield Web(library, http, discovery, lambda function, *a, **k: function(*a, **k))
        return
    with ExitStack() as stack:
        portal = stack.enter_context(anyio.from_thread.start_blocking_portal("asyncio"))

        def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            async def run() -> Any:
                result = function(*args, **kwargs)
                return await result if hasattr(result, "__await__") else result

            return portal.call(run)

        async def hold(*, task_status: Any) -> None:
            """Entered and left in one task, as event loops want it."""
            end = anyio.Event()
            async with AsyncExitStack() as inner:
                discovery = await inner.enter_async_context(
                    AsyncDiscovery(name, source=source, policy=policy)
                )
                middlewares = [aiohttp_pods(discovery, **with_picker(discovery, options))]
                context = ssl.create_default_context(cafile=verify) if verify else True
                tcp = aiohttp.TCPConnector(ssl=context, **(connector or {}))
                http = await inner.enter_async_context(
                    aiohttp.ClientSession(middlewares=middlewares, connector=tcp)
                )
                task_status.started((discovery, http, end))
                await end.wait()

        future, (discovery, http, end) = portal.start_task(hold)
        try:
            yield Web(library, http, discovery, call)
        finally:
            portal.call(end.set)
            future.result(LONG)


def with_picker(discovery: Any, options: dict[str, Any]) -> dict[str, Any]:
    name = options.get("picker")
    return {**options, "picker": getattr(discovery, name)()} if name else options
