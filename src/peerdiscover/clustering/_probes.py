"""Asking a peer for its standing over HTTP, with httpx, which is loaded when a probe is made.

Invariants:

* An answer is read to at most `LARGEST` bytes, and for at most `timeout` seconds in all: what answers may be
  another program, at an address that a pod had before.
* No connection is kept: a probe is asked seldom, and a kept one may lead to a process that was stopped.
* No proxy, `.netrc` or redirect comes between.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError
from peerdiscover.peers import Peer

from ._decision import LARGEST, Standing


def http_probe(path: str = "/peerdiscover", timeout: float = 2.0) -> Callable[[Peer], Standing]:
    """A probe for `bootstrap`: POST to `path` at a peer, and read the `Standing` in the answer.

    `timeout` is in seconds. It raises httpx's errors, and `ValueError` for an answer that is no standing. If
    several services have pods of the same names, give each service a path of its own: an address that another
    service's pod has now would answer with a familiar name.
    """
    import httpx

    client = httpx.Client(**_options(path, timeout))

    def probe(peer: Peer) -> Standing:
        # httpx limits each read, and a program that sends a byte at a time never lets one time out.
        sockets, late = list[socket.socket](), threading.Event()

        def cut() -> None:
            late.set()
            for sock in sockets:
                with suppress(OSError):  # it was closed meanwhile
                    sock.shutdown(socket.SHUT_RDWR)

        def trace(event: str, info: dict[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                sockets.append(info["return_value"].get_extra_info("socket"))
                if late.is_set():
                    cut()

        timer = threading.Timer(timeout, cut)
        timer.daemon = True
        timer.start()
        try:
            with client.stream("POST", peer.url(path), extensions={"trace": trace}) as response:
                body = bytearray()
                for part in response.iter_raw():
                    body += part
                    if len(body) > LARGEST:
                        break
        except httpx.TransportError as error:
            if late.is_set():
                raise TimeoutError(f"the answer took longer than {timeout} s") from error
            raise
        finally:
            timer.cancel()
        return _read(response.status_code, bytes(body))

    return probe


def ahttp_probe(path: str = "/peerdiscover", timeout: float = 2.0) -> Callable[[Peer], Awaitable[Standing]]:
    """`http_probe` for `abootstrap`: the probe is awaited."""
    import anyio
    import httpx

    client = httpx.AsyncClient(**_options(path, timeout))

    async def probe(peer: Peer) -> Standing:
        status, body = 0, bytearray()
        with anyio.fail_after(timeout) as scope:
            async with client.stream("POST", peer.url(path)) as response:
                status = response.status_code
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > LARGEST:
                        scope.cancel()  # `break` would leave httpx's generators to the garbage collector
        return _read(status, bytes(body))

    return probe


def _options(path: str, timeout: float) -> dict[str, Any]:
    import httpx

    if not isinstance(path, str) or not path.startswith("/"):
        raise ConfigurationError(f"http_probe({quoted(path)}): expected a path, such as '/peerdiscover'")
    if not isinstance(timeout, int | float) or not timeout > 0:
        raise ConfigurationError(f"http_probe(timeout={quoted(timeout)}): expected seconds, such as 2.0")
    return {
        "timeout": timeout,
        "trust_env": False,
        "headers": {"Accept": "application/json", "Accept-Encoding": "identity"},
        "limits": httpx.Limits(max_keepalive_connections=0),
    }


def _read(status: int, body: bytes) -> Standing:
    if status != 200:
        raise ValueError(f"HTTP status {status}, expected 200 and a standing")
    return Standing.from_json(body)
