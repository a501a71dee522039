"""Resolving once: one set of peers, and nothing left running.

Invariants:

* A lookup that fails is repeated until the timeout.
* An empty answer counts once a second opinion agrees: one wrong NXDOMAIN among good answers does occur.

`OneShot` decides what to ask and what follows from an answer; tenacity repeats, and the two functions ask.
"""

from __future__ import annotations

import logging
import math
import random
import time
from typing import TYPE_CHECKING, Any

from peerdiscover._text import quoted
from peerdiscover.answers import Answer, LookupRequest, Source
from peerdiscover.errors import ConfigurationError, Outcome
from peerdiscover.membership import Membership
from peerdiscover.names import ServiceName
from peerdiscover.policy import Policy
from peerdiscover.sources import _calling, source_for

from ._base import as_service_name, identity_for
from ._publisher import log
from ._user_code import check_timeout

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from peerdiscover.identity import Identity
    from peerdiscover.peers import PeerSet
    from peerdiscover.sources import SourceLike

_TOO_SHORT = 0.1
"""With less time left (s), no lookup begins."""
_AMPLE = 1.0
"""A lookup with so much time (s) shows what each server does."""
_LAST = 0.3
"""The time (s) that the last wait leaves to the last lookup, and the share of a timeout below a second."""


def resolve(
    service: str | ServiceName,
    *,
    source: SourceLike | None = None,
    timeout: float = 5.0,
    me: Identity | None = None,
) -> PeerSet:
    """The peers behind a name, looked up once. Never empty: `NameNotFoundError` instead.

    A lookup that fails is repeated for `timeout` seconds; then `ResolutionTimeoutError` lists what each
    server did. A source that blocks past its timeout holds the caller for as long. The arguments are
    those of `Discovery`.
    """
    import tenacity

    once = OneShot(service, source, timeout, me)

    def ask() -> PeerSet | None:
        request = once.next_request(time.monotonic())
        return once.apply(_calling.first_answer(once.source, request), time.monotonic())

    once.began = time.monotonic()
    return once.found(tenacity.Retrying(**once.retrying())(ask))


async def aresolve(
    service: str | ServiceName,
    *,
    source: SourceLike | None = None,
    timeout: float = 5.0,
    me: Identity | None = None,
) -> PeerSet:
    """`resolve`, awaited, under asyncio and trio."""
    import anyio
    import tenacity

    once = OneShot(service, source, timeout, me)

    async def ask() -> PeerSet | None:
        request = once.next_request(anyio.current_time())
        answer = await _calling.afirst_answer(once.source, request, once.stuck_calls)
        return once.apply(answer, anyio.current_time())

    once.began = anyio.current_time()
    return once.found(await tenacity.AsyncRetrying(sleep=anyio.sleep, **once.retrying())(ask))


class OneShot:
    """The steps of resolving once. It is given the time, and does no I/O."""

    def __init__(
        self, service: str | ServiceName, source: SourceLike | None, timeout: float, me: Identity | None
    ) -> None:
        check_timeout("resolve", timeout)
        if timeout is None or not 0 < timeout < math.inf:
            raise ConfigurationError(f"resolve(timeout={quoted(timeout)}): expected a finite number above 0")
        name = as_service_name(service)
        self.source: Source = source_for(name, source)
        self._policy = Policy(timeout=timeout, on_empty="accept")
        self._core = Membership(
            name, self._policy, identity_for(name, me), random.random, getattr(self.source, "kind", "unknown")
        )
        self._core.journal.failure_level = logging.INFO  # a failure is retried, and the error will name it
        self._timeout = timeout
        self._second_opinion = False
        self._allowed = timeout
        self._failure: Answer | None = None
        self._now = 0.0
        self.began: float = 0.0
        self.stuck_calls: set[object] = set()

    def retrying(self) -> dict[str, Any]:
        """The arguments for tenacity."""
        import tenacity

        return {
            "retry": tenacity.retry_if_result(lambda found: found is None),
            # A last lookup without time for an answer would hide how the earlier ones failed.
            "stop": lambda state: self._left() - state.upcoming_sleep < _TOO_SHORT,
            "wait": lambda state: 0.0 if self._second_opinion else self._backoff(state),
            "retry_error_callback": self._give_up,
        }

    def next_request(self, now: float) -> LookupRequest:
        """The lookup to make now."""
        self._now = now
        self._core.begin()
        self._allowed = max(_TOO_SHORT, self._left())
        return LookupRequest(
            service=self._core.service,
            timeout=self._allowed,
            second_opinion=self._second_opinion,
            zone=self._core.reconciler.zone,
        )

    def apply(self, answer: Answer, now: float) -> PeerSet | None:
        """The peers, or None to ask again. Raises the error that ends it."""
        asked_at, self._now = self._now, now
        answer = self._core.apply(self._most_informative(answer), now, now - asked_at)
        self._log(answer)
        if (error := self._core.journal.misconfigured) is not None:
            raise ConfigurationError(str(error)) from error
        if self._core.peers:
            return self._core.peers
        if answer.is_empty and (self._second_opinion or answer.authoritative):
            raise self._core.journal.not_found_error(now)
        self._second_opinion = answer.is_empty
        return None

    def _most_informative(self, answer: Answer) -> Answer:
        """The answer, or for a failure the most informative one so far: one that had time to show why."""
        if answer.is_evidence:
            return answer
        if self._failure is None or self._allowed >= min(_AMPLE, self._timeout / 2):
            self._failure = answer
        return self._failure

    @staticmethod
    def found(peers: PeerSet | None) -> PeerSet:
        """What tenacity returned. It is never None: without peers it repeats, and gives up by an error."""
        assert peers is not None
        return peers

    def _log(self, answer: Answer) -> None:
        """Log what is pending. A failure is no warning: it is repeated, and the error will name it."""
        for level, text in self._core.pending_logs:
            log.log(level if answer.is_evidence else min(level, logging.INFO), "%s", text)
        self._core.pending_logs.clear()

    def _left(self) -> float:
        return self.began + self._timeout - self._now

    def _backoff(self, state: RetryCallState) -> float:
        wait = min(0.1 * 2.0 ** min(state.attempt_number, 5), 1.0) * (0.5 + random.random() / 2)
        # The last wait is shortened, so that the time is used to its end.
        latest = self._left() - _LAST * min(1.0, self._timeout)
        return min(wait, latest) if latest >= _TOO_SHORT else wait

    def _give_up(self, _: object) -> None:
        if self._core.status(self._now).outcome in (Outcome.EMPTY, Outcome.NOT_FOUND):
            raise self._core.journal.not_found_error(self._now)
        raise self._core.journal.timeout_error(self._core.peers, 1, True, self._now - self.began, self._now)
