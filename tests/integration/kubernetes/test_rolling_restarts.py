"""Controllers roll, scale and replace pods, while a discovery watches by DNS."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.request import urlopen

import pytest
from tenacity import stop_after_delay

from peerdiscover import Discovery, Outcome, PeerSet, Policy
from tests.integration.dns.helpers import addresses, changed_to, policy
from tests.tools.cluster import Cluster, PodInfo, Workload
from tests.tools.cluster.tests._dns import addresses as asked
from tests.waiting import eventually

from ._watched import Shown, at, dns, places

Make = Callable[..., Workload]

pytestmark = pytest.mark.usefixtures("short_ttl")

ON_REQUEST = Policy(min_refresh=1000, max_refresh=1000, retry_initial=1000, retry_max=1000, hold=1000)
"""Asks once and then when it is told to, so that a test knows what lies between two answers."""


def keys(peers: PeerSet) -> list[str]:
    return [peer.key for peer in peers]


def known(cluster: Cluster, web: Workload) -> set[tuple[str, str]]:
    """Waits until all its pods are ready and CoreDNS, which hears of them a moment later, gives them."""
    pods = places(web.wait())
    eventually(lambda: asked(cluster, web.fqdn) == {ip for _, ip in pods})
    return pods


@contextmanager
def calling(web: Discovery) -> Iterator[list[str]]:
    """Meanwhile one request after the other goes to the next pod, as an application sends them: who answered.

    A request that fails in spite of failover fails the test.
    """
    answered: list[str] = []
    errors: list[BaseException] = []
    over = threading.Event()

    def call() -> None:
        try:
            while not over.is_set():
                for attempt in web.attempts(on=OSError, stop=stop_after_delay(10)):
                    with attempt as peer, urlopen(peer.url(), timeout=1) as answer:
                        answered.append(json.load(answer)["pod"])
        except BaseException as error:
            errors.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield answered
    finally:
        over.set()
        caller.join(20)
    assert not caller.is_alive()
    assert not errors, errors


# Rolling


@pytest.mark.parametrize("port", ["8080", "http"])
def test_after_a_rolling_restart_everybody_has_moved(cluster: Cluster, statefulset: Make, port: str) -> None:
    """What lies between two answers is one difference: the same pods, at other addresses."""
    web = statefulset("web", 3)
    before = places(web.wait())
    with Discovery(f"web.{web.namespace}:{port}", source=dns(cluster), policy=ON_REQUEST) as found:
        changes = found.changes(timeout=10)
        assert at(next(changes).after) == before
        first = found.ordinal(0)
        web.restart()
        after = known(cluster, web)
        assert at(found.refresh()) == after
        change = next(changes)
        assert (change.added, change.removed) == ((), ())
        assert {(old.key, old.address) for old, _ in change.moved} == before
        assert {(new.key, new.address) for _, new in change.moved} == after
        assert [old.key == new.key for old, new in change.moved] == [True] * 3
        assert found.ordinal(0).key == first.key == "web-0"
        assert found.ordinal(0) != first


def test_a_statefulset_rolls_under_load(cluster: Cluster, statefulset: Make) -> None:
    """Ordinals 2, 3 and 4 are replaced one by one; 0 and 1 were there all the time and never missing."""
    web = statefulset("web", 5)
    before = places(web.wait())
    cluster.api.patch(web.path, {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}})
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=policy()) as found:
        with Shown(found) as shown, calling(found) as answered:
            web.restart()
            after = places(web.until(lambda pods: rolled(pods, before)))
            changed_to(found, lambda peers: at(peers) == after)
            eventually(lambda: {"web-2", "web-3", "web-4"} <= set(answered[-50:]))
        stayed = before & after
        assert {name for name, _ in stayed} == {"web-0", "web-1"}
        assert shown.always == stayed
        assert shown.ever == before | after, "nobody was shown where it never was"
        assert shown.fewest >= 4, "one pod at a time"
        assert set(answered) == {f"web-{i}" for i in range(5)}
        assert found.status.failures == 0


def rolled(pods: list[PodInfo], before: set[tuple[str, str]]) -> bool:
    """Whether three of five are new, and everybody is ready."""
    return sum(pod.ready for pod in pods) == 5 and len(places(pods) - before) == 3


def test_a_deployment_rolls_under_load(cluster: Cluster, deployment: Make) -> None:
    """Its pods are known by their addresses: new ones come, then old ones go. Never fewer than three."""
    app = deployment("app", 3)
    before = {ip for _, ip in places(app.wait())}
    with Discovery(f"app.{app.namespace}:http", source=dns(cluster), policy=policy()) as found:
        with Shown(found) as shown, calling(found):
            app.restart()
            after = {ip for _, ip in places(app.wait())}
            changed_to(found, lambda peers: set(addresses(peers)) == after)
        assert before.isdisjoint(after)
        assert keys(found.peers) == sorted(f"{ip}:8080" for ip in after)
        assert shown.fewest >= 3
        assert not any(change.moved for change in shown.changes), "an address is who it is"
        assert {address for _, address in shown.ever} == before | after


# Scaling


@pytest.mark.parametrize("on_empty", ["hold", "accept"])
def test_three_ten_none_three(cluster: Cluster, statefulset: Make, on_empty: str) -> None:
    web = statefulset("web", 3)
    first = places(web.wait())
    terms = policy(hold=3.0, on_empty=on_empty)
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=terms) as found:
        with Shown(found) as shown:
            web.scale(10)
            ten = places(web.wait(10))
            assert at(changed_to(found, lambda peers: len(peers) == 10)) == ten
            assert keys(found.peers) == [f"web-{i}" for i in range(10)], "by ordinal, not by letters"
            assert shown.always == first
            web.scale(0)
            if on_empty == "hold":
                eventually(lambda: found.status.outcome is Outcome.NOT_FOUND)
                assert found.peers, "nobody is there, and that is not believed yet"
                assert len(found.status.suspects) == len(found.peers)
            changed_to(found, lambda peers: not peers)
            assert known(cluster, web) == set()
            web.scale(3)
            last = places(web.wait(3))
            assert at(changed_to(found, lambda peers: len(peers) == 3)) == last
        assert shown.ever == ten | last
        assert found.status.failures == 0
        gone = [peer.key for change in shown.changes for peer in change.removed]
        assert sorted(gone) == sorted(f"web-{i}" for i in range(10)), "each once"


def test_none_for_less_than_the_hold_is_nothing(cluster: Cluster, statefulset: Make) -> None:
    """All pods end and come back at other addresses: who asks holds them meanwhile, and sees them move."""
    web = statefulset("web", 3)
    before = known(cluster, web)
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=ON_REQUEST) as found:
        with Shown(found) as shown:
            web.scale(0)
            assert known(cluster, web) == set()
            assert at(found.refresh()) == before
            assert (found.status.stale, len(found.status.suspects)) == (True, 3)
            web.scale(3)
            after = known(cluster, web)
            assert at(found.refresh()) == after
            assert (found.status.stale, found.status.suspects) == (False, ())
        (change,) = shown.changes
        assert (change.added, change.removed) == ((), ())
        assert [old.key for old, _ in change.moved] == ["web-0", "web-1", "web-2"]


# Addresses


def pod(name: str, service: str, address: str | None = None) -> dict[str, object]:
    """A pod of no controller, which may ask for an address."""
    wish = {} if address is None else {"test/ip": address}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app": service},
            "annotations": {**wish, "test/startup": "0", "test/linger": "0"},
        },
        "spec": {
            "hostname": name,
            "subdomain": service,
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {"name": "main", "image": "test", "ports": [{"name": "http", "containerPort": 8080}]}
            ],
        },
    }


def test_an_address_that_another_pod_has_now(cluster: Cluster, statefulset: Make) -> None:
    """The key differs, so it is somebody else: one went, one came, and its health begins afresh."""
    web = statefulset("web", 0)
    address = "10.244.250.7"
    cluster.api.apply([pod("one", "web", address)], web.namespace)
    terms = policy(eject_initial=1000, eject_max=1000)
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=terms) as found:
        assert at(found.peers) == {("one", address)}
        one = found.peers[0]
        with Shown(found) as shown:
            web.delete_pod("one")
            eventually(lambda: not web.pods())
            cluster.api.apply([pod("other", "web", address), pod("third", "web")], web.namespace)
            changed_to(found, lambda peers: keys(peers) == ["other", "third"])
        other = found.peers[0]
        assert (other.address, other.port) == (one.address, one.port)
        assert other != one
        assert {peer.key for change in shown.changes for peer in change.removed} == {"one"}
        assert not any(change.moved for change in shown.changes)
        found.report_failure(one, TimeoutError())
        assert {found.round_robin().pick().key for _ in range(4)} == {"other", "third"}, (
            "one failed, not other"
        )


def test_an_address_that_another_service_has_now(cluster: Cluster, statefulset: Make) -> None:
    """Freed by one Service and taken by another: nobody of one is shown as one of the other."""
    web = statefulset("web", 2)
    statefulset("other", 0)
    address = web.wait()[1].ip
    with (
        Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=policy(hold=1000)) as found,
        Discovery(f"other.{web.namespace}:http", source=dns(cluster), policy=policy(min_peers=0)) as theirs,
    ):
        web.scale(1)
        web.until(lambda pods: len(pods) == 1)
        cluster.api.apply([pod("new", "other", address)], web.namespace)
        assert at(changed_to(theirs, bool)) == {("new", address)}
        assert address not in addresses(changed_to(found, lambda peers: len(peers) == 1))


# Pods that are lost without a word


def get(peer_url: str) -> str:
    with urlopen(peer_url, timeout=0.3) as answer:
        name: str = json.load(answer)["pod"]
        return name


def test_a_pod_in_a_black_hole_is_left_out_until_it_answers(cluster: Cluster, statefulset: Make) -> None:
    """DNS goes on to give it, since it is Ready. What the application sees of it decides who is picked."""
    web = statefulset("web", 3)
    web.wait()
    terms = policy(eject_initial=0.2, eject_max=0.2)
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=terms) as found:

        def call() -> str:
            for attempt in found.attempts(on=OSError, stop=stop_after_delay(10)):
                with attempt as peer:
                    return get(peer.url())
            raise AssertionError

        cluster.blackhole("web-1", web.namespace)
        try:
            answered = [call() for _ in range(6)]
            assert set(answered) == {"web-0", "web-2"}
            assert keys(found.refresh()) == ["web-0", "web-1", "web-2"]
        finally:
            cluster.heal("web-1", web.namespace)
        eventually(lambda: call() == "web-1")


def test_a_pod_that_vanishes_is_found_elsewhere_at_once(cluster: Cluster, statefulset: Make) -> None:
    """Its node is lost: no FIN, no RST. Who reports the failure need not wait for the next question."""
    web = statefulset("web", 3)
    web.wait()
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=ON_REQUEST) as found:
        lost = found.ordinal(1)
        assert get(lost.url()) == "web-1"
        web.vanish("web-1")
        after = known(cluster, web)
        assert (lost.key, lost.address) not in after
        with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
            get(lost.url())
        with Shown(found) as shown:
            assert at(found.refresh()) == after
        assert [(old.key, old.address) for old, _ in shown.changes[0].moved] == [(lost.key, lost.address)]
        assert get(found.ordinal(1).url()) == "web-1"


def test_a_failure_that_is_reported_asks_again_at_once(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 2)
    web.wait()
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=ON_REQUEST) as found:
        lost = found.ordinal(1)
        web.delete_pod("web-1", grace=0)
        after = known(cluster, web)
        assert at(found.peers) != after
        found.report_failure(lost, ConnectionRefusedError())
        eventually(lambda: at(found.peers) == after)
