"""What callers may give, and get: values, refusals in one line, errors that cross processes."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from tenacity import stop_after_attempt

from peerdiscover import AsyncDiscovery, ConfigurationError, Discovery, Identity, PeerDiscoverError
from peerdiscover.clustering import (
    ContactPoint,
    NotFormedError,
    Standing,
    abootstrap,
    ahttp_probe,
    bootstrap,
    founders,
    http_probe,
)

from ._lives import FOUNDERS, Life, names

WEB_0 = "static:web-0=127.0.0.1:1"


def test_founders_are_the_first_pods_of_a_statefulset() -> None:
    assert founders("web", 3) == FOUNDERS
    assert founders("web", 2, start=5) == ("web-5", "web-6")


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (
            lambda: founders("web-0.web", 3),
            "founders('web-0.web'): expected a StatefulSet's name, such as 'web'",
        ),
        (lambda: founders("web", 0), "founders(replicas=0): expected a whole number of at least 1"),
        (lambda: founders("web", True), "founders(replicas=True): expected a whole number"),
        (lambda: founders("web", 3, -1), "founders(start=-1): expected a whole number of at least 0"),
        (lambda: ContactPoint("", FOUNDERS), "ContactPoint(name=''): expected the key of a peer"),
        (
            lambda: ContactPoint("web-0", ()),
            "ContactPoint(founders=()): expected the keys of peers, each once",
        ),
        (
            lambda: ContactPoint("web-0", "web-0"),
            "ContactPoint(founders='web-0'): expected the keys of peers",
        ),
        (lambda: ContactPoint("web-0", names(0, 1, 0)), "expected the keys of peers, each once"),
        (
            lambda: ContactPoint("web-0", FOUNDERS, cluster=""),
            "ContactPoint(cluster=''): expected a cluster's id",
        ),
        (lambda: http_probe("peerdiscover"), "http_probe('peerdiscover'): expected a path"),
        (lambda: ahttp_probe(timeout=0), "http_probe(timeout=0): expected seconds, such as 2.0"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(call: Callable[[], object], shown: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        call()
    assert shown in str(refused.value)
    assert "\n" not in str(refused.value)


async def a_coroutine_function(*_: object) -> None: ...


@pytest.mark.parametrize("name", ["form", "join", "probe", "claim"])
def test_bootstrap_refuses_coroutine_functions(name: str) -> None:
    functions: Any = {"form": lambda _: None, "join": lambda *_: None} | {name: a_coroutine_function}
    with pytest.raises(ConfigurationError, match="use abootstrap to await it"):
        bootstrap(Discovery(WEB_0), ContactPoint("web-0", FOUNDERS), **functions)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"form": None}, "bootstrap(form=None): expected a function"),
        ({"join": "web-0"}, "bootstrap(join='web-0'): expected a function"),
        ({"probe": "/peerdiscover"}, "bootstrap(probe='/peerdiscover'): expected a function"),
        ({"claim": 5}, "bootstrap(claim=5): expected a function"),
        ({"contact": "web-0"}, "bootstrap(contact='web-0'): expected a ContactPoint"),
    ],
)
@pytest.mark.anyio
async def test_what_could_never_be_called_is_not_tried_for_ten_minutes(given: Any, shown: str) -> None:
    arguments: Any = {"contact": ContactPoint("web-0", FOUNDERS), "form": print, "join": print} | given
    async with AsyncDiscovery(WEB_0) as web:
        with pytest.raises(ConfigurationError) as refused:
            await abootstrap(web, **arguments)
    assert str(refused.value) == shown
    with Discovery(WEB_0) as web, pytest.raises(ConfigurationError, match="expected a"):
        bootstrap(web, **arguments)


@pytest.mark.anyio
async def test_abootstrap_refuses_plain_functions() -> None:
    contact = ContactPoint("web-0", names(0))
    plain: Any = lambda *_: None  # noqa: E731
    async with AsyncDiscovery(WEB_0, me=Identity(name="web-0")) as web:
        with pytest.raises(ConfigurationError, match="use bootstrap for plain functions"):
            await abootstrap(web, contact, form=plain, join=plain)
    assert not contact.standing.busy


def test_stop_and_wait_are_tenacitys() -> None:
    stop: Any = 60
    with (
        Discovery(WEB_0) as web,
        pytest.raises(ConfigurationError, match=r"bootstrap\(stop=60\): expected one of"),
    ):
        bootstrap(web, ContactPoint("web-0", FOUNDERS), form=print, join=print, stop=stop)


def test_a_contact_point_is_bootstrapped_once_at_a_time() -> None:
    contact = ContactPoint("web-0", FOUNDERS)
    contact.begin()
    with pytest.raises(ConfigurationError, match="it forms or joins already"):
        contact.begin()
    contact.end(None)
    contact.begin()


def test_a_standing_is_one_object_both_ways() -> None:
    standing = Standing("web-0", "b", FOUNDERS, "c1", True)
    assert Standing.from_json(standing.to_json()) == standing
    more = json.loads(standing.to_json()) | {"a later version": 2}
    assert Standing.from_json(json.dumps(more).encode()) == standing
    assert ContactPoint("web-0", FOUNDERS).standing.boot != ContactPoint("web-0", FOUNDERS).standing.boot


@pytest.mark.parametrize(
    "change",
    [{"name": 1}, {"boot": ""}, {"founders": "web-0"}, {"founders": [1]}, {"cluster": ""}, {"busy": 0}],
    ids=str,
)
def test_what_is_no_standing_is_refused(change: dict[str, object]) -> None:
    answer = json.loads(Standing("web-0", "b", FOUNDERS).to_json()) | change
    with pytest.raises(ValueError, match="another program answers there"):
        Standing.from_json(json.dumps(answer).encode())


def test_the_error_crosses_processes() -> None:
    error = NotFormedError(
        "web-0 is in no cluster", why="why", heard={"web-1": Standing("web-1", "b", FOUNDERS)}
    )
    for again in copy.copy(error), pickle.loads(pickle.dumps(error)):
        assert (str(again), again.why, again.heard) == (str(error), error.why, error.heard)
    assert isinstance(error, PeerDiscoverError)
    assert isinstance(error, TimeoutError)


def test_it_ends_when_stop_says_so_and_carries_what_failed() -> None:
    def form(cluster: str) -> None:
        raise OSError("disk full")

    contact = ContactPoint("web-0", names(0))
    with (
        Discovery(WEB_0, me=Identity(name="web-0")) as web,
        pytest.raises(NotFormedError, match="web-0 is in no cluster: form failed: OSError") as raised,
    ):
        bootstrap(web, contact, form=form, join=lambda *_: None, stop=stop_after_attempt(2))
    assert isinstance(raised.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("listed", "name", "shown"),
    [
        (names(0, 1), "web-3", "this pod is web-0 in the set, and ContactPoint(name='web-3')"),
        (
            ("db-0", "db-1"),
            "web-0",
            "none of the founders (web-0, web-1, web-2) is in the set; its keys are db-0",
        ),
    ],
)
def test_what_does_not_fit_the_set_is_waited_for(listed: tuple[str, ...], name: str, shown: str) -> None:
    """DNS may be wrong, too: so a pod does not end for it."""
    life = Life(int(name[-1]), listed=listed)
    if name == "web-3":
        life.discovery.peers = Life(0, listed=listed).discovery.peers
    life.hears()
    assert life.does == "broadcast"
    assert life.why.startswith(shown)


def test_pods_without_hostnames_have_no_founders() -> None:
    with (
        Discovery("web", source=lambda: ["10.0.0.1:80"]) as web,
        pytest.raises(NotFormedError, match=r"peers without hostnames \(10.0.0.1:80\) cannot be founders"),
    ):
        bootstrap(
            web,
            ContactPoint("web-0", FOUNDERS),
            form=lambda _: None,
            join=lambda *_: None,
            probe=lambda peer: Standing(peer.key, "b", FOUNDERS),
            stop=stop_after_attempt(1),
        )


def test_a_probe_that_returns_something_else() -> None:
    probe: Any = lambda peer: peer.key  # noqa: E731
    with (
        Discovery("static:web-0=127.0.0.1:1,web-1=127.0.0.1:2", me=Identity(name="web-0")) as web,
        pytest.raises(NotFormedError, match="the probe returned 'web-1': expected a Standing"),
    ):
        bootstrap(
            web,
            ContactPoint("web-0", names(0, 1)),
            form=lambda _: None,
            join=lambda *_: None,
            probe=probe,
            stop=stop_after_attempt(1),
        )
