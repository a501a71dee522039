"""Attempts that stay with one peer: which one, and where it is now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

from peerdiscover.errors import NoPeersError
from peerdiscover.peers import Peer, PeerSet


@dataclass(eq=False)
class Target:
    """The one peer that all attempts go to: `find` returns it as it is now, or raises `NoPeersError`.

    With `stays`, it is the peer found first, by its key, whatever `find` would return later.
    """

    peers: Callable[[], PeerSet]
    find: Callable[[], Peer]
    _: KW_ONLY
    stays: bool
    _key: str | None = field(default=None, init=False)

    def now(self) -> Peer | None:
        """The peer; None while it is not in the set."""
        if self._key is not None:
            return self.peers().get(self._key)
        try:
            peer = self.find()
        except NoPeersError:
            return None
        if self.stays:
            self._key = peer.key
        return peer

    def missing(self, error: NoPeersError) -> NoPeersError:
        """The error after a wait in which it did not come; `error` is that for any peer."""
        if self._key is not None:
            return NoPeersError(f"{error}: not {self._key}, which all attempts go to")
        try:
            self.find()
        except NoPeersError as reason:
            return reason
        return error
