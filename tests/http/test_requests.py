"""Requests over pods of which some misbehave: where each goes, how often, and what the caller gets."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import anyio
import httpx
import pytest

from peerdiscover import AsyncDiscovery, ClosedError, ConfigurationError, NoPeersError, Policy
from peerdiscover.http import AsyncPodTransport
from tests.waiting import LONG, eventually

from ._flavors import SLOW, web
from ._load import Load, load
from ._pods import Pods, pods


def keys_of(response: Any) -> list[str]:
    told = response.extensions["peerdiscover"]
    return [*(tried.peer.key for tried in told["failed"]), told["peer"].key]


def test_requests_take_turns_and_say_which_pod(flavor: str) -> None:
    with pods() as service, web(flavor, service.source) as client:
        responses = [client.get(f"/{n}") for n in range(6)]
    assert all(response.status_code == 200 for response in responses)
    first = [response.extensions["peerdiscover"]["peer"].key for response in responses]
    assert first[:3] == first[3:]
    assert sorted(first[:3]) == ["web-0", "web-1", "web-2"]
    assert [response.text for response in responses] == [f"{key} web.prod" for key in first]
    assert responses[0].extensions["peerdiscover"]["attempts"] == 1
    assert responses[0].extensions["peerdiscover"]["failed"] == ()
    assert [pod.accepted for pod in service.all] == [1, 1, 1]  # lines are kept


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refused_goes_elsewhere_whatever_the_method(flavor: str, method: str) -> None:
    with pods() as service, web(flavor, service.source) as client:
        service[1].stop()
        responses = [client.request(method, headers={"id": str(n)}, content=b"x") for n in range(9)]
    assert [response.status_code for response in responses] == [200] * 9
    assert "web-1" not in [keys_of(response)[-1] for response in responses]
    refused = [keys_of(response) for response in responses if len(keys_of(response)) > 1]
    assert refused[0][0] == "web-1"
    assert len(refused) == 1  # it is ejected
    assert set(service.executed().values()) == {1}
    tried = next(r for r in responses if len(keys_of(r)) > 1).extensions["peerdiscover"]["failed"][0]
    assert not tried.sent
    assert "ConnectError" in tried.what


@pytest.mark.parametrize("manner", ["drop", "silent"])
def test_a_get_without_an_answer_goes_elsewhere(flavor: str, manner: Any) -> None:
    # A pod that drops is seen to: only the silent one is given up by the clock.
    with (
        pods() as service,
        web(flavor, service.source, attempt_timeout=1 if manner == "silent" else LONG) as client,
    ):
        service[0].manner = manner
        responses = [client.get(headers={"id": str(n)}) for n in range(3)]
        assert [response.status_code for response in responses] == [200] * 3
    again = [r for r in responses if r.extensions["peerdiscover"]["attempts"] == 2]
    assert len(again) == 1
    (tried,) = again[0].extensions["peerdiscover"]["failed"]
    assert tried.sent
    assert tried.peer.key == "web-0"
    assert sorted(service.executed().values()) == [1, 1, 2]


def test_a_post_without_an_answer_is_not_sent_again(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source) as client:
        service.manner("drop")
        with pytest.raises(client.api.RemoteProtocolError, match="not idempotent") as error:
            client.post(content=b"x", headers={"id": "1"})
        assert service.executed() == {"1": 1}
    (note,) = error.value.__notes__
    assert note.startswith("attempt 1: Peer(web-")
    assert note.endswith("s, sent")


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("POST", {"headers": {"Idempotency-Key": "k"}}),
        ("POST", {"extensions": {"idempotent": True}}),
        ("PATCH", {"headers": {"idempotency-key": "k"}, "json": {"a": 1}}),
        ("PUT", {"content": b"x"}),
        ("DELETE", {}),
    ],
)
def test_what_is_idempotent_is_sent_again(flavor: str, method: str, options: dict[str, Any]) -> None:
    with pods(2) as service, web(flavor, service.source) as client:
        service[0].manner = "drop"
        for _ in range(2):
            assert client.request(method, **options).text.startswith("web-1")
        bodies = {request.body for request in service.requests}
    assert len(service[0].requests) == 1
    assert len(bodies) == 1  # the whole body, both times


def test_get_marked_as_not_idempotent_is_sent_once(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source) as client:
        service.manner("drop")
        with pytest.raises(client.api.RemoteProtocolError):
            client.get(extensions={"idempotent": False})
        assert len(service.requests) == 1


def test_a_stream_is_sent_once(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source) as client:
        service.manner("drop")
        with pytest.raises(client.api.RemoteProtocolError, match="a stream, which cannot be sent again"):
            client.request("PUT", content=stream(flavor, b"a", b"b"))
        (request,) = service.requests
        assert request.body == b"ab"


def test_a_stream_that_was_not_begun_goes_elsewhere(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source) as client:
        service[0].stop()
        for _ in range(2):
            assert client.post(content=stream(flavor, b"a", b"b")).text.startswith("web-1")
        assert [request.body for request in service.requests] == [b"ab"] * 2


def stream(flavor: str, *parts: bytes) -> Any:
    async def asynchronous() -> Any:
        for part in parts:
            yield part

    return asynchronous() if not flavor.startswith("threads") else (part for part in parts)


def test_an_error_of_the_body_is_the_callers(flavor: str) -> None:
    def fails() -> Any:
        yield b"a"
        raise KeyError("mine")

    async def afails() -> Any:
        yield b"a"
        raise KeyError("mine")

    with pods(2) as service, web(flavor, service.source) as client:
        with pytest.raises(KeyError, match="mine"):
            client.request("PUT", content=fails() if flavor.startswith("threads") else afails())
        assert client.discovery.status.next_refresh > 100  # no failure was reported
        assert client.get().status_code == 200


def test_errors_of_a_service_are_answers(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source) as client:
        service.manner("error")
        responses = [client.get() for _ in range(4)]
        assert [response.status_code for response in responses] == [500] * 4
        assert len(service.requests) == 4


def test_503_goes_elsewhere_where_that_is_asked_for(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source, retry_503=True) as client:
        service[0].manner = "busy"
        assert [client.get().text[:5] for _ in range(4)] == ["web-1"] * 4
        responses = [client.post() for _ in range(2)]
        assert sorted(response.status_code for response in responses) == [200, 503]  # not idempotent
        for told in (response.extensions["peerdiscover"] for response in responses):
            assert (told["attempts"], told["failed"]) == (1, ())
        service[1].manner = "busy"
        assert client.get().status_code == 503  # everybody is: that is the answer


def test_503_is_an_answer_otherwise(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source) as client:
        service.manner("busy")
        assert client.get().status_code == 503
        assert len(service.requests) == 1


def test_an_answer_that_breaks_off(flavor: str) -> None:
    asked = 0

    def source() -> Any:
        nonlocal asked
        asked += 1
        return service.source()

    with pods(2) as service, web(flavor, source) as client:
        service.manner("half")
        with pytest.raises(client.api.RemoteProtocolError, match="in the middle of the response of Peer"):
            client.get()
        assert len(service.requests) == 1
        eventually(lambda: asked == 2)  # it was reported
        service.manner("ok")
        assert client.get().status_code == 200


def test_lines_that_were_closed_meanwhile_cost_nothing(flavor: str) -> None:
    with pods(1) as service, web(flavor, service.source) as client:
        service.manner("bye")
        for n in range(5):
            response = client.post(headers={"id": str(n)})
            assert response.extensions["peerdiscover"]["attempts"] == 1
            assert service[0].ended.acquire(timeout=LONG)
        assert service.executed() == {str(n): 1 for n in range(5)}


def test_connecting_that_hangs_goes_elsewhere(flavor: str) -> None:
    from peerdiscover.testing import HeadlessService

    with (
        HeadlessService("web.prod", 3, {"": 8080}) as svc,
        web(flavor, svc.source, name="web.prod:8080", connect_timeout=1) as client,
    ):
        svc.blackhole(1)
        responses = [client.post() for _ in range(4)]
        assert {response.json()["pod"] for response in responses} == {"web-0", "web-2"}
        failed = [tried for r in responses for tried in r.extensions["peerdiscover"]["failed"]]
        assert [(tried.peer.key, tried.sent) for tried in failed] == [("web-1", False)]


def test_all_refuse_until_the_next_answer(flavor: str) -> None:
    quick = Policy(min_refresh=0.1, max_refresh=0.2, jitter=0)
    with pods(4) as service:
        service.shown = service.all[:2]
        with web(flavor, service.source, policy=quick) as client:
            for pod in service.all[:2]:
                pod.stop()
            told = iter([service.all[:2]] * 3 + [service.all[2:]] * 1000)

            def source() -> Any:
                service.shown = next(told)
                return Pods.source(service)

            client.discovery._runtime.source._function = source
            response = client.post(headers={"id": "1"})
            assert response.status_code == 200
            assert client.discovery.status.lookups >= 4
        assert keys_of(response)[-1] in ("web-2", "web-3")
        assert service.executed() == {"1": 1}


def test_all_refuse_until_the_time_is_over(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source, client={"timeout": 1.5}) as client:
        for pod in service.all:
            pod.stop()
        began = time.monotonic()
        with pytest.raises(client.api.ConnectError, match="the time has expired") as error:
            client.post()
        assert time.monotonic() - began > 1.2
        assert "web-0" in str(error.value)
        assert "web-1" in str(error.value)
        assert len(error.value.__notes__) >= 4  # several rounds
        assert (
            len(error.value.__notes__) <= 2 * 9
        )  # but with pauses: half of 0.1, 0.2, 0.4, 0.8, 1, … s at least
        assert type(error.value.__cause__).__name__ == "ConnectError"  # what lies beneath says it, too
        assert error.value.request.method == "POST"


@pytest.mark.parametrize("flavor", ["threads-httpx", "trio-httpx2"])
def test_an_error_says_the_first_and_the_last_attempts(flavor: str) -> None:
    with pods(30) as service, web(flavor, service.source, client={"timeout": 3}) as client:
        for pod in service.all:
            pod.stop()
        with pytest.raises(client.api.ConnectError, match="attempts in") as error:
            client.post()
        notes = error.value.__notes__
        assert len(notes) == 21
        assert notes[0].startswith("attempt 1:")
        assert "more" in notes[10]
        assert notes[-1].startswith(f"attempt {int(notes[10].split()[1]) + 20}:")


def test_pods_that_come_back_are_found_within_the_time(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source) as client:
        for pod in service.all:
            pod.stop()
        timer = threading.Timer(0.4, service[1].start)
        timer.start()
        response = client.post(headers={"id": "1"})
        timer.join()
        assert response.text.startswith("web-1")
        assert service.executed() == {"1": 1}


def test_total_timeout_cuts_an_attempt(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source, total_timeout=1) as client:
        service.manner("silent")
        began = time.monotonic()
        with pytest.raises(client.api.ReadTimeout, match="the time has expired"):
            client.get()
        assert 0.9 < time.monotonic() - began < LONG, "it waited for httpx's own timeout"


def test_httpx_timeouts_keep_their_meaning(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source, client={"timeout": 1}) as client:
        service.manner("silent")
        began = time.monotonic()
        with pytest.raises(client.api.ReadTimeout):
            client.get()
        assert time.monotonic() - began > 0.9
        assert len(service.requests) == 1


def test_a_full_pool_is_no_failure_of_the_pod(flavor: str) -> None:
    with pods(1) as service, web(flavor, service.source, limits=httpx.Limits(max_connections=1)) as client:
        request = client.call(client.client.build_request, "GET", "http://web.prod/")
        held = client.call(client.client.send, request, stream=True)
        timeout = client.api.Timeout(5, pool=0.3)
        with pytest.raises(client.api.PoolTimeout, match="not retried: all connection pools are full"):
            client.get(timeout=timeout)
        assert len(service.requests) == 1
        assert client.discovery.status.next_refresh > 100
        client.call(held.close if flavor.startswith("threads") else held.aclose)
        assert client.get(timeout=timeout).status_code == 200


# httpx's own: under trio it leaves the body's generator, which it read from, to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore:.*async_generator object ByteStream.__aiter__:pytest.PytestUnraisableExceptionWarning"
)
def test_a_pod_that_does_not_read_is_given_the_time_to_write(flavor: str) -> None:
    with pods(1) as service, web(flavor, service.source) as client:
        service.manner("deaf")
        timeout = client.api.Timeout(5, write=0.3)
        with pytest.raises(client.api.WriteTimeout, match="not idempotent"):
            client.post(content=b"x" * (1 << 25), timeout=timeout)
        assert not service.requests
        service[0].go.set()


def test_nobody_is_there(flavor: str) -> None:
    policy = Policy(min_peers=0, max_refresh=0.2, min_refresh=0.1)
    with web(flavor, lambda: iter(()), policy=policy, client={"timeout": 0.2}) as client:
        with pytest.raises(NoPeersError) as error:
            client.get()
        assert isinstance(error.value, client.api.ConnectError)
        assert type(error.value).__module__ == "peerdiscover.http"


def test_somebody_comes(flavor: str) -> None:
    policy = Policy(min_peers=0, max_refresh=0.2, min_refresh=0.1)
    with pods(1) as service:
        answers = iter([[], *[service.source()] * 1000])
        with web(flavor, lambda: next(answers), policy=policy) as client:
            assert client.get().status_code == 200


def test_another_host_is_an_error(flavor: str) -> None:
    with pods(1) as service, web(flavor, service.source, name="web.prod:8080") as client:
        for host in ("http://other.prod", "http://web.dev", "http://web.prod.example", "http://127.0.0.1"):
            with pytest.raises(ConfigurationError, match=r"is not the service 'web.prod:8080'"):
                client.get(host=host)
        with pytest.raises(ConfigurationError, match="is discovered with port 8080"):
            client.get(host="http://web.prod:81")
        for host in (
            "http://web",
            "http://web.prod:8080",
            "http://web.prod.svc",
            "http://web.prod.svc.cluster.local",
        ):
            assert client.get(host=host).status_code == 200


def test_a_closed_discovery(flavor: str) -> None:
    with pods(1) as service, web(flavor, service.source) as client:
        assert client.get().status_code == 200
        client.close_discovery()
        with pytest.raises(ClosedError, match="closed"):
            client.get()


def test_host_of_the_pod(flavor: str) -> None:
    with pods(1) as service, web(flavor, service.source, host="peer") as client:
        assert client.get().text == f"web-0 web-0.web.prod.svc:{service[0].port}"


def test_one_pod_alone(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source) as client:
        for pod in service.all:
            for _ in range(2):
                assert client.get(extensions={"peer": pod.peer}).text.startswith(pod.name)
        service[0].stop()
        with pytest.raises(client.api.ConnectError, match="to this pod alone"):
            client.get(extensions={"peer": service[0].peer})


def test_the_budget(flavor: str) -> None:
    """A service that dies is sent a fifth more, and ten: not a multiple."""
    with pods(2) as service, web(flavor, service.source, budget=0.2) as client:
        service.manner("drop")
        began, errors = time.monotonic(), 0
        for _ in range(50):
            try:
                client.get()
            except client.api.RemoteProtocolError:
                errors += 1
        assert errors == 50
        # It forgets what it spent, by half in seven seconds: on a slow machine there is more to spend.
        floors = 1 + (time.monotonic() - began) / 10
        assert 50 < len(service.requests) <= 50 + 10 + 10 * floors


def test_event_hooks_are_called_once(flavor: str) -> None:
    seen: list[str] = []

    def note(thing: Any) -> None:
        seen.append(type(thing).__name__)

    async def anote(thing: Any) -> None:
        seen.append(type(thing).__name__)

    hook = note if flavor.startswith("threads") else anote
    hooks = {"event_hooks": {"request": [hook], "response": [hook]}}
    with pods(2) as service, web(flavor, service.source, client=hooks) as client:
        service[0].stop()
        client.get()
        client.get()
    assert seen == ["Request", "Response"] * 2


@pytest.mark.parametrize(
    "bad",
    [
        {"host": "pod"},
        {"attempts": 0},
        {"budget": 2},
        {"connect_timeout": 0},
        {"total_timeout": -1},
        {"drain": -1},
    ],
)
def test_options_that_cannot_work(bad: dict[str, Any]) -> None:
    with (
        pytest.raises(ConfigurationError, match=next(iter(bad))),
        pods(1) as service,
        web("threads-httpx", service.source, **bad),
    ):
        pass


@pytest.mark.parametrize("back", ["the same", "others"])
def test_an_outage_is_waited_out(back: str) -> None:
    """All pods refuse for a second and a half. Nothing is lost, nothing is hammered."""
    with pods(6) as service:
        service.shown = service.all[:3]

        async def story() -> Load:
            async with (
                AsyncDiscovery("web.prod", source=service.source, policy=SLOW) as discovery,
                httpx.AsyncClient(transport=AsyncPodTransport(discovery), timeout=LONG) as client,
            ):

                async def outage() -> None:
                    service.manner("bye")  # those in flight are answered, and each connection ends with that
                    for pod in service.all:
                        pod.refuse()
                    await anyio.sleep(1.5)
                    service.manner("ok")
                    if back == "others":
                        service.shown = service.all[3:]
                    for pod in service.shown:
                        pod.start()
                    await discovery.refresh()

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(outage)
                    return await load(client, 60, lambda seconds, _: seconds > 3, "http://web.prod/")
            raise AssertionError("the task group ended otherwise")

        result = asyncio.run(story())
        assert not result.failed
        assert set(service.executed().values()) == {1}
        waited = [one for one in result.answered if one.latency > 0.3]
        assert len(waited) > 40
        assert max(one.attempts for one in waited) < 3 * 8  # a few rounds, though it refused at once
