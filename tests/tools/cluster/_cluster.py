"""A cluster as a test sees it: started, entered, filled, hurt, stopped. Everything is synchronous.

The cluster lives in a process of its own (`_keeper`), which this one holds by a pipe: when this process ends,
even by SIGKILL, the cluster ends. What tests may ask for is asked of the keeper over a socket, or of the API
server.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, Unpack

from . import _registry
from ._api import Api, ApiError, Json
from ._binary import find
from ._certificates import ADMIN_TOKEN, sign
from ._keeper import as_dict
from ._manifests import WorkloadOptions, workload
from ._network import API, DNS, entered
from ._options import DnsOptions, Options
from ._parts import NAMES, issuer
from ._requirements import check_machine
from ._workload import Workload

_ROOT = Path(__file__).parents[3]


class ClusterError(Exception):
    """The cluster could not do what it was told; the text says why."""


class Cluster:
    """A control plane with CoreDNS and an agent that plays the nodes."""

    server = f"https://{API}"
    nameserver = DNS
    admin_token = ADMIN_TOKEN

    def __init__(self, name: str, folder: Path) -> None:
        """A cluster that runs already. `start` makes one."""
        self.name, self.folder = name, folder
        self.options = Options.read(folder)
        self.cluster_domain = self.options.cluster_domain
        self.ca, self.kubeconfig = folder / "ca.crt", folder / "kubeconfig"
        self.api = Api(folder, issuer(self.options), self.inside)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._stopping = threading.Lock()
        self._hurt: set[str] = set()
        self._weary = False
        """The controllers were without the API server, and may wait long before they ask it again."""

    @classmethod
    def start(
        cls,
        *,
        ttl: int = 5,
        cache: int | None = None,
        endpoint_pod_names: bool = False,
        zonal: bool = False,
        loadbalance: bool = True,
        cluster_domain: str = "cluster.local",
        dual_stack: bool = False,
        zones: Sequence[str] = ("zone-a",),
        apiserver: Sequence[str] = (),
    ) -> Self:
        """A new cluster, which serves: some four seconds. See `Options` and `DnsOptions` for the arguments.

        Raises `Unavailable` where this machine cannot carry one, `ClusterError` where it did not come up.
        """
        check_machine()
        find()
        _registry.sweep()
        dns = DnsOptions(
            ttl=ttl, cache=cache, endpoint_pod_names=endpoint_pod_names, zonal=zonal, loadbalance=loadbalance
        )
        options = Options(
            dns=dns,
            cluster_domain=cluster_domain,
            dual_stack=dual_stack,
            zones=tuple(zones),
            apiserver=tuple(apiserver),
        )
        name, folder, lock = _registry.new()
        try:
            options.write(folder)
            keeper, said = _start_keeper(name, folder, lock)
        finally:
            os.close(lock)
        if "error" in said:
            _end(keeper)
            raise ClusterError(f"cluster {name} did not come up: {said['error']}")
        cluster = cls(name, folder)
        cluster._keeper = keeper
        return cluster

    @classmethod
    def running(cls, name: str | None = None) -> Self:
        """A cluster that runs here: the one of that name, or the youngest. Raises `LookupError`."""
        found = [folder for folder in _registry.living() if name in (None, folder.name)]
        if not found:
            raise LookupError(f"no cluster {name} runs here" if name else "no cluster runs here")
        return cls(found[-1].name, found[-1])

    def stop(self) -> None:
        """Ends it and everything in it. A second time it does nothing."""
        with self._stopping:
            self.api.close()
            if self._keeper is not None:
                with contextlib.suppress(OSError, ClusterError):
                    self._ask("end")  # a forked child may hold the pipe open
                _end(self._keeper)
                self._keeper = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """Within it, sockets of the calling thread, and of threads that start meanwhile, are in the cluster.

        A thread that was there before and is used again (trio keeps its worker threads) stays where it was.
        """
        return entered(self.name)

    # What is in it.

    def namespace(self) -> str:
        """A fresh namespace. It ends with the cluster, or by `delete_namespace`."""
        name = f"test-{os.getpid()}-{next(self._numbers)}"
        self.api.ensure_namespace(name)
        return name

    def delete_namespace(self, name: str) -> None:
        """Ends what is in a namespace, by force; the namespace itself goes some seconds later."""
        for kind in ("StatefulSet", "Deployment", "Service"):
            self.api.delete(self.api.path(kind, name))
        self.api.delete(self.api.path("Pod", name), {"gracePeriodSeconds": 0})
        with contextlib.suppress(ApiError):
            self.api.delete(self.api.path("Namespace", None, name))

    def statefulset(
        self,
        name: str = "web",
        replicas: int = 3,
        *,
        namespace: str,
        pod_management: str = "Parallel",
        data: str | None = None,
        **options: Unpack[WorkloadOptions],
    ) -> Workload:
        """A StatefulSet and its headless Service; `wait()` on what comes back waits for the pods.

        `data`: where each pod finds a folder of its ordinal that outlives it. See `WorkloadOptions`.
        """
        only = {"pod_management": pod_management, "data": data}
        return self._workload("StatefulSet", name, replicas, namespace, options, **only)

    def deployment(
        self,
        name: str = "app",
        replicas: int = 3,
        *,
        namespace: str,
        headless: bool = True,
        **options: Unpack[WorkloadOptions],
    ) -> Workload:
        """A Deployment and its Service, which is headless unless told otherwise. See `WorkloadOptions`."""
        return self._workload("Deployment", name, replicas, namespace, options, headless=headless)

    def _workload(
        self, kind: str, name: str, replicas: int, namespace: str, options: WorkloadOptions, **only: Any
    ) -> Workload:
        options = {"service": name, **options}
        self.api.apply(workload(kind, name, replicas, namespace=namespace, **options, **only))
        return Workload(self, kind, name, namespace, options["service"])

    def client_certificate(self, user: str, groups: Sequence[str] = ()) -> tuple[Path, Path]:
        """A certificate by which the API server knows this user, and its key."""
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        name = f"client-{user.replace(':', '-')}"
        return sign(self.folder, name, subject, "extendedKeyUsage=clientAuth\n")

    # Pods.

    def exec(
        self, pod: str, namespace: str, command: Sequence[str], **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in a pod that runs one itself; `options` as `subprocess.run` takes them."""
        before = self._ask("inside", pod=pod, namespace=namespace)
        options = {"capture_output": True, "text": True, "check": False, "timeout": 60, **options}
        return subprocess.run([*before, *command], **options)

    def logs(self, pod: str, namespace: str) -> str:
        """What a pod's command printed in all its lives. The API must know the pod; else see `log_of`."""
        uid = self.api.get(self.api.path("Pod", namespace, pod))["metadata"]["uid"]
        return self.log_of(uid).read_text(errors="replace")

    def log_of(self, uid: str) -> Path:
        """The file with a pod's output, which stays until the cluster stops."""
        return self.folder / "pods" / uid / "log"

    def blackhole(self, pod: str, namespace: str) -> None:
        """Packets to and from a pod vanish: no RST, no ICMP. Without a probe it stays Ready."""
        self._ask("blackhole", pod=pod, namespace=namespace)

    def heal(self, pod: str, namespace: str) -> None:
        """The black hole is gone; connections that were open go on."""
        self._ask("heal", pod=pod, namespace=namespace)

    # Failures of the parts: "apiserver", "coredns", "etcd", "controllers".

    def stop_part(self, part: str) -> None:
        """SIGTERM; returns when it has ended."""
        self._part("stop", part)

    def start_part(self, part: str) -> None:
        """Starts it unless it runs; returns when it serves."""
        self._part("start", part)

    def kill_part(self, part: str) -> None:
        """SIGKILL; returns when it has ended."""
        self._part("kill", part)

    def pause_part(self, part: str) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        self._part("pause", part)

    def resume_part(self, part: str) -> None:
        """SIGCONT."""
        self._part("resume", part)

    def log_of_part(self, part: str) -> Path:
        """The file with what a part printed, or the "keeper", which plays the nodes."""
        return self.folder / f"{part}.log"

    def mend(self) -> None:
        """Every part that was stopped or paused runs again. Costs nothing where none was.

        Controllers that were without the API server begin anew: the longer it was away, the longer they
        would wait to ask it, at the cost of who comes next.
        """
        for part in NAMES[::-1]:
            if part in self._hurt:
                self.resume_part(part)
                self.start_part(part)
        if self._weary:
            self.kill_part("controllers")
            self.start_part("controllers")

    def compact(self) -> None:
        """etcd and the API server forget: resourceVersions from before are answered with 410.

        The API server is killed and started again, since it remembers the latest events itself.
        """
        self._ask("compact")
        self._weary = True

    def corefile(
        self,
        *,
        ttl: int | None = None,
        cache: int | None = None,
        endpoint_pod_names: bool | None = None,
        zonal: bool | None = None,
        loadbalance: bool | None = None,
    ) -> None:
        """Another configuration for CoreDNS, in force on return.

        What is not said is as it was at the start: a call without arguments puts everything back.
        """
        said = {
            "ttl": ttl, "cache": cache, "endpoint_pod_names": endpoint_pod_names, "zonal": zonal,
            "loadbalance": loadbalance,
        }  # fmt: skip
        changed = {key: value for key, value in said.items() if value is not None}
        self._ask("corefile", dns={**as_dict(self.options.dns), **changed})

    def _part(self, verb: str, part: str) -> None:
        if part not in NAMES:
            raise ValueError(f"{part!r} is no part: {', '.join(NAMES)}")
        if verb in ("stop", "kill", "pause"):
            self._hurt.add(part)
            self._weary = self._weary or part in ("apiserver", "etcd")
        self._ask(verb, part=part)
        if verb == "start":
            self._hurt.discard(part)
            self._weary = self._weary and part != "controllers"

    def _ask(self, verb: str, **what: Any) -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(120)
            connection.connect(str(self.folder / "control"))
            connection.sendall(json.dumps({"do": verb, **what}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline() or b'{"error": "the keeper has ended"}')
        if "error" in answer:
            raise ClusterError(answer["error"])
        return answer["value"]


def _start_keeper(name: str, folder: Path, lock: int) -> tuple[subprocess.Popen[bytes], Json]:
    """The keeper, and what it says of its start. It inherits the lock, and with it the cluster's life."""
    with folder.joinpath("keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.tools.cluster", "keeper", name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            pass_fds=(lock,), cwd=_ROOT, start_new_session=True,
        )  # fmt: skip
    assert keeper.stdout is not None
    try:
        line = keeper.stdout.readline()
    except BaseException:
        _end(keeper)
        raise
    keeper.stdout.close()
    if not line:
        said = folder.joinpath("keeper.log").read_text(errors="replace") if folder.exists() else "it ended"
        line = json.dumps({"error": said}).encode()
    return keeper, json.loads(line)


def _end(keeper: subprocess.Popen[bytes]) -> None:
    assert keeper.stdin is not None
    keeper.stdin.close()
    try:
        keeper.wait(30)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
        _registry.sweep()
    if keeper.stdout is not None:
        keeper.stdout.close()
