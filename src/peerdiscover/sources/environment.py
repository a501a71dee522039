"""The environment of the program: nameservers, namespace, cluster domain, zone, and this pod's identity.

Invariants:

* Explicit arguments go first, then `PEERDISCOVER_*` variables, then the pod: its resolv.conf and
  its service account.
* Nothing is read before it is needed. resolv.conf is read again when its time, size or inode has
  changed; if it has vanished or names no server, the last good contents stay.
* Nothing is made up: without a nameserver the list is empty (no silent 127.0.0.1).
* A loopback address identifies no pod, and a hostname identifies this pod only within its own
  namespace: another namespace may have a pod of the same name.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from stat import S_ISREG

from peerdiscover._labels import LABEL
from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError
from peerdiscover.identity import Identity, checked_zone
from peerdiscover.names import ServiceName
from peerdiscover.sources._server import ResolverOptions, Server

__all__ = ["Environment", "ResolvConf", "checked_domain", "checked_namespace", "source_addresses"]

RESOLV_CONF = Path("/etc/resolv.conf")
_MAX_RESOLV_CONF = 1 << 16
"""Characters that are read of it: parsing 10 MB takes seconds."""
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def checked_namespace(text: str, where: str) -> str:
    """The namespace; raises `ConfigurationError` if it cannot be one."""
    if not isinstance(text, str) or not LABEL.fullmatch(text):
        raise ConfigurationError(
            f"{where}{quoted(text)}: a namespace is one label of lower-case letters, digits, hyphens"
        )
    return text


def checked_domain(text: str, where: str) -> str:
    """The cluster domain without dots at its ends; raises `ConfigurationError` if it cannot be one."""
    domain = text.strip(".").lower() if isinstance(text, str) else ""
    if not domain or len(domain) > 200 or not all(LABEL.fullmatch(label) for label in domain.split(".")):
        raise ConfigurationError(
            f"{where}{quoted(text)}: a cluster domain is a DNS name, such as cluster.local"
        )
    return domain


@dataclass(frozen=True, slots=True)
class Resolv:
    servers: tuple[Server, ...] = ()
    search: tuple[str, ...] = ()
    options: ResolverOptions = field(default_factory=ResolverOptions)


class ResolvConf:
    """The nameservers and search list of a resolv.conf, read again when the file changes."""

    def __init__(self, path: Path = RESOLV_CONF) -> None:
        self._path = path
        # One value, replaced whole: threads may read while another one reads the file again.
        self._read: tuple[tuple[int, int, int] | None, Resolv] = (None, Resolv())

    def read(self) -> Resolv:
        """What it says now."""
        seen, good = self._read
        try:
            stat = self._path.stat()
            mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if mark == seen or not S_ISREG(stat.st_mode):  # reading a pipe would block
                return good
            with self._path.open(encoding="utf-8", errors="replace") as file:
                read = parse_resolv_conf(file.read(_MAX_RESOLV_CONF))
        except OSError:
            return good
        if not read.servers and good.servers:
            read = good
        self._read = (mark, read)
        return read


def parse_resolv_conf(text: str) -> Resolv:
    """Nameservers and search list (resolv.conf(5)): what is unreadable is skipped, the last search counts."""
    servers: list[Server] = []
    search: tuple[str, ...] = ()
    options = ResolverOptions()
    for line in text.splitlines():
        word, *rest = re.split(r"[#;]", line, maxsplit=1)[0].split() or [""]
        if word == "nameserver" and rest:
            with suppress(ValueError):
                servers.append(Server(str(ip_address(rest[0]))))
        elif word in ("search", "domain"):
            search = tuple(entry.strip(".").lower() for entry in rest)
        elif word == "options":
            options = _with_options(options, rest)
    return Resolv(tuple(dict.fromkeys(servers)), search, options)


def _with_options(options: ResolverOptions, words: Sequence[str]) -> ResolverOptions:
    for word in words:
        name, _, value = word.partition(":")
        number = int(value) if re.fullmatch(r"[0-9]{1,3}", value, re.ASCII) else 0
        if word == "use-vc":
            options = options._replace(use_tcp=True)
        elif name == "timeout" and number:
            options = options._replace(timeout=float(min(number, 30)))
        elif name == "attempts" and number:
            options = options._replace(attempts=min(number, 5))
    return options


def source_addresses(towards: Sequence[str]) -> tuple[str, ...]:
    """The addresses from which this machine would send to those. Nothing is sent.

    A connected UDP socket has chosen its source address. What cannot be reached is skipped.
    """
    found: dict[str, None] = {}
    for address in towards:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with suppress(OSError), closing(socket.socket(family, socket.SOCK_DGRAM)) as sock:
            sock.connect((address, 53))
            found[str(sock.getsockname()[0])] = None
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Environment:
    """What can be known of where the program runs.

    `environ`: environment variables; by default those of the process.
    `resolv_conf`: by default /etc/resolv.conf.
    `namespace_file`: by default the one of the pod's service account.
    `hostname`: returns the host's name; by default `socket.gethostname`.
    `addresses`: returns the source addresses towards others; by default `source_addresses`.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    resolv_conf: ResolvConf = field(default_factory=ResolvConf)
    namespace_file: Path = NAMESPACE_FILE
    hostname: Callable[[], str] = socket.gethostname
    addresses: Callable[[Sequence[str]], tuple[str, ...]] = source_addresses

    def nameservers(self) -> tuple[Server, ...]:
        """`PEERDISCOVER_NAMESERVERS`, else those of resolv.conf; may be empty."""
        texts = re.split(r"[,\s]+", self._environ("NAMESERVERS"))
        given = tuple(Server.parse(text) for text in texts if text)
        return given or self.resolv_conf.read().servers

    def resolver_options(self) -> ResolverOptions:
        """The options of resolv.conf, if its nameservers are asked."""
        return ResolverOptions() if self._environ("NAMESERVERS") else self.resolv_conf.read().options

    def namespace(self) -> str | None:
        """`PEERDISCOVER_NAMESPACE`, else the service account's, else the one in the search list."""
        if given := self._environ("NAMESPACE"):
            return checked_namespace(given, "PEERDISCOVER_NAMESPACE=")
        with suppress(OSError, UnicodeDecodeError):
            text = self.namespace_file.read_text(encoding="ascii").strip()
            if LABEL.fullmatch(text):
                return text
        return self._cluster_search()[0]

    def cluster_domain(self) -> str | None:
        """`PEERDISCOVER_CLUSTER_DOMAIN`, else the one in the search list; None if unknown."""
        if given := self._environ("CLUSTER_DOMAIN"):
            return checked_domain(given, "PEERDISCOVER_CLUSTER_DOMAIN=")
        return self._cluster_search()[1]

    def _cluster_search(self) -> tuple[str, str] | tuple[None, None]:
        """Namespace and cluster domain, from `NS.svc.ZONE` and `svc.ZONE` in the search list."""
        search = self.resolv_conf.read().search
        for entry in search:
            namespace, dot, rest = entry.partition(".")
            if dot and rest.startswith("svc.") and rest in search and LABEL.fullmatch(namespace):
                return namespace, rest.removeprefix("svc.")
        return None, None

    def asks_elsewhere(self) -> bool:
        """Whether resolv.conf names the nameservers, and none of its search entries is a cluster's."""
        return not self._environ("NAMESERVERS") and not any(
            entry.startswith("svc.") for entry in self.resolv_conf.read().search
        )

    def zone(self) -> str | None:
        """`PEERDISCOVER_ZONE`; None if unknown. A pod only knows its zone if its manifest says so."""
        given = self._environ("ZONE")
        return checked_zone(given, "PEERDISCOVER_ZONE=") if given else None

    def identity(self, service: ServiceName, namespace: str | None = None) -> Identity:
        """Who this pod is among the pods of `service`. `namespace` is this pod's, if it is given.

        The name counts only within this pod's namespace. Addresses are `POD_IP`, `POD_IPS`, and those
        from which the machine sends to its nameservers and to the world.
        """
        return Identity(self._pod_name(service, namespace), self._pod_addresses(), self.zone())

    def _pod_name(self, service: ServiceName, namespace: str | None) -> str | None:
        if service.scheme == "static" or service.is_external:
            return None
        with suppress(ConfigurationError, OSError):
            local = namespace or self.namespace()
            if service.namespace is not None and service.namespace != local:
                return None
            if service.domain is not None and service.domain != (self.cluster_domain() or "cluster.local"):
                return None
            return self.pod_name() or None
        return None

    def pod_name(self) -> str:
        """`POD_NAME`, else the hostname; of either the first label: a pod's hostname may be its full name."""
        host = self.environ.get("POD_NAME") or self.environ.get("HOSTNAME") or self.hostname()
        return host.partition(".")[0].lower()

    def _pod_addresses(self) -> tuple[str, ...]:
        texts = [self.environ.get("POD_IP", ""), *re.split(r"[,\s]+", self.environ.get("POD_IPS", ""))]
        towards = ["192.0.2.1", "2001:db8::1"]  # for documentation (RFC 5737, 3849): no host has them
        with suppress(ConfigurationError):
            towards += [server.host for server in self.nameservers()]
        found: dict[str, None] = {}
        for text in (*texts, *self.addresses(towards)):
            with suppress(ValueError):
                address = ip_address(text)
                if not (address.is_loopback or address.is_unspecified or address.is_link_local):
                    found[str(address)] = None
        return tuple(found)

    def _environ(self, name: str) -> str:
        return self.environ.get(f"PEERDISCOVER_{name}", "").strip()
