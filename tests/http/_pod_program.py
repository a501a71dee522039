"""A pod for tests under load: HTTP/1.1 with keep-alive, and each id on stdout before it is answered.

    python _pod_program.py PORT [MANNER]

What is on stdout outlives the pod, however it ends. MANNER: `abrupt` (the default) is gone at SIGTERM, like a
process that is killed; `graceful` refuses at SIGTERM, answers what it has, and is gone; `lingering` goes on
for 10 s. `slow` takes 50 ms for each request. Standard library alone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys


class Connection(asyncio.Protocol):
    """Answers whole requests, in turn."""

    open: set[Connection] = set()  # noqa: RUF012 - all there are
    ending = False

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        Connection.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name for it
        Connection.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].decode().lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in head[1:])
            whole = end + 4 + int(fields.get("content-length", 0))
            if len(self.received) < whole:
                return
            self.received = self.received[whole:]
            os.write(1, f"{fields.get('id', '')}\n".encode())
            if self.seconds:
                asyncio.get_running_loop().call_later(self.seconds, self.answer)
            else:
                self.answer()

    def answer(self) -> None:
        keep = "close" if Connection.ending else "keep-alive"
        body = os.uname().nodename
        self.transport.write(
            f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: {keep}\r\n\r\n{body}".encode()
        )
        if Connection.ending:
            self.transport.close()


async def main(port: int, manner: str) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(0.05 if manner == "slow" else 0.0), "", port)
    ended = asyncio.Event()
    if manner not in ("graceful", "lingering"):
        loop.add_signal_handler(signal.SIGTERM, os._exit, 137)
    else:
        loop.add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    if manner == "lingering":
        await asyncio.sleep(10)
    Connection.ending = True
    server.close()
    await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "abrupt"))
