"""Choices by hash: who owns a key, and which few a client goes to.

Rendezvous hashing (Thaler, Ravishankar 1996): each peer has a weight for each key, and the one with the
highest owns it. Who else comes or goes then moves only the keys that come to it, or were its own.

Rules of this room:

* Pods of different releases must agree, so the hash is part of the interface, and has a version:

      weight of a peer for a key = BLAKE2b-64( BLAKE2b-128( PURPOSE ‖ 0x00 ‖ peer.key ) ‖ key )

  PURPOSE is `peerdiscover rendezvous 1` or `peerdiscover subset 1`; texts are UTF-8; BLAKE2b-n is
  unkeyed, with a digest of n bits (RFC 7693). Weights are compared byte by byte, the first one first; of
  equal ones the greater key wins. The tests have examples. Another hash gets another number.
* Only the peer's key counts: not its address, its port, its order, nor its health.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from heapq import nlargest

from peerdiscover.errors import ConfigurationError
from peerdiscover.peers import Peer, View, place_of

from ._base import BasePicker
from ._candidates import Zone, stable_candidates
from ._turns import RoundRobin

__all__ = ["Rendezvous", "Subset"]

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

    Suspects and those who failed keep what they own: an owner is not changed for a while and back. So
    who calls the owner must be ready for it to fail.
    """

    __slots__ = ("_owner",)

    _owner: Callable[[bytes], Peer]

    def pick(self, key: str | bytes) -> Peer:
        """The owner of `key`, a text (as UTF-8) or bytes; `NoPeersError` where there is nobody.

        When a peer joins, it takes its share of keys, and no other key moves; when one leaves, its keys
        go to the others in equal parts. It takes time in proportion to the number of peers.
        """
        if isinstance(key, str):
            key = _bytes_of(key)
        elif not isinstance(key, bytes):
            raise TypeError(f"pick({key!r}): a key is text or bytes")
        return self._owner(key)

    def _choose(self, view: View) -> tuple[tuple[Peer, ...], tuple[Peer, ...]]:
        return stable_candidates(view, self._include_self, self._zone), ()

    def _bind(self, candidates: tuple[Peer, ...], trials: tuple[Peer, ...]) -> None:
        assert not trials
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

    def _bind_error(self, error: Callable[[], Exception]) -> None:
        def nobody(_: bytes) -> Peer:
            raise error()

        self._owner = nobody


class Subset(RoundRobin):
    """A few peers in turn, which are others for each client.

    A client that is itself one of the peers takes the `k` that follow it in the order of the set, so
    that each is taken by exactly `k`. Any other client takes those `k` with the highest weight for its
    name: each peer with the same chance. Either way a peer that comes or goes changes the choice of
    those clients alone that take it, by one.
    """

    __slots__ = ("_client", "_k", "_place")

    def __init__(
        self, include_self: bool = False, zone: Zone | None = None, k: int = 1, client: str = ""
    ) -> None:
        if type(k) is not int or k < 1:
            raise ConfigurationError(f"subset({k!r}): how many, at least 1")
        self._k = k
        self._client = _bytes_of(client)
        self._place: tuple[bool, int, str] | None = None
        super().__init__(include_self, zone)

    def _choose(self, view: View) -> tuple[tuple[Peer, ...], tuple[Peer, ...]]:
        me = view.peers.me
        if me is not None:
            self._place = place_of(me)  # and that stays while a pod that is not ready is not in the set
        candidates, trials = super()._choose(view)
        if trials:  # those that it would take if they were well
            wanted = self._few(tuple(sorted(candidates + trials, key=place_of)))
            trials = tuple(peer for peer in trials if peer in wanted)
        return self._few(candidates), trials

    def _few(self, peers: tuple[Peer, ...]) -> tuple[Peer, ...]:
        if len(peers) <= self._k:
            return peers
        if self._place is None:
            return tuple(sorted(nlargest(self._k, peers, key=self._weight), key=place_of))
        start = sum(place_of(peer) < self._place for peer in peers)
        return tuple(sorted((peers[start:] + peers[:start])[: self._k], key=place_of))

    def _weight(self, peer: Peer) -> tuple[bytes, str]:
        return (_weight(_prefix(_SUBSET, peer), self._client), peer.key)
