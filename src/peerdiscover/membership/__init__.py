"""The core: what an answer does to the set, and when to ask again. No I/O, no clock.

core            `Membership`: one service's set, kept by the answers it is told
reconciler      what an answer does to the set
schedule        when to ask again
watch_state     whether to ask or to watch
health          who is left out by pickers for having failed
status, explaining   what is known, as numbers and in words
"""

from __future__ import annotations

from .core import Membership
from .status import Status

__all__ = ["Membership", "Status"]
