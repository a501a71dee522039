"""Where the API server is, and how one proves who one is.

Rules of this room:

* What is written goes first: `server=`, `kubeconfig=`; then `$KUBECONFIG`; then the pod; then
  `~/.kube/config`. `ca=` and `token=` win over what is found. With `server=` nothing is looked for: a
  pod's token is not sent to another server.
* A token goes over verified TLS only. Plain http is for loopback without a token (`kubectl proxy`).
* A token in a file is read again every 60 s, and after the server refused it: Kubernetes rotates it.
  The old one stays while the file cannot be read or holds nothing.
* Certificates are read anew for each connection, since they are renewed, too.
* Secrets stand in no text: not in errors, not in `repr`.
"""

from __future__ import annotations

import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from peerdiscover.errors import ConfigurationError
from peerdiscover.sources.environment import Environment

from ._kubeconfig import Context, Pem, read_kubeconfig

__all__ = ["ClusterConfig", "check_arguments", "find_cluster"]

REREAD = 60.0
"""Seconds after which a token file is read again; client-go's own figure."""

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_MALFORMED = "no token: that is printable ASCII without spaces or newlines (it is not shown here)"


class ClusterConfig:
    """An API server, and the credentials for it. Made by `find_access`; one for each watch."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._token = context.token
        self._read_at: float | None = None
        self._trouble = ""

    def __repr__(self) -> str:
        return f"Access({self.describe()})"

    @property
    def server(self) -> str:
        """The URL that paths are appended to: `https://10.96.0.1:443`, without a slash at its end."""
        return self._context.server

    @property
    def namespace(self) -> str | None:
        """The namespace of a kubeconfig's context; None where there is none."""
        return self._context.namespace

    @property
    def default_namespace(self) -> str | None:
        """What counts where neither the context nor a pod tells one: "default" with a kubeconfig."""
        return self._context.default_namespace

    @property
    def tls_server_name(self) -> str | None:
        """The name to ask for and to verify in TLS, where it is not the host of `server`."""
        return self._context.tls_server_name

    def describe(self) -> str:
        """Server, and where the credentials come from; never a secret."""
        trouble = f"; {self._trouble}" if self._trouble else ""
        return f"{self.server}, by {self._context.origin}{trouble}"

    def ssl_context(self) -> ssl.SSLContext:
        """A new context, with the certificates as they are now. `ConfigurationError` names the file."""
        context = _trusting(self._context.ca)
        certificate, key = self._context.certificate, self._context.key
        if certificate is not None and key is not None:
            _load_certificate(context, certificate, key)
        return context

    def authorization(self, now: float) -> str | None:
        """The header's value; None: none is sent. `now` is monotonic, in seconds.

        `ConfigurationError` where a token file gives none and never gave one.
        """
        path = self._context.token_file
        if path is not None and (self._read_at is None or now - self._read_at > REREAD):
            try:
                self._token = _token_in(path)
            except ConfigurationError as error:
                if self._token is None:
                    raise
                self._trouble = f"an older token, since {error}"
            else:
                self._read_at, self._trouble = now, ""
        return None if self._token is None else f"Bearer {self._token}"

    def refused(self) -> None:
        """The server did not accept the token: it is read again before the next request."""
        self._read_at = None

    def certificate_error(self, error: ssl.SSLCertVerificationError) -> ConfigurationError:
        """What to raise where the server's certificate did not verify: it names server and CA."""
        ca = self._context.ca
        return ConfigurationError(
            f"the certificate of {self.server} does not verify against "
            f"{ca.where if ca else 'the trust store of the system (no CA was given)'}: {error.verify_message}"
        )


def check_arguments(
    server: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    token: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
) -> None:
    """`ConfigurationError` where arguments contradict each other or cannot be right. Reads nothing."""
    if server is not None and kubeconfig is not None:
        raise ConfigurationError(
            "Kubernetes(server=…, kubeconfig=…): both say which server; give one of them"
        )
    if token is not None:
        if not isinstance(token, str) or not _VISIBLE.fullmatch(token):
            raise ConfigurationError(f"Kubernetes(token=…): {_MALFORMED}")
        if token.startswith(("/", "~/", "./")):
            raise ConfigurationError(
                "Kubernetes(token=…): the token itself is wanted; this looks like a path. "
                "A token in a file is for tokenFile in a kubeconfig"
            )
    if server is not None:
        _checked_server(server, "Kubernetes(server=…): ", token is not None)
    for name, path in ("ca", ca), ("kubeconfig", kubeconfig):
        if path is not None and (not isinstance(path, (str, os.PathLike)) or not os.fspath(path)):
            raise ConfigurationError(f"Kubernetes({name}={path!r}): the path of a file is wanted")


def find_cluster(
    server: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    token: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
    *,
    surroundings: Environment | None = None,
) -> ClusterConfig:
    """The way to the API server: by arguments, `$KUBECONFIG`, the pod, or `~/.kube/config`.

    `ConfigurationError` where there is none, or where what is found cannot work; it names the file.
    """
    check_arguments(server, ca, token, kubeconfig)
    found = (
        Context(server, "arguments")
        if server is not None
        else _found(kubeconfig, surroundings or Environment(), with_user=token is None)
    )
    if ca is not None:
        path = Path(ca).expanduser()
        found = replace(found, ca=Pem(str(path), path=path))
    if token is not None:
        found = replace(found, token=token)  # the user was left out above
    where = f"{found.origin}: "
    if found.token is not None and not _VISIBLE.fullmatch(found.token):
        raise ConfigurationError(f"{where}{_MALFORMED}")
    credentials = bool(found.token or found.token_file or found.certificate)
    return ClusterConfig(replace(found, server=_checked_server(found.server, where, credentials)))


def _found(
    kubeconfig: str | os.PathLike[str] | None, surroundings: Environment, *, with_user: bool
) -> Context:
    environ = surroundings.environ
    if kubeconfig is not None:
        return read_kubeconfig([Path(kubeconfig).expanduser()], with_user=with_user)
    if listed := [Path(path) for path in environ.get("KUBECONFIG", "").split(os.pathsep) if path.strip()]:
        return read_kubeconfig(listed, with_user=with_user)
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return _of_the_pod(surroundings, with_user=with_user)
    home = Path(environ.get("HOME", "/")) / ".kube" / "config"
    if home.exists():
        return read_kubeconfig([home], with_user=with_user)
    raise ConfigurationError(
        "no API server is known: this is no pod (KUBERNETES_SERVICE_HOST is not set), KUBECONFIG is not "
        f"set, and there is no {home}; give Kubernetes(server=…, ca=…, token=…) or Kubernetes(kubeconfig=…)"
    )


def _of_the_pod(surroundings: Environment, *, with_user: bool) -> Context:
    """What the kubelet tells: the address by the environment, the rest by the service account's folder."""
    host = surroundings.environ["KUBERNETES_SERVICE_HOST"].strip()
    port = surroundings.environ.get("KUBERNETES_SERVICE_PORT", "").strip() or "443"
    folder = surroundings.namespace_file.parent
    ca = folder / "ca.crt"
    return Context(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        origin=f"the pod's service account ({folder})" if with_user else "the pod (KUBERNETES_SERVICE_HOST)",
        ca=Pem(str(ca), path=ca),
        token_file=folder / "token" if with_user else None,
    )


def _checked_server(text: str, where: str, credentials: bool) -> str:
    """The URL without a slash at its end; what cannot be one, or would show a token, is refused."""
    if isinstance(text, str) and "@" in text:
        raise ConfigurationError(f"{where}the server's URL has a user name in it; use a token instead")
    wrong = ConfigurationError(f"{where}{text!r} is no server: write https://HOST:PORT")
    if not isinstance(text, str) or not _VISIBLE.fullmatch(text):
        raise wrong
    try:
        url = urlsplit(text)
        _ = url.port, (url.hostname or "").encode("idna")  # raise where it is none
    except ValueError:
        raise wrong from None
    if url.scheme not in ("https", "http") or not url.hostname or url.query or url.fragment:
        raise wrong
    if url.scheme == "http":
        if credentials:
            raise ConfigurationError(f"{where}{text!r}: credentials go over https only")
        if not _is_loopback(url.hostname):
            raise ConfigurationError(f"{where}{text!r}: plain http is for loopback only (`kubectl proxy`)")
    return text.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
        raise ConfigurationError(
            f"{path}: holds no token: that is printable ASCII without spaces or newlines"
        )
    return token


def _trusting(ca: Pem | None) -> ssl.SSLContext:
    """A context that verifies against that CA alone, or against the system's trust store."""
    if ca is None:
        return ssl.create_default_context()
    # It verifies, and checks the host's name. Not `create_default_context`: from Python 3.13 on that adds
    # VERIFY_X509_STRICT, and the CAs of many clusters lack extensions that it wants.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=ca.path, cadata=ca.text or None)
    except ssl.SSLError:
        raise ConfigurationError(f"{ca.where}: no CA certificate in PEM") from None
    except OSError as error:
        raise ConfigurationError(f"{ca.where}: the CA cannot be read: {error.strerror}") from None
    return context


def _load_certificate(context: ssl.SSLContext, certificate: Pem, key: Pem) -> None:
    where = f"{certificate.where} and {key.where}"

    def no_passphrase() -> str:  # without this, OpenSSL asks on the terminal and waits
        raise ConfigurationError(f"{key.where}: the key has a passphrase; one without is wanted")

    try:
        with _as_file(certificate) as chain, _as_file(key) as private:
            context.load_cert_chain(chain, private, password=no_passphrase)
    except ssl.SSLError as error:
        why = "the key is another certificate's" if error.reason == "KEY_VALUES_MISMATCH" else "not PEM"
        raise ConfigurationError(f"{where}: no client certificate with its key: {why}") from None
    except OSError as error:
        raise ConfigurationError(f"{where}: cannot be read: {error.strerror}") from None


@contextmanager
def _as_file(pem: Pem) -> Iterator[Path]:
    """The file of it. OpenSSL reads keys from files only: a text stands in one for that moment, mode 600."""
    if pem.path is not None:
        yield pem.path
        return
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as file:
        file.write(pem.text)
        file.flush()
        yield Path(file.name)
