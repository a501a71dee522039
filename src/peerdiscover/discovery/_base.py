"""What both discoveries have in common: everything a caller sees of them that does not wait.

`Discovery` (`sync`) and `AsyncDiscovery` (`aio`) add the calls that wait. Invariants:

* Nothing is decided here: the runtime of a discovery is its `Refresher`, which has the lock and the core.
* Before the start and after the end, `peers`, `status` and `explain` work, `report_*` do nothing, and
  everything else raises `ClosedError`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError, OrdinalNotFoundError
from peerdiscover.identity import Identity
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer, PeerSet
from peerdiscover.pickers import Picker
from peerdiscover.policy import Policy
from peerdiscover.sources import source_for

from ._changes import ChangeReader
from ._picker_mixin import R, _PickerMixin
from ._publisher import Callback, log
from ._refresher import State
from ._user_code import check_timeout

if TYPE_CHECKING:
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from peerdiscover.membership import Status
    from peerdiscover.sources import SourceLike

    from .attempts import Failover
    from .broadcast import Broadcast, Late, RollingBroadcast


def as_service_name(service: str | ServiceName) -> ServiceName:
    """The parts of a service's name, given as a string or as parts."""
    return service if isinstance(service, ServiceName) else ServiceName.parse(service)


def identity_for(service: ServiceName, me: Identity | None) -> Identity:
    """The identity of this pod: as given, or as its environment says."""
    if me is not None and not isinstance(me, Identity):
        raise ConfigurationError(f"me={quoted(me)}: expected an Identity, such as Identity(name='web-0')")
    from peerdiscover.sources.environment import Environment

    if me is None:
        return Environment().identity(service)
    return me if me.zone is not None else replace(me, zone=Environment().zone())


class _BaseDiscovery(_PickerMixin[R]):
    """One service's peers, kept up to date. See `Discovery` and `AsyncDiscovery`."""

    _new_runtime: Callable[..., R]

    def __init__(
        self,
        service: str | ServiceName,
        *,
        source: SourceLike | None = None,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        me: Identity | None = None,
    ) -> None:
        if not isinstance(policy, Policy):
            raise ConfigurationError(f"policy={quoted(policy)}: expected a Policy, such as Policy(timeout=2)")
        self._service = as_service_name(service)
        if me is not None:
            identity_for(self._service, me)  # refuses what is none
        self._policy = policy
        self._me = me
        self._runtime = self._new_runtime(self._service, source_for(self._service, source), policy)

    def __repr__(self) -> str:
        state = self._runtime.state.value
        return f"<{type(self).__name__} {str(self._service)!r}, {state}, {len(self.peers)} peers>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} objects can be neither pickled nor copied: each has a "
            "refresher of its own; make one in each process"
        )

    # What is known

    @property
    def peers(self) -> PeerSet:
        """The current set of peers; empty before the first answer. Reading it never blocks."""
        return self._runtime.peers

    @property
    def is_open(self) -> bool:
        """Whether it was started and is not closed."""
        return self._runtime.state is State.OPEN

    @property
    def status(self) -> Status:
        """The state at this moment, as numbers: see `Status`."""
        runtime = self._runtime
        with runtime.lock:
            now = runtime.now()
            status = runtime.core.status(now)
            # Whatever should refresh the set, and log this, does not run.
            due = runtime.publisher.collect_logs(runtime.core) if now > runtime.core.overdue_at else []
        runtime.publisher.run(due)
        return status

    def explain(self) -> str:
        """Lines for people: each peer and why it is in, held or out; what was dropped; when next."""
        runtime = self._runtime
        with runtime.lock:
            text = runtime.core.explain(runtime.now())
        return text if self.is_open else f"{text}: the discovery is {runtime.state.value}"

    # Picking: see `_PickerMixin`

    def ordinal(self, i: int) -> Peer:
        """The pod with that ordinal, whatever its address is today.

        `OrdinalNotFoundError` lists the ordinals there are, or the pods that claim this one.
        """
        self._runtime.require_open()
        try:
            return self.peers.ordinal(i)
        except OrdinalNotFoundError as error:
            raise OrdinalNotFoundError(f"{error}; {self._runtime.last_answer_summary()}") from None

    # What the application saw

    def report_failure(self, peer: Peer, error: BaseException | None = None) -> None:
        """The application could not reach `peer`: ask again at once, at most once a second.

        Pickers leave it out for a second, then longer (`Policy.eject_after` and the fields beside it).
        A suspect, a peer that the last answers lacked, leaves the set.
        """
        if not self.is_open:
            return
        _require_peer("report_failure", peer)
        log.debug("%s: the application could not reach %r: %r", self._service, peer, error)
        with self._runtime.lock:
            self._runtime.report_failure(peer, type(error).__name__ if error else "")

    def report_success(self, peer: Peer) -> None:
        """The application reached `peer`: its failures are forgotten. Costs next to nothing."""
        runtime = self._runtime
        if runtime.state is not State.OPEN:
            return
        if not isinstance(peer, Peer):  # each request comes here: a call that checks would cost as much again
            _require_peer("report_success", peer)
        failures = runtime.core.health.failure_records
        if not failures or peer not in failures:
            return
        with runtime.lock:
            runtime.report_success(peer)

    def on_change(self, callback: Callback) -> Callable[[], None]:
        """Have `callback(change)` called for each change from now on; returns a function that ends that.

        The refresher calls it, with no lock held, and it may call anything. Changes in quick succession
        may come as one. What it raises is logged and stops nothing.
        """
        if not callable(callback) or inspect.iscoroutinefunction(callback):
            raise ConfigurationError(
                f"on_change({quoted(callback)}): expected a plain function; nothing would await a coroutine"
            )
        return self._runtime.subscribe(callback)

    # For the twins

    def _identity(self) -> Identity:
        return identity_for(self._service, self._me)

    def _failover(
        self,
        on: type[Exception] | tuple[type[Exception], ...],
        stop: StopBaseT | None,
        wait: WaitBaseT | None,
        picker: Picker | None,
        key: str | bytes | None,
        ordinal: int | None,
    ) -> Failover:
        from ._target import Target
        from .attempts import Failover

        runtime = self._runtime
        runtime.require_open()
        if sum(given is not None for given in (picker, key, ordinal)) > 1:
            raise ConfigurationError("attempts(): give one of picker=, key= and ordinal=")
        target = None
        if key is not None:
            owners = self.rendezvous()
            target = Target(lambda: self.peers, lambda: owners.pick(key), stays=True)
        elif ordinal is not None:
            target = Target(lambda: self.peers, lambda: self.ordinal(ordinal), stays=False)
        return Failover(
            self,
            on=on,
            stop=stop,
            wait=wait,
            picker=self.round_robin() if picker is None else picker,
            now=runtime.now,
            view=lambda: runtime.view,
            no_peers_error=runtime.no_peers_error,
            ready_timeout=self._policy.ready_timeout,
            target=target,
        )

    def _broadcast(
        self, late: Late, timeout: float | None, limit: int, include_self: bool
    ) -> Broadcast[Any] | RollingBroadcast[Any]:
        from .broadcast import Broadcast, RollingBroadcast

        self._runtime.require_open()
        check_timeout("broadcast", timeout)
        if late == "report":
            return Broadcast(self.peers, limit=limit, include_self=include_self)
        if late != "include":
            raise ConfigurationError(f"late={quoted(late)}: expected 'report' or 'include'")
        deadline = math.inf if timeout is None else self._runtime.now() + timeout
        return RollingBroadcast(lambda: self.peers, limit, include_self, deadline)

    def _reader(self, timeout: float | None) -> ChangeReader:
        self._runtime.require_open()
        check_timeout("changes", timeout)
        return ChangeReader(lambda: self.peers, lambda: self._runtime.state is State.CLOSED)


def _require_peer(call: str, peer: object) -> None:
    if not isinstance(peer, Peer):
        raise ConfigurationError(f"{call}({quoted(peer)}): expected a Peer, such as a picker returns")
