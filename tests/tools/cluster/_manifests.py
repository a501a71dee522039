"""The objects of what tests ask for most: a StatefulSet or a Deployment, each with its Service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._api import Json


def workload(
    kind: str,
    name: str,
    replicas: int,
    *,
    namespace: str,
    service: str,
    ports: Mapping[str, int],
    command: Sequence[str] | None,
    env: Mapping[str, str],
    annotations: Mapping[str, str],
    publish_not_ready: bool,
    dual_stack: bool,
    headless: bool,
    grace: int,
    pod_management: str,
    data: str | None,
    container: Mapping[str, Any],
    pod: Mapping[str, Any],
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
