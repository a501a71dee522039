"""A pod that runs `peerdiscover doctor`, and what a person does with what it prints."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from peerdiscover.doctor._api import KINDS, plural_of
from tests.doctor._objects import applied
from tests.tools.cluster import ApiError, Cluster
from tests.waiting import LONG, eventually

Json = dict[str, Any]

DOCTOR = [sys.executable, "-m", "peerdiscover", "doctor"]
MANY = """
import json, sys
from peerdiscover.cli import main
for call in json.loads(sys.argv[1]):
    main(["doctor", *call])
    print(end="\\0")
"""
MANIFESTS = Path(__file__).parents[3] / "examples" / "manifests"
LISTENS = {"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}


def levels(said: Json) -> dict[str, str]:
    """The codes that were found, with their levels, without notes."""
    return {one["code"]: one["level"] for one in said["findings"] if one["level"] != "note"}


def found(said: Json, code: str, about: str = "") -> Json:
    """The one finding of that code, about such an object."""
    (only,) = (one for one in said["findings"] if one["code"] == code and one["object"].startswith(about))
    return dict(only)


class Doctor:
    """A pod that runs doctor, as an account that may read all that doctor reads."""

    def __init__(self, cluster: Cluster, namespace: str, account: str = "doctor", **pod: object) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.allow(namespace)
        self.app = cluster.deployment(
            f"client-{account}",
            1,
            namespace=namespace,
            command=["sleep", "600"],
            pod={"serviceAccountName": account, **pod},
        )
        (self.pod,) = self.app.wait(1)

    def allow(self, namespace: str) -> None:
        """Its account may read another namespace."""
        text = (MANIFESTS / "doctor.yaml").read_text().replace("moon", namespace)
        objects = list(yaml.safe_load_all(text))
        objects[-1]["subjects"][0]["namespace"] = self.namespace
        self.cluster.api.apply(objects)

    def run(self, *arguments: str, pod: str | None = None) -> Json:
        command = [*DOCTOR, *arguments, "-o", "json"]
        done = self.cluster.exec(pod or self.pod.name, self.namespace, command)
        assert done.stdout, done
        said: Json = json.loads(done.stdout)
        errors = [one["code"] for one in said["findings"] if one["level"] == "error"]
        assert done.returncode == bool(errors), done
        return said

    def levels(self, *arguments: str, pod: str | None = None) -> dict[str, str]:
        """The codes that are found, with their levels, without notes."""
        return levels(self.run(*arguments, pod=pod))

    def many(self, calls: Sequence[Sequence[str]]) -> list[Json]:
        """What it says of each, all asked by one process: most of a run is the start of Python."""
        command = [sys.executable, "-c", MANY, json.dumps([[*call, "-o", "json"] for call in calls])]
        done = self.cluster.exec(self.pod.name, self.namespace, command, timeout=5 * LONG)
        assert done.returncode == 0, done
        return [json.loads(one) for one in done.stdout.split("\0")[:-1]]

    def until_all(self, expected: Mapping[str, Mapping[str, str]]) -> dict[str, Json]:
        """Ask for these names until that is found of each: DNS and the API follow a change a moment later.

        What was said at last, as expected or not.
        """
        said: dict[str, Json] = {}

        def are_found() -> bool:
            left = [name for name in expected if name not in said or levels(said[name]) != expected[name]]
            said.update(zip(left, self.many([[name] for name in left]), strict=True))
            return all(levels(said[name]) == expected[name] for name in left)

        with suppress(AssertionError):
            eventually(are_found)
        return said

    def until(self, expected: dict[str, str], *arguments: str) -> Json:
        """Ask until that is found. What was said at last."""
        said: Json = {}

        def is_found() -> bool:
            nonlocal said
            said = self.run(*arguments)
            return levels(said) == expected

        with suppress(AssertionError):
            eventually(is_found)
        assert levels(said) == expected, said
        return said

    def change(self, kind: str, name: str, **spec: object) -> None:
        where = self.cluster.api.path(kind, self.namespace, name)
        self.cluster.api.patch(where, {"spec": spec}, "merge-patch")

    def export(self, namespace: str, folder: Path) -> str:
        """A file with what `kubectl get … -o json` prints of a namespace."""
        items = [
            {"kind": kind, **one}
            for kind in KINDS
            for one in self.cluster.api.get(path(kind, namespace))["items"]
        ]
        file = folder / f"{namespace}.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        return str(file)

    def offline(self, name: str) -> dict[str, str]:
        """What is found in what `kubectl get … -o json` prints of its namespace."""
        (said,) = self.many([["-f", self.export(self.namespace, self.cluster.folder), name]])
        return levels(said)

    def mend(self, change: str) -> None:
        """Do what is printed: write the fields into the object, or apply the objects.

        What is immutable is deleted, without its pods, and applied anew.
        """
        api = self.cluster.api
        printed = re.match(r"(\w+) ([\w-]+)/([\w.-]+)\n", change)
        if printed is None:
            api.apply(change)
            return
        where = path(*printed.groups())
        (mended,) = applied([api.get(where)], change)
        try:
            api.put(where, mended)
        except ApiError as error:
            if error.status != 422:
                raise
            api.delete(where, {"propagationPolicy": "Orphan"})
            names = {key: mended["metadata"][key] for key in ("name", "namespace")}
            spec = {key: value for key, value in mended["spec"].items() if key != "clusterIPs"}
            anew = {**mended, "metadata": names, "spec": spec}
            eventually(lambda: self._made(where.rpartition("/")[0], anew))

    def _made(self, where: str, anew: Json) -> bool:
        try:
            return bool(self.cluster.api.post(where, anew))
        except ApiError as error:
            if error.status != 409:  # it is not gone yet
                raise
            return False


def path(kind: str, namespace: str, name: str = "") -> str:
    """Where the API has objects of a kind that doctor reads, or one of them."""
    return f"/{KINDS[kind]}/namespaces/{namespace}/{plural_of(kind)}" + (f"/{name}" if name else "")


def apply(cluster: Cluster, one: Json) -> None:
    """Server-side apply of an object of a kind that doctor reads."""
    where = path(one["kind"], one["metadata"]["namespace"], one["metadata"]["name"])
    version = KINDS[one["kind"]].partition("/")[2]
    cluster.api.request(
        "PATCH",
        f"{where}?fieldManager=tests&force=true",
        {"apiVersion": version, **one},
        "application/apply-patch+yaml",
    )
