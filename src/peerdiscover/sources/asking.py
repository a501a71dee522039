"""Asking any source once, from a thread or awaited: whatever it raises or returns is an answer.

A source may block or be awaited, pull or push; the shells need not know which. SystemExit and the like
are failures, too: raised by a source they would end a refresher in silence.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from peerdiscover.answers import Answer, Ask, PullSource, Source
from peerdiscover.errors import PeerDiscoverError

__all__ = ["alookup", "checked", "failed", "lookup", "watch_to_the_end"]

_log = logging.getLogger("peerdiscover")

_LATE = 1.0
"""Seconds that a source has over its time before it is cancelled: it can say more about why it failed."""


def lookup(source: Source, ask: Ask) -> Answer:
    """One answer. May block for as long as the source does."""
    answer: Any
    try:
        answer = source.lookup(ask) if isinstance(source, PullSource) else next(iter(source.watch(ask)))  # type: ignore[arg-type]  # in threads it is an iterator
        if hasattr(answer, "__await__"):
            import asyncio

            async def awaited() -> object:
                return await answer

            answer = asyncio.run(awaited())
    except BaseException as error:  # noqa: BLE001 - see above
        return failed(error)
    return checked(answer)


async def alookup(source: Source, ask: Ask) -> Answer:
    """One answer. A source that only blocks is asked in a thread."""
    import anyio

    async def act() -> object:
        with anyio.fail_after(ask.timeout + _LATE):
            if isinstance(source, PullSource):
                return await _pulled(source, ask)
            return await anext(_awatch(source, ask))

    return await _outcome(act)


async def watch_to_the_end(source: Source, ask: Ask, take: Callable[[Answer], object]) -> Answer:
    """Hand each answer of a source that tells by itself to `take`; the failed answer that it ends with."""

    async def act() -> Answer:
        async for answer in _awatch(source, ask):
            take(checked(answer))
        return Answer.failed("the watch ended")

    return await _outcome(act)


def _awatch(source: Source, ask: Ask) -> AsyncIterator[Answer]:
    """What a source tells by itself, awaited."""
    both: Any = source
    answers: AsyncIterator[Answer] = getattr(both, "awatch", both.watch)(ask)
    return answers


async def _pulled(source: PullSource, ask: Ask) -> Any:
    import inspect

    import anyio.to_thread

    both: Any = source
    act = getattr(both, "alookup", both.lookup)
    if inspect.iscoroutinefunction(act):
        return await act(ask)
    answer = await anyio.to_thread.run_sync(act, ask, abandon_on_cancel=True)
    return await answer if inspect.isawaitable(answer) else answer


async def _outcome(act: Callable[[], Awaitable[object]]) -> Answer:
    """What came of it; whatever it raises is a failed answer, unless we are cancelled ourselves."""
    import anyio
    import anyio.lowlevel

    try:
        return checked(await act())
    except anyio.get_cancelled_exc_class() as error:
        await anyio.lowlevel.checkpoint_if_cancelled()
        return failed(error)  # the source's own doing
    except KeyboardInterrupt:
        raise  # event loops raise it wherever they happen to be
    except BaseException as error:  # noqa: BLE001 - see above
        return failed(error)


def failed(error: BaseException) -> Answer:
    """What a source raised, as an answer."""
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
            return answer.with_(error=_text(error))
        return answer
    return Answer.failed(f"the source returned {type(answer).__name__}, no Answer")
