"""The child of a fork: it begins with no line, and neither uses, ends nor holds those of the parent."""

from __future__ import annotations

import json
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.waiting import LONG

from ._flavors import Web, web
from ._pods import Pods, pods
from .test_connections import ends, lines_to, stream

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

FLAVOR = "threads-httpx"


class Child:
    """A fork that runs something, says what came of it, and lives on until it is ended."""

    def __init__(self, run: Callable[[Callable[[], object]], object]) -> None:
        """`run` is given what waits until the parent says `go`."""
        self._reads, writes = os.pipe()
        told, self._tells = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                said = run(lambda: os.read(told, 1))
            except BaseException as error:
                said = repr(error)
            os.write(writes, json.dumps(said).encode())
            while True:
                signal.pause()
        os.close(writes)
        os.close(told)

    def go(self) -> None:
        os.write(self._tells, b".")

    def said(self) -> Any:
        assert select.select([self._reads], [], [], LONG)[0], "the child hangs"
        return json.loads(os.read(self._reads, 65536))

    def end(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._reads)
        os.close(self._tells)


@contextmanager
def child(run: Callable[[Callable[[], object]], object]) -> Iterator[Child]:
    forked = Child(run)
    try:
        yield forked
    finally:
        forked.end()


def leave(service: Pods, client: Web, n: int) -> None:
    """The first n pods leave the set."""
    service.shown = service.all[n:]
    client.refresh()


@pytest.mark.parametrize("left", [False, True])
def test_it_holds_no_line_of_the_parents(left: bool) -> None:
    """A line with an answer that is being read, and an idle one: both end when the parent is through, though
    the child lives, and has them in its memory.
    """
    with pods(2) as service, web(FLAVOR, service.source) as client:
        peer = {"peer": service[0].peer}
        response = client.call(client.client.send, request(client, peer), stream=True)
        client.get(extensions=peer)
        assert service[0].accepted == 2
        if left:
            leave(service, client, 1)
            assert ends(service[0])
        with child(lambda _: [len(lines_to(service[0])), client.get().status_code]) as forked:
            assert forked.said() == [0, 200]
            assert not ends(service[0], 0.05)  # the parent's are whole
            assert response.read() == b"web-0 web.prod"
            client.call(client.client.close)
            for _ in range(1 if left else 2):
                assert ends(service[0])


def request(client: Web, extensions: dict[str, Any]) -> Any:
    return client.client.build_request("GET", "http://web.prod/", extensions=extensions)


def test_what_the_parent_has_under_way_takes_no_place() -> None:
    limits = httpx.Limits(max_connections=1)
    with pods(1) as service, web(FLAVOR, service.source, limits=limits) as client:
        _, read, _ = stream(client, FLAVOR)
        with child(lambda _: [client.get(timeout=2).text for _ in range(2)]) as forked:
            assert forked.said() == ["web-0 web.prod"] * 2
        assert service[0].accepted == 2
        assert read() == b"web-0 web.prod"
        assert client.get().status_code == 200
        assert service[0].accepted == 2  # over the parent's line


def test_it_looks_after_pods_that_leave_by_itself() -> None:
    """The parent waits for the time of a pod that left to be over; so does the child, for one of its own."""
    with pods(3) as service, web(FLAVOR, service.source, drain=1.0) as client:
        _, _, close = stream(client, FLAVOR)
        first = next(n for n, pod in enumerate(service.all) if pod.requests)
        service.all.insert(0, service.all.pop(first))
        leave(service, client, 1)
        service[1].manner = "silent"

        def run(wait: Callable[[], object]) -> str:
            errors: list[str] = []

            def ask() -> None:
                try:
                    client.post(extensions={"peer": service[1].peer}, timeout=15)
                except httpx.HTTPError as error:
                    errors.append(type(error).__name__)

            thread = threading.Thread(target=ask)
            thread.start()
            wait()
            leave(service, client, 2)
            thread.join()
            return errors[0]

        with child(run) as forked:
            assert service[1].heard.acquire(timeout=LONG)
            forked.go()
            assert forked.said() == "RemoteProtocolError"
            service[1].go.set()
        assert ends(service[0])  # its time is over in the parent, too
        close()
