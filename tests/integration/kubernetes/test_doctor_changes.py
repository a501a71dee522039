"""Mistakes in objects of a real API server: found by asking and offline alike, and gone by what is printed.

They are those of tests/doctor/test_manifests.py, one for each code, each in a namespace of its own. Network
policies are objects here, and no more: nothing in the test cluster enforces them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.doctor._objects import Manifests
from tests.doctor.test_manifests import MADE, services_of_their_own
from tests.tools.cluster import Cluster

from ._doctor import Doctor, Json, apply, levels, path

pytestmark = pytest.mark.usefixtures("short_ttl")

WITH_A_NAME = {"not headless": "error", "two sets": "warning", "no ports": "warning"}
"""The levels of what matters more if the Service was asked for."""
BESIDE = {"the wrong selector": {"PD401": "warning"}}
"""A selector that selects nothing leaves the StatefulSet without its Service."""
MISTAKES = [
    "no DNS",
    "the node's DNS",
    "not headless",
    "UDP alone",
    "the port is closed",
    "two sets",
    "the wrong selector",
    "no name leads anywhere",
    "80 and 8080",
    "a port that is not declared",
    "no ports",
    "the old annotation",
    "a CronJob",
    "a Service that is not there",
    "no serviceName",
    "no probe",
    "no right to read",
]
ASKED_ALONE = {"PD104", "PD201", "PD204", "PD404"}
"""What needs an answer of DNS, a connection or this pod."""


class Made:
    """Good objects with one mistake, in a namespace of the cluster."""

    def __init__(self, doctor: Doctor, mistake: str) -> None:
        self.mistake, self.namespace = mistake, doctor.cluster.namespace()
        doctor.allow(self.namespace)
        self.manifests = Manifests(self.namespace)
        self.manifests.container["readinessProbe"]["periodSeconds"] = 1
        self.manifests.statefulset["spec"]["replicas"] = 2
        MADE[mistake][2](self.manifests)
        for one in self.manifests.all:
            apply(doctor.cluster, one)

    @property
    def name(self) -> str:
        port = 8080 if self.mistake == "no ports" else "http"
        return f"web-headless.{self.namespace}:{port}"

    @property
    def code(self) -> str:
        return MADE[self.mistake][0]

    @property
    def expected(self) -> dict[str, str]:
        level = WITH_A_NAME.get(self.mistake, MADE[self.mistake][1])
        return {self.code: level, **BESIDE.get(self.mistake, {})}

    def mend(self, doctor: Doctor, findings: list[Json]) -> None:
        """What is printed, by a person."""
        if self.mistake != "two sets":
            for finding in findings:
                doctor.mend(finding["change"])
            return
        services_of_their_own(self.manifests)  # in words
        another, service = self.manifests.more
        doctor.cluster.api.delete(path("StatefulSet", self.namespace, "another"))
        for one in service, another:
            apply(doctor.cluster, one)


@pytest.fixture(scope="module")
def doctor(shared_cluster: Cluster) -> Iterator[Doctor]:
    home = shared_cluster.namespace()
    yield Doctor(shared_cluster, home)
    shared_cluster.delete_namespace(home)


@pytest.fixture(scope="module")
def made(doctor: Doctor) -> Iterator[dict[str, Made]]:
    with ThreadPoolExecutor(4) as threads:
        made = dict(zip(MISTAKES, threads.map(lambda mistake: Made(doctor, mistake), MISTAKES), strict=True))
        yield made
        list(threads.map(doctor.cluster.delete_namespace, [one.namespace for one in made.values()]))


@pytest.fixture(scope="module")
def asked(doctor: Doctor, made: dict[str, Made]) -> dict[str, Json]:
    return doctor.until_all({one.name: one.expected for one in made.values()})


@pytest.fixture(scope="module")
def offline(
    doctor: Doctor, made: dict[str, Made], asked: dict[str, Json], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Json]:
    """Of what the API has while it is as it was when it was asked."""
    folder = tmp_path_factory.mktemp("exported")
    calls = [["-f", doctor.export(one.namespace, folder), one.name] for one in made.values()]
    return dict(zip(asked, doctor.many(calls), strict=True))


@pytest.fixture(scope="module")
def mended(
    doctor: Doctor, made: dict[str, Made], asked: dict[str, Json], offline: dict[str, Json]
) -> dict[str, Json]:
    """What is said when what was printed was done."""
    assert offline
    for one in made.values():
        one.mend(doctor, [f for f in asked[one.name]["findings"] if f["code"] == one.code])
    return doctor.until_all({one.name: {} for one in made.values()})


def test_each_code_that_objects_show_is_here() -> None:
    """But PD403, which needs pods that wait: test_doctor_in_pods.py."""
    assert {code for code, _, _ in MADE.values()} - {MADE[one][0] for one in MISTAKES} == {"PD403"}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_it_is_found_and_no_other_error(made: dict[str, Made], asked: dict[str, Json], mistake: str) -> None:
    said = asked[made[mistake].name]
    assert levels(said) == made[mistake].expected, said


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_exported_objects_show_the_same(
    made: dict[str, Made], asked: dict[str, Json], offline: dict[str, Json], mistake: str
) -> None:
    def found(said: Json) -> dict[str, str]:
        return {f["code"]: f["level"] for f in said["findings"] if f["code"] not in ASKED_ALONE}

    name = made[mistake].name
    assert found(offline[name]) == found(asked[name])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_change_makes_it_go(made: dict[str, Made], mended: dict[str, Json], mistake: str) -> None:
    said = mended[made[mistake].name]
    assert levels(said) == {}, said
