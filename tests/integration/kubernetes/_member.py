"""What pods of these tests run: a member of a StatefulSet that is told its Service's name and nothing else.

    python _member.py SERVICE HOW_MANY

It listens on port 8080, finds its peers, prints what it found as one line of JSON, then the same after each
change, until it is told to end. What the library logs as a warning stands between these lines.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from peerdiscover import Discovery, PeerSet


class Handler(BaseHTTPRequestHandler):
    """Ready as soon as it listens."""

    def do_GET(self) -> None:
        """Any path."""
        self.send_response(204)
        self.end_headers()


def tell(peers: PeerSet) -> None:
    """One line, for the test to read in the pod's log."""
    said = {
        "kind": peers.kind,
        "me": peers.me.key if peers.me else None,
        "peers": {peer.key: peer.address for peer in peers},
        "fqdn": peers.me.fqdn if peers.me else None,
        "others": sorted(peer.key for peer in peers.others),
    }
    print(json.dumps(said), flush=True)  # noqa: T201  a pod's log is its output


def main(service: str, how_many: int) -> None:
    """Until SIGTERM, which is nothing to process 1 of a pod that does not ask for it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    server = ThreadingHTTPServer(("", 8080), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Discovery(service) as web:
        tell(web.wait(how_many))
        for change in web.changes():
            tell(change.after)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
