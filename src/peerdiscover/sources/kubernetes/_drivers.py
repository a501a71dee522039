"""The two drivers of a watch of the API server: one blocks a thread, one awaits. They decide nothing.

Invariants:

* A `Reflector` decides what to do next and what an answer is; its `deadline` says until when to wait.
* Clock and caller are looked at before each read of a socket (by `_network`, or anyio): a server that sends
  without pause gets no more time.
* One connection at a time, over httpcore (what httpx is made of: it lets us bring our own sockets). A new
  one has a new TLS context, because certificates may have been renewed.
* A thread is woken by `LookupRequest.on_cancelled`; a task is cancelled like any other. Nothing is left open.
* Proxies of the environment are used only if that was asked for.
"""

from __future__ import annotations

import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import httpcore

from peerdiscover import _forks
from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.errors import ConfigurationError

from ._commands import Command, Find, Get, Target, Wait
from ._config import ClusterConfig
from ._network import KEEPALIVE, AsyncBackend, CancelledError, InterruptibleBackend
from ._reflector import Reflector

Finder = Callable[[], tuple[ClusterConfig, Target]]

_FAILURES = (
    OSError,  # TimeoutError, and what TLS raises, are among them
    ConfigurationError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


def drive(
    reflector: Reflector, find: Finder, request: LookupRequest, *, trust_env: bool = False
) -> Iterator[Answer]:
    """The answers of a watch, for a thread. It ends when the caller cancels, or when it is closed."""
    backend = InterruptibleBackend(lambda: reflector.deadline)
    forget = request.on_cancelled(backend.wake)
    stream = _WatchStream(reflector, find, trust_env, backend)
    try:
        while not request.cancelled():
            yield from stream.advance()
    except CancelledError:
        return
    finally:
        forget()
        stream.close()


async def adrive(reflector: Reflector, find: Finder, *, trust_env: bool = False) -> AsyncIterator[Answer]:
    """The same, awaited, under asyncio and trio."""
    stream = _AsyncWatchStream(reflector, find, trust_env)
    try:
        while True:
            for answer in await stream.advance():
                yield answer
    finally:
        with anyio.CancelScope(shield=True):
            await stream.aclose()


class _WatchStream:
    """The connection of a thread to the API server. `advance` does one thing, and returns what came of it."""

    def __init__(
        self, reflector: Reflector, find: Finder, trust_env: bool, backend: InterruptibleBackend
    ) -> None:
        self._reflector, self._find, self._trust_env, self._backend = reflector, find, trust_env, backend
        self._config: ClusterConfig | None = None
        self._pool: httpcore.ConnectionPool | None = None
        self._response: httpcore.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def advance(self) -> list[Answer]:
        answers: list[Answer]
        try:
            if self._response is not None:
                answers = self._reflector.data(next(self._chunks, None), time.monotonic())
            else:
                answers = self._do(self._reflector.step(time.monotonic()))
        except _FAILURES as error:
            answers = self._reflector.failed(_explain(error, self._config), time.monotonic())
        if self._reflector.done and self._response is not None:
            self._response.close()
            self._response = None
        return answers

    def _do(self, command: Command) -> list[Answer]:
        if isinstance(command, Wait):
            self._backend.sleep(command.seconds)
            return []
        if self._config is None or isinstance(command, Find):
            self._config, target = self._find()
            return self._reflector.found(target)
        if self._pool is None or command.reconnect:
            self.close()
            options = _options(self._config, self._trust_env)
            self._pool = httpcore.ConnectionPool(network_backend=self._backend, **options)
        request = _request(self._config, command, time.monotonic())
        self._response = self._pool.handle_request(request)
        self._chunks = iter(self._response.iter_stream())
        return self._reflector.head(self._response.status, _retry_after(self._response), time.monotonic())

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        if self._pool is not None:
            self._pool.close()
        self._response = self._pool = None


class _AsyncWatchStream:
    """The connection of a task to the API server; the twin of `_WatchStream`."""

    def __init__(self, reflector: Reflector, find: Finder, trust_env: bool) -> None:
        self._reflector, self._find, self._trust_env = reflector, find, trust_env
        self._config: ClusterConfig | None = None
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._response: httpcore.Response | None = None
        self._chunks: AsyncIterator[bytes]
        _forks.owns(self)

    async def advance(self) -> list[Answer]:
        answers: list[Answer]
        try:
            if self._response is not None:
                with self._until_deadline():
                    # httpcore may have thousands of chunks from one read, and awaits nothing between them.
                    await anyio.lowlevel.checkpoint()
                    chunk = await anext(self._chunks, None)
                answers = self._reflector.data(chunk, anyio.current_time())
            else:
                answers = await self._do(self._reflector.step(anyio.current_time()))
        except _FAILURES as error:
            answers = self._reflector.failed(_explain(error, self._config), anyio.current_time())
        if self._reflector.done:
            await self._end_response()
        return answers

    async def _do(self, command: Command) -> list[Answer]:
        if isinstance(command, Wait):
            await anyio.sleep(command.seconds)
            return []
        if self._config is None or isinstance(command, Find):
            self._config, target = self._find()
            return self._reflector.found(target)
        if self._pool is None or command.reconnect:
            await self.aclose()
            options = _options(self._config, self._trust_env)
            self._pool = httpcore.AsyncConnectionPool(network_backend=AsyncBackend(), **options)
        request = _request(self._config, command, anyio.current_time())
        with self._until_deadline():
            self._response = await self._pool.handle_async_request(request)
        self._chunks = aiter(self._response.aiter_stream())
        return self._reflector.head(self._response.status, _retry_after(self._response), anyio.current_time())

    def _until_deadline(self) -> AbstractContextManager[object]:
        return anyio.fail_after(max(0.0, self._reflector.deadline - anyio.current_time()))

    def fileno(self) -> int:
        """The connection's; -1 if there is none."""
        if self._response is None:
            return -1
        sock = self._response.extensions["network_stream"].get_extra_info("socket")
        return -1 if sock is None else int(sock.fileno())

    async def _end_response(self) -> None:
        response, self._response = self._response, None
        if response is None:
            return
        # httpcore's iterators, one within the other, have to end by themselves or by an exception: trio
        # warns of those that are left.
        with anyio.CancelScope() as scope, suppress(*_FAILURES):
            scope.cancel()
            while await anext(self._chunks, None) is not None:
                pass
        await response.aclose()

    async def aclose(self) -> None:
        await self._end_response()
        if self._pool is not None:
            await self._pool.aclose()
        self._pool = None


def _options(config: ClusterConfig, trust_env: bool) -> dict[str, Any]:
    """The options of both pools."""
    return {
        "ssl_context": config.ssl_context() if config.server.startswith("https:") else None,
        "max_connections": 1,
        "socket_options": KEEPALIVE,
        "proxy": _proxy(config) if trust_env else None,
    }


def _proxy(config: ClusterConfig) -> httpcore.Proxy | None:
    """The one that the environment names for this server (HTTPS_PROXY, NO_PROXY)."""
    from urllib.request import getproxies, proxy_bypass

    url = urlsplit(config.server)
    found = getproxies().get(url.scheme)
    if not found or proxy_bypass(url.netloc):
        return None
    # What is wrong with it is not quoted: a part of the URL may be a part of a password.
    wrong = ConfigurationError("the proxy of the environment: expected http://HOST:PORT")
    try:
        proxy = urlsplit(found if "://" in found else f"http://{found}")
        port = proxy.port or 80
    except ValueError:
        raise wrong from None
    if proxy.scheme != "http" or not proxy.hostname:
        raise wrong
    auth = (proxy.username, proxy.password or "") if proxy.username else None
    if auth is not None:  # the proxy may send them back
        config.redactor.add(b64encode(":".join(auth).encode()).decode())
        config.redactor.add(auth[1])
    host = f"[{proxy.hostname}]" if ":" in proxy.hostname else proxy.hostname
    return httpcore.Proxy(f"http://{host}:{port}", auth=auth)


def _request(config: ClusterConfig, command: Get, now: float) -> httpcore.Request:
    if command.reload_token:
        config.refused()
    headers = {
        "host": urlsplit(config.server).netloc,
        "accept": "application/json",
        # API servers compress a watch that begins with all that is there, and what follows stays in their
        # compressor (seen with 1.37.2).
        "accept-encoding": "identity",
        "user-agent": "peerdiscover",
    }
    if authorization := config.authorization(now):
        headers["authorization"] = authorization
    return httpcore.Request("GET", config.server + command.path, headers=list(headers.items()))


def _retry_after(response: httpcore.Response) -> str | None:
    found = [value for name, value in response.headers if name.lower() == b"retry-after"]
    return found[0].decode("latin-1") if found else None


def _explain(error: BaseException, config: ClusterConfig | None) -> BaseException:
    """The error to report: of a certificate what it means, of a connection what the system said."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):  # of all addresses of the server; the first will do
            cause = cause.exceptions[0]
        if isinstance(cause, ssl.SSLCertVerificationError) and config is not None:
            return config.certificate_error(cause)
        if isinstance(error, httpcore.ConnectError) and isinstance(cause, OSError) and cause.errno:
            return cause
        cause = cause.__cause__ or cause.__context__
    return error
