"""A membership on a clock of whole numbers, and short ways to write answers and sets."""

from __future__ import annotations

from collections.abc import Iterable

from peerdiscover import (
    Answer,
    Endpoint,
    Identity,
    LookupRequest,
    Outcome,
    Peer,
    PeerSet,
    Policy,
    ServiceName,
    Status,
)
from peerdiscover.membership import Membership


def peer(i: int, *, me: bool = False) -> Peer:
    """The pod web-<i> at 10.0.0.<i>, as it stands in a set."""
    return Peer(f"web-{i}", f"10.0.0.{i}", 80, hostname=f"web-{i}", is_self=me)


def peers(*numbers: int, me: int | None = None, generation: int = 1) -> PeerSet:
    """A set of these pods."""
    return PeerSet("web", [peer(i, me=i == me) for i in numbers], generation=generation)


def endpoint(i: int, address: str | None = None, port: int = 80) -> Endpoint:
    """The pod web-<i>, by default at 10.0.0.<i>."""
    return Endpoint((address or f"10.0.0.{i}",), port, f"web-{i}", f"web-{i}.web.prod.svc.cluster.local.")


def pods(*numbers: int, ttl: float | None = 5.0) -> Answer:
    """A complete answer with these pods."""
    return Answer.of([endpoint(i) for i in numbers], ttl=ttl, kind="headless")


def texts(*entries: str, ttl: float | None = 5.0) -> Answer:
    """A complete answer with these, written as `Endpoint.parse` reads them."""
    return Answer.of([Endpoint.parse(entry) for entry in entries], ttl=ttl, kind="headless")


def partial(*numbers: int, ordered: bool = False, gone: Iterable[str] = ()) -> Answer:
    """An answer that was cut short after these pods."""
    return pods(*numbers).replace(outcome=Outcome.PARTIAL, ordered=ordered, gone=frozenset(gone))


EMPTY = Answer(outcome=Outcome.EMPTY, ttl=5.0)
NOT_FOUND = Answer(outcome=Outcome.NOT_FOUND, ttl=5.0)
FAILED = Answer.failed("nobody answered")


class Told:
    """A membership that is told answers at given times. `chance` is what every draw gives, 0 to 1."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        chance: float = 0.0,
        me: Identity | None = None,
        service: str = "web.prod:80",
        kind: str = "unknown",
        can_watch: bool = False,
        can_lookup: bool = True,
    ) -> None:
        self.now = 0.0
        self.core = Membership(
            ServiceName.parse(service),
            policy or Policy(),
            me or Identity(),
            lambda: chance,
            kind,
            can_watch=can_watch,
            can_lookup=can_lookup,
        )
        self.core.start(0.0)
        self.ask: LookupRequest | None = None

    def hears(self, answer: Answer, at: float | None = None) -> Told:
        """Ask and be answered at once, at a time that is no earlier than the last one."""
        if at is not None:
            assert at >= self.now
            self.now = at
        self.ask = self.core.begin()
        self.core.apply(answer, self.now)
        return self

    @property
    def asked_twice(self) -> bool:
        """Whether the last question was for a second opinion."""
        assert self.ask is not None
        return self.ask.second_opinion

    @property
    def known(self) -> dict[str, tuple[str, ...]]:
        """The hostnames that the last question carried, in their order."""
        assert self.ask is not None
        return dict(self.ask.known)

    @property
    def numbers(self) -> list[int | None]:
        """The ordinals of those in the set, in its order."""
        return [peer.ordinal for peer in self.core.peers]

    @property
    def keys(self) -> list[str]:
        """The keys of those in the set, in its order."""
        return [peer.key for peer in self.core.peers]

    @property
    def suspects(self) -> list[int | None]:
        """The ordinals of the suspects."""
        return [peer.ordinal for peer in self.status.suspects]

    @property
    def generation(self) -> int:
        """Of the set."""
        return self.core.peers.generation

    @property
    def status(self) -> Status:
        """The status as it is now."""
        return self.core.status(self.now)

    @property
    def wait(self) -> float:
        """Seconds from now until the next question, rounded where floats would not be equal."""
        return round(self.core.next_wakeup - self.now, 9)

    def peer(self, i: int) -> Peer:
        """The pod with that ordinal."""
        return self.core.peers.ordinal(i)
