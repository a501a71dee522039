"""The pickers of a discovery, each made when it is first asked for; `_picker_mixin` has the methods.

Invariants:

* The same arguments give the same picker, so that `web.round_robin().pick()` in a handler takes turns.
* A picker that exists is found without a lock.
* All are rebound together, before a new set becomes visible.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from peerdiscover.peers import View
from peerdiscover.pickers import BasePicker, zone_warning

P = TypeVar("P", bound=BasePicker)


class Pickers:
    """The pickers that exist, by kind and arguments. The caller holds the lock for everything but `find`."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._made: dict[tuple[object, tuple[Any, ...]], Any] = {}
        self._zone_warned = False

    def find(self, kind: Callable[..., P], arguments: tuple[object, ...]) -> P | None:
        try:
            return self._made.get((kind, arguments))
        except TypeError:  # an argument that cannot be hashed is wrong
            kind(*arguments)  # says how, if it knows
            raise

    def add(self, kind: Callable[..., P], arguments: tuple[object, ...], summary: Callable[[], str]) -> P:
        """Make one; its errors end with the `summary` of the last answer."""
        picker = kind(*arguments)
        picker.last_answer_summary = summary
        picker.rebind(self._view)
        self._made[kind, arguments] = picker
        return picker

    def rebind(self, view: View) -> None:
        self._view = view
        for picker in self._made.values():
            picker.rebind(view)

    def end(self, error: Callable[[], Exception]) -> None:
        for picker in self._made.values():
            picker.end(error)

    def after_fork(self) -> None:
        """Have all begin at a random place, so that the children of one process differ."""
        for picker in self._made.values():
            picker.after_fork()

    def zone_warning(self) -> str | None:
        """Why preferring the local zone has no effect, if a picker prefers it; said once."""
        if self._zone_warned or not any(zone == "prefer" for _, (_, zone, *_) in self._made):
            return None
        warning = zone_warning(self._view)
        self._zone_warned = warning is not None
        return warning
