"""Where the API server is, and which credentials it is shown.

Invariants:

* `server=` goes first, then the pod. `ca=` and `token=` win over what the pod has. With `server=` nothing
  else is read: a pod's token is never sent to another server.
* A token goes over verified TLS only. Plain http is for loopback without a token (`kubectl proxy`).
* A token in a file is read again every 60 s, and after the server refused it, because Kubernetes rotates
  it. The old one stays in use while the file cannot be read or is empty.
* The CA is read again for each connection, because it is renewed, too.
* No secret appears in an error or in a `repr`, not even if the server sends it back (`_redaction`).
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError
from peerdiscover.sources._server import is_loopback
from peerdiscover.sources.environment import Environment

from ._redaction import Redactor

REREAD = 60.0
"""Seconds after which a token file is read again; client-go's own figure."""

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_MALFORMED = "a token is printable ASCII without spaces or newlines (what was found is not shown here)"


@dataclass(eq=False, repr=False)
class ClusterConfig:
    """An API server, and the credentials for it. `find_cluster` makes one for each watch."""

    server: str
    """The URL that paths are appended to, without a slash at its end."""
    origin: str
    """Where all this comes from, for errors."""
    ca: Path | None = None
    """The file that the server's certificate must verify against; None: the system's trust store."""
    token: str | None = None
    token_file: Path | None = None
    """A file with the token, read again and again; `token` counts until it was read."""
    redactor: Redactor = field(default_factory=Redactor, init=False)
    """Knows every token that `authorization` gave out."""
    _read_at: float | None = field(default=None, init=False)
    _trouble: str = field(default="", init=False)

    def __repr__(self) -> str:
        return f"ClusterConfig({self.describe()})"

    def describe(self) -> str:
        """The server, and where the credentials come from; never a secret."""
        trouble = f"; {self._trouble}" if self._trouble else ""
        return f"{self.server}, by {self.origin}{trouble}"

    def ssl_context(self) -> ssl.SSLContext:
        """A new context, with the CA as it is now. `ConfigurationError` names the file."""
        if self.ca is None:
            return ssl.create_default_context()
        # It verifies, and checks the host's name. Not `create_default_context`: from Python 3.13 on that
        # adds VERIFY_X509_STRICT, and the CAs of many clusters lack extensions that it requires.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cafile=self.ca)
        except ssl.SSLError:
            raise ConfigurationError(f"{self.ca}: holds no CA certificate in PEM") from None
        except OSError as error:
            raise ConfigurationError(f"{self.ca}: the CA cannot be read: {error.strerror}") from None
        return context

    def authorization(self, now: float) -> str | None:
        """The value of the header; None: send none. `now` is monotonic, in seconds.

        `ConfigurationError` if the token file gives none and never gave one.
        """
        path = self.token_file
        if path is not None and (self._read_at is None or now - self._read_at > REREAD):
            try:
                self.token = _token_in(path)
            except ConfigurationError as error:
                if self.token is None:
                    raise
                self._trouble = f"an older token, since {error}"
            else:
                self._read_at, self._trouble = now, ""
        if self.token is None:
            return None
        self.redactor.add(self.token)
        return f"Bearer {self.token}"

    def refused(self) -> None:
        """The server did not accept the token: read it again before the next request."""
        self._read_at = None

    def certificate_error(self, error: ssl.SSLCertVerificationError) -> ConfigurationError:
        """What to raise if the server's certificate does not verify: it names server and CA."""
        against = self.ca or "the trust store of the system (no CA was given)"
        return ConfigurationError(
            f"the certificate of {self.server} does not verify against {against}: {error.verify_message}"
        )


def check_arguments(
    server: str | None = None, ca: str | os.PathLike[str] | None = None, token: str | None = None
) -> None:
    """Raise `ConfigurationError` for arguments that cannot be right. Reads nothing."""
    if token is not None:
        if not isinstance(token, str) or not _VISIBLE.fullmatch(token):
            raise ConfigurationError(f"Kubernetes(token=…): {_MALFORMED}")
        if token.startswith(("/", "~/", "./")):
            raise ConfigurationError("Kubernetes(token=…): expected the token itself; this looks like a path")
    if server is not None:
        _checked_server(server, "Kubernetes(server=…): ", token is not None)
    if ca is not None and (not isinstance(ca, (str, os.PathLike)) or not os.fspath(ca)):
        raise ConfigurationError(f"Kubernetes(ca={quoted(ca)}): expected the path of a file")


def find_cluster(
    server: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    token: str | None = None,
    *,
    environment: Environment | None = None,
) -> ClusterConfig:
    """The API server and its credentials: those of the arguments, else those of the pod.

    `ConfigurationError` if no server is known, or if what was found cannot work.
    """
    check_arguments(server, ca, token)
    given_ca = None if ca is None else Path(ca).expanduser()
    if server is not None:
        return ClusterConfig(server.rstrip("/"), "arguments", ca=given_ca, token=token)
    environment = environment or Environment()
    host = environment.environ.get("KUBERNETES_SERVICE_HOST", "").strip()
    if not host:
        raise ConfigurationError(
            "no API server is known: this is no pod (KUBERNETES_SERVICE_HOST is not set). Write "
            'Kubernetes(server=…, ca=…, token=…), or start `kubectl proxy` and write server="http://127.0.0.1:8001"'
        )
    port = environment.environ.get("KUBERNETES_SERVICE_PORT", "").strip() or "443"
    folder = environment.namespace_file.parent  # the kubelet puts all of the service account there
    origin = f"the pod's service account ({folder})" if token is None else "the pod (KUBERNETES_SERVICE_HOST)"
    found = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return ClusterConfig(
        _checked_server(found, f"{origin}: ", credentials=True),
        origin,
        ca=given_ca or folder / "ca.crt",
        token=token,
        token_file=folder / "token" if token is None else None,
    )


def _checked_server(text: str, where: str, credentials: bool) -> str:
    """The URL without a slash at its end. `ConfigurationError` if it is none, or would show a token."""
    if isinstance(text, str) and "@" in text:
        raise ConfigurationError(f"{where}the server's URL has a user name in it; use a token instead")
    wrong = ConfigurationError(f"{where}{quoted(text)} is no server: write https://HOST:PORT")
    if not isinstance(text, str) or not _VISIBLE.fullmatch(text):
        raise wrong
    try:
        url = urlsplit(text)
        _ = url.port, (url.hostname or "").encode("idna")  # raise if it has none that can be used
    except ValueError:
        raise wrong from None
    if url.scheme not in ("https", "http") or not url.hostname or url.query or url.fragment:
        raise wrong
    if url.scheme == "http":
        if credentials:
            raise ConfigurationError(f"{where}{quoted(text)}: credentials go over https only")
        if not is_loopback(url.hostname):
            raise ConfigurationError(
                f"{where}{quoted(text)}: plain http is for loopback only (`kubectl proxy`)"
            )
    return text.rstrip("/")


def _token_in(path: Path) -> str:
    try:
        token = path.read_bytes().strip().decode("latin-1")
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: no such file: the pod has no token (automountServiceAccountToken: false?)"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    if not token:
        raise ConfigurationError(f"{path}: the token file is empty")
    if not _VISIBLE.fullmatch(token):
        raise ConfigurationError(f"{path}: holds no token: {_MALFORMED}")
    return token
