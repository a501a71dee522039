"""Peers: one pod, an ordered set of them, a change of the set, and what pickers choose from.

Invariants:

* A peer is who it is, not where it is. Its key is its hostname if it has one, else its address and port.
  What depends on the key (ordinals, hash slots, metrics) outlives a change of address.
* Two peers are equal when key, addresses and port are: an equal peer is reached the same way.
* A set is immutable, ordered by ordinal, then key, and says which generation it is. Sets with the
  same peers are equal, whatever their generation.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, overload

from ._host_ports import host_port
from ._labels import ordinal_of
from ._text import printable, quoted
from .errors import ConfigurationError, OrdinalNotFoundError

__all__ = ["Change", "Peer", "PeerSet", "View", "place_of"]


@dataclass(frozen=True, slots=True)
class Peer:
    """One pod, and how to reach it."""

    key: str
    """Who it is: the hostname (`hostname@address` if several pods share it), else `address:port`."""
    address: str = field(compare=False)
    """The preferred address, without brackets."""
    port: int
    addresses: tuple[str, ...] = ()
    """All its addresses, the preferred first; of both families if a hostname connects them."""
    hostname: str | None = field(default=None, compare=False)
    fqdn: str | None = field(default=None, compare=False)
    """Its own absolute DNS name, with the trailing dot, if one is known."""
    ordinal: int | None = field(default=None, compare=False)
    zone: str | None = field(default=None, compare=False)
    """The topology zone, if the source knows it."""
    node: str | None = field(default=None, compare=False)
    is_self: bool = field(default=False, compare=False)
    """Whether it is this pod."""
    priority: int = field(default=0, compare=False)
    """Of its SRV record (RFC 2782): pickers take the lowest that has a peer to pick. Elsewhere 0."""

    def __post_init__(self) -> None:
        if not self.addresses:
            object.__setattr__(self, "addresses", (self.address,))
        if self.hostname is not None and self.ordinal is None:
            object.__setattr__(self, "ordinal", ordinal_of(self.hostname))

    @property
    def hostport(self) -> str:
        """`address:port`, an IPv6 address in brackets."""
        return host_port(self.address, self.port)

    @property
    def sockaddr(self) -> tuple[str, int]:
        """`(address, port)`, as `socket.create_connection` takes it."""
        return (self.address, self.port)

    def url(self, path: str = "/", scheme: str = "http") -> str:
        """`scheme://address:port/path`."""
        return f"{scheme}://{self.hostport}{path if path.startswith('/') else '/' + path}"

    def __repr__(self) -> str:
        me = ", self" if self.is_self else ""
        name = f"{printable(self.key)}, " if self.key != self.hostport else ""
        return f"Peer({name}{self.hostport}{me})"


class PeerSet(Sequence[Peer]):
    """The pods behind a service at one moment: immutable, hashable, ordered by ordinal, then key.

    `service` is what the caller wrote. `generation` rises by one with each change. `kind` says what
    was found: "headless", "cluster-ip" (one virtual address, so there is nothing to pick from),
    "external" (a name outside the cluster), "static", "callable", or "unknown". Before any peer
    was found it is the kind of the source, such as "dns".
    """

    __slots__ = ("_hash", "_peers", "by_key", "generation", "kind", "service")

    service: str
    generation: int
    kind: str
    by_key: Mapping[str, Peer]
    """The peers under their keys; not to be changed."""
    _hash: int | None
    _peers: tuple[Peer, ...]

    def __init__(
        self,
        service: str,
        peers: Iterable[Peer] = (),
        *,
        generation: int = 0,
        kind: str = "unknown",
    ) -> None:
        ordered = tuple(sorted(peers, key=place_of))
        by_key = {peer.key: peer for peer in ordered}
        if len(by_key) != len(ordered):
            raise ValueError("two peers with one key")
        _set = super().__setattr__
        _set("service", service)
        _set("generation", generation)
        _set("kind", kind)
        _set("_peers", ordered)
        _set("by_key", by_key)
        _set("_hash", None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a PeerSet is immutable: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a PeerSet is immutable: {name!r} cannot be deleted")

    @overload
    def __getitem__(self, index: int) -> Peer: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Peer, ...]: ...
    def __getitem__(self, index: int | slice) -> Peer | tuple[Peer, ...]:
        return self._peers[index]

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers)

    def __contains__(self, peer: object) -> bool:
        return isinstance(peer, Peer) and self.by_key.get(peer.key) == peer

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PeerSet):
            return NotImplemented
        return self.service == other.service and self._peers == other._peers

    def __hash__(self) -> int:
        known = self._hash
        if known is None:
            known = hash((self.service, self._peers))
            super().__setattr__("_hash", known)
        return known

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(PeerSet, generation=self.generation, kind=self.kind), (self.service, self._peers))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self._peers[:8])) + (", …" if len(self) > 8 else "")
        return f"PeerSet({self.service!r}, generation={self.generation}, {len(self)} peers: [{shown}])"

    def get(self, key: str) -> Peer | None:
        """The peer with that key, or None."""
        return self.by_key.get(key)

    def ordinal(self, i: int) -> Peer:
        """The pod with that ordinal, whatever its address is today.

        `OrdinalNotFoundError` lists the ordinals there are, or the pods that claim it;
        `ConfigurationError` if `i` is no integer.
        """
        try:
            i = operator.index(i)
        except TypeError:
            raise ConfigurationError(f"ordinal({quoted(i)}): expected an integer, such as 0") from None
        found = [peer for peer in self._peers if peer.ordinal == i]
        if len(found) == 1:
            return found[0]
        if found:
            claims = " and ".join(printable(peer.key) for peer in found)
            raise OrdinalNotFoundError(f"{self.service}: ordinal {i} is claimed by {claims}")
        raise OrdinalNotFoundError(f"{self.service}: no pod has ordinal {quoted(i)}; {self._ordinals()}")

    def _ordinals(self) -> str:
        if not self._peers:
            return "the set is empty"
        there = sorted({peer.ordinal for peer in self._peers if peer.ordinal is not None})
        if not there:
            return f"none of the {len(self)} pods has one"
        return f"there are {_ranges(there)}"

    @property
    def me(self) -> Peer | None:
        """This pod, if it is in the set."""
        return next((peer for peer in self._peers if peer.is_self), None)

    @property
    def others(self) -> tuple[Peer, ...]:
        """All peers but this pod."""
        return tuple(peer for peer in self._peers if not peer.is_self)


def place_of(peer: Peer) -> tuple[bool, int, str]:
    """Its place in a set: by ordinal, those without one after the others, then by key."""
    return (peer.ordinal is None, peer.ordinal or 0, peer.key)


def _ranges(numbers: list[int]) -> str:
    """`0–2, 5` for [0, 1, 2, 5]."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and runs[-1][1] == n - 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in runs)


@dataclass(frozen=True, slots=True)
class Change:
    """The difference between two sets."""

    before: PeerSet
    after: PeerSet
    added: tuple[Peer, ...]
    removed: tuple[Peer, ...]
    moved: tuple[tuple[Peer, Peer], ...]
    """Pairs (old, new): the same key with another address or port."""

    @classmethod
    def between(cls, before: PeerSet, after: PeerSet) -> Change:
        """What turns `before` into `after`."""
        old, new = before.by_key, after.by_key
        return cls(
            before=before,
            after=after,
            added=tuple(peer for peer in after if peer.key not in old),
            removed=tuple(peer for peer in before if peer.key not in new),
            moved=tuple((old[peer.key], peer) for peer in after if peer.key in old and old[peer.key] != peer),
        )

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.moved)

    def __str__(self) -> str:
        parts = [f"+{peer!r}" for peer in self.added]
        parts += [f"-{peer!r}" for peer in self.removed]
        parts += [f"{old!r} is now at {new.hostport}" for old, new in self.moved]
        return ", ".join(parts) or "no change"


@dataclass(frozen=True, slots=True)
class View:
    """What pickers choose from: a set, its suspects, and the health of its peers."""

    peers: PeerSet
    suspects: frozenset[str] = frozenset()
    """Keys of the suspects."""
    before: int = 0
    """How many peers there were before the first suspect became one; 0 without suspects."""
    ejected: frozenset[str] = frozenset()
    """Keys of peers that failed when the application called them, and are left out for a while."""
    half_open: frozenset[str] = frozenset()
    """Keys of peers that get one call, a probe, to see whether they can be picked again."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of peers that get less than the full share of picks: above 0, below 1."""
    zone: str | None = None
    """This pod's zone, if it is known."""
