"""Pods that speak gRPC on loopback, in this process. A test says how each acts; calls are counted.

Its service is `pod.Pod`, with a method of each kind; requests and responses are bytes.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from peerdiscover import Peer
from tests.waiting import LONG

NAME = "web-headless.prod:9090"
ELSEWHERE = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
    "Failed to connect to remote host: Connection refused"
)
"""What a pod says that could not reach another server, and passes its status on."""


class Pod:
    """One pod. `manner`: "ok", "unavailable" (it says that it is), "silent" (until `go` is set)."""

    def __init__(self, number: int, credentials: grpc.ServerCredentials | None = None) -> None:
        self.name = f"web-{number}"
        self.manner = "ok"
        self.details = ELSEWHERE
        self.executed = 0
        self.received: list[bytes] = []
        self.metadata: dict[str, str | bytes] = {}
        self.authority = ""
        self.remaining: float | None = None
        self.heard = threading.Semaphore(0)
        """Released for each call that arrives."""
        self.go = threading.Event()
        self.cancelled = threading.Event()
        self._threads = ThreadPoolExecutor(8)
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Say": grpc.unary_unary_rpc_method_handler(self._say),
            "Count": grpc.unary_stream_rpc_method_handler(self._count),
            "Join": grpc.stream_unary_rpc_method_handler(self._join),
            "Echo": grpc.stream_stream_rpc_method_handler(self._echo),
        }
        # Otherwise a port is shared by servers of one process, and a pod that ended leaves it open.
        self.server = grpc.server(
            self._threads,
            handlers=[grpc.method_handlers_generic_handler("pod.Pod", methods)],
            options=[("grpc.so_reuseport", 0)],
        )
        address = "127.0.0.1:0"
        if credentials is None:
            self.port = self.server.add_insecure_port(address)
        else:
            self.port = self.server.add_secure_port(address, credentials)
        self.server.start()

    @property
    def peer(self) -> Peer:
        return Peer(key=self.name, hostname=self.name, address="127.0.0.1", port=self.port)

    def end(self) -> None:
        """The calls in flight fail, and the port is closed."""
        self.server.stop(None).wait(LONG)
        self.go.set()
        self._threads.shutdown()

    def _begin(self, context: Any, requests: Iterable[bytes] = ()) -> None:
        self.executed += 1
        self.metadata = dict(context.invocation_metadata())
        self.authority = context._rpc_event.call_details.host.decode()
        self.remaining = context.time_remaining()
        context.add_callback(self.cancelled.set)
        self.heard.release()
        if self.manner == "unavailable":
            list(requests)  # a message that meets the end of its call has another status in grpc.aio
            context.abort(grpc.StatusCode.UNAVAILABLE, self.details)
        if self.manner == "silent":
            self.go.wait(LONG)

    def _say(self, request: bytes, context: Any) -> bytes:
        self._begin(context)
        context.send_initial_metadata((("pod", self.name),))
        context.set_trailing_metadata((("request", request.decode()),))
        return self.name.encode()

    def _count(self, request: bytes, context: Any) -> Iterator[bytes]:
        """Gives its name, and again; where the request is "wait", it waits for `go` in between."""
        self._begin(context)
        yield self.name.encode()
        if request == b"wait":
            self.heard.release()
            self.go.wait(LONG)
        yield self.name.encode()

    def _join(self, requests: Iterator[bytes], context: Any) -> bytes:
        self._begin(context, requests)
        return b" ".join([self.name.encode(), *requests])

    def _echo(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        self._begin(context, requests)
        for request in requests:
            self.received.append(request)
            yield self.name.encode() + b" " + request


class Pods:
    """The pods of a service, and what its source shows of them."""

    def __init__(self, number: int, credentials: grpc.ServerCredentials | None = None) -> None:
        self.all = [Pod(n, credentials) for n in range(number)]
        self.shown: list[Peer] = [pod.peer for pod in self.all]

    def __getitem__(self, number: int) -> Pod:
        return self.all[number]

    def add(self) -> Pod:
        self.all.append(Pod(len(self.all)))
        self.shown = [*self.shown, self.all[-1].peer]
        return self.all[-1]

    def source(self) -> list[Peer]:
        return self.shown

    @property
    def executed(self) -> int:
        return sum(pod.executed for pod in self.all)


@contextmanager
def pods(number: int, credentials: grpc.ServerCredentials | None = None) -> Iterator[Pods]:
    service = Pods(number, credentials)
    try:
        yield service
    finally:
        for pod in service.all:
            pod.end()


def refusing(number: int = 0) -> Peer:
    """A pod that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    name = f"gone-{number}"
    return Peer(key=name, hostname=name, address="127.0.0.1", port=port)


@contextmanager
def vanished() -> Iterator[Peer]:
    """A pod that answers no attempt to connect: its queue is full."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for waiting in first, second:
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield Peer(
            key="web-vanished", hostname="web-vanished", address="127.0.0.1", port=listening.getsockname()[1]
        )
