"""Failover: who is tried when, how long the pauses are, and what comes out in the end."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Iterable
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from tenacity import (
    stop_after_attempt,
    stop_after_delay,
    stop_before_delay,
    stop_never,
    wait_exponential,
    wait_fixed,
    wait_none,
)

from peerdiscover import (
    AsyncDiscovery,
    ClosedError,
    ConfigurationError,
    Discovery,
    Identity,
    NoPeersError,
    OrdinalNotFoundError,
    Peer,
    PeerSet,
    Policy,
)
from peerdiscover.discovery._changes import Pause
from peerdiscover.discovery._target import Target
from peerdiscover.discovery.attempts import Attempt, Failover
from peerdiscover.peers import View
from peerdiscover.pickers import Picker, RoundRobin
from tests.unit.tables import peer

if TYPE_CHECKING:
    from tenacity.stop import stop_base
    from tenacity.wait import wait_base


@dataclass
class Web:
    """A discovery whose set and clock the test moves by hand."""

    now: float = 100.0
    peers: PeerSet = field(default_factory=lambda: PeerSet("web"))
    view: View = field(default_factory=lambda: View(PeerSet("web")))
    picker: RoundRobin = field(default_factory=RoundRobin)
    failed: list[tuple[int | None, BaseException | None]] = field(default_factory=list)
    succeeded: list[int | None] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def has(self, *numbers: int, me: int | None = None, suspects: Iterable[int] = (), before: int = 0) -> Web:
        everybody = [peer(i, me=i == me) for i in numbers]
        self.peers = PeerSet("web", everybody, generation=self.peers.generation + 1)
        self.view = View(self.peers, frozenset(f"web-{i}" for i in suspects), before)
        self.picker.rebind(self.view)
        return self

    def report_failure(self, peer: Peer, error: BaseException | None = None) -> None:
        self.failed.append((peer.ordinal, error))

    def report_success(self, peer: Peer) -> None:
        self.succeeded.append(peer.ordinal)

    def attempts(
        self,
        on: type[Exception] | tuple[type[Exception], ...] = OSError,
        stop: stop_base | None = None,
        wait: wait_base | None = None,
        picker: Picker | None = None,
        target: Target | None = None,
    ) -> Failover:
        return Failover(
            self,
            on=on,
            stop=stop,
            wait=wait,
            picker=picker or self.picker,
            now=lambda: self.now,
            view=lambda: self.view,
            no_peers_error=lambda: NoPeersError("web: nobody came"),
            ready_timeout=60.0,
            target=target,
        )

    def run(
        self,
        failover: Failover,
        outcome: Callable[[Peer], BaseException | None] = lambda _: OSError("refused"),
        seconds: float = 0.0,
        at_pause: Callable[[], object] = lambda: None,
    ) -> list[int | None]:
        """Go through the steps as a driver does; who was tried. Each attempt takes `seconds`."""
        tried: list[int | None] = []
        while (step := failover.step()) is not None:
            if isinstance(step, Pause):
                self.pauses.append(round(step.seconds, 6))
                assert len(self.pauses) < 1000, "it never ends"
                generation = self.peers.generation
                at_pause()
                if self.peers.generation == generation:
                    self.now += step.seconds
                continue
            with step as one:
                tried.append(one.ordinal)
                self.now += seconds
                error = outcome(one)
                if error is not None:
                    raise error
        return tried


def until(n: int) -> Callable[[Peer], BaseException | None]:
    """Fails so often, then works."""
    left = n

    def outcome(_: Peer) -> BaseException | None:
        nonlocal left
        left -= 1
        return OSError(f"refused, {left} to go") if left >= 0 else None

    return outcome


def test_the_first_that_works_ends_it() -> None:
    web = Web().has(0, 1, 2)
    tried = web.run(web.attempts(), until(0))
    assert len(tried) == 1
    assert web.succeeded == tried
    assert (web.failed, web.pauses) == ([], [])


def test_each_attempt_goes_to_another_pod_without_a_wait() -> None:
    web = Web().has(*range(6))
    tried = web.run(web.attempts(), until(5))
    assert sorted(tried, key=str) == [0, 1, 2, 3, 4, 5]
    assert web.pauses == []
    assert [number for number, _ in web.failed] == tried[:5]
    assert all(isinstance(error, OSError) for _, error in web.failed)


def test_rounds_and_waits() -> None:
    """Once all were tried, `wait` says how long; it counts rounds."""
    web = Web().has(0, 1, 2)
    wait = wait_exponential(multiplier=1, min=1, max=100)
    tried = web.run(web.attempts(stop=stop_never, wait=wait), until(10))
    assert [set(tried[i : i + 3]) for i in (0, 3, 6)] == [{0, 1, 2}] * 3
    assert web.pauses == [1, 2, 4]


def test_the_default_wait_is_between_a_tenth_of_a_second_and_five() -> None:
    web = Web().has(0)
    web.run(web.attempts(stop=stop_after_attempt(40)), until(39))
    assert len(web.pauses) == 39
    assert all(0.1 <= pause <= 5 for pause in web.pauses)
    assert max(web.pauses) > 1


def test_the_default_stop_is_after_30_seconds() -> None:
    web = Web().has(0, 1)
    began = web.now
    with pytest.raises(OSError, match="refused"):
        web.run(web.attempts(), seconds=1)
    assert 30 <= web.now - began < 36


def test_stop_after_attempt_counts_attempts_not_rounds() -> None:
    web = Web().has(0, 1, 2)
    with pytest.raises(OSError, match="refused"):
        web.run(web.attempts(stop=stop_after_attempt(4), wait=wait_fixed(2)))
    assert len(web.failed) == 4
    assert web.pauses == [2]


def test_stops_and_waits_are_put_together_as_tenacity_does() -> None:
    web = Web().has(0)
    stop, wait = stop_after_attempt(3) | stop_after_delay(100), wait_fixed(1) + wait_fixed(2)
    with pytest.raises(OSError, match="refused"):
        web.run(web.attempts(stop=stop, wait=wait))
    assert web.pauses == [3, 3]
    with pytest.raises(OSError, match="refused"):
        web.run(web.attempts(stop=stop, wait=wait_fixed(99)))
    assert web.pauses == [3, 3, 99, 99]


def test_stop_before_delay_sees_the_pause_that_is_to_come() -> None:
    web = Web().has(0)
    with pytest.raises(OSError, match="refused"):
        web.run(web.attempts(stop=stop_before_delay(5), wait=wait_fixed(3)))
    assert web.pauses == [3]
    web = Web().has(0)
    with pytest.raises(OSError, match="refused"):
        web.run(web.attempts(stop=stop_before_delay(5), wait=wait_fixed(6)))
    assert web.pauses == []


def test_a_wait_without_an_end_is_none() -> None:
    web = Web().has(0)
    with pytest.raises(OSError, match="refused"):
        web.run(web.attempts(stop=stop_after_attempt(3), wait=wait_fixed(math.inf)))
    assert (len(web.failed), web.pauses) == (3, [])


def test_stop_after_delay_counts_from_the_beginning() -> None:
    web = Web().has(*range(100))
    with pytest.raises(OSError, match="refused"):
        web.run(web.attempts(stop=stop_after_delay(10)), seconds=1)
    assert len(web.failed) == 10


def test_the_last_error_is_raised_as_itself_with_a_note_per_attempt() -> None:
    web = Web().has(0, 1, 2)
    errors: list[BaseException] = []

    def outcome(p: Peer) -> BaseException:
        errors.append(ConnectionRefusedError(f"no {p.ordinal}"))
        return errors[-1]

    with pytest.raises(ConnectionRefusedError) as caught:
        web.run(web.attempts(stop=stop_after_attempt(2)), outcome, seconds=0.25)
    assert caught.value is errors[-1]
    first, second = (number for number, _ in web.failed)
    assert caught.value.__notes__ == [
        f"attempt {n}: Peer(web-{i}, 10.0.0.{i}:80): ConnectionRefusedError('no {i}') after 0.250 s"
        for n, i in ((1, first), (2, second))
    ]


def test_what_on_does_not_match_passes_at_once() -> None:
    web = Web().has(0, 1)
    with pytest.raises(KeyError) as caught:
        web.run(web.attempts(on=(OSError, ValueError)), lambda _: KeyError("x"))
    assert not hasattr(caught.value, "__notes__")
    assert (web.failed, web.succeeded) == ([], [])


def test_on_matches_any_of_a_tuple_and_subclasses() -> None:
    web = Web().has(0, 1, 2)
    errors: list[BaseException | None] = [ValueError(), ConnectionResetError(), None]
    assert len(web.run(web.attempts(on=(OSError, ValueError)), lambda _: errors.pop(0))) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
def test_what_ends_the_program_passes(error: BaseException) -> None:
    web = Web().has(0, 1)
    with pytest.raises(type(error)):
        web.run(web.attempts(on=Exception), lambda _: error)
    assert web.failed == []


@pytest.mark.parametrize(
    "on", [(), BaseException, KeyboardInterrupt, "OSError", OSError(), (OSError, 1), None]
)
def test_on_is_exception_classes(on: object) -> None:
    with pytest.raises(ConfigurationError, match="expected an exception class or a tuple of them"):
        Web().has(0).attempts(on=on)  # type: ignore[arg-type]


def test_it_is_over_after_success() -> None:
    web = Web().has(0)
    failover = web.attempts()
    web.run(failover, until(0))
    assert failover.step() is None


def test_an_attempt_that_is_not_used_is_said() -> None:
    failover = Web().has(0, 1).attempts()
    assert isinstance(failover.step(), Attempt)
    with pytest.raises(RuntimeError, match="with attempt as peer"):
        failover.step()


def test_a_change_of_the_set_ends_a_pause() -> None:
    web = Web().has(0)
    began = web.now
    tried = web.run(
        web.attempts(stop=stop_never, wait=wait_fixed(3600)), until(1), at_pause=lambda: web.has(0, 7)
    )
    assert tried == [0, 7]
    assert web.pauses == [3600]
    assert web.now == began


@pytest.mark.parametrize("seed", range(20))
def test_after_a_change_the_one_that_was_not_tried_comes_first(seed: int) -> None:
    """Wherever round-robin begins."""
    random.seed(seed)
    web = Web().has(0, 1, 2, 3)
    failover = web.attempts(stop=stop_never, wait=wait_fixed(3600))
    tried = web.run(failover, until(4), at_pause=lambda: web.has(0, 1, 2, 3, 9))
    assert tried[4] == 9


def test_a_pod_that_came_back_elsewhere_is_untried() -> None:
    web = Web().has(0)

    def moves() -> None:
        moved = replace(peer(0), address="10.9.9.9", addresses=("10.9.9.9",))
        web.peers = PeerSet("web", [moved], generation=web.peers.generation + 1)
        web.view = View(web.peers)
        web.picker.rebind(web.view)

    assert web.run(web.attempts(wait=wait_fixed(3600)), until(1), at_pause=moves) == [0, 0]
    assert web.pauses == [3600]


def test_those_untried_that_went_are_not_waited_for() -> None:
    """Two pods, one fails and stays, the other goes before its turn: the first is tried again."""
    web = Web().has(0, 1)
    failover = web.attempts(stop=stop_never, wait=wait_fixed(1))
    attempt = failover.step()
    assert isinstance(attempt, Attempt)
    with attempt as first:
        raise OSError("refused")
    assert first.ordinal is not None
    web.has(first.ordinal)
    step = failover.step()
    assert isinstance(step, Attempt)
    assert step.peer == first


def test_an_empty_set_waits_for_somebody() -> None:
    web = Web()
    assert web.run(web.attempts(), until(0), at_pause=lambda: web.has(4)) == [4]
    assert web.pauses == [60]


def test_an_empty_set_waits_no_longer_than_its_patience() -> None:
    web = Web()
    began = web.now
    with pytest.raises(NoPeersError, match="nobody came"):
        web.run(web.attempts())
    assert web.now - began == 60
    assert web.attempts().step() is not None


def test_changes_that_bring_nobody_do_not_restart_the_patience() -> None:
    web = Web()
    began = web.now

    def at_pause() -> None:
        web.now += 25
        web.has()

    with pytest.raises(NoPeersError):
        web.run(web.attempts(), at_pause=at_pause)
    assert web.pauses == [60, 35, 10]
    assert web.now - began == 75


def test_a_set_that_empties_again_has_all_the_patience_again() -> None:
    web = Web()
    changes = iter([(50, [0]), (0, []), (0, [1])])

    def at_pause() -> None:
        seconds, numbers = next(changes)
        web.now += seconds
        web.has(*numbers)

    assert web.run(web.attempts(stop=stop_never, wait=wait_fixed(1)), until(1), at_pause=at_pause) == [0, 1]
    assert web.pauses == [60, 1, 60]


def test_a_set_that_empties_between_attempts_keeps_the_notes() -> None:
    web = Web().has(0)

    def empties() -> None:
        if web.peers:
            web.has()

    with pytest.raises(NoPeersError) as caught:
        web.run(web.attempts(stop=stop_never, wait=wait_fixed(1)), at_pause=empties)
    assert len(caught.value.__notes__) == 1


def test_only_oneself_is_nobody() -> None:
    web = Web().has(0, me=0)
    with pytest.raises(NoPeersError):
        web.run(web.attempts())


def test_suspects_are_left_out_as_pickers_do() -> None:
    web = Web().has(0, 1, 2, 3, suspects=(3,), before=4)
    tried = web.run(web.attempts(stop=stop_never, wait=wait_fixed(1)), until(8))
    assert set(tried) == {0, 1, 2}


class Always:
    """A picker that always says the same."""

    def __init__(self, one: Peer) -> None:
        self.one = one

    def pick(self) -> Peer:
        return self.one


def test_a_picker_of_ones_own_comes_first_and_the_others_after_it() -> None:
    web = Web().has(0, 1, 2)
    tried = web.run(web.attempts(picker=Always(peer(2)), wait=wait_fixed(1), stop=stop_never), until(5))
    assert tried[0] == tried[3] == 2
    assert set(tried[:3]) == set(tried[3:]) == {0, 1, 2}
    assert web.pauses == [1]


def test_a_picker_may_give_oneself() -> None:
    web = Web().has(0, me=0)
    picker = RoundRobin(include_self=True)
    picker.rebind(web.view)
    assert web.run(web.attempts(picker=picker, wait=wait_fixed(1)), until(1)) == [0, 0]
    assert web.pauses == [1]


def test_no_wait_at_all_goes_round_until_it_stops() -> None:
    web = Web().has(0, 1)
    with pytest.raises(OSError, match="refused"):
        web.run(web.attempts(wait=wait_none(), stop=stop_after_attempt(7)))
    assert len(web.failed) == 7
    assert web.pauses == []


def test_attempts_are_numbered() -> None:
    web = Web().has(0, 1)
    failover = web.attempts(wait=wait_none())
    numbers = []
    for _ in range(3):
        step = failover.step()
        assert isinstance(step, Attempt)
        numbers.append(step.number)
        with step:
            raise OSError("refused")
    assert numbers == [1, 2, 3]


# through a discovery

TWO = "static:web-0=10.0.0.10:80,web-1=10.0.0.11:80"


def test_threads() -> None:
    with Discovery(TWO) as web:
        tried = []
        for attempt in web.attempts(on=OSError):
            with attempt as one:
                tried.append(one.key)
                if len(tried) < 2:
                    raise OSError("refused")
        assert sorted(tried) == ["web-0", "web-1"]


def test_threads_raise_the_last_error() -> None:
    def fail(web: Discovery) -> None:
        attempts = web.attempts(on=OSError, stop=stop_after_attempt(3), wait=wait_none())
        for number, attempt in enumerate(attempts, 1):
            with attempt:
                raise TimeoutError(str(number))

    with Discovery(TWO) as web:
        with pytest.raises(TimeoutError, match="3") as caught:
            fail(web)
        assert len(caught.value.__notes__) == 3


def test_threads_check_on_at_the_call_not_at_the_first_attempt() -> None:
    with Discovery(TWO) as web, pytest.raises(ConfigurationError):
        web.attempts(on=KeyboardInterrupt)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{"stop": 3}, {"wait": 0.5}])
def test_threads_refuse_what_is_not_tenacitys(given: Any) -> None:
    with Discovery(TWO) as web, pytest.raises(ConfigurationError, match="expected one of tenacity's"):
        web.attempts(on=OSError, **given)


def test_threads_call() -> None:
    tried: list[str] = []

    def fn(p: Peer) -> int:
        tried.append(p.key)
        if len(tried) < 2:
            raise OSError("refused")
        return p.port

    with Discovery(TWO) as web:
        assert web.call(fn, on=OSError) == 80
        assert len(set(tried)) == 2

        def refuse(p: Peer) -> int:
            raise ConnectionRefusedError(p.key)

        with pytest.raises(ConnectionRefusedError) as caught:
            web.call(refuse, OSError, stop=stop_after_attempt(3), wait=wait_fixed(0))
        assert len(caught.value.__notes__) == 3
        with pytest.raises(ConfigurationError, match="a coroutine function; use AsyncDiscovery"):
            web.call(later, on=OSError)  # type: ignore[unused-coroutine]
        with pytest.raises(ConfigurationError, match="returned a coroutine"):
            web.call(lambda p: later(p), on=OSError)  # type: ignore[unused-coroutine]  # noqa: PLW0108


async def later(p: Peer) -> int:
    return p.port


@pytest.mark.parametrize("by", ["key", "ordinal"])
def test_threads_stay_with_one_peer_and_wait_until_it_is_back(by: str) -> None:
    entries = ["web-0=10.0.0.10:80", "web-1=10.0.0.11:80", "web-2=10.0.0.12:80"]
    with Discovery("web", source=lambda: entries, policy=Policy(on_empty="accept", hold=0)) as web:
        key = next(k for k in "abcdefgh" if web.rendezvous().pick(k).ordinal == 1)
        target: Any = {"key": key} if by == "key" else {"ordinal": 1}
        tried: list[str] = []

        def come_back() -> None:
            entries.append("web-1=10.0.0.77:80")
            web.refresh()

        helper = threading.Thread(target=come_back)
        for attempt in web.attempts(on=OSError, wait=wait_fixed(3600), stop=stop_never, **target):
            with attempt as one:
                tried.append(f"{one.key} {one.address}")
                if len(tried) == 1:
                    del entries[1]
                    web.report_failure(one)
                    web.refresh()
                    assert web.peers.get("web-1") is None
                    helper.start()
                    raise OSError("refused")
        helper.join()
        assert tried == ["web-1 10.0.0.11", "web-1 10.0.0.77"]


def test_one_peer_that_is_not_there_yet_is_waited_for() -> None:
    web = Web().has(0)
    failover = web.attempts(target=Target(lambda: web.peers, lambda: web.peers.ordinal(1), stays=False))
    assert isinstance(failover.step(), Pause)
    web.has(0, 1)
    attempt = failover.step()
    assert isinstance(attempt, Attempt)
    assert attempt.peer.key == "web-1"


def test_an_ordinal_is_that_of_whichever_pod_has_it() -> None:
    """A key stays with the pod that owned it; an ordinal is a role, and a Service may be renamed."""
    entries = ["web-0=10.0.0.10:80", "web-1=10.0.0.11:80"]
    with Discovery("web", source=lambda: entries, policy=Policy(on_empty="accept", hold=0)) as web:
        tried: list[str] = []

        def fn(p: Peer) -> str:
            tried.append(p.key)
            if len(tried) == 1:
                entries[:] = ["other-0=10.0.0.10:80", "other-1=10.0.0.11:80"]
                web.refresh()
                raise OSError("refused")
            return p.key

        assert web.call(fn, on=OSError, ordinal=1, wait=wait_fixed(0)) == "other-1"


def test_one_peer_that_moved_during_the_attempt_is_tried_again_at_once() -> None:
    """Its place is another one: there is nothing to wait for, and no change would end the wait."""
    web = Web().has(0, 1)

    def moves(_: Peer) -> BaseException | None:
        if web.failed:
            return None
        web.peers = PeerSet("web", [peer(0), Peer("web-1", "10.0.0.77", 80)], generation=9)
        return OSError("refused")

    target = Target(lambda: web.peers, lambda: web.peers.ordinal(1), stays=True)
    failover = web.attempts(stop=stop_never, wait=wait_fixed(3600), target=target)
    assert len(web.run(failover, moves)) == 2
    assert web.pauses == []


def test_threads_wait_for_one_peer_no_longer_than_for_any() -> None:
    entries = ["web-0=10.0.0.10:80"]
    with Discovery("web", source=lambda: entries, policy=Policy(hold=0, ready_timeout=0.05)) as web:
        with pytest.raises(OrdinalNotFoundError, match="no pod has ordinal 7"):
            web.call(str, on=OSError, ordinal=7)
        entries[:] = ["web-1=10.0.0.11:80"]
        attempts = web.attempts(on=OSError, wait=wait_fixed(0), key="k")
        with next(attempts) as first:
            web.report_failure(first)
            web.refresh()
            assert web.peers.get("web-0") is None
            raise OSError("refused")
        with pytest.raises(NoPeersError, match="not web-0, which all attempts go to") as caught:
            next(attempts)
        assert len(caught.value.__notes__) == 1
        for given in {"key": "k", "ordinal": 1}, {"key": "k", "picker": web.random()}:
            with pytest.raises(ConfigurationError, match="give one of"):
                web.attempts(on=OSError, **given)  # type: ignore[arg-type]


def test_threads_wait_until_the_set_changes() -> None:
    entries = ["web-0=10.0.0.10:80"]
    with Discovery("web", source=lambda: entries) as web:

        def scale_up() -> None:
            entries.append("web-1=10.0.0.11:80")
            web.refresh()

        tried = []
        helper = threading.Thread(target=scale_up)
        for attempt in web.attempts(on=OSError, wait=wait_fixed(3600), stop=stop_never):
            with attempt as one:
                tried.append(one.key)
                if one.key == "web-0":
                    helper.start()
                    raise OSError("refused")
        helper.join()
        assert tried == ["web-0", "web-1"]


def test_threads_on_an_empty_set_wait_then_say_so() -> None:
    policy = Policy(min_peers=0, ready_timeout=0.05)
    with closing(Discovery("web", source=tuple_of_nobody, policy=policy).start(wait=False)) as web:
        web.refresh()
        with pytest.raises(NoPeersError, match=r"no peer became available within 0\.05 s; empty") as caught:
            next(web.attempts(on=OSError))
        assert type(caught.value) is NoPeersError


def tuple_of_nobody() -> tuple[str, ...]:
    return ()


def test_threads_that_wait_are_ended_by_closing() -> None:
    with Discovery("web", source=tuple_of_nobody, policy=Policy(min_peers=0)) as web:
        attempts = web.attempts(on=OSError)
        closer = threading.Thread(target=web.close)
        closer.start()
        with pytest.raises(ClosedError):
            next(attempts)
        closer.join()


def test_a_failure_is_reported_and_a_suspect_goes() -> None:
    entries = ["web-0=10.0.0.10:80", "web-1=10.0.0.11:80"]
    with Discovery("web", source=lambda: entries, policy=Policy(hold=600)) as web:
        entries.clear()
        web.refresh()
        assert len(web.status.suspects) == 2
        tried = []
        for attempt in web.attempts(on=OSError):
            with attempt as one:
                tried.append(one)
                if len(tried) == 1:
                    raise OSError("refused")
        assert list(web.peers) == [tried[1]]


def test_oneself_is_not_tried() -> None:
    with Discovery(TWO, me=Identity(name="web-0")) as web:
        for attempt in web.attempts(on=OSError):
            with attempt as one:
                assert one.key == "web-1"


@pytest.mark.anyio
async def test_tasks() -> None:
    async with AsyncDiscovery(TWO) as web:
        tried = []
        async for attempt in web.attempts(on=OSError):
            with attempt as one:
                await anyio.lowlevel.checkpoint()
                tried.append(one.key)
                if len(tried) < 2:
                    raise OSError("refused")
        assert sorted(tried) == ["web-0", "web-1"]


@pytest.mark.anyio
async def test_tasks_wait_until_the_set_changes() -> None:
    entries = ["web-0=10.0.0.10:80"]
    async with AsyncDiscovery("web", source=lambda: entries) as web, anyio.create_task_group() as tasks:
        tried = []
        async for attempt in web.attempts(on=OSError, wait=wait_fixed(3600), stop=stop_never):
            with attempt as one:
                tried.append(one.key)
                if one.key == "web-0":
                    entries.append("web-1=10.0.0.11:80")
                    tasks.start_soon(web.refresh)
                    raise OSError("refused")
        assert tried == ["web-0", "web-1"]


@pytest.mark.anyio
async def test_cancellation_passes_through_and_is_no_failure() -> None:
    async with AsyncDiscovery(TWO) as web:
        tried = []
        with anyio.CancelScope() as scope:
            async for attempt in web.attempts(on=Exception):
                with attempt as one:
                    tried.append(one)
                    scope.cancel()
                    await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert len(tried) == 1


@pytest.mark.anyio
async def test_cancellation_ends_a_pause() -> None:
    async with AsyncDiscovery("static:10.0.0.1:80") as web:
        with anyio.move_on_after(0.05) as scope:
            async for attempt in web.attempts(on=OSError, wait=wait_fixed(3600), stop=stop_never):
                with attempt:
                    raise OSError("refused")
        assert scope.cancelled_caught


@pytest.mark.anyio
async def test_tasks_on_an_empty_set_wait_then_say_so() -> None:
    policy = Policy(min_peers=0, ready_timeout=0.05)
    web = AsyncDiscovery("web", source=tuple_of_nobody, policy=policy)
    async with aclosing(await web.start(wait=False)):
        await web.refresh()
        with pytest.raises(NoPeersError, match=r"no peer became available within 0\.05 s; empty"):
            await anext(web.attempts(on=OSError))


@pytest.mark.anyio
async def test_tasks_call() -> None:
    tried: list[str] = []

    async def fn(p: Peer) -> int:
        await anyio.lowlevel.checkpoint()
        tried.append(p.key)
        if len(tried) < 2:
            raise OSError("refused")
        return p.port

    async with AsyncDiscovery(TWO) as web:
        assert await web.call(fn, on=OSError) == 80
        assert len(set(tried)) == 2
        for i in 0, 1:
            assert await web.call(name_of, OSError, ordinal=i) == f"web-{i}"
            key = next(k for k in "abcdefgh" if web.rendezvous().pick(k).ordinal == i)
            assert await web.call(name_of, OSError, key=key) == f"web-{i}"


async def name_of(p: Peer) -> str:
    return p.key


@pytest.mark.anyio
async def test_tasks_stay_with_one_peer_and_wait_until_it_is_back() -> None:
    entries = ["web-0=10.0.0.10:80", "web-1=10.0.0.11:80"]
    async with AsyncDiscovery("web", source=lambda: entries, policy=Policy(hold=0)) as web:
        tried: list[str] = []

        async def come_back() -> None:
            entries.append("web-1=10.0.0.77:80")
            await web.refresh()

        async with anyio.create_task_group() as tasks:
            async for attempt in web.attempts(on=OSError, wait=wait_fixed(3600), stop=stop_never, ordinal=1):
                with attempt as one:
                    tried.append(one.address)
                    if len(tried) == 1:
                        del entries[1]
                        web.report_failure(one)
                        await web.refresh()
                        tasks.start_soon(come_back)
                        raise OSError("refused")
        assert tried == ["10.0.0.11", "10.0.0.77"]
