"""Pods whose every call a test makes by hand: the real `steps`, and no thread, socket or clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tenacity

from peerdiscover import Peer, PeerSet, Receipt
from peerdiscover.clustering import ContactPoint, NotFormedError, Standing
from peerdiscover.clustering._rounds import steps

__all__ = ["FOUNDERS", "Life", "names"]

FOUNDERS = ("web-0", "web-1", "web-2")


def names(*numbers: int) -> tuple[str, ...]:
    return tuple(f"web-{n}" for n in numbers)


def peer(name: str, me: str = "") -> Peer:
    return Peer(name, f"10.0.0.{1 + int(name.rpartition('-')[2])}", 80, hostname=name, is_self=name == me)


class _Discovery:
    """A set that a test writes, and what was reported."""

    def __init__(self, name: str, listed: Sequence[str]) -> None:
        self._name = name
        self.reported: list[str] = []
        self.list(listed)

    def list(self, listed: Sequence[str]) -> None:
        self.peers = PeerSet("web", [peer(name, self._name) for name in listed])

    def broadcast(self, probe: object, **options: object) -> None: ...

    def report_failure(self, peer: Peer, error: BaseException) -> None:  # noqa: ARG002 - a discovery's
        self.reported.append(peer.key)

    def report_success(self, peer: Peer) -> None: ...


class Life:
    """One life of a pod: it does nothing by itself. `does` says which call is next."""

    def __init__(
        self,
        number: int,
        *,
        founders: Sequence[str] = FOUNDERS,
        listed: Sequence[str] = FOUNDERS,
        disk: str | None = None,
        claim: Callable[[str], str] | None = None,
    ) -> None:
        self.name = f"web-{number}"
        self.contact = ContactPoint(self.name, founders, cluster=disk)
        self.discovery = _Discovery(self.name, listed)
        self.clock = 0.0
        self.why = ""
        self._calls = steps(
            self.discovery,  # type: ignore[arg-type]  # what it needs of one
            self.contact,
            self.form,
            self.join,
            lambda _: None,  # the probe: it is never called
            claim,
            self._never,
            tenacity.wait_fixed(1),
            sleep=self.sleep,
            now=lambda: self.clock,
        )
        self._go(lambda: next(self._calls))

    def _never(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, NotFormedError)
        self.why = error.why
        return False

    def form(self, cluster: str) -> None: ...
    def join(self, peer: Peer, cluster: str) -> None: ...
    def sleep(self, seconds: float) -> None: ...

    def _go(self, step: Callable[[], Any]) -> None:
        try:
            self._call = step()
            if self.does == "sleep":
                self.clock += 1
                self._call = self._calls.send(None)
        except StopIteration:
            self._call = None

    @property
    def standing(self) -> Standing:
        return self.contact.standing

    @property
    def cluster(self) -> str | None:
        return self.standing.cluster

    @property
    def does(self) -> str:
        """`broadcast`, `form`, `join web-0`, `claim`; "" once it is in a cluster."""
        if self._call is None:
            return ""
        call: Any = self._call
        at = f" {call.args[0].key}" if call.func == self.join else ""
        return f"{getattr(call.func, '__name__', 'claim')}{at}"

    def returns(self, value: object = None) -> None:
        """The call returns."""
        self._go(lambda: self._calls.send(value))

    def raises(self, error: BaseException) -> None:
        """The call raises."""
        self._go(lambda: self._calls.throw(error))

    def hears(self, *answers: Life | Standing, at: str = "") -> None:
        """A round ends: these answered, and the rest of the set did not; `at` is the key of the only one."""
        assert self.does == "broadcast"
        standings = [answer if isinstance(answer, Standing) else answer.standing for answer in answers]
        results = {peer(at or standing.name): standing for standing in standings}
        silent = [other for other in self.discovery.peers.others if other not in results]
        errors: dict[Peer, BaseException] = {other: TimeoutError("2 s") for other in silent}
        self.returns(Receipt(results, errors, 1, (), ()))

    def enters(self) -> None:
        """`form` or `join` returns, and it is in a cluster."""
        assert self.does.startswith(("form", "join"))
        self.returns()
        assert self.cluster
