"""A CA of the test's own, what it signed, and a server on loopback that speaks TLS with it."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .nameservers import require


class Authority:
    """A folder with a CA (`ca.crt`); `sign` makes a certificate beside its key.

    Its certificates lack extensions, as those of many clusters do. `complete` ones have what a context
    of Python 3.13 or newer wants (VERIFY_X509_STRICT).
    """

    def __init__(self, folder: Path, name: str, *, complete: bool = False) -> None:
        self._complete = complete
        self.folder = folder / name
        self.folder.mkdir()
        self.ca = self.folder / "ca.crt"
        self._key = self.folder / "ca.key"
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign") if complete else ()
        self._openssl(
            "req", "-x509", *NEW_KEY, self._key, "-days", "2", "-subj", f"/CN={name}", *usage, "-out", self.ca
        )

    def sign(self, name: str, alternative: str = "", subject: str = "") -> tuple[Path, Path]:
        """Certificate and key. `alternative`: `IP:127.0.0.1` or `DNS:name`."""
        certificate, key, request, extensions = (
            self.folder / f"{name}.{ending}" for ending in ("crt", "key", "csr", "ext")
        )
        self._openssl("req", *NEW_KEY, key, "-subj", subject or f"/CN={name}", "-out", request)
        lines = [f"subjectAltName={alternative}"] if alternative else []
        if self._complete:
            lines += ["subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid"]
        extensions.write_text("".join(f"{line}\n" for line in lines))
        signed_by = ("-CA", self.ca, "-CAkey", self._key, "-CAcreateserial")
        self._openssl(
            "x509",
            "-req",
            "-in",
            request,
            *signed_by,
            "-days",
            "2",
            "-extfile",
            extensions,
            "-out",
            certificate,
        )
        return certificate, key

    def _openssl(self, *arguments: object) -> None:
        subprocess.run(
            [require("openssl"), *map(str, arguments)], check=True, capture_output=True, timeout=60
        )


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout")


@contextmanager
def tls_server(authority: Authority, certificate: Path, key: Path) -> Iterator[tuple[str, int]]:
    """The address of a server that shakes hands and sends back who it was shown, until the block ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority.ca)
    context.verify_mode = ssl.CERT_OPTIONAL
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listening.accept()
                except OSError:
                    return
                with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as shown:
                    shown.sendall(repr(shown.getpeercert()).encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # wakes accept, which close alone does not
            listening.close()
            thread.join()
