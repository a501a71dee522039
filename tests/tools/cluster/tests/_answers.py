"""What a pod of the tests runs: an HTTP server on port 8080 that answers as a served pod does."""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """One kept connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Any path."""
        body = json.dumps({"pod": os.environ["HOSTNAME"], "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Handler).serve_forever()
