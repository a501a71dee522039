"""Requests on a real cluster, under load, while its pods are replaced, killed, lost and cut off.

The pods are processes, and what they were sent is written down outside of them (`_pod_program`). In each
story all that was sent was answered, within its time, or failed for a reason that is named; and
nothing was executed more often than the client says that it sent it: once, unless it is idempotent. Some
stories are told side by side, since each mostly waits.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from peerdiscover import DNS, Discovery, Kubernetes
from peerdiscover.http import AsyncClient, Client
from tests.http._load import Load, load, load_in_threads
from tests.tools.certificates import Authority
from tests.tools.cluster import Cluster, Workload
from tests.waiting import LONG

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "tests" / "http" / "_pod_program.py"
TTL = 5.0
TIME = 15.0
"""Seconds for each request: what a busy machine needs for a DNS answer and two attempts fits in."""
AGAIN = "it may have been processed, and is not idempotent"
Tell = Callable[..., "Story"]


class Story:
    """A workload, the requests to it, and what its pods were sent."""

    def __init__(self, cluster: Cluster, workload: Workload, authority: Authority | None = None) -> None:
        self.cluster = cluster
        self.workload = workload
        self.authority = authority
        self._uids: set[str] = set()

    def note(self) -> None:
        """Remember the pods there are, whose logs are read at the end."""
        self._uids.update(pod.uid for pod in self.workload.pods())

    @property
    def name(self) -> str:
        return f"{self.workload.service}.{self.workload.namespace}:8080"

    @property
    def source(self) -> DNS:
        return DNS(nameservers=[self.cluster.nameserver], namespace=self.workload.namespace)

    def watching(self) -> dict[str, Any]:
        """The options of a client over EndpointSlices."""
        cluster = self.cluster
        return {"source": Kubernetes(cluster.server, cluster.ca, cluster.admin_token)}

    def client(self, **options: Any) -> tuple[str, dict[str, Any]]:
        """The arguments for a client."""
        name = f"k8s:{self.name}" if "source" in options else self.name
        common: dict[str, Any] = {"timeout": TIME, "total_timeout": TIME}
        if "discovery" not in options:
            common["source"] = self.source
        if self.authority is not None:
            common["base_url"] = f"https://{self.name}"
            common["verify"] = ssl.create_default_context(cafile=self.authority.ca)
            common["http2"] = True
        return name, {**common, **options}

    def run(
        self,
        rate: float,
        events: Callable[[], object],
        *,
        threads: bool = False,
        plain: bool = False,
        **options: Any,
    ) -> Load:
        """Requests before, during and after what happens."""
        self.note()
        over, errors = threading.Event(), list[BaseException]()

        def happen() -> None:
            try:
                time.sleep(1)
                events()
                self.note()
                time.sleep(1)
            except BaseException as error:
                errors.append(error)
            finally:
                over.set()

        def is_over(_: float, __: int) -> bool:
            return over.is_set()

        async def send() -> Load:
            async with AsyncClient(name, **arguments) as client:
                return await load(client, rate, is_over, plain=plain)

        name, arguments = self.client(**options)
        thread = threading.Thread(target=happen)
        thread.start()
        try:
            if threads:
                with Client(name, **arguments) as client:
                    result = load_in_threads(client, rate, is_over, plain=plain)
            else:
                result = asyncio.run(send())
        finally:
            thread.join()
        if errors:
            raise errors[0]
        return result

    def executed(self) -> Counter[str]:
        """How often each request was executed, by the pods' own word."""
        self.note()
        return sum(map(self._executed_by, self._uids), Counter[str]())

    def executed_by(self, pod: str) -> Counter[str]:
        """The same for one pod that is there."""
        return self._executed_by(next(one.uid for one in self.workload.pods() if one.name == pod))

    def _executed_by(self, uid: str) -> Counter[str]:
        log = self.cluster.log_of(uid)
        lines = log.read_text().splitlines() if log.exists() else []
        return Counter(line for line in lines if line.isdigit())  # it may have said other things, too

    def check(self, result: Load, *named: str) -> None:
        """Sent = answered + failed for one of these reasons; nothing was executed that was not sent, nor more
        often than it was, nor twice where it must not be.
        """
        assert result.sent == len(result.answered)
        other = [one for one in result.failed if not any(name in one.error for name in named)]
        assert not other, other[:5]
        executed = self.executed()
        for one in result.answered:
            least = 1 if one.pod else 0
            assert least <= executed[one.id] <= one.sent, (one, executed[one.id])
            assert one.sent <= 1 or not one.plain, one
        assert executed.keys() <= {one.id for one in result.answered}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "a CA of our own", complete=True)


@pytest.fixture
def story(cluster: Cluster, namespace: str, authority: Authority) -> Tell:
    def tell(
        kind: str,
        *manners: str,
        name: str = "web",
        replicas: int = 3,
        ready: int = 0,
        secure: bool = False,
        **more: Any,
    ) -> Story:
        """A workload that is asked for, but not waited for: `secure` is HTTP/2 behind TLS."""
        command = [sys.executable, str(PROGRAM)]
        if secure:
            files = authority.sign(f"{name}.{namespace}", f"DNS:{name}.{namespace}")
            command = [sys.executable, "-m", "tests.http._pod_program2", *map(str, files)]
        workload: Workload = getattr(cluster, kind)(
            name,
            replicas,
            namespace=namespace,
            command=[*command, "8080", *manners],
            container={
                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                "workingDir": str(ROOT),
            },
            **more,
        )
        if ready:
            cluster.api.patch(workload.path, {"spec": {"minReadySeconds": ready}})
        return Story(cluster, workload, authority if secure else None)

    return tell


def together(*stories: Callable[[], Load]) -> list[Load]:
    """What came of stories that are told side by side."""
    with ThreadPoolExecutor(len(stories)) as threads:
        return [future.result() for future in [threads.submit(story) for story in stories]]


def restart(story: Story) -> None:
    story.workload.restart()
    story.workload.wait()


def test_rolling_restarts(story: Tell, subtests: pytest.Subtests) -> None:
    """Each pod is there for longer than a TTL before the next one goes, as `minReadySeconds` wants it.

    POSTs without a key go to pods with a graceful end: these fail only where a pod was gone with one that it
    may have had.
    """
    ordered = {"pod_management": "OrderedReady"}
    two = {"secure": True}
    plans: list[tuple[Story, dict[str, Any]]] = [
        (story("statefulset", "abrupt", name="a", ready=7, **ordered), {}),
        (story("deployment", "abrupt", name="b", ready=7), {"threads": True}),
        (story("statefulset", "graceful", name="c", ready=7, **ordered), {"threads": True, "plain": True}),
        (story("deployment", "graceful", name="d", ready=7), {"plain": True}),
        (story("deployment", "lingering", name="e", ready=7, grace=11), {"plain": True}),
        (story("statefulset", "abrupt", name="f", ready=7, **two, **ordered), {"threads": True}),
        (story("deployment", "graceful", name="g", ready=7, **two), {"plain": True}),
    ]
    for rolled, _ in plans:
        rolled.workload.wait()

    def run(rolled: Story, options: dict[str, Any]) -> Callable[[], Load]:
        return lambda: rolled.run(30, lambda: restart(rolled), **options)

    results = together(*(run(*plan) for plan in plans))
    for (rolled, options), result in zip(plans, results, strict=True):
        with subtests.test(rolled.name):
            rolled.check(result, *([AGAIN] if options.get("plain") else []))
            assert len(result.shares()) == (3 if rolled.workload.kind == "StatefulSet" else 6)
            # Who is gone is left out. (With HTTP/2 many are on a line; without ejections, 12 % go again.)
            assert sum(one.attempts > 1 for one in result.answered) < len(result.answered) / 10, result.told()


def test_a_roll_within_one_ttl(story: Tell) -> None:
    """All pods are replaced at once: DNS does not know of it yet, and requests wait for its next answer."""
    rolled = story("statefulset")
    rolled.workload.wait()

    def events() -> None:
        restart(rolled)
        time.sleep(TTL)

    rolled.check(rolled.run(20, events))


def test_dns_is_out_for_several_ttls(story: Tell, cluster: Cluster, subtests: pytest.Subtests) -> None:
    """Pods come, CoreDNS goes, and then most of the pods; others die and are replaced; others are watched.

    It stays away for four TTLs, and for as long as a busy machine needs for all that happens meanwhile.
    """
    scaled = story("deployment", "graceful", name="a")
    dying = story("deployment", name="b", replicas=4)
    watched = story("statefulset", name="c", pod_management="OrderedReady")
    for one in (scaled, dying, watched):
        one.workload.wait()
    out, back, died, rolled = (threading.Event() for _ in range(4))
    times: dict[str, float] = {}
    began = time.monotonic()

    def scale() -> None:
        def mark(what: str) -> None:
            times[what] = time.monotonic() - began

        scaled.workload.scale(10)
        scaled.workload.wait(10)
        time.sleep(1.2 * TTL + 1)
        mark("all are known")
        time.sleep(3)
        mark("still")
        scaled.note()
        cluster.stop_part("coredns")
        until = time.monotonic() + 4 * TTL
        out.set()
        try:
            scaled.workload.scale(3)
            scaled.workload.wait(3)
            for happened in (died, rolled):
                assert happened.wait(4 * LONG)
            time.sleep(max(0.0, until - time.monotonic()))
        finally:
            cluster.start_part("coredns")
            back.set()
        time.sleep(TTL + 1)
        mark("few are known")
        time.sleep(1)

    def die() -> None:
        assert out.wait(LONG)
        for pod in dying.workload.pods()[:2]:
            dying.workload.delete_pod(pod.name, grace=0)
            time.sleep(3)
        died.set()
        assert back.wait(4 * LONG)

    def roll() -> None:
        assert out.wait(LONG)
        for _ in range(3):
            restart(watched)
            watched.note()
        rolled.set()

    results = together(
        lambda: scaled.run(40, scale, plain=True),
        lambda: dying.run(20, die, threads=True),
        lambda: watched.run(30, roll, threads=True, **watched.watching()),
    )
    with subtests.test("scaled"):
        scaled.check(results[0], AGAIN)
        shares = results[0].shares(since=times["all are known"], until=times["still"] - 0.2)
        assert len(shares) == 10  # each new pod serves within 1.2 × TTL + 1 s
        assert max(shares.values()) < 1.1 / 10 + 0.02
        assert len(results[0].shares(since=times["few are known"])) == 3
    with subtests.test("dying"):
        dying.check(results[1])
    with subtests.test("watched"):
        watched.check(results[2])
        again = sum(one.attempts > 1 for one in results[2].answered)
        assert again < len(results[2].answered) / 10, results[2].told()


def test_pods_are_lost_without_a_word(story: Tell, cluster: Cluster, subtests: pytest.Subtests) -> None:
    """No FIN and no RST: kept lines hang, and connecting does. Nobody waits for a whole read timeout: that is
    all the time that a request has.
    """
    vanishing, holed = story("deployment", name="a"), story("deployment", name="b")
    victims = [one.workload.wait()[0].name for one in (vanishing, holed)]

    def lose(how: Callable[[], object]) -> Callable[[], None]:
        def happen() -> None:
            how()
            time.sleep(4)

        return happen

    vanish = lose(lambda: vanishing.workload.vanish(victims[0]))
    blackhole = lose(lambda: cluster.blackhole(victims[1], holed.workload.namespace))
    results = together(lambda: vanishing.run(30, vanish), lambda: holed.run(30, blackhole, threads=True))
    for one, victim, result in zip((vanishing, holed), victims, results, strict=True):
        with subtests.test(one.name):
            one.check(result)
            assert victim in result.shares()
            assert victim not in result.shares(since=result.answered[-1].intended - 1)


def test_a_silent_a_slow_and_a_failing_pod(story: Tell) -> None:
    """Beside two that work; for a client that takes turns, and one that counts what is under way."""
    mixed = story("statefulset", "abrupt", "web-0=silent", "web-1=error", "web-2=slow", replicas=5)
    mixed.workload.wait()
    both = threading.Barrier(2)

    def events() -> None:
        both.wait(30)
        time.sleep(8)
        both.wait(30)

    def in_turns() -> Load:
        return mixed.run(30, events, attempt_timeout=2)

    def by_load() -> Load:
        with Discovery(mixed.name, source=mixed.source) as discovery:
            picker = discovery.least_requests()
            return mixed.run(30, events, threads=True, attempt_timeout=2, discovery=discovery, picker=picker)

    results = together(in_turns, by_load)
    whole = Load([*results[0].answered, *results[1].answered], sent=results[0].sent + results[1].sent)
    mixed.check(whole, "status 500")
    # An error is an answer: nobody is asked again for it, and who gives it is not left out.
    failed = [one for one in whole.answered if one.pod == "web-1"]
    assert failed == whole.failed
    assert mixed.executed_by("web-1") == Counter(one.id for one in failed)
    turns, loaded = (result.shares() for result in results)
    assert turns["web-1"] > 0.8 * turns["web-3"]
    # No answer is none: everything went elsewhere, within the budget, until the pod was left out.
    unanswered = mixed.executed_by("web-0").total()
    assert 0 < unanswered < whole.sent / 10
    assert "web-0" not in whole.shares()
    # Who is slow has its turns, or less.
    assert loaded["web-2"] < turns["web-2"] / 2
