"""gRPC over pods: a channel that stubs take as it is. A new pod is called as soon as it is known.

Run it on this machine, where it starts its own pods, or in a cluster:

    python examples/http_grpc.py
    PEERS=echo-headless.prod:9090 python examples/http_grpc.py
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio

from peerdiscover import AsyncDiscovery, Discovery, SourceLike
from peerdiscover.grpc import AsyncPodChannel, PodChannel

SAY = "/echo.Echo/Say"  # with generated code: stub = EchoStub(channel), and stub.Say(request, timeout=2)


def main(service: str, source: SourceLike | None = None) -> None:
    # What no pod received goes to another one. An echo is safe to repeat, so it does in any case.
    with Discovery(service, source=source) as echo, PodChannel(echo, idempotent=["Say"]) as channel:
        say: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SAY)
        for n in range(4):
            print(say(f"hello {n}".encode(), timeout=2).decode())


async def asynchronous(service: str, source: SourceLike | None = None) -> None:
    async with AsyncDiscovery(service, source=source) as echo, AsyncPodChannel(echo) as channel:
        say: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SAY)
        print((await say(b"hello from a task", timeout=2)).decode())


if __name__ == "__main__":
    if "PEERS" in os.environ:
        main(os.environ["PEERS"])
        asyncio.run(asynchronous(os.environ["PEERS"]))
    else:
        method: "grpc.RpcMethodHandler[bytes, bytes]" = grpc.unary_unary_rpc_method_handler(lambda r, _: r)
        handlers = [grpc.method_handlers_generic_handler("echo.Echo", {"Say": method})]
        servers = [grpc.server(ThreadPoolExecutor(1), handlers=handlers) for _ in range(2)]
        ports = [server.add_insecure_port("127.0.0.1:0") for server in servers]
        for server in servers:
            server.start()
        pods = "static:" + ",".join(f"echo-{i}=127.0.0.1:{port}" for i, port in enumerate([*ports, 1]))
        main(pods)
        asyncio.run(asynchronous(pods))
        for server in servers:
            server.stop(None).wait()
