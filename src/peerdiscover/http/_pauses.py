"""How a transport waits: for a change of the set, or until the pause ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peerdiscover.discovery._changes import Pause
    from peerdiscover.discovery.aio import AsyncDiscovery
    from peerdiscover.discovery.sync import Discovery


def wait(discovery: Discovery, pause: Pause) -> None:
    for change in discovery.changes(timeout=pause.seconds):
        if change.after.generation != pause.generation:
            return


async def wait_async(discovery: AsyncDiscovery, pause: Pause) -> None:
    async for change in discovery.changes(timeout=pause.seconds):
        if change.after.generation != pause.generation:
            return
