"""What cannot be right is refused in one short line, whatever the value is and however it shows itself."""

from __future__ import annotations

import ast
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peerdiscover import (
    DNS,
    Answer,
    AsyncDiscovery,
    ConfigurationError,
    Discovery,
    Endpoint,
    Fallback,
    Identity,
    Kubernetes,
    NoPeersError,
    PeerDiscoverError,
    Policy,
    Static,
    resolve,
)
from peerdiscover.aiohttp import pods
from peerdiscover.brokers import kafka, rabbitmq_nodes
from peerdiscover.clustering import ContactPoint
from peerdiscover.http import Client
from peerdiscover.requests import PodAdapter
from peerdiscover.sources.environment import Environment, ResolvConf
from peerdiscover.testing import HeadlessService

PACKAGE = Path(__file__).parents[1] / "src" / "peerdiscover"
WEB = "static:web-0=127.0.0.1:1,web-1=127.0.0.1:2"


class Loud:
    """Its `repr` has colours, lines, and no end."""

    def __repr__(self) -> str:
        return "\x1b[31mone\ntwo" * 100_000


class WithoutKind:
    """A source that does not say what it is."""

    def lookup(self, _: object) -> Answer:
        raise AssertionError


class Silent:
    """It has no `repr` that works."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


VALUES: dict[str, Any] = {
    "a megabyte": "x" * 1_000_000,
    "two lines": "a\nb\x1b[0m",
    "5,000 digits": "9" * 5_000,
    "a number of 5,000 digits": 10**4_999,
    "a list of a megabyte": ["1" * 1_000_000],
    "loud": Loud(),
    "silent": Silent(),
}

ANY: dict[str, Callable[[Any], object]] = {
    "Discovery(name)": Discovery,
    "Discovery(source=)": lambda value: Discovery("web.prod", source=value),
    "Discovery(policy=)": lambda value: Discovery("web.prod", policy=value),
    "Discovery(me=)": lambda value: Discovery("web.prod", me=value),
    "AsyncDiscovery(name)": AsyncDiscovery,
    "resolve(name)": lambda value: resolve(value, timeout=0.1),
    "DNS(namespace=)": lambda value: DNS(namespace=value),
    "DNS(cluster_domain=)": lambda value: DNS(cluster_domain=value),
    "DNS(family=)": lambda value: DNS(family=value),
    "DNS(targets=)": lambda value: DNS(targets=value),
    "DNS([…])": lambda value: DNS([value]),
    "DNS(networks=[…])": lambda value: DNS(networks=[value]),
    "Static([…])": lambda value: Static([value]),
    "Kubernetes(server=)": lambda value: Kubernetes(server=value),
    "Kubernetes(namespace=)": lambda value: Kubernetes(namespace=value),
    "Fallback": lambda value: Fallback(value, value),
    "Endpoint(port)": lambda value: Endpoint(("10.0.0.1",), value),
    "Endpoint(address)": lambda value: Endpoint((value,), 80),
    "Identity(zone=)": lambda value: Identity(zone=value),
    "Policy(hold=)": lambda value: Policy(hold=value),
    "Policy(on_empty=)": lambda value: Policy(on_empty=value),
    "ordinal": lambda value: started(lambda web: web.ordinal(value)),
    "report_failure": lambda value: started(lambda web: web.report_failure(value)),
    "report_success": lambda value: started(lambda web: web.report_success(value)),
    "attempts(on=)": lambda value: started(lambda web: web.attempts(on=value)),
    "attempts(stop=)": lambda value: started(lambda web: web.attempts(on=OSError, stop=value)),
    "broadcast(late=)": lambda value: started(lambda web: web.broadcast(str, late=value)),
    "on_change": lambda value: started(lambda web: web.on_change(value)),
    "round_robin(zone=)": lambda value: started(lambda web: web.round_robin(zone=value)),
    "Client(name)": Client,
    "Client(host=)": lambda value: Client(WEB, host=value),
    "Client(picker=)": lambda value: Client(WEB, picker=value),
    "PodAdapter": PodAdapter,
    "PodAdapter(idempotent=)": lambda value: started(lambda web: PodAdapter(web, idempotent=value)),
    "pods": pods,
    "kafka": lambda value: kafka([value]),
    "rabbitmq_nodes": lambda value: rabbitmq_nodes([value]),
    "HeadlessService": HeadlessService,
}


def started(use: Callable[[Discovery], object]) -> None:
    with Discovery(WEB) as web:
        use(web)


def refusal(call: Callable[[], object]) -> str:
    """Its one line."""
    with pytest.raises(PeerDiscoverError) as refused:
        call()
    line = str(refused.value)
    assert line.isprintable()
    assert len(line) < 700
    return line


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("call", ANY)
def test_one_short_line_whatever_the_value_is(call: str, value: str) -> None:
    refusal(lambda: ANY[call](VALUES[value]))


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (lambda: Discovery("web:" + "9" * 5_000), "a port number lies between 1 and 65535"),
        (lambda: Discovery("static:10.0.0.1:" + "9" * 5_000), "a port number lies between 1 and 65535"),
        (lambda: DNS(["10.0.0.1:" + "9" * 5_000]), "a port number lies between 1 and 65535"),
        (lambda: Discovery("static:localhost:80"), "'localhost' is no IP address; write 127.0.0.1"),
        (lambda: Discovery("static:localhost"), "write ADDRESS:PORT"),
        (
            lambda: Discovery("localhost:80"),
            "('localhost'): this machine, not a service; write static:127.0.0.1:80",
        ),
        (lambda: Discovery("k8s:Localhost:http"), "not a service; write static:127.0.0.1:PORT"),
        (lambda: Discovery("web", source=WithoutKind()), "expected a string `kind`, its name in errors"),  # type: ignore[arg-type]
        (lambda: kafka(Discovery(WEB)), "expected what hosts(…) returns, or a PeerSet (the `peers` of"),  # type: ignore[arg-type]
        (
            lambda: Answer.of(["10.0.0.1:80"]),  # type: ignore[list-item]
            "Answer(endpoints=('10.0.0.1:80',)): expected a list of Endpoint",
        ),
        (lambda: Answer.of([], ttl="5"), "Answer(ttl='5'): expected seconds, or None"),  # type: ignore[arg-type]
        (lambda: ContactPoint("web-0", 3), "ContactPoint(founders=3): expected the keys of peers"),  # type: ignore[arg-type]
        (lambda: Static(["localhost:80"]), "'localhost' is no IP address; write 127.0.0.1"),
        (lambda: DNS(["localhost"]), "'localhost' is no IP address"),
        (lambda: DNS([None]), "nameserver None: expected a string such as '10.96.0.10'"),  # type: ignore[list-item]
        (lambda: DNS(networks=[5]), "5 is no network; write 10.244.0.0/16"),  # type: ignore[list-item]
        (lambda: Endpoint((5,), 80), "Endpoint(addresses=(5,)): expected IP addresses"),  # type: ignore[arg-type]
        (lambda: Policy(timeout=math.nan), "Policy(timeout=nan): expected a finite number"),
        (lambda: Policy(hold=10**400), "expected a finite number"),
        (lambda: resolve(WEB, timeout=math.nan), "resolve(timeout=nan): expected seconds, such as 2.5"),
        (lambda: resolve(WEB, timeout=math.inf), "resolve(timeout=inf): expected a finite number above 0"),
        (lambda: resolve(WEB, timeout=None), "resolve(timeout=None): expected a finite number above 0"),  # type: ignore[arg-type]
        (lambda: started(lambda web: web.wait(timeout=math.nan)), "wait(timeout=nan): expected seconds"),
        (
            lambda: started(lambda web: web.broadcast(str, timeout=math.nan)),
            "broadcast(timeout=nan): expected seconds",
        ),
        (lambda: started(lambda web: web.ordinal("0")), "ordinal('0'): expected an integer, such as 0"),  # type: ignore[arg-type]
        (
            lambda: started(lambda web: web.report_failure("x")),  # type: ignore[arg-type]
            "report_failure('x'): expected a Peer",
        ),
        (
            lambda: Discovery("http://web-headless.prod:8080"),
            "a URL, not a service's name; write web-headless.prod:8080",
        ),
        (
            lambda: Client("https://user:secret@web-headless.prod:8080/x?y#z"),
            "'https://…@web-headless.prod:8080': a URL, not a service's name; write web-headless.prod:8080",
        ),
    ],
)
def test_it_says_what_to_write_instead(call: Callable[[], object], shown: str) -> None:
    line = refusal(call)
    assert shown in line
    assert "secret" not in line


def test_an_ordinal_of_5_000_digits_is_one_that_no_pod_has() -> None:
    with Discovery(WEB) as web, pytest.raises(NoPeersError, match="no pod has ordinal <int>; there are 0–1"):
        web.ordinal(10**4_999)


def test_a_fifo_as_resolv_conf_names_no_nameserver(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "resolv.conf")
    source = DNS(environment=Environment({}, ResolvConf(tmp_path / "resolv.conf")))
    with pytest.raises(PeerDiscoverError, match=r"no nameserver is known: resolv\.conf has none"):
        resolve("web.prod:80", source=source, timeout=0.1)


def test_refusals_show_values_by_quoted() -> None:
    """`{value!r}` may be a megabyte, several lines, or raise."""
    bare = {
        f"{path.relative_to(PACKAGE)}:{part.lineno}"
        for path in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == ConfigurationError.__name__
        for part in ast.walk(call)
        if isinstance(part, ast.FormattedValue) and part.conversion == ord("r")
    }
    assert not bare
