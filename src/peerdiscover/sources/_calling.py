"""Asking any source once, from a thread or awaited: whatever it raises or returns is an answer.

A source may block or be awaited, pull or push; the shells need not know which. SystemExit and the like
are failures, too: raised by a source they would end a refresher in silence. Only who asks can be
cancelled: a source that raises the same of its own accord has failed. In the main thread, where no
refresher runs, what is no `Exception` passes: handlers of signals raise there (Ctrl-C during `resolve`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from peerdiscover.answers import Answer, LookupRequest, PullSource, PushSource, Source
from peerdiscover.errors import ConfigurationError, PeerDiscoverError

__all__ = [
    "Cancellation",
    "alookup",
    "aonce",
    "awatch",
    "failed",
    "lookup",
    "merge_fallback",
    "once",
    "watch",
]

_log = logging.getLogger("peerdiscover")

_GRACE = 1.0
"""Seconds that a source has over its time before it is cancelled: it can say more about why it failed."""

_MAX_STUCK = 2
"""How many lookups of one discovery may be stuck in threads before no more are tried."""

_POLL_INTERVAL = 0.1
"""Seconds between looks at whether anybody still waits."""


class Cancellation:
    """That nobody waits any more, and whom to wake then. See `LookupRequest.on_cancelled`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._acts: dict[object, Callable[[], object]] = {}
        self._over = False

    def add_callback(self, act: Callable[[], object]) -> Callable[[], object]:
        """Have `act` called when it comes, or at once; returns what forgets it."""
        token = object()
        with self._lock:
            over = self._over
            if not over:
                self._acts[token] = act
        if over:
            act()
        return lambda: self._acts.pop(token, None)

    def cancel(self) -> None:
        """It has come. What an act raises is logged."""
        with self._lock:
            self._over = True
            acts = list(self._acts.values())
            self._acts.clear()
        for act in acts:
            try:
                act()
            except Exception:  # noqa: BLE001 - a source is a stranger's code
                _log.exception("a source could not be woken")


def once(source: Source, ask: LookupRequest) -> Answer:
    """One answer, whichever way it comes: of a source that tells by itself its first word, if that is good.

    Of a source that can be asked, too, each way has half of the time.
    """
    if not (isinstance(source, PushSource) and isinstance(source, PullSource)):
        return lookup(source, ask)
    half = replace(ask, timeout=ask.timeout / 2)
    told = _answer(lambda: _first(source, half))
    return told if told.is_evidence else merge_fallback(told, lookup(source, half))


async def aonce(source: Source, ask: LookupRequest, blocked: set[object]) -> Answer:
    """The same, awaited."""
    if not (isinstance(source, PushSource) and isinstance(source, PullSource)):
        return await alookup(source, ask, blocked)
    half = replace(ask, timeout=ask.timeout / 2)
    told = await _in_time(lambda: _afirst(source, half), half)
    return told if told.is_evidence else merge_fallback(told, await alookup(source, half, blocked))


def merge_fallback(failed: Answer, answer: Answer) -> Answer:
    """The answer of who was asked after somebody else had failed; it says so."""
    if answer.is_evidence:
        why = str(failed.error).partition("\n")[0]
        said = f"the first way to ask failed, and another one was taken: {why}"
        return answer.replace(warnings=(*answer.warnings, said))
    errors = (failed.error, answer.error)
    text = " - and then: ".join(map(str, errors))
    hopeless = all(isinstance(error, ConfigurationError) for error in errors)
    return answer.replace(error=ConfigurationError(text) if hopeless else text)


def lookup(source: Source, ask: LookupRequest) -> Answer:
    """One answer. May block for as long as the source does."""
    return _answer(lambda: _looked_up(source, ask))


def _looked_up(source: Source, ask: LookupRequest) -> object:
    if not isinstance(source, PullSource):
        return _first(source, ask)
    answer: Any = source.lookup(ask)
    return _run(answer, ask) if hasattr(answer, "__await__") else answer


def _answer(act: Callable[[], object]) -> Answer:
    """What came of it; whatever it raises is a failed answer."""
    try:
        return checked(act())
    except BaseException as error:
        if _is_for_the_program(error):
            raise
        return failed(error)


async def alookup(source: Source, ask: LookupRequest, blocked: set[object]) -> Answer:
    """One answer. A source that only blocks is asked in a thread.

    `blocked` keeps those threads between lookups. They cannot be ended: of a source that hangs there
    are never more than `_HANGING`.
    """
    if isinstance(source, PullSource):
        return await _in_time(lambda: _pulled(source, ask, blocked), ask)
    return await _in_time(lambda: _afirst(source, ask), ask)


async def _in_time(act: Callable[[], Awaitable[object]], ask: LookupRequest) -> Answer:
    """What came of it, or that it took too long."""
    import anyio

    async def acting() -> object:
        with anyio.move_on_after(ask.timeout + _GRACE):
            return await act()
        raise TimeoutError(f"no answer in {ask.timeout:.3g} s")

    return await _outcome(acting)


def watch(source: Source, ask: LookupRequest, take: Callable[[Answer], object]) -> Answer:
    """Hand each answer of a source that tells by itself to `apply`, until it ends or `ask` is cancelled.

    Returns the failed answer that it ends with.
    """
    try:
        answers = iter(_watching(source, ask, "watch"))
        try:
            for answer in answers:
                take(checked(answer))
                if ask.cancelled():
                    break
        finally:
            getattr(answers, "close", _nothing)()
    except BaseException as error:
        if _is_for_the_program(error):
            raise
        return failed(error)
    return Answer.failed("the watch ended")


async def awatch(source: Source, ask: LookupRequest, take: Callable[[Answer], object]) -> Answer:
    """The same, awaited."""

    async def act() -> Answer:
        answers = aiter(_watching(source, ask, "awatch"))
        try:
            async for answer in answers:
                take(checked(answer))
        finally:
            if hasattr(answers, "aclose"):
                await answers.aclose()
        return Answer.failed("the watch ended")

    return await _outcome(act)


def _is_for_the_program(error: BaseException) -> bool:
    return not isinstance(error, Exception) and threading.current_thread() is threading.main_thread()


def _watching(source: Source, ask: LookupRequest, method: str) -> Any:
    """What a source tells by itself. One that serves both shells has `awatch` beside `watch`."""
    both: Any = source
    return getattr(both, method, both.watch)(ask)


def _first(source: Source, ask: LookupRequest) -> Answer:
    first: list[Answer] = []
    end = watch(source, replace(ask, cancelled=lambda: bool(first) or ask.cancelled()), first.append)
    return first[0] if first else end


async def _afirst(source: Source, ask: LookupRequest) -> Any:
    answers = aiter(_watching(source, ask, "awatch"))
    try:
        return await anext(answers)
    finally:
        if hasattr(answers, "aclose"):
            await answers.aclose()


def _nothing() -> None:
    """For an iterator that needs no closing."""


def _run(answer: Awaitable[object], ask: LookupRequest) -> object:
    """Await the answer of a coroutine function in a thread without an event loop of its own."""
    import asyncio

    async def awaited() -> object:
        return await answer

    async def in_time() -> object:
        lookup = asyncio.ensure_future(awaited())
        until = asyncio.get_running_loop().time() + ask.timeout + _GRACE
        while not (await asyncio.wait({lookup}, timeout=_POLL_INTERVAL))[0]:
            if ask.cancelled() or asyncio.get_running_loop().time() > until:
                lookup.cancel()
                raise TimeoutError(f"no answer in {ask.timeout:.3g} s")
        return lookup.result()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(in_time())
    # `resolve()` from within a coroutine: it blocks, as it says, but it cannot share the event loop.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(in_time())).result()


async def _pulled(source: PullSource, ask: LookupRequest, blocked: set[object]) -> Any:
    import inspect

    import anyio.to_thread

    both: Any = source
    act = getattr(both, "alookup", both.lookup)
    if inspect.iscoroutinefunction(act):
        return await act(ask)
    if len(blocked) >= _MAX_STUCK:
        raise TimeoutError("the source has not returned from earlier lookups")
    token = object()

    def block() -> tuple[Any]:
        blocked.add(token)
        try:
            return (act(ask),)  # a tuple: trio wants no thread to return a coroutine, as a callable may
        finally:
            blocked.discard(token)

    # A limiter of its own: the program's threads are not for us to take.
    one = anyio.CapacityLimiter(1)
    (answer,) = await anyio.to_thread.run_sync(block, abandon_on_cancel=True, limiter=one)
    return await answer if inspect.isawaitable(answer) else answer


async def _outcome(act: Callable[[], Awaitable[object]]) -> Answer:
    """What came of it; whatever it raises is a failed answer, unless we are cancelled ourselves."""
    import anyio.lowlevel

    cancelled = anyio.get_cancelled_exc_class()
    try:
        return checked(await act())
    except KeyboardInterrupt:
        raise  # event loops raise it wherever they happen to be
    except BaseException as error:
        if isinstance(error, GeneratorExit) and not _loop_is_running():
            raise
        if isinstance(error, cancelled):
            await anyio.lowlevel.checkpoint_if_cancelled()
            if _task_is_cancelled():
                raise
        return failed(error)


def _loop_is_running() -> bool:
    """No: we are being thrown away, together with the event loop that we waited in."""
    import anyio

    try:
        anyio.current_time()
    except RuntimeError:
        return False
    return True


def _task_is_cancelled() -> bool:
    """Whether asyncio itself cancels this task, as `asyncio.run` does with all of them at its end.

    It does so once. anyio's scopes, and trio's, go on cancelling: they need no such question.
    """
    import asyncio

    try:
        task = asyncio.current_task()
    except RuntimeError:  # trio
        return False
    return task is not None and task.cancelling() > 0


def failed(error: BaseException) -> Answer:
    """What a source raised, as an answer."""
    with suppress(Exception):  # a handler of the log is a stranger's code, too
        _log.debug("the source raised", exc_info=error)
    return checked(Answer.failed(error))


def _text(error: BaseException) -> str:
    """The error in one line. Its own text is a stranger's code, and may raise."""
    kind = type(error).__name__
    try:
        return f"{kind}: {error}" if str(error) else kind
    except BaseException:  # noqa: BLE001 - see the top
        return kind


def checked(answer: object) -> Answer:
    """The answer, or a failed one where it is none; an error of somebody else's as text."""
    if isinstance(answer, Answer):
        error = answer.error
        if isinstance(error, BaseException) and not isinstance(error, PeerDiscoverError):
            return answer.replace(error=_text(error))
        return answer
    return Answer.failed(f"the source returned {type(answer).__name__}, no Answer")
