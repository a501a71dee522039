"""Failover over plain sockets: if one pod fails, the next one is tried at once.

Run it on this machine, where it starts its own pods, or in a cluster:

    python examples/failover.py
    PEERS=web-headless.prod:8080 python examples/failover.py
"""

import os
import socket

from tenacity import stop_after_attempt

from peerdiscover import Discovery, Peer, SourceLike
from peerdiscover.testing import HeadlessService

REQUEST = b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"


def status_of(peer: Peer) -> str:
    with socket.create_connection(peer.sockaddr, timeout=0.5) as sock:
        sock.sendall(REQUEST)
        return sock.makefile("rb").readline().decode().strip()


def main(service: str, source: SourceLike | None = None) -> None:
    with Discovery(service, source=source) as web:
        for n in range(4):
            # `on` has no default: only you know what is safe to repeat. This GET is.
            for attempt in web.attempts(on=OSError, stop=stop_after_attempt(4)):
                with attempt as peer:  # a different pod each time, until all were tried
                    print(f"request {n}: {peer.key} at attempt {attempt.number}: {status_of(peer)}")
        print("the same in one call:", web.call(status_of, on=OSError))


if __name__ == "__main__":
    if "PEERS" in os.environ:
        main(os.environ["PEERS"])
    else:
        with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
            svc.blackhole(1)  # like a node that was lost: DNS still has the pod, but connections hang
            main("web-headless.prod:http", svc.source)
