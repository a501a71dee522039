"""The slices of a watch, and what of them was reported: an answer for each change that can be seen.

Invariants:

* While a sync is running the old set stays; then it is replaced whole.
"""

from __future__ import annotations

from peerdiscover.answers import Answer
from peerdiscover.errors import Outcome

from ._endpointslices import Slices
from ._events import Event, TooLargeError
from ._slices import Naming


class Publication:
    """The set that peers are made of, and the one that a sync is collecting."""

    def __init__(self) -> None:
        self._slices: Slices | None = None
        self._incoming: Slices | None = None
        self._last: Answer | None = None
        self.failure_reported: bool = False
        """The last thing reported was a failure."""

    def begin_sync(self, naming: Naming) -> None:
        """What comes from now on is a set of its own."""
        self._incoming = Slices(naming)

    def apply(self, event: Event) -> None:
        """Take an event in, of the sync if one is running. `TooLargeError` if the set grows without end."""
        slices = self._slices if self._incoming is None else self._incoming
        assert slices is not None
        if event.kind in ("ADDED", "MODIFIED"):
            slices.put(event.item)
            if slices.excess:
                raise TooLargeError(f"the Service has {slices.excess}: no cluster holds so many")
        elif event.kind == "DELETED":
            slices.remove(event.item)

    def complete_sync(self) -> bool:
        """What the sync brought replaces the set. Returns whether there are any slices."""
        assert self._incoming is not None
        self._slices, self._incoming = self._incoming, None
        return bool(self._slices)

    def changes(self) -> list[Answer]:
        """An answer, if peers show that something changed."""
        answer = self._answer()
        seen = self._last is not None and _visible(answer) == _visible(self._last)
        return [] if seen else self._report(answer)

    def confirm(self) -> list[Answer]:
        """The set as it is now."""
        return self._report(self._answer())

    def without_slices(self, status: int, service: str, namespace: str) -> list[Answer]:
        """There are no slices, and the server answers so when it is asked for the Service itself."""
        answer = self._answer()
        if status == 200:
            answer = answer.replace(outcome=Outcome.EMPTY, hint="the Service is there; no pod is behind it")
        elif status == 404:
            answer = answer.replace(hint=f"there is no Service {service} in the namespace {namespace}")
        return self._report(answer)

    def _answer(self) -> Answer:
        assert self._slices is not None
        return self._slices.answer()

    def _report(self, answer: Answer) -> list[Answer]:
        self._last, self.failure_reported = answer, False
        return [answer]


def _visible(answer: Answer) -> tuple[object, ...]:
    """What can be seen of an answer."""
    rest = (answer.outcome, answer.kind, answer.dropped, answer.warnings, answer.hint, str(answer.error))
    return answer.endpoints, rest
