"""How the calls of a broadcast run: in threads, and in tasks. `broadcast` decides which calls those are.

Invariants:

* What a call raises belongs to the caller, and ends up in the receipt.
* A lock is held for moments, and never while a call runs.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from peerdiscover.peers import Peer

from ._user_code import awaitable, check_callable, check_function, finished
from .broadcast import Broadcast, Receipt, RollingBroadcast

if TYPE_CHECKING:
    from ._tasks import TaskRuntime
    from ._threads import ThreadedRuntime

T = TypeVar("T")


def broadcast_in_threads(
    runtime: ThreadedRuntime,
    steps: Broadcast[T] | RollingBroadcast[T],
    call: Callable[[Peer], T],
    timeout: float | None,
) -> Receipt[T]:
    """Run every round in threads; returns the receipt."""
    if isinstance(steps, Broadcast):
        call_in_threads(steps, call, timeout)
        return steps.receipt(runtime.peers, timeout)
    unsubscribe = runtime.subscribe(steps.on_change)
    try:
        while (step := steps.step(runtime.now(), runtime.next_refresh())) is not None:
            if isinstance(step, Broadcast):
                steps.record(broadcast_in_threads(runtime, step, call, steps.left(runtime.now())))
            elif not runtime.wait_until(steps.changed, step):
                runtime.refresh()
                steps.refreshed()
    finally:
        unsubscribe()
    return steps.receipt()


async def broadcast_in_tasks(
    runtime: TaskRuntime,
    steps: Broadcast[T] | RollingBroadcast[T],
    call: Callable[[Peer], Awaitable[T]],
    timeout: float | None,
) -> Receipt[T]:
    """Run every round in tasks; returns the receipt."""
    if isinstance(steps, Broadcast):
        await call_in_tasks(steps, call, timeout)
        return steps.receipt(runtime.peers, timeout)
    unsubscribe = runtime.subscribe(steps.on_change)
    try:
        while (step := steps.step(runtime.now(), runtime.next_refresh())) is not None:
            if isinstance(step, Broadcast):
                steps.record(await broadcast_in_tasks(runtime, step, call, steps.left(runtime.now())))
            elif not await runtime.wait_until(steps.changed, step):
                await runtime.refresh()
                steps.refreshed()
    finally:
        unsubscribe()
    return steps.receipt()


def call_in_threads(broadcast: Broadcast[T], call: Callable[[Peer], T], timeout: float | None) -> None:
    """Call each peer in one of `width` threads; returns when all are done, or after `timeout` seconds."""
    check_function("broadcast", call)
    # The lock itself is entered, not the Condition, whose `__enter__` is Python code: a signal handler that
    # raises inside of that would leave the lock held.
    lock = threading.Lock()
    changed = threading.Condition(lock)

    def work() -> None:
        while True:
            with lock:
                peer = broadcast.next()
            if peer is None:
                return
            try:
                value = finished(call(peer))
            except BaseException as error:  # noqa: BLE001 - whatever a call raises belongs to the caller
                with lock:
                    broadcast.raised(peer, error)
                    changed.notify_all()
            else:
                with lock:
                    broadcast.returned(peer, value)
                    changed.notify_all()

    # Daemons: a call that never ends must not keep the process from ending.
    workers = [
        threading.Thread(target=work, name=f"peerdiscover-broadcast-{i}", daemon=True)
        for i in range(broadcast.width)
    ]
    end = math.inf if timeout is None else time.monotonic() + timeout
    for worker in workers:
        worker.start()
    with lock:
        try:
            left = max(0.0, end - time.monotonic())
            changed.wait_for(lambda: broadcast.done, min(left, threading.TIMEOUT_MAX))
        finally:
            broadcast.closed = broadcast.closed or not broadcast.done
    if broadcast.done:
        for worker in workers:
            worker.join()


async def call_in_tasks(
    broadcast: Broadcast[T], call: Callable[[Peer], Awaitable[T]], timeout: float | None
) -> None:
    """Call each peer in one of `width` tasks; returns when all are done, or after `timeout` seconds."""
    import anyio
    from anyio.lowlevel import checkpoint_if_cancelled

    check_callable("broadcast", call)
    cancelled = anyio.get_cancelled_exc_class()

    async def work() -> None:
        while (peer := broadcast.next()) is not None:
            try:
                value = await awaitable(call(peer))
            except cancelled as error:
                await checkpoint_if_cancelled()
                broadcast.raised(peer, error)  # not our cancellation: the call awaited something cancelled
            except Exception as error:  # noqa: BLE001 - whatever a call raises belongs to the caller
                broadcast.raised(peer, error)
            else:
                broadcast.returned(peer, value)

    with anyio.move_on_after(timeout):
        async with anyio.create_task_group() as tasks:
            for _ in range(broadcast.width):
                tasks.start_soon(work)
