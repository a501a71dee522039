"""The methods of a discovery that give a picker. The same arguments give the same one: see `_pickers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from peerdiscover.pickers import BasePicker, Random, RoundRobin, Zone

from ._refresher import Refresher

if TYPE_CHECKING:
    from peerdiscover.pickers import LeastRequests, Rendezvous, Subset

P = TypeVar("P", bound=BasePicker)
R = TypeVar("R", bound=Refresher)


class _PickerMixin(Generic[R]):
    """The methods of a discovery that give a picker."""

    _runtime: R

    def round_robin(self, *, include_self: bool = False, zone: Zone | None = None) -> RoundRobin:
        """A picker that takes every peer in turn. The same arguments give the same picker.

        `zone="prefer"`: the local zone's peers in turn while there are enough of them, else all peers.
        They are enough when they are at least half as many as a zone has on average (peers whose zone
        is unknown count as one zone, so over DNS it takes a quarter of all). `zone="only"`: never another
        zone's; `NoPeersError` says why there is none. The local zone is that of `Identity(zone=…)`, else
        `PEERDISCOVER_ZONE`, else that of the peer that is this pod; while it is unknown, "prefer" means
        all peers.
        """
        return self._picker(RoundRobin, (include_self, zone))

    def random(self, *, include_self: bool = False, zone: Zone | None = None) -> Random:
        """A picker that gives every peer the same chance. The same arguments give the same picker.

        `zone` as with `round_robin`.
        """
        return self._picker(Random, (include_self, zone))

    def least_requests(self, *, include_self: bool = False, zone: Zone | None = None) -> LeastRequests:
        """A picker that, of two drawn at random, takes the peer with fewer requests in flight.

        `with web.least_requests().lease() as peer:` counts a request as in flight until the `with` ends;
        there is no `pick`. It counts what went through this picker; the same arguments give the same
        one. A slow pod gets fewer requests. `zone` as with `round_robin`.
        """
        from peerdiscover.pickers import LeastRequests

        return self._picker(LeastRequests, (include_self, zone))

    def rendezvous(self, *, include_self: bool = True, zone: Zone | None = None) -> Rendezvous:
        """A picker of owners: `pick(key)`, for a string or bytes, gives the same peer in every pod.

        The hash is documented (docs/picking.md) and has a version, so releases agree. This pod can be an
        owner; suspects and peers that failed stay owners. With a `zone` each zone has owners of its own.
        The same arguments give the same picker.
        """
        from peerdiscover.pickers import Rendezvous

        return self._picker(Rendezvous, (include_self, zone))

    def subset(self, k: int, *, include_self: bool = False, zone: Zone | None = None) -> Subset:
        """A picker that takes `k` of the peers in turn; each client has others.

        It is for services that are too large for a connection from every client to every peer. A client
        that is itself one of the peers takes those that follow it, so that exactly `k` clients take each;
        any other client takes those that a hash of its name or address gives it, and so each peer with
        the same chance. When a peer comes or goes, only clients that take it change, by one. If there are
        fewer than `k`, it takes all. The same arguments give the same picker; `zone` as with `round_robin`.
        """
        from peerdiscover.pickers import Subset

        return self._picker(Subset, (include_self, zone, k, self._runtime.client))

    def _picker(self, kind: Callable[..., P], arguments: tuple[object, ...]) -> P:
        runtime = self._runtime
        runtime.require_open()
        picker = runtime.pickers.find(kind, arguments)
        if picker is None:
            with runtime.lock:
                runtime.require_open()
                picker = runtime.pickers.find(kind, arguments)
                if picker is None:
                    picker = runtime.pickers.add(kind, arguments, runtime.last_answer_summary)
                    runtime.warn_of_zone()
        return picker
