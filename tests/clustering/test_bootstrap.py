"""The drivers over HTTP, in threads and in tasks: what they return, raise and leave."""

from __future__ import annotations

import threading

import anyio
import httpx
import pytest
from tenacity import stop_after_attempt, wait_none

from peerdiscover import AsyncDiscovery, Discovery, Identity, Peer
from peerdiscover.clustering import (
    ContactPoint,
    NotFormedError,
    Standing,
    abootstrap,
    bootstrap,
    founders,
)

from ._pods import JOIN, Pod, running, service

THREE = founders("web", 3)


def contacts(n: int, cluster: str | None = None) -> list[ContactPoint]:
    return [ContactPoint(f"web-{i}", THREE, cluster=cluster) for i in range(n)]


def test_pods_in_threads_form_one_cluster() -> None:
    with running(contacts(5)) as pods:
        found: dict[str, str] = {}

        def run(pod: Pod) -> None:
            name = pod.contact.standing.name
            with Discovery(service(pods), me=Identity(name=name)) as web:
                found[name] = bootstrap(web, pod.contact, form=pod.form, join=pod.join)

        threads = [threading.Thread(target=run, args=(pod,)) for pod in pods]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        former = pods[0].contact.standing
        assert found == {f"web-{i}": f"web-0-{former.boot}" for i in range(5)}
        assert [len(pod.formed) for pod in pods] == [1, 0, 0, 0, 0]
        assert all(pod.contact.standing.cluster == former.cluster for pod in pods)
        assert not any(pod.contact.standing.busy for pod in pods)


@pytest.mark.anyio
async def test_pods_in_tasks_form_one_cluster() -> None:
    with running(contacts(4)) as pods:

        async def run(pod: Pod) -> None:
            async def form(cluster: str) -> None:
                pod.form(cluster)

            async def join(peer: Peer, cluster: str) -> None:
                async with httpx.AsyncClient() as client:
                    (await client.post(peer.url(JOIN + cluster))).raise_for_status()

            me = Identity(name=pod.contact.standing.name)
            async with AsyncDiscovery(service(pods), me=me) as web:
                await abootstrap(web, pod.contact, form=form, join=join)

        async with anyio.create_task_group() as tasks:
            for pod in pods:
                tasks.start_soon(run, pod)
        assert len({pod.contact.standing.cluster for pod in pods}) == 1
        assert [len(pod.formed) for pod in pods] == [1, 0, 0, 0]


def test_a_cluster_from_the_disk_is_returned_at_once() -> None:
    [contact] = contacts(1, cluster="c1")
    web = Discovery("static:web-0=127.0.0.1:1")  # not started: it is not asked
    assert bootstrap(web, contact, form=lambda _: None, join=lambda *_: None) == "c1"


def one_round(pods: list[Pod]) -> NotFormedError:
    """What the first pod says after one round."""
    first = pods[0]
    with (
        Discovery(service(pods), me=Identity(name=first.contact.standing.name)) as web,
        pytest.raises(NotFormedError) as raised,
    ):
        bootstrap(web, first.contact, form=first.form, join=first.join, stop=stop_after_attempt(1))
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"hello\nthere", "no standing, but b'hello\\nthere': another program answers there"),
        (b"[" * 60_000, "another program answers there"),
        (b"x" * 10_000_000, "no standing, but more than 65,536 bytes: another program answers there"),
        (b"{}", "no standing, but b'{}'"),
        (
            Standing("shop-1", "b", ("shop-0",)).to_json(),
            "'shop-1' answers there: another pod has the address",
        ),
        (
            Standing("web-1", "b", ("web-0", "web-1")).to_json(),
            "its founders are web-0, web-1, and here they are",
        ),
    ],
    ids=["no JSON", "nested JSON", "10 MB", "another object", "another pod", "other founders"],
)
def test_one_line_for_what_another_program_answers(body: bytes, shown: str) -> None:
    with running(contacts(3)) as pods:
        pods[1].body = body
        error = one_round(pods)
        assert shown in error.why
        assert len(error.why) < 400
        pods[1].body = None  # the rounds go on
        with Discovery(service(pods), me=Identity(name="web-0")) as web:
            assert bootstrap(web, pods[0].contact, form=pods[0].form, join=pods[0].join, wait=wait_none())


def test_it_says_who_is_missing_and_why() -> None:
    with running(contacts(3)) as pods:
        pods[2].close()
        error = one_round(pods)
        assert error.why.startswith("waiting for web-2: no answer (")
        assert f"refused) from 127.0.0.1:{pods[2].server.server_port}, 0 s" in error.why
        assert {*error.heard} == {"web-1"}
        assert isinstance(error.silent["web-2"], httpx.ConnectError)
