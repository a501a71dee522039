"""Pods on loopback that answer probes and take joins, each a server in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from peerdiscover import Peer
from peerdiscover.clustering import ContactPoint

JOIN = "/join/"


class Pod:
    """A contact point behind a server, and what an application does with `form` and `join`."""

    def __init__(self, contact: ContactPoint) -> None:
        self.contact = contact
        self.formed: list[str] = []
        self.joined: list[tuple[str, str]] = []
        self.body: bytes | None = None
        """What it answers a probe with, in place of its standing."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def entry(self) -> str:
        """Its entry in a `static:` list."""
        return f"{self.contact.standing.name}=127.0.0.1:{self.server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        pod = self  # `self` is the handler's below

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = pod.contact.answer() if pod.body is None else pod.body
                taken = self.path == JOIN + (pod.contact.standing.cluster or "-")
                self.send_response(200 if taken or not self.path.startswith(JOIN) else 409)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(OSError):  # the probe had enough of it
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        return Handler

    def form(self, cluster: str) -> None:
        self.formed.append(cluster)

    def join(self, peer: Peer, cluster: str) -> None:
        httpx.post(peer.url(JOIN + cluster)).raise_for_status()
        self.joined.append((peer.key, cluster))

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@contextmanager
def running(contacts: Sequence[ContactPoint]) -> Iterator[list[Pod]]:
    pods = [Pod(contact) for contact in contacts]
    try:
        yield pods
    finally:
        for pod in pods:
            pod.close()


def service(pods: Sequence[Pod]) -> str:
    return "static:" + ",".join(pod.entry for pod in pods)
