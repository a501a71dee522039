"""What the scheduler and the kubelets do: gives each pod a node, brings it up, reports it, takes it down.

It watches all pods of the cluster and holds one task for each. It outlives the API server: what it must tell
the server it tells until the server has heard it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from ._api import ApiError, Json, async_client, read
from ._commanded import CommandedPod
from ._network import sixth
from ._options import Options
from ._parts import issuer
from ._pods import Pod, now
from ._served import ServedPod

_CONNECTIONS = 16
_RETRY = 0.2


class Agent:
    """Scheduler and kubelets of one cluster."""

    def __init__(self, name: str, folder: Path, options: Options) -> None:
        self.name, self.folder, self.options = name, folder, options
        self.issuer = issuer(options)
        self.http = async_client(folder, _CONNECTIONS)
        self._watching = async_client(folder, 1)
        self.pods: dict[str, Pod] = {}
        self._addresses = Addresses()
        self._tasks: set[asyncio.Task[None]] = set()

    async def register_nodes(self) -> None:
        """The nodes, one for each zone of the options, ready."""
        for node, zone in self.options.nodes.items():
            labels = {"topology.kubernetes.io/zone": zone, "kubernetes.io/hostname": node}
            with contextlib.suppress(ApiError):  # it is there: the API server was started again
                await self.api("POST", "/api/v1/nodes", {"metadata": {"name": node, "labels": labels}})
            ready = {"type": "Ready", "status": "True", "reason": "Test", **_heartbeat()}
            await self.api("PATCH", f"/api/v1/nodes/{node}/status", {"status": {"conditions": [ready]}})

    async def run(self) -> None:
        """Follows the pods until it is cancelled."""
        while True:
            try:
                await self._follow()
            except (httpx.HTTPError, ApiError, KeyError, ValueError) as error:
                _say(f"watch of pods: {error!r}")
            await asyncio.sleep(_RETRY)

    async def _follow(self) -> None:
        listed = read(await self._watching.get("/api/v1/pods"))
        living = {item["metadata"]["uid"] for item in listed["items"]}
        for pod in [pod for uid, pod in self.pods.items() if uid not in living]:
            pod.gone()
        for item in listed["items"]:
            self._seen(item)
        version = listed["metadata"]["resourceVersion"]
        query = f"watch=1&allowWatchBookmarks=true&resourceVersion={version}"
        timeout = httpx.Timeout(30, read=None)
        async with self._watching.stream("GET", f"/api/v1/pods?{query}", timeout=timeout) as stream:
            rest = b""
            async for chunk in stream.aiter_bytes():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self._seen(event["object"])
                    elif event["type"] == "DELETED":
                        self._removed(event["object"])
                    elif event["type"] == "ERROR":
                        raise ApiError(event["object"].get("code", 0), str(event["object"].get("message")))

    def _seen(self, item: Json) -> None:
        pod = self.pods.get(item["metadata"]["uid"])
        if pod is not None:
            pod.changed(item)
        elif not item["metadata"].get("deletionTimestamp") or item["spec"].get("nodeName"):
            self._begin(item)

    def _removed(self, item: Json) -> None:
        pod = self.pods.get(item["metadata"]["uid"])
        if pod is not None:
            pod.changed(item)  # annotations may say how it ends
            pod.gone()

    def _begin(self, item: Json) -> None:
        uid = item["metadata"]["uid"]
        kind = CommandedPod if item["spec"]["containers"][0].get("command") else ServedPod
        pod = self.pods[uid] = kind(self, item, self._node(item))
        pod.changed(item)  # it may be on its way out already
        self._keep(self._live(pod))

    async def _live(self, pod: Pod) -> None:
        pod.address = self._addresses.take(pod.annotations.get("test/ip"))
        try:
            await pod.live()
        except Exception as error:
            _say(f"pod {pod.namespace}/{pod.name}: {error!r}")
        finally:
            del self.pods[pod.uid]
            self._addresses.give_back(pod.address)

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _node(self, item: Json) -> str:
        """Where its controller has the fewest pods, so that three replicas stand in three zones.

        One that ends does not count: its replacement may come before or after the last of it.
        """
        if node := item["spec"].get("nodeName"):
            return str(node)
        wanted = item["spec"].get("nodeSelector", {}).get("topology.kubernetes.io/zone")
        nodes = [node for node, zone in self.options.nodes.items() if wanted in (None, zone)]
        mine = _owner(item)
        others = [pod for pod in self.pods.values() if _owner(pod.item) == mine and not pod.ending.is_set()]
        taken = Counter(pod.node for pod in others)
        return min(nodes, key=lambda node: taken[node])

    def addresses(self, address: str) -> list[str]:
        """All addresses of the pod with this IPv4 address."""
        return [address, sixth(address)] if self.options.dual_stack else [address]

    async def api(self, method: str, where: str, body: object = None) -> Json:
        """Tells the API server, until it has heard. Raises `ApiError` where it refuses."""
        kind = "strategic-merge-patch+json" if method == "PATCH" else "json"
        content = None if body is None else json.dumps(body)
        while True:
            try:
                answer = await self.http.request(
                    method, where, content=content, headers={"content-type": f"application/{kind}"}
                )
                if answer.status_code < 500 and answer.status_code != 429:
                    return read(answer)
            except httpx.HTTPError:
                pass
            await asyncio.sleep(_RETRY)

    def find(self, namespace: str, name: str) -> Pod | None:
        """The pod of this name, the youngest if an older one has not gone yet."""
        found = [pod for pod in self.pods.values() if (pod.namespace, pod.name) == (namespace, name)]
        return found[-1] if found else None

    async def end(self) -> None:
        """Ends every pod at once."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.http.aclose()
        await self._watching.aclose()


class Addresses:
    """Hands out the addresses of 10.244/16 in turn, so that one that was given back rests for long."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._next = 1

    def take(self, wanted: str | None) -> str:
        """The one that is wanted, if nobody has it; else the next free one."""
        if wanted is None or wanted in self._used:
            wanted = self._free()
        self._used.add(wanted)
        return wanted

    def give_back(self, address: str) -> None:
        """Nobody has it any more."""
        self._used.discard(address)

    def _free(self) -> str:
        while True:
            self._next = self._next % 60_000 + 1
            address = f"10.244.{self._next // 250}.{self._next % 250 + 2}"
            if address not in self._used:
                return address


def _owner(item: Json) -> str:
    return next((owner["uid"] for owner in item["metadata"].get("ownerReferences", [])), "")


def _heartbeat() -> Json:
    return {"lastHeartbeatTime": now(), "lastTransitionTime": now()}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  the keeper's log
