"""gRPC over pods: one channel a pod, picked in turn; a new pod is used as soon as it is known.

Run it with pods of its own on this machine, or in a cluster:

    python examples/http_grpc.py
    PEERS=echo-headless.prod:9090 python examples/http_grpc.py
"""

import os
from concurrent.futures import ThreadPoolExecutor

import grpc  # type: ignore[import-untyped]

from peerdiscover import Change, Discovery, Peer


class Channels:
    """Open channels by pod; those of pods that left are closed."""

    def __init__(self, discovery: Discovery) -> None:
        self._open: dict[Peer, grpc.Channel] = {}
        discovery.on_change(self._follow)

    def to(self, peer: Peer) -> grpc.Channel:
        if peer not in self._open:
            self._open[peer] = grpc.insecure_channel(peer.hostport)
        return self._open[peer]

    def _follow(self, change: Change) -> None:
        for peer in (*change.removed, *(old for old, _ in change.moved)):
            if peer in self._open:
                self._open.pop(peer).close()


def main(service: str, source: object = None) -> None:
    with Discovery(service, source=source) as echo:
        channels = Channels(echo)
        for n in range(4):
            for attempt in echo.attempts(on=grpc.RpcError):  # echoing may be repeated
                with attempt as peer:
                    say = channels.to(peer).unary_unary("/echo.Echo/Say")
                    print(f"{peer.key}: {say(f'hello {n}'.encode(), timeout=2).decode()}")


if __name__ == "__main__":
    if "PEERS" in os.environ:
        main(os.environ["PEERS"])
    else:
        method = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
        handlers = [grpc.method_handlers_generic_handler("echo.Echo", {"Say": method})]
        servers = [grpc.server(ThreadPoolExecutor(1), handlers=handlers) for _ in range(2)]
        ports = [server.add_insecure_port("127.0.0.1:0") for server in servers]
        for server in servers:
            server.start()
        main("static:" + ",".join(f"echo-{i}=127.0.0.1:{port}" for i, port in enumerate([*ports, 1])))
        for server in servers:
            server.stop(None).wait()
