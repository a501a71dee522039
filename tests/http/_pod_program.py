"""A pod for tests under load: HTTP/1.1 with keep-alive, and each id on stdout before it is answered.

    python _pod_program.py PORT [MANNER] [NAME=MANNER ...]

What is on stdout outlives the pod, however it ends. MANNER: `abrupt` (the default) is gone at SIGTERM, like a
process that is killed; `graceful` refuses at SIGTERM, answers what it has, and is gone; `lingering` goes on
for 10 s. `slow` takes half a second for each request, `error` answers 500, `silent` never answers; the pod
NAME has a manner of its own. Standard library alone. `_pod_program2` is the same for HTTP/2.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Pod:
    """What its connections share."""

    manner: str
    name: str = field(default_factory=lambda: os.uname().nodename)
    ending: bool = False
    open: set[Connection] = field(default_factory=set)


class Connection(asyncio.Protocol):
    """Answers whole requests, in turn."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.pod.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name for it
        self.pod.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].decode().lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in head[1:])
            whole = end + 4 + int(fields.get("content-length", 0))
            if len(self.received) < whole:
                return
            self.received = self.received[whole:]
            self.execute(fields.get("id", ""))

    def execute(self, key: str, stream: int = 0) -> None:
        """A request is here."""
        os.write(1, f"{key}\n".encode())
        if self.pod.manner == "slow":
            asyncio.get_running_loop().call_later(0.5, self.answer, stream)
        elif self.pod.manner != "silent":
            self.answer(stream)

    @property
    def status(self) -> int:
        return 500 if self.pod.manner == "error" else 200

    def answer(self, stream: int) -> None:  # noqa: ARG002 - HTTP/2 has several
        keep, body = "close" if self.pod.ending else "keep-alive", self.pod.name
        head = f"HTTP/1.1 {self.status} So\r\ncontent-length: {len(body)}\r\nconnection: {keep}\r\n\r\n"
        self.transport.write(f"{head}{body}".encode())
        if self.pod.ending:
            self.transport.close()

    def end(self) -> None:
        """The pod begins to end."""


async def main(
    port: int,
    manners: Sequence[str],
    make: Callable[[Pod], Connection] = Connection,
    context: ssl.SSLContext | None = None,
) -> None:
    """Serve until SIGTERM."""
    pod = Pod(next((manner for manner in manners if "=" not in manner), "abrupt"))
    pod.manner = dict(m.split("=") for m in manners if "=" in m).get(pod.name, pod.manner)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: make(pod), "", port, ssl=context)
    ended = asyncio.Event()
    if pod.manner not in ("graceful", "lingering"):
        loop.add_signal_handler(signal.SIGTERM, os._exit, 137)
    else:
        loop.add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    if pod.manner == "lingering":
        await asyncio.sleep(10)
    pod.ending = True
    server.close()
    for connection in list(pod.open):
        connection.end()
    await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
