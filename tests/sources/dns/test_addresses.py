"""The addresses of one name, of the embedded nameserver and of nobody."""

from __future__ import annotations

import pytest

from peerdiscover import Outcome
from peerdiscover.answers import Answer
from peerdiscover.errors import ConfigurationError
from peerdiscover.sources._server import ResolverOptions, Server
from peerdiscover.sources.dns.addresses import Addresses
from peerdiscover.sources.environment import Environment, Resolv, ResolvConf
from peerdiscover.testing import HeadlessService
from tests.tools.nameservers import Knot, Pod

NAME = "web-headless.prod.svc.cluster.local."


def seen(answer: Answer) -> set[str]:
    assert answer.outcome is Outcome.RESOLVED
    return {address for endpoint in answer.endpoints for address in endpoint.addresses}


def test_of_one_pod_both_families() -> None:
    with Knot() as knot:
        knot.publish(
            "web-headless.prod", [Pod(("10.1.0.1", "fd00::1"), "web-0"), Pod(("10.1.0.2",), "web-1")]
        )
        addresses = Addresses([knot.nameserver])
        assert seen(addresses.resolve(f"web-0.{NAME}", 5)) == {"10.1.0.1", "fd00::1"}
        assert seen(addresses.resolve(f"web-1.{NAME}", 5)) == {"10.1.0.2"}


def test_nobody_is_no_error() -> None:
    with HeadlessService("web-headless.prod", replicas=1, pods=False) as svc:
        addresses = Addresses([svc.nameserver])
        found = addresses.resolve(f"web-7.{NAME}", 5)
        assert (found.outcome, found.endpoints) == (Outcome.NOT_FOUND, ())
        svc.answer("servfail")
        found = addresses.resolve(f"web-0.{NAME}", 1)
    assert (found.outcome, found.endpoints) == (Outcome.FAILED, ())
    assert "SERVFAIL" in str(found.error)


def test_without_nameservers_the_pods_own_are_asked() -> None:
    with HeadlessService("web-headless.prod", replicas=1, pods=False) as svc:
        around = Environment(environ={"PEERDISCOVER_NAMESERVERS": svc.nameserver})
        assert Addresses(environment=around).resolve(f"web-0.{NAME}", 5).outcome is Outcome.RESOLVED


def test_the_options_of_resolv_conf_count() -> None:
    class Written(ResolvConf):
        def read(self) -> Resolv:
            return Resolv((Server.parse(svc.nameserver),), options=ResolverOptions(use_tcp=True))

    with HeadlessService("web-headless.prod", replicas=1, pods=False) as svc:
        around = Environment(environ={}, resolv_conf=Written())
        assert Addresses(environment=around).resolve(f"web-0.{NAME}", 5).outcome is Outcome.RESOLVED
        assert {query.transport for query in svc.queries} == {"tcp"}


def test_no_nameserver() -> None:
    with pytest.raises(ConfigurationError, match="no IP address"):
        Addresses(["dns.example"])
