"""gRPC over pods: one channel for each pod, picked in turn. A new pod is used as soon as it is known.

Run it on this machine, where it starts its own pods, or in a cluster:

    python examples/http_grpc.py
    PEERS=echo-headless.prod:9090 python examples/http_grpc.py
"""

import os
from concurrent.futures import ThreadPoolExecutor

import grpc

from peerdiscover import Change, Discovery, Peer, SourceLike


class UnreachableError(Exception):
    """The pod could not be reached. An error that the pod itself returns is not one of these."""


def say(channel: grpc.Channel, text: str) -> str:
    try:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/echo.Echo/Say")
        return call(text.encode(), timeout=2).decode()
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            raise UnreachableError(error.details()) from error
        raise


def main(service: str, source: SourceLike | None = None) -> None:
    channels: dict[Peer, grpc.Channel] = {}

    def follow(change: Change) -> None:
        for peer in (*change.removed, *(old for old, _ in change.moved)):
            channels.pop(peer, None)  # the channel closes after the last call that uses it

    with Discovery(service, source=source) as echo:
        echo.on_change(follow)
        for n in range(4):
            for attempt in echo.attempts(on=UnreachableError):  # an echo is safe to repeat
                with attempt as peer:
                    channels[peer] = channels.get(peer) or grpc.insecure_channel(peer.hostport)
                    print(f"{peer.key}: {say(channels[peer], f'hello {n}')}")


if __name__ == "__main__":
    if "PEERS" in os.environ:
        main(os.environ["PEERS"])
    else:
        method: "grpc.RpcMethodHandler[bytes, bytes]" = grpc.unary_unary_rpc_method_handler(lambda r, _: r)
        handlers = [grpc.method_handlers_generic_handler("echo.Echo", {"Say": method})]
        servers = [grpc.server(ThreadPoolExecutor(1), handlers=handlers) for _ in range(2)]
        ports = [server.add_insecure_port("127.0.0.1:0") for server in servers]
        for server in servers:
            server.start()
        main("static:" + ",".join(f"echo-{i}=127.0.0.1:{port}" for i, port in enumerate([*ports, 1])))
        for server in servers:
            server.stop(None).wait()
