"""A history of states, and whether what was shown of it can have been so. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

State = frozenset[str]
"""The addresses of those who are ready."""


class Moment(NamedTuple):
    """A state, and when it began; or a set, and when it was shown. Monotonic seconds."""

    at: float
    state: State


def complaints(history: Sequence[Moment], shown: Sequence[Moment]) -> list[str]:
    """Why what was shown cannot come from that history: one line each, none if it can.

    The moments of the history are when each write was begun: nothing may be shown before. The first one
    is what was there at the beginning.
    """
    if not shown:
        return ["nothing was shown"]
    found = []
    always = frozenset[str].intersection(*(moment.state for moment in history))
    existed = {moment.state for moment in history}
    place = 0
    for number, (at, state) in enumerate(shown):
        if missing := always - state:
            found.append(f"set {number} lacks those who were there all the time: {sorted(missing)}")
        # The earliest place where it fits: if any choice of places is in order, this one is.
        fits = next((i for i in range(place, len(history)) if history[i].state == state), None)
        if state not in existed:
            found.append(f"set {number} never was: {_nearest(state, history)}")
        elif fits is None:
            found.append(f"set {number} is older than the one before it")
        elif at < history[fits].at:
            found.append(f"set {number} was shown {history[fits].at - at:.3f} s before it was written")
        else:
            place = fits
    if shown[-1].state != history[-1].state:
        found.append(f"the last set is not the last state: {_difference(shown[-1].state, history[-1].state)}")
    return found


def _nearest(state: State, history: Iterable[Moment]) -> str:
    return _difference(state, min((moment.state for moment in history), key=lambda other: len(state ^ other)))


def _difference(state: State, other: State) -> str:
    return f"{sorted(state - other)} too many, {sorted(other - state)} too few"
