"""Whatever a nameserver answers: no traceback, and what is not known is said to be not checked."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peerdiscover.doctor import _asking, _dns
from peerdiscover.doctor._codes import CHECKS
from peerdiscover.doctor._output import as_json, full, not_checked, summary
from peerdiscover.sources._server import Server
from peerdiscover.testing import HeadlessService
from tests.tools.nameservers._proxy import At, Proxy

from .test_asking import NAME, examined, missing
from .test_command import OURS

Mutation = Callable[[bytes], bytes]
HEAD = 2
"""Bytes of an answer that stay: its id, without which it is no answer at all."""
OF_ANSWERS = {"PD101", "PD103", "PD104", "PD105", "PD106", "PD107", "PD108", "PD109", "PD201"}


def flipped(places: dict[int, int]) -> Mutation:
    """Other bytes at these places."""

    def mutate(wire: bytes) -> bytes:
        changed = bytearray(wire)
        for place, byte in places.items():
            changed[HEAD + place % max(1, len(wire) - HEAD)] = byte
        return bytes(changed)

    return mutate


BYTES = st.integers(0, 255)
MUTATIONS = st.one_of(
    st.just(lambda wire: wire),
    st.dictionaries(st.integers(0, 9), BYTES, min_size=1).map(flipped),  # flags and counts
    st.dictionaries(st.integers(0, 600), BYTES, min_size=1, max_size=20).map(flipped),
    st.integers(0, 600).map(lambda size: lambda wire: wire[: HEAD + size]),
    st.binary(max_size=200).map(lambda tail: lambda wire: wire[:HEAD] + tail),
    st.binary(max_size=200).map(lambda tail: lambda wire: wire + tail),
    st.tuples(st.integers(0, 600), st.binary(max_size=50)).map(
        lambda cut: lambda wire: wire[: HEAD + cut[0]] + cut[1]
    ),
)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """It meddles with what a good nameserver answers."""
    with (
        HeadlessService("web-headless.prod", 3, {"http": 8080}, pods=False) as service,
        Proxy(At.parse(service.nameserver)) as proxy,
    ):
        assert _dns.zone_exists(Server.parse(proxy.nameserver), "cluster.local")  # it serves
        yield proxy


@settings(max_examples=50, deadline=None)
@given(st.lists(MUTATIONS, min_size=1, max_size=6))
@example([lambda wire: wire[:2]])
def test_any_bytes(proxy: Proxy, mutations: list[Mutation]) -> None:
    turn = itertools.cycle(mutations)

    def meddle(_: object, answer: bytes) -> list[bytes]:
        return [next(turn)(answer)]

    proxy.meddle = meddle
    with pytest.MonkeyPatch.context() as patch:  # much of it is silence, so that is short here
        patch.setattr(_dns, "SECONDS", 0.05)
        patch.setattr(_asking, "LOOKUP_SECONDS", 0.1)
        report = examined(NAME, proxy.nameserver, seconds=3.0, connects=False)

    said = json.loads(as_json(report, NAME, None))
    jsonschema.validate(said, OURS)
    assert not report.found & missing(report)
    assert not set(report.passed) & (report.found | missing(report))
    assert report.found <= CHECKS.keys()
    assert report.found | missing(report) | set(report.passed) >= OF_ANSWERS  # nothing in silence
    lines = [line for _, line in (*full(report), *not_checked(report), *summary(report, 1.0))]
    assert all(line.isprintable() for line in lines)


def test_what_is_whole_is_taken(proxy: Proxy) -> None:
    """Or the test above would prove little."""
    proxy.be_honest()
    report = examined(NAME, proxy.nameserver, connects=False)
    assert report.findings == []
    assert {"PD103", "PD104", "PD105", "PD106", "PD108", "PD109"} <= set(report.passed)
