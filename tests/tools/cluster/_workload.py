"""A StatefulSet or Deployment of a test: scaled, restarted, waited for, hurt, deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from ._api import ApiError, Json

if TYPE_CHECKING:
    from ._cluster import Cluster


@dataclass(frozen=True)
class PodInfo:
    """A pod, as the API has it."""

    name: str
    ip: str
    ready: bool
    uid: str
    node: str
    zone: str
    restarts: int
    ips: tuple[str, ...]


class Workload:
    """A StatefulSet or Deployment and its Service."""

    def __init__(self, cluster: Cluster, kind: str, name: str, namespace: str, service: str) -> None:
        self._cluster, self._api = cluster, cluster.api
        self.kind, self.name, self.namespace, self.service = kind, name, namespace, service
        self.fqdn = f"{service}.{namespace}.svc.{cluster.cluster_domain}"

    @property
    def path(self) -> str:
        """Where the API has it."""
        return self._api.path(self.kind, self.namespace, self.name)

    def scale(self, replicas: int) -> None:
        """Asks for so many pods; waits for nothing."""
        self._api.patch(self.path, {"spec": {"replicas": replicas}})

    def restart(self) -> None:
        """A rolling restart, as `kubectl rollout restart` asks for it; waits for nothing."""
        self.annotate({"test/restarted": str(time.time_ns())})

    def annotate(self, annotations: dict[str, str]) -> None:
        """Annotations of the template: new pods have them, so old ones are replaced, one after the other."""
        self._api.patch(self.path, {"spec": {"template": {"metadata": {"annotations": annotations}}}})

    def wait(self, replicas: int | None = None, timeout: float = 60) -> list[PodInfo]:
        """Waits until so many pods (as many as it wants) are Ready, and its EndpointSlices say so.

        All are of its newest form, and none is on the way out. Raises `TimeoutError`, which says how far it
        came, if nothing changes for `timeout` seconds: how long all of it takes depends on the machine.
        """
        deadline = time.monotonic() + timeout
        before = said = "the API server did not answer"
        while True:
            began = time.monotonic()
            try:
                said = self._lacks(replicas)
                if not said:
                    return self.pods()
            except httpx.HTTPError as error:
                said = repr(error)
            except ApiError as error:
                if error.status < 500:
                    raise
                said = str(error)
            if said != before:
                before, deadline = said, time.monotonic() + timeout
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self.kind} {self.namespace}/{self.name} is no further after {timeout:.0f} s: {said}\n"
                    f"{self._words()}"
                )
            time.sleep(max(0.03, 2 * (time.monotonic() - began)))  # a thousand endpoints are half a megabyte

    def until(self, holds: Callable[[list[PodInfo]], bool], timeout: float = 60) -> list[PodInfo]:
        """Waits until something holds of its pods; those pods.

        Raises `TimeoutError`, which shows them, if they do not change for `timeout` seconds.
        """
        deadline, before = time.monotonic() + timeout, list[PodInfo]()
        while not holds(pods := self.pods()):
            if pods != before:
                before, deadline = pods, time.monotonic() + timeout
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self.kind} {self.namespace}/{self.name} is no further after {timeout:.0f} s: {pods}\n"
                    f"{self._words()}"
                )
            time.sleep(0.03)
        return pods

    def _words(self) -> str:
        """What the agent said last."""
        lines = self._cluster.log_of_part("keeper").read_text(errors="replace").splitlines()
        return "\n".join(lines[-10:])

    def _lacks(self, replicas: int | None) -> str:
        it = self._api.get(self.path)
        status, wanted = it["status"], it["spec"]["replicas"]
        replicas = wanted if replicas is None else replicas
        if status.get("observedGeneration", 0) < it["metadata"]["generation"]:
            return "its controller has not seen it yet"
        counts = {key: status.get(key, 0) for key in ("replicas", "readyReplicas", "updatedReplicas")}
        if set(counts.values()) != {replicas}:
            return f"{counts}, not {replicas}"
        slices = self._api.list("EndpointSlice", self.namespace, f"kubernetes.io/service-name={self.service}")
        for family in {item["addressType"] for item in slices} or {"IPv4"}:
            endpoints = [e for s in slices if s["addressType"] == family for e in s.get("endpoints") or ()]
            ready = [endpoint for endpoint in endpoints if endpoint["conditions"].get("ready")]
            if len(ready) != replicas or len(endpoints) != replicas:
                return f"{len(ready)} of {len(endpoints)} {family} endpoints are ready, not {replicas}"
        return ""

    def pods(self) -> list[PodInfo]:
        """Its pods, by their names (ordinals as numbers), those on the way out included."""
        items = self._api.list("Pod", self.namespace, f"app={self.name}")
        return sorted(map(self._info, items), key=lambda pod: (len(pod.name), pod.name))

    def _info(self, item: Json) -> PodInfo:
        status = item.get("status", {})
        node = item["spec"].get("nodeName", "")
        conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
        return PodInfo(
            name=item["metadata"]["name"],
            ip=status.get("podIP", ""),
            ips=tuple(one["ip"] for one in status.get("podIPs", [])),
            ready=conditions.get("Ready") == "True",
            uid=item["metadata"]["uid"],
            node=node,
            zone=self._cluster.options.nodes.get(node, ""),
            restarts=sum(one["restartCount"] for one in status.get("containerStatuses", [])),
        )

    def delete_pod(self, name: str, grace: int | None = None) -> None:
        """Deletes one pod; with `grace=0` by force, so that the API forgets it at once."""
        body = None if grace is None else {"gracePeriodSeconds": grace}
        self._api.delete(self._api.path("Pod", self.namespace, name), body)

    def vanish(self, name: str) -> None:
        """A pod goes as on a lost node: its address first, so no FIN and no RST; then the API forgets it."""
        where = self._api.path("Pod", self.namespace, name)
        self._api.patch(where, {"metadata": {"annotations": {"test/vanish": "true"}}})
        self._api.delete(where, {"gracePeriodSeconds": 0})

    def set_ready(self, name: str, ready: bool) -> None:
        """Holds one pod unready, or no longer."""
        note = None if ready else "false"
        where = self._api.path("Pod", self.namespace, name)
        self._api.patch(where, {"metadata": {"annotations": {"test/ready": note}}})

    def delete(self) -> None:
        """Deletes it, its pods by force, and its Service; waits for nothing."""
        for where in (self.path, self._api.path("Service", self.namespace, self.service)):
            self._delete(where, {"propagationPolicy": "Background"})
        pods = f"{self._api.path('Pod', self.namespace)}?labelSelector=app%3D{self.name}"
        self._delete(pods, {"gracePeriodSeconds": 0})

    def _delete(self, where: str, body: Json) -> None:
        try:
            self._api.delete(where, body)
        except ApiError as error:
            if error.status != 404:
                raise
