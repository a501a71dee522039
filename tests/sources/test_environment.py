"""Where the program runs: files and environments made by the test."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from peerdiscover.answers import LookupRequest
from peerdiscover.errors import ConfigurationError, Outcome
from peerdiscover.names import ServiceName
from peerdiscover.sources._server import ResolverOptions, Server
from peerdiscover.sources.dns import DNS
from peerdiscover.sources.environment import Environment, ResolvConf, source_addresses

POD = """# made by the kubelet
search mine.svc.corp.example svc.corp.example corp.example node.example
nameserver 10.96.0.10
nameserver fd00::a ; the other family
nameserver nonsense
options ndots:5
"""


class Place:
    """A machine's files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.resolv = folder / "resolv.conf"
        self.account = folder / "namespace"

    def environment(
        self, environ: Mapping[str, str] | None = None, hostname: str = "web-1", addresses: Sequence[str] = ()
    ) -> Environment:
        return Environment(
            environ=environ or {},
            resolv_conf=ResolvConf(self.resolv),
            namespace_file=self.account,
            hostname=lambda: hostname,
            addresses=lambda towards: tuple(addresses),
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_pod_tells_all(place: Place) -> None:
    place.resolv.write_text(POD)
    place.account.write_text("theirs\n")
    found = place.environment()
    assert found.nameservers() == (Server("10.96.0.10"), Server("fd00::a"))
    assert found.namespace() == "theirs"
    assert found.cluster_domain() == "corp.example"
    place.account.unlink()
    assert found.namespace() == "mine"


def test_the_environment_goes_first(place: Place) -> None:
    place.resolv.write_text(POD)
    place.account.write_text("theirs")
    found = place.environment(
        {
            "PEERDISCOVER_NAMESERVERS": "127.0.0.1:5353, ::1  [::1]:54",
            "PEERDISCOVER_NAMESPACE": "other",
            "PEERDISCOVER_CLUSTER_DOMAIN": "Other.Local.",
        }
    )
    assert found.nameservers() == (Server("127.0.0.1", 5353), Server("::1"), Server("::1", 54))
    assert found.namespace() == "other"
    assert found.cluster_domain() == "other.local"
    empty = place.environment(dict.fromkeys(("PEERDISCOVER_NAMESERVERS", "PEERDISCOVER_NAMESPACE"), " "))
    assert empty.namespace() == "theirs"
    assert empty.nameservers()


def test_the_zone_is_what_the_environment_says(place: Place) -> None:
    service = ServiceName.parse("web")
    assert place.environment().zone() is None
    assert place.environment({"PEERDISCOVER_ZONE": ""}).zone() is None  # a node without the label
    found = place.environment({"PEERDISCOVER_ZONE": " eu-west-1a "})
    assert found.zone() == found.identity(service).zone == "eu-west-1a"
    with pytest.raises(ConfigurationError, match="PEERDISCOVER_ZONE='eu west'"):
        place.environment({"PEERDISCOVER_ZONE": "eu west"}).zone()


def test_nothing_is_made_up(place: Place) -> None:
    found = place.environment()
    assert (found.nameservers(), found.namespace(), found.cluster_domain()) == ((), None, None)
    place.resolv.write_text("search corp.example svc.example\nnameserver 192.0.2.53\n")
    assert (found.namespace(), found.cluster_domain()) == (None, None)


def test_a_machine_that_asks_no_cluster(place: Place) -> None:
    place.resolv.write_text("search corp.example\nnameserver 192.0.2.53\n")
    assert place.environment().asks_elsewhere()
    assert not place.environment({"PEERDISCOVER_NAMESERVERS": "10.96.0.10"}).asks_elsewhere()
    place.resolv.write_text(POD)
    assert not place.environment().asks_elsewhere()


def test_resolv_conf_is_read_again_when_it_changes(place: Place) -> None:
    found = place.environment()
    place.resolv.write_text("nameserver 10.0.0.1\n")
    assert found.nameservers() == (Server("10.0.0.1"),)
    other = place.resolv.with_name("new")
    other.write_text("nameserver 10.0.0.2\n")
    status = place.resolv.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(place.resolv)  # the same size and time, another inode
    assert found.nameservers() == (Server("10.0.0.2"),)
    for empty in "", "# nothing\n", "search x\n":
        place.resolv.write_text(empty)
        assert found.nameservers() == (Server("10.0.0.2"),), "the last good ones stand"
    place.resolv.unlink()
    assert found.nameservers() == (Server("10.0.0.2"),)
    place.resolv.write_text("nameserver 10.0.0.3\n")
    assert found.nameservers() == (Server("10.0.0.3"),)


def test_options_of_resolv_conf(place: Place) -> None:
    found = place.environment()
    assert found.resolver_options() == ResolverOptions()
    place.resolv.write_text(
        "options ndots:5 timeout:2\noptions attempts:99 use-vc rotate timeout:x attempts:\n"
    )
    assert found.resolver_options() == ResolverOptions(use_tcp=True, timeout=2.0, attempts=5)
    place.resolv.write_text(f"options timeout:99 attempts:{'9' * 5000}\n")
    assert found.resolver_options() == ResolverOptions(timeout=30.0)
    given = place.environment({"PEERDISCOVER_NAMESERVERS": "127.0.0.1"})
    assert given.resolver_options() == ResolverOptions(), "they are about other servers"


def test_a_resolv_conf_that_is_no_file(place: Place) -> None:
    os.mkfifo(place.resolv)
    assert place.environment().nameservers() == (), "it does not block"


def test_of_an_endless_resolv_conf_the_beginning_counts(place: Place) -> None:
    place.resolv.write_text("nameserver 10.0.0.1\n" * 100_000 + "nameserver 10.0.0.2\n")
    assert place.environment().nameservers() == (Server("10.0.0.1"),)


def test_without_a_nameserver_a_lookup_fails_and_says_what_to_set(place: Place) -> None:
    dns = DNS(environment=place.environment())
    answer = dns.lookup(LookupRequest(ServiceName.parse("web.prod:80")))
    assert answer.outcome is Outcome.FAILED
    assert "PEERDISCOVER_NAMESERVERS" in str(answer.error)
    assert not isinstance(answer.error, ConfigurationError)


def test_an_unknown_namespace_and_a_bad_setting_are_failed_answers(place: Place) -> None:
    for environ, service, said in [
        ({}, "web:80", "PEERDISCOVER_NAMESPACE"),
        ({"PEERDISCOVER_NAMESPACE": "No Such"}, "web:80", "No Such"),
        ({"PEERDISCOVER_NAMESERVERS": "dns.example"}, "web.prod:80", "dns.example"),
        ({"PEERDISCOVER_CLUSTER_DOMAIN": "a..b"}, "web.prod:80", "a..b"),
    ]:
        answer = DNS(environment=place.environment(environ)).lookup(LookupRequest(ServiceName.parse(service)))
        assert isinstance(answer.error, ConfigurationError)
        assert said in str(answer.error)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"nameservers": "10.0.0.1"}, "list"),
        ({"nameservers": []}, "at least one"),
        ({"nameservers": ["dns.example"]}, "dns.example"),
        ({"nameservers": ["10.0.0.1:99999"]}, "99999"),
        ({"nameservers": ["[::1]x"]}, "port"),
        ({"nameservers": ["[::1"]}, "port"),
        ({"namespace": "a.b"}, "a.b"),
        ({"cluster_domain": "..."}, "..."),
        ({"family": "inet"}, "inet"),
        ({"networks": ["10.0.0.1/8"]}, "host bits"),
        ({"networks": "10.0.0.0/8"}, "list"),
    ],
)
def test_arguments_that_cannot_be_right(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        DNS(**arguments)  # type: ignore[arg-type]  # that is the point
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "server", "shown"),
    [
        ("10.96.0.10", Server("10.96.0.10", 53), "10.96.0.10"),
        ("127.0.0.1:5353", Server("127.0.0.1", 5353), "127.0.0.1:5353"),
        ("::1", Server("::1", 53), "::1"),
        ("[::1]", Server("::1", 53), "::1"),
        ("[FD00::0:1]:5353", Server("fd00::1", 5353), "[fd00::1]:5353"),
        ("fe80::1%eth0", Server("fe80::1%eth0", 53), "fe80::1%eth0"),
    ],
)
def test_nameservers_as_texts(text: str, server: Server, shown: str) -> None:
    assert Server.parse(text) == server
    assert str(server) == shown


# Oneself


def name_in(
    place: Place, service: str, environ: Mapping[str, str] | None = None, hostname: str = "web-1"
) -> str | None:
    return place.environment(environ, hostname).identity(ServiceName.parse(service)).name


def test_the_own_name_counts_in_the_own_namespace_only(place: Place) -> None:
    assert name_in(place, "web:80") == "web-1", "without a namespace it is the own one"
    assert name_in(place, "web.prod:80") is None, "the own namespace is not known"
    place.account.write_text("prod")
    assert name_in(place, "web.prod:80") == "web-1"
    assert name_in(place, "web.other:80") is None
    assert name_in(place, "web.prod.svc.cluster.local:80") == "web-1"
    assert name_in(place, "web.prod.svc.other.cluster:80") is None, "another cluster"
    assert name_in(place, "web.example.:80") is None
    assert name_in(place, "static:10.0.0.1:80") is None


def test_where_the_own_name_comes_from(place: Place) -> None:
    assert name_in(place, "web", {"HOSTNAME": "web-2"}) == "web-2"
    assert name_in(place, "web", {"HOSTNAME": "web-2", "POD_NAME": "web-3"}) == "web-3"
    assert name_in(place, "web", hostname="WEB-4.web.prod.svc.cluster.local") == "web-4"
    assert name_in(place, "web", hostname="") is None


def test_own_addresses(place: Place) -> None:
    environ = {"POD_IP": "10.0.0.1", "POD_IPS": "10.0.0.1,fd00:0::1 nonsense"}
    found = place.environment(environ, addresses=["127.0.0.1", "10.0.0.9", "::1", "fe80::1", "0.0.0.0"])
    assert found.identity(ServiceName.parse("web")).addresses == ("10.0.0.1", "fd00::1", "10.0.0.9")


def test_the_address_towards_another_one() -> None:
    assert source_addresses(["127.0.0.1", "127.9.9.9", "256.0.0.1"]) == ("127.0.0.1",)
