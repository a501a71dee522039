"""`peerdiscover wait`: so many pods, this pod, and in time."""

from __future__ import annotations

import functools
import re

import pytest

from peerdiscover.cli import _wait_self
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName
from peerdiscover.sources.environment import Environment
from peerdiscover.testing import HeadlessService
from tests.tools.nameservers import Dnsmasq, Knot, ask, pods_of
from tests.waiting import LONG

from .running import NAME, at, ended, run, running

OWN = "web-1.web-headless.prod.svc.cluster.local."
POD = {"POD_NAME": "web-1", "POD_IP": "10.1.0.2", "PEERDISCOVER_NAMESPACE": "prod"}


def _pods() -> HeadlessService:
    return HeadlessService(
        "web-headless.prod", pods=False, ttl=1, addresses=["10.1.0.1", "10.1.0.9", "10.1.0.3"]
    )


def test_they_are_there() -> None:
    with HeadlessService("web-headless.prod") as svc:
        for least in ("0", "1", "3"):
            done = run("wait", NAME, "--min", least, *at(svc))
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith("web-headless.prod:http: headless, 3 pods\n  web-0 ")


def test_they_come() -> None:
    with (
        HeadlessService("web-headless.prod", replicas=0) as svc,
        running("wait", NAME, "--min", "2", *at(svc)) as wait,
    ):
        svc.wait_for_queries(1)
        svc.scale(2)
        status, out, _ = ended(wait)
        assert status == 0
        assert "2 pods" in out


def test_fewer_than_asked() -> None:
    with HeadlessService("web-headless.prod") as svc:
        done = run("wait", NAME, "--min", "4", "--timeout", "2", *at(svc))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"3 of 4 peers after \d+\.\d s", done.stderr)


def test_fewer_than_asked_and_then_no_answer() -> None:
    many = ("--min", "4", "--timeout", "3")
    with HeadlessService("web-headless.prod", ttl=1) as svc, running("wait", NAME, *many, *at(svc)) as wait:
        svc.wait_for_queries(2)  # the first was answered
        svc.answer("servfail")
        assert ended(wait)[0] == 1


@pytest.mark.parametrize(("mode", "status"), [("nxdomain", 1), ("servfail", 3), ("timeout", 3)])
def test_no_peers_and_no_answer(mode: str, status: int) -> None:
    with HeadlessService("web-headless.prod") as svc:
        svc.answer(mode)  # type: ignore[arg-type]
        done = run("wait", NAME, "--timeout", "2", *at(svc))
    assert (done.returncode, done.stdout) == (status, "")
    said = re.search(r"0 of 1 peers after (\d+\.\d) s", done.stderr)
    assert said
    assert float(said[1]) >= 2


# --self


def test_this_pod_at_its_own_address() -> None:
    with HeadlessService(
        "web-headless.prod", pods=False, addresses=["10.1.0.1", "10.1.0.2"], replicas=2
    ) as svc:
        done = run("wait", NAME, "--self", *at(svc), **POD)
        assert (done.returncode, done.stderr) == (0, "")
        assert "  web-1  10.1.0.2:8080 " in done.stdout
        assert "(self)" in done.stdout
        assert {(query.name, query.type) for query in svc.queries[-2:]} == {(OWN, "A"), (OWN, "AAAA")}


def test_the_name_is_not_looked_up_before_the_service_has_the_address() -> None:
    with _pods() as svc, running("wait", NAME, "--self", *at(svc), **POD) as wait:
        svc.wait_for_queries(3)  # DNS still has the address from before the restart
        assert {query.name for query in svc.queries} == {f"_http._tcp.{OWN.partition('.')[2]}"}
        svc.replace(1, "10.1.0.2")
        assert ended(wait)[0] == 0
        assert svc.queries[-1].name == OWN


@pytest.mark.parametrize(
    "address", [{"POD_IP": "10.1.0.77"}, {"POD_IP": "", "POD_IPS": "10.1.0.77,fd00::77"}], ids=str
)
def test_this_pod_elsewhere(address: dict[str, str]) -> None:
    with _pods() as svc:
        done = run("wait", NAME, "--self", "--timeout", "2", *at(svc), **{**POD, **address})
    assert (done.returncode, done.stdout) == (1, "")
    assert f"for {OWN}; the pods known are 10.1.0.1, 10.1.0.9, 10.1.0.3" in done.stderr
    assert "10.1.0.77" in done.stderr
    assert "publishNotReadyAddresses: true" in done.stderr


def test_the_address_under_another_name() -> None:
    with _pods() as svc:
        done = run("wait", NAME, "--self", "--timeout", "3", *at(svc), **{**POD, "POD_IP": "10.1.0.3"})
    assert done.returncode == 1
    assert f"DNS does not give 10.1.0.3 for {OWN}; it gives 10.1.0.9" in done.stderr


def test_the_name_is_not_there() -> None:
    with _pods() as svc:
        pod = {**POD, "POD_NAME": "web-7", "POD_IP": "10.1.0.3"}
        done = run("wait", NAME, "--self", "--timeout", "3", *at(svc), **pod)
    assert done.returncode == 1
    assert "the last answer was: not found" in done.stderr


def test_this_pod_in_ipv6() -> None:
    pods = [("10.1.0.1", "fd00::1"), ("10.1.0.2", "fd00::2")]
    with HeadlessService("web-headless.prod", 2, pods=False, family="dual", addresses=pods) as svc:
        for address in ("10.1.0.2", "fd00::2"):
            assert run("wait", NAME, "--self", *at(svc), **{**POD, "POD_IP": address}).returncode == 0


def test_this_pod_and_others() -> None:
    with HeadlessService("web-headless.prod", 2, pods=False, addresses=["10.1.0.1", "10.1.0.2"]) as svc:
        done = run("wait", NAME, "--self", "--min", "3", "--timeout", "2", *at(svc), **POD)
    assert done.returncode == 1
    assert "2 of 3 peers" in done.stderr
    assert "publishNotReadyAddresses" not in done.stderr, "it is there itself; others are missing"


def test_no_peers_and_so_not_this_pod() -> None:
    """What is most often the reason is said: only ready pods are in DNS, and this one waits."""
    with HeadlessService("web-headless.prod", 0) as svc:
        done = run("wait", NAME, "--self", "--timeout", "2", *at(svc), **POD)
        assert done.returncode == 1
        assert "0 of 1 peers" in done.stderr
        assert "publishNotReadyAddresses: true" in done.stderr
        svc.answer("servfail")
        done = run("wait", NAME, "--self", "--timeout", "2", *at(svc), **POD)
        assert done.returncode == 3
        assert "publishNotReadyAddresses" not in done.stderr, "no answer said that it is not there"


def test_options_say_where_the_pod_is() -> None:
    with HeadlessService(
        "web-headless.prod", 2, pods=False, addresses=["10.1.0.1", "10.1.0.2"], cluster_domain="corp.example"
    ) as svc:
        pod = {"POD_NAME": "web-1", "POD_IP": "10.1.0.2"}
        where = ("--namespace", "prod", "--cluster-domain", "corp.example")
        assert run("wait", "web-headless:http", "--self", *where, *at(svc), **pod).returncode == 0


def test_a_loopback_address_in_pod_ip_counts() -> None:
    """So that it can be tried with `HeadlessService`, whose pods have such addresses."""
    with HeadlessService("web-headless.prod") as svc:
        for peer, status in ((svc.peers[1], 0), (svc.peers[0], 1)):
            pod = {**POD, "POD_IP": peer.address}
            timeout = "1.5" if status else str(LONG)
            done = run("wait", NAME, "--self", "--timeout", timeout, *at(svc), **pod)
            assert done.returncode == status
            assert bool(status) == (f"DNS does not give {peer.address} for {OWN}" in done.stderr)


def test_a_pod_ip_that_is_no_address() -> None:
    done = run("wait", NAME, "--self", **{**POD, "POD_IP": "10.1.0.2x"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "peerdiscover: POD_IP='10.1.0.2x': '10.1.0.2x' is no IP address\n"


@pytest.mark.parametrize(
    ("name", "namespace", "text"),
    [
        (NAME, "moon", "namespace, which is moon; if that is wrong, set PEERDISCOVER_NAMESPACE"),
        (NAME, "", "namespace, which is not known: set PEERDISCOVER_NAMESPACE"),
        ("static:10.0.0.1:80", "prod", "--self needs a Service of the cluster"),
        ("web.example.:80", "prod", "--self needs a Service of the cluster"),
    ],
)
def test_what_cannot_be_this_pod(name: str, namespace: str, text: str) -> None:
    done = run("wait", name, "--self", **{**POD, "PEERDISCOVER_NAMESPACE": namespace})
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_pod_without_an_address_learns_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = functools.partial(Environment, addresses=lambda _: ())
    monkeypatch.setattr(_wait_self, "Environment", alone)
    monkeypatch.delenv("POD_IP", raising=False)
    monkeypatch.delenv("POD_IPS", raising=False)
    with pytest.raises(ConfigurationError, match="set POD_IP"):
        _wait_self.this_pod(ServiceName.parse(NAME), "prod", None)


def test_a_cache_that_still_has_the_old_address_of_this_pod() -> None:
    """SRV and A of one pod expire apart: the service has the new address, the pod's own name not yet."""
    with Knot() as knot, Dnsmasq(knot) as cache:
        knot.publish("web-headless.prod", pods_of("web", 2, first="10.1.0.8"), ttl=600)
        ask(cache, OWN, "A", tcp=False)
        knot.publish("web-headless.prod", pods_of("web", 2, first="10.1.0.1"), ttl=600)
        asked = ("wait", NAME, "--self", "--timeout", "3", "--nameserver")
        done = run(*asked, cache.nameserver, **POD)
        assert done.returncode == 1
        assert f"DNS does not give 10.1.0.2 for {OWN}; it gives 10.1.0.9" in done.stderr
        assert run(*asked, knot.nameserver, **POD).returncode == 0
