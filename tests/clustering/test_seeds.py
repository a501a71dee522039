"""A thousand worlds in virtual time, each from a seed: for mistakes in the code, and for how long it takes.

Each pod is an `abootstrap`, or a `bootstrap` in a thread: while that runs, nothing else does. For half a
minute DNS shows a part of the pods, old addresses, or none; probes and joins are lost, and late by up to ten
seconds; `form` and `join` fail; pods crash. Then all that ends. A few of the worlds have an `AsyncDiscovery`
in each pod, the others a stand-in that costs a tenth. (Rules that are wrong hardly ever show here: see
`test_model`.)
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

import anyio
import pytest

from peerdiscover import (
    Answer,
    AsyncDiscovery,
    Endpoint,
    Identity,
    LookupRequest,
    Outcome,
    Peer,
    PeerSet,
    Receipt,
)
from peerdiscover.clustering import ContactPoint, Standing, _bootstrap, abootstrap, bootstrap
from tests.discovery._clock import run_virtually

Pods = Literal["tasks", "threads", "discoveries"]

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

BOUND = 120.0
"""Virtual seconds after the last fault until all are in one cluster: DNS is asked again after at most 30 s,
old names are held for 30 s, and a round takes 10 s at most."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    log = logging.getLogger("peerdiscover")
    level = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(level)


class Pod:
    """One life."""

    def __init__(self, contact: ContactPoint) -> None:
        self.contact = contact
        self.enters: str | None = None
        """The cluster that it forms, or whose members took its join."""
        self.scope = anyio.CancelScope()

    @property
    def cluster(self) -> str | None:
        return self.contact.standing.cluster or self.enters


class View:
    """A stand-in for an `AsyncDiscovery`: what DNS shows changes from round to round, or does not."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self.peers = PeerSet("web")

    async def broadcast(self, *_: object, **__: object) -> Receipt[Standing]:
        """Each answer is made at its own moment; what takes longer than a probe may is lost."""
        world = self._world
        if not world.faults or world.random.random() < 0.5:
            answer = await world.lookup()
            if answer.outcome is not Outcome.FAILED:
                self.peers = PeerSet("web", [self._peer(endpoint) for endpoint in answer.endpoints])
        results: dict[Peer, Standing] = {}
        errors: dict[Peer, BaseException] = {}
        began = anyio.current_time()
        delays = [(world.delay() + world.delay(), peer) for peer in self.peers.others]
        for after, peer in sorted(delays, key=itemgetter(0)):
            if after > 2:
                errors[peer] = TimeoutError()
                continue
            await anyio.sleep(began + after - anyio.current_time())
            if (pod := world.at(peer)) is None:
                errors[peer] = ConnectionRefusedError()
            else:
                results[peer] = pod.contact.standing
        if errors:
            await anyio.sleep(began + 2 - anyio.current_time())
        return Receipt(results, errors, 1, (), ())

    def _peer(self, endpoint: Endpoint) -> Peer:
        name = endpoint.hostname or ""
        return Peer(name, endpoint.addresses[0], 80, hostname=name, is_self=name == self._name)

    def report_failure(self, peer: Peer, error: BaseException) -> None: ...
    def report_success(self, peer: Peer) -> None: ...


class Threaded:
    """A function in a thread, whose calls the event loop awaits for it: so a thread lives in virtual time."""

    time = threading.local()
    """In each such thread: `sleep` and `monotonic`, of the event loop."""

    def __init__(self) -> None:
        self._to_loop: SimpleQueue[Awaitable[Any] | None] = SimpleQueue()
        self._to_thread: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def calling(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        """`function`, to be called in the thread."""

        def call(*args: Any, **options: Any) -> Any:
            self._to_loop.put(function(*args, **options))
            value, error = self._to_thread.get()
            if error is not None:
                raise error
            return value

        return call

    async def run(self, main: Callable[[], object]) -> None:
        """Run `main` to its end. If this task is cancelled, the call that `main` waits for raises that."""
        raised: list[BaseException] = []

        now = asyncio.get_running_loop().time

        def work() -> None:
            self.time.sleep, self.time.monotonic = self.calling(anyio.sleep), now
            try:
                main()
            except BaseException as error:
                raised.append(error)
            self._to_loop.put(None)

        thread = threading.Thread(target=work)
        thread.start()
        while (awaitable := self._to_loop.get()) is not None:
            try:
                value = await awaitable
            except BaseException as error:
                self._to_thread.put((None, error))
            else:
                self._to_thread.put((value, None))
        thread.join()
        if raised:
            raise raised[0]


class World:
    kind = "test"

    def __init__(self, seed: int, tasks: TaskGroup, pods: Pods) -> None:
        self.random = random.Random(seed)
        self.pods_are = pods
        self.n = self.random.randint(1, 15)
        self.founders = tuple(f"web-{i}" for i in range(self.random.randint(1, self.n)))
        self.crashes = self.random.randint(0, 12 * self.n)
        self.has_disks = self.random.random() < 0.5
        self.faults = True
        self.pods: list[Pod | None] = [None] * self.n
        self.disks: list[str | None] = [None] * self.n
        self._tasks = tasks
        self.split: set[str | None] = set()

    # What others see of it

    async def lookup(self, request: LookupRequest | None = None) -> Answer:  # noqa: ARG002 - a source's
        await anyio.sleep(0.01)
        numbers = list(range(self.n))
        addresses = list(numbers)
        if self.faults:
            if self.random.random() < 0.2:
                return Answer.failed("SERVFAIL")
            if self.random.random() < 0.3:
                numbers = self.random.sample(numbers, self.random.randint(0, self.n))
            if self.random.random() < 0.2:
                self.random.shuffle(addresses)
        return Answer.of([Endpoint((f"10.0.0.{1 + addresses[i]}",), 80, f"web-{i}") for i in numbers], ttl=5)

    def at(self, peer: Peer) -> Pod | None:
        return self.pods[int(peer.address.rpartition(".")[2]) - 1]

    def delay(self) -> float:
        """Seconds that a message takes, or a process that pauses; infinite if it is lost."""
        chance = self.random.random() if self.faults else 1.0
        return math.inf if chance < 0.1 else self.random.uniform(0, 10 if chance < 0.15 else 0.1)

    async def send(self, peer: Peer) -> Pod:
        """A request reaches the pod that is at the address of `peer`, late or never."""
        await anyio.sleep(self.delay())
        pod = self.at(peer)
        if pod is None:
            raise ConnectionRefusedError
        return pod

    def wait(self, state: object) -> float:  # noqa: ARG002 - tenacity's
        """Seconds between two rounds, from the seed: so that a world is the same each time."""
        return self.random.uniform(1, 1.2)

    async def probe(self, peer: Peer) -> Standing:
        with anyio.fail_after(2):
            standing = (await self.send(peer)).contact.standing
            await anyio.sleep(self.delay())
            return standing

    # What a pod does

    async def run(self, i: int) -> None:
        pod = self.pods[i] = Pod(ContactPoint(f"web-{i}", self.founders, cluster=self.disks[i]))

        async def form(cluster: str) -> None:
            with self.entering(i, pod, cluster), anyio.fail_after(20):
                await anyio.sleep(self.delay())

        async def join(peer: Peer, cluster: str) -> None:
            with anyio.fail_after(5):
                at = await self.send(peer)
                if at.contact.standing.cluster != cluster:
                    raise ConnectionError("not in that cluster")
                with self.entering(i, pod, cluster):
                    await anyio.sleep(self.delay())

        calls: Any = {"form": form, "join": join, "probe": self.probe}
        view: Any = View(self, f"web-{i}")
        with pod.scope:
            if self.pods_are == "tasks":
                await abootstrap(view, pod.contact, **calls, wait=self.wait)
            elif self.pods_are == "threads":
                thread = Threaded()
                calls = {name: thread.calling(call) for name, call in calls.items()}
                view.broadcast = thread.calling(view.broadcast)
                await thread.run(partial(bootstrap, view, pod.contact, **calls, wait=self.wait))
            else:
                async with AsyncDiscovery("web", source=self, me=Identity(name=f"web-{i}")) as web:
                    await abootstrap(web, pod.contact, **calls, wait=self.wait)

    @contextmanager
    def entering(self, i: int, pod: Pod, cluster: str) -> Iterator[None]:
        """It is in the cluster from here on. If this raises, that is undone, as `form` and `join` must."""
        if self.pods[i] is pod:  # else it has crashed, and is cancelled at its next step
            pod.enters = cluster
            if self.has_disks:
                self.disks[i] = cluster
            inside = {other.cluster for other in self.pods if other is not None} | {*self.disks}
            if len(inside - {None}) > 1:
                # Not an assertion: what `form` and `join` raise, the driver takes for their failure.
                self.split = inside
        try:
            yield
        except Exception:  # a crash is none, and undoes nothing
            if self.pods[i] is pod:
                pod.enters = self.disks[i] = None
            raise

    def start(self, i: int) -> None:
        self._tasks.start_soon(self.run, i)

    def crash(self, i: int) -> None:
        pod = self.pods[i]
        if pod is None:
            return
        keeps = self.has_disks and self.random.random() < 0.5
        if not keeps and pod.cluster is not None:
            # The guarantee needs one founder that remembers the cluster, if any pod does.
            founders = [j for j in range(len(self.founders)) if j != i]
            others = [j for j in range(self.n) if j != i]
            if not any(map(self.remembers, founders)) and any(map(self.remembers_or_enters, others)):
                return
        pod.scope.cancel()
        self.pods[i] = None
        if not keeps:
            self.disks[i] = None

    def remembers(self, i: int) -> bool:
        pod = self.pods[i]
        return self.disks[i] is not None or (pod is not None and pod.contact.standing.cluster is not None)

    def remembers_or_enters(self, i: int) -> bool:
        pod = self.pods[i]
        return self.remembers(i) or (pod is not None and pod.enters is not None)

    @property
    def whole(self) -> bool:
        clusters = {pod.contact.standing.cluster if pod else None for pod in self.pods}
        return len(clusters) == 1 and None not in clusters


async def live(seed: int, pods: Pods) -> float:
    """Live through one world; returns the seconds from the last fault to one cluster of all pods."""
    took = math.inf
    async with anyio.create_task_group() as tasks:
        world = World(seed, tasks, pods)
        end = anyio.current_time() + world.random.uniform(10, 40)
        for i in range(world.n):
            if world.random.random() < 0.7:
                world.start(i)
        while anyio.current_time() < end:
            await anyio.sleep(world.random.expovariate(2))
            i = world.random.randrange(world.n)
            if world.pods[i] is None:
                world.start(i)
            elif world.crashes:
                world.crashes -= 1
                world.crash(i)
        world.faults = False
        for i in range(world.n):
            if world.pods[i] is None:
                world.start(i)
        healed = anyio.current_time()
        with anyio.fail_after(BOUND):
            while not world.whole:  # noqa: ASYNC110 - it is a measurement, twice a second
                await anyio.sleep(0.5)
        took = anyio.current_time() - healed
        assert not world.split
        tasks.cancel_scope.cancel()
    return took


@pytest.mark.parametrize("seeds", [range(n, n + 100) for n in range(0, 1000, 100)], ids=str)
def test_never_two_clusters_and_one_in_the_end(seeds: range) -> None:
    for seed in seeds:
        live_through(seed, "tasks")


def test_threads_live_through_the_same_as_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bootstrap, "time", Threaded.time)
    for seed in range(60):
        assert live_through(seed, "threads") == live_through(seed, "tasks")


@pytest.mark.parametrize("seed", range(5))
def test_it_is_so_with_discoveries(seed: int) -> None:
    live_through(seed, "discoveries")


def live_through(seed: int, pods: Pods) -> float:
    """`live`, in virtual time; a failure names the seed."""
    try:
        return run_virtually("asyncio", lambda: live(seed, pods))
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
