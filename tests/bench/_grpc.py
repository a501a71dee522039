"""What a gRPC call over one pod costs beside a channel of gRPC's, in turns: in threads and in asyncio."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import process_time
from typing import Any

import grpc
import grpc.aio

from peerdiscover import AsyncDiscovery, Discovery
from peerdiscover.grpc import AsyncPodChannel, PodChannel

ROUNDS, CALLS = 60, 100

_SERVER = """
import asyncio, grpc, grpc.aio
async def say(request, context): return request
async def main():
    method = grpc.unary_unary_rpc_method_handler(say)
    server = grpc.aio.server(handlers=[grpc.method_handlers_generic_handler("echo.Echo", {"Say": method})])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()
asyncio.run(main())
"""


def figures() -> Iterator[tuple[str, str, str]]:
    with _server() as port:
        plain, ratio = threads(port)
        yield "a call, gRPC (processor time)", f"{plain * 1e6:.0f} µs", ""
        yield "… over one pod, against gRPC", f"{ratio:.2f} ×", "≤ 1.10 ×"
        plain, ratio = asyncio.run(tasks(port))
        yield "a call, gRPC, async (processor time)", f"{plain * 1e6:.0f} µs", ""
        yield "… over one pod, against gRPC", f"{ratio:.2f} ×", "≤ 1.10 ×"


@contextmanager
def _server() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def threads(port: int, rounds: int = ROUNDS) -> tuple[float, float]:
    """Seconds of the processor for a call of gRPC's channel, and one over a pod against that."""
    with (
        Discovery(f"static:web-0=127.0.0.1:{port}") as web,
        PodChannel(web) as over_pod,
        grpc.insecure_channel(f"ipv4:127.0.0.1:{port}") as plain,
    ):
        methods: list[Any] = [channel.unary_unary("/echo.Echo/Say") for channel in (plain, over_pod)]
        turns: list[Callable[[], object]] = [
            lambda: methods[0](b"", timeout=5),
            lambda: methods[1](b"", timeout=5),
        ]
        times: list[list[float]] = [[], []]
        for first in range(rounds + 1):
            for turn in range(2):
                which = (first + turn) % 2
                begun = process_time()
                for _ in range(CALLS):
                    turns[which]()
                times[which].append((process_time() - begun) / CALLS)
    return _ratio(times)


async def tasks(port: int, rounds: int = ROUNDS) -> tuple[float, float]:
    """The same in asyncio."""
    async with (
        AsyncDiscovery(f"static:web-0=127.0.0.1:{port}") as web,
        AsyncPodChannel(web) as over_pod,
        grpc.aio.insecure_channel(f"ipv4:127.0.0.1:{port}") as plain,
    ):
        methods: list[Any] = [channel.unary_unary("/echo.Echo/Say") for channel in (plain, over_pod)]
        turns: list[Callable[[], Awaitable[object]]] = [
            lambda: methods[0](b"", timeout=5),
            lambda: methods[1](b"", timeout=5),
        ]
        times: list[list[float]] = [[], []]
        for first in range(rounds + 1):
            for turn in range(2):
                which = (first + turn) % 2
                begun = process_time()
                for _ in range(CALLS):
                    await turns[which]()
                times[which].append((process_time() - begun) / CALLS)
    return _ratio(times)


def _ratio(times: list[list[float]]) -> tuple[float, float]:
    plain, over_pod = (each[1:] for each in times)  # the first round connects
    return median(plain), median(b / a for a, b in zip(plain, over_pod, strict=True))
