"""Forks: the child keeps the set, refreshes by itself and picks from other places; the parent goes on.

Children are ended by this test, by their own pid, should they not end by themselves.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from peerdiscover import DNS, Answer, AsyncDiscovery, Change, ClosedError, Discovery, LookupRequest, Policy
from peerdiscover.testing import HeadlessService
from tests.waiting import LONG

from ._script import run_script
from ._sources import FAILED, Script, pods, told

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    # Python 3.12 warns of what is tested here: a fork while threads run.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

SLOW = 600.0
PATIENT = Policy(max_refresh=SLOW)
QUICK = Policy(min_refresh=0.05, retry_initial=0.05, retry_max=0.05)


class Child:
    """A forked child that runs a function, and what the function returned."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._reads, writes = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(writes)
            return
        try:
            os.close(self._reads)
            try:
                said = {"returned": function()}
            except BaseException:
                said = {"raised": traceback.format_exc()}
            os.write(writes, json.dumps(said).encode())
        finally:
            os._exit(0)

    def result(self, timeout: float = LONG) -> Any:
        """What it returned; its traceback where it raised; an error where it hangs."""
        heard = b""
        try:
            while select.select([self._reads], [], [], timeout)[0]:
                more = os.read(self._reads, 65536)
                if not more:
                    break
                heard += more
            else:
                pytest.fail("the child hangs")
        finally:
            os.close(self._reads)
            os.kill(self.pid, signal.SIGKILL)  # it has said all it had to say
            os.waitpid(self.pid, 0)
        said = json.loads(heard)
        assert "raised" not in said, said["raised"]
        return said["returned"]


@contextmanager
def silent_server() -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def sockets_to(port: int) -> int:
    """How many of this process's sockets are connected to that port."""
    count = 0
    for entry in list(Path("/dev/fd").iterdir()):
        try:
            sock = socket.socket(fileno=int(entry.name))
        except OSError:
            continue
        try:
            count += sock.getpeername()[1] == port
        except (OSError, IndexError):
            pass
        finally:
            sock.detach()
    return count


def test_the_child_sees_what_comes_after_the_fork() -> None:
    with (
        HeadlessService("web.prod", replicas=2, ttl=1, pods=False) as svc,
        Discovery("web.prod:http", source=svc.source, policy=QUICK) as web,
    ):
        generation = web.status.generation

        reads, writes = os.pipe()

        def child() -> list[object]:
            kept = [len(web.peers), web.status.generation]
            os.write(writes, b".")
            return [*kept, len(web.wait(4, timeout=LONG)), len(web.refresh()), web.status.stale]

        one = Child(child)
        other = Child(child)
        with os.fdopen(reads, "rb", buffering=0) as looked, os.fdopen(writes, "wb"):
            assert len(looked.read(1) + looked.read(1)) == 2  # before anything changed
        svc.scale(4)
        assert one.result() == other.result() == [2, generation, 4, 4, False]
        assert len(web.wait(4, timeout=LONG)) == 4
        svc.scale(5)
        assert len(web.wait(5, timeout=LONG)) == 5


def test_children_begin_at_other_places() -> None:
    with Discovery("web", source=Script(pods(*range(100), ttl=SLOW)), policy=PATIENT) as web:
        picker = web.round_robin()
        last = picker.pick()

        def child() -> list[str]:
            assert web.round_robin() is picker
            return [picker.pick().key, web.random().pick().key]

        picks = [child.result() for child in [Child(child) for _ in range(8)]]
        assert len({robin for robin, _ in picks}) > 4
        assert len({anybody for _, anybody in picks}) > 4
        assert picker.pick().ordinal == ((last.ordinal or 0) + 1) % 100  # the parent goes on from its own


def test_a_fork_while_lookups_are_under_way() -> None:
    with silent_server() as silent:
        port = silent.getsockname()[1]
        web = Discovery("web.prod:80", source=DNS(nameservers=[f"127.0.0.1:{port}"]))

        def entered_in_vain() -> None:
            with pytest.raises(ClosedError):
                web.start()

        entering = threading.Thread(target=entered_in_vain)
        entering.start()
        try:
            assert silent.recv(512)
            assert sockets_to(port) > 0

            def child() -> list[object]:
                web.close()
                return [sockets_to(port), threading.active_count()]

            assert Child(child).result() == [0, 1]
        finally:
            web.close()
            entering.join(LONG)


def test_a_fork_while_threads_wait() -> None:
    source = Script(pods(0, ttl=SLOW))
    with Discovery("web", source=source, policy=PATIENT) as web:
        got: list[int] = []

        def waits() -> None:
            got.append(len(web.wait(3, timeout=LONG)))

        def reads() -> None:
            got.append(next(len(change.after) for change in web.changes() if len(change.after) == 3))

        waiting = [threading.Thread(target=call) for call in (waits, reads, waits)]
        for thread in waiting:
            thread.start()

        def child() -> list[object]:
            source.__init__(pods(0, 1, ttl=SLOW))  # type: ignore[misc]  # with a lock of its own
            found: list[object] = [len(web.refresh()), len(web.wait(2, timeout=LONG))]
            with pytest.raises(TimeoutError):
                web.wait(3, timeout=0.1)
            web.close()
            return [*found, threading.active_count()]

        for _ in range(5):
            assert Child(child).result() == [2, 2, 1]
        source.say(pods(0, 1, 2, ttl=SLOW))
        web.refresh()
        for thread in waiting:
            thread.join(LONG)
        assert got == [3, 3, 3]


def test_a_fork_from_a_callback() -> None:
    source = Script(pods(0, ttl=SLOW))
    results: list[object] = []
    done = threading.Event()

    def callback(change: Change) -> None:
        def child() -> list[object]:
            source.__init__(pods(0, 1, 2, 3, ttl=SLOW))  # type: ignore[misc]
            found: list[object] = [len(change.after), len(web.refresh()), len(web.wait(4, timeout=LONG))]
            web.close()
            return found

        results.append(Child(child).result())
        done.set()

    with Discovery("web", source=source, policy=PATIENT) as web:
        web.on_change(callback)
        for n in 2, 3:
            done.clear()
            source.say(pods(*range(n), ttl=SLOW))
            web.refresh()
            assert done.wait(LONG)
        assert results == [[2, 4, 4], [3, 4, 4]]
        assert len(web.refresh()) == 3


class Telling:
    """A watch without a lock: one that is held in the moment of a fork would stay so in the child."""

    kind = "test"

    def __init__(self, *says: Answer) -> None:
        self.says = list(says)
        self.begun = 0

    def watch(self, ask: LookupRequest) -> Iterator[Answer]:
        self.begun += 1
        told = 0
        while not ask.cancelled():
            if told < len(self.says):
                yield self.says[told]
                told += 1
            else:
                time.sleep(0.005)


def test_a_fork_with_a_watch() -> None:
    source = Telling(told(0))
    with Discovery("web", source=source, policy=PATIENT) as web:

        def child() -> list[object]:
            source.says.append(told(0, 1))
            found: list[object] = [len(web.wait(2, timeout=LONG)), source.begun]
            web.close()
            return [*found, threading.active_count()]

        assert Child(child).result() == [2, 2, 1]
        source.says.append(told(0, 1, 2))
        assert len(web.wait(3, timeout=LONG)) == 3
        assert source.begun == 1


def test_a_fork_while_the_source_fails() -> None:
    source = Script(pods(0, ttl=SLOW), FAILED)
    with Discovery("web", source=source, policy=QUICK) as web:
        web.refresh()

        def child() -> list[object]:
            before = [len(web.peers), web.status.stale]
            source.__init__(pods(0, 1, ttl=SLOW))  # type: ignore[misc]
            return [*before, len(web.refresh()), web.status.stale]

        assert Child(child).result() == [1, True, 2, False]


def test_before_the_start_and_after_the_end() -> None:
    new = Discovery("web", source=Script(pods(0, ttl=SLOW)))
    with Discovery("web", source=Script(pods(0, ttl=SLOW))) as over:
        pass

    def child() -> list[object]:
        with pytest.raises(ClosedError, match="not started"):
            new.refresh()
        with pytest.raises(ClosedError, match="closed"):
            over.refresh()
        with new:
            return [len(new.peers), len(over.peers), threading.active_count()]

    assert Child(child).result() == [1, 1, 2]


def test_grandchildren() -> None:
    with Discovery("web", source=Script(pods(0, ttl=SLOW), pods(0, 1, ttl=SLOW)), policy=PATIENT) as web:
        assert Child(lambda: Child(lambda: len(web.refresh())).result()).result() == 2


def test_many_forks_while_many_threads_call() -> None:
    with (
        HeadlessService("web.prod", replicas=3, ttl=1, pods=False) as svc,
        Discovery("web.prod:http", source=svc.source, policy=QUICK) as web,
    ):
        stop = threading.Event()

        def busy() -> None:
            while not stop.wait(0.001):
                web.refresh()
                web.explain()
                web.report_failure(web.peers[0])
                web.on_change(lambda _: None)()
                web.random().pick()

        threads = [threading.Thread(target=busy) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(15):
                assert Child(lambda: [len(web.refresh()), len(web.wait(3, timeout=LONG))]).result() == [3, 3]
        finally:
            stop.set()
            for thread in threads:
                thread.join(LONG)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_discovery_is_closed_in_the_child(backend: str) -> None:
    source = Script(pods(0, 1, ttl=SLOW))

    async def main() -> None:
        async with AsyncDiscovery("web", source=source, policy=PATIENT) as web:
            picker = web.round_robin()

            def child() -> list[object]:
                for call in (picker.pick, web.round_robin, web.changes, lambda: web.ordinal(0)):
                    with pytest.raises(ClosedError, match="closed"):
                        call()
                web.report_failure(web.peers[0])
                return [len(web.peers), web.status.generation, "closed" in web.explain()]

            assert Child(child).result() == [2, 1, True]
            picker.pick()
            source.say(pods(0, 1, 2, ttl=SLOW))
            assert len(await web.refresh()) == 3

    anyio.run(main, backend=backend)


def test_a_subprocess_with_something_to_do_before_it_begins() -> None:
    """`preexec_fn` runs in a forked child, that then becomes another program."""
    import subprocess

    with Discovery("web", source=Script(pods(0, ttl=SLOW)), policy=PATIENT) as web:
        for _ in range(5):
            assert subprocess.run(["true"], preexec_fn=os.getpid, timeout=LONG).returncode == 0
        assert len(web.refresh()) == 1


MULTIPROCESSING = """
import multiprocessing, sys, threading, warnings
from peerdiscover import DNS, Discovery, Policy

POLICY = Policy(min_refresh=0.05)
web = None

def child(nameserver, peers, said):
    if web is None:  # spawned: it has a discovery of its own
        with Discovery("web.prod:http", source=DNS(nameservers=[nameserver]), policy=POLICY) as mine:
            said.put((len(peers), len(mine.wait(4, timeout=60))))
    else:
        said.put((len(peers), len(web.wait(4, timeout=60))))

def main():
    global web
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    context = multiprocessing.get_context(sys.argv[2])
    with Discovery("web.prod:http", source=DNS(nameservers=[sys.argv[1]]), policy=POLICY) as web:
        said = context.Queue()
        children = [context.Process(target=child, args=(sys.argv[1], web.peers, said)) for _ in range(2)]
        for process in children:
            process.start()
        print("scale", flush=True)
        sys.stdin.readline()
        print([said.get(timeout=60) for _ in children], flush=True)
        for process in children:
            process.join(60)
            assert process.exitcode == 0, process.exitcode
        said.close()
        said.join_thread()
        assert len(web.wait(4, timeout=60)) == 4

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    import subprocess
    import sys

    program = tmp_path / "program.py"
    program.write_text(MULTIPROCESSING)
    with HeadlessService("web.prod", replicas=2, ttl=1, pods=False) as svc:
        running = subprocess.Popen(
            [sys.executable, "-W", "error", str(program), svc.nameserver, method],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with running:
            try:
                assert running.stdout is not None
                assert running.stdout.readline() == "scale\n"
                svc.scale(4)
                out, errors = running.communicate("\n", timeout=LONG)
            finally:
                running.kill()
        assert (out, errors, running.returncode) == ("[(2, 4), (2, 4)]\n", "", 0)


FORKED_AND_ENDED = """
import os, sys
from peerdiscover import Answer, Discovery, Endpoint

class Source:
    kind = "test"
    def lookup(self, ask):
        return Answer.of([Endpoint(("10.0.0.1",), 80)], ttl=600)

web = Discovery("web", source=Source()).start()
import warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
pid = os.fork()
if pid == 0:
    web.refresh()
    sys.exit(5)  # ends as a program does, with what is registered for that
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_child_that_ends_as_a_program_does() -> None:
    assert run_script(FORKED_AND_ENDED) == "5\n"


HOOKS = """
import os
import peerdiscover, peerdiscover.discovery.sync  # before all that registers hooks
import threading, warnings
from peerdiscover import Answer, Discovery, Endpoint
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

asked = threading.Event()
early = None

def hook():  # stands for any library's: logging's frees a lock that whoever logs meanwhile waits for
    global early
    early = asked.wait(0.3)

class Source:
    kind = "test"
    def lookup(self, ask):
        asked.set()
        return Answer.of([Endpoint((f"10.0.0.{i}",), 80) for i in range(1, 200)], ttl=600)

os.register_at_fork(after_in_child=hook)
with Discovery("web", source=Source()) as web:
    picker = web.round_robin()
    for _ in range(3):
        asked.clear()
        if os.fork() == 0:
            web.refresh()
            print(early, asked.is_set(), picker.pick().address, flush=True)
            os._exit(0)
        os.wait()
"""


def test_the_child_refreshes_after_what_others_have_to_do_in_it() -> None:
    """Whatever was imported before the discovery was opened, in whatever order."""
    said = [line.split() for line in run_script(HOOKS).splitlines()]
    assert [line[:2] for line in said] == [["False", "True"]] * 3
    assert len({line[2] for line in said}) > 1, "random was seeded anew, before pickers began elsewhere"
