"""A good StatefulSet with all that belongs to it, which tests spoil in one place each."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml

from peerdiscover.doctor._codes import Finding
from peerdiscover.doctor._objects import Objects
from peerdiscover.doctor._output import full
from peerdiscover.doctor._report import Report, of_manifests
from peerdiscover.doctor._world import World
from peerdiscover.names import ServiceName

Json = dict[str, Any]
Spoil = Callable[["Manifests"], object]


class Manifests:
    """Objects by what they are in the tests: `m.service["spec"]`."""

    def __init__(self, namespace: str = "prod") -> None:
        labels = {"app": "web"}
        self.service: Json = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web-headless", "namespace": namespace},
            "spec": {
                "clusterIP": "None",
                "selector": dict(labels),
                "ports": [
                    {"name": "http", "port": 8080, "targetPort": "http"},
                    {"name": "grpc", "port": 9090},
                ],
            },
        }
        self.container: Json = {
            "name": "web",
            "image": "web",
            "ports": [
                {"name": "http", "containerPort": 8080},
                {"name": "grpc", "containerPort": 9090},
            ],
            "readinessProbe": {"tcpSocket": {"port": 8080}},
        }
        self.pod: Json = {"containers": [self.container]}
        self.statefulset: Json = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {
                "serviceName": "web-headless",
                "replicas": 3,
                "selector": {"matchLabels": dict(labels)},
                "template": {"metadata": {"labels": dict(labels)}, "spec": self.pod},
            },
        }
        self.policy: Json = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {
                "podSelector": {"matchLabels": dict(labels)},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"ports": [{"port": 8080}, {"port": "grpc"}]}],
                "egress": [{"ports": [{"port": 53}, {"protocol": "UDP", "port": 53}]}],
            },
        }
        self.more: list[Json] = []
        self.namespace = namespace

    @property
    def all(self) -> list[Json]:
        return [self.service, self.statefulset, self.policy, *self.more]

    def copy_of(self, what: Json, name: str, **spec: object) -> Json:
        """Another object like this one, among the others."""
        another = copy.deepcopy(what)
        another["metadata"]["name"] = name
        another["spec"] |= spec
        self.more.append(another)
        return another

    def job(self, kind: str = "Job", **labels: str) -> Json:
        """A Job or CronJob whose pods have these labels."""
        pod = {"restartPolicy": "Never", "containers": [{"name": "job", "image": "job"}]}
        spec = {"template": {"metadata": {"labels": labels}, "spec": pod}}
        made = {
            "apiVersion": "batch/v1",
            "kind": kind,
            "metadata": {"name": "backup", "namespace": self.namespace},
            "spec": spec if kind == "Job" else {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": spec}},
        }
        self.more.append(made)
        return made


def world_of(objects: list[Json], name: str | None = None) -> World:
    """What checks look at, from objects alone."""
    read = Objects.of((one, "web.yaml", 1) for one in objects)
    return World(read, ServiceName.parse(name) if name else None, "prod" if name else "")


def findings(objects: list[Json], name: str | None = None, *, notes: bool = False) -> list[Finding]:
    """What the checks of manifests find, errors first."""
    report = Report()
    of_manifests(report, world_of(objects, name))
    return [one for one in report.sorted() if notes or one.level != "note"]


def codes(objects: list[Json], name: str | None = None, *, notes: bool = False) -> list[str]:
    return sorted({one.code for one in findings(objects, name, notes=notes)})


def printed(findings: Iterable[Finding]) -> list[str]:
    """The changes, as the lines for people have them."""
    text = "\n".join(line for _, line in full(Report(findings=list(findings))))
    found = re.findall(r"^  change  (.*?)\n  more ", text, re.MULTILINE | re.DOTALL)
    return [change.replace("\n" + " " * 10, "\n") for change in found]


def applied(objects: list[Json], change: str) -> list[Json]:
    """The objects after a change that was printed.

    It is an object's name and the fields to write, where containers merge by name; or it is whole objects.
    """
    mended = copy.deepcopy(objects)
    head, _, fields = change.partition("\n")
    if (name := re.fullmatch(r"(\w+) (?:[\w-]+/)?([\w.-]+)", head)) and fields.startswith("  "):
        (target,) = (one for one in mended if (one["kind"], one["metadata"]["name"]) == name.groups())
        merge(target, yaml.safe_load(fields))
        return mended
    more = list(yaml.safe_load_all(change))
    assert all(isinstance(one, dict) and {"kind", "metadata"} <= one.keys() for one in more), change
    return mended + more


def merge(target: Json, patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, Mapping):
            merge(target.setdefault(key, {}), value)
        elif key == "containers":
            for one in value:
                (container,) = (c for c in target[key] if c["name"] == one["name"])
                merge(container, one)
        else:
            target[key] = value
