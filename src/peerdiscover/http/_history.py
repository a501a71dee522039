"""The attempts of a request: as its response has them, and as its error lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from peerdiscover.peers import Peer

from ._retry import FailedAttempt, RetryState

_MAX_NOTES = 20  # attempts that an error lists, the first and the last ones: a long outage has hundreds


class History(TypedDict):
    """What became of a request that was answered."""

    peer: Peer
    """The pod that answered."""
    attempts: int
    """How many there were, with the one that was answered."""
    failed: tuple[FailedAttempt, ...]
    """Those before it."""


def history_of(peer: Peer, retry: RetryState | None) -> History:
    """Return what became of a request that this pod answered; `retry` is None if nothing failed."""
    failed = tuple(retry.failed) if retry else ()
    return {"peer": peer, "attempts": len(failed) + 1, "failed": failed}


def with_history(error: Exception, failed: Sequence[FailedAttempt], seconds: float, why: str) -> Exception:
    """Return the error with how often and where it was tried, and why not again; each attempt is a note."""
    n = len(failed)
    pods = ", ".join(dict.fromkeys(attempt.peer.key for attempt in failed))
    attempts = f"{n} attempt{'s' * (n != 1)} in {seconds:.3f} s on {pods}"
    described = type(error)(f"{error} ({attempts}; not retried: {why})")
    described.__cause__ = error.__cause__
    for note in notes_of(failed):
        described.add_note(note)
    return described


def notes_of(failed: Sequence[FailedAttempt]) -> list[str]:
    """Return a line for each attempt; of very many, the first and the last ones."""
    notes = [f"attempt {number}: {attempt}" for number, attempt in enumerate(failed, 1)]
    if len(notes) > _MAX_NOTES:
        notes[_MAX_NOTES // 2 : -_MAX_NOTES // 2] = [f"… {len(notes) - _MAX_NOTES} attempts more …"]
    return notes
