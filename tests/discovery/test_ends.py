"""Ends: of a body by an exception, of an event loop, of a process. Nothing hangs, nothing is left."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import anyio
import pytest

from peerdiscover import AsyncDiscovery, ClosedError, Discovery, Policy, ResolutionTimeoutError

from ._clock import Run, run_virtually
from ._script import run_script
from ._sources import FAILED, AsyncScript, AsyncWatch, Script, pods, told


@pytest.fixture(params=["idle", "asking", "watching"])
def source(request: pytest.FixtureRequest) -> Any:
    """What the refreshing task does while the body ends."""
    if request.param == "watching":
        return AsyncWatch([(0, told(0)), (1e9, told(0))])
    script = AsyncScript(pods(0, ttl=1 if request.param == "asking" else 600))

    if request.param == "asking":
        first, lookup = True, script.lookup

        async def hangs(ask: Any) -> Any:
            nonlocal first
            if not first:
                await anyio.sleep_forever()
            first = False
            return await lookup(ask)

        script.lookup = hangs  # type: ignore[method-assign]
    return script


# The body of `async with`


class FaultError(Exception):
    """The body's own."""


@pytest.mark.parametrize(
    "error",
    [
        FaultError("x"),
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        StopAsyncIteration(),
        ExceptionGroup("the body's", [FaultError(), ExceptionGroup("inner", [OSError()])]),
        BaseExceptionGroup("the body's", [SystemExit()]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_body_raises_comes_out_as_itself(run: Run, source: Any, error: BaseException) -> None:
    caught: list[BaseException] = []

    async def main() -> None:
        web = AsyncDiscovery("web", source=source)
        try:
            async with web:
                await anyio.sleep(2)
                raise error
        except BaseException as raised:
            caught.append(raised)
        with pytest.raises(ClosedError):
            web.round_robin()
        assert len(web.peers) == 1

    run(main)
    assert caught == [error]
    assert caught[0] is error
    assert error.__cause__ is None


def test_a_task_group_in_the_body(run: Run, source: Any) -> None:
    async def fails() -> None:
        raise FaultError

    async def main() -> None:
        async def body() -> None:
            async with AsyncDiscovery("web", source=source), anyio.create_task_group() as tasks:
                tasks.start_soon(fails)
                await anyio.sleep(50)

        with pytest.raises(ExceptionGroup) as caught:
            await body()
        assert [type(error) for error in caught.value.exceptions] == [FaultError]

    run(main)


def test_it_may_be_left_by_return(run: Run, source: Any) -> None:
    async def inner() -> int:
        async with AsyncDiscovery("web", source=source) as web:
            return len(web.peers)

    async def main() -> None:
        for _ in range(1):
            assert await inner() == 1

    run(main)


def test_an_outer_scope_cancels_it(run: Run, source: Any) -> None:
    async def main() -> None:
        web = AsyncDiscovery("web", source=source)
        with anyio.move_on_after(3) as scope:
            async with web:
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(ClosedError):
            web.random()
        await anyio.sleep(1)  # and nothing is cancelled any more

    run(main)


def test_an_outer_scope_cancels_entering(run: Run) -> None:
    async def main() -> None:
        web = AsyncDiscovery("web", source=AsyncScript(FAILED))
        with anyio.move_on_after(3) as scope:
            async with web:
                raise AssertionError
        assert scope.cancelled_caught
        with pytest.raises(ClosedError, match="closed"):
            web.random()
        await anyio.sleep(1)

    run(main)


def test_entering_in_vain_raises_no_group(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ResolutionTimeoutError):
            async with AsyncDiscovery("web", source=AsyncScript(FAILED), policy=Policy(ready_timeout=3)):
                raise AssertionError

    run(main)


def test_an_error_of_the_body_while_an_outer_scope_cancels(run: Run, source: Any) -> None:
    async def main() -> None:
        scope = anyio.CancelScope(deadline=anyio.current_time() + 3)

        async def body() -> None:
            with scope:
                async with AsyncDiscovery("web", source=source):
                    try:
                        await anyio.sleep_forever()
                    finally:
                        raise FaultError

        with pytest.raises(FaultError):
            await body()
        assert scope.cancel_called
        await anyio.sleep(1)

    run(main)


def test_asyncio_timeout(source: Any) -> None:
    async def main() -> None:
        async def body() -> None:
            async with asyncio.timeout(3), AsyncDiscovery("web", source=source):
                await asyncio.sleep(100)

        with pytest.raises(TimeoutError):
            await body()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(1)

    run_virtually("asyncio", main)


def test_asyncio_cancels_the_task(source: Any) -> None:
    async def body() -> None:
        async with AsyncDiscovery("web", source=source):
            await asyncio.sleep(100)

    async def main() -> None:
        task = asyncio.create_task(body())
        await asyncio.sleep(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert len(asyncio.all_tasks()) == 1

    run_virtually("asyncio", main)


def test_an_asyncio_task_group_around_it(source: Any) -> None:
    async def body() -> None:
        async with AsyncDiscovery("web", source=source):
            await asyncio.sleep(100)

    async def fails() -> None:
        await asyncio.sleep(3)
        raise FaultError

    async def main() -> None:
        async def both() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(body())
                tasks.create_task(fails())

        with pytest.raises(ExceptionGroup) as caught:
            await both()
        assert [type(error) for error in caught.value.exceptions] == [FaultError]
        assert len(asyncio.all_tasks()) == 1

    run_virtually("asyncio", main)


# The event loop


@pytest.mark.parametrize("ends", ["by an exception", "by returning"])
def test_asyncio_run_ends_while_one_is_open(source: Any, ends: str) -> None:
    """It was entered by hand and never left: its task is cancelled with all the others, and ends."""
    webs: list[AsyncDiscovery] = []
    tasks: list[asyncio.Task[Any]] = []

    async def main() -> None:
        web = AsyncDiscovery("web", source=source)
        webs.append(await web.__aenter__())
        await asyncio.sleep(3)
        tasks.extend(asyncio.all_tasks())
        if ends == "by an exception":
            raise FaultError

    if ends == "by an exception":
        with pytest.raises(FaultError):
            run_virtually("asyncio", main)
    else:
        run_virtually("asyncio", main)
    assert len(webs[0].peers) == 1
    assert webs[0].status.generation == 1
    assert len(tasks) >= 2
    assert all(task.done() for task in tasks)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_ends_while_a_discovery_for_threads_is_open(backend: str) -> None:
    web = Discovery("web", source=Script(pods(0, ttl=600)))

    async def main() -> None:
        web.start()
        raise FaultError

    with pytest.raises(FaultError):
        anyio.run(main, backend=backend)
    assert len(web.refresh()) == 1
    web.close()


def test_one_after_the_other_on_several_loops() -> None:
    from peerdiscover import Endpoint, Static

    source = Static([Endpoint(("10.0.0.1",), 80)])

    async def main() -> None:
        async with AsyncDiscovery("web", source=source) as web:
            assert len(await web.refresh()) == 1
        assert web.status.generation == 1

    for backend in ["asyncio", "trio"] * 2:
        anyio.run(main, backend=backend)


# The process

BEGIN = """
import asyncio, anyio, os, signal, socket, sys, threading
from peerdiscover import DNS, Answer, AsyncDiscovery, Discovery, Endpoint, Policy

ONE = Answer.of([Endpoint(("10.0.0.1",), 80)], ttl=600)

class Source:
    kind = "test"
    def lookup(self, ask):
        return ONE

class Hangs(Source):
    def __init__(self):
        self.asked = threading.Event()
        self.first = True
    def lookup(self, ask):
        if self.first:
            self.first = False
            return ONE.replace(ttl=0.1)
        self.asked.set()
        while not ask.cancelled():
            threading.Event().wait(0.01)
        return ONE

class Watched:
    kind = "test"
    def watch(self, ask):
        yield ONE.replace(authoritative=True)
        while not ask.cancelled():
            threading.Event().wait(0.01)

async def forever():
    await asyncio.sleep(1000)

class Awaited(Source):
    def __init__(self):
        self.asked = None
        self.first = True
    async def lookup(self, ask):
        if self.first:
            self.first = False
            self.asked = asyncio.Event()
            return ONE.replace(ttl=0.1)
        self.asked.set()
        await forever()
"""

PROGRAMS: dict[str, tuple[str, int]] = {
    "open": ("web = Discovery('web', source=Source()).start()", 0),
    "open, and referred to by nothing": ("Discovery('web', source=Source()).start()", 0),
    "open, in a cycle": ("web = Discovery('web', source=Source()).start(); web.me = web", 0),
    "static": ("web = Discovery('static:10.0.0.1:80').start()", 0),
    "never started": ("web = Discovery('web', source=Source())", 0),
    "asking": ("source = Hangs(); web = Discovery('web', source=source).start(); source.asked.wait()", 0),
    "watching": ("web = Discovery('web', source=Watched()).start()", 0),
    "sys.exit": ("web = Discovery('web', source=Source()).start(); sys.exit(3)", 3),
    "asking a silent server": (
        """
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 0))
policy = Policy(min_peers=0, timeout=60)
source = DNS(nameservers=[f"127.0.0.1:{silent.getsockname()[1]}"])
web = Discovery("web.prod:80", source=source, policy=policy)
threading.Thread(target=lambda: web.start(), daemon=True).start()
silent.recv(512)
threading.excepthook = lambda args: None  # who waits is told that it is closed
silent.close()
""",
        0,
    ),
    "threads that wait": (
        """
web = Discovery('web', source=Source()).start()
threading.excepthook = lambda args: None
for call in (lambda: web.wait(5), lambda: list(web.changes())):
    threading.Thread(target=call, daemon=True).start()
""",
        0,
    ),
    "asyncio.run, left by hand": (
        """
async def main():
    global web
    web = await AsyncDiscovery('web', source=Source()).__aenter__()
asyncio.run(main())
""",
        0,
    ),
    "asyncio.run, left by hand while asking": (
        """
async def main():
    global web
    source = Awaited()
    web = await AsyncDiscovery('web', source=source).__aenter__()
    await source.asked.wait()
asyncio.run(main())
""",
        0,
    ),
    "asyncio.run, by sys.exit while asking": (
        """
async def main():
    source = Awaited()
    async with AsyncDiscovery('web', source=source) as web:
        await source.asked.wait()
        sys.exit(4)
asyncio.run(main())
""",
        4,
    ),
    "a source that blocks, in asyncio.run": (
        """
async def main():
    source = Hangs()
    async with AsyncDiscovery('web', source=source) as web:
        await anyio.to_thread.run_sync(source.asked.wait)
        sys.exit(5)
asyncio.run(main())
""",
        5,
    ),
    "both, one in the other": (
        """
async def main():
    with Discovery('web', source=Source()):
        async with AsyncDiscovery('web', source=Source()):
            sys.exit(6)
asyncio.run(main())
""",
        6,
    ),
    "in a thread of its own": (
        """
def run():
    async def main():
        async with AsyncDiscovery('web', source=Source()) as web:
            await web.refresh()
    asyncio.run(main())
thread = threading.Thread(target=run)
thread.start()
thread.join()
""",
        0,
    ),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_ends_in_silence(program: str) -> None:
    text, status = PROGRAMS[program]
    assert run_script(BEGIN + text + "\nprint('end')" * (not status), status=status) == "end\n" * (not status)


INTERRUPTED = """
except KeyboardInterrupt:
    print("interrupted")
except BaseExceptionGroup as group:
    assert group.split(KeyboardInterrupt)[1] is None, group
    print("interrupted")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    "text",
    [
        """
with Discovery('web', source=Source()) as web:
    os.kill(os.getpid(), signal.SIGINT)
    web.wait(5)
""",
        """
async def main():
    async with AsyncDiscovery('web', source=Source()) as web:
        os.kill(os.getpid(), signal.SIGINT)
        await web.wait(5)
asyncio.run(main())
""",
        """
import trio
async def main():
    async with AsyncDiscovery('web', source=Source()) as web:
        os.kill(os.getpid(), signal.SIGINT)
        await web.wait(5)
trio.run(main)
""",
    ],
    ids=["threads", "asyncio", "trio"],
)
def test_ctrl_c(text: str) -> None:
    """It comes out of whatever waits, and the program ends by it."""
    body = "".join(f"    {line}\n" for line in text.strip().splitlines())
    assert run_script(f"{BEGIN}\ntry:\n{body}{INTERRUPTED}") == "interrupted\n"


def test_importing_starts_nothing() -> None:
    text = "import sys, threading, peerdiscover\npeerdiscover.Discovery\nprint(threading.active_count())"
    assert run_script(text) == "1\n"
