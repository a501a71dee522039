"""The address of a nameserver, parsed and shown, and the options of how to ask it. Pure."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from peerdiscover._host_ports import host_port
from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError


class ResolverOptions(NamedTuple):
    """The options of a resolv.conf that say how to ask (resolv.conf(5)); None: not written."""

    use_tcp: bool = False
    """`use-vc`: over TCP from the start."""
    timeout: float | None = None
    """Seconds to wait for one reply."""
    attempts: int | None = None
    """How often to ask a server that fails."""


class Server(NamedTuple):
    """A nameserver."""

    host: str
    port: int = 53

    @classmethod
    def parse(cls, text: str) -> Server:
        """`10.96.0.10`, `127.0.0.1:5353`, `::1`, `[::1]:5353`; else `ConfigurationError`."""
        if not isinstance(text, str):
            raise ConfigurationError(f"nameserver {quoted(text)}: expected a string such as '10.96.0.10'")
        host, port = text, "53"
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            port = rest[1:] if rest.startswith(":") else ("" if rest or not bracket else "53")
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
        try:
            parsed = str(ip_address(host))
        except ValueError:
            raise ConfigurationError(
                f"nameserver {quoted(text)}: {quoted(host)} is no IP address. "
                "Write 10.96.0.10, 127.0.0.1:5353 or [::1]:5353"
            ) from None
        if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
            raise ConfigurationError(f"nameserver {quoted(text)}: a port number lies between 1 and 65535")
        return cls(parsed, int(port))

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    def __str__(self) -> str:
        return self.host if self.port == 53 else host_port(self.host, self.port)


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Cached, since it is needed for each pod of each answer, and there are few servers."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
