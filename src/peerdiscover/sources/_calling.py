"""Calls sources of any kind, from a thread or awaited, and always comes back with an `Answer`.

A source may pull or push, block or be awaited: the callers of this module need not know. Each function
has an awaited twin (`pull` and `apull`). What a source raises becomes a failed answer (see `_failures`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from peerdiscover.answers import Answer, LookupRequest, PullSource, PushSource, Source
from peerdiscover.errors import ConfigurationError

from ._failures import answer_from, answer_from_awaitable, checked

_log = logging.getLogger("peerdiscover")

_GRACE = 1.0
"""Seconds past its timeout before a source is cancelled. It can say better than we can why it failed."""

_MAX_STUCK = 2
"""Lookups of one discovery that may be stuck in threads before no more are started."""

_POLL_INTERVAL = 0.1
"""Seconds between looks at whether the request was cancelled."""


def first_answer(source: Source, request: LookupRequest) -> Answer:
    """One answer. Of a source that pushes and pulls, each gets half of the time, the watch first."""
    if not (isinstance(source, PushSource) and isinstance(source, PullSource)):
        return pull(source, request)
    half = replace(request, timeout=request.timeout / 2)
    watched = _first_watched(source, half)
    return watched if watched.is_evidence else merge_fallback(watched, pull(source, half))


async def afirst_answer(source: Source, request: LookupRequest, stuck_calls: set[object]) -> Answer:
    """`first_answer`, awaited."""
    if not (isinstance(source, PushSource) and isinstance(source, PullSource)):
        return await apull(source, request, stuck_calls)
    half = replace(request, timeout=request.timeout / 2)
    watched = await _in_time(lambda: _afirst_watched(source, half), half)
    return watched if watched.is_evidence else merge_fallback(watched, await apull(source, half, stuck_calls))


def merge_fallback(failed: Answer, answer: Answer) -> Answer:
    """The answer of a second source, with what the first one failed of."""
    if answer.is_evidence:
        why = str(failed.error).partition("\n")[0]
        warning = f"the first source failed, the second one answered: {why}"
        return answer.replace(warnings=(*answer.warnings, warning))
    errors = (failed.error, answer.error)
    text = " - and then: ".join(map(str, errors))
    hopeless = all(isinstance(error, ConfigurationError) for error in errors)
    return answer.replace(error=ConfigurationError(text) if hopeless else text)


def pull(source: Source, request: LookupRequest) -> Answer:
    """One answer. Blocks for as long as the source does."""
    return answer_from(lambda: _lookup(source, request))


def _lookup(source: Source, request: LookupRequest) -> object:
    if not isinstance(source, PullSource):
        return _first_watched(source, request)
    answer: Any = source.lookup(request)
    return _run(answer, request) if hasattr(answer, "__await__") else answer


async def apull(source: Source, request: LookupRequest, stuck_calls: set[object]) -> Answer:
    """`pull`, awaited. A source that only blocks is called in a thread.

    `stuck_calls` counts those threads between lookups. They cannot be ended, so a source that hangs gets
    at most `_MAX_STUCK` of them.
    """
    if isinstance(source, PullSource):
        return await _in_time(lambda: _alookup(source, request, stuck_calls), request)
    return await _in_time(lambda: _afirst_watched(source, request), request)


async def _in_time(call: Callable[[], Awaitable[object]], request: LookupRequest) -> Answer:
    """The answer of `call`, or a failed one if it takes too long."""
    import anyio

    async def limited() -> object:
        with anyio.move_on_after(request.timeout + _GRACE):
            return await call()
        raise _timeout(request)

    return await answer_from_awaitable(limited)


def follow(source: Source, request: LookupRequest, on_answer: Callable[[Answer], object]) -> Answer:
    """Pass each answer of a watch to `on_answer`, until the watch ends or `request` is cancelled.

    Returns the failed answer that it ends with.
    """

    def watch() -> Answer:
        answers = iter(_watch(source, request, "watch"))
        try:
            for answer in answers:
                on_answer(checked(answer))
                if request.cancelled():
                    break
        finally:
            if hasattr(answers, "close"):
                answers.close()
        return Answer.failed("the watch ended")

    return answer_from(watch)


async def afollow(source: Source, request: LookupRequest, on_answer: Callable[[Answer], object]) -> Answer:
    """`follow`, awaited."""

    async def watch() -> Answer:
        answers = aiter(_watch(source, request, "awatch"))
        try:
            async for answer in answers:
                on_answer(checked(answer))
        finally:
            if hasattr(answers, "aclose"):
                await answers.aclose()
        return Answer.failed("the watch ended")

    return await answer_from_awaitable(watch)


def _watch(source: Source, request: LookupRequest, method: str) -> Any:
    """The iterator of answers. A source for threads and tasks has `awatch` beside `watch`."""
    untyped: Any = source
    return getattr(untyped, method, untyped.watch)(request)


def _first_watched(source: Source, request: LookupRequest) -> Answer:
    first: list[Answer] = []
    until_first = replace(request, cancelled=lambda: bool(first) or request.cancelled())
    end = follow(source, until_first, first.append)
    return first[0] if first else end


async def _afirst_watched(source: Source, request: LookupRequest) -> Any:
    answers = aiter(_watch(source, request, "awatch"))
    try:
        return await anext(answers)
    finally:
        if hasattr(answers, "aclose"):
            await answers.aclose()


def _run(answer: Awaitable[object], request: LookupRequest) -> object:
    """Await the answer of a coroutine function, in a thread that has no event loop of its own."""
    import asyncio

    async def limited() -> object:
        lookup = asyncio.ensure_future(answer)
        until = asyncio.get_running_loop().time() + request.timeout + _GRACE
        while not (await asyncio.wait({lookup}, timeout=_POLL_INTERVAL))[0]:
            if request.cancelled() or asyncio.get_running_loop().time() > until:
                lookup.cancel()
                raise _timeout(request)
        return lookup.result()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(limited())
    # `resolve()` inside a coroutine: it blocks, as documented, but it cannot share the running event loop.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(limited())).result()


async def _alookup(source: PullSource, request: LookupRequest, stuck_calls: set[object]) -> Any:
    import inspect

    import anyio.to_thread

    untyped: Any = source
    lookup = getattr(untyped, "alookup", untyped.lookup)
    if inspect.iscoroutinefunction(lookup):
        return await lookup(request)
    if len(stuck_calls) >= _MAX_STUCK:
        raise TimeoutError("the source has not returned from earlier lookups")
    token = object()

    def block() -> tuple[Any]:
        stuck_calls.add(token)
        try:
            return (lookup(request),)  # in a tuple, since trio refuses a coroutine returned from a thread
        finally:
            stuck_calls.discard(token)

    # A limiter of our own, so that we never use up the threads of the program.
    limiter = anyio.CapacityLimiter(1)
    (answer,) = await anyio.to_thread.run_sync(block, abandon_on_cancel=True, limiter=limiter)
    return await answer if inspect.isawaitable(answer) else answer


def _timeout(request: LookupRequest) -> TimeoutError:
    return TimeoutError(f"no answer in {request.timeout:.3g} s")


class Cancellation:
    """How a closing discovery wakes the sources that block in its threads: `LookupRequest.on_cancelled`."""

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
