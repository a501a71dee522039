"""The process that a cluster lives in: makes the network, starts the parts, plays the agent, clears up.

    python -m tests.tools.cluster keeper NAME     (its standard input is held open by the cluster's owner)

It ends when told so, and when its standard input ends, so when its owner is gone, however that ended.
Everything that it started ends with it; if it is killed itself, the kernel ends its processes and the next
cluster that starts on this machine removes its folder and namespaces.

Whoever wants something of it connects to the socket `control` in the cluster's folder, and writes one JSON
object in one line: {"do": VERB, ...}. The answer is one line: {"value": ...} or {"error": TEXT}. The first
line on its standard output says the same of the start.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx

from . import _registry
from ._agent import Agent
from ._api import ApiError, Json
from ._binary import find
from ._certificates import create
from ._commanded import CommandedPod
from ._network import NetworkError, create_namespace, enter_for_good
from ._options import DnsOptions, Options, corefile
from ._parts import ETCD, NAMES, Coredns, Part, PartError, parts
from ._pods import Pod


class Keeper:
    """One cluster, from its start to its end."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.options = Options.read(folder)
        self.done = asyncio.Event()
        self.agent = Agent(name, folder, self.options)
        self.parts: dict[str, Part] = parts(find(), folder, self.options, self.agent.http)
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """All parts at once; then the nodes, and everybody serves."""
        for part in self.parts.values():
            await part.start()
        await self.parts["apiserver"].serves()
        await self.agent.register_nodes()
        self._following = asyncio.create_task(self.agent.run())
        for part in self.parts.values():
            await part.serves()

    async def end(self) -> None:
        """Pods, parts, then the rest."""
        if self._following is not None:
            self._following.cancel()
        await self.agent.end()
        # Nothing is worth a goodbye: the data are thrown away.
        await asyncio.gather(*(self.parts[name].kill() for name in NAMES))

    async def do(self, what: Json) -> Any:
        """One request. Raises `LookupError`, `PartError` and the like with words for whoever asked."""
        verb = what.pop("do")
        if verb == "end":
            self.done.set()
            return None
        if verb in ("start", "stop", "kill", "pause", "resume"):
            return await self._part(verb, self.parts[what["part"]])
        if verb in ("blackhole", "heal"):
            return self._pod(what).blackhole(heal=verb == "heal")
        if verb == "corefile":
            return await self._corefile(DnsOptions(**what["dns"]))
        if verb == "compact":
            return await self._compact()
        if verb == "inside":
            pod = self._pod(what)
            if not isinstance(pod, CommandedPod):
                raise LookupError(f"pod {pod.namespace}/{pod.name} has no command: nothing can run in it")
            return await pod.inside_soon()
        raise LookupError(f"no such request: {verb}")

    async def _part(self, verb: str, part: Part) -> None:
        match verb:
            case "start":
                await part.start()
                await part.serves()
            case "stop":
                await part.stop()
            case "kill":
                await part.kill()
            case "pause":
                await part.pause()
            case "resume":
                part.signal(signal.SIGCONT)

    async def _corefile(self, dns: DnsOptions) -> None:
        self.folder.joinpath("Corefile").write_text(corefile(self.folder, self.options.cluster_domain, dns))
        coredns = self.parts["coredns"]
        assert isinstance(coredns, Coredns)
        await coredns.reload()

    async def _compact(self) -> None:
        """etcd forgets what was, and so does the API server, which keeps the latest events in memory."""
        await self.parts["apiserver"].kill()
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{ETCD}/v3/kv/range", json={"key": "AA=="})
            revision = answer.raise_for_status().json()["header"]["revision"]
            body = {"revision": revision, "physical": True}
            (await http.post(f"{ETCD}/v3/kv/compaction", json=body)).raise_for_status()
        await self._part("start", self.parts["apiserver"])

    def _pod(self, what: Json) -> Pod:
        pod = self.agent.find(what["namespace"], what["pod"])
        if pod is None:
            raise LookupError(f"there is no pod {what['namespace']}/{what['pod']}")
        return pod

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to the socket."""
        try:
            answer = await self._answer(json.loads(await reader.readline()))
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except ConnectionError:
            pass  # whoever asked has gone
        finally:
            writer.close()

    async def _answer(self, what: Json) -> Json:
        try:
            return {"value": await self.do(what)}
        except (LookupError, PartError, NetworkError, ApiError, OSError, httpx.HTTPError, TypeError) as error:
            return {"error": str(error) if isinstance(error, PartError | LookupError) else repr(error)}


async def _owner_is_gone(keeper: Keeper) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    keeper.done.set()


async def _main(name: str, folder: Path) -> None:
    keeper = Keeper(name, folder)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, keeper.done.set)
    watching = [asyncio.create_task(_owner_is_gone(keeper)), asyncio.create_task(keeper.done.wait())]
    start = asyncio.create_task(keeper.start())
    try:
        await asyncio.wait({start, watching[1]}, return_when="FIRST_COMPLETED")
        if start.done():
            start.result()
            server = await asyncio.start_unix_server(keeper.serve, folder / "control")
            _say_to_owner({"value": "ready"})
            await keeper.done.wait()
            server.close()
    except (PartError, NetworkError, ApiError, OSError) as error:
        _say_to_owner({"error": str(error)})
    finally:
        start.cancel()
        for task in watching:
            task.cancel()
        await keeper.end()


def _say_to_owner(what: Json) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(what).encode() + b"\n")


def main(name: str) -> None:
    """The keeper's whole life."""
    folder = _registry.ROOT / name
    options = Options.read(folder)
    try:
        try:
            create_namespace(name, options.search("default"))
            enter_for_good(name)
            create(folder, options.cluster_domain)
        except (NetworkError, RuntimeError, OSError) as error:
            _say_to_owner({"error": str(error)})
            return
        asyncio.run(_main(name, folder))
    finally:
        _registry.clear(name)


def as_dict(dns: DnsOptions) -> Json:
    """For the request `corefile`."""
    return dataclasses.asdict(dns)
