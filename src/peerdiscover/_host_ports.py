"""Addresses with ports, as users write them: one, or a fixed list of them.

10.0.0.1:8080    [fd00::1]:8080    db-0=10.0.0.2:8080
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from ._labels import LABEL
from ._text import quoted
from .errors import ConfigurationError


def refusal(text: str, part: str, why: str) -> ConfigurationError:
    """An error that shows the whole string, shortened if it is long, and the part of it that is wrong."""
    at = text.find(part) if part else -1
    place = f", at character {at + 1} ({quoted(part)})" if at >= 0 and part != text else ""
    return ConfigurationError(f"{quoted(text, 400)}{place}: {why}")


def is_port(text: str) -> bool:
    """Whether it is a port number in decimal digits."""
    return text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) < 65536


@dataclass(frozen=True, slots=True)
class StaticEntry:
    """One entry of a fixed list: `10.0.0.1:8080`, or `db-0=10.0.0.1:8080` with a hostname."""

    address: str
    port: int
    hostname: str | None = None


def parse_static(entries: str, text: str | None = None) -> tuple[StaticEntry, ...]:
    """The entries of a fixed list; `ConfigurationError` shows the one that is wrong.

    `text` is the whole string that contained `entries`, for the error.
    """
    whole = entries if text is None else text
    if not entries:
        raise refusal(whole, "", "the list is empty; write static:ADDRESS:PORT,…")
    return tuple(parse_host_port(entry, whole) for entry in entries.split(","))


def parse_host_port(entry: str, text: str | None = None) -> StaticEntry:
    """`ADDRESS:PORT`, `[IPv6]:PORT`, or either behind `name=`; else `ConfigurationError`."""
    whole = entry if text is None else text
    name, equals, address_port = entry.rpartition("=")
    if equals and not LABEL.fullmatch(name):
        raise refusal(whole, name or entry, "not a hostname (one DNS label, without dots)")
    address, colon, port = address_port.rpartition(":")
    bracketed = address.startswith("[") and address.endswith("]")
    if not colon or (":" in address and not bracketed):
        raise refusal(whole, entry, "write ADDRESS:PORT, an IPv6 address in brackets")
    bare = address[1:-1] if bracketed else address
    try:
        parsed = ip_address(bare)
    except ValueError:
        instead = "127.0.0.1" if bare == "localhost" else "its address instead"
        raise refusal(whole, entry, f"{quoted(bare)} is no IP address; write {instead}") from None
    if "%" in bare:
        raise refusal(whole, entry, f"{quoted(bare)} is bound to one machine's interface")
    if not is_port(port):
        raise refusal(whole, entry, "a port number lies between 1 and 65535")
    return StaticEntry(str(parsed), int(port), name if equals else None)


def host_port(address: str, port: int) -> str:
    """`address:port`, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
