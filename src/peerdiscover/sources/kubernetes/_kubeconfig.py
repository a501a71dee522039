"""Reading kubeconfig files: which server, whom it must prove to be, and what we show it.

Rules of this room:

* Several files are merged as kubectl merges them: of each name the first file that has it counts, and
  the first current-context. Files of the list that are not there are passed over; one that cannot be
  read is an error. Relative paths begin at the folder of the file that has them.
* What cannot be done safely or at all is refused in words, never passed over: TLS that is not verified,
  passwords, impersonation, proxies, and plug-ins, which would be programs that we start.
* An error names the file and the entry. It never shows what stands there: that may be a secret. So no
  parser's own message is passed on, since it quotes the line.
* YAML wants PyYAML, and only its safe loader is used. Files in JSON, which is YAML too, do without.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from peerdiscover.errors import ConfigurationError

__all__ = ["Context", "Pem", "read_kubeconfig"]


@dataclass(frozen=True, slots=True, repr=False)
class Pem:
    """A certificate or a key: a file's, or the text itself."""

    where: str
    """For errors: the file's path, or the entry of the kubeconfig that holds the text."""
    path: Path | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Context:
    """A server and how to speak to it. It has no `repr` of its own: the token would stand in it."""

    server: str
    origin: str
    """Where all this comes from, for errors."""
    ca: Pem | None = None
    """What the server's certificate must verify against; None: the system's trust store."""
    token: str | None = None
    token_file: Path | None = None
    """Read again and again; `token` counts until it was read."""
    certificate: Pem | None = None
    key: Pem | None = None
    tls_server_name: str | None = None
    """The name in the server's certificate, where that is not the one of `server`."""
    namespace: str | None = None
    """The one that the context of a kubeconfig names."""
    default_namespace: str | None = None
    """The one that counts where nothing tells one, not even a pod around us."""


def read_kubeconfig(paths: Sequence[Path], *, with_user: bool = True) -> Context:
    """The current context of those files.

    `with_user=False` leaves the user out, for whoever has a token of their own. `ConfigurationError`
    where a file or an entry is missing, malformed, or asks for what is refused.
    """
    files = _Files(paths)
    context, name = files.current_context()
    cluster = files.named("clusters", "cluster", context.required("cluster"), name)
    # kubectl takes a context without a user for an anonymous one, and so do we.
    user_name = context.text("user") if with_user else None
    user = files.named("users", "user", user_name, name) if user_name else None
    _refuse_cluster(cluster)
    if user:
        _refuse_user(user)
    certificate, key = (user.pem("client-certificate"), user.pem("client-key")) if user else (None, None)
    if user and (certificate is None) != (key is None):
        raise user.error("has a client certificate without its key, or a key without its certificate")
    return Context(
        server=cluster.required("server"),
        origin=name,
        ca=cluster.pem("certificate-authority"),
        token=user.text("token") if user else None,
        token_file=user.path("tokenFile") if user else None,
        certificate=certificate,
        key=key,
        tls_server_name=cluster.text("tls-server-name"),
        namespace=context.text("namespace"),
        default_namespace="default",  # as for kubectl, which asks the pod around it first, too
    )


def _refuse_cluster(cluster: _Entry) -> None:
    if cluster.values.get("insecure-skip-tls-verify"):
        raise cluster.error(
            "has insecure-skip-tls-verify. The server's certificate is always verified here: "
            "give certificate-authority(-data), or ca="
        )
    if cluster.text("proxy-url"):
        raise cluster.error(
            "has proxy-url, which is not followed: take it out, and set HTTPS_PROXY with "
            "Kubernetes(trust_env=True)"
        )


def _refuse_user(user: _Entry) -> None:
    has_token = user.text("token") or user.text("tokenFile")
    for key, part in ("exec", "command"), ("auth-provider", "name"):
        if user.values.get(key) and not has_token:
            plugin = user.values[key].get(part) if isinstance(user.values[key], Mapping) else None
            raise user.error(
                f"gets its credentials from the {key} plug-in {plugin!r}, and no program is started for "
                "that: give a token (`kubectl create token SERVICEACCOUNT`) as token=, or run in a pod"
            )
    if user.text("username") or user.text("password"):
        raise user.error(
            "has a user name and a password, which no API server since Kubernetes 1.19 takes: use a token"
        )
    if any(user.values.get(key) for key in ("as", "as-uid", "as-groups", "as-user-extra")):
        raise user.error("impersonates somebody (as: …), which is not done here: use a token of that account")


class _Entry:
    """One named mapping of a kubeconfig, with the words that say where it stands."""

    def __init__(self, values: Mapping[Any, Any], what: str, file: Path) -> None:
        self.values = values
        self.file = file
        self._what = what

    def error(self, says: str) -> ConfigurationError:
        return ConfigurationError(f"{self.file}: {self._what} {says}")

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.error(f"has a {key} that is no text")
        return value or None

    def required(self, key: str) -> str:
        value = self.text(key)
        if value is None:
            raise self.error(f"has no {key}")
        return value

    def path(self, key: str) -> Path | None:
        value = self.text(key)
        return self.file.absolute().parent / value if value else None

    def pem(self, key: str) -> Pem | None:
        """`KEY-data` where it is there, else the file of `KEY`, as in client-go."""
        data = self.text(f"{key}-data")
        if data is not None:
            try:
                text = b64decode(data, validate=True).decode("ascii")
            except (binascii.Error, ValueError):
                raise self.error(f"has a {key}-data that is not PEM in base64") from None
            if not text.strip():
                raise self.error(f"has an empty {key}-data")
            return Pem(f"{key}-data of {self._what} in {self.file}", text=text)
        path = self.path(key)
        return Pem(str(path), path=path) if path else None


class _Files:
    """Several kubeconfigs as one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._names = ":".join(map(str, paths))
        self._files = [(path, file) for path in paths if (file := _load(path)) is not None]
        if not self._files:
            raise ConfigurationError(f"{self._names}: no such file")

    def current_context(self) -> tuple[_Entry, str]:
        """The context, and the words for it."""
        for path, file in self._files:
            name = _Entry(file, "the file", path).text("current-context")
            if name:
                context = self.named("contexts", "context", name, f"current-context of {path}")
                return context, f"context {name!r} of {context.file}"
        raise ConfigurationError(
            f"{self._names}: no current-context; set one with `kubectl config use-context NAME`"
        )

    def named(self, section: str, kind: str, name: str, wanted_by: str) -> _Entry:
        """The entry of that name in the first file that has it."""
        for path, file in self._files:
            for values in _entries(file, section, kind, name, path):
                return _Entry(values, f"{kind} {name!r}", path)
        raise ConfigurationError(f"{self._names}: no {kind} {name!r}, which {wanted_by} names")


def _entries(
    file: Mapping[Any, Any], section: str, kind: str, name: str, path: Path
) -> Iterable[Mapping[Any, Any]]:
    listed = file.get(section) or []
    if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
        raise ConfigurationError(f"{path}: {section} is no list of entries with names")
    for entry in listed:
        if entry.get("name") == name:
            values = entry.get(kind) or {}
            if not isinstance(values, Mapping):
                raise ConfigurationError(f"{path}: {kind} {name!r} is no mapping")
            yield values


def _load(path: Path) -> Mapping[Any, Any] | None:
    """What the file holds; None where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: no kubeconfig: it is not UTF-8 text") from None
    found = _parsed(text, path)
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"{path}: no kubeconfig: it holds no mapping")
    return found


def _parsed(text: str, path: Path) -> object:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            pass  # YAML has such mappings, too
        except RecursionError:
            raise ConfigurationError(f"{path}: no kubeconfig: nested too deeply") from None
    try:
        yaml = import_module("yaml")
    except ImportError:
        raise ConfigurationError(
            f"{path}: reading YAML wants PyYAML: pip install 'peerdiscover[kubeconfig]', or write the file "
            "as JSON: `kubectl config view --raw --flatten -o json`"
        ) from None
    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigurationError(f"{path}{line}: neither YAML nor JSON") from None
    except (ValueError, RecursionError):  # a date that is none, for instance
        raise ConfigurationError(f"{path}: neither YAML nor JSON") from None
