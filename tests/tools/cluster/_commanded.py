"""A pod that runs its container's command, as processes of this machine in namespaces of their own.

Network, host name, mounts, IPC and process numbers are the pod's: the command is process 1, and everything
that it started ends with it. As in a cluster, SIGTERM does nothing to a process 1 that does not handle it:
then the pod ends by SIGKILL, when its grace is over. initContainers run before, one after the other; of
`containers` the first one runs. A command that ends is started again, as restartPolicy says, with a back-off
of 0.2 s, doubled up to 10 s (a kubelet: 10 s up to 5 minutes); one that ran for a minute begins anew with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING

from . import _network
from ._api import ApiError, Json, claims
from ._certificates import sign_token
from ._pods import Pod
from ._sandbox import Sandbox, expanded

if TYPE_CHECKING:
    from ._agent import Agent

_BACKOFF, _LONGEST, _GOOD = 0.2, 10.0, 60.0
_ENTER = (
    "unshare",
    "--mount",
    "--uts",
    "--ipc",
    "--pid",
    "--fork",
    "--kill-child",
    "--propagation",
    "private",
)


class CommandedPod(Pod):
    """Runs processes."""

    def __init__(self, agent: Agent, item: Json, node: str) -> None:
        super().__init__(agent, item, node)
        self.account: str = self.spec.get("serviceAccountName") or "default"
        self.namespace_name = f"{agent.name}-{self.uid[:8]}"
        self._interface = f"v{self.uid[:8]}"
        self.sandbox = Sandbox(self)
        self._process: asyncio.subprocess.Process | None = None
        self._mount_account = True

    async def begin(self) -> None:
        """Its network namespace, its files, its token."""
        addresses = self.agent.addresses(self.address)
        await asyncio.to_thread(
            _network.create_pod_namespace, self.agent.name, self.namespace_name, self._interface, addresses
        )
        await self.sandbox.create()
        self._mount_account = await self._automounts()
        if self._mount_account:
            await self._token()
            self.keep(self._renew_token())

    async def work(self) -> None:
        """Init containers, then the container, again and again as restartPolicy says."""
        again = self.spec.get("restartPolicy", "Always")
        for container in self.spec.get("initContainers", []):
            await self._run_until(container, "OnFailure")
        await self._run_until(self.container, again, main=True)

    async def _run_until(self, container: Json, again: str, *, main: bool = False) -> None:
        pause = _BACKOFF
        while True:
            began = time.monotonic()
            await self._start(container)
            if main:
                self.waiting = ""
                self.watch_readiness()
            assert self._process is not None
            self.exit_code = await self._process.wait()
            if self.ending.is_set():
                return
            self.lose_readiness()
            if again == "Never" or (again == "OnFailure" and self.exit_code == 0):
                if main:
                    self.phase = "Failed" if self.exit_code else "Succeeded"
                    await self.report()
                return
            self.restarts += 1
            if time.monotonic() - began > _GOOD:
                pause = _BACKOFF
            self.waiting = "CrashLoopBackOff"
            await self.report()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST)

    async def _start(self, container: Json) -> None:
        self.sandbox.pid.unlink(missing_ok=True)
        environment = self.sandbox.environment(container)
        self.sandbox.folder.joinpath("environment.json").write_text(json.dumps(environment))
        words = [expanded(word, environment) for word in [*container["command"], *container.get("args", [])]]
        enter = self.sandbox.enter(container, mount_account=self._mount_account)
        with self.sandbox.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{self.namespace_name}",
                *_ENTER, *enter, *words, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    async def stop(self) -> None:
        """preStop, SIGTERM, and SIGKILL when the grace is over."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.grace):
                ended = asyncio.create_task(self._ended(process))
                hurried = asyncio.create_task(self.hurry.wait())
                try:
                    await asyncio.wait({ended, hurried}, return_when="FIRST_COMPLETED")
                finally:
                    ended.cancel()
                    hurried.cancel()
        self._signal(signal.SIGKILL)
        await process.wait()

    async def _ended(self, process: asyncio.subprocess.Process) -> None:
        before = (self.container.get("lifecycle") or {}).get("preStop") or {}
        if seconds := before.get("sleep", {}).get("seconds"):
            await asyncio.sleep(seconds)
        elif command := before.get("exec", {}).get("command"):
            await self.execute(command, self.grace)
        self._signal(signal.SIGTERM)
        await process.wait()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        pid = self._pid()
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, number)
            else:  # not yet entered: what makes its namespaces ends it with itself
                self._process.kill()

    def _pid(self) -> int | None:
        """The number of the container's process as this machine counts, once its command runs."""
        if self._process is None or self._process.returncode is not None:
            return None
        try:
            return int(self.sandbox.pid.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def unplug(self) -> None:
        """The wire is cut outside: what the kernel of the pod says goes nowhere."""
        _network.batch([f"link set {self._interface} down"], self.agent.name)

    async def remove(self) -> None:
        """Processes, network, files."""
        process = self._process
        if process is not None and process.returncode is None:
            self._signal(signal.SIGKILL)
            process.kill()
            await process.wait()
        await asyncio.to_thread(_network.delete_namespace, self.namespace_name)
        self.sandbox.remove()

    def blackhole(self, *, heal: bool) -> None:
        """By rules in its own namespace."""
        _network.blackhole_namespace(self.namespace_name, heal=heal)

    def inside(self) -> list[str]:
        """The words before a command that is to run in the pod. Raises `LookupError` if it does not run."""
        pid = self._pid()
        if pid is None:
            raise LookupError(f"pod {self.namespace}/{self.name} does not run")
        environment = json.loads(self.sandbox.folder.joinpath("environment.json").read_text())
        variables = [f"{key}={value}" for key, value in environment.items()]
        home = self.sandbox.folder / "home"
        enter = ["nsenter", f"--target={pid}", "--net", "--mount", "--uts", "--ipc", "--pid"]
        return [*enter, "env", "-i", "-C", str(home), *variables]

    async def inside_soon(self) -> list[str]:
        """The same; waits some seconds for a command that is about to begin."""
        for _ in range(250):
            if self._pid() is not None:
                break
            await asyncio.sleep(0.02)
        return self.inside()

    async def execute(self, command: list[str], seconds: float, /) -> bool:
        """Runs a command in the pod."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self.inside(), *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except LookupError:
            return False
        try:
            return await asyncio.wait_for(process.wait(), seconds) == 0
        finally:
            if process.returncode is None:
                process.kill()

    async def _automounts(self) -> bool:
        """automountServiceAccountToken, of the pod, else of its account."""
        wanted = self.spec.get("automountServiceAccountToken")
        if wanted is None:
            where = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{self.account}"
            wanted = (await self.agent.api("GET", where)).get("automountServiceAccountToken", True)
        return bool(wanted)

    @property
    def _token_seconds(self) -> float:
        return float(self.annotations.get("test/token-seconds", 3600))

    async def _token(self) -> None:
        seconds, where = (
            self._token_seconds,
            f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{self.account}",
        )
        if seconds >= 600:
            bound = {"apiVersion": "v1", "kind": "Pod", "name": self.name, "uid": self.uid}
            body = {"spec": {"expirationSeconds": int(seconds), "boundObjectRef": bound}}
            token = str((await self.agent.api("POST", f"{where}/token", body))["status"]["token"])
        else:  # the API server gives none for less than ten minutes
            uid = (await self.agent.api("GET", where))["metadata"]["uid"]
            said = claims(self.agent.issuer, self.namespace, self.account, uid, seconds)
            said["kubernetes.io"]["pod"] = {"name": self.name, "uid": self.uid}
            token = sign_token(self.agent.folder, said)
        self.sandbox.write_token(token)

    async def _renew_token(self) -> None:
        """As a kubelet does it, when four fifths of its time are over."""
        while True:
            await asyncio.sleep(0.8 * self._token_seconds)
            with contextlib.suppress(ApiError):  # the account is gone: the old one stays
                await self._token()
