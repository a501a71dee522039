"""A source that tells, and another one for when it fails: in threads and in virtual time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from peerdiscover import (
    DNS,
    Answer,
    AsyncDiscovery,
    ConfigurationError,
    Discovery,
    Endpoint,
    Fallback,
    NameNotFoundError,
    Outcome,
    Policy,
    aresolve,
    resolve,
)
from tests.waiting import LONG, eventually

from ._clock import Run, SettableClock
from ._sources import FAILED, NOT_FOUND, AsyncScript, AsyncWatch, Script, Watch, pods, told

STEADY = Policy(jitter=0)
QUICK = Policy(jitter=0, min_refresh=0.01, retry_initial=0.01)
FORBIDDEN = Answer.failed(ConfigurationError("forbidden\napply this Role"))


def keys(web: AsyncDiscovery | Discovery) -> list[str]:
    return [peer.key for peer in web.peers]


def test_the_second_is_asked_only_while_the_first_fails(run: Run) -> None:
    async def main() -> None:
        watch = AsyncWatch(
            [(0, told(0, 1)), (100, FAILED), (130, FAILED), (200, told(0, 1, 2)), (1e9, FAILED)]
        )
        dns = AsyncScript(pods(0, 1, ttl=5))
        async with AsyncDiscovery("web", source=Fallback(watch, dns), policy=STEADY) as web:
            began = anyio.current_time()
            await anyio.sleep(99)
            assert dns.at == []
            await anyio.sleep(100)
            assert dns.at[0] == began + 100
            assert set(dns.gaps) == {5}
            assert not web.status.stale
            await anyio.sleep(2)
            assert keys(web) == ["web-0", "web-1", "web-2"]
            asked = len(dns.at)
            await anyio.sleep(1000)
            assert len(dns.at) == asked
            assert len(watch.at) == 1

    run(main)


def test_forbidden_from_the_start_is_no_obstacle(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        watch = AsyncWatch([(second, FORBIDDEN) for second in range(0, 1000, 10)])
        dns = AsyncScript(pods(0, 1, ttl=5))
        async with AsyncDiscovery("web", source=Fallback(watch, dns), policy=STEADY) as web:
            assert keys(web) == ["web-0", "web-1"]
            await anyio.sleep(500)
        warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert warnings == ["web: watch failed, falling back to the second source: forbidden"]

    run(main)


def test_a_watch_that_ends_at_once_does_not_run_hot(run: Run) -> None:
    async def main() -> None:
        watch = AsyncWatch(*[[(0, OSError("gone"))]] * 1000)
        dns = AsyncScript(pods(0, ttl=5))
        async with AsyncDiscovery("web", source=Fallback(watch, dns), policy=STEADY):
            await anyio.sleep(100)
        assert 15 <= len(watch.at) <= 25
        assert 15 <= len(dns.at) <= 25

    run(main)


def test_where_both_fail_what_is_known_stays(run: Run) -> None:
    async def main() -> None:
        watch = AsyncWatch([(0, told(0, 1)), (10, FAILED), (1e9, FAILED)])
        async with AsyncDiscovery("web", source=Fallback(watch, AsyncScript(FAILED)), policy=STEADY) as web:
            await anyio.sleep(1000)
            assert keys(web) == ["web-0", "web-1"]
            assert web.status.stale
            assert web.status.age == pytest.approx(1000)

    run(main)


def test_in_threads_it_goes_over_and_comes_back() -> None:
    watch, dns = Watch(), Script(pods(0, 1, ttl=0.01))
    watch.tell(told(0))
    with Discovery("web", source=Fallback(watch, dns), policy=QUICK) as web:
        assert keys(web) == ["web-0"]
        assert dns.asks == []
        watch.tell(FAILED)
        web.wait(2, timeout=LONG)
        dns.wait_asked(2)
        watch.tell(told(0, 1, 2))
        web.wait(3, timeout=LONG)
        assert web.status.next_refresh == float("inf")


def test_in_threads_an_answer_that_comes_after_the_watch_works_again_counts_for_nothing() -> None:
    watch = Watch()

    def late(_: object) -> Answer:
        watch.tell(told(0, 1, 2))
        eventually(lambda: len(web.peers) == 3)
        return pods(7)

    watch.tell(told(0))
    with Discovery("web", source=Fallback(watch, Script(late)), policy=QUICK) as web:
        watch.tell(FAILED)
        web.wait(3, timeout=LONG)
        eventually(lambda: not web._runtime.asking)
        assert keys(web) == ["web-0", "web-1", "web-2"]


def test_in_threads_a_watch_that_raised_is_begun_anew() -> None:
    watch, dns = Watch(), Script(pods(0, ttl=0.01))
    watch.tell(told(0), OSError("gone"))
    with Discovery("web", source=Fallback(watch, dns), policy=QUICK) as web:
        watch.wait_begun(2)
        dns.wait_asked(1)
        watch.tell(told(0, 1))
        web.wait(2, timeout=LONG)


# two that are asked


def test_two_that_are_asked(run: Run) -> None:
    async def main() -> None:
        first, second = AsyncScript(pods(0), FAILED, pods(0)), AsyncScript(pods(1))
        async with AsyncDiscovery("web", source=Fallback(first, second), policy=STEADY) as web:
            assert keys(web) == ["web-0"]
            await web.refresh()
            assert keys(web) == ["web-1"]
            await web.refresh()
            assert keys(web) == ["web-0"]
            assert len(second.at) == 1
            # Each has half of the time.
            assert {ask.timeout for ask in (*first.asks, *second.asks)} == {STEADY.timeout / 2}

    run(main)


def test_callables_will_do() -> None:
    def broken() -> list[str]:
        raise OSError("broken")

    assert resolve("web", source=Fallback(broken, lambda: ["10.0.0.1:80"]))[0].address == "10.0.0.1"


# once


def test_once_the_first_word_of_the_watch_counts() -> None:
    watch, dns = Watch(), Script(pods(1))
    watch.tell(told(0))
    assert [peer.key for peer in resolve("web", source=Fallback(watch, dns))] == ["web-0"]
    assert dns.asks == []


def test_once_the_second_is_asked_where_the_watch_fails(caplog: pytest.LogCaptureFixture) -> None:
    watch, dns = Watch(), Script(pods(1))
    watch.tell(FORBIDDEN)
    assert [peer.key for peer in resolve("web", source=Fallback(watch, dns))] == ["web-1"]
    assert "the first source failed, the second one answered: forbidden" in caplog.text
    assert "apply this Role" not in caplog.text


def test_once_nobody_from_the_watch_is_final() -> None:
    watch, dns = Watch(), Script(pods(1))
    watch.tell(Answer(outcome=Outcome.EMPTY, authoritative=True))
    with pytest.raises(NameNotFoundError):
        resolve("web", source=Fallback(watch, dns))
    assert dns.asks == []


def test_once_where_neither_can_work_both_are_told() -> None:
    watch = Watch()
    watch.tell(FORBIDDEN)
    dns = Script(Answer.failed(ConfigurationError("no port")))
    with pytest.raises(ConfigurationError, match=r"(?s)forbidden.*Role.*no port"):
        resolve("web", source=Fallback(watch, dns))


def test_once_awaited(run: Run) -> None:
    async def main() -> None:
        source = Fallback(AsyncWatch([(0, FORBIDDEN)]), AsyncScript(pods(1)))
        assert [peer.key for peer in await aresolve("web", source=source)] == ["web-1"]
        source = Fallback(AsyncWatch([(0, told(0))]), AsyncScript(pods(1)))
        assert [peer.key for peer in await aresolve("web", source=source)] == ["web-0"]
        source = Fallback(AsyncWatch(None), AsyncScript(pods(1)))  # type: ignore[arg-type]
        began = anyio.current_time()
        assert [peer.key for peer in await aresolve("web", source=source, timeout=8)] == ["web-1"]
        assert anyio.current_time() - began == 5  # half of the time, and what a source has over it

    run(main)


# what is refused


@pytest.mark.parametrize("given", [None, 7, "dns", Script], ids=repr)
def test_what_is_no_source_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="source"):
        Fallback(given, DNS())
    with pytest.raises(ConfigurationError, match="source"):
        Fallback(DNS(), given)


def test_it_shows_both() -> None:
    assert repr(Fallback(DNS(), DNS())) == "Fallback(DNS(), DNS())"


def test_nobody_at_all_is_said_with_both_reasons(clock: SettableClock) -> None:
    watch = Watch()
    watch.tell(FORBIDDEN)

    def nobody(_: object) -> Answer:
        clock.forward(60)
        return NOT_FOUND

    policy = Policy(ready_timeout=60, retry_initial=0.01)
    with pytest.raises(Exception, match="not found") as caught:
        Discovery("web", source=Fallback(watch, Script(nobody)), policy=policy).start()
    assert "watch failed: forbidden" in str(caught.value)


def test_a_source_of_ones_own_may_do_both() -> None:
    class Both:
        kind = "mine"
        asked = 0

        def watch(self, _: object) -> Iterator[Answer]:
            yield told(0)
            raise OSError("gone")

        def lookup(self, _: object) -> Answer:
            self.asked += 1
            return Answer.of([Endpoint.parse("10.0.0.9:80")], ttl=600)

    source = Both()
    with Discovery("web", source=source) as web:
        assert web.wait(1, timeout=LONG)
        eventually(lambda: source.asked > 0)
