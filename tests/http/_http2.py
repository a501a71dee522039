"""A pod that speaks HTTP/2, in the clear or behind TLS, and misbehaves as it is told."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Self

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

from ._pods import Manner, Pod, Pods, Request

Manner2 = Literal[
    "refused stream",  # resets the stream: not processed (RFC 9113, 8.7)
    "reset",  # resets the stream: it may have been processed
    "goaway none",  # goes away, having processed nothing
    "goaway",  # goes away: this stream was not processed, earlier ones were
    "goaway all",  # goes away, having seen this stream
    "bye",  # answers, and then closes without having said so
]


@dataclass
class Pod2(Pod):
    manner2: Manner2 | None = None
    once: bool = False
    """Whether it misbehaves on its first request only."""
    streams: int = 100
    """How many there may be on one line at a time."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def _answer(self, sock: socket.socket, _: object, /) -> bool:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        connection.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.streams})
        sock.sendall(connection.data_to_send())
        bodies: dict[int, Request] = {}
        while data := sock.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    headers = {k.decode(): v.decode() for k, v in event.headers or ()}
                    bodies[event.stream_id or 0] = Request(
                        headers[":method"], headers[":path"], {**headers, "host": headers[":authority"]}, b""
                    )
                elif isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id or 0].body += event.data or b""
                elif isinstance(event, h2.events.StreamEnded):
                    stream = event.stream_id or 0
                    if not self._serve_stream(connection, stream, bodies[stream]):
                        sock.sendall(connection.data_to_send())
                        return False
            sock.sendall(connection.data_to_send())
        return False

    def _serve_stream(self, connection: h2.connection.H2Connection, stream: int, request: Request) -> bool:
        self.requests.append(request)
        self.heard.release()
        with self.lock:
            manner = self.manner2
            if self.once:
                self.manner2 = None
        if manner in ("refused stream", "reset"):
            code = h2.errors.ErrorCodes.INTERNAL_ERROR
            if manner == "refused stream":
                code = h2.errors.ErrorCodes.REFUSED_STREAM
            connection.reset_stream(stream, code)
            return True
        if manner is not None and manner != "bye":
            last = {"goaway none": 0, "goaway": stream - 2, "goaway all": stream}[manner]
            connection.close_connection(last_stream_id=last)
            return False
        if self.manner == "drop":
            return False
        if self.manner == "slow":  # answers none, and sees no more than its limit of streams
            return True
        request.done = True
        body = f"{self.name} {request.headers['host']}".encode()
        connection.send_headers(stream, [(":status", "200"), ("content-length", str(len(body)))])
        connection.send_data(stream, body, end_stream=True)
        return manner != "bye"


class Pods2(Pods):
    def __init__(self, size: int, context: ssl.SSLContext | None = None) -> None:
        super().__init__(0, context)
        if context is not None:
            context.set_alpn_protocols(["h2"])
        self.all: list[Pod] = [Pod2(f"web-{i}", f"{self.network}.{i + 1}", 0, context) for i in range(size)]
        self.shown = list(self.all)

    def misbehave(self, manner: Manner2 | Manner, *, once: bool = False) -> None:
        for pod in self.all:
            assert isinstance(pod, Pod2)
            if manner == "drop":
                pod.manner = manner
            else:
                pod.manner2, pod.once = manner, once  # type: ignore[assignment]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self.all:
            with suppress(OSError):
                pod.stop()
