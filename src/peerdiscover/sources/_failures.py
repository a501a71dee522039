"""Whatever a source raises or returns becomes an `Answer`.

SystemExit and the like are failures too: raised by a source, they would end a refresher without a word.
In the main thread, where no refresher runs, anything that is no `Exception` passes through, since signal
handlers raise there (Ctrl-C during `resolve`). A cancellation counts only if the caller is cancelled: a
source that raises the same exception by itself has failed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

from peerdiscover.answers import Answer
from peerdiscover.errors import PeerDiscoverError

_log = logging.getLogger("peerdiscover")


def answer_from(call: Callable[[], object]) -> Answer:
    """The answer that `call` returns, or a failed one with what it raised."""
    try:
        return checked(call())
    except BaseException as error:
        # In the main thread a signal handler may have raised it: the program must see that.
        if not isinstance(error, Exception) and threading.current_thread() is threading.main_thread():
            raise
        return failed(error)


async def answer_from_awaitable(call: Callable[[], Awaitable[object]]) -> Answer:
    """The same, awaited. Raises if the calling task itself is cancelled."""
    import anyio.lowlevel

    cancelled = anyio.get_cancelled_exc_class()
    try:
        return checked(await call())
    except KeyboardInterrupt:
        raise  # event loops raise it in whichever task happens to run
    except BaseException as error:
        if isinstance(error, GeneratorExit) and not _loop_is_running():
            raise
        if isinstance(error, cancelled):
            await anyio.lowlevel.checkpoint_if_cancelled()
            if _task_is_cancelled():
                raise
        return failed(error)


def checked(answer: object) -> Answer:
    """The answer, or a failed one if it is none. Foreign exceptions in it become strings."""
    if isinstance(answer, Answer):
        error = answer.error
        if isinstance(error, BaseException) and not isinstance(error, PeerDiscoverError):
            return answer.replace(error=_describe(error))
        return answer
    return Answer.failed(f"the source returned {type(answer).__name__}, expected an Answer")


def failed(error: BaseException) -> Answer:
    """What a source raised, as an answer."""
    with suppress(Exception):  # a log handler is user code too
        _log.debug("the source raised an exception", exc_info=error)
    return checked(Answer.failed(error))


def _describe(error: BaseException) -> str:
    """The error in one line. Its `__str__` is user code and may raise."""
    kind = type(error).__name__
    try:
        return f"{kind}: {error}" if str(error) else kind
    except BaseException:  # noqa: BLE001 - user code; the error's type is enough
        return kind


def _loop_is_running() -> bool:
    """False if the coroutine is being thrown away together with its event loop."""
    import anyio

    try:
        anyio.current_time()
    except RuntimeError:
        return False
    return True


def _task_is_cancelled() -> bool:
    """Whether asyncio itself cancels this task, as `asyncio.run` does with all of them when it ends.

    asyncio cancels once. The scopes of anyio and trio go on cancelling, so they need no such question.
    """
    import asyncio

    try:
        task = asyncio.current_task()
    except RuntimeError:  # trio
        return False
    return task is not None and task.cancelling() > 0
