"""What waits: `Discovery` for threads, `AsyncDiscovery` for asyncio and trio, `resolve` for once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerdiscover._exports import lazy

if TYPE_CHECKING:
    from .aio import AsyncDiscovery
    from .broadcast import Receipt
    from .once import aresolve, resolve
    from .sync import Discovery

__all__ = ["AsyncDiscovery", "Discovery", "Receipt", "aresolve", "resolve"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "aio": ("AsyncDiscovery",),
        "broadcast": ("Receipt",),
        "once": ("aresolve", "resolve"),
        "sync": ("Discovery",),
    },
)
