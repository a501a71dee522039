"""Cancellation: how a closing discovery wakes the sources that still block in its threads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

__all__ = ["Cancellation"]

_log = logging.getLogger("peerdiscover")


class Cancellation:
    """Runs callbacks once no caller waits for an answer any more. See `LookupRequest.on_cancelled`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[object, Callable[[], object]] = {}
        self._cancelled = False

    def add_callback(self, callback: Callable[[], object]) -> Callable[[], object]:
        """Call `callback` on cancellation, at once if that was before. Returns a function that removes it."""
        token = object()
        with self._lock:
            cancelled = self._cancelled
            if not cancelled:
                self._callbacks[token] = callback
        if cancelled:
            callback()
        return lambda: self._callbacks.pop(token, None)

    def cancel(self) -> None:
        """Run all callbacks. What they raise is logged."""
        with self._lock:
            self._cancelled = True
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        for callback in callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001 - a source is user code
                _log.exception("a source's on_cancelled callback failed")
