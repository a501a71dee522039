"""Fixed lists, callables, and which source a name and an argument mean."""

from __future__ import annotations

import asyncio
import inspect
import math
import subprocess
import sys
from typing import Any

import pytest

from peerdiscover.answers import Answer, Endpoint, LookupRequest
from peerdiscover.errors import ConfigurationError, Outcome
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer
from peerdiscover.sources import DNS, Fallback, FunctionSource, Kubernetes, Static, source_for
from peerdiscover.sources._calling import Cancellation, merge_fallback
from peerdiscover.sources.dns._source import MAX_NAMES

ASK = LookupRequest(ServiceName.parse("web"))


def ask(source: FunctionSource) -> Answer:
    answer = source.lookup(ASK)
    assert isinstance(answer, Answer)
    return answer


def test_who_asks_to_be_told_of_a_cancellation_after_it_is_told_at_once() -> None:
    told = []
    cancellation = Cancellation()
    cancellation.add_callback(lambda: told.append("before"))
    cancellation.add_callback(lambda: told.append("removed"))()
    cancellation.cancel()
    cancellation.add_callback(lambda: told.append("after"))
    cancellation.cancel()
    assert told == ["before", "after"]


def test_two_sources_are_hopeless_only_if_both_are() -> None:
    wrong, late = Answer.failed(ConfigurationError("no port")), Answer.failed("no answer")
    for first, second in (wrong, wrong), (wrong, late), (late, wrong):
        error = merge_fallback(first, second).error
        assert isinstance(error, ConfigurationError) is (first is second)
        assert " - and then: " in str(error)


def test_a_fixed_list() -> None:
    peer = Peer("db-1", "10.0.0.3", 8080, ("10.0.0.3", "fd00::3"), hostname="db-1", zone="a")
    entries: list[str | Peer | Endpoint] = [
        "10.0.0.1:8080",
        "db-0=[fd00::2]:8080",
        peer,
        Endpoint(("10.0.0.4",), 1),
        "10.0.0.1:8080",
    ]
    answer = Static(entries).lookup(ASK)
    assert answer.endpoints == (
        Endpoint(("10.0.0.1",), 8080),
        Endpoint(("fd00::2",), 8080, "db-0"),
        Endpoint(("10.0.0.3", "fd00::3"), 8080, "db-1", zone="a"),
        Endpoint(("10.0.0.4",), 1),
    )
    assert (answer.outcome, answer.ttl, answer.kind) == (Outcome.RESOLVED, math.inf, "static")
    assert Static([]).lookup(ASK).outcome is Outcome.EMPTY


@pytest.mark.parametrize("entries", ["10.0.0.1:80", ["10.0.0.1"], ["web:80"], [80], ["10.0.0.1:0"]])
def test_a_fixed_list_that_is_wrong(entries: Any) -> None:
    with pytest.raises(ConfigurationError):
        Static(entries)


@pytest.mark.parametrize("returned", [None, [], ()])
def test_a_callable_that_returns_no_peers(returned: list[str] | None) -> None:
    answer = ask(FunctionSource(lambda: returned))
    assert (answer.outcome, answer.ttl, answer.kind) == (Outcome.EMPTY, None, "callable")


def test_a_callable() -> None:
    answer = ask(FunctionSource(lambda: (text for text in ["10.0.0.1:80", "a-0=10.0.0.2:80"])))
    assert answer.endpoints == (Endpoint(("10.0.0.1",), 80), Endpoint(("10.0.0.2",), 80, "a-0"))
    assert (answer.outcome, answer.ttl, answer.kind) == (Outcome.RESOLVED, None, "callable")


def test_a_coroutine_function() -> None:
    async def find() -> list[str]:
        await asyncio.sleep(0)
        return ["10.0.0.1:80"]

    answer = FunctionSource(find).lookup(ASK)
    assert inspect.isawaitable(answer)

    async def awaited() -> Answer:
        return await answer

    assert asyncio.run(awaited()).endpoints == (Endpoint(("10.0.0.1",), 80),)


@pytest.mark.parametrize("returned", ["10.0.0.1:80", b"10.0.0.1:80", 7, ["10.0.0.1"], [None]])
def test_a_callable_that_returns_what_is_no_list_of_addresses(returned: Any) -> None:
    with pytest.raises(ConfigurationError):
        FunctionSource(lambda: returned).lookup(ASK)


def test_what_a_callable_raises_is_left_to_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        FunctionSource(lambda: [f"10.0.0.1:{1 // 0}"]).lookup(ASK)


def test_what_is_no_source_is_a_type_error_too() -> None:
    """mypy warns of an `ignore` that it does not need."""
    with pytest.raises(ConfigurationError):
        source_for(ServiceName.parse("web"), 7)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        FunctionSource(lambda: [7]).lookup(ASK)  # type: ignore[arg-type]


@pytest.mark.parametrize("networks", [[5], [None], [b"\x0a\x00\x00\x00"], ["10.0.0.1/8"], "10.0.0.0/8"])
def test_what_is_no_network_is_refused(networks: Any) -> None:
    with pytest.raises(ConfigurationError, match="networks"):
        DNS(networks=networks)


@pytest.mark.parametrize("server", [None, 7, b"10.0.0.1", "10.0.0.1:" + "9" * 5000, "x" * 10**6])
def test_what_is_no_nameserver_is_refused_in_one_line(server: Any) -> None:
    with pytest.raises(ConfigurationError, match="nameserver") as refused:
        DNS([server])
    assert len(str(refused.value)) < 500


def test_where_targets_may_be_is_checked() -> None:
    with pytest.raises(ConfigurationError, match="'service', 'any'"):
        DNS(targets="all")  # type: ignore[arg-type]


# Which source


def find_nobody() -> list[str]:
    return []


class Other:
    kind = "other"

    def lookup(self, ask: LookupRequest) -> Answer:
        return Answer.of(()).replace(name=str(ask.service))


def test_the_source_that_a_name_means() -> None:
    assert isinstance(source_for(ServiceName.parse("web.prod:80")), DNS)
    assert isinstance(source_for(ServiceName.parse("dns:web.prod:80")), DNS)
    fixed = source_for(ServiceName.parse("static:10.0.0.1:80,b=10.0.0.2:81"))
    assert isinstance(fixed, Static)
    assert isinstance(source_for(ServiceName.parse("k8s:web.prod:80")), Kubernetes)
    both = source_for(ServiceName.parse("auto:web.prod:80"))
    assert repr(both) == f"Fallback({Kubernetes()!r}, {DNS()!r})"
    assert fixed.lookup(ASK).endpoints == (Endpoint(("10.0.0.1",), 80), Endpoint(("10.0.0.2",), 81, "b"))


def test_a_source_that_is_given() -> None:
    for source in DNS(), Static(["10.0.0.1:80"]), Other():
        assert source_for(ServiceName.parse("web"), source) is source
    assert isinstance(source_for(ServiceName.parse("web"), find_nobody), FunctionSource)
    dns = DNS()
    assert source_for(ServiceName.parse("dns:web.prod:80"), dns) is dns
    assert source_for(ServiceName.parse("dns:8080"), Other()), "a Service called dns"
    kubernetes = Kubernetes()
    assert source_for(ServiceName.parse("k8s:web.prod:80"), kubernetes) is kubernetes
    both = Fallback(kubernetes, dns)
    assert source_for(ServiceName.parse("auto:web.prod:80"), both) is both


@pytest.mark.parametrize(
    ("service", "source"),
    [
        ("static:10.0.0.1:80", DNS()),
        ("static:10.0.0.1:80", Static(["10.0.0.1:80"])),
        ("static:10.0.0.1:80", find_nobody),
        ("dns:web.prod:80", Static(["10.0.0.1:80"])),
        ("dns:web.prod:80", Other()),
        ("dns:web.prod:80", find_nobody),
        ("dns:web.prod:80", Kubernetes()),
        ("dns:web.prod:80", Fallback(Kubernetes(), DNS())),
        ("k8s:web.prod:80", DNS()),
        ("k8s:web.prod:80", Fallback(Kubernetes(), DNS())),
        ("auto:web.prod:80", Kubernetes()),
        ("auto:web.prod:80", DNS()),
        ("web", DNS),
        ("web", 7),
        ("web", ["10.0.0.1:80"]),
    ],
)
def test_a_source_that_disagrees_or_is_none(service: str, source: Any) -> None:
    with pytest.raises(ConfigurationError):
        source_for(ServiceName.parse(service), source)


def test_the_sources_are_imported_when_they_are_used() -> None:
    code = """
import sys
import peerdiscover.sources
from peerdiscover.names import ServiceName
peerdiscover.sources.source_for(ServiceName.parse("static:10.0.0.1:80"))
assert not {"dns", "peerdiscover.sources.dns", "anyio", "selectors"} & set(sys.modules), sorted(sys.modules)
from peerdiscover.sources import DNS
DNS(["127.0.0.1"])
assert not {"dns", "anyio"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_is_remembered_of_names_has_a_bound() -> None:
    source = DNS(["127.0.0.1:1"], namespace="prod")

    def begin(name: str) -> None:
        plan, _, _ = source._begin(LookupRequest(ServiceName.parse(f"{name}:8080"), timeout=1.0))
        plan.close()

    begin("web")
    web = source._histories["web.prod.svc.cluster.local."]
    for n in range(MAX_NAMES):
        begin(f"db-{n}")
        begin("web")
    assert len(source._histories) == MAX_NAMES
    assert source._histories["web.prod.svc.cluster.local."] is web, "the latest are kept"
