"""The parts of the control plane, each a process of the keeper: started, stopped, killed, paused.

They die with the keeper, whatever ends it (the kernel sends them SIGKILL). What each one prints is in
PART.log in the cluster's folder, all its lives one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from ._network import API, DNS, SERVICE_NETWORK, SERVICE_NETWORK_6
from ._options import Options, corefile

# In the order in which they are stopped: the last is what the others stand on.
NAMES = ("coredns", "controllers", "apiserver", "etcd")
ETCD = "http://127.0.0.1:2379"
_TERMINATE = 5.0  # seconds between SIGTERM and SIGKILL
_START = 60.0


class PartError(Exception):
    """A part did not do what it was told; the text says which, and the end of its log."""


class Part:
    """One process, which can be started again."""

    def __init__(
        self, name: str, command: list[str], folder: Path, ready: Callable[[], Awaitable[bool]]
    ) -> None:
        self.name, self._command, self._ready = name, command, ready
        self.log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Begins, if it does not run. Does not wait until it serves."""
        if self._process is not None and self._process.returncode is None:
            return
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "setpriv", "--pdeathsig", "KILL", *self._command,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    async def serves(self) -> None:
        """Waits until it serves. Raises `PartError` if it ends before, or takes longer than a minute."""
        assert self._process is not None, f"{self.name} was never started"
        deadline = time.monotonic() + _START
        while True:
            with contextlib.suppress(httpx.HTTPError, OSError):
                if await self._ready():
                    return
            if self._process.returncode is not None:
                raise PartError(f"{self.name} ended with status {self._process.returncode}:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise PartError(f"{self.name} does not serve after {_START:.0f} s:\n{self._tail()}")
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if it is still there five seconds later."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a paused process would not hear it
        await self._ended(_TERMINATE)

    async def kill(self) -> None:
        """SIGKILL: no goodbye but the kernel's."""
        self.signal(signal.SIGKILL)
        await self._ended(_TERMINATE)

    async def pause(self) -> None:
        """SIGSTOP; returns when each of its threads stands still, which is a moment after the signal."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + _TERMINATE
        while not self._stands_still():
            if time.monotonic() > deadline:
                raise PartError(f"{self.name} does not stand still")
            await asyncio.sleep(0.002)

    def _stands_still(self) -> bool:
        """Whether all threads are stopped, if it runs (proc(5): the state follows the name in brackets)."""
        if self._process is None or self._process.returncode is not None:
            return True
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/stat")
        try:
            return all(stat.read_text().rpartition(") ")[2].startswith("T") for stat in threads)
        except (FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            return False

    def signal(self, number: int) -> None:
        """Sends a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _ended(self, patience: float) -> None:
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), patience)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class Coredns(Part):
    """CoreDNS, whose configuration can change while it runs."""

    async def reload(self) -> None:
        """Reads its configuration again. Raises `PartError` if it is refused."""
        before = self.log.stat().st_size
        self.signal(signal.SIGUSR1)
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline:
            with self.log.open("rb") as log:
                log.seek(before)
                said = log.read()
            if b"Reloading complete" in said:
                await self.serves()
                return
            if b"Failed" in said or b"[ERROR]" in said:
                break
            await asyncio.sleep(0.02)
        raise PartError(f"coredns did not take its new configuration:\n{self._tail()}")


def parts(binary: Path, folder: Path, options: Options, http: httpx.AsyncClient) -> dict[str, Part]:
    """All four, not started. `http` speaks to the API server as its administrator."""
    services = SERVICE_NETWORK + (f",{SERVICE_NETWORK_6}" if options.dual_stack else "")

    async def get(url: str) -> bool:
        return (await http.get(url, timeout=2)).status_code == 200

    async def listening(host: str, port: int) -> bool:
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        return True

    async def coredns_serves() -> bool:
        # It says that it is ready a moment before it listens.
        return await get(f"http://{DNS}:8181/ready") and await listening(DNS, 53)

    folder.joinpath("Corefile").write_text(corefile(folder, options.cluster_domain, options.dns))
    return {
        "etcd": Part(
            "etcd", [str(binary), "etcd", str(folder / "etcd"), ETCD], folder, lambda: get(f"{ETCD}/health")
        ),
        "apiserver": Part(
            "apiserver",
            [
                str(binary), "apiserver",
                f"--etcd-servers={ETCD}",
                f"--bind-address={API}", "--secure-port=443", "--advertise-address=10.244.0.1",
                f"--service-cluster-ip-range={services}",
                "--authorization-mode=RBAC", "--allow-privileged",
                f"--token-auth-file={folder}/tokens.csv",
                f"--client-ca-file={folder}/ca.crt",
                f"--tls-cert-file={folder}/apiserver.crt", f"--tls-private-key-file={folder}/apiserver.key",
                f"--service-account-key-file={folder}/sa.key",
                f"--service-account-signing-key-file={folder}/sa.key",
                f"--service-account-issuer={issuer(options)}",
                "--etcd-compaction-interval=0",  # etcd forgets when a test says so, not every five minutes
                # A stopping server ends the watches that are open; by default it waits a minute for them.
                "--shutdown-watch-termination-grace-period=2s",
                *options.apiserver,
            ],
            folder,
            lambda: get(f"https://{API}/readyz"),
        ),
        "controllers": Part(
            "controllers",
            [
                str(binary), "controllers",
                f"--kubeconfig={folder}/kubeconfig",
                f"--service-account-private-key-file={folder}/sa.key", f"--root-ca-file={folder}/ca.crt",
                "--leader-elect=false", "--authentication-skip-lookup",
                "--controllers=*,-node-lifecycle-controller,-node-ipam-controller",
                "--use-service-account-credentials=false",
                "--kube-api-qps=1000", "--kube-api-burst=2000", "--concurrent-statefulset-syncs=20",
            ],
            folder,
            # A controller that works has made the account that each namespace gets.
            lambda: get(f"https://{API}/api/v1/namespaces/default/serviceaccounts/default"),
        ),
        "coredns": Coredns(
            "coredns",
            [str(binary), "coredns", "-conf", str(folder / "Corefile")],
            folder,
            coredns_serves,
        ),
    }  # fmt: skip


def issuer(options: Options) -> str:
    """Who signs the tokens of service accounts."""
    return f"https://kubernetes.default.svc.{options.cluster_domain}"
