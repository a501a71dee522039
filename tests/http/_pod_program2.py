"""A pod for tests under load: HTTP/2 behind TLS, and each id on stdout before it is answered.

    python -m tests.http._pod_program2 CERTIFICATE KEY PORT [MANNER] [NAME=MANNER ...]

Manners are those of `_pod_program`; a `graceful` one says GOAWAY at SIGTERM.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from ._pod_program import Connection, Pod, main


class Connection2(Connection):
    """Answers streams as they end."""

    def __init__(self, pod: Pod) -> None:
        super().__init__(pod)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.keys: dict[int, str] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.h2.initiate_connection()
        self.send()

    def send(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        if self.pod.ending:
            return  # a stream that GOAWAY refused
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.transport.close()
            return
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                headers = {name.decode(): value.decode() for name, value in event.headers or ()}
                self.keys[event.stream_id or 0] = headers.get("id", "")
            elif isinstance(event, h2.events.StreamEnded):
                stream = event.stream_id or 0
                self.execute(self.keys.pop(stream), stream)
        self.send()

    def answer(self, stream: int) -> None:
        body = self.pod.name.encode()
        self.h2.send_headers(stream, [(":status", str(self.status)), ("content-length", str(len(body)))])
        self.h2.send_data(stream, body, end_stream=True)
        self.send()

    def end(self) -> None:
        self.h2.close_connection()  # names the last stream that was begun, and all of these were answered
        self.send()


if __name__ == "__main__":
    certificate, key, port = sys.argv[1:4]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    asyncio.run(main(int(port), sys.argv[4:], Connection2, context))
