"""Names: what a user writes for a service, and what a pod's label says.

    [scheme:][_port._proto.]service[.namespace[.svc[.domain]]][:port]
    static:10.0.0.1:8080,[fd00::1]:8080,db-0=10.0.0.2:8080
    any.name.example.:8080

Rules of this room:

* A text is refused whole, with the place that is wrong: nothing is guessed at or mended.
* The name that leaves is absolute (it ends in a dot), so that no search list is applied to it.
* A label made by CoreDNS from an address (`10-244-0-7`) is an address, not a hostname.
* An ordinal is what a StatefulSet appends: `-` and digits at the end of the hostname.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address

from .errors import ConfigurationError

__all__ = [
    "DNS_LABEL",
    "LABEL",
    "SCHEMES",
    "ServiceName",
    "StaticEntry",
    "dashed_address",
    "host_port",
    "ordinal_of",
    "parse_host_port",
    "parse_static",
]

SCHEMES = ("auto", "dns", "k8s", "static")

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
"""A label of a Service, a namespace, a pod (RFC 1123)."""
DNS_LABEL = re.compile(r"[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?", re.ASCII)
"""What servers outside a cluster have in their names, too."""
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)  # RFC 6335
_PROTOCOLS = ("tcp", "udp", "sctp")
_ORDINAL = re.compile(r"-([0-9]{1,9})$", re.ASCII)
# The suffix that Deployments and DaemonSets append is five characters of this alphabet, which
# can all be digits. No StatefulSet counts that far, so such an ending is no ordinal.
_RANDOM_SUFFIX = re.compile(r"-[2456789]{5}$", re.ASCII)


def _refuse(text: str, part: str, why: str) -> ConfigurationError:
    """An error that shows the whole text and the part of it that is wrong."""
    at = text.find(part) if part else -1
    place = f", at character {at + 1} ({part!r})" if at >= 0 and part != text else ""
    return ConfigurationError(f"{text!r}{place}: {why}")


@dataclass(frozen=True, slots=True)
class ServiceName:
    """The parts of a service's name. `str()` gives the text back.

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
            raise ConfigurationError(f"{text!r}: a service's name is a text")
        if not text.strip():
            raise ConfigurationError(f"{text!r}: a service's name is wanted, such as web-headless.prod:8080")
        if text != text.strip() or any(c.isspace() for c in text):
            raise _refuse(text, "", "a service's name has no spaces in it")
        scheme, rest = _split_scheme(text)
        if scheme == "static":
            parse_static(rest, text)
            return cls(service=rest, scheme=scheme, _text=text)
        host, port = _split_port(rest, text)
        host = host.lower()
        labels = host.split(".")
        protocol = "tcp"
        if labels[0].startswith("_"):
            if port is not None:
                raise _refuse(
                    text, f":{port}", "the port is named twice; keep _port._proto. or :port, not both"
                )
            port, protocol, labels = _split_srv(labels, text)
        if labels[-1] == "" and len(labels) > 1:
            if scheme != "dns":
                raise _refuse(
                    text, f"{scheme}:", "a name that ends in a dot is outside the cluster: DNS alone knows it"
                )
            service = _absolute_outside(labels, text)
            return cls(service, None, None, port, protocol, scheme, text)
        service, namespace, domain = _split_cluster(labels, text)
        return cls(service, namespace, domain, port, protocol, scheme, text)

    @property
    def is_external(self) -> bool:
        """An absolute name outside the cluster: it is asked as it stands."""
        return self.service.endswith(".")

    def absolute(self, namespace: str | None = None, cluster_domain: str | None = None) -> str:
        """The absolute name, with its trailing dot and without port.

        What the text itself says goes before the arguments. `ConfigurationError` where a namespace
        is needed and there is none, and for `static:`, which has no name. The cluster domain is
        `cluster.local` where nothing else is known (Kubernetes DNS specification 1.1.0, 2.1).
        """
        if self.scheme == "static":
            raise ConfigurationError(f"{str(self)!r}: a static list has no DNS name")
        if self.is_external:
            return self.service
        namespace = self.namespace or namespace
        if not namespace:
            raise ConfigurationError(
                f"{str(self)!r}: the namespace is not known here; write "
                f"{self.service}.NAMESPACE or set PEERDISCOVER_NAMESPACE"
            )
        domain = (self.domain or cluster_domain or "cluster.local").strip(".")
        name = f"{self.service}.{namespace}.svc.{domain}."
        if len(name) > 254:
            raise ConfigurationError(f"{name!r}: longer than the 253 characters of a DNS name")
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
        if isinstance(self.port, str) and self.protocol != "tcp":
            text = f"_{self.port}._{self.protocol}.{text}"
        elif self.port is not None:
            text = f"{text}:{self.port}"
        return text if self.scheme == "dns" else f"{self.scheme}:{text}"


def _split_scheme(text: str) -> tuple[str, str]:
    head, colon, rest = text.partition(":")
    if not colon:
        return "dns", text
    # `dns:8080` is a Service called dns: a name of digits alone is rarer than such a Service.
    if head in SCHEMES and (head == "static" or not rest.isdigit()):
        return head, rest
    if ":" in rest and "[" not in text and not _is_address(text):
        raise _refuse(text, f"{head}:", f"unknown scheme; known are {', '.join(SCHEMES)}")
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
        raise _refuse(text, "", "an address, not a service's name; for a fixed list write static:" + rest)
    if not colon:
        return rest, None
    return host, _port(port, text)


def _port(port: str, text: str) -> int | str:
    if port.isascii() and port.isdigit():
        if not 0 < int(port) < 65536:
            raise _refuse(text, port, "a port number lies between 1 and 65535")
        return int(port)
    if not _PORT_NAME.fullmatch(port.lower()):
        raise _refuse(
            text,
            port,
            "a port is a number, or a name of at most 15 letters, digits and inner hyphens with a letter",
        )
    return port.lower()


def _split_srv(labels: list[str], text: str) -> tuple[int | str, str, list[str]]:
    if len(labels) < 3 or not labels[1].startswith("_"):
        raise _refuse(text, labels[0], "a named port is written _port._proto.service, or service:port")
    protocol = labels[1][1:]
    if protocol not in _PROTOCOLS:
        raise _refuse(text, labels[1], f"a protocol is one of {', '.join('_' + p for p in _PROTOCOLS)}")
    port = _port(labels[0][1:], text)
    if isinstance(port, int):
        raise _refuse(text, labels[0], f"a port's name is wanted here; write service:{port} for a number")
    return port, protocol, labels[2:]


def _absolute_outside(labels: list[str], text: str) -> str:
    for label in labels[:-1]:
        if not DNS_LABEL.fullmatch(label):
            raise _refuse(text, label or "..", "not a DNS label")
    name = ".".join(labels)
    if len(name) > 254:
        raise _refuse(text, "", "longer than the 253 characters of a DNS name")
    return name


def _split_cluster(labels: list[str], text: str) -> tuple[str, str | None, str | None]:
    for label in labels:
        if not LABEL.fullmatch(label):
            raise _refuse(
                text,
                label or "..",
                "not a DNS label (1 to 63 lower-case letters, digits and inner hyphens)",
            )
    if len(".".join(labels)) > 253:
        raise _refuse(text, "", "longer than the 253 characters of a DNS name")
    if len(labels) > 2 and labels[2] != "svc":
        raise _refuse(
            text,
            labels[2],
            "after service and namespace comes svc; a name outside the cluster ends in a dot "
            f"({'.'.join(labels)}.)",
        )
    namespace = labels[1] if len(labels) > 1 else None
    domain = ".".join(labels[3:]) if len(labels) > 3 else None
    return labels[0], namespace, domain


@dataclass(frozen=True, slots=True)
class StaticEntry:
    """One entry of a fixed list: `10.0.0.1:8080`, or `db-0=10.0.0.1:8080` with a hostname."""

    address: str
    port: int
    hostname: str | None = None


def parse_static(entries: str, text: str | None = None) -> tuple[StaticEntry, ...]:
    """The entries of a fixed list; `ConfigurationError` shows the one that is wrong.

    `text` is the whole text that `entries` stood in, for the error.
    """
    whole = entries if text is None else text
    if not entries:
        raise _refuse(whole, "", "the list is empty; write static:ADDRESS:PORT,…")
    return tuple(parse_host_port(entry, whole) for entry in entries.split(","))


def parse_host_port(entry: str, text: str | None = None) -> StaticEntry:
    """`ADDRESS:PORT`, `[IPv6]:PORT`, or either behind `name=`."""
    whole = entry if text is None else text
    name, equals, address_port = entry.rpartition("=")
    if equals and not LABEL.fullmatch(name):
        raise _refuse(whole, name or entry, "not a hostname (one DNS label, without dots)")
    address, colon, port = address_port.rpartition(":")
    if not colon or (":" in address and not (address.startswith("[") and address.endswith("]"))):
        raise _refuse(whole, entry, "write ADDRESS:PORT, an IPv6 address in brackets")
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        parsed = ip_address(bare)
    except ValueError:
        raise _refuse(whole, entry, f"{bare!r} is no IP address") from None
    if "%" in bare:
        raise _refuse(whole, entry, f"{bare!r} is bound to one machine's interface")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _refuse(whole, entry, "a port number lies between 1 and 65535")
    return StaticEntry(str(parsed), int(port), name if equals else None)


def host_port(address: str, port: int) -> str:
    """`address:port`, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def dashed_address(label: str) -> str | None:
    """The address that CoreDNS made this label of, or None where it is a hostname.

    CoreDNS (kubernetes plugin, `endpointHostname`) writes `-` for `.` and `:`, and a `0` behind a
    trailing `-`, for endpoints without a hostname.
    """
    if "-" not in label:
        return None
    for separator in ".", ":":
        try:
            return str(ip_address(label.replace("-", separator)))
        except ValueError:
            continue
    return None


def ordinal_of(hostname: str | None) -> int | None:
    """The ordinal at the end of a StatefulSet pod's hostname, or None.

    Ordinals need not start at 0 (`spec.ordinals.start`), and names such as `foo-0-bar-1` occur: the
    last number counts.
    """
    if hostname is None or _RANDOM_SUFFIX.search(hostname):
        return None
    found = _ORDINAL.search(hostname)
    return int(found[1]) if found else None
