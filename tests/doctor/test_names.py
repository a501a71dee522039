"""Checks of what was heard: each with answers made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from peerdiscover.answers import Answer, Endpoint
from peerdiscover.doctor._codes import Finding, NotChecked
from peerdiscover.doctor._names import CHECKS_OF_DNS
from peerdiscover.doctor._objects import Objects
from peerdiscover.doctor._reached import CHECKS_OF_PODS
from peerdiscover.doctor._report import Report, of_manifests
from peerdiscover.doctor._world import Heard, Own, Server, World
from peerdiscover.errors import Outcome
from peerdiscover.membership.members import peers_of
from peerdiscover.names import ServiceName
from peerdiscover.sources.dns._types import Question, RecordType, Reply, ReplyStatus, Srv

from ._objects import Json, Manifests
from .test_manifests import slice_of, spoiled

NAME = "web-headless.prod.svc.cluster.local."
QUESTION = Question(NAME, RecordType.SRV)


def answer(*pods: str, port: int = 8080, cut: bool = False) -> Reply:
    """A reply with these pods: `web-0`."""
    targets = [f"{pod}.{NAME}" for pod in pods]
    glue = {target: (f"10.0.0.{pod[-1]}",) for target, pod in zip(targets, pods, strict=True)}
    services = tuple(Srv(0, 1, port, target) for target in targets)
    return Reply(QUESTION, ReplyStatus.ANSWER, (), services, glue, NAME, truncated=cut, ttl=5.0)


def no_such_name() -> Reply:
    return Reply(QUESTION, ReplyStatus.NXDOMAIN, canonical=NAME)


def server(
    reply: Reply | None, *, tcp: Reply | str | None = "", address: str = "10.96.0.10", **more: Any
) -> Server:
    over_tcp: Any = reply if tcp == "" else tcp
    return Server(address, [reply] * 5, [over_tcp] if over_tcp else [None, None], size=400, **more)


def heard(*servers: Server, pods: int = 3, **more: Any) -> Heard:
    endpoints = [Endpoint((f"10.0.0.{n}",), 8080, f"web-{n}") for n in range(pods)]
    found = Answer.of(endpoints, ttl=5.0, kind="headless")
    defaults: dict[str, Any] = {
        "answer": found,
        "peers": tuple(peers_of(endpoints).values()),
        "servers": list(servers),
        "zones": {"cluster.local": True},
        "own": Own(
            "client",
            frozenset({"10.0.9.9"}),
            "prod",
            ("prod.svc.cluster.local", "svc.cluster.local"),
            frozenset(),
        ),
    }
    return Heard(NAME, "cluster.local", **{**defaults, **more})


GOOD = answer("web-0", "web-1", "web-2")
EMPTY: dict[str, Any] = {"answer": Answer(outcome=Outcome.NOT_FOUND), "peers": ()}


def found(
    what: Heard, name: str = "web-headless.prod:http", objects: list[Json] | None = None
) -> tuple[dict[str, str], set[str]]:
    """The codes that are found, with their levels, and those that are not checked. Notes are left out."""
    unread = {} if objects is not None else {"EndpointSlice": "?", "Service": "?", "Pod": "?"}
    known = Objects.of([(one, None, None) for one in objects or ()])
    known.unread = unread
    world = World(known, ServiceName.parse(name), "prod", what)
    report = Report()
    report.run((*CHECKS_OF_DNS, *CHECKS_OF_PODS), world)
    of_manifests(report, world)
    levels: dict[str, str] = {one.code: one.level for one in report.findings if one.level != "note"}
    missing = {code for one in report.missing for code in one.codes if code in OF_NAMES}
    assert not missing & report.found
    return levels, missing


OF_NAMES = {"PD103", "PD104", "PD105", "PD106", "PD108", "PD109"}
TWO = [server(GOOD), server(GOOD, address="10.96.0.11")]
DIFFERENT = replace(server(GOOD), udp=[GOOD, GOOD, answer("web-0", "web-1"), GOOD, GOOD])

MADE: list[tuple[str, Heard, dict[str, str]]] = [
    ("all is well", heard(*TWO), {}),
    ("silence", heard(server(None), answer=Answer.failed("x"), zones={}), {"PD101": "error"}),
    ("one of two is silent", heard(server(GOOD), server(None, address="b")), {"PD101": "warning"}),
    (
        "SERVFAIL is an answer",
        heard(server(Reply.failed(QUESTION, "SERVFAIL")), answer=Answer.failed("x")),
        {},
    ),
    (
        "the node's DNS",
        heard(
            server(no_such_name()), **EMPTY, own=Own("c", frozenset(), "prod", ("example.com",), frozenset())
        ),
        {"PD102": "error"},
    ),
    (
        "the cluster's DNS without a search list",
        heard(server(GOOD), own=Own("c", frozenset(), "prod", (), frozenset())),
        {},
    ),
    (
        "another zone",
        heard(server(no_such_name()), **EMPTY, zones={"cluster.local": False, "corp.example": True}),
        {"PD103": "error"},
    ),
    ("no such name", heard(server(no_such_name()), **EMPTY), {"PD104": "error"}),
    (
        "a virtual address",
        heard(server(GOOD), answer=Answer.of([Endpoint(("10.96.0.7",), 80)], kind="cluster-ip")),
        {"PD105": "error"},
    ),
    ("no such port", heard(server(GOOD, port=no_such_name())), {"PD106": "error"}),
    ("no TCP", heard(server(GOOD, tcp=None)), {"PD107": "warning"}),
    ("cut, and no TCP", heard(server(replace(GOOD, truncated=True), tcp=None)), {"PD107": "error"}),
    ("cut over TCP", heard(server(replace(GOOD, truncated=True))), {"PD108": "warning"}),
    ("it settles", heard(replace(DIFFERENT, again=[GOOD] * 5)), {}),
    ("it does not", heard(replace(DIFFERENT, again=DIFFERENT.udp)), {"PD109": "warning"}),
    ("no right", heard(server(GOOD), refused="may not be read\nTo allow it:\nkind: Role"), {}),
    (
        "all refuse",
        heard(server(GOOD), connects=dict.fromkeys([f"10.0.0.{n}:8080" for n in range(3)], "refuses")),
        {"PD201": "error"},
    ),
    (
        "one is silent",
        heard(server(GOOD), connects={"10.0.0.1:8080": "is silent", "10.0.0.0:8080": "accepts"}),
        {"PD202": "error"},
    ),
    (
        "loopback",
        heard(
            server(GOOD), own=Own("web-0", frozenset({"10.0.0.0"}), "other", ("svc.x",), frozenset({8080}))
        ),
        {"PD203": "error"},
    ),
]


@pytest.mark.parametrize(("what", "said", "expected"), MADE, ids=[one[0] for one in MADE])
def test_what_was_heard(what: str, said: Heard, expected: dict[str, str]) -> None:
    assert found(said)[0] == expected


def finding(
    said: Heard, code: str, name: str = "web-headless.prod:http", objects: list[Json] | None = None
) -> Finding:
    known = Objects.of([(one, None, None) for one in objects or ()])
    known.unread = {} if objects is not None else {"EndpointSlice": "?", "Service": "?", "Pod": "?"}
    world = World(known, ServiceName.parse(name), "prod", said)
    checks = (*CHECKS_OF_DNS, *CHECKS_OF_PODS)
    (only,) = (r for check in checks for r in check(world) if isinstance(r, Finding) and r.code == code)
    return only


def test_the_figures_are_those_of_the_answer() -> None:
    assert "it works up to about 9 pods; there are 3" in finding(heard(server(GOOD, tcp=None)), "PD107").seen
    said = finding(heard(replace(DIFFERENT, again=DIFFERENT.udp)), "PD109").seen
    assert said == "1 of 5 answers lack web-2"


def test_a_changing_set_is_no_finding() -> None:
    said = heard(replace(DIFFERENT, again=DIFFERENT.udp), slices_changed=True)
    assert found(said) == ({}, {"PD109"})
    assert found(heard(DIFFERENT)) == ({}, {"PD109"})


def test_answers_that_lack_a_ready_pod() -> None:
    slices = slice_of("http")
    slices["endpoints"][0]["addresses"] = ["10.0.0.7"]
    m = Manifests()
    objects = [m.service, m.statefulset, slices]
    assert found(heard(server(GOOD, again=[GOOD] * 5)), objects=objects)[0] == {"PD109": "warning"}
    slices["endpoints"][0]["addresses"] = ["10.0.0.1"]
    assert found(heard(server(GOOD)), objects=objects)[0] == {}


def test_one_answer_is_not_enough_for_not_found() -> None:
    only = Server("10.96.0.10", [no_such_name()], [None, None])
    assert "PD104" in found(heard(only, **EMPTY))[1]


def test_numbers() -> None:
    assert found(heard(server(GOOD)), "web-headless.prod:80")[0] == {"PD106": "warning"}
    assert found(heard(server(GOOD)), "web-headless.prod:8080")[0] == {}


@pytest.mark.parametrize(("scheme", "expected"), [("k8s", "error"), ("auto", "warning")])
def test_the_right_that_the_name_needs(scheme: str, expected: str) -> None:
    name = f"{scheme}:web-headless.prod:http"
    said = heard(server(GOOD), refused="it may not be read\nTo allow it, apply:\nkind: Role\n")
    assert found(said, name)[0] == {"PD501": expected}
    assert finding(said, "PD501", name).change == "kind: Role\n"


def test_a_zone_of_which_nothing_is_known() -> None:
    assert found(heard(server(GOOD), zones={}))[1] == {"PD103"}
    assert found(heard(server(GOOD), zones={"cluster.local": False}))[1] == {"PD103"}


def test_pods_that_are_known_to_be_not_serving() -> None:
    slices = slice_of("http", serving=False)
    slices["endpoints"][0]["addresses"] = ["10.0.0.1"]
    said = heard(server(GOOD), connects={"10.0.0.1:8080": "refuses"})
    assert finding(said, "PD201", objects=[slices]).level == "note"
    assert finding(said, "PD201", objects=[]).level == "error"


def test_which_pod_this_is() -> None:
    said, service = heard(server(GOOD)), Manifests().service
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    metadata = {"name": "client", "namespace": "prod", "labels": {"app": "web"}}
    pod: Json = {"kind": "Pod", "metadata": metadata, "status": status}
    assert finding(said, "PD204", objects=[service, pod]).level == "warning"
    status["conditions"] = []
    assert finding(said, "PD204", objects=[service, pod]).level == "note"
    metadata["labels"] = {"app": "client"}
    assert found(said, objects=[service, pod]) == found(heard(server(GOOD), own=None), objects=[service, pod])
    world = World(Objects(unread={"Pod": "no"}), ServiceName.parse("web-headless.prod:http"), "prod", said)
    report = Report()
    report.run(CHECKS_OF_PODS, world)
    assert [code for one in report.missing for code in one.codes] == ["PD204"]


def test_what_was_found_is_not_also_not_checked() -> None:
    world = World(Objects(unread={"NetworkPolicy": "no"}), ServiceName.parse("web.prod:80"), "prod")
    world.heard = heard(server(None), answer=Answer.failed("x"), zones={})
    report = Report()
    report.run(CHECKS_OF_DNS, world)
    of_manifests(report, world)
    assert "PD101" in report.found
    assert [code for one in report.missing if one.why == "no" for code in one.codes] == ["PD107", "PD202"]


@pytest.mark.parametrize("scheme", ["", "auto:"])
def test_an_answer_that_is_cut_is_read_elsewhere(scheme: str) -> None:
    """The name that is printed makes it go: it asks no DNS."""
    said = heard(server(replace(GOOD, truncated=True)))
    cut = finding(said, "PD108", f"{scheme}web-headless.prod:http")
    assert cut.change == "the name: k8s:web-headless.prod:http"
    assert found(said, "k8s:web-headless.prod:http")[0] == {}


def test_pods_that_wait_for_themselves_are_why_there_are_none() -> None:
    said = heard(server(no_such_name()), **EMPTY)
    assert found(said, objects=spoiled("waits for itself").all)[0] == {"PD403": "error"}


def test_ordinals_twice() -> None:
    endpoints = [Endpoint(("10.0.0.1",), 8080, "a-0"), Endpoint(("10.0.0.2",), 8080, "b-0")]
    said = heard(server(GOOD), peers=tuple(peers_of(endpoints).values()))
    assert finding(said, "PD205").seen == "ordinal 0 is a-0 and b-0"


def test_rolling_restarts_that_outrun_dns() -> None:
    m = Manifests()
    world = World(
        Objects.of([(one, None, None) for one in m.all]), ServiceName.parse("web-headless.prod:http"), "prod"
    )
    world.heard = heard(server(GOOD))
    report = Report()
    of_manifests(report, world)
    assert [(one.code, one.level) for one in report.findings] == [("PD404", "note")]
    m.statefulset["spec"]["minReadySeconds"] = 8
    report = Report()
    of_manifests(report, world)
    assert report.findings == []
    m.statefulset["spec"]["podManagementPolicy"] = "Parallel"
    of_manifests(report, world)
    assert [(one.code, one.level) for one in report.findings] == [("PD404", "note")]


@pytest.mark.parametrize(
    ("scheme", "refused", "expected"), [("k8s", "no", []), ("auto", "", []), ("auto", "no", ["PD404"])]
)
def test_rolling_restarts_need_not_wait_for_dns_that_is_not_asked(
    scheme: str, refused: str, expected: list[str]
) -> None:
    objects = Objects.of([(one, None, None) for one in Manifests().all])
    name = ServiceName.parse(f"{scheme}:web-headless.prod:http")
    report = Report()
    of_manifests(report, World(objects, name, "prod", heard(server(GOOD), refused=refused)))
    assert [one.code for one in report.findings] == expected


@pytest.mark.parametrize("objects", [None, []], ids=["nothing may be read", "there is no Service"])
def test_where_the_name_exists_is_said(objects: list[Json] | None) -> None:
    hint = "'web-headless.moon.svc.cluster.local.' exists: is the namespace right?"
    nothing = {**EMPTY, "answer": Answer(outcome=Outcome.NOT_FOUND, hint=hint)}
    said = heard(server(no_such_name()), **nothing)
    assert finding(said, "PD104", objects=objects).seen.endswith(f"; {hint}")


@pytest.mark.parametrize(
    ("objects", "why"),
    [
        (["Service"], "no pod was made yet"),
        ([], "there is no Service web-headless in prod; Services there: none"),
        (["Service", "Pod"], "1 pod, none ready: web-0 ContainersNotReady (unready: [web]\\x1b[2J)"),
    ],
)
def test_why_there_are_no_pods(objects: list[str], why: str) -> None:
    m = Manifests()
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "ContainersNotReady",
        "message": "unready: [web]\x1b[2J",
    }
    labels = {"app": "web"}
    pod = {
        "kind": "Pod",
        "metadata": {"name": "web-0", "namespace": "prod", "labels": labels},
        "status": {"conditions": [condition]},
    }
    there = [
        one
        for one in (m.service, m.statefulset, pod)
        if one["kind"] in (*objects, *["StatefulSet"] * bool(objects))
    ]
    said = heard(server(no_such_name()), **EMPTY)
    assert finding(said, "PD104", objects=there).seen == why


def test_what_is_not_checked_has_a_reason() -> None:
    world = World(
        Objects(unread={"Service": "no"}), ServiceName.parse("web.prod:80"), "prod", heard(server(GOOD))
    )
    report = Report()
    of_manifests(report, world)
    assert NotChecked(("PD306",), "no") in report.not_checked
    assert all(one.why for one in report.missing)
