"""What a caller may give: a function that nothing has to await, a timeout that is a number of seconds."""

from __future__ import annotations

import inspect
import math
from typing import TypeVar

from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError

T = TypeVar("T")


def refuse_coroutine_function(method: str, function: object) -> None:
    """Raise `ConfigurationError` for a function that returns a coroutine: nothing would be called by it."""
    called = getattr(function, "__call__", None)  # noqa: B004 - whether it can be called is not the question
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called):
        raise ConfigurationError(
            f"{method}({function!r}): a coroutine function; use AsyncDiscovery to await it"
        )


def finished(value: T) -> T:
    """The value, unless it is a coroutine: in a thread nothing would ever await that."""
    if inspect.iscoroutine(value):
        value.close()
        raise ConfigurationError("the call returned a coroutine; use AsyncDiscovery to await it")
    return value


def check_timeout(method: str, timeout: float | None) -> None:
    """Raise `ConfigurationError` unless it is a number of seconds, or None."""
    try:
        valid = timeout is None or not math.isnan(timeout)
    except (TypeError, OverflowError):  # no number, or an integer that no float can hold
        valid = False
    if not valid:
        raise ConfigurationError(f"{method}(timeout={quoted(timeout)}): expected seconds, such as 2.5")
