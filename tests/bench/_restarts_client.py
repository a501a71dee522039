"""One client under load, in a process of its own, so that no other work delays what it sends.

Started by `_restarts_run` with one argument, JSON: `client`, the `service` and its `port`, `nameserver`,
`api` (options of `Kubernetes`), `rate`, `requests`. It prints when the load begins, sends until it has sent
so many and its stdin has ended, then prints one more line of JSON. Each client is set up as its users do it,
with its defaults; a request has five seconds.

HAProxy is sent its requests by aiohttp. httpx looks at each connection of its pool for each request that
waits, whenever one comes or ends: behind a proxy that holds requests for seconds it did little else, and did
not come back.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import httpx
import requests
from requests.adapters import HTTPAdapter

from peerdiscover import DNS, AsyncDiscovery, Discovery, Kubernetes, Source
from peerdiscover.aiohttp import pods
from peerdiscover.grpc import AsyncPodChannel
from peerdiscover.http import AsyncClient
from peerdiscover.requests import PodAdapter
from tests.http._load import Answered, Load, load

PROXY = "127.0.0.1:9000"
TIMEOUT = 5.0
THREADS = 32

Json = dict[str, Any]


def main() -> None:
    asyncio.run(_run(json.loads(sys.argv[1])))


async def _run(options: Json) -> None:
    ended = threading.Event()
    threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    async with _client(options) as client:
        gc.collect()
        gc.freeze()  # the libraries of all clients were imported: no client pauses for the others' garbage
        began, spent, waited = time.monotonic(), time.process_time(), _waited()
        print(began, flush=True)
        result = Load(_Rows())
        enough = options["requests"]
        await load(client, options["rate"], lambda _, n: n >= enough and ended.is_set(), into=result)
        seconds, spent, waited = time.monotonic() - began, time.process_time() - spent, _waited() - waited
    said = {"busy": spent / seconds, "waited": waited / seconds}
    json.dump({**said, "late": result.late, "answered": result.answered}, sys.stdout)


def _waited() -> float:
    """Seconds in which the thread of the loop waited for a processor (sched-stats of the kernel)."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


class _Rows(list[Any]):
    """Keeps tuples of plain values: the garbage collector does not look at them again."""

    def append(self, one: Answered) -> None:
        super().append(astuple(one))


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


@asynccontextmanager
async def _client(options: Json) -> AsyncIterator[Any]:
    name = f"{options['service']}:{options['port']}"
    if options["client"] in ("dns", "k8s"):
        source: Source = DNS(nameservers=[options["nameserver"]])
        if options["client"] == "k8s":
            name, source = f"k8s:{name}", Kubernetes(**options["api"])
        async with AsyncClient(name, source=source, timeout=TIMEOUT, total_timeout=TIMEOUT) as ours:
            yield ours
    elif options["client"] == "aiohttp-pods":
        async with (
            AsyncDiscovery(name, source=DNS(nameservers=[options["nameserver"]])) as web,
            aiohttp.ClientSession(
                f"http://{name}",
                middlewares=[pods(web, total_timeout=TIMEOUT)],
                timeout=aiohttp.ClientTimeout(total=TIMEOUT),
            ) as session,
        ):
            yield _Aiohttp(session)
    elif options["client"].startswith("requests"):
        with ExitStack() as stack:
            threaded = stack.enter_context(requests.Session())
            # As many connections as threads, for both: otherwise each closes most of them again.
            adapter = HTTPAdapter(pool_maxsize=THREADS)
            if options["client"] == "requests-pods":
                source = DNS(nameservers=[options["nameserver"]])
                discovery = stack.enter_context(Discovery(name, source=source))
                adapter = PodAdapter(discovery, total_timeout=TIMEOUT, pool_maxsize=THREADS)
            threaded.mount("http://", adapter)
            yield _Requests(threaded, f"http://{name}", stack.enter_context(ThreadPoolExecutor(THREADS)))
    elif options["client"] == "httpx":
        async with httpx.AsyncClient(base_url=f"http://{name}", timeout=TIMEOUT) as plain:
            yield _Httpx(plain)
    elif options["client"] == "grpc-pods":
        async with (
            AsyncDiscovery(name, source=DNS(nameservers=[options["nameserver"]])) as web,
            AsyncPodChannel(web, idempotent=["Say"]) as over_pods,
        ):
            yield _Grpc(over_pods, wait_for_ready=True)
    elif options["client"].startswith("grpc"):
        settings: list[tuple[str, str | int]] = [("grpc.lb_policy_name", "round_robin")]
        if options["client"] == "grpc-1s":
            settings.append(("grpc.dns_min_time_between_resolutions_ms", 1000))
        async with grpc.aio.insecure_channel(f"dns:///{name}", options=settings) as channel:
            yield _Grpc(channel)
    else:
        proxied = options["client"].startswith("haproxy")
        # Not the resolver of aiodns, which aiohttp takes where it is installed. To the proxy as many
        # connections as there are requests: its pool is what is measured there.
        resolver, limit = aiohttp.ThreadedResolver(), 0 if proxied else 100
        async with aiohttp.ClientSession(
            f"http://{PROXY if proxied else name}",
            connector=aiohttp.TCPConnector(resolver=resolver, limit=limit),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
        ) as session:
            yield _Aiohttp(session)


class _Httpx:
    """Its timeouts are for connecting, for reading and so on: five seconds for all is said outside of it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def request(self, method: str, url: str, *, headers: dict[str, str]) -> httpx.Response:
        async with asyncio.timeout(TIMEOUT):
            return await self._client.request(method, url, headers=headers)


@dataclass
class _Answer:
    """What the load reads of a response."""

    status_code: int | str
    text: str
    extensions: Json = field(default_factory=dict)


class _Aiohttp:
    """Reads the whole response, as httpx does."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, url: str, *, headers: dict[str, str]) -> _Answer:
        async with self._session.request(method, url, headers=headers) as response:
            history = getattr(response, "peerdiscover", None)
            return _Answer(response.status, await response.text(), {"peerdiscover": history})


class _Requests:
    """Threads take the requests; one that waits for a thread waits, as behind a server of threads."""

    def __init__(self, session: requests.Session, url: str, threads: ThreadPoolExecutor) -> None:
        self._session = session
        self._url = url
        self._threads = threads

    async def request(self, method: str, url: str, *, headers: dict[str, str]) -> _Answer:
        send = partial(self._session.request, method, self._url + url, headers=headers, timeout=TIMEOUT)
        response = await asyncio.get_running_loop().run_in_executor(self._threads, send)
        history = getattr(response, "peerdiscover", None)
        return _Answer(response.status_code, response.text, {"peerdiscover": history})


class _Grpc:
    """One method for GET and POST. Without a retry policy gRPC sends again only what was not processed."""

    def __init__(self, channel: Any, **options: Any) -> None:
        self._say = partial(channel.unary_unary("/pod.Pod/Say"), timeout=TIMEOUT, **options)

    async def request(self, *_: str, headers: dict[str, str]) -> _Answer:
        try:
            pod = await self._say(headers["id"].encode())
        except grpc.aio.AioRpcError as error:
            return _Answer(f"{error.code().name}: {error.details()}", "")
        return _Answer(200, pod.decode())


if __name__ == "__main__":
    main()
