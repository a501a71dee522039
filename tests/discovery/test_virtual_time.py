"""When an AsyncDiscovery asks, and what it does with time: in virtual time, under asyncio and trio."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from tenacity import stop_after_attempt, wait_fixed

from peerdiscover import (
    Answer,
    AsyncDiscovery,
    Change,
    ClosedError,
    ConfigurationError,
    NoPeersError,
    Outcome,
    Peer,
    Policy,
    ResolutionTimeoutError,
)

from ._clock import Run
from ._sources import FAILED, NOT_FOUND, AsyncScript, AsyncWatch, pods, told

STEADY = Policy(jitter=0)


def keys(web: AsyncDiscovery) -> list[str]:
    return [peer.key for peer in web.peers]


@pytest.mark.parametrize(("ttl", "gap"), [(7, 7), (0, 5), (None, 5), (0.1, 1), (1000, 30)], ids=str)
def test_the_ttl_says_when_to_ask_again(run: Run, ttl: float | None, gap: float) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0, 1, ttl=ttl))
        async with AsyncDiscovery("web", source=source, policy=STEADY):
            await anyio.sleep(gap * 10 + 0.5)
        assert source.gaps == [gap] * 10

    run(main)


def test_jitter_comes_on_top(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0, ttl=10))
        async with AsyncDiscovery("web", source=source):
            await anyio.sleep(1000)
        assert all(10 <= gap <= 12 for gap in source.gaps)
        assert len(set(source.gaps)) > 10

    run(main)


def test_an_infinite_ttl_is_never_asked_again(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0, ttl=math.inf))
        async with AsyncDiscovery("web", source=source) as web:
            await anyio.sleep(80_000)
            assert len(source.at) == 1
            assert web.status.next_refresh == math.inf
            await web.refresh()
            assert len(source.at) == 2

    run(main)


def test_nobody_is_believed_after_the_hold(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0, 1, 2), NOT_FOUND)
        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            began = anyio.current_time()
            with anyio.move_on_after(34.9):
                async for _ in web.changes():
                    assert anyio.current_time() == began
            assert len(web.peers) == 3
            assert web.status.stale
            assert len(web.status.suspects) == 3
            assert [ask.second_opinion for ask in source.asks][:4] == [False, False, True, False]
            await anyio.sleep(1.2)
            assert len(web.peers) == 0
            assert not web.status.stale
        # Held from 5 s on: at once again, then after 1, 2, 4, 8 s, and when it can be settled.
        assert source.gaps[:6] == [5, 0, 1, 2, 4, 8]
        assert source.at[6] == began + 20
        assert began + 35 in source.at

    run(main)


def test_a_failure_in_between_neither_ends_nor_restarts_the_hold(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0, 1), NOT_FOUND, NOT_FOUND, FAILED, FAILED, NOT_FOUND)
        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            began = anyio.current_time()
            async for change in web.changes():
                if not change.after:
                    break
            assert began + 35 <= anyio.current_time() <= began + 36.5

    run(main)


def test_failures_back_off_and_leave_the_set_alone(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0, 1), FAILED)
        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            await anyio.sleep(305)
            assert keys(web) == ["web-0", "web-1"]
            status = web.status
            assert (status.stale, status.outcome, status.error) == (True, Outcome.FAILED, "the test says so")
            assert status.age == pytest.approx(305)
            assert status.failures == len(source.at) - 1
            source.say(pods(0, 1, 2))
            await web.wait(3, timeout=31)
            assert not web.status.stale
            assert web.status.age == 0
        assert source.gaps[0] == 5
        for gap, ceiling in zip(source.gaps[1:], [1, 2, 4, 8, 16, *[30] * 100], strict=False):
            assert 0.05 * ceiling <= gap <= ceiling + 1e-6

    run(main)


def test_while_nobody_is_there_it_asks_every_second(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(NOT_FOUND)
        async with AsyncDiscovery("web", source=source, policy=Policy(min_peers=0)) as web:
            await anyio.sleep(120)
            assert all(0.8 <= gap <= 1 for gap in source.gaps)
            source.say(pods(0))
            before = anyio.current_time()
            await web.wait()
            assert anyio.current_time() - before <= 1

    run(main)


def test_max_stale_empties_the_set_after_failures(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0, 1, ttl=10), FAILED)
        async with AsyncDiscovery("web", source=source, policy=Policy(jitter=0, max_stale=100)) as web:
            began = anyio.current_time()
            async for change in web.changes():
                if not change.after:
                    break
            assert anyio.current_time() == pytest.approx(began + 100, abs=0.01)
            assert "max_stale" in web.explain()

    run(main)


def test_entering_waits_at_most_ready_timeout(run: Run) -> None:
    async def main() -> None:
        began = anyio.current_time()
        with pytest.raises(ResolutionTimeoutError, match=r"web: 1 of 3 peers after 60\.0 s") as caught:
            async with AsyncDiscovery("web", source=AsyncScript(pods(0)), policy=Policy(min_peers=3)):
                raise AssertionError
        assert anyio.current_time() - began == pytest.approx(60)
        assert caught.value.service == "web"
        assert caught.value.outcome is Outcome.RESOLVED

    run(main)


def test_entering_with_nobody_wanted_takes_the_first_evidence(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(FAILED, FAILED, NOT_FOUND)
        async with AsyncDiscovery("web", source=source, policy=Policy(min_peers=0)) as web:
            assert len(source.at) == 3
            assert web.status.outcome is Outcome.NOT_FOUND

    run(main)


def test_what_cannot_work_is_said_at_once(run: Run) -> None:
    async def main() -> None:
        began = anyio.current_time()
        wrong = AsyncScript(Answer.failed(ConfigurationError("two ports: write one")))
        with pytest.raises(ConfigurationError, match="two ports"):
            async with AsyncDiscovery("web", source=wrong):
                raise AssertionError
        assert anyio.current_time() == began

    run(main)


def test_wait_has_its_time(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0), takes=0.5)
        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            began = anyio.current_time()
            with pytest.raises(ResolutionTimeoutError, match=r"1 of 2 peers after 12\.0 s"):
                await web.wait(2, timeout=12)
            assert anyio.current_time() - began == pytest.approx(12)
            with pytest.raises(ResolutionTimeoutError):
                await web.wait(2, timeout=0)
            assert await web.wait(1, timeout=0) is web.peers

    run(main)


def test_a_lookup_that_never_ends_is_a_failure(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0))
        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            source.takes = math.inf
            await anyio.sleep(5)
            assert web.status.next_refresh == 0  # one is under way
            await anyio.sleep(6.5)
            assert web.status.outcome is Outcome.FAILED
            assert web.status.error == "TimeoutError: no answer in 5 s"
            assert source.cancelled == 1
            source.takes = 0
            await web.refresh()
            assert str(web.status.outcome) == "resolved"

    run(main)


def test_changes_end_after_their_time(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0), pods(0), pods(0, 1))
        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            began = anyio.current_time()
            got = [(round(anyio.current_time() - began), c.added) async for c in web.changes(timeout=20)]
            assert [(at, [p.key for p in added]) for at, added in got] == [(0, ["web-0"]), (10, ["web-1"])]
            assert anyio.current_time() - began == pytest.approx(30)

    run(main)


def test_a_slow_reader_loses_nobody_and_the_end_ends_it(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0), pods(0, 1), pods(0, 1, 2), pods(1, 2, 3), pods(1, 2, 3))
        got: list[Change] = []

        async def read(web: AsyncDiscovery) -> None:
            async for change in web.changes():
                got.append(change)
                await anyio.sleep(17)

        web = AsyncDiscovery("web", source=source, policy=STEADY)
        async with anyio.create_task_group() as tasks, web:
            tasks.start_soon(read, web)
            await anyio.sleep(50)
        assert len(got) == 2
        assert {p.key for p in got[1].added} == {"web-1", "web-2", "web-3"}
        assert {p.key for p in got[1].removed} == {"web-0"}
        assert got[1].after == web.peers

    run(main)


def test_callers_that_wait_together_share_a_lookup(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0, ttl=30), takes=0.5)
        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(web.refresh)
            assert len(source.at) == 2
            source.say(pods(0, ttl=30), pods(0, 1, ttl=30))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(web.refresh)
                await anyio.sleep(0.2)  # the lookup is under way, and may not count for whoever comes now
                assert len(source.at) == 3
                tasks.start_soon(web.refresh)
                assert len(await web.refresh()) == 2
            assert len(source.at) == 4

    run(main)


def test_a_reported_failure_asks_again_at_most_once_a_second(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0, 1, ttl=30))
        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            await anyio.sleep(10)
            for _ in range(100):
                web.report_failure(web.peers[0], OSError())
                await anyio.sleep(0.1)
            assert 10 <= len(source.at) - 1 <= 11
            assert len(web.peers) == 2

    run(main)


def test_callbacks_are_called_in_the_refreshing_task(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0), pods(0, 1), pods(0, 1, 2), pods(1, 2))
        got: list[str] = []

        def callback(change: Change) -> None:
            got.append(str(change))
            web.report_failure(web.peers[0])
            web.on_change(lambda _: got.append("another"))
            unsubscribe()
            raise ZeroDivisionError

        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            unsubscribe = web.on_change(callback)
            await anyio.sleep(60)
            assert got[0] == "+Peer(web-1, 10.0.0.1:80)"
            assert got[1:] == ["another", "another"]
            unsubscribe()  # twice is fine

    run(main)


# Sources that tell by themselves


def test_a_watch_is_believed_at_once(run: Run) -> None:
    async def main() -> None:
        source = AsyncWatch(
            [(0, told(0, 1, 2, 3)), (10, told(0)), (20, told()), (30, told(5)), (1e9, FAILED)]
        )
        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            began = anyio.current_time()
            seen = {}
            with anyio.move_on_after(60):
                async for change in web.changes():
                    seen[round(anyio.current_time() - began)] = [p.key for p in change.after]
            assert seen == {0: ["web-0", "web-1", "web-2", "web-3"], 10: ["web-0"], 20: [], 30: ["web-5"]}
            assert web.status.next_refresh == math.inf
            assert not web.status.stale
            assert len(source.at) == 1
        assert source.ended == 1

    run(main)


@pytest.mark.parametrize("end", [OSError("gone"), SystemExit(3), GeneratorExit(), None], ids=repr)
def test_a_watch_that_ends_is_begun_again(run: Run, end: BaseException | None) -> None:
    async def main() -> None:
        first: list[tuple[float, Any]] = [(0, told(0, 1)), *([(10, end)] if end else [])]
        source = AsyncWatch(first, [(0, OSError("still"))], [(0, OSError("still"))], [(0, told(1, 2))], None)  # type: ignore[arg-type]
        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            began = anyio.current_time()
            async with anyio.create_task_group() as tasks:

                @tasks.start_soon
                async def _() -> None:
                    await anyio.sleep((10 if end else 0) + 0.01)
                    assert web.status.stale
                    assert web.status.outcome is Outcome.FAILED
                    assert keys(web) == ["web-0", "web-1"]

                await web.wait(2)
                async for change in web.changes():
                    if web.peers.get("web-2"):
                        assert [p.key for p in change.after] == ["web-1", "web-2"]
                        break
            assert anyio.current_time() - began <= 10 + 1 + 2 + 4
            assert len(source.at) == 4

    run(main)


def test_a_refresh_with_a_watch_that_is_up_has_nothing_to_ask(run: Run) -> None:
    async def main() -> None:
        source = AsyncWatch([(0, told(0)), (10, told(0, 1)), (50, FAILED), (60, told(0, 1)), (1e9, FAILED)])
        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            began = anyio.current_time()
            for _ in range(3):
                assert len(await web.refresh()) == 1
            web.report_failure(web.peers[0])
            assert anyio.current_time() == began
            await anyio.sleep(55)
            assert len(await web.refresh()) == 2  # it is down: what it tells next counts
            assert anyio.current_time() == pytest.approx(began + 60)
            assert len(source.at) == 1

    run(main)


def test_max_stale_counts_for_a_watch_that_is_down(run: Run) -> None:
    async def main() -> None:
        source = AsyncWatch([(0, told(0, 1)), (10, FAILED), (1e9, FAILED)])
        async with AsyncDiscovery("web", source=source, policy=Policy(jitter=0, max_stale=100)) as web:
            began = anyio.current_time()
            async for change in web.changes():
                if not change.after:
                    break
            assert anyio.current_time() == pytest.approx(began + 100, abs=0.01)
            assert len(source.at) == 1

    run(main)


# Calling


def test_failover_waits_for_somebody_and_ends_its_pause_when_the_set_changes(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(NOT_FOUND)
        async with AsyncDiscovery("web", source=source, policy=Policy(min_peers=0, jitter=0)) as web:
            began = anyio.current_time()
            with pytest.raises(NoPeersError, match="no peer became available within 60 s"):
                await anext(aiter(web.attempts(on=OSError)))
            assert anyio.current_time() == pytest.approx(began + 60)
            source.say(pods(0, ttl=7), pods(0, 1, ttl=600))
            tried = []
            began = anyio.current_time()
            async for attempt in web.attempts(on=OSError, stop=stop_after_attempt(2), wait=wait_fixed(1000)):
                with attempt as peer:
                    tried.append((peer.key, round(anyio.current_time() - began)))
                    if len(tried) == 1:
                        raise OSError
            assert [key for key, _ in tried] == ["web-0", "web-1"]
            assert tried[1][1] <= tried[0][1] + 2  # the failure asked again, and brought another pod

    run(main)


def test_a_broadcast_has_its_time(run: Run) -> None:
    async def main() -> None:
        async with AsyncDiscovery("web", source=AsyncScript(pods(0, 1, 2, ttl=600))) as web:
            began = anyio.current_time()

            async def call(peer: Peer) -> str:
                await anyio.sleep(100 if peer.ordinal == 1 else 1)
                return peer.key

            receipt = await web.broadcast(call, timeout=10)
            assert anyio.current_time() == pytest.approx(began + 10)
            assert sorted(receipt.results.values()) == ["web-0", "web-2"]
            assert [type(error) for error in receipt.errors.values()] == [TimeoutError]

    run(main)


def test_a_reader_that_is_cancelled_may_go_on(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0, ttl=10), pods(0, 1, ttl=600))
        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            changes = web.changes()
            await anext(changes)
            with anyio.move_on_after(1) as scope:
                await anext(changes)
            assert scope.cancelled_caught
            assert [peer.key for peer in (await anext(changes)).added] == ["web-1"]

    run(main)


# Before and after


def test_before_the_start_and_after_the_end(run: Run) -> None:
    async def main() -> None:
        web = AsyncDiscovery("web", source=AsyncScript(pods(0, 1)), policy=STEADY)

        async def refuses(text: str) -> None:
            calls: list[Callable[[], Any]] = [
                web.refresh,
                web.wait,
                lambda: web.wait(0),
                lambda: web.broadcast(refuses),  # type: ignore[arg-type]
            ]
            for call in calls:
                with pytest.raises(ClosedError, match=text):
                    await call()
            for call in (
                web.changes,
                web.round_robin,
                web.random,
                lambda: web.ordinal(0),
                lambda: web.attempts(OSError),
                lambda: web.on_change(print),
            ):
                with pytest.raises(ClosedError, match=text):
                    call()
            web.report_success(peer)
            web.report_failure(peer)
            web.explain()

        async with AsyncDiscovery("web", source=AsyncScript(pods(0))) as other:
            peer = other.peers[0]
        assert (len(web.peers), web.peers.generation, web.status.age) == (0, 0, math.inf)
        await refuses("not started")
        async with web:
            picker = web.round_robin()
            changes = web.changes()
            assert (await anext(changes)).added == tuple(web.peers)
        assert len(web.peers) == 2
        assert web.status.generation == 1
        await refuses("closed")
        with pytest.raises(ClosedError, match="closed"):
            await web.__aenter__()
        with pytest.raises(ClosedError, match="closed"):
            picker.pick()
        with pytest.raises(StopAsyncIteration):
            await anext(changes)

    run(main)


def test_waiting_ends_when_it_is_closed(run: Run) -> None:
    async def main() -> None:
        ended: list[str] = []

        async def waits(call: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(ClosedError):
                await call()
            ended.append("yes")

        web = AsyncDiscovery("web", source=AsyncScript(pods(0), takes=0.3))
        async with anyio.create_task_group() as tasks, web:
            tasks.start_soon(waits, web.refresh)
            tasks.start_soon(waits, lambda: web.wait(5))
            await anyio.sleep(0.1)
        assert ended == ["yes", "yes"]

    run(main)
