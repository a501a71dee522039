"""What a caller may give: a function or a discovery of the right kind, a timeout that is a number."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable
from typing import SupportsIndex, TypeVar

from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError

T = TypeVar("T")


def check_discovery(discovery: object, kind: type) -> None:
    """Raise `ConfigurationError` unless it is a `Discovery`, or an `AsyncDiscovery`, as `kind` says."""
    if not isinstance(discovery, kind):
        write = f"; write {kind.__name__}({quoted(discovery)})" if isinstance(discovery, str) else ""
        a = "an" if kind.__name__.startswith("A") else "a"
        raise ConfigurationError(f"discovery={quoted(discovery)}: expected {a} {kind.__name__}{write}")


def check_callable(method: str, function: object) -> None:
    """Raise `ConfigurationError` unless it can be called."""
    if not callable(function):
        raise ConfigurationError(f"{method}({quoted(function)}): expected a function")


def check_function(method: str, function: object, instead: str = "AsyncDiscovery") -> None:
    """Raise `ConfigurationError` unless it can be called, and its result need not be awaited."""
    check_callable(method, function)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        raise ConfigurationError(
            f"{method}({quoted(function)}): a coroutine function; use {instead} to await it"
        )


def finished(value: T) -> T:
    """The value, unless it is a coroutine: in a thread nothing would ever await that."""
    if inspect.iscoroutine(value):
        value.close()
        raise ConfigurationError("the call returned a coroutine; use AsyncDiscovery to await it")
    return value


def awaitable(value: Awaitable[T], instead: str = "Discovery") -> Awaitable[T]:
    """The value, unless it cannot be awaited: then a plain function was given."""
    if not inspect.isawaitable(value):
        raise ConfigurationError(
            f"the call returned {quoted(value)}: expected a coroutine; use {instead} for plain functions"
        )
    return value


def check_wait(min_peers: int, timeout: float | None) -> None:
    """Raise `ConfigurationError` for a number of peers, or of seconds, that is none."""
    if not isinstance(min_peers, SupportsIndex):  # NumPy's integers, too
        raise ConfigurationError(f"wait(min_peers={quoted(min_peers)}): expected a whole number, such as 3")
    check_timeout("wait", timeout)


def check_timeout(method: str, timeout: float | None) -> None:
    """Raise `ConfigurationError` unless it is a number of seconds, or None."""
    try:
        valid = timeout is None or not math.isnan(timeout)
    except (TypeError, OverflowError):  # no number, or an integer that no float can hold
        valid = False
    if not valid:
        raise ConfigurationError(f"{method}(timeout={quoted(timeout)}): expected seconds, such as 2.5")
