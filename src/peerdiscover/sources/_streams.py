"""Listing and watching over httpx: the waiting, once in threads and once awaited.

Rules of this room:

* No line here decides what is asked or what follows from it: that is `_watching`.
* A connection for each request: they are rare, and certificates may have been renewed meanwhile.
* A thread that waits for the server is woken by shutting its socket down: when the discovery is closed,
  or when a watch does not come to the end of its beginning. In the child of a fork that socket is
  closed, not shut down: the connection is the parent's.
* The proxy settings of the environment count only where that was asked for.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar

import anyio
import httpx

from peerdiscover.answers import Answer, Ask

from ._access import Access
from ._watching import Request, Wait, Watching

__all__ = ["awatch", "watch"]

_FAILURES = (httpx.HTTPError, OSError, ValueError)
_KEEPALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
]


class _Line:
    """The socket that a thread waits on, for whoever is to wake it."""

    open: ClassVar[weakref.WeakSet[_Line]] = weakref.WeakSet()

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cut = threading.Event()
        self._stream: Any = None
        self._own: socket.socket | None = None
        self.late = False
        _Line.open.add(self)

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore tells how it connects. A descriptor of our own outlives what TLS makes of the socket."""
        if event.endswith(".complete") and event.partition(".")[2] in (
            "connect_tcp.complete",
            "start_tls.complete",
        ):
            self._stream = info["return_value"]
            if self._own is None:
                with self._lock:
                    self._own = self._stream.get_extra_info("socket").dup()
                if self._cut.is_set():
                    self._shut()

    def cut(self) -> None:
        """Nobody waits any more."""
        self._cut.set()
        self._shut()

    def is_late(self) -> None:
        """What was to come soon has not."""
        self.late = True
        self._shut()

    def _shut(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._own is not None:
                self._own.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float) -> None:
        """Wait, unless it is cut."""
        self._cut.wait(seconds)

    def hung_up(self) -> None:
        """The request is over."""
        with self._lock:
            own, self._own, self._stream, self.late = self._own, None, None, False
        if own is not None:
            own.close()

    def forked(self) -> None:
        """In the child of a fork: leave the connection to the parent."""
        for each in (self._own, self._stream and self._stream.get_extra_info("socket")):
            if each is not None:
                each.close()


def _forked() -> None:
    for line in list(_Line.open):
        line.forked()
    _Line.open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def watch(watching: Watching, access: Access, ask: Ask, trust_env: bool) -> Iterator[Answer]:
    """Answers as they come, for as long as somebody waits for them."""
    line = _Line()
    forget = ask.on_cancelled(line.cut)
    try:
        while not ask.cancelled():
            step = watching.step(time.monotonic())
            if isinstance(step, Wait):
                line.wait(step.seconds)
            else:
                yield from _request(watching, access, step, line, trust_env)
    finally:
        forget()


def _request(
    watching: Watching, access: Access, step: Request, line: _Line, trust_env: bool
) -> Iterator[Answer]:
    alarm = threading.Timer(2 * step.soon, line.is_late)
    alarm.daemon = True
    try:
        options: dict[str, Any] = {"verify": access.ssl_context(), "trust_env": trust_env}
        transport = None if trust_env else httpx.HTTPTransport(**options, socket_options=_KEEPALIVE)
        with httpx.Client(**options, transport=transport) as client:
            request = client.build_request("GET", **_arguments(step, access, time.monotonic(), line.trace))
            if watching.collecting:
                alarm.start()
            response = client.send(request, stream=True)
            with contextlib.closing(response):
                watching.begun(response.status_code, response.headers)
                request.extensions["timeout"]["read"] = step.silence
                for chunk in response.iter_bytes():
                    answers = watching.data(chunk)
                    if not watching.collecting:
                        alarm.cancel()
                    yield from answers
                    if watching.over:
                        break
        yield from watching.ended(time.monotonic())
    except _FAILURES as error:
        silent = line.late or isinstance(error, httpx.ReadTimeout)
        yield from watching.failed(error, time.monotonic(), silent=silent)
    finally:
        alarm.cancel()
        line.hung_up()


def _arguments(step: Request, access: Access, now: float, trace: object = None) -> dict[str, Any]:
    # Kubernetes 1.37 compresses watches where it may, and does not flush: events come late, or never.
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    if (authorization := access.authorization(now)) is not None:
        headers["authorization"] = authorization
    extensions: dict[str, object] = {} if trace is None else {"trace": trace}
    if access.tls_server_name is not None:
        extensions["sni_hostname"] = access.tls_server_name
    return {
        "url": access.server + step.path,
        "params": step.query,
        "headers": headers,
        "timeout": step.soon,
        "extensions": extensions,
    }


async def awatch(watching: Watching, access: Access, ask: Ask, trust_env: bool) -> AsyncIterator[Answer]:
    """The same, awaited, under asyncio and trio."""
    while not ask.cancelled():
        step = watching.step(anyio.current_time())
        if isinstance(step, Wait):
            await anyio.sleep(step.seconds)
            continue
        async with contextlib.aclosing(_arequest(watching, access, step, trust_env)) as answers:
            async for answer in answers:
                yield answer


async def _arequest(
    watching: Watching, access: Access, step: Request, trust_env: bool
) -> AsyncGenerator[Answer]:
    late = anyio.current_time() + 2 * step.soon
    try:
        options: dict[str, Any] = {"verify": access.ssl_context(), "trust_env": trust_env}
        transport = None if trust_env else httpx.AsyncHTTPTransport(**options, socket_options=_KEEPALIVE)
        async with httpx.AsyncClient(**options, transport=transport) as client:
            request = client.build_request("GET", **_arguments(step, access, anyio.current_time()))
            response = await client.send(request, stream=True)
            async with contextlib.aclosing(response):
                watching.begun(response.status_code, response.headers)
                request.extensions["timeout"]["read"] = step.silence
                chunks = response.aiter_bytes()
                while not watching.over:
                    left = late - anyio.current_time() if watching.collecting else None
                    with anyio.fail_after(left):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        break
                    for answer in watching.data(chunk):
                        yield answer
        for answer in watching.ended(anyio.current_time()):
            yield answer
    except _FAILURES as error:
        silent = isinstance(error, (httpx.ReadTimeout, TimeoutError))
        for answer in watching.failed(error, anyio.current_time(), silent=silent):
            yield answer
