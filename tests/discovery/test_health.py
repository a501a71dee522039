"""A failure that the application reports, and who is picked from then on: in virtual time and in threads."""

from __future__ import annotations

import anyio
import pytest

from peerdiscover import AsyncDiscovery, Discovery, Policy
from peerdiscover.discovery._tasks import TaskRuntime
from tests.waiting import eventually

from ._clock import Run
from ._sources import AsyncScript, AsyncWatch, Script, pods, told

STEADY = Policy(jitter=0)


def picked(web: AsyncDiscovery | Discovery, picks: int = 60) -> set[str]:
    return {web.round_robin().pick().key for _ in range(picks)}


def test_who_failed_is_left_out_for_a_while_and_then_tried_once(run: Run) -> None:
    async def main() -> None:
        async with AsyncDiscovery("web", source=AsyncScript(pods(0, 1, 2, ttl=30)), policy=STEADY) as web:
            assert len(picked(web)) == 3
            failed = web.ordinal(1)
            web.report_failure(failed, ConnectionRefusedError())
            assert picked(web) == {"web-0", "web-2"}
            assert len(web.peers) == 3  # health decides who is picked, not who is there
            assert web.ordinal(1) == failed
            assert "ejected for" in web.explain()
            assert "1 failure in a row, last ConnectionRefusedError" in web.explain()
            await anyio.sleep(1.21)
            assert web.round_robin().pick() == failed
            assert picked(web) == {"web-0", "web-2"}
            assert "half-open for" in web.explain()
            web.report_success(failed)
            assert len(picked(web)) == 3
            assert "in a row" not in web.explain()

    run(main)


def test_many_failures_at_once_wake_those_who_wait_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand requests that fail, while a thousand wait, are no million things to do."""
    woken: list[None] = []
    wake = TaskRuntime._wake

    def counted(self: TaskRuntime) -> None:
        woken.append(None)
        wake(self)

    async def main() -> None:
        async with AsyncDiscovery("web", source=AsyncScript(pods(0, 1, 2, ttl=30)), policy=STEADY) as web:
            failed = web.ordinal(1)
            monkeypatch.setattr(TaskRuntime, "_wake", counted)
            for _ in range(1000):
                web.report_failure(failed)
            monkeypatch.undo()
            assert len(woken) == 1

    run(main)


def test_a_trial_in_which_nothing_is_reported_ends_well(run: Run) -> None:
    async def main() -> None:
        async with AsyncDiscovery("web", source=AsyncScript(pods(0, 1, 2, ttl=30)), policy=STEADY) as web:
            web.report_failure(web.ordinal(1))
            await anyio.sleep(2.5)
            assert len(picked(web)) == 3

    run(main)


def test_it_is_so_with_a_watch_too(run: Run) -> None:
    async def main() -> None:
        source = AsyncWatch([(0, told(0, 1, 2)), (1e9, told(0))])
        async with AsyncDiscovery("web", source=source, policy=STEADY) as web:
            web.report_failure(web.ordinal(1))
            assert picked(web) == {"web-0", "web-2"}
            await anyio.sleep(2.5)
            assert len(picked(web)) == 3

    run(main)


def test_who_joins_starts_slowly_where_that_is_wanted(run: Run) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0, 1, ttl=5), pods(0, 1, 2, ttl=5))
        policy = Policy(jitter=0, slow_start=8)
        async with AsyncDiscovery("web", source=source, policy=policy) as web:
            await web.wait(3)
            shares = []
            await anyio.sleep(0.5)
            for _ in range(8):
                keys = [web.round_robin().pick().key for _ in range(24 * 40)]
                shares.append(keys.count("web-2") / keys.count("web-1"))
                await anyio.sleep(1)
            assert shares == pytest.approx([eighths / 8 for eighths in range(1, 9)], abs=0.02)

    run(main)


def test_in_threads() -> None:
    policy = Policy(eject_initial=0.05)
    with Discovery("web", source=Script(pods(0, 1, 2, ttl=30)), policy=policy) as web:
        web.report_failure(web.ordinal(1))
        eventually(lambda: "half-open" in web.explain() or "in a row" not in web.explain())
        eventually(lambda: len(picked(web)) == 3)
        for i in range(3):
            web.report_success(web.ordinal(i))


def test_success_and_failure_after_the_end_do_nothing() -> None:
    with Discovery("web", source=Script(pods(0, 1))) as web:
        peer = web.peers[0]
    web.report_failure(peer)
    web.report_success(peer)
