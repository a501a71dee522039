"""Choices by hash: which peer owns a key, and to which few a client goes.

Rendezvous hashing (Thaler, Ravishankar 1996): each peer has a weight for each key, and the one with the
highest owns it. When a peer joins or leaves, only the keys that it gets, or had, change their owner.

Invariants:

* Pods of different releases must agree, so the hash is part of the interface, and has a version:

      weight of a peer for a key = BLAKE2b-64( BLAKE2b-128( PURPOSE ‖ 0x00 ‖ peer.key ) ‖ key )

  PURPOSE is `peerdiscover rendezvous 1` or `peerdiscover subset 1`; strings are UTF-8; BLAKE2b-n is
  unkeyed, with a digest of n bits (RFC 7693). Weights are compared byte by byte, the first one first; of
  equal ones the greater key wins. The tests have examples. Another hash gets another number.
* Only the peer's key counts: not its address, its port, its place in the set, nor its health.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from heapq import nlargest
from typing import NoReturn

from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError
from peerdiscover.peers import Peer, View, place_of

from ._base import BasePicker
from ._candidates import Zone, stable_candidates
from ._turns import RoundRobin

_RENDEZVOUS = b"peerdiscover rendezvous 1"
_SUBSET = b"peerdiscover subset 1"


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _prefix(purpose: bytes, peer: Peer) -> bytes:
    return blake2b(purpose + b"\0" + _bytes_of(peer.key), digest_size=16).digest()


def _weight(prefix: bytes, key: bytes) -> bytes:
    return blake2b(prefix + key, digest_size=8).digest()


class Rendezvous(BasePicker):
    """The owner of a key: every pod that sees the same peers names the same one.

    Suspects and peers that failed keep what they own: an owner does not change for a while and back. So
    a caller must be ready for the owner to fail.
    """

    __slots__ = ("_owner",)

    _owner: Callable[[bytes], Peer]

    def pick(self, key: str | bytes) -> Peer:
        """The owner of `key`, a string (as UTF-8) or bytes; `NoPeersError` if there are no peers.

        When a peer joins, it takes its share of keys, and no other key moves; when one leaves, its keys
        go to the others in equal parts. It takes time in proportion to the number of peers.
        """
        if isinstance(key, str):
            key = _bytes_of(key)
        elif not isinstance(key, bytes):
            raise TypeError(f"pick({quoted(key)}): expected a str or bytes key")
        return self._owner(key)

    def _choose(self, view: View) -> tuple[tuple[Peer, ...], tuple[Peer, ...]]:
        return stable_candidates(view, self._include_self, self._zone), ()

    def _bind(self, candidates: tuple[Peer, ...], probes: tuple[Peer, ...]) -> None:
        assert not probes
        ordered = sorted(candidates, key=lambda peer: peer.key)
        prefixes = [(_prefix(_RENDEZVOUS, peer), peer) for peer in ordered]

        def owner(key: bytes) -> Peer:
            best, found = b"", ordered[0]
            for prefix, peer in prefixes:
                weight = _weight(prefix, key)
                if weight >= best:
                    best, found = weight, peer
            return found

        self._owner = owner

    def _bind_error(self, raise_error: Callable[..., NoReturn]) -> None:
        self._owner = raise_error


class Subset(RoundRobin):
    """A few peers in turn, different ones for each client.

    A client that is itself one of the peers takes the `k` that follow it in the order of the set, so
    that each is taken by exactly `k`. Any other client takes those `k` with the highest weight for its
    name: each peer with the same chance. Either way a peer that comes or goes changes only the
    choice of the clients that take it, by one.
    """

    __slots__ = ("_client", "_k", "_place")

    def __init__(
        self, include_self: bool = False, zone: Zone | None = None, k: int = 1, client: str = ""
    ) -> None:
        if type(k) is not int or k < 1:
            raise ConfigurationError(f"subset({quoted(k)}): expected a number of peers, at least 1")
        self._k = k
        self._client = _bytes_of(client)
        self._place: tuple[bool, int, str] | None = None
        super().__init__(include_self, zone)

    def _choose(self, view: View) -> tuple[tuple[Peer, ...], tuple[Peer, ...]]:
        me = view.peers.me
        if me is not None:
            self._place = place_of(me)  # and keep it while this pod is not ready, and so not in the set
        candidates, probes = super()._choose(view)
        if probes:  # only those that it would take if they did not fail
            taken = set(self._few(tuple(sorted(candidates + probes, key=place_of))))
            probes = tuple(peer for peer in probes if peer in taken)
        return self._few(candidates), probes

    def _few(self, peers: tuple[Peer, ...]) -> tuple[Peer, ...]:
        if len(peers) <= self._k:
            return peers
        if self._place is None:
            return tuple(sorted(nlargest(self._k, peers, key=self._weight), key=place_of))
        start = sum(place_of(peer) < self._place for peer in peers)
        return tuple(sorted((peers[start:] + peers[:start])[: self._k], key=place_of))

    def _weight(self, peer: Peer) -> tuple[bytes, str]:
        return (_weight(_prefix(_SUBSET, peer), self._client), peer.key)
