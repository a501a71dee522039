"""Names: what a user writes for a service.

    [scheme:][_port._proto.]service[.namespace[.svc[.domain]]][:port]
    static:10.0.0.1:8080,[fd00::1]:8080,db-0=10.0.0.2:8080
    any.name.example.:8080

Invariants:

* A name that is not well-formed is refused as a whole, and the error shows the part that is wrong: nothing is
  guessed or repaired.
* The name that is asked is absolute (it ends in a dot), so that no search list is applied to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address

from ._host_ports import is_port, parse_static, refusal
from ._labels import DNS_LABEL, LABEL
from ._text import quoted
from .errors import ConfigurationError

__all__ = ["SCHEMES", "ServiceName"]

SCHEMES = ("auto", "dns", "k8s", "static")

_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)  # RFC 6335
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True)
class ServiceName:
    """The parts of a service's name. `str()` gives back what was parsed.

    `port` is a number, a port's name, or None; `protocol` is the one of a named port. An absolute
    name outside the cluster keeps its trailing dot in `service` and has neither namespace nor domain.
    For `static:` `service` is the list.
    """

    service: str
    namespace: str | None = None
    domain: str | None = None
    port: int | str | None = None
    protocol: str = "tcp"
    scheme: str = "dns"
    _text: str = field(default="", compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> ServiceName:
        """The parts of `text`; `ConfigurationError` shows what is wrong with it, and where."""
        if not isinstance(text, str):
            raise ConfigurationError(f"{quoted(text)}: a service's name is a string")
        if not text.strip():
            raise refusal(text, "", "expected a service's name, such as web-headless.prod:8080")
        if text != text.strip() or any(c.isspace() for c in text):
            raise refusal(text, "", "a service's name has no spaces in it")
        _refuse_url(text)
        scheme, rest = _split_scheme(text)
        if scheme == "static":
            parse_static(rest, text)
            return cls(service=rest, scheme=scheme, _text=text)
        host, port = _split_port(rest, text)
        host = host.lower()
        if host == "localhost":
            instead = f"static:127.0.0.1:{port if isinstance(port, int) else 'PORT'}"
            raise refusal(text, host, f"this machine, not a service; write {instead}")
        labels = host.split(".")
        is_external = len(labels) > 1 and labels[-1] == ""
        protocol = "tcp"
        if labels[0].startswith("_"):
            if port is not None:
                raise refusal(
                    text, f":{port}", "the port is named twice; keep _port._proto. or :port, not both"
                )
            port, protocol, labels = _split_srv(labels, is_external, text)
        if is_external:
            if scheme != "dns":
                raise refusal(
                    text, f"{scheme}:", "a name that ends in a dot is outside the cluster: only DNS knows it"
                )
            service = _absolute_outside(labels, text)
            return cls(service, None, None, port, protocol, scheme, text)
        dotted = f"{host}.{rest[len(host) :]}"
        service, namespace, domain = _split_cluster(labels, dotted, text)
        return cls(service, namespace, domain, port, protocol, scheme, text)

    @property
    def is_external(self) -> bool:
        """An absolute name outside the cluster: it is asked as it stands."""
        return self.service.endswith(".")

    def absolute(self, namespace: str | None = None, cluster_domain: str | None = None) -> str:
        """The absolute name, with its trailing dot and without port.

        What the name itself says takes precedence over the arguments. `ConfigurationError` if a namespace
        is needed and there is none, and for `static:`, which has no name. The cluster domain is
        `cluster.local` if no other is known (Kubernetes DNS specification 1.1.0, 2.1).
        """
        if self.scheme == "static":
            raise ConfigurationError(f"{quoted(str(self))}: a static list has no DNS name")
        if self.is_external:
            return self.service
        namespace = self.namespace or namespace
        if not namespace:
            raise ConfigurationError(
                f"{quoted(str(self))}: the namespace is not known here; write "
                f"{self.service}.NAMESPACE or set PEERDISCOVER_NAMESPACE"
            )
        domain = (self.domain or cluster_domain or "cluster.local").strip(".")
        name = f"{self.service}.{namespace}.svc.{domain}."
        if len(name) > 254:
            raise ConfigurationError(f"{quoted(name)}: longer than the 253 characters of a DNS name")
        return name

    def __str__(self) -> str:
        if self._text:
            return self._text
        parts = [self.service]
        if self.namespace:
            parts.append(self.namespace)
        if self.domain:
            parts += ["svc", self.domain]
        text = ".".join(parts)
        if isinstance(self.port, str) and (self.protocol != "tcp" or not _PORT_NAME.fullmatch(self.port)):
            text = f"_{self.port}._{self.protocol}.{text}"
        elif self.port is not None:
            text = f"{text}:{self.port}"
        return text if self.scheme == "dns" else f"{self.scheme}:{text}"


def _refuse_url(text: str) -> None:
    """Say what to write instead of a URL, without repeating a password that stands in it."""
    scheme, is_url, rest = text.partition("://")
    if is_url:
        host = re.split(r"[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
        shown = f"{scheme}://{'…@' if '@' in rest else ''}{host}"
        instead = f"write {quoted(host)[1:-1]}" if host else "write SERVICE.NAMESPACE:PORT"
        raise ConfigurationError(f"{quoted(shown)}: a URL, not a service's name; {instead}")


def _split_scheme(text: str) -> tuple[str, str]:
    head, colon, rest = text.partition(":")
    if not colon:
        return "dns", text
    # `dns:8080` is a Service called dns: a name of digits alone is rarer than such a Service.
    if head in SCHEMES and (head == "static" or not rest.isdigit()):
        return head, rest
    if ":" in rest and "[" not in text and not _is_address(text):
        raise refusal(text, f"{head}:", f"unknown scheme; known are {', '.join(SCHEMES)}")
    return "dns", text


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _split_port(rest: str, text: str) -> tuple[str, int | str | None]:
    host, colon, port = rest.rpartition(":")
    if _is_address(rest) or _is_address(host.strip("[]")) or rest.startswith("["):
        raise refusal(text, "", "an address, not a service's name; for a fixed list write static:" + rest)
    if not colon:
        return rest, None
    return host, _port(port, text)


def _port(port: str, text: str) -> int | str:
    if is_port(port):
        return int(port)
    if port.isascii() and port.isdigit():
        raise refusal(text, port, "a port number lies between 1 and 65535")
    if not _PORT_NAME.fullmatch(port.lower()):
        raise refusal(
            text,
            port,
            "a port is a number, or a name of at most 15 letters, digits and inner hyphens with a letter",
        )
    return port.lower()


def _split_srv(labels: list[str], is_external: bool, text: str) -> tuple[int | str, str, list[str]]:
    if len(labels) < 3 or not labels[1].startswith("_"):
        raise refusal(text, labels[0], "a named port is written _port._proto.service, or service:port")
    if is_external:  # RFC 2782 limits neither the length of a service's label nor the choice of protocols
        for label in labels[:2]:
            if not DNS_LABEL.fullmatch(label) or len(label) < 2:
                raise refusal(text, label, "not a DNS label")
        return labels[0][1:], labels[1][1:], labels[2:]
    protocol = labels[1][1:]
    if protocol not in _PROTOCOLS:
        known = ", ".join("_" + p for p in _PROTOCOLS)
        why = f"a protocol is one of {known}; a name outside the cluster ends in a dot"
        raise refusal(text, labels[1], why)
    port = _port(labels[0][1:], text)
    if isinstance(port, int):
        raise refusal(text, labels[0], f"expected a port's name here; for a number write service:{port}")
    return port, protocol, labels[2:]


def _absolute_outside(labels: list[str], text: str) -> str:
    for label in labels[:-1]:
        if not DNS_LABEL.fullmatch(label):
            raise refusal(text, label or "..", "not a DNS label")
    name = ".".join(labels)
    if len(name) > 254:
        raise refusal(text, "", "longer than the 253 characters of a DNS name")
    return name


def _split_cluster(labels: list[str], dotted: str, text: str) -> tuple[str, str | None, str | None]:
    for label in labels:
        if not LABEL.fullmatch(label):
            raise refusal(
                text,
                label or "..",
                "not a DNS label (1 to 63 lower-case letters, digits and inner hyphens)",
            )
    if len(".".join(labels)) > 253:
        raise refusal(text, "", "longer than the 253 characters of a DNS name")
    if labels[3:4] == ["svc"] and labels[2] != "svc":
        raise refusal(text, labels[0], f"a pod's name; its Service is {'.'.join(labels[1:])}")
    if len(labels) > 2 and labels[2] != "svc":
        raise refusal(
            text,
            labels[2],
            f"after service and namespace comes svc; a name outside the cluster ends in a dot ({dotted})",
        )
    namespace = labels[1] if len(labels) > 1 else None
    domain = ".".join(labels[3:]) if len(labels) > 3 else None
    return labels[0], namespace, domain
