"""The objects of what tests ask for most: a StatefulSet or a Deployment, each with its Service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ._api import Json


class WorkloadOptions(TypedDict, total=False):
    """What a StatefulSet and a Deployment, with their Services, have in common.

    * `ports`: of the Service and of the pods, {"http": 8080} unless told otherwise.
    * `service`: the Service's name, else the workload's.
    * `command`: what each pod runs. Without it the pods are served: they answer HTTP on all `ports`.
    * `env`, `annotations`: of each pod.
    * `publish_not_ready`, `dual_stack`: of the Service.
    * `grace`: seconds between SIGTERM and SIGKILL, 2 unless told otherwise.
    * `container`, `pod`: more fields of the container, and of the pod's spec.
    """

    ports: Mapping[str, int]
    service: str
    command: Sequence[str]
    env: Mapping[str, str]
    annotations: Mapping[str, str]
    publish_not_ready: bool
    dual_stack: bool
    grace: int
    container: Mapping[str, Any]
    pod: Mapping[str, Any]


def workload(
    kind: str,
    name: str,
    replicas: int,
    *,
    namespace: str,
    service: str,
    ports: Mapping[str, int] = {"http": 8080},
    command: Sequence[str] | None = None,
    env: Mapping[str, str] = {},
    annotations: Mapping[str, str] = {},
    publish_not_ready: bool = False,
    dual_stack: bool = False,
    headless: bool = True,
    grace: int = 2,
    pod_management: str = "Parallel",
    data: str | None = None,
    container: Mapping[str, Any] = {},
    pod: Mapping[str, Any] = {},
) -> list[Json]:
    """A Service and a StatefulSet or Deployment whose pods it selects by the label `app`."""
    labels = {"app": name}
    own: Json = {
        "name": "main",
        "image": "test",
        "ports": [{"name": port, "containerPort": number} for port, number in ports.items()],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        **({"command": list(command)} if command else {}),
        **({"volumeMounts": [{"name": "data", "mountPath": data}]} if data else {}),
        **container,
    }
    spec: Json = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels, "annotations": dict(annotations)},
            "spec": {"terminationGracePeriodSeconds": grace, "containers": [own], **pod},
        },
    }
    if kind == "StatefulSet":
        spec |= {"serviceName": service, "podManagementPolicy": pod_management}
        if data:
            claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            spec["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": claim}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service, "namespace": namespace},
            "spec": {
                "selector": labels,
                "publishNotReadyAddresses": publish_not_ready,
                **({"clusterIP": "None"} if headless else {}),
                **({"ipFamilyPolicy": "RequireDualStack"} if dual_stack else {}),
                "ports": [
                    {"name": port, "port": number, "targetPort": number} for port, number in ports.items()
                ],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": spec,
        },
    ]
