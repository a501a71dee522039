"""What is requests' own: mounts, threads, forks, sessions that are closed, and options."""

from __future__ import annotations

import copy
import os
from typing import Any

import pytest
import requests
import urllib3

from peerdiscover import AsyncDiscovery, ClosedError, ConfigurationError, Discovery, Peer
from peerdiscover.requests import PodAdapter, PodResponse, RequestsWrongHostError
from tests.http._pods import pods
from tests.http.test_forks import child
from tests.waiting import LONG

from ._sessions import web

NAME = "static:127.0.0.1:1"


class WithKey:
    """A picker for which a request has no key."""

    def pick(self, key: str) -> Peer:
        raise NotImplementedError(key)


def test_a_mount_of_another_host() -> None:
    """`http://web.prod` is also how `http://web.production` begins."""
    with pods(1) as service, web("requests", service.source) as client:
        with pytest.raises(
            RequestsWrongHostError, match=r"'web\.production' is not the service 'web\.prod'"
        ) as error:
            client.get(host="http://web.production")
        assert isinstance(error.value, requests.exceptions.InvalidURL)
        assert isinstance(error.value, ConfigurationError)
        assert "session.mount('http://HOST/', PodAdapter(…))" in str(error.value)
        for host in "http://web", "http://web.prod.svc", "http://WEB.prod.svc.cluster.local":
            assert client.get(host=host).status == 200


def test_a_url_that_names_a_pod_goes_there() -> None:
    with pods(2) as service, web("requests", service.source) as client:
        for pod in service.all * 2:
            assert client.get(host=f"http://{pod.address}:{pod.port}").history["peer"] == pod.peer
            assert client.get(host=f"http://{pod.name}.web.prod.svc:{pod.port}").history["peer"] == pod.peer
        service[0].stop()
        with pytest.raises(requests.ConnectionError, match="it was sent to this pod alone"):
            client.get(host=f"http://{service[0].address}:{service[0].port}")


def test_a_response_is_typed_and_reads_as_any() -> None:
    with pods(1) as service, web("requests", service.source) as client:
        response = client.session.get("http://web.prod/", stream=True)
        assert key_of(response) == "web-0"
        assert list(response.iter_content(4)) == [b"web-", b"0 we", b"b.pr", b"od"]
        assert list(client.session.get("http://web.prod/", stream=True).iter_lines()) == [b"web-0 web.prod"]
        assert client.session.get("http://web.prod/", stream=True).raw.read() == b"web-0 web.prod"
        assert service[0].accepted == 1  # each was given back


def key_of(response: requests.Response) -> str | None:
    """As a program writes it that is type-checked."""
    return response.peerdiscover["peer"].key if isinstance(response, PodResponse) else None


def test_timeouts_are_the_sessions() -> None:
    with pods(1) as service, web("requests", service.source, timeout=None) as client:
        service.manner("silent")
        with pytest.raises(requests.ReadTimeout) as error:
            client.post(timeout=(LONG, 0.2))
        assert error.value.request is not None
        service[0].stop()
        for timeout in 0.3, (0.3, LONG):
            with pytest.raises(requests.ConnectionError, match="the time has expired"):
                client.get(timeout=timeout)
        with pytest.raises(ValueError, match="timeout"):
            client.get(timeout=(1, 2, 3))


def test_a_request_may_have_a_total_of_its_own() -> None:
    with pods(2) as service, web("requests", service.source, attempt_timeout=LONG) as client:
        service.manner("silent")
        with pytest.raises(requests.ReadTimeout, match="the time has expired") as error:
            client.get(timeout=urllib3.Timeout(total=0.3))
        assert len(error.value.__notes__) == len(service.requests) == 1
        service.manner("ok")
        for total in (LONG, None, urllib3.Timeout.DEFAULT_TIMEOUT):
            assert client.get(timeout=urllib3.Timeout(total=total)).status == 200


def test_the_time_to_read_a_body_is_not_that_of_the_attempt() -> None:
    with pods(1) as service, web("requests", service.source, attempt_timeout=LONG) as client:
        response = client.session.get("http://web.prod/", stream=True, timeout=(1, 7))
        assert response.raw._connection.sock.gettimeout() == 7
        response.close()


def test_a_closed_session_opens_again_and_a_closed_discovery_does_not() -> None:
    with pods(1) as service, web("requests", service.source) as client:
        client.get()
        client.session.close()
        assert service[0].ended.acquire(timeout=LONG)
        assert client.get().status == 200
        client.discovery.close()
        with pytest.raises(ClosedError):
            client.get()


def test_an_adapter_is_not_copied() -> None:
    with pytest.raises(TypeError, match="cannot be copied"):
        copy.copy(PodAdapter(Discovery(NAME)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_child_of_a_fork_has_connections_of_its_own() -> None:
    with pods(2) as service, web("requests", service.source) as client:
        for _ in range(2):
            client.get()

        def run(_: Any) -> list[str]:
            return sorted(client.get().text[:5] for _ in range(4))

        with child(run) as forked:
            assert forked.said() == ["web-0", "web-0", "web-1", "web-1"]
            assert [pod.accepted for pod in service.all] == [2, 2]
            assert sorted(client.get().text[:5] for _ in range(4)) == ["web-0", "web-0", "web-1", "web-1"]
            assert [pod.accepted for pod in service.all] == [2, 2]  # the parent's go on


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: PodAdapter("web.prod"), r"discovery='web\.prod': expected a Discovery; write Discovery"),  # type: ignore[arg-type]
        (lambda: PodAdapter(AsyncDiscovery(NAME)), "expected a Discovery"),  # type: ignore[arg-type]
        (lambda: PodAdapter(Discovery(NAME), attempts=0), "attempts=0: expected a number, at least 1"),
        (lambda: PodAdapter(Discovery(NAME), pool_maxsize=0), "pool_maxsize=0: expected at least 1"),
        (lambda: PodAdapter(Discovery(NAME), budget=2), "budget=2: expected a share between 0 and 1"),
        (lambda: PodAdapter(Discovery(NAME), idempotent=True), "idempotent=True: expected a function"),  # type: ignore[arg-type]
        (lambda: PodAdapter(Discovery(NAME), picker=WithKey()), "picker=.*needs no argument"),  # type: ignore[arg-type]
    ],
)
def test_bad_options(make: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        make()


@pytest.mark.parametrize("name", ["conect_timeout", "verify", "limits"])
def test_an_option_that_does_not_exist(name: str) -> None:
    """`verify` and the like are the session's: an adapter that took them would not do what they say."""
    options: Any = {name: 1}
    with pytest.raises(TypeError, match=name):
        PodAdapter(Discovery(NAME), **options)
