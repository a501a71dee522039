"""Readiness probes: tcpSocket, httpGet and exec, from the node, as the manifest says.

Kubernetes' defaults hold: a try every 10 s that may take 1 s, one success makes ready, three failures in a
row make unready. The first try comes at once after `initialDelaySeconds` (a kubelet waits a random part of a
period after its own restart only).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ._api import Json

if TYPE_CHECKING:
    from ._pods import Pod


class Probe:
    """One probe of one container."""

    def __init__(self, said: Json) -> None:
        self._said = said
        self._delay = float(said.get("initialDelaySeconds", 0))
        self._period = float(said.get("periodSeconds", 10))
        self._timeout = float(said.get("timeoutSeconds", 1))
        self._needed = {True: said.get("successThreshold", 1), False: said.get("failureThreshold", 3)}

    async def results(self, pod: Pod) -> AsyncIterator[bool]:
        """Whether the pod is ready, each time that this changes; it begins as not ready."""
        await asyncio.sleep(self._delay)
        passes, row = False, 0
        while True:
            if await self._try(pod) == passes:
                row = 0
            else:
                row += 1
                if row >= self._needed[not passes]:
                    passes, row = not passes, 0
                    yield passes
            await asyncio.sleep(self._period)

    async def _try(self, pod: Pod) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                if said := self._said.get("tcpSocket"):
                    return await self._connects(pod, said)
                if said := self._said.get("httpGet"):
                    return await self._answers(pod, said)
                return await pod.execute(self._said["exec"]["command"], self._timeout)
        except (OSError, TimeoutError, EOFError):
            return False

    async def _connects(self, pod: Pod, said: Json) -> bool:
        _, writer = await asyncio.open_connection(said.get("host") or pod.address, _port(pod, said))
        writer.transport.abort()
        return True

    async def _answers(self, pod: Pod, said: Json) -> bool:
        reader, writer = await asyncio.open_connection(said.get("host") or pod.address, _port(pod, said))
        try:
            headers = "".join(f"{h['name']}: {h['value']}\r\n" for h in said.get("httpHeaders", []))
            first = f"GET {said.get('path', '/')} HTTP/1.1\r\nHost: {pod.address}\r\nConnection: close\r\n"
            writer.write(f"{first}{headers}\r\n".encode())
            status = (await reader.readline()).split()
            return len(status) > 1 and 200 <= int(status[1]) < 400
        finally:
            writer.transport.abort()


def _port(pod: Pod, said: Json) -> int:
    port = said["port"]
    if isinstance(port, int) or port.isdigit():
        return int(port)
    named = {entry.get("name"): entry["containerPort"] for entry in pod.container.get("ports", [])}
    return int(named[port])
