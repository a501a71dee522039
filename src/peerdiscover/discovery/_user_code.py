"""What a caller's function may be: a discovery for threads awaits nothing."""

from __future__ import annotations

import inspect
from typing import TypeVar

from peerdiscover.errors import ConfigurationError

__all__ = ["finished", "refuse_coroutine_function"]

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
