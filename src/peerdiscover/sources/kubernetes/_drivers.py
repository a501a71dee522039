"""The two drivers of a watch of the API server: one blocks a thread, one awaits. They decide nothing.

Rules of this room:

* What to do next, and what an answer is, says a `Reflector`; until when something may take, its `deadline`.
* One connection at a time, over httpcore (what httpx is made of: it lets us bring our own sockets). A fresh
  one has a fresh TLS context: certificates may have been renewed.
* A thread is woken by `LookupRequest.on_cancelled`; a task is cancelled as any other. Nothing is left open.
* Proxies of the environment are followed only where that was asked for.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpcore

from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.errors import ConfigurationError

from ._commands import Command, Find, Get, Target, Wait
from ._config import ClusterConfig
from ._network import KEEPALIVE, CancelledError, InterruptibleBackend, of_this_process
from ._reflector import Reflector

__all__ = ["adrive", "drive"]

Finder = Callable[[], tuple[ClusterConfig, Target]]

_TROUBLE = (
    OSError,  # TimeoutError, and what TLS raises, are among them
    ConfigurationError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


def drive(
    watching: Reflector, find: Finder, ask: LookupRequest, *, trust_env: bool = False
) -> Iterator[Answer]:
    """What a watch tells, for a thread. Ends when nobody waits any more, or when it is closed."""
    backend = InterruptibleBackend(lambda: watching.deadline)
    forget = ask.on_cancelled(backend.wake)
    line = _WatchStream(watching, find, trust_env, backend)
    try:
        while not ask.cancelled():
            yield from line.advance()
    except CancelledError:
        return
    finally:
        forget()
        line.close()
        backend.close()


async def adrive(watching: Reflector, find: Finder, *, trust_env: bool = False) -> AsyncIterator[Answer]:
    """The same, awaited, under asyncio and trio."""
    line = _AsyncWatchStream(watching, find, trust_env)
    try:
        while True:
            for answer in await line.advance():
                yield answer
    finally:
        with anyio.CancelScope(shield=True):
            await line.aclose()


class _WatchStream:
    """The line to the API server, of a thread. `advance` does one thing, and returns what came of it."""

    def __init__(
        self, watching: Reflector, find: Finder, trust_env: bool, backend: InterruptibleBackend
    ) -> None:
        self._watching, self._find, self._trust_env, self._backend = watching, find, trust_env, backend
        self._access: ClusterConfig | None = None
        self._pool: httpcore.ConnectionPool | None = None
        self._response: httpcore.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def advance(self) -> list[Answer]:
        answers: list[Answer]
        try:
            if self._response is not None:
                answers = self._watching.data(next(self._chunks, None), time.monotonic())
            else:
                answers = self._begin(self._watching.step(time.monotonic()))
        except _TROUBLE as error:
            answers = self._watching.failed(_explained(error, self._access), time.monotonic())
        if self._watching.done and self._response is not None:
            self._response.close()
            self._response = None
        return answers

    def _begin(self, step: Command) -> list[Answer]:
        if isinstance(step, Wait):
            self._backend.sleep(step.seconds)
            return []
        if self._access is None or isinstance(step, Find):
            self._access, place = self._find()
            return self._watching.found(place)
        if self._pool is None or step.reconnect:
            self.close()
            options = _options(self._access, self._trust_env)
            self._pool = httpcore.ConnectionPool(network_backend=self._backend, **options)
        request = _request(self._access, step, time.monotonic())
        self._response = self._pool.handle_request(request)
        self._chunks = iter(self._response.iter_stream())
        return self._watching.head(self._response.status, _retry_after(self._response), time.monotonic())

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        if self._pool is not None:
            self._pool.close()
        self._response = self._pool = None


class _AsyncWatchStream:
    """The line to the API server, of a task; its twin is `_Line`."""

    def __init__(self, watching: Reflector, find: Finder, trust_env: bool) -> None:
        self._watching, self._find, self._trust_env = watching, find, trust_env
        self._access: ClusterConfig | None = None
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._response: httpcore.Response | None = None
        self._chunks: AsyncIterator[bytes]
        of_this_process(self)

    async def advance(self) -> list[Answer]:
        answers: list[Answer]
        try:
            if self._response is not None:
                with self._in_time():
                    chunk = await anext(self._chunks, None)
                answers = self._watching.data(chunk, anyio.current_time())
            else:
                answers = await self._begin(self._watching.step(anyio.current_time()))
        except _TROUBLE as error:
            answers = self._watching.failed(_explained(error, self._access), anyio.current_time())
        if self._watching.done:
            await self._hang_up()
        return answers

    async def _begin(self, step: Command) -> list[Answer]:
        if isinstance(step, Wait):
            await anyio.sleep(step.seconds)
            return []
        if self._access is None or isinstance(step, Find):
            self._access, place = self._find()
            return self._watching.found(place)
        if self._pool is None or step.reconnect:
            await self.aclose()
            self._pool = httpcore.AsyncConnectionPool(**_options(self._access, self._trust_env))
        request = _request(self._access, step, anyio.current_time())
        with self._in_time():
            self._response = await self._pool.handle_async_request(request)
        self._chunks = aiter(self._response.aiter_stream())
        return self._watching.head(self._response.status, _retry_after(self._response), anyio.current_time())

    def _in_time(self) -> AbstractContextManager[object]:
        return anyio.fail_after(max(0.0, self._watching.deadline - anyio.current_time()))

    def fileno(self) -> int:
        """Of the connection; -1 where there is none."""
        if self._response is None:
            return -1
        sock = self._response.extensions["network_stream"].get_extra_info("socket")
        return -1 if sock is None else int(sock.fileno())

    async def _hang_up(self) -> None:
        response, self._response = self._response, None
        if response is None:
            return
        # httpcore's iterators, one within the other, have to end by themselves or by an exception: trio
        # warns of those that are left.
        with anyio.CancelScope() as scope, suppress(*_TROUBLE):
            scope.cancel()
            while await anext(self._chunks, None) is not None:
                pass
        await response.aclose()

    async def aclose(self) -> None:
        await self._hang_up()
        if self._pool is not None:
            await self._pool.aclose()
        self._pool = None


def _options(access: ClusterConfig, trust_env: bool) -> dict[str, Any]:
    """What both pools are made with."""
    return {
        "ssl_context": access.ssl_context() if access.server.startswith("https:") else None,
        "max_connections": 1,
        "socket_options": KEEPALIVE,
        "proxy": _proxy(access.server) if trust_env else None,
    }


def _proxy(server: str) -> httpcore.Proxy | None:
    """The one that the environment names for this server (HTTPS_PROXY, NO_PROXY)."""
    from urllib.request import getproxies, proxy_bypass

    url = urlsplit(server)
    found = getproxies().get(url.scheme)
    if not found or proxy_bypass(url.netloc):
        return None
    # What is wrong with it is not quoted: a part of the URL may be a part of a password.
    wrong = ConfigurationError("the proxy of the environment is none of the kind http://HOST:PORT")
    try:
        proxy = urlsplit(found if "://" in found else f"http://{found}")
        port = proxy.port or 80
    except ValueError:
        raise wrong from None
    if proxy.scheme != "http" or not proxy.hostname:
        raise wrong
    auth = (proxy.username, proxy.password or "") if proxy.username else None
    host = f"[{proxy.hostname}]" if ":" in proxy.hostname else proxy.hostname
    return httpcore.Proxy(f"http://{host}:{port}", auth=auth)


def _request(access: ClusterConfig, step: Get, now: float) -> httpcore.Request:
    if step.reload_token:
        access.refused()
    headers = {
        "host": urlsplit(access.server).netloc,
        "accept": "application/json",
        # API servers compress a watch that begins with all that is there, and what follows stays in their
        # compressor (seen with 1.37.2).
        "accept-encoding": "identity",
        "user-agent": "peerdiscover",
    }
    if authorization := access.authorization(now):
        headers["authorization"] = authorization
    return httpcore.Request("GET", access.server + step.path, headers=list(headers.items()))


def _retry_after(response: httpcore.Response) -> str | None:
    found = [value for name, value in response.headers if name.lower() == b"retry-after"]
    return found[0].decode("latin-1") if found else None


def _explained(error: BaseException, access: ClusterConfig | None) -> BaseException:
    """What it means that a certificate does not verify; else what the system said, or the error itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):  # of all addresses of the server; the first will do
            cause = cause.exceptions[0]
        if isinstance(cause, ssl.SSLCertVerificationError) and access is not None:
            return access.certificate_error(cause)
        if isinstance(error, httpcore.ConnectError) and isinstance(cause, OSError) and cause.errno:
            return cause
        cause = cause.__cause__ or cause.__context__
    return error
