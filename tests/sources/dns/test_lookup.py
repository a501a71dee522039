"""The plan of questions: tables of replies, and what must follow from them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from peerdiscover.answers import Endpoint
from peerdiscover.errors import ConfigurationError, Outcome
from peerdiscover.membership.members import peers_of
from peerdiscover.names import ServiceName
from peerdiscover.sources._server import Server
from peerdiscover.sources.dns._answer_builder import LookupConfig
from peerdiscover.sources.dns._hints import hint
from peerdiscover.sources.dns._remembered import NameHistory
from peerdiscover.sources.dns._target_rules import label_beneath
from peerdiscover.sources.dns._types import Question, RecordType, Reply, Srv

from ._lookups import AAAA, NAME, NODATA, NXDOMAIN, SILENCE, SRV, A, Run, a, alias, full, srv

THREE = {"web-0": ["10.0.0.1"], "web-1": ["10.0.0.2"], "web-2": ["10.0.0.3"]}
ALL = srv(*THREE, glue=THREE)
KNOWN = {name: tuple(addresses) for name, addresses in THREE.items()}


# SRV that is complete says all


@pytest.mark.parametrize("service", ["web.prod:8080", "web.prod", "web.prod:http", "_http._tcp.web.prod"])
def test_a_complete_srv_answer_says_all_in_one_question(service: str) -> None:
    run = Run(service, {(NAME, SRV): ALL, (f"_http._tcp.{NAME}", SRV): ALL})
    assert run.pods == [("web-0", "10.0.0.1"), ("web-1", "10.0.0.2"), ("web-2", "10.0.0.3")]
    assert len(run.batches) == 1
    assert run.answer.outcome is Outcome.RESOLVED
    assert (run.answer.kind, run.answer.ttl, run.answer.name) == ("headless", 5, NAME)
    assert run.answer.servers == ("10.96.0.10",)
    assert run.answer.endpoints[0].fqdn == f"web-0.{NAME}"


def test_the_protocol_of_a_named_port_is_asked_for() -> None:
    run = Run("_dns._udp.web.prod", {(f"_dns._udp.{NAME}", SRV): ALL})
    assert run.asked == [["SRV _dns._udp"]]


def test_srv_leaves_half_of_the_time_where_addresses_can_still_serve() -> None:
    assert Run("web.prod:8080", {(NAME, SRV): ALL}).batches[0].share == 0.5
    assert Run("web.prod", {(NAME, SRV): ALL}).batches[0].share == 1.0


def test_a_number_is_the_pods_port_and_one_that_srv_does_not_know_draws_one_warning() -> None:
    both = srv(("web-0", 8080), ("web-0", 9090), ("web-1", 8080), ("web-1", 9090), glue=THREE)
    run = Run("web.prod:8080", {(NAME, SRV): both})
    assert [(e.hostname, e.port) for e in run.answer.endpoints] == [("web-0", 8080), ("web-1", 8080)]
    assert run.answer.warnings == ()
    run = Run("web.prod:80", {(NAME, SRV): both})
    assert [(e.hostname, e.port) for e in run.answer.endpoints] == [("web-0", 80), ("web-1", 80)]
    (warning,) = run.answer.warnings
    assert "80" in warning
    assert "8080, 9090" in warning


def test_both_families_of_a_hostname_are_one_pod_the_preferred_first() -> None:
    dual = srv("web-0", "web-1", glue={"web-0": ["fd00::1", "10.0.0.1"], "web-1": ["10.0.0.2", "fd00::2"]})
    table = {(NAME, SRV): dual}
    assert Run("web.prod:8080", table).pods == [("web-0", "10.0.0.1 fd00::1"), ("web-1", "10.0.0.2 fd00::2")]
    assert Run("web.prod:8080", table, family="ipv6").pods == [("web-0", "fd00::1"), ("web-1", "fd00::2")]
    assert Run("web.prod:8080", table, family="ipv4").pods == [("web-0", "10.0.0.1"), ("web-1", "10.0.0.2")]


def test_several_pods_behind_one_hostname_are_one_endpoint_an_address() -> None:
    shared = srv("web", glue={"web": ["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"]})
    run = Run("web.prod:8080", {(NAME, SRV): shared})
    assert run.pods == [("web", "10.0.0.1"), ("web", "10.0.0.2")]
    run = Run("web.prod:8080", {(NAME, SRV): shared}, family="ipv6")
    assert run.pods == [("web", "fd00::1"), ("web", "fd00::2")]


def test_labels_made_of_addresses_are_no_hostnames() -> None:
    dashed = srv("10-0-0-1", "10-0-0-2", glue={"10-0-0-1": ["10.0.0.1"], "10-0-0-2": ["10.0.0.2"]})
    run = Run("web.prod:8080", {(NAME, SRV): dashed})
    assert run.pods == [(None, "10.0.0.1"), (None, "10.0.0.2")]
    assert run.answer.endpoints[0].fqdn == f"10-0-0-1.{NAME}"
    assert run.answer.kind == "headless"


def test_a_label_that_looks_like_an_address_but_is_at_another_one_is_a_hostname() -> None:
    run = Run("web.prod:8080", {(NAME, SRV): srv("10-9-9-9", glue={"10-9-9-9": ["10.0.0.1"]})})
    assert run.pods == [("10-9-9-9", "10.0.0.1")]


def test_dual_stack_without_hostnames_gives_each_pod_once() -> None:
    glue = {"10-0-0-1": ["10.0.0.1"], "fd00--1": ["fd00::1"], "fd00--0": ["fd00::"]}
    table = {(NAME, SRV): srv("fd00--1", "10-0-0-1", "fd00--0", glue=glue)}
    assert Run("web.prod:8080", table).pods == [(None, "10.0.0.1")]
    assert Run("web.prod:8080", table, family="ipv6").pods == [(None, "fd00::1"), (None, "fd00::")]
    only6 = {(NAME, SRV): srv("fd00--1", "fd00--0", glue=glue)}
    assert Run("web.prod:8080", only6).pods == [(None, "fd00::1"), (None, "fd00::")]
    run = Run("web.prod:8080", only6, family="ipv4")
    assert run.answer.outcome is Outcome.EMPTY
    assert len(run.batches) == 1


# Addresses that did not come along


def test_missing_addresses_of_hostnames_are_asked_for_by_name() -> None:
    table = {
        (NAME, SRV): srv(*THREE, glue={"web-0": ["10.0.0.1"]}),
        (full("web-1"), A): a("10.0.0.2"),
        (full("web-1"), AAAA): NODATA,
        (full("web-2"), A): a("10.0.0.3"),
        (full("web-2"), AAAA): a("fd00::3"),
    }
    run = Run("web.prod:8080", table)
    assert run.asked == [["SRV NAME"], ["A web-1", "AAAA web-1", "A web-2", "AAAA web-2"]]
    assert run.pods == [("web-0", "10.0.0.1"), ("web-1", "10.0.0.2"), ("web-2", "10.0.0.3 fd00::3")]
    assert run.answer.outcome is Outcome.RESOLVED


def test_missing_addresses_of_dashed_targets_are_confirmed_by_the_service() -> None:
    table = {
        (NAME, SRV): srv("10-0-0-1", "10-0-0-2", "10-0-0-9"),
        (NAME, A): a("10.0.0.1", "10.0.0.2"),
        (NAME, AAAA): NODATA,
    }
    run = Run("web.prod:http", {(f"_http._tcp.{NAME}", SRV): table[NAME, SRV], **table})
    assert run.asked == [["SRV _http._tcp"], ["A NAME", "AAAA NAME"]]
    assert run.pods == [(None, "10.0.0.1"), (None, "10.0.0.2")]
    assert run.answer.outcome is Outcome.RESOLVED
    assert [line for line in run.answer.dropped if "10-0-0-9" in line]


def test_one_target_proven_to_have_no_address_does_not_fail_the_rest() -> None:
    table = {(NAME, SRV): srv(*THREE, glue={"web-0": ["10.0.0.1"], "web-1": ["10.0.0.2"]})}
    run = Run("web.prod:8080", table, known=KNOWN)
    assert run.pods == [("web-0", "10.0.0.1"), ("web-1", "10.0.0.2")]
    assert run.answer.outcome is Outcome.RESOLVED
    assert "web-2" in run.answer.dropped[0]


def test_a_target_without_an_address_speaks_of_its_own_pod_alone() -> None:
    table = {
        (NAME, SRV): srv(*THREE, glue={"web-0": ["10.0.0.1"], "web-1": ["10.0.0.2"]}),
        (full("web-2"), A): SILENCE,
        (full("web-2"), AAAA): NODATA,
    }
    run = Run("web.prod:8080", table, known=KNOWN)
    assert run.answer.outcome is Outcome.RESOLVED
    assert run.answer.unresolved == {"web-2"}
    assert "web-2" in run.answer.dropped[0]
    assert run.answer.gone == frozenset()
    assert run.pods == [("web-0", "10.0.0.1"), ("web-1", "10.0.0.2")]


def test_no_target_can_be_asked() -> None:
    table = {(NAME, SRV): srv("web-0"), (full("web-0"), A): SILENCE, (full("web-0"), AAAA): SILENCE}
    assert Run("web.prod", table).answer.outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("v4", "v6", "unresolved"),
    [
        (NXDOMAIN, SILENCE, set()),  # there is no such name, whatever the family
        (a("10.0.0.2"), SILENCE, set()),  # it is there
        (NODATA, SILENCE, {"web-1"}),  # it may have the other
    ],
)
def test_what_settles_a_target(v4: Reply, v6: Reply, unresolved: set[str]) -> None:
    table = {(NAME, SRV): srv("web-0", "web-1", glue={"web-0": ["10.0.0.1"]})}
    answer = Run("web.prod", {**table, (full("web-1"), A): v4, (full("web-1"), AAAA): v6}).answer
    assert answer.unresolved == unresolved
    assert any("its address could not be resolved" in line for line in answer.dropped) == bool(unresolved)


def test_pods_that_are_new_are_asked_for_first() -> None:
    run = Run("web.prod", {(NAME, SRV): srv("web-0", "web-9")}, known=KNOWN)
    assert run.asked[1] == ["A web-9", "AAAA web-9", "A web-0", "AAAA web-0"]


@pytest.mark.parametrize(("count", "whole"), [(16, False), (17, True)])
def test_above_sixteen_hostnames_without_addresses_the_service_is_asked_first(
    count: int, whole: bool
) -> None:
    known = {f"web-{i}": (f"10.0.1.{i}",) for i in range(count)}
    table = {(NAME, SRV): srv(*known), (NAME, A): a(*(f"10.0.1.{i}" for i in range(count - 1)))}
    run = Run("web.prod", {**table, (NAME, AAAA): NODATA}, known=known)
    assert (run.asked[1] == ["A NAME", "AAAA NAME"]) == whole
    if whole:  # what it does not confirm is asked for by itself
        assert run.asked[2] == ["A web-16", "AAAA web-16"]
        run = Run("web.prod:8080", {**table, (NAME, AAAA): NODATA})
        assert [hostname for hostname, _ in run.pods] == [None] * 16  # with a number no names are needed
        assert "more than 16 pods, whose SRV records come without addresses" in str(run.answer.warnings)
        assert len(run.batches) == 2


def test_a_target_that_could_not_be_asked_proves_pods_of_its_family() -> None:
    """Those of IPv6 are the same pods: each would come in twice once A can be asked again."""
    table = {(NAME, SRV): srv("10-0-0-1", "fd00--1"), (NAME, A): SILENCE, (NAME, AAAA): a("fd00::1")}
    assert Run("web.prod", table).answer.outcome is Outcome.FAILED


def test_many_hostnames_without_addresses_and_a_named_port() -> None:
    """Those that are known and still there are confirmed at once; the rest is asked for."""
    names = [f"web-{i}" for i in range(60)]
    address = {name: f"10.0.1.{i}" for i, name in enumerate(names)}
    question = f"_http._tcp.{NAME}"
    table: dict[tuple[str, RecordType], Reply] = {
        (question, SRV): srv(*names, truncated=True),
        (NAME, AAAA): NODATA,
    }
    table[NAME, A] = a(*address.values())
    table |= {(full(name), A): a(address[name]) for name in names}
    table |= {(full(name), AAAA): NODATA for name in names}
    known: dict[str, tuple[str, ...]] = {}
    for asked in (60, 0):
        run = Run("web.prod:http", table, known=known)
        assert run.answer.outcome is Outcome.PARTIAL, "SRV itself was truncated"
        assert run.answer.ordered
        assert len(run.answer.endpoints) == 60
        assert sum(q.kind is A and q.name != NAME for batch in run.batches for q in batch.questions) == asked
        known = {e.hostname: e.addresses for e in run.answer.endpoints if e.hostname}


# SRV that fails, is cut short or is not served


def by_address(srv_reply: Reply, *addresses: str) -> dict[tuple[str, RecordType], Reply]:
    return {(NAME, SRV): srv_reply, (NAME, A): a(*addresses), (NAME, AAAA): NODATA}


def test_srv_fails_and_known_names_stay_with_their_addresses() -> None:
    run = Run("web.prod:8080", by_address(SILENCE, "10.0.0.2", "10.0.0.1", "10.0.0.3"), known=KNOWN)
    assert sorted(run.pods) == [("web-0", "10.0.0.1"), ("web-1", "10.0.0.2"), ("web-2", "10.0.0.3")]
    assert run.answer.outcome is Outcome.RESOLVED
    assert run.answer.kind == "headless"
    assert run.answer.unnamed == ()
    assert run.answer.endpoints[0].fqdn == f"web-1.{NAME}"


def test_srv_fails_and_a_pod_that_moved_is_asked_for_by_its_own_name() -> None:
    table = by_address(SILENCE, "10.0.0.1", "10.0.0.2", "10.0.0.9")
    run = Run("web.prod:8080", {**table, (full("web-2"), A): a("10.0.0.9")}, known=KNOWN)
    assert run.asked == [["SRV NAME"], ["A NAME", "AAAA NAME"], ["A web-2", "AAAA web-2"]]
    assert sorted(run.pods) == [("web-0", "10.0.0.1"), ("web-1", "10.0.0.2"), ("web-2", "10.0.0.9")]
    assert run.answer.unnamed == ()


def test_srv_fails_and_a_new_pod_has_no_name_yet() -> None:
    table = by_address(SILENCE, "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    run = Run("web.prod:8080", table, known=KNOWN)
    assert len(run.pods) == 3
    assert run.answer.unnamed == (Endpoint(("10.0.0.4",), 8080),)


def test_srv_fails_and_a_pod_is_gone() -> None:
    run = Run("web.prod:8080", by_address(SILENCE, "10.0.0.1", "10.0.0.2"), known=KNOWN)
    assert sorted(run.pods) == [("web-0", "10.0.0.1"), ("web-1", "10.0.0.2")]
    assert run.answer.gone == {"web-2"}
    assert run.answer.gone_ttl == 5


def test_a_target_of_srv_whose_own_name_is_not_there() -> None:
    """One against the other: of a pod that is known, a second answer has to agree."""
    table = {
        (NAME, SRV): srv("web-0", "web-2", ttl=3),
        (full("web-0"), A): a("10.0.0.1"),
        (full("web-0"), AAAA): NODATA,
        (full("web-2"), A): replace(NXDOMAIN, ttl=20),
        (full("web-2"), AAAA): replace(NXDOMAIN, ttl=7),
    }
    for known, gone, ttl in ((KNOWN, {"web-2"}, 20), ({}, set[str](), None)):
        answer = Run("web.prod:8080", table, known=known).answer
        assert answer.outcome is Outcome.RESOLVED
        assert [e.hostname for e in answer.endpoints] == ["web-0"]
        assert answer.gone == gone
        assert (answer.ttl, answer.gone_ttl) == (3, ttl)


def test_no_more_than_sixteen_are_asked_for_by_their_own_names() -> None:
    known = {f"web-{i}": (f"10.0.1.{i}",) for i in range(40)}
    run = Run("web.prod:8080", by_address(SILENCE, "10.0.0.1"), known=known)
    assert len(run.batches[2].questions) == 32
    assert run.answer.unnamed == (Endpoint(("10.0.0.1",), 8080),)


def test_no_more_than_eight_are_missed_in_an_srv_answer_that_is_cut() -> None:
    known = {f"web-{i}": (f"10.0.1.{i}",) for i in range(40)}
    cut = srv("web-0", glue={"web-0": ["10.0.1.0"]}, truncated=True)
    run = Run("web.prod:http", {(f"_http._tcp.{NAME}", SRV): cut}, known=known)
    assert len(run.batches[1].questions) == 16


def test_a_family_that_fails_counts_once_in_a_lookup() -> None:
    table = {**by_address(SILENCE, "10.0.0.1", "10.0.0.2"), (NAME, AAAA): SILENCE}
    table |= {(full("web-2"), A): a("10.0.0.9"), (full("web-2"), AAAA): SILENCE}
    run = Run("web.prod:8080", table, known=KNOWN)
    assert len(run.batches) == 3
    assert run.history.failures[6] == 1


def test_srv_fails_where_no_names_are_known() -> None:
    run = Run("web.prod:8080", by_address(SILENCE, "10.0.0.1", "10.0.0.2"))
    assert run.pods == [(None, "10.0.0.1"), (None, "10.0.0.2")]
    assert run.answer.kind == "unknown"


def test_srv_cut_short_and_a_number() -> None:
    cut = srv("web-0", "web-1", glue={"web-0": ["10.0.0.1"]}, truncated=True)
    run = Run("web.prod:8080", by_address(cut, "10.0.0.1", "10.0.0.2", "10.0.0.3"))
    assert run.answer.outcome is Outcome.RESOLVED
    assert run.pods == [(None, "10.0.0.1"), (None, "10.0.0.2"), (None, "10.0.0.3")]
    assert "hostname" in run.answer.warnings[0]
    run = Run("web.prod:8080", by_address(cut, "10.0.0.7", "10.0.0.2"), known=KNOWN)
    assert ("web-0", "10.0.0.1") in run.pods, "what SRV itself told needs no second word"


def test_srv_fails_for_a_named_port() -> None:
    question = f"_http._tcp.{NAME}"
    run = Run("web.prod:http", {(question, SRV): SILENCE, (NAME, A): a("10.0.0.1")}, known=KNOWN)
    assert run.answer.outcome is Outcome.FAILED
    assert "no answer" in str(run.answer.error)
    assert len(run.batches) == 1


def test_srv_cut_short_for_a_named_port() -> None:
    cut = srv("web-0", "web-1", glue={"web-0": ["10.0.0.1"], "web-1": ["10.0.0.2"]}, truncated=True)
    table = {
        (f"_http._tcp.{NAME}", SRV): cut,
        (full("web-3"), A): a("10.0.0.4"),
        (full("web-3"), AAAA): NODATA,
    }
    run = Run("web.prod:http", table, known={**KNOWN, "web-3": ("10.0.0.9",)})
    assert run.answer.outcome is Outcome.PARTIAL
    assert run.answer.ordered
    assert run.pods == [("web-0", "10.0.0.1"), ("web-1", "10.0.0.2"), ("web-3", "10.0.0.4")]
    assert run.answer.gone == {"web-2"}


def test_where_srv_is_not_served_it_is_asked_for_every_tenth_time() -> None:
    history = NameHistory()
    asked = [
        Run("web.prod:8080", by_address(NXDOMAIN, "10.0.0.1"), history=history).asked[0] for _ in range(12)
    ]
    assert [turn for turn, first in enumerate(asked) if first == ["SRV NAME"]] == [0, 10]


def test_srv_is_asked_for_again_where_names_are_known_or_the_answer_is_doubted() -> None:
    for known, doubted in (KNOWN, False), ({}, True):
        history = NameHistory(skip_srv=5)
        table = by_address(ALL, "10.0.0.1")
        run = Run("web.prod:8080", table, history=history, known=known, second_opinion=doubted)
        assert run.asked == [["SRV NAME"]]
        assert history.skip_srv == 0


def test_hostnames_are_not_lost_to_one_empty_srv_answer() -> None:
    for reply in NXDOMAIN, NODATA:
        run = Run("web.prod:8080", by_address(reply, "10.0.0.1", "10.0.0.2", "10.0.0.3"), known=KNOWN)
        assert sorted(run.pods) == [("web-0", "10.0.0.1"), ("web-1", "10.0.0.2"), ("web-2", "10.0.0.3")]
        assert run.history.skip_srv == 0


# Families


@pytest.mark.parametrize(
    ("v4", "v6", "pods", "failed"),
    [
        (a("10.0.0.1"), a("fd00::1"), ["10.0.0.1"], set()),
        (a("10.0.0.1"), NODATA, ["10.0.0.1"], set()),
        (NODATA, a("fd00::1"), ["fd00::1"], set()),
        (NXDOMAIN, a("fd00::1"), ["fd00::1"], set()),
        (a("10.0.0.1"), SILENCE, ["10.0.0.1"], {6}),
        (SILENCE, a("fd00::1"), ["fd00::1"], {4}),
    ],
)
def test_families_without_hostnames(v4: Reply, v6: Reply, pods: list[str], failed: set[int]) -> None:
    run = Run("web.prod:8080", {(NAME, A): v4, (NAME, AAAA): v6})
    assert [address for _, address in run.pods] == pods
    assert run.answer.failed_families == failed


def test_ipv6_does_not_come_in_beside_ipv4_because_a_could_not_be_asked() -> None:
    history = NameHistory(plain_family=4)
    run = Run("web.prod:8080", {(NAME, A): SILENCE, (NAME, AAAA): a("fd00::1")}, history=history)
    assert run.answer.outcome is Outcome.FAILED
    history = NameHistory(plain_family=6)
    run = Run("web.prod:8080", {(NAME, A): SILENCE, (NAME, AAAA): a("fd00::1")}, history=history)
    assert run.pods == [(None, "fd00::1")]


def test_a_known_pod_of_both_families_where_one_could_not_be_asked() -> None:
    known = {"web-0": ("10.0.0.1", "fd00::1"), "web-1": ("10.0.0.2",)}
    run = Run(
        "web.prod:8080", {(NAME, SRV): SILENCE, (NAME, A): SILENCE, (NAME, AAAA): a("fd00::1")}, known=known
    )
    assert run.answer.failed_families == {4}
    assert run.pods == [("web-0", "10.0.0.1 fd00::1")]
    assert run.answer.unnamed == ()


def test_a_known_pod_of_a_family_that_could_not_be_asked_is_not_asked_for() -> None:
    table = {**by_address(SILENCE, "10.0.0.1"), (NAME, AAAA): SILENCE}
    run = Run("web.prod:8080", table, known={"web-0": ("10.0.0.1",), "web-3": ("fd00::3",)})
    assert len(run.batches) == 2
    assert not run.answer.gone


def test_known_names_do_not_let_addresses_of_the_other_family_in() -> None:
    table = {(NAME, SRV): SILENCE, (NAME, A): SILENCE, (NAME, AAAA): a("fd00::1", "fd00::7")}
    known = {"web-0": ("10.0.0.1", "fd00::1")}
    assert Run("web.prod:8080", table, known=known).answer.unnamed == ()
    unnamed = Run("web.prod:8080", table, known={"web-0": ("fd00::1",)}).answer.unnamed
    assert [endpoint.addresses for endpoint in unnamed] == [("fd00::7",)]


def test_one_family_only_is_asked_for() -> None:
    table = {(NAME, A): a("10.0.0.1"), (NAME, AAAA): a("fd00::1")}
    run = Run("web.prod:8080", table, family="ipv6")
    assert run.asked == [["SRV NAME"], ["AAAA NAME"]]
    assert run.pods == [(None, "fd00::1")]
    assert Run("web.prod:8080", table, family="ipv4").pods == [(None, "10.0.0.1")]


# Nobody, and nobody knows


@pytest.mark.parametrize(
    ("srv_reply", "v4", "v6", "outcome"),
    [
        (NXDOMAIN, NXDOMAIN, NXDOMAIN, Outcome.NOT_FOUND),
        (SILENCE, NXDOMAIN, NXDOMAIN, Outcome.NOT_FOUND),
        (NODATA, NODATA, NODATA, Outcome.EMPTY),
        (NXDOMAIN, NODATA, NODATA, Outcome.EMPTY),
        (NXDOMAIN, SILENCE, NXDOMAIN, Outcome.NOT_FOUND),
        (NXDOMAIN, SILENCE, SILENCE, Outcome.FAILED),
        (SILENCE, SILENCE, SILENCE, Outcome.FAILED),
        (NXDOMAIN, a("10.0.0.1"), NODATA, Outcome.RESOLVED),
    ],
)
def test_not_found_needs_all_to_agree(srv_reply: Reply, v4: Reply, v6: Reply, outcome: Outcome) -> None:
    run = Run("web.prod:8080", {(NAME, SRV): srv_reply, (NAME, A): v4, (NAME, AAAA): v6})
    assert run.answer.outcome is outcome
    if outcome in (Outcome.NOT_FOUND, Outcome.EMPTY):
        assert run.answer.ttl == 5
        assert run.answer.failed_families == ({4} if v4 is SILENCE else set())
    if outcome is Outcome.FAILED:
        assert "10.96.0.10: no answer in 2.5 s" in str(run.answer.error)


@pytest.mark.parametrize(("reply", "outcome"), [(NXDOMAIN, Outcome.NOT_FOUND), (NODATA, Outcome.EMPTY)])
def test_nobody_at_a_named_port(reply: Reply, outcome: Outcome) -> None:
    assert Run("web.prod:http", {(f"_http._tcp.{NAME}", SRV): reply}).answer.outcome is outcome


def test_srv_names_pods_and_addresses_say_that_nobody_is_there() -> None:
    assert Run("web.prod:8080", {(NAME, SRV): srv(*THREE, truncated=True)}).answer.outcome is Outcome.FAILED


def test_a_negative_answer_that_does_not_say_its_ttl() -> None:
    nothing = Reply(NXDOMAIN.question, NXDOMAIN.status)
    assert Run("web.prod:http", {(f"_http._tcp.{NAME}", SRV): nothing}).answer.ttl is None


def test_the_ttl_is_the_least_of_all_and_zero_is_passed_on() -> None:
    table = {
        (NAME, SRV): srv("web-0", ttl=30),
        (full("web-0"), A): a("10.0.0.1", ttl=7),
        (full("web-0"), AAAA): NODATA,
    }
    assert Run("web.prod:8080", {(NAME, SRV): srv("web-0", glue=THREE, ttl=0)}).answer.ttl == 0
    assert Run("web.prod:8080", {**table, (full("web-0"), AAAA): SILENCE}).answer.ttl in (7, 30)


# Cut short over TCP


def test_addresses_cut_short_over_tcp_keep_their_order() -> None:
    run = Run(
        "web.prod:8080",
        {(NAME, A): a("10.0.0.9", "10.0.0.1", "10.0.0.5", truncated=True), (NAME, AAAA): NODATA},
    )
    assert run.answer.outcome is Outcome.PARTIAL
    assert not run.answer.ordered
    assert [address for _, address in run.pods] == ["10.0.0.9", "10.0.0.1", "10.0.0.5"]


def test_a_family_cut_short_says_nothing_against_what_it_lacks() -> None:
    cut = a("fd00::9", truncated=True)
    table = {**by_address(SILENCE, "10.0.0.1"), (NAME, AAAA): cut}
    assert Run("web.prod:8080", table, known={"web-0": ("10.0.0.1", "fd00::1")}).pods == [
        ("web-0", "10.0.0.1 fd00::1")
    ]
    # Pods without hostnames are those of IPv4: that IPv6 was cut does not matter.
    assert Run("web.prod:8080", {**by_address(NODATA, "10.0.0.1"), (NAME, AAAA): cut}).answer.outcome is (
        Outcome.RESOLVED
    )


def test_ipv4_cut_short_before_its_first_address_is_ipv4_all_the_same() -> None:
    cut = replace(a("10.0.0.1"), addresses=(), truncated=True)
    run = Run("web.prod:8080", {(NAME, SRV): NODATA, (NAME, A): cut, (NAME, AAAA): a("fd00::1")})
    assert run.answer.outcome is Outcome.FAILED


def test_known_names_missing_from_a_cut_answer_are_asked_for() -> None:
    known = {"web-9": ("10.0.0.9",), "web-8": ("10.0.0.8",), "web-1": ("10.0.0.1",)}
    table = {
        (NAME, SRV): SILENCE,
        (NAME, A): a("10.0.0.5", "10.0.0.1", truncated=True),
        (NAME, AAAA): NODATA,
        (full("web-9"), A): a("10.0.0.9"),
        (full("web-9"), AAAA): NODATA,
    }
    run = Run("web.prod:8080", table, known=known)
    assert run.asked[2] == ["A web-9", "AAAA web-9", "A web-8", "AAAA web-8"]
    assert run.answer.outcome is Outcome.PARTIAL
    assert run.pods == [("web-1", "10.0.0.1"), ("web-9", "10.0.0.9")]
    assert run.answer.gone == {"web-8"}
    assert run.answer.unnamed == (Endpoint(("10.0.0.5",), 8080),)


# A name without a port


def test_a_bare_name_with_several_ports_asks_which_after_a_second_look() -> None:
    two = srv(("web-0", 8080), ("web-0", 9090), glue=THREE)
    run = Run("web.prod", {(NAME, SRV): two})
    assert isinstance(run.answer.error, ConfigurationError)
    assert "8080, 9090" in str(run.answer.error)
    assert "web.prod:8080" in str(run.answer.error)
    assert [batch.bypass_cache for batch in run.batches] == [False, True]
    run = Run("web.prod", {(NAME, SRV): [two, ALL]})
    assert run.answer.outcome is Outcome.RESOLVED
    run = Run("web.prod", {(NAME, SRV): [two, SILENCE]})
    assert run.answer.outcome is Outcome.FAILED
    assert not isinstance(run.answer.error, ConfigurationError)


def test_pods_with_one_port_each_may_have_different_ones() -> None:
    run = Run("web.prod", {(NAME, SRV): srv(("web-0", 8080), ("web-1", 9090), glue=THREE)})
    assert [(e.hostname, e.port) for e in run.answer.endpoints] == [("web-0", 8080), ("web-1", 9090)]


def test_a_bare_name_whose_server_tells_no_ports() -> None:
    run = Run("web.prod", by_address(NXDOMAIN, "10.0.0.1"))
    assert isinstance(run.answer.error, ConfigurationError)
    assert "web.prod:8080" in str(run.answer.error)
    assert run.asked == [["SRV NAME"], ["A NAME", "AAAA NAME"], ["SRV NAME"]]
    assert Run("web.prod", {}).answer.outcome is Outcome.NOT_FOUND
    assert Run("web.prod", {(NAME, SRV): SILENCE}).answer.outcome is Outcome.FAILED
    table: dict[tuple[str, RecordType], Reply | list[Reply]]
    table = {(NAME, SRV): [NXDOMAIN, ALL], (NAME, A): a("10.0.0.1"), (NAME, AAAA): NODATA}
    assert Run("web.prod", table).answer.outcome is Outcome.RESOLVED


# ClusterIP, CNAME, names outside


@pytest.mark.parametrize("service", ["web.prod:80", "web.prod:http", "web.prod", f"{NAME}:80"])
def test_a_cluster_ip_service_is_told_apart(service: str) -> None:
    vip = srv((NAME, 80), glue={NAME: ["10.96.1.1"]})
    run = Run(service, {(NAME, SRV): vip, (f"_http._tcp.{NAME}", SRV): vip})
    assert run.answer.kind == "cluster-ip"
    assert run.pods == [(None, "10.96.1.1")]
    assert run.answer.endpoints[0].port == 80
    assert "clusterIP: None" in run.answer.warnings[0]


def test_a_cname_is_followed_to_its_end() -> None:
    table = {
        (NAME, A): alias("other.prod.svc.cluster.local.", A, ttl=3),
        (NAME, AAAA): NODATA,
        ("other.prod.svc.cluster.local.", A): a("10.0.0.1"),
    }
    run = Run("web.prod:8080", table)
    assert run.pods == [(None, "10.0.0.1")]
    assert run.answer.ttl == 3
    loop = Run("web.prod:8080", {(NAME, A): alias(NAME, A), (NAME, AAAA): alias(NAME, AAAA)})
    assert loop.answer.outcome is Outcome.FAILED
    assert "CNAME" in str(loop.answer.error)
    assert len(loop.batches) < 12


def test_targets_beneath_the_name_that_a_cname_leads_to() -> None:
    other = "other.prod.svc.cluster.local."
    reply = srv(f"web-0.{other}", glue={f"web-0.{other}": ["10.0.0.1"]}, canonical=f"_http._tcp.{other}")
    run = Run("web.prod:http", {(f"_http._tcp.{NAME}", SRV): reply})
    assert run.pods == [("web-0", "10.0.0.1")]


def test_known_pods_are_asked_for_where_a_cname_leads() -> None:
    other = "other.prod.svc.cluster.local."
    table = {
        (NAME, SRV): SILENCE,
        (NAME, A): replace(a("10.0.0.9"), canonical=other),
        (NAME, AAAA): replace(NODATA, canonical=other),
        (f"web-0.{other}", A): a("10.0.0.9"),
        (f"web-0.{other}", AAAA): NODATA,
    }
    run = Run("web.prod:8080", table, known={"web-0": ("10.0.0.1",)})
    assert run.pods == [("web-0", "10.0.0.9")]
    assert run.answer.endpoints[0].fqdn == f"web-0.{other}"


def test_srv_that_keeps_failing_gets_less_time() -> None:
    history = NameHistory()
    shares = [
        Run("web.prod:8080", by_address(reply, "10.0.0.1"), history=history).batches[0].share
        for reply in (SILENCE, SILENCE, SILENCE, SILENCE, ALL, SILENCE)
    ]
    assert shares == [0.5, 0.25, 0.125, 0.125, 0.125, 0.5]


def test_a_name_outside_the_cluster_may_point_anywhere() -> None:
    reply = srv(
        "node-1.example.",
        "node-2.elsewhere.",
        glue={"node-1.example.": ["192.0.2.1"], "node-2.elsewhere.": ["192.0.2.2"]},
    )
    run = Run("db.example.:5432", {("db.example.", SRV): reply})
    assert run.pods == [("node-1.example", "192.0.2.1"), ("node-2.elsewhere", "192.0.2.2")]
    assert run.answer.kind == "external"
    own = srv(("db.example.", 5432), glue={"db.example.": ["192.0.2.1"]})
    run = Run("db.example.:5432", {("db.example.", SRV): own})
    assert (run.answer.kind, run.answer.warnings) == ("external", ())


# What is not believed


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (("evil.example.", 8080), "outside"),
        (("a.b.c", 8080), "outside"),
        (("web.prod.svc.", 8080), "outside"),
        (("web-9.other.svc.cluster.local.", 8080), "outside"),
        (("web-9", 0), "port 0"),
    ],
)
def test_a_record_that_is_not_believed_is_dropped_and_the_rest_stands(
    record: tuple[str, int], said: str
) -> None:
    glue = {**THREE, "evil.example.": ["10.0.0.9"], "web-9": ["10.0.0.9"]}
    run = Run("web.prod:8080", {(NAME, SRV): srv("web-0", record, glue=glue)})
    assert run.pods == [("web-0", "10.0.0.1")]
    (line,) = run.answer.dropped
    assert line.startswith(f"SRV {NAME} 0 33 {record[1]} ")
    assert said in line
    alone = Run("web.prod", {(NAME, SRV): srv(record, glue=glue)})
    assert alone.answer.outcome is Outcome.FAILED, "refused is not empty"
    assert said in str(alone.answer.error)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "ff02::1", "::ffff:10.0.0.1", "::10.0.0.1"),
    ],
)
def test_what_is_no_pods_address_is_dropped(address: str) -> None:
    run = Run("web.prod:8080", {(NAME, SRV): srv("web-0", "web-1", glue={**THREE, "web-1": [address]})})
    assert run.pods == [("web-0", "10.0.0.1")]
    assert run.answer.outcome is Outcome.RESOLVED
    assert f" {address}: " in run.answer.dropped[0]
    family = {
        (NAME, AAAA if ":" in address else A): a(address),
        (NAME, A if ":" in address else AAAA): NODATA,
    }
    assert Run("web.prod:8080", family).answer.outcome is Outcome.FAILED
    glueless = {(NAME, SRV): srv("web-1", glue={"web-1": [address]})}
    assert (
        Run("web.prod:http", {(f"_http._tcp.{NAME}", SRV): glueless[NAME, SRV]}).answer.outcome
        is Outcome.FAILED
    )


def test_loopback_counts_from_a_nameserver_on_loopback() -> None:
    table = {(NAME, SRV): srv("web-0", glue={"web-0": ["127.0.0.2"]})}
    assert Run("web.prod:8080", table, server=Server("127.0.0.1", 5353)).pods == [("web-0", "127.0.0.2")]


def test_networks_narrow_what_is_believed() -> None:
    run = Run("web.prod:8080", {(NAME, SRV): ALL}, networks=["10.0.0.0/31", "fd00::/8"])
    assert run.pods == [("web-0", "10.0.0.1")]
    assert "outside the networks" in run.answer.dropped[0]


# Second opinions and hints


def test_a_second_opinion_is_asked_for_afresh_throughout() -> None:
    run = Run("web.prod:8080", by_address(SILENCE, "10.0.0.1"), second_opinion=True)
    assert all(batch.bypass_cache for batch in run.batches)


def test_a_hint_that_the_port_is_missing() -> None:
    run = Run("web.prod:grpc", {(NAME, SRV): ALL}, second_opinion=True)
    assert run.answer.outcome is Outcome.NOT_FOUND
    assert "'grpc'" in run.answer.hint
    assert "8080" in run.answer.hint


def test_a_hint_that_this_machine_asks_no_cluster() -> None:
    def asked(service: str, asks_elsewhere: bool) -> str:
        config = LookupConfig(NAME, ServiceName.parse(service), asks_elsewhere=asks_elsewhere)
        return hint(config, ())

    assert (
        asked("web.prod:8080", True)
        == "resolv.conf has no search entry svc.…: is this machine in the cluster?"
    )
    assert asked("web.prod:8080", False) == asked("any.example.:8080", True) == ""


def test_a_hint_that_the_namespace_is_another() -> None:
    other = "web.default.svc.cluster.local."
    run = Run("web.prod:8080", {(other, A): a("10.0.0.1")}, second_opinion=True, local_namespace="mine")
    assert run.answer.hint == f"{other!r} exists: is the namespace right?"
    assert len(run.batches[-1].questions) <= 3
    assert run.batches[-1].limit <= 1
    assert Run("web.prod:8080", {}, second_opinion=True).answer.hint == ""
    assert Run("web.prod:8080", {(other, A): a("10.0.0.1")}).answer.hint == ""


def test_what_servers_noted_reaches_the_user() -> None:
    run = Run("web.prod:8080", {(NAME, SRV): srv("web-0", glue=THREE, note="no TCP")})
    assert run.answer.warnings == ("no TCP",)


# What is there outside of the lab


@pytest.mark.parametrize("address", ["240.10.0.2", "200::1", "64:ff9b:1::1", "64:ff9b::1", "100.64.0.1"])
def test_reserved_blocks_that_clusters_use(address: str) -> None:
    run = Run("web.prod:8080", {(NAME, SRV): srv("web-0", glue={"web-0": [address]})})
    assert run.pods == [("web-0", address)]
    assert run.answer.dropped == ()


@pytest.mark.parametrize(
    ("address", "network", "admitted"),
    [
        ("169.254.7.1", "169.254.7.0/24", True),
        ("fe80::1", "fe80::/64", True),
        ("127.0.0.1", "127.0.0.0/8", True),
        ("169.254.7.1", "0.0.0.0/0", False),
        ("127.0.0.1", "0.0.0.0/0", False),
        ("224.0.0.1", "0.0.0.0/0", False),
        ("0.0.0.1", "0.0.0.0/0", False),
        ("255.255.255.255", "0.0.0.0/0", False),
    ],
)
def test_networks_admit_what_they_name(address: str, network: str, admitted: bool) -> None:
    run = Run("web.prod:8080", {(NAME, SRV): srv("web-0", glue={"web-0": [address]})}, networks=[network])
    assert (run.answer.outcome is Outcome.RESOLVED) == admitted


MULTI = "web.prod.svc.clusterset.local."


def test_two_clusters_of_a_multi_cluster_service() -> None:
    targets = [(f"web-0.{cluster}.{MULTI}", 8080) for cluster in ("east", "west")]
    glue = {name: [f"10.{i}.0.1"] for i, (name, _) in enumerate(targets)}
    for service in ("web.prod.svc.clusterset.local:8080", "web.prod.svc.clusterset.local"):
        run = Run(service, {(MULTI, SRV): srv(*targets, glue=glue)})
        assert run.pods == [("web-0.east", "10.0.0.1"), ("web-0.west", "10.1.0.1")]
        assert [e.fqdn for e in run.answer.endpoints] == [name for name, _ in targets]
        peers = peers_of(run.answer.endpoints)
        assert {key: peer.ordinal for key, peer in peers.items()} == {"web-0.east": 0, "web-0.west": 0}
    dashed = (f"10-1-0-1.east.{MULTI}", 8080)
    run = Run("web.prod.svc.clusterset.local", {(MULTI, SRV): srv(dashed, glue={dashed[0]: ["10.1.0.1"]})})
    assert run.pods == [(None, "10.1.0.1")]


def test_a_known_pod_of_another_cluster_is_asked_for_beneath_the_service() -> None:
    table = {(MULTI, SRV): SILENCE, (MULTI, A): a("10.0.0.9"), (MULTI, AAAA): NODATA}
    run = Run("web.prod.svc.clusterset.local:8080", table, known={"web-0.east": ("10.0.0.1",)})
    assert f"A web-0.east.{MULTI}" in [question for batch in run.asked for question in batch]


def test_targets_in_the_zone_that_a_server_rewrites() -> None:
    other = "web-0.web.prod.svc.corp.example."
    run = Run("web.prod:8080", {(NAME, SRV): srv((other, 8080), glue={other: ["10.0.0.1"]})})
    assert run.pods == [("web-0", "10.0.0.1")]


def test_a_target_ends_in_a_domain() -> None:
    assert label_beneath("web-0.web.prod.svc.other.", (NAME,)) == "web-0"
    assert label_beneath("web-0.web.prod.svc.", (NAME,)) is None


def test_targets_elsewhere_are_accepted_where_the_user_says_so() -> None:
    table = {(NAME, SRV): srv(("db.other.", 8080), glue={"db.other.": ["10.0.0.1"]})}
    refused = Run("web.prod:8080", table).answer
    assert "DNS(targets='any') accepts it" in str(refused.dropped)
    assert Run("web.prod:8080", table, any_target=True).pods == [("db.other", "10.0.0.1")]


def test_that_a_target_elsewhere_is_not_beneath_the_service_does_not_say_that_it_is_gone() -> None:
    table = {(NAME, SRV): SILENCE, (NAME, A): a("10.0.0.2"), (NAME, AAAA): NODATA}
    known = {"db.other": ("10.0.0.1",), "web-1": ("10.0.0.3",)}
    run = Run("web.prod:8080", table, known=known, any_target=True)
    assert run.answer.gone == {"web-1"}
    assert Run("web.prod:8080", table, known=known).answer.gone == {"web-1", "db.other"}


LIVE = "live.service.consul."


def test_ports_and_addresses_that_nothing_pairs_make_no_peers() -> None:
    question = f"_live._tcp.{LIVE}"
    glue = {LIVE: ["10.0.0.1", "10.0.0.2"], "n2.": ["10.0.0.3"]}
    table = {(question, SRV): srv((LIVE, 31072), (LIVE, 21978), glue=glue)}
    alone = Run(question, table).answer
    assert alone.outcome is Outcome.FAILED
    assert "2 addresses and the ports 21978, 31072, and DNS does not say which" in str(alone.error)
    table = {(question, SRV): srv((LIVE, 31072), (LIVE, 21978), ("n2.", 80), glue=glue)}
    beside = Run(question, table).answer
    assert [e.addresses for e in beside.endpoints] == [("10.0.0.3",)]
    assert "does not say which belong together" in beside.dropped[0]
    number = Run(f"{LIVE}:80", {(LIVE, SRV): srv((LIVE, 31072), (LIVE, 21978), glue=glue)})
    assert number.pods == [(None, "10.0.0.1"), (None, "10.0.0.2")], "the port that the user wrote is sure"


def test_instances_of_one_node_have_keys_of_their_own() -> None:
    question, node = "_web._tcp.service.consul.", "n1.node.dc1.consul."

    def keys(*ports: int) -> list[str]:
        records = [(node, port) for port in ports]
        run = Run(question, {(question, SRV): srv(*records, glue={node: ["10.0.0.1"]})})
        return sorted(peers_of(run.answer.endpoints))

    assert keys(31072, 31073) == keys(31073, 31072)
    assert keys(31072) == ["n1.node.dc1.consul:31072"], "the same when a sibling leaves"
    assert set(keys(31072)) < set(keys(31072, 31073))
    bare = {("service.consul.", SRV): srv((node, 1), (node, 2), glue={node: ["10.0.0.1"]})}
    assert [e.port for e in Run("service.consul.", bare).answer.endpoints] == [1, 2], (
        "each record an instance"
    )


def test_the_priority_of_an_srv_record_goes_into_its_endpoint() -> None:
    question = "_sip._tcp.example."
    records = tuple(Srv(priority, 1, 80, f"{label}.example.") for label, priority in (("a", 10), ("z", 20)))
    glue = {"a.example.": ("10.0.0.1",), "z.example.": ("10.0.0.2",)}
    reply = replace(srv("a"), services=records, glue=glue)
    assert [e.priority for e in Run(question, {(question, SRV): reply}).answer.endpoints] == [10, 20]
    twice = replace(reply, services=(records[0], records[0]._replace(priority=30)))
    assert [e.priority for e in Run(question, {(question, SRV): twice}).answer.endpoints] == [10]


@pytest.mark.parametrize("service", ["web.prod:http", "web.prod", "web.prod:8080"])
def test_a_service_that_is_decidedly_not_offered(service: str) -> None:
    """RFC 2782: the target "."."""
    table = {(name, SRV): srv((".", 0)) for name in (NAME, f"_http._tcp.{NAME}")}
    for second_opinion in (False, True):
        answer = Run(service, table, known=KNOWN, second_opinion=second_opinion).answer
        assert answer.outcome is Outcome.NOT_FOUND
        assert "not offered" in answer.hint


def test_more_targets_without_glue_than_fit_into_one_round() -> None:
    question = "_web._tcp.example."
    names = [f"n{i}.hosts.example." for i in range(60)]
    table: dict[tuple[str, RecordType], Reply] = {(question, SRV): srv(*((name, 80) for name in names))}
    table |= {(name, A): a(f"10.0.0.{i + 1}") for i, name in enumerate(names)}
    run = Run(question, table)
    assert run.answer.outcome is Outcome.RESOLVED
    assert len(run.answer.endpoints) == 60
    assert ["A example.", "AAAA example."] not in run.asked, "it has nothing to do with the targets"


def test_what_is_never_answered_gets_less_time_from_lookup_to_lookup() -> None:
    history = NameHistory()
    table = {(NAME, SRV): NXDOMAIN, (NAME, A): a("10.0.0.1"), (NAME, AAAA): SILENCE}
    shares = []
    runs = [Run("web.prod:8080", table, history=history) for _ in range(5)]
    for turn, run in enumerate(runs):
        shares.append(run.batches[-1].time_shares.get(Question(NAME, AAAA), 1.0))
        assert bool(run.answer.warnings) == (turn > 0)
    assert shares == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 8]
    assert 'DNS(family="ipv4")' in runs[-1].answer.warnings[0]
    table[NAME, AAAA] = NODATA
    _, run = (Run("web.prod:8080", table, history=history) for _ in range(2))
    assert (run.batches[-1].time_shares, run.answer.warnings) == ({}, ())


def test_a_target_that_is_never_answered_gets_less_time_too() -> None:
    history = NameHistory()
    table = {
        (NAME, SRV): srv("web-0", "web-1"),
        (full("web-0"), A): a("10.0.0.1"),
        (full("web-0"), AAAA): NODATA,
        (full("web-1"), A): SILENCE,
        (full("web-1"), AAAA): SILENCE,
    }
    _, run = (Run("web.prod:8080", table, history=history) for _ in range(2))
    assert set(run.batches[-1].time_shares) == {Question(full("web-1"), kind) for kind in (A, AAAA)}


# What the error says


def _hint(service: str, table: dict[tuple[str, RecordType], Reply]) -> str:
    return Run(service, table, second_opinion=True).answer.hint


@pytest.mark.parametrize("srv_reply", [NXDOMAIN, NODATA])
def test_a_named_port_where_srv_is_not_served_but_a_is(srv_reply: Reply) -> None:
    hint = _hint("web.prod:http", {(f"_http._tcp.{NAME}", SRV): srv_reply, (NAME, A): a("10.0.0.1")})
    assert hint == f"{NAME} exists, but has no SRV records for 'http': write the port's number"


def test_a_name_outside_the_cluster_without_its_dot() -> None:
    hint = _hint("db.internal:5432", {("db.internal.", A): a("10.0.0.1")})
    assert hint == "'db.internal.' exists: a name outside the cluster ends in a dot"
    run = Run("web.prod:8080", {}, second_opinion=True, local_namespace="prod")
    assert not [q for batch in run.batches for q in batch.questions if q.name == "web.prod."]


def test_an_external_name_that_leads_nowhere_is_named() -> None:
    end = "104.198.14.52."
    gone = replace(NXDOMAIN, canonical=end)
    replies = {("ext.prod.svc.cluster.local.", kind): gone for kind in (SRV, A, AAAA)}
    for service in "ext.prod:8080", "ext.prod:http":
        assert _hint(service, replies) == f"it is an alias of {end}, which has no such records"


def test_targets_that_are_all_rejected_are_no_proof_that_there_are_no_pods() -> None:
    """Nor is it if A and AAAA know none."""
    table = {(NAME, SRV): srv("evil.example."), (NAME, A): NODATA, (NAME, AAAA): NODATA}
    run = Run("web.prod:8080", table)
    assert run.answer.outcome is Outcome.FAILED
    assert "every record was rejected" in str(run.answer.error)
    assert "evil.example." in str(run.answer.error)


def test_a_target_whose_ports_cannot_be_paired_is_no_proof_that_there_are_no_pods() -> None:
    name = "db.example."
    records = srv((name, 1), (name, 2), glue={name: ["192.0.2.1", "192.0.2.2"]})
    run = Run(name, {(name, SRV): records})
    assert run.answer.outcome is Outcome.FAILED
    assert "DNS does not say which belong together" in str(run.answer.error)


def test_addresses_alone_of_a_name_outside_of_a_cluster() -> None:
    run = Run("db.example.:5432", {("db.example.", SRV): NODATA, ("db.example.", A): a("192.0.2.1")})
    assert (run.answer.kind, run.pods) == ("external", [(None, "192.0.2.1")])
