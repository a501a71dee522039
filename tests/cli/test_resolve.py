"""`peerdiscover resolve`: what it prints, and each exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from peerdiscover.testing import HeadlessService

from .running import NAME, PEER_KEYS, at, run


@pytest.fixture(scope="module")
def svc() -> Iterator[HeadlessService]:
    with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as service:
        yield service


@pytest.fixture
def misbehaving(svc: HeadlessService) -> Iterator[HeadlessService]:
    yield svc
    svc.answer(None)


def test_plain_text_has_a_header_and_a_line_for_each_pod(svc: HeadlessService) -> None:
    done = run("resolve", NAME, *at(svc))
    assert (done.returncode, done.stderr) == (0, "")
    header, *pods = done.stdout.splitlines()
    assert header == "web-headless.prod:http: headless, 3 pods"
    assert [pod.split() for pod in pods] == [
        [peer.key, peer.hostport, "ordinal", str(i), f"web-{i}.web-headless.prod.svc.cluster.local."]
        for i, peer in enumerate(svc.peers)
    ]


def test_json(svc: HeadlessService) -> None:
    done = run("resolve", NAME, "--json", *at(svc))
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert list(found) == ["service", "kind", "generation", "peers"]
    assert (found["service"], found["kind"], found["generation"]) == (NAME, "headless", 1)
    assert [list(peer) for peer in found["peers"]] == [PEER_KEYS] * 3
    assert [(peer["key"], peer["address"], peer["port"]) for peer in found["peers"]] == [
        (peer.key, *peer.sockaddr) for peer in svc.peers
    ]
    assert found["peers"][1] == {
        "key": "web-1",
        "hostname": "web-1",
        "fqdn": "web-1.web-headless.prod.svc.cluster.local.",
        "address": svc.peers[1].address,
        "port": 8080,
        "ordinal": 1,
        "zone": None,
        "node": None,
        "hostport": svc.peers[1].hostport,
    }


def test_pods_without_hostnames_are_shown_once() -> None:
    addresses = ["10.1.0.1", "10.1.0.2"]
    with HeadlessService("app.moon:80", 2, hostnames=False, pods=False, addresses=addresses) as svc:
        done = run("resolve", "app.moon:80", *at(svc))
    header, *pods = done.stdout.splitlines()
    assert header == "app.moon:80: headless, 2 pods"
    assert [pod.split()[0] for pod in pods] == ["10.1.0.1:80", "10.1.0.2:80"]


def test_that_pods_have_no_names_is_said_once() -> None:
    """To a person, of a Deployment's pods; a program reads `hostname: null`."""
    with HeadlessService(
        "app.moon:80", 2, hostnames=False, pods=False, addresses=["10.1.0.1", "10.1.0.2"]
    ) as svc:
        said = run("resolve", "app.moon:80", *at(svc)).stderr
        assert run("resolve", "app.moon:80", "--json", *at(svc)).stderr == ""
    assert said.startswith("peerdiscover: app.moon:80: the pods have no names of their own, so no ordinals: ")
    assert len(said.splitlines()) == 1
    assert run("resolve", "static:10.0.0.1:80").stderr == ""


def test_namespace_and_cluster_domain(svc: HeadlessService) -> None:
    assert run("resolve", "web-headless:http", "--namespace", "prod", *at(svc)).returncode == 0
    done = run("resolve", NAME, "--cluster-domain", "corp.example", "--timeout", "0.5", *at(svc))
    assert done.returncode == 3  # that nameserver is not the one of this domain, and refuses
    assert "web-headless.prod.svc.corp.example." in done.stderr


def test_the_environment_tells_what_options_do_not(svc: HeadlessService) -> None:
    done = run(
        "resolve", "web-headless:http", PEERDISCOVER_NAMESERVERS=svc.nameserver, PEERDISCOVER_NAMESPACE="prod"
    )
    assert done.returncode == 0
    assert "3 pods" in done.stdout


def test_family() -> None:
    pods = [("10.1.0.1", "fd00::1")]
    with HeadlessService("web.prod", 1, pods=False, family="dual", addresses=pods) as svc:
        for family, address in (("any", "10.1.0.1"), ("ipv4", "10.1.0.1"), ("ipv6", "fd00::1")):
            found = json.loads(run("resolve", "web.prod:http", "--json", "--family", family, *at(svc)).stdout)
            assert [peer["address"] for peer in found["peers"]] == [address]


def test_static() -> None:
    done = run("resolve", "static:db-0=10.0.0.1:5432,[fd00::2]:5432", "--json")
    assert [peer["key"] for peer in json.loads(done.stdout)["peers"]] == ["db-0", "[fd00::2]:5432"]


def test_a_cluster_ip_service_is_told_apart() -> None:
    with HeadlessService("web.prod", kind="cluster-ip") as svc:
        done = run("resolve", "web.prod:http", *at(svc))
        assert done.returncode == 0
        assert done.stdout.startswith("web.prod:http: cluster-ip, 1 pod\n")
        assert "warning: " in done.stderr
        assert "is a ClusterIP Service" in done.stderr
        assert json.loads(run("resolve", "web.prod:http", "--json", *at(svc)).stdout)["kind"] == "cluster-ip"


def test_a_port_that_no_pod_has_draws_a_warning(svc: HeadlessService) -> None:
    done = run("resolve", "web-headless.prod:80", *at(svc))
    assert done.returncode == 0
    assert "warning: " in done.stderr
    assert "8080" in done.stderr


# 1: no peers


def test_a_name_that_is_not_there(svc: HeadlessService) -> None:
    done = run("resolve", "nope.prod:http", "--json", *at(svc))
    assert (done.returncode, done.stdout) == (1, "")
    assert "nope.prod.svc.cluster.local. not found" in done.stderr
    assert svc.nameserver in done.stderr


def test_hints_are_shown(svc: HeadlessService) -> None:
    done = run("resolve", "web-headless.prod:htpp", *at(svc))
    assert done.returncode == 1
    assert "has no port 'htpp'; it has 8080" in done.stderr
    done = run("resolve", "web-headless.default:http", "--namespace", "prod", *at(svc))
    assert done.returncode == 1
    assert "'web-headless.prod.svc.cluster.local.' exists" in done.stderr


def test_scaled_to_zero() -> None:
    with HeadlessService("web-headless.prod", replicas=0) as svc:
        assert run("resolve", NAME, *at(svc)).returncode == 1


# 2: configuration


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("web-headless.prod:99999",), "'web-headless.prod:99999', at character 19 ('99999')"),
        (("static:10.0.0:80",), "'10.0.0' is no IP address"),
        ((NAME, "--nameserver", "ns.example"), "ns.example"),
        ((NAME, "--namespace", "a.b"), "'a.b'"),
        ((NAME, "--cluster-domain", "-"), "'-'"),
        (("static:10.0.0.1:80", "--nameserver", "127.0.0.1"), "does not use DNS: --nameserver"),
    ],
)
def test_configuration(arguments: tuple[str, ...], text: str) -> None:
    done = run("resolve", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_several_ports_and_none_named() -> None:
    with HeadlessService("web.prod", ports={"http": 8080, "grpc": 9090}, pods=False) as svc:
        done = run("resolve", "web.prod", *at(svc))
    assert done.returncode == 2
    assert "8080, 9090" in done.stderr


# 3: no answer


@pytest.mark.parametrize("mode", ["servfail", "refused", "timeout"])
def test_no_answer(misbehaving: HeadlessService, mode: str) -> None:
    misbehaving.answer(mode)  # type: ignore[arg-type]
    done = run("resolve", NAME, "--timeout", "0.5", *at(misbehaving))
    assert (done.returncode, done.stdout) == (3, "")
    assert misbehaving.nameserver in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_nameserver() -> None:
    done = run("resolve", NAME, "--timeout", "1", "--nameserver", "127.0.0.1:1")
    assert done.returncode == 3
    assert "connection refused" in done.stderr


def test_a_second_nameserver_answers(svc: HeadlessService) -> None:
    assert run("resolve", NAME, "--nameserver", "127.0.0.1:1", *at(svc)).returncode == 0


# -v


def test_verbose_shows_the_log(svc: HeadlessService) -> None:
    assert run("resolve", NAME, *at(svc)).stderr == ""
    once = run("resolve", NAME, "-v", *at(svc)).stderr
    assert " INFO    web-headless.prod:http: 3 peers: +Peer(web-0, " in once
    assert "DEBUG" not in once
    assert (
        " DEBUG   web-headless.prod:http: resolved, 3 endpoints in "
        in run("resolve", NAME, "-vv", *at(svc)).stderr
    )


@pytest.mark.parametrize("option", [["--nameserver", "127.0.0.1"], ["--family", "ipv4"]])
def test_options_for_dns_make_no_sense_with_the_api(option: list[str]) -> None:
    done = run("resolve", "k8s:web.prod:80", *option)
    assert done.returncode == 2
    assert "--nameserver and --family are for names without k8s:" in done.stderr


def test_an_api_server_that_is_not_known() -> None:
    done = run("resolve", "k8s:web.prod:80", "--namespace", "x")
    assert done.returncode == 2
    assert done.stderr.startswith("peerdiscover: no API server is known: this is no pod")


def test_auto_falls_back_to_dns_and_says_so(svc: HeadlessService) -> None:
    name = f"auto:{NAME}"
    done = run("resolve", name, *at(svc))
    assert done.returncode == 0
    assert done.stdout.startswith(f"{name}: headless, 3 pods")
    assert (
        "the first source failed, the second one answered: no API server is known: this is no pod"
        in done.stderr
    )
