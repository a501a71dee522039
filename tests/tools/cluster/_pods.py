"""The life of one pod, as a kubelet sees it: bound to a node, begun, ready, told to end, gone.

What differs between a pod that the agent serves itself and one that runs a command is in the two subclasses.
Annotations steer it, also when they change while it lives:

    test/startup   seconds from its begin until it is ready, where no probe decides (0.3)
    test/linger    seconds that a served pod goes on serving after it was told to end (0.3)
    test/ready     "false": not ready, whatever the probe says
    test/ip        the IPv4 address that it asks for
    test/vanish    "true": at its end its address goes first, so that nobody hears of it: no FIN, no RST
    test/token-seconds   how long its service account's token is good; it is renewed in time (3600)
"""

from __future__ import annotations

import asyncio
import sys
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ._api import ApiError, Json
from ._network import NetworkError
from ._probes import Probe

if TYPE_CHECKING:
    from ._agent import Agent

_STARTUP, _LINGER = 0.3, 0.3


class Pod(ABC):
    """One pod. `live` is its whole life."""

    address: str

    def __init__(self, agent: Agent, item: Json, node: str) -> None:
        self.agent, self.item, self.node = agent, item, node
        metadata = item["metadata"]
        self.name, self.namespace, self.uid = metadata["name"], metadata["namespace"], metadata["uid"]
        self.spec: Json = item["spec"]
        self.container: Json = self.spec["containers"][0]
        self.hostname: str = self.spec.get("hostname") or self.name
        self.path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self.phase = "Pending"
        self.restarts = 0
        self.waiting = ""  # why its container waits for its next start
        self.exit_code: int | None = None
        self.ending = asyncio.Event()
        self.hurry = asyncio.Event()  # the API has forgotten it: no grace
        self.grace = 0.0
        self._passes = False
        self._started = now()
        self._readiness: asyncio.Task[None] | None = None
        self._reporting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    # What subclasses do.

    @abstractmethod
    async def begin(self) -> None:
        """The network and whatever else it needs."""

    @abstractmethod
    async def work(self) -> None:
        """Runs until it ends by itself, which a served pod does not."""

    @abstractmethod
    async def stop(self) -> None:
        """Has been told to end: `grace` seconds, fewer if `hurry` comes."""

    @abstractmethod
    def unplug(self) -> None:
        """Takes the address away, while everything else goes on."""

    @abstractmethod
    async def remove(self) -> None:
        """Nothing of it is left."""

    @abstractmethod
    def blackhole(self, *, heal: bool) -> None:
        """Packets to and from it vanish, or no longer do."""

    @abstractmethod
    async def execute(self, command: list[str], seconds: float, /) -> bool:
        """Whether a command in it ended with status 0 in time."""

    # The life.

    async def live(self) -> None:
        """From its binding until the API has forgotten it."""
        try:
            if await self._begun():
                await self._run()
            await self.ending.wait()
        finally:
            for task in list(self._tasks):
                task.cancel()
            await self.remove()
        if not self.hurry.is_set():
            uid = {"preconditions": {"uid": self.uid}}
            await self._tell("DELETE", self.path, {"gracePeriodSeconds": 0, **uid})

    async def _begun(self) -> bool:
        try:
            if not self.spec.get("nodeName"):
                target = {"kind": "Node", "name": self.node}
                binding = {"metadata": {"name": self.name}, "target": target}
                await self._tell("POST", f"{self.path}/binding", binding)
            await self.begin()
        except (ApiError, NetworkError, OSError, RuntimeError) as error:
            self.say(f"does not begin: {error}")
            return False
        self.phase = "Running"
        return True

    async def _run(self) -> None:
        """Works, until it is told to end."""
        work, told = self.keep(self.work()), self.keep(self._told())
        await asyncio.wait({work, told}, return_when="FIRST_COMPLETED")
        await told
        self._end_readiness()
        if "test/vanish" in self.annotations:
            self.unplug()
            self.grace = 0
        await self.stop()

    async def _told(self) -> None:
        await self.ending.wait()

    def changed(self, item: Json) -> None:
        """What the API says of it now."""
        before, self.item = self.annotations.get("test/ready"), item
        if item["metadata"].get("deletionTimestamp"):
            self.grace = float(item["metadata"].get("deletionGracePeriodSeconds") or 0)
            self.ending.set()
        elif self.annotations.get("test/ready") != before and self.phase == "Running":
            self.keep(self.report())

    def gone(self) -> None:
        """The API knows it no more."""
        self.grace = 0
        self.hurry.set()
        self.ending.set()

    # Readiness.

    def watch_readiness(self) -> None:
        """Its container runs from now on: the probe begins, or the time of its startup."""
        self._end_readiness()
        self._readiness = self.keep(self._become_ready())

    def lose_readiness(self) -> None:
        """Its container runs no more. The next report says so."""
        self._end_readiness()
        self._passes = False

    def _end_readiness(self) -> None:
        if self._readiness is not None:
            self._readiness.cancel()

    async def _become_ready(self) -> None:
        if said := self.container.get("readinessProbe"):
            await self.report()
            async for passes in Probe(said).results(self):
                self._passes = passes
                await self.report()
            return
        startup = float(self.annotations.get("test/startup", _STARTUP))
        if startup:
            await self.report()
            await asyncio.sleep(startup)
        self._passes = True
        await self.report()

    async def report(self) -> None:
        """Tells the API its status."""
        async with self._reporting:
            await self._tell("PATCH", f"{self.path}/status", {"status": self._status()})

    def _status(self) -> Json:
        ready = self._passes and self.annotations.get("test/ready") != "false"
        initialized = self.phase != "Pending"
        conditions = {
            "PodScheduled": True,
            "Initialized": initialized,
            "ContainersReady": ready,
            "Ready": ready,
        }
        if self.exit_code is not None and self.phase in ("Succeeded", "Failed"):
            state: Json = {"terminated": {"exitCode": self.exit_code, "finishedAt": now()}}
        elif self.waiting:
            state = {"waiting": {"reason": self.waiting}}
        else:
            state = {"running": {"startedAt": self._started}}
        addresses = self.agent.addresses(self.address)
        return {
            "phase": self.phase,
            "podIP": addresses[0],
            "podIPs": [{"ip": address} for address in addresses],
            "hostIP": "10.244.0.1",
            "startTime": self._started,
            "conditions": [
                {"type": kind, "status": str(yes), "lastTransitionTime": now()}
                for kind, yes in conditions.items()
            ],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "ready": ready,
                    "started": "running" in state,
                    "restartCount": self.restarts,
                    "image": container.get("image", ""),
                    "imageID": "",
                    "state": state,
                }
                for container in self.spec["containers"]
            ],
        }

    # Small things.

    @property
    def annotations(self) -> dict[str, str]:
        """As they are now."""
        notes: dict[str, str] = self.item["metadata"].get("annotations") or {}
        return notes

    @property
    def linger(self) -> float:
        """Seconds that it goes on serving once it was told to end."""
        return min(float(self.annotations.get("test/linger", _LINGER)), self.grace)

    def keep(self, work: Any) -> asyncio.Task[None]:
        """A task that ends with the pod at the latest."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.say(repr(error))

    def say(self, text: str) -> None:
        """To the keeper's log."""
        print(f"pod {self.namespace}/{self.name}: {text}", file=sys.stderr, flush=True)  # noqa: T201

    async def _tell(self, method: str, where: str, body: Json) -> None:
        try:
            await self.agent.api(method, where, body)
        except ApiError as error:
            if error.status not in (404, 409):  # gone, or another one has the name by now
                self.say(f"{method} {where}: {error}")


def now() -> str:
    """The time as the API writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
