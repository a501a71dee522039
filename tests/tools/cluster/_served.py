"""A pod without a command: an HTTP server in the agent's own process, on the pod's addresses and ports.

It answers any request with JSON: {"pod", "ip", "method", "path", "host", "n"}, n counting from 1. Told to
end, it goes on for `test/linger` seconds, with `Connection: close`. A thousand of them are no more than two
thousand sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

from ._addresses import add, remove
from ._api import Json
from ._network import BRIDGE, blackhole_served
from ._pods import Pod

if TYPE_CHECKING:
    from ._agent import Agent

_BODY_LIMIT = 1 << 20


class ServedPod(Pod):
    """Answers for itself."""

    def __init__(self, agent: Agent, item: Json, node: str) -> None:
        super().__init__(agent, item, node)
        self._servers: list[asyncio.Server] = []
        self.connections: set[asyncio.Transport] = set()
        self.requests = 0
        self._plugged = self._in_hole = False

    async def begin(self) -> None:
        """Its addresses, and a listener on each of its TCP ports (8080 where it names none)."""
        addresses = self.agent.addresses(self.address)
        self._plugged = True
        for address in addresses:
            add(address, BRIDGE)
        ports = [
            port["containerPort"]
            for container in self.spec["containers"]
            for port in container.get("ports", [])
            if port.get("protocol", "TCP") == "TCP"
        ]
        loop = asyncio.get_running_loop()
        for port in ports or [8080]:
            self._servers.append(await loop.create_server(lambda: _Http(self), addresses, port))

    async def work(self) -> None:
        """Nothing to do: the event loop serves."""
        self.watch_readiness()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Lingers."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.hurry.wait(), self.linger)

    def unplug(self) -> None:
        """The addresses leave the bridge."""
        if self._plugged:
            self._plugged = False
            for address in self.agent.addresses(self.address):
                with contextlib.suppress(OSError):
                    remove(address, BRIDGE)

    async def remove(self) -> None:
        """Closes connections while the address is there to say so, unless it went first."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.abort()
        if self.connections:
            await asyncio.sleep(0)  # sockets are closed by callbacks of the loop
            await asyncio.sleep(0)
        self.unplug()
        if self._in_hole:
            self.blackhole(heal=True)

    def blackhole(self, *, heal: bool) -> None:
        """By rules in the main namespace."""
        if self._in_hole == heal:
            self._in_hole = not heal
            blackhole_served(self.agent.name, self.agent.addresses(self.address), heal=heal)

    async def execute(self, _command: list[str], _seconds: float, /) -> bool:
        """It has no files and no programs: whatever an image would have in it counts as well."""
        return True


class _Http(asyncio.Protocol):
    """HTTP/1.1, as far as clients of tests speak it: bodies by length, kept connections, pipelining."""

    def __init__(self, pod: ServedPod) -> None:
        self._pod = pod
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pod.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio names it
        self._pod.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while not self._transport.is_closing():
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                break
            lines = head.decode("latin-1").split("\r\n")
            fields = {
                key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:])
            }
            length = fields.get("content-length", "0")
            words = lines[0].split(" ")
            if (
                len(words) != 3
                or not length.isdigit()
                or int(length) > _BODY_LIMIT
                or "transfer-encoding" in fields
            ):
                self._transport.write(
                    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                self._transport.close()
                return
            if len(rest) < int(length):
                return
            self._buffer = rest[int(length) :]
            self._answer(words[0], words[1], fields)

    def _answer(self, method: str, path: str, fields: dict[str, str]) -> None:
        pod = self._pod
        pod.requests += 1
        said = {
            "pod": pod.name,
            "ip": pod.address,
            "method": method,
            "path": path,
            "host": fields.get("host"),
            "n": pod.requests,
        }
        body = json.dumps(said).encode()
        close = pod.ending.is_set() or fields.get("connection", "").lower() == "close"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head += "Connection: close\r\n\r\n" if close else "\r\n"
        self._transport.write(head.encode() + (b"" if method == "HEAD" else body))
        if close:
            self._transport.close()
