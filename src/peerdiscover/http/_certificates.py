"""The TLS context of a transport, whose files are read again when they change on disk.

Certificates that are mounted into pods are renewed while the program runs. Files are looked at before each
TLS handshake (`stat`, a few microseconds beside it). One that cannot be read, or is half written, changes
nothing: it is read again before the next handshake.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError

_logger = logging.getLogger("peerdiscover")

Cert = str | tuple[str, str] | tuple[str, str, str] | None


class TlsContext:
    """An `ssl.SSLContext`, and the files it was made from.

    `context` is what the connections use; `api` is httpx or httpx2, the rest are options of the transport.
    """

    def __init__(self, api: Any, verify: ssl.SSLContext | str | bool, cert: Cert, trust_env: bool) -> None:
        self._ca: str | None = verify if isinstance(verify, str) else None
        if verify is True and trust_env:
            self._ca = os.environ.get("SSL_CERT_FILE") or None
        self._cert: tuple[str, ...] = (cert,) if isinstance(cert, str) else tuple(cert or ())
        self._seen = self._stat()
        self.context: ssl.SSLContext
        with _naming("verify", self._ca):
            if isinstance(verify, str):
                kind = "capath" if Path(verify).is_dir() else "cafile"
                self.context = ssl.create_default_context(**{kind: verify})  # type: ignore[arg-type]  # one of two
            else:
                self.context = api.create_ssl_context(verify=verify, trust_env=trust_env)
        if self._cert:
            with _naming("cert", self._cert[:2]):
                self.context.load_cert_chain(*self._cert)

    def refresh(self) -> None:
        """Read those files again that changed."""
        if (now := self._stat()) == self._seen:
            return
        try:
            if self._ca is not None and not Path(self._ca).is_dir():
                self.context.load_verify_locations(self._ca)
            if self._cert:
                self.context.load_cert_chain(*self._cert)
        except (OSError, ValueError) as error:  # `ssl.SSLError` is an OSError
            _logger.warning(
                "certificates that changed on disk cannot be read, the former are kept: %s", error
            )
            return
        self._seen = now

    def _stat(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for name in filter(None, (self._ca, *self._cert[:2])):
            found[name] = None
            with suppress(OSError):
                stat = Path(name).stat()
                found[name] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        return found


@contextmanager
def _naming(option: str, files: object) -> Iterator[None]:
    """Say which files cannot be loaded: `ssl` does not."""
    try:
        yield
    except OSError as error:  # `ssl.SSLError` is one
        raise ConfigurationError(f"{option}={quoted(files)}: {error}") from None
