"""What a discovery picks with: its pickers, each made when it is first asked for.

Rules of this room:

* The same arguments give the same picker, so that `web.round_robin().pick()` in a handler takes turns.
* A picker that was made before is found without a lock.
* All are rebound together, before a new set is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from peerdiscover.peers import View
from peerdiscover.pickers import Random, RoundRobin, Zone, zone_warning

if TYPE_CHECKING:
    from peerdiscover.pickers import LeastRequests, Rendezvous, Subset

__all__ = ["_PickerMixin"]


class _Rebound(Protocol):
    """What every picker can be told."""

    last_answer_summary: Callable[[], str] | None

    def rebind(self, view: View) -> None: ...
    def end(self, error: Callable[[], Exception]) -> None: ...
    def after_fork(self) -> None: ...


P = TypeVar("P", bound=_Rebound)


class _PickerMixin:
    """The pickers of one discovery; `_BaseDiscovery` has the rest of it."""

    _lock: AbstractContextManager[object]
    _view: View
    _client: str
    """What the program is called among clients: its own name, or address, or a text of its own."""

    def __init__(self) -> None:
        self._pickers: dict[tuple[object, tuple[Any, ...]], Any] = {}
        self._zone_warned = False

    def _require_open(self) -> None:
        raise NotImplementedError

    def _last_answer_summary(self) -> str:
        """The last answer: what was asked, of whom, what came, and how long ago."""
        raise NotImplementedError

    def _warn(self, text: str) -> None:
        """Have that logged once no lock is held. Called with the lock held."""
        raise NotImplementedError

    def round_robin(self, *, include_self: bool = False, zone: Zone | None = None) -> RoundRobin:
        """A picker that takes everybody in turn. The same arguments give the same picker.

        `zone="prefer"`: the own zone's peers in turn, while there are enough of them, else everybody.
        They are enough when they are at least half as many as a zone has on average (peers whose zone
        is not known count as one zone, so over DNS it takes a quarter of all). `zone="only"`: nobody
        else, whatever comes; `NoPeersError` says why nobody is there. The own zone is that of
        `Identity(zone=…)`, else `PEERDISCOVER_ZONE`, else that of the peer that is oneself; while it is
        not known, "prefer" means everybody.
        """
        return self._picker(RoundRobin, (include_self, zone))

    def random(self, *, include_self: bool = False, zone: Zone | None = None) -> Random:
        """A picker with equal chances for everybody. The same arguments give the same picker.

        `zone` as with `round_robin`.
        """
        return self._picker(Random, (include_self, zone))

    def least_requests(self, *, include_self: bool = False, zone: Zone | None = None) -> LeastRequests:
        """A picker that, of two drawn at random, takes the peer with fewer requests under way.

        `with web.least_requests().lease() as peer:` counts a request as under way until the `with` ends;
        there is no `pick`. What is counted is what went through this picker; the same arguments give
        the same one. A slow pod is given less. `zone` as with `round_robin`.
        """
        from peerdiscover.pickers import LeastRequests

        return self._picker(LeastRequests, (include_self, zone))

    def rendezvous(self, *, include_self: bool = True, zone: Zone | None = None) -> Rendezvous:
        """A picker of owners: `pick(key)`, for a text or bytes, gives the same peer in every pod.

        The hash is documented (docs/picking.md) and has a version, so releases agree. Oneself can be an
        owner; suspects and those who failed stay owners. With a `zone` each zone has owners of its own.
        The same arguments give the same picker.
        """
        from peerdiscover.pickers import Rendezvous

        return self._picker(Rendezvous, (include_self, zone))

    def subset(self, k: int, *, include_self: bool = False, zone: Zone | None = None) -> Subset:
        """A picker that takes `k` of the peers in turn, which are others for each client.

        For when everybody connecting to everybody would be too much. A client that is itself one of the
        peers takes those that follow it, so that each is taken by exactly `k`; any other client takes
        those that a hash of its own name or address gives it, and so each peer with the same chance.
        When a peer comes or goes, only clients that take it change, by one. Fewer than `k` are all
        taken. The same arguments give the same picker; `zone` as with `round_robin`.
        """
        from peerdiscover.pickers import Subset

        return self._picker(Subset, (include_self, zone, k, self._client))

    def _picker(self, kind: Callable[..., P], arguments: tuple[object, ...]) -> P:
        self._require_open()
        key = (kind, arguments)
        try:
            picker: P | None = self._pickers.get(key)
        except TypeError:  # what has no hash is none of the choices, and is refused
            picker = kind(*arguments)
        if picker is None:
            with self._lock:
                self._require_open()
                picker = self._pickers.get(key)
                if picker is None:
                    picker = kind(*arguments)
                    picker.last_answer_summary = self._last_answer_summary
                    picker.rebind(self._view)
                    self._pickers[key] = picker
                    self._warn_of_zone()
        return picker

    def _rebind(self, view: View) -> None:
        """Have them choose from this from now on. Called with the lock held."""
        for picker in self._pickers.values():
            picker.rebind(view)
        self._view = view
        self._warn_of_zone()

    def _warn_of_zone(self) -> None:
        """Say once that preferring the own zone comes to nothing."""
        if not self._zone_warned and any(zone == "prefer" for _, (_, zone, *_) in self._pickers):
            warning = zone_warning(self._view)
            if warning is not None:
                self._zone_warned = True
                self._warn(warning)
