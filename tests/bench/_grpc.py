"""What a gRPC call over one pod costs beside a channel of gRPC's, in turns: in threads and in asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio

from peerdiscover import AsyncDiscovery, Discovery
from peerdiscover.grpc import AsyncPodChannel, PodChannel

from . import _turns

ROUNDS, CALLS = 60, 100
_SAY = "/echo.Echo/Say"

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
    with _turns.server(_SERVER) as port:
        for what, (plain, ratio) in ("gRPC", threads(port)), ("gRPC, async", asyncio.run(tasks(port))):
            yield f"a call, {what} (processor time)", f"{plain * 1e6:.0f} µs", ""
            yield "… over one pod, against gRPC", f"{ratio:.2f} ×", "≤ 1.10 ×"


def threads(port: int) -> _turns.Costs:
    """A call of gRPC's channel, and one over a pod."""
    with (
        Discovery(f"static:web-0=127.0.0.1:{port}") as web,
        PodChannel(web) as over_pod,
        grpc.insecure_channel(f"ipv4:127.0.0.1:{port}") as plain,
    ):
        one: Any = plain.unary_unary(_SAY)
        other: Any = over_pod.unary_unary(_SAY)
        return _turns.threads([lambda: one(b"", timeout=5), lambda: other(b"", timeout=5)], ROUNDS, CALLS)


async def tasks(port: int) -> _turns.Costs:
    """The same in asyncio."""
    async with (
        AsyncDiscovery(f"static:web-0=127.0.0.1:{port}") as web,
        AsyncPodChannel(web) as over_pod,
        grpc.aio.insecure_channel(f"ipv4:127.0.0.1:{port}") as plain,
    ):
        one: Any = plain.unary_unary(_SAY)
        other: Any = over_pod.unary_unary(_SAY)
        return await _turns.tasks([lambda: one(b"", timeout=5), lambda: other(b"", timeout=5)], ROUNDS, CALLS)
