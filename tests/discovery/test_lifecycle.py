"""Starting and closing an AsyncDiscovery: from any task of one event loop, in any order.

And what other libraries make of that: fixtures, start-up hooks, notebooks' cells.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import total_ordering
from pathlib import Path
from typing import Any

import anyio
import pytest

from peerdiscover import (
    AsyncDiscovery,
    ClosedError,
    ConfigurationError,
    Discovery,
    LookupRequest,
    NoPeersError,
    Policy,
    ResolutionTimeoutError,
)
from tests.waiting import LONG

from ._clock import Run, run_virtually
from ._script import run_script
from ._sources import FAILED, AsyncScript, AsyncWatch, Script, pods, told
from .test_ends import BEGIN


def discovery(*, policy: Policy | None = None) -> AsyncDiscovery:
    return AsyncDiscovery("web", source=AsyncScript(pods(0, 1)), policy=policy or Policy())


@pytest.fixture(params=["lookups", "watch"])
def source(request: pytest.FixtureRequest) -> Any:
    return AsyncScript(pods(0, 1)) if request.param == "lookups" else AsyncWatch([(0, told(0, 1))], [])


async def in_a_task(call: Callable[[], Awaitable[Any]]) -> None:
    """Await the call in a task of its own, to its end."""

    async def run() -> None:
        await call()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)


async def nothing_is_left() -> None:
    """No task of ours, in the event loop that runs."""
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        import trio

        root = trio.lowlevel.current_root_task()
        assert root is not None
        names = [task.name for nursery in root.child_nurseries for task in nursery.child_tasks]
    else:
        names = [task.get_name() for task in tasks]
    assert not [name for name in names if name.startswith("peerdiscover")]


# Started and closed


def test_started_and_closed_in_one_task(run: Run, source: Any) -> None:
    async def main() -> None:
        web = AsyncDiscovery("web", source=source)
        assert not web.is_open
        assert await web.start() is web
        assert web.is_open
        assert len(web.peers) == 2
        await web.aclose()
        assert not web.is_open
        assert len(web.peers) == 2
        await web.aclose()
        await nothing_is_left()

    run(main)


def test_started_in_one_task_and_closed_in_another(run: Run, source: Any) -> None:
    async def main() -> None:
        web = AsyncDiscovery("web", source=source)
        await in_a_task(web.start)
        assert len(await web.refresh()) == 2
        await in_a_task(web.aclose)
        with pytest.raises(ClosedError, match="closed"):
            web.random()
        await nothing_is_left()

    run(main)


def test_entered_in_one_task_and_left_in_another(run: Run, source: Any) -> None:
    async def main() -> None:
        web = AsyncDiscovery("web", source=source)
        await in_a_task(web.__aenter__)
        await in_a_task(lambda: web.__aexit__(None, None, None))
        await nothing_is_left()

    run(main)


@pytest.mark.parametrize("order", ["first in, first out", "together"])
def test_several_in_any_order(run: Run, order: str) -> None:
    async def main() -> None:
        webs = [discovery() for _ in range(3)]
        if order == "together":
            async with anyio.create_task_group() as tasks:
                for web in webs:
                    tasks.start_soon(web.start)
        else:
            for web in webs:
                await web.start()
        assert [len(web.peers) for web in webs] == [2, 2, 2]
        for web in webs:
            await web.aclose()
        await nothing_is_left()

    run(main)


def test_no_scope_of_ours_stays_in_the_callers_task(run: Run) -> None:
    """A scope that was entered before it is left while the discovery is open."""

    async def main() -> None:
        web = discovery()
        with anyio.CancelScope():
            await web.start()
        with anyio.move_on_after(1) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert len(await web.refresh()) == 2
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(web.aclose)

    run(main)


def test_cancelling_the_task_that_started_it_leaves_it_open(run: Run) -> None:
    async def main() -> None:
        web = discovery()
        with anyio.move_on_after(1):
            await web.start()
            await anyio.sleep_forever()
        assert web.is_open
        assert len(await web.refresh()) == 2
        await web.aclose()

    run(main)


def test_closing_before_its_task_has_run(run: Run, source: Any) -> None:
    """Nothing is awaited between the two: the event loop has not come to it yet."""

    async def main() -> None:
        web = AsyncDiscovery("web", source=source)
        await web.start(wait=False)
        await web.aclose()
        assert not web.is_open
        await nothing_is_left()

    run(main)


# Starting one that is open


def test_a_second_start_does_nothing(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0, 1, ttl=600))
        async with AsyncDiscovery("web", source=source) as web:
            assert await web.start() is await web.start(wait=False) is web
            source.say(pods())
            assert len(source.asks) == 1
        with pytest.raises(ClosedError, match="make a new one"):
            await web.start()

    run(main)


def test_a_second_start_of_one_that_lost_its_peers_does_not_wait(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0))
        async with AsyncDiscovery("web", source=source, policy=Policy(on_empty="accept")) as web:
            source.say(pods())
            await web.refresh()
            assert len(web.peers) == 0
            began = anyio.current_time()
            await web.start()
            assert anyio.current_time() == began

    run(main)


def test_starts_at_once_share_the_wait(run: Run) -> None:
    """A lazy singleton, used by several requests at once: one of them is cancelled, and the others go on."""

    async def main() -> None:
        source = AsyncScript(pods(0, 1), takes=2)
        web = AsyncDiscovery("web", source=source)
        found: list[int] = []

        async def use() -> None:
            await web.start()
            found.append(len(web.peers))

        async with anyio.create_task_group() as tasks:

            async def cancelled() -> None:
                with anyio.move_on_after(1):
                    await use()

            tasks.start_soon(cancelled)
            await anyio.sleep(0.5)
            tasks.start_soon(use)
            tasks.start_soon(use)
        assert found == [2, 2]
        assert len(source.asks) == 1
        await web.aclose()

    run(main)


def test_a_start_that_waits_for_one_that_did_not(run: Run) -> None:
    async def main() -> None:
        web = AsyncDiscovery("web", source=AsyncScript(pods(0, 1), takes=2))
        began = anyio.current_time()
        await web.start(wait=False)
        assert anyio.current_time() == began
        assert (web.is_open, len(web.peers)) == (True, 0)
        await web.start()
        assert anyio.current_time() == began + 2
        assert len(web.peers) == 2
        await web.aclose()

    run(main)


def test_in_threads_it_is_the_same() -> None:
    source = Script(pods(0, 1, ttl=600))
    web = Discovery("web", source=source)
    assert not web.is_open
    assert web.start(wait=False) is web.start() is web
    assert web.is_open
    assert len(web.peers) == 2
    web.close()
    assert not web.is_open
    failing = Discovery("web", source=Script(FAILED), policy=Policy(ready_timeout=0.1))
    failing.start(wait=False)
    with pytest.raises(ResolutionTimeoutError):
        failing.start()
    assert failing.is_open  # the first start succeeded, and its caller closes it
    failing.close()
    alone = Discovery("web", source=Script(FAILED), policy=Policy(ready_timeout=0.1))
    with pytest.raises(ResolutionTimeoutError):
        alone.start()
    assert not alone.is_open


# Failures and cancellation


@pytest.mark.parametrize("answer", [FAILED, pods()], ids=["failed", "empty"])
def test_starting_without_waiting_while_dns_fails(run: Run, answer: Any) -> None:
    async def main() -> None:
        source = AsyncScript(answer)
        web = await AsyncDiscovery("web", source=source).start(wait=False)
        await anyio.sleep(10)
        with pytest.raises(NoPeersError):
            web.round_robin().pick()
        source.say(pods(0))
        assert len(await web.wait(1, timeout=10)) == 1
        await web.aclose()
        await nothing_is_left()

    run(main)


def test_a_start_that_fails_leaves_nothing(run: Run) -> None:
    async def main() -> None:
        web = AsyncDiscovery("web", source=AsyncScript(FAILED), policy=Policy(ready_timeout=3))
        with pytest.raises(ResolutionTimeoutError):
            await web.start()
        assert not web.is_open
        await nothing_is_left()

    run(main)


def test_a_cancelled_start_leaves_nothing(run: Run) -> None:
    async def main() -> None:
        web = AsyncDiscovery("web", source=AsyncScript(FAILED))
        with anyio.move_on_after(3) as scope:
            await web.start()
        assert scope.cancelled_caught
        assert not web.is_open
        await nothing_is_left()

    run(main)


def test_a_cancelled_close_leaves_nothing(run: Run) -> None:
    """The task has ended when it returns, though the source takes its time to end."""
    ended: list[bool] = []

    class Slow:
        kind = "test"

        async def lookup(self, _: LookupRequest) -> Any:
            if ended or not asked:
                asked.append(True)
                return pods(0, ttl=1)
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.5)
                ended.append(True)

    asked: list[bool] = []

    async def main() -> None:
        web = await AsyncDiscovery("web", source=Slow()).start()
        await anyio.sleep(5)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await web.aclose()
        assert ended == [True]
        await nothing_is_left()

    run(main)


def test_asyncio_cancels_a_start_and_a_close() -> None:
    async def main() -> None:
        web = AsyncDiscovery("web", source=AsyncScript(FAILED))
        starting = asyncio.create_task(web.start())
        await asyncio.sleep(3)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not web.is_open
        await nothing_is_left()
        web = await discovery().start()
        closing = asyncio.create_task(web.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        await asyncio.sleep(0.1)
        assert not web.is_open
        await nothing_is_left()

    run_virtually("asyncio", main)


def test_a_source_that_closes_its_discovery_does_not_wait_for_itself(run: Run) -> None:
    webs: list[AsyncDiscovery] = []

    class Closing:
        kind = "test"

        async def lookup(self, _: LookupRequest) -> Any:
            if webs[0].peers:
                await webs[0].aclose()
            return pods(0, ttl=1)

    async def main() -> None:
        webs.append(AsyncDiscovery("web", source=Closing()))
        await webs[0].start()
        await anyio.sleep(5)
        assert not webs[0].is_open
        await nothing_is_left()

    run(main)


def test_what_waits_learns_that_it_was_closed(run: Run) -> None:
    async def main() -> None:
        web = await discovery().start()

        async def wait() -> None:
            with pytest.raises(ClosedError):
                await web.wait(9)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            await web.aclose()

    run(main)


# The event loop


def test_the_event_loop_closes_one_that_was_left_open(run: Run, source: Any) -> None:
    webs: list[AsyncDiscovery] = []

    async def main() -> None:
        webs.append(await AsyncDiscovery("web", source=source).start())
        await anyio.sleep(1)

    run(main)
    assert not webs[0].is_open
    assert len(webs[0].peers) == 2
    assert webs[0].status.generation == 1


def test_one_that_nothing_refers_to_goes_on() -> None:
    """asyncio refers to tasks weakly: this one waits for nothing that would keep it."""
    seen: list[int] = []

    async def main() -> None:
        source = AsyncWatch([(0, told(0)), (50, told(0, 1))])
        web = await AsyncDiscovery("web", source=source).start()
        web.on_change(lambda change: seen.append(len(change.after)))
        del web
        gc.collect()
        await anyio.sleep(100)

    run_virtually("asyncio", main)
    assert seen == [2]


def test_it_keeps_no_context_of_a_request() -> None:
    variable = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    async def main() -> None:
        source = AsyncScript(pods(0, ttl=1), pods(0, 1, ttl=1))
        web = AsyncDiscovery("web", source=source)
        variable.set("request 7")
        await web.start()
        web.on_change(lambda _: seen.append(variable.get()))
        await web.wait(2)
        await anyio.sleep(1)
        await web.aclose()

    run_virtually("asyncio", main)
    assert seen == ["none"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("run", ["asyncio.run(main())", "anyio.run(main, backend='trio')"])
def test_ctrl_c_in_a_callback_ends_the_program(run: str) -> None:
    """The callback runs in a task that the program does not wait for."""
    text = """
def interrupted(change):
    raise KeyboardInterrupt
async def main():
    web = await AsyncDiscovery('web', source=Source()).start()
    web.on_change(interrupted)
    web._runtime.source.lookup = lambda ask: ONE.replace(endpoints=(Endpoint(("10.0.0.2",), 80),))
    await web.refresh()
    await anyio.sleep(50)
try:
"""
    assert run_script(f"{BEGIN}{text}    {run}\nexcept KeyboardInterrupt:\n    print('ended')") == "ended\n"


PROGRAMS = {
    "left open": "web = await AsyncDiscovery('web', source=Source()).start()",
    "left open while asking": """
    source = Awaited()
    web = await AsyncDiscovery('web', source=source).start()
    await source.asked.wait()
""",
    "started and referred to by nothing": "await AsyncDiscovery('web', source=Source()).start()",
    "never awaited further": "await AsyncDiscovery('web', source=Source()).start(wait=False)",
    "cancelled with all tasks": """
    web = await AsyncDiscovery('web', source=Source()).start()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)
    await web.aclose()
    assert not web.is_open
""",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_ends_in_silence(program: str) -> None:
    body = "\n".join(f"    {line}" if line[:1] != " " else line for line in PROGRAMS[program].splitlines())
    text = f"{BEGIN}\nasync def main():\n    global web\n{body}\nasyncio.run(main())\nprint('end')"
    assert run_script(text) == "end\n"


# What others make of it


NOTEBOOK = """
import ast, inspect
# As IPython does: one event loop, each cell a task of its own.
loop = asyncio.new_event_loop()
scope = dict(globals())
def cell(text):
    code = compile(text, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    coroutine = eval(code, scope)
    if inspect.iscoroutine(coroutine):
        loop.run_until_complete(coroutine)
cell("web = AsyncDiscovery('web', source=Source())")
cell("await web.__aenter__()")
cell("print(len(await web.refresh()), web.round_robin().pick().address)")
cell("await web.aclose()")
cell("print(web.is_open)")
loop.close()
"""


def test_cells_of_a_notebook() -> None:
    assert run_script(BEGIN + NOTEBOOK) == "1 10.0.0.1\nFalse\n"


AIOHTTP = """
from aiohttp import web as http
events = []
async def pods(app):
    async with AsyncDiscovery('web', source=Source()) as app['web']:
        os.kill(os.getpid(), signal.SIGTERM)
        yield
    events.append("left")
app = http.Application()
app.cleanup_ctx.append(pods)
import warnings
warnings.simplefilter("ignore")
http.run_app(app, host="127.0.0.1", port=0, print=None)
print(*events)
"""


def test_aiohttp_leaves_it_at_sigterm() -> None:
    pytest.importorskip("aiohttp")
    assert run_script(BEGIN + AIOHTTP) == "left\n"


HOOKS = """
class App:
    def __init__(self, on_startup, on_shutdown):
        self.on_startup, self.on_shutdown = on_startup, on_shutdown

# As servers do: the hooks run in the task of the lifespan, requests in others; some use one task for each.
async def serve(app, each_in_a_task):
    async def call(hook):
        await (asyncio.create_task(hook()) if each_in_a_task else hook())
    for hook in app.on_startup:
        await call(hook)
    print(*[len(await asyncio.create_task(web.refresh())) for web in webs])
    for hook in app.on_shutdown:
        await call(hook)
    print(*[web.is_open for web in webs])

for each_in_a_task in False, True:
    webs = [AsyncDiscovery('web', source=Source()) for _ in range(2)]
    app = App([web.start for web in webs], [web.aclose for web in webs])
    asyncio.run(serve(app, each_in_a_task))
"""


def test_hooks_of_a_server_that_close_in_the_order_of_opening() -> None:
    assert run_script(BEGIN + HOOKS) == "1 1\nFalse False\n" * 2


@pytest.fixture
async def opened() -> AsyncIterator[AsyncDiscovery]:
    async with discovery() as web:
        yield web


@pytest.mark.anyio
async def test_a_fixture_of_anyio(opened: AsyncDiscovery) -> None:
    assert len(await opened.refresh()) == 2


PYTEST_ASYNCIO = """
import asyncio
import pytest, pytest_asyncio
from peerdiscover import Answer, AsyncDiscovery, Endpoint

class Source:
    kind = "test"
    def lookup(self, ask):
        return Answer.of([Endpoint(("10.0.0.1",), 80)], ttl=600)

@pytest_asyncio.fixture
async def entered():
    async with AsyncDiscovery("web", source=Source()) as web:
        yield web

@pytest_asyncio.fixture
async def started():
    web = await AsyncDiscovery("web", source=Source()).start()
    yield web
    await web.aclose()

@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared():
    async with AsyncDiscovery("web", source=Source()) as web:
        yield web

@pytest.mark.asyncio
async def test_fixtures(entered, started):
    assert len(await entered.refresh()) == len(await started.refresh()) == 1

@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("i", [1, 2])
async def test_module(shared, i):
    assert len(await shared.refresh()) == 1
"""


def test_fixtures_of_pytest_asyncio(tmp_path: Path) -> None:
    pytest.importorskip("pytest_asyncio")
    (tmp_path / "test_it.py").write_text(PYTEST_ASYNCIO)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LONG)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
webs = [AsyncDiscovery('web', source=Source()) for _ in range(2)]
async def hello(request):
    return PlainTextResponse(webs[0].round_robin().pick().address)
from contextlib import asynccontextmanager
@asynccontextmanager
async def lifespan(app):
    for web in webs:
        await web.start()
    yield
    for web in webs:
        await web.aclose()
app = Starlette(routes=[Route("/", hello)], lifespan=lifespan)
"""

LITESTAR = """
from litestar import Litestar, get
webs = [AsyncDiscovery('web', source=Source()) for _ in range(2)]
@get("/")
async def hello() -> str:
    return webs[0].round_robin().pick().address
async def start_all():  # Litestar gives the application to a hook that has a parameter, as start() has
    for web in webs:
        await web.start()
app = Litestar([hello], on_startup=[start_all], on_shutdown=[web.aclose for web in webs], logging_config=None)
"""

ASGI = """
async def serve(app):
    # A server that speaks ASGI: the lifespan is one task, each request another.
    to_app, from_app = asyncio.Queue(), asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    lifespan = asyncio.create_task(app(scope, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"
    sent = []
    async def receive():
        return {"type": "http.request", "body": b""}
    async def send(message):
        sent.append(message)
    request = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "root_path": "",
               "scheme": "http", "query_string": b"", "headers": [], "http_version": "1.1", "client": None,
               "server": ("127.0.0.1", 80), "asgi": {"version": "3.0"}, "state": {}, "app": app}
    await asyncio.create_task(app(request, receive, send))
    print(b"".join(message.get("body", b"") for message in sent).decode())
    await to_app.put({"type": "lifespan.shutdown"})
    answer = await from_app.get()
    assert answer["type"] == "lifespan.shutdown.complete", answer
    await lifespan
    print(*[web.is_open for web in webs])

asyncio.run(serve(app))
"""


@pytest.mark.parametrize(("library", "program"), [("starlette", STARLETTE), ("litestar", LITESTAR)])
def test_hooks_of(library: str, program: str) -> None:
    pytest.importorskip(library)
    begin = "import warnings\nwarnings.simplefilter('ignore')\n"
    assert run_script(begin + BEGIN + program + ASGI) == "10.0.0.1\nFalse False\n"


@pytest.mark.parametrize("given", ["3", None, 1.5, float("nan")])
@pytest.mark.anyio
async def test_a_number_of_peers_is_a_whole_number(given: Any) -> None:
    shown = rf"wait\(min_peers={given!r}\): expected a whole number"
    with Discovery("static:10.0.0.1:80") as web, pytest.raises(ConfigurationError, match=shown):
        web.wait(min_peers=given)
    async with AsyncDiscovery("static:10.0.0.1:80") as web_async:
        with pytest.raises(ConfigurationError, match=shown):
            await web_async.wait(min_peers=given)


@total_ordering
class OneOfNumPy:
    """A whole number that is no `int`, as NumPy's are."""

    def __index__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return other == 1

    def __lt__(self, other: int) -> bool:
        return other > 1

    __hash__ = None  # type: ignore[assignment]


def test_numbers_of_peers_may_be_numpy_s() -> None:
    one: Any = OneOfNumPy()
    with Discovery("static:10.0.0.1:80,10.0.0.2:80") as web:
        assert len(web.wait(min_peers=one)) == 2
        assert len(web.broadcast(str, limit=one).results) == 2
